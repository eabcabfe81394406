"""Which instructions and helper calls a BPF program really executes.

    counted(spec)      a program with a counter at the start of each basic block, and its blocks
    Loading            while it is entered, what dsight.kernel.programs loads is loaded so
    Loading.profile()  what has been executed since

A counter is an atomic add to a u64 of the array map "executed": of a block of n instructions that was entered k
times k * n are executed, whatever the CPU.  Only the last instruction of a block jumps, exits or is a tail call, so
that a block is executed whole.  What is added is 1, or 0 where the program runs in another process than asked for;
it lies on the stack, below what the program itself uses there.  The counter needs two registers: those that hold
nothing here that is read later, or else it keeps what they hold on the stack too.

Counted is the bytecode given to the kernel, an LD_IMM64 as one instruction; what the verifier makes of it (lookups in
arrays inlined, bpf_rdonly_cast a move) is not looked at, for ours as for clang's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from dsight.bpf import insn as bpf
from dsight.bpf.insn import slots
from dsight.bpf.spec import Insn, MapSpec, ProgramSpec
from dsight.ir.ops import HELPERS
from dsight.kernel import maps, programs

EXECUTED = "executed"  # the map of counters
STACK = 512  # bytes, BPF's
REACH = 1 << 15
TAIL_CALL = 12
SUBPROGRAM, KFUNC, FUNCTION = 1, 2, 4  # src of a call: BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL; of LD_IMM64: _FUNC
ARGUMENTS = 0b111110  # r1 to r5, as a set of bits
LOST = 0b111111  # r0 to r5, which a call does not keep
ALL = 0b11111111111
_CALL, _EXIT, _JA, _FAR = bpf.JMP | bpf.CALL, bpf.JMP | bpf.EXIT, bpf.JMP | bpf.JA, bpf.JMP32 | bpf.JA
_NAMES = {number: name for name, number in HELPERS.items()}


def target(i: Insn) -> int | None:
    """Where else an instruction goes to, or what function it names: slots from the one behind its first."""
    if i.code in (_FAR, bpf.JMP | 0xE0):
        raise ValueError(f"cannot count a program with instruction {i.code:#x}")
    if i.code == _CALL:
        return i.imm if i.src == SUBPROGRAM else None
    if i.code == bpf.LD_IMM64:
        return i.imm if i.src == FUNCTION else None
    return i.off if i.code & 7 in (bpf.JMP, bpf.JMP32) and i.code != _EXIT else None


def ends(i: Insn) -> bool:
    """Whether what follows may not be executed next."""
    if i.code == _CALL:
        return i.src == 0 and i.imm == TAIL_CALL
    return i.code & 7 in (bpf.JMP, bpf.JMP32)


def effect(i: Insn) -> tuple[int, int]:
    """The registers an instruction reads, and those it writes, as bits.  A call is said to read all that it may:
    how many arguments a helper takes is not looked up."""
    dst, src, kind, op = 1 << i.dst, 1 << i.src, i.code & 7, i.code & 0xF0
    if kind == bpf.LD:
        return 0, dst
    if kind == bpf.LDX:
        return src, dst
    if kind == bpf.ST:
        return dst, 0
    if kind == bpf.STX:
        if i.code & 0xE0 != bpf.ATOMIC:
            return dst | src, 0
        if i.imm == 0xF1:  # cmpxchg: r0 is compared, and becomes what was there
            return dst | src | 1, 1
        return dst | src, src if i.imm & 1 else 0
    if kind in (bpf.ALU, bpf.ALU64):
        reads = src if i.code & bpf.X and op not in (bpf.NEG, bpf.END) else 0
        return (reads if op == bpf.MOV else reads | dst), dst
    if i.code == _CALL:
        return ARGUMENTS, LOST
    if i.code == _EXIT:
        return 1, 0
    return (0 if i.code == _JA else dst | src if i.code & bpf.X else dst), 0


@dataclass
class Block:
    """insns[start:end] of a program; `next`: the blocks that may come after it."""

    start: int
    end: int
    next: list[int]


class Blocks:
    """A program's basic blocks, in order, and where its functions start, the program itself included."""

    def __init__(self, insns: tuple[Insn, ...]) -> None:
        self.insns = insns
        self.at: list[int] = []  # the slot of each instruction
        at = 0
        for i in insns:
            self.at.append(at)
            at += slots(i)
        place = {slot: index for index, slot in enumerate(self.at)}
        self.targets: dict[int, int] = {}  # instruction -> instruction
        self.functions = {0}
        starts = {0}
        for index, i in enumerate(insns):
            away = target(i)
            if away is not None:
                self.targets[index] = found = place[self.at[index] + 1 + away]
                starts.add(found)
                if i.code in (_CALL, bpf.LD_IMM64):
                    self.functions.add(found)
            if ends(i) and index + 1 < len(insns):
                starts.add(index + 1)
        self.starts = sorted(starts)
        self.blocks = [self._block(n) for n in range(len(self.starts))]

    def _block(self, number: int) -> Block:
        start, end = self.starts[number], [*self.starts, len(self.insns)][number + 1]
        last, following = self.insns[end - 1], []
        if last.code not in (_EXIT, _JA):
            following.append(number + 1)
        if last.code != _CALL and ends(last) and end - 1 in self.targets:
            following.append(self.number(self.targets[end - 1]))
        return Block(start, end, following)

    def number(self, index: int) -> int:
        """Of the block an instruction is in."""
        return bisect_right(self.starts, index) - 1

    def live(self) -> list[int]:
        """The registers that are read after each block's start, as far as the program's ways tell."""
        found = [0] * len(self.blocks)
        changed = True
        while changed:
            changed = False
            for number in reversed(range(len(self.blocks))):
                block = self.blocks[number]
                live = 0
                for n in block.next:
                    live |= found[n]
                for i in reversed(self.insns[block.start : block.end]):
                    reads, writes = effect(i)
                    live = live & ~writes | reads
                if live != found[number]:
                    found[number], changed = live, True
        return found

    def written(self) -> list[int]:
        """The registers that hold something on every way to each block's start."""
        found = [ALL] * len(self.blocks)
        for start in self.functions:
            found[self.number(start)] = 1 << bpf.FP | ARGUMENTS
        found[0] = 1 << bpf.FP | 1 << 1
        changed = True
        while changed:
            changed = False
            for number, block in enumerate(self.blocks):
                held = found[number]
                for i in self.insns[block.start : block.end]:
                    held = held & ~LOST | 1 if i.code == _CALL else held | effect(i)[1]
                for n in block.next:
                    if found[n] & held != found[n]:
                        found[n], changed = found[n] & held, True
        return found

    def depth(self) -> int:
        """How many bytes of the stack are used, at most: what is taken from a pointer may be one into it."""
        least = 0
        for i in self.insns:
            if i.code & 7 in (bpf.ST, bpf.STX) and i.dst == bpf.FP or i.code & 7 == bpf.LDX and i.src == bpf.FP:
                least = min(least, i.off)
            elif i.code == bpf.ALU64 | bpf.K | bpf.ADD and -STACK <= i.imm < 0:
                least = min(least, i.imm)
        return -least + 7 & -8


