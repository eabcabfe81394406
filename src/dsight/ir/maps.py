"""Maps as data: lowering says which a script needs, kernel.maps creates them."""

from __future__ import annotations

from dsight.value import Value

EACH_CPU = -1  # max_entries: as many as there may be CPUs
LINE = 64  # bytes; in one value for all CPUs no two share a cache line
AT_ONCE = 1 << 20  # bytes, for all CPUs in one value of an array: some kernels' largest is 4 MiB (KMALLOC_MAX_SIZE)

# What programs and session share beside the records.
# Offsets in the globals map.
STATE = 0  # u64: one of the following
INACTIVE, ACTIVE, STOPPED = 0, 1, 2
WALL_OFFSET = 8  # u64: wall clock minus monotonic clock, ns; kept up to date by the session
ZERO = 16  # u64: 0, which the kernel's verifier does not know (ir.paths)
GLOBALS_START = 24

# Indexes of u64s in what the map counters has for each CPU, in LINE bytes.
DROPS, AGG_DROPS, DYN_DROPS, SPEC_FAILED, SPEC_DROPS = 0, 1, 2, 3, 4

NAME_SIZE = 64  # of each part of a probe's name in the map probe_names: u32 id -> provider, module, function, name


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
