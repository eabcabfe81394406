"""Words of the faces: what a report says of who, where and why; and texts as wide as a terminal's cells."""

from __future__ import annotations

from dsight.connections.diagnose import seconds
from dsight.connections.diagnose_names import SOURCES, is_bad
from dsight.connections.model import LookupReport, Report
from dsight.connections.naming import NOT_FOUND
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.model import Process

# Interpreters: the letters of options that are followed by a program in place of a script's name.
_INTERPRETERS = {"python": "c", "perl": "eE", "ruby": "e", "node": "ep", "php": "r", "bash": "c", "sh": "c",
                 "dash": "c", "lua": "e"}  # fmt: skip
# Options whose value is an argument of its own.
_JAVA = frozenset({"-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens",
                     "--add-exports", "--add-reads"})  # fmt: skip
_VALUES_OF = {"node": frozenset({"-r", "--require", "--import"}), "python": frozenset({"-W", "-X"})}
_ENDED_BY = {"us": "this side", "peer": "the peer", "reset": "a reset of the peer", "timeout": "a timeout"}
# The same in a column.
ENDS = {"us": "this side", "peer": "the peer", "reset": "peer: reset", "timeout": "timeout"}
COLOURS = {
    "not-found": "1;31",
    "failed": "1;31",
    "slow": "33",
    "looking-up": "33",
    "found": "2",
    "connected": "32",
    "refused": "1;31",
    "timed-out": "1;31",
    "unreachable": "1;31",
    "denied": "1;31",
    "no-address": "1;31",
    "invalid": "1;31",
    "aborted": "33",
    "hanging": "33",
    "connecting": "2",
    "reset": "1;31",
    "accepted": "32",
    "closed": "2",
    "pending": "33",
    "sent": "36",
}


def destination(report: Report) -> str:
    """Where it goes; a protocol other than TCP by its name."""
    if report.remote.path is not None:
        return printable(report.remote.path)
    end = report.remote
    text = printable(str(end))
    if end.name is not None:
        address = "?" if end.address is None else end.address
        text = f"{printable(end.name)} ({address}):{'?' if end.port is None else end.port}"
    return text if report.protocol in ("tcp", "mptcp", None) else f"{report.protocol} {text}"


def lookup_word(report: LookupReport) -> str:
    """What came of a lookup."""
    if report.event == "looking-up":
        return report.event
    if report.error in ("aborted", "pending"):
        return report.error
    if report.error is not None:
        return "not-found" if report.error in NOT_FOUND else "failed"
    return "slow" if is_bad(report) else "found"


def found(report: LookupReport) -> str:
    """What a lookup found, and where; or why it did not."""
    source = f" ({SOURCES.get(report.source, report.source)})" if report.source is not None else ""
    answers = ", ".join(report.answers[:4]) + (", ..." if len(report.answers) > 4 else "")
    why = printable(report.diagnosis.text) if report.diagnosis is not None else ""
    told = f"{answers}{source}" if answers else report.error if not why else None
    return "; ".join(part for part in (told, why) if part)


def outcome_word(report: Report) -> str:
    """What came of it; of a report without an outcome, what it is."""
    if report.outcome is not None:
        return report.outcome
    if report.event == "closed":
        return "reset" if report.diagnosis is not None else "closed"
    return report.event if report.event in ("hanging", "accepted") else "connecting"


def reason(report: Report) -> str:
    """Why, as far as it is known; the errno where there is nothing better; of what ended, what it was."""
    if report.diagnosis is not None:
        return printable(report.diagnosis.text)
    if report.event == "accepted":
        return printable(f"at {report.local}")
    if report.life is not None:
        life = report.life
        trip = "" if life.srtt_us is None else f", round trip {seconds(life.srtt_us * 1000)}"
        again = f", {plural(life.retransmits, 'retransmission')}" if life.retransmits else ""
        return (
            f"by {_ENDED_BY[life.closed_by]}; {life.bytes_sent} bytes sent, {life.bytes_received} received{trip}{again}"
        )
    who = report.remote.listener
    if report.remote.path is not None and who is not None and who.comm is not None:
        return printable(f"{who.comm}[{who.pid}] listens there")
    return report.error or ""


def label(process: Process, pid: bool = True) -> str:
    """COMM[PID]; an interpreter with its script: python3 shop.py[4711]; Java with its archive or class."""
    name = process.comm
    script = None
    kind = name.rstrip("0123456789.")
    if process.args and kind in _INTERPRETERS:
        script = _operand(process.args, _VALUES_OF.get(kind, frozenset()), _INTERPRETERS[kind])
    elif process.args and name == "java":
        script = _operand(process.args, _JAVA)
        if script is not None and not script.endswith(".jar"):
            script = script.rsplit(".", 1)[-1]  # of a class, the last part
    if script is not None and len(script) < 200 and "\n" not in script and " " not in script:
        name += " " + script.rsplit("/", 1)[-1]
    return printable(f"{name}[{process.pid}]" if pid else name)


def _operand(args: tuple[str, ...], values: frozenset[str], in_place: str = "") -> str | None:
    """The first argument that is no option, nor the value of one; None where the program is given in place."""
    rest = iter(args[1:])
    for arg in rest:
        if arg in values:
            next(rest, None)
        elif not arg.startswith("-"):
            return arg or None
        elif arg in ("--eval", "--print") or (arg[1:2] != "-" and arg[-1] in in_place):
            return None
    return None


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def clock(wall_ns: int) -> str:
    """Local time of day, to the millisecond."""
    from time import localtime, strftime

    return f"{strftime('%H:%M:%S', localtime(wall_ns // 1_000_000_000))}.{wall_ns // 1_000_000 % 1000:03d}"


def width(text: str) -> int:
    """Terminal cells that a text takes: escape sequences of ours none, wide characters two."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return sum(n for _, n in _cells(text))


def fit(text: str, cells: int) -> str:
    """Padded to `cells`; a longer text loses its middle."""
    if text.isascii() and len(text) <= cells:
        return text.ljust(cells)
    have = width(text)
    if have <= cells:
        return text + " " * (cells - have)
    head = clip(text, (cells - 1) // 2)
    tail = clip(text[::-1], cells - 1 - width(head))[::-1]
    short = f"{head}…{tail}"
    return short + " " * (cells - width(short))


def clip(text: str, cells: int) -> str:
    """At most `cells` wide; our escape sequences stay whole."""
    if width(text) <= cells:
        return text
    return text[: offset(text, cells)] + ("\x1b[0m" if "\x1b" in text else "")


def offset(text: str, cells: int) -> int:
    """How many characters fit."""
    used = at = 0
    for piece, n in _cells(text):
        if used + n > cells:
            break
        used += n
        at += len(piece)
    return at


def _cells(text: str) -> list[tuple[str, int]]:
    """Characters (or whole escape sequences) and the cells each takes."""
    from re import findall
    from unicodedata import combining, east_asian_width

    out = []
    for piece in findall("\x1b\\[[0-9;]*m|.", text):
        if len(piece) > 1 or combining(piece) or piece in "\u200b\u200d\ufe0f":
            out.append((piece, 0))
        else:
            out.append((piece, 2 if east_asian_width(piece) in "WF" else 1))
    return out
