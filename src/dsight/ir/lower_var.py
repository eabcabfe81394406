"""Variables: global, clause-local, thread-local, and associative arrays of scalars.

Strings are lower_text's.  A value just assigned or read is remembered (Lowering.known):
the same clause does not read it again.
"""

from __future__ import annotations

from dsight.ir import lower_builtin, lower_expr, lower_text
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import DYN_DROPS, Storage, int_signed, int_size
from dsight.lang import typed
from dsight.lang.types import String, unqualified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering


def var_value(low: Lowering, e: typed.Var) -> int:
    var = e.var
    known = low.known.get(var)
    if known is not None:
        return known
    if var.scope == "this":
        return low.b.emit("mov", _this_reg(low, var))  # the value now, whatever is assigned later
    if var.scope == "global":
        size, signed = int_size(var.type), int_signed(var.type)
        pointer = low.globals_at(low.storage.globals[var])
        value: int = low.b.load(pointer, 0, size)
        if signed and size < 8:
            value = low.b.emit("sext", value, size * 8)
        low.known[var] = value
        return value
    return _look_up(low, var, variable_key(low, var, ()))


def _this_reg(low: Lowering, var: typed.Variable) -> Reg:
    """The register of a clause-local variable: all clauses of a firing share it."""
    reg = low.this.get(var.name)
    if reg is None:
        reg = low.this[var.name] = low.b.reg()
    return reg


def assoc_value(low: Lowering, e: typed.Assoc) -> int:
    return _look_up(low, e.var, variable_key(low, e.var, e.keys))


def variable_key(low: Lowering, var: typed.Variable, keys: tuple[typed.TExpr, ...]) -> Reg:
    """Pointer to the key of a variable's map: the thread for self->, then the tuple."""
    b = low.b
    fields, size = low.storage.key_layout(var)
    pointer, offset = low.buffer("key", size)
    if offset:
        pointer = b.emit("add", pointer, offset)
    if var.scope == "self":
        b.store(pointer, 0, 8, lower_builtin.builtin(low, "pid_tgid"))
    lower_text.write_tuple(low, pointer, 0, fields, keys, size)
    return pointer


def _look_up(low: Lowering, var: typed.Variable, key: Reg) -> int:
    """A scalar from a variable's map; 0 where there is none."""
    b = low.b
    found = b.call("map_lookup_elem", MapRef(Storage.map_name(var)), key)
    there, done = b.label("found"), b.label("looked_up")
    result = b.reg()
    b.set(result, "mov", 0)
    b.br("eq", found, 0, done, there)
    b.start(there)
    size = int_size(var.type)
    if int_signed(var.type) and size < 8:
        b.set(result, "sext", b.load(found, 0, size), size * 8)
    else:
        b.set(result, "load", found, 0, size)
    b.jmp(done)
    b.start(done)
    return result


def assign(low: Lowering, e: typed.Assign) -> int:
    """An assignment; the value assigned (0 for strings, whose value nobody may use)."""
    target = e.place
    if isinstance(unqualified(e.type), String):
        lower_text.assign(low, e)
        return 0
    value = lower_expr.scalar(low, e.value)
    if not e.op:
        store(low, target, value)
        return value
    t = e.arith or e.type
    old, put = _read_to_write(low, target)
    if not lower_expr.fits(e.type, t):
        old = lower_expr.normalise(low, old, t)
    value = lower_expr.normalise(low, lower_expr.arithmetic(low, e.op, old, value, t), e.type)
    put(value)
    return value


def inc_dec(low: Lowering, e: typed.IncDec) -> int:
    old, put = _read_to_write(low, e.place)
    new = lower_expr.normalise(low, low.b.emit("add", old, e.delta), e.type)
    put(new)
    return old if e.post else new


def _read_to_write(low: Lowering, target: typed.TExpr) -> tuple[int, Callable[[int], None]]:
    """The value of a place, and what stores another there.  Keys and pointers are evaluated once
    (C11 6.5.16.2)."""
    if isinstance(target, typed.Assoc):
        key = variable_key(low, target.var, target.keys)
        return _look_up(low, target.var, key), lambda value: _store_map(low, target.var, key, value)
    if isinstance(target, typed.Mem):
        base, offset, origin = lower_expr.place(low, target.base)
        old = lower_expr.load_place(low, target, base, offset, origin)
        return old, lambda value: _store_mem(low, target, offset, origin, value)
    return lower_expr.scalar(low, target), lambda value: store(low, target, value)


def store(low: Lowering, target: typed.TExpr, value: int) -> None:
    """Store a scalar in a variable."""
    b = low.b
    if isinstance(target, typed.Var):
        var = target.var
        if var.scope == "this":
            b.set(_this_reg(low, var), "mov", value)
        elif var.scope == "global":
            b.store(low.globals_at(low.storage.globals[var]), 0, int_size(var.type), value)
        else:
            _store_map(low, var, variable_key(low, var, ()), value)
        low.known[var] = value
    elif isinstance(target, typed.Assoc):
        _store_map(low, target.var, variable_key(low, target.var, target.keys), value)
    elif isinstance(target, typed.Mem):
        _, offset, origin = lower_expr.place(low, target.base)
        _store_mem(low, target, offset, origin, value)
    else:
        raise low.unsupported("assigning to this", target.span)


def _store_map(low: Lowering, var: typed.Variable, key: Reg, value: int) -> None:
    """Zero gives the storage back (Dynamic Tracing Guide, Associative Arrays)."""
    b = low.b
    name = Storage.map_name(var)
    if not isinstance(value, Reg) and value == 0:
        b.call("map_delete_elem", MapRef(name), key)
        return
    slot = b.slot_addr(b.shared_slot("value", 8))
    b.store(slot, 0, 8, 0)
    b.store(slot, 0, int_size(var.type), value)
    update(low, name, key, slot)


def update(low: Lowering, name: str, key: Reg, value: Reg) -> None:
    """Put an element into a variable's map; a full map is a counted drop."""
    b = low.b
    result = b.call("map_update_elem", MapRef(name), key, value, 0)
    full, done = b.label("full"), b.label("updated")
    b.br("ne", result, 0, full, done)
    b.start(full)
    low.count(DYN_DROPS)
    b.jmp(done)
    b.start(done)


def _store_mem(low: Lowering, target: typed.Mem, offset: int, origin: lower_expr.Origin | None, value: int) -> None:
    """Store in a member of what lies `offset` bytes behind a pointer.  Only scratch memory may be written."""
    offset += target.offset
    size = int_size(target.type)
    if target.bits or origin is None or offset < 0 or offset + size > origin.size:
        raise low.unsupported("writing through this pointer", target.span)
    low.b.store(low.scratch, origin.offset + offset, size, value)
