"""Strings, addresses still to be written as text (Inet), and tuples.

A string is memory.  The rules write it where it is wanted (`string_to`: a record's
field, a key, a variable) so that it is copied once; `address` gives the memory
of one that already has some.  Invariant: what string_to writes ends with a NUL
within its room.  Bytes after the NUL are whatever was there: a key's are zeroed before.
"""

from __future__ import annotations

from dsight.ir import lower_call, lower_expr, lower_memory, lower_object, lower_stack, lower_var
from dsight.ir.maps import NAME_SIZE
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import PART_NUMBERS, Storage, round8, string_size, tracemem_size
from dsight.lang import typed
from dsight.lang.types import Array, Inet, String, unqualified
from dsight.record import BADADDR, INET_SIZE, Field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering

AF_INET, AF_INET6 = 2, 10


# ---- fields


def write_tuple(
    low: Lowering, pointer: Reg, base: int, fields: tuple[Field, ...], values: tuple[typed.TExpr, ...], size: int
) -> None:
    """Write a tuple at `pointer + base`; every byte up to `size` is determined: equal tuples are
    equal memory."""
    if not fields:
        return
    start = fields[0].offset
    if sum(f.size for f in fields if f.kind in "iun" or f.is_code) < size - start:
        zero(low, pointer, base + start, size - start)
    for f, value in zip(fields, values):
        write_field(low, pointer, base + f.offset, f, value)


def zero(low: Lowering, pointer: Reg, offset: int, size: int) -> None:
    """Zero bytes; large memory by copying zeroes."""
    if size <= 256:
        low.b.emit("zero", pointer, offset, size)
    else:
        zeroes = low.b.emit("value", "constants", low.storage.zeroes(size))
        low.b.call("probe_read_kernel", lower_expr.plus_reg(low, pointer, offset), size, zeroes)


def write_field(low: Lowering, pointer: Reg, offset: int, f: Field, value: typed.TExpr) -> None:
    """Write one value where record.Field says."""
    if f.kind in "iu":
        low.b.store(pointer, offset, f.size, lower_expr.scalar(low, value))
    elif f.kind == "s":
        string_to(low, value, pointer, offset, f.size)
    elif f.kind == "inet":
        inet_to(low, value, pointer, offset)
    elif f.is_code:
        lower_stack.write(low, pointer, offset, f, value)
    else:
        assert f.kind == "n", f.kind
        low.b.store(pointer, offset, 4, low.probe)


# ---- strings


def string_to(low: Lowering, e: typed.TExpr, pointer: Reg, offset: int, size: int) -> None:
    """Write a string into `size` bytes at `pointer + offset`, cut to fit."""
    b = low.b
    b.span = e.span
    if isinstance(e, typed.Str):
        _literal_to(low, e.value, pointer, offset, size)
    elif isinstance(e, typed.Builtin):
        _builtin_to(low, e, pointer, offset, size)
    elif isinstance(e, typed.Cond):
        either(low, e, lambda side: string_to(low, side, pointer, offset, size))
    elif isinstance(e, typed.Comma):
        lower_expr.effect(low, e.left)
        string_to(low, e.right, pointer, offset, size)
    elif isinstance(e, typed.Let):
        lower_expr.bind(low, e)
        string_to(low, e.body, pointer, offset, size)
    elif isinstance(e, typed.ToString):
        _kernel_string_to(low, e, pointer, offset, size)
    elif isinstance(unqualified(e.type), Inet):
        from dsight.ir.lower_inet import text_to

        text_to(low, e, pointer, offset, size)
    elif isinstance(e, (typed.Convert, typed.Assign)):
        if isinstance(e, typed.Assign):
            assign(low, e)
        string_to(low, e.place if isinstance(e, typed.Assign) else e.operand, pointer, offset, size)
    elif isinstance(e, (typed.Var, typed.Assoc)):
        _variable_to(low, e, pointer, offset, size)
    elif isinstance(e, typed.Mem):  # a member of a struct
        base, at, _ = lower_object.place(low, e)
        source = lower_expr.plus(low, base, at)
        _read_string(low, "probe_read_kernel_str", pointer, offset, min(size, e.type.size), source)
    elif isinstance(e, typed.Call):
        lower_call.string_to(low, e, pointer, offset, size)
    else:
        raise low.unsupported("a string from this expression", e.span)


