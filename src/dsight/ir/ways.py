"""Each way through a function for itself, as far as its branches ask what is known on it.

A script asks the same again and again: of clauses with one predicate each tests it, `a && b` becomes 0 or 1
before somebody asks which, and what was read is compared in each clause anew.  Here a block that is come to with
answers to what will be asked yet is written once for each such set of answers; a branch whose answer is known
becomes a jump, and what has been worked out on the way is not worked out again.

What this leaves are questions that nobody can answer, the kernel's verifier neither: it walks the ways that meet as
one, and `ir.paths` has nothing to hide from it in a function that is `followed`.  Where too many ways would have to
be written, those with different answers meet all the same; such an answer is hidden from it where it is asked for.

What is asked is ir.questions', what a block is on one way ir.way's.
"""

from __future__ import annotations

from dsight.ir.build import targets
from dsight.ir.often import LACKING, weights
from dsight.ir.ops import NO_REG, Block, Bounded, Function, Instr, Reg
from dsight.ir.passes import SELDOM
from dsight.ir.questions import Asked, bits
from dsight.ir.way import FREE, Way, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand
    from dsight.ir.way import Edge, Held

    Key = tuple[int, int]  # answers as bits: those that are yes, those that are no

# How many ways a block may have, while no more is written than so many times the instructions up to it, and
# so many more.
ROOM = ((12, 3, 900), (4, 4, 1200), (1, 1 << 30, 0))
SHORT = 20  # instructions of blocks that may have three times as many
MOST_BRANCHES, MOST_FORKS = 300, 24  # more of them in a function are not followed
_FORKS = frozenset({"set", "strcmp", "sdiv", "smod", "at"})
FEW = 8  # answers that need not be hidden: of n of them there are 2 ** n ways at most


def follow(function: Function) -> Function:
    """The same function, `followed`; or as it is, where the verifier would know too much all the same."""
    if not _plain(function):
        return function
    function = _parted(function)
    asked = Asked(function)
    if not asked.worth:
        return function.replace(followed=True)
    follower = _Follower(function, asked)
    function = function.replace(blocks=_in_order(follower.run()), regs=follower.regs, followed=True)
    return _shown(function, follower.shown) if follower.shown else function


def _plain(function: Function) -> bool:
    """Whether there is little from which the verifier learns what nobody asks here: comparisons for their value, signed
    divisions, indexes and sizes."""
    branches = forks = 0
    for block in function.blocks:
        branches += block.instrs[-1].op == "br"
        for instr in block.instrs:
            if instr.op in _FORKS or any(type(arg) is Bounded for arg in instr.args):
                forks += 1
    return branches <= MOST_BRANCHES and forks <= MOST_FORKS


def _parted(function: Function) -> Function:
    """The same, with branches for the comparisons whose result branches ask for."""
    asked: set[Operand] = set()
    for block in reversed(function.blocks):
        for instr in reversed(block.instrs):
            if instr.op == "br":
                asked.update(instr.args[1:3])
            elif instr.op == "mov" and instr.dst in asked:
                asked.add(instr.args[0])
    blocks: list[Block] = []
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


def _shown(function: Function, shown: dict[Operand, Instr]) -> Function:
    """The function with the few answers not hidden that are asked for most."""
    often = sorted(
        [
            (weight, instr.dst)
            for block, weight in zip(function.blocks, weights(function.blocks))
            for instr in block.instrs
            if instr.dst in shown
        ],
        reverse=True,
    )
    few = {dst: shown[dst] for _, dst in often[:FEW]}
    blocks = [Block(block.label, tuple([few.get(i.dst, i) for i in block.instrs])) for block in function.blocks]
    return function.replace(blocks=tuple(blocks))


class _Follower(Writer):
    def __init__(self, function: Function, asked: Asked) -> None:
        super().__init__(function, asked.names)
        self.function = function
        self.asked = asked
        self.written = 0
        self.phis: dict[tuple[str, Operand], int] = {}

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
                way = self.meet(block.label, key, [way for _, _, way in group])
                way.rare |= block.label.startswith(LACKING)
                self.start(way, start, block.label.startswith(SELDOM))
                self.written += len(block.instrs)
                if not number:
                    self.out += self.free()
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

    def free(self) -> list[Instr]:
        """What costs nothing, for the first block to have: of a stack slot's address there must not be two."""
        return [
            instr
            for block in self.function.blocks
            for instr in block.instrs
            if instr.op in FREE and self.names.counts[instr.dst] == 1
        ]

    def groups(self, label: str, number: int, edges: list[Edge], most: int) -> dict[Key, list[Edge]]:
        """By what they answer (bits of yes, bits of no) the edges to a block; at most so many groups."""
        if len(edges) <= 1:
            return {(0, 0): edges} if edges else {}
        found: dict[Key, list[Edge]] = {}
        asked = bits(self.asked.from_[label])
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

    def answers(self, way: Way, asked: list[int]) -> Key:
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

    def next_asked(self, asked: list[int], number: int, keys: set[Key], most: int) -> int:
        """Of the questions, as bits, those asked soonest that tell no more groups apart."""

        def distance(n: int) -> int:
            return min([block for block in self.asked.where[n] if block >= number], default=1 << 30)

        keep = 0
        for n in sorted(asked, key=distance):
            wider = keep | 1 << n
            if len({(yes & wider, no & wider) for yes, no in keys}) <= most:
                keep = wider
        return keep

    def current(self, way: Way, what: int) -> Held | None:
        """The value now of what questions are about."""
        if what in self.names.members:
            if what not in self.names.volatile:
                return what
            known = way.has.get(what)
            return None if known is None else known[0]
        return self.value(way, Reg(what))

    def meet(self, label: str, key: Key, ways: list[Way]) -> Way:
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
        rare = all(way.rare for way in ways)
        met = Way(holds, dict(constants), dict(answers), {}, set(), lost, rare, readable)
        met.lost.update([value for value in taught if value not in met.constants])
        for reg in differ:
            holds[reg] = value = self.phi(label, reg)
            if any(type(one) is tuple or one in taught for one in [way.holds.get(reg) for way in ways]):
                met.lost.add(value)
        for number, (_, reg, of) in first.has.items():
            for way in ways:
                known = way.has.get(number)
                if known is None or known[1:] != (reg, of) or self.value(way, reg) != known[0]:
                    break
            else:
                met.has[number] = self.value(met, reg), reg, of
        for mask, yes in zip(key, (True, False)):
            for n in bits(mask):
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
