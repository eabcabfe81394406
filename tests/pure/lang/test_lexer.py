"""Text to tokens: C's, D's, and where each of the lexical worlds begins and ends."""

from __future__ import annotations

import sys

import pytest

from dsight.errors import CompileError
from dsight.lang.lexer import Token, scan, tokenize
from dsight.lang.macros import Macros
from dsight.source import Source


def lex(text: str, macros: Macros | None = None) -> list[Token]:
    return tokenize(Source("t.d", text), macros)[:-1]


def kinds(text: str) -> str:
    return " ".join(t.kind for t in lex(text))


def code(text: str) -> list[Token]:
    """Tokens of C's world"""
    return lex("BEGIN {" + text + "}")[2:-1]


def probes(text: str) -> list[str]:
    return [t.text for t in lex(text) if t.kind == "PROBE"]


def tag(text: str, macros: Macros | None = None) -> str:
    with pytest.raises(CompileError) as caught:
        lex(text, macros)
    return caught.value.tag


@pytest.mark.parametrize(
    "text, value, suffix",
    [
        ("0", 0, ""),
        ("12345", 12345, ""),
        ("012345", 0o12345, ""),
        ("0x12aBcD", 0x12ABCD, ""),
        ("0X10", 16, ""),
        ("1u", 1, "u"),
        ("1L", 1, "l"),
        ("1ul", 1, "ul"),
        ("1LU", 1, "ul"),
        ("1LL", 1, "ll"),
        ("0x1ULL", 1, "ull"),
        ("1llu", 1, "ull"),
        ("18446744073709551615", 2**64 - 1, ""),
        ("0" * 5000 + "7", 7, ""),
        ("0x" + "0" * 5000 + "7", 7, ""),
        ("'a'", 97, ""),
        ("'\\n'", 10, ""),
        ("'\\''", 39, ""),
        ("'\\0'", 0, ""),
        ("'\\377'", 255, ""),
        ("'ab'", int.from_bytes(b"ab", sys.byteorder), ""),
        ("'abcdefgh'", int.from_bytes(b"abcdefgh", sys.byteorder), ""),
    ],
)
def test_integers(text: str, value: int, suffix: str) -> None:
    (tok,) = code(text)
    assert (tok.kind, tok.value, tok.text) == ("INT", (value, suffix), text)


@pytest.mark.parametrize(
    "text, err",
    [
        ("18446744073709551616", "D_INT_OFLOW"),
        ("0x10000000000000000", "D_INT_OFLOW"),
        ("02000000000000000000000", "D_INT_OFLOW"),
        ("9" * 10000, "D_INT_OFLOW"),
        ("08", "D_INT_DIGIT"),
        ("0x", "D_INT_DIGIT"),
        ("0xg", "D_INT_DIGIT"),
        ("12ab", "D_INT_DIGIT"),
        ("1lul", "D_INT_DIGIT"),
        ("10s", "D_INT_DIGIT"),
        ("1.5", "D_SYNTAX"),
        ("1e5", "D_SYNTAX"),
        ("''", "D_CHR_NULL"),
        ("'abcdefghi'", "D_CHR_OFLOW"),
        ("'a\n'", "D_CHR_NL"),
        ('"abc\n"', "D_STR_NL"),
        ('"abc', "D_STR_NL"),
        ("/* abc", "D_SYNTAX"),
        ("#", "D_SYNTAX"),
        ("\\", "D_SYNTAX"),
        ("é", "D_SYNTAX"),
        ("$", "D_SYNTAX"),
        ("$nothing", "D_MACRO_UNDEF"),
    ],
)
def test_what_is_no_token(text: str, err: str) -> None:
    assert tag("BEGIN { x = " + text + "; }") == err


@pytest.mark.parametrize(
    "text, value",
    [
        ('""', b""),
        ('"hello world"', b"hello world"),
        (r'"\a\b\f\n\r\t\v\\\"\'\?"', b"\a\b\f\n\r\t\v\\\"'?"),
        (r'"\0\01\101\x41\x4g"', b"\0\x01AA\x04g"),
        ('"a\\\nb"', b"ab"),
        ('"/* no comment */ // @ $1"', b"/* no comment */ // @ $1"),
        ('"grün"', "grün".encode()),
        ('"\udcff"', b"\xff"),
    ],
)
def test_strings(text: str, value: bytes) -> None:
    (tok,) = code(text)
    assert (tok.kind, tok.value) == ("STR", value)


