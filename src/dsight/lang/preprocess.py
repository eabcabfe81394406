"""What happens to D text before the grammar sees it: macro variables and control lines.

`Macros` holds what `$1`, `$$1`, `$target`, `$pid` ... stand for; the lexer asks it for
each one it meets.  `control_line` reads a line that starts with `#`: the interpreter
line, line directives (`# 12 "file"`; Source.presumed makes use of them), `#pragma`.
A real preprocessor (-C, cpp) has run before, or not at all: `#include` and its
kin are errors here.
"""

from __future__ import annotations

import os
import re

from dsight.errors import fail
from dsight.source import Source, Span

_NAMES = "$target $pid $ppid $uid $euid $gid $egid $pgid $sid $projid $taskid $0 $1 ..."

_FOREIGN = ("ident", "once", "GCC", "STDC", "clang", "message", "weak")  # pragmas that change no type

# as text: most scripts need none of them, and `re` keeps the compiled form of those they do
_CONTROL = r"(?as)[ \t]*(?:(\d+)|([A-Za-z_]\w*))?[ \t]*(.*)"
_WORD = r'(?as)(?:[^\s"]|"[^"\\]*+(?:\\.[^"\\]*+)*"|")+'
_COMMENT = r'(?s)("[^"\\]*+(?:\\.[^"\\]*+)*")|/\*.*?\*/'
_MACRO = r"(?a)\$(\$?)(\d+|[A-Za-z_]\w*)"
_ESCAPED = r"(?s)\\(.)"


class Macros:
    """Macro variables, and which script arguments were asked for so far.

    `values`: the named ones ("pid", "target", ...).  `args[0]` is the script's name ($0), then
    its arguments.  Shared by all sources of one command line, so that `check_unused` can
    tell at the end which arguments no script used.  `default_args` and `unused_allowed`
    are the options defaultargs and argref; a pragma in the script sets them too.
    """

    __slots__ = ("args", "default_args", "quoted", "unused_allowed", "used", "values")

    def __init__(self, values: dict[str, int], args: tuple[str, ...] = (), default_args: bool = False) -> None:
        self.values = values
        self.args = args
        self.default_args = default_args
        self.unused_allowed = False
        self.used: set[int] = {0}
        self.quoted: set[int] = set()  # N of each "$N" seen inside a string, where it means itself

    @classmethod
    def of_process(
        cls,
        args: tuple[str, ...] = (),
        script_name: str = "dtrace",
        target: int | None = None,
        default_args: bool = False,
    ) -> Macros:
        """Of this process.  Linux has neither projects nor tasks: $projid and $taskid are 0."""
        values = {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "uid": os.getuid(),
            "euid": os.geteuid(),
            "gid": os.getgid(),
            "egid": os.getegid(),
            "pgid": os.getpgrp(),
            "sid": os.getsid(0),
            "projid": 0,
            "taskid": 0,
        }
        if target is not None:
            values["target"] = target
        return cls(values, (script_name, *args), default_args)

    def text(self, name: str, span: Span, as_string: bool = False) -> str:
        """What `$name` stands for; CompileError D_MACRO_UNDEF."""
        if name.isdigit():
            number = int(name) if len(name) < 10 else 1 << 30
            self.used.add(number)
            if number < len(self.args):
                return self.args[number]
            if self.default_args:
                return "" if as_string else "0"
            given = len(self.args) - 1
            raise fail(
                "D_MACRO_UNDEF",
                f"macro argument ${name} is not defined",
                span,
                ("no argument was" if given <= 0 else "1 argument was" if given == 1 else f"{given} arguments were")
                + " given after the script; `-x defaultargs` makes missing ones 0 or an empty string",
            )
        if name in self.values:
            return str(self.values[name])
        if name == "target":
            if self.default_args:
                return "" if as_string else "0"
            raise fail(
                "D_MACRO_UNDEF",
                "macro variable $target is not defined",
                span,
                "name the process to trace with -p PID, or start one with -c COMMAND",
            )
        raise fail("D_MACRO_UNDEF", f"macro variable ${name} is not defined", span, f"there are {_NAMES}")

    def check_unused(self) -> None:
        """CompileError D_MACRO_UNUSED when arguments at the end were never asked for."""
        last = len(self.args) - 1
        if last < 1 or self.unused_allowed or self.default_args or max(self.used) >= last:
            return
        first = max(self.used) + 1
        hint = "the scripts use no such argument; `-x argref` allows it"
        if first in self.quoted:
            hint = (
                f"${first} inside quotes is plain text; write $${first}, without quotes, for the argument as a string"
            )
        raise fail("D_MACRO_UNUSED", f"extraneous argument '{self.args[first]}' (${first} is not used)", None, hint)


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
