"""Each way through a function for itself, as far as its branches ask what is known on it.

A script asks the same again and again: of clauses with one predicate each tests it, `a && b` becomes 0 or 1
before somebody asks which, and what was read is compared in each clause anew.  Here a block that is come to with
answers to what will be asked yet is written once for each such set of answers; a branch whose answer is known
becomes a jump, and what has been worked out on the way is not worked out again.

What this leaves are questions that nobody can answer, the kernel's verifier neither: it walks the ways that meet as
one, and `ir.paths` has nothing to hide from it in a function that is `followed`.  Where too many ways would have to be
written, those with different answers meet all the same; such an answer is hidden from the verifier where it is asked for.

The words used below.  A *question* is (what, condition, constant): `what` is a register, or the number of an
expression that several registers are given (_Names).  A *value* is what a register holds at a place on a way: a
constant as a tuple of one number, else a number that stands for nothing else on this way.
"""

from __future__ import annotations

from dsight.ir.algebra import set_counts
from dsight.ir.arith import BINARY, MASK, UNARY, holds, signed
from dsight.ir.build import targets
from dsight.ir.maps import ZERO
from dsight.ir.ops import CONDITIONS, NO_REG, OPS, Block, Bounded, Function, Instr, MapRef, Reg
from dsight.ir.passes import READERS, SAME, SELDOM
from dsight.ir.sink import RARE, weights
from dsight.ir.storage import THREAD
from dsight.ir.words import pointers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.ir.ops import Operand

    Held = int | tuple[int]
    # Of what is worked out from a value with a constant: (operation, constant, Condition), (operation, Condition)
    Condition = str | tuple[Any, ...]
    Question = tuple[int, Condition, int]
    Expression = int | tuple[Any, ...]
    _Edge = tuple[list[Operand], int, "_Way"]

# How many ways a block may have while no more is written than so many times the instructions up to it, and so many more.
ROOM = ((12, 3, 900), (4, 4, 1200), (1, 1 << 30, 0))
FEW = 8  # answers that need not be hidden: of n of them there are 2 ** n ways at most
SHORT = 20  # instructions of blocks of which there may be three times as many

DEEP = 4  # operations between a value and what is asked of it

# Operations that give the same wherever they are done to the same.
_PURE = frozenset({*BINARY, *UNARY, "set", "ctx", "slot", "value", "cast"}) - {"mov"}
_FREE = frozenset({"ctx", "slot"})  # what it costs nothing to have
# condition: the same question asked the other way round; the others stand for themselves
_TURNED = {c: CONDITIONS[c] for c in ("ne", "uge", "ule", "sge", "sle")}
_TURNED |= {f"{c}32": f"{CONDITIONS[c]}32" for c in _TURNED}
# Helpers after which kernel memory is what it was.
_HARMLESS = READERS | {
    "map_update_elem", "map_delete_elem", "ringbuf_reserve", "ringbuf_submit", "ringbuf_discard", "ringbuf_output",
    "probe_read_user", "probe_read_kernel", "probe_read_user_str", "probe_read_kernel_str", "get_current_comm",
}  # fmt: skip
NOEXIST = 1  # BPF_NOEXIST: make an element where there is none
_CHANGES_THREAD = frozenset({"map_update_elem", "map_delete_elem"})


def follow(function: Function) -> Function:
    """The same function, `followed`."""
    function = _parted(function)
    asked = _Asked(function)
    if not asked.worth:
        return function.replace(followed=True)
    follower = _Follower(function, asked)
    function = function.replace(blocks=_in_order(follower.run()), regs=follower.regs, followed=True)
    return _shown(function, follower.shown) if follower.shown else function


def _parted(function: Function) -> Function:
    """The same, with branches for the comparisons whose result branches ask for."""
    asked: set[Operand] = set()
    for block in reversed(function.blocks):
        for instr in reversed(block.instrs):
            if instr.op == "br":
                asked.update(instr.args[1:3])
            elif instr.op == "mov" and instr.dst in asked:
                asked.add(instr.args[0])
    blocks = []
    for block in function.blocks:
        label, rest = block.label, list(block.instrs)
        n = 0
        while n < len(rest):
            instr = rest[n]
            n += 1
            if instr.op != "set" or instr.dst not in asked or type(instr.dst) is not Reg:
                continue
            yes, no, on = [f"{block.label}.{len(blocks)}{side}" for side in ("yes", "no", "on")]
            blocks.append(Block(label, (*rest[: n - 1], Instr("br", NO_REG, (*instr.args, yes, no), instr.span))))
            for side, value in ((yes, 1), (no, 0)):
                go = Instr("jmp", NO_REG, (on,), instr.span)
                blocks.append(Block(side, (Instr("mov", instr.dst, (value,), instr.span), go)))
            label, rest, n = on, rest[n:], 0
        blocks.append(Block(label, tuple(rest)))
    return function.replace(blocks=tuple(blocks)) if len(blocks) > len(function.blocks) else function


