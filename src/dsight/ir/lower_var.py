"""Variables: global, clause-local, thread-local, and associative arrays of scalars.

Strings are lower_text's.  A value just assigned or read is remembered (Lowering.known):
the same clause does not read it again.
"""

from __future__ import annotations

from dsight.ir import lower_builtin, lower_expr, lower_object, lower_text, lower_thread
from dsight.ir.maps import DYN_DROPS
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import Storage, int_signed, int_size, is_number
from dsight.lang import typed
from dsight.lang.types import BOOL, String, unqualified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering

    Element = tuple[object, ...]  # the variable and its keys


def var_value(low: Lowering, e: typed.Var) -> int:
    var = e.var
    known = low.known.get(var)
    if known is not None:
        return known
    if var.scope == "this":
        # the value now, whatever is assigned later
        copy = low.known[var] = low.b.emit("mov", _this_reg(low, var))
        return copy
    if var.scope == "global":
        size, signed = int_size(var.type), int_signed(var.type)
        pointer = low.globals_at(low.storage.globals[var])
        value: int = low.b.load(pointer, 0, size)
        if signed and size < 8:
            value = low.b.emit("sext", value, size * 8)
        low.known[var] = value
        return value
    value = low.known[var] = lower_thread.value(low, var)
    return value


def is_variable(key: object) -> bool:
    """Whether what Lowering.known has by this key is what a variable holds, or where."""
    if type(key) is tuple:
        key = key[0]
    return isinstance(key, typed.Variable) or key in (lower_thread.FOUND, lower_thread.WORDS)


def is_shared(key: object) -> bool:
    """Whether it is what a variable holds that other threads may assign at any time."""
    if type(key) is tuple:
        key = key[0]
    return isinstance(key, typed.Variable) and key.scope == "global"


def _this_reg(low: Lowering, var: typed.Variable) -> Reg:
    """The register of a clause-local variable: all clauses of a firing share it."""
    reg = low.this.get(var.name)
    if reg is None:
        reg = low.this[var.name] = low.b.reg()
    return reg


def assoc_value(low: Lowering, e: typed.Assoc) -> int:
    return _element_value(low, *_element(low, e))


def _element(low: Lowering, e: typed.Assoc) -> tuple[typed.Assoc, Element]:
    """An element of an array, its keys evaluated if they are numbers, and what `known` calls it then; else ()."""
    if not all(is_number(k.type) for k in e.keys):
        return e, ()
    values = [lower_expr.scalar(low, k) for k in e.keys]
    keys = tuple([typed.Temp(k.type, k.span, low.temporary(v)) for k, v in zip(e.keys, values)])
    return e.replace(keys=keys), (e.var, *[(type(v) is Reg, int(v)) for v in values])  # Reg(3) == 3


def _element_value(low: Lowering, e: typed.Assoc, name: Element) -> int:
    value = low.known.get(name) if name else None
    if value is None:
        value = _look_up(low, e.var, variable_key(low, e.var, e.keys))
        if name:
            low.known[name] = value
    return value


def _store_element(low: Lowering, e: typed.Assoc, name: Element, value: int) -> None:
    held = _store_map(low, e.var, variable_key(low, e.var, e.keys), lower_expr.number(low, value))
    low.known = {
        k: v for k, v in low.known.items() if not (type(k) is tuple and k[0] is e.var)
    }  # it may be any of them
    if name:
        low.known[name] = held


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
    if lower_object.is_object(e.type):
        lower_object.assign(low, e)
        return 0
    value = lower_expr.raw(low, e.value)
    if low.of_clause and int_size(target.type) == 8:
        low.kept = True  # it may be a pointer
    if not e.op:
        value = _narrow(low, target, value)
        store(low, target, value)
        return value
    t = e.arith or e.type
    old, put = _read_to_write(low, target)
    if not lower_expr.fits(e.type, t):
        old = lower_expr.normalise(low, old, t)
    value = lower_expr.arithmetic(low, e.op, old, lower_expr.number(low, value), t)
    value = _narrow(low, target, lower_expr.normalise(low, value, e.type))
    put(value)
    return value


