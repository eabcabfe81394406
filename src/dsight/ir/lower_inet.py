"""Addresses as text, written in the kernel: where a string is assigned, joined, searched, ordered.

Elsewhere (printed, traced, a key) an address stays record.INET_SIZE bytes and the consumer writes it.
The form is that of inet_ntop(3) of the GNU C library, which is RFC 5952's.
"""

from __future__ import annotations

from dsight.ir import lower_expr, lower_text
from dsight.ir.loops import Body, When, run, words
from dsight.ir.ops import Reg
from dsight.lang import typed
from dsight.record import BADADDR, ILLOP, INET_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

AF_INET, AF_INET6 = 2, 10
_ROOM = 64  # for 45 characters, and what is written before the last index is looked at
_COLON = ord(":")


def text_to(low: Lowering, e: typed.TExpr, pointer: Reg, offset: int, size: int) -> None:
    """Write the text of an address into `size` bytes, cut to fit."""
    b = low.b
    at = low.scratch_temporary(24)
    lower_text.inet_to(low, e, low.scratch, at)
    address, result = low.scratch_at(at), low.scratch_at(low.scratch_temporary(_ROOM))
    assert INET_SIZE == 20
    b.store(address, 20, 4, 0)
    family = b.load(address, 0, 4)
    state = words(low, 0, 0, 0, 0, -1, 1, 0)
    last, done = b.label("inet_dotted"), b.label("inet_text")
    with When(b, "eq", family, AF_INET6):
        run(low, "inet6_zeroes", 9, _zeroes, (state, address))
        b.store(state, 8, 8, 0)
        run(low, "inet6", 8, _group, (state, address, result))
        with When(b, "eq", b.load(state, 48, 8), 0):
            b.jmp(done)
        b.store(state, 8, 8, 12)
        b.jmp(last)
    with When(b, "ne", family, AF_INET):
        b.jmp(done)
    b.jmp(last)
    b.start(last)
    b.store(state, 16, 8, 0)
    run(low, "inet4", 4, _octet, (state, address, result))
    b.jmp(done)
    b.start(done)
    end = b.load(state, 0, 8)
    b.store(b.emit("at", result, end, _ROOM - 1), 0, 1, 0)
    b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), min(size, 46), result)


# Words: 0 the length so far; 1 the group (or octet: distance behind the first of IPv4); 2 where a run of
# zeroes started, or whether an octet was written; 3 its length; 4 start of the longest run, -1: none;
# 5 its length, 1: not longer than that; 6 whether it ends in dotted form.  Pointers: words, address, text.


def _zeroes(body: Body) -> None:
    """Finds the first of the longest runs of two or more groups that are 0."""
    b = body.b
    k, start = body.get(1), body.get(2)
    group = b.load(b.emit("at", body.pointer(1), b.emit("shl", k, 1), 18), 4, 2)
    body.put(1, b.emit("add", k, 1))
    zero = b.emit("and", b.emit("set", "eq", group, 0), b.emit("set", "ult", k, 8))
    with body.when("ne", zero, 0):
        body.add(3, 1)
        body.again()
    count = body.get(3)
    with body.when("ugt", count, body.get(5)):
        body.put(4, start)
        body.put(5, count)
    body.put(2, b.emit("add", k, 1))
    body.put(3, 0)


def _group(body: Body) -> None:
    """A group, or the whole run of zeroes."""
    b, text = body.b, body.pointer(2)
    k, run_start, run_length = body.get(1), body.get(4), body.get(5)
    with body.when("uge", k, 8):
        body.stop()
    with body.when("eq", k, run_start):
        body.append(text, 0, _ROOM - 1, _COLON)
        end = b.emit("add", k, run_length)
        body.put(1, end)
        with body.when("eq", end, 8):
            body.append(text, 0, _ROOM - 1, _COLON)
        body.again()
    with body.when("ne", k, 0):
        body.append(text, 0, _ROOM - 1, _COLON)
    with body.when("eq", run_start, 0):
        with body.when("eq", k, 6):
            fifth = b.load(body.pointer(1), 4 + 10, 2)
            mapped = b.emit("and", b.emit("set", "eq", run_length, 5), b.emit("set", "eq", fifth, 0xFFFF))
            with body.when("ne", b.emit("or", mapped, b.emit("set", "eq", run_length, 6)), 0):
                body.put(6, 1)
                body.stop()
    body.put(1, b.emit("add", k, 1))
    group = b.emit("bswap", b.load(b.emit("at", body.pointer(1), b.emit("shl", k, 1), 16), 4, 2), 16)
    for shift in (12, 8, 4, 0):
        rest = b.emit("shr", group, shift)
        digit = b.emit("and", rest, 15)
        hexadecimal = b.emit("add", digit, body.pick("ult", digit, 10, 48, 87))
        with body.when("ne", rest, 0) if shift else body.when("eq", 0, 0):
            body.append(text, 0, _ROOM - 1, hexadecimal)


def _octet(body: Body) -> None:
    b, text = body.b, body.pointer(2)
    k = body.get(1)
    octet = b.load(b.emit("at", body.pointer(1), k, 15), 4, 1)
    body.put(1, b.emit("add", k, 1))
    with body.when("ne", body.get(2), 0):
        body.append(text, 0, _ROOM - 1, ord("."))
    body.put(2, 1)
    for least, digit in ((100, b.emit("udiv", octet, 100)), (10, b.emit("umod", b.emit("udiv", octet, 10), 10))):
        with body.when("uge", octet, least):
            body.append(text, 0, _ROOM - 1, b.emit("add", digit, 48))
    body.append(text, 0, _ROOM - 1, b.emit("add", b.emit("umod", octet, 10), 48))


# ---- addresses of the link layer

_LENGTHS = {1: 6, 32: 20}  # ARPHRD_ETHER, ARPHRD_INFINIBAND (include/uapi/linux/if_arp.h): bytes


def link_ntop(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string link_ntop(int type, void *address)"""
    b = low.b
    kind = lower_expr.scalar(low, e.args[0])
    base, distance, _ = lower_expr.place(low, e.args[1])
    source = lower_expr.plus(low, base, distance)
    at, count = low.scratch_temporary(24), b.reg()
    b.set(count, "mov", 0)
    for number, length in _LENGTHS.items():
        with When(b, "eq", kind, number):
            b.set(count, "mov", length)
    low.fault_if("eq", count, 0, ILLOP)
    copy = low.scratch_at(at)
    for number, length in _LENGTHS.items():
        with When(b, "eq", kind, number):
            failed = b.call("probe_read_kernel", copy, length, source)
            low.fault_if("ne", failed, 0, BADADDR, source)
    result = low.scratch_at(low.scratch_temporary(_ROOM))
    run(low, "link", 20, _link_byte, (words(low, 0, 0, count), copy, result))
    b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), min(size, 60), result)


def _link_byte(body: Body) -> None:
    """Words: length so far, index, number of bytes.  Pointers: words, address, text."""
    b, text = body.b, body.pointer(2)
    k = body.get(1)
    with body.when("ne", k, 0):
        body.append(text, 0, _ROOM - 1, _COLON)
    byte = body.byte(body.pointer(1), k, 19)
    for digit in (b.emit("shr", byte, 4), b.emit("and", byte, 15)):
        body.append(text, 0, _ROOM - 1, b.emit("add", digit, body.pick("ult", digit, 10, 48, 87)))
    after = body.add(1, 1)
    with body.when("uge", after, body.get(2)):
        body.set_byte(text, body.get(0), _ROOM - 1, 0)
        body.stop()
