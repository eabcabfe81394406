"""Assembly: every form both ways, comments, and what is no instruction."""

from __future__ import annotations

import pytest

from dsight.bpf import asm
from dsight.bpf import insn as bpf
from dsight.bpf.insn import K, X
from dsight.bpf.spec import Insn
from dsight.errors import CompileError
from dsight.source import Source, Span

ALU_OPS = (bpf.ADD, bpf.SUB, bpf.MUL, bpf.DIV, bpf.OR, bpf.AND, bpf.LSH, bpf.RSH, bpf.MOD, bpf.XOR, bpf.MOV, bpf.ARSH)
JUMP_OPS = (
    bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET, bpf.JNE, bpf.JSGT, bpf.JSGE, bpf.JLT, bpf.JLE, bpf.JSLT, bpf.JSLE,
)  # fmt: skip


def every_form() -> list[Insn]:
    forms = [Insn(kind | K | op, 3, 0, 0, -7) for kind in (bpf.ALU, bpf.ALU64) for op in ALU_OPS]
    forms += [Insn(kind | X | op, 3, 9) for kind in (bpf.ALU, bpf.ALU64) for op in ALU_OPS]
    forms += [Insn(kind | K | op, 3, 0, 12, -7) for kind in (bpf.JMP, bpf.JMP32) for op in JUMP_OPS]
    forms += [Insn(kind | X | op, 3, 9, -12) for kind in (bpf.JMP, bpf.JMP32) for op in JUMP_OPS]
    forms += [bpf.neg(1), bpf.neg32(2), bpf.ja(-1), bpf.ja(0), bpf.exit_(), bpf.call(14), bpf.call(9999)]
    forms += [make(4, bits) for make in (bpf.be, bpf.le) for bits in (16, 32, 64)]
    for size in (1, 2, 4, 8):
        forms += [bpf.load(size, 1, 10, -8), bpf.store(size, 10, -8, 1), bpf.store_imm(size, 2, 30, -1)]
    forms += [bpf.xadd(4, 1, 0, 2), bpf.xadd(8, 10, -16, 2)]
    forms += [bpf.ld_imm64(1, -(1 << 63)), bpf.ld_imm64(1, 5), bpf.ld_map(2, "agg.1"), bpf.ld_value(3, "globals", 24)]
    return forms


@pytest.mark.parametrize("insn", every_form(), ids=asm.show_insn)
def test_round_trip(insn: Insn) -> None:
    assert asm.parse(asm.show_insn(insn)) == (insn,)


def test_no_two_forms_look_alike() -> None:
    forms = every_form()
    assert len({asm.show_insn(i) for i in forms}) == len(forms)


def test_listing() -> None:
    source = Source("connect.d", "a = 1;\n  b = execname;\n")
    first, second = Span(source, 0, 5), Span(source, 9, 21)
    code = [
        bpf.ld_imm64(1, 1).replace(span=first),
        bpf.jump_imm(bpf.JEQ, 1, 0, 1).replace(span=second),
        bpf.call(14).replace(span=second),
        bpf.exit_(),
    ]
    text = asm.show(code)
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "0: r1 = 1 ll ; connect.d:1: a = 1",
        "2: if r1 == 0 goto +1 ; connect.d:2: b = execname",
        "3: call get_current_pid_tgid",
        "4: exit",
    ]
    assert asm.parse(text) == tuple([i.replace(span=None) for i in code])


def test_jumps_say_where_to() -> None:
    assert "# to 3" in asm.show([bpf.ld_imm64(1, 1), bpf.ja(0), bpf.exit_()])


@pytest.mark.parametrize(
    "text", ["r1 =", "r1 ?= 2", "r1 = w2", "w1 += r2", "r1 = -r2", "call nothing", "if r1 ~ 2 goto +1", "nop", "goto 3"]
)
def test_not_an_instruction(text: str) -> None:
    with pytest.raises(CompileError) as caught:
        asm.parse("exit\n" + text)
    span = caught.value.diagnostics[0].span
    assert span is not None and span.line == 2


def test_unknown_opcode() -> None:
    with pytest.raises(ValueError):
        asm.show_insn(Insn(0xFF))
