"""C's integer rules in Python's integers: the third witness of the differential tests.

C11 6.3.1 (conversions) and 6.5 (operators), for LP64; what C leaves open as dsight has it: overflow wraps,
a shift is done in 64 bits with the low six bits of its count and then cut to the type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Int:
    name: str
    bits: int
    signed: bool

    def wrap(self, n: int) -> int:
        n &= (1 << self.bits) - 1
        return n - (1 << self.bits) if self.signed and n >> (self.bits - 1) else n


INTS = [
    Int("int8_t", 8, True), Int("uint8_t", 8, False), Int("int16_t", 16, True), Int("uint16_t", 16, False),
    Int("int", 32, True), Int("uint32_t", 32, False), Int("int64_t", 64, True), Int("uint64_t", 64, False),
]  # fmt: skip
INT, UINT, LONG, ULONG = INTS[4:]


def promote(t: Int) -> Int:
    return INT if t.bits < 32 else t


def usual(a: Int, b: Int) -> Int:
    a, b = promote(a), promote(b)
    if a.bits != b.bits:
        return a if a.bits > b.bits else b
    return a if not a.signed else b


class DivideByZero(Exception):
    pass


def divide(a: int, b: int) -> int:
    """Towards zero."""
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def arithmetic(op: str, t: Int, a: int, b: int) -> int:
    """Both in range of t (a shift's count: of its own type)."""
    if op in "/%":
        if not b:
            raise DivideByZero
        q = divide(a, b)
        return t.wrap(q if op == "/" else a - b * q)
    if op == "<<":
        return t.wrap(a << (b & 63))
    if op == ">>":
        return t.wrap(a >> (b & 63))
    return t.wrap({"+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b}[op])


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def binary(op: str, ta: Int, a: int, tb: Int, b: int) -> tuple[Int, int]:
    """Type and value of `a op b`.  Raises DivideByZero."""
    if op in COMPARE:
        t = usual(ta, tb)
        return INT, int(COMPARE[op](t.wrap(a), t.wrap(b)))
    t = promote(ta) if op in ("<<", ">>") else usual(ta, tb)
    count = promote(tb) if op in ("<<", ">>") else t
    return t, arithmetic(op, t, t.wrap(a), count.wrap(b))


EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536, (1 << 31) - 1, 1 << 31,
         (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip
