"""D text to tokens.

D has three lexical worlds, told apart here so that the grammar need not care:

- between clauses, a probe description is one PROBE token (`syscall::open*:entry`,
  `pid$target:libc.so.6:malloc:entry`, `tick-1s`, a probe id), macro variables expanded;
- everything else is C's tokens plus `@name`, `` module`symbol ``, `^^` and macro variables;
- in a predicate a `/` may divide or close.  The closing slash (EPRED; the opening one is PRED) is the first
  one outside parentheses that is followed by `{`, by `;`, by the end of the script, or by the probe
  description of the next clause, where that one holds a `:` or starts its line.

What starts between clauses is a declaration when it starts with a word that starts
declarations, or with a word followed by another or by `*`; else a probe description.
"""

from __future__ import annotations

import re
import sys

from dsight.errors import CompileError, fail
from dsight.lang.macros import Macros
from dsight.lang.preprocess import control_line, expand, macro_text
from dsight.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_STORAGE = ("typedef", "extern", "static", "register", "auto", "self", "this")
_QUALIFIERS = ("const", "volatile", "restrict")
_TYPE_WORDS = ("void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool", "string")
_TAGGED = ("struct", "union", "enum")
# C statements D does not have, and words kept for the future
_RESERVED = (*("for", "while", "do", "switch", "case", "default", "break", "continue", "goto"), "counter", "import")

DECLARATION_WORDS = frozenset(
    (*_STORAGE, *_QUALIFIERS, *_TYPE_WORDS, *_TAGGED, "inline", "translator", "provider", "probe")
)
KEYWORDS = {
    word: word for word in (*DECLARATION_WORDS, *_RESERVED, "if", "else", "sizeof", "offsetof", "stringof", "xlate")
}


class Token:
    """One token.

    `kind` is the keyword or operator itself, or one of
      IDENT    value: the name
      INT      value: (value, suffix); `text` as written, quotes of character constants too
      STR      value: bytes
      AGG      value: name ("" for @)
      SYMBOL   value: (module, name); module "" for `name
      PROBE    value: the description with macros expanded
      PRAGMA   value: words after `#pragma D`
      PRED, EPRED   the slashes around a predicate
      EOF
      ERROR    value: the CompileError of what follows; only in `scan`'s list, before EOF
    `text` is the token's text, for a macro variable what it stands for.
    """

    __slots__ = ("end", "kind", "source", "start", "text", "value")

    def __init__(self, kind: str, text: str, value: Any, source: Source, start: int, end: int) -> None:
        self.kind = kind
        self.text = text
        self.value = value
        self.source = source
        self.start = start
        self.end = end

    @property
    def span(self) -> Span:
        return Span(self.source, self.start, self.end)

    def __repr__(self) -> str:
        return f"Token({self.kind!r}, {self.text!r})"


