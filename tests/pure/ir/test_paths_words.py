"""What is done to a function for the verifier's and the stack's sake keeps its meaning."""

from __future__ import annotations

import genfunctions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.ir import paths
from dsight.ir.build import Builder
from dsight.ir.interp import run
from dsight.ir.maps import GLOBALS_START, LINE
from dsight.ir.ops import CONDITIONS, Function
from dsight.ir.paths import join_paths
from dsight.ir.text import parse, show
from dsight.ir.verify import verify
from dsight.ir.words import spill, used

RNG = st.randoms(use_true_random=False)
EDGES = [0, 1, 2, 7, 0x7FFFFFFF, 0x80000000, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 7, (1 << 64) - 1]


def outcome(function: Function, inputs: bytes, passed: int = 0) -> tuple[object, ...]:
    verify(function)
    machine = genfunctions.machine_for(inputs)
    machine.cpu = 2
    if passed:
        machine.add_map("passed", "array", 4, passed, 1, b"\xaa" * passed)
    machine.add_map("globals", "array", 4, GLOBALS_START, 1)
    if size := used(function):
        machine.add_map("words", "percpu_array", 4, size, 1)
    return run(function, machine), *genfunctions.results(machine)


@given(RNG)
@settings(max_examples=80, deadline=None)
def test_the_meaning_stays(rng: genfunctions.Random) -> None:
    before = genfunctions.random_function(rng)
    inputs = genfunctions.random_inputs(rng)
    wanted = outcome(before, inputs)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(paths, "FEW", -1)
        for cpus in (0, 4):
            joined, passed = join_paths(before, "words", "passed", cpus)
            assert (passed == 0) or (cpus == 4 and passed % (4 * LINE) == 0)
            assert outcome(joined, inputs, passed) == wanted
            for length in (20, 3):
                assert outcome(spill(joined, "words", length), inputs, passed) == wanted
    for length in (20, 3):
        assert outcome(spill(before, "words", length), inputs) == wanted


@pytest.mark.parametrize("op", [*CONDITIONS, "sdiv", "smod"])
def test_without_jumps(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "FEW", -1)
    pairs = [(x, y) for x in EDGES for y in EDGES if y or op in CONDITIONS]
    b = Builder("f")
    words, out = b.emit("value", "in", 0), b.emit("value", "out", 0)
    at = 0
    x, y = b.load(words, 0, 8), b.load(words, 8, 8)
    for left, right in [(x, y), *[(x, n) for n in EDGES if n or op in CONDITIONS], (-5, y), (3, y)]:
        signed = right - (1 << 64) if not isinstance(right, type(x)) and right >> 63 else right
        value = b.emit("set", op, left, signed) if op in CONDITIONS else b.emit(op, left, signed)
        b.store(out, at, 8, value)
        at += 8
    b.ret(0)
    before = b.finish()
    joined, _ = join_paths(before, "words")
    assert f" {op} " not in show(joined).replace("set", "")
    for n, m in pairs:
        inputs = (n.to_bytes(8, "little") + m.to_bytes(8, "little")).ljust(genfunctions.IN_SIZE, b"\0")
        assert outcome(joined, inputs) == outcome(before, inputs)


def test_few_branches_are_left_alone() -> None:
    b = Builder("f")
    value = b.load(b.emit("value", "in", 0), 0, 8)
    for n in range(paths.FEW):
        b.set(value, "add", b.emit("set", "ult", value, n), value)
    b.ret(value)
    function = b.finish()
    assert join_paths(function, "words") == (function, 0)


def test_a_branch_needs_a_copy_of_what_is_read_behind_it_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "FEW", -1)
    text = """function f(slots, regs 9) {
    entry:
      %0 = value in+0
      %1 = load %0+0, 8
      %2 = and %1, 255
      br eq %2, 7 -> dead, same
    dead:
      %3 = load %0+8, 8
      %4 = mov %3
      br eq %3, 7 -> linked, same
    linked:
      store %0+0, 8, %4
      br eq %1, 9 -> kept, same
    kept:
      store %0+0, 8, %1
      ret 0
    same:
      ret 0
    }"""
    joined, _ = join_paths(parse(text), "words")
    branches = [line.strip() for line in show(joined).split("\n") if line.strip().startswith("br ")]
    assert branches == ["br eq %2, 7 -> dead, same", "br eq %12, 7 -> linked, same", "br eq %13, 9 -> kept, same"]


def test_what_is_set_on_several_ways_and_tested_has_a_home_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "FEW", -1)
    text = """function f(slots, regs 9) {
    entry:
      %0 = value in+0
      %1 = load %0+0, 8
      br eq %1, 7 -> one, other
    one:
      %2 = mov 5
      jmp both
    other:
      %2 = load %0+8, 8
      jmp both
    both:
      br eq %2, 5 -> yes, no
    yes:
      ret %2
    no:
      ret 0
    }"""
    joined, size = join_paths(parse(text), "words", "passed", 4)
    assert size == 4 * LINE
    for first, second, expected in ((7, 1, 5), (6, 5, 5), (6, 4, 0)):
        inputs = (first.to_bytes(8, "little") + second.to_bytes(8, "little")).ljust(genfunctions.IN_SIZE, b"\0")
        assert outcome(joined, inputs, size)[0] == expected
    assert not [i for block in joined.blocks for i in block.instrs if i.op == "mov"]


def test_a_number_kept_long_is_in_memory_a_pointer_is_not() -> None:
    b = Builder("f")
    pointer = b.emit("value", "in", 0)
    number = b.load(pointer, 0, 8)
    for _ in range(10):
        b.store(pointer, 8, 8, 1)
    b.ret(number)
    spilled = spill(b.finish(), "words", 5)
    assert used(spilled) == 16
    text = show(spilled)
    assert text.count("call map_lookup_elem, map(words)") == 1 and text.count("= value in") == 1
