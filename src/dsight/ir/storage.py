"""Where everything a script keeps lives: which maps it needs, at which offset what is.

Maps of a session
    globals       one mmap-able array value: STATE, WALL_OFFSET, ZERO, then the global variables
    ring          the ring buffer of records
    counters      array of one value, u64s for each CPU: see ir.maps
    constants     one read-only array value: string literals, zeroes
    thread        hash, the thread-local variables that are numbers, 8 bytes each; key u64 pid_tgid
    self_NAME     hash, another thread-local variable; the same key, then the tuple, if any
    var_NAME      hash, associative array; key: the tuple
    spec_free     queue of the ids of speculations that are not in use
    spec_serial   one array value of u64s by speculation id: how often it has been given out
    spec_live     hash, speculations in use: u64 key (serial << 32 | id) to u64 bytes recorded
    agg_ID        per-CPU hash, aggregation; without a key an array of one value, with a part for each CPU
    scratch_UNIT  array of one value, the scratch memory of one program for each CPU (or per-CPU array)
    passed_PART   likewise of one program, numbers that the verifier is to know nothing of (ir.paths)
    words_UNIT    likewise, numbers for which its stack has no room (ir.words)
"""

from __future__ import annotations

from dsight import record
from dsight.errors import fail
from dsight.ir.maps import AT_ONCE, GLOBALS_START, LINE, NAME_SIZE, MapSpec
from dsight.lang import typed
from dsight.lang.types import (
    Array,
    Inet,
    Int,
    Stack,
    String,
    Struct,
    Symaddr,
    Type,
    is_integer,
    is_pointer,
    unqualified,
)
from dsight.record import AggLayout, Field, RecordLayout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

THREAD = "thread"
QUANTIZE_ZERO = 63  # index of quantize's bucket for zero
PERCPU_VALUE = 32768  # bytes; the largest value of a per-CPU map (kernel: PCPU_MIN_UNIT_SIZE)


class Options:
    """The options lowering needs, as numbers.  Sizes in bytes.  `cpus`: a power of two above the numbers of all
    CPUs there may ever be (kernel.maps.cpu_numbers)."""

    __slots__ = (
        "strsize", "scratchsize", "bufsize", "aggsize", "dynvarsize", "stackframes", "ustackframes", "jstackframes",
        "nspec",
        "specsize", "pcapsize", "printsize", "cpu", "cpus",
    )  # fmt: skip

    def __init__(
        self,
        strsize: int = 256,
        scratchsize: int = 256,
        bufsize: int = 4 << 20,
        aggsize: int = 4 << 20,
        dynvarsize: int = 1 << 20,
        stackframes: int = 20,
        ustackframes: int = 100,
        jstackframes: int = 50,
        nspec: int = 1,
        specsize: int = 32 << 10,
        pcapsize: int = 2048,
        printsize: int = 8 << 10,
        cpu: int = -1,
        cpus: int = 1,
    ) -> None:
        self.strsize = strsize
        self.scratchsize = scratchsize
        self.bufsize = bufsize
        self.aggsize = aggsize
        self.dynvarsize = dynvarsize
        self.stackframes = stackframes
        self.ustackframes = ustackframes
        self.jstackframes = jstackframes
        self.nspec = nspec
        self.specsize = specsize
        self.pcapsize = pcapsize
        self.printsize = printsize
        self.cpu = cpu
        self.cpus = cpus


def round8(n: int) -> int:
    return (n + 7) & ~7


def field_of(t: Type, options: Options) -> Field | None:
    """The field (not placed yet) of a value of a type; None where it is not a value."""
    u = unqualified(t)
    if isinstance(u, Inet):
        return Field("inet", 0, record.INET_SIZE)
    if isinstance(u, String):
        return Field("s", 0, string_size(u, options))
    if is_integer(u):
        return Field("i" if int_signed(u) else "u", 0, u.size)
    if is_pointer(u):
        return Field("u", 0, 8)
    if isinstance(u, Stack):
        frames = u.frames
        if frames <= 0:
            frames = (options.jstackframes if frames else options.ustackframes) if u.user else options.stackframes
        return Field("ustack", 0, 8 + 8 * frames) if u.user else Field("kstack", 0, 8 * (frames + record.KSTACK_EXTRA))
    if isinstance(u, Symaddr):
        return Field("usym" if u.user else "ksym", 0, u.size, show=_SHOWN[u.action])
    return None