def test_operators_are_the_longest_that_match() -> None:
    text = "<<= >>= ... -> ++ -- << >> <= >= == != && || ^^ += -= *= /= %= &= |= ^= ^ ? : ~ ! . , ;"
    assert [t.kind for t in code(text)] == text.split()
    assert [t.kind for t in code("a+++b")] == ["IDENT", "++", "+", "IDENT"]
    assert [t.kind for t in code("a===b")] == ["IDENT", "==", "=", "IDENT"]


def test_words_of_d() -> None:
    toks = code("self->x this->y @ @a mod`sym `sym foo int uint_t offsetof")
    assert [t.kind for t in toks] == (
        "self -> IDENT this -> IDENT AGG AGG SYMBOL SYMBOL IDENT int IDENT offsetof".split()
    )
    assert [t.value for t in toks if t.kind in ("AGG", "SYMBOL")] == ["", "a", ("mod", "sym"), ("", "sym")]


def test_comments_and_spans() -> None:
    text = "BEGIN /* a * b\n { */ {\n\tx // y\n = 1 }"
    toks = lex(text)
    assert [t.kind for t in toks] == ["PROBE", "{", "IDENT", "=", "INT", "}"]
    assert all(text[t.start : t.end] == t.text for t in toks)
    x = toks[2].span
    assert (x.line, x.column, x.text) == (3, 2, "x")


# ---- probe descriptions


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN",
        "tick-1s",
        "profile:::profile-997hz",
        "syscall::open*:entry",
        "syscall::[a-m]*:",
        "syscall:::",
        ":::",
        ":vmlinux::entry",
        "sdt:::tcp?[!a]*",
        "fbt::*:entry",
        "*:::",
        "pid123:libstdc++.so.6:_Znwm:1a",
        "pid123:a.out:malloc@plt:return",
        "123",
        "io:::*-start",
    ],
)
def test_a_description_is_one_token(text: str) -> None:
    assert probes(text) == [text]
    assert probes(text + " { x; }") == [text]
    assert probes(f"int y; {text}\n/x/\n{{}} /**/ {text}, {text};{text}") == [text] * 4


def test_macros_in_a_description() -> None:
    macros = Macros({"target": 42}, ("t.d", "read", "5"))
    toks = lex("pid$target:libc.so.6:$1:entry, tick-$2s, syscall::$$1: {}", macros)
    assert [t.text for t in toks if t.kind == "PROBE"] == ["pid42:libc.so.6:read:entry", "tick-5s", "syscall::read:"]
    assert toks[0].span.text == "pid$target:libc.so.6:$1:entry"
    assert tag("$1:::", Macros({}, ("t.d", "a b"))) == "D_PDESC_INVAL"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("int x; uint_t y;", "int IDENT ; IDENT IDENT ;"),
        ("uint_t *x;", "IDENT * IDENT ;"),
        ("uint_t* x;", "IDENT * IDENT ;"),
        ("struct s*x;", "struct IDENT * IDENT ;"),
        ("int*x;", "int * IDENT ;"),
        ("self int x; BEGIN", "self int IDENT ; PROBE"),
        ("struct { int a:3; } x; BEGIN {}", "struct { int IDENT : INT ; } IDENT ; PROBE { }"),
        ("translator a < b *c > { d = c; }; e:::", "translator IDENT < IDENT * IDENT > { IDENT = IDENT ; } ; PROBE"),
        ("inline int X = a ? b:c; BEGIN", "inline int IDENT = IDENT ? IDENT : IDENT ; PROBE"),
        ("BEGIN { if (a) { b:c } } END", "PROBE { if ( IDENT ) { IDENT : IDENT } } PROBE"),
        ("BEGIN,\n/* and */ END {}", "PROBE , PROBE { }"),
        ("BEGIN {}; END {}", "PROBE { } ; PROBE { }"),
    ],
)  # fmt: skip
def test_declarations_and_descriptions(text: str, expected: str) -> None:
    assert kinds(text) == expected


