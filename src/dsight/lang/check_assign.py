"""Assignment, op-assignment, ++ and --; a variable's first one makes it."""

from __future__ import annotations

from dsight.errors import fail
from dsight.lang import ast, check_access, check_names, check_ops, check_xlate, constants, declare
from dsight.lang.builtins import AGGREGATING, ARRAYS, TRANSLATED_VARIABLES, VARIABLES
from dsight.lang.check_convert import (
    computable,
    convert,
    decay,
    is_int,
    is_ptr,
    is_pure,
    is_string,
    is_zero,
    pointers_agree,
    promoted,
    quoted,
    same,
    scaled,
    stored,
    string_hint,
    to_string,
    usual,
)
from dsight.lang.check_xlate import native
from dsight.lang.scope import Scope, Translated, unsupported
from dsight.lang.typed import (
    Assign,
    Assoc,
    Comma,
    Const,
    IncDec,
    Let,
    Mem,
    Temp,
    TExpr,
    Var,
    Variable,
)
from dsight.lang.types import (
    LONG,
    Array,
    Func,
    Struct,
    Type,
    Void,
    is_stringlike,
    unqualified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.source import Span


def place(cx: Scope, e: ast.Expr, t: Type, op: str, zero: bool = False) -> TExpr:
    """The place an assignment writes to.  A variable met for the first time gets type `t`.  `zero`: a
    literal 0 is assigned, which all but memory that is no variable's takes."""
    if isinstance(e, ast.Ident):
        found = _variable(cx, e, t, op)
    elif isinstance(e, ast.ScopedVar):
        var = cx.variables.get((e.scope, e.name))
        if var is None:
            var = _define(cx, e.scope, e.name, t, None, e.span)
        elif var.keys is not None:
            raise fail("D_ARR_BADREF", f'"{e.span.text}" is an associative array: which element?', e.span)
        found = check_names.shown(cx, Var(var.type, e.span, var))
    elif isinstance(e, ast.Index):
        found = check_access.element(cx, e) or _element(cx, e, t)
    elif isinstance(e, ast.AggRef):
        raise fail(
            "D_AGG_FUNC", f"an aggregation is assigned an aggregating function only, not with {op or '='} a value",
            e.span, f"write @{e.name} = sum(...), or use a variable without @",
        )  # fmt: skip
    else:
        found = cx.expr(e)
    if isinstance(found, Translated) and isinstance(found.input, (Var, Assoc)) and found.input.var in cx.translated:
        return found.input
    if isinstance(found, Mem):
        if isinstance(unqualified(found.type), Array) and not (zero and check_access.rooted(found)):
            raise fail("D_OP_LVAL", "an array cannot be assigned as a whole", e.span, "assign its elements, or bcopy()")
        return found
    if isinstance(found, (Var, Assoc)):
        return found
    raise fail("D_OP_LVAL", f"{op or '='} needs a variable or a place in memory on its left", e.span)


def _variable(cx: Scope, e: ast.Ident, t: Type, op: str) -> TExpr:
    name = e.name
    if ("global", name) not in cx.variables:
        if (
            name in cx.params
            or name in cx.inlines
            or name in cx.enumerators
            or name in VARIABLES
            or name in TRANSLATED_VARIABLES
            or name in ARRAYS
            or (name[:3] == "arg" and name[3:].isdigit() and len(name) == 4)
            or name == "NULL"
            or constants.lookup(name) is not None
        ):
            what = "built-in variable" if name in VARIABLES or name.startswith("arg") else "constant"
            raise fail("D_OP_WRITE", f'"{name}" is a {what}: it cannot be assigned', e.span, "choose another name")
        _define(cx, "global", name, t, None, e.span)
    found = check_names.known(cx, e)
    assert found is not None
    return found


def _element(cx: Scope, e: ast.Index, t: Type) -> TExpr:
    """The first use of an associative array: its keys get their types here."""
    base = e.base
    if isinstance(base, ast.ScopedVar) and base.scope == "this":
        raise fail("D_ARR_LOCAL", "clause-local associative arrays do not exist", e.span, "use self-> or a global one")
    assert isinstance(base, (ast.Ident, ast.ScopedVar))
    keys = tuple(key_type(check_access.key_value(cx, k).type) for k in e.keys)
    scope = base.scope if isinstance(base, ast.ScopedVar) else "global"
    if scope == "global" and (base.name in AGGREGATING or base.name in VARIABLES):
        raise fail("D_OP_WRITE", f'"{base.name}" is D\'s own name', base.span, f"write @{base.name} for an aggregation")
    _define(cx, scope, base.name, t, keys, e.span)
    found = check_access.element(cx, e)
    assert found is not None
    return found


def key_type(t: Type) -> Type:
    """The key type of an associative array from its first use.  Integers are kept in 64 bits, so that
    every later use fits; strings in full length."""
    if is_int(t):
        return LONG
    return stored(t)


def _define(cx: Scope, scope: str, name: str, t: Type, keys: tuple[Type, ...] | None, span: Span) -> Variable:
    u = unqualified(t)
    if isinstance(u, Struct):
        if u.incomplete:
            raise fail("D_OP_INCOMPLETE", f'"{t}" is declared, but its members are not known', span)
        declare.variable_size(t, scope, name, span)
    if isinstance(u, (Void, Func, Array)):
        raise fail("D_OP_INCOMPAT", f'"{name}" cannot get its type from a value of type "{t}"', span)
    var = cx.variables[scope, name] = Variable(scope, name, stored(t), keys)
    return var


def assign(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Assign)
    raw = decay(cx.expr(e.value))
    if isinstance(raw, Translated) and not e.op:
        return _assign_translated(cx, e, raw)
    value = native(raw)
    if isinstance(unqualified(value.type), Void):
        raise fail("D_OP_INCOMPAT", f"{e.value.span.text} has no value", e.value.span)
    if e.op:
        return _assign_op(cx, e, value)
    target = place(cx, e.target, value.type, "=", is_zero(value))
    t = target.type
    if isinstance(unqualified(t), (Struct, Array)) and is_zero(value) and check_access.rooted(target):
        return Assign(t, e.span, "", target, Const(t, value.span, 0))  # clears it; gives an element's storage back
    if isinstance(target, (Var, Assoc)) and target.var in cx.translated and not is_zero(value):
        raise fail(
            "D_OP_INCOMPAT", f'"{e.target.span.text}" is a translated "{cx.translated[target.var].type}"', e.span
        )
    return Assign(t, e.span, "", target, assigned(t, value, e))


def _assign_translated(cx: Scope, e: ast.Assign, value: Translated) -> TExpr:
    """A translated pointer: the variable keeps what is translated, and shows it translated.  A translated
    struct: each member the translator gives is assigned."""
    if is_ptr(value.type):
        before = set(cx.variables)
        given = native(value)
        target = place(cx, e.target, given.type, "=")
        if isinstance(target, (Var, Assoc)):
            var = target.var
            if (var.scope, var.name) not in before:
                cx.translated[var] = value
            known = cx.translated.get(var)
            if known is not None and known.translator is value.translator:
                return Assign(target.type, e.span, "", target, convert(given, target.type))
        raise fail(
            "D_OP_INCOMPAT", f'"{e.target.span.text}" cannot keep a translated "{value.type}"', e.span,
            "a variable keeps one from its first assignment on; others keep its members",
        )  # fmt: skip
    target = place(cx, e.target, value.type, "=")
    if not isinstance(target, Mem) or unqualified(target.type) is not value.translator.output:
        raise check_ops.incompatible("=", target, value, e.span)
    if not is_pure(target.base):
        raise unsupported("a translated struct assigned to this place is", e.target.span, "assign it to a variable")
    if is_pure(value.input):
        return _members(cx, target, value, e.span)
    at = cx.temp()
    stand_in = value.replace(input=Temp(value.input.type, value.span, at))
    body = _members(cx, target, stand_in, e.span)
    return Let(body.type, e.span, at, decay(value.input), body)


def _members(cx: Scope, target: Mem, value: Translated, span: Span) -> TExpr:
    """Assign each member of a translated struct; the value is the target."""
    whole: TExpr = target
    for rule in reversed(value.translator.members):
        m = value.translator.output.member(rule.name)
        assert m is not None
        made = check_xlate.member(cx, value, rule.name, span)
        offset = target.offset + (0 if m.bits else m.bit_offset // 8)
        slot = Mem(m.type, span, target.base, offset, m.bit_offset if m.bits else 0, m.bits)
        one: TExpr
        if isinstance(made, Translated):
            one = _members(cx, slot, made, span)
        else:
            one = Assign(m.type, span, "", slot, made)
        whole = Comma(target.type, span, one, whole)
    return whole


def assigned(t: Type, value: TExpr, e: ast.Assign) -> TExpr:
    """The value as the target's type; D_OP_INCOMPAT where C would want a cast."""
    u = unqualified(t)
    if is_zero(value) and (is_string(u) or is_ptr(u)):
        return Const(t, value.span, 0)  # 0 gives the storage back
    if is_string(u) and is_stringlike(value.type):
        return to_string(value)
    if is_int(u) and is_int(value.type):
        computable(value, "D_OP_INCOMPAT", "=")
        return convert(value, t)
    if is_ptr(u) and is_ptr(value.type) and pointers_agree(u, value.type):
        return convert(value, t)
    if isinstance(u, Struct) and same(u, value.type):
        return value
    castable = (is_int(value.type) or is_ptr(value.type)) and (is_int(u) or is_ptr(u))
    hint = f"cast it: ({t}){quoted(e.value.span)}" if castable else None
    if is_string(u):
        hint = string_hint(value)
    elif is_string(value.type):
        hint = "the variable got its type where it was first assigned or declared"
    raise fail("D_OP_INCOMPAT", f'= has operands of incompatible types: "{t}" and "{value.type}"', e.span, hint)


def _assign_op(cx: Scope, e: ast.Assign, value: TExpr) -> TExpr:
    """target op= value.  A variable met here first is an int64_t."""
    op = e.op
    target = place(cx, e.target, LONG, op + "=")
    t = target.type
    if is_ptr(t) and op in "+-":
        if not is_int(value.type):
            raise check_ops.incompatible(op + "=", target, value, e.span)
        by = scaled(value, check_ops.step(target, e.target.span))
        return Assign(t, e.span, op, target, by, t)
    tag = "D_OP_ARITH" if op in "+-*/" else "D_OP_INT"
    for v, at in ((target, e.target), (value, e.value)):
        if not is_int(v.type):
            hint = "join strings with strjoin()" if op == "+" and is_string(v.type) else None
            raise fail(tag, f'{op}= needs integers, this is "{v.type}"', at.span, hint)
        computable(v, tag, op + "=")
    if op in "/%" and is_zero(value):
        raise fail("D_DIV_ZERO", "this divides by zero", e.value.span)
    if op in ("<<", ">>"):
        arith = promoted(target)
        return Assign(t, e.span, op, target, convert(value, promoted(value)), arith)
    arith = usual(promoted(target), promoted(value))
    return Assign(t, e.span, op, target, convert(value, arith), arith)


def inc_dec(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.IncDec)
    target = place(cx, e.operand, LONG, e.op)
    t = target.type
    if is_ptr(t):
        delta = check_ops.step(target, e.operand.span)
    elif is_int(t):
        computable(target, "D_OP_SCALAR", e.op)
        delta = 1
    else:
        raise fail("D_OP_SCALAR", f'{e.op} needs an integer or a pointer, this is "{t}"', e.operand.span)
    return IncDec(t, e.span, target, delta if e.op == "++" else -delta, not e.prefix)
