# ruff: noqa: E501
"""Any text at all: a program or a CompileError that points into it, in bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing import TYPES, stripped
from test_parser import CONNECT, REQUEST
from test_show import EVERYTHING

from dsight.errors import CompileError
from dsight.lang import parser, show
from dsight.lang.lexer import scan
from dsight.lang.macros import Macros
from dsight.source import Source

PIECES = (
    "BEGIN END tick-1s syscall::read:entry ::: 12 $1 $$1 $target $9 pid$target:a:b:c { } ( ) [ ] , ; : ? / /x/ // /* */"
    ' # #pragma #! -> . ... ++ -- + - * & && || ^^ ! ~ = == += <<= < > << @ @a @a[1] = count() self this self-> x y int'
    " uint_t pid_t struct union enum string typedef extern inline translator provider probe if else for while sizeof"
    " offsetof stringof xlate xlate< const unsigned long void 0 1 08 0x 1ull 1.5 9999999999999999999999 'a' '' ' \" \"s\" \\"
    ' "\\x41\\0" `sym m`s ` $ ` \x00 \x1b é \U0001f600 \udcff \u2028 \ufeff \r'
).split(" ")  # fmt: skip
PIECES += ["\n", "\n\n", " ", "\t", "\\\n", '# 7 "x.d"\n', "\n#pragma D option quiet\n", "\n#line 99999999999999\n"]
PIECES = [p for p in PIECES if p]


def check(text: str) -> None:
    source = Source("fuzz.d", text)
    toks = scan(source, Macros({"target": 1}, ("fuzz.d", "7")))
    assert all(0 <= t.start <= t.end <= len(text) for t in toks)
    assert [t.kind for t in toks].count("EOF") == 1 and toks[-1].kind == "EOF"
    show.tokens(toks)
    try:
        program = parser.parse(source, Macros({"target": 1}, ("fuzz.d", "7")), TYPES.__contains__)
    except CompileError as error:
        d = error.diagnostics[0]
        assert d.tag.startswith("D_") and d.message
        assert d.span is not None and 0 <= d.span.start <= d.span.end <= len(text)
        assert d.render().startswith(("fuzz.d:", "x.d:"))
        return
    show.tree(program)
    again = parser.parse(Source("again.d", show.unparse(program)), None, TYPES.__contains__)
    assert stripped(again) == stripped(program)


@settings(max_examples=150, deadline=5000)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    check(text)


@settings(max_examples=250, deadline=5000)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from(["", " "]), st.sampled_from(["", "BEGIN { "]))
def test_pieces_of_d(pieces: list[str], between: str, before: str) -> None:
    check(before + between.join(pieces))


@settings(max_examples=150, deadline=5000)
@given(st.data())
def test_scripts_with_a_few_changes(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([CONNECT, REQUEST, EVERYTHING]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(["", *PIECES])) + text[end:]
    check(text)


@pytest.mark.parametrize(
    "text",
    ["(" , "[", "{", "/", "*", "-", "!", "a ", "a.", "a->", "a[", "a(", "@a[", "struct {", "if (a) ", "int x;", "x;", "$", "'", '"',
     "/*", "//\n", "\\\n", "# 1\n", "::", "a:", "a,", "a/", "/x/ a:", "sizeof(", "(int)", "xlate<", "int (", "0", "9", "`", "@", "\n"],
)  # fmt: skip
def test_long_repetitions_take_no_longer_than_their_length(text: str) -> None:
    for before in ("", "BEGIN ", "BEGIN /", "BEGIN { x = ", "int "):
        try:
            parser.parse(Source("long.d", before + text * 4000), None, TYPES.__contains__)
        except CompileError as error:
            assert error.diagnostics[0].render()
