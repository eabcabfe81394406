"""Instruction selection: one rule for each IR operation (RULES), in the order of ir.ops.OPS.

A rule writes instructions through an Emitter, which knows where operands live (regs.py).  A rule
may use, besides its operands' registers, those of `spare()`: two always, and around a clobbering
operation all of r0-r5 but the operands'.  The result's register may be that of an operand: write
it last, or ask.

Local jumps have fixed offsets; jumps to labels are filled in by compile.py.  What forks the
verifier's path joins again within a few instructions.
"""

from __future__ import annotations

from dsight.bpf import insn as bpf
from dsight.bpf.insn import fits, signed64
from dsight.ir.ops import CONDITIONS, HELPERS, Bounded, MapRef, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsight.bpf.regs import Again, Allocation, Place
    from dsight.bpf.spec import Insn
    from dsight.ir.ops import Instr, Operand

    _Line = Insn | str | tuple[Insn, str]

_FILL, _SPILL = bpf.LDX | bpf.MEM | bpf.SIZES[8], bpf.STX | bpf.MEM | bpf.SIZES[8]
_SPILL_IMM = bpf.ST | bpf.MEM | bpf.SIZES[8]
_FP, _CALL, _STORE_CLASSES, _JUMP_CLASSES = bpf.FP, bpf.JMP | bpf.CALL, (bpf.ST, bpf.STX), (bpf.JMP, bpf.JMP32)
UNROLL = 16  # pieces: longer runs of memory become a loop
MAX_OFFSET = 0x7FFF


