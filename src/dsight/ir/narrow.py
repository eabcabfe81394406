"""Branches that look at 32 bits: what is extended for nothing but a comparison with a constant is compared as it is.

A pass as those of ir.passes are.  It comes last: the others know more of whole numbers.
"""

from __future__ import annotations

from dsight.ir.algebra import Made
from dsight.ir.arith import MASK, signed
from dsight.ir.ops import Block, Instr, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Function


def narrow(function: Function) -> Function:
    made: Made | None = None
    blocks = []
    changed = False
    for block in function.blocks:
        last = block.instrs[-1]
        a, b = last.args[1:3] if last.op == "br" else (0, 0)
        if type(a) is Reg and type(b) is int and (at := _extension(block, a)) >= 0:
            made = made or Made(function)
            how = block.instrs[at]
            source = how.args[0]
            condition = _short(str(last.args[0]), how.op, signed(b & MASK))
            if condition and type(source) is Reg and made.reads[a] == made.sets[a] == 1 and _kept(block, at, source):
                last = Instr("br", last.dst, (condition, source, *last.args[2:]), last.span)
                block = Block(block.label, (*block.instrs[:at], *block.instrs[at + 1 : -1], last))
                changed = True
        blocks.append(block)
    return function.replace(blocks=tuple(blocks)) if changed else function


def _extension(block: Block, reg: Reg) -> int:
    """Where in the block the register is made by extending 32 bits, or -1."""
    for at in range(len(block.instrs) - 2, -1, -1):
        instr = block.instrs[at]
        if instr.dst == reg:
            return at if instr.op in ("zext", "sext") and instr.args[1] == 32 else -1
    return -1


def _kept(block: Block, at: int, reg: Reg) -> bool:
    """Whether nothing behind the place in the block sets the register."""
    return all(instr.dst != reg for instr in block.instrs[at:])


def _short(condition: str, extension: str, n: int) -> str:
    """The condition for the 32 bits alone, where it says the same as `condition` of the extended number and n; or "".
    Both extensions keep the unsigned order, of those numbers that are extended ones."""
    if condition in ("any", "none") or condition[-2:] == "32":
        return ""
    if extension == "sext":
        return f"{condition}32" if -(1 << 31) <= n < 1 << 31 else ""
    if not 0 <= n < 1 << 32:
        return ""
    return f"u{condition[1:]}32" if condition[0] == "s" else f"{condition}32"
