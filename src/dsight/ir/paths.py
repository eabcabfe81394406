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
from dsight.ir.build import of_cpu, targets
from dsight.ir.maps import LINE, ZERO
from dsight.ir.ops import CLOBBERS, NO_REG, Block, Bounded, Function, Instr, Reg
from dsight.ir.words import MOST, Words, pointers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand
    from dsight.source import Span

# Forks in a function that has few enough paths as it is: at most 2 ** FEW.
FEW = 6

# Nothing is done about these, if what they read and set is in no memory.
_AS_IT_IS = frozenset(
    "add sub mul and or xor shl shr sar neg not zext sext bswap ctx slot value store xadd zero jmp ret".split()
)
_SPLIT = frozenset({"set", "sdiv", "smod"})


def join_paths(function: Function, words: str, passed: str = "", cpus: int = 0) -> tuple[Function, int]:
    """The same function, for the verifier's sake; one with few branches as it is.  What is kept in memory, and what
    goes through it, is in the array of one value `passed`, which has a part for each of `cpus` (a power of two
    above all their numbers).  0: nothing may be kept; what goes through memory goes through `words`, a map of 8 bytes
    for each CPU (ir.words).  And how many bytes that array's value has, 0 for none."""
    known = _Registers(function)
    forks = 0
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in _SPLIT or instr.op == "br" and known.to_hide(instr):
                forks += 1
    if forks <= FEW:
        return function, 0
    if function.followed and not _depended_on(function):
        return function, 0
    rewriter = _Rewriter(function, known, Words(function, words), passed, cpus)
    return rewriter.run(), rewriter.size


def _depended_on(function: Function) -> bool:
    """Whether there are indexes, sizes, or signed divisions."""
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in ("at", "sdiv", "smod") or any(type(arg) is Bounded for arg in instr.args):
                return True
    return False


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


def copied(function: Function, known: _Registers) -> dict[str, list[Reg]]:
    """By block that ends with a branch, what this must test a copy of: the second paragraph above."""
    same = _Classes(function.regs)
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in _LINKED:
                for arg in instr.args:
                    if type(arg) is Reg:
                        same.join(instr.dst, arg)
    tested = {}  # block: what its branch tests
    for block in function.blocks:
        last = block.instrs[-1]
        if last.op == "br":
            tested[block.label] = [arg for arg in last.args[1:3] if type(arg) is Reg and known.hidden(arg)]
    masks = {same.of(reg): 0 for regs in tested.values() for reg in regs}  # class: its registers as bits
    bits: dict[Operand, int] = {}
    for number in range(function.regs):
        top = same.of(number)
        if top in masks:
            bit = bits[Reg(number)] = 1 << len(bits)
            masks[top] |= bit
    found: dict[str, list[Reg]] = {}
    live: dict[str, int] = {}
    for block in reversed(function.blocks):
        read = 0
        for label in targets(block.instrs[-1]):
            read |= live[label]
        last = block.instrs[-1]
        if last.op == "br":
            hidden = tested[block.label]
            if hidden and last.args[0] == "any" and last.args[2] == -1 and _made_last(block, hidden[0]):
                # where it is not 0 nothing is learnt
                hidden = hidden if live[str(last.args[4])] & bits[hidden[0]] else []
            else:
                hidden = [arg for arg in hidden if masks[same.of(arg)] & read]
            found[block.label] = hidden
        for instr in reversed(block.instrs):
            if instr.dst in bits:
                read &= ~bits[instr.dst]
            if instr.op == "call" or not bits.keys().isdisjoint(instr.args):
                for arg in instr.args:
                    reg = arg.reg if type(arg) is Bounded else arg
                    if type(reg) is Reg:
                        read |= bits.get(reg, 0)
        live[block.label] = read
    return found


