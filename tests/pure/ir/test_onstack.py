"""What copyin() copies may lie on the stack, and nobody sees a difference."""

from __future__ import annotations

import pytest

from dsight.ir.interp import Machine, run
from dsight.ir.onstack import on_stack
from dsight.ir.ops import Function, Reg
from dsight.ir.text import parse, show
from dsight.ir.verify import verify

USER, LENGTH = 0x7000, 100  # what can be read


def function(body: str) -> Function:
    """%0 is this CPU's scratch memory, %1 an address, %2 a size; %9 collects what is sent."""
    made = parse(f"""function f(slots other:8, regs 60) {{
    entry:
      %10 = ctx
      %1 = load %10+0, 8
      %2 = load %10+8, 8
      %11 = call get_smp_processor_id
      %12 = and %11, 1
      %13 = shl %12, 9
      %14 = value scratch_f+0
      %0 = add %14, %13
      %9 = value out+0
    {body}
    bad:
      store %9+0, 8, 666
      ret 1
    }}""")
    verify(made)
    return made


def moved(made: Function, *more: int) -> Function:
    """`more`: registers that point to scratch memory, and the offsets."""
    places = {Reg(0): 0} | {Reg(r): o for r, o in zip(more[::2], more[1::2])}
    after = on_stack(made, dict(places), Reg(0))
    verify(after)
    return after


def outcome(made: Function, address: int, size: int) -> tuple[int, bytes]:
    machine = Machine(address.to_bytes(8, "little") + size.to_bytes(8, "little"))
    machine.add_map("out", "array", 4, 64, 1)
    machine.add_map("scratch_f", "array", 4, 1024, 1, initial=b"\x55" * 1024)
    machine.add_memory("user", bytes(range(1, LENGTH + 1)), at=USER)
    return run(made, machine), bytes(machine.maps["out"].only_value().data)


def same(before: Function, after: Function) -> None:
    for address in (USER, USER + 40, USER + LENGTH - 8, USER + 200, 0):
        for size in (0, 1, 8, 16, 24, 31, 32, 33, 40, 60, 61, 100, 1 << 40):
            assert outcome(before, address, size) == outcome(after, address, size), (hex(address), size, show(after))


KNOWN = """
  %20 = call probe_read_user, %0, 16, %1
  br ne %20, 0 -> bad, good
good:
"""
UNKNOWN = """
  zero %0+0, 24
  %20 = call probe_read_user, %0, %2<=256, %1
  br ne %20, 0 -> bad, good
good:
"""
LOADS = "%21 = load %0+2, 2\nstore %9+8, 8, %21\n%22 = load %0+12, 4\nstore %9+16, 8, %22\n"
UPPER = "%30 = add %0, 256\n"
SECOND = """
  %23 = call probe_read_user, %30, 8, %1
  br ne %23, 0 -> bad, better
better:
  %24 = load %0+260, 4
  store %9+24, 8, %24
"""


@pytest.mark.parametrize(
    ("body", "slots"),
    [
        (KNOWN + LOADS, [16]),
        (UNKNOWN + LOADS, [32]),
        (UNKNOWN.replace("%2<=256", "%2<=24") + LOADS, [32]),  # never longer than the slot
        (KNOWN + "%21 = strcmp %0, %0, 16\nstore %9+8, 8, %21", [16]),
        (KNOWN + "copy %9+8, %0+4, 8\nstore %0+8, 8, 1\ncopy %0+0, %0+8, 8\ncopy %9+16, %0+0, 16", [16]),
        (UNKNOWN + "%21 = load %0+16, 8\nstore %9+8, 8, %21", [32]),
        (UNKNOWN + "%21 = add %9, 8\n%22 = call probe_read_kernel, %21, 8, %0", [32]),
        (UNKNOWN + "%21 = call probe_read_kernel, %0, 8, %9\n" + LOADS, [32]),
        (UPPER + KNOWN + LOADS + SECOND, [16, 8]),
        (UPPER + UNKNOWN + LOADS + SECOND, [32, 8]),
        (UPPER + SECOND.replace("%0+260", "%30+4") + UNKNOWN + LOADS, [32, 8]),
        # copyinto() leaves what it does not reach
        (KNOWN + "%23 = call probe_read_user, %0, %2<=12, %1\nbr ne %23, 0 -> more, more\nmore:\n" + LOADS, [16]),
        # The next clause uses the same memory
        (UNKNOWN + LOADS + UNKNOWN.replace("20", "25").replace("good", "well") + "copy %9+24, %0+0, 16", [32]),
        (UNKNOWN + LOADS + KNOWN.replace("20", "25").replace("good", "well") + "copy %9+24, %0+0, 16", [32]),
    ],
)
def test_moved_and_the_same(body: str, slots: list[int]) -> None:
    before = function(f"{body}\nret 0")
    after = moved(before, 30, 256)
    assert sorted([size for name, size in after.slots if name.startswith("copied_in")], reverse=True) == slots
    same(before, after)
    if "zero" not in body:  # the scratch memory is not even looked for
        assert "scratch_f" not in show(after)


@pytest.mark.parametrize(
    "body",
    [
        KNOWN.replace("16", "48") + LOADS,  # too large
        UNKNOWN + "%21 = load %0+40, 8\nstore %9+8, 8, %21",
        UNKNOWN.replace("24\n", "24\nstore %0+8, 8, 7\n") + LOADS,  # not cleared last
        "%21 = load %0+0, 8\nstore %9+8, 8, %21\n" + KNOWN + LOADS,  # read before
        "br eq %2, 0 -> there, here\nhere:\n" + KNOWN + "jmp there\nthere:\n" + LOADS,  # or perhaps
        KNOWN + "%21 = load %0+12, 8\nstore %9+8, 8, %21",  # beyond
        KNOWN + KNOWN.replace("%0,", "%31,").replace("20", "25").replace("good", "well") + LOADS,  # not at its start
        "zero %0+0, 24\n%20 = call probe_read_user, %0, %2<=256, %1\nstore %9+40, 8, 1\nbr ne %20, 0 -> bad, good\n"
        "good:\n" + LOADS,
        KNOWN + "%21 = slot other\nstore %21+0, 8, 0\n%22 = call map_update_elem, map(m), %21, %0, 0",
    ],
)
def test_what_stays(body: str) -> None:
    before = function("%31 = add %0, 4\n" + body + "\nret 0")
    assert moved(before, 31, 4) is before


def test_no_more_than_there_is_room_for() -> None:
    body = UPPER + UNKNOWN + LOADS + SECOND.replace("%30, 8,", "%30, 16,")
    before = function(f"{body}\nret 0")
    after = moved(before, 30, 256)
    assert [slot for slot in after.slots if slot[0] != "other"] == [("copied_in_0", 32)]
    same(before, after)
