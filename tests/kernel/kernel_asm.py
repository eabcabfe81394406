"""Hand-made instructions for the tests of kernel.programs; spelled as in `bpftool prog dump`."""

from __future__ import annotations

from dsight.bpf.spec import Insn, MapSpec
from dsight.source import Span


def mov(dst: int, src: int) -> Insn:
    return Insn(0xBF, dst, src)


def movi(dst: int, imm: int, span: Span | None = None) -> Insn:
    return Insn(0xB7, dst, imm=imm, span=span)


def addi(dst: int, imm: int) -> Insn:
    return Insn(0x07, dst, imm=imm)


def ld_map(dst: int, name: str, span: Span | None = None) -> Insn:
    return Insn(0x18, dst, ref=("map", name), span=span)


def ld_value(dst: int, name: str, offset: int) -> Insn:
    return Insn(0x18, dst, ref=("value", name, offset))


def ld_imm64(dst: int, imm: int) -> Insn:
    return Insn(0x18, dst, imm=imm)


def ldx(dst: int, src: int, off: int, span: Span | None = None) -> Insn:
    return Insn(0x79, dst, src, off, span=span)


def stx(dst: int, off: int, src: int) -> Insn:
    return Insn(0x7B, dst, src, off)


def st(dst: int, off: int, imm: int) -> Insn:
    return Insn(0x7A, dst, 0, off, imm)


def call(helper: int) -> Insn:
    return Insn(0x85, imm=helper)


def jnei(dst: int, imm: int, off: int) -> Insn:
    return Insn(0x55, dst, 0, off, imm)


EXIT = Insn(0x95)

RING = MapSpec("ring", "ringbuf", 0, 0, 1 << 14)
RESERVE, SUBMIT, DISCARD = 131, 132, 133


def emit(value: tuple[Insn, ...], end: int = SUBMIT) -> tuple[Insn, ...]:
    """Reserve 8 bytes in the map "ring", put r3 there as `value` leaves it, submit.  r1 on entry is in r9."""
    reserve = (mov(9, 1), ld_map(1, "ring"), movi(2, 8), movi(3, 0), call(RESERVE), jnei(0, 0, 2), movi(0, 0), EXIT)
    return (*reserve, mov(8, 0), *value, stx(8, 0, 3), mov(1, 8), movi(2, 0), call(end), movi(0, 0), EXIT)
