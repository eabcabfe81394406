"""Terminal text with ANSI colours to an SVG picture.

    tmux capture-pane -e -p -t dsight | screenshot.py [--title TEXT] >docs/images/watch.svg

Understands SGR sequences (bold, dim, italic, underline, reverse; 16, 256 and 24-bit colours) and
drops all other control sequences.  Each run of equal style is one <text> with its width
fixed, so columns stay in place in whatever monospaced font the reader has.
"""

from __future__ import annotations

import argparse
import re
import sys
import unicodedata
from html import escape
from typing import NamedTuple

CELL, LINE, SIZE, PAD, BAR = 8.4, 18, 14, 14, 30  # width and height of a cell, font size, margin, title bar; px
BACKGROUND, FOREGROUND, FRAME = "#1b1e26", "#d3d7de", "#2a2f3a"
# black red green yellow blue magenta cyan white, then the same bright
PALETTE = (
    "#3b4252 #e06c75 #98c379 #e5c07b #61afef #c678dd #56b6c2 #d3d7de "
    "#7f8796 #ff7b86 #b5e890 #ffd98a #82c4ff #dd9cf0 #7fd5df #ffffff"
).split()
SEQUENCE = re.compile(r"\x1b(?:\[([0-9;:]*)m|\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>()].?)")


class Style(NamedTuple):
    fore: str = ""
    back: str = ""
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False


SWITCHES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse"}
OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",), 39: ("fore",), 49: ("back",)}


def colour256(n: int) -> str:
    """The colour of xterm's 256: 16 of the palette, a cube of 6x6x6, 24 greys."""
    if n < 16:
        return PALETTE[n]
    if n < 232:
        levels = (0, 95, 135, 175, 215, 255)
        n -= 16
        return f"#{levels[n // 36]:02x}{levels[n // 6 % 6]:02x}{levels[n % 6]:02x}"
    return f"#{8 + 10 * (n - 232):02x}" + f"{8 + 10 * (n - 232):02x}" * 2


def apply(style: Style, codes: list[int]) -> Style:
    """The style after an SGR sequence."""
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = Style()
        elif code in SWITCHES:
            style = style._replace(**{SWITCHES[code]: True})
        elif code in OFF:
            style = style._replace(**{name: Style._field_defaults[name] for name in OFF[code]})
        elif code in (38, 48) and codes:
            kind = codes.pop(0)
            colour = ""
            if kind == 5 and codes:
                colour = colour256(codes.pop(0))
            elif kind == 2 and len(codes) >= 3:
                colour = "#{:02x}{:02x}{:02x}".format(*codes[:3])
                del codes[:3]
            style = style._replace(**{"fore" if code == 38 else "back": colour})
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = style._replace(fore=PALETTE[code - 30 if code < 90 else code - 82])
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style = style._replace(back=PALETTE[code - 40 if code < 100 else code - 92])
    return style


def runs(text: str) -> list[list[tuple[Style, str]]]:
    """Lines of (style, text); a style goes on over line ends."""
    lines = []
    style = Style()
    for line in text.split("\n"):
        parts, at = [], 0
        for match in SEQUENCE.finditer(line):
            if match.start() > at:
                parts.append((style, line[at : match.start()]))
            at = match.end()
            if match[1] is not None:
                style = apply(style, [int(code or 0) for code in re.split("[;:]", match[1])])
        parts.append((style, line[at:]))
        lines.append([(s, "".join(c for c in t.expandtabs() if c.isprintable())) for s, t in parts if t])
    while lines and not any(t.strip() for _, t in lines[-1]):
        lines.pop()
    return lines


def width(text: str) -> int:
    """Cells a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def svg(text: str, title: str = "") -> str:
    lines = runs(text)
    columns = max([40, *(sum(width(t) for _, t in line) for line in lines)])
    wide, high = round(columns * CELL + 2 * PAD), round(BAR + len(lines) * LINE + 1.5 * PAD)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" '
        f'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="{SIZE}">',
        f'<rect width="{wide}" height="{high}" rx="8" fill="{BACKGROUND}"/>',
        f'<path d="M0 {BAR}V8a8 8 0 0 1 8-8H{wide - 8}a8 8 0 0 1 8 8V{BAR}z" fill="{FRAME}"/>',
    ]
    out += [
        f'<circle cx="{18 + 18 * n}" cy="{BAR / 2:g}" r="5.5" fill="{PALETTE[colour]}"/>'
        for n, colour in enumerate((1, 3, 2))
    ]
    if title:
        out.append(
            f'<text x="{wide / 2:g}" y="{BAR / 2 + 4.5:g}" text-anchor="middle" font-size="12" fill="{PALETTE[8]}">'
            f"{escape(title)}</text>"
        )
    for row, line in enumerate(lines):
        x, y = float(PAD), BAR + PAD / 2 + (row + 1) * LINE
        for style, part in line:
            cells = width(part) * CELL
            fore, back = style.fore or FOREGROUND, style.back
            if style.reverse:
                fore, back = back or BACKGROUND, fore
            if back:
                out.append(f'<rect x="{x:g}" y="{y - LINE + 4.5:g}" width="{cells:g}" height="{LINE}" fill="{back}"/>')
            if part.strip():
                # Leading blanks move the start, so that no renderer folds them.
                shown = part.strip(" ")
                start = x + (len(part) - len(part.lstrip(" "))) * CELL
                marks = ' font-weight="bold"' if style.bold else ""
                marks += ' font-style="italic"' if style.italic else ""
                marks += ' text-decoration="underline"' if style.underline else ""
                marks += ' opacity="0.6"' if style.dim else ""
                out.append(
                    f'<text x="{start:g}" y="{y:g}" textLength="{width(shown) * CELL:g}" fill="{fore}"{marks} '
                    f'xml:space="preserve">{escape(shown)}</text>'
                )
            x += cells
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    sys.stdout.write(svg(sys.stdin.read(), options.title))


if __name__ == "__main__":
    main()
