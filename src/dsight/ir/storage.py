"""Where everything a script keeps lives: which maps it needs, at which offset what is.

Maps of a session
    globals       one mmap-able array value: STATE, WALL_OFFSET, then the global variables
    ring          the ring buffer of records
    counters      per-CPU u64s: see COUNTERS
    constants     one read-only array value: string literals, zeroes
    self_NAME     hash, thread-local variable; key u64 pid_tgid (then the tuple, if any)
    var_NAME      hash, associative array; key: the tuple
    agg_ID        per-CPU hash or array, aggregation
    scratch_UNIT  per-CPU array of one value, the scratch memory of one program
"""

from __future__ import annotations

from dsight import record
from dsight.errors import fail
from dsight.ir.maps import MapSpec
from dsight.lang import typed
from dsight.lang.types import Inet, Int, String, Type, is_integer, is_pointer, unqualified
from dsight.record import AggLayout, Field, RecordLayout
from dsight.source import Span

# Offsets in the globals map.
STATE = 0  # u64: one of the following
INACTIVE, ACTIVE, STOPPED = 0, 1, 2
WALL_OFFSET = 8  # u64: wall clock minus monotonic clock, ns; kept up to date by the session
GLOBALS_START = 16

# Indexes of u64s in the per-CPU counters map's value.
DROPS, AGG_DROPS, DYN_DROPS, SCRATCH_DROPS = 0, 1, 2, 3
COUNTERS = 4

NAME_SIZE = 64  # of each part of a probe's name in the map probe_names: u32 id -> provider, module, function, name

QUANTIZE_ZERO = 63  # index of quantize's bucket for zero
SUPPORTED_AGGS = frozenset({"count", "sum", "min", "max", "avg", "quantize", "lquantize"})


class Options:
    """The options lowering needs, as numbers.  Sizes in bytes."""

    __slots__ = ("strsize", "scratchsize", "bufsize", "aggsize", "dynvarsize")

    def __init__(
        self,
        strsize: int = 256,
        scratchsize: int = 256,
        bufsize: int = 4 << 20,
        aggsize: int = 4 << 20,
        dynvarsize: int = 1 << 20,
    ) -> None:
        self.strsize = strsize
        self.scratchsize = scratchsize
        self.bufsize = bufsize
        self.aggsize = aggsize
        self.dynvarsize = dynvarsize


def round8(n: int) -> int:
    return (n + 7) & ~7


def field_size(t: Type, options: Options) -> tuple[str, int] | None:
    """The kind and size (record.Field) of a value of a type; None where it is not a value."""
    u = unqualified(t)
    if isinstance(u, Inet):
        return "inet", record.INET_SIZE
    if isinstance(u, String):
        return "s", string_size(u, options)
    if is_integer(u):
        return ("i" if u.signed else "u"), u.size  # type: ignore[attr-defined]
    if is_pointer(u):
        return "u", 8
    return None


def string_size(t: String, options: Options) -> int:
    """Room of a string type, NUL included."""
    return t.limit if 0 < t.limit < options.strsize else options.strsize


def lay_fields(types: list[tuple[str, int]], start: int) -> tuple[tuple[Field, ...], int]:
    """Place (kind, size) values one after the other from `start`, each aligned for C-like
    reading; the fields, and the end rounded up to 8."""
    fields = []
    at = start
    for kind, size in types:
        align = size if kind in "iu" or kind.startswith("probe") else 4 if kind == "inet" else 1
        at = (at + align - 1) & -align
        fields.append(Field(kind, at, size))
        at += size
    return tuple(fields), round8(at)


PROBE_PARTS = {"probeprov": 0, "probemod": 1, "probefunc": 2, "probename": 3}


def value_kind(e: typed.TExpr, options: Options) -> tuple[str, int]:
    """Kind and size of the field that a recorded expression needs."""
    if isinstance(e, typed.Builtin) and e.name in PROBE_PARTS:
        return e.name, 4  # the probe's id: the consumer knows the name
    found = field_size(e.type, options)
    if found is None:
        raise fail("D_UNKNOWN", f"recording a value of type '{e.type}' is not supported yet", e.span)
    return found