class Emitter:
    """The code so far, and the instruction at hand: its position and the label that follows its block."""

    def __init__(self, allocation: Allocation, bpf_loop: bool = True) -> None:
        self.code: list[Insn] = []
        self.bpf_loop = bpf_loop
        self.jumps: list[tuple[int, str]] = []  # index into code, label
        self.at = -1
        self.next = ""
        self.places = allocation.places
        self._busy = allocation.busy
        self._taken = allocation.taken
        self._spares: dict[int, tuple[int, ...]] = {}  # by busy registers
        self.holds: dict[int, int] = {}  # machine register: the spill slot it has the value of, too
        self.noted = 0  # how far `holds` takes the code into account
        self.forked = False  # whether this operation has jumped: what follows may be jumped over
        self.touched = False  # whether it has used a spill slot
        self._slots = {place for place in self.places if type(place) is int and place < 0}
        self._slots.update([slot for saved in allocation.saved.values() for _, slot in saved])
        self.add = self.code.append

    def spare(self) -> tuple[int, ...]:
        """The registers of r0-r5 free for this instruction's own use."""
        busy = self._busy[self.at]
        found = self._spares.get(busy)
        if found is None:
            found = self._spares[busy] = tuple([r for r in range(6) if not busy >> r & 1])
        return found

    def note(self) -> None:
        """Brings `holds` up to date with the code so far."""
        holds, slots, forked = self.holds, self._slots, self.forked
        for i in self.code[self.noted :]:
            code = i.code
            if code in (_FILL, _SPILL):
                r, base = (i.dst, i.src) if code == _FILL else (i.src, i.dst)
                kept = base == _FP and i.off in slots
                if code == _FILL:
                    holds.pop(r, None)
                elif kept:
                    for other in [r for r, slot in holds.items() if slot == i.off]:
                        del holds[other]
                if kept and not forked:
                    holds[r] = i.off
            elif code == _CALL:
                for r in range(6):
                    holds.pop(r, None)
            elif code & 7 in _JUMP_CLASSES:
                forked = True
            elif code == _SPILL_IMM:
                if i.dst == _FP:
                    for other in [r for r, slot in holds.items() if slot == i.off]:
                        del holds[other]
            elif i.dst in holds and code & 7 not in _STORE_CLASSES:
                del holds[i.dst]
        self.noted, self.forked = len(self.code), forked

    # -- operands

    def const(self, arg: Operand) -> int | None:
        """The operand's value where it is known, as a signed number."""
        if type(arg) is int:
            return signed64(arg)
        place = self.places[arg] if type(arg) is Reg else None
        return place[1] if type(place) is tuple and place[0] == "imm" else None  # type: ignore[return-value]

    def imm(self, arg: Operand) -> int | None:
        """The operand's value where an instruction can hold it."""
        n = self.const(arg)
        return n if n is not None and fits(n) else None

    def reg(self, arg: Operand, spare: int, last: bool = False) -> int:
        """A register that holds the operand, to read it only: its own, else one that has a copy, else `spare`
        or one where a copy may stay.  `last`: no spare register is written before it is read."""
        if type(arg) is Reg:
            place = self.places[arg]
            if type(place) is int:
                if place >= 0:
                    return place
                self.note()
                self.touched = True
                taken = () if last else self.spare()[:3]
                for r, slot in self.holds.items():
                    if slot == place and r not in taken:
                        return r
                spare = self.room(spare)
        self.put(spare, arg)
        return spare

    def room(self, spare: int) -> int:
        """The register that is free for longest, if a rule does not use it; else `spare`."""
        at = self.at
        best, longest = spare, 1
        for r in (6, 7, 8, 9, *self.spare()[3:]):
            ahead = self._taken[r] >> at
            if ahead & 3 or r in self.holds:
                continue
            length = (ahead & -ahead).bit_length() if ahead else 1 << 30
            if length > longest + 2 and (r > 5 or best == spare):
                best, longest = r, length
        return best

    def held(self, arg: Operand) -> bool:
        """Whether a register holds the operand."""
        place = self.places[arg] if type(arg) is Reg else None
        return type(place) is int and place >= 0

    def put(self, r: int, arg: Operand) -> None:
        """Brings the operand into register r."""
        if type(arg) is Reg:
            place = self.places[arg]
            if place is None:
                raise AssertionError(f"{arg} is read but never set")
            if not isinstance(place, int):
                self._make(r, place)
            elif place < 0:
                self.note()
                self.touched = True
                if self.holds.get(r) != place:
                    self.add(bpf.load(8, r, bpf.FP, place))
            elif place != r:
                self.add(bpf.alu(bpf.MOV, r, place))
        elif type(arg) is MapRef:
            self.add(bpf.ld_map(r, arg.name))
        else:
            assert type(arg) is int
            self._make(r, ("imm", signed64(arg)))

    def _make(self, r: int, again: Again) -> None:
        if again[0] == "value":
            _, name, offset = again  # type: ignore[misc]
            self.add(bpf.ld_value(r, name, offset))
            return
        n = again[1]
        assert type(n) is int
        if again[0] == "fp":
            self.add(bpf.alu(bpf.MOV, r, bpf.FP))
            self.add(bpf.alu_imm(bpf.ADD, r, n))
        elif fits(n):
            self.add(bpf.alu_imm(bpf.MOV, r, n))
        else:
            self.add(bpf.ld_imm64(r, n))

    def base(self, pointer: Operand, offset: int, spare: int, last: bool = False) -> tuple[int, int]:
        """Register and offset to reach `offset` bytes after the pointer; a far one makes `spare` point there.
        `last` as in reg()."""
        place = self.places[pointer]  # type: ignore[index]
        if type(place) is tuple and place[0] == "fp":
            return bpf.FP, place[1] + offset  # type: ignore[operator]
        if -MAX_OFFSET <= offset <= MAX_OFFSET:
            return self.reg(pointer, spare, last), offset
        self.put(spare, pointer)
        self.add(bpf.alu_imm(bpf.ADD, spare, offset))
        return spare, 0

    # -- results

    def target(self, instr: Instr) -> int:
        """The register to compute the result in: its own, else the first spare one."""
        place = self.places[instr.dst]
        return place if type(place) is int and place >= 0 else self.spare()[0]

    def result(self, instr: Instr, r: int) -> None:
        """The result is in r: takes it to its place."""
        place = self.places[instr.dst]
        if type(place) is not int or place == r:
            return
        if place >= 0:
            self.add(bpf.alu(bpf.MOV, place, r))
        else:
            self.touched = True
            self.add(bpf.store(8, bpf.FP, place, r))

    # -- jumps

    def goto(self, label: str, jump: Insn | None = None) -> None:
        self.jumps.append((len(self.code), label))
        self.add(jump or bpf.ja())


