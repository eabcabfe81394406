"""One block as it is on one way: what `ir.ways` knows there, and what it writes."""

from __future__ import annotations

from dsight.ir.arith import BINARY, MASK, UNARY, signed
from dsight.ir.maps import ZERO
from dsight.ir.ops import NO_REG, OPS, Bounded, Function, Instr, MapRef, Reg
from dsight.ir.passes import READERS
from dsight.ir.questions import PURE, answered, question
from dsight.ir.storage import THREAD
from dsight.ir.words import pointers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.ir.ops import Block, Operand
    from dsight.ir.questions import Condition, Names

    # What a register holds at a place on a way: a constant as a tuple of one number, else a number that stands for
    # nothing else on this way.
    Held = int | tuple[int]
    Expression = int | tuple[Any, ...]
    Edge = tuple[list[Operand], int, "Way"]  # the labels of a jump, which of them, and what is known there

_FORKS = frozenset({"set", "strcmp"})  # made with jumps: the verifier knows on each side what they give
FREE = frozenset({"ctx", "slot"})  # what it costs nothing to have
# Helpers after which kernel memory is what it was.
_HARMLESS = READERS | {
    "map_update_elem", "map_delete_elem", "ringbuf_reserve", "ringbuf_submit", "ringbuf_discard", "ringbuf_output",
    "probe_read_user", "probe_read_kernel", "probe_read_user_str", "probe_read_kernel_str", "get_current_comm",
}  # fmt: skip
_NOEXIST = 1  # BPF_NOEXIST: make an element where there is none
_CHANGES_THREAD = frozenset({"map_update_elem", "map_delete_elem"})