class Storage:
    """Layout of one script; made once, then only asked."""

    def __init__(self, script: typed.Script, options: Options) -> None:
        self.options = options
        self.maps: dict[str, MapSpec] = {}
        self.globals: dict[typed.Variable, int] = {}
        self._constants = bytearray(8)
        self._pooled: dict[bytes, int] = {}
        self.uses_probe_names = False  # whether the session must fill the map probe_names
        at = GLOBALS_START
        for var in script.variables:
            if var.keys is not None or var.scope == "self":
                self._add_variable_map(var)
            elif var.scope == "global":
                at = (at + 7) & ~7
                self.globals[var] = at
                at += variable_size(var, options)
        self.globals_size = round8(at)
        self.aggs = tuple(self._lay_aggregation(agg) for agg in script.aggregations)
        self.layouts = tuple(lay_clause(clause, options) for clause in script.clauses)

    def _add_variable_map(self, var: typed.Variable) -> None:
        size = variable_size(var, self.options)
        key_size = self.key_layout(var)[1]
        entries = max(64, self.options.dynvarsize // (key_size + round8(size) + 48))
        self.maps[self.map_name(var)] = MapSpec(
            self.map_name(var), "hash", key_size, round8(size), entries, prealloc=False
        )

    @staticmethod
    def map_name(var: typed.Variable) -> str:
        return f"{'self' if var.scope == 'self' else 'var'}_{var.name}"

    def key_layout(self, var: typed.Variable) -> tuple[tuple[Field, ...], int]:
        """Fields of the tuple in the key (the thread's id before them for self->), and the key's size."""
        start = 8 if var.scope == "self" else 0
        kinds = [self.key_kind(t) for t in var.keys or ()]
        return lay_fields(kinds, start)

    def key_kind(self, t: Type, span: Span | None = None) -> tuple[str, int]:
        found = field_size(t, self.options)
        if found is None:
            raise fail("D_KEY_TYPE", f"a key of type '{t}' is not supported yet", span)
        return found

    def _lay_aggregation(self, agg: typed.Aggregation) -> AggLayout:
        if agg.func not in SUPPORTED_AGGS:
            raise fail("D_AGG_FUNC", f"the aggregating function {agg.func}() is not supported yet")
        fields, key_size = lay_fields([self.key_kind(t) for t in agg.keys], 0)
        words = {"count": 1, "sum": 1, "min": 2, "max": 2, "avg": 2, "quantize": 128}.get(agg.func, 0)
        if agg.func == "lquantize":
            base, limit, step = agg.params
            words = 1 << ((limit - base) // step + 2 - 1).bit_length()
        name = f"agg_{agg.id}"
        if key_size:
            entries = max(256, self.options.aggsize // (key_size + words * 8 + 64))
            self.maps[name] = MapSpec(name, "percpu_hash", key_size, words * 8, entries, prealloc=False)
        else:
            self.maps[name] = MapSpec(name, "percpu_array", 4, words * 8, 1)
        return AggLayout(agg.id, agg.name, agg.func, fields, key_size, words * 8, name, agg.params, agg.signed)

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
            MapSpec("counters", "percpu_array", 4, COUNTERS * 8, 1),
            MapSpec("constants", "array", 4, len(self._constants), 1, readonly=True, initial=bytes(self._constants)),
            *names,
            *self.maps.values(),
        )


def variable_size(var: typed.Variable, options: Options) -> int:
    """Bytes a variable takes."""
    u = unqualified(var.type)
    if isinstance(u, String):
        return round8(string_size(u, options))
    if is_integer(u) or is_pointer(u):
        return 8
    raise fail("D_UNKNOWN", f"a variable of type '{var.type}' ({var.name}) is not supported yet")


def lay_clause(clause: typed.Clause, options: Options) -> RecordLayout | None:
    """The record of a clause; None if it records nothing."""
    from dsight.record import Action

    kinds: list[tuple[str, int]] = []
    actions: list[Action] = []
    conditional = 0

    def walk(body: tuple[typed.TStmt, ...], in_if: bool) -> None:
        nonlocal conditional
        for stmt in body:
            if isinstance(stmt, typed.If):
                walk(stmt.then, True)
                walk(stmt.other, True)
            elif isinstance(stmt, typed.ActionStmt):
                first = len(kinds)
                kinds.extend(action_kinds(stmt, options))
                bit = -1
                if in_if:
                    bit = conditional
                    conditional += 1
                actions.append(Action(stmt.name, tuple(range(first, len(kinds))), stmt.text, stmt.aggs, bit))

    walk(clause.body, False)
    if not actions and not clause.default:
        return None
    if conditional > 64:
        raise fail("D_UNKNOWN", "more than 64 actions under if in one clause are not supported yet", clause.span)
    start = record.HEADER_SIZE + (8 if conditional else 0)
    fields, size = lay_fields(kinds, start)
    return RecordLayout(clause.index, size, fields, tuple(actions), record.HEADER_SIZE if conditional else -1)


def action_kinds(stmt: typed.ActionStmt, options: Options) -> list[tuple[str, int]]:
    """Kinds and sizes of the fields one action records."""
    if stmt.name == "tracemem":
        return [("b", tracemem_size(stmt))]
    return [value_kind(e, options) for e in stmt.args]


def tracemem_size(stmt: typed.ActionStmt) -> int:
    size = stmt.args[1]
    assert isinstance(size, typed.Const)
    return size.value


def int_signed(t: Type) -> bool:
    """Whether values of a scalar type are signed (pointers are not)."""
    u = unqualified(t)
    return is_integer(u) and bool(u.signed)  # type: ignore[attr-defined]


def int_size(t: Type) -> int:
    u = unqualified(t)
    return u.size if isinstance(u, Int) or is_integer(u) else 8
