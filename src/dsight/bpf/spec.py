"""Specs: plain data that comes out the same on every machine.

What depends on the running kernel (file descriptors, offsets of per-CPU data)
happens when kernel.load makes loaded programs and maps of them.
"""

from __future__ import annotations

from dsight.source import Span
from dsight.value import Value


class Insn(Value):
    """One eBPF instruction (8 bytes; a 64-bit immediate load is one Insn and two slots).

    `code` is the opcode byte, `imm` a signed 32-bit number (64-bit for LD_IMM64).
    `ref` names a map for LD_IMM64: ("map", name) becomes the map itself,
    ("value", name, offset) the address `offset` bytes into the first value of an array map.
    """

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    ref: tuple[str, str] | tuple[str, str, int] | None = None
    span: Span | None = None


class MapSpec(Value):
    """A map to create.

    kind: "hash", "array", "percpu_hash", "percpu_array", "ringbuf", "lru_hash".
    `mmap`: BPF_F_MMAPABLE (array only).  `readonly`: frozen after `initial` is written, and
    BPF_F_RDONLY_PROG.  `initial`: contents of an array's first value.  `prealloc` False:
    BPF_F_NO_PREALLOC (hash kinds).
    """

    name: str
    kind: str
    key_size: int
    value_size: int
    max_entries: int
    mmap: bool = False
    readonly: bool = False
    initial: bytes = b""
    prealloc: bool = True


class ProgramSpec(Value):
    """A program to load.

    kind: "tracepoint" (perf tracepoint), "raw_tp", "tp_btf", "perf_event", "kprobe" (also uprobes).
    `attach`: for tp_btf the tracepoint's name, whose BTF id kernel.load looks up.
    Instructions refer to maps by name.
    """

    name: str
    kind: str
    insns: tuple[Insn, ...]
    attach: str = ""
