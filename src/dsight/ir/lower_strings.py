"""Subroutines on strings.  A string they walk is copied into scratch memory first; see ir.loops.

Results that D calls NULL (strchr, strstr, strtok find nothing) are "": D compares strings by
their text, and none of these gives "" otherwise but for what C gives the end of a string for.
"""

from __future__ import annotations

import struct

from dsight.ir import lower_expr, lower_text
from dsight.ir.loops import Body, When, pick, run, words
from dsight.ir.ops import Bounded, Reg
from dsight.lang import typed
from dsight.lang.types import String, unqualified
from dsight.record import BADADDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering

    StringRule = Callable[[Lowering, typed.Call, Reg, int, int], None]

SLASH, DOT, MINUS = ord("/"), ord("."), ord("-")


# ---- what the rules share


def own(low: Lowering, e: typed.TExpr) -> tuple[Reg, int]:
    """A copy of a string in scratch memory: pointer and room."""
    assert isinstance(unqualified(e.type), String)
    size = lower_text.room(low, e)
    offset = low.scratch_temporary(size)
    pointer = low.scratch_at(offset)
    lower_text.string_to(low, e, pointer, 0, size)
    return pointer, size


def number(low: Lowering, pointer: Reg) -> Reg:
    """The pointer as a mere number, for probe_read_kernel to read from any distance behind it: the
    kernel's verifier knows no bound of it, and needs none."""
    word = words(low, pointer)
    return low.b.load(word, 0, 8)


def length(low: Lowering, pointer: Reg, size: int) -> Reg:
    """The length of a string in memory the verifier knows."""
    target = low.scratch_at(low.scratch_temporary(size))
    return low.b.emit("sub", low.b.call("probe_read_kernel_str", target, size, pointer), 1)


def part(low: Lowering, base: Reg, start: Reg | int, count: Reg | int, pointer: Reg, offset: int, size: int) -> None:
    """Write `count` bytes from `start` of the string at the number `base`, or as many as there are."""
    b = low.b
    target = lower_expr.plus_reg(low, pointer, offset)
    room = b.emit("add", count, 1)
    b.call("probe_read_kernel_str", target, Bounded(room, size), b.emit("add", base, start))


def put_text(low: Lowering, text: bytes, pointer: Reg, offset: int) -> None:
    """Write a short constant string, NUL and all."""
    for n, byte in enumerate(text + b"\0"):
        low.b.store(pointer, offset + n, 1, byte)


def either(
    low: Lowering, condition: str, a: Reg | int, c: Reg | int, yes: Callable[[], None], no: Callable[[], None]
) -> None:
    """Write one thing where a CONDITION c, else the other."""
    b = low.b
    then, other, done = b.label("then"), b.label("else"), b.label("done")
    b.br(condition, a, c, then, other)
    b.start(then)
    yes()
    b.jmp(done)
    b.start(other)
    no()
    b.jmp(done)
    b.start(done)


# ---- joining and cutting