def counted(spec: ProgramSpec) -> tuple[ProgramSpec, Blocks]:
    """The program with a counter at the start of each block, the nth at 8 * (n + 1) of the map EXECUTED; at 0 is the
    process that counts, 0 for all.  Of a program that has functions all count.

    ValueError: it cannot be told how it jumps, it has become too long for its jumps, or its stack is full.
    """
    blocks = Blocks(spec.insns)
    entry: list[int] = []  # where in `out` each block begins, with its counter
    moved: list[int] = []  # and where each instruction is
    depth = blocks.depth() + 8
    weight = -depth if len(blocks.functions) == 1 else 0
    out = _weighed(spec.name, weight) if weight else []
    for number, (block, live, written) in enumerate(zip(blocks.blocks, blocks.live(), blocks.written())):
        entry.append(len(out))
        out += _counter(spec.name, number, live & written, depth, weight)
        moved += range(len(out), len(out) + block.end - block.start)
        out += spec.insns[block.start : block.end]
    at, slot = [], 0
    for i in out:
        at.append(slot)
        slot += slots(i)
    for index, to in blocks.targets.items():
        i = out[moved[index]]
        away = at[entry[blocks.number(to)]] - at[moved[index]] - 1
        if i.code in (_CALL, bpf.LD_IMM64):
            out[moved[index]] = i.replace(imm=away)
        elif -REACH <= away < REACH:
            out[moved[index]] = i.replace(off=away)
        else:
            raise ValueError(f"{spec.name} is too long to be counted: a jump of {away} slots")
    starts = {slot: index for index, slot in enumerate(blocks.at)}
    functions = tuple([at[entry[blocks.number(starts[slot])]] for slot in spec.functions])
    return spec.replace(insns=tuple(out), functions=functions), blocks


def _weighed(name: str, weight: int) -> list[Insn]:
    """At the program's start, where r1 alone holds something: 1 or 0 into the stack at `weight`."""
    if weight < -STACK:
        raise ValueError(f"{name} cannot be counted: its stack is full")
    return [
        bpf.store(8, bpf.FP, weight, 1),
        bpf.call(HELPERS["get_current_pid_tgid"]),
        bpf.alu_imm(bpf.RSH, 0, 32),
        bpf.load(8, 1, bpf.FP, weight),
        bpf.ld_value(2, EXECUTED, 0),
        bpf.load(8, 2, 2, 0),
        bpf.alu_imm(bpf.MOV, 3, 1),
        bpf.jump_imm(bpf.JEQ, 2, 0, 2),
        bpf.jump(bpf.JEQ, 2, 0, 1),
        bpf.alu_imm(bpf.MOV, 3, 0),
        bpf.store(8, bpf.FP, weight, 3),
    ]