def address(low: Lowering, e: typed.TExpr) -> tuple[Reg, int, int]:
    """Memory that holds a string: pointer, offset behind it, and the size that may be read."""
    if isinstance(e, typed.Str):
        data = e.value + b"\0"
        return low.constant_at(data), 0, len(data)
    if isinstance(e, typed.Var) and e.var.scope == "global":
        size = room(low, e)
        return low.globals_at(low.storage.globals[e.var]), 0, size
    size = 16 if isinstance(e, typed.Builtin) and e.name == "execname" else room(low, e)
    pointer, offset = low.buffer("text", size)
    if offset == 0 and pointer is not low.scratch:
        zero(low, pointer, 0, round8(size))  # the verifier wants stack bytes written before they are read
    string_to(low, e, pointer, offset, size)
    return pointer, offset, size


def room(low: Lowering, e: typed.TExpr) -> int:
    t = unqualified(e.type)
    assert isinstance(t, String), t
    return string_size(t, low.options)


def _literal_to(low: Lowering, text: bytes, pointer: Reg, offset: int, size: int) -> None:
    data = text.split(b"\0", 1)[0][: size - 1] + b"\0"
    n = len(data)
    if n == 1:
        low.b.store(pointer, offset, 1, 0)
    elif n <= 256:
        low.b.emit("copy", pointer, offset, low.constant_at(data), 0, n)
    else:
        low.b.call("probe_read_kernel", lower_expr.plus_reg(low, pointer, offset), n, low.constant_at(data))


def _builtin_to(low: Lowering, e: typed.Builtin, pointer: Reg, offset: int, size: int) -> None:
    b = low.b
    if e.name == "execname":
        if size < 16:
            whole = b.slot_addr(b.slot("comm", 16))
            b.call("get_current_comm", whole, 16)
            _copy(low, pointer, offset, size, whole, 16)
        else:
            b.call("get_current_comm", lower_expr.plus_reg(low, pointer, offset), 16)
    elif e.name in PART_NUMBERS:
        part = PART_NUMBERS[e.name]
        if low.error_args is not None:
            _literal_to(low, ("dtrace", "", "", "ERROR")[part].encode(), pointer, offset, size)
        elif low.unit.names is not None:
            _literal_to(low, low.unit.names[part].encode(), pointer, offset, size)
        else:
            _probe_name_to(low, part, pointer, offset, size)
    else:
        raise low.unsupported(f"the built-in variable {e.name}", e.span)


def _probe_name_to(low: Lowering, part: int, pointer: Reg, offset: int, size: int) -> None:
    """A probe known only when it fires: its names are in a map by its id."""
    b = low.b
    key = b.slot_addr(b.slot("probe", 8))
    b.store(key, 0, 8, 0)
    b.store(key, 0, 4, low.probe)
    low.storage.uses_probe_names = True
    found = b.call("map_lookup_elem", MapRef("probe_names"), key)
    there, done, missing = b.label("named"), b.label("name_done"), b.label("nameless")
    b.br("eq", found, 0, missing, there)
    b.start(missing)
    b.store(pointer, offset, 1, 0)
    b.jmp(done)
    b.start(there)
    _copy(low, pointer, offset, size, b.emit("add", found, part * NAME_SIZE), NAME_SIZE)
    b.jmp(done)
    b.start(done)


def either(low: Lowering, e: typed.Cond, write: Callable[[typed.TExpr], None]) -> None:
    """Write one side or the other."""
    b = low.b
    then, other, done = b.label("then"), b.label("else"), b.label("cond")
    before = low.fork()
    lower_expr.branch(low, e.test, then, other)
    middle = low.fork()
    b.start(then)
    write(e.then)
    b.jmp(done)
    low.known, then_known = middle, low.known
    b.start(other)
    write(e.other)
    b.jmp(done)
    b.start(done)
    low.join(before, then_known)


def _kernel_string_to(low: Lowering, e: typed.ToString, pointer: Reg, offset: int, size: int) -> None:
    """stringof and the like: text in kernel (or scratch) memory, up to its NUL."""
    operand = e.operand
    if isinstance(operand, typed.Mem) and isinstance(unqualified(operand.type), Array):
        size = min(size, operand.type.size + 1 if operand.type.size else size)
        operand = typed.AddrOf(e.type, e.span, operand)
    base, at, _ = lower_expr.place(low, operand)
    source = lower_expr.plus(low, base, at)
    _read_string(low, "probe_read_kernel_str", pointer, offset, size, source)


