"""The record layout: what a clause leaves in the ring buffer, at which offset.

Both sides use it: `ir.lower` emits the stores, `consumer.decode` reads them.

A record (the bytes after the ring buffer's own 8-byte header):

    offset 0   u16  cpu
    offset 2   u16  layout   index into the session's tuple of RecordLayouts; FAULT for a fault record
    offset 4   u32  probe    the probe's id (Probe.id), as `dtrace -l` shows it
    offset 8   ...  fields, each aligned to min(8, its size); then padding to a multiple of 8

All integers are in host byte order.  A record has a constant size.
"""

from __future__ import annotations

from dsight.value import Value

HEADER = "HHI"  # struct format of cpu, layout, probe
HEADER_SIZE = 8

FAULT = 0xFFFF
# A fault record: header (layout = FAULT), then
FAULT_FORMAT = "HHIHHIQQ"  # header, clause index, action index, fault (DTRACEFLT_*), address, unused (0)
FAULT_SIZE = 32

SEEN = 0xFFFE
# A process has made a new key of a user stack or symbol: the consumer looks at it while it lives
# (Symbols.seen).  A header whose other parts are 0, u64 process id.
SEEN_SIZE = 16

# Fault numbers and what dtrace(1) calls them (DTRACEFLT_*).
FAULTS = {
    1: "invalid address",  # BADADDR
    2: "invalid alignment",  # BADALIGN
    3: "illegal operation",  # ILLOP
    4: "divide-by-zero",  # DIVZERO
    5: "out of scratch space",  # NOSCRATCH
    6: "invalid address",  # KPRIV: kernel privileges
    7: "invalid address",  # UPRIV: user privileges
    8: "tuple stack overflow",  # TUPOFLOW
    9: "bad stack",  # BADSTACK
}
BADADDR, BADALIGN, ILLOP, DIVZERO, NOSCRATCH = 1, 2, 3, 4, 5

KSTACK_EXTRA = 2
INET_SIZE = 20  # u32 address family (AF_INET, AF_INET6; else shown as ""), 16 bytes of address


class Field(Value):
    """One value in a record or a key.

    kind   what it is                                            size
    i      signed integer                                        1 2 4 8
    u      unsigned integer (pointers too)                       1 2 4 8
    s      string, ended by NUL or by the field's end            any
    inet   an address still to be written as text: see INET_SIZE 20
    b      raw bytes                                             any
    n      an unsigned number shown as the text `names` has      4
           for it (a part of a probe's name, by the probe's id)
    kstack a kernel stack: u64 addresses, innermost first,       8 n + 16
           zeroes behind the last; n + KSTACK_EXTRA of them,
           for the first may be frames of tracing itself
    ustack a user stack: u64 process id, then as kstack          8 + 8 n
    ksym   a kernel address, shown as code: see `show`           8
    usym   u64 process id, u64 address, shown as code            16

    `show`, of ksym and usym: "addr" (module, symbol and offset), "sym" (module and symbol), "mod";
    of s: "script", where all it can be are literals of the script, whose line ends and tabs stay.
    """

    kind: str
    offset: int  # from the start of the record (header included) or of the key
    size: int
    names: dict[int, str] | None = None
    show: str = ""

    @property
    def is_code(self) -> bool:
        """Whether its text needs symbols."""
        return self.kind in ("kstack", "ustack", "ksym", "usym")


class Action(Value):
    """One data-recording action of a clause, in source order.

    kind     fields                     text                 else
    trace    one                        -
    stack, ustack, jstack  one: a stack -
    func, mod, sym, uaddr, ufunc, umod, usym: one, ksym or usym
    printf   one for each argument      the format string
    tracemem one, kind b                -
    exit     one integer                -
    printa   none                       format or ""         aggs: the aggregations' ids
    clear, trunc, normalize, denormalize                     aggs; fields: the argument, if any
    tracemem may have a second field: how many bytes of the first count
    freopen, system  one for each argument   the format string
    ftruncate        none
    setopt   name, value (if any), kind s
    print    one                        -                    shape: its type
    """

    kind: str
    fields: tuple[int, ...] = ()  # indexes into RecordLayout.fields
    text: str = ""
    aggs: tuple[int, ...] = ()
    bit: int = -1  # bit of the mask that says whether it ran; -1: always
    shape: Shape | None = None


