# ruff: noqa: E501
"""What the user is told: tag, place, words and hint of the mistakes people make."""

from __future__ import annotations

import pytest
from parsing import refused


@pytest.mark.parametrize(
    "text, tag, place, message, hint",
    [
        # statements
        ("BEGIN { x = 1\ny = 2; }", "D_SYNTAX", "1:13", "expected `;` before `y`", None),
        ('BEGIN\n{\n\tprintf("a")\n\tself->x = 1;\n}', "D_SYNTAX", "3:12", "expected `;` before `self`", None),
        ("BEGIN { trace(x) trace(y); }", "D_SYNTAX", "1:18", "expected `;` before `trace`", None),
        ("BEGIN { x = y z; }", "D_SYNTAX", "1:15", "expected `;` or an operator after `y`, found `z`", None),
        ("BEGIN { x = ; }", "D_SYNTAX", "1:13", "expected an expression, found `;`", None),
        ("BEGIN { x ? y; }", "D_SYNTAX", "1:14", "expected `:` between the two values of `?`, found `;`", None),
        ("BEGIN { if x { } }", "D_SYNTAX", "1:12", "expected `(` after `if`, found `x`", "if (condition) { ... }"),
        ("BEGIN { else x; }", "D_SYNTAX", "1:9", "`else` without its `if`", "nothing may stand between"),
        ("BEGIN { for (;;) x; }", "D_SYNTAX", "1:9", "`for` is not in D", "D has no loops"),
        ("BEGIN { while (1) x; }", "D_SYNTAX", "1:9", "`while` is not in D", "D has no loops"),
        ("BEGIN { do x; while (1); }", "D_SYNTAX", "1:9", "`do` is not in D", "D has no loops"),
        ("BEGIN { switch (x) { } }", "D_SYNTAX", "1:9", "`switch` is not in D", "use if/else"),
        ("BEGIN { goto x; }", "D_SYNTAX", "1:9", "`goto` is not in D", "D has no jumps"),
        ("BEGIN { int x = 1; }", "D_SYNTAX", "1:9", "a declaration inside a clause", "outside the clauses: this int x;"),
        ("BEGIN { this int x; }", "D_SYNTAX", "1:9", "a declaration inside a clause", "outside the clauses"),
        ("BEGIN { uint_t *p = 0; }", "D_SYNTAX", "1:9", "a declaration inside a clause", "outside the clauses"),
        ("BEGIN { counter = 1; }", "D_SYNTAX", "1:9", "expected an expression, found `counter`", "choose another name"),
        ("BEGIN { x = curthread->5; }", "D_OP_IDENT", "1:24", "expected the name of a member after `->`, found `5`", None),
        # brackets
        ("BEGIN { f(1; }", "D_SYNTAX", "1:12", "expected `)` after the arguments of f(), found `;`", "the `(` is in line 1"),
        ("BEGIN { f(1)); }", "D_SYNTAX", "1:13", "`)` without its `(`", None),
        ("BEGIN { a[1; }", "D_SYNTAX", "1:12", "expected `]` after the index or keys, found `;`", "the `[` is in line 1"),
        ("BEGIN { (1 + 2", "D_SYNTAX", "1:9", "`(` without its `)`", None),
        ("BEGIN\n{ x;", "D_SYNTAX", "2:1", "`{` without its `}`", None),
        ("BEGIN\n{ x", "D_SYNTAX", "2:4", "expected `;` or `}` after the statement, found the end of the script", None),
        ("BEGIN { x; }\n}", "D_SYNTAX", "2:1", "`}` without its `{`", "one `}` too many"),
        ("BEGIN { x;\nsyscall::read:entry { }", "D_SYNTAX", "2:8", "a probe description inside a clause", "the `}` of the clause before"),
        ("BEGIN { x;\nEND { }", "D_SYNTAX", "2:5", "expected `;` before `{`", "the `}` of the clause before"),
        # aggregations
        ("BEGIN { @x++; }", "D_SYNTAX", "1:11", "`++` cannot be applied to an aggregation", "@x = count(); counts"),
        ("BEGIN { @x[1] += 2; }", "D_SYNTAX", "1:15", "`+=` cannot be applied to an aggregation", "@x[1] = sum(n); adds up"),
        ("BEGIN { @x = 5; }", "D_SYNTAX", "1:14", "expected an aggregating function after `=`, found `5`", "count(), sum(n)"),
        ("BEGIN { @x[] = count(); }", "D_SYNTAX", "1:12", "expected an index or key between `[` and `]`", None),
        # outside clauses
        ('printf("hi");', "D_SYNTAX", "1:1", "a statement outside a clause", "BEGIN { ... }"),
        ("x = 1;", "D_SYNTAX", "1:1", "a statement outside a clause", "BEGIN { ... }"),
        ("x++;", "D_SYNTAX", "1:1", "a statement outside a clause", "BEGIN { ... }"),
        ("self->x = 1;", "D_SYNTAX", "1:5", "a statement outside a clause", "BEGIN { ... }"),
        ("@x = count();", "D_SYNTAX", "1:1", "a statement outside a clause", "BEGIN { ... }"),
        ("if (x) { }", "D_SYNTAX", "1:1", "a statement outside a clause", "BEGIN { ... }"),
        ("{ x; }", "D_SYNTAX", "1:1", "expected a probe description before `{`", "BEGIN { ... }"),
        ("/x/ { }", "D_SYNTAX", "1:1", "expected a probe description before the predicate", None),
        ("int x = 3;", "D_SYNTAX", "1:7", "a declaration gives no value", "inline int X = 1;"),
        ("int x\nBEGIN { }", "D_SYNTAX", "1:5", "expected `;` after the declaration", None),
        ("int main() { }", "D_SYNTAX", "1:12", "expected `;` after the declaration", "D has no functions"),
        ("nothing_t x;", "D_TYPE_ERR", "1:1", "unknown type `nothing_t`", None),
        ("self x;", "D_SYNTAX", "1:6", "expected a type before `x`", "self int x;"),
        # clauses
        ('syscall:::entry printf("x");', "D_SYNTAX", "1:17", "expected `{` or a predicate", "stand in braces"),
        ('BEGIN printf("x");', "D_TYPE_ERR", "1:1", "unknown type `BEGIN`", "in braces: PROBE { ... }"),
        ("BEGIN END { }", "D_SYNTAX", "1:7", "expected `{` or a predicate", "separated by commas"),
        ("syscall :: read { }", "D_SYNTAX", "1:9", "expected `{` or a predicate", "no spaces inside"),
        ("BEGIN, { }", "D_SYNTAX", "1:8", "expected another probe description after `,`, found `{`", None),
        ("a:b:c:d:e { }", "D_PDESC_INVAL", "1:1", "probe description of 5 parts", "provider:module:function:name"),
        ("BEGIN /x { }", "D_SYNTAX", "1:10", "predicate without its closing `/`", "a predicate is /expression/"),
        ("BEGIN /x", "D_SYNTAX", "1:7", "predicate without its closing `/`", "a predicate is /expression/"),
        ("BEGIN /x/ /y/ { }", "D_SYNTAX", "1:11", "expected an expression, found `/`", "join conditions with &&"),
        ("BEGIN /x y/ { }", "D_SYNTAX", "1:10", "expected an operator or the closing `/`", None),
        # expressions
        ("BEGIN { self.x = 1; }", "D_SYNTAX", "1:13", "expected `->` and a variable's name after `self`, found `.`", None),
        ("BEGIN { x = p->; }", "D_SYNTAX", "1:16", "expected the name of a member after `->`, found `;`", None),
        ("BEGIN { (*f)(1); }", "D_FUNC_IDENT", "1:13", "only a name can be called", None),
        ("BEGIN { x = (nothing_t *)y; }", "D_TYPE_ERR", "1:14", "unknown type `nothing_t`", None),
        ("BEGIN { x = (nothing_t)y; }", "D_TYPE_ERR", "1:14", "unknown type `nothing_t` in a cast", None),
        ("BEGIN { x = int y; }", "D_SYNTAX", "1:13", "expected an expression, found `int`", "a cast needs parentheses"),
        ("BEGIN { offsetof(nothing_t, a); }", "D_TYPE_ERR", "1:18", "unknown type `nothing_t`", None),
        ("BEGIN { xlate(x); }", "D_SYNTAX", "1:14", "expected `<` after xlate, found `(`", "xlate<type>(expression)"),
        # characters and constants
        ('BEGIN { x = "abc; }\n', "D_STR_NL", "1:13", "string without its closing quote", "\\n stands for a newline"),
        ("BEGIN { x = 'hello world'; }", "D_CHR_OFLOW", "1:13", "more than 8 bytes", "double quotes"),
        ("BEGIN { x = “hi”; }", "D_SYNTAX", "1:13", "unexpected character `“`", "typographic quotes"),
        ("BEGIN { x\u00a0= 1; }", "D_SYNTAX", "1:10", "unexpected character U+00A0", "unusual space"),
        ("BEGIN { x = \x1b[1m; }", "D_SYNTAX", "1:13", "unexpected character U+001B", None),
        ("BEGIN { x = 10s; }", "D_INT_DIGIT", "1:13", "`s` after the digits", "tick-10s"),
        ("BEGIN { x = 09; }", "D_INT_DIGIT", "1:13", "digit `9` in octal constant 09", "octal"),
        ("BEGIN { x = 1.5; }", "D_SYNTAX", "1:13", "floating-point constant 1.5", "no floating-point"),
        ("BEGIN { /* x }", "D_SYNTAX", "1:9", "comment without its closing */", None),
        ("#include <x.h>\nBEGIN { }", "D_PRAGCTL_INVAL", "1:1", "invalid control directive: #include", "-C"),
        # the first of two
        ("BEGIN { x = ; y = 09; }", "D_SYNTAX", "1:13", "expected an expression, found `;`", None),
    ],
)  # fmt: skip
def test_message(text: str, tag: str, place: str, message: str, hint: str | None) -> None:
    d = refused(text)
    assert d.span is not None
    assert (d.tag, f"{d.span.line}:{d.span.column}") == (tag, place)
    assert message in d.message
    assert d.hint is None if hint is None else d.hint is not None and hint in d.hint


def test_rendered() -> None:
    assert refused("BEGIN\n{\n\tx = y z;\n}\n").render() == (
        "t.d:3:8: error: expected `;` or an operator after `y`, found `z`\n"
        "  \tx = y z;\n"
        "  \t      ^"
    )  # fmt: skip
    assert refused("tick-1s { trace(10s); }").render() == (
        "t.d:1:17: error: `s` after the digits of decimal constant 10s\n"
        "  tick-1s { trace(10s); }\n"
        "                  ^~~\n"
        "  hint: a time like 10s stands only in a probe name: tick-10s"
    )