# -- arithmetic


def _mov(e: Emitter, instr: Instr) -> None:
    place = e.places[instr.dst]
    if type(instr.args[0]) is not Reg:
        source: Place | None = None
    elif (source := e.places[instr.args[0]]) == place:
        return
    n = e.imm(instr.args[0])
    if n is not None and type(place) is int and place < 0:
        e.add(bpf.store_imm(8, bpf.FP, place, n))
        return
    r = source if type(source) is int and source >= 0 else e.target(instr)
    e.put(r, instr.args[0])
    e.result(instr, r)


_ALU = {
    "add": bpf.ADD, "sub": bpf.SUB, "mul": bpf.MUL, "udiv": bpf.DIV, "umod": bpf.MOD, "and": bpf.AND,
    "or": bpf.OR, "xor": bpf.XOR, "shl": bpf.LSH, "shr": bpf.RSH, "sar": bpf.ARSH,
}  # fmt: skip
_COMMUTE = frozenset({"add", "mul", "and", "or", "xor"})


def _alu(e: Emitter, instr: Instr) -> None:
    """t = a; t OP= b, with an eye on where a and b already are."""
    a, b = instr.args
    op = _ALU[instr.op]
    if instr.op in _COMMUTE and e.const(a) is not None:
        a, b = b, a
    t = e.target(instr)
    n = e.imm(b)
    if n is not None and (n or op not in (bpf.DIV, bpf.MOD)):  # by 0: on a path never taken, but refused
        e.put(t, a)
        e.add(bpf.alu_imm(op, t, n & 63 if op in (bpf.LSH, bpf.RSH, bpf.ARSH) else n))
        e.result(instr, t)
        return
    spare = e.spare()
    if instr.op in _COMMUTE and not e.held(b):  # it has to be brought somewhere
        a, b = b, a
    rb = e.reg(b, spare[1])
    if rb == t and instr.op in _COMMUTE:
        e.add(bpf.alu(op, t, e.reg(a, spare[0])))
    else:
        if rb == t:
            t = spare[0]
        e.put(t, a)
        e.add(bpf.alu(op, t, rb))
    e.result(instr, t)


def _signed_division(e: Emitter, instr: Instr) -> None:
    """|a| / |b|, negated where the signs differ; |a| % |b|, negated where a is negative.
    Two's complement makes INT64_MIN right by itself: |INT64_MIN| is 2**63 unsigned.
    (sdiv and smod instructions came with cpu v4, Linux 6.6.)"""
    a, b = instr.args
    op = bpf.DIV if instr.op == "sdiv" else bpf.MOD
    t, u = e.spare()[:2]
    if e.target(instr) not in [e.places[arg] for arg in (a, b) if type(arg) is Reg]:
        t = e.target(instr)
    e.put(t, a)
    _negate_if_negative(e, t, t)
    n = e.imm(b)
    if n and fits(-n):
        e.add(bpf.alu_imm(op, t, abs(n)))
    else:
        e.put(u, b)
        _negate_if_negative(e, u, u)
        e.add(bpf.alu(op, t, u))
    _negate_if_negative(e, t, e.reg(a, u))
    if op == bpf.DIV:
        if n is None:
            _negate_if_negative(e, t, e.reg(b, u))
        elif n < 0:
            e.add(bpf.neg(t))
    e.result(instr, t)


def _negate_if_negative(e: Emitter, r: int, sign: int) -> None:
    e.add(bpf.jump_imm(bpf.JSGE, sign, 0, 1))
    e.add(bpf.neg(r))


def _neg(e: Emitter, instr: Instr) -> None:
    t = e.target(instr)
    e.put(t, instr.args[0])
    e.add(bpf.neg(t))
    e.result(instr, t)


