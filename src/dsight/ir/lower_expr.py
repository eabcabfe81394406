"""Scalars: typed expressions to registers or constants.

A value in a register is always in range of its type: sign- or zero-extended to
64 bits.  Constants stay Python ints (signed 64-bit) so that they fold.
"""

from __future__ import annotations

from dsight.ir import lower_call, lower_text
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import DYN_DROPS, WALL_OFFSET, Storage, int_signed, int_size
from dsight.lang import typed
from dsight.lang.types import String, Type, unqualified
from dsight.record import BADADDR, DIVZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.ir.lower import Lowering


class Origin:
    """What is known of a pointer: it points `offset` bytes into a constant part of this
    program's scratch memory that has `size` bytes left from there."""

    __slots__ = ("offset", "size")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size


_SIGNED = {"<": "slt", "<=": "sle", ">": "sgt", ">=": "sge", "==": "eq", "!=": "ne"}
_UNSIGNED = {"<": "ult", "<=": "ule", ">": "ugt", ">=": "uge", "==": "eq", "!=": "ne"}
_SIMPLE = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}


def signed64(value: int) -> int:
    """Any integer as the signed 64-bit number with the same low bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def normalise(low: Lowering, value: int, t: Type) -> int:
    """Bring a 64-bit value into range of a scalar type."""
    size, signed = int_size(t), int_signed(t)
    if isinstance(value, Reg):
        if size >= 8:
            return value
        return low.b.emit("sext" if signed else "zext", value, size * 8)
    bits = size * 8
    value &= (1 << bits) - 1
    return signed64(value - (1 << bits) if signed and value >> (bits - 1) else value)


def fits(source: Type, target: Type) -> bool:
    """Whether every value of one scalar type, as it stands in a register, is one of the other."""
    s, t = int_size(source), int_size(target)
    if t >= 8:
        return True
    if int_signed(source) == int_signed(target):
        return s <= t
    return not int_signed(source) and s < t


def scalar(low: Lowering, e: typed.TExpr) -> int:
    """Evaluate a scalar expression."""
    before = low.b.span
    low.b.span = e.span
    value = _RULES[type(e)](low, e)
    low.b.span = before
    return value


def effect(low: Lowering, e: typed.TExpr) -> None:
    """Evaluate for the side effects alone; the type may be anything."""
    if isinstance(unqualified(e.type), String) and not isinstance(e, (typed.Assign, typed.Comma, typed.Let)):
        lower_text.address(low, e)
    elif isinstance(e, typed.Comma):
        effect(low, e.left)
        effect(low, e.right)
    elif isinstance(e, typed.Assign):
        assign(low, e)
    else:
        scalar(low, e)


def branch(low: Lowering, e: typed.TExpr, then: str, other: str) -> None:
    """Go to one of two blocks by the truth of a scalar."""
    b = low.b
    b.span = e.span
    if isinstance(e, typed.Binary) and e.op in ("&&", "||"):
        middle = b.label("and" if e.op == "&&" else "or")
        if e.op == "&&":
            branch(low, e.left, middle, other)
        else:
            branch(low, e.left, then, middle)
        before = low.fork()
        b.start(middle)
        branch(low, e.right, then, other)
        low.join(before)
    elif isinstance(e, typed.Unary) and e.op == "!":
        branch(low, e.operand, other, then)
    elif isinstance(e, typed.Binary) and e.op in _SIGNED:
        left, right = scalar(low, e.left), scalar(low, e.right)
        conditions = _SIGNED if int_signed(e.left.type) else _UNSIGNED
        b.br(conditions[e.op], left, right, then, other)
    elif isinstance(e, typed.Convert) and int_size(e.type) >= int_size(e.operand.type):
        branch(low, e.operand, then, other)
    elif isinstance(e, typed.StrCompare):
        lower_text.compare_branch(low, e, then, other)
    else:
        b.br("ne", scalar(low, e), 0, then, other)


def _truth(low: Lowering, e: typed.TExpr) -> int:
    """A condition as 0 or 1."""
    b = low.b
    yes, done = b.label("true"), b.label("truth")
    no = b.label("false")
    result = b.reg()
    before = low.fork()
    branch(low, e, yes, no)
    b.start(yes)
    b.set(result, "mov", 1)
    b.jmp(done)
    b.start(no)
    b.set(result, "mov", 0)
    b.jmp(done)
    b.start(done)
    low.join(before)
    return result


# ---- one rule for each node


def _const(low: Lowering, e: typed.Const) -> int:
    return signed64(e.value)


def _binary(low: Lowering, e: typed.Binary) -> int:
    if e.op in ("&&", "||"):
        return _truth(low, e)
    if e.op == "^^":
        left, right = _boolean(low, e.left), _boolean(low, e.right)
        return low.b.emit("xor", left, right)
    left, right = scalar(low, e.left), scalar(low, e.right)
    if e.op in _SIGNED:
        conditions = _SIGNED if int_signed(e.left.type) else _UNSIGNED
        return low.b.emit("set", conditions[e.op], left, right)
    return arithmetic(low, e.op, left, right, e.type)


def _boolean(low: Lowering, e: typed.TExpr) -> int:
    if isinstance(e, typed.StrCompare) or (isinstance(e, typed.Binary) and e.op in ("&&", "||")):
        return scalar(low, e)
    return low.b.emit("set", "ne", scalar(low, e), 0)


def arithmetic(low: Lowering, op: str, left: int, right: int, t: Type) -> int:
    """left op right, both in range of the type; the result too."""
    b = low.b
    signed = int_signed(t)
    if op in _SIMPLE:
        return normalise(low, b.emit(_SIMPLE[op], left, right), t)
    if op in ("/", "%"):
        if isinstance(right, Reg) or right == 0:
            low.fault_if("eq", right, 0, DIVZERO)
        name = ("s" if signed else "u") + ("div" if op == "/" else "mod")
        return normalise(low, b.emit(name, left, right), t)
    if op == "<<":
        return normalise(low, b.emit("shl", left, right), t)
    assert op == ">>", op
    return normalise(low, b.emit("sar" if signed else "shr", left, right), t)


def _unary(low: Lowering, e: typed.Unary) -> int:
    if e.op == "!":
        return _truth(low, e)
    value = scalar(low, e.operand)
    return normalise(low, low.b.emit("neg" if e.op == "-" else "not", value), e.type)


def _convert(low: Lowering, e: typed.Convert) -> int:
    value = scalar(low, e.operand)
    if fits(e.operand.type, e.type):
        return value
    return normalise(low, value, e.type)


def _cond(low: Lowering, e: typed.Cond) -> int:
    b = low.b
    then, other, done = b.label("then"), b.label("else"), b.label("cond")
    result = b.reg()
    before = low.fork()
    branch(low, e.test, then, other)
    middle = low.fork()
    b.start(then)
    b.set(result, "mov", scalar(low, e.then))
    b.jmp(done)
    low.known = middle
    b.start(other)
    b.set(result, "mov", scalar(low, e.other))
    b.jmp(done)
    b.start(done)
    low.join(before)
    return result


def _comma(low: Lowering, e: typed.Comma) -> int:
    effect(low, e.left)
    return scalar(low, e.right)


def _let(low: Lowering, e: typed.Let) -> int:
    bind(low, e)
    return scalar(low, e.body)


def bind(low: Lowering, e: typed.Let) -> None:
    """Evaluate a Let's value; its body may follow."""
    low.temps[e.id] = scalar(low, e.value)