def _question(instr: Instr) -> tuple[str, Operand, Operand, bool]:
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


def _holds(condition: Condition, a: int, b: int) -> bool:
    """As arith.holds, of what is worked out from a."""
    while type(condition) is tuple:
        a = BINARY[condition[0]](a, condition[1]) if len(condition) == 3 else UNARY[condition[0]](a)
        condition = condition[-1]
    return holds(str(condition), a, b)


def _shown(function: Function, shown: dict[Operand, Instr]) -> Function:
    """The function with the few answers not hidden that are asked for most."""
    by_label = weights(function)
    often = sorted(
        [(by_label[block.label], instr.dst) for block in function.blocks for instr in block.instrs if instr.dst in shown],
        reverse=True,
    )
    few = {dst: shown[dst] for _, dst in often[:FEW]}
    blocks = [Block(block.label, tuple([few.get(i.dst, i) for i in block.instrs])) for block in function.blocks]
    return function.replace(blocks=tuple(blocks))


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


class _Names:
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
        elif op == "peek" or op == "load" or op in _PURE:
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


class _Asked:
    """What is asked from the start of each block on, as bits."""

    def __init__(self, function: Function) -> None:
        self.names = names = _Names(function)
        self.questions: list[Question] = []
        self.bit: dict[Question, int] = {}
        self.about: dict[int, int] = {}  # what: all that is asked about it
        self.from_: dict[str, int] = {}
        self.where: list[list[int]] = []  # by question: the blocks that ask it, or pass it on, backward
        self.block = len(function.blocks)
        asks: dict[int, int] = {}
        self.worth = False
        counts, of = names.counts, names.of
        for block in reversed(function.blocks):
            self.block -= 1
            read = 0
            last = block.instrs[-1]
            for label in targets(last):
                read |= self.from_[label]
            if last.op == "br" and not (last.args[0] == "any" and last.args[1] in names.reads):
                condition, a, b, _ = _question(last)
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
                        for n in _bits(mine):
                            _, condition, b = self.questions[n]
                            read |= self.ask(self.what(source), condition, b)
                    else:
                        continue
                elif (derived := _derived(instr)) is not None:
                    source, how = derived
                    for n in _bits(mine):
                        _, condition, b = self.questions[n]
                        if _depth(condition) < DEEP:
                            read |= self.ask(self.what(source), (*how, condition), b)
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


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


class _Way:
    """What is known at a place: what registers hold, constants among the values, answers, and by expression
    its value, the register that has it, and what that was made of.  `taught`: the values of which the verifier knows
    something, `lost`: those of which it does on some ways that have met.  `rare`: a way seldom gone.  `readable`: the pointers
    behind which something has been read."""

    __slots__ = ("answers", "constants", "has", "holds", "lost", "rare", "readable", "taught")

    def __init__(
        self,
        holds: dict[Operand, Held],
        constants: dict[int, int],
        answers: dict[Question, bool],
        has: dict[Expression, tuple[Held, Reg, tuple[Held, ...]]],
        taught: set[Held],
        lost: set[Held],
        rare: bool,
        readable: set[Held],
    ) -> None:
        self.holds, self.constants, self.answers, self.has = holds, constants, answers, has
        self.taught, self.lost, self.rare, self.readable = taught, lost, rare, readable

    def copy(self) -> _Way:
        return _Way(
            dict(self.holds),
            dict(self.constants),
            dict(self.answers),
            dict(self.has),
            set(self.taught),
            set(self.lost),
            self.rare,
            set(self.readable),
        )

    def answer(self, value: Held, condition: Condition, b: int) -> bool | None:
        """Of a value; None: who knows."""
        if type(value) is tuple:
            return _holds(condition, value[0], b)
        known = self.constants.get(value)  # type: ignore[arg-type]
        if known is not None:
            return _holds(condition, known, b)
        return self.answers.get((value, condition, b))  # type: ignore[arg-type]

    def learn(self, value: int, condition: Condition, b: int, yes: bool) -> None:
        self.answers[value, condition, b] = yes
        if condition == "eq" and yes:
            self.constants[value] = b


