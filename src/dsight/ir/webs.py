"""Registers that are set more than once, told apart: what is set here and read there, and what is set and read
elsewhere under the same number, are two registers.

    function = split(function)

A pass as those of ir.passes are.
"""

from __future__ import annotations

from dsight.ir.algebra import set_counts
from dsight.ir.build import targets
from dsight.ir.ops import Block, Bounded, Function, Instr, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand


def split(function: Function) -> Function:
    counts = set_counts(function)
    many: dict[Operand, int] = {Reg(n): 1 << n for n, count in enumerate(counts) if count > 1}
    if not many:
        return function
    live = live_at_start(function, many)
    above: list[int] = []  # union and find over the instructions that set one of them

    def top(n: int) -> int:
        while above[n] != n:
            above[n] = n = above[above[n]]
        return n

    reg_of: list[Reg] = []
    at_start: dict[str, dict[Operand, int]] = {}
    for block in function.blocks:
        here = dict(at_start.get(block.label, ()))
        for instr in block.instrs:
            if instr.dst in many:
                here[instr.dst] = len(above)
                above.append(len(above))
                reg_of.append(instr.dst)
        for label in targets(block.instrs[-1]):
            read = live[label]
            there = at_start.get(label)
            if there is None:
                at_start[label] = {reg: n for reg, n in here.items() if read & many[reg]}
            else:
                for reg, n in there.items():
                    above[top(here[reg])] = top(n)
    names: dict[int, Reg] = {}
    taken: set[Reg] = set()
    regs = function.regs

    def name(n: int) -> Reg:
        nonlocal regs
        n = top(n)
        found = names.get(n)
        if found is None:
            found = reg_of[n]
            if found in taken:
                found = Reg(regs)
                regs += 1
            taken.add(reg_of[n])
            names[n] = found
        return found

    blocks = []
    number = 0
    for block in function.blocks:
        now: dict[Operand, Reg] = {reg: name(n) for reg, n in at_start.get(block.label, {}).items()}
        out = []
        for instr in block.instrs:
            args: list[Operand] | None = None
            for n, arg in enumerate(instr.args):
                reg = arg.reg if type(arg) is Bounded else arg
                if type(reg) is Reg and reg in many:
                    new = now[reg]
                    if new != reg:
                        args = list(instr.args) if args is None else args
                        args[n] = Bounded(new, arg.limit) if type(arg) is Bounded else new
            dst = instr.dst
            if dst in many:
                now[instr.dst] = dst = name(number)
                number += 1
            if args is not None or dst != instr.dst:
                instr = Instr(instr.op, dst, instr.args if args is None else tuple(args), instr.span)
            out.append(instr)
        blocks.append(Block(block.label, tuple(out)))
    return function.replace(blocks=tuple(blocks), regs=regs)


def live_at_start(function: Function, bits: dict[Operand, int]) -> dict[str, int]:
    """By block: those that are read from its start on before they are set."""
    live: dict[str, int] = {}
    for block in reversed(function.blocks):
        read = 0
        for label in targets(block.instrs[-1]):
            read |= live[label]
        for instr in reversed(block.instrs):
            if instr.dst in bits:
                read &= ~bits[instr.dst]
            for arg in instr.args:
                reg = arg.reg if type(arg) is Bounded else arg
                if type(reg) is Reg:
                    read |= bits.get(reg, 0)
        live[block.label] = read
    return live
