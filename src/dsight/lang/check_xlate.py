"""Translators and inlines: both are expanded where they are used.

A translator says how to make the members of its output struct from its input; a
use of one member is that member's expression with the input put in.  The input is
evaluated once (typed.Let) unless that costs nothing.
"""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, declare
from dsight.lang.check_convert import (
    convert,
    decay,
    is_int,
    is_ptr,
    is_pure,
    is_string,
    pointers_agree,
    same,
    string_hint,
    to_string,
)
from dsight.lang.scope import Scope, Translated, Translator, suggest
from dsight.lang.typed import Let, Temp, TExpr
from dsight.lang.types import Pointer, Qualified, Struct, Type, Typedef, is_stringlike, unqualified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.source import Span


_MAX_DEPTH = 20
_MAX_EXPANSIONS = 20_000  # of one script


# ---- finding a translator


def find(cx: Scope, output: Type, given: Type) -> Translator | None:
    """The translator from `given` to the struct `output`: the script's own, then the library's."""
    struct = unqualified(output)
    if not isinstance(struct, Struct):
        return None
    for made in cx.translators:
        if made.output is struct and _takes(made, given):
            return made
    for key in _keys(output):
        for item in cx.library.translators(key):
            try:
                made = resolve(cx, item)
            except CompileError:
                continue  # its input is a type this kernel does not have
            if made.output is struct and _takes(made, given):
                cx.translators.append(made)
                return made
    return None


def _takes(made: Translator, given: Type) -> bool:
    if same(made.input, given):
        return True
    a, b = unqualified(made.input), unqualified(given)
    return isinstance(a, Pointer) and isinstance(b, Pointer) and same(a.to, b.to)


def _keys(t: Type) -> list[str]:
    """What the library may file a type under: each typedef on the way, then the tag."""
    keys = []
    while isinstance(t, (Typedef, Qualified)):
        if isinstance(t, Typedef):
            keys.append(t.name)
        t = t.to
    if isinstance(t, Struct) and t.name:
        keys.append(f"{t.kind} {t.name}")
    return keys


def resolve(cx: Scope, item: ast.Translator) -> Translator:
    """The types of a translator."""
    output = declare.type_name(cx, item.output)
    struct = unqualified(output)
    if not isinstance(struct, Struct):
        raise fail("D_XLATE_SOU", f'a translator makes a struct or union, not "{output}"', item.output.span)
    return Translator(struct, declare.type_name(cx, item.input), item.name, item.members, item.span)


def define(cx: Scope, item: ast.Translator) -> None:
    """A translator of the script: all its members are checked here."""
    made = resolve(cx, item)
    for known in cx.translators:
        if known.output is made.output and same(known.input, made.input):
            raise fail(
                "D_XLATE_REDECL",
                f'a translator from "{made.input}" to "{item.output.span.text}" exists already',
                item.span,
            )
    cx.translators.append(made)
    seen: set[str] = set()
    stand_in = Translated(made.output, item.span, made, Temp(made.input, item.span, 0))
    for m in item.members:
        if made.output.member(m.name) is None:
            hint = suggest(m.name, [x.name for x in made.output.members])
            raise fail("D_XLATE_MEMB", f'"{item.output.span.text}" has no member "{m.name}"', m.span, hint)
        if m.name in seen:
            raise fail("D_XLATE_MEMB", f'the member "{m.name}" is translated twice', m.span)
        seen.add(m.name)
        member(cx, stand_in, m.name, m.span)


# ---- using one


def xlate(cx: Scope, e: ast.Expr) -> TExpr:
    """xlate < T > (e)"""
    assert isinstance(e, ast.Xlate)
    t = declare.type_name(cx, e.type)
    u = unqualified(t)
    target = u.to if isinstance(u, Pointer) else t
    if not isinstance(unqualified(target), Struct):
        raise fail("D_XLATE_SOU", f'xlate makes a struct or union or a pointer to one, not "{t}"', e.type.span)
    given = decay(cx.expr(e.operand))
    if isinstance(given, Translated):
        raise fail("D_XLATE_NONE", "what is translated already cannot be translated again", e.operand.span)
    made = find(cx, target, given.type)
    if made is None:
        raise none(target, given.type, e.span)
    return Translated(t, e.span, made, given)


def none(target: Type, given: Type, span: Span) -> CompileError:
    hint = "cast the expression to the type a translator takes, or define one: translator T < INPUT name > { ... };"
    return fail("D_XLATE_NONE", f'there is no translator from "{given}" to "{target}"', span, hint)


def native(e: TExpr) -> TExpr:
    """A translated pointer used as a value (compared with NULL, printed): its input."""
    return decay(e.input) if isinstance(e, Translated) else e


def member(cx: Scope, base: Translated, name: str, span: Span) -> TExpr:
    """One member of a translated value."""
    made = base.translator
    slot = made.output.member(name)
    if slot is None:
        hint = suggest(name, [m.name for m in made.output.members])
        raise fail("D_TYPE_MEMBER", f'"{_said(base.type)}" has no member "{name}"', span, hint)
    rule = next((m for m in made.members if m.name == name), None)
    if rule is None:
        offered = ", ".join(m.name for m in made.members)
        raise fail(
            "D_XLATE_NOCONV",
            f'"{name}" is not known here: the translator from "{made.input}" does not give it',
            span,
            f"it gives {offered}" if offered else None,
        )
    if cx.clause is not None:
        cx.clause.members.add((made.output.name, name))
    given = base.input
    where = f"{made.output}.{name} < {made.input}"
    if is_pure(given):
        return _expand(cx, where, {made.name: given}, rule.value, slot.type, span, "D_XLATE_INCOMPAT")
    at = cx.temp()
    stand_in = Temp(given.type, given.span, at)
    body = _expand(cx, where, {made.name: stand_in}, rule.value, slot.type, span, "D_XLATE_INCOMPAT")
    if isinstance(body, Translated):
        return body.replace(input=Let(body.input.type, span, at, given, body.input))
    return Let(body.type, span, at, given, body)


