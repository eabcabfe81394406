"""stack() ustack() jstack(), and func mod sym uaddr ufunc umod usym: actions that show code.

Each may stand in three places: as a statement, as an argument of printf()'s %k, %a or %A, and
as a key of an aggregation.  Everywhere a typed.Call carries it, of type Stack or Symaddr;
nothing else in D takes such a value.
"""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast, check_ops
from dsight.lang.check_convert import convert, is_int, is_ptr
from dsight.lang.scope import Scope
from dsight.lang.typed import ActionStmt, Call, TExpr, TStmt
from dsight.lang.types import MOST_FRAMES, ULONG, Stack, Symaddr

STACKS = frozenset({"stack", "ustack", "jstack"})
SYMBOLS = frozenset({"func", "mod", "sym", "uaddr", "ufunc", "umod", "usym"})


def is_code(e: object) -> bool:
    """Whether a syntax node calls one of these actions."""
    return isinstance(e, ast.Call) and (e.name in STACKS or e.name in SYMBOLS)


def statement(cx: Scope, call: ast.Call) -> TStmt:
    """stack(); and its like"""
    return ActionStmt(call.span, call.name, (value(cx, call),))


def value(cx: Scope, call: ast.Call) -> TExpr:
    """The value to be recorded."""
    return _stack(cx, call) if call.name in STACKS else _symbol(cx, call)


def _stack(cx: Scope, call: ast.Call) -> TExpr:
    """stack([frames]), ustack([frames[, strsize]]), jstack([frames[, strsize]])"""
    user = call.name != "stack"
    family = "USTACK" if user else "STACK"
    most = 2 if user else 1
    if len(call.args) > most:
        spelled = "[frames[, strsize]]" if user else "[frames]"
        raise fail(
            f"D_{family}_PROTO", f"{call.name}() has {len(call.args)} arguments", call.span, f"{call.name}({spelled})"
        )
    frames = -1 if call.name == "jstack" else 0
    if call.args:
        frames = _number(cx, call, 0, "D_USTACK_FRAMES" if user else "D_STACK_SIZE", 1, "number of frames")
    if len(call.args) > 1:  # names come from perf maps, which need no room in the record
        _number(cx, call, 1, "D_USTACK_STRSIZE", 0, "size for strings")
    return Call(Stack(user, min(frames, MOST_FRAMES)), call.span, call.name, ())


def _number(cx: Scope, call: ast.Call, n: int, tag: str, least: int, what: str) -> int:
    given = call.args[n]
    found = cx.constant(given) if isinstance(given, ast.Expr) else None
    if found is None or not is_int(found.type) or found.value < least:
        raise fail(tag, f"the {what} of {call.name}() must be an integer constant of {least} or more", given.span)
    return found.value


def _symbol(cx: Scope, call: ast.Call) -> TExpr:
    """func(address) and its like"""
    name = call.name
    if len(call.args) != 1:
        raise fail(
            "D_PROTO_LEN", f"{name}() takes one address, {len(call.args)} are given", call.span, f"{name}(address)"
        )
    given = call.args[0]
    if not isinstance(given, ast.Expr):
        raise fail("D_PROTO_ARG", f"{name}() takes an address, this is a type", given.span)
    return symbol_of(check_ops.operand(cx, given), name)


def symbol_of(v: TExpr, action: str) -> TExpr:
    """The address `v` as the action shows it."""
    if not (is_int(v.type) or is_ptr(v.type)) or v.type.size > 8:
        raise fail("D_PROTO_ARG", f'argument 1 of {action}() must be an address, this is "{v.type}"', v.span)
    return Call(Symaddr(action), v.span, action, (convert(v, ULONG),))


def misplaced(call: ast.Call) -> CompileError:
    """Used as a value where there is no place for it."""
    name = call.name
    letter = "k" if name in STACKS else "A" if name.startswith("u") else "a"
    return fail(
        "D_OP_ACT", f"{name}() is an action: its value cannot be used in an expression", call.span,
        f'write it as a statement, as a key of an aggregation, or as the argument of printf("%{letter}")',
    )  # fmt: skip
