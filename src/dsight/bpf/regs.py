"""Where each virtual register lives: a machine register, a stack slot, or nowhere.

In: the blocks of an ir.ops.Function, every jump forward.  Out: an Allocation.

- A virtual register has one place wherever it is live, and no claim to it elsewhere.  Where it is live is
  said in *gaps*: gap n is before instruction n in block order, n + 1 behind it, a set of gaps one integer.
- How often a block runs is guessed: a branch goes either way as often, but to those of ir.often.RARE never.  First come
  those with the most mentions for the time they are live; those that get no register live in an 8-byte stack slot:
  always a whole one, so that the verifier keeps a pointer's type.
- Calls and composite operations (CLOBBERS) lose r0-r5.  What lives across one goes to r6-r9; what lives across
  none but in blocks that never run goes to any, and is saved there.  Of r0-r5, two are always left free for
  `select` to work with.
- What is cheaper to make again than to keep (Again) has no place: constants, addresses of stack
  slots, and addresses of map values that are used once or would have to survive a call.
- All `ctx` operations share one register, which comes in as r1 at the program's entry.
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate, chain, repeat

from dsight.bpf.insn import signed64
from dsight.errors import fail
from dsight.ir.build import targets
from dsight.ir.often import NEVER, weights
from dsight.ir.ops import CLOBBERS, Bounded, Reg
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsight.ir.ops import Block, Function, Instr

    # ("imm", number), ("fp", offset from the frame pointer), ("value", map, offset)
    Again = tuple[str, int] | tuple[str, str, int]
    # A machine register (0-9), a stack slot (its negative offset from the frame pointer), or Again
    Place = int | Again

STACK = 512  # bytes; include/linux/filter.h, MAX_BPF_STACK

_CALLER_USED = 4  # at most; the other two are for `select`
# r1-r3 late: they are wanted most, by the arguments of calls
_ANY, _CALLEE = (0, 5, 4, 3, 2, 1, 6, 7, 8, 9), (6, 7, 8, 9)
# What is on one level of worth is worth about as much; those around 1, which most are of, are one.
_LEVELS = [2.7**n for n in range(-40, 10) if n]
_ROOMY = 64  # bytes of stack slots that are not worth sharing


class Allocation(Value):
    """`places`: by virtual register, the context pointer's last; None where it is never read.
    `taken`: by machine register, the gaps in which it has something, as bits.
    `busy`: for each instruction in block order, those of r0-r5 in use while it runs, as bits.
    `saved`: for instructions that lose them, the registers to keep meanwhile, and the stack slots for them.
    `depth`: bytes of stack in use."""

    places: list[Place | None]
    taken: list[int]
    busy: list[int] | bytearray
    saved: dict[int, list[tuple[int, int]]]
    depth: int


def allocate(function: Function, blocks: tuple[Block, ...], stack: int = STACK) -> Allocation:
    """Raises CompileError where the stack does not hold what has to be kept."""
    live = _Live(function.regs)
    live.collect(blocks)
    frame, depth = _frame(function, blocks, live)
    live.make_again(frame)
    live.join_contexts()
    places = _Places(live)
    places.give()
    depth, saved = places.to_stack(depth)
    if depth > stack:
        span = next((i.span for b in blocks for i in b.instrs if i.span), None)
        message = f"the clause needs {depth} bytes of kernel stack, and there are {stack}"
        raise fail("D_UNKNOWN", message, span, "split it into several clauses, or use fewer values at once")
    for v in live.contexts:
        live.places[v] = live.places[live.ctx]
    return Allocation(live.places, places.taken, places.busy(), saved, depth)


class _Live:
    """What is known of each virtual register, by number; the context pointer comes last (`ctx`)."""

    def __init__(self, regs: int) -> None:
        n = regs + 1
        self.ctx = regs
        self.first = [-1] * n  # the position, in block order, where it is read first
        self.sets, self.reads = [0] * n, [0] * n
        self.mentions = [0.0] * n  # how often it is set or read when the program runs
        self.gaps: list[list[int]] = [[] for _ in range(n)]  # where it is live: start, end, start, end, ...
        self.wants = [-1] * n  # the machine register that would suit it; -1: any
        self.near: list[list[int]] = [[] for _ in range(n)]  # registers with which it would share one best
        self.places: list[Place | None] = [None] * n
        self.contexts: list[Reg] = []  # registers that are the context pointer and nothing else
        self.pinned: set[int] = set()  # those that must not be spilled
        self.clobbers: dict[int, Instr] = {}  # by position
        self.lost = self.lost_often = 0  # positions of clobbering instructions, and of those that are run, as bits
        self.elapsed: list[float] = []  # by gap: how many instructions are run in those before it
        self._simple: list[Instr] = []  # what might be made again
        self._ctx: list[Reg] = []  # what `ctx` operations set

    def collect(self, blocks: tuple[Block, ...]) -> None:
        runs = weights(blocks)
        each = chain.from_iterable([repeat(weight, len(block.instrs)) for block, weight in zip(blocks, runs)])
        elapsed = self.elapsed
        elapsed += accumulate(each, initial=0.0)
        at = len(elapsed) - 1
        elapsed.append(elapsed[-1])
        first, sets, reads, mentions, wants, gaps, near = (
            self.first, self.sets, self.reads, self.mentions, self.wants, self.gaps, self.near,
        )  # fmt: skip
        until = [-1] * len(first)  # where the register ends that is live now; -1: it is not
        bits: dict[int, int] = {}  # of registers that are live where blocks meet
        reg_of: list[int] = []
        live_at: dict[str, int] = {}
        context = (Reg(self.ctx),)
        now = 0
        for number in range(len(blocks) - 1, -2, -1):
            live = 0
            if number >= 0:
                block, weight = blocks[number], runs[number]
                for label in targets(block.instrs[-1]):
                    live |= live_at[label]
            changed = now ^ live
            while changed:
                low = changed & -changed
                changed ^= low
                v = reg_of[low.bit_length() - 1]
                if until[v] >= 0:
                    gaps[v] += (at, until[v])
                    until[v] = -1
                else:
                    until[v] = at
            if number < 0:
                break
            opened = []
            for instr in reversed(block.instrs):
                at -= 1
                op, v, args = instr.op, instr.dst, instr.args
                if v >= 0:
                    if until[v] >= 0:
                        gaps[v] += (at + 1, until[v])
                        until[v] = -1
                        if v in bits:
                            live &= ~bits[v]
                    else:
                        gaps[v] += (at + 1, at + 2)
                    sets[v] += 1
                    mentions[v] += weight
                    if op == "ctx":
                        self._ctx.append(v)
                        args = context
                    elif op == "mov" or op == "slot" or op == "value":
                        self._simple.append(instr)
                    if op != "load" and op != "peek" and args and type(args[0]) is Reg:
                        near[v].append(args[0])
                        near[args[0]].append(v)
                if op in CLOBBERS:
                    self.clobbers[at] = instr
                    if op == "call":
                        for n, arg in enumerate(args):
                            if type(arg) is Reg:
                                wants[arg] = n
                            elif type(arg) is Bounded:
                                wants[arg.reg] = n
                    elif op == "cast" and type(args[0]) is Reg:
                        wants[args[0]] = 1
                    if v >= 0 and wants[v] < 0:
                        wants[v] = 0
                elif op == "ret" and type(args[0]) is Reg:
                    wants[args[0]] = 0
                for arg in args:
                    if type(arg) is Reg:
                        v = arg
                    elif type(arg) is Bounded:
                        v = arg.reg
                    else:
                        continue
                    if until[v] < 0:
                        until[v] = at + 1
                        opened.append(v)
                    first[v] = at
                    reads[v] += 1
                    mentions[v] += weight
            for v in opened:
                if until[v] >= 0:
                    bit = bits.get(v)
                    if bit is None:
                        bit = bits[v] = 1 << len(bits)
                        reg_of.append(v)
                    live |= bit
            now = live_at[block.label] = live
        lost, often = bytearray(len(elapsed) + 7 >> 3), bytearray(len(elapsed) + 7 >> 3)
        for at in self.clobbers:
            lost[at >> 3] |= 1 << (at & 7)
            if elapsed[at + 1] - elapsed[at] > 2 * NEVER:
                often[at >> 3] |= 1 << (at & 7)
        self.lost, self.lost_often = int.from_bytes(lost, "little"), int.from_bytes(often, "little")
        self._pin(blocks)

    def _pin(self, blocks: tuple[Block, ...]) -> None:
        """Before 5.11 the verifier forgets what a spilled record pointer is
        (744ea4e3885e, "bpf: support PTR_TO_MEM{,_OR_NULL} register spilling")."""
        pinned = self.pinned
        if not any(instr.args[0] == "ringbuf_reserve" for instr in self.clobbers.values()):
            return
        for block in blocks:
            for instr in block.instrs:
                if instr.op == "call":
                    if instr.args[0] == "ringbuf_reserve":
                        pinned.add(instr.dst)
                elif pinned and instr.op in ("mov", "add") and instr.args[0] in pinned:
                    pinned.add(instr.dst)

    def make_again(self, frame: dict[str, int]) -> None:
        """Gives those their place that are made again at each use; not those set more than once."""
        for instr in self._simple:
            v, what = instr.dst, instr.args[0]
            if self.sets[v] > 1 or not self.reads[v]:
                continue
            if instr.op == "slot":
                assert type(what) is str
                self.places[v] = ("fp", frame[what])
            elif instr.op == "value":
                offset = instr.args[1]
                assert type(what) is str and type(offset) is int
                if self.reads[v] == 1 or self.across(self.mask(v)) & self.lost:
                    self.places[v] = ("value", what, offset)
            elif type(what) is int:
                self.places[v] = ("imm", signed64(what))

    def join_contexts(self) -> None:
        """Makes one of all registers only `ctx` sets."""
        ctx = self.ctx
        self.wants[ctx] = 1  # where it comes in
        for v in self._ctx:
            if self.sets[v] == 1 and self.reads[v]:
                self.contexts.append(v)
                self.gaps[ctx] += self.gaps[v]
                self.mentions[ctx] += self.mentions[v]

    def mask(self, v: int) -> int:
        """The gaps in which it is live."""
        found = 0
        gaps = self.gaps[v]
        for n in range(0, len(gaps), 2):
            found |= (1 << gaps[n + 1]) - (1 << gaps[n])
        return found

    @staticmethod
    def across(mask: int) -> int:
        """The positions of the instructions that something is live before and behind of."""
        return mask & mask >> 1

    def worth(self, v: int) -> float:
        """How much is won by keeping it in a register: mentions for the time it is live."""
        gaps, elapsed, time = self.gaps[v], self.elapsed, 0.0
        for n in range(0, len(gaps), 2):
            time += elapsed[gaps[n + 1]] - elapsed[gaps[n]]
        return self.mentions[v] / (time + NEVER)


class _Places:
    """Gives each register still without one its place."""

    def __init__(self, live: _Live) -> None:
        self.live = live
        self.taken = [0] * 10  # by machine register: the gaps in which it has something
        self.used = [0] * 6  # of r0-r5: the instructions with something in it before or behind
        self.many = [0] * _CALLER_USED  # the instructions with 1, 2, ... of them in use
        self.spilled: list[tuple[int, int]] = []  # with the gaps
        self.cold: list[tuple[int, int]] = []  # those in r0-r5 that need saving, and where

    def give(self) -> None:
        """Those that are worth about as much in the order in which they are read: they hand on registers."""
        live, places, worth = self.live, self.live.places, self.live.worth
        reads, pinned, contexts = live.reads, live.pinned, set(live.contexts)
        todo = [
            (-1000 if v in pinned else -bisect(_LEVELS, worth(v)), live.first[v], v)
            for v in range(len(places))
            if places[v] is None and reads[v] and v not in contexts
        ]
        todo.sort()
        alone: list[tuple[int, int]] = []  # those that do not share a register with those they would like to
        for _, _, v in todo:
            mask = live.mask(v)
            lost = live.across(mask) & live.lost
            wanted = [live.wants[v]]
            for other in live.near[v]:
                place = places[other]
                if place is None:
                    wanted.append(live.wants[other])
                elif type(place) is int and place >= 0:
                    wanted.append(place)
            order = _CALLEE if lost & live.lost_often or lost and v in pinned else _ANY
            r = self.free(mask, order, wanted)
            if r < 0:
                r = self.free(mask, order, order)
                if r < 0:
                    self.spilled.append((v, mask))
                    continue
                if live.near[v] and (not lost or r > 5):
                    alone.append((v, mask))
            if lost and r < 6:
                self.cold.append((v, lost))
            self.put(v, mask, r)
        for v, mask in alone:
            wanted = [place for other in live.near[v] if type(place := places[other]) is int and place >= 0]
            old = places[v]
            assert type(old) is int
            if old not in wanted:
                r = self.free(mask, _CALLEE if live.across(mask) & live.lost else _ANY, wanted)
                if r >= 0:
                    self.taken[old] &= ~mask
                    self.put(v, mask, r)

    def free(self, mask: int, order: tuple[int, ...], wanted: Sequence[int]) -> int:
        """The first of the registers wanted that is in `order` and free in these gaps; -1: none is."""
        taken = self.taken
        full = -1  # instructions that can have no more of r0-r5
        for r in wanted:
            if r in order and not taken[r] & mask:
                if r > 5:
                    return r
                if full < 0:
                    full = (mask | mask >> 1) & self.many[-1]
                if not full or not full & ~self.used[r]:
                    return r
        return -1

    def put(self, v: int, mask: int, r: int) -> None:
        self.live.places[v] = r
        self.taken[r] |= mask
        if r < 6:
            at = mask | mask >> 1
            new = at & ~self.used[r]
            if new:
                self.used[r] |= at
                one, two, three, four = self.many
                self.many = [one | new, two | one & new, three | two & new, four | three & new]

    def busy(self) -> bytearray:
        """Allocation.busy."""
        count = len(self.live.elapsed)
        found = 0
        for r in range(6):
            text = bin(self.used[r])[2:].translate({48: 0, 49: 1 << r})
            found |= int.from_bytes(text.encode("latin-1"), "big")
        busy = bytearray(found.to_bytes(count + 1, "little"))
        for at, instr in self.live.clobbers.items():
            bits = 0
            for arg in instr.args:
                reg = arg.reg if type(arg) is Bounded else arg
                place = self.live.places[reg] if type(reg) is Reg else None
                if type(place) is int and 0 <= place < 6:
                    bits |= 1 << place
            busy[at] = bits
        return busy

    def to_stack(self, depth: int) -> tuple[int, dict[int, list[tuple[int, int]]]]:
        """Gives the others stack slots below `depth`, and Allocation.saved; the depth then."""
        slots: list[int] = []

        def slot(mask: int) -> int:
            for n, taken in enumerate(slots):
                if not taken & mask:
                    slots[n] |= mask
                    return -depth - 8 * (n + 1)
            slots.append(mask)
            return -depth - 8 * len(slots)

        for v, mask in self.spilled:
            self.live.places[v] = slot(mask | mask >> 1)
        saved: dict[int, list[tuple[int, int]]] = {}
        for v, lost in self.cold:
            place = self.live.places[v]
            assert type(place) is int
            while lost:
                at = lost.bit_length() - 1
                lost ^= 1 << at
                if self.live.clobbers[at].dst != v:
                    saved.setdefault(at, []).append((place, slot(1 << at)))
        return depth + 8 * len(slots), saved


# What makes a pointer of a pointer.
_POINTERS = frozenset({"mov", "add", "sub", "at"})


def _frame(function: Function, blocks: tuple[Block, ...], live: _Live) -> tuple[dict[str, int], int]:
    """The offset of each stack slot of the function, and the bytes they take.  Slots share memory where
    the intervals in which pointers to them are mentioned do not overlap."""
    sizes = dict(function.slots)
    if sum(sizes.values()) <= _ROOMY:
        depth, frame = 0, {}
        for name, size in function.slots:
            depth += size + 7 & ~7
            frame[name] = -depth
        return frame, depth
    spans: dict[str, tuple[int, int]] = {}  # slot: first and last mention
    slots_of: dict[int, set[str]] = {}  # register: the slots it may point to
    for block in blocks:
        for instr in block.instrs:
            op, dst = instr.op, instr.dst
            if op == "slot":
                found = {str(instr.args[0])}
            elif op in _POINTERS and slots_of and not slots_of.keys().isdisjoint(instr.args):
                found = set().union(*[slots_of.get(arg, ()) for arg in instr.args if type(arg) is Reg])
            else:
                continue
            if not found or live.first[dst] < 0:
                continue
            slots_of.setdefault(dst, set()).update(found)
            for name in found:
                first, last = spans.get(name, (live.first[dst], live.gaps[dst][1]))
                spans[name] = min(first, live.first[dst]), max(last, live.gaps[dst][1])
    frame = {}
    until: list[int] = []  # by word of the frame: the last mention of the slot that has it
    for name in sorted(spans, key=spans.__getitem__):
        first, last = spans[name]
        words = sizes[name] + 7 >> 3
        at = 0
        for n in range(len(until)):
            if until[n] >= first:
                at = n + 1
            elif n + 1 - at == words:
                break
        until[at : at + words] = [last] * words
        frame[name] = -8 * (at + words)
    return frame, 8 * len(until)
