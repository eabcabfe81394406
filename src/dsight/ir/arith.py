"""What the arithmetic operations mean, on Python integers.

Operands and results are 64-bit values as unsigned integers (0 .. 2**64 - 1); `signed` gives the
other reading.  `ir.interp` executes with these functions and `ir.passes` folds with them.
"""

from __future__ import annotations

from operator import and_, eq, ge, gt, le, lt, ne, or_, rshift, xor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MASK = (1 << 64) - 1
SIGN = 1 << 63


def signed(value: int) -> int:
    """The 64-bit value as a signed integer."""
    return (value & MASK ^ SIGN) - SIGN


def _sdiv(a: int, b: int) -> int:
    a, b = signed(a), signed(b)
    quotient = abs(a) // abs(b)
    return (quotient if (a < 0) == (b < 0) else -quotient) & MASK


def _smod(a: int, b: int) -> int:
    rest = abs(signed(a)) % abs(signed(b))
    return (rest if signed(a) >= 0 else -rest) & MASK


def _sext(a: int, bits: int) -> int:
    sign = 1 << bits - 1
    return ((a & (1 << bits) - 1 ^ sign) - sign) & MASK


def _bswap(a: int, bits: int) -> int:
    size = bits // 8
    return int.from_bytes((a & (1 << bits) - 1).to_bytes(size, "little"), "big")


# Operations of two values, or of a value and a number of bits.
BINARY: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b & MASK,
    "sub": lambda a, b: a - b & MASK,
    "mul": lambda a, b: a * b & MASK,
    "udiv": lambda a, b: a // b,
    "umod": lambda a, b: a % b,
    "sdiv": _sdiv,
    "smod": _smod,
    "and": and_,
    "or": or_,
    "xor": xor,
    "shl": lambda a, b: a << (b & 63) & MASK,
    "shr": lambda a, b: rshift(a, b & 63),
    "sar": lambda a, b: signed(a) >> (b & 63) & MASK,
    "zext": lambda a, bits: a & (1 << bits) - 1,
    "sext": _sext,
    "bswap": _bswap,
}

UNARY: dict[str, Callable[[int], int]] = {
    "mov": lambda a: a,
    "neg": lambda a: -a & MASK,
    "not": lambda a: a ^ MASK,
}

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge,
}  # fmt: skip


def holds(condition: str, a: int, b: int) -> bool:
    """Whether a CONDITION b; conditions are those of ops.CONDITIONS."""
    if condition[-2:] == "32":
        condition = condition[:-2]
        extend = _sext if condition[0] == "s" else BINARY["zext"]
        a, b = extend(a, 32), extend(b, 32)
    if condition in ("any", "none"):
        return bool(a & b) == (condition == "any")
    if len(condition) == 2:
        return a == b if condition == "eq" else a != b
    if condition[0] == "s":
        a, b = signed(a), signed(b)
    return _COMPARE[condition[1:]](a, b)
