"""Neighbouring bytes go to a record at once, and mean the same."""

from __future__ import annotations

import pytest

from dsight.ir.interp import Machine, run
from dsight.ir.ops import Function
from dsight.ir.text import parse, show
from dsight.ir.verify import verify
from dsight.ir.widen import widen


def function(moves: str) -> Function:
    """%2 is a record, %3 a value of a map, %4 another, %6 a CPU's scratch memory, %7 a stack slot."""
    made = parse(f"""function f(slots key:8 here:16, regs 40) {{
    entry:
      %1 = slot key
      store %1+0, 8, 0
      %3 = call map_lookup_elem, map(m), %1
      br eq %3, 0 -> out, found
    found:
      %2 = call ringbuf_reserve, map(ring), 16, 0
      br eq %2, 0 -> out, got
    got:
      zero %2+0, 16
      %4 = value m+16
      %5 = value scratch_f+0
      %8 = call get_smp_processor_id
      %9 = shl %8, 6
      %6 = add %5, %9
      %7 = slot here
      copy %7+0, %3+0, 16
      {moves}
      %39 = call ringbuf_submit, %2, 0
      jmp out
    out:
      ret 0
    }}""")
    verify(made)
    return made


def sent(made: Function) -> bytes:
    machine = Machine()
    contents = bytes(range(1, 33))
    machine.add_map("m", "array", 4, 32, 1, initial=contents)
    machine.add_map("scratch_f", "array", 4, 64, 1, initial=contents)
    machine.add_map("ring", "ringbuf", 0, 0, 4096)
    run(made, machine)
    (record,) = machine.rings["ring"].read()
    return bytes(record)


def moves(*pairs: tuple[str, int, str, int, int]) -> str:
    lines = []
    for n, (source, a, target, b, size) in enumerate(pairs, 10):
        lines += [f"%{n} = load {source}+{a}, {size}", f"store {target}+{b}, {size}, %{n}"]
    return "\n".join(lines)


def widths(made: Function) -> list[int]:
    """The sizes in which the record gets what is not zero."""
    verify(made)
    found = [line.split(", ") for line in show(made).split("\n") if line.strip().startswith("store %2+")]
    return [int(size) for _, size, _ in found]


@pytest.mark.parametrize("source", ["%3", "%4", "%6", "%7"])
@pytest.mark.parametrize(
    ("each", "first", "at", "size", "left"),
    [
        (4, 4, 8, 1, [4]),
        (8, 0, 8, 1, [8]),
        (6, 0, 8, 1, [4, 2]),
        (7, 1, 1, 1, [1, 2, 4]),
        (4, 2, 8, 1, [2, 2]),  # there 2 is the most
        (4, 4, 9, 1, [1, 1, 1, 1]),
        (2, 0, 0, 4, [8]),
        (2, 0, 0, 8, [8, 8]),
    ],
)
def test_as_wide_as_aligned(source: str, each: int, first: int, at: int, size: int, left: list[int]) -> None:
    before = function(moves(*[(source, first + size * n, "%2", at + size * n, size) for n in range(each)]))
    after = widen(before)
    assert widths(after) == left
    assert sent(after) == sent(before) != bytes(16)


@pytest.mark.parametrize(
    "text",
    [
        moves(("%3", 0, "%2", 0, 1), ("%3", 1, "%2", 2, 1)),  # apart there
        moves(("%3", 0, "%2", 0, 1), ("%3", 2, "%2", 1, 1)),  # apart here
        moves(("%3", 1, "%2", 1, 1), ("%3", 0, "%2", 0, 1)),  # the other way round
        moves(("%3", 0, "%2", 0, 1), ("%4", 1, "%2", 1, 1)),
        moves(("%3", 0, "%2", 0, 2), ("%3", 2, "%2", 2, 1)),
        moves(("%2", 8, "%2", 0, 1), ("%2", 9, "%2", 1, 1)),  # of the record itself
        "%10 = load %3+0, 1\nstore %2+0, 1, %10\n%11 = load %3+1, 1\nstore %2+1, 1, %11\nstore %2+8, 1, %11",
        "%10 = load %3+0, 2\nstore %2+0, 1, %10\n%11 = load %3+1, 2\nstore %2+1, 1, %11",
        "%10 = load %3+0, 1\nstore %2+0, 1, %10\n%11 = load %3+1, 1\nstore %2+1, 1, %10\nstore %2+2, 1, %11",
        "%20 = add %3, 3\n" + moves(("%20", 0, "%2", 0, 1), ("%20", 1, "%2", 1, 1)),  # who knows how it is aligned
        "%20 = ctx\n" + moves(("%20", 0, "%2", 0, 4), ("%20", 4, "%2", 4, 4)),  # the kernel gives no other sizes
    ],
)
def test_what_stays(text: str) -> None:
    before = function(text)
    assert widen(before) is before


def test_only_records_are_written_so() -> None:
    """Other memory may be that which is read."""
    before = function(moves(("%3", 16, "%4", 2, 1), ("%3", 17, "%4", 3, 1)))
    assert widen(before) is before
