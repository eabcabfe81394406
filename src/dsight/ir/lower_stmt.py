"""Statements: actions into the record, aggregations, if."""

from __future__ import annotations

from dsight.ir import lower_expr, lower_text
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import AGG_DROPS, QUANTIZE_ZERO, STATE, STOPPED, int_signed, tracemem_size
from dsight.lang import typed
from dsight.record import BADADDR, AggLayout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

# Actions with a place in the record.
RECORDED = frozenset({"trace", "printf", "tracemem", "exit", "printa", "clear", "trunc", "normalize", "denormalize"})


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
        if isinstance(stmt, typed.ExprStmt):
            lower_expr.effect(low, stmt.expr)
        elif isinstance(stmt, typed.If):
            _if(low, stmt)
        elif isinstance(stmt, typed.ActionStmt):
            _action(low, stmt)
        elif isinstance(stmt, typed.AggStmt):
            _aggregate(low, stmt)


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
    if stmt.name not in RECORDED:
        raise low.unsupported(f"the action {stmt.name}()", stmt.span)
    b, rec = low.b, low.record
    assert rec is not None and low.clause is not None
    layout = low.storage.layouts[low.clause.index]
    assert layout is not None
    action = layout.actions[low.next_action]
    low.next_action += 1
    if stmt.name == "tracemem":
        _tracemem(low, stmt, rec, layout.fields[action.fields[0]].offset)
    else:
        for index, value in zip(action.fields, stmt.args):
            f = layout.fields[index]
            lower_text.write_field(low, rec, f.offset, f, value)
    if action.bit >= 0:
        b.store(rec, layout.mask, 8, b.emit("or", b.load(rec, layout.mask, 8), 1 << action.bit))
    if stmt.name == "exit":
        assert low.exiting is not None
        b.set(low.exiting, "mov", 1)


def _tracemem(low: Lowering, stmt: typed.ActionStmt, rec: Reg, offset: int) -> None:
    b = low.b
    base, at, _ = lower_expr.place(low, stmt.args[0])
    source = lower_expr.plus(low, base, at)
    target = lower_expr.plus_reg(low, rec, offset)
    result = b.call("probe_read_kernel", target, tracemem_size(stmt), source)
    low.fault_if("ne", result, 0, BADADDR, source)


# ---- aggregations


def _aggregate(low: Lowering, stmt: typed.AggStmt) -> None:
    """Update this CPU's value under the key, made first if need be."""
    b = low.b
    layout = low.storage.aggs[stmt.agg.id]
    value: int = lower_expr.scalar(low, stmt.value) if stmt.value is not None else 1
    result = b.reg()
    if layout.key_size:
        pointer, offset = low.buffer("key", layout.key_size)
        lower_text.write_tuple(low, pointer, offset, layout.keys, stmt.keys, layout.key_size)
        key = lower_expr.plus_reg(low, pointer, offset)
    else:
        key = b.slot_addr(b.shared_slot("zero", 8))
        b.store(key, 0, 8, 0)
    there, done = b.label("agg"), b.label("aggregated")
    b.set(result, "call", "map_lookup_elem", MapRef(layout.map), key)
    if layout.key_size:
        new = b.label("agg_new")
        b.br("ne", result, 0, there, new)
        b.start(new)
        zeroes = b.emit("value", "constants", low.storage.zeroes(layout.value_size))
        b.call("map_update_elem", MapRef(layout.map), key, zeroes, 1)  # BPF_NOEXIST
        b.set(result, "call", "map_lookup_elem", MapRef(layout.map), key)
    full = b.label("agg_full")
    b.br("ne", result, 0, there, full)
    b.start(full)
    low.count(AGG_DROPS)
    b.jmp(done)
    b.start(there)
    _UPDATES[layout.func](low, layout, result, value, stmt)
    b.jmp(done)
    b.start(done)


# A probe may fire in an interrupt while another on the same CPU is here: single additions are atomic.


