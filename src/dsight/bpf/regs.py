"""Where each virtual register lives: a machine register, a stack slot, or nowhere.

In: the blocks of an ir.ops.Function, every jump forward.  Out: an Allocation.  Linear scan:

- Jumps only go forward, so a register is live at most from its first to its last mention in
  block order.  That one interval is all we know of it, and it has one place for all its life.
- Calls and composite operations (CLOBBERS) lose r0-r5.  What lives across one goes to r6-r9;
  the rest goes to r0-r5, of which two are always left free for `select` to work with.
- Where registers run out, the interval with the fewest mentions for its length lives in an
  8-byte stack slot: always a whole one, so that the verifier keeps a pointer's type.
- What is cheaper to make again than to keep (Again) has no place: constants, addresses of stack
  slots, and addresses of map values that are used once or would have to survive a call.
- All `ctx` operations share one interval, which starts in r1 at the program's entry.
"""

from __future__ import annotations

from heapq import heappop, heappush

from dsight.bpf.insn import signed64
from dsight.errors import fail
from dsight.ir.ops import CLOBBERS, Bounded, Reg
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Block, Function, Instr

    # ("imm", number), ("fp", offset from the frame pointer), ("value", map, offset)
    Again = tuple[str, int] | tuple[str, str, int]
    # A machine register (0-9), a stack slot (its negative offset from the frame pointer), or Again
    Place = int | Again

STACK = 512  # bytes; include/linux/filter.h, MAX_BPF_STACK

_CALLER, _CALLEE = 0b0000111111, 0b1111000000
_CALLER_USED = 4  # at most; the other two are for `select`
# r1-r3 late: they are wanted most, by the arguments of calls
_CALLER_ORDER, _CALLEE_ORDER = (0, 5, 4, 3, 2, 1), (6, 7, 8, 9)
MANY = 30  # reads of what is worth a register of its own however long it is kept: the pointers a whole program uses
_ROOMY = 64  # bytes of stack slots that are not worth sharing
_SPILLED = -(1 << 30)  # a stack slot, to be chosen by _stack


class Allocation(Value):
    """`places`: by virtual register, the context pointer's last; None where it is never read.
    `busy`: for each instruction in block order, the machine registers in use while it runs, as bits.
    `depth`: bytes of stack in use."""

    places: list[Place | None]
    busy: list[int]
    depth: int


def allocate(function: Function, blocks: tuple[Block, ...], stack: int = STACK) -> Allocation:
    """Raises CompileError where the stack does not hold what has to be kept."""
    live = _Intervals(function.regs)
    live.collect(blocks)
    frame, depth = _frame(function, blocks, live)
    live.make_again(frame)
    live.join_contexts()
    busy = _scan(live, blocks)
    depth = _spill(live, depth)
    if depth > stack:
        span = next((i.span for b in blocks for i in b.instrs if i.span), None)
        message = f"the clause needs {depth} bytes of kernel stack, and there are {stack}"
        raise fail("D_UNKNOWN", message, span, "split it into several clauses, or use fewer values at once")
    for v in live.contexts:
        live.places[v] = live.places[live.ctx]
    return Allocation(live.places, busy, depth)


class _Intervals:
    """What is known of each virtual register, by number; the context pointer comes last (`ctx`)."""

    def __init__(self, regs: int) -> None:
        n = regs + 1
        self.ctx = regs
        # Positions, in block order, of the first and last mention
        self.first, self.last = [-1] * n, [-1] * n
        self.sets, self.reads = [0] * n, [0] * n
        # Clobbering instructions passed when it was set first, and when it was mentioned last
        self.born, self.died = [0] * n, [0] * n
        self.wants = [-1] * n  # the machine register that would suit it; -1: any
        self.places: list[Place | None] = [None] * n
        self.contexts: list[Reg] = []  # registers that are the context pointer and nothing else
        self.same: dict[int, int] = {}  # those of them mentioned last: self.ctx
        self._simple: list[Instr] = []  # what might be made again
        self._ctx: list[tuple[Reg, int, int]] = []  # `ctx` operations: register, position, clobbers passed

    def collect(self, blocks: tuple[Block, ...]) -> None:
        last, sets, reads, died, wants = self.last, self.sets, self.reads, self.died, self.wants
        at, clobbers = -1, 0
        for block in blocks:
            for instr in block.instrs:
                at += 1
                op = instr.op
                for arg in instr.args:
                    if type(arg) is Reg:
                        v = arg
                    elif type(arg) is Bounded:
                        v = arg.reg
                    else:
                        continue
                    last[v] = at
                    reads[v] += 1
                    died[v] = clobbers
                if op in CLOBBERS:
                    clobbers += 1
                    if op == "call":
                        for n, arg in enumerate(instr.args):
                            if type(arg) is Reg:
                                wants[arg] = n
                            elif type(arg) is Bounded:
                                wants[arg.reg] = n
                    elif op == "cast" and type(instr.args[0]) is Reg:
                        wants[instr.args[0]] = 1
                elif op == "mov" or op == "slot" or op == "value":
                    self._simple.append(instr)
                elif op == "ctx":
                    self._ctx.append((instr.dst, at, clobbers))
                elif op == "ret" and type(instr.args[0]) is Reg:
                    wants[instr.args[0]] = 0
                v = instr.dst
                if v >= 0:
                    if not sets[v]:
                        self.first[v] = at
                        self.born[v] = clobbers
                    sets[v] += 1
                    last[v] = at
                    died[v] = clobbers

    def make_again(self, frame: dict[str, int]) -> None:
        """Gives those their place that are made again at each use; not those set more than once."""
        for instr in self._simple:
            v, what = instr.dst, instr.args[0]
            if self.sets[v] > 1:
                continue
            if instr.op == "slot":
                assert type(what) is str
                self.places[v] = ("fp", frame[what])
            elif instr.op == "value":
                offset = instr.args[1]
                assert type(what) is str and type(offset) is int
                if self.reads[v] == 1 or self.crosses(v):
                    self.places[v] = ("value", what, offset)
            elif type(what) is int:
                self.places[v] = ("imm", signed64(what))

    def join_contexts(self) -> None:
        """Makes one interval, from the entry to the last mention, of all registers only `ctx` sets."""
        ctx = self.ctx
        for v, at, clobbers in self._ctx:
            if self.sets[v] > 1:  # copied there
                self._mention(ctx, at, clobbers, 1)
            elif self.reads[v]:
                self.contexts.append(v)
                self.places[v] = _SPILLED  # not _scan's business: allocate() says where
                self._mention(ctx, self.last[v], self.died[v], self.reads[v])
        if self.reads[ctx]:
            self.sets[ctx] = 1
            self.wants[ctx] = 1  # where it comes in
        for v in self.contexts:
            if self.last[v] == self.last[ctx]:
                self.same[v] = ctx
            else:
                self.last[v] = -1  # does not end the interval

    def _mention(self, v: int, at: int, clobbers: int, reads: int) -> None:
        self.reads[v] += reads
        self.last[v] = max(self.last[v], at)
        self.died[v] = max(self.died[v], clobbers)

    def crosses(self, v: int) -> bool:
        """Whether it lives across a clobbering instruction."""
        return self.died[v] > self.born[v]

    def worth(self, v: int) -> float:
        """How much is won by keeping it in a register: mentions for its length."""
        return (self.reads[v] + self.sets[v]) / (self.last[v] - self.first[v] + 1)


