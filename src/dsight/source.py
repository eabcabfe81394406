"""Source text, places in it, and messages that point at them."""

from __future__ import annotations

from dsight.value import Value


class Source:
    """One D source: a file, the text given with -n, or a library file.

    `name` is what messages call it ("connect.d", "-n", "tcp.d").
    """

    __slots__ = ("name", "text", "_starts", "_marks")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._starts: list[int] | None = None
        self._marks: list[tuple[int, int, str]] | None = None

    def line_col(self, offset: int) -> tuple[int, int]:
        """Offset to 1-based line and column."""
        from bisect import bisect_right

        if self._starts is None:
            starts = [0]
            at = self.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.text.find("\n", at + 1)
            self._starts = starts
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its newline."""
        self.line_col(0)
        assert self._starts is not None
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]

    def presumed(self, number: int) -> tuple[str, int]:
        """The file and line a 1-based line of this text came from: what the line directives
        (`# 12 "file"`, as cpp leaves them) say; this source's own name and line without any."""
        if self._marks is None:
            self._marks = _line_marks(self) if "#" in self.text else []
        name, line = self.name, number
        for at, mark_line, mark_name in self._marks:
            if at >= number:
                break
            name, line = mark_name, mark_line + number - at - 1
        return name, line

    def __repr__(self) -> str:
        return f"Source({self.name!r})"


def _line_marks(source: Source) -> list[tuple[int, int, str]]:
    """Of each line directive: its own line, the number and the file name of the line after it."""
    import re

    marks = []
    name = source.name
    for m in re.finditer(r'^[ \t]*#[ \t]*(?:line[ \t]+)?(\d{1,9})(?:[ \t]+"([^"\n]*)")?', source.text, re.M | re.A):
        name = m.group(2) or name
        marks.append((source.line_col(m.start(1))[0], int(m.group(1)), name))
    return marks


class Span(Value):
    """Half-open range of offsets into one source."""

    source: Source
    start: int
    end: int

    def to(self, other: Span) -> Span:
        """From my start to the other's end."""
        return Span(self.source, self.start, max(self.end, other.end))

    @property
    def line(self) -> int:
        """1-based line, as line directives have it (Source.presumed)."""
        return self.source.presumed(self.source.line_col(self.start)[0])[1]

    @property
    def column(self) -> int:
        return self.source.line_col(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]


class Diagnostic(Value):
    """One message about the source: D_ tag, what is wrong, where, what to do."""

    tag: str
    message: str
    span: Span | None = None
    hint: str | None = None

    def render(self, kind: str = "error") -> str:
        """The message with its place, source line and caret, ready for a terminal."""
        if self.span is None:
            lines = [f"{kind}: {self.message}"]
        else:
            line, column = self.span.source.line_col(self.span.start)
            text = self.span.source.line(line)
            width = max(1, min(self.span.end - self.span.start, len(text) - column + 1))
            pad = "".join("\t" if c == "\t" else " " for c in printable(text[: column - 1]))
            name, number = self.span.source.presumed(line)
            lines = [
                f"{name}:{number}:{column}: {kind}: {self.message}",
                "  " + printable(text),
                "  " + pad + "^" + "~" * (width - 1),
            ]
        if self.hint:
            lines.append("  hint: " + self.hint)
        return "\n".join(lines)


def printable(text: str) -> str:
    """Untrusted text made harmless for a terminal or a log: control characters
    (C0, DEL, C1, bidirectional overrides, line separators) become \\xNN or \\uNNNN;
    tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\t" or c.isprintable() else _escape(c) for c in text)


def _escape(c: str) -> str:
    n = ord(c)
    if 0xDC80 <= n <= 0xDCFF:  # a byte that was not UTF-8 (surrogateescape)
        return f"\\x{n - 0xDC00:02x}"
    return f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}"


def beside(module: str, name: str) -> str:
    """The text of a D file in the folder of a module (its `__file__`)."""
    with open(f"{module.rpartition('/')[0]}/{name}", encoding="ascii") as file:
        return file.read()