def _counter(name: str, number: int, held: int, depth: int, weight: int) -> list[Insn]:
    """Add to the counter what is at `weight` (0: 1), and leave the registers in `held` as they were."""
    free = [r for r in (0, 5, 4, 3, 2, 1, 9, 8, 7, 6) if not held >> r & 1][:2]
    kept = [r for r in (9, 8, 7, 6, 0, 5, 4, 3, 2, 1) if r not in free][: 2 - len(free)]
    if depth + 8 * len(kept) > STACK:
        raise ValueError(f"{name} cannot be counted: its stack is full")
    places = [(r, -depth - 8 * n) for n, r in enumerate(kept, 1)]
    address, amount = free + kept
    return [
        *[bpf.store(8, bpf.FP, off, r) for r, off in places],
        bpf.ld_value(address, EXECUTED, 8 * (number + 1)),
        bpf.load(8, amount, bpf.FP, weight) if weight else bpf.alu_imm(bpf.MOV, amount, 1),
        bpf.xadd(8, address, 0, amount),
        *[bpf.load(8, r, bpf.FP, off) for r, off in places],
    ]


@dataclass
class Executed:
    """What one program has executed.  `calls`: of helpers, by name.  `lines`: of ours, instructions by source and line;
    `insns`: each instruction with how often."""

    name: str
    runs: int
    instructions: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    lines: Counter[tuple[str, int]] = field(default_factory=Counter)
    insns: list[tuple[int, Insn]] = field(default_factory=list)


class Loading:
    """Keeps what dsight.kernel.programs loads while this is entered, with counters or as it is; by name, for several
    may be loaded at once.

    `pid`: as `only` says it, at first.  `moves`: BTF ids of kernel functions whose call the verifier makes a move:
    they are no calls.
    """

    def __init__(self, counters: bool = True, moves: frozenset[int] = frozenset(), pid: int = 0) -> None:
        self.programs: dict[str, programs.Program] = {}
        self._counters, self._moves, self._pid = counters, moves, pid
        self._load = programs.load
        self._counted: dict[str, tuple[Blocks, maps.Map]] = {}

    def __enter__(self) -> Loading:
        programs.load = self.load
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        programs.load = self._load
        for _, counters in self._counted.values():
            counters.close()

    def load(self, spec: ProgramSpec, known: dict[str, maps.Map], btf: Any = None) -> programs.Program:
        """programs.load, but for the counters."""
        loaded = self._load_counted(spec, known, btf) if self._counters else self._load(spec, known, btf)
        self.programs[spec.name] = loaded
        return loaded

    def _load_counted(self, spec: ProgramSpec, known: dict[str, maps.Map], btf: Any) -> programs.Program:
        made, blocks = counted(spec)
        size, first = 8 * (len(blocks.blocks) + 1), self._pid.to_bytes(8, "little")
        counters = maps.create(MapSpec(EXECUTED, "array", 4, size, 1, mmap=True, initial=first))
        try:
            loaded = self._load(made, {**known, EXECUTED: counters}, btf)
        except BaseException:
            counters.close()
            raise
        self._counted[spec.name] = blocks, counters
        return loaded

    def only(self, pid: int) -> None:
        """From now on what runs in this process counts; 0: in any."""
        for _, counters in self._counted.values():
            counters.memory().cast("Q")[0] = pid

    def profile(self) -> dict[str, Executed]:
        """Of each program loaded with counters."""
        return {name: self._one(name, *found) for name, found in self._counted.items()}

    def _one(self, name: str, blocks: Blocks, counters: maps.Map) -> Executed:
        counts = list(counters.memory().cast("Q")[1 : len(blocks.blocks) + 1])
        found = Executed(name, counts[0])
        for block, count in zip(blocks.blocks, counts):
            for i in blocks.insns[block.start : block.end]:
                found.insns.append((count, i))
                found.instructions += count
                if count and i.code == _CALL and i.src != SUBPROGRAM and not self._is_move(i):
                    found.calls[_called(i)] += count
                if count and i.span is not None:
                    found.lines[i.span.source.name, i.span.line] += count
        return found

    def _is_move(self, i: Insn) -> bool:
        return i.src == KFUNC and i.imm in self._moves


def _called(i: Insn) -> str:
    return f"kfunc {i.imm}" if i.src == KFUNC else _NAMES.get(i.imm, f"helper {i.imm}")
