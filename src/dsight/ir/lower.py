"""Typed tree to IR: one Function for each Unit.

A program's shape:

    entry       is the session active, which probe is it, does the guard hold
    scratch     (only if scratch memory is used) find this CPU's
    clause N    predicate; reserve the record; actions; submit
    fault N     discard the record, leave a fault record, run the ERROR clauses
    out         return 0

A unit with many clauses becomes several functions, its *parts*: at the end of each a tail call goes
on with the next, in the same firing, on the same CPU.  What clause-local variables hold is handed
on in the unit's scratch memory.

A fault ends its clause; the next one goes on.  A string is memory, never a
register: see lower_text.  What is not supported yet raises CompileError here.
"""

from __future__ import annotations

from dsight import record
from dsight.errors import CompileError, fail
from dsight.ir import (
    lower_builtin,
    lower_expr,
    lower_object,
    lower_spec,
    lower_stmt,
    lower_text,
    lower_thread,
    lower_var,
)
from dsight.ir.build import Builder, of_cpu
from dsight.ir.maps import ACTIVE, AT_ONCE, DROPS, EACH_CPU, LINE, STATE, MapSpec
from dsight.ir.ops import Function, MapRef, Reg
from dsight.ir.passes import SELDOM
from dsight.ir.storage import PERCPU_VALUE, Storage, round8
from dsight.ir.unit import Unit, parts_map
from dsight.lang import typed
from dsight.source import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SCRATCH_LIMIT = 4 << 20  # bytes, for each CPU and program

# How many IR instructions a part has before the next one begins: jumps reach 32767 BPF instructions, and the
# verifier's work grows faster than a program does.  The kernel follows 33 tail calls (MAX_TAIL_CALL_CNT), so the
# later parts of a very long unit are larger.
PART, LATE_PART, EARLY_PARTS = 3000, 12000, 16

MAPS = 64  # MAX_USED_MAPS (include/linux/bpf_verifier.h), the most a program may refer to


class Lowering:
    """The state of lowering one unit, or one part of it.

    `known` holds what has been worked out on every path to here: built-in values
    and variables by key.  Branches start from a copy and their findings are
    dropped at the join (`fork`, `join`).  `at_fault` is what of it held at each fault of the
    clause so far; None: it has none.  A fault works out again what of it can be (`remember`), so that
    what comes after the clause need not.
    """

    def __init__(
        self, unit: Unit, storage: Storage, errors: tuple[typed.Clause, ...], before: Lowering | None = None
    ) -> None:
        self.unit = unit
        self.part: int = 0 if before is None else before.part + 1
        self.storage = storage
        self.options = storage.options
        self.errors = errors
        self.b = Builder(f"{unit.name}_{self.part}" if self.part else unit.name)
        self.known: dict[object, int] = {}
        self.at_fault: dict[object, int] | None = None
        self.again: dict[object, tuple[int, tuple[int, ...], Callable[[], None]]] = {}  # see remember()
        self.origins: dict[int, lower_object.Origin] = {}  # registers that hold pointers the verifier knows
        self.temps: dict[int, int] = {}
        self.zeroed = False  # whether this clause may have set thread-local variables to 0
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
        self.handed_on: dict[str, int] = {}  # where clause-local scalars go at the end of the part: offset in scratch
        self.carried: dict[str, int] = {}  # those of the parts before
        self.given: frozenset[str] = frozenset()  # clause-local strings, structs and arrays of the parts before
        if before is not None:
            self.this_buffers, self.this_objects = dict(before.this_buffers), dict(before.this_objects)
            self.given = frozenset((*self.this_buffers, *self.this_objects))
            self.carried, self.handed_on = before.handed_on, dict(before.handed_on)
            self.scratch_used, self.scratch_free = before.scratch_used, list(before.scratch_free)

    # -- helpers every part uses

    @property
    def direct(self) -> tuple[int, int] | None:
        """How kernel memory is read in place: the ids that `cast` takes."""
        return self.storage.direct(self.unit.kind)

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

    def remember(self, key: object, value: int, needs: tuple[int, ...], again: Callable[[], None]) -> None:
        """What is known from here on.  `again` sets the value's register anew, from the values it `needs`."""
        self.known[key] = value
        self.again[key] = value, needs, again

    def renew(self, known: dict[object, int], here: dict[object, int]) -> dict[object, int]:
        """Works out again what is `known` elsewhere and not `here`, where it can be; what is known then."""
        there = {value for value in here.values() if type(value) is Reg}
        here = dict(here)
        for key, (value, needs, again) in self.again.items():
            if key not in here and known.get(key) is value and all(n in there for n in needs if type(n) is Reg):
                again()
                here[key] = value
                if type(value) is Reg:
                    there.add(value)
        return here

    def temporary(self, value: int) -> int:
        """What typed.Temp calls a value that has been worked out."""
        self.temps[number := -1 - len(self.temps)] = value  # those of the typed tree are positive
        return number

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
        b, known = self.b, self.known
        before = known if self.at_fault is None else self.at_fault
        self.at_fault = {k: v for k, v in before.items() if known.get(k) is v}
        bad, good = b.label("bad"), b.label("good")
        b.br(condition, a, c, bad, good)
        b.start(bad)
        b.set(self.fault_info, "mov", kind | self.action << 16)
        b.set(self.fault_address, "mov", address() if callable(address) else address)
        b.jmp(self.fault_label)
        b.start(good)

    def count(self, counter: int) -> None:
        """Add one to a counter of the session (maps.DROPS and its like)."""
        b = self.b
        b.emit("xadd", of_cpu(b.emit, "counters", LINE, self.options.cpus, 8 * counter), 0, 8, 1)


