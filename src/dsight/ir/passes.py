"""Passes: Function to Function, same meaning.

All need a verified function and give one that verifies again; in particular every jump
stays a forward one and every block can be reached.  None adds memory accesses or helper
calls, or moves one past another.  Registers keep their numbers, instructions their spans.

The words used below: a register is *set once* where one instruction alone sets it.  As
every path sets it before it is read, and no path runs through a block twice, what is known
of such a register holds wherever it is read.  Of other registers things are known only
within a block, up to the next time they are set.
"""

from __future__ import annotations

from dsight.ir.algebra import Simplifier, set_counts
from dsight.ir.arith import MASK, holds
from dsight.ir.build import targets
from dsight.ir.ops import NO_REG, Block, Bounded, Function, Instr, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.ops import Operand

    Passes = tuple[Callable[[Function], Function], ...]

# Helpers that give the same however often one run of a program calls them.
SAME = frozenset({
    "get_current_pid_tgid", "get_current_uid_gid", "get_current_cgroup_id", "get_current_task",
    "get_current_task_btf", "get_smp_processor_id", "get_attach_cookie",
})  # fmt: skip

# Helpers that change nothing: no need to call them where nobody reads the result.
READERS = SAME | {
    "ktime_get_ns", "ktime_get_boot_ns", "ktime_get_tai_ns", "get_prandom_u32", "map_lookup_elem",
}  # fmt: skip

_WRITES = frozenset({"store", "xadd", "zero", "copy", "loop"})  # and calls other than READERS

# Blocks named so are seldom run: nothing is kept for them that costs the others a register.
SELDOM = "fault_record"

# Done again more cheaply than kept in a register.
_CHEAP = frozenset({"mov", "ctx", "slot", "value"})


def optimise(function: Function, passes: Passes | None = None) -> Function:
    """All passes, or these, on the bodies of loops too."""
    for one in passes or PASSES:
        function = one(function)
    if function.bodies:
        function = function.replace(bodies=tuple([optimise(body, passes) for body in function.bodies]))
    return function


def simplify(function: Function) -> Function:
    """Puts constants and copied registers in the place of registers, folds what becomes constant,
    applies the rules of `ir.algebra`; a branch on constants becomes a jump, and what is not reached
    any more goes.  Leaves `mov`s that nobody reads."""
    simplifier = Simplifier(function)
    reached = {function.blocks[0].label}
    blocks = []
    for block in function.blocks:
        if block.label in reached:
            instrs = simplifier.block(block.instrs)
            reached.update(targets(instrs[-1]))
            blocks.append(Block(block.label, instrs))
    return function.replace(blocks=tuple(blocks))


def drop_dead(function: Function) -> Function:
    """Drops operations whose result nobody reads before it is set again, unless they do something else,
    and stack slots nobody points to.  Every jump goes forward, so one walk from the end is enough."""
    # Of a register set once every reader stands behind what it reads.  Of the others a bit each.
    seen: set[Operand] = set()
    bits = {reg: 1 << n for n, reg in enumerate([r for r, count in enumerate(set_counts(function)) if count > 1])}
    live: dict[str, int] = {}  # block: the bits of those that are read from its start on
    slots: set[Operand] = set()
    blocks = []
    for block in reversed(function.blocks):
        kept = []
        read = 0
        for label in targets(block.instrs[-1]):
            read |= live[label]
        for instr in reversed(block.instrs):
            dst = instr.dst
            if dst >= 0:
                bit = bits.get(dst, 0)
                needed = read & bit if bit else dst in seen
                if not needed and (instr.op != "call" or instr.args[0] in READERS):
                    continue
                read &= ~bit
            for arg in instr.args:
                reg = arg.reg if type(arg) is Bounded else arg
                if type(reg) is Reg:
                    if reg in bits:
                        read |= bits[reg]
                    else:
                        seen.add(reg)
            if instr.op == "slot":
                slots.add(instr.args[0])
            kept.append(instr)
        live[block.label] = read
        kept.reverse()
        blocks.append(Block(block.label, tuple(kept)))
    blocks.reverse()
    return function.replace(blocks=tuple(blocks), slots=tuple([slot for slot in function.slots if slot[0] in slots]))


def share(function: Function) -> Function:
    """Computes nothing twice within a block, and calls the helpers of SAME only where no block
    on the way here has: the second time becomes a `mov`.  (Blocks of SELDOM call them again.)

    A load is the same as an earlier one up to the next write of memory; loads from the context always.
    """
    once = [count == 1 for count in set_counts(function)]
    places: dict[Reg, tuple[object, ...]] = {}  # registers that hold a context, slot or map value address
    called: dict[object, tuple[int, Reg]] = {}  # call of a SAME helper: block, register
    version: dict[Reg, int] = {}  # how often a register that is not set once has been set so far
    epoch = 0  # counts writes of memory
    dominators = Dominators(function)
    blocks = []
    for number, block in enumerate(function.blocks):
        held: dict[object, Reg] = {}
        out = []
        for instr in block.instrs:
            op, dst, args = instr.op, instr.dst, instr.args
            if op in _WRITES or (op == "call" and args[0] not in READERS):
                epoch += 1
            same_call = op == "call" and args[0] in SAME
            if dst != NO_REG and (same_call or (op != "call" and op not in _CHEAP)):
                key: list[object] = [op]
                for arg in args:
                    if type(arg) is Reg:
                        key.append(places.get(arg) or (arg if once[arg] else (arg, version.get(arg, 0))))
                    else:
                        key.append(("integer", arg & MASK) if type(arg) is int else arg)  # Reg(3) == 3
                if op == "strcmp" or op == "peek" or (op == "load" and key[1] != ("ctx",)):
                    key.append(epoch)
                expression = tuple(key)
                holder = held.get(expression)
                if holder is None and same_call and expression in called and not block.label.startswith(SELDOM):
                    where, register = called[expression]
                    if dominators.has(number, where):
                        holder = register
                if holder is not None:
                    instr = Instr("mov", dst, (holder,), instr.span)
                elif once[dst]:
                    held[expression] = dst
                    if same_call:
                        called[expression] = (number, dst)
            if dst != NO_REG:
                if not once[dst]:
                    version[dst] = version.get(dst, 0) + 1
                elif op in ("ctx", "slot", "value"):
                    places[dst] = (op, *args)[: 1 if op == "ctx" else 3]
            out.append(instr)
        blocks.append(Block(block.label, tuple(out)))
    return function.replace(blocks=tuple(blocks))