def _temp(low: Lowering, e: typed.Temp) -> int:
    return low.temps[e.id]


def _str_compare(low: Lowering, e: typed.StrCompare) -> int:
    return _truth(low, e)


def _call(low: Lowering, e: typed.Call) -> int:
    return lower_call.call(low, e)


# ---- memory


def place(low: Lowering, e: typed.TExpr) -> tuple[int, int, Origin | None]:
    """The address of what a pointer expression points to: base, constant offset, and what is
    known of the base."""
    if isinstance(e, typed.Binary) and e.op in "+-" and isinstance(e.right, typed.Const):
        base, offset, origin = place(low, e.left)
        return base, offset + (e.right.value if e.op == "+" else -e.right.value), origin
    if isinstance(e, typed.AddrOf) and isinstance(e.place, typed.Mem):
        base, offset, origin = place(low, e.place.base)
        return base, offset + e.place.offset, origin
    if isinstance(e, typed.Convert) and int_size(e.operand.type) == 8:
        return place(low, e.operand)
    value = scalar(low, e)
    return value, 0, low.origins.get(int(value)) if isinstance(value, Reg) else None


def plus(low: Lowering, base: int, offset: int) -> int:
    if not isinstance(base, Reg):
        return signed64(base + offset)
    return low.b.emit("add", base, offset) if offset else base


