"""Whole programs: layout of blocks, spans, jumps beyond 16 bits, and the time it takes."""

from __future__ import annotations

import pytest

from dsight.bpf import asm
from dsight.bpf import insn as bpf
from dsight.bpf.compile import REACH, compile_function
from dsight.bpf.spec import Insn, ProgramSpec
from dsight.ir.build import Builder
from dsight.ir.ops import Function, MapRef
from dsight.ir.text import parse
from dsight.source import Source, Span
from dsight.testing.work import lines_run


def program(text: str) -> str:
    """The assembly of a function's body, without slot numbers and comments."""
    spec = compile_function(parse(text).replace(followed=True), "raw_tp")
    return "\n".join([asm.show_insn(i) for i in spec.insns])


def test_spec() -> None:
    spec = compile_function(parse("function f(slots, regs 0) {\nentry:\n  ret 0\n}"), "tp_btf", "sys_enter")
    assert spec == ProgramSpec("f", "tp_btf", (bpf.alu_imm(bpf.MOV, 0, 0), bpf.exit_()), "sys_enter")


def test_layout() -> None:
    """A block goes on into the next without a jump; the condition is turned round where that helps."""
    assert (
        program(
            """function f(slots, regs 2) {
            entry:
              %0 = ctx
              %1 = load %0+0, 8
              br eq %1, 1 -> yes, no
            yes:
              jmp end
            no:
              br eq %1, 2 -> end, other
            other:
              br eq %1, 3 -> last, end
            end:
              ret 1
            last:
              ret 2
            }"""
        )
        == "r0 = *(u64 *)(r1 + 0)\nif r0 != 1 goto +2\nr0 = 1\nexit\nif r0 != 2 goto +2\n"
        "r0 = 1\nexit\nif r0 != 3 goto -3\nr0 = 2\nexit"
    )


def test_unreachable_blocks_are_left_out() -> None:
    assert program("function f(slots, regs 0) {\nentry:\n  ret 0\nlost:\n  ret 1\n}") == "r0 = 0\nexit"


def test_an_address_used_once_is_made_there() -> None:
    body = "%0 = value globals+8\n%1 = load %0+0, 8\n%2 = value globals+16\nstore %2+0, 8, %1\nstore %2+8, 8, %1\nret 0"
    assert program(f"function f(slots, regs 3) {{\nentry:\n{body}\n}}").split("\n") == [
        "r0 = value(globals + 8)", "r0 = *(u64 *)(r0 + 0)", "r5 = value(globals + 16)", "*(u64 *)(r5 + 0) = r0",
        "*(u64 *)(r5 + 8) = r0", "r0 = 0", "exit",
    ]  # fmt: skip


def test_context_is_kept() -> None:
    assert (
        program(
            """function f(slots, regs 3) {
            entry:
              %0 = ctx
              %1 = call get_attach_cookie, %0
              %2 = load %0+8, 8
              ret %2
            }"""
        )
        == "r6 = r1\nr1 = r6\ncall 174\nr0 = *(u64 *)(r6 + 8)\nexit"
    )


def test_arguments_change_places() -> None:
    """%1 and %2 come in r1 and r2 for the first call, and are wanted the other way round by the second."""
    text = program(
        """function f(slots, regs 5) {
        entry:
          %0 = ctx
          %1 = load %0+0, 8
          %2 = load %0+8, 8
          %3 = add %1, %2
          %4 = call ringbuf_output, %2, %1, %3, %1
          ret %4
        }"""
    )
    moves = [bpf_insn for bpf_insn in asm.parse(text) if bpf_insn.code == bpf.ALU64 | bpf.X | bpf.MOV]
    regs: dict[int, str] = {}
    for i in asm.parse(text):  # run it on names
        if i.code == bpf.LDX | bpf.MEM | bpf.SIZES[8]:
            regs[i.dst] = {0: "first", 8: "second"}[i.off]
        elif i.code == bpf.ALU64 | bpf.X | bpf.MOV:
            regs[i.dst] = regs[i.src]
        elif i.code == bpf.ALU64 | bpf.X | bpf.ADD:
            regs[i.dst] = "sum"
        elif i.code == bpf.JMP | bpf.CALL:
            break
    assert [regs[r] for r in (1, 2, 3, 4)] == ["second", "first", "sum", "first"]
    assert len(moves) <= 5