# Possessive only on single characters: possessive groups match wrongly in Debian 12's Python 3.11.2.
_SKIP = r"(?:[ \t\r\n\f\v]++|/\*[^*]*+\*++(?:[^*/][^*]*+\*++)*/|//[^\n]*+|\\\r?\n)*"
_skip = re.compile(_SKIP).match
_next = re.compile(
    _SKIP
    + r"""(?:
      ([A-Za-z_]\w*+)(?!`)                                                              # 1 word
    | (<<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||\^\^                           # 2 operator
       |[-+*/%&|^]=(?!=)|/(?!\*)|[-+*%&|^~!<>=?:;,.(){}\[\]])
    | (\d\w*+(?:\.\d\w*+)?)                                                             # 3 number
    | ("[^"\\\n]*+(?:\\[\s\S][^"\\\n]*+)*")                                             # 4 string
    | (@(?:[A-Za-z_]\w*+)?)                                                             # 5 aggregation
    | ('[^'\\\n]*+(?:\\[\s\S][^'\\\n]*+)*')                                             # 6 character
    | ((?:[A-Za-z_]\w*+)?`[A-Za-z_]\w*+)                                                # 7 symbol
    | \$(\$?(?:\d++|[A-Za-z_]\w*+))                                                     # 8 macro variable
    | (\#)                                                                              # 9 control line?
    | (/\*|[\s\S])                                                                       # 10 nothing of D
    | (\Z)                                                                              # 11 the end
    )""",
    re.X | re.A,
).match
# A description may name a file as its module: uprobe:/usr/lib/libc.so.6:getaddrinfo:entry.
_FILE = r"\w++:/(?![/*])[\w\-.+@~%=/]++:"
_chunk = re.compile(rf"(?:{_FILE}|[\w\-.?*\[\]!^$:+\\])[\w\-.?*\[\]!^$:+@\\]*+", re.A).match
_word = re.compile(r"[A-Za-z_]\w*+", re.A).match
_bare_type = re.compile(r"[A-Za-z_]\w*\**(?:[A-Za-z_]\w*)?\Z", re.A).match
_number = re.compile(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([uU]?[lL]{0,2}|[lL]{1,2}[uU])\Z").match
_escape = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|\r?\n|[\s\S])")

_ESCAPES = {
    "a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v", "\n": b"", "\r\n": b"",
}  # fmt: skip
_ITEM, _MORE, _AFTER, _CODE = range(4)  # at an item; after a comma of descriptions; after descriptions; C's tokens


def tokenize(source: Source, macros: Macros | None = None, is_type: Callable[[str], bool] | None = None) -> list[Token]:
    """All tokens, EOF last.  CompileError at the first that is none.

    `is_type` only matters for `name*x;` and `name (*x)();` between clauses: is it a declaration?
    """
    tokens = scan(source, macros, is_type)
    error = tokens[-2].value if len(tokens) > 1 and tokens[-2].kind == "ERROR" else None
    if isinstance(error, CompileError):
        raise error
    return tokens


def scan(source: Source, macros: Macros | None = None, is_type: Callable[[str], bool] | None = None) -> list[Token]:
    """As `tokenize`, but an error becomes the last token but one: of two errors in a script
    the parser then reports the one that comes first."""
    tokens: list[Token] = []
    end = len(source.text)
    try:
        _scan(source, macros, is_type, tokens)
    except CompileError as error:
        span = error.diagnostics[0].span
        at = span.start if span is not None and span.source is source else end
        tokens.append(Token("ERROR", source.text[at : at + 20], error, source, at, at))
    tokens.append(Token("EOF", "", None, source, end, end))
    return tokens


