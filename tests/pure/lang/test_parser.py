"""Clauses, statements, programs; the two scripts dsight was born from."""

from __future__ import annotations

import pytest
from parsing import TYPES, item, parse, refused, statements

from dsight.lang import ast, parser, show
from dsight.lang.macros import Macros
from dsight.source import Source
from dsight.testing.work import lines_run

CONNECT = """#!/usr/sbin/dtrace -qs
syscall::connect:entry
{
        socks = (struct sockaddr*) copyin(arg1, arg2);
        hport = (uint_t) socks->sa_data[0];
        lport = (uint_t) socks->sa_data[1];
        hport <<= 8;
        port = hport + lport;

        printf("%s: %d.%d.%d.%d:%d\\n", execname, socks->sa_data[2], socks->sa_data[3], socks->sa_data[4], socks->sa_data[5], port);
}
"""  # noqa: E501
REQUEST = """#!/usr/sbin/dtrace -qs
tcp:::connect-request
{
        printf("%s: %s:%d\\n", execname, args[2]->ip_daddr, args[4]->tcp_dport);
}
"""


def test_the_first_birth_script() -> None:
    clause = item(CONNECT)
    assert [str(p) for p in clause.probes] == ["syscall::connect:entry"]
    assert clause.predicate is None
    first, *_, last = clause.body
    assert len(clause.body) == 6
    cast = first.expr.value
    assert isinstance(cast, ast.Cast) and show.type_text(cast.type) == "struct sockaddr *"
    assert isinstance(cast.operand, ast.Call) and cast.operand.name == "copyin"
    assert clause.body[3].expr.op == "<<"
    assert last.expr.name == "printf" and len(last.expr.args) == 7
    assert last.expr.args[0].value == b"%s: %d.%d.%d.%d:%d\n"


def test_the_second_birth_script() -> None:
    clause = item(REQUEST)
    assert [str(p) for p in clause.probes] == ["tcp:::connect-request"]
    (printf,) = clause.body
    assert [show.expression(a) for a in printf.expr.args[1:]] == [
        "execname", "args[2]->ip_daddr", "args[4]->tcp_dport"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, fields",
    [
        ("BEGIN", ("", "", "", "BEGIN", -1)),
        ("read:entry", ("", "", "read", "entry", -1)),
        ("a.out:main:entry", ("", "a.out", "main", "entry", -1)),
        ("syscall::open*:entry", ("syscall", "", "open*", "entry", -1)),
        ("syscall:::", ("syscall", "", "", "", -1)),
        ("tick-1s", ("", "", "", "tick-1s", -1)),
        ("::", ("", "", "", "", -1)),
        ("123", ("", "", "", "", 123)),
    ],
)
def test_probe_descriptions(text: str, fields: tuple[object, ...]) -> None:
    (desc,) = item(text).probes
    assert (desc.provider, desc.module, desc.function, desc.name, desc.id) == fields
    assert desc.span.text == text


def test_a_description_of_the_target() -> None:
    program = parse("pid$target:libc.so.6:malloc:entry { $target; }", Macros({"target": 7}))
    assert str(program.items[0].probes[0]) == "pid7:libc.so.6:malloc:entry"  # type: ignore[union-attr]


def test_err_D_PDESC_INVAL() -> None:
    assert refused("a:b:c:d:e {}").tag == "D_PDESC_INVAL"


def test_clauses() -> None:
    clause = item("BEGIN, tick-1s,\n123 /a && b/ { x; }")
    assert len(clause.probes) == 3 and clause.predicate.op == "&&" and len(clause.body) == 1
    assert item("BEGIN {}").body == ()
    assert item("BEGIN").body is None
    assert item("BEGIN;").body is None
    assert item("BEGIN /x/").body is None
    first, second = parse("BEGIN /x/ syscall:::entry { y; }").items
    assert isinstance(first, ast.Clause) and first.body is None and first.predicate is not None
    assert isinstance(second, ast.Clause) and second.predicate is None
    assert item("BEGIN /a / b == 2/ {}").predicate.left.op == "/"
    assert item("BEGIN /x = 1/ {}").predicate.op == ""
    assert item("BEGIN /a / b/ {}").predicate.op == "/"


def test_programs() -> None:
    assert parse("").items == ()
    assert parse("/* nothing */ ;;").items == ()
    kinds = [
        type(i).__name__
        for i in parse("int x; BEGIN {}; #\n\n; END {} inline int X = 1; struct s;".replace("#", "")).items
    ]
    assert kinds == ["Declaration", "Clause", "Clause", "Inline", "Declaration"]


def test_statements() -> None:
    assert statements("") == ()
    assert statements(";;;") == ()
    assert len(statements("a; b; c")) == 3
    assert len(statements("a; { b; { c; } } {} d")) == 4
    names = [type(s).__name__ for s in statements("@ = count(); x = 1; if (x) y;")]
    assert names == ["AggStmt", "ExprStmt", "If"]


def test_if() -> None:
    (stmt,) = statements("if (a) b; else if (c) { d; e } else { }")
    assert len(stmt.then) == 1
    (inner,) = stmt.other
    assert isinstance(inner, ast.If) and len(inner.then) == 2 and inner.other == ()
    (stmt,) = statements("if (a) if (b) c; else d;")
    assert stmt.other == () and len(stmt.then[0].other) == 1  # else goes with the nearest if
    (stmt,) = statements("if (a) ; else ;")
    assert stmt.then == () == stmt.other


def test_nesting_of_blocks_is_bounded() -> None:
    assert refused("BEGIN {" + "if (a) {" * 5000).tag == "D_SYNTAX"
    assert refused("BEGIN {" + "if (a) " * 5000).tag == "D_SYNTAX"
    assert refused("BEGIN {" + "if (a) b; else " * 5000).tag == "D_SYNTAX"
    assert refused("BEGIN " + "{" * 5000).tag == "D_SYNTAX"
    statements("if (a) b; " + "else if (a) b; " * 50)


def test_work_grows_with_the_script() -> None:
    def script(clauses: int) -> Source:
        text = "".join(
            f'syscall::read{i}:entry\n/execname == "a{i}" && arg2 > {i}/\n{{\n'
            f"  self->t{i} = timestamp; @a[execname, probefunc] = count();\n"
            f'  printf("%d\\n", args[0]->x.y[{i}] + (uint_t)arg1);\n}}\n'
            for i in range(clauses)
        )
        return Source("t.d", text)

    few, many = (lines_run(lambda n=n: parser.parse(script(n), None, TYPES.__contains__)) for n in (10, 50))
    assert many < 6 * few
