"""Neighbouring bytes that go to a record one after the other, as scripts print addresses, go as one.

A pass as those of ir.passes are.  Both addresses must be multiples of the new size: only memory whose alignment is
known is looked at, stack slots and values of maps.  None of them is part of a record, so that no load sees the store
before it.
"""

from __future__ import annotations

from dsight.ir.algebra import Made
from dsight.ir.ops import Block, Instr, Reg, integer
from dsight.ir.unread import SCRATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Function


def widen(function: Function) -> Function:
    made: Made | None = None
    blocks = []
    changed = False
    for block in function.blocks:
        out: list[Instr] = []
        for instr in block.instrs:
            out.append(instr)
            while instr.op == "store" and len(out) > 3 and _neighbours(out[-4:]):
                made = made or Made(function)
                if not _allowed(made, out[-4:]):
                    break
                load, store = out[-4:-2]
                wide = 2 * integer(load.args[2])
                instr = Instr("store", store.dst, (*store.args[:2], wide, load.dst), store.span)
                out[-4:] = Instr("load", load.dst, (*load.args[:2], wide), load.span), instr
                changed = True
        blocks.append(Block(block.label, tuple(out)))
    return function.replace(blocks=tuple(blocks)) if changed else function


def _neighbours(four: list[Instr]) -> bool:
    """Whether it is load, store, load, store: one value each, next to each other there and here."""
    if [instr.op for instr in four] != ["load", "store", "load", "store"]:
        return False
    (p, a, size), (q, b, stored, value) = four[0].args, four[1].args
    if size != stored or size == 8 or value != four[0].dst or type(value) is not Reg:
        return False
    assert type(a) is int and type(b) is int and type(size) is int
    if a % (2 * size) or b % (2 * size):
        return False
    return four[2].args == (p, a + size, size) and four[3].args == (q, b + size, size, four[2].dst)


def _allowed(made: Made, four: list[Instr]) -> bool:
    """Whether the four use registers of their own, to a record, from memory whose alignment is known."""
    source, record = four[0].args[0], four[1].args[0]
    assert type(source) is Reg and type(record) is Reg
    return (
        all(made.sets[reg] == 1 for reg in (source, record, four[0].dst, four[2].dst))
        and made.reads[four[0].dst] == made.reads[four[2].dst] == 1
        and _calls(made.by[record], "ringbuf_reserve")
        and _aligned(made, source)
    )


def _aligned(made: Made, pointer: Reg) -> bool:
    how = made.by[pointer]
    if how.op == "add" and type(how.args[0]) is Reg:  # this CPU's among the scratch memory of all (maps.LINE)
        base = made.by[how.args[0]]
        return base.op == "value" and base.args[1] == 0 and str(base.args[0]).startswith(SCRATCH)
    return how.op == "slot" or _calls(how, "map_lookup_elem") or how.op == "value" and integer(how.args[1]) % 8 == 0


def _calls(instr: Instr, helper: str) -> bool:
    return instr.op == "call" and instr.args[0] == helper