def _read_string(low: Lowering, helper: str, pointer: Reg, offset: int, size: int, source: int) -> Reg:
    """Read a string by a helper; a bad address faults.  The helper's result: length, NUL included."""
    b = low.b
    result = b.call(helper, lower_expr.plus_reg(low, pointer, offset), size, source)
    low.fault_if("slt", result, 0, BADADDR, source)
    return result


read_string = _read_string


def _copy(low: Lowering, pointer: Reg, offset: int, size: int, source: Reg, source_size: int) -> None:
    """Copy a NUL-ended string between memories the verifier knows."""
    if source_size <= size and source_size <= 32:
        low.b.emit("copy", pointer, offset, source, 0, source_size)
    else:
        n = min(size, source_size)
        low.b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), n, source)


def _variable_to(low: Lowering, e: typed.Var | typed.Assoc, pointer: Reg, offset: int, size: int) -> None:
    """A string variable; "" where nothing was assigned."""
    b = low.b
    limit = room(low, e)
    if isinstance(e, typed.Var) and e.var.scope in ("global", "this"):
        _copy(low, pointer, offset, size, _own_memory(low, e.var), limit)
        return
    found = _find(low, e)
    there, done, missing = b.label("found"), b.label("text_done"), b.label("missing")
    b.br("eq", found, 0, missing, there)
    b.start(missing)
    b.store(pointer, offset, 1, 0)
    b.jmp(done)
    b.start(there)
    _copy(low, pointer, offset, size, found, limit)
    b.jmp(done)
    b.start(done)


def _find(low: Lowering, e: typed.Var | typed.Assoc) -> Reg:
    """Pointer to a variable's element in its map, 0 for none."""
    keys = e.keys if isinstance(e, typed.Assoc) else ()
    return low.b.call("map_lookup_elem", MapRef(Storage.map_name(e.var)), lower_var.variable_key(low, e.var, keys))


def _own_memory(low: Lowering, var: typed.Variable) -> Reg:
    """Memory of a global or clause-local variable that is not a scalar."""
    if var.scope == "global":
        return low.globals_at(low.storage.globals[var])
    at = low.this_buffers.get(var.name)
    if at is None:
        at = low.this_buffers[var.name] = low.scratch_alloc(_var_size(low, var))
    return low.scratch_at(at)


def _var_size(low: Lowering, var: typed.Variable) -> int:
    t = unqualified(var.type)
    assert isinstance(t, String)
    return INET_SIZE if isinstance(t, Inet) else string_size(t, low.options)


def assign(low: Lowering, e: typed.Assign) -> None:
    """Assign a string (or an Inet); 0 gives the storage back."""
    b = low.b
    target = e.place
    if isinstance(target, typed.Mem):  # a member of a struct
        pointer, offset = lower_object.writable_place(low, target)
        if isinstance(e.value, typed.Const):
            b.store(pointer, offset, 1, 0)
        else:
            string_to(low, e.value, pointer, offset, target.type.size)
        return
    if e.op or not isinstance(target, (typed.Var, typed.Assoc)):
        raise low.unsupported("this assignment to a string", e.span)
    var = target.var
    inet = isinstance(unqualified(var.type), Inet)
    in_map = var.keys is not None or var.scope == "self"
    nothing = isinstance(e.value, typed.Const)
    if in_map and nothing:
        keys = target.keys if isinstance(target, typed.Assoc) else ()
        b.call("map_delete_elem", MapRef(Storage.map_name(var)), lower_var.variable_key(low, var, keys))
        return
    size = _var_size(low, var)
    if in_map or not _at_once(e.value):
        pointer, offset = low.scratch, low.scratch_temporary(size)
    else:
        pointer, offset = _own_memory(low, var), 0
    if nothing:
        b.store(pointer, offset, 8, 0)
    elif inet:
        inet_to(low, e.value, pointer, offset)
    elif isinstance(e.value, (typed.Var, typed.Assoc)) and e.value.var == var and not in_map:
        pass  # itself
    else:
        string_to(low, e.value, pointer, offset, size)
    if not in_map and pointer is low.scratch:
        if inet:
            b.emit("copy", _own_memory(low, var), 0, pointer, offset, size)
        else:
            _copy(low, _own_memory(low, var), 0, size, lower_expr.plus_reg(low, pointer, offset), size)
    if in_map:
        keys = target.keys if isinstance(target, typed.Assoc) else ()
        key = lower_var.variable_key(low, var, keys)
        lower_var.update(low, Storage.map_name(var), key, lower_expr.plus_reg(low, pointer, offset))


