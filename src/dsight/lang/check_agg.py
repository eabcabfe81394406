"""Aggregations: @name[keys] = func(args), and the actions that work on them."""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, check_access, check_printf, check_stack
from dsight.lang.builtins import ACTIONS, AGGREGATING, SUBROUTINES
from dsight.lang.check_convert import (
    computable,
    convert,
    is_int,
    is_ptr,
    is_signed,
    is_string,
    joined_string,
    to_string,
)
from dsight.lang.check_ops import operand
from dsight.lang.scope import Scope, suggest
from dsight.lang.typed import ActionStmt, Aggregation, AggStmt, Const, If, TExpr, TStmt
from dsight.lang.types import LONG, ULONG, Stack, Symaddr, Type, is_stringlike, unqualified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.source import Span

_INT32 = range(-0x8000_0000, 0x8000_0000)
_MAX_STEPS = 0xFFFF

# The actions on aggregations: the family of their tags.
ACTIONS_ON_AGGS = {"clear": "CLEAR", "trunc": "TRUNC", "normalize": "NORMALIZE", "denormalize": "NORMALIZE"}


def statement(cx: Scope, s: ast.AggStmt) -> TStmt:
    """@name[keys] = func(args);"""
    func, call, name = s.call.name, s.call, s.target.name
    if func not in AGGREGATING:
        if func in SUBROUTINES or func in ACTIONS:
            hint: str | None = f"the last or largest value of something: @{name} = max({call.span.text})"
        else:
            hint = suggest(func, AGGREGATING)
        raise fail("D_AGG_FUNC", f"{func}() is not an aggregating function", call.span, hint)
    value, weight, params, signed = _arguments(cx, call)
    keys = [_key(cx, k) for k in s.target.keys or ()]
    known = cx.aggs.get(name)
    if known is None:
        agg = Aggregation(len(cx.aggs), name, func, tuple(k.type for k in keys), params, signed)
        cx.aggs[name] = agg
    else:
        agg = _again(cx, known, s, keys, params)
    if value is not None:
        value = convert(value, LONG if agg.signed else ULONG)
    converted = tuple(to_string(k) if is_string(t) else convert(k, t) for k, t in zip(keys, agg.keys))
    return AggStmt(s.span, agg, converted, value, weight)


def _key(cx: Scope, e: ast.Expr) -> TExpr:
    """A key: a value, or code to be shown."""
    if isinstance(e, ast.Call) and check_stack.is_code(e):
        return check_stack.value(cx, e)
    return check_access.key_value(cx, e)


def _again(cx: Scope, known: Aggregation, s: ast.AggStmt, keys: list[TExpr], params: tuple[int, ...]) -> Aggregation:
    """A further use of an aggregation: the same function, parameters and kinds of keys.  Keys that need
    more room than before widen it."""
    name = known.name
    if known.func != s.call.name:
        raise fail(
            "D_AGG_REDEF", f"@{name} is {known.func}() elsewhere: it cannot be {s.call.name}() here", s.call.span,
            "give this aggregation another name",
        )  # fmt: skip
    if known.params != params:
        raise _mismatch(known, s.call, params)
    if len(known.keys) != len(keys):
        raise fail(
            "D_PROTO_LEN", f"@{name} has {len(known.keys)} key{'' if len(known.keys) == 1 else 's'} elsewhere, "
            f"{len(keys)} here", s.target.span, f"its keys are [{', '.join(str(t) for t in known.keys)}]",
        )  # fmt: skip
    types = []
    for n, (t, key) in enumerate(zip(known.keys, keys)):
        types.append(_joined(t, key, s.target.keys[n].span if s.target.keys else s.span, f"key {n + 1} of @{name}"))
    if tuple(types) != known.keys:
        cx.widened.add(known.id)
        known = cx.aggs[name] = known.replace(keys=tuple(types))
    return known


def _joined(t: Type, key: TExpr, span: Span, what: str) -> Type:
    """A key type that holds what it held and this key."""
    u, v = unqualified(t), unqualified(key.type)
    if isinstance(u, (Stack, Symaddr)) and u == v:
        return t
    if is_string(u) and is_stringlike(v):
        text = to_string(key).type
        return joined_string(u, text)
    if (is_int(u) or is_ptr(u)) and (is_int(v) or is_ptr(v)):
        if v.size > u.size or (v.size == u.size < 8 and is_signed(v) != is_signed(u)):
            return LONG if u.size < 8 and v.size < 8 else key.type
        return t
    raise fail("D_PROTO_ARG", f'{what} is a "{t}" elsewhere, "{key.type}" here', span)