def _scan(source: Source, macros: Macros | None, is_type: Callable[[str], bool] | None, tokens: list[Token]) -> None:
    text = source.text
    keyword = KEYWORDS.get
    push = tokens.append
    pos = 1 if text.startswith("\ufeff") else 0
    mode = _ITEM
    braces = parens = 0
    predicate = clause = False  # in a predicate; in a clause's body

    while True:
        if mode != _CODE:
            m = _skip(text, pos)
            assert m is not None
            pos = m.end()
            chunk = _chunk(text, pos)
            if mode == _AFTER:
                here = text[pos : pos + 1]
                if here == ",":
                    push(Token(",", ",", None, source, pos, pos + 1))
                    pos += 1
                    mode = _MORE
                    continue
                if here == "/" and text[pos + 1 : pos + 2] != "*":
                    push(Token("PRED", "/", None, source, pos, pos + 1))
                    pos += 1
                    predicate = True
                    mode = _CODE
                    continue
                if here == "{":
                    clause = True
                elif chunk is not None and tokens[-1].kind == "EPRED":
                    mode = _ITEM
            if chunk is not None and (mode == _MORE or (mode == _ITEM and _is_description(text, chunk, is_type))):
                push(_probe(source, chunk.start(), chunk.end(), macros))
                pos = chunk.end()
                mode = _AFTER
                continue
            # one token of another kind; a control line between clauses comes this way too
        m = _next(text, pos)
        assert m is not None
        group = m.lastindex
        pos = m.end()
        if group == 1:
            word = m.group(1)
            kind = keyword(word, "IDENT")
            push(Token(kind, word, word, source, pos - len(word), pos))
            mode = _CODE
        elif group == 2:
            op = m.group(2)
            kind = op
            if op == "{":
                braces += 1
                parens = 0
                predicate = False
                mode = _CODE
            elif op == "}":
                braces = braces - 1 if braces else 0
                if not braces and (clause or mode == _ITEM):
                    mode = _ITEM
                    clause = False
                parens = 0
            elif op == ";":
                if not braces:
                    mode = _ITEM
                    predicate = clause = False
                    parens = 0
            elif op == "(" or op == "[":
                parens += 1
                mode = _CODE
            elif op == ")" or op == "]":
                parens = parens - 1 if parens else 0
            elif predicate and not parens and op == "/" and _closes(text, pos):
                kind = "EPRED"
                predicate = False
                mode = _AFTER
            else:
                mode = _CODE
            push(Token(kind, op, None, source, pos - len(op), pos))
        elif group == 9:
            start = pos - 1
            line_start = text.rfind("\n", 0, start) + 1
            if text[line_start:start].strip(" \t\ufeff"):
                raise fail("D_SYNTAX", "unexpected `#`", Span(source, start, pos), "control lines start with it")
            pos, words = control_line(source, start, macros)
            if words is not None:
                push(
                    Token(
                        "PRAGMA", text[start:pos].rstrip(), words, source, start, start + len(text[start:pos].rstrip())
                    )
                )
        elif group == 11:
            return
        elif group == 8:
            name = m.group(8)
            _push_macro(tokens, source, pos - len(name) - 1, pos, name, macros)
            mode = _CODE
        else:
            assert group is not None
            start = m.start(group)
            push(_literal(source, group, m.group(group), start, macros))
            mode = _CODE


def _literal(source: Source, group: int, word: str, start: int, macros: Macros | None) -> Token:
    end = start + len(word)
    if group == 3:
        return Token("INT", word, _integer(word, Span(source, start, end)), source, start, end)
    if group == 4:
        if "$" in word and macros is not None:
            macros.quoted.update([int(n) for n in re.findall(r"\$([0-9]{1,9})", word)])
        return Token("STR", word, _unescape(word[1:-1]), source, start, end)
    if group == 5:
        return Token("AGG", word, word[1:], source, start, end)
    if group == 6:
        return Token("INT", word, (_character(word, Span(source, start, end)), ""), source, start, end)
    if group == 7:
        module, _, name = word.partition("`")
        return Token("SYMBOL", word, (module, name), source, start, end)
    raise _stray(source, start, word)


# ---- probe descriptions


def _is_description(text: str, chunk: re.Match[str], is_type: Callable[[str], bool] | None) -> bool:
    """Whether what starts between two clauses is a probe description (else a declaration)."""
    what = chunk.group()
    if ":" in what:
        return True
    word = _word(what)
    if word is None:
        return True
    if word.group() in KEYWORDS and (word.end() == len(what) or text[chunk.end() : chunk.end() + 1] == ">"):
        return False  # with `>`: self->x
    if _bare_type(what) is None:
        return True
    if word.group() in DECLARATION_WORDS:
        return False
    if word.end() < len(what) and is_type is not None and is_type(word.group()):  # name*, name*x
        return False
    skip = _skip(text, chunk.end())
    assert skip is not None
    following = _chunk(text, skip.end())
    if following is None:
        call = text[skip.end() : skip.end() + 1] == "("
        return not (call and is_type is not None and is_type(word.group()))
    # two words in a row: a declaration, unless the second is clearly a description itself
    if ":" in following.group() or following.group()[0] != "*" and _word(following.group()) is None:
        return True
    skip = _skip(text, following.end())
    assert skip is not None
    return text[skip.end() : skip.end() + 1] in ("{", "/")


