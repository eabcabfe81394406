"""Scalars: typed expressions to registers or constants.

A value in a register is always in range of its type: sign- or zero-extended to
64 bits.  Constants stay Python ints (signed 64-bit) so that they fold.
"""

from __future__ import annotations

from dsight.ir import lower_builtin, lower_call, lower_memory, lower_object, lower_text, lower_var
from dsight.ir.ops import Reg
from dsight.ir.storage import int_signed, int_size
from dsight.lang import typed
from dsight.lang.types import BOOL, String, Type, unqualified
from dsight.record import DIVZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.ir.lower import Lowering
    from dsight.ir.lower_object import Origin


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
    if unqualified(t) == BOOL:
        return low.b.emit("set", "ne", value, 0) if isinstance(value, Reg) else int(value != 0)
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
    """Evaluate a scalar expression to a number."""
    return number(low, raw(low, e))


def raw(low: Lowering, e: typed.TExpr) -> int:
    """Evaluate a scalar expression.  The result may be a pointer the verifier knows (low.origins):
    fit to be stored, or to load from, not to compute with."""
    before = low.b.span
    low.b.span = e.span
    value = _RULES[type(e)](low, e)
    low.b.span = before
    return value


def number(low: Lowering, value: int, pointer: bool = False) -> int:
    """The value as a number.  With a pointer it knows (or `pointer` says it does) the verifier allows
    hardly any arithmetic; stored in a map and loaded again it is a number."""
    if not isinstance(value, Reg) or not (pointer or int(value) in low.origins):
        return value
    if low.number_at < 0:
        low.number_at = low.scratch_alloc(8)
    low.b.store(low.scratch, low.number_at, 8, value)
    return low.b.load(low.scratch, low.number_at, 8)


def effect(low: Lowering, e: typed.TExpr) -> None:
    """Evaluate for the side effects alone; the type may be anything."""
    if isinstance(unqualified(e.type), String) and not isinstance(e, (typed.Assign, typed.Comma, typed.Let)):
        lower_text.address(low, e)
    elif isinstance(e, typed.Comma):
        effect(low, e.left)
        effect(low, e.right)
    elif isinstance(e, typed.Assign):
        lower_var.assign(low, e)
    elif lower_object.is_object(e.type):
        lower_object.place(low, e)
    else:
        scalar(low, e)


def branch(low: Lowering, e: typed.TExpr, then: str, other: str, keep: bool = False) -> dict[object, int]:
    """Go to one of two blocks by the truth of a scalar; returns what is known at both.  `keep`: what is worked
    out on the way to `then` stays known, because what comes next is reached only there."""
    always = _branch(low, e, then, other)
    if not keep:
        low.join(always)
    return always


def _branch(low: Lowering, e: typed.TExpr, then: str, other: str) -> dict[object, int]:
    """The same; leaves as known what is at `then`, and returns what is on both ways."""
    b = low.b
    b.span = e.span
    if isinstance(e, typed.Binary) and e.op == "&&":
        middle = b.label("and")
        always = _branch(low, e.left, middle, other)
        b.start(middle)
        _branch(low, e.right, then, other)
        return always
    if isinstance(e, typed.Binary) and e.op == "||":
        middle = b.label("or")
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
    return low.fork()


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
    if fits(e.operand.type, e.type):
        return raw(low, e.operand)
    return normalise(low, scalar(low, e.operand), e.type)


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
    low.known, then_known = middle, low.known
    b.start(other)
    b.set(result, "mov", scalar(low, e.other))
    b.jmp(done)
    b.start(done)
    low.join(before, then_known)
    return result


def _comma(low: Lowering, e: typed.Comma) -> int:
    effect(low, e.left)
    return raw(low, e.right)


def _let(low: Lowering, e: typed.Let) -> int:
    bind(low, e)
    return raw(low, e.body)


def bind(low: Lowering, e: typed.Let) -> None:
    """Evaluate a Let's value; its body may follow."""
    low.temps[e.id] = raw(low, e.value)


def _temp(low: Lowering, e: typed.Temp) -> int:
    return low.temps[e.id]


def _str_compare(low: Lowering, e: typed.StrCompare) -> int:
    return _truth(low, e)


def _call(low: Lowering, e: typed.Call) -> int:
    return lower_call.call(low, e)


# ---- memory