def test_a_known_type_decides_where_the_text_does_not() -> None:
    def first(text: str, *types: str) -> str:
        return tokenize(Source("t.d", text), None, types.__contains__)[0].kind

    assert first("foo*x;") == "PROBE"
    assert first("foo*x;", "foo") == "IDENT"
    assert first("foo (*x)(int);") == "PROBE"
    assert first("foo (*x)(int);", "foo") == "IDENT"
    assert first("foo {}", "foo") == "PROBE"


# ---- predicates


@pytest.mark.parametrize(
    "text, expected",
    [
        ("BEGIN /x/ {}", "PROBE PRED IDENT EPRED { }"),
        ("BEGIN/x/{}", "PROBE PRED IDENT EPRED { }"),
        ("BEGIN /x/", "PROBE PRED IDENT EPRED"),
        ("BEGIN /x/;", "PROBE PRED IDENT EPRED ;"),
        ("BEGIN /x/ // why\n /* so */ {}", "PROBE PRED IDENT EPRED { }"),
        ("BEGIN /a / b == 2/ {}", "PROBE PRED IDENT / IDENT == INT EPRED { }"),
        ("BEGIN /a/b/c/ {}", "PROBE PRED IDENT / IDENT / IDENT EPRED { }"),
        ("BEGIN /a /\nb == 2/ {}", "PROBE PRED IDENT / IDENT == INT EPRED { }"),
        ("BEGIN /a /\nb/\n{}", "PROBE PRED IDENT / IDENT EPRED { }"),
        ("BEGIN /a / b ? c:d / {}", "PROBE PRED IDENT / IDENT ? IDENT : IDENT EPRED { }"),
        ("BEGIN /a / b?c:d / {}", "PROBE PRED IDENT / IDENT ? IDENT : IDENT EPRED { }"),
        ("BEGIN /(a / b)/ {}", "PROBE PRED ( IDENT / IDENT ) EPRED { }"),
        ("BEGIN /x[a / 2] / 3/ {}", "PROBE PRED IDENT [ IDENT / INT ] / INT EPRED { }"),
        ("BEGIN /x/ syscall:::entry {}", "PROBE PRED IDENT EPRED PROBE { }"),
        ("BEGIN /x/ syscall:::entry /y/ {}", "PROBE PRED IDENT EPRED PROBE PRED IDENT EPRED { }"),
        ("BEGIN /x/\nEND\n{}", "PROBE PRED IDENT EPRED PROBE { }"),
        ("BEGIN /x/\nEND, tick-1s {}", "PROBE PRED IDENT EPRED PROBE , PROBE { }"),
        ("BEGIN /x/\nint y;", "PROBE PRED IDENT EPRED int IDENT ;"),
        ("BEGIN /x/\n#pragma D option quiet\n{}", "PROBE PRED IDENT EPRED PRAGMA { }"),
        ("BEGIN /x == '/'/ {}", "PROBE PRED IDENT == INT EPRED { }"),
        ('BEGIN /x == "/{"/ {}', "PROBE PRED IDENT == STR EPRED { }"),
    ],
)
def test_which_slash_closes_the_predicate(text: str, expected: str) -> None:
    assert kinds(text) == expected


def test_scan_keeps_what_stands_before_an_error() -> None:
    toks = scan(Source("t.d", "BEGIN { x = 08; }"))
    assert [t.kind for t in toks] == ["PROBE", "{", "IDENT", "=", "ERROR", "EOF"]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("uprobe:/usr/lib/libc.so.6:getaddrinfo:entry {}", ["uprobe:/usr/lib/libc.so.6:getaddrinfo:entry"]),
        ("uprobe:/a-b/c+d/e~1@x%2=3:f*:/x/ {}", ["uprobe:/a-b/c+d/e~1@x%2=3:f*:"]),
        ("uprobe:/a:f:entry, uprobe:/b:f:entry/x == 1/ {}", ["uprobe:/a:f:entry", "uprobe:/b:f:entry"]),
        ("syscall:::/x/ {}", ["syscall:::"]),
        ("syscall:/x/ {}", ["syscall:"]),
        ("a://comment : x\n{}", ["a:"]),
        ("a:/*comment:*/ {}", ["a:"]),
    ],
)
def test_a_description_may_name_a_file(text: str, wanted: list[str]) -> None:
    assert probes(text) == wanted