def plus_reg(low: Lowering, base: Reg, offset: int) -> Reg:
    """A pointer some bytes on."""
    return low.b.emit("add", base, offset) if offset else base


def _mem(low: Lowering, e: typed.Mem) -> int:
    base, offset, origin = place(low, e.base)
    offset += e.offset
    if e.bits:
        return _bit_field(low, e, base, offset, origin)
    size = int_size(e.type)
    value = load_kernel(low, base, offset, size, origin)
    return low.b.emit("sext", value, size * 8) if int_signed(e.type) and size < 8 else value


def load_kernel(low: Lowering, base: int, offset: int, size: int, origin: Origin | None) -> Reg:
    """Load `size` bytes, zero-extended: directly where the verifier knows the memory, else by
    probe_read_kernel, which faults where there is nothing."""
    b = low.b
    if origin is not None and offset >= 0 and offset + size <= origin.size:
        return b.load(low.scratch, origin.offset + offset, size)
    address = plus(low, base, offset)
    slot = b.slot_addr(b.shared_slot("read", 8))
    result = b.call("probe_read_kernel", slot, size, address)
    low.fault_if("ne", result, 0, BADADDR, address)
    return b.load(slot, 0, size)


def _bit_field(low: Lowering, e: typed.Mem, base: int, offset: int, origin: Origin | None) -> int:
    """Little-endian bit-fields: bit 0 is the lowest of the first byte (System V ABI)."""
    b = low.b
    offset += e.bit // 8
    bit = e.bit % 8
    size = next(n for n in (1, 2, 4, 8, 16) if n * 8 >= bit + e.bits)
    if size == 16:
        raise low.unsupported("a bit-field that spans more than 8 bytes", e.span)
    value = b.emit("shl", load_kernel(low, base, offset, size, origin), 64 - bit - e.bits)
    return b.emit("sar" if int_signed(e.type) else "shr", value, 64 - e.bits)


def _addr_of(low: Lowering, e: typed.AddrOf) -> int:
    if isinstance(e.place, typed.Mem):
        base, offset, origin = place(low, e)
        address = plus(low, base, offset)
        if origin is not None and isinstance(address, Reg) and 0 <= offset < origin.size:
            low.origins[int(address)] = Origin(origin.offset + offset, origin.size - offset)
        return address
    if isinstance(e.place, typed.Var) and e.place.var.scope == "global":
        return low.globals_at(low.storage.globals[e.place.var])
    raise low.unsupported("the address of this variable", e.span)


# ---- variables


def _var(low: Lowering, e: typed.Var) -> int:
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
    return _look_up(low, var, ())


def _this_reg(low: Lowering, var: typed.Variable) -> Reg:
    """The register of a clause-local variable: all clauses of a firing share it."""
    reg = low.this.get(var.name)
    if reg is None:
        reg = low.this[var.name] = low.b.reg()
    return reg


def _assoc(low: Lowering, e: typed.Assoc) -> int:
    return _look_up(low, e.var, e.keys)


def variable_key(low: Lowering, var: typed.Variable, keys: tuple[typed.TExpr, ...]) -> Reg:
    """Pointer to the key of a variable's map: the thread for self->, then the tuple."""
    b = low.b
    fields, size = low.storage.key_layout(var)
    pointer, offset = low.buffer("key", size)
    if offset:
        pointer = b.emit("add", pointer, offset)
    if var.scope == "self":
        b.store(pointer, 0, 8, builtin(low, "pid_tgid"))
    lower_text.write_tuple(low, pointer, 0, fields, keys, size)
    return pointer


