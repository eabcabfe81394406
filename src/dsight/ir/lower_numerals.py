"""Numbers as text, and text as numbers."""

from __future__ import annotations

from dsight.ir import lower_expr
from dsight.ir.loops import Body, When, pick, run, words
from dsight.ir.lower_strings import MINUS, number, own, part
from dsight.ir.ops import Reg
from dsight.lang import typed
from dsight.record import ILLOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering
    from dsight.ir.lower_strings import StringRule


def _base(low: Lowering, e: typed.Call) -> Reg | int:
    """The base of a number: 10, or the second argument, 2 to 36."""
    if len(e.args) < 2:
        return 10
    base = lower_expr.scalar(low, e.args[1])
    if isinstance(base, Reg) or not 2 <= base <= 36:
        low.fault_if("ugt", low.b.emit("sub", base, 2), 34, ILLOP)
    return base


_DIGITS = 68  # room for 64 of them, "-0x" and the NUL


def _digit(body: Body) -> None:
    """Words: number, where its digits start, base.  Pointers: words, result."""
    b = body.b
    value, base = body.get(0), body.get(2)
    with body.when("eq", base, 0):
        body.stop()  # never so, but the kernel's arithmetic is asked to divide by it
    digit, rest = b.emit("umod", value, base), b.emit("udiv", value, base)
    at = body.add(1, -1)
    body.set_byte(body.pointer(1), at, _DIGITS - 1, b.emit("add", digit, body.pick("ult", digit, 10, 48, 87)))
    body.put(0, rest)
    with body.when("eq", rest, 0):
        body.stop()


def _lltostr(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string lltostr(int64_t [, int base]); "0x" before base 16, "0" before base 8"""
    b = low.b
    value, base = lower_expr.scalar(low, e.args[0]), _base(low, e)
    negative = b.emit("set", "slt", value, 0)
    magnitude = pick(b, "ne", negative, 0, b.emit("neg", value), value)
    result = low.scratch_at(low.scratch_temporary(_DIGITS))
    b.store(result, _DIGITS - 1, 1, 0)
    state = words(low, magnitude, _DIGITS - 1, base)
    run(low, "digits", 64, _digit, (state, result))
    at = b.reg()
    b.set(at, "load", state, 8, 8)

    def before(byte: int) -> None:
        b.set(at, "sub", at, 1)
        b.store(b.emit("at", result, at, _DIGITS - 1), 0, 1, byte)

    with When(b, "eq", base, 16):
        before(ord("x"))
    with When(b, "eq", b.emit("and", base, -25), 0):  # 8, 16 (or 24)
        with When(b, "ne", base, 24):
            before(ord("0"))
    with When(b, "ne", negative, 0):
        before(MINUS)
    part(low, number(low, result), at, _DIGITS, pointer, offset, size)


def _parse(size: int) -> Callable[[Body], None]:
    """Words: index, value, whether negative, phase (0 spaces, 1 perhaps 0x, 2 digits), base.
    Pointers: words, text."""

    def write(body: Body) -> None:
        b, text = body.b, body.pointer(1)
        i, phase, base = body.get(0), body.get(3), body.get(4)
        byte = body.byte(text, i, size - 1)
        body.put(0, b.emit("add", i, 1))
        with body.when("eq", phase, 0):
            control = b.emit("set", "ult", b.emit("sub", byte, 9), 5)  # \t \n \v \f \r
            with body.when("ne", b.emit("or", control, b.emit("set", "eq", byte, 32)), 0):
                body.again()
            body.put(3, 1)
            minus = b.emit("set", "eq", byte, MINUS)
            body.put(2, minus)
            with body.when("ne", b.emit("or", minus, b.emit("set", "eq", byte, ord("+"))), 0):
                body.again()
        with body.when("ne", body.get(3), 2):
            body.put(3, 2)
            prefix = b.emit("and", b.emit("set", "eq", byte, ord("0")), b.emit("set", "eq", base, 16))
            with body.when("ne", prefix, 0):
                following = body.byte(text, b.emit("add", i, 1), size - 1)
                with body.when("eq", b.emit("or", following, 32), ord("x")):
                    body.put(0, b.emit("add", i, 2))
                    body.again()
        digit = b.emit("sub", byte, ord("0"))
        letter = b.emit("sub", b.emit("or", byte, 32), ord("a"))
        other = body.pick("ult", letter, 26, b.emit("add", letter, 10), 99)
        value = body.pick("ult", digit, 10, digit, other)
        with body.when("uge", value, base):
            body.stop()
        body.put(1, b.emit("add", b.emit("mul", body.get(1), base), value))

    return write


def _strtoll(low: Lowering, e: typed.Call) -> int:
    """int64_t strtoll(string [, int base])"""
    b = low.b
    text, size = own(low, e.args[0])
    state = words(low, 0, 0, 0, 0, _base(low, e))
    run(low, f"number_{size}", size, _parse(size), (state, text))
    value = b.load(state, 8, 8)
    return pick(b, "ne", b.load(state, 16, 8), 0, b.emit("neg", value), value)


STRINGS: dict[str, StringRule] = {"lltostr": _lltostr}

SCALARS: dict[str, Callable[[Lowering, typed.Call], int]] = {"strtoll": _strtoll}
