"""Macro variables, pragmas and other control lines."""

from __future__ import annotations

import os

import pytest
from parsing import expr, parse, refused, statements

from dsight.errors import CompileError
from dsight.lang import ast
from dsight.lang.lexer import tokenize
from dsight.lang.macros import Macros
from dsight.source import Source


def value(text: str, *args: str) -> ast.Expr:
    (stmt,) = parse("BEGIN { " + text + "; }", Macros({}, ("t.d", *args))).items[0].body  # type: ignore[union-attr]
    return stmt.expr


def test_of_process() -> None:
    macros = Macros.of_process(("a",), "x.d", 42, False)
    text = "$ppid; $uid; $euid; $gid; $egid; $pgid; $sid; $projid; $taskid; $target; $$0;"
    clause = parse("BEGIN /pid == $pid/ {" + text + "}", macros).items[0]
    assert isinstance(clause, ast.Clause) and clause.body is not None
    assert clause.predicate.right.value == os.getpid()  # type: ignore[union-attr]
    *numbers, name = [s.expr.value for s in clause.body]  # type: ignore[attr-defined]
    expected = [
        os.getppid(),
        os.getuid(),
        os.geteuid(),
        os.getgid(),
        os.getegid(),
        os.getpgrp(),
        os.getsid(0),
        0,
        0,
        42,
    ]
    assert numbers == expected
    assert name == b"x.d"


def test_an_argument_is_the_token_its_text_is() -> None:
    assert value("$1", "7").value == 7  # type: ignore[attr-defined]
    assert value("$1", "0x1fUL").suffix == "ul"  # type: ignore[attr-defined]
    assert value("$1", "-7").operand.value == 7  # type: ignore[attr-defined]
    assert value("$1", "'a'").value == 97  # type: ignore[attr-defined]
    assert value("$1", '"a b"').value == b"a b"  # type: ignore[attr-defined]
    assert value("$1", "execname").name == "execname"  # type: ignore[attr-defined]
    assert value("$$1", "a b").value == b"a b"  # type: ignore[attr-defined]
    assert value("$$1", "7").value == b"7"  # type: ignore[attr-defined]
    assert value("$10", *"abcdefghij").name == "j"  # type: ignore[attr-defined]


@pytest.mark.parametrize("arg", ["1 + 2", "a.b", "/bin/ls", "", "10.0.0.1", "$1", "/* */", "08"])
def test_an_argument_that_is_no_token(arg: str) -> None:
    d = refused("BEGIN { x = $1; }", Macros({}, ("t.d", arg)))
    assert d.tag == "D_SYNTAX"
    assert d.span is not None and d.span.text == "$1"
    assert d.hint == "$$1 is the same as a string"


def test_err_D_MACRO_OFLOW() -> None:
    assert refused("BEGIN { x = $1; }", Macros({}, ("t.d", "18446744073709551616"))).tag == "D_MACRO_OFLOW"


@pytest.mark.parametrize("name, hint", [("$1", "defaultargs"), ("$target", "-p PID"), ("$foo", "$pid")])
def test_err_D_MACRO_UNDEF(name: str, hint: str) -> None:
    d = refused("BEGIN { x = " + name + "; }", Macros({}, ("t.d",)))
    assert d.tag == "D_MACRO_UNDEF" and d.hint is not None and hint in d.hint
    assert refused("BEGIN { x = " + name + "; }").tag == "D_MACRO_UNDEF"


def test_defaultargs() -> None:
    macros = Macros({}, ("t.d",), default_args=True)
    tokens = tokenize(Source("t.d", "BEGIN { $1; $$2; $target; }"), macros)
    assert [t.value for t in tokens if t.kind in ("INT", "STR")] == [(0, ""), b"", (0, "")]
    parse("#pragma D option defaultargs\nBEGIN { $1; }", Macros({}, ("t.d",)))


def unused(text: str, *args: str) -> CompileError | None:
    macros = Macros({}, ("t.d", *args))
    parse(text, macros)
    try:
        macros.check_unused()
    except CompileError as error:
        return error
    return None


def test_err_D_MACRO_UNUSED() -> None:
    error = unused("BEGIN { $1; }", "a", "b")
    assert error is not None and error.tag == "D_MACRO_UNUSED" and "'b'" in str(error)
    assert unused("BEGIN { $1; $$2; }", "a", "b") is None
    assert unused("BEGIN { $2; }", "a", "b") is None  # only those at the end are extraneous
    assert unused("syscall::$1:entry", "a") is None
    assert unused("#pragma D option argref\nBEGIN", "a") is None
    assert unused("BEGIN") is None