_SHOWN = {"addr": "addr", "uaddr": "addr", "mod": "mod", "umod": "mod"} | dict.fromkeys(
    ("func", "sym", "ufunc", "usym"), "sym"
)


def string_size(t: String, options: Options) -> int:
    """Room of a string type, NUL included."""
    return t.limit if 0 < t.limit < options.strsize else options.strsize


def lay_fields(fields: list[Field], start: int) -> tuple[tuple[Field, ...], int]:
    """Place fields one after the other from `start`, each aligned for reading; and the end
    rounded up to 8."""
    placed = []
    at = start
    for f in fields:
        align = f.size if f.kind in "iun" else 8 if f.is_code else 4 if f.kind == "inet" else 1
        at = (at + align - 1) & -align
        placed.append(f.replace(offset=at))
        at += f.size
    return tuple(placed), round8(at)


PROBE_PARTS = {"probeprov": "provider", "probemod": "module", "probefunc": "function", "probename": "name"}
PART_NUMBERS = {name: i for i, name in enumerate(PROBE_PARTS)}  # in the map probe_names


def value_field(e: typed.TExpr, script: typed.Script, options: Options) -> Field:
    """The field that a recorded expression needs."""
    if isinstance(e, typed.Builtin) and e.name in PROBE_PARTS:
        return name_field(e.name, script)
    found = field_of(e.type, options)
    if found is None:
        raise fail("D_UNKNOWN", f"recording a value of type '{e.type}' is not supported yet", e.span)
    return found


def name_field(builtin: str, script: typed.Script) -> Field:
    """A part of the probe's name: its id is recorded, the consumer knows the text."""
    part = PROBE_PARTS[builtin]
    return Field("n", 0, 4, {p.id: str(getattr(p, part)) for c in script.clauses for p in c.probes})


def key_names(script: typed.Script) -> dict[tuple[int, int], str]:
    """Which parts of aggregations' keys are always one part of the probe's name:
    (aggregation id, position) -> built-in variable."""
    found: dict[tuple[int, int], str] = {}

    def walk(body: tuple[typed.TStmt, ...]) -> None:
        for stmt in body:
            if isinstance(stmt, typed.If):
                walk(stmt.then)
                walk(stmt.other)
            elif isinstance(stmt, typed.AggStmt):
                for i, key in enumerate(stmt.keys):
                    name = key.name if isinstance(key, typed.Builtin) and key.name in PROBE_PARTS else ""
                    if found.setdefault((stmt.agg.id, i), name) != name:
                        found[stmt.agg.id, i] = ""

    for clause in script.clauses:
        walk(clause.body)
    return {where: name for where, name in found.items() if name}


