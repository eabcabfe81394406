"""Specs: plain data that comes out the same on every machine.

What depends on the running kernel (file descriptors, offsets of per-CPU data)
happens when kernel.load makes loaded programs and maps of them.
"""

from __future__ import annotations

from dsight.ir.maps import MapSpec
from dsight.source import Span
from dsight.value import Value

__all__ = ["Insn", "MapSpec", "ProgramSpec"]


class Insn(Value):
    """One eBPF instruction (8 bytes; a 64-bit immediate load is one Insn and two slots).

    `code` is the opcode byte, `imm` a signed 32-bit number (64-bit for LD_IMM64).
    `ref` names a map for LD_IMM64: ("map", name) becomes the map itself,
    ("value", name, offset) the address `offset` bytes into the first value of an array map;
    ("body", name) is in a program being made only: `imm` then says how many slots the function lies
    behind the next instruction (src 1 of a call, 4 of LD_IMM64).
    """

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    ref: tuple[str, str] | tuple[str, str, int] | None = None
    span: Span | None = None


class ProgramSpec(Value):
    """A program to load.

    kind: "tracepoint" (perf tracepoint), "raw_tp", "tp_btf", "perf_event", "kprobe", "uprobe".
    `attach`: for tp_btf the tracepoint's name, whose BTF id kernel.load looks up.
    Instructions refer to maps by name.  `functions`: the slots where the functions in it start that
    loops call, the first 0 for the program itself; () where there are none.
    """

    name: str
    kind: str
    insns: tuple[Insn, ...]
    attach: str = ""
    functions: tuple[int, ...] = ()
