"""Images survive being written and read."""

from __future__ import annotations

import marshal
import os

import pytest

from dsight.bpf.spec import Insn, ProgramSpec
from dsight.image import Image, Place, Program, identity, packed, unpacked
from dsight.ir.maps import MapSpec
from dsight.lang.catalog import Probe
from dsight.record import Action, AggLayout, Field, RecordLayout, Shape


def image() -> Image:
    insns = (Insn(0x18, 1, imm=-1, ref=("map", "ring")), Insn(0x18, 2, ref=("value", "globals", 8)), Insn(0x95))
    spec = ProgramSpec("dtrace_0", "raw_tp", insns, "sys_enter", (0, 4))
    shape = Shape("struct", "struct x", 8, (("a", 0, 0, Shape("int", "int", 4)),), ((1, "ONE"),))
    action = Action("print", (0,), "%d", (1,), 2, shape)
    layout = RecordLayout(0, 16, (Field("n", 8, 4, {7: "read"}),), (action,), 8, -1, (("commit", 8),))
    return Image(
        (
            Program(
                "run",
                "BEGIN",
                spec,
                (1, 2),
                10,
                (Place("/bin/true", 4096, 0, identity(os.stat("/bin/true"))),),
                True,
                (spec,),
                "parts_0",
            ),
        ),
        (MapSpec("globals", "array", 4, 64, 1, mmap=True, initial=b"\0\xff"),),
        (layout,),
        (AggLayout(0, "", "count", (Field("s", 0, 16),), 16, 8, "agg_0"),),
        {1: Probe(1, "dtrace", "", "", "BEGIN")},
        True,
        {"quiet": ""},
        (1,),
    )


def test_an_image_comes_back_equal() -> None:
    assert unpacked(marshal.loads(marshal.dumps(packed(image())))) == image()


def test_where_an_instruction_came_from_is_left_out() -> None:
    from dsight.source import Source, Span

    insn = Insn(0x95, span=Span(Source("x.d", "BEGIN {}"), 0, 5))
    back = unpacked(packed(ProgramSpec("p", "raw_tp", (insn,))))
    assert back.insns[0].span is None and back.insns[0] == Insn(0x95)


@pytest.mark.parametrize("data", [["Nonesuch", 1], ["Field"], ["ProgramSpec", "x"], []])
def test_anything_else_is_refused(data: list[object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        unpacked(data)
