"""Branches on 32 bits go where those on the extended number went."""

from __future__ import annotations

import pytest

from dsight.ir.arith import holds
from dsight.ir.interp import Machine, run
from dsight.ir.narrow import narrow
from dsight.ir.ops import CONDITIONS, Function
from dsight.ir.text import parse, show
from dsight.ir.verify import verify

EDGES = [0, 1, 2, 7, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
WIDE = [c for c in CONDITIONS if not c.endswith("32")]


def function(body: str) -> Function:
    start, end = "entry:\n%0 = ctx\n%1 = load %0+0, 8", "yes:\nret 1\nno:\nret 0"
    made = parse(f"function f(slots, regs 9) {{\n{start}\n{body} -> yes, no\n{end}\n}}")
    verify(made)
    return made


@pytest.mark.parametrize("extension", ["sext", "zext"])
@pytest.mark.parametrize("condition", WIDE)
def test_same_way(condition: str, extension: str) -> None:
    short = 0
    for n in [*EDGES, -(1 << 31), -1, -2, -(1 << 31) - 1]:
        before = function(f"%2 = {extension} %1, 32\nbr {condition} %2, {n}")
        after = narrow(before)
        verify(after)
        short += after is not before
        for value in EDGES:
            machine = Machine(value.to_bytes(8, "little"))
            assert run(before, machine) == run(after, machine), (value, show(after))
    assert (short > 4) == (condition not in ("any", "none"))


def test_how_it_reads() -> None:
    after = show(narrow(function("%2 = sext %1, 32\nbr slt %2, 2")))
    assert "sext" not in after
    assert "br slt32 %1, 2 -> yes, no" in after


@pytest.mark.parametrize(
    "body",
    [
        "%2 = sext %1, 16\nbr eq %2, 2",
        "%2 = sext %1, 32\nbr eq %2, %1",
        "%2 = sext %1, 32\nstore %0+0, 8, %2\nbr eq %2, 2",  # wanted anyway
        "%2 = sext %1, 32\n%2 = add %2, 1\nbr eq %2, 2",
        "%1 = mov 5\n%2 = sext %1, 32\n%1 = mov 6\nbr eq %2, 2",  # another number since
        "%2 = sext %1, 32\nbr eq32 %2, 2",
    ],
)
def test_what_stays(body: str) -> None:
    before = function(body)
    assert narrow(before) is before


def test_conditions_of_32_bits() -> None:
    for condition in WIDE:
        if f"{condition}32" in CONDITIONS:
            assert holds(f"{condition}32", 5 << 32 | 1, 1) == holds(condition, 1, 1)
