"""Builder: labels, slots, block order."""

from __future__ import annotations

import pytest

from dsight.ir.build import Builder
from dsight.ir.ops import NO_REG, Reg
from dsight.ir.text import show
from dsight.ir.verify import IRError, verify
from dsight.source import Source, Span


def labels(b: Builder) -> list[str]:
    function = b.finish()
    verify(function)
    return [block.label for block in function.blocks]


def test_straight_line() -> None:
    b = Builder("probe_1")
    pointer = b.slot_addr(b.slot("key", 12))
    b.store(pointer, 0, 8, b.const(3))
    assert b.emit("zero", pointer, 8, 4) is NO_REG
    value = b.reg()
    b.set(value, "mov", 1)
    b.ret(value)
    assert show(b.finish()) == (
        "function probe_1(slots key:12, regs 3) {\n"
        "entry:\n"
        "  %0 = slot key\n"
        "  %1 = mov 3\n"
        "  store %0+0, 8, %1\n"
        "  zero %0+8, 4\n"
        "  %2 = mov 1\n"
        "  ret %2\n"
        "}\n"
    )


def test_names_are_unique() -> None:
    b = Builder("p")
    assert [b.label("fault"), b.label("fault"), b.slot("fault", 8), b.label("fault_1"), b.label("fault")] == [
        "fault", "fault_1", "fault_2", "fault_1_1", "fault_3",
    ]  # fmt: skip


def test_a_sink_written_early_stands_behind_those_who_jump_to_it() -> None:
    b = Builder("p")
    fault, go, more = b.label("fault"), b.label("go"), b.label("more")
    b.br("eq", b.const(1), 0, fault, go)
    b.start(fault)
    b.ret(1)
    b.start(go)
    b.br("eq", 2, 3, fault, more)
    b.start(more)
    b.ret(0)
    assert labels(b) == ["entry", "go", "fault", "more"]


def test_an_order_that_is_right_stays() -> None:
    b = Builder("p")
    names = [b.label(name) for name in "zyxw"]
    b.br("eq", 1, 2, names[2], names[0])
    for name in names:
        b.start(name)
    b.ret(0)
    assert labels(b) == ["entry", *names]


def test_an_open_block_goes_on() -> None:
    b = Builder("p")
    on = b.label("on")
    b.start(on)
    assert b.open
    b.ret(0)
    assert not b.open
    function = b.finish()
    assert [instr.op for block in function.blocks for instr in block.instrs] == ["jmp", "ret"]


def test_what_cannot_be_reached_is_dropped() -> None:
    b = Builder("p")
    dead = b.label("dead")
    b.ret(0)
    b.const(1)
    b.jmp(b.label("nowhere"))
    b.start(dead)
    b.const(2)
    assert labels(b) == ["entry"]


def test_spans_are_attached() -> None:
    b = Builder("p")
    b.const(1)
    b.span = Span(Source("-n", "x"), 0, 1)
    b.ret(0)
    assert [instr.span for instr in b.finish().blocks[0].instrs] == [None, b.span]


@pytest.mark.parametrize("what", ["loop", "missing", "unended", "twice"])
def test_internal_errors(what: str) -> None:
    b = Builder("p")
    again = b.label("again")
    b.start(again)
    if what == "loop":
        b.br("eq", Reg(0), 1, again, "entry")
    elif what == "missing":
        b.jmp("nowhere")
    elif what == "twice":
        with pytest.raises(IRError, match="again is started twice"):
            b.start(again)
        return
    with pytest.raises(IRError, match={"loop": "a loop", "missing": "no block nowhere"}.get(what, "no terminator")):
        b.finish()