def _look_up(low: Lowering, var: typed.Variable, keys: tuple[typed.TExpr, ...]) -> int:
    """A scalar from a variable's map; 0 where there is none."""
    b = low.b
    found = b.call("map_lookup_elem", MapRef(Storage.map_name(var)), variable_key(low, var, keys))
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
    value = scalar(low, e.value)
    if e.op:
        t = e.arith or e.type
        old = scalar(low, target)
        if not fits(e.type, t):
            old = normalise(low, old, t)
        value = normalise(low, arithmetic(low, e.op, old, value, t), e.type)
    store(low, target, value)
    return value


def _inc_dec(low: Lowering, e: typed.IncDec) -> int:
    old = scalar(low, e.place)
    new = normalise(low, low.b.emit("add", old, e.delta), e.type)
    store(low, e.place, new)
    return old if e.post else new


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
            _store_map(low, var, (), value)
        low.known[var] = value
    elif isinstance(target, typed.Assoc):
        _store_map(low, target.var, target.keys, value)
    elif isinstance(target, typed.Mem):
        _store_mem(low, target, value)
    else:
        raise low.unsupported("assigning to this", target.span)


def _store_map(low: Lowering, var: typed.Variable, keys: tuple[typed.TExpr, ...], value: int) -> None:
    """Zero gives the storage back (Dynamic Tracing Guide, Associative Arrays)."""
    b = low.b
    key = variable_key(low, var, keys)
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


def _store_mem(low: Lowering, target: typed.Mem, value: int) -> None:
    """Only scratch memory may be written."""
    _, offset, origin = place(low, target.base)
    offset += target.offset
    size = int_size(target.type)
    if target.bits or origin is None or offset < 0 or offset + size > origin.size:
        raise low.unsupported("writing through this pointer", target.span)
    low.b.store(low.scratch, origin.offset + offset, size, value)


# ---- built-in variables


def cpu(low: Lowering) -> int:
    return builtin(low, "cpu")


def builtin(low: Lowering, name: str) -> int:
    """The value of a scalar built-in variable, worked out once where that holds."""
    if low.error_args is not None and name in ("probeprov", "probemod", "probefunc", "probename"):
        return low.probe
    value = low.known.get(name)
    if value is None:
        value = low.known[name] = _compute(low, name)
    return value


def _compute(low: Lowering, name: str) -> int:
    b = low.b
    if name == "pid_tgid":
        return b.call("get_current_pid_tgid")
    if name == "uid_gid":
        return b.call("get_current_uid_gid")
    if name == "pid":
        return b.emit("shr", builtin(low, "pid_tgid"), 32)
    if name == "tid":
        return b.emit("zext", builtin(low, "pid_tgid"), 32)
    if name == "uid":
        return b.emit("zext", builtin(low, "uid_gid"), 32)
    if name == "gid":
        return b.emit("shr", builtin(low, "uid_gid"), 32)
    if name == "cpu":
        return b.call("get_smp_processor_id")
    if name == "timestamp":
        return b.call("ktime_get_ns")
    if name == "walltimestamp":
        offset = b.load(low.globals_at(WALL_OFFSET), 0, 8)
        return b.emit("add", builtin(low, "timestamp"), offset)
    if name == "curthread":
        return b.call("get_current_task")
    if name == "id":
        return low.probe
    if name == "epid":
        assert low.clause is not None
        return low.clause.index + 1
    if name == "ipl":
        return 0
    if name == "errno":
        return _errno(low)
    if name in _FRAMES:
        return _frames(low, name)
    raise low.unsupported(f"the built-in variable {name}", low.b.span)


_USER_STACK = 1 << 8  # BPF_F_USER_STACK
_FRAMES = {"caller": 0, "stackdepth": 0, "ucaller": _USER_STACK, "ustackdepth": _USER_STACK}
_MOST_FRAMES = 127  # PERF_MAX_STACK_DEPTH


def _frames(low: Lowering, name: str) -> int:
    """How deep the kernel's or the user's stack is, or the second frame of it; 0 where there is none."""
    b = low.b
    frames = 2 if name.endswith("caller") else _MOST_FRAMES
    offset = low.scratch_alloc(8 * frames)
    flags = _FRAMES[name]
    length = b.call("get_stack", b.emit("ctx"), plus_reg(low, low.scratch, offset), 8 * frames, flags)
    least = 16 if name.endswith("caller") else 1
    result = b.reg()
    some, done = b.label("frames"), b.label("frames_done")
    b.set(result, "mov", 0)
    b.br("sge", length, least, some, done)
    b.start(some)
    if name.endswith("caller"):
        b.set(result, "load", low.scratch, offset + 8, 8)
    else:
        b.set(result, "shr", length, 3)
    b.jmp(done)
    b.start(done)
    return result