def rewiden(body: tuple[TStmt, ...], cx: Scope) -> tuple[TStmt, ...]:
    """The statements with the aggregations as their last use left them."""
    done: list[TStmt] = []
    for s in body:
        if isinstance(s, AggStmt) and s.agg.id in cx.widened:
            agg = cx.aggs[s.agg.name]
            keys = tuple(k if is_string(t) else convert(k, t) for k, t in zip(s.keys, agg.keys))
            s = s.replace(agg=agg, keys=keys)
        elif isinstance(s, If):
            s = s.replace(then=rewiden(s.then, cx), other=rewiden(s.other, cx))
        done.append(s)
    return tuple(done)


# ---- the functions' arguments


def _arguments(cx: Scope, call: ast.Call) -> tuple[TExpr | None, TExpr | None, tuple[int, ...], bool]:
    """(aggregated value, increment, parameters, whether the value is signed)"""
    func, args = call.name, call.args
    for a in args:
        if isinstance(a, ast.TypeName):
            raise fail("D_PROTO_ARG", f"{func}() takes values, this is a type", a.span)
    if func == "count":
        if args:
            raise fail("D_PROTO_LEN", "count() takes no arguments", call.span, "sum() adds up values")
        return None, None, (), False
    least, most, spelled = {
        "quantize": (1, 2, "value[, increment]"),
        "lquantize": (3, 5, "value, base, limit[, step[, increment]]"),
        "llquantize": (4, 6, "value, factor, low, high[, steps[, increment]]"),
    }.get(func, (1, 1, "value"))
    if not least <= len(args) <= most:
        tag = "D_QUANT_PROTO" if func == "quantize" else "D_PROTO_LEN"
        raise fail(tag, f"{func}() has {len(args)} arguments", call.span, f"{func}({spelled})")
    first = args[0]
    assert isinstance(first, ast.Expr)
    value = operand(cx, first)
    if not (is_int(value.type) or is_ptr(value.type)) or value.type.size > 8:
        hint = "aggregate numbers; strings can be keys: @[...] = count()" if is_string(value.type) else None
        raise fail("D_AGG_SCALAR", f'{func}() aggregates integers, this is "{value.type}"', first.span, hint)
    params: tuple[int, ...] = ()
    last = len(args)
    if func == "lquantize":
        params, last = _lquantize(cx, call), 4
    elif func == "llquantize":
        params, last = _llquantize(cx, call), 5
    elif func == "quantize":
        last = 1
    weight = None
    if len(args) > last:
        given = args[last]
        assert isinstance(given, ast.Expr)
        weight = operand(cx, given)
        if not is_int(weight.type) or weight.type.size > 8:
            tag = "D_QUANT_PROTO" if func == "quantize" else "D_PROTO_ARG"
            raise fail(tag, f'the increment of {func}() must be an integer, this is "{weight.type}"', given.span)
        computable(weight, "D_PROTO_ARG", f"{func}()")
        weight = convert(weight, LONG if is_signed(weight.type) else ULONG)
    return value, weight, params, is_signed(value.type)


def _constant(cx: Scope, call: ast.Call, n: int, tag: str, what: str) -> int:
    given = call.args[n]
    assert isinstance(given, ast.Expr)
    found = cx.constant(given)
    if found is None or not is_int(found.type):
        raise fail(tag, f"the {what} of {call.name}() must be an integer constant", given.span)
    return found.value


