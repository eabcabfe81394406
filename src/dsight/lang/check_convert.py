"""C's conversions on typed expressions: promotion, usual arithmetic conversions, decay, constants.

Pure functions on typed.TExpr.  Constants fold here, so that a constant expression
of the language is one that checks to a typed.Const.
C11 6.3.1 (conversions), 6.4.4.1 (integer constants).
"""

from __future__ import annotations

from dsight.errors import fail
from dsight.lang.typed import AddrOf, Assign, Binary, Comma, Const, Convert, IncDec, Mem, Str, TExpr, ToString
from dsight.lang.types import (
    BOOL,
    INT,
    LONG,
    LONGLONG,
    STRING,
    UINT,
    ULONG,
    ULONGLONG,
    Array,
    Enum,
    Float,
    Func,
    Inet,
    Int,
    Pointer,
    String,
    Struct,
    Type,
    Void,
    is_stringlike,
    unqualified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.source import Span


def is_signed(t: Type) -> bool:
    u = unqualified(t)
    return isinstance(u, (Int, Enum)) and u.signed


def is_int(t: Type) -> bool:
    return isinstance(unqualified(t), (Int, Enum))


def is_ptr(t: Type) -> bool:
    return isinstance(unqualified(t), Pointer)


def is_string(t: Type) -> bool:
    return isinstance(unqualified(t), String)


def wrap(value: int, t: Type) -> int:
    """The value as `t` holds it."""
    u = unqualified(t)
    if u == BOOL:
        return int(value != 0)
    bits = 8 * u.size
    value &= (1 << bits) - 1
    return value - (1 << bits) if is_signed(u) and value >> (bits - 1) else value


def literal_type(value: int, suffix: str, decimal: bool) -> Type:
    """The type of an integer constant: the first of its list that holds it (C11 6.4.4.1).
    A decimal constant too large for long is unsigned long."""
    unsigned = "u" in suffix
    long = suffix.count("l")
    if not long:
        if not unsigned and value <= 0x7FFF_FFFF:
            return INT
        if (unsigned or not decimal) and value <= 0xFFFF_FFFF:
            return UINT
    signed_type, unsigned_type = (LONGLONG, ULONGLONG) if long == 2 else (LONG, ULONG)
    return signed_type if not unsigned and value <= 0x7FFF_FFFF_FFFF_FFFF else unsigned_type


def promote(t: Type, bits: int = 0) -> Type:
    """Integer promotion of an integer type (`bits`: the width of a bit-field, else 0)."""
    u = unqualified(t)
    if isinstance(u, Enum):
        if u.size > 4:
            return LONG if u.signed else ULONG
        # An enumeration computes as int, as enumerators do, unless it needs the last bit.
        return UINT if not u.signed and u.size == 4 and max(u.values.values(), default=0) > 0x7FFF_FFFF else INT
    assert isinstance(u, Int)
    if u.size < 4 or 0 < bits < 32:
        return INT
    if u.size == 4 or bits == 32:
        return INT if u.signed else UINT
    if "long long" in u.name:
        return LONGLONG if u.signed else ULONGLONG
    return LONG if u.signed else ULONG


def promoted(e: TExpr) -> Type:
    return promote(e.type, _bits(e))


def _bits(e: TExpr) -> int:
    """The width of a value that is a bit-field's: read, or just assigned (C11 6.5.16: the type is that of the
    place); 0 of another."""
    while isinstance(e, (Assign, IncDec, Comma)):
        e = e.right if isinstance(e, Comma) else e.place
    return e.bits if isinstance(e, Mem) else 0


def usual(a: Type, b: Type) -> Type:
    """The common type of two promoted integer types."""
    if a == b:
        return a
    if a.size != b.size:
        return a if a.size > b.size else b
    unsigned = not (is_signed(a) and is_signed(b))
    if a.size == 4:
        return UINT if unsigned else INT
    if LONGLONG in (a, b) or ULONGLONG in (a, b):
        return ULONGLONG if unsigned else LONGLONG
    return ULONG if unsigned else LONG


def same(a: Type, b: Type) -> bool:
    """Whether two types are the same but for names, qualifiers and the spelling of integers."""
    a, b = unqualified(a), unqualified(b)
    if a is b:
        return True
    if isinstance(a, Pointer) and isinstance(b, Pointer):
        return same(a.to, b.to)
    if isinstance(a, Int) and isinstance(b, Int):
        return a.bytes == b.bytes and a.signed == b.signed
    if isinstance(a, Struct) and isinstance(b, Struct):  # a forward declaration and its kernel type
        return bool(a.name) and a.kind == b.kind and a.name == b.name and (a.incomplete or b.incomplete)
    if isinstance(a, Array) and isinstance(b, Array):
        return a.count == b.count and same(a.of, b.of)
    if isinstance(a, String) and isinstance(b, String):
        return True
    if isinstance(a, Enum) and isinstance(b, Enum):
        return bool(a.name) and a.name == b.name
    return a == b


def pointers_agree(a: Type, b: Type) -> bool:
    """Whether pointer `b` may be assigned to or compared with pointer `a` without a cast:
    the same target, void on either side, or integers of one size (char and unsigned char)."""
    ua, ub = unqualified(a), unqualified(b)
    assert isinstance(ua, Pointer) and isinstance(ub, Pointer)
    ta, tb = unqualified(ua.to), unqualified(ub.to)
    if isinstance(ta, Void) or isinstance(tb, Void):
        return True
    if isinstance(ta, Int) and isinstance(tb, Int):
        return ta.bytes == tb.bytes
    return same(ta, tb)


def decay(e: TExpr) -> TExpr:
    """Arrays and functions in memory become pointers, as everywhere but under & and sizeof."""
    if isinstance(e, Mem):
        u = unqualified(e.type)
        if isinstance(u, Array):
            return AddrOf(Pointer(u.of), e.span, e)
        if isinstance(u, Func):
            return AddrOf(Pointer(u), e.span, e)
    return e


def is_zero(e: TExpr) -> bool:
    """A literal 0 or NULL, cast or not."""
    return isinstance(e, Const) and e.value == 0


def convert(e: TExpr, t: Type) -> TExpr:
    """A scalar (or string) as `t`; nothing is checked."""
    if e.type is t:
        return e
    u, v = unqualified(t), unqualified(e.type)
    if isinstance(e, Const) and u.size:
        return Const(t, e.span, wrap(e.value, u))
    if isinstance(u, String):
        return e
    if u == BOOL and v != BOOL:
        zero = Const(v, e.span, 0)
        return Convert(t, e.span, Binary(INT, e.span, "!=", e, zero))
    if u == v or (isinstance(u, Int) and isinstance(v, Int) and u.bytes == v.bytes and u.signed == v.signed):
        return e
    return Convert(t, e.span, e)


def scaled(at: TExpr, size: int) -> TExpr:
    """An integer times an element size, as a long."""
    wide = convert(at, LONG)
    if size == 1:
        return wide
    if isinstance(wide, Const):
        return Const(LONG, at.span, wrap(wide.value * size, LONG))
    return Binary(LONG, at.span, "*", wide, Const(LONG, at.span, size))


def to_string(e: TExpr) -> TExpr:
    """A string of something string-like: strings stay, char pointers and arrays are read."""
    u = unqualified(e.type)
    if isinstance(u, String):
        return e
    if isinstance(e, AddrOf) and isinstance(e.place, Mem) and isinstance(unqualified(e.place.type), Array):
        return to_string(e.place)  # the array itself: its length is a bound
    limit = u.count + 1 if isinstance(u, Array) and u.count else 0
    return ToString(String(limit) if limit else STRING, e.span, e)


def joined_string(a: Type, b: Type) -> Type:
    """The string type that holds the text of either."""
    a, b = unqualified(a), unqualified(b)
    assert isinstance(a, String) and isinstance(b, String)
    if isinstance(a, Inet) and isinstance(b, Inet):
        return a
    if isinstance(a, Inet) or isinstance(b, Inet) or not a.limit or not b.limit:
        return STRING
    return a if a.limit >= b.limit else b


def stored(t: Type) -> Type:
    """The type a variable gets from the type first assigned to it: strings, and texts of addresses, get
    full length."""
    if isinstance(unqualified(t), String):
        return STRING
    return t


def computable(e: TExpr, tag: str, what: str) -> None:
    """Refuse integers wider than 64 bits and floating point."""
    u = unqualified(e.type)
    if isinstance(u, Float):
        raise fail(tag, f"{what}: D does not compute with floating point ({e.type})", e.span)
    if isinstance(u, Int) and u.size > 8:
        raise fail("D_UNKNOWN", f"{what}: integers of {8 * u.size} bits are not supported yet", e.span)


def fold(op: str, t: Type, a: int, b: int) -> int | None:
    """`a op b` computed in type `t`; None where it has no value (division by zero)."""
    if op in ("/", "%"):
        if b == 0:
            return None
        q = abs(a) // abs(b)
        if (a < 0) != (b < 0):
            q = -q
        return wrap(q if op == "/" else a - q * b, t)
    if op == "<<":  # as the program shifts when it runs: in 64 bits, then cut to the type (ir.ops: shl)
        return wrap(a << (b & 63), t)
    if op == ">>":
        return wrap(a >> (b & 63), t)
    return wrap(_FOLD[op](a, b), t)


_FOLD: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
}