def place(low: Lowering, e: typed.TExpr, write: bool = False) -> tuple[int, int, Origin | None]:
    """The address of what a pointer expression points to: base, constant offset, and what is
    known of the base.  `write`: it is to be written (lower_object.root)."""
    if isinstance(e, typed.Binary) and e.op in "+-":
        if not isinstance(e.right, typed.Const):
            return lower_object.indexed(low, e, write)
        base, offset, origin = place(low, e.left, write)
        return base, offset + (e.right.value if e.op == "+" else -e.right.value), origin
    if isinstance(e, typed.AddrOf):
        return lower_object.place(low, e.place, write)
    if isinstance(e, typed.Convert) and int_size(e.operand.type) == 8:
        return place(low, e.operand, write)
    value = raw(low, e)
    return value, 0, low.origins.get(int(value)) if isinstance(value, Reg) else None


def plus(low: Lowering, base: int, offset: int) -> int:
    if not isinstance(base, Reg):
        return signed64(base + offset)
    return low.b.emit("add", base, offset) if offset else base


def plus_reg(low: Lowering, base: Reg, offset: int) -> Reg:
    """A pointer some bytes on."""
    return low.b.emit("add", base, offset) if offset else base


def _mem(low: Lowering, e: typed.Mem) -> int:
    return load_place(low, e, *place(low, e.base))


def load_place(low: Lowering, e: typed.Mem, base: int, offset: int, origin: Origin | None) -> int:
    """The scalar at a place in memory; `base`, `offset`, `origin`: what `place` said of its pointer."""
    offset += e.offset
    if e.bits:
        return _bit_field(low, e, base, offset, origin)
    size = int_size(e.type)
    value = load_kernel(low, base, offset, size, origin)
    return low.b.emit("sext", value, size * 8) if int_signed(e.type) and size < 8 else value


def load_kernel(low: Lowering, base: int, offset: int, size: int, origin: Origin | None) -> Reg:
    """Load `size` bytes, zero-extended; what the verifier does not know faults where there is nothing."""
    if origin is None:
        return lower_memory.load(low, base, offset, size)
    if origin.holds(offset, size):
        return low.b.load(*origin.reach(low, offset), size)
    return lower_memory.load(low, number(low, base, True), offset, size)


def _bit_field(low: Lowering, e: typed.Mem, base: int, offset: int, origin: Origin | None) -> int:
    """Little-endian bit-fields: bit 0 is the lowest of the first byte (System V ABI)."""
    b = low.b
    byte, size, bit = bit_field(low, e)
    value = b.emit("shl", load_kernel(low, base, offset + byte, size, origin), 64 - bit - e.bits)
    return b.emit("sar" if int_signed(e.type) else "shr", value, 64 - e.bits)


def bit_field(low: Lowering, e: typed.Mem) -> tuple[int, int, int]:
    """Where a bit-field's bits are: in `size` bytes from `byte` on, from their bit `bit` on.  Those are its
    aligned unit, which lies in its struct, unless the struct is packed."""
    size = int_size(e.type)
    bit = e.bit % (8 * size)
    if bit + e.bits > 8 * size:
        bit = e.bit % 8
        size = next(n for n in (1, 2, 4, 8, 16) if n * 8 >= bit + e.bits)
        if size == 16:
            raise low.unsupported("a bit-field that spans more than 8 bytes", e.span)
    return (e.bit - bit) // 8, size, bit


def _addr_of(low: Lowering, e: typed.AddrOf) -> int:
    base, offset, origin = place(low, e)
    if origin is None:
        return plus(low, number(low, base), offset)
    if not origin.holds(offset, 0):
        return plus(low, number(low, base, True), offset)
    pointer, at = origin.reach(low, offset)
    address = low.b.emit("add", pointer, at)
    low.origins[int(address)] = lower_object.Origin(0, origin.size - offset, address)
    return address


# The neighbours import this module: theirs are looked up when they are used.
_RULES: dict[type[typed.TExpr], Callable[[Lowering, Any], int]] = {
    typed.Const: _const,
    typed.Builtin: lambda low, e: lower_builtin.builtin(low, e.name),
    typed.Arg: lambda low, e: lower_builtin.arg_value(low, e),
    typed.Var: lambda low, e: lower_var.var_value(low, e),
    typed.Assoc: lambda low, e: lower_var.assoc_value(low, e),
    typed.Mem: _mem,
    typed.AddrOf: _addr_of,
    typed.Unary: _unary,
    typed.Binary: _binary,
    typed.StrCompare: _str_compare,
    typed.Cond: _cond,
    typed.Comma: _comma,
    typed.Convert: _convert,
    typed.Assign: lambda low, e: lower_var.assign(low, e),
    typed.IncDec: lambda low, e: lower_var.inc_dec(low, e),
    typed.Call: _call,
    typed.Let: _let,
    typed.Temp: _temp,
}
