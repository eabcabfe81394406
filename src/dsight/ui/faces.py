"""Which face shows the watcher's reports, as a command line asks for it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace, _ArgumentGroup

    from dsight.ui.jsonl import JsonFace
    from dsight.ui.text import TextFace


def options(how: _ArgumentGroup, summary: str) -> None:
    """Add those that make() reads.  `summary`: what else --help says of it."""
    from argparse import BooleanOptionalAction

    how.add_argument("--json", action="store_true", help="one JSON object a line")
    how.add_argument("--color", "--colour", choices=("auto", "always", "never"), default="auto")
    how.add_argument(
        "--summary", action=BooleanOptionalAction, default=None,
        help=f"a summary at the end (by default with text only){summary}",
    )  # fmt: skip


def make(arguments: Namespace, wall_offset: int, own: bool = True) -> TextFace | JsonFace:
    """`arguments`: options()'s, `udp` and `names`.  `own`: nobody else writes to the terminal: lines drawn in
    place would overwrite it."""
    # Not sys.stdout: with PYTHONUNBUFFERED it forgets what a write left over that a signal cut short.
    out = open(1, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if arguments.json:
        from dsight.ui.jsonl import JsonFace

        return JsonFace(out, wall_offset, bool(arguments.summary))
    from dsight.ui.text import TextFace

    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    colour = arguments.color == "always" or (arguments.color == "auto" and terminal and not os.environ.get("NO_COLOR"))
    dns = arguments.udp or arguments.names is False
    summary = arguments.summary is not False
    names = bool(arguments.names)
    return TextFace(out, wall_offset, terminal and own, colour, summary, _terminal_size, names, dns, terminal)


def _terminal_size() -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24
