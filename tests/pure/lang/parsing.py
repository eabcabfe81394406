"""Helpers of the parser's tests."""

from __future__ import annotations

from typing import Any

import pytest

from dsight.errors import CompileError
from dsight.lang import ast, parser, show
from dsight.lang.macros import Macros
from dsight.source import Diagnostic, Source, Span
from dsight.value import Value

TYPES = frozenset(("uint_t", "pid_t", "size_t", "psinfo_t", "conninfo_t", "mod`thing_t"))


def parse(text: str, macros: Macros | None = None) -> ast.Program:
    return parser.parse(Source("t.d", text), macros, TYPES.__contains__)


def item(text: str) -> Any:
    (only,) = parse(text).items
    return only


def statements(text: str) -> tuple[Any, ...]:
    return item("BEGIN { " + text + " }").body


def expr(text: str) -> ast.Expr:
    return item("BEGIN { x(" + text + "); }").body[0].expr.args[0]


def grouped(text: str) -> str:
    """The expression with every operand in parentheses: shows what binds to what."""
    return _group(statements(text + ";")[0].expr)


def _group(e: Any) -> str:
    match e:
        case ast.Binary(op=op, left=a, right=b):
            return f"({_group(a)} {op} {_group(b)})"
        case ast.Assign(op=op, target=a, value=b):
            return f"({_group(a)} {op}= {_group(b)})"
        case ast.Cond(test=a, then=b, other=c):
            return f"({_group(a)} ? {_group(b)} : {_group(c)})"
        case ast.Comma(left=a, right=b):
            return f"({_group(a)}, {_group(b)})"
        case ast.Unary(op=op, operand=a):
            return f"({op}{_group(a)})"
        case ast.Cast(type=t, operand=a):
            return f"(({show.type_text(t)}) {_group(a)})"
        case ast.Stringof(operand=a):
            return f"(stringof {_group(a)})"
        case ast.SizeofExpr(operand=a):
            return f"(sizeof {_group(a)})"
        case ast.IncDec(op=op, prefix=prefix, operand=a):
            return f"({op}{_group(a)})" if prefix else f"({_group(a)}{op})"
        case ast.Member(base=a, name=name, arrow=arrow):
            return f"({_group(a)}{'->' if arrow else '.'}{name})"
        case ast.Index(base=a, keys=keys):
            return f"({_group(a)}[{', '.join(map(_group, keys))}])"
    return show.expression(e)


def stripped(value: Any) -> Any:
    """Nested tuples of a tree, spans left out: for comparing what was parsed from different texts."""
    if isinstance(value, Value):
        return (type(value).__name__, *[stripped(getattr(value, f)) for f in value._fields if f != "span"])
    if isinstance(value, tuple):
        return tuple(stripped(v) for v in value if not isinstance(v, Span))
    return value


def refused(text: str, macros: Macros | None = None) -> Diagnostic:
    with pytest.raises(CompileError) as caught:
        parse(text, macros)
    return caught.value.diagnostics[0]