class Dominators:
    """Which blocks all paths to a block pass.

    Blocks are numbers here, in forward order, so those a block depends on are known before it.
    `jump` leads up the tree in steps that make each climb logarithmic: many blocks branch to the one
    that ends a clause.  (E. W. Myers, An applicative random-access stack, 1983.)
    """

    def __init__(self, function: Function) -> None:
        number = {block.label: n for n, block in enumerate(function.blocks)}
        count = len(function.blocks)
        self.parent = [-1] * count  # the last of them, besides the block itself
        self.depth = [0] * count
        self.jump = [0] * count
        self.parent[0] = 0
        for n, block in enumerate(function.blocks):
            if n:
                parent = self.parent[n]
                far = self.jump[parent]
                self.depth[n] = self.depth[parent] + 1
                even = self.depth[parent] - self.depth[far] == self.depth[far] - self.depth[self.jump[far]]
                self.jump[n] = self.jump[far] if even else parent
            for label in targets(block.instrs[-1]):
                target = number[label]
                known = self.parent[target]
                self.parent[target] = n if known < 0 else self.common(known, n)

    def climb(self, n: int, depth: int) -> int:
        while self.depth[n] > depth:
            n = self.jump[n] if self.depth[self.jump[n]] >= depth else self.parent[n]
        return n

    def common(self, a: int, b: int) -> int:
        """The last block that all paths to either pass."""
        a, b = self.climb(a, self.depth[b]), self.climb(b, self.depth[a])
        while a != b:
            step = self.parent if self.jump[a] == self.jump[b] else self.jump
            a, b = step[a], step[b]
        return a

    def has(self, n: int, dominator: int) -> bool:
        return self.climb(n, self.depth[dominator]) == dominator


def straighten(function: Function) -> Function:
    """Leads jumps past blocks that only jump on, or only branch on what is known where the jump starts;
    joins a block with the one it jumps to where nobody else does."""
    bodies = {block.label: list(block.instrs) for block in function.blocks}
    onward: dict[str, str] = {}  # block of a lone jump: where that ends
    for block in reversed(function.blocks):
        body = bodies[block.label]
        last = body[-1] = _retarget(body[-1], onward)
        if last.op == "jmp":
            last = body[-1] = _thread(body, bodies)
        if last.op == "jmp" and len(body) == 1:
            onward[block.label] = str(last.args[0])
    entry = function.blocks[0].label
    entered = {entry: 1}  # reached block: how many jumps lead to it
    for block in function.blocks:
        if block.label in entered:
            for label in targets(bodies[block.label][-1]):
                entered[label] = entered.get(label, 0) + 1
    blocks = []
    joined = set()
    for block in function.blocks:
        if block.label in entered and block.label not in joined:
            body = bodies[block.label]
            while body[-1].op == "jmp" and entered[follower := str(body[-1].args[0])] == 1:
                joined.add(follower)
                body[-1:] = bodies[follower]
            blocks.append(Block(block.label, tuple(body)))
    return function.replace(blocks=tuple(blocks))


def _retarget(terminator: Instr, onward: dict[str, str]) -> Instr:
    labels = targets(terminator)
    if not any(label in onward for label in labels):
        return terminator
    labels = tuple([onward.get(label, label) for label in labels])
    if len(set(labels)) == 1:
        return Instr("jmp", NO_REG, labels[:1], terminator.span)
    return Instr("br", NO_REG, (*terminator.args[:3], *labels), terminator.span)


def _thread(body: list[Instr], bodies: dict[str, list[Instr]]) -> Instr:
    """The jump at the end of the body; led past a lone branch on a register that the body ends with
    setting to a constant, as `a && b` leaves them."""
    jump = body[-1]
    there = bodies[str(jump.args[0])]
    while len(there) == 1 and there[0].op == "br":
        condition, a, b, then, other = there[0].args
        if type(a) is not Reg or type(b) is not int:
            break
        last = next((instr for instr in reversed(body) if instr.dst == a), jump)
        if last.op != "mov" or type(last.args[0]) is not int:
            break
        label = then if holds(str(condition), last.args[0] & MASK, b & MASK) else other
        jump = Instr("jmp", NO_REG, (label,), jump.span)
        there = bodies[str(label)]
    return jump


FIRST = (simplify, straighten)
REST = (share, simplify, drop_dead, straighten)
PASSES = (*FIRST, *REST)
