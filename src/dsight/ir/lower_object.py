"""Structs, unions and arrays: where they lie, and assigning them by value.

An object is never in a register.  One that is a variable lies in memory the verifier knows:

    global    in the map `globals`
    this->    in scratch memory, zero when the probe fires
    self->    an element of the variable's map; so do those of associative arrays.  One that is
              not there reads as zeroes, and is made when one of its members is assigned

What a script may write, besides its variables by their names, is what it has pointers to:
scratch memory (alloca, copyin, clause-local objects) and the global variables.  A store
through any other pointer is a fault when it runs (Dynamic Tracing Guide, Pointers and Arrays).
"""

from __future__ import annotations

from dsight.ir import lower_expr, lower_text, lower_var
from dsight.ir.maps import DYN_DROPS, GLOBALS_START
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import Storage, variable_size
from dsight.lang import typed
from dsight.lang.types import Array, Pointer, Struct, Type, unqualified
from dsight.record import BADADDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

_COPIED = 256  # bytes; more are copied by a helper
_FAR = 0x7000  # an instruction's offset has 16 bits


class Origin:
    """What is known of a pointer: the verifier knows it, and `size` bytes may be used from it on.

    The pointer is `offset` bytes behind `base`, or behind the program's scratch memory where that
    is None.  `variable`: the memory is a variable's, so that an index outside is a fault."""

    __slots__ = ("base", "offset", "size", "variable")

    def __init__(self, offset: int, size: int, base: Reg | None = None, variable: bool = False) -> None:
        self.base = base
        self.offset = offset
        self.size = size
        self.variable = variable

    def holds(self, offset: int, size: int) -> bool:
        """Whether so many bytes may be used from `offset` on."""
        return offset >= 0 and offset + size <= self.size

    def reach(self, low: Lowering, offset: int) -> tuple[Reg, int]:
        """Register and offset to load from or store to, `offset` bytes on."""
        base = low.scratch if self.base is None else self.base
        offset += self.offset
        return (low.b.emit("add", base, offset), 0) if offset > _FAR else (base, offset)


def is_object(t: Type) -> bool:
    return isinstance(unqualified(t), (Struct, Array))


# ---- where an object is


def root(low: Lowering, e: typed.Var | typed.Assoc, write: bool) -> tuple[Reg, int, Origin]:
    """The memory of a variable that is an object: as lower_expr.place has it.  `write`: it is
    made if it is not there."""
    var = e.var
    size = var.type.size
    if var.scope == "global" and var.keys is None:
        base = low.globals_at(low.storage.globals[var])
        return base, 0, Origin(0, size, base, True)
    if var.scope == "this":
        at = this_object(low, var)
        return low.scratch_at(at), 0, Origin(at, size, None, True)
    found = _element(low, var, e.keys if isinstance(e, typed.Assoc) else (), write)
    return found, 0, Origin(0, size, found, True)


def this_object(low: Lowering, var: typed.Variable) -> int:
    """Offset in scratch memory of a clause-local object."""
    known = low.this_objects.get(var.name)
    if known is None:
        size = variable_size(var, low.options)
        known = low.this_objects[var.name] = (low.scratch_alloc(size), size)
    return known[0]


def _element(low: Lowering, var: typed.Variable, keys: tuple[typed.TExpr, ...], write: bool) -> Reg:
    """Pointer to a variable's element in its map; to zeroes, or a new one, where there is none."""
    b = low.b
    size = variable_size(var, low.options)
    table = MapRef(Storage.map_name(var))
    key = lower_var.variable_key(low, var, keys)
    zeroes = low.storage.zeroes(size)
    found = b.reg()
    b.set(found, "call", "map_lookup_elem", table, key)
    missing, there = b.label("missing"), b.label("object")
    b.br("eq", found, 0, missing, there)
    b.start(missing)
    if write:
        b.call("map_update_elem", table, key, b.emit("value", "constants", zeroes), 1)  # BPF_NOEXIST
        b.set(found, "call", "map_lookup_elem", table, key)
        full = b.label("full")
        b.br("eq", found, 0, full, there)
        b.start(full)
        low.count(DYN_DROPS)
        b.set(found, "add", low.scratch, low.scratch_temporary(size))  # written in vain
    else:
        b.set(found, "value", "constants", zeroes)
    b.jmp(there)
    b.start(there)
    return found


