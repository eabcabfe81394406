"""Statements: actions into the record, if; aggregations are in lower_agg."""

from __future__ import annotations

from dsight.ir import lower_agg, lower_destructive, lower_expr, lower_memory, lower_spec, lower_text
from dsight.ir.loops import pick
from dsight.ir.maps import STATE, STOPPED
from dsight.ir.ops import Bounded, Reg
from dsight.ir.storage import is_object, tracemem_size
from dsight.lang import typed
from dsight.lang.types import Pointer
from dsight.record import BADADDR, Field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

# Actions with a place in the record.
RECORDED = frozenset(
    "trace printf tracemem exit printa clear trunc normalize denormalize "
    "print freopen ftruncate system setopt pcap "
    "stack ustack jstack func mod sym uaddr ufunc umod usym".split()
)


def body(low: Lowering, stmts: tuple[typed.TStmt, ...]) -> None:
    """A clause's statements."""
    low.exiting = None
    if _contains_exit(stmts):
        low.exiting = low.b.const(0)
    _statements(low, stmts)


def _contains_exit(stmts: tuple[typed.TStmt, ...]) -> bool:
    for s in stmts:
        if isinstance(s, typed.ActionStmt) and s.name == "exit":
            return True
        if isinstance(s, typed.If) and (_contains_exit(s.then) or _contains_exit(s.other)):
            return True
    return False


def finish_exit(low: Lowering) -> None:
    """After the record is on its way: exit() stops all other probes."""
    if low.exiting is None:
        return
    b = low.b
    stop, done = b.label("stop"), b.label("exited")
    b.br("ne", low.exiting, 0, stop, done)
    b.start(stop)
    b.store(low.globals_at(STATE), 0, 8, STOPPED)
    b.jmp(done)
    b.start(done)
    low.exiting = None


def _statements(low: Lowering, stmts: tuple[typed.TStmt, ...]) -> None:
    for stmt in stmts:
        low.b.span = stmt.span
        low.action += 1
        mark = len(low.of_statement)
        if isinstance(stmt, typed.ExprStmt):
            lower_expr.effect(low, stmt.expr)
        elif isinstance(stmt, typed.If):
            _if(low, stmt)
        elif isinstance(stmt, typed.ActionStmt):
            _action(low, stmt)
        elif isinstance(stmt, typed.AggStmt):
            lower_agg.aggregate(low, stmt)
        low.end_statement(mark)


def _if(low: Lowering, stmt: typed.If) -> None:
    b = low.b
    then, other, done = b.label("if"), b.label("else"), b.label("endif")
    before = low.fork()
    lower_expr.branch(low, stmt.test, then, other)
    middle = low.fork()
    b.start(then)
    _statements(low, stmt.then)
    b.jmp(done)
    low.known, then_known = middle, low.known
    b.start(other)
    _statements(low, stmt.other)
    b.jmp(done)
    b.start(done)
    low.join(before, then_known)


def _action(low: Lowering, stmt: typed.ActionStmt) -> None:
    """Fill the action's fields of the record; a conditional action says that it ran."""
    rule = lower_spec.RULES.get(stmt.name) or lower_destructive.RULES.get(stmt.name)
    if rule is not None:
        rule(low, stmt)
        return
    if stmt.name not in RECORDED:
        raise low.unsupported(f"the action {stmt.name}()", stmt.span)
    b, rec = low.b, low.record
    assert rec is not None and low.clause is not None
    layout = low.storage.layouts[low.clause.index]
    assert layout is not None
    action = layout.actions[low.next_action]
    low.next_action += 1
    if stmt.name == "tracemem":
        _tracemem(low, stmt, rec, [layout.fields[i].offset for i in action.fields])
    elif stmt.name == "pcap":
        _pcap(low, stmt, rec, [layout.fields[i] for i in action.fields])
    elif stmt.name in ("print", "trace") and is_object(stmt.args[0]):
        f = layout.fields[action.fields[0]]
        source = lower_expr.scalar(low, typed.AddrOf(Pointer(stmt.args[0].type), stmt.span, stmt.args[0]))
        lower_memory.copy(low, source, 0, f.size, rec, f.offset)
    else:
        for index, value in zip(action.fields, stmt.args):
            f = layout.fields[index]
            lower_text.write_field(low, rec, f.offset, f, value)
    if action.bit >= 0:
        b.store(rec, layout.mask, 8, b.emit("or", b.load(rec, layout.mask, 8), 1 << action.bit))
    if stmt.name == "exit":
        assert low.exiting is not None
        b.set(low.exiting, "mov", 1)


def _tracemem(low: Lowering, stmt: typed.ActionStmt, rec: Reg, offsets: list[int]) -> None:
    """The bytes, and with a third argument how many of them count: as many are read."""
    b = low.b
    size = tracemem_size(stmt)
    if len(offsets) > 1:
        wanted, done, clamp = b.reg(), b.label("wanted"), b.label("clamp")
        b.set(wanted, "mov", lower_expr.scalar(low, stmt.args[2]))
        b.br("ugt", wanted, size, clamp, done)
        b.start(clamp)
        b.set(wanted, "mov", size)
        b.jmp(done)
        b.start(done)
        b.store(rec, offsets[1], 8, wanted)
    base, at, origin = lower_expr.place(low, stmt.args[0])
    if len(offsets) == 1 and origin is None:
        lower_memory.copy(low, base, at, size, rec, offsets[0])
        return
    source = lower_expr.plus(low, base, at)
    target = lower_expr.plus_reg(low, rec, offsets[0])
    bounded = Bounded(wanted, size) if len(offsets) > 1 else size
    low.fault_if("ne", b.call("probe_read_kernel", target, bounded, source), 0, BADADDR, source)


def _pcap(low: Lowering, stmt: typed.ActionStmt, rec: Reg, fields: list[Field]) -> None:
    """Time, length and link type as they are; as many bytes as lie together and have room."""
    b = low.b
    for field, value in zip((fields[0], fields[1], fields[3]), stmt.args):
        lower_text.write_field(low, rec, field.offset, field, value)
    linear, start = lower_expr.scalar(low, stmt.args[3]), lower_expr.scalar(low, stmt.args[4])
    room = fields[4].size
    kept = pick(b, "ugt", linear, room, room, linear)
    b.store(rec, fields[2].offset, 4, kept)
    target = lower_expr.plus_reg(low, rec, fields[4].offset)
    low.fault_if("ne", b.call("probe_read_kernel", target, Bounded(kept, room), start), 0, BADADDR, start)
