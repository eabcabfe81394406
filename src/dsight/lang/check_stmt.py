"""Statements: actions, aggregations, if."""

from __future__ import annotations

from dsight.errors import fail
from dsight.lang import ast, check_act, check_agg, check_printf, check_stack
from dsight.lang.check_convert import computable, convert, decay, is_int, is_ptr, is_string, to_string
from dsight.lang.check_ops import operand, scalar
from dsight.lang.check_xlate import native
from dsight.lang.scope import Scope, Translated, unsupported
from dsight.lang.typed import ActionStmt, AddrOf, Const, ExprStmt, If, Mem, TExpr, TStmt, Var
from dsight.lang.types import INT, ULONG, Array, Pointer, Struct, Void, is_stringlike, unqualified

_MAX_TRACEMEM = 0x10000
_PATH_MAX = 4096


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
        if call.name in ("printf", "system", "freopen") and isinstance(a, ast.Call) and check_stack.is_code(a):
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
    whole = _whole(v)
    if whole is not None:
        if is_stringlike(whole.type):
            return ActionStmt(call.span, "trace", (to_string(v),))
        if not 0 < whole.type.size <= _MAX_TRACEMEM:
            raise fail("D_TRACE_DYN", f'the size of "{whole.type}" is not known', given.span, "use tracemem()")
        return ActionStmt(call.span, "trace", (whole,))
    if v.type.size > 8 and not is_string(u):
        raise unsupported(f'trace() of a "{v.type}" is', given.span)
    return ActionStmt(call.span, "trace", (to_string(v) if is_string(u) else v,))


def _decayed(v: AddrOf) -> bool:
    """Whether this is an array used as a value (not `&array`, which points to the whole of it)."""
    of = unqualified(v.place.type)
    to = unqualified(v.type)
    return isinstance(of, Array) and isinstance(to, Pointer) and not isinstance(unqualified(to.to), Array)


def _tracemem(cx: Scope, call: ast.Call) -> TStmt:
    """tracemem(address, size[, wanted]): args are the address, the constant size, and how much of it is wanted"""
    if len(call.args) not in (2, 3):
        raise fail("D_PROTO_LEN", f"tracemem() has {len(call.args)} arguments", call.span, "tracemem(address, size)")
    address, size, *wanted = _values(cx, call)
    if not is_ptr(address.type) and not is_int(address.type):
        raise fail("D_TRACEMEM_ADDR", f'tracemem() needs an address, this is "{address.type}"', call.args[0].span)
    if not isinstance(size, Const) or not is_int(size.type) or not 0 < size.value <= _MAX_TRACEMEM:
        raise fail(
            "D_TRACEMEM_SIZE", f"the size of tracemem() must be a constant in 1..{_MAX_TRACEMEM}", call.args[1].span
        )
    for v in wanted:
        if not is_int(v.type):
            raise fail(
                "D_TRACEMEM_SIZE", f'the number of bytes must be an integer, this is "{v.type}"', call.args[2].span
            )
        computable(v, "D_TRACEMEM_SIZE", "tracemem()")
    return ActionStmt(call.span, "tracemem", (address, convert(size, ULONG), *[convert(v, ULONG) for v in wanted]))


def _whole(v: TExpr) -> Mem | Var | None:
    """The struct, union or array in memory that a value stands for."""
    if isinstance(v, AddrOf) and isinstance(v.place, (Mem, Var)) and _decayed(v):
        return v.place
    return v if isinstance(v, (Mem, Var)) and isinstance(unqualified(v.type), Struct) else None


def _print(cx: Scope, call: ast.Call) -> TStmt:
    """print(value)"""
    if len(call.args) != 1:
        raise fail("D_PROTO_LEN", f"print() takes one value, {len(call.args)} are given", call.span)
    given = call.args[0]
    (v,) = _values(cx, call)
    if isinstance(unqualified(v.type), Void):
        raise fail("D_PROTO_ARG", f"{given.span.text} has no value", given.span)
    whole = _whole(v)
    if whole is not None and not 0 < whole.type.size <= _MAX_TRACEMEM:
        raise fail("D_PRINT_SIZE", f'the size of "{whole.type}" is not known, or too large', given.span)
    if whole is None and v.type.size > 8 and not is_string(v.type):
        raise unsupported(f'print() of a "{v.type}" is', given.span)
    return ActionStmt(call.span, "print", (whole or v,))


# ---- actions of the consumer


def _command(cx: Scope, call: ast.Call) -> TStmt:
    """freopen("format", values...), system("format", values...)"""
    if not call.args or not isinstance(call.args[0], ast.StrLit):
        at = call.args[0].span if call.args else call.span
        raise fail(
            "D_PRINTF_ARG_FMT", f"the format of {call.name}() must be a string literal", at,
            f'write {call.name}("%s", {at.text})' if call.args else f'{call.name}("format", values...)',
        )  # fmt: skip
    lit = call.args[0]
    if call.name == "freopen":
        if not lit.value and len(call.args) == 1:
            return ActionStmt(call.span, "freopen", ())  # back to the standard output
        if b"\0" in lit.value or len(lit.value) > _PATH_MAX:
            raise fail("D_FREOPEN_INVALID", "this cannot be the name of a file", lit.span)
    args = check_printf.arguments(cx, lit, _values(cx, call, 1), call.name)
    return ActionStmt(call.span, call.name, args, check_printf.format_text(lit))


def _ftruncate(cx: Scope, call: ast.Call) -> TStmt:
    """ftruncate()"""
    if call.args:
        raise fail("D_PROTO_LEN", f"ftruncate() takes no arguments, {len(call.args)} are given", call.span)
    return ActionStmt(call.span, "ftruncate", ())


def _setopt(cx: Scope, call: ast.Call) -> TStmt:
    """setopt("name"[, "value"])"""
    if len(call.args) not in (1, 2):
        raise fail("D_PROTO_LEN", f"setopt() has {len(call.args)} arguments", call.span, 'setopt("name"[, "value"])')
    values = _values(cx, call)
    for v, given in zip(values, call.args):
        if not is_stringlike(v.type):
            raise fail("D_PROTO_ARG", f'setopt() takes strings, this is "{v.type}"', given.span)
    return ActionStmt(call.span, "setopt", tuple([to_string(v) for v in values]))


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
    "print": _print,
    "freopen": _command,
    "system": _command,
    "ftruncate": _ftruncate,
    "setopt": _setopt,
    "printa": check_agg.printa,
    "clear": check_agg.action,
    "trunc": check_agg.action,
    "normalize": check_agg.action,
    "denormalize": check_agg.action,
    **dict.fromkeys(check_stack.STACKS | check_stack.SYMBOLS, check_stack.statement),
    **check_act.RULES,
}