def _lquantize(cx: Scope, call: ast.Call) -> tuple[int, int, int]:
    """base, limit, step"""
    args = call.args
    base = _constant(cx, call, 1, "D_LQUANT_BASETYPE", "base")
    if base not in _INT32:
        raise fail("D_LQUANT_BASEVAL", f"the base {base} does not fit into 32 bits", args[1].span)
    limit = _constant(cx, call, 2, "D_LQUANT_LIMTYPE", "limit")
    if limit not in _INT32:
        raise fail("D_LQUANT_LIMVAL", f"the limit {limit} does not fit into 32 bits", args[2].span)
    if limit <= base:
        raise fail("D_LQUANT_MISMATCH", f"the limit {limit} must be above the base {base}", args[2].span)
    step = 1
    if len(args) > 3:
        step = _constant(cx, call, 3, "D_LQUANT_STEPTYPE", "step")
        if not 0 < step <= _MAX_STEPS:
            raise fail("D_LQUANT_STEPVAL", f"the step {step} is not in 1..{_MAX_STEPS}", args[3].span)
    levels = (limit - base) // step
    at = args[3].span if len(args) > 3 else call.span
    if levels == 0:
        raise fail("D_LQUANT_STEPLARGE", f"the step {step} is larger than the range {base}..{limit}", at)
    if levels > _MAX_STEPS:
        raise fail("D_LQUANT_STEPSMALL", f"{levels} levels are too many: at most {_MAX_STEPS}", at, "use a larger step")
    return base, limit, step


def _llquantize(cx: Scope, call: ast.Call) -> tuple[int, int, int, int]:
    """factor, low magnitude, high magnitude, steps per magnitude"""
    args = call.args
    factor = _constant(cx, call, 1, "D_LLQUANT_FACTORTYPE", "factor")
    if not 2 <= factor <= _MAX_STEPS:
        raise fail("D_LLQUANT_FACTORVAL", f"the factor {factor} is not in 2..{_MAX_STEPS}", args[1].span)
    low = _constant(cx, call, 2, "D_LLQUANT_LMAGTYPE", "low magnitude")
    if not 0 <= low <= _MAX_STEPS:
        raise fail("D_LLQUANT_LMAGVAL", f"the low magnitude {low} is not in 0..{_MAX_STEPS}", args[2].span)
    high = _constant(cx, call, 3, "D_LLQUANT_HMAGTYPE", "high magnitude")
    if not low <= high <= _MAX_STEPS:
        raise fail("D_LLQUANT_HMAGVAL", f"the high magnitude {high} is not in {low}..{_MAX_STEPS}", args[3].span)
    if high > 63 or factor ** (high + 1) > 1 << 63:
        raise fail("D_LLQUANT_HMAGVAL", f"{factor} to the power {high + 1} does not fit into 64 bits", args[3].span)
    steps = _constant(cx, call, 4, "D_LLQUANT_STEPTYPE", "number of steps") if len(args) > 4 else 1
    if not 1 <= steps <= _MAX_STEPS:
        raise fail("D_LLQUANT_STEPVAL", f"the number of steps {steps} is not in 1..{_MAX_STEPS}", args[4].span)
    if factor % steps if steps < factor else steps % factor:
        raise fail(
            "D_LLQUANT_STEPVAL", f"{steps} steps do not divide a magnitude of factor {factor} evenly", args[4].span,
            f"use {factor} steps, or a multiple or divisor of it",
        )  # fmt: skip
    if (high - low + 1) * steps > _MAX_STEPS:
        raise fail(
            "D_LLQUANT_STEPVAL", f"{high - low + 1} magnitudes of {steps} steps are too many buckets: "
            f"at most {_MAX_STEPS}", args[4].span, "use fewer steps",
        )  # fmt: skip
    return factor, low, high, steps


_PARTS = {
    "lquantize": (("base", "D_LQUANT_MATCHBASE"), ("limit", "D_LQUANT_MATCHLIM"), ("step", "D_LQUANT_MATCHSTEP")),
    "llquantize": (
        ("factor", "D_LLQUANT_MATCHFACTOR"),
        ("low magnitude", "D_LLQUANT_MATCHLMAG"),
        ("high magnitude", "D_LLQUANT_MATCHHMAG"),
        ("number of steps", "D_LLQUANT_MATCHSTEPS"),
    ),
}


def _mismatch(known: Aggregation, call: ast.Call, params: tuple[int, ...]) -> CompileError:
    for n, (what, tag) in enumerate(_PARTS[known.func]):
        if known.params[n] != params[n]:
            span = call.args[n + 1].span if n + 1 < len(call.args) else call.span
            return fail(tag, f"the {what} of @{known.name} is {known.params[n]} elsewhere, {params[n]} here", span)
    raise AssertionError(params)


