"""Neighbouring bytes that go to a record one after the other, as scripts print addresses, go as one.

A pass as those of ir.passes are.  Both addresses must be multiples of the new size: only memory whose alignment is
known is looked at, stack slots and values of maps.  None of them is part of a record, so that no load sees the store
before it.
"""

from __future__ import annotations

from dsight.ir.algebra import set_counts
from dsight.ir.ops import Block, Bounded, Instr, Reg
from dsight.ir.unread import SCRATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Function, Operand


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
                if not made.allows(out[-4:]):
                    break
                load, store = out[-4:-2]
                wide = 2 * load.args[2]  # type: ignore[operator]
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


class Made:
    """How the registers of a function are made, and how often they are read."""

    def __init__(self, function: Function) -> None:
        self.sets = set_counts(function)
        self.reads = [0] * function.regs
        self.by: dict[Operand, Instr] = {}
        for block in function.blocks:
            for instr in block.instrs:
                if instr.dst >= 0:
                    self.by[instr.dst] = instr
                for arg in instr.args:
                    reg = arg.reg if type(arg) is Bounded else arg
                    if type(reg) is Reg:
                        self.reads[reg] += 1

    def allows(self, four: list[Instr]) -> bool:
        source, record = four[0].args[0], four[1].args[0]
        once = all(self.sets[r] == 1 for r in (source, record, four[0].dst, four[2].dst))  # type: ignore[index]
        return (
            once
            and self.reads[four[0].dst] == self.reads[four[2].dst] == 1
            and _calls(self.by[record], "ringbuf_reserve")
            and self._aligned(source)
        )

    def _aligned(self, pointer: Operand) -> bool:
        how = self.by[pointer]
        if how.op == "add" and type(how.args[0]) is Reg:  # this CPU's among the scratch memory of all (maps.LINE)
            base = self.by[how.args[0]]
            return base.op == "value" and base.args[1] == 0 and str(base.args[0]).startswith(SCRATCH)
        return how.op == "slot" or _calls(how, "map_lookup_elem") or how.op == "value" and how.args[1] % 8 == 0  # type: ignore[operator]


def _calls(instr: Instr, helper: str) -> bool:
    return instr.op == "call" and instr.args[0] == helper