def indexed(low: Lowering, e: typed.Binary, write: bool) -> tuple[int, int, Origin | None]:
    """What a pointer plus or minus a number known only when it runs points to; as lower_expr.place.
    An index outside a variable is a fault."""
    b = low.b
    base, offset, origin = lower_expr.place(low, e.left, write)
    index = lower_expr.scalar(low, e.right)
    if origin is None or not origin.variable:
        moved = b.emit("add" if e.op == "+" else "sub", lower_expr.number(low, base, origin is not None), index)
        return moved, offset, None
    if e.op == "-":
        index = b.emit("neg", index)
    pointee = unqualified(e.type)
    size = max(1, pointee.to.size) if isinstance(pointee, Pointer) else 1
    whole = origin.size
    array = e.left.place.type if isinstance(e.left, typed.AddrOf) else None
    if isinstance(unqualified(array) if array else None, Array) and array is not None and array.size:
        whole = array.size
    elif offset:
        index, offset = b.emit("add", index, offset), 0
    if whole < size:
        return lower_expr.plus(low, lower_expr.number(low, base, True), offset), 0, None
    reg, at = origin.reach(low, offset)
    start = lower_expr.plus_reg(low, reg, at)
    low.fault_if("ugt", index, whole - size, BADADDR, lambda: b.emit("add", lower_expr.number(low, start, True), index))
    pointer = b.emit("at", start, index, whole - size)
    return pointer, 0, Origin(0, size, pointer, True)


def place(low: Lowering, e: typed.TExpr, write: bool = False) -> tuple[int, int, Origin | None]:
    """Where the object is that an expression of struct or union type gives; as lower_expr.place."""
    if isinstance(e, typed.Mem):
        base, offset, origin = lower_expr.place(low, e.base, write)
        return base, offset + e.offset, origin
    if isinstance(e, (typed.Var, typed.Assoc)):
        return root(low, e, write)
    if isinstance(e, typed.Comma):
        lower_expr.effect(low, e.left)
        return place(low, e.right)
    if isinstance(e, typed.Let):
        lower_expr.bind(low, e)
        return place(low, e.body)
    at = low.scratch_for_clause(e.type.size)
    if isinstance(e, typed.Cond):
        lower_text.either(low, e, lambda side: copy_to(low, side, low.scratch, at))
    elif isinstance(e, typed.Assign):
        copy_to(low, e.value, low.scratch, at)
        _store(low, e.place, at)
    else:
        raise low.unsupported(f"a value of type {e.type} from this expression", e.span)
    return low.scratch_at(at), 0, Origin(at, e.type.size)


# ---- assigning objects


def assign(low: Lowering, e: typed.Assign) -> None:
    """place = value, of one struct or union type."""
    target = e.place
    inner = _element_of_map(target)
    if isinstance(e.value, typed.Const):
        _clear(low, target, inner)
        return
    if inner is not None:
        at = low.scratch_temporary(e.type.size)
        copy_to(low, e.value, low.scratch, at)
        _store(low, target, at)
        return
    pointer, offset = writable_place(low, target)
    copy_to(low, e.value, pointer, offset)


def _clear(low: Lowering, target: typed.TExpr, inner: typed.Var | typed.Assoc | None) -> None:
    """Assign 0: the object's bytes; an element's storage is given back."""
    if inner is not None:
        key = lower_var.variable_key(low, inner.var, inner.keys if isinstance(inner, typed.Assoc) else ())
        low.b.call("map_delete_elem", MapRef(Storage.map_name(inner.var)), key)
    elif target.type.size:
        pointer, offset = writable_place(low, target)
        lower_text.zero(low, pointer, offset, target.type.size)


