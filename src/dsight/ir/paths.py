"""What keeps the kernel's verifier from following each way through a program one by one.

The verifier walks one path after another, and leaves a path where it meets a state it has seen, registers
that nothing depended on not looked at.  What a *predicted* branch compared has been depended on: where the
verifier knows a value (0 or 1 after a comparison, a constant where two ways met), it follows one side only,
and from then on the ways that differ in this value never meet again: n of them make 2**n paths, and at a
million instructions the program is refused (BPF_COMPLEXITY_LIMIT_INSNS; kernel/bpf/verifier.c,
mark_chain_precision and states_equal).

So in a function with many branches none gets a value the verifier knows anything of: each is first xor-ed
with a zero that lies in a map, which it takes for any number.  That copy is compared and thrown away, so that
a branch teaches nothing about the value either.  A branch needs no copy where nobody reads the value
afterwards, nor one that the verifier takes for the same.  Comparisons and signed divisions that give a value, which
are made with jumps otherwise (bpf.select), are made without; a constant from one of several ways is that zero
xor-ed with it.  An index or a size is depended on in any case, and so is all it was made of: these go through
memory, behind which the verifier does not look.  (Before Linux 6.8 it looks back across no bpf_loop and takes
everything for depended on; and a known 0 is depended on when it is spilled.)
"""

from __future__ import annotations

from dsight.ir.algebra import set_counts
from dsight.ir.arith import signed
from dsight.ir.build import targets
from dsight.ir.maps import ZERO
from dsight.ir.ops import NO_REG, Block, Bounded, Function, Instr, Reg
from dsight.ir.words import Words, pointers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand
    from dsight.source import Span

# Forks in a function that has few enough paths as it is: at most 2 ** FEW.
FEW = 6

_SPLIT = frozenset({"set", "sdiv", "smod"})


def join_paths(function: Function, words: str) -> Function:
    """The same function, for the verifier's sake; one with few branches as it is.  `words` is what a map of
    8 bytes for each CPU may be called (ir.words)."""
    known = _Registers(function)
    forks = 0
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in _SPLIT or instr.op == "br" and known.to_hide(instr):
                forks += 1
    if forks <= FEW:
        return function
    return _Rewriter(function, known, Words(function, words)).run()


class _Registers:
    """What the verifier may know of each register."""

    def __init__(self, function: Function) -> None:
        self.counts = counts = set_counts(function)
        reads = [0] * function.regs
        self.pointers = pointers(function)
        self.told: set[Reg] = set()  # it must learn from branches: sizes that must not be 0
        self.slots: set[Operand] = set()  # the addresses of stack slots
        self.aligned: dict[Reg, int] = {}  # set once, to a multiple of a power of two
        unknown = []  # set once, by a call or from whatever memory
        for block in function.blocks:
            for instr in block.instrs:
                op, dst, args = instr.op, instr.dst, instr.args
                for arg in args:
                    if type(arg) is Reg:
                        reads[arg] += 1
                    elif type(arg) is Bounded:
                        reads[arg.reg] += 1
                        if args[0] == "probe_write_user":
                            self.told.add(arg.reg)
                if op == "slot":
                    self.slots.add(dst)
                elif op == "shl" and type(args[1]) is int and counts[dst] == 1:
                    self.aligned[dst] = 1 << (args[1] & 63)
                elif (op == "load" or op == "peek" or op == "call") and counts[dst] == 1:
                    unknown.append(dst)
        self.unknown = {reg for reg in unknown if reads[reg] == 1}

    def any_pointer(self, operands: tuple[Operand, ...]) -> bool:
        return any(type(operand) is Reg and operand in self.pointers for operand in operands)

    def hidden(self, operand: Operand) -> bool:
        """Whether an operand is better not shown to the verifier."""
        return (
            type(operand) is Reg
            and operand not in self.pointers
            and operand not in self.unknown
            and operand not in self.told
        )

    def to_hide(self, branch: Instr) -> bool:
        return self.hidden(branch.args[1]) or self.hidden(branch.args[2])


# What makes a value that the verifier takes for the same, or for the same but for a constant.
_LINKED = frozenset({"mov", "add", "sub", "zext", "at"})


def harmless(function: Function, known: _Registers) -> set[str]:
    """The blocks at whose end a branch may test the values themselves: the second paragraph above."""
    same = _Classes(function.regs)
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in _LINKED:
                for arg in instr.args:
                    if type(arg) is Reg:
                        same.join(instr.dst, arg)
    masks: dict[int, int] = {}  # class: its registers as bits
    for reg in range(function.regs):
        top = same.of(reg)
        masks[top] = masks.get(top, 0) | 1 << reg
    found = set()
    live: dict[str, int] = {}
    for block in reversed(function.blocks):
        read = 0
        for label in targets(block.instrs[-1]):
            read |= live[label]
        last = block.instrs[-1]
        if last.op == "br":
            hidden = [arg for arg in last.args[1:3] if type(arg) is Reg and known.hidden(arg)]
            if last.args[0] == "any" and len(hidden) == 1 and block.instrs[-2].dst == hidden[0]:
                dead = not live[str(last.args[4])] >> hidden[0] & 1  # where it has a bit nothing is learnt
            else:
                dead = not any(masks[same.of(arg)] & read for arg in hidden)
            if dead:
                found.add(block.label)
        for instr in reversed(block.instrs):
            if instr.dst >= 0:
                read &= ~(1 << instr.dst)
            for arg in instr.args:
                if type(arg) is Reg:
                    read |= 1 << arg
                elif type(arg) is Bounded:
                    read |= 1 << arg.reg
        live[block.label] = read
    return found


