"""What a function's branches ask, and what of it they ask again: for `ir.ways`, whose words these are.

A *question* is (what, condition, constant): `what` is a register, or the number of an expression that several registers
are given (Names).
"""

from __future__ import annotations

from dsight.ir.algebra import set_counts
from dsight.ir.arith import BINARY, MASK, UNARY, holds
from dsight.ir.build import targets
from dsight.ir.ops import CONDITIONS, Function, Instr, MapRef, Reg
from dsight.ir.passes import SAME
from dsight.ir.storage import THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.ir.ops import Operand

    # Of what is worked out from a value with a constant: (operation, constant, Condition), (operation, Condition)
    Condition = str | tuple[Any, ...]
    Question = tuple[int, Condition, int]

DEEP = 4  # operations between a value and what is asked of it

# Operations that give the same wherever they are done to the same.
PURE = frozenset({*BINARY, *UNARY, "set", "ctx", "slot", "value", "cast"}) - {"mov"}
# condition: the same question asked the other way round; the others stand for themselves
_TURNED = {c: CONDITIONS[c] for c in ("ne", "uge", "ule", "sge", "sle")}
_TURNED |= {f"{c}32": f"{CONDITIONS[c]}32" for c in _TURNED}


def question(instr: Instr) -> tuple[str, Operand, Operand, bool]:
    """What a branch or a `set` asks: condition, operands, and whether the answer is to be turned round."""
    condition, a, b = instr.args[:3]
    assert type(condition) is str
    if condition in ("any", "none") and type(b) is int and b & MASK == MASK:
        condition, b = "ne" if condition == "any" else "eq", 0
    elif condition == "none":
        return "any", a, b, True
    if condition == "ugt" and b == 0:
        return "eq", a, b, True
    turned = _TURNED.get(condition)
    return (condition, a, b, False) if turned is None else (turned, a, b, True)


def answered(condition: Condition, a: int, b: int) -> bool:
    """As arith.holds, of what is worked out from a."""
    while type(condition) is tuple:
        a = BINARY[condition[0]](a, condition[1]) if len(condition) == 3 else UNARY[condition[0]](a)
        condition = condition[-1]
    return holds(str(condition), a, b)


def _depth(condition: Condition) -> int:
    depth = 0
    while type(condition) is tuple:
        condition, depth = condition[-1], depth + 1
    return depth


def _derived(instr: Instr) -> tuple[Reg, tuple[Any, ...]] | None:
    """The register that an instruction works something out from with a constant, and how."""
    op, args = instr.op, instr.args
    if op == "mov":
        return None
    if op in UNARY and type(args[0]) is Reg:
        return args[0], (op,)
    if op in BINARY and type(args[0]) is Reg and type(args[1]) is int and op[1:] not in ("div", "mod"):
        return args[0], (op, args[1] if op in ("zext", "sext", "bswap") else args[1] & MASK)
    return None


