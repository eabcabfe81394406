"""Places: members, indexing, * and &, elements of associative arrays."""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, builtins, check_names, check_xlate
from dsight.lang.check_convert import (
    computable,
    convert,
    decay,
    is_int,
    is_ptr,
    is_string,
    quoted,
    same,
    scaled,
    to_string,
)
from dsight.lang.scope import Scope, Translated, suggest
from dsight.lang.typed import (
    AddrOf,
    Arg,
    Assoc,
    Binary,
    Builtin,
    Call,
    Const,
    Mem,
    TExpr,
    Var,
    Variable,
)
from dsight.lang.types import (
    CHAR,
    LONG,
    VOID,
    Array,
    Func,
    Pointer,
    Struct,
    Type,
    Void,
    is_pointer,
    is_stringlike,
    unqualified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from dsight.source import Span

_VOID_POINTER = Pointer(VOID)


def member(cx: Scope, e: ast.Expr) -> TExpr:
    """base.name, base->name"""
    assert isinstance(e, ast.Member)
    base = cx.expr(e.base)
    if isinstance(base, Translated):
        pointer = is_ptr(base.type)
        if pointer != e.arrow:
            raise _wrong_arrow(e, base.type)
        return check_xlate.member(cx, base, e.name, e.span)
    if e.arrow:
        base = decay(base)
        u = unqualified(base.type)
        if not isinstance(u, Pointer):
            if isinstance(u, Struct):
                raise _wrong_arrow(e, base.type)
            hint = f"cast it: ((struct NAME *){quoted(e.base.span)})->{e.name}" if is_int(u) else None
            raise fail("D_OP_PTR", f'-> needs a pointer to a struct or union, this is "{base.type}"', e.base.span, hint)
        struct = unqualified(u.to)
        if not isinstance(struct, Struct):
            hint = f"cast it: ((struct NAME *){quoted(e.base.span)})->{e.name}"
            raise fail("D_OP_SOU", f'-> needs a pointer to a struct or union, this is "{base.type}"', e.base.span, hint)
        return _field(base, 0, struct, e)
    struct = unqualified(base.type)
    if not isinstance(struct, Struct):
        u = unqualified(decay(base).type)
        if isinstance(u, Pointer) and isinstance(unqualified(u.to), Struct):
            raise _wrong_arrow(e, base.type)
        raise fail("D_OP_SOU", f'. needs a struct or union, this is "{base.type}"', e.base.span)
    if not isinstance(base, Mem):  # a choice, an assignment: a value without a place of its own
        return _field(AddrOf(Pointer(base.type), base.span, base), 0, struct, e)
    return _field(base.base, base.offset, struct, e)


def _wrong_arrow(e: ast.Member, t: Type) -> CompileError:
    if e.arrow:
        return fail("D_OP_PTR", f'-> needs a pointer, this is "{t}"', e.base.span, f"write {e.base.span.text}.{e.name}")
    return fail("D_OP_SOU", f'. needs a struct or union, this is "{t}"', e.base.span, f"write ->{e.name}")


def _field(base: TExpr, offset: int, struct: Struct, e: ast.Member) -> TExpr:
    m = struct.member(e.name)
    if m is None:
        if struct.incomplete:
            raise fail("D_OP_INCOMPLETE", f'"{struct}" is declared, but its members are not known', e.base.span)
        hint = suggest(e.name, [x.name for x in struct.members])
        raise fail("D_TYPE_MEMBER", f'"{struct}" has no member "{e.name}"', e.span, hint)
    if isinstance(base, AddrOf) and isinstance(base.place, Mem):  # (&p->a)->b is p->a.b
        outer = base.place
        base, offset = outer.base, outer.offset + offset
    if m.bits:
        return Mem(m.type, e.span, base, offset, m.bit_offset, m.bits)
    return Mem(m.type, e.span, base, offset + m.bit_offset // 8)


def index(cx: Scope, e: ast.Expr) -> TExpr:
    """base[i] of an array or pointer, base[k, ...] of an associative array or inline"""
    assert isinstance(e, ast.Index)
    found = element(cx, e)
    if found is not None:
        return found
    if isinstance(e.base, ast.Ident):
        raise check_names.undefined(cx, e.base)
    assert isinstance(e.base, ast.ScopedVar)
    raise check_names.undefined_scoped(cx, e.base)


def element(cx: Scope, e: ast.Index) -> TExpr | None:
    """Like index, but None if the base is a variable nobody has assigned."""
    base: TExpr | None
    if isinstance(e.base, ast.Ident):
        name = e.base.name
        if name == "args" and name not in cx.params and ("global", name) not in cx.variables:
            return check_names.arg(cx, e)
        if name in builtins.ARRAYS and name not in cx.params and ("global", name) not in cx.variables:
            return check_names.fd(cx, e) if name == "fds" else check_names.register(cx, e)
        var = cx.variables.get(("global", name)) if name not in cx.params else None
        if var is None and name not in cx.params and name not in cx.inlines:
            var = check_names.kept(cx, name)
        if var is not None and var.keys is not None:
            return _assoc(cx, var, e)
        item = None if var is not None or name in cx.params else check_xlate.find_inline(cx, name)
        if item is not None and item.params is not None:
            return check_xlate.inline(cx, item, e.keys, e.span)
        base = check_names.known(cx, e.base)
    elif isinstance(e.base, ast.ScopedVar):
        var = cx.variables.get((e.base.scope, e.base.name))
        if var is not None and var.keys is not None:
            return _assoc(cx, var, e)
        base = None if var is None else check_names.scoped(cx, e.base)
    elif isinstance(e.base, ast.AggRef):
        raise fail("D_AGG_MDIM", "an aggregation takes its keys in one pair of brackets", e.span, "write @a[k1, k2]")
    else:
        base = cx.expr(e.base)
    if base is None:
        return None
    if isinstance(base, Translated):
        raise fail("D_ARR_BADREF", f'"{base.type}" is translated: it cannot be indexed', e.base.span)
    if len(e.keys) != 1:
        raise fail(
            "D_ARR_BADREF", f'"{base.type}" takes one index, {len(e.keys)} are given', e.span,
            "for several dimensions write a[i][j]; keys in one bracket are for associative arrays",
        )  # fmt: skip
    return _subscript(cx, base, e)


def _position(cx: Scope, e: ast.Index) -> TExpr:
    at = decay(cx.expr(e.keys[0]))
    if not is_int(at.type):
        raise fail("D_ARR_BADREF", f'an index is an integer, this is "{at.type}"', e.keys[0].span)
    computable(at, "D_ARR_BADREF", "an index")
    return at


def _subscript(cx: Scope, base: TExpr, e: ast.Index) -> TExpr:
    if is_string(base.type):
        return Call(CHAR, e.span, "[]", (base, convert(_position(cx, e), LONG)))
    at = _position(cx, e)
    u = unqualified(base.type)
    if isinstance(u, Array) and isinstance(base, Mem):
        if isinstance(at, Const) and (u.count > 1 or rooted(base)) and not 0 <= at.value < u.count:
            raise fail(
                "D_ARR_BOUNDS", f'the index {at.value} is outside "{base.type}" (0 to {u.count - 1})', e.keys[0].span
            )
        if not isinstance(at, Const) and rooted(base):  # the array's own bound holds
            return _at(AddrOf(Pointer(u.of), e.base.span, base), 0, u.of, at, e.span)
        return _at(base.base, base.offset, u.of, at, e.span)
    if isinstance(u, Pointer):
        _pointee(u, base, e.base.span)
        return _at(base, 0, u.to, at, e.span)
    raise fail("D_OP_ARRFUN", f'[] needs an array or a pointer, this is "{base.type}"', e.base.span)


def _at(base: TExpr, offset: int, of: Type, at: TExpr, span: Span) -> TExpr:
    """The object of type `of` at base + offset + at * its size."""
    if isinstance(at, Const):
        return Mem(of, span, base, offset + at.value * of.size)
    return Mem(of, span, Binary(Pointer(of), span, "+", base, scaled(at, of.size)), offset)


def rooted(e: TExpr) -> bool:
    """Whether a place is a part of a variable."""
    while isinstance(e, (Mem, AddrOf, Binary)):
        e = e.base if isinstance(e, Mem) else e.place if isinstance(e, AddrOf) else e.left
        if isinstance(e, (Var, Assoc)):
            return isinstance(unqualified(e.type), (Struct, Array))
    return False


def _pointee(u: Pointer, e: TExpr, span: Span) -> None:
    """Refuse to look at what a pointer to void, to a function or to an incomplete type points to."""
    to = unqualified(u.to)
    if isinstance(to, Void):
        raise fail("D_DEREF_VOID", f'"{e.type}" does not say what it points to', span, "cast it to a pointer to a type")
    if isinstance(to, Func):
        raise fail("D_DEREF_FUNC", f'"{e.type}" points to a function', span)
    if isinstance(to, Struct) and to.incomplete:
        raise fail("D_OP_INCOMPLETE", f'"{to}" is declared, but its members are not known', span)


def deref(cx: Scope, e: ast.Unary) -> TExpr:
    """*e"""
    base = decay(cx.expr(e.operand))
    if isinstance(base, Translated):
        raise fail("D_DEREF_NONPTR", f'"{base.type}" is translated: only its members have values', e.span)
    u = unqualified(base.type)
    if not isinstance(u, Pointer):
        hint = f"cast it: *(int *){quoted(e.operand.span)}" if is_int(u) else None
        raise fail("D_DEREF_NONPTR", f'* needs a pointer, this is "{base.type}"', e.operand.span, hint)
    _pointee(u, base, e.operand.span)
    if isinstance(base, AddrOf) and isinstance(base.place, Mem) and isinstance(unqualified(base.place.type), Array):
        return Mem(u.to, e.span, base.place.base, base.place.offset)
    return Mem(u.to, e.span, base, 0)


def address(cx: Scope, e: ast.Unary) -> TExpr:
    """&e"""
    if isinstance(e.operand, ast.Symbol):
        untyped = check_names.symbol_address(cx, e.operand, e.span)
        if untyped is not None:
            return untyped
    place = cx.expr(e.operand)
    if isinstance(place, Translated):
        raise fail("D_ADDROF_LVAL", "what a translator makes has no address", e.operand.span)
    if isinstance(place, (Var, Assoc, Builtin, Arg)):
        raise fail(
            "D_ADDROF_VAR", "a D variable has no address", e.operand.span,
            "copy the value into alloca() memory and take that address",
        )  # fmt: skip
    if isinstance(place, Mem):
        if place.bits:
            raise fail("D_ADDROF_BITFIELD", "a bit-field has no address", e.operand.span)
        if isinstance(place.base, AddrOf) and not isinstance(place.base.place, Mem) and not place.offset:
            if same(place.base.place.type, place.type):
                raise fail(
                    "D_ADDROF_VAR", "a D variable has no address", e.operand.span,
                    "its members and elements have: write &x.member or &x[0]",
                )  # fmt: skip
        return _address_of(place, Pointer(place.type), e.span)
    raise fail("D_ADDROF_LVAL", "& needs something that lies in memory", e.operand.span)


def _address_of(place: Mem, t: Type, span: Span) -> TExpr:
    if not place.offset:  # &*p, &p[0]
        return convert(place.base, t) if same(place.base.type, t) else AddrOf(t, span, place)
    return AddrOf(t, span, place)


# ---- associative arrays


def _assoc(cx: Scope, var: Variable, e: ast.Index) -> TExpr:
    assert var.keys is not None
    if len(var.keys) != len(e.keys):
        raise fail(
            "D_PROTO_LEN", f'"{var.name}" takes {len(var.keys)} keys, {len(e.keys)} are given', e.span,
            f"its keys are [{_listed(var.keys)}]",
        )  # fmt: skip
    values = [key_value(cx, given) for given in e.keys]
    keys = []
    for want, key, given in zip(var.keys, values, e.keys):
        if not _fits(key, want):
            raise fail(
                "D_PROTO_ARG", f'the keys of "{var.name}" are [{_listed(var.keys)}], '
                f"here they are [{_listed([k.type for k in values])}]", given.span,
            )  # fmt: skip
        keys.append(to_string(key) if is_string(want) else convert(key, want))
    return check_names.shown(cx, Assoc(var.type, e.span, var, tuple(keys)))


def key_value(cx: Scope, e: ast.Expr) -> TExpr:
    """A value in a tuple: an integer, a pointer or a string."""
    found = cx.expr(e)
    chars = isinstance(found, Mem) and isinstance(unqualified(found.type), Array) and is_stringlike(found.type)
    key = to_string(found) if chars else check_xlate.native(decay(found))
    if not (is_int(key.type) or is_ptr(key.type) or is_string(key.type)):
        raise fail("D_KEY_TYPE", f'a key is an integer, a pointer or a string; this is "{key.type}"', e.span)
    computable(key, "D_KEY_TYPE", "a key")
    return key


def _fits(key: TExpr, want: Type) -> bool:
    """Whether a key can be of the type that the first use (or the declaration) fixed."""
    u = unqualified(key.type)
    return is_stringlike(u) if is_string(want) else is_int(u) or (is_pointer(u) and not is_string(u))


def _listed(types: Iterable[Type]) -> str:
    """Types of keys, as a script would declare them: an integer's first use makes it 64 bits wide."""
    return ", ".join(["int64_t" if t is LONG else str(t) for t in types])
