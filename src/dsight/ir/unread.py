"""What a script writes and none of its programs reads: left out.

    read = globals_read(functions)              # of all programs, optimised
    function = drop_unread(function, read)      # each of them

A value just assigned stays in a register for the rest of its clause, so that most scripts never load the
global variables they work with from memory.  And of what `copyin(address, size)` clears, because no more
than `size` bytes may come, most scripts read a few bytes.
"""

from __future__ import annotations

from dsight.ir.maps import GLOBALS_START
from dsight.ir.onstack import EVERYWHERE, on_stack
from dsight.ir.ops import NO_REG, Block, Bounded, Instr, MapRef, Reg, integer
from dsight.ir.passes import drop_dead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from dsight.ir.ops import Function, Operand

SCRATCH = "scratch_"  # what the names of the maps with scratch memory begin with
# Operations that use memory from a pointer on, none before it.
_FORWARD = frozenset({"call", "at", "copy", "strcmp", "zero", "xadd", "loop"})
# Helpers that only write to what their first argument points to, and read from their third as much as the second says.
_READ_TO = frozenset({"probe_read_user", "probe_read_kernel", "probe_read_user_str", "probe_read_kernel_str"})


class Read:
    """Which words of the map `globals` some program may read: those at these offsets, and all from one on."""

    def __init__(self) -> None:
        self.words: set[int] = set()
        self.rest = EVERYWHERE

    def has(self, offset: int) -> bool:
        return offset < GLOBALS_START or offset >= self.rest or offset & ~7 in self.words


def globals_read(functions: Iterable[Function]) -> Read:
    found = Read()
    for function in functions:
        for one in (function, *function.bodies):
            _globals_read(one, found)
    return found


def _globals_read(function: Function, found: Read) -> None:
    places: dict[Operand, int] = {}
    for block in function.blocks:
        for instr in block.instrs:
            op, args = instr.op, instr.args
            if op == "value":
                if args[0] == "globals":
                    places[instr.dst] = integer(args[1])
                continue
            if not places or places.keys().isdisjoint(args):
                continue
            for n, arg in enumerate(args):
                if type(arg) is not Reg or arg not in places:
                    continue
                at = places[arg]
                if n == 0 and op == "load":
                    at += integer(args[1])
                    found.words.update((at & ~7, at + integer(args[2]) - 1 & ~7))
                elif n or op != "store":
                    found.rest = min(found.rest, at if op in _FORWARD else 0)


def drop_unread(function: Function, read: Read) -> Function:
    """Without stores to global variables and to scratch memory that nobody reads; of scratch memory that is
    cleared, only what somebody may read.  `read`: of all programs of the script."""
    changed = _without_scratch(_without_globals(function, read))
    return function if changed is function else drop_dead(changed)


def _without_globals(function: Function, read: Read) -> Function:
    places: dict[Operand, int] = {}
    blocks = []
    dropped = False
    for block in function.blocks:
        kept = []
        for instr in block.instrs:
            op, args = instr.op, instr.args
            if op == "value" and args[0] == "globals":
                places[instr.dst] = integer(args[1])
            elif op == "store" and args[0] in places and not read.has(places[args[0]] + integer(args[1])):
                dropped = True
                continue
            kept.append(instr)
        blocks.append(Block(block.label, tuple(kept)) if len(kept) < len(block.instrs) else block)
    return function.replace(blocks=tuple(blocks)) if dropped else function


# ---- scratch memory


def _without_scratch(function: Function) -> Function:
    scratch = _Scratch()
    if function.bodies or not scratch.look(function):
        return function
    blocks = []
    for block in function.blocks:
        instrs: list[Instr] = []
        for instr in block.instrs:
            op, args = instr.op, instr.args
            if op == "zero" and args[0] in scratch.places:
                instrs += scratch.shrunk(instr)
            elif op != "store" or args[0] not in scratch.places or scratch.is_read(*args[:3]):
                instrs.append(instr)
        blocks.append(Block(block.label, tuple(instrs)))
    return on_stack(function.replace(blocks=tuple(blocks)), scratch.places, scratch.own)


