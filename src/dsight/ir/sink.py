"""What is worked out early and wanted on some ways only: worked out on those.

    function = sink(function)

It moves what gives the same wherever it stands, as the address of a CPU's part of an array does.
A pass as those of ir.passes are, but for this: a call of a helper of SAME may come to stand on several ways.
"""

from __future__ import annotations

from dsight.ir.algebra import set_counts
from dsight.ir.arith import BINARY
from dsight.ir.often import weights
from dsight.ir.ops import Block, Bounded, Function, Instr, Reg
from dsight.ir.passes import SAME, Dominators, drop_dead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand

_LONG = 8  # operations: longer expressions stay where they are


def sink(function: Function) -> Function:
    """Moves the address of a CPU's part, and calls of SAME, which entry blocks make for all ways, to where they are
    wanted."""
    return _moved(_moved(function, True), False)


def _moved(function: Function, addresses: bool) -> Function:
    expressions = _expressions(function, addresses)
    if not expressions:
        return function
    dominators = Dominators(function)
    weight = weights(function.blocks)
    regs = function.regs
    starts: dict[int, list[Instr]] = {}  # block: what comes to stand at its start
    names: dict[int, dict[Operand, Reg]] = {}  # block: what it reads instead of a register
    for reg, (at, expression, used) in expressions.items():
        if at in used:
            continue
        places = _places(at, sorted(used), dominators, weight)
        if set(places.values()) == {at}:
            continue
        copies: dict[int, Reg] = {}
        for place in sorted(set(places.values())):
            new: dict[Operand, Operand] = {}
            for instr in expression:
                new[instr.dst] = Reg(regs)
                regs += 1
                args = tuple([new.get(arg, arg) if type(arg) is Reg else arg for arg in instr.args])
                starts.setdefault(place, []).append(Instr(instr.op, new[instr.dst], args, instr.span))  # type: ignore[arg-type]
            copies[place] = new[reg]  # type: ignore[assignment]
        for use, place in places.items():
            names.setdefault(use, {})[reg] = copies[place]
    if not starts:
        return function
    blocks = []
    for n, block in enumerate(function.blocks):
        instrs = block.instrs
        if n in names:
            instrs = tuple([_renamed(instr, names[n]) for instr in instrs])
        blocks.append(Block(block.label, (*starts.get(n, ()), *instrs)))
    return drop_dead(function.replace(blocks=tuple(blocks), regs=regs))


def _expressions(function: Function, addresses: bool) -> dict[Reg, tuple[int, list[Instr], set[int]]]:
    """By register that is the address of a CPU's part, or given by a call: block, how it is worked out, the blocks that
    read it."""
    counts = set_counts(function)
    made: dict[Operand, list[Instr]] = {}
    found: dict[Reg, tuple[int, list[Instr], set[int]]] = {}
    for n, block in enumerate(function.blocks):
        for instr in block.instrs:
            op, dst = instr.op, instr.dst
            if found:
                for arg in instr.args:
                    reg = arg.reg if type(arg) is Bounded else arg
                    if reg in found and type(reg) is Reg:
                        found[reg][2].add(n)
            if dst < 0 or counts[dst] > 1:
                continue
            if op == "value" or (op == "call" and instr.args[0] in SAME):
                made[dst] = [instr]
                if op == "call" and not addresses:
                    found[dst] = n, made[dst], set()
            elif not addresses:
                continue
            elif op in BINARY and all(type(arg) is int or arg in made for arg in instr.args):
                parts = [i for arg in instr.args if type(arg) is Reg for i in made[arg]]
                if len(parts) < _LONG:
                    made[dst] = [*parts, instr]
                    if op == "add" and parts[-1].op == "value" or op == "add" and parts[0].op == "value":
                        found[dst] = n, made[dst], set()
            elif op == "mov" and instr.args[0] in found:
                made[dst] = [*made[instr.args[0]], instr]
                found[dst] = n, made[dst], set()
    return found


def _renamed(instr: Instr, names: dict[Operand, Reg]) -> Instr:
    if names.keys().isdisjoint([arg.reg if type(arg) is Bounded else arg for arg in instr.args]):
        return instr
    args: list[Operand] = []
    for arg in instr.args:
        if type(arg) is Bounded:
            args.append(Bounded(names.get(arg.reg, arg.reg), arg.limit))
        else:
            args.append(names.get(arg, arg) if type(arg) is Reg else arg)
    return Instr(instr.op, instr.dst, tuple(args), instr.span)


def _places(at: int, used: list[int], dominators: Dominators, weight: list[float]) -> dict[int, int]:
    """For each block that uses something the one where to work it out: `at`, or further on."""
    if not used:
        return {}
    deepest = used[0]
    for use in used[1:]:
        deepest = dominators.common(deepest, use)
    if deepest in used:
        return dict.fromkeys(used, deepest)
    groups: dict[int, list[int]] = {}
    for use in used:
        groups.setdefault(dominators.climb(use, dominators.depth[deepest] + 1), []).append(use)
    apart: dict[int, int] = {}
    for group in groups.values():
        apart |= _places(deepest, group, dominators, weight)
    if sum([weight[place] for place in set(apart.values())]) < weight[deepest]:
        return apart
    return dict.fromkeys(used, deepest)