def _narrow(low: Lowering, target: typed.TExpr, value: int) -> int:
    """The value as a bit-field holds it."""
    if not isinstance(target, typed.Mem) or not target.bits or unqualified(target.type) == BOOL:
        return value
    value = low.b.emit("shl", lower_expr.number(low, value), 64 - target.bits)
    return low.b.emit("sar" if int_signed(target.type) else "shr", value, 64 - target.bits)


def inc_dec(low: Lowering, e: typed.IncDec) -> int:
    old, put = _read_to_write(low, e.place)
    new = _narrow(low, e.place, lower_expr.normalise(low, low.b.emit("add", old, e.delta), e.type))
    put(new)
    return old if e.post else new


def _read_to_write(low: Lowering, target: typed.TExpr) -> tuple[int, Callable[[int], None]]:
    """The value of a place, and what stores another there.  Keys and pointers are evaluated once
    (C11 6.5.16.2)."""
    if isinstance(target, typed.Assoc):
        element, name = _element(low, target)
        return _element_value(low, element, name), lambda value: _store_element(low, element, name, value)
    if isinstance(target, typed.Mem):
        base, offset, origin = lower_expr.place(low, target.base, True)
        old = lower_expr.load_place(low, target, base, offset, origin)
        return old, lambda value: _store_mem(low, target, base, offset, origin, value)
    return lower_expr.scalar(low, target), lambda value: store(low, target, value)


def store(low: Lowering, target: typed.TExpr, value: int) -> None:
    """Store a scalar in a variable."""
    b = low.b
    if isinstance(target, typed.Var):
        var = target.var
        if var.scope == "this":
            b.set(_this_reg(low, var), "mov", lower_expr.number(low, value))
        elif var.scope == "global":
            b.store(low.globals_at(low.storage.globals[var]), 0, int_size(var.type), value)
        else:
            value = lower_thread.store(low, var, lower_expr.number(low, value))
        low.known[var] = value
    elif isinstance(target, typed.Assoc):
        _store_element(low, *_element(low, target), value)
    elif isinstance(target, typed.Mem):
        _store_mem(low, target, *lower_expr.place(low, target.base, True), value)
    else:
        raise low.unsupported("assigning to this", target.span)


def _store_map(low: Lowering, var: typed.Variable, key: Reg, value: int) -> int:
    """Zero gives the storage back (Dynamic Tracing Guide, Associative Arrays).  What it holds then."""
    b = low.b
    name = Storage.map_name(var)
    if not isinstance(value, Reg) and value == 0:
        b.call("map_delete_elem", MapRef(name), key)
        return 0
    slot = b.slot_addr(b.shared_slot("value", 8))
    if int_size(var.type) < 8:
        b.store(slot, 0, 8, 0)
    b.store(slot, 0, int_size(var.type), value)
    held = b.reg()
    b.set(held, "mov", value)
    update(low, name, key, slot, held)
    return held


def update(low: Lowering, name: str, key: Reg, value: Reg, held: Reg | None = None) -> None:
    """Put an element into a variable's map; a full map is a counted drop, and 0 is what is `held` then."""
    b = low.b
    result = b.call("map_update_elem", MapRef(name), key, value, 0)
    full, done = b.label("full"), b.label("updated")
    b.br("ne32", result, 0, full, done)  # it is an int, before 6.4 with an undefined high half
    b.start(full)
    low.count(DYN_DROPS)
    if held is not None:
        b.set(held, "mov", 0)
    b.jmp(done)
    b.start(done)


def _store_mem(
    low: Lowering, target: typed.Mem, base: int, offset: int, origin: lower_object.Origin | None, value: int
) -> None:
    """Store in a member of what lies `offset` bytes behind a pointer (lower_expr.place)."""
    b = low.b
    offset += target.offset
    size = int_size(target.type)
    bit = 0
    if target.bits:
        byte, size, bit = lower_expr.bit_field(low, target)
        offset += byte
    if origin is not None and origin.holds(offset, size):
        pointer, at = origin.reach(low, offset)
    else:
        pointer, at = lower_object.writable(low, base, offset, size, origin), 0
    if target.bits:
        mask = (1 << target.bits) - 1
        others = b.emit("and", b.load(pointer, at, size), lower_expr.signed64(~(mask << bit)))
        value = b.emit("shl", b.emit("and", lower_expr.number(low, value), lower_expr.signed64(mask)), bit)
        value = b.emit("or", others, value)
    b.store(pointer, at, size, value)