def _strjoin(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string strjoin(string, string)"""
    b = low.b
    first, first_at, first_size = lower_text.address(low, e.args[0])
    second, second_at, second_size = lower_text.address(low, e.args[1])
    whole = low.scratch_at(low.scratch_temporary(first_size + second_size))
    there = b.call("probe_read_kernel_str", whole, first_size, lower_expr.plus_reg(low, first, first_at))
    end = b.emit("at", whole, b.emit("sub", there, 1), first_size - 1)
    b.call("probe_read_kernel_str", end, second_size, lower_expr.plus_reg(low, second, second_at))
    b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), size, whole)


def _substr(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string substr(string, int start [, int count]): a negative start counts from the end, a negative
    count leaves out as many characters at the end."""
    b = low.b
    text, room = own(low, e.args[0])
    start = lower_expr.scalar(low, e.args[1])
    count = lower_expr.scalar(low, e.args[2]) if len(e.args) > 2 else size
    total = length(low, text, room)
    first, end = b.reg(), b.reg()
    b.set(first, "mov", start)
    with When(b, "slt", first, 0):
        b.set(first, "add", first, total)
    b.set(end, "add", first, count)
    with When(b, "slt", count, 0):
        b.set(end, "add", total, count)
    b.set(first, "mov", pick(b, "slt", first, 0, 0, first))
    b.set(first, "mov", pick(b, "sgt", first, total, total, first))
    b.set(end, "mov", pick(b, "slt", end, first, first, end))
    part(low, number(low, text), first, b.emit("sub", end, first), pointer, offset, size)


# ---- finding


def _find_byte(size: int, last: bool) -> Callable[[Body], None]:
    """Words: index, byte, where it was found.  Pointers: words, text."""

    def write(body: Body) -> None:
        i = body.get(0)
        found = body.byte(body.pointer(1), i, size - 1)
        with body.when("eq", found, body.get(1)):
            body.put(2, i)
            if not last:
                body.stop()
        with body.when("eq", found, 0):
            body.stop()
        body.put(0, body.b.emit("add", i, 1))

    return write


def _strchr(last: bool) -> StringRule:
    def rule(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
        """string strchr(string, char), strrchr: what starts at the character"""
        text, room = own(low, e.args[0])
        byte = lower_expr.scalar(low, e.args[1])
        state = words(low, 0, low.b.emit("and", byte, 0xFF), -1)
        run(low, f"find_{'last' if last else 'first'}_{room}", room, _find_byte(room, last), (state, text))
        _from(low, text, low.b.load(state, 16, 8), pointer, offset, size)

    return rule


def _from(low: Lowering, text: Reg, start: Reg, pointer: Reg, offset: int, size: int) -> None:
    """The rest of a string from `start` on; "" where that is negative."""
    base = number(low, text)
    either(
        low, "slt", start, 0,
        lambda: low.b.store(pointer, offset, 1, 0),
        lambda: part(low, base, start, size, pointer, offset, size),
    )  # fmt: skip


# Knuth, Morris, Pratt: `fail[k]`, a u32, is how long a start of the pattern the first k + 1 bytes of it end with.


def fail_table(pattern: bytes) -> bytes:
    """The table of a pattern known when the script is compiled; see _fail_step for the others."""
    table, j = [0] * max(1, len(pattern)), 0
    for i in range(1, len(pattern)):
        while j and pattern[i] != pattern[j]:
            j = table[j - 1]
        j += pattern[i] == pattern[j]
        table[i] = j
    return struct.pack(f"={len(table)}I", *table)


def _fail_at(body: Body, table: Reg, index: Reg, size: int) -> Reg:
    """Address of an entry."""
    return body.b.emit("at", table, body.b.emit("shl", index, 2), 4 * (size - 1))


def _fail_step(size: int) -> Callable[[Body], None]:
    """Words: i, from 1; j; length of the pattern.  Pointers: words, pattern, table."""

    def write(body: Body) -> None:
        b, pattern, table = body.b, body.pointer(1), body.pointer(2)
        i, j = body.get(0), body.get(1)
        with body.when("uge", i, body.get(2)):
            body.stop()
        same = b.emit("set", "eq", body.byte(pattern, i, size - 1), body.byte(pattern, j, size - 1))
        with body.when("eq", same, 0):
            with body.when("ne", j, 0):
                body.put(1, b.load(_fail_at(body, table, b.emit("sub", j, 1), size), 0, 4))
                body.again()
        more = b.emit("add", j, same)
        b.store(_fail_at(body, table, i, size), 0, 4, more)
        body.put(1, more)
        body.put(0, b.emit("add", i, 1))

    return write


def _search_step(size: int, pattern_size: int, last: bool) -> Callable[[Body], None]:
    """Words: i; j; length of the pattern, not 0; greatest start allowed; where it was found.
    Pointers: words, text, pattern, table."""

    def write(body: Body) -> None:
        b, table = body.b, body.pointer(3)
        i, j = body.get(0), body.get(1)
        byte = body.byte(body.pointer(1), i, size - 1)
        with body.when("eq", byte, 0):
            body.stop()
        with body.when("ne", byte, body.byte(body.pointer(2), j, pattern_size - 1)):
            with body.when("ne", j, 0):
                body.put(1, b.load(_fail_at(body, table, b.emit("sub", j, 1), pattern_size), 0, 4))
                body.again()
            body.put(0, b.emit("add", i, 1))
            body.again()
        after = body.add(0, 1)
        matched = body.add(1, 1)
        with body.when("eq", matched, body.get(2)):
            start = b.emit("sub", after, matched)
            with body.when("sgt", start, body.get(3)):
                body.stop()
            body.put(4, start)
            if not last:
                body.stop()
            body.put(1, b.load(_fail_at(body, table, b.emit("sub", matched, 1), pattern_size), 0, 4))

    return write


def _search(low: Lowering, e: typed.Call, last: bool) -> tuple[Reg, Reg]:
    """Where args[1] starts in args[0], -1 for nowhere; and the text.  args[2]: where the first may start at
    the least, the last at the most."""
    b = low.b
    text, size = own(low, e.args[0])
    known = e.args[1]
    if isinstance(known, typed.Str):
        data = known.value.split(b"\0", 1)[0][: low.options.strsize - 1]
        pattern, pattern_size = low.constant_at(data + b"\0"), len(data) + 1
        table, count = low.constant_at(fail_table(data + b"\0")), b.const(len(data))
    else:
        pattern, pattern_size = own(low, known)
        count = length(low, pattern, pattern_size)
        table = low.scratch_at(low.scratch_temporary(4 * pattern_size))
        b.store(table, 0, 4, 0)
        run(
            low,
            f"fail_{pattern_size}",
            2 * pattern_size,
            _fail_step(pattern_size),
            (words(low, 1, 0, count), pattern, table),
        )
    total = length(low, text, size)
    at = b.reg()
    b.set(at, "mov", lower_expr.scalar(low, e.args[2]) if len(e.args) > 2 else total if last else 0)
    b.set(at, "mov", pick(b, "slt", at, 0, 0, at))
    result = b.reg()
    search, done = b.label("search"), b.label("found")
    b.set(result, "mov", pick(b, "sgt", at, total, total, at))
    b.br("eq", count, 0, done, search)
    b.start(search)
    if last:
        state = words(low, 0, 0, count, at, -1)
    else:
        state = words(low, pick(b, "sgt", at, total, total, at), 0, count, size, -1)
    name = f"search_{'last' if last else 'first'}_{size}_{pattern_size}"
    run(low, name, 2 * size, _search_step(size, pattern_size, last), (state, text, pattern, table))
    b.set(result, "load", state, 32, 8)
    b.jmp(done)
    b.start(done)
    return result, text


def _strstr(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string strstr(string, string): what starts with the second one"""
    start, text = _search(low, e, False)
    _from(low, text, start, pointer, offset, size)


def _index(last: bool) -> Callable[[Lowering, typed.Call], int]:
    def rule(low: Lowering, e: typed.Call) -> int:
        """int index(string, string [, int start]), rindex"""
        return _search(low, e, last)[0]

    return rule


def _byte(low: Lowering, e: typed.Call) -> int:
    """text[n]: a char, 0 at its end and behind; no index beyond the room a string may take."""
    b = low.b
    text, size = own(low, e.args[0])
    index = lower_expr.scalar(low, e.args[1])
    low.fault_if("uge", index, low.options.strsize, BADADDR, index)
    byte = b.load(b.emit("at", text, index, size - 1), 0, 1)
    return b.emit("sext", pick(b, "ugt", index, length(low, text, size), 0, byte), 8)


# ---- tokens


def _mark(size: int) -> Callable[[Body], None]:
    """table[b] = 1 for each byte of a string.  Words: index.  Pointers: words, string, table."""

    def write(body: Body) -> None:
        byte = body.byte(body.pointer(1), body.get(0), size - 1)
        with body.when("eq", byte, 0):
            body.stop()
        body.set_byte(body.pointer(2), byte, 255, 1)
        body.add(0, 1)

    return write


def _token(size: int) -> Callable[[Body], None]:
    """Words: index, where the token started or -1.  Pointers: words, text, table of separators."""

    def write(body: Body) -> None:
        i, start = body.get(0), body.get(1)
        byte = body.byte(body.pointer(1), i, size - 1)
        with body.when("eq", byte, 0):
            body.stop()
        separator = body.byte(body.pointer(2), byte, 255)
        with body.when("slt", start, 0):
            with body.when("eq", separator, 0):
                body.put(1, i)
            body.put(0, body.b.emit("add", i, 1))
            body.again()
        with body.when("ne", separator, 0):
            body.stop()
        body.put(0, body.b.emit("add", i, 1))

    return write


def _strtok(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string strtok(string or NULL, string separators): what is being taken apart is kept for the
    firing of the probe, in all its clauses."""
    b = low.b
    limit = low.options.strsize
    kept = low.this_buffers.get(" strtok")  # position, then the text; both cleared when the probe fires
    if kept is None:
        kept = low.this_buffers[" strtok"] = low.scratch_alloc(8 + limit)
        low.this_buffers[" strtok text"] = kept + 8
    position, text = low.scratch_at(kept), low.scratch_at(kept + 8)
    if not isinstance(e.args[0], typed.Const):
        copy, copy_size = own(low, e.args[0])
        b.call("probe_read_kernel_str", text, min(limit, copy_size), copy)
        b.store(position, 0, 8, 0)
    separators = e.args[1]
    if isinstance(separators, typed.Str):
        table = low.constant_at(bytes([n in separators.value and n > 0 for n in range(256)]))
    else:
        marks, marks_size = own(low, separators)
        table = low.scratch_at(low.scratch_temporary(256))
        lower_text.zero(low, table, 0, 256)
        run(low, f"mark_{marks_size}", marks_size, _mark(marks_size), (words(low, 0), marks, table))
    state = words(low, b.load(position, 0, 8), -1)
    run(low, f"token_{limit}", limit, _token(limit), (state, text, table))
    end, start = b.load(state, 0, 8), b.load(state, 8, 8)
    after = b.load(b.emit("at", text, end, limit - 1), 0, 1)
    b.store(position, 0, 8, pick(b, "ne", after, 0, b.emit("add", end, 1), end))
    base = number(low, text)
    either(
        low, "slt", start, 0,
        lambda: b.store(pointer, offset, 1, 0),
        lambda: part(low, base, start, b.emit("sub", end, start), pointer, offset, size),
    )  # fmt: skip


# ---- order


def _compare(sizes: tuple[int, int]) -> Callable[[Body], None]:
    """Words: index, order.  Pointers: words, two strings."""

    def write(body: Body) -> None:
        b = body.b
        i = body.get(0)
        left, right = [body.byte(body.pointer(n + 1), i, size - 1) for n, size in enumerate(sizes)]
        with body.when("ne", left, right):
            body.put(1, body.pick("ult", left, right, -1, 1))
            body.stop()
        with body.when("eq", left, 0):
            body.stop()
        body.put(0, b.emit("add", i, 1))

    return write


def compare(low: Lowering, left: Reg, right: Reg, left_size: int, right_size: int) -> Reg:
    """-1, 0 or 1 as one string comes before the other, for those too long for the operation strcmp."""
    state = words(low, 0, 0)
    name = f"compare_{left_size}_{right_size}"
    run(low, name, min(left_size, right_size), _compare((left_size, right_size)), (state, left, right))
    return low.b.load(state, 8, 8)


# ---- case


def _fold(first: int, size: int) -> Callable[[Body], None]:
    """Letters from `first` on to the other case.  Words: index.  Pointers: words, text."""

    def write(body: Body) -> None:
        i = body.get(0)
        at = body.b.emit("at", body.pointer(1), i, size - 1)
        byte = body.b.load(at, 0, 1)
        with body.when("eq", byte, 0):
            body.stop()
        letter = body.b.emit("set", "ult", body.b.emit("sub", byte, first), 26)
        body.b.store(at, 0, 1, body.b.emit("xor", byte, body.b.emit("shl", letter, 5)))
        body.put(0, body.b.emit("add", i, 1))

    return write


def _case(first: str) -> StringRule:
    def rule(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
        """string tolower(string), toupper: ASCII letters"""
        text, room = own(low, e.args[0])
        run(low, f"fold_{first}_{room}", room, _fold(ord(first), room), (words(low, 0), text))
        low.b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), min(size, room), text)

    return rule


STRINGS: dict[str, StringRule] = {
    "strchr": _strchr(False),
    "strjoin": _strjoin,
    "strrchr": _strchr(True),
    "strstr": _strstr,
    "strtok": _strtok,
    "substr": _substr,
    "tolower": _case("A"),
    "toupper": _case("a"),
}

SCALARS: dict[str, Callable[[Lowering, typed.Call], int]] = {
    "[]": _byte,
    "index": _index(False),
    "rindex": _index(True),
}