def test_every_instruction_has_the_span_of_its_operation() -> None:
    source = Source("x.d", "abcdefgh")
    b = Builder("spans")
    spans = [Span(source, n, n + 1) for n in range(4)]
    b.span = spans[0]
    slot = b.slot_addr(b.slot("s", 256))
    b.span = spans[1]
    b.emit("zero", slot, 0, 256)
    b.span = spans[2]
    result = b.emit("strcmp", slot, slot, 8)
    b.span = spans[3]
    b.ret(result)
    insns = compile_function(b.finish(), "raw_tp").insns
    assert [i.span for i in insns] == sorted([i.span for i in insns if i.span], key=lambda span: span.start)
    assert {i.span for i in insns} == set(spans[1:])


# -- jumps


def follow(insns: tuple[Insn, ...], loaded: int) -> tuple[int, int]:
    """Runs the program's jumps to an exit, as if all that is compared were this number: the last number moved to
    r0, and how many jumps were unconditional."""
    at, slots = 0, {}
    for i in insns:
        slots[at] = i
        at += bpf.slots(i)
    at = r0 = jumps = 0
    while True:
        i = slots[at]
        at += bpf.slots(i)
        if i.code == bpf.JMP | bpf.EXIT:
            return r0, jumps
        if i.code == bpf.JMP | bpf.JA:
            at += i.off
            jumps += 1
        elif i.code & 7 == bpf.JMP and i.code != bpf.JMP | bpf.CALL:
            assert i.code in (bpf.JMP | bpf.JEQ, bpf.JMP | bpf.JNE)
            if (loaded == i.imm) == (i.code == bpf.JMP | bpf.JEQ):
                at += i.off
        elif i.code == bpf.ALU64 | bpf.K | bpf.MOV and i.dst == 0:
            r0 = i.imm


def far(length: int) -> Function:
    """A branch at the start, and one in the middle, over `length` calls to the end."""
    b = Builder("far")
    end, near = b.label("end"), b.label("near")
    x = b.load(b.emit("ctx"), 0, 8)
    b.br("eq", x, 1, end, near)
    b.start(near)
    for n in range(length):
        b.call("map_lookup_elem", MapRef("table"), b.emit("value", "globals", 0))
        if n == length // 2:
            middle = b.label("middle")
            y = b.load(b.emit("value", "globals", 0), 0, 8)
            b.br("eq", y, 1, end, middle)
            b.start(middle)
    b.ret(5)
    b.start(end)
    b.ret(7)
    return b.finish()


@pytest.mark.parametrize("length, relays", [(1000, 0), (7000, 2), (25000, 12)])
def test_far_jumps(length: int, relays: int) -> None:
    insns = compile_function(far(length), "raw_tp").insns
    size = sum(map(bpf.slots, insns))
    assert (size > REACH) == (relays > 0)
    assert all(-REACH <= i.off <= REACH for i in insns)
    result, jumps = follow(insns, 1)
    assert result == 7 and (jumps > 0) == (relays > 0) and jumps <= relays
    assert follow(insns, 0)[0] == 5


def test_an_island_after_an_exit_is_not_fallen_into() -> None:
    """No instruction is unreachable: the verifier refuses a program with one."""
    b = Builder("exits")
    x = b.load(b.emit("ctx"), 0, 8)
    end = b.label("end")
    for n in range(12000):
        leave, on = b.label("leave"), b.label("on")
        b.br("eq", x, n, leave, on)
        b.start(leave)
        b.ret(n)
        b.start(on)
        if n < 3:
            go = b.label("go")
            b.br("ne", x, -n, end, go)
            b.start(go)
    b.start(end)
    b.ret(1)
    insns = compile_function(b.finish(), "raw_tp").insns
    assert len(insns) > REACH
    reached = {0}
    for n, i in enumerate(insns):  # all jumps go forward; no instruction here takes two slots
        assert n in reached, f"instruction {n} is unreachable"
        kind, op = i.code & 7, i.code & 0xF0
        if kind == bpf.JMP and op not in (bpf.CALL, bpf.EXIT):
            reached.add(n + 1 + i.off)
        if i.code not in (bpf.JMP | bpf.JA, bpf.JMP | bpf.EXIT):
            reached.add(n + 1)


def test_work_grows_linearly() -> None:
    def work(length: int) -> int:
        function = far(length)
        return lines_run(lambda: compile_function(function, "raw_tp"))

    small, large = work(1250), work(5000)  # 2 IR instructions each
    assert large < 4.5 * small