def _errno(low: Lowering) -> int:
    """The errno of the system call that returns: its result in -4095..-1, negated; else 0."""
    b = low.b
    if low.unit.entry.errno_arg < 0:
        return 0
    result = b.reg()
    value = argument(low, low.unit.entry.errno_arg)
    failed, done = b.label("failed"), b.label("errno")
    b.set(result, "mov", 0)
    b.br("ugt", value, -4096, failed, done)
    b.start(failed)
    b.set(result, "neg", value)
    b.jmp(done)
    b.start(done)
    return result


def _builtin(low: Lowering, e: typed.Builtin) -> int:
    return builtin(low, e.name)


def _arg(low: Lowering, e: typed.Arg) -> int:
    value = argument(low, e.index)
    return value if int_size(e.type) >= 8 else normalise(low, value, e.type)


def argument(low: Lowering, index: int) -> int:
    """Raw argument of the probe, 64 bits."""
    if low.error_args is not None:
        return low.error_args[index] if index < len(low.error_args) else 0
    value = low.known.get(("arg", index))
    if value is None:
        value = low.known["arg", index] = _load_argument(low, index)
    return value


def _load_argument(low: Lowering, index: int) -> int:
    b, entry = low.b, low.unit.entry
    if entry.args == "pc":
        return _program_counter(low, index)
    if index >= len(entry.offsets):
        return 0
    if entry.args == "consts":
        return entry.offsets[index]
    base = b.emit("ctx")
    if entry.args == "regs":
        base = b.load(base, entry.base, 8)
    return b.load(base, entry.offsets[index], 8)


def _program_counter(low: Lowering, index: int) -> int:
    """profile: arg0 the kernel's program counter or 0, arg1 the user's or 0."""
    b, entry = low.b, low.unit.entry
    if index > 1:
        return 0
    ctx = b.emit("ctx")
    ip, mode = b.load(ctx, entry.offsets[0], 8), b.load(ctx, entry.offsets[1], 8)
    result = b.reg()
    keep, done = b.label("pc"), b.label("pc_known")
    b.set(result, "mov", 0)
    user = b.emit("and", mode, entry.base)
    b.br("ne" if index else "eq", user, 0, keep, done)
    b.start(keep)
    b.set(result, "mov", ip)
    b.jmp(done)
    b.start(done)
    return result


def look_up_probe(low: Lowering) -> int:
    """The probe's id from the unit's table; leaves the program where it is not enabled."""
    b, entry = low.b, low.unit.entry
    base = b.emit("ctx")
    if entry.number_in_regs:
        base = b.load(base, entry.base, 8)
    number = b.load(base, entry.number, 8)
    small = b.label("number")
    b.br("ult", number, entry.table_size, small, low.out)
    b.start(small)
    index = b.emit("shl", b.emit("and", number, entry.table_size - 1), 2)
    probe = b.load(b.emit("add", b.emit("value", entry.table, 0), index), 0, 4)
    enabled = b.label("enabled")
    b.br("ne", probe, 0, enabled, low.out)
    b.start(enabled)
    return probe


_RULES: dict[type[typed.TExpr], Callable[[Lowering, Any], int]] = {
    typed.Const: _const,
    typed.Builtin: _builtin,
    typed.Arg: _arg,
    typed.Var: _var,
    typed.Assoc: _assoc,
    typed.Mem: _mem,
    typed.AddrOf: _addr_of,
    typed.Unary: _unary,
    typed.Binary: _binary,
    typed.StrCompare: _str_compare,
    typed.Cond: _cond,
    typed.Comma: _comma,
    typed.Convert: _convert,
    typed.Assign: assign,
    typed.IncDec: _inc_dec,
    typed.Call: _call,
    typed.Let: _let,
    typed.Temp: _temp,
}