def _at_once(e: typed.TExpr) -> bool:
    """Whether a variable may be written while its new value is worked out: that cannot fault
    halfway, which leaves a variable as it was, nor does it read the variable's old value."""
    if isinstance(e, (typed.Convert, typed.Cond)):
        parts = (e.operand,) if isinstance(e, typed.Convert) else (e.then, e.other)
        return all(_at_once(part) for part in parts)
    return isinstance(e, (typed.Const, typed.Str, typed.Builtin, typed.Var, typed.Assoc))


# ---- comparison


def compare_branch(low: Lowering, e: typed.StrCompare, then: str, other: str) -> None:
    """Go to one block or the other by comparing two strings."""
    b = low.b
    left, right, op = e.left, e.right, e.op
    if isinstance(left, typed.Str) and not isinstance(right, typed.Str):
        left, right = right, left
        op = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
    inets = [isinstance(unqualified(side.type), Inet) for side in (left, right)]
    if op in ("==", "!=") and (all(inets) or (inets[0] and isinstance(right, typed.Str) and right.value)):
        _compare_inet(low, op, left, right, then, other)
        return
    if isinstance(right, typed.Str) and op in ("==", "!=") and len(right.value) < 64:
        equal, unequal = (then, other) if op == "==" else (other, then)
        pointer, offset, size = address(low, left)
        data = right.value + b"\0"
        if len(data) > size:
            b.jmp(unequal)  # it cannot hold so long a text
        else:
            _compare_bytes(low, pointer, offset, data, equal, unequal)
        return
    p, p_at, p_size = address(low, left)
    q, q_at, q_size = address(low, right)
    p, q = lower_expr.plus_reg(low, p, p_at), lower_expr.plus_reg(low, q, q_at)
    most = round8(min(p_size, q_size))  # their memory goes on so far, behind a NUL at the latest
    if most <= 256:
        order = b.emit("strcmp", p, q, most)
    else:
        from dsight.ir.lower_strings import compare

        order = compare(low, p, q, p_size, q_size)
    condition = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}[op]
    b.br(condition, order, 0, then, other)


def _compare_bytes(low: Lowering, pointer: Reg, offset: int, data: bytes, equal: str, unequal: str) -> None:
    """Memory against constant bytes, a word at a time; neighbours in machine order."""
    b = low.b
    at = 0
    while at < len(data):
        size = next(n for n in (8, 4, 2, 1) if n <= len(data) - at)
        word = int.from_bytes(data[at : at + size], "little", signed=size == 8)
        at += size
        last = at == len(data)
        on = equal if last else b.label("same")
        b.br("eq", b.load(pointer, offset + at - size, size), word, on, unequal)
        if not last:
            b.start(on)


def _compare_inet(low: Lowering, op: str, left: typed.TExpr, right: typed.TExpr, then: str, other: str) -> None:
    """Two addresses, or one and a literal, are compared as bytes; a literal that is no address equals none."""
    b = low.b
    equal, unequal = (then, other) if op == "==" else (other, then)
    pointer, offset = low.buffer("inet", INET_SIZE)
    if isinstance(right, typed.Str):
        inet_to(low, left, pointer, offset)
        data = inet_bytes(right.value)
        if data is None:
            b.jmp(unequal)
        else:
            _compare_bytes(low, pointer, offset, data, equal, unequal)
        return
    inet_to(low, left, pointer, offset)
    pointer2, offset2 = low.buffer("inet", INET_SIZE)
    inet_to(low, right, pointer2, offset2)
    for at, size in ((0, 8), (8, 8), (16, 4)):
        on = b.label("same") if size == 8 else equal
        b.br("eq", b.load(pointer, offset + at, size), b.load(pointer2, offset2 + at, size), on, unequal)
        if size == 8:
            b.start(on)


