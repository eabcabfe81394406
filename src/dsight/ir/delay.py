"""Constants put into registers as late as can be: where they are read, or where ways meet that do not all have them.

    function = delay(function)

Clause-local variables are 0 when a probe fires, and mostly something else before anybody reads them.
A pass as those of ir.passes are.
"""

from __future__ import annotations

from dsight.ir.build import targets
from dsight.ir.ops import Block, Bounded, Function, Instr, Reg
from dsight.ir.webs import live_at_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand

    Late = dict[Operand, Instr]  # by register: the `mov` to come yet


def delay(function: Function) -> Function:
    bits: dict[Operand, int] = {}
    for block in function.blocks:
        for instr in block.instrs:
            if _constant(instr) and instr.dst not in bits:
                bits[instr.dst] = 1 << len(bits)
    if not bits:
        return function
    live = live_at_start(function, bits)
    made: dict[str, list[Instr]] = {}
    at_end: dict[str, Late] = {}  # by block: what is late there
    before: dict[str, list[str]] = {}  # the blocks that lead to it
    for block in function.blocks:
        late = _common([at_end[label] for label in before.get(block.label, ())])
        for label in before.get(block.label, ()):
            for reg in [reg for reg in at_end[label] if reg not in late]:
                if live[block.label] & bits[reg]:
                    made[label].insert(-1, at_end[label].pop(reg))
        late = {reg: instr for reg, instr in late.items() if live[block.label] & bits[reg]}
        out = made[block.label] = []
        for instr in block.instrs:
            for arg in instr.args if late else ():
                reg = arg.reg if type(arg) is Bounded else arg
                if type(reg) is Reg and reg in late:
                    out.append(late.pop(reg))
            if _constant(instr):
                late[instr.dst] = instr
                continue
            late.pop(instr.dst, None)
            out.append(instr)
        at_end[block.label] = late
        for label in set(targets(block.instrs[-1])):
            before.setdefault(label, []).append(block.label)
    blocks = tuple([Block(block.label, tuple(made[block.label])) for block in function.blocks])
    return function.replace(blocks=blocks)


def _constant(instr: Instr) -> bool:
    return instr.op == "mov" and type(instr.args[0]) is int


def _common(lates: list[Late]) -> Late:
    """What is late on all ways, and to the same constant."""
    if not lates:
        return {}
    first, *others = lates
    return {
        reg: instr
        for reg, instr in first.items()
        if all(reg in late and late[reg].args == instr.args for late in others)
    }
