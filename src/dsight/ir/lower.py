"""Typed tree to IR: one Function for each Unit.

A program's shape:

    entry       is the session active, which probe is it, does the guard hold
    scratch     (only if scratch memory is used) find this CPU's
    clause N    predicate; reserve the record; actions; submit
    fault N     discard the record, leave a fault record, run the ERROR clauses
    out         return 0

A fault ends its clause; the next one goes on.  A string is memory, never a
register: see lower_text.  What is not supported yet raises CompileError here.
"""

from __future__ import annotations

from dsight import record
from dsight.errors import CompileError, fail
from dsight.ir import lower_builtin, lower_expr, lower_object, lower_spec, lower_stmt, lower_text
from dsight.ir.build import Builder
from dsight.ir.maps import EACH_CPU, MapSpec
from dsight.ir.ops import Function, MapRef, Reg
from dsight.ir.storage import ACTIVE, DROPS, PERCPU_VALUE, STATE, Storage, round8
from dsight.ir.unit import Unit
from dsight.lang import typed
from dsight.source import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SCRATCH_LIMIT = 4 << 20  # bytes, for each CPU and program


class Lowering:
    """The state of lowering one unit.

    `known` holds what has been worked out on every path to here: built-in values
    and variables by key.  Branches start from a copy and their findings are
    dropped at the join (`fork`, `join`).
    """

    def __init__(self, unit: Unit, storage: Storage, errors: tuple[typed.Clause, ...]) -> None:
        self.unit = unit
        self.storage = storage
        self.options = storage.options
        self.errors = errors
        self.b = Builder(unit.name)
        self.known: dict[object, int] = {}
        self.origins: dict[int, lower_object.Origin] = {}  # registers that hold pointers the verifier knows
        self.temps: dict[int, int] = {}
        self.this: dict[str, Reg] = {}
        self.this_buffers: dict[str, int] = {}  # clause-local strings: offset in scratch memory
        self.this_objects: dict[str, tuple[int, int]] = {}  # likewise structs and arrays: offset, size
        self.number_at = -1  # offset in scratch memory for lower_expr.number
        self.scratch_used = 0
        self.scratch_free: list[tuple[int, int]] = []  # offset, size of what may be used again
        self.of_statement: list[tuple[int, int]] = []  # likewise of what may be after the statement ...
        self.of_clause: list[tuple[int, int]] = []  # ... and after the clause, if no variable points there
        self.kept = False  # whether this clause may have stored a pointer to `of_clause`
        self.scratch: Reg = self.b.reg()
        self.probe: int = unit.entry.probe
        self.clause: typed.Clause | None = None
        self.action = 0
        self.fault_label = ""
        self.fault_info: Reg = self.b.reg()
        self.fault_address: Reg = self.b.reg()
        self.error_args: tuple[int, ...] | None = None
        self.record: Reg | None = None
        self.next_action = 0  # in the clause's RecordLayout.actions
        self.next_end = 0  # in the clause's RecordLayout.ends
        self.exiting: Reg | None = None
        self.out = self.b.label("out")

    # -- helpers every part uses

    def unsupported(self, what: str, span: Span | None) -> CompileError:
        return fail("D_UNKNOWN", f"{what} is not supported yet", span)

    def fork(self) -> dict[object, int]:
        """What is known before a branch; give it to `join` after."""
        return dict(self.known)

    def join(self, before: dict[object, int], *others: dict[object, int]) -> None:
        """After a branch: only what was known before and has not been changed since, neither here
        nor at the ends of the `other` sides."""
        for now in (self.known, *others):
            before = {k: v for k, v in before.items() if now.get(k) is v}
        self.known = before

    def globals_at(self, offset: int) -> Reg:
        return self.b.emit("value", "globals", offset)

    def constant_at(self, data: bytes) -> Reg:
        """Address of constant bytes."""
        return self.b.emit("value", "constants", self.storage.constant(data))

    def scratch_alloc(self, size: int) -> int:
        """Offset of `size` new bytes in the scratch memory, for as long as the program runs."""
        at = self.scratch_used
        self.scratch_used += round8(size)
        return at

    def scratch_temporary(self, size: int) -> int:
        """Offset of `size` bytes in the scratch memory until the statement ends."""
        self.of_statement.append(self._scratch_again(round8(size)))
        return self.of_statement[-1][0]

    def scratch_for_clause(self, size: int) -> int:
        """Offset of `size` bytes in the scratch memory, which a script gets a pointer to; until the clause
        ends, or for good if it keeps a pointer."""
        self.of_clause.append(self._scratch_again(round8(size)))
        return self.of_clause[-1][0]

    def _scratch_again(self, size: int) -> tuple[int, int]:
        for n, (at, room) in enumerate(self.scratch_free):
            if room >= size:
                self.scratch_free[n : n + 1] = [(at + size, room - size)] if room > size else []
                return at, size
        return self.scratch_alloc(size), size

    def end_statement(self, mark: int) -> None:
        """Free what `of_statement` has got since it had this length."""
        if len(self.of_statement) > mark:
            self._free(self.of_statement[mark:])
            del self.of_statement[mark:]

    def end_clause(self) -> None:
        self.end_statement(0)
        if self.of_clause and not self.kept:
            self._free(self.of_clause)
        self.of_clause, self.kept = [], False

    def _free(self, pieces: list[tuple[int, int]]) -> None:
        """Add to `scratch_free`, which is in order and has no neighbours."""
        free: list[tuple[int, int]] = []
        for at, size in sorted(self.scratch_free + pieces):
            if free and sum(free[-1]) == at:
                free[-1] = free[-1][0], free[-1][1] + size
            else:
                free.append((at, size))
        self.scratch_free = free

    def scratch_at(self, offset: int) -> Reg:
        """Pointer into the scratch memory."""
        return self.b.emit("add", self.scratch, offset) if offset else self.b.emit("mov", self.scratch)

    def buffer(self, hint: str, size: int) -> tuple[Reg, int]:
        """Memory for a short while: a pointer and an offset behind it.  Small ones are on the stack."""
        if size <= 48:
            return self.b.slot_addr(self.b.slot(hint, round8(size))), 0
        return self.scratch, self.scratch_temporary(size)

    def fault_if(self, condition: str, a: int, c: int, kind: int, address: int | Callable[[], int] = 0) -> None:
        """Go to a fault if the condition holds.  `address`: what the fault says, or how to work it out."""
        b = self.b
        bad, good = b.label("bad"), b.label("good")
        b.br(condition, a, c, bad, good)
        b.start(bad)
        b.set(self.fault_info, "mov", kind | self.action << 16)
        b.set(self.fault_address, "mov", address() if callable(address) else address)
        b.jmp(self.fault_label)
        b.start(good)

    def count(self, counter: int) -> None:
        """Add one to a counter of the session (storage.COUNTERS)."""
        b = self.b
        key = b.slot_addr(b.shared_slot("zero", 8))
        b.store(key, 0, 8, 0)
        found = b.call("map_lookup_elem", MapRef("counters"), key)
        there, done = b.label("count"), b.label("counted")
        b.br("eq", found, 0, done, there)
        b.start(there)
        b.store(found, counter * 8, 8, b.emit("add", b.load(found, counter * 8, 8), 1))
        b.jmp(done)
        b.start(done)