def _made_last(block: Block, reg: Reg) -> bool:
    """Whether the instruction before the last sets a register."""
    return len(block.instrs) > 1 and block.instrs[-2].dst == reg


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
    def __init__(self, function: Function, known: _Registers, words: Words, passed: str, cpus: int) -> None:
        self.function = function
        self.known = known
        self.passed, self.cpus = passed, cpus
        self.size = 0
        self.followed = function.followed  # then no branch has anything to hide
        self.copied = {} if self.followed else copied(function, known)
        self.label = ""
        self.words = words
        self.uses_words = False
        # What this block has from a call or from memory that is not the stack.  Not from before a `loop`: a
        # verifier before 6.8 does not look back across one, and takes all there is for depended on.
        self.read: set[Reg] = set()
        self.homes = self.choose_homes() if cpus and not self.followed else {}
        self.home = NO_REG
        # Copies of what is in memory, that only this block reads; and what of them others may stand for.
        self.fresh: set[Operand] = set()
        self.current: dict[Operand, Reg] = {}
        self.linked: set[Operand] = set()
        self.tests = False  # whether the instruction is a branch
        self.regs = words.regs
        self.out: list[Instr] = []
        self.span: Span | None = None
        self.zero = NO_REG

    def run(self) -> Function:
        blocks = []
        for n, block in enumerate(self.function.blocks):
            self.out, self.label = [], block.label
            for known_here in (self.read, self.current, self.linked):
                known_here.clear()
            if not n:
                self.zero = self.emit("load", self.emit("value", "globals", ZERO), 0, 8)
                if self.homes:
                    self.home = self.here()
            for instr in block.instrs:
                self.span = instr.span
                self.instr(instr)
            blocks.append(Block(block.label, tuple(self.out)))
        if self.uses_words:
            return self.words.finish(blocks, self.regs)
        return self.function.replace(blocks=tuple(blocks), regs=self.regs)

    def choose_homes(self) -> dict[Operand, int]:
        """The registers that are kept in memory, and where: those that branches test that would need copies,
        and that are set or tested more than once; and those set to constants on some way."""
        counts = self.known.counts
        tests: dict[Operand, int] = {}
        for block in self.function.blocks:
            for arg in self.copied.get(block.label, ()):
                tests[arg] = tests.get(arg, 0) + 1
            for instr in block.instrs:
                dst = instr.dst
                if instr.op == "mov" and type(instr.args[0]) is int and counts[dst] > 1 and self.known.hidden(dst):
                    tests[dst] = 2
        found = [reg for reg, count in tests.items() if count > 1 or counts[reg] > 1]  # type: ignore[index]
        return {reg: 8 * n for n, reg in enumerate(found[:MOST], 1)}

    def emit(self, op: str, *args: Operand) -> Reg:
        dst = Reg(self.regs)
        self.regs += 1
        self.out.append(Instr(op, dst, args, self.span))
        return dst

    def hide(self, operand: Operand) -> Operand:
        """A copy of which the verifier knows nothing."""
        if operand in self.fresh:
            return operand
        return self.emit("xor", operand, self.zero) if self.known.hidden(operand) else operand

    def here(self) -> Reg:
        """This CPU's part of the array `passed`: a word to pass numbers through, then the homes."""
        each = 8 * (1 + len(self.homes)) + LINE - 1 & -LINE
        self.size = each * self.cpus
        return of_cpu(self.emit, self.passed, each, self.cpus)

    def at_home(self, operand: Operand) -> Operand:
        """What is in memory is read from there, each time anew: the verifier knows nothing of it."""
        if type(operand) is Bounded:
            return Bounded(self.at_home(operand.reg), operand.limit)  # type: ignore[arg-type]
        if type(operand) is not Reg or operand not in self.homes:
            return operand
        copy = None if self.tests and operand in self.linked else self.current.get(operand)
        if copy is None:
            copy = self.current[operand] = self.emit("load", self.home, self.homes[operand], 8)
            self.fresh.add(copy)
        return copy

    def through_memory(self, reg: Operand) -> Operand:
        """A copy of which it does not know where it is from."""
        if type(reg) is not Reg or reg in self.read or reg in self.known.told or reg in self.known.pointers:
            return reg
        if reg in self.fresh:
            return reg
        if self.homes:
            here = self.home
        elif self.cpus:
            here = self.here()
        else:
            self.uses_words, here = True, self.words.pointer
        self.out.append(Instr("store", NO_REG, (here, 0, 8, reg), self.span))
        copy = self.emit("load", here, 0, 8)
        return self.emit("and", copy, -self.known.aligned[reg]) if reg in self.known.aligned else copy

    def instr(self, instr: Instr) -> None:
        op, args, dst = instr.op, instr.args, instr.dst
        homes = self.homes
        if op in _AS_IT_IS and dst not in homes and homes.keys().isdisjoint(args):
            self.read.discard(dst)
            self.out.append(instr)
            return
        if homes:
            if op == "call" or not homes.keys().isdisjoint(args):
                self.tests = op == "br"
                args = tuple([self.at_home(arg) for arg in args])
                if op in _LINKED:
                    self.linked.update(instr.args)
            if op in CLOBBERS:
                self.current.clear()
            if dst in homes and op == "mov":
                self.out.append(Instr("store", NO_REG, (self.home, homes[dst], 8, args[0]), instr.span))
                self.current.pop(dst, None)
                return
            if dst in homes:
                self.current[dst] = dst = Reg(self.regs)
                self.fresh.add(dst)
                self.regs += 1
                (self.linked.add if op in _LINKED else self.linked.discard)(instr.dst)
        if op == "loop":
            self.read.clear()
        elif op == "call" or op == "peek" or (op == "load" and args[0] not in self.known.slots):
            self.read.add(instr.dst)
        else:
            self.read.discard(instr.dst)
        if op == "br" and not self.followed:
            hidden = self.copied[self.label]
            a, b = [self.hide(arg) if instr.args[n] in hidden else arg for n, arg in enumerate(args[1:3], 1)]
            args = (args[0], a, b, *args[3:])
        elif op == "at":
            args = (args[0], self.through_memory(args[1]), args[2])
        elif op == "call":
            args = tuple([self.bounded(arg) if type(arg) is Bounded else arg for arg in args])
        elif op == "set" and not self.followed and not self.known.any_pointer(args):
            op, args = self.comparison(*args)  # type: ignore[arg-type]
        elif op in ("sdiv", "smod"):
            op, args = self.division(op, *args)
        elif op == "mov" and not self.followed and type(args[0]) is int and self.known.counts[instr.dst] > 1:
            if instr.dst not in self.known.pointers:  # one of several that meet
                op, args = "xor", (self.zero, args[0])
        self.out.append(instr if args is instr.args and dst == instr.dst else Instr(op, dst, args, instr.span))
        if dst != instr.dst:
            self.out.append(Instr("store", NO_REG, (self.home, homes[instr.dst], 8, dst), instr.span))

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
