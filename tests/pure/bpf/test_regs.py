"""Register allocation: what must hold of any function, and what is won in simple ones."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from dsight.bpf.regs import CLOBBERS, STACK, Allocation, allocate
from dsight.errors import CompileError
from dsight.ir.build import Builder, targets
from dsight.ir.ops import Bounded, Function, Instr, MapRef, Reg
from dsight.ir.text import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "ir"))
from genfunctions import random_function


def live(function: Function) -> list[tuple[set[int], Instr, set[int]]]:
    """Of each instruction, the registers live before and behind it; and those set there, needed or not."""
    at_start: dict[str, set[int]] = {}
    found = []
    for block in reversed(function.blocks):
        now = set().union(*[at_start[label] for label in targets(block.instrs[-1])])
        for instr in reversed(block.instrs):
            behind = now | ({int(instr.dst)} if instr.dst >= 0 else set())
            now = now - {int(instr.dst)}
            now |= {int(arg.reg if type(arg) is Bounded else arg) for arg in instr.args if type(arg) in (Reg, Bounded)}
            found.append((now, instr, behind))
        at_start[block.label] = now
    return found[::-1]


def check(function: Function) -> Allocation:
    allocation = allocate(function, function.blocks)
    held = {v: p for v, p in enumerate(allocation.places[:-1]) if type(p) is int}
    for at, (before, instr, behind) in enumerate(live(function)):
        for gap in (before, behind):
            there = [held[v] for v in gap if v in held]
            assert len(set(there)) == len(there), f"two in one place around {instr}"
            assert all(place % 8 == 0 and place >= -STACK for place in there if place < 0)
        saved = dict(allocation.saved.get(at, ()))
        across = {held[v] for v in before & behind - {int(instr.dst)} if v in held}
        if instr.op in CLOBBERS:
            assert saved.keys() == {place for place in across if 0 <= place < 6}
            assert not across & set(saved.values())
        assert not saved or instr.op in CLOBBERS
        registers = {held[v] for v in before | behind if v in held and 0 <= held[v] < 6}
        assert len(registers) <= 4
        if instr.op not in CLOBBERS:
            assert all(allocation.busy[at] >> r & 1 for r in registers)
    return allocation


@pytest.mark.parametrize("seed", range(40))
def test_no_two_live_registers_share_a_place(seed: int) -> None:
    rng = Random(seed)
    check(random_function(rng, rng.choice((5, 30, 60))))


def places(text: str) -> list[object]:
    return list(check(parse(text)).places)


def test_result_and_arguments_stay_where_calls_have_them() -> None:
    assert places(
        """function f(slots, regs 3) {
        entry:
          %0 = call ktime_get_ns
          %1 = add %0, 1
          %2 = call send_signal, %1
          ret %2
        }"""
    )[:3] == [0, 1, 0]


def test_what_is_made_again_has_no_place() -> None:
    got = places(
        """function f(slots a:4 b:16, regs 6) {
        entry:
          %0 = slot a
          %1 = slot b
          %2 = mov 7
          %3 = value globals+8
          %4 = call map_lookup_elem, map(t), %0
          %5 = load %3+0, 8
          store %3+0, 8, %5
          store %1+0, 8, %2
          ret 0
        }"""
    )
    assert got[:4] == [("fp", -8), ("fp", -24), ("imm", 7), ("value", "globals", 8)]
    assert got[4] is None  # never read


def test_context_is_one_interval() -> None:
    got = places(
        """function f(slots, regs 5) {
        entry:
          %0 = ctx
          %1 = load %0+0, 8
          %2 = call ktime_get_ns
          %3 = ctx
          %4 = load %3+8, 8
          ret %4
        }"""
    )
    assert got[0] == got[3] == got[-1] == 6


def test_context_stays_in_r1() -> None:
    assert places("function f(slots, regs 2) {\nentry:\n  %0 = ctx\n  %1 = load %0+0, 8\n  ret %1\n}")[0] == 1


def pressure(values: int) -> Function:
    """So many values that live across calls."""
    b = Builder("pressure")
    b.slot("s", 8)
    made = [b.call("ktime_get_ns") for _ in range(values)]
    total = b.const(0)
    for value in made:
        total = b.emit("add", total, value)
    b.ret(total)
    return b.finish()


def test_spills() -> None:
    got = check(pressure(40)).places
    assert sum(type(place) is int and place < 0 for place in got) == 35  # r6-r9, and the last in r0
    assert min(place for place in got if type(place) is int) == -8 - 8 * 35


def test_spill_slots_are_used_again() -> None:
    b = Builder("twice")
    for _ in range(2):
        made = [b.call("ktime_get_ns") for _ in range(30)]
        for value in made:
            b.call("send_signal", value)
    b.ret(0)
    got = check(b.finish()).places
    assert min(place for place in got if type(place) is int) >= -8 * 30


def test_full_stack_is_an_error_for_the_user() -> None:
    with pytest.raises(CompileError, match="bytes of kernel stack, and there are 512"):
        allocate(pressure(80), pressure(80).blocks)


@pytest.mark.parametrize("rounds", [6, 31])
def test_records_are_not_spilled(rounds: int) -> None:
    """Verifiers before 5.11 forget what a spilled record pointer is; not even for what is read often."""
    b = Builder("record")
    made = [b.call("ktime_get_ns") for _ in range(10)]
    record = b.call("ringbuf_reserve", MapRef("ring"), 64, 0)
    no, yes = b.label("no"), b.label("yes")
    b.br("eq", record, 0, no, yes)
    b.start(yes)
    for n in range(rounds):
        b.call("ktime_get_ns")
        for value in made:
            b.store(record, 8 * (n % 8), 8, value)
    inside = b.emit("add", record, 8)
    b.call("get_current_comm", inside, 16)
    for value in made:
        b.store(inside, 8, 8, value)
    b.call("ringbuf_submit", record, 0)
    b.ret(0)
    b.start(no)
    b.ret(0)
    got = check(b.finish()).places
    assert got[record] in range(6, 10) and got[inside] in range(6, 10)


def keyed(uses: int, hold: bool) -> Function:
    """Fills a slot of 24 bytes and looks it up, so many times; `hold`: all are read again at the end."""
    b = Builder("keys")
    pointers = []
    for _ in range(uses):
        pointers.append(b.slot_addr(b.slot("key", 24)))
        b.emit("zero", pointers[-1], 0, 24)
        b.call("map_lookup_elem", MapRef("m"), b.emit("add", pointers[-1], 0))
    if hold:
        for pointer in pointers:
            b.call("map_delete_elem", MapRef("m"), pointer)
    b.ret(0)
    return b.finish()


def test_stack_slots_used_one_after_the_other_share_memory() -> None:
    assert check(keyed(1000, False)).depth <= 64


def test_stack_slots_in_use_together_do_not() -> None:
    allocation = check(keyed(18, True))
    frames = {p[1] for p in allocation.places if type(p) is tuple and p[0] == "fp"}
    assert len(frames) == 18
    with pytest.raises(CompileError):
        check(keyed(22, True))


def test_an_address_used_once_is_made_where_it_is_used() -> None:
    got = places(
        """function f(slots, regs 6) {
        entry:
          %0 = value globals+8
          %1 = call ktime_get_ns
          %2 = value globals+16
          %3 = add %2, %1
          %4 = value globals+24
          store %4+0, 8, %3
          store %4+8, 8, %3
          ret 0
        }"""
    )
    assert got[2] == ("value", "globals", 16)
    assert got[4] in range(6)


def test_a_register_serves_others_where_it_is_not_live() -> None:
    """%1 is read in one of two blocks: in the other its register is free."""
    b = Builder("holes")
    kept = [b.call("ktime_get_ns") for _ in range(4)]
    yes, no = b.label("yes"), b.label("no")
    b.br("eq", kept[0], 0, yes, no)
    b.start(no)
    more = [b.call("ktime_get_ns") for _ in range(4)]
    for value in more:
        b.call("send_signal", value)
    b.ret(0)
    b.start(yes)
    for value in kept:
        b.call("send_signal", value)
    b.ret(0)
    got = check(b.finish()).places
    assert all(got[value] in range(10) for value in kept + more)


def test_what_runs_seldom_does_not_cost_the_rest_a_register() -> None:
    """Values that live across calls in `fault` blocks only are saved there."""
    b = Builder("seldom")
    values = [b.load(b.emit("ctx"), 8 * n, 8) for n in range(3)]
    for n in range(3):
        fault, go = b.label("fault"), b.label("go")
        b.br("eq", values[n], 0, fault, go)
        b.start(fault)
        for _ in range(9):
            b.call("send_signal", 9)
        b.jmp(go)
        b.start(go)
    b.ret(b.emit("add", b.emit("add", values[0], values[1]), values[2]))
    allocation = check(b.finish())
    assert {allocation.places[value] for value in values} < set(range(6)) and allocation.saved
