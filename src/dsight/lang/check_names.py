"""Names: variables, built-ins, constants, kernel symbols, and the arrays args[], fds[], uregs[]."""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, builtins, check_call, check_xlate, constants, declare, registers
from dsight.lang.check_convert import (
    convert,
    decay,
    is_int,
    scaled,
    wrap,
)
from dsight.lang.scope import Scope, Translated, suggest, unsupported
from dsight.lang.typed import (
    AddrOf,
    Arg,
    Assoc,
    Binary,
    Builtin,
    Call,
    Cond,
    Const,
    Convert,
    Let,
    Mem,
    Temp,
    TExpr,
    Var,
    Variable,
)
from dsight.lang.types import (
    INT,
    LONG,
    ULONG,
    VOID,
    Array,
    Pointer,
    Struct,
    Void,
    unqualified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.catalog import ArgType, Probe
    from dsight.lang.scope import Clause
    from dsight.source import Span

_VOID_POINTER = Pointer(VOID)


def ident(cx: Scope, e: ast.Expr) -> TExpr:
    """An identifier: parameter, variable, inline, enumerator, built-in, constant, library name."""
    assert isinstance(e, ast.Ident)
    found = known(cx, e)
    if found is not None:
        return found
    raise undefined(cx, e)


def known(cx: Scope, e: ast.Ident) -> TExpr | None:
    """What an identifier stands for; None if nothing is called so (yet)."""
    name, span = e.name, e.span
    if name in cx.params:
        return cx.params[name]
    var = cx.variables.get(("global", name))
    if var is not None:
        if var.keys is not None:
            raise fail("D_ARR_BADREF", f'"{name}" is an associative array: which element?', span, f"write {name}[key]")
        return shown(cx, Var(var.type, span, var))
    item = cx.inlines.get(name)
    if item is not None:
        return _inline(cx, item, span)
    if name in cx.enumerators:
        value, t = cx.enumerators[name]
        return Const(t, span, value)
    spelling = builtins.VARIABLES.get(name)
    if spelling is not None:
        if name in builtins.MEMBERS:
            return Call(declare.spelled(cx, spelling), span, name, check_call.offsets(cx, name, span))
        return Builtin(declare.spelled(cx, spelling), span, name)
    if name[:3] == "arg" and len(name) == 4 and name[3].isdigit():
        return Arg(declare.spelled(cx, "int64_t"), span, int(name[3]))
    if name == "NULL":
        return Const(_VOID_POINTER, span, 0)
    if name in builtins.TRANSLATED_VARIABLES:
        return _translated_builtin(cx, name, span)
    if name in builtins.ARRAYS:
        raise fail("D_ARR_BADREF", f'"{name}" is an array: which element?', span, f"write {name}[0]")
    value_or_none = constants.lookup(name)
    if value_or_none is not None:
        return Const(INT, span, value_or_none)
    return _library(cx, name, span) or _enumerator(cx, name, span)


def _inline(cx: Scope, item: ast.Inline, span: Span) -> TExpr:
    name = item.decl.declarators[0].name
    if item.params is not None:
        raise fail("D_ARR_BADREF", f'"{name}" takes parameters', span, f"write {name}[...]")
    return check_xlate.inline(cx, item, (), span)


def _library(cx: Scope, name: str, span: Span) -> TExpr | None:
    if not cx.library.declares(name) and cx.library.inline(name) is None:
        return None
    item = cx.library.inline(name)
    if item is not None:
        return _inline(cx, item, span)
    decl = cx.library.declaration(name)
    if decl is not None and decl.spec.storage != "typedef":
        declare.types(cx, decl, library=True)
        if name in cx.enumerators:
            value, t = cx.enumerators[name]
            return Const(t, span, value)
    return None


def kept(cx: Scope, name: str) -> Variable | None:
    """A variable that the library keeps: declared, with its file's other ones and their clauses, at first use."""
    file = cx.library.variable(name)
    if file is None:
        return None
    from dsight.lang.check import declaration

    for item in file.items:
        if isinstance(item, ast.Clause):
            cx.kept.append(item)
        elif isinstance(item, ast.Declaration) and not item.spec.storage:
            declaration(cx, item)
    return cx.variables["global", name]


def _enumerator(cx: Scope, name: str, span: Span) -> TExpr | None:
    """An enumerator of the kernel, if it is written as they are: a misspelt variable must not become one."""
    value = cx.catalog.enumerator(name) if name.isupper() else None
    if value is None:
        return None
    return Const(INT if -0x8000_0000 <= value <= 0x7FFF_FFFF else LONG, span, value)


def undefined(cx: Scope, e: ast.Ident) -> CompileError:
    name, span = e.name, e.span
    if name in builtins.SUBROUTINES or name in builtins.ACTIONS:
        return fail("D_IDENT_BADREF", f'"{name}" is a function', span, f"call it: {name}(...)")
    if name in builtins.AGGREGATING:
        return fail("D_IDENT_BADREF", f'"{name}" is an aggregating function', span, f"write @name = {name}(...)")
    if name in ("self", "this"):
        return fail("D_IDENT_BADREF", f'"{name}" needs a name', span, f"write {name}->name")
    if declare.find_typedef(cx, name) is not None:
        return fail("D_IDENT_BADREF", f'"{name}" is a type, a value is wanted', span)
    hint = _assigned_later(cx, "", name) or suggest(name, _names(cx))
    hint = hint or f"a variable exists once it is assigned or declared; a kernel variable is written `{name}"
    return fail("D_IDENT_UNDEF", f'unknown name "{name}"', span, hint)


def _names(cx: Scope) -> list[str]:
    return [
        *(name for scope, name in cx.variables if scope == "global"),
        *cx.params, *cx.inlines, *cx.enumerators, *builtins.VARIABLES, *builtins.TRANSLATED_VARIABLES,
        *builtins.ARRAYS, *constants.names(), *cx.library.names(), *(f"arg{n}" for n in range(10)),
    ]  # fmt: skip


def scoped(cx: Scope, e: ast.Expr) -> TExpr:
    """self->name, this->name"""
    assert isinstance(e, ast.ScopedVar)
    var = cx.variables.get((e.scope, e.name))
    if var is None:
        raise undefined_scoped(cx, e)
    if var.keys is not None:
        raise fail(
            "D_ARR_BADREF", f'"{e.scope}->{e.name}" is an associative array: which element?', e.span,
            f"write {e.scope}->{e.name}[key]",
        )  # fmt: skip
    return shown(cx, Var(var.type, e.span, var))


def shown(cx: Scope, e: Var | Assoc) -> TExpr:
    """A variable.  One that is a struct, union or array is a place in memory; one that was assigned a
    translated pointer is that."""
    translated = cx.translated.get(e.var) if cx.translated else None
    if translated is not None:
        return translated.replace(span=e.span, input=e)
    if isinstance(unqualified(e.type), (Struct, Array)):
        return Mem(e.type, e.span, AddrOf(Pointer(e.type), e.span, e), 0)
    return e


def undefined_scoped(cx: Scope, e: ast.ScopedVar) -> CompileError:
    spelled = f"{e.scope}->{e.name}"
    hint = _assigned_later(cx, e.scope, e.name)
    if hint is None:
        others = [f"{scope}->{name}" for scope, name in cx.variables if scope == e.scope]
        hint = suggest(spelled, others) or f"assign it before: {spelled} = ...; or declare it: {e.scope} int {e.name};"
    return fail("D_VAR_UNDEF", f'"{spelled}" has not been assigned or declared yet', e.span, hint)


def _assigned_later(cx: Scope, scope: str, name: str) -> str | None:
    """A hint where the script does assign the variable, further down."""
    found = _find_assignment(cx.program, scope, name)
    if found is None:
        return None
    spelled = f"{scope}->{name}" if scope else name
    return (
        f"{spelled} is assigned in line {found.line}, but D reads a script from top to bottom: "
        f"put that clause first, or declare it at the top ({scope + ' ' if scope else ''}int {name};)"
    )


def _find_assignment(node: object, scope: str, name: str) -> Span | None:
    """The first assignment to the variable anywhere below a syntax node."""
    if isinstance(node, tuple):
        for part in node:
            found = _find_assignment(part, scope, name)
            if found is not None:
                return found
        return None
    if not isinstance(node, (ast.Program, ast.Clause, ast.Stmt, ast.Expr)):
        return None
    if isinstance(node, ast.Assign):
        target = node.target.base if isinstance(node.target, ast.Index) else node.target
        if isinstance(target, ast.ScopedVar) and (target.scope, target.name) == (scope, name):
            return target.span
        if not scope and isinstance(target, ast.Ident) and target.name == name:
            return target.span
    for field in node._fields:
        part = getattr(node, field)
        if isinstance(part, (tuple, ast.Stmt, ast.Expr, ast.Clause)):
            found = _find_assignment(part, scope, name)
            if found is not None:
                return found
    return None


def symbol(cx: Scope, e: ast.Expr) -> TExpr:
    """`name, module`name: an object of the kernel."""
    assert isinstance(e, ast.Symbol)
    found = cx.catalog.symbol(e.module, e.name)
    if found is None:
        where = f" in module {e.module}" if e.module else ""
        raise fail(
            "D_IDENT_UNDEF", f"the kernel lists no symbol {e.name}{where}", e.span, cx.catalog.symbols_hint(e.name)
        )
    address, t = found
    if t is None:
        raise fail(
            "D_SYM_NOTYPES", f"the kernel does not say of which type {e.span.text} is", e.span,
            f"its address is known: *(int *)&{e.span.text}",
        )  # fmt: skip
    return Mem(t, e.span, Const(Pointer(t), e.span, wrap(address, _VOID_POINTER)), 0)


def symbol_address(cx: Scope, e: ast.Symbol, span: Span) -> TExpr | None:
    """&`name of a symbol without a type: void *"""
    found = cx.catalog.symbol(e.module, e.name)
    return None if found is None or found[1] is not None else Const(_VOID_POINTER, span, found[0])


# ---- args[], and the built-ins reached through translators


def _translated_builtin(cx: Scope, name: str, span: Span) -> TExpr:
    spelling, source = builtins.TRANSLATED_VARIABLES[name]
    target = declare.spelled(cx, spelling)
    assert isinstance(target, Pointer)
    given = ident(cx, ast.Ident(span, source))
    made = check_xlate.find(cx, target.to, given.type)
    if made is None:
        raise unsupported(f"{name} is", span)
    return Translated(target, span, made, given)


def arg(cx: Scope, e: ast.Index) -> TExpr:
    """args[n]"""
    clause = cx.clause
    if clause is None:
        raise fail("D_ARGS_NONE", "args[] exists in clauses only", e.span)
    index = cx.constant(e.keys[0])
    if len(e.keys) != 1 or index is None:
        raise fail(
            "D_ARGS_TYPE", "the index of args[] must be an integer constant", e.keys[0].span,
            "each argument has a type of its own",
        )  # fmt: skip
    arg = _clause_arg(cx, clause, index.value, e.span)
    native = declare.spelled(cx, arg.native)
    if isinstance(unqualified(native), Void):
        raise fail("D_ARGS_TYPE", f"args[{index.value}] of {clause.desc} has no value", e.span)
    given: TExpr = Arg(native, e.span, arg.source)
    if arg.through:
        given = check_xlate.through(cx, arg.through, given, e.span)
        native = given.type
    if not arg.translated or arg.translated == arg.native:
        return given
    target = declare.spelled(cx, arg.translated)
    u = unqualified(target)
    if not isinstance(u, Pointer) or not isinstance(unqualified(u.to), Struct):
        return convert(given, target)
    made = check_xlate.find(cx, u.to, native)
    if made is None:
        raise fail(
            "D_ARGS_XLATOR", f'args[{index.value}] is a "{target}", but there is no translator from "{native}"', e.span
        )
    return Translated(target, e.span, made, given)


def _clause_arg(cx: Scope, clause: Clause, index: int, span: Span) -> ArgType:
    """The type of args[index], which all probes of the clause must share."""
    if clause.args is None:
        clause.args = {}
        for probe in clause.probes:
            types = cx.catalog.args(probe)
            if types is None:
                raise fail(
                    "D_ARGS_NONE", f"the types of the arguments of {probe} are not known", span, "use arg0 to arg9"
                )
            clause.args.setdefault(types, probe)
        if not clause.args:
            raise fail("D_ARGS_NONE", f"{clause.desc} matches no probe, so args[] has no types", span)
    found: ArgType | None = None
    first: Probe | None = None
    for types, probe in clause.args.items():
        if not 0 <= index < len(types):
            what = "has no arguments" if not types else f"has args[0] to args[{len(types) - 1}]"
            raise fail("D_ARGS_IDX", f"there is no args[{index}]: {probe} {what}", span)
        if found is None:
            found, first = types[index], probe
        elif types[index] != found:
            raise fail(
                "D_ARGS_MULTI",
                f'args[{index}] is a "{_shown(found)}" for {first}, but a "{_shown(types[index])}" for {probe}',
                span,
                "write a clause for each, or use arg0 to arg9",
            )
    assert found is not None
    return found


def _shown(arg: ArgType) -> str:
    return arg.translated or arg.native


def fd(cx: Scope, e: ast.Index) -> TExpr:
    """fds[n]: the running process's open file, translated (dlib/io.d)"""
    item = cx.library.inline("fds_file")
    assert item is not None
    given = check_xlate.inline(cx, item, e.keys, e.span)
    target = declare.typedef(cx, "fileinfo_t", e.span)
    made = check_xlate.find(cx, target, given.type)
    if made is None:
        raise unsupported("fds[] is", e.span)
    return Translated(target, e.span, made, given)


def register(cx: Scope, e: ast.Index) -> TExpr:
    """uregs[n]: a register of the user's"""
    t = declare.spelled(cx, "uint64_t")
    at = decay(cx.expr(e.keys[0]))
    if len(e.keys) != 1 or not is_int(at.type):
        raise fail(
            "D_ARR_BADREF", "uregs[] takes one index, an integer", e.span, "the registers' names are R_PC, R_SP, ..."
        )
    base = Builtin(Pointer(t), e.span, "uregs")
    size = registers.count()
    if isinstance(at, Const):
        if not 0 <= at.value < size:
            raise fail("D_REGS_IDX", f"there is no register {at.value}: 0 to {size - 1}", e.keys[0].span)
        return Mem(t, e.span, base, at.value * 8)
    number = cx.temp()
    index = Temp(ULONG, at.span, number)
    inside = Binary(INT, at.span, "<", index, Const(ULONG, at.span, size))
    found = Mem(t, e.span, Binary(Pointer(t), e.span, "+", base, scaled(index, 8)), 0)
    fault = Mem(t, e.span, Convert(Pointer(t), e.span, index), 0)  # nothing is there
    return Let(t, e.span, number, convert(at, ULONG), Cond(t, e.span, inside, found, fault))