def _element_of_map(target: typed.TExpr) -> typed.Var | typed.Assoc | None:
    """The variable that a place is the whole of, where that lies in a map of its own."""
    if isinstance(target, typed.Mem) and isinstance(target.base, typed.AddrOf) and not target.offset:
        inner = target.base.place
        if isinstance(inner, (typed.Var, typed.Assoc)) and (inner.var.keys is not None or inner.var.scope == "self"):
            return inner if inner.type.size == target.type.size else None
    return None


def _store(low: Lowering, target: typed.TExpr, at: int) -> None:
    """Assign the object at an offset in scratch memory."""
    inner = _element_of_map(target)
    if inner is not None:
        key = lower_var.variable_key(low, inner.var, inner.keys if isinstance(inner, typed.Assoc) else ())
        lower_var.update(low, Storage.map_name(inner.var), key, low.scratch_at(at))
        return
    pointer, offset = writable_place(low, target)
    _copy(low, pointer, offset, low.scratch, at, target.type.size)


def writable_place(low: Lowering, target: typed.TExpr) -> tuple[Reg, int]:
    """Register and offset of a place in memory that is to be written as a whole."""
    base, offset, origin = place(low, target, True)
    if origin is not None and origin.holds(offset, target.type.size):
        return origin.reach(low, offset)
    return writable(low, base, offset, target.type.size, origin), 0


def copy_to(low: Lowering, e: typed.TExpr, pointer: Reg, offset: int) -> None:
    """Copy the object an expression gives to `pointer + offset`."""
    size = e.type.size
    if not size:
        return
    base, at, origin = place(low, e)
    if origin is not None and origin.holds(at, size) and size <= _COPIED:
        source, at = origin.reach(low, at)
        low.b.emit("copy", pointer, offset, source, at, size)
        return
    address = lower_expr.plus(low, base, at)
    result = low.b.call("probe_read_kernel", lower_expr.plus_reg(low, pointer, offset), size, address)
    low.fault_if("ne", result, 0, BADADDR, address)


def _copy(low: Lowering, pointer: Reg, offset: int, source: Reg, at: int, size: int) -> None:
    if size <= _COPIED:
        low.b.emit("copy", pointer, offset, source, at, size)
    else:
        target, source = lower_expr.plus_reg(low, pointer, offset), lower_expr.plus_reg(low, source, at)
        low.b.call("probe_read_kernel", target, size, source)


# ---- writing through pointers


def writable(low: Lowering, base: int, offset: int, size: int, origin: Origin | None) -> Reg:
    """A pointer the verifier knows to where `base + offset` (lower_expr.place) points, if a script may
    write `size` bytes there; else a fault."""
    b = low.b
    address = lower_expr.plus(low, lower_expr.number(low, base, origin is not None), offset)
    start = lower_expr.number(low, low.scratch, True)
    inside = b.emit("sub", address, start)
    most = low.scratch_used - size  # what is allocated behind this cannot be pointed to here
    if most < 0:
        low.scratch_alloc(-most)
        most = low.scratch_used - size
    if not low.storage.has_global_objects:
        low.fault_if("ugt", inside, most, BADADDR, address)
        return b.emit("at", low.scratch, inside, most)
    found = b.reg()
    scratch, elsewhere, done = b.label("in_scratch"), b.label("in_globals"), b.label("writable")
    b.br("ule", inside, most, scratch, elsewhere)
    b.start(elsewhere)
    variables = low.globals_at(GLOBALS_START)
    inside_globals = b.emit("sub", address, lower_expr.number(low, variables, True))
    most_globals = low.storage.globals_size - GLOBALS_START - size
    if most_globals >= 0:
        low.fault_if("ugt", inside_globals, most_globals, BADADDR, address)
        b.set(found, "at", variables, inside_globals, most_globals)
        b.jmp(done)
    else:
        low.fault_if("eq", b.const(0), 0, BADADDR, address)
        b.set(found, "mov", low.scratch)
        b.jmp(done)
    b.start(scratch)
    b.set(found, "at", low.scratch, inside, most)
    b.jmp(done)
    b.start(done)
    return found
