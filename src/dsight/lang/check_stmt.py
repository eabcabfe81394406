"""Statements: actions, aggregations, if."""

from __future__ import annotations

from dsight.errors import fail
from dsight.lang import ast, builtins, check_act, check_agg, check_printf, check_stack
from dsight.lang.check_convert import computable, convert, decay, is_int, is_ptr, is_string, to_string
from dsight.lang.check_ops import operand, scalar
from dsight.lang.check_xlate import native
from dsight.lang.scope import Scope, Translated, unsupported
from dsight.lang.typed import ActionStmt, AddrOf, Const, ExprStmt, If, Mem, TExpr, TStmt
from dsight.lang.types import INT, ULONG, Array, Pointer, Struct, Void, is_stringlike, unqualified

_MAX_TRACEMEM = 0x10000


def body(cx: Scope, stmts: tuple[ast.Stmt, ...]) -> tuple[TStmt, ...]:
    return tuple([statement(cx, s) for s in stmts])


def statement(cx: Scope, s: ast.Stmt) -> TStmt:
    if isinstance(s, ast.AggStmt):
        return check_agg.statement(cx, s)
    if isinstance(s, ast.If):
        test = scalar(cx, s.test, "the condition of if")
        return If(s.span, test, body(cx, s.then), body(cx, s.other))
    assert isinstance(s, ast.ExprStmt)
    e = s.expr
    if isinstance(e, ast.Call):
        rule = _ACTIONS.get(e.name)
        if rule is not None:
            return rule(cx, e)
        if e.name in builtins.OTHER_ACTIONS:
            raise unsupported(f"{e.name}() is", e.span)
    if isinstance(e, ast.AggRef):
        raise fail(
            "D_AGG_NULL", f"@{e.name} alone does nothing", e.span, f"write @{e.name} = count(); or printa(@{e.name});"
        )
    found = cx.expr(e)
    return ExprStmt(s.span, native(found) if isinstance(found, Translated) else found)


def _values(cx: Scope, call: ast.Call, first: int = 0) -> list[TExpr]:
    values = []
    for a in call.args[first:]:
        if isinstance(a, ast.TypeName):
            raise fail("D_PROTO_ARG", f"{call.name}() takes values, this is a type", a.span)
        if isinstance(a, ast.AggRef):
            tag = "D_PRINTF_ARG_TYPE" if call.name == "printf" else "D_TRACE_DYN"
            raise fail(tag, f"{call.name}() does not print aggregations", a.span, f"write printa(@{a.name})")
        if call.name == "printf" and isinstance(a, ast.Call) and check_stack.is_code(a):
            values.append(check_stack.value(cx, a))
        else:
            values.append(native(decay(cx.expr(a))))
    return values


def _printf(cx: Scope, call: ast.Call) -> TStmt:
    """printf("format", values...)"""
    if not call.args or not isinstance(call.args[0], ast.StrLit):
        at = call.args[0].span if call.args else call.span
        raise fail(
            "D_PRINTF_ARG_FMT", "the format of printf() must be a string literal", at,
            f'write printf("%s", {at.text})' if call.args else 'printf("format", values...)',
        )  # fmt: skip
    lit = call.args[0]
    args = check_printf.arguments(cx, lit, _values(cx, call, 1))
    return ActionStmt(call.span, "printf", args, check_printf.format_text(lit))


def _trace(cx: Scope, call: ast.Call) -> TStmt:
    """trace(value)"""
    if len(call.args) != 1:
        raise fail("D_PROTO_LEN", f"trace() takes one value, {len(call.args)} are given", call.span)
    given = call.args[0]
    if isinstance(given, ast.Expr) and not isinstance(given, ast.AggRef):
        raw = cx.expr(given)
        if isinstance(raw, Translated):
            raise fail("D_TRACE_DYN", f'"{raw.type}" is translated: only its members have values', given.span)
    (v,) = _values(cx, call)
    u = unqualified(v.type)
    if isinstance(u, Void):
        raise fail("D_TRACE_VOID", f"{given.span.text} has no value", given.span)
    if isinstance(v, AddrOf) and isinstance(v.place, Mem) and _decayed(v):  # an array is traced as a whole
        if not is_stringlike(v.place.type):
            raise unsupported(f'trace() of a "{v.place.type}" is', given.span, "use tracemem()")
        return ActionStmt(call.span, "trace", (to_string(v),))
    if isinstance(u, Struct):
        raise unsupported(f'trace() of a whole "{v.type}" is', given.span, "trace its members, or use tracemem()")
    if v.type.size > 8 and not is_string(u):
        raise unsupported(f'trace() of a "{v.type}" is', given.span)
    return ActionStmt(call.span, "trace", (to_string(v) if is_string(u) else v,))


def _decayed(v: AddrOf) -> bool:
    """Whether this is an array used as a value (not `&array`, which points to the whole of it)."""
    of = unqualified(v.place.type)
    to = unqualified(v.type)
    return isinstance(of, Array) and isinstance(to, Pointer) and not isinstance(unqualified(to.to), Array)


def _tracemem(cx: Scope, call: ast.Call) -> TStmt:
    """tracemem(address, size): args are the address and the constant size"""
    if len(call.args) not in (2, 3):
        raise fail("D_PROTO_LEN", f"tracemem() has {len(call.args)} arguments", call.span, "tracemem(address, size)")
    if len(call.args) == 3:
        raise unsupported("a third argument of tracemem() is", call.args[2].span)
    address, size = _values(cx, call)
    if not is_ptr(address.type) and not is_int(address.type):
        raise fail("D_TRACEMEM_ADDR", f'tracemem() needs an address, this is "{address.type}"', call.args[0].span)
    if not isinstance(size, Const) or not is_int(size.type) or not 0 < size.value <= _MAX_TRACEMEM:
        raise fail(
            "D_TRACEMEM_SIZE", f"the size of tracemem() must be a constant in 1..{_MAX_TRACEMEM}", call.args[1].span
        )
    return ActionStmt(call.span, "tracemem", (address, convert(size, ULONG)))


def _exit(cx: Scope, call: ast.Call) -> TStmt:
    """exit(status)"""
    if len(call.args) != 1:
        raise fail("D_PROTO_LEN", f"exit() takes one status, {len(call.args)} are given", call.span, "write exit(0)")
    given = call.args[0]
    if isinstance(given, ast.TypeName):
        raise fail("D_PROTO_ARG", "exit() takes a value, this is a type", given.span)
    status = operand(cx, given)
    if not is_int(status.type):
        raise fail("D_PROTO_ARG", f'the status of exit() must be an integer, this is "{status.type}"', given.span)
    computable(status, "D_PROTO_ARG", "exit()")
    return ActionStmt(call.span, "exit", (convert(status, INT),))


_ACTIONS = {
    "printf": _printf,
    "trace": _trace,
    "tracemem": _tracemem,
    "exit": _exit,
    "printa": check_agg.printa,
    "clear": check_agg.action,
    "trunc": check_agg.action,
    "normalize": check_agg.action,
    "denormalize": check_agg.action,
    **dict.fromkeys(check_stack.STACKS | check_stack.SYMBOLS, check_stack.statement),
    **check_act.RULES,
}
