"""Syntax tree to typed tree: `check` is the way in.

Items are checked in source order, as D reads them: a name exists from where it is
declared or first assigned.  An error ends its clause or declaration; the others are
still checked, so that one run shows what is wrong with each.
"""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, check_act, check_agg, check_expr, check_ops, check_stmt, check_xlate, declare
from dsight.lang.check_convert import same
from dsight.lang.library import Library, is_type_name
from dsight.lang.scope import Clause, Scope, suggest, unsupported
from dsight.lang.typed import Clause as TypedClause
from dsight.lang.typed import Script, TExpr, Variable
from dsight.lang.types import Array, Float, Func, Int, Struct, Type, Void, unqualified
from dsight.source import Diagnostic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.catalog import ArgType, Catalog, Probe
    from dsight.source import Span

__all__ = ["Library", "check", "is_type_name"]

_SHOWN = 10  # errors of one run
_FOLLOWS = ("D_IDENT_UNDEF", "D_VAR_UNDEF", "D_TYPE_ERR")  # likely consequences of an error before


def check(
    program: ast.Program,
    catalog: Catalog,
    *,
    options: dict[str, str] | None = None,
    unmatched_ok: bool = False,
    library: Library | None = None,
) -> Script:
    """Check a program against what the machine has.

    `unmatched_ok` (-Z, option zdefs): descriptions that match no probe are fine.
    `library`: D library to use instead of the shipped one alone.
    Raises CompileError with up to 10 diagnostics, the first one first.
    """
    unmatched_ok = unmatched_ok or "zdefs" in (options or {})
    cx = Scope(catalog, library or Library(catalog), check_expr.RULES)
    cx.program = program
    clauses: list[TypedClause] = []
    pragmas: list[tuple[str, str, Span]] = []
    errors: list[Diagnostic] = []
    for item in program.items:
        try:
            if isinstance(item, ast.Clause):
                clauses += _clauses(cx, item, len(clauses), unmatched_ok)
            elif isinstance(item, ast.Declaration):
                declaration(cx, item)
            elif isinstance(item, ast.Inline):
                check_xlate.define_inline(cx, item)
            elif isinstance(item, ast.Translator):
                check_xlate.define(cx, item)
            elif isinstance(item, ast.Pragma):
                _pragma(cx, item, pragmas)
                unmatched_ok = unmatched_ok or (item.name == "option" and item.words[:1] == ("zdefs",))
            else:
                raise unsupported("a provider declaration in a script is", item.span)
        except RecursionError:
            raise fail("D_UNKNOWN", "an expression is nested too deeply", item.span) from None
        except CompileError as error:
            cx.clause, cx.params, cx.expanding = None, {}, []
            if not errors or error.tag not in _FOLLOWS:
                errors += error.diagnostics
    if errors:
        raise CompileError(errors[:_SHOWN])
    while cx.kept:
        item = cx.kept.pop(0)
        if _probes(cx.catalog, item.probes, True):  # a kernel may have none of them: then nothing is kept
            clauses += [c.replace(kept=True) for c in _clauses(cx, item, len(clauses), True)]
    if cx.widened:
        clauses = [c.replace(body=check_agg.rewiden(c.body, cx)) for c in clauses]
    return Script(tuple(clauses), tuple(cx.variables.values()), tuple(cx.aggs.values()), tuple(pragmas))


# ---- clauses


def _clauses(cx: Scope, item: ast.Clause, index: int, unmatched_ok: bool) -> list[TypedClause]:
    """One clause; where args[] differs, one for each description, and for each set of types that a script
    sees as the same."""
    found = _probes(cx.catalog, item.probes, unmatched_ok)
    if len(item.probes) < 2:
        return _clauses_of(cx, item, index, found)
    try:
        return [_clause(cx, item, index, found)]
    except CompileError as error:
        if error.tag != "D_ARGS_MULTI":
            raise
    left = {p.id for p in found}
    made: list[TypedClause] = []
    for desc in item.probes:
        own = tuple([p for p in cx.catalog.probes(desc) if p.id in left])
        left.difference_update([p.id for p in own])
        if own:
            made += _clauses_of(cx, item.replace(probes=(desc,)), index + len(made), own)
    return made


def _clauses_of(cx: Scope, item: ast.Clause, index: int, found: tuple[Probe, ...]) -> list[TypedClause]:
    """The clause for the probes of one description."""
    try:
        return [_clause(cx, item, index, found)]
    except CompileError as error:
        if error.tag != "D_ARGS_MULTI":
            raise
        sets = _by_arguments(cx.catalog, found, error)
    return [_clause(cx, item, index + n, own) for n, own in enumerate(sets)]