def lower(unit: Unit, storage: Storage, errors: tuple[typed.Clause, ...] = ()) -> Function:
    """The function of one unit; what it needs of maps is added to the storage.

    `errors` are the script's ERROR clauses, which run where a clause faults.
    Raises CompileError for what is not supported yet.
    """
    low = Lowering(unit, storage, errors)
    b = low.b
    body, find_scratch = b.label("clauses"), b.label("find_scratch")
    _enter(low)
    b.jmp(find_scratch)
    b.start(body)
    for clause in unit.clauses:
        _lower_clause(low, clause)
    b.jmp(low.out)
    b.start(low.out)
    b.ret(0)
    b.start(find_scratch)  # only now it is known whether it is needed
    _initialise_this(low)
    if low.scratch_used:
        _find_scratch(low)
    b.jmp(body)
    for spec in unit.maps:
        storage.maps[spec.name] = spec
    return b.finish()


def _enter(low: Lowering) -> None:
    """State, probe, guard."""
    b, unit = low.b, low.unit
    if unit.clauses:
        b.span = unit.clauses[0].span
    if not unit.always:
        state = b.load(low.globals_at(STATE), 0, 8)
        active = b.label("active")
        b.br("eq", state, ACTIVE, active, low.out)
        b.start(active)
    if unit.entry.probe < 0:
        low.probe = lower_builtin.look_up_probe(low)
    if unit.guard is not None:
        hit = b.label("guard")
        low.fault_label = low.out  # what cannot be read has not happened
        lower_expr.branch(low, unit.guard, hit, low.out)
        b.start(hit)


def _initialise_this(low: Lowering) -> None:
    """Clause-local variables are zero when the probe fires."""
    for value in low.this.values():
        low.b.set(value, "mov", 0)