def inet_bytes(text: bytes) -> bytes | None:
    """An address literal as record.INET_SIZE bytes; None if it is not one in the form printed."""
    import _socket

    for family in (AF_INET, AF_INET6):
        try:
            packed = _socket.inet_pton(family, text.decode("ascii"))
        except (OSError, UnicodeDecodeError):
            continue
        if _socket.inet_ntop(family, packed).encode() != text:
            return None
        return family.to_bytes(4, "little") + packed + bytes(16 - len(packed))
    return None


# ---- addresses


def inet_to(low: Lowering, e: typed.TExpr, pointer: Reg, offset: int) -> None:
    """Write an address as record.INET_SIZE bytes."""
    b = low.b
    b.span = e.span
    if isinstance(e, typed.Cond):
        either(low, e, lambda side: inet_to(low, side, pointer, offset))
    elif isinstance(e, typed.Comma):
        lower_expr.effect(low, e.left)
        inet_to(low, e.right, pointer, offset)
    elif isinstance(e, typed.Let):
        lower_expr.bind(low, e)
        inet_to(low, e.body, pointer, offset)
    elif isinstance(e, typed.Convert):
        inet_to(low, e.operand, pointer, offset)
    elif isinstance(e, typed.Call) and e.name in ("inet_ntoa", "inet_ntoa6"):
        _address_to(low, AF_INET if e.name == "inet_ntoa" else AF_INET6, e.args[0], pointer, offset)
    elif isinstance(e, typed.Call) and e.name == "inet_ntop":
        _inet_ntop_to(low, e, pointer, offset)
    elif isinstance(e, typed.Str) and not e.value:
        b.emit("zero", pointer, offset, INET_SIZE)
    elif isinstance(e, (typed.Var, typed.Assoc)) and isinstance(unqualified(e.type), Inet):
        _inet_variable_to(low, e, pointer, offset)
    else:
        raise low.unsupported("text where an address is kept", e.span)


def _inet_variable_to(low: Lowering, e: typed.Var | typed.Assoc, pointer: Reg, offset: int) -> None:
    b = low.b
    if isinstance(e, typed.Var) and e.var.scope in ("global", "this"):
        b.emit("copy", pointer, offset, _own_memory(low, e.var), 0, INET_SIZE)
        return
    found = _find(low, e)
    there, done, missing = b.label("found"), b.label("inet_done"), b.label("missing")
    b.br("eq", found, 0, missing, there)
    b.start(missing)
    b.emit("zero", pointer, offset, INET_SIZE)
    b.jmp(done)
    b.start(there)
    b.emit("copy", pointer, offset, found, 0, INET_SIZE)
    b.jmp(done)
    b.start(done)


def _inet_ntop_to(low: Lowering, e: typed.Call, pointer: Reg, offset: int) -> None:
    b = low.b
    family = lower_expr.scalar(low, e.args[0])
    if not isinstance(family, Reg):
        _address_to(low, family, e.args[1], pointer, offset)
        return
    four, six, done = b.label("inet4"), b.label("inet6"), b.label("inet_done")
    before = low.fork()
    b.br("eq", family, AF_INET6, six, four)
    b.start(six)
    _address_to(low, AF_INET6, e.args[1], pointer, offset)
    b.jmp(done)
    low.known, six_known = dict(before), low.known
    b.start(four)
    _address_to(low, AF_INET, e.args[1], pointer, offset)
    b.jmp(done)
    b.start(done)
    low.join(before, six_known)


def _address_to(low: Lowering, family: int, where: typed.TExpr, pointer: Reg, offset: int) -> None:
    """Family, then 4 or 16 bytes read from where the pointer says."""
    b = low.b
    base, at, origin = lower_expr.place(low, where)
    b.store(pointer, offset, 4, family)
    size = 16 if family == AF_INET6 else 4
    if size == 4:
        b.emit("zero", pointer, offset + 8, 12)
    if origin is not None and origin.holds(at, size):
        b.emit("copy", pointer, offset + 4, *origin.reach(low, at), size)
        return
    base = base if origin is None else lower_expr.number(low, base, True)
    lower_memory.copy(low, base, at, size, pointer, offset + 4)


__all__ = [
    "address", "assign", "compare_branch", "inet_bytes", "inet_to", "read_string", "string_to", "tracemem_size",
    "write_field", "write_tuple", "zero",
]  # fmt: skip
