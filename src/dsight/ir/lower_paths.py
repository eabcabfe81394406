"""Subroutines on the names of files: text alone, the files are not looked at."""

from __future__ import annotations

from dsight.ir import lower_expr
from dsight.ir.loops import Body, When, pick, run, words
from dsight.ir.lower_strings import DOT, SLASH, either, number, own, part
from dsight.ir.ops import Reg
from dsight.lang import typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering
    from dsight.ir.lower_strings import StringRule


def _components(size: int) -> Callable[[Body], None]:
    """Words: index, start and end of the last component, end of the one before, whether in one.
    Pointers: words, text."""

    def write(body: Body) -> None:
        i = body.get(0)
        byte = body.byte(body.pointer(1), i, size - 1)
        with body.when("eq", byte, 0):
            body.stop()
        after = body.b.emit("add", i, 1)
        body.put(0, after)
        with body.when("eq", byte, SLASH):
            body.put(4, 0)
            body.again()
        with body.when("eq", body.get(4), 0):
            body.put(3, body.get(2))
            body.put(1, i)
            body.put(4, 1)
        body.put(2, after)

    return write


def _basename(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string basename(string), as basename(3)"""
    _component(low, e, 8, 16, pointer, offset, size)


def _dirname(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string dirname(string), as dirname(3)"""
    _component(low, e, -1, 24, pointer, offset, size)


def _component(low: Lowering, e: typed.Call, start: int, end: int, pointer: Reg, offset: int, size: int) -> None:
    """The text between two of the words of _components (start -1: from the beginning); where there is
    none "/" or "."."""
    b = low.b
    text, room = own(low, e.args[0])
    state = words(low, 0, 0, 0, 0, 0)
    run(low, f"components_{room}", room, _components(room), (state, text))
    base = number(low, text)
    first = b.load(state, start, 8) if start >= 0 else b.const(0)
    last = b.load(state, end, 8)
    absolute = b.emit("set", "eq", b.load(text, 0, 1), SLASH)

    def none() -> None:
        b.store(pointer, offset, 1, pick(b, "ne", absolute, 0, SLASH, DOT))
        b.store(pointer, offset + 1, 1, 0)

    either(
        low, "eq", last, 0, none,
        lambda: part(low, base, first, b.emit("sub", last, first), pointer, offset, size),
    )  # fmt: skip


def _clean(size: int) -> Callable[[Body], None]:
    """Words: index, length of the result, where its last component starts, whether a component is
    being taken off it.  Pointers: words, text, result."""

    def write(body: Body) -> None:
        b, text, out = body.b, body.pointer(1), body.pointer(2)
        most = size - 1
        i, n, start = body.get(0), body.get(1), body.get(2)
        root = b.emit("set", "eq", b.load(text, 0, 1), SLASH)
        with body.when("ne", body.get(3), 0):
            with body.when("ugt", n, root):
                with body.when("ne", body.byte(out, b.emit("sub", n, 1), most), SLASH):
                    body.put(1, b.emit("sub", n, 1))
                    body.again()
            body.put(2, n)
            body.put(3, 0)
            body.again()
        byte = body.byte(text, i, most)
        end = b.emit("or", b.emit("set", "eq", byte, 0), b.emit("set", "eq", byte, SLASH))
        with body.when("eq", end, 0):
            body.append(out, 1, most, byte)
            body.put(0, b.emit("add", i, 1))
            body.again()
        long = b.emit("sub", n, start)
        first, second = body.byte(out, start, most), body.byte(out, b.emit("add", start, 1), most)
        dots = b.emit("set", "eq", first, DOT)
        with body.when("eq", b.emit("and", dots, b.emit("set", "eq", long, 1)), 1):
            body.put(1, start)
            body.put(2, start)
            body.again()
        two = b.emit("and", b.emit("set", "eq", second, DOT), b.emit("set", "eq", long, 2))
        with body.when("eq", b.emit("and", dots, two), 1):
            # "..": off with the component before, where there is one that is not itself ".." kept
            with body.when("eq", start, root):
                with body.when("ne", root, 0):
                    body.put(1, start)
                    body.again()
            with body.when("ugt", start, root):
                kept = b.emit("set", "eq", body.byte(out, b.emit("sub", start, 2), most), DOT)
                third = body.byte(out, b.emit("sub", start, 3), most)
                kept = b.emit("and", kept, b.emit("set", "eq", third, DOT))
                kept = b.emit("and", kept, b.emit("set", "uge", start, 3))
                fourth = body.byte(out, b.emit("sub", start, 4), most)
                alone = b.emit("or", b.emit("set", "eq", start, 3), b.emit("set", "eq", fourth, SLASH))
                with body.when("eq", b.emit("and", kept, alone), 0):
                    body.put(1, b.emit("sub", start, 1))
                    body.put(3, 1)
                    body.again()
        with body.when("eq", byte, 0):
            body.stop()
        body.put(0, b.emit("add", i, 1))
        empty = b.emit("and", b.emit("set", "eq", long, 0), b.emit("set", "ne", i, 0))
        with body.when("ne", empty, 0):
            body.again()
        body.append(out, 1, most, SLASH)
        body.put(2, b.emit("add", n, 1))

    return write


def _cleanpath(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string cleanpath(string): without "//", "/./" and "/../"; symbolic links are not looked at"""
    b = low.b
    text, room = own(low, e.args[0])
    result = low.scratch_at(low.scratch_temporary(room))
    state = words(low, 0, 0, 0, 0)
    run(low, f"clean_{room}", 3 * room, _clean(room), (state, text, result))
    end = b.reg()
    b.set(end, "load", state, 8, 8)
    with When(b, "ugt", end, 1):
        last = b.load(b.emit("at", result, b.emit("sub", end, 1), room - 1), 0, 1)
        with When(b, "eq", last, SLASH):
            b.set(end, "sub", end, 1)
    given = b.load(text, 0, 1)
    with When(b, "eq", end, 0):
        with When(b, "ne", given, 0):  # nothing is left of "a/.."
            b.store(result, 0, 1, DOT)
            b.set(end, "mov", 1)
    b.store(b.emit("at", result, end, room - 1), 0, 1, 0)
    b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), min(size, room), result)


STRINGS: dict[str, StringRule] = {"basename": _basename, "dirname": _dirname, "cleanpath": _cleanpath}
