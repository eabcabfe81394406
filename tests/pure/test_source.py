"""Places in a source, and messages that point at them."""

from __future__ import annotations

import pytest

from dsight.source import Diagnostic, Source, Span, printable


def test_places() -> None:
    source = Source("t.d", "ab\n\ncd\n")
    assert [source.line_col(i) for i in range(8)] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (3, 3), (4, 1)
    ]  # fmt: skip
    assert [source.line(i) for i in range(1, 5)] == ["ab", "", "cd", ""]
    span = Span(source, 4, 5).to(Span(source, 5, 6))
    assert (span.line, span.column, span.text) == (3, 1, "cd")


@pytest.mark.parametrize(
    "text, lines",
    [
        ("a\nb\n", [("t.d", 1), ("t.d", 2)]),
        ('# 7 "x.d"\na\nb\n', [("t.d", 1), ("x.d", 7), ("x.d", 8)]),
        ('a\n#line 7\nb\n# 1 "y.d" 2\nc', [("t.d", 1), ("t.d", 2), ("t.d", 7), ("t.d", 8), ("y.d", 1)]),
        ("#pragma D option quiet\na", [("t.d", 1), ("t.d", 2)]),
    ],
)
def test_line_directives(text: str, lines: list[tuple[str, int]]) -> None:
    source = Source("t.d", text)
    assert [source.presumed(n + 1) for n in range(len(lines))] == lines


def test_render() -> None:
    source = Source("t.d", "int x;\n\tint \x1b[1my;\n")
    assert Diagnostic("D_SYNTAX", "bad", Span(source, 4, 5)).render() == "t.d:1:5: error: bad\n  int x;\n      ^"
    assert Diagnostic("D_SYNTAX", "bad", Span(source, 8, 11), "do").render("warning") == (
        "t.d:2:2: warning: bad\n  \tint \\x1b[1my;\n  \t^~~\n  hint: do"
    )
    assert Diagnostic("D_SYNTAX", "bad").render() == "error: bad"
    # what is made harmless takes more room
    assert Diagnostic("D_SYNTAX", "bad", Span(source, 16, 17)).render().splitlines()[1:] == [
        "  \tint \\x1b[1my;", "  \t           ^"
    ]  # fmt: skip
    # a span over several lines is marked as far as its first goes
    assert Diagnostic("D_SYNTAX", "bad", Span(source, 4, 12)).render().splitlines()[-1] == "      ^~"


def test_printable() -> None:
    assert printable("a\tb é") == "a\tb é"
    assert printable("\x1b[1m\x7f\x9b\u202e\u2028\n\udcff") == "\\x1b[1m\\x7f\\x9b\\u202e\\u2028\\x0a\\xff"