def lower(unit: Unit, storage: Storage, errors: tuple[typed.Clause, ...] = ()) -> list[Function]:
    """The parts of one unit, mostly a single one; what they need of maps is added to the storage.

    `errors` are the script's ERROR clauses, which run where a clause faults.
    Raises CompileError for what is not supported yet.
    """
    functions: list[Function] = []
    left = list(unit.clauses)
    low: Lowering | None = None
    while left or not functions:
        low = Lowering(unit, storage, errors, low)
        functions.append(_lower_part(low, left))
    for spec in unit.maps:
        storage.maps[spec.name] = spec
    if len(functions) > 1:
        name = parts_map(unit)
        storage.maps[name] = MapSpec(name, "prog_array", 4, 4, len(functions))
    return functions


def _lower_part(low: Lowering, left: list[typed.Clause]) -> Function:
    """One part, of as many of the clauses that are left as it should have; they are taken off the list."""
    b = low.b
    body, find_scratch = b.label("clauses"), b.label("find_scratch")
    _enter(low, left)
    b.jmp(find_scratch)
    b.start(body)
    limit = PART if low.part < EARLY_PARTS else LATE_PART
    maps = 0
    while left and b.written < limit and maps <= MAPS // 2:
        clause = left.pop(0)
        _lower_clause(low, clause)
        if len(low.storage.maps) > MAPS // 4:  # else there are too few to count
            maps = len(b.maps)
            if maps > MAPS - 4:  # those of the part itself come yet
                message = f"a program reaches at most {MAPS} maps, and this clause needs more"
                hint = "split it into several clauses: each associative array, thread-local variable and @ is a map"
                raise fail("D_UNKNOWN", message, clause.span, hint)
    if left:
        _go_on(low)
    b.jmp(low.out)
    b.start(low.out)
    b.ret(0)
    b.start(find_scratch)  # only now it is known whether it is needed
    if low.scratch_used:
        _find_scratch(low, whole=not low.part and not left)
    _initialise_this(low)
    b.jmp(body)
    return b.finish()


def _go_on(low: Lowering) -> None:
    """To the next part; what clause-local variables hold goes with it."""
    b = low.b
    for name, value in low.this.items():
        if name not in low.handed_on:
            low.handed_on[name] = low.scratch_alloc(8)
        b.store(low.scratch, low.handed_on[name], 8, value)
    b.call("tail_call", b.emit("ctx"), MapRef(parts_map(low.unit)), low.part + 1)
    low.count(DROPS)  # it does not come back, unless it failed


def _enter(low: Lowering, clauses: list[typed.Clause]) -> None:
    """State, probe, guard; of a later part the probe only."""
    b, unit = low.b, low.unit
    if clauses:
        b.span = clauses[0].span
    if not unit.always and not low.part:
        state = b.load(low.globals_at(STATE), 0, 8)
        active = b.label("active")
        b.br("eq", state, ACTIVE, active, low.out)
        b.start(active)
        if low.options.cpu >= 0:
            here = b.label("cpu")
            b.br("eq", lower_builtin.cpu(low), low.options.cpu, here, low.out)
            b.start(here)
    if unit.entry.probe < 0:
        low.probe = lower_builtin.look_up_probe(low)
    if unit.guard is not None and not low.part:
        hit = b.label("guard")
        low.fault_label = low.out  # what cannot be read has not happened
        lower_expr.branch(low, unit.guard, hit, low.out, keep=True)
        b.start(hit)


def _initialise_this(low: Lowering) -> None:
    """Clause-local variables are zero when the probe fires, and in a later part what they were."""
    b = low.b
    for name, value in low.this.items():
        if name in low.carried:
            b.set(value, "load", low.scratch, low.carried[name], 8)
        else:
            b.set(value, "mov", 0)