def _add(low: Lowering, layout: AggLayout, at: Reg, value: int, stmt: typed.AggStmt) -> None:
    low.b.emit("xadd", at, 0, 8, value)


def _avg(low: Lowering, layout: AggLayout, at: Reg, value: int, stmt: typed.AggStmt) -> None:
    low.b.emit("xadd", at, 0, 8, 1)
    low.b.emit("xadd", at, 8, 8, value)


def _extreme(low: Lowering, layout: AggLayout, at: Reg, value: int, stmt: typed.AggStmt) -> None:
    """min, max: the first value counts whatever it is."""
    b = low.b
    better = ("sgt" if layout.signed else "ugt") if layout.func == "max" else ("slt" if layout.signed else "ult")
    take, old, keep = b.label("take"), b.label("compare"), b.label("keep")
    b.br("eq", b.load(at, 8, 8), 0, take, old)
    b.start(old)
    b.br(better, value, b.load(at, 0, 8), take, keep)
    b.start(take)
    b.store(at, 0, 8, value)
    b.store(at, 8, 8, 1)
    b.jmp(keep)
    b.start(keep)


def _quantize(low: Lowering, layout: AggLayout, at: Reg, value: int, stmt: typed.AggStmt) -> None:
    """One more in the bucket of the value's highest bit (record.AggLayout)."""
    b = low.b
    signed = stmt.value is not None and int_signed(stmt.value.type)
    index, rest, sign = b.reg(), b.reg(), b.reg()
    b.set(rest, "mov", value)
    b.set(index, "mov", QUANTIZE_ZERO)
    b.set(sign, "mov", 1)
    some, done = b.label("nonzero"), b.label("bucket")
    b.br("eq", rest, 0, done, some)
    b.start(some)
    if signed:
        negative, positive = b.label("negative"), b.label("magnitude")
        b.br("slt", rest, 0, negative, positive)
        b.start(negative)
        b.set(rest, "neg", rest)
        b.set(sign, "mov", -1)
        b.jmp(positive)
        b.start(positive)
    log = b.reg()
    b.set(log, "mov", 1)
    for step in (32, 16, 8, 4, 2, 1):
        high, low_half = b.label("high"), b.label("low")
        b.br("uge", rest, 1 << step, high, low_half)
        b.start(high)
        b.set(rest, "shr", rest, step)
        b.set(log, "add", log, step)
        b.jmp(low_half)
        b.start(low_half)
    b.set(index, "add", index, b.emit("mul", log, sign))
    b.jmp(done)
    b.start(done)
    _bump(low, at, index, 128)


def _lquantize(low: Lowering, layout: AggLayout, at: Reg, value: int, stmt: typed.AggStmt) -> None:
    """Underflow, one bucket a level, overflow."""
    b = low.b
    base, limit, step = layout.params
    levels = (limit - base) // step
    index = b.reg()
    under, check, over, within, done = (b.label(n) for n in ("under", "check", "over", "within", "bucket"))
    b.br("slt", value, base, under, check)
    b.start(under)
    b.set(index, "mov", 0)
    b.jmp(done)
    b.start(check)
    b.br("sge", value, limit, over, within)
    b.start(over)
    b.set(index, "mov", levels + 1)
    b.jmp(done)
    b.start(within)
    b.set(index, "add", b.emit("udiv", b.emit("sub", value, base), step), 1)
    b.jmp(done)
    b.start(done)
    _bump(low, at, index, layout.value_size // 8)


def _bump(low: Lowering, at: Reg, index: Reg, buckets: int) -> None:
    """Add one to a bucket; `buckets` is a power of two so that a mask shows the verifier the bound."""
    b = low.b
    offset = b.emit("shl", b.emit("and", index, buckets - 1), 3)
    b.emit("xadd", b.emit("add", at, offset), 0, 8, 1)


_UPDATES = {
    "count": _add,
    "sum": _add,
    "avg": _avg,
    "min": _extreme,
    "max": _extreme,
    "quantize": _quantize,
    "lquantize": _lquantize,
}