class Names:
    """Numbers of the expressions that may be worked out more than once, by the registers they are given to."""

    def __init__(self, function: Function) -> None:
        self.counts = set_counts(function)
        self.next = function.regs
        self.of: dict[Operand, int] = {}  # register: the number of the expression it is given
        self.by_key: dict[object, int] = {}
        self.members: dict[int, int] = {}  # how many registers are given it
        self.volatile: set[int] = set()  # those that may be something else when worked out again
        self.ctx = -1
        self.thread = self.fresh()  # the thread's element of map `thread`
        self.volatile.add(self.thread)
        self.reads = self.read_either_way(function)
        for block in function.blocks:
            for instr in block.instrs:
                if instr.dst >= 0:
                    self.name(instr)

    def read_either_way(self, function: Function) -> dict[Operand, Instr]:
        """The registers that are set to what is read in place, and to the same read by the helper (ir.lower_memory);
        by them the former."""
        by: dict[Reg, list[Instr]] = {}
        for block in function.blocks:
            for instr in block.instrs:
                if instr.dst >= 0 and self.counts[instr.dst] == 2:
                    by.setdefault(instr.dst, []).append(instr)
        return {reg: peek for reg, (peek, load) in by.items() if peek.op == "peek" and load.op == "load"}

    def fresh(self) -> int:
        self.next += 1
        return self.next - 1

    def name(self, instr: Instr) -> None:
        op, dst, args = instr.op, instr.dst, instr.args
        once = self.counts[dst] == 1
        if op == "call":
            if args[0] == "map_lookup_elem" and args[1] == MapRef(THREAD):
                self.members[self.thread] = self.members.get(self.thread, 0) + 1
                self.of[dst] = self.thread
                return
            if not once or args[0] not in SAME:
                return
            key: object = args
        elif op == "mov":
            source = self.of.get(args[0])
            if once and source is not None and self.counts[args[0]] == 1:  # type: ignore[index]
                self.of[dst] = source
            return
        elif op == "peek" or op == "load" or op in PURE:
            if not once and not (op == "peek" and dst in self.reads):
                return
            names: list[object] = [op]
            volatile = op == "peek"
            for arg in args:
                if type(arg) is Reg:
                    number = self.of.get(arg)
                    if number is None:
                        if self.counts[arg] > 1:
                            return
                        number = int(arg)
                    if number in self.volatile:
                        volatile = True
                    names.append((number,))
                else:
                    names.append(arg)
            if op == "load" and names[1] != (self.ctx,):
                return
            key = tuple(names)
            if volatile:
                key = ("volatile", key)
        else:
            return
        number = self.by_key.get(key)
        if number is None:
            number = self.by_key[key] = self.fresh()
            if op == "ctx":
                self.ctx = number
            if type(key) is tuple and key[0] == "volatile":
                self.volatile.add(number)
        self.members[number] = self.members.get(number, 0) + 1
        self.of[dst] = number


class Asked:
    """What is asked from the start of each block on, as bits."""

    def __init__(self, function: Function) -> None:
        self.names = names = Names(function)
        self.questions: list[Question] = []
        self.bit: dict[Question, int] = {}
        self.about: dict[int, int] = {}  # what: all that is asked about it
        self.from_: dict[str, int] = {}
        self.where: list[list[int]] = []  # by question: the blocks that ask it, or pass it on, backward
        self.block = len(function.blocks)
        asks: dict[int, int] = {}
        self.worth = False
        _counts, _of = names.counts, names.of
        for block in reversed(function.blocks):
            self.block -= 1
            read = 0
            last = block.instrs[-1]
            for label in targets(last):
                read |= self.from_[label]
            if last.op == "br" and not (last.args[0] == "any" and last.args[1] in names.reads):
                condition, a, b, _ = question(last)
                if type(a) is Reg and type(b) is int:
                    what = self.what(a)
                    read |= self.ask(what, condition, b)
                    asks[what] = asks.get(what, 0) + 1
                    if asks[what] > 1:
                        self.worth = True
            for instr in reversed(block.instrs):
                dst = instr.dst
                if dst < 0:
                    continue
                what = self.what(dst)
                mine = read & self.about.get(what, 0)
                if not mine:
                    continue
                if instr.op == "mov":
                    source = instr.args[0]
                    if type(source) is not Reg:
                        self.worth = True
                    elif self.what(source) != what:
                        for n in bits(mine):
                            read |= self.ask(self.what(source), *self.questions[n][1:])
                    else:
                        continue
                elif (derived := _derived(instr)) is not None:
                    source, how = derived
                    for n in bits(mine):
                        _, inner, constant = self.questions[n]
                        if _depth(inner) < DEEP:
                            read |= self.ask(self.what(source), (*how, inner), constant)
                if what in names.members and names.members[what] > 1:
                    continue
                read &= ~mine
            self.from_[block.label] = read

    def what(self, reg: Reg) -> int:
        number = self.names.of.get(reg)
        return int(reg) if number is None else number

    def ask(self, what: int, condition: Condition, b: int) -> int:
        question = what, condition, b & MASK
        bit = self.bit.get(question)
        if bit is None:
            bit = self.bit[question] = 1 << len(self.questions)
            self.questions.append(question)
            self.where.append([])
            self.about[what] = self.about.get(what, 0) | bit
        self.where[bit.bit_length() - 1].append(self.block)
        return bit


def bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found