class Shape(Value):
    """A type as plain data, for print() to show a value's bytes by.

    kind     int char ptr enum struct (unions too) array string bytes
    members  struct: (name, bit offset, bits, shape) of each, bits 0 where it is no bit-field;
             array: one, ("", 0, 0, shape of an element)
    values   enum: (number, name) of each
    """

    kind: str
    name: str  # as C spells the type
    size: int  # bytes
    members: tuple[tuple[str, int, int, Shape], ...] = ()
    values: tuple[tuple[int, str], ...] = ()


class RecordLayout(Value):
    """The record of one clause."""

    clause: int
    size: int  # header and padding included, a multiple of 8
    fields: tuple[Field, ...]
    actions: tuple[Action, ...]
    mask: int = -1  # offset of a u64 with a bit for each conditional action; -1: none is
    spec: int = -1  # offset of the u64 key of the speculation it is part of, 0: of none; -1: never of one
    ends: tuple[tuple[str, int], ...] = ()  # "commit" or "discard", offset of a speculation's u64 key (0: of none)

    @property
    def shown(self) -> bool:
        """Whether there is anything to show: not so where speculations are ended and nothing else is done."""
        return bool(self.actions or self.spec >= 0 or not self.ends)


class AggLayout(Value):
    """One aggregation: where it is, how a key and a value look.

    Keys are a struct of `keys` fields padded to `key_size` (0: no key).  The map is a per-CPU hash;
    where there is no key it is an array of one value in which each CPU has `each` bytes, by its number.
    What a CPU has is u64s, by `func`:

    count        n
    sum          i64 total; without a key also u64 seen (0: never)
    min max      i64 value, u64 seen (0: never)
    avg          u64 n, i64 total
    stddev       u64 n, i64 total, u128 total of squares (low, high)
    quantize     127 buckets of i64: index 63 is zero, 64+k holds 2**k.., 62-k holds -(2**k)..
    lquantize    params (base, limit, step): underflow, levels.., overflow; see `bounds`
    llquantize   params (factor, low, high, steps): see `bounds`

    Distributions may have more words than buckets.  A value too large for a per-CPU map lies in
    a map all CPUs share (a hash).  Where there is no key and one value cannot have room for all CPUs
    (`each` is 0), the map is a per-CPU array of one entry, or an array all CPUs share.
    """

    id: int
    name: str  # without the @; "" for the anonymous one
    func: str
    keys: tuple[Field, ...]
    key_size: int
    value_size: int
    map: str  # name of its map
    params: tuple[int, ...] = ()
    signed: bool = True  # whether the aggregated value was a signed integer
    each: int = 0  # a multiple of a cache line's bytes; 0: see above

    def parts(self, values: bytes) -> list[bytes]:
        """The value of each CPU, from all that the map has for one key."""
        return [values[at : at + self.value_size] for at in range(0, len(values), self.each or self.value_size)]


QUANTIZE_WORDS = 128


def bounds(func: str, params: tuple[int, ...]) -> tuple[int, ...]:
    """The bounds b0 < b1 < ... < bk of the buckets of lquantize and llquantize: bucket 0 counts values
    below b0 (underflow), bucket i values from b[i-1] up to but excluding b[i], bucket k+1 values from
    bk on (overflow).

    lquantize(base, limit, step): base, base + step, ..., limit.
    llquantize(factor, low, high, steps): each magnitude m from low to high covers factor**m up to
    factor**(m+1) in buckets of factor**(m+1) / steps (at least 1), the first one starting at
    factor**m and the others at multiples of that width; then factor**(high+1).  So factor 10,
    magnitudes 3 to 5, 5 steps: 1000 2000 4000 6000 8000 10000 20000 ... 800000 1000000 (Guide,
    chapter "Aggregations").
    """
    if func == "lquantize":
        base, limit, step = params
        return tuple(range(base, base + (limit - base) // step * step + 1, step))
    factor, low, high, steps = params
    out: list[int] = []
    for magnitude in range(low, high + 1):
        start, end = factor**magnitude, factor ** (magnitude + 1)
        width = max(1, end // steps)
        out.append(start)
        out += range((start // width + 1) * width, end, width)
    return (*out, factor ** (high + 1))


def agg_words(func: str, params: tuple[int, ...] = ()) -> int:
    """How many u64 a value of an aggregating function takes in the map, at least."""
    sizes = {"count": 1, "sum": 1, "min": 2, "max": 2, "avg": 2, "stddev": 4, "quantize": QUANTIZE_WORDS}
    return sizes[func] if func in sizes else len(bounds(func, params)) + 1
