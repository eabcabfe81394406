"""What copyin() copies lies on the stack, where it is small and its address goes nowhere.

A pass as those of ir.passes are, over what ir.unread has found out.  The kernel looks at the memory it copies to
(CONFIG_HARDENED_USERCOPY), and is done soonest with the stack: a copy of 16 bytes takes 30 ns less.

A *region* is a piece of scratch memory whose accesses are all at known offsets.  One that probe_read_user fills
becomes a stack slot.  Where the size is known only when it runs, as much as the slot has room for goes there at
once; of more, all goes to scratch memory as before, which says whether it can be read, and its beginning to the slot.
"""

from __future__ import annotations

from dsight.ir.algebra import POINTERS
from dsight.ir.ops import NO_REG, TERMINATORS, Block, Bounded, Instr, Reg, integer
from dsight.ir.passes import Dominators, drop_dead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Function, Operand
    from dsight.source import Span

# Bytes of all regions: from 64 bytes of stack on (in steps of 16) a program has, since Linux 6.13, a stack of its own,
# which the kernel looks at as at any other memory (BPF_PRIV_STACK_MIN_SIZE).
ALL = 40
LEAST = 32  # of one of which it is not known how much comes: a struct sockaddr_in or sockaddr_in6 has room


class Region:
    """From `start` up to `room` in scratch memory.  `end`: of what is touched but by copies of unknown size."""

    def __init__(self, start: int, room: int) -> None:
        self.start = start
        self.room = self.end = room
        self.slot = ""
        self.bounded: set[tuple[int, int]] = set()  # block, instruction of the copies of unknown size

    @property
    def size(self) -> int:
        size = self.end - self.start + 7 & ~7
        return max(size, LEAST) if self.bounded else size


class Access:
    """An instruction's operand `n` is a pointer to where `start` up to `end` is used.  `written`: all of it is, by
    the instruction alone.  `fill`: by probe_read_user; `bounded`: as much as shows when it runs."""

    __slots__ = ("bounded", "end", "fill", "n", "start", "written")

    def __init__(
        self, n: int, start: int, size: int, written: bool = False, fill: bool = False, bounded: bool = False
    ) -> None:
        self.n = n
        self.start = start
        self.end = start + size
        self.written = written
        self.fill = fill
        self.bounded = bounded


EVERYWHERE = 1 << 62  # bytes: more than any memory has
_ELSEWHERE = frozenset({"add", "mov", "br"})  # do not look at the memory


def accesses(instr: Instr, places: dict[Operand, int]) -> list[Access]:
    """What an instruction uses of scratch memory; `places`: the registers that point there, and to which offset."""
    op, args = instr.op, instr.args
    found: list[Access] = []
    if op in _ELSEWHERE:
        pass
    elif op == "call":
        for n, arg in enumerate(args):
            if type(arg) is Reg and arg in places:
                found.append(_argument(instr, n, places[arg]))
    elif op == "strcmp":
        found = [Access(n, places[args[n]], integer(args[2])) for n in (0, 1) if args[n] in places]
    else:
        for n in POINTERS[op]:
            if args[n] in places:
                size = integer(args[4] if op == "copy" else args[2])
                found.append(Access(n, places[args[n]] + integer(args[n + 1]), size, op != "load" and not n))
    return found


def _argument(instr: Instr, n: int, start: int) -> Access:
    args = instr.args
    helper = str(args[0])
    if helper == "get_current_comm" or helper.startswith("probe_read") and n in (1, 3):
        size = args[2]
        bounded = type(size) is Bounded
        room = size.limit if type(size) is Bounded else integer(size)
        fill = helper == "probe_read_user" and n == 1
        return Access(n, start, room, n == 1 and not bounded, fill, fill and bounded)
    return Access(n, start, EVERYWHERE)


def on_stack(function: Function, places: dict[Operand, int], scratch: Reg) -> Function:
    """`places`: all registers that point to scratch memory, by offset; none of them is stored anywhere.  `scratch`:
    the first."""
    regions = _regions(function, places)
    if not regions:
        return function
    return drop_dead(_Mover(function, places, scratch, regions).run())


def _regions(function: Function, places: dict[Operand, int]) -> list[Region]:
    used: list[tuple[Access, int, int]] = []
    for n, block in enumerate(function.blocks):
        here: list[tuple[Access, int, int]] = []
        for i, instr in enumerate(block.instrs):
            found = accesses(instr, places)
            for access in found:
                if access.bounded and not (_asked(block.instrs[i:]) and _cleared(access, block, here)):
                    access.bounded = access.fill = False
            here += [(access, n, i) for access in found]
        used += here
    owners: list[Region] = []
    for access, _, _ in sorted([u for u in used if u[0].fill], key=lambda u: u[0].start):
        if owners and access.start < owners[-1].room:
            owners[-1].room = max(owners[-1].room, access.end)
        else:
            owners.append(Region(access.start, access.end))
    dominators = Dominators(function) if owners else None
    made: list[Region] = []
    room = ALL
    for region in owners:
        assert dominators is not None
        its = [u for u in used if u[0].start < region.room and u[0].end > region.start]
        if _fits(region, its, dominators) and region.size <= room:
            room -= region.size
            region.slot = f"copied_in_{len(made)}"
            made.append(region)
    return made


def _asked(instrs: tuple[Instr, ...]) -> bool:
    """Whether a call is followed by nothing but the question if it failed."""
    return len(instrs) == 2 and instrs[1].op == "br" and instrs[1].args[:3] == ("ne", instrs[0].dst, 0)