def _not(e: Emitter, instr: Instr) -> None:
    t = e.target(instr)
    e.put(t, instr.args[0])
    e.add(bpf.alu_imm(bpf.XOR, t, -1))
    e.result(instr, t)


def _zext(e: Emitter, instr: Instr) -> None:
    a, bits = instr.args
    t = e.target(instr)
    if bits == 32:
        e.add(bpf.alu32(bpf.MOV, t, e.reg(a, t)))
    else:
        e.put(t, a)
        e.add(bpf.alu_imm(bpf.AND, t, 0xFF if bits == 8 else 0xFFFF))
    e.result(instr, t)


def _sext(e: Emitter, instr: Instr) -> None:
    a, bits = instr.args
    assert type(bits) is int
    t = e.target(instr)
    e.put(t, a)
    e.add(bpf.alu_imm(bpf.LSH, t, 64 - bits))
    e.add(bpf.alu_imm(bpf.ARSH, t, 64 - bits))
    e.result(instr, t)


def _bswap(e: Emitter, instr: Instr) -> None:
    a, bits = instr.args
    assert type(bits) is int
    t = e.target(instr)
    e.put(t, a)
    e.add(bpf.be(t, bits))
    e.result(instr, t)


# -- comparisons

_JUMPS = {
    "eq": bpf.JEQ, "ne": bpf.JNE, "ult": bpf.JLT, "ule": bpf.JLE, "ugt": bpf.JGT, "uge": bpf.JGE,
    "slt": bpf.JSLT, "sle": bpf.JSLE, "sgt": bpf.JSGT, "sge": bpf.JSGE, "any": bpf.JSET,
}  # fmt: skip
# condition: the same with its operands exchanged
_EXCHANGED = {
    "eq": "eq", "ne": "ne", "ult": "ugt", "ule": "uge", "ugt": "ult", "uge": "ule",
    "slt": "sgt", "sle": "sge", "sgt": "slt", "sge": "sle", "any": "any",
}  # fmt: skip