def _said(t: Type) -> Type:
    u = unqualified(t)
    return u.to if isinstance(u, Pointer) else t


def _expand(cx: Scope, what: str, params: dict[str, TExpr], value: ast.Expr, t: Type, span: Span, tag: str) -> TExpr:
    """The expression `value` with parameters put in, as `t`.  `span`: the use, for the message."""
    if what in cx.expanding:
        raise fail("D_IDENT_BADREF", f"{what} is defined by itself", span)
    cx.expansions += 1
    if len(cx.expanding) >= _MAX_DEPTH or cx.expansions > _MAX_EXPANSIONS:
        raise fail("D_ID_OFLOW", "inlines and translators use each other too deeply or too often here", span)
    outer = cx.params
    cx.params = params
    cx.expanding.append(what)
    try:
        return _as(cx, decay(cx.expr(value)), t, value.span, tag)
    except CompileError as error:
        if value.span.source is span.source:
            raise
        used = fail(error.tag, f"{error.message} (in {value.span.source.name})", span, error.diagnostics[0].hint)
        raise CompileError([used.diagnostics[0], *error.diagnostics]) from None
    finally:
        cx.params = outer
        cx.expanding.pop()


def _as(cx: Scope, e: TExpr, t: Type, span: Span, tag: str) -> TExpr:
    """A member's or inline's value as its declared type."""
    u = unqualified(t)
    if isinstance(e, Translated):
        if isinstance(u, Pointer) and e.translator.output is unqualified(u.to):
            return e
        if e.translator.output is u:
            return e
        e = native(e)
    if is_string(u):
        if is_stringlike(e.type):
            return to_string(e)
        raise fail(tag, f'a string is wanted, this is "{e.type}"', span, string_hint(e))
    if is_string(e.type):
        raise fail(tag, f'"{t}" is wanted, this is a string', span)
    if is_int(u) and (is_int(e.type) or is_ptr(e.type)):
        return convert(e, t)
    if is_ptr(u) and is_ptr(e.type) and pointers_agree(u, e.type):
        return convert(e, t)
    if is_ptr(u) and is_int(e.type):
        return convert(e, t)
    if isinstance(u, Struct) and same(u, e.type):
        return e
    raise fail(tag, f'"{t}" is wanted, this is "{e.type}"', span)


# ---- inlines


def find_inline(cx: Scope, name: str) -> ast.Inline | None:
    return cx.inlines.get(name) or cx.library.inline(name)


def define_inline(cx: Scope, item: ast.Inline) -> None:
    """An inline of the script.  One without parameters is checked here; the others where they are used."""
    name = item.decl.declarators[0].name
    span = item.decl.declarators[0].span
    if name in cx.inlines or name in cx.enumerators or ("global", name) in cx.variables:
        raise fail("D_DECL_IDRED", f'"{name}" is declared twice', span)
    _inline_type(cx, item)
    for param in item.params or ():
        declare.declarator_type(cx, declare.specified(cx, param.spec), param.declarators[0])
    cx.inlines[name] = item
    if item.params is None:
        inline(cx, item, (), item.span)


def _inline_type(cx: Scope, item: ast.Inline) -> Type:
    d = item.decl.declarators[0]
    plain = tuple(x for x in d.levels if not (isinstance(x, ast.ArrayOf) and x.keys is not None))
    if item.params is not None and len(plain) == len(d.levels):
        plain = tuple(x for x in d.levels if isinstance(x, ast.Pointers))
    return declare.declarator_type(cx, declare.specified(cx, item.decl.spec), d.replace(levels=plain))


def through(cx: Scope, name: str, given: TExpr, span: Span) -> TExpr:
    """A library's inline of one parameter, of a value that costs nothing."""
    item = cx.library.inline(name)
    assert item is not None and item.params is not None and is_pure(given)
    bound = {item.params[0].declarators[0].name: given}
    return _expand(cx, name, bound, item.value, _inline_type(cx, item), span, "D_OP_INCOMPAT")


def inline(cx: Scope, item: ast.Inline, args: tuple[ast.Expr, ...], span: Span) -> TExpr:
    """An inline with its arguments."""
    name = item.decl.declarators[0].name
    params = item.params or ()
    if len(params) != len(args):
        raise fail("D_PROTO_LEN", f'"{name}" takes {len(params)} parameters, {len(args)} are given', span)
    t = _inline_type(cx, item)
    bound: dict[str, TExpr] = {}
    lets: list[tuple[int, TExpr]] = []
    for param, arg in zip(params, args):
        d = param.declarators[0]
        want = declare.declarator_type(cx, declare.specified(cx, param.spec), d)
        given = decay(cx.expr(arg))
        if not isinstance(given, Translated):
            given = _as(cx, given, want, arg.span, "D_PROTO_ARG")
        if not is_pure(given) and not isinstance(given, Translated):
            at = cx.temp()
            lets.append((at, given))
            given = Temp(given.type, given.span, at)
        bound[d.name] = given
    body = _expand(cx, name, bound, item.value, t, span, "D_OP_INCOMPAT")
    for at, given in reversed(lets):
        body = Let(body.type, span, at, given, body)
    return body