def _cleared(fill: Access, block: Block, before: list[tuple[Access, int, int]]) -> bool:
    """Whether the block last cleared the memory: what the copy does not fill is zero.  Not so with copyinto()."""
    touched = [i for access, _, i in before if access.start < fill.end and access.end > fill.start]
    return bool(touched) and block.instrs[touched[-1]].op == "zero"


def _fits(region: Region, used: list[tuple[Access, int, int]], dominators: Dominators) -> bool:
    """Whether all accesses are within, and what is read has been filled: the verifier asks for that.
    Finds its end."""
    fills = [u for u in used if u[0].fill]
    if any(access.start != region.start for access, _, _ in fills):
        return False
    if any(access.start < region.start or access.end > region.room for access, _, _ in used):
        return False
    region.bounded = {(n, i) for access, n, i in fills if access.bounded}
    region.end = max([access.end for access, _, _ in used if not access.bounded], default=region.start)
    for access, n, i in used:
        if (
            not access.written
            and not access.fill
            and not any(
                (fill.bounded or access.end <= fill.end) and (m < n and dominators.has(n, m) or m == n and j < i)
                for fill, m, j in fills
            )
        ):
            return False
    return True


class _Mover:
    """Writes the function anew, with the regions in slots."""

    def __init__(self, function: Function, places: dict[Operand, int], scratch: Reg, regions: list[Region]) -> None:
        self.function = function
        self.places = places
        self.regions = regions
        self.regs = function.regs
        self.blocks: list[Block] = []
        self.label = ""
        self.out: list[Instr] = []
        self.span: Span | None = None
        self.slots: dict[str, Reg] = {}  # of this block
        self.count = 0
        self.scratch = scratch
        self.how = {i.dst: i for block in function.blocks for i in block.instrs if i.dst >= 0}

    def run(self) -> Function:
        for n, block in enumerate(self.function.blocks):
            self.start(block.label)
            for i, instr in enumerate(block.instrs):
                self.span = instr.span
                if self.instr(instr, (n, i), block.instrs[-1]):
                    break
            else:
                self.blocks.append(Block(self.label, tuple(self.out)))
        slots = tuple([(region.slot, region.size) for region in self.regions])
        return self.function.replace(blocks=tuple(self.blocks), regs=self.regs, slots=(*slots, *self.function.slots))

    def start(self, label: str) -> None:
        self.label, self.out = label, []
        self.slots.clear()

    def add(self, op: str, dst: Reg, *args: Operand) -> None:
        self.out.append(Instr(op, dst, args, self.span))
        if op in TERMINATORS:
            self.blocks.append(Block(self.label, tuple(self.out)))

    def emit(self, op: str, *args: Operand) -> Reg:
        self.regs += 1
        self.add(op, Reg(self.regs - 1), *args)
        return Reg(self.regs - 1)

    def slot(self, region: Region) -> Reg:
        if region.slot not in self.slots:
            self.slots[region.slot] = self.emit("slot", region.slot)
        return self.slots[region.slot]

    def instr(self, instr: Instr, where: tuple[int, int], last: Instr) -> bool:
        """Whether the block is finished; `last`: what it ends with."""
        op, args = instr.op, list(instr.args)
        for access in accesses(instr, self.places):
            region = next((r for r in self.regions if r.start <= access.start < r.room), None)
            if region is None:
                continue
            if where in region.bounded:
                self.fill(region, instr, last)
                return True
            n, at = access.n, access.start - region.start
            if n in POINTERS[op]:
                args[n : n + 2] = self.slot(region), at
            else:
                args[n] = self.emit("add", self.slot(region), at) if at else self.slot(region)
        self.out.append(Instr(op, instr.dst, tuple(args), instr.span))
        return False

    def fill(self, region: Region, instr: Instr, ask: Instr) -> None:
        """As many bytes as the slot has room for at once; of more, all to scratch memory, if only to find out
        whether they are there.  Each way asks for itself: the results need no common place."""
        helper, _, size, address = instr.args
        assert type(size) is Bounded
        room = region.size
        slot = self.slot(region)
        cleared = max(n for n, i in enumerate(self.out) if i.op == "zero" and i.args[0] == slot)
        del self.out[cleared]  # not only what is read: the verifier wants all of it
        self.add("zero", NO_REG, slot, 0, room)
        if size.limit <= room:
            self.ask(ask, self.emit("call", helper, slot, size, address))
            return
        self.count += 1
        short, long, there = [f"copy_{what}_{self.count}" for what in ("short", "long", "there")]
        self.add("br", NO_REG, "ule", size.reg, room, short, long)
        self.start(long)
        memory = self.emit("add", self.own(), region.start) if region.start else self.own()
        found = self.emit("call", helper, memory, size, address)
        self.add("br", NO_REG, "ne", found, 0, str(ask.args[3]), there)
        self.start(there)
        self.ask(ask, self.emit("call", helper, self.slot(region), room, address))
        self.start(short)
        self.ask(ask, self.emit("call", helper, self.slot(region), Bounded(size.reg, room), address))

    def ask(self, how: Instr, result: Reg) -> None:
        self.add("br", NO_REG, "ne", result, 0, *how.args[3:])

    def own(self) -> Reg:
        """This CPU's scratch memory, found here: a register for it, which others may have no use for, is not
        worth keeping."""
        how = self.how[self.scratch]
        if how.op != "add":
            return self.scratch
        return self.again(self.scratch)

    def again(self, reg: Reg) -> Reg:
        how = self.how[reg]
        args = tuple([self.again(arg) if type(arg) is Reg else arg for arg in how.args])
        return self.emit(how.op, *args)