def is_pure(e: TExpr) -> bool:
    """Whether evaluating it twice costs little and changes nothing."""
    from dsight.lang.typed import Arg, Builtin, Temp, Var

    if isinstance(e, Convert):
        return is_pure(e.operand)
    if isinstance(e, AddrOf) and isinstance(e.place, Mem):
        return is_pure(e.place.base)
    if isinstance(e, AddrOf):
        return isinstance(e.place, Var)
    if isinstance(e, Mem) and isinstance(unqualified(e.type), Struct):
        return is_pure(e.base)
    return isinstance(e, (Const, Str, Arg, Builtin, Temp, Var)) and not (
        isinstance(e, Builtin) and e.name in ("timestamp", "vtimestamp", "walltimestamp", "cwd", "execargs")
    )


def quoted(span: Span) -> str:
    """The source text for a hint, in parentheses where an operator could split it."""
    text = " ".join(span.text.split())
    plain = all(c.isalnum() or c in "_$->.`[]" for c in text) or text.endswith(")")
    return text if plain else f"({text})"


def string_hint(e: TExpr) -> str | None:
    """What to write where a string is wanted and `e` is none."""
    text = e.span.text
    if is_int(e.type):
        return f"for a string in user memory write copyinstr({text}), in kernel memory stringof({text})"
    if is_ptr(e.type) and not is_stringlike(e.type):
        return f"if it points to text, write stringof({text})"
    return None