def test_a_quoted_macro_is_text_and_says_so_when_that_was_not_meant() -> None:
    error = unused('BEGIN /execname == "$1"/ {}', "bash")
    assert error is not None
    assert "inside quotes is plain text; write $$1" in (error.diagnostics[0].hint or "")


# ---- control lines


def pragmas(text: str, macros: Macros | None = None) -> list[tuple[str, tuple[str, ...]]]:
    return [(p.name, p.words) for p in parse(text, macros).items if isinstance(p, ast.Pragma)]


@pytest.mark.parametrize(
    "line, name, words",
    [
        ("#pragma D option quiet", "option", ("quiet",)),
        ("  # \tpragma D option bufsize=4m  /* enough */", "option", ("bufsize=4m",)),
        ('#pragma D binding "1.6" translator', "binding", ("1.6", "translator")),
        ("#pragma D attributes Stable/Common provider tcp", "attributes", ("Stable/Common", "provider", "tcp")),
        ("#pragma D depends_on library ip.d", "depends_on", ("library", "ip.d")),
        ('#pragma D error "a \\"b\\""', "error", ('a "b"',)),
        ('#pragma D option define=A="b c"', "option", ('define=A="b c"',)),
        ("#pragma D option \\\n  quiet", "option", ("quiet",)),
        ("#pragma D option quiet\r", "option", ("quiet",)),
    ],
)  # fmt: skip
def test_pragma(line: str, name: str, words: tuple[str, ...]) -> None:
    assert pragmas(line) == [(name, words)]
    inside = f"BEGIN {{\n{line}\n}}\nEND"
    if name in ("error", "line"):
        assert pragmas(inside) == [(name, words)]
    else:
        assert refused(inside).tag == "D_PRAGMA_SCOPE"


def test_pragmas_keep_their_place_among_the_items() -> None:
    program = parse("#pragma D option a\nBEGIN {\n#pragma D error b\n}\n#pragma D option c\nEND {}\n#pragma D option d")
    shape = [i.words[0] if isinstance(i, ast.Pragma) else "clause" for i in program.items]
    assert shape == ["a", "clause", "b", "c", "clause", "d"]


def test_macros_in_a_pragma() -> None:
    assert pragmas("#pragma D option strsize=$1", Macros({}, ("t.d", "64"))) == [("option", ("strsize=64",))]


def test_what_is_not_for_d() -> None:
    text = '#!/usr/sbin/dtrace -qs\n#ident "@(#)x.d 1.1"\n#pragma ident "x"\n#pragma once\n#\n# 3 "x.d"\n#line 4\nBEGIN'
    assert len(parse(text).items) == 1


@pytest.mark.parametrize(
    "line, err",
    [
        ("#include <stdio.h>", "D_PRAGCTL_INVAL"),
        ("#define X 1", "D_PRAGCTL_INVAL"),
        ("#if 1", "D_PRAGCTL_INVAL"),
        ("# % x", "D_PRAGCTL_INVAL"),
        ("#error no good", "D_PRAGERR"),
        ("#pragma D", "D_PRAGMA_MALFORM"),
        ("#pragma option quiet", "D_PRAGMA_UNUSED"),
        ("#pragma pack(1)", "D_PRAGMA_UNUSED"),
        ("int x[\n#pragma D option quiet\n3];", "D_PRAGMA_SCOPE"),
        ("BEGIN\n#pragma D depends_on library tcp.d\n{}", "D_PRAGMA_SCOPE"),
        ("BEGIN #pragma D option quiet", "D_SYNTAX"),
        ("\n#!/usr/sbin/dtrace -s", "D_PRAGCTL_INVAL"),
    ],
)
def test_bad_control_lines(line: str, err: str) -> None:
    assert refused(line).tag == err


def test_preprocessed_text_is_reported_where_it_came_from() -> None:
    text = '# 1 "top.d"\n# 1 "/usr/include/x.h" 1\nint x;\n# 5 "top.d" 2\nBEGIN\n{\n\tx = ;\n}\n'
    d = refused(text)
    assert d.render().splitlines()[0].startswith("top.d:7:6: error: ")
    assert d.render().splitlines()[1] == "  \tx = ;"
    assert d.span is not None and d.span.line == 7


def test_library_source_has_no_macros() -> None:
    assert isinstance(expr("1"), ast.IntLit)
    assert statements("") == ()
    assert refused("BEGIN { $pid; }").tag == "D_MACRO_UNDEF"


@pytest.mark.parametrize("line", ["#pragma option quiet", "#pragma d option quiet"])
def test_a_pragma_without_d_is_told_what_to_write(line: str) -> None:
    assert refused(line).hint == "write #pragma D option quiet"