def _closes(text: str, pos: int) -> bool:
    """Whether the slash before `pos`, outside parentheses, closes its predicate."""
    skip = _skip(text, pos)
    assert skip is not None
    at = skip.end()
    if at == len(text) or text[at] in "{;":
        return True
    if text[at] == "#":
        return "\n" in skip.group()
    chunk = _chunk(text, at)
    if chunk is None:
        return False
    if ":" not in chunk.group() and "\n" not in skip.group():
        return False
    # `a / b ? c:d /`, `a /\n b == 2/`: a description ends in one of these
    skip = _skip(text, chunk.end())
    assert skip is not None
    at = skip.end()
    if at == len(text) or text[at] in "{;,":
        return True
    if text[at] == "/":  # the predicate of the next clause, but never an empty one
        skip = _skip(text, at + 1)
        assert skip is not None
        return skip.end() < len(text) and text[skip.end()] not in "{;"
    word = _word(chunk.group())  # the next item is a declaration
    return word is not None and word.group() in DECLARATION_WORDS


def _probe(source: Source, start: int, end: int, macros: Macros | None) -> Token:
    text = source.text[start:end]
    if "$" in text:
        span = Span(source, start, end)
        text = expand(text, macros, span)
        if re.fullmatch(rf"(?a)(?:{_FILE})?[\w\-.?*\[\]!^:+@\\]*", text) is None:
            raise fail("D_PDESC_INVAL", f"not a probe description after its macros are expanded: {text}", span)
    return Token("PROBE", text, text, source, start, end)


# ---- macro variables


def _push_macro(tokens: list[Token], source: Source, start: int, end: int, name: str, macros: Macros | None) -> None:
    """`$1` becomes the one token its text is (an integer, a name, a quoted string), or two for a
    negative number; `$$1` a string.  No text is ever expanded twice."""
    span = Span(source, start, end)
    if name[0] == "$":
        text = macro_text(macros, name[1:], span, True)
        tokens.append(Token("STR", text, text.encode("utf-8", "surrogateescape"), source, start, end))
        return
    text = macro_text(macros, name, span).strip()
    m = _next(text, 0)
    assert m is not None
    if m.group(2) == "-":
        tokens.append(Token("-", "-", None, source, start, end))
        m = _next(text, m.end())
        assert m is not None
    group = m.lastindex or 0
    if m.end() == len(text) and group in (1, 3, 4, 6):
        word = m.group(group)
        if group == 1:
            tokens.append(Token(KEYWORDS.get(word, "IDENT"), word, word, source, start, end))
            return
        if group != 3 or _number(word):
            try:
                token = _literal(source, group, word, start, None)
            except CompileError as error:
                tag = "D_MACRO_OFLOW" if error.tag == "D_INT_OFLOW" else error.tag
                raise fail(tag, f"${name}: {error}", span)
            token.start, token.end = start, end
            tokens.append(token)
            return
    raise fail(
        "D_SYNTAX",
        f"${name} stands for `{text}`, which is not an integer, a name or a quoted string",
        span,
        f"$${name} is the same as a string",
    )


# ---- constants


def _integer(word: str, span: Span) -> tuple[int, str]:
    m = _number(word)
    if m is None:
        raise _bad_number(word, span)
    digits, suffix = m.groups()
    base = 10 if digits[0] != "0" else 16 if digits[1:2] in ("x", "X") else 8
    digits = digits[2 if base == 16 else 0 :].lstrip("0") or "0"
    value = int(digits, base) if len(digits) <= 32 else 1 << 64  # int() minds very long ones
    if value >= 1 << 64:
        raise fail("D_INT_OFLOW", f"integer constant {word[:40]} does not fit in 64 bits", span)
    suffix = suffix.lower()
    return value, "u" + suffix[:-1] if suffix in ("lu", "llu") else suffix