class _Classes:
    """Which registers belong together: union and find."""

    def __init__(self, count: int) -> None:
        self.above = list(range(count))

    def of(self, member: int) -> int:
        above = self.above
        while above[member] != member:
            above[member] = member = above[above[member]]
        return member

    def join(self, a: int, b: int) -> None:
        self.above[self.of(a)] = self.of(b)


class _Rewriter:
    def __init__(self, function: Function, known: _Registers, words: Words) -> None:
        self.function = function
        self.known = known
        self.harmless = harmless(function, known)
        self.label = ""
        self.words = words
        self.uses_words = False
        # What this block has from a call or from memory that is not the stack.  Not from before a `loop`: a
        # verifier before 6.8 does not look back across one, and takes all there is for depended on.
        self.read: set[Reg] = set()
        self.regs = words.regs
        self.out: list[Instr] = []
        self.span: Span | None = None
        self.zero = NO_REG

    def run(self) -> Function:
        blocks = []
        for n, block in enumerate(self.function.blocks):
            self.out, self.label = [], block.label
            self.read.clear()
            if not n:
                self.zero = self.emit("load", self.emit("value", "globals", ZERO), 0, 8)
            for instr in block.instrs:
                self.span = instr.span
                self.instr(instr)
            blocks.append(Block(block.label, tuple(self.out)))
        if self.uses_words:
            return self.words.finish(blocks, self.regs)
        return self.function.replace(blocks=tuple(blocks), regs=self.regs)

    def emit(self, op: str, *args: Operand) -> Reg:
        dst = Reg(self.regs)
        self.regs += 1
        self.out.append(Instr(op, dst, args, self.span))
        return dst

    def hide(self, operand: Operand) -> Operand:
        """A copy of which the verifier knows nothing."""
        return self.emit("xor", operand, self.zero) if self.known.hidden(operand) else operand

    def through_memory(self, reg: Operand) -> Operand:
        """A copy of which it does not know where it is from."""
        if type(reg) is not Reg or reg in self.read or reg in self.known.told or reg in self.known.pointers:
            return reg
        self.uses_words = True
        self.out.append(Instr("store", NO_REG, (self.words.pointer, 0, 8, reg), self.span))
        copy = self.emit("load", self.words.pointer, 0, 8)
        return self.emit("and", copy, -self.known.aligned[reg]) if reg in self.known.aligned else copy

    def instr(self, instr: Instr) -> None:
        op, args = instr.op, instr.args
        if op == "loop":
            self.read.clear()
        elif op == "call" or op == "peek" or (op == "load" and args[0] not in self.known.slots):
            self.read.add(instr.dst)
        else:
            self.read.discard(instr.dst)
        if op == "br" and self.label not in self.harmless:
            args = (args[0], self.hide(args[1]), self.hide(args[2]), *args[3:])
        elif op == "at":
            args = (args[0], self.through_memory(args[1]), args[2])
        elif op == "call":
            args = tuple([self.bounded(arg) if type(arg) is Bounded else arg for arg in args])
        elif op == "set" and not self.known.any_pointer(args):
            op, args = self.comparison(*args)  # type: ignore[arg-type]
        elif op in ("sdiv", "smod"):
            op, args = self.division(op, *args)
        elif op == "mov" and type(args[0]) is int and self.known.counts[instr.dst] > 1:
            if instr.dst not in self.known.pointers:  # one of several that meet
                op, args = "xor", (self.zero, args[0])
        self.out.append(instr if args is instr.args else Instr(op, instr.dst, args, instr.span))

    def bounded(self, size: Bounded) -> Bounded:
        return Bounded(self.through_memory(size.reg), size.limit)  # type: ignore[arg-type]

    # -- each returns the last operation and its operands

    def comparison(self, condition: str, a: Operand, b: Operand) -> tuple[str, tuple[Operand, ...]]:
        """The sign bit of what Warren works out (Hacker's Delight, 2-12, Comparison Predicates)."""
        emit = self.emit
        if condition[-2:] == "32":
            condition = condition[:-2]
            a, b = [emit("sext" if condition[0] == "s" else "zext", operand, 32) for operand in (a, b)]
        if condition in ("any", "none"):
            condition, a, b = "ne" if condition == "any" else "eq", emit("and", a, b), 0
        if condition in ("eq", "ne"):
            difference = a if type(b) is int and b == 0 else emit("xor", a, b)
            sign: Operand = emit("or", difference, emit("neg", difference))
            if condition == "ne":
                return "shr", (sign, 63)
            return "xor", (emit("shr", sign, 63), 1)
        order, or_equal = condition[1:2], condition[2:] == "e"
        if (order == "g") != or_equal:  # a > b is b < a, a <= b is !(b < a)
            a, b = b, a
        if condition[0] == "s" and type(b) is int and b == 0:
            sign = a
        else:
            apart = emit("and", a, emit("not", b)) if condition[0] == "s" else emit("and", emit("not", a), b)
            sign = emit("or", apart, emit("and", emit("not", emit("xor", a, b)), emit("sub", a, b)))
        if not or_equal:
            return "shr", (sign, 63)
        return "xor", (emit("shr", sign, 63), 1)

    def division(self, op: str, a: Operand, b: Operand) -> tuple[str, tuple[Operand, ...]]:
        """Of magnitudes; (n ^ sign) - sign negates where the sign, -1 or 0, says so."""
        emit = self.emit
        sign = emit("sar", a, 63)
        size = emit("sub", emit("xor", a, sign), sign)
        if type(b) is int:
            other: Operand = -(signed(b) < 0)
            by: Operand = abs(signed(b))
        else:
            other = emit("sar", b, 63)
            by = emit("sub", emit("xor", b, other), other)
        if op == "sdiv" and other != 0:
            sign = emit("xor", sign, other)
        result = emit("udiv" if op == "sdiv" else "umod", size, by)
        return "sub", (emit("xor", result, sign), sign)