class _Follower:
    def __init__(self, function: Function, asked: _Asked) -> None:
        self.function = function
        self.asked = asked
        self.names = asked.names
        self.regs = function.regs
        self.pointers = pointers(function)
        self.written = 0
        self.phis: dict[tuple[str, Operand], int] = {}
        self.arriving: dict[str, list[_Edge]] = {}
        self.way = _Way({}, {}, {}, {}, set(), set(), False, set())
        self.out: list[Instr] = []
        self.at = 0  # the instruction's number
        self.seldom = False
        self.shown: dict[Operand, Instr] = {}  # by copy: what may take its place, if there are few
        self.checked: set[Operand] = set()  # what this block has of what was read before, and found to be there
        self.fresh: set[Operand] = set()  # what this block has from the context or the like: new to the verifier
        self.values: dict[int, int] = {}  # by instruction: what it gives

    def run(self) -> list[Block]:
        made: list[tuple[str, list[Instr], list[Operand]]] = []
        self.arriving[self.function.blocks[0].label] = [([""], 0, self.way)]
        start = 0
        for number, block in enumerate(self.function.blocks):
            edges = self.arriving.pop(block.label, [])
            most = next(most for most, times, more in ROOM if self.written <= times * start + more)
            if most > 1 and len(block.instrs) <= SHORT:
                most *= 3
            for n, (key, group) in enumerate(self.groups(block.label, number, edges, most).items()):
                label = f"{block.label}.{n}" if n else block.label
                for labels, which, _ in group:
                    labels[which] = label
                self.way = self.meet(block.label, key, [way for _, _, way in group])
                self.out = []
                self.at = start
                self.seldom = block.label.startswith(SELDOM)
                if block.label.startswith(RARE):
                    self.way.rare = True
                self.fresh.clear()
                self.checked.clear()
                self.written += len(block.instrs)
                if not number:  # of a stack slot's address there must not be two
                    self.out += [i for b in self.function.blocks for i in b.instrs if i.op in _FREE and self.names.counts[i.dst] == 1]
                made.append((label, self.out, self.block(block)))
            start += len(block.instrs)
        blocks = []
        for label, out, labels in made:
            last = out[-1]
            if last.op == "jmp":
                out[-1] = Instr("jmp", NO_REG, tuple(labels), last.span)
            elif last.op == "br":
                out[-1] = Instr("br", NO_REG, (*last.args[:3], *labels), last.span)
            blocks.append(Block(label, tuple(out)))
        return blocks

    def groups(self, label: str, number: int, edges: list[_Edge], most: int) -> dict[tuple[int, int], list[_Edge]]:
        """By what they answer (bits of yes, bits of no) the edges to a block; at most so many groups."""
        if len(edges) <= 1:
            return {(0, 0): edges} if edges else {}
        found: dict[tuple[int, int], list[_Edge]] = {}
        asked = _bits(self.asked.from_[label])
        keys = [self.answers(way, asked) for _, _, way in edges]
        often = {key for key, (_, _, way) in zip(keys, edges) if not way.rare}
        if len(often) > most:
            keep = self.next_asked(asked, number, often, most)
            keys = [(yes & keep, no & keep) for yes, no in keys]
            often = {(yes & keep, no & keep) for yes, no in often}
        # Those seldom gone that are like no other go together.
        apart = [key for key in keys if key not in often]
        together = apart[0] if apart else (0, 0)
        for yes, no in apart:
            together = together[0] & yes, together[1] & no
        for key, edge in zip(keys, edges):
            found.setdefault(key if key in often else together, []).append(edge)
        return found

    def answers(self, way: _Way, asked: list[int]) -> tuple[int, int]:
        questions = self.asked.questions
        yes = no = 0
        for n in asked:
            what, condition, b = questions[n]
            value = self.current(way, what)
            answer = None if value is None else way.answer(value, condition, b)
            if answer is not None:
                if answer:
                    yes |= 1 << n
                else:
                    no |= 1 << n
        return yes, no

    def next_asked(self, asked: list[int], number: int, keys: set[tuple[int, int]], most: int) -> int:
        """Of the questions, as bits, those asked soonest that tell no more groups apart."""

        def distance(n: int) -> int:
            return min([block for block in self.asked.where[n] if block >= number], default=1 << 30)

        keep = 0
        for n in sorted(asked, key=distance):
            wider = keep | 1 << n
            if len({(yes & wider, no & wider) for yes, no in keys}) <= most:
                keep = wider
        return keep

    def current(self, way: _Way, what: int) -> Held | None:
        """The value now of what questions are about."""
        if what in self.names.members:
            if what not in self.names.volatile:
                return what
            known = way.has.get(what)
            return None if known is None else known[0]
        return self.value(way, Reg(what))

    def value(self, way: _Way, reg: Reg) -> Held:
        found = way.holds.get(reg)
        if found is not None:
            return found
        number = self.names.of.get(reg)
        return int(reg) if number is None or number in self.names.volatile else number

    def meet(self, label: str, key: tuple[int, int], ways: list[_Way]) -> _Way:
        """What is known on all of them."""
        first = ways[0]
        if len(ways) == 1:
            return first
        holds, lost, taught = dict(first.holds), set(first.lost), set(first.taught)
        constants, answers = set(first.constants.items()), set(first.answers.items())
        differ: set[Operand] = set()
        for way in ways[1:]:
            constants &= way.constants.items()
            answers &= way.answers.items()
            lost |= way.lost
            taught |= way.taught
            differ.update([reg for reg, _ in first.holds.items() ^ way.holds.items()])
        readable = set.intersection(*[way.readable for way in ways])
        rare = all([way.rare for way in ways])
        met = _Way(holds, dict(constants), dict(answers), {}, set(), lost, rare, readable)
        met.lost.update([value for value in taught if value not in met.constants])
        for reg in differ:
            holds[reg] = value = self.phi(label, reg)
            if any([type(one) is tuple or one in taught for one in [way.holds.get(reg) for way in ways]]):
                met.lost.add(value)
        for number, (value, reg, of) in first.has.items():
            for way in ways:
                known = way.has.get(number)
                if known is None or known[1:] != (reg, of) or self.value(way, reg) != known[0]:
                    break
            else:
                met.has[number] = self.value(met, reg), reg, of
        for mask, yes in zip(key, (True, False)):
            for n in _bits(mask):
                what, condition, b = self.asked.questions[n]
                now = self.current(met, what)
                if type(now) is int:
                    met.learn(now, condition, b, yes)
        return met

    def phi(self, label: str, reg: Operand) -> int:
        number = self.phis.get((label, reg))
        if number is None:
            number = self.phis[label, reg] = self.names.fresh()
        return number

    def valued(self, key: int) -> int:
        number = self.values.get(key)
        if number is None:
            number = self.values[key] = self.names.fresh()
        return number

    def block(self, block: Block) -> list[Operand]:
        """Writes the block as it is on this way; the labels it ends with, which its targets fill in."""
        for instr in block.instrs[:-1]:
            if instr.op not in _FREE or self.names.counts[instr.dst] > 1:
                self.instr(instr)
            self.at += 1
        last = self.operands(block.instrs[-1])
        if last.op == "br":
            return self.branch(last)
        self.out.append(last)
        if last.op == "jmp":
            labels: list[Operand] = [last.args[0]]
            self.arrive(labels, 0, self.way)
            return labels
        return []

    def arrive(self, labels: list[Operand], which: int, way: _Way) -> None:
        self.arriving.setdefault(str(labels[which]), []).append((labels, which, way))

    def branch(self, last: Instr) -> list[Operand]:
        way = self.way
        condition, a, b, turned = _question(last)
        then, other = last.args[3:]
        value: Held = self.value(way, a) if type(a) is Reg else (a & MASK,)  # type: ignore[operator]
        against: Held = self.value(way, b) if type(b) is Reg else (b & MASK,)  # type: ignore[operator]
        answer = None
        if type(against) is int and against in way.constants:
            against = (way.constants[against],)
        if type(against) is tuple:
            answer = way.answer(value, condition, against[0])
        peek = self.names.reads.get(a) if last.args[0] == "any" else None
        if peek is not None and (a in self.checked or self.value(way, peek.args[0]) in way.readable):  # type: ignore[arg-type]
            answer = not turned  # whatever it is
        if answer is not None:
            labels = [then if answer != turned else other]
            self.out.append(Instr("jmp", NO_REG, (labels[0],), last.span))
            self.arrive(labels, 0, way)
            return labels
        if value in way.lost or against in way.lost:
            last = self.hidden(last)
        self.out.append(last)
        labels = [then, other]
        sides = [way, way.copy()]
        if type(against) is tuple and type(value) is int:
            for side, yes in zip(sides, (not turned, turned)):
                side.learn(value, condition, against[0], yes)
                if last.args[0] != "any" and last.args[1] == a:
                    side.taught.add(value)
        if peek is not None:
            sides[0].readable.add(self.value(way, peek.args[0]))  # type: ignore[arg-type]
        self.arrive(labels, 0, sides[0])
        self.arrive(labels, 1, sides[1])
        return labels

    def hidden(self, last: Instr) -> Instr:
        """The branch, of copies of which the verifier knows nothing: xor-ed with a zero that it takes for any number."""
        condition, *operands, then, other = last.args
        pair = []
        for operand in operands:
            if (
                type(operand) is Reg
                and operand not in self.pointers
                and operand not in self.fresh
                and self.value(self.way, operand) in self.way.lost
            ):
                place, zero, copy = [Reg(n) for n in range(self.regs, self.regs + 3)]
                self.regs += 3
                self.out.append(Instr("value", place, ("globals", ZERO), last.span))
                self.out.append(Instr("load", zero, (place, 0, 8), last.span))
                self.out.append(Instr("xor", copy, (operand, zero), last.span))
                if not self.way.rare:
                    self.shown[copy] = Instr("mov", copy, (operand,), last.span)
                operand = copy
            pair.append(operand)
        return Instr("br", NO_REG, (condition, *pair, then, other), last.span)

    def operands(self, instr: Instr) -> Instr:
        """With constants for the registers that hold one."""
        holds = self.way.holds
        args: list[Operand] | None = None
        for n, arg in enumerate(instr.args):
            reg = arg.reg if type(arg) is Bounded else arg
            if type(reg) is not Reg:
                continue
            value = holds.get(reg)
            if type(value) is not tuple:
                continue
            if type(arg) is Bounded:
                new: Operand = min(value[0], arg.limit)
            else:
                kinds = OPS[instr.op][1]
                if kinds[min(n, len(kinds) - 1)] not in "v*":
                    continue
                new = signed(value[0])
            if args is None:
                args = list(instr.args)
            args[n] = new
        return instr if args is None else Instr(instr.op, instr.dst, tuple(args), instr.span)

    def instr(self, instr: Instr) -> None:
        way, names = self.way, self.names
        instr = self.operands(instr)
        op, dst, args = instr.op, instr.dst, instr.args
        if dst < 0:
            if op == "loop":
                self.forget()
            self.out.append(instr)
            return
        if op == "mov":
            self.moved(instr, (args[0] & MASK,) if type(args[0]) is int else self.value(way, args[0]))  # type: ignore[operator,arg-type]
            return
        if op in BINARY and type(args[0]) is int and type(args[1]) is int and not (op[1:] in ("div", "mod") and not args[1] & MASK):
            bits = op in ("zext", "sext", "bswap")
            n = BINARY[op](args[0] & MASK, args[1] if bits else args[1] & MASK)
            self.moved(Instr("mov", dst, (signed(n),), instr.span), (n,))
            return
        if op in UNARY and type(args[0]) is int:
            n = UNARY[op](args[0] & MASK)
            self.moved(Instr("mov", dst, (signed(n),), instr.span), (n,))
            return
        if op == "set":
            condition, a, b, turned = _question(instr)
            if type(b) is int:
                value = (a & MASK,) if type(a) is int else self.value(way, a)  # type: ignore[arg-type]
                answer = way.answer(value, condition, b & MASK)
                if answer is not None:
                    n = int(answer != turned)
                    self.moved(Instr("mov", dst, (n,), instr.span), (n,))
                    return
        if op == "call":
            helper = args[0]
            if helper == "map_lookup_elem" and args[1] == MapRef(THREAD):
                self.worked_out(instr, names.thread, ())
                return
            if helper in _CHANGES_THREAD and args[1] == MapRef(THREAD):
                element = way.has.pop(names.thread, None)
                if helper == "map_update_elem" and args[4] == NOEXIST and element is not None:
                    if self.value(way, element[1]) == element[0] and way.answer(element[0], "eq", 0) is False:
                        way.has[names.thread] = element
                        return  # it is there
            elif helper not in _HARMLESS:
                self.forget()
        number = names.of.get(dst)
        if dst in names.reads and op == "load":
            peeked = names.reads[dst]
            way.holds[dst] = value = self.valued(self.at)
            way.has[self.key(number, peeked)] = value, dst, () if number is None else self.values_of(peeked)
            way.readable.add(self.value(way, peeked.args[0]))  # type: ignore[arg-type]
            self.out.append(instr)
            self.made_of(instr)
        elif op == "cast" or (op == "peek" and number is None):
            self.worked_out(instr, self.key(None, instr), ())
        elif number is None:
            if names.counts[dst] > 1:
                way.holds[dst] = self.valued(self.at)
            self.out.append(instr)
            self.made_of(instr)
        elif number not in names.volatile:
            if not self.seldom and (op == "call" or (op == "load" and self.unasked(number))):
                known = way.has.get(number)
                if known is not None:
                    instr = Instr("mov", dst, (known[1],), instr.span)
                else:
                    way.has[number] = number, dst, ()
            self.out.append(instr)
            self.made_of(instr)
        else:
            self.worked_out(instr, number, self.values_of(instr))

    def unasked(self, value: int) -> bool:
        """Whether nobody has asked for a value: read anew it is new to the verifier, which is better else."""
        return value not in self.way.taught and value not in self.way.lost

    def values_of(self, instr: Instr) -> tuple[Held, ...]:
        return tuple([self.value(self.way, arg) for arg in instr.args if type(arg) is Reg])

    def key(self, number: int | None, instr: Instr) -> Expression:
        """What stands for an expression: its number, or what it is made of."""
        if number is not None:
            return number
        return (instr.op, *self.values_of(instr), *[arg for arg in instr.args if type(arg) is not Reg])

    def worked_out(self, instr: Instr, number: Expression, of: tuple[Held, ...]) -> None:
        """What may be another value each time: not again where it has been already."""
        way, dst = self.way, instr.dst
        known = way.has.get(number)
        if known is not None and self.value(way, known[1]) == known[0]:
            if known[2] == of and not self.seldom:
                self.checked.add(dst)
                self.moved(Instr("mov", dst, (known[1],), instr.span), known[0])
                return
        value = self.valued(self.at)
        way.holds[dst] = value
        way.has[number] = value, dst, of
        self.out.append(instr)
        self.made_of(instr)

    def made_of(self, instr: Instr) -> None:
        """What is worked out from a value is known where that is."""
        way = self.way
        if instr.op == "load" or instr.op == "peek":
            self.fresh.add(instr.dst)
        elif instr.op in _PURE and all([type(arg) is not Reg or arg in self.fresh for arg in instr.args]):
            self.fresh.add(instr.dst)
        else:
            self.fresh.discard(instr.dst)
        if (way.lost or way.taught) and instr.op in _PURE:
            of = [self.value(way, arg) for arg in instr.args if type(arg) is Reg]
            value = self.value(way, instr.dst)
            if not way.lost.isdisjoint(of):
                way.lost.add(value)
            if not way.taught.isdisjoint(of):
                way.taught.add(value)

    def moved(self, instr: Instr, value: Held) -> None:
        dst = instr.dst
        self.fresh.discard(dst)
        if value != self.names.of.get(dst):
            self.way.holds[dst] = value
        self.out.append(instr)

    def forget(self) -> None:
        """Kernel memory may have changed."""
        has, names = self.way.has, self.names
        for number in [n for n in has if type(n) is tuple or n in names.volatile and n != names.thread]:
            del has[number]


def _in_order(blocks: list[Block]) -> tuple[Block, ...]:
    """Blocks of one way stand together as far as they can."""
    by_label = {block.label: block for block in blocks}
    order: list[Block] = []
    seen: set[str] = set()
    todo = [(blocks[0].label, False)]
    while todo:
        label, done = todo.pop()
        if done:
            order.append(by_label[label])
        elif label not in seen:
            seen.add(label)
            todo.append((label, True))
            todo += [(target, False) for target in targets(by_label[label].instrs[-1])]
    order.reverse()
    return tuple(order)
