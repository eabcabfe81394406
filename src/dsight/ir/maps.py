"""Maps as data: lowering says which a script needs, kernel.maps creates them."""

from __future__ import annotations

from dsight.value import Value

EACH_CPU = -1  # max_entries: as many as there may be CPUs


class MapSpec(Value):
    """A map to create.

    kind: "hash", "array", "percpu_hash", "percpu_array", "ringbuf", "lru_hash", "queue" (key_size 0),
    "prog_array" (the session fills it).
    `mmap`: BPF_F_MMAPABLE (array only).  `readonly`: frozen after `initial` is written, and
    BPF_F_RDONLY_PROG.  `initial`: contents of an array's first value, or of a queue.  `prealloc` False:
    BPF_F_NO_PREALLOC (hash kinds).  `max_entries` may be EACH_CPU.
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