def _scan(live: _Intervals, blocks: tuple[Block, ...]) -> list[int]:
    """Gives each register still without one its place (or _SPILLED); returns Allocation.busy."""
    places, last, reads = live.places, live.last, live.reads
    owner = [-1] * 10
    used = 0
    pinned: set[int] = set()
    busy_at: list[int] = []

    def worth(v: int) -> float:
        return float("inf") if v in pinned else live.worth(v) + (MANY if reads[v] >= MANY else 0)

    def worth_of_owner(r: int) -> float:
        return worth(owner[r])

    def choose(v: int, before: int, near: int) -> None:
        """A register for v: `before` were in use before this instruction, `near` would save a move."""
        nonlocal used
        if live.died[v] > live.born[v]:
            order: tuple[int, ...] = _CALLEE_ORDER
        elif (before & _CALLER).bit_count() < _CALLER_USED:
            order = _CALLER_ORDER
        else:  # only what this instruction frees, so that two stay free while it runs
            order = tuple([r for r in _CALLER_ORDER if before >> r & 1])
        for r in (live.wants[v], near):
            if r in order and not used >> r & 1:
                break
        else:
            for r in order if order is _CALLEE_ORDER else order + _CALLEE_ORDER:
                if not used >> r & 1:
                    break
            else:
                r = min(order, key=worth_of_owner)
                if v not in pinned and worth_of_owner(r) >= worth(v):
                    places[v] = _SPILLED
                    return
                places[owner[r]] = _SPILLED
        owner[r] = v
        places[v] = r
        used |= 1 << r

    def release(v: int) -> int:
        """v ends here: the register it leaves, or -1."""
        nonlocal used
        v = live.same.get(v, v)
        r = places[v]
        if type(r) is int and r >= 0:
            used &= ~(1 << r)
            return r
        return -1

    if reads[live.ctx]:
        choose(live.ctx, 0, -1)
    at = -1
    for block in blocks:
        for instr in block.instrs:
            at += 1
            before = used
            near = -1
            for arg in instr.args:
                if type(arg) is Reg:
                    if last[arg] == at:
                        r = release(arg)
                        if near < 0:
                            near = r
                elif type(arg) is Bounded and last[arg.reg] == at:
                    release(arg.reg)
            v = instr.dst
            if v >= 0 and places[v] is None and reads[v]:
                # Before 5.11 the verifier forgets what a spilled record pointer is
                # (744ea4e3885e, "bpf: support PTR_TO_MEM{,_OR_NULL} register spilling").
                if instr.op == "call" or instr.op == "cast":
                    near = 0
                    if instr.args[0] == "ringbuf_reserve":
                        pinned.add(v)
                elif pinned and instr.op in ("mov", "add") and instr.args[0] in pinned:
                    pinned.add(v)
                choose(v, before, near)
            busy_at.append(before | used)
            if v >= 0 and last[v] == at:
                release(v)
    return busy_at


# What makes a pointer of a pointer.
_POINTERS = frozenset({"mov", "add", "sub", "at"})


def _frame(function: Function, blocks: tuple[Block, ...], live: _Intervals) -> tuple[dict[str, int], int]:
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
            if not found:
                continue
            slots_of.setdefault(dst, set()).update(found)
            for name in found:
                first, last = spans.get(name, (live.first[dst], live.last[dst]))
                spans[name] = min(first, live.first[dst]), max(last, live.last[dst])
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


def _spill(live: _Intervals, depth: int) -> int:
    """Turns each _SPILLED into a stack slot below `depth`, used again where intervals do not
    overlap; returns the depth then."""
    own = [v for v, place in enumerate(live.places) if place == _SPILLED and v not in live.contexts]
    own.sort(key=live.first.__getitem__)
    ends: list[tuple[int, int]] = []  # last mention, slot
    for v in own:
        if ends and ends[0][0] < live.first[v]:
            offset = heappop(ends)[1]
        else:
            depth += 8
            offset = -depth
        live.places[v] = offset
        heappush(ends, (live.last[v], offset))
    return depth