def _by_arguments(catalog: Catalog, found: tuple[Probe, ...], error: CompileError) -> list[tuple[Probe, ...]]:
    """The probes, by the types of args[].  Raises the error where a probe has none that is translated: its types are
    what the script sees."""
    sets: dict[tuple[ArgType, ...], list[Probe]] = {}
    for probe in found:
        types = catalog.args(probe) or ()
        if not any(t.translated for t in types):
            raise error
        sets.setdefault(types, []).append(probe)
    return [tuple(own) for own in sets.values()]


def _clause(cx: Scope, item: ast.Clause, index: int, found: tuple[Probe, ...]) -> TypedClause:
    cx.clause = Clause(", ".join([str(d) for d in item.probes]), found)
    predicate = None if item.predicate is None else _predicate(cx, item.predicate)
    body = check_stmt.body(cx, item.body or ())
    check_act.order(body)
    members = tuple(sorted(cx.clause.members))
    cx.clause = None
    return TypedClause(index, found, predicate, body, not item.body, item.span, members)


def _predicate(cx: Scope, e: ast.Expr) -> TExpr:
    return check_ops.scalar(cx, e, "a predicate", "D_PRED_SCALAR")


def _probes(catalog: Catalog, descs: tuple[ast.ProbeDesc, ...], unmatched_ok: bool) -> tuple[Probe, ...]:
    """The probes of a clause, each once, in listing order of each description."""
    if len(descs) == 1:
        found = catalog.probes(descs[0])
        if not found and not unmatched_ok:
            raise _unmatched(catalog, descs[0])
        return tuple(found)
    seen: dict[int, Probe] = {}
    for desc in descs:
        found = catalog.probes(desc)
        if not found and not unmatched_ok:
            raise _unmatched(catalog, desc)
        for probe in found:
            seen.setdefault(probe.id, probe)
    return tuple(seen.values())


def _unmatched(catalog: Catalog, desc: ast.ProbeDesc) -> CompileError:
    message = f"probe description {desc} does not match any probes"
    hint = None if desc.id >= 0 else _near(catalog, desc)
    return fail("D_PDESC_ZERO", message, desc.span, hint or "dtrace -l lists the probes there are; -Z allows none")


def _near(catalog: Catalog, desc: ast.ProbeDesc) -> str | None:
    """What may have been meant: the field that is wrong, with near names."""
    fields = ("provider", "module", "function", "name")
    if desc.provider and not desc.module.startswith("/"):
        everything = catalog.probes(desc.replace(provider="", module="", function="", name=""))
        providers = sorted({p.provider for p in everything})
        if not any(c in desc.provider for c in "*?[") and desc.provider not in providers:
            return suggest(desc.provider, providers) or _no_provider(desc.provider, ", ".join(providers[:20]))
    for field in reversed(fields):  # the name first: the commonest slip
        given = getattr(desc, field)
        if not given:
            continue
        there = catalog.probes(desc.replace(**{field: ""}))
        if there:
            names = sorted({getattr(p, field) for p in there})
            near = suggest(given, names)
            if near is not None:
                return near
            if len(names) <= 8:
                return f"the {field} can be {', '.join(n or '(empty)' for n in names)}"
            return f"no {field} is called {given}: see dtrace -l -P {there[0].provider}"
    if not desc.name or desc.module.startswith("/"):
        return None
    return suggest(desc.name, {p.name for p in catalog.probes(desc.replace(module="", function="", name=""))})


def _no_provider(name: str, there: str) -> str:
    family = name.rstrip("0123456789")
    if name in _KNOWN or (family == "pid" and family != name):
        return f"the {family} provider is not supported yet; there are {there}"
    usdt = " (probes in programs, USDT, are not supported yet)" if family != name else ""
    return f"there is no provider {name}; there are {there}{usdt}"


# D's providers: a description of one that is not there is no slip of the pen.
_KNOWN = frozenset("cpc fbt io ip lockstat mib plockstat proc sched sctp sdt sysinfo tcp udp udplite vminfo".split())


# ---- declarations of variables and types


def declaration(cx: Scope, decl: ast.Declaration) -> None:
    """typedefs, structs, unions, enums; global, self and this variables."""
    spec = decl.spec
    if spec.storage in ("static", "register", "auto"):
        raise fail("D_DECL_BADCLASS", f'"{spec.storage}" has no meaning in D', spec.span, f"remove {spec.storage}")
    if spec.storage == "typedef" or not decl.declarators:
        if not decl.declarators and (not spec.tag_kind or spec.storage):
            raise fail("D_DECL_USELESS", "this declares nothing: a name is missing", decl.span)
        declare.types(cx, decl)
        return
    base = declare.types(cx, decl)
    scope = spec.storage if spec.storage in ("self", "this") else "global"
    for d in decl.declarators:
        _variable(cx, scope, base, d)