def _low32(n: int) -> int:
    """The low 32 bits as an instruction holds them, signed."""
    return (n + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _compare(e: Emitter, condition: str, a: Operand, b: Operand) -> Insn:
    """Brings a and b into registers; the jump on the condition (not "none", which has none), to offset 0."""
    short = condition[-2:] == "32"
    if short:
        condition = condition[:-2]
    if e.const(a) is not None:
        condition, a, b = _EXCHANGED[condition], b, a
    spare = e.spare()
    ra = e.reg(a, spare[0], e.const(b) is not None and (short or e.imm(b) is not None))
    if short:
        n = e.const(b)
        if n is not None:
            return bpf.jump32_imm(_JUMPS[condition], ra, _low32(n))
        return bpf.jump32(_JUMPS[condition], ra, e.reg(b, spare[1]))
    n = e.imm(b)
    if n is not None:
        return bpf.jump_imm(_JUMPS[condition], ra, n)
    return bpf.jump(_JUMPS[condition], ra, e.reg(b, spare[1]))


def _set(e: Emitter, instr: Instr) -> None:
    condition, a, b = instr.args
    assert type(condition) is str
    t = e.target(instr)
    if condition == "slt" and e.const(b) == 0:  # the sign bit
        e.put(t, a)
        e.add(bpf.alu_imm(bpf.RSH, t, 63))
        e.result(instr, t)
        return
    no = int(condition == "none")
    test = _compare(e, "any" if no else condition, a, b)
    if t in (test.dst, test.src if test.code & bpf.X else -1):
        e.add(bpf.insn(test.code, test.dst, test.src, 2, test.imm))
        e.add(bpf.alu_imm(bpf.MOV, t, no))
        e.add(bpf.ja(1))
        e.add(bpf.alu_imm(bpf.MOV, t, 1 - no))
    else:
        e.add(bpf.alu_imm(bpf.MOV, t, 1 - no))
        e.add(bpf.insn(test.code, test.dst, test.src, 1, test.imm))
        e.add(bpf.alu_imm(bpf.MOV, t, no))
    e.result(instr, t)


# -- memory


def _ctx(e: Emitter, instr: Instr) -> None:
    if e.places[instr.dst] != e.places[-1]:
        r = e.target(instr)
        e.put(r, Reg(len(e.places) - 1))
        e.result(instr, r)


def _slot(e: Emitter, instr: Instr) -> None:
    raise AssertionError("the address of a slot is made where it is used")


def _value(e: Emitter, instr: Instr) -> None:
    name, offset = instr.args
    assert type(name) is str and type(offset) is int
    t = e.target(instr)
    e.add(bpf.ld_value(t, name, offset))
    e.result(instr, t)


def _at(e: Emitter, instr: Instr) -> None:
    """The bound stands right before the sum: see _call."""
    pointer, index, most = instr.args
    assert type(most) is int
    t = e.target(instr)
    spare = e.spare()
    base = e.reg(pointer, next(r for r in spare if r != t))
    if base == t:
        t = next(r for r in spare if r != base)
    n = e.const(index)
    if n is not None:
        e.add(bpf.alu_imm(bpf.MOV, t, min(n & 0xFFFFFFFFFFFFFFFF, most)))
    else:
        e.put(t, index)
        e.add(bpf.jump_imm(bpf.JLE, t, most, 1))
        e.add(bpf.alu_imm(bpf.MOV, t, most))
    e.add(bpf.alu(bpf.ADD, t, base))
    e.result(instr, t)


def _load(e: Emitter, instr: Instr) -> None:
    pointer, offset, size = instr.args
    assert type(offset) is int and type(size) is int
    t = e.target(instr)
    base, offset = e.base(pointer, offset, t, True)
    e.add(bpf.load(size, t, base, offset))
    e.result(instr, t)


def _store(e: Emitter, instr: Instr) -> None:
    pointer, offset, size, value = instr.args
    assert type(offset) is int and type(size) is int
    spare = e.spare()
    base, offset = e.base(pointer, offset, spare[0])
    n = e.const(value)
    if n is not None and size < 8:
        n = _low32(n)
    if n is not None and fits(n):
        e.add(bpf.store_imm(size, base, offset, n))
    else:
        e.add(bpf.store(size, base, offset, e.reg(value, spare[1], True)))


def _xadd(e: Emitter, instr: Instr) -> None:
    pointer, offset, size, value = instr.args
    assert type(offset) is int and type(size) is int
    spare = e.spare()
    base, offset = e.base(pointer, offset, spare[0])
    e.add(bpf.xadd(size, base, offset, e.reg(value, spare[1], True)))


# -- calls and composite operations


def _call(e: Emitter, instr: Instr) -> None:
    args = instr.args[1:]
    _arguments(e, args)
    for r, arg in enumerate(args, 1):
        # Here, and not where the value was made: a verifier before 5.16 forgets the bounds of what is spilled.
        if type(arg) is Bounded and e.const(arg.reg) is None:
            e.add(bpf.jump_imm(bpf.JLE, r, arg.limit, 1))
            e.add(bpf.alu_imm(bpf.MOV, r, arg.limit))
    helper = instr.args[0]
    assert type(helper) is str
    e.add(bpf.call(HELPERS[helper]))
    e.result(instr, 0)


def _cast(e: Emitter, instr: Instr) -> None:
    """A call of a function of the kernel's, which it makes one move of."""
    address, function, type_id = instr.args
    assert type(function) is int
    _arguments(e, (address, type_id))
    e.add(bpf.call_kernel(function))
    e.result(instr, 0)


def _arguments(e: Emitter, args: tuple[Operand, ...]) -> None:
    """Brings operands into r1, r2, ... at once: registers first, none overwritten before it is
    read, then what comes from elsewhere.  r0 holds no operand by the time only circles are left."""
    moves: dict[int, int] = {}  # to: from
    others: list[tuple[int, Operand]] = []
    for r, arg in enumerate(args, 1):
        if type(arg) is Bounded:
            n = e.const(arg.reg)
            arg = arg.reg if n is None else min(n & 0xFFFFFFFFFFFFFFFF, arg.limit)
        place = e.places[arg] if type(arg) is Reg else None
        if type(place) is int and place >= 0:
            if place != r:
                moves[r] = place
        else:
            others.append((r, arg))
    while moves:
        sources = moves.values()
        r = next((r for r in moves if r not in sources), -1)
        if r >= 0:
            e.add(bpf.alu(bpf.MOV, r, moves.pop(r)))
        else:
            kept = next(iter(moves))
            e.add(bpf.alu(bpf.MOV, 0, kept))
            moves = {to: 0 if source == kept else source for to, source in moves.items()}
    for r, arg in others:
        e.put(r, arg)


def _pieces(n: int, *offsets: int) -> Iterator[tuple[int, int]]:
    """(distance, size) of aligned accesses that together cover n bytes from each of the offsets on.
    Pointers are 8-aligned; the stack must not be accessed unaligned."""
    at = 0
    while at < n:
        size = 8
        while size > n - at or any((offset + at) % size for offset in offsets):
            size //= 2
        yield at, size
        at += size


def _zero(e: Emitter, instr: Instr) -> None:
    pointer, offset, n = instr.args
    assert type(offset) is int and type(n) is int
    pieces = list(_pieces(n, offset))
    r, counter = e.spare()[:2]
    base, start = e.base(pointer, offset, r)
    if len(pieces) > UNROLL or offset + n > MAX_OFFSET:
        size = _step(offset)
        if base != r:
            e.add(bpf.alu(bpf.MOV, r, base))
        if start:
            e.add(bpf.alu_imm(bpf.ADD, r, start))
        body = [bpf.store_imm(size, r, size * k, 0) for k in range(8)]
        done = _loop(e, body, n // (8 * size), counter, {r: 8 * size})
        pieces = list(_pieces(n - done, offset + done))
        base, start = r, 0
    for at, size in pieces:
        e.add(bpf.store_imm(size, base, start + at, 0))


def _copy(e: Emitter, instr: Instr) -> None:
    to, to_offset, source, source_offset, n = instr.args
    assert type(to_offset) is int and type(source_offset) is int and type(n) is int
    pieces = list(_pieces(n, to_offset, source_offset))
    if len(pieces) > UNROLL or max(to_offset, source_offset) + n > MAX_OFFSET:
        size = _step(to_offset | source_offset)
        _arguments(e, (to, source))
        for r, offset in ((1, to_offset), (2, source_offset)):
            if offset:
                e.add(bpf.alu_imm(bpf.ADD, r, offset))
        body = []
        for k in range(0, 8 * size, size):
            body += [bpf.load(size, 0, 2, k), bpf.store(size, 1, k, 0)]
        done = _loop(e, body, n // (8 * size), 3, {1: 8 * size, 2: 8 * size})
        pieces = list(_pieces(n - done, to_offset + done, source_offset + done))
        a, b, to_offset, source_offset, t = 1, 2, 0, 0, 0
    else:
        spare = e.spare()
        t = spare[2]
        a, to_offset = e.base(to, to_offset, spare[0])
        b, source_offset = e.base(source, source_offset, spare[1])
    for at, size in pieces:
        e.add(bpf.load(size, t, b, source_offset + at))
        e.add(bpf.store(size, a, to_offset + at, t))


def _step(offsets: int) -> int:
    """The largest access aligned at all of the offsets, or-ed together."""
    return next(size for size in (8, 4, 2, 1) if not offsets % size)


def _loop(e: Emitter, body: list[Insn], times: int, counter: int, steps: dict[int, int]) -> int:
    """Runs the body `times` times, each register of `steps` advancing; returns how far they get.
    The verifier walks every round: pointers and counter are known numbers to it."""
    if not times:
        return 0
    e.add(bpf.alu_imm(bpf.MOV, counter, times))
    start = len(e.code)
    e.code += body
    for r, step in steps.items():
        e.add(bpf.alu_imm(bpf.ADD, r, step))
    e.add(bpf.alu_imm(bpf.SUB, counter, 1))
    e.add(bpf.jump_imm(bpf.JNE, counter, 0, start - len(e.code) - 1))
    return times * next(iter(steps.values()))


_LOW, _HIGH = 0x0101010101010101, signed64(0x8080808080808080)  # the lowest, the highest bit of each byte


def _strcmp(e: Emitter, instr: Instr) -> None:
    """Eight bytes at a time, the rest one by one; r1 and r2 walk the strings, r3 counts.  The jumps that go on
    with the loop are the ones taken: the verifier then follows the way out first, so that few paths wait
    while it walks the rest."""
    a, b, n = instr.args
    assert type(n) is int
    if n < 1:
        e.add(bpf.alu_imm(bpf.MOV, 0, 0))
    else:
        _arguments(e, (a, b))
        e.code += _local([*_compare_words(n // 8), *_compare_bytes(n % 8), bpf.alu_imm(bpf.MOV, 0, 0), "end"])
    e.result(instr, 0)


def _compare_words(times: int) -> list[_Line]:
    """To "end", with the result in r0, if they differ or end; falls through if not."""
    if not times:
        return []
    zeroes = [  # r0: the highest bit of each byte of r4 that is 0, maybe of such behind that; r5 is lost
        bpf.alu(bpf.MOV, 5, 4),
        bpf.alu_imm(bpf.XOR, 5, -1),
        bpf.ld_imm64(0, -_LOW),
        bpf.alu(bpf.ADD, 0, 4),
        bpf.alu(bpf.AND, 0, 5),
        bpf.ld_imm64(5, _HIGH),
        bpf.alu(bpf.AND, 0, 5),
    ]
    return [
        bpf.alu_imm(bpf.MOV, 3, times),
        "words",
        bpf.load(8, 4, 1, 0),
        bpf.load(8, 5, 2, 0),
        (bpf.jump(bpf.JEQ, 4, 5), "equal"),
        bpf.alu(bpf.MOV, 1, 5),
        *zeroes,
        bpf.alu(bpf.MOV, 2, 0),  # r2: all bits up to the lowest of r0, or all
        bpf.alu_imm(bpf.SUB, 2, 1),
        bpf.alu(bpf.XOR, 2, 0),
        bpf.alu(bpf.MOV, 3, 4),  # r3: the lowest bit they differ in
        bpf.alu(bpf.XOR, 3, 1),
        bpf.alu(bpf.MOV, 5, 3),
        bpf.neg(5),
        bpf.alu(bpf.AND, 3, 5),
        bpf.alu_imm(bpf.MOV, 0, 0),
        (bpf.jump(bpf.JGT, 3, 2), "end"),  # both have ended before
        bpf.be(4, 64),
        bpf.be(1, 64),
        bpf.alu_imm(bpf.MOV, 0, 1),
        (bpf.jump(bpf.JGT, 4, 1), "end"),
        bpf.alu_imm(bpf.MOV, 0, -1),
        (bpf.ja(), "end"),
        "equal",
        *zeroes,
        (bpf.jump_imm(bpf.JEQ, 0, 0), "on"),
        bpf.alu_imm(bpf.MOV, 0, 0),
        (bpf.ja(), "end"),
        "on",
        bpf.alu_imm(bpf.ADD, 1, 8),
        bpf.alu_imm(bpf.ADD, 2, 8),
        bpf.alu_imm(bpf.SUB, 3, 1),
        (bpf.jump_imm(bpf.JNE, 3, 0), "words"),
    ]


def _compare_bytes(times: int) -> list[_Line]:
    """As _compare_words."""
    if not times:
        return []
    return [
        bpf.alu_imm(bpf.MOV, 3, times),
        "bytes",
        bpf.load(1, 4, 1, 0),
        bpf.load(1, 5, 2, 0),
        (bpf.jump(bpf.JEQ, 4, 5), "same"),
        bpf.alu_imm(bpf.MOV, 0, 1),
        (bpf.jump(bpf.JGT, 4, 5), "end"),
        bpf.alu_imm(bpf.MOV, 0, -1),
        (bpf.ja(), "end"),
        "same",
        bpf.alu_imm(bpf.MOV, 0, 0),
        (bpf.jump_imm(bpf.JNE, 4, 0), "next"),
        (bpf.ja(), "end"),
        "next",
        bpf.alu_imm(bpf.ADD, 1, 1),
        bpf.alu_imm(bpf.ADD, 2, 1),
        bpf.alu_imm(bpf.SUB, 3, 1),
        (bpf.jump_imm(bpf.JNE, 3, 0), "bytes"),
    ]


def _local(lines: list[_Line]) -> list[Insn]:
    """Instructions, labels between them, and jumps with the label they go to."""
    at, labels = 0, {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = at
        else:
            at += 2 if not isinstance(line, tuple) and line.code == bpf.LD_IMM64 else 1
    code: list[Insn] = []
    at = 0
    for line in lines:
        if isinstance(line, str):
            continue
        if isinstance(line, tuple):
            i, label = line
            line = bpf.insn(i.code, i.dst, i.src, labels[label] - at - 1, i.imm)
        at += 2 if line.code == bpf.LD_IMM64 else 1
        code.append(line)
    return code


def _loop_body(e: Emitter, instr: Instr) -> None:
    """The helper where there is one (5.17): the verifier walks the body once or twice, not n times.
    Else a loop of calls, which it walks to its end; the count waits in the slot's first word."""
    name, n, slot = instr.args
    assert type(name) is str and type(n) is int and type(slot) is Reg
    if e.bpf_loop:
        _arguments(e, (n, 0, slot, 0))
        e.add(bpf.ld_body(2, name))
        e.add(bpf.call(bpf.LOOP))
        return
    base, offset = e.base(slot, 0, 0)
    assert base == bpf.FP, "a loop's words are on the stack"
    e.add(bpf.alu_imm(bpf.MOV, 0, n))
    e.add(bpf.store(8, bpf.FP, offset, 0))
    start = len(e.code)
    e.put(2, slot)
    e.add(bpf.call_body(name))
    e.add(bpf.jump_imm(bpf.JEQ, 0, 0, 1))  # taken to go on: see _strcmp
    e.add(bpf.ja(4))
    e.add(bpf.load(8, 0, bpf.FP, offset))
    e.add(bpf.alu_imm(bpf.SUB, 0, 1))
    e.add(bpf.store(8, bpf.FP, offset, 0))
    e.add(bpf.jump_imm(bpf.JNE, 0, 0, start - len(e.code) - 1))


# -- terminators


def _jmp(e: Emitter, instr: Instr) -> None:
    label = instr.args[0]
    assert type(label) is str
    if label != e.next:
        e.goto(label)


def _br(e: Emitter, instr: Instr) -> None:
    condition, a, b, then, other = instr.args
    assert type(condition) is str and type(then) is str and type(other) is str
    if condition == "none" or (then == e.next and condition != "any"):
        condition, then, other = CONDITIONS[condition], other, then
    if then != other:
        e.goto(then, _compare(e, condition, a, b))
    if other != e.next:
        e.goto(other)


def _ret(e: Emitter, instr: Instr) -> None:
    e.put(0, instr.args[0])
    e.add(bpf.exit_())


RULES: dict[str, Callable[[Emitter, Instr], None]] = {
    "mov": _mov,
    "add": _alu,
    "sub": _alu,
    "mul": _alu,
    "udiv": _alu,
    "umod": _alu,
    "sdiv": _signed_division,
    "smod": _signed_division,
    "and": _alu,
    "or": _alu,
    "xor": _alu,
    "shl": _alu,
    "shr": _alu,
    "sar": _alu,
    "neg": _neg,
    "not": _not,
    "zext": _zext,
    "sext": _sext,
    "bswap": _bswap,
    "set": _set,
    "ctx": _ctx,
    "slot": _slot,
    "value": _value,
    "at": _at,
    "load": _load,
    "cast": _cast,
    "peek": _load,
    "store": _store,
    "xadd": _xadd,
    "call": _call,
    "zero": _zero,
    "copy": _copy,
    "strcmp": _strcmp,
    "loop": _loop_body,
    "jmp": _jmp,
    "br": _br,
    "ret": _ret,
}