# ---- actions on aggregations


def _named(cx: Scope, call: ast.Call, n: int, family: str) -> Aggregation:
    """Argument n as an aggregation."""
    given = call.args[n]
    if not isinstance(given, ast.AggRef):
        raise fail(f"D_{family}_AGGARG", f"argument {n + 1} of {call.name}() must be an aggregation: @name", given.span)
    if given.keys is not None:
        raise fail(
            f"D_{family}_AGGARG", f"{call.name}() takes a whole aggregation, not one element", given.span,
            f"write @{given.name}",
        )  # fmt: skip
    agg = cx.aggs.get(given.name)
    if agg is None:
        hint = suggest(given.name, cx.aggs) or (
            "D reads a script from top to bottom: aggregate into it in a clause above"
        )
        raise fail(f"D_{family}_AGGBAD", f"nothing is aggregated into @{given.name} up to here", given.span, hint)
    return agg


def action(cx: Scope, call: ast.Call) -> TStmt:
    """clear(@a), trunc(@a[, n]), normalize(@a, n), denormalize(@a)"""
    name, family = call.name, ACTIONS_ON_AGGS[call.name]
    counts = {"clear": (1,), "denormalize": (1,), "normalize": (2,), "trunc": (1, 2)}[name]
    if len(call.args) not in counts:
        tag = "D_PROTO_LEN" if name == "trunc" else f"D_{family}_PROTO"
        spelled = {"normalize": "@a, n", "trunc": "@a[, n]"}.get(name, "@a")
        raise fail(tag, f"{name}() has {len(call.args)} arguments", call.span, f"{name}({spelled})")
    agg = _named(cx, call, 0, family)
    args: tuple[TExpr, ...] = ()
    if len(call.args) == 2:
        given = call.args[1]
        value = operand(cx, given) if isinstance(given, ast.Expr) else None
        if value is None or not is_int(value.type):
            tag = "D_NORMALIZE_SCALAR" if name == "normalize" else "D_PROTO_ARG"
            raise fail(tag, f"argument 2 of {name}() must be an integer", given.span)
        computable(value, "D_PROTO_ARG", f"{name}()")
        if name == "normalize" and isinstance(value, Const) and value.value == 0:
            raise fail("D_NORMALIZE_SCALAR", "normalize() divides by its second argument: it cannot be 0", given.span)
        args = (convert(value, LONG if name == "trunc" or is_signed(value.type) else ULONG),)
    return ActionStmt(call.span, name, args, "", (agg.id,))


def _alike(a: Type, b: Type) -> bool:
    """Whether keys of two aggregations can stand in one column."""
    return is_string(a) == is_string(b) and (a == b or not isinstance(a, (Stack, Symaddr)))


def printa(cx: Scope, call: ast.Call) -> TStmt:
    """printa(@a, ...), printa("format", @a, ...)"""
    args = call.args
    if not args:
        raise fail("D_PRINTA_PROTO", "printa() needs an aggregation", call.span, 'printa(["format",] @a, ...)')
    lit = args[0] if isinstance(args[0], ast.StrLit) else None
    first = 0 if lit is None else 1
    if lit is None and not isinstance(args[0], ast.AggRef):
        raise fail("D_PRINTA_AGGPROTO", "printa() takes a format string or an aggregation first", args[0].span)
    if len(args) == first:
        raise fail("D_PRINTA_PROTO", "printa() needs an aggregation", call.span, 'printa("format", @a, @b)')
    aggs = [_named(cx, call, n, "PRINTA") for n in range(first, len(args))]
    for n, agg in enumerate(aggs[1:], first + 1):
        if len(agg.keys) != len(aggs[0].keys) or not all(_alike(a, b) for a, b in zip(agg.keys, aggs[0].keys)):
            raise fail(
                "D_PRINTA_AGGKEY", f"the keys of @{agg.name} are not those of @{aggs[0].name}", args[n].span,
                "aggregations printed together have the same keys",
            )  # fmt: skip
    text = ""
    if lit is not None:
        check_printf.keys(lit, [(a.name, a.keys) for a in aggs])
        text = check_printf.format_text(lit)
    return ActionStmt(call.span, "printa", (), text, tuple(a.id for a in aggs))
