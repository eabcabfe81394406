"""What happens to D text before the grammar sees it: macro variables and control lines.

The lexer asks `Macros` for each macro variable it meets.  `control_line` reads a line that
starts with `#`: the interpreter line, line directives (`# 12 "file"`; Source.presumed makes use
of them), `#pragma`.  A real preprocessor (-C, cpp) has run before, or not at all: `#include` and
its kin are errors here.
"""

from __future__ import annotations

import re

from dsight.errors import fail
from dsight.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.macros import Macros

_FOREIGN = ("ident", "once", "GCC", "STDC", "clang", "message", "weak")  # pragmas that change no type

# as text: most scripts need none of them, and `re` keeps the compiled form of those they do
_CONTROL = r"(?as)[ \t]*(?:(\d+)|([A-Za-z_]\w*))?[ \t]*(.*)"
_WORD = r'(?as)(?:[^\s"]|"[^"\\]*+(?:\\.[^"\\]*+)*"|")+'
_COMMENT = r'(?s)("[^"\\]*+(?:\\.[^"\\]*+)*")|/\*.*?\*/'
_MACRO = r"(?a)\$(\$?)(\d+|[A-Za-z_]\w*)"
_ESCAPED = r"(?s)\\(.)"


def macro_text(macros: Macros | None, name: str, span: Span, as_string: bool = False) -> str:
    """`Macros.text`, where there may be no macros at all (library source)."""
    if macros is None:
        raise fail("D_MACRO_UNDEF", f"macro variable ${name} is not defined here", span)
    return macros.text(name, span, as_string)


def expand(text: str, macros: Macros | None, span: Span) -> str:
    """`text` of a probe description or pragma with its macro variables replaced, once."""
    return re.sub(_MACRO, lambda m: macro_text(macros, m.group(2), span, bool(m.group(1))), text)


def control_line(source: Source, start: int, macros: Macros | None) -> tuple[int, tuple[str, ...] | None]:
    """Read the control line whose `#` is at `start`: where it ends (its newline), and the
    words of a `#pragma D` (name first); None for lines that mean nothing to D.

    CompileError D_PRAGCTL_INVAL, D_PRAGMA_MALFORM, D_PRAGMA_UNUSED, D_PRAGERR.
    """
    text = source.text
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    if start == 0 and text.startswith("#!"):
        return end, None
    while text[start:end].rstrip("\r").endswith("\\") and end < len(text):  # a continued line
        after = text.find("\n", end + 1)
        end = len(text) if after < 0 else after
    line = text[start + 1 : end].replace("\\\r\n", " ").replace("\\\n", " ")
    span = Span(source, start, start + len(text[start:end].rstrip()))
    m = re.match(_CONTROL, line)
    assert m is not None
    number, word, rest = m.groups()
    if number is not None or word in ("line", "ident") or (word is None and not rest.strip()):
        return end, None
    if word == "pragma":
        return end, _pragma(rest, macros, span)
    if word == "error":
        raise fail("D_PRAGERR", "#error: " + rest.strip(), span)
    what = "#" + (word or rest.strip()[:20])
    raise fail("D_PRAGCTL_INVAL", f"invalid control directive: {what}", span, "`-C` runs the C preprocessor first")


def _pragma(rest: str, macros: Macros | None, span: Span) -> tuple[str, ...] | None:
    """ "pragma" "D" name word*; those for other compilers, which headers have, mean nothing here."""
    words = re.findall(_WORD, re.sub(_COMMENT, lambda m: m.group(1) or " ", rest))
    if not words or words[0] in _FOREIGN:
        return None
    if words[0] != "D":
        known = words[0] in ("option", "attributes", "binding", "depends_on", "error", "d")
        said = " ".join(words if words[0] != "d" else words[1:])
        hint = f"write #pragma D {said}" if known else "D's own pragmas begin with #pragma D"
        raise fail("D_PRAGMA_UNUSED", f"#pragma {words[0]} means nothing to D", span, hint)
    if len(words) == 1:
        raise fail(
            "D_PRAGMA_MALFORM", "malformed #pragma D: its name is missing", span, "for example: #pragma D option quiet"
        )
    words = [_unquote(w) if w[0] == '"' else expand(w, macros, span) if "$" in w else w for w in words[1:]]
    if macros is not None and words[0] == "option":
        macros.default_args |= "defaultargs" in words
        macros.unused_allowed |= "argref" in words
    return tuple(words)


def _unquote(word: str) -> str:
    if len(word) < 2 or word[-1] != '"':
        return word
    return re.sub(_ESCAPED, r"\1", word[1:-1])