class Way:
    """What is known at a place: what registers hold, constants among the values, answers, and by expression
    its value, the register that has it, and what that was made of.  `taught`: the values of which the verifier knows
    something, `lost`: those of which it does on some ways that have met.  `rare`: a way seldom gone.
    `readable`: the pointers behind which something has been read."""

    __slots__ = ("answers", "constants", "has", "holds", "lost", "rare", "readable", "taught")

    def __init__(
        self,
        holds: dict[Operand, Held],
        constants: dict[Held, int],
        answers: dict[tuple[Held, Condition, int], bool],
        has: dict[Expression, tuple[Held, Reg, tuple[Held, ...]]],
        taught: set[Held],
        lost: set[Held],
        rare: bool,
        readable: set[Held],
    ) -> None:
        self.holds, self.constants, self.answers, self.has = holds, constants, answers, has
        self.taught, self.lost, self.rare, self.readable = taught, lost, rare, readable

    def copy(self) -> Way:
        return Way(
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
            return answered(condition, value[0], b)
        known = self.constants.get(value)
        if known is not None:
            return answered(condition, known, b)
        return self.answers.get((value, condition, b))

    def learn(self, value: Held, condition: Condition, b: int, yes: bool) -> None:
        self.answers[value, condition, b] = yes
        if condition == "eq" and yes:
            self.constants[value] = b


class Writer:
    """`way`: the one that is written; `out`: its instructions so far."""

    def __init__(self, function: Function, names: Names) -> None:
        self.names = names
        self.regs = function.regs
        self.pointers = pointers(function)
        self.way = Way({}, {}, {}, {}, set(), set(), False, set())
        self.out: list[Instr] = []
        self.arriving: dict[str, list[Edge]] = {}  # by block that is yet to be written
        self.at = 0  # the instruction's number
        self.seldom = False  # whether the block keeps nothing for others
        self.values: dict[int, int] = {}  # by instruction: what it gives
        self.shown: dict[Operand, Instr] = {}  # by copy: what may take its place, if there are few
        self.checked: set[Operand] = set()  # what this block has of what was read before, and found to be there
        self.fresh: set[Operand] = set()  # what this block has from the context or the like: new to the verifier

    def start(self, way: Way, at: int, seldom: bool) -> None:
        """A block from instruction `at` on."""
        self.way, self.at, self.seldom = way, at, seldom
        self.out = []
        self.fresh.clear()
        self.checked.clear()

    def value(self, way: Way, reg: Reg) -> Held:
        found = way.holds.get(reg)
        if found is not None:
            return found
        number = self.names.of.get(reg)
        return int(reg) if number is None or number in self.names.volatile else number

    def held(self, operand: Operand) -> Held:
        """A register's value here, or a number's."""
        if type(operand) is Reg:
            return self.value(self.way, operand)
        assert type(operand) is int
        return (operand & MASK,)

    def valued(self, key: int) -> int:
        number = self.values.get(key)
        if number is None:
            number = self.values[key] = self.names.fresh()
        return number

    def block(self, block: Block) -> list[Operand]:
        """Writes the block as it is on this way; the labels it ends with, which its targets fill in."""
        for instr in block.instrs[:-1]:
            if instr.op not in FREE or self.names.counts[instr.dst] > 1:
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

    def arrive(self, labels: list[Operand], which: int, way: Way) -> None:
        self.arriving.setdefault(str(labels[which]), []).append((labels, which, way))

    def branch(self, last: Instr) -> list[Operand]:
        way = self.way
        condition, a, b, turned = question(last)
        then, other = last.args[3:]
        value, against = self.held(a), self.held(b)
        answer = None
        if type(against) is int and against in way.constants:
            against = (way.constants[against],)
        if type(against) is tuple:
            answer = way.answer(value, condition, against[0])
        peek = self.names.reads.get(a) if last.args[0] == "any" else None
        if peek is not None and (a in self.checked or self.held(peek.args[0]) in way.readable):
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
            sides[0].readable.add(self.held(peek.args[0]))
            for key in [key for key, (_, reg, _) in way.has.items() if reg == a]:
                del sides[1].has[key]  # it may be that there is nothing to be read: each clause faults for itself
        self.arrive(labels, 0, sides[0])
        self.arrive(labels, 1, sides[1])
        return labels

    def hidden(self, last: Instr) -> Instr:
        """The branch, of copies the verifier knows nothing of: xor-ed with a zero that it takes for any number."""
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
        constant = self.constant(instr)
        if constant is not None:
            self.moved(Instr("mov", dst, (signed(constant),), instr.span), (constant,))
            return
        if op == "mov":
            self.moved(instr, self.held(args[0]))
            return
        if op == "call":
            helper = args[0]
            if helper == "map_lookup_elem" and args[1] == MapRef(THREAD):
                self.worked_out(instr, names.thread, ())
                return
            if helper in _CHANGES_THREAD and args[1] == MapRef(THREAD):
                element = way.has.pop(names.thread, None)
                if helper == "map_update_elem" and args[4] == _NOEXIST and element is not None:
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
            way.readable.add(self.held(peeked.args[0]))
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

    def constant(self, instr: Instr) -> int | None:
        """What an operation gives, where that is known."""
        op, args = instr.op, instr.args
        if op == "set":
            condition, a, b, turned = question(instr)
            if type(b) is not int:
                return None
            answer = self.way.answer(self.held(a), condition, b & MASK)
            return None if answer is None else int(answer != turned)
        if op in UNARY and type(args[0]) is int:
            return UNARY[op](args[0] & MASK)
        if op in BINARY and type(args[0]) is int and type(args[1]) is int:
            if op in ("zext", "sext", "bswap"):
                return BINARY[op](args[0] & MASK, args[1])
            if args[1] & MASK or op[1:] not in ("div", "mod"):
                return BINARY[op](args[0] & MASK, args[1] & MASK)
        return None

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
        if (
            instr.op == "load"
            or instr.op == "peek"
            or instr.op in PURE
            and all(type(arg) is not Reg or arg in self.fresh for arg in instr.args)
        ):
            self.fresh.add(instr.dst)
        else:
            self.fresh.discard(instr.dst)
        if instr.op in _FORKS:
            way.lost.add(self.value(way, instr.dst))
        if (way.lost or way.taught) and instr.op in PURE:
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