def _bad_number(word: str, span: Span) -> CompileError:
    if "." in word or re.match(r"\d+[eE][-+]?\d*\Z", word):
        return fail("D_SYNTAX", f"floating-point constant {word}", span, "D has no floating-point arithmetic")
    base, allowed = ("octal", "01234567") if word[0] == "0" else ("decimal", "0123456789")
    at = 1
    if word[:2] in ("0x", "0X"):
        base, allowed, at = "hexadecimal", "0123456789abcdefABCDEF", 2
    while at < len(word) and word[at] in allowed:
        at += 1
    if at == len(word):
        return fail("D_INT_DIGIT", f"hexadecimal constant without digits: {word}", span)
    if word[at].isdigit():
        return fail(
            "D_INT_DIGIT", f"digit `{word[at]}` in {base} constant {word}", span, "a leading 0 makes a number octal"
        )
    hint = (
        "a time like 10s stands only in a probe name: tick-10s"
        if word[at:] in _UNITS
        else "suffixes are u, l, ul, ll, ull"
    )
    return fail("D_INT_DIGIT", f"`{word[at:]}` after the digits of {base} constant {word}", span, hint)


_UNITS = frozenset(["ns", "nsec", "us", "usec", "ms", "msec", "s", "sec", "m", "min", "h", "hour", "d", "day", "hz"])


def _unescape(text: str) -> bytes:
    if "\\" not in text:
        return text.encode("utf-8", "surrogateescape")
    out = b""
    at = 0
    for m in _escape.finditer(text):
        out += text[at : m.start()].encode("utf-8", "surrogateescape") + _escaped(m.group(1))
        at = m.end()
    return out + text[at:].encode("utf-8", "surrogateescape")


def _escaped(what: str) -> bytes:
    """The byte a backslash and `what` stand for, as in C; an unknown one is itself."""
    if what[0] == "x" and len(what) > 1:
        return bytes((int(what[1:], 16),))
    if what[0] in "01234567":
        return bytes((int(what, 8) & 0xFF,))
    known = _ESCAPES.get(what)
    return what.encode("utf-8", "surrogateescape") if known is None else known


def _character(word: str, span: Span) -> int:
    """Several characters are the bytes of an integer, in memory order."""
    value = _unescape(word[1:-1])
    if not value:
        raise fail("D_CHR_NULL", "empty character constant", span, 'an empty string is ""')
    if len(value) > 8:
        raise fail(
            "D_CHR_OFLOW", "character constant of more than 8 bytes", span, 'strings stand in double quotes: "..."'
        )
    return int.from_bytes(value, sys.byteorder)


def _stray(source: Source, start: int, word: str) -> CompileError:
    text = source.text
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    line = Span(source, start, end)
    here = Span(source, start, start + len(word))
    if word == '"':
        return fail("D_STR_NL", "string without its closing quote on the same line", line, "\\n stands for a newline")
    if word == "'":
        return fail("D_CHR_NL", "character constant without its closing quote", line, "strings stand in double quotes")
    if word == "/*":
        return fail("D_SYNTAX", "comment without its closing */", here)
    if word == "$":
        return fail("D_SYNTAX", "`$` without the name of a macro variable", here, "$1, $$1, $target, $pid, ...")
    if word == "`":
        return fail("D_SYNTAX", "` without a kernel symbol", here, "`symbol or module`symbol")
    hint = None
    if word in "“”„‟‘’«»":
        hint = "typographic quotes: D wants \" or '"
    elif word in "–—−":
        hint = "a typographic dash: D wants -"
    elif word.isspace():
        hint = "an unusual space character: replace it by a plain space"
    name = f"`{word}`" if word.isprintable() and not word.isspace() else f"U+{ord(word):04X}"
    return fail("D_SYNTAX", f"unexpected character {name}", here, hint)
