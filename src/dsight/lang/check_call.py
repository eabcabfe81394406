"""Literals, casts, sizeof and its kin, stringof, subroutine calls."""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, builtins, check_ops, check_stack, check_xlate, declare
from dsight.lang.check_convert import (
    convert,
    decay,
    is_int,
    is_ptr,
    is_string,
    is_zero,
    literal_type,
    quoted,
    string_hint,
    to_string,
    wrap,
)
from dsight.lang.scope import Scope, Translated, suggest, unsupported
from dsight.lang.typed import Call, Const, Convert, Mem, Str, TExpr, ToString
from dsight.lang.types import (
    INT,
    LONG,
    STRING,
    ULONG,
    Array,
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
    from dsight.source import Span

_INET = Inet(46)  # INET6_ADDRSTRLEN, netinet/in.h


def int_lit(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.IntLit)
    text = e.text
    if text[:1] == "'":
        t: Type = INT if -0x8000_0000 <= e.value <= 0x7FFF_FFFF else LONG
    else:
        t = literal_type(e.value, e.suffix, not (text[:1] == "0" and len(text) > 1))
    return Const(t, e.span, wrap(e.value, t))


def str_lit(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.StrLit)
    return Str(String(len(e.value) + 1), e.span, e.value)


# ---- casts, sizeof, offsetof, stringof


def cast(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Cast)
    t = declare.type_name(cx, e.type)
    u = unqualified(t)
    v = check_ops.operand(cx, e.operand)
    if isinstance(u, Void):
        return Convert(t, e.span, v)
    if is_string(u):
        return _string_of(v, e, "D_CAST_INVAL")
    if isinstance(u, Float) or isinstance(unqualified(v.type), Float):
        raise fail("D_CAST_INVAL", "D does not compute with floating point", e.span)
    if (is_int(u) or is_ptr(u)) and (is_int(v.type) or is_ptr(v.type)):
        if u.size > 8 or v.type.size > 8:
            raise unsupported("an integer of more than 64 bits is", e.span)
        if isinstance(v, Const):
            return Const(t, e.span, wrap(v.value, u))
        converted = convert(v, t)
        return Convert(t, e.span, v) if converted is v and v.type is not t else converted
    hint = None
    if isinstance(u, Struct):
        hint = f"cast to a pointer: ({t} *)"
    elif is_string(v.type):
        hint = "a D string is a value, not an address; strtoll() makes a number of its text"
    raise fail("D_CAST_INVAL", f'"{v.type}" cannot be cast to "{t}"', e.span, hint)


def sizeof_type(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.SizeofType)
    return _size(cx, declare.type_name(cx, e.type), e)


def sizeof_expr(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.SizeofExpr)
    v = cx.expr(e.operand)
    if isinstance(v, Mem) and v.bits:
        raise fail("D_SIZEOF_BITFIELD", "a bit-field has no size in bytes", e.operand.span)
    if isinstance(v, Str):
        return Const(declare.spelled(cx, "size_t"), e.span, len(v.value) + 1)
    return _size(cx, v.type, e)


def _size(cx: Scope, t: Type, e: ast.Expr) -> TExpr:
    u = unqualified(t)
    if isinstance(u, (Void, Func)) or (isinstance(u, Struct) and u.incomplete):
        raise fail("D_SIZEOF_TYPE", f'the size of "{t}" is not known', e.span)
    return Const(declare.spelled(cx, "size_t"), e.span, t.size)


def offset_of(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Offsetof)
    t = declare.type_name(cx, e.type)
    bits = 0
    for name in e.member:
        u = unqualified(t)
        if not isinstance(u, Struct) or u.incomplete:
            raise fail(
                "D_OFFSETOF_TYPE", f'offsetof needs a struct or union whose members are known, not "{t}"', e.span
            )
        m = u.member(name)
        if m is None:
            hint = suggest(name, [x.name for x in u.members])
            raise fail("D_TYPE_MEMBER", f'"{u}" has no member "{name}"', e.span, hint)
        if m.bits:
            raise fail("D_OFFSETOF_BITFIELD", f'"{name}" is a bit-field: it has no offset in bytes', e.span)
        bits += m.bit_offset
        t = m.type
    return Const(declare.spelled(cx, "size_t"), e.span, bits // 8)


def string_of(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Stringof)
    found = cx.expr(e.operand)
    if isinstance(found, Translated):
        raise fail("D_STRINGOF_TYPE", f'stringof does not apply to "{found.type}"', e.operand.span)
    return _string_of(decay(found), e, "D_STRINGOF_TYPE")


def _string_of(v: TExpr, e: ast.Stringof | ast.Cast, tag: str) -> TExpr:
    """The string at an address; strings stay."""
    if is_string(v.type):
        return v
    if is_stringlike(v.type):
        return to_string(v)
    if is_ptr(v.type):
        return ToString(STRING, e.span, v)
    if is_int(v.type):
        return ToString(STRING, e.span, convert(v, ULONG))
    raise fail(tag, f'"{v.type}" is not a string, nor the address of one', e.operand.span)


# ---- subroutines


def call(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.Call)
    row = builtins.SUBROUTINES.get(e.name)
    if row is None:
        item = check_xlate.find_inline(cx, e.name)
        if item is not None and item.params is not None:
            return check_xlate.inline(cx, item, _expressions(e), e.span)  # f(x) for f[x]
        raise _not_a_subroutine(cx, e)
    result, spelled = row
    required, _, optional = spelled.partition("?")
    params = [*required.split(), *optional.split()]
    least = len(required.split())
    if not least <= len(e.args) <= len(params):
        wanted = f"{least} to {len(params)}" if least < len(params) else str(least)
        raise fail(
            "D_PROTO_LEN", f"{e.name}() takes {wanted} argument{'s' if wanted != '1' else ''}, "
            f"{len(e.args)} {'is' if len(e.args) == 1 else 'are'} given", e.span,
            f"{e.name}({prototype(spelled)})",
        )  # fmt: skip
    if e.name in builtins.NOT_ON_LINUX:
        why, instead = builtins.NOT_ON_LINUX[e.name]
        raise fail("D_UNKNOWN", f"{e.name}() cannot work: {why}", e.span, instead)
    args = tuple(_argument(cx, e, n, kind) for n, kind in enumerate(params[: len(e.args)]))
    t = _INET if result == "inet" else declare.spelled(cx, result)
    if e.name == "alloca" and isinstance(args[0], Const) and args[0].value <= 0:
        raise fail("D_ALLOCA_SIZE", "alloca() needs a size above 0", e.args[0].span)
    if e.name == "lltostr" and len(args) > 1:
        t = STRING  # other bases can take more room
    return Call(t, e.span, e.name, args + offsets(cx, e.name, e.span))


def offsets(cx: Scope, name: str, span: Span) -> tuple[TExpr, ...]:
    """What builtins.MEMBERS names, as constants."""
    found = []
    for path in builtins.MEMBERS.get(name, ()):
        struct, *names = path.split(".")
        t: Type = declare.spelled(cx, f"struct {struct}")
        bits = 0
        for part in names:
            u = unqualified(t)
            m = u.member(part) if isinstance(u, Struct) and not u.incomplete else None
            if m is None:
                raise fail("D_VAR_UNSUP", f"{name} needs the member {path} of this kernel, which has none", span)
            bits += m.bit_offset
            t = m.type
        found.append(Const(ULONG, span, bits // 8))
    return tuple(found)


def _expressions(e: ast.Call) -> tuple[ast.Expr, ...]:
    for given in e.args:
        if isinstance(given, ast.TypeName):
            raise fail("D_PROTO_ARG", f"{e.name} takes values, this is a type", given.span)
    return tuple([a for a in e.args if isinstance(a, ast.Expr)])


def prototype(spelled: str) -> str:
    """Parameters as a hint shows them: "uintptr_t, size_t [, int]"."""
    said = {"addr": "uintptr_t", "ptr": "void *", "string0": "string", "base": "int"}
    required, _, optional = spelled.partition("?")
    text = ", ".join(said.get(p, p) for p in required.split())
    for p in optional.split():
        text += f"[{', ' if text else ''}{said.get(p, p)}]"
    return text


def _argument(cx: Scope, e: ast.Call, n: int, kind: str) -> TExpr:
    given = e.args[n]
    if isinstance(given, ast.TypeName):
        raise fail("D_PROTO_ARG", f"{e.name}() takes values, this is a type", given.span)
    found = cx.expr(given)
    if kind in ("string", "string0"):
        v = decay(found)
        if kind == "string0" and is_zero(v):
            return Const(STRING, given.span, 0)
        if isinstance(v, Translated) or not is_stringlike(v.type):
            raise _wrong(e, n, "a string", v, string_hint(v))
        return to_string(v)
    v = check_xlate.native(decay(found))
    if kind == "addr":
        if not is_int(v.type) and not is_ptr(v.type):
            raise _wrong(e, n, "an address", v)
        return convert(v, declare.spelled(cx, "uintptr_t"))
    if kind == "ptr":
        if not is_ptr(v.type):
            hint = f"cast it: (void *){quoted(given.span)}" if is_int(v.type) else None
            raise _wrong(e, n, "a pointer", v, hint)
        _pointee(e, n, v)
        return v
    if not is_int(v.type):
        hint = f"cast it: (uintptr_t){quoted(given.span)}" if is_ptr(v.type) else None
        if is_string(v.type) and e.name in ("htons", "ntohs", "htonl", "ntohl"):
            hint = "it swaps the bytes of a number"
        raise _wrong(e, n, "an integer", v, hint)
    if v.type.size > 8:
        raise unsupported("an integer of more than 64 bits is", given.span)
    if kind == "base":
        if isinstance(v, Const) and not 2 <= v.value <= 36:
            raise fail("D_PROTO_ARG", f"argument {n + 1} of {e.name}() must be 2 to 36, this is {v.value}", given.span)
        kind = "int"
    return convert(v, declare.spelled(cx, kind))


def _pointee(e: ast.Call, n: int, v: TExpr) -> None:
    """inet_ntoa wants the address of 4 bytes, inet_ntoa6 of 16: others are mistakes."""
    if e.name not in ("inet_ntoa", "inet_ntoa6"):
        return
    u = unqualified(v.type)
    assert isinstance(u, Pointer)
    to = unqualified(u.to)
    want = 4 if e.name == "inet_ntoa" else 16
    if isinstance(to, Void) or (isinstance(to, Int) and to.size == 1):
        return
    size = to.size if isinstance(to, (Int, Struct, Array)) else 0
    if size != want and not (isinstance(to, Struct) and to.incomplete):
        what = "an IPv4 address (ipaddr_t *)" if want == 4 else "an IPv6 address (in6_addr_t *)"
        raise _wrong(e, n, f"a pointer to {what}", v)


def _wrong(e: ast.Call, n: int, wanted: str, v: TExpr, hint: str | None = None) -> CompileError:
    return fail(
        "D_PROTO_ARG", f'argument {n + 1} of {e.name}() must be {wanted}, this is "{v.type}"', e.args[n].span, hint
    )


def _not_a_subroutine(cx: Scope, e: ast.Call) -> CompileError:
    name = e.name
    if check_stack.is_code(e):
        return check_stack.misplaced(e)
    if name in builtins.ACTIONS:
        return fail("D_OP_ACT", f"{name}() is an action: it has no value", e.span, "write it as a statement of its own")
    if name in builtins.AGGREGATING:
        return fail(
            "D_AGG_FUNC", f"{name}() is an aggregating function: it needs an aggregation", e.span,
            f"write @name = {name}(...);",
        )  # fmt: skip
    if ("global", name) in cx.variables or name in builtins.VARIABLES or name in cx.inlines:
        hint = f"write {name}[...]" if name in cx.inlines else None
        return fail("D_FUNC_IDKIND", f'"{name}" is not a function', e.span, hint)
    hint = suggest(name, [*builtins.SUBROUTINES, *builtins.ACTIONS, *builtins.AGGREGATING])
    return fail("D_FUNC_UNDEF", f"unknown function {name}()", e.span, hint)


def agg_ref(cx: Scope, e: ast.Expr) -> TExpr:
    assert isinstance(e, ast.AggRef)
    raise fail(
        "D_OP_DYN", f"@{e.name} is an aggregation: its value cannot be used in an expression", e.span,
        "print it with printa(); keep a value to compute with in a variable",
    )  # fmt: skip
