"""Operators: arithmetic, comparison, logic, ?: and comma."""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, check_access
from dsight.lang.check_convert import (
    computable,
    convert,
    decay,
    fold,
    is_int,
    is_ptr,
    is_string,
    is_zero,
    joined_string,
    pointers_agree,
    promoted,
    quoted,
    same,
    scaled,
    string_hint,
    to_string,
    usual,
    wrap,
)
from dsight.lang.check_xlate import native
from dsight.lang.scope import Scope
from dsight.lang.typed import (
    Binary,
    Comma,
    Cond,
    Const,
    Str,
    StrCompare,
    TExpr,
    Unary,
)
from dsight.lang.types import (
    INT,
    LONG,
    ULONG,
    Func,
    Inet,
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
    from dsight.source import Span


def operand(cx: Scope, e: ast.Expr) -> TExpr:
    """A value: arrays decayed, translated pointers as what they are translated from."""
    return native(decay(cx.expr(e)))


def scalar(cx: Scope, e: ast.Expr, what: str, tag: str = "D_OP_SCALAR") -> TExpr:
    """A condition: an integer or a pointer; a string is true where it is not NULL, which is ""."""
    v = operand(cx, e)
    if is_string(v.type):
        return StrCompare(INT, e.span, "!=", v, Str(String(1), e.span, b""))
    if not is_int(v.type) and not is_ptr(v.type):
        raise fail(tag, f'{what} needs an integer, a pointer or a string, this is "{v.type}"', e.span)
    computable(v, tag, what)
    return v


def integer(cx: Scope, e: ast.Expr, what: str, tag: str = "D_OP_INT") -> TExpr:
    v = operand(cx, e)
    if not is_int(v.type):
        hint = f"cast it: (uintptr_t){quoted(e.span)}" if is_ptr(v.type) else None
        raise fail(tag, f'{what} needs an integer, this is "{v.type}"', e.span, hint)
    computable(v, tag, what)
    return v


# ---- unary


def unary(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Unary)
    op = e.op
    if op == "*":
        return check_access.deref(cx, e)
    if op == "&":
        return check_access.address(cx, e)
    if op == "!":
        v = scalar(cx, e.operand, "!")
        return Const(INT, e.span, int(not v.value)) if isinstance(v, Const) else Unary(INT, e.span, "!", v)
    v = integer(cx, e.operand, f"{op} with one operand", "D_OP_INT" if op == "~" else "D_OP_ARITH")
    t = promoted(v)
    v = convert(v, t)
    if op == "+":
        return v
    if isinstance(v, Const):
        return Const(t, e.span, wrap(-v.value if op == "-" else ~v.value, t))
    return Unary(t, e.span, op, v)


# ---- binary


def binary(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Binary)
    op = e.op
    if op in ("&&", "||", "^^"):
        return _logical(cx, e)
    a, b = operand(cx, e.left), operand(cx, e.right)
    if op in ("==", "!=", "<", "<=", ">", ">="):
        return _compare(e, a, b)
    if op in "+-" and (is_ptr(a.type) or is_ptr(b.type)):
        return _pointer_arithmetic(e, a, b)
    return arithmetic(op, a, b, e.left.span, e.right.span, e.span)


def arithmetic(op: str, a: TExpr, b: TExpr, left: Span, right: Span, span: Span) -> TExpr:
    """An arithmetic operator on integers, by the usual conversions."""
    tag = "D_OP_ARITH" if op in "+-*/" else "D_OP_INT"
    for v, at in ((a, left), (b, right)):
        if not is_int(v.type):
            hint = "join strings with strjoin()" if op == "+" and is_string(v.type) else None
            raise fail(tag, f'{op} needs integers, this is "{v.type}"', at, hint)
        computable(v, tag, op)
    if op in ("<<", ">>"):
        t = promoted(a)
        a, b = convert(a, t), convert(b, promoted(b))
    else:
        t = usual(promoted(a), promoted(b))
        a, b = convert(a, t), convert(b, t)
    if op in "/%" and is_zero(b):
        raise fail("D_DIV_ZERO", "this divides by zero", right)
    if isinstance(a, Const) and isinstance(b, Const):
        value = fold(op, t, a.value, b.value)
        assert value is not None
        return Const(t, span, value)
    return Binary(t, span, op, a, b)


def _pointer_arithmetic(e: ast.Binary, a: TExpr, b: TExpr) -> TExpr:
    """pointer +- integer, integer + pointer, pointer - pointer"""
    if is_ptr(a.type) and is_ptr(b.type):
        size = step(a, e.left.span)
        if e.op == "+":
            raise incompatible(e.op, a, b, e.span, "pointers can be subtracted, not added")
        if not pointers_agree(a.type, b.type):
            raise incompatible(e.op, a, b, e.span, "cast one of them")
        bytes_apart = Binary(LONG, e.span, "-", convert(a, LONG), convert(b, LONG))
        return bytes_apart if size == 1 else Binary(LONG, e.span, "/", bytes_apart, Const(LONG, e.span, size))
    pointer, n = (a, b) if is_ptr(a.type) else (b, a)
    if not is_int(n.type):
        raise incompatible(e.op, a, b, e.span)
    if pointer is b and e.op == "-":
        raise incompatible(e.op, a, b, e.span, "a pointer cannot be subtracted from an integer")
    by = scaled(n, step(pointer, e.span))
    if isinstance(by, Const) and by.value == 0:
        return pointer
    if isinstance(by, Const) and isinstance(pointer, Const):
        moved = pointer.value + (by.value if e.op == "+" else -by.value)
        return Const(pointer.type, e.span, wrap(moved, pointer.type))
    return Binary(pointer.type, e.span, e.op, pointer, by)


def step(e: TExpr, span: Span) -> int:
    """The size of what a pointer points to; 1 for void, as GNU C has it."""
    u = unqualified(e.type)
    assert isinstance(u, Pointer)
    to = unqualified(u.to)
    if isinstance(to, Func):
        raise fail("D_OP_VFPTR", f'"{e.type}" points to a function: it cannot be moved', span)
    if isinstance(to, Struct) and to.incomplete:
        raise fail("D_OP_INCOMPLETE", f'the size of "{to}" is not known', span)
    return 1 if isinstance(to, Void) else to.size or 1


def _null_strings(a: TExpr, b: TExpr) -> tuple[TExpr, TExpr]:
    """A NULL beside a string is a NULL string, "": what strchr() and the like give where they find nothing."""
    if is_string(a.type) and is_zero(b):
        return a, Str(String(1), b.span, b"")
    if is_string(b.type) and is_zero(a):
        return Str(String(1), a.span, b""), b
    return a, b


def _compare(e: ast.Binary, a: TExpr, b: TExpr) -> TExpr:
    if e.op in ("==", "!="):
        a, b = _null_strings(a, b)
    if is_string(a.type) or is_string(b.type):
        for v, at in ((a, e.left), (b, e.right)):
            if not is_stringlike(v.type):
                raise incompatible(e.op, a, b, at.span, string_hint(v))
        return StrCompare(INT, e.span, e.op, to_string(a), to_string(b))
    for v, at in ((a, e.left), (b, e.right)):
        if not is_int(v.type) and not is_ptr(v.type):
            raise fail("D_OP_SCALAR", f'{e.op} compares integers, pointers and strings, not "{v.type}"', at.span)
        computable(v, "D_OP_INCOMPAT", e.op)
    if is_ptr(a.type) or is_ptr(b.type):
        if is_ptr(a.type) and is_ptr(b.type) and not pointers_agree(a.type, b.type):
            raise incompatible(e.op, a, b, e.span, "cast one of them")
        t: Type = ULONG
    else:
        t = usual(promoted(a), promoted(b))
    a, b = convert(a, t), convert(b, t)
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(INT, e.span, fold(e.op, INT, a.value, b.value) or 0)
    return Binary(INT, e.span, e.op, a, b)


def _logical(cx: Scope, e: ast.Binary) -> TExpr:
    a, b = scalar(cx, e.left, e.op), scalar(cx, e.right, e.op)
    if isinstance(a, Const) and isinstance(b, Const):
        p, q = a.value != 0, b.value != 0
        value = (p and q) if e.op == "&&" else (p or q) if e.op == "||" else p != q
        return Const(INT, e.span, int(value))
    return Binary(INT, e.span, e.op, a, b)


def incompatible(op: str, a: TExpr, b: TExpr, span: Span, hint: str | None = None) -> CompileError:
    return fail("D_OP_INCOMPAT", f'{op} has operands of incompatible types: "{a.type}" and "{b.type}"', span, hint)


# ---- ?: and comma


def cond(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Cond)
    test = scalar(cx, e.test, "the test of ?:")
    a, b = _null_strings(operand(cx, e.then), operand(cx, e.other))
    if is_string(a.type) or is_string(b.type):
        for v, at in ((a, e.then), (b, e.other)):
            if not is_stringlike(v.type):
                raise incompatible("?:", a, b, at.span, string_hint(v))
        a, b = to_string(a), to_string(b)
        t = _inet_or_none(a, b) or joined_string(a.type, b.type)
    elif is_int(a.type) and is_int(b.type):
        computable(a, "D_OP_INCOMPAT", "?:")
        computable(b, "D_OP_INCOMPAT", "?:")
        t = usual(promoted(a), promoted(b))
    elif is_ptr(a.type) and is_ptr(b.type):
        if not pointers_agree(a.type, b.type):
            raise incompatible("?:", a, b, e.span, "cast one of them")
        t = b.type if is_zero(a) or (_to_void(b.type) and not is_zero(b)) else a.type
    elif is_ptr(a.type) and is_zero(b):
        t = a.type
    elif is_ptr(b.type) and is_zero(a):
        t = b.type
    elif isinstance(unqualified(a.type), (Void, Struct)) and same(a.type, b.type):
        t = a.type
    else:
        raise incompatible("?:", a, b, e.span)
    if isinstance(test, Const):
        return convert(a if test.value else b, t)
    return Cond(t, e.span, test, convert(a, t), convert(b, t))


def _inet_or_none(a: TExpr, b: TExpr) -> Type | None:
    """An address or "" is still an address: the consumer writes no family as nothing."""
    for v, w in ((a, b), (b, a)):
        if isinstance(unqualified(v.type), Inet) and isinstance(w, Str) and not w.value:
            return v.type
    return None


def _to_void(t: Type) -> bool:
    u = unqualified(t)
    return isinstance(u, Pointer) and isinstance(unqualified(u.to), Void)


def comma(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Comma)
    left, right = operand(cx, e.left), operand(cx, e.right)
    return Comma(right.type, e.span, left, right)