def _variable(cx: Scope, scope: str, base: Type, d: ast.Declarator) -> None:
    from dsight.lang.builtins import VARIABLES

    keys: tuple[Type, ...] | None = None
    levels = d.levels
    if levels and isinstance(levels[0], ast.ArrayOf) and levels[0].keys is not None:
        if scope == "this":
            raise fail(
                "D_DECL_LOCASSC", "clause-local associative arrays do not exist", d.span, "use self or a global one"
            )
        keys = tuple([_key(cx, k) for k in levels[0].keys])
        levels = levels[1:]
    t = declare.declarator_type(cx, base, d.replace(levels=levels))
    u = unqualified(t)
    if isinstance(u, Void):
        raise fail("D_DECL_VOIDOBJ", f'a variable cannot be void: "{d.name}"', d.span)
    if d.bits is not None:
        raise fail("D_DECL_BFTYPE", "only members of structs can be bit-fields", d.span)
    if isinstance(u, Func):
        raise unsupported("declaring functions is", d.span)
    if isinstance(u, Struct):
        if u.incomplete:
            raise fail("D_DECL_INCOMPLETE", f'"{t}" is declared but not defined', d.span)
    if isinstance(u, Array) and not u.count:
        raise fail(
            "D_DECL_ARRNULL", f'the array "{d.name}" needs a size', d.span,
            f"an associative array is declared so: int {d.name}[int];",
        )  # fmt: skip
    if isinstance(u, Float) or (isinstance(u, Int) and u.size > 8):
        what = "floating-point" if isinstance(u, Float) else f"{8 * u.size}-bit"
        raise unsupported(f"a {what} variable is", d.span, "D computes with integers of up to 64 bits")
    declare.variable_size(t, scope if keys is None else "self", d.name, d.span)
    if scope == "global" and (d.name in cx.inlines or d.name in cx.enumerators or d.name in VARIABLES):
        raise fail("D_DECL_IDRED", f'"{d.name}" exists already', d.span, "choose another name")
    known = cx.variables.get((scope, d.name))
    if known is not None:
        if not same(known.type, t) or not _same_keys(known.keys, keys):
            raise fail("D_DECL_IDRED", f'"{d.name}" is declared or used above as "{known.type}"', d.span)
        return
    cx.variables[scope, d.name] = Variable(scope, d.name, t, keys)


def _same_keys(a: tuple[Type, ...] | None, b: tuple[Type, ...] | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))


def _key(cx: Scope, k: ast.TypeName) -> Type:
    from dsight.lang.check_convert import is_int, is_ptr, is_string

    t = declare.type_name(cx, k)
    if not (is_int(t) or is_ptr(t) or is_string(t)):
        raise fail("D_KEY_TYPE", f'a key is an integer, a pointer or a string, not "{t}"', k.span)
    return t


# ---- pragmas


def _depends_on(cx: Scope, kind: str, name: str, span: Span) -> None:
    """Refuse a script whose provider or library is not there.  Modules of the kernel come and go, and other
    systems call theirs by other names: a script finds out by its probes."""
    from dsight.lang.library import files

    hint = None
    if kind == "provider" and not cx.catalog.probes(ast.ProbeDesc(name, "", "", "", -1, span)):
        everything = cx.catalog.probes(ast.ProbeDesc("", "", "", "", -1, span))
        hint = suggest(name, {p.provider for p in everything})
    elif kind == "library" and name not in files():
        hint = suggest(name, files())
    else:
        return
    raise fail("D_PRAGMA_DEPEND", f"the script depends on the {kind} {name}, which is not there", span, hint)


def _pragma(cx: Scope, item: ast.Pragma, options: list[tuple[str, str, Span]]) -> None:
    """#pragma D option name[=value]; error; depends_on.  Stability pragmas are accepted and change nothing."""
    words = item.words
    if item.name == "option":
        if not words:
            raise fail("D_PRAGMA_MALFORM", "#pragma D option needs a name", item.span, "#pragma D option name=value")
        name, equals, value = " ".join(words).partition("=")
        name, value = name.strip(), value.strip()
        if " " in name or (not equals and len(words) > 1) or not name:
            raise fail("D_PRAGMA_MALFORM", "#pragma D option takes one name=value", item.span)
        options.append((name, value, item.span))
    elif item.name == "error":
        raise fail("D_PRAGERR", " ".join(words) or "#pragma D error", item.span)
    elif item.name == "depends_on":
        if len(words) != 2 or words[0] not in ("provider", "module", "library"):
            raise fail(
                "D_PRAGMA_MALFORM", "#pragma D depends_on takes provider, module or library, and a name", item.span
            )
        _depends_on(cx, *words, item.span)
    elif item.name in ("attributes", "binding"):
        if not words:
            raise fail("D_PRAGMA_MALFORM", f"#pragma D {item.name} needs arguments", item.span)
    elif item.name != "line":
        raise fail(
            "D_PRAGMA_INVAL", f"unknown pragma {item.name}", item.span,
            suggest(item.name, ("option", "error", "depends_on", "attributes", "binding")),
        )  # fmt: skip