class _Scratch:
    """What a function does with its scratch memory."""

    def __init__(self) -> None:
        self.places: dict[Operand, int] = {}  # registers that point there: offset
        self.all = self.own = NO_REG  # that of all CPUs, and of this one
        self.reads: list[tuple[int, int]] = []  # from, to
        self.pointers: list[tuple[Operand, ...]] = []  # where such pointers are kept there: pointer, offset, size

    def look(self, function: Function) -> bool:
        """Whether there is any, and it is known all that is read: no pointer there leads anywhere else."""
        from dsight.ir.algebra import set_counts

        counts = set_counts(function)
        places = self.places
        for block in function.blocks:
            for instr in block.instrs:
                op, args, dst = instr.op, instr.args, instr.dst
                if op == "call" and args[0] == "tail_call":  # the next part finds the same memory
                    return False
                if op == "value" and str(args[0]).startswith(SCRATCH):
                    self.all = dst
                elif op == "call" and args[0] == "map_lookup_elem" and _is_scratch(args[1]) or self._is_own(instr):
                    if places or counts[dst] > 1:
                        return False
                    places[dst] = 0
                    self.own = dst
                elif places and not places.keys().isdisjoint(args) and not self._use(instr, counts):
                    return False
        return bool(places) and not any(self.is_read(*stored) for stored in self.pointers)

    def _is_own(self, instr: Instr) -> bool:
        """Whether it finds this CPU's among that of all."""
        return instr.op == "add" and instr.args[0] == self.all

    def _use(self, instr: Instr, counts: list[int]) -> bool:
        """What an instruction reads there; False where that is not known."""
        op, args, places = instr.op, instr.args, self.places
        at = [places.get(arg) if type(arg) is Reg else None for arg in args]  # Reg(3) == 3
        if at.count(None) == len(at):
            return True
        if op == "add" and type(args[1]) is int or op == "mov":
            if counts[instr.dst] > 1 or at[0] is None:
                return False
            places[instr.dst] = at[0] + (integer(args[1]) if op == "add" else 0)
        elif op == "load":
            self._read(at[0], args[1], args[2])
        elif op == "store":
            if at[3] is not None:
                self.pointers.append(args[:3])
                return at[0] is not None
        elif op == "copy":
            self._read(at[2], args[3], args[4])
        elif op == "strcmp":
            self._read(at[0], 0, args[2])
            self._read(at[1], 0, args[2])
        elif op == "call":
            for n, start in enumerate(at):
                if args[0] in _READ_TO and n == 3:
                    size = args[2]
                    self._read(start, 0, size.limit if type(size) is Bounded else size)
                elif not (n == 1 and (args[0] in _READ_TO or args[0] == "get_current_comm")):
                    self._read(start, 0, EVERYWHERE)
        else:
            return op in ("br", "zero")
        return True

    def _read(self, start: int | None, offset: Operand, size: Operand) -> None:
        if start is not None:
            start += integer(offset)
            self.reads.append((start, start + integer(size)))

    def is_read(self, pointer: Operand, offset: Operand, size: Operand) -> bool:
        return bool(self._read_in(self.places[pointer] + integer(offset), integer(size)))

    def _read_in(self, start: int, size: int) -> list[tuple[int, int]]:
        return [(low, high) for low, high in self.reads if low < start + size and high > start]

    def shrunk(self, instr: Instr) -> list[Instr]:
        """A `zero`, of as few bytes as hold all that is read."""
        pointer, offset, size = instr.args[0], integer(instr.args[1]), integer(instr.args[2])
        start = self.places[pointer] + offset
        inside = self._read_in(start, size)
        if not inside:
            return []
        first = max(start, min([low for low, _ in inside]) & ~7)
        last = min(start + size, max([high for _, high in inside]) + 7 & ~7)
        return [Instr("zero", NO_REG, (pointer, offset + first - start, last - first), instr.span)]


def _is_scratch(arg: Operand) -> bool:
    return type(arg) is MapRef and arg.name.startswith(SCRATCH)
