"""Opcodes against the numbers in the kernel's instruction-set.rst, and the helpers on numbers."""

from __future__ import annotations

import pytest

from dsight.bpf import insn as bpf
from dsight.bpf.spec import Insn

# As `bpftool prog dump xlated opcodes` and the kernel's test_verifier spell them.
KNOWN = [
    (bpf.alu(bpf.ADD, 1, 2), Insn(0x0F, 1, 2)),
    (bpf.alu_imm(bpf.MOV, 1, -5), Insn(0xB7, 1, imm=-5)),
    (bpf.alu32(bpf.MOV, 1, 1), Insn(0xBC, 1, 1)),
    (bpf.alu32_imm(bpf.ARSH, 1, 3), Insn(0xC4, 1, imm=3)),
    (bpf.neg(3), Insn(0x87, 3)),
    (bpf.neg32(3), Insn(0x84, 3)),
    (bpf.be(2, 16), Insn(0xDC, 2, imm=16)),
    (bpf.le(2, 32), Insn(0xD4, 2, imm=32)),
    (bpf.jump(bpf.JLT, 1, 2, 7), Insn(0xAD, 1, 2, 7)),
    (bpf.jump_imm(bpf.JEQ, 1, 9, -3), Insn(0x15, 1, off=-3, imm=9)),
    (bpf.jump32(bpf.JNE, 1, 2, 7), Insn(0x5E, 1, 2, 7)),
    (bpf.jump32_imm(bpf.JSLE, 1, 9, 1), Insn(0xD6, 1, off=1, imm=9)),
    (bpf.ja(4), Insn(0x05, off=4)),
    (bpf.load(8, 1, 2, 16), Insn(0x79, 1, 2, 16)),
    (bpf.load(1, 1, 2, 16), Insn(0x71, 1, 2, 16)),
    (bpf.store(4, 10, -4, 1), Insn(0x63, 10, 1, -4)),
    (bpf.store_imm(2, 10, -4, 1), Insn(0x6A, 10, off=-4, imm=1)),
    (bpf.xadd(8, 1, 8, 2), Insn(0xDB, 1, 2, 8)),
    (bpf.xadd(4, 1, 8, 2), Insn(0xC3, 1, 2, 8)),
    (bpf.ld_imm64(1, 1 << 40), Insn(0x18, 1, imm=1 << 40)),
    (bpf.ld_map(1, "m"), Insn(0x18, 1, ref=("map", "m"))),
    (bpf.ld_value(1, "m", 8), Insn(0x18, 1, ref=("value", "m", 8))),
    (bpf.call(14), Insn(0x85, imm=14)),
    (bpf.exit_(), Insn(0x95)),
]


@pytest.mark.parametrize("made, known", KNOWN, ids=[f"{known.code:#x}" for _, known in KNOWN])
def test_opcode(made: Insn, known: Insn) -> None:
    assert made == known


def test_slots() -> None:
    assert bpf.slots(bpf.ld_map(1, "m")) == 2
    assert bpf.slots(bpf.exit_()) == 1


def test_signed64() -> None:
    assert bpf.signed64((1 << 64) - 1) == -1
    assert bpf.signed64(1 << 63) == bpf.signed64(-(1 << 63)) == -(1 << 63)
    assert bpf.signed64((1 << 63) - 1) == (1 << 63) - 1


def test_fits() -> None:
    assert bpf.fits(0x7FFFFFFF) and bpf.fits(-0x80000000)
    assert not bpf.fits(0x80000000) and not bpf.fits(-0x80000001)