def _find_scratch(low: Lowering) -> None:
    b = low.b
    if low.scratch_used > SCRATCH_LIMIT:
        raise fail(
            "D_UNKNOWN",
            f"the clauses of one probe need {low.scratch_used} bytes of scratch memory, and may have {SCRATCH_LIMIT}",
            low.unit.clauses[0].span,
            "use fewer strings and copyin() at once, or make them smaller: -x strsize=4k",
        )
    name = f"scratch_{low.unit.name}"
    key = b.slot_addr(b.shared_slot("zero", 8))
    b.store(key, 0, 8, 0)
    if low.scratch_used <= PERCPU_VALUE:
        low.storage.maps[name] = MapSpec(name, "percpu_array", 4, low.scratch_used, 1)
    else:  # an element of a plain array for each CPU
        low.storage.maps[name] = MapSpec(name, "array", 4, low.scratch_used, EACH_CPU)
        b.store(key, 0, 4, b.call("get_smp_processor_id"))
    b.set(low.scratch, "call", "map_lookup_elem", MapRef(name), key)
    found = b.label("scratch")
    b.br("eq", low.scratch, 0, low.out, found)
    b.start(found)
    for offset in low.this_buffers.values():
        b.store(low.scratch, offset, 8, 0)
    for offset, size in low.this_objects.values():
        lower_text.zero(low, low.scratch, offset, size)


def _lower_clause(low: Lowering, clause: typed.Clause) -> None:
    """One clause, from predicate to submit, and what happens when it faults."""
    b = low.b
    low.clause, low.action, low.record, low.next_action, low.next_end = clause, 0, None, 0, 0
    b.span = clause.span
    after = b.label(f"after_{clause.index}")
    low.fault_label = b.label(f"fault_{clause.index}_early")
    early = low.fault_label
    before = low.fork()
    if clause.predicate is not None:
        hit = b.label(f"body_{clause.index}")
        lower_expr.branch(low, clause.predicate, hit, after)
        b.start(hit)
    layout = low.storage.layouts[clause.index]
    late = ""
    if layout is None:
        lower_stmt.body(low, clause.body)
        b.jmp(after)
    else:
        low.record = rec = b.call("ringbuf_reserve", MapRef("ring"), layout.size, 0)
        full, go = b.label("full"), b.label(f"record_{clause.index}")
        b.br("eq", rec, 0, full, go)
        b.start(full)
        low.count(DROPS)
        b.jmp(after)
        b.start(go)
        write_header(low, rec, clause.index)
        if layout.mask >= 0:
            b.store(rec, layout.mask, 8, 0)
        lower_spec.start(low, rec, layout)
        low.fault_label = late = b.label(f"fault_{clause.index}")
        lower_stmt.body(low, clause.body)
        lower_spec.submit(low, rec, layout)
        lower_stmt.finish_exit(low)
        b.jmp(after)
        b.start(late)
        b.call("ringbuf_discard", rec, 0)
        b.jmp(early)
    low.record = None
    low.end_clause()
    b.start(early)
    _fault_record(low, clause)
    if low.errors and low.error_args is None:
        _run_error_clauses(low, clause)
    b.jmp(after)
    b.start(after)
    low.join(before)


def write_header(low: Lowering, rec: Reg, layout: int) -> None:
    """Layout, CPU and probe (record.HEADER)."""
    b = low.b
    b.store(rec, 0, 2, layout)
    b.store(rec, 2, 2, lower_builtin.cpu(low))
    b.store(rec, 4, 4, low.probe)


def _fault_record(low: Lowering, clause: typed.Clause) -> None:
    """Tell the consumer of a fault (record.FAULT_FORMAT)."""
    b = low.b
    before = low.fork()
    low.known = {}
    rec = b.call("ringbuf_reserve", MapRef("ring"), record.FAULT_SIZE, 0)
    full, go, done = b.label("full"), b.label("fault_record"), b.label("fault_told")
    b.br("eq", rec, 0, full, go)
    b.start(full)
    low.count(DROPS)
    b.jmp(done)
    b.start(go)
    write_header(low, rec, record.FAULT)
    b.store(rec, 8, 2, clause.index)
    b.store(rec, 10, 2, b.emit("shr", low.fault_info, 16))
    b.store(rec, 12, 4, b.emit("and", low.fault_info, 0xFFFF))
    b.store(rec, 16, 8, low.fault_address)
    b.store(rec, 24, 8, 0)
    b.call("ringbuf_submit", rec, 0)
    b.jmp(done)
    b.start(done)
    low.known = before


def _run_error_clauses(low: Lowering, clause: typed.Clause) -> None:
    """The ERROR probe fires in the program that faulted.  arg1 epid, arg2 action, arg3 offset
    (always 0: there is no DIF), arg4 fault, arg5 address (Dynamic Tracing Guide, dtrace Provider)."""
    b = low.b
    before, probe, action = low.fork(), low.probe, low.action
    low.known = {}
    info, address = b.emit("mov", low.fault_info), b.emit("mov", low.fault_address)
    low.error_args = (0, clause.index + 1, b.emit("shr", info, 16), 0, b.emit("and", info, 0xFFFF), address)
    low.probe = low.errors[0].probes[0].id
    for error in low.errors:
        _lower_clause(low, error)
    low.error_args, low.probe, low.action, low.clause = None, probe, action, clause
    low.known = {k: v for k, v in before.items() if not isinstance(k, typed.Variable)}  # they may have been assigned