def _find_scratch(low: Lowering, whole: bool) -> None:
    """Where this CPU's scratch memory is; `whole`: the unit has one part, which knows how much it needs."""
    b = low.b
    if low.scratch_used > SCRATCH_LIMIT:
        raise fail(
            "D_UNKNOWN",
            f"the clauses of one probe need {low.scratch_used} bytes of scratch memory, and may have {SCRATCH_LIMIT}",
            low.unit.clauses[0].span,
            "use fewer strings and copyin() at once, or make them smaller: -x strsize=4k",
        )
    name = f"scratch_{low.unit.name}"
    cpus, each = low.options.cpus, low.scratch_used + LINE - 1 & -LINE
    if whole and cpus * each <= AT_ONCE:  # no lookup: all in one value
        # mmap: memory of vmalloc(), which mm/usercopy.c is done with sooner when something is copied there
        low.storage.maps[name] = MapSpec(name, "array", 4, cpus * each, 1, mmap=True)
        b.set(low.scratch, "mov", of_cpu(b.emit, name, each, cpus))
    else:
        _look_up_scratch(low, name)
    for name, offset in low.this_buffers.items():
        if name not in low.given:
            b.store(low.scratch, offset, 8, 0)
    for name, (offset, size) in low.this_objects.items():
        if name not in low.given:
            lower_text.zero(low, low.scratch, offset, size)


def _look_up_scratch(low: Lowering, name: str) -> None:
    b = low.b
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


def _lower_clause(low: Lowering, clause: typed.Clause) -> None:
    """One clause, from predicate to submit, and what happens when it faults."""
    b = low.b
    low.clause, low.action, low.record, low.next_action, low.next_end = clause, 0, None, 0, 0
    b.span = clause.span
    after = b.label(f"after_{clause.index}")
    low.fault_label = b.label(f"fault_{clause.index}_early")
    early = low.fault_label
    outer, low.at_fault = low.at_fault, None
    others: list[dict[object, int]] = []  # what is known on the other ways to `after`
    if clause.predicate is not None:
        hit = b.label(f"body_{clause.index}")
        others.append(lower_expr.branch(low, clause.predicate, hit, after, keep=True))
        b.start(hit)
    layout = low.storage.layouts[clause.index]
    late = ""
    if layout is None:
        lower_stmt.body(low, clause.body)
        if low.zeroed:
            lower_thread.give_back(low)
        b.jmp(after)
    else:
        low.record = rec = b.call("ringbuf_reserve", MapRef("ring"), layout.size, 0)
        full, go = b.label("full"), b.label(f"record_{clause.index}")
        b.br("eq", rec, 0, full, go)
        b.start(full)
        low.count(DROPS)
        others.append(low.fork())
        b.jmp(after)
        b.start(go)
        write_header(low, rec, clause.index)
        if layout.mask >= 0:
            b.store(rec, layout.mask, 8, 0)
        lower_spec.start(low, rec, layout)
        low.fault_label = late = b.label(f"fault_{clause.index}")
        lower_stmt.body(low, clause.body)
        lower_spec.submit(low, rec, layout)
        if low.zeroed:
            lower_thread.give_back(low)
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
        low.at_fault = _not_assigned(low.at_fault or {})
    low.join(low.known, *others)
    low.known = {k: v for k, v in low.known.items() if not (k in lower_builtin.CLOCKS or lower_var.is_shared(k))}
    if low.at_fault is not None:
        low.join(low.renew(low.known, low.at_fault))
    b.jmp(after)
    b.start(after)
    low.at_fault = outer


def _not_assigned(known: dict[object, int]) -> dict[object, int]:
    """What is known whatever is assigned to variables."""
    return {k: v for k, v in known.items() if not lower_var.is_variable(k)}


def write_header(low: Lowering, rec: Reg, layout: int) -> None:
    """CPU, layout and probe (record.HEADER)."""
    b = low.b
    if layout:
        b.store(rec, 0, 2, lower_builtin.cpu(low))
        b.store(rec, 2, 2, layout)
    else:  # both: CPUs are counted with 16 bits
        b.store(rec, 0, 4, lower_builtin.cpu(low))
    b.store(rec, 4, 4, low.probe)


def _fault_record(low: Lowering, clause: typed.Clause) -> None:
    """Tell the consumer of a fault (record.FAULT_FORMAT)."""
    b = low.b
    before = low.fork()
    low.known = {}
    rec = b.call("ringbuf_reserve", MapRef("ring"), record.FAULT_SIZE, 0)
    full, go, done = b.label("full"), b.label(SELDOM), b.label("fault_told")
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
    low.known = _not_assigned(before)