class Storage:
    """Layout of one script; made once, then only asked."""

    def __init__(
        self,
        script: typed.Script,
        options: Options,
        direct: Callable[[str], tuple[int, int] | None] = lambda kind: None,
    ) -> None:
        """`direct`: for programs of a kind the ids that the operation `cast` takes; None: they cannot use it."""
        self.options = options
        self.direct = direct
        self._script = script
        self.maps: dict[str, MapSpec] = {}
        self.globals: dict[typed.Variable, int] = {}
        self._constants = bytearray(8)
        self._pooled: dict[bytes, int] = {}
        self.uses_probe_names = False  # whether the session must fill the map probe_names
        self.thread: dict[typed.Variable, int] = {}  # where in its element of `thread`
        at = GLOBALS_START
        for var in script.variables:
            if var.scope == "self" and var.keys is None and is_number(var.type):
                self.thread[var] = 8 * len(self.thread)
            elif var.keys is not None or var.scope == "self":
                self._add_variable_map(var)
            elif var.scope == "global":
                at = (at + 7) & ~7
                self.globals[var] = at
                at += variable_size(var, options)
        self.globals_size = round8(at)
        self.thread_size = 8 * len(self.thread)
        if self.thread:
            self._add_map(THREAD, 8, self.thread_size, 8)
        self.has_global_objects = any(isinstance(unqualified(v.type), (Struct, Array)) for v in self.globals)
        named = key_names(script) if script.aggregations else {}
        self.aggs = tuple(self._lay_aggregation(agg, named) for agg in script.aggregations)
        self.layouts = tuple(lay_clause(clause, script, options) for clause in script.clauses)

    def _add_variable_map(self, var: typed.Variable) -> None:
        size = variable_size(var, self.options)
        self._add_map(self.map_name(var), self.key_layout(var)[1], round8(size))

    def _add_map(self, name: str, key_size: int, size: int, counted: int = 0) -> None:
        """`counted`: how many of the bytes of a value count for the option dynvarsize, if not all: each variable
        of a thread's has as much room as others, and not less where there are more of them."""
        entries = max(64, self.options.dynvarsize // (key_size + (counted or size) + 48))
        self.maps[name] = MapSpec(name, "hash", key_size, size, entries, prealloc=False)

    @staticmethod
    def map_name(var: typed.Variable) -> str:
        return f"{'self' if var.scope == 'self' else 'var'}_{var.name}"

    def key_layout(self, var: typed.Variable) -> tuple[tuple[Field, ...], int]:
        """Fields of the tuple in the key (the thread's id before them for self->), and the key's size."""
        start = 8 if var.scope == "self" else 0
        return lay_fields([self._key_field(t) for t in var.keys or ()], start)

    def _key_field(self, t: Type) -> Field:
        found = field_of(t, self.options)
        if found is None:
            raise fail("D_KEY_TYPE", f"a key of type '{t}' is not supported yet")
        return found

    def _lay_aggregation(self, agg: typed.Aggregation, named: dict[tuple[int, int], str]) -> AggLayout:
        keys = [
            name_field(named[agg.id, i], self._script) if (agg.id, i) in named else self._key_field(t)
            for i, t in enumerate(agg.keys)
        ]
        fields, key_size = lay_fields(keys, 0)
        words = record.agg_words(agg.func, agg.params)
        if agg.func in ("lquantize", "llquantize"):
            words = 1 << (words - 1).bit_length()
        elif agg.func == "sum" and not key_size:
            words = 2
        per_cpu = "percpu_" if words * 8 <= PERCPU_VALUE else ""
        name = f"agg_{agg.id}"
        each = 0 if key_size else words * 8 + LINE - 1 & -LINE
        if each * self.options.cpus > AT_ONCE:
            each = 0
        if each:
            # mmap: the session reads word by word, each as some program left it
            self.maps[name] = MapSpec(name, "array", 4, each * self.options.cpus, 1, mmap=True)
        elif key_size:
            entries = max(256, self.options.aggsize // (key_size + words * 8 + 64))
            self.maps[name] = MapSpec(name, f"{per_cpu}hash", key_size, words * 8, entries, prealloc=False)
        else:
            self.maps[name] = MapSpec(name, f"{per_cpu}array", 4, words * 8, 1)
        return AggLayout(agg.id, agg.name, agg.func, fields, key_size, words * 8, name, agg.params, agg.signed, each)

    def constant(self, data: bytes) -> int:
        """Offset of these bytes in the constants map."""
        at = self._pooled.get(data)
        if at is None:
            at = self._pooled[data] = len(self._constants)
            self._constants += data + bytes(-len(data) % 8)
        return at

    def zeroes(self, size: int) -> int:
        """Offset of at least `size` zero bytes in the constants map."""
        return self.constant(bytes(1 << max(0, (size - 1).bit_length())))

    def specs(self) -> tuple[MapSpec, ...]:
        """All maps, once every program has been lowered."""
        names = []
        if self.uses_probe_names:
            names.append(MapSpec("probe_names", "hash", 4, 4 * NAME_SIZE, 4096, prealloc=False))
        return (
            MapSpec("globals", "array", 4, self.globals_size, 1, mmap=True),
            MapSpec("ring", "ringbuf", 0, 0, self.options.bufsize),
            MapSpec("counters", "array", 4, LINE * self.options.cpus, 1),
            MapSpec("constants", "array", 4, len(self._constants), 1, readonly=True, initial=bytes(self._constants)),
            *names,
            *self.maps.values(),
        )


def is_number(t: Type) -> bool:
    """Whether values of the type are in registers."""
    u = unqualified(t)
    return is_integer(u) or (is_pointer(u) and not isinstance(u, Array))


def variable_size(var: typed.Variable, options: Options) -> int:
    """Bytes a variable takes."""
    u = unqualified(var.type)
    if isinstance(u, String):
        return round8(string_size(u, options))
    if isinstance(u, (Struct, Array)):
        return round8(u.size)
    if is_number(u):
        return 8
    raise fail("D_UNKNOWN", f"a variable of type '{var.type}' ({var.name}) is not supported yet")


PCAP_MOST = 0xFFFF  # bytes of a packet, the option pcapsize

# Actions without fields of their own: what they do is done in the kernel, or is said elsewhere in the record.
UNRECORDED = frozenset({"speculate", "commit", "discard", "raise", "stop", "chill"})


def lay_clause(clause: typed.Clause, script: typed.Script, options: Options) -> RecordLayout | None:
    """The record of a clause; None if it records nothing."""
    from dsight.record import Action

    found: list[Field] = []
    actions: list[Action] = []
    ends: list[str] = []
    conditional, speculates = 0, False

    def walk(body: tuple[typed.TStmt, ...], in_if: bool) -> None:
        nonlocal conditional, speculates
        for stmt in body:
            if isinstance(stmt, typed.If):
                walk(stmt.then, True)
                walk(stmt.other, True)
            elif isinstance(stmt, typed.ActionStmt) and stmt.name in UNRECORDED:
                speculates = speculates or stmt.name == "speculate"
                if stmt.name in ("commit", "discard"):
                    ends.append(stmt.name)
            elif isinstance(stmt, typed.ActionStmt):
                first = len(found)
                found.extend(action_fields(stmt, script, options))
                bit = -1
                if in_if:
                    bit = conditional
                    conditional += 1
                shape = print_shape(stmt) if stmt.name == "print" else None
                actions.append(Action(stmt.name, tuple(range(first, len(found))), stmt.text, stmt.aggs, bit, shape))

    walk(clause.body, False)
    if not actions and not clause.default and not speculates and not ends:
        return None
    if conditional > 64:
        message = "more than 64 actions under if in one clause are not supported yet"
        raise fail("D_UNKNOWN", message, clause.span, "split it into several clauses")
    at = record.HEADER_SIZE
    mask = spec = -1
    if conditional:
        mask, at = at, at + 8
    if speculates:
        spec, at = at, at + 8
    placed = tuple([(name, at + 8 * i) for i, name in enumerate(ends)])
    fields, size = lay_fields(found, at + 8 * len(ends))
    return RecordLayout(clause.index, size, fields, tuple(actions), mask, spec, placed)


def action_fields(stmt: typed.ActionStmt, script: typed.Script, options: Options) -> list[Field]:
    """The fields (not placed yet) one action records."""
    if stmt.name == "tracemem":
        return [Field("b", 0, tracemem_size(stmt)), *[Field("u", 0, 8)] * (len(stmt.args) - 2)]
    if stmt.name == "pcap":
        if not 0 < options.pcapsize <= PCAP_MOST:
            raise fail("D_PCAP_SIZE", f"pcapsize is {options.pcapsize}, not in 1..{PCAP_MOST}", stmt.span)
        sizes = (8, 4, 4, 4)  # time, bytes on the wire, bytes kept, link type
        return [*[Field("u", 0, size) for size in sizes], Field("b", 0, options.pcapsize)]
    if stmt.name in ("print", "trace") and is_object(stmt.args[0]):
        size = stmt.args[0].type.size
        if stmt.name == "print" and size > options.printsize:
            raise fail(
                "D_PRINT_SIZE", f'a "{stmt.args[0].type}" takes {size} bytes, print() at most {options.printsize}',
                stmt.span, f"-x printsize={size}, or print one of its members",
            )  # fmt: skip
        return [Field("b", 0, size)]
    return [
        f.replace(show="script") if f.kind == "s" and _is_literal(e) else f
        for e, f in zip(stmt.args, [value_field(e, script, options) for e in stmt.args])
    ]


def _is_literal(e: typed.TExpr) -> bool:
    """Whether a string can only be what stands in the script, such as `x ? "\\n" : ""`."""
    return isinstance(e, typed.Str) or (isinstance(e, typed.Cond) and _is_literal(e.then) and _is_literal(e.other))


def tracemem_size(stmt: typed.ActionStmt) -> int:
    size = stmt.args[1]
    assert isinstance(size, typed.Const)
    return size.value


def is_object(e: typed.TExpr) -> bool:
    """Whether an argument of print() or trace() is recorded as the bytes it has in memory."""
    return isinstance(e, (typed.Mem, typed.Var)) and isinstance(unqualified(e.type), (Struct, Array))


def print_shape(stmt: typed.ActionStmt) -> record.Shape:
    """The type of what print() shows.  Raises CompileError where its size has no end."""
    from dsight.ir.shapes import shape_of

    return shape_of(stmt.args[0].type)


def int_signed(t: Type) -> bool:
    """Whether values of a scalar type are signed (pointers are not)."""
    u = unqualified(t)
    return is_integer(u) and bool(u.signed)  # type: ignore[attr-defined]


def int_size(t: Type) -> int:
    u = unqualified(t)
    return u.size if isinstance(u, Int) or is_integer(u) else 8
