"""Reports as text: a line an attempt, its outcome filled in when it is known, and a summary.

On a terminal the lines of open attempts stand below the finished ones and are drawn again in
place; a finished line is written once.  On a pipe a line is written when an outcome is known, when
an attempt hangs, and, for an attempt still open after `PATIENCE`, when that is noticed.
"""

from __future__ import annotations

from dsight.connections.diagnose import seconds
from dsight.connections.diagnose_names import SOURCES, is_bad
from dsight.connections.model import FAILED, OUTCOMES, LookupReport, Report
from dsight.connections.naming import NOT_FOUND
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from dsight.connections.expect import Verdict
    from dsight.connections.model import Diagnosis, Lost, Process

PATIENCE = 200_000_000  # ns; quicker attempts are one line, not two
GROUPS = 10_000  # of the summary; what comes later is counted together
ROWS = 60  # of the summary, shown

_WIDTHS = (12, 24, 34, 11, 8)  # time, process, destination, outcome, how long
_NARROW = (12, 18, 22, 11, 7)  # on terminals of less than 100 columns
_INTERPRETERS = frozenset({"python", "perl", "ruby", "node", "php", "bash", "sh", "dash", "lua"})

# Of the summary, the worst first.
_ORDER = ("reset", "not-found", "failed", *OUTCOMES[:-1], "slow", OUTCOMES[-1])
_COLOURS = {
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


class TextFace:
    """Writes reports for people.  `size()` gives the terminal's columns and rows."""

    def __init__(
        self,
        out: TextIO,
        wall_offset: int,
        live: bool = False,
        colour: bool = False,
        summary: bool = True,
        size: Callable[[], tuple[int, int]] = lambda: (80, 24),
        names: bool = False,
        dns: bool = True,
    ) -> None:
        """`names`: every lookup; `dns`: also the UDP sockets they take, when nothing is wrong with them."""
        self._out = out
        self._offset = wall_offset
        self._live = live
        self._colour = colour
        self._summary = Summary() if summary else None
        self._size = size
        self._dns = dns
        self._names = names  # all lookups, not only those that fail or are slow
        self._open: dict[str, Report | LookupReport] = {}  # attempts without an outcome, their newest report
        self._waiting: dict[str, Report | LookupReport] = {}  # of these, on a pipe: not written yet
        self._drawn = 0  # lines of open attempts on the terminal
        self._headed = False
        self._widths = _NARROW if live and size()[0] < 100 else _WIDTHS

    def show(self, reports: list[Report | LookupReport | Lost]) -> None:
        """One batch."""
        lines = []
        for report in reports:
            if isinstance(report, Report):
                if self._dns or not _is_plain_dns(report):
                    lines += self._take(report)
            elif isinstance(report, LookupReport):
                lines += self._take_lookup(report)
            else:
                lines.append(self._paint("33", f"{report.count} events were lost ({printable(report.where)})"))
        if self._live:
            if reports:
                self._draw(lines, None)
        elif lines:
            self._write(lines)

    def refresh(self, now: int) -> None:
        """Time has passed: times of open attempts grow; on a pipe the patience with new ones ends."""
        if self._live:
            if self._open:
                self._draw([], now)
            return
        late = [r for r in self._waiting.values() if now - r.time > PATIENCE]
        for report in late:
            del self._waiting[report.id]
        if late:
            self._write([self._line(r, None) for r in late])

    def finish(self, now: int, verdicts: Sequence[Verdict] = ()) -> None:
        """The end: the summary, and what became of what was expected."""
        if self._live:
            self._draw([], now)
        if self._summary is not None:
            lines = self._summary.lines(self._paint)
            if lines:
                self._out.write("\n" + "\n".join(lines) + "\n")
        for verdict in verdicts:
            self._out.write(self._paint("32" if verdict.result == "met" else "1;31", printable(str(verdict))) + "\n")
        self._out.flush()

    def _take(self, report: Report) -> list[str]:
        """What to write for good."""
        if report.event == "attempt":
            self._open[report.id] = report
            self._waiting[report.id] = report
            return []
        self._waiting.pop(report.id, None)
        if report.event == "hanging":
            self._open[report.id] = report
            return [] if self._live else [self._line(report, None)]
        self._open.pop(report.id, None)
        if self._summary is not None and (report.outcome is not None or report.diagnosis is not None):
            self._summary.add(report)
        return [self._line(report, None)]

    def _take_lookup(self, report: LookupReport) -> list[str]:
        """What to write for good of a lookup."""
        if report.event == "looking-up":
            self._open[report.id] = report
            return [] if self._live else [self._line(report, None)]
        shown = self._open.pop(report.id, None) is not None or is_bad(report) or self._names
        if self._summary is not None and is_bad(report):
            self._summary.add_lookup(report)
        return [self._line(report, None)] if shown else []

    def _line(self, report: Report | LookupReport, now: int | None) -> str:
        """One attempt or lookup.  `now`: for an open one, to say how long it has waited."""
        if isinstance(report, LookupReport):
            start = report.time - report.latency_ns
            waited = report.latency_ns if now is None else max(now - start, 0)
            name = printable(f"name {report.name}")
            return self._columns(
                start, label(report.process), name, lookup_word(report), seconds(waited), found(report)
            )
        word = report.outcome or _word(report)
        waited = report.latency_ns or 0
        start = report.time - waited
        if report.life is not None:
            waited = report.life.duration_ns
        if now is not None:
            waited = max(now - start, 0)
        where = destination(report) + (" (here)" if report.remote.self_ and report.remote.path is None else "")
        known = report.latency_ns is not None or report.life is not None or now is not None
        long = seconds(waited) if known else ""
        return self._columns(start, label(report.process), where, word, long, reason(report))

    def _columns(self, start: int, who: str, where: str, word: str, long: str, why: str) -> str:
        texts = (clock(start + self._offset), who, where, word, long)
        cells = [fit(text, width) for text, width in zip(texts[:4], self._widths)]
        cells[3] = self._paint(_COLOURS.get(word, ""), cells[3])
        line = " ".join(cells) + " " + texts[4].rjust(self._widths[4])
        return f"{line}  {why}" if why else line.rstrip()

    def _write(self, lines: list[str]) -> None:
        self._out.write("\n".join([*self._head(), *lines]) + "\n")
        self._out.flush()

    def _head(self) -> list[str]:
        if self._headed:
            return []
        self._headed = True
        names = ("TIME", "PROCESS", "DESTINATION", "OUTCOME", "AFTER")
        head = (
            " ".join(n.ljust(w) for n, w in zip(names[:4], self._widths))
            + " "
            + names[4].rjust(self._widths[4])
            + "  WHY"
        )
        return [self._paint("1", head)]

    def _draw(self, lines: list[str], now: int | None) -> None:
        """Take the open lines away, write `lines` for good, draw the open ones again."""
        columns, rows = self._size()
        out = [f"\r\x1b[{self._drawn}A\x1b[J" if self._drawn else ""]
        out += [clip(head, columns - 1) + "\n" for head in self._head()]
        out += [self._wrapped(line, columns) + "\n" for line in lines]
        room = max(rows - 2, 1)
        shown = list(self._open.values())[-room:]
        for report in shown:
            out.append(clip(self._line(report, now), columns - 1) + "\n")
        self._drawn = len(shown)
        self._out.write("".join(out))
        self._out.flush()

    def _wrapped(self, line: str, columns: int) -> str:
        """A line whose reason does not fit goes on below, indented."""
        indent = sum(self._widths) + len(self._widths) + 1
        if columns <= 40 or width(line) <= columns:
            return line
        from textwrap import wrap

        at = _offset(line, indent)
        below = wrap(line[at:], columns - self._widths[0] - 1, break_on_hyphens=False)
        return "\n".join([line[:at].rstrip(), *(" " * (self._widths[0] + 1) + text for text in below)])

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


class Summary:
    """Outcomes by process, destination and outcome."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._total = 0
        self._lookups = 0
        self._others = 0

    def add(self, report: Report) -> None:
        """An outcome; or an end that is a failure, of a connection that was counted when it was made."""
        self._total += report.outcome is not None
        time = (report.latency_ns or 0) if report.life is None else report.life.duration_ns
        self._count(report, destination(report), report.outcome or _word(report), time)

    def _count(self, report: Report | LookupReport, where: str, word: str, time: int) -> None:
        key = (label(report.process, False), where, word)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= GROUPS:
                self._others += 1
                return
            group = self._groups[key] = _Group()
        group.count += 1
        group.time += time
        group.diagnosis = report.diagnosis or group.diagnosis
        group.pids.add(report.process.pid)

    def add_lookup(self, report: LookupReport) -> None:
        """One that failed or was slow."""
        self._lookups += 1
        self._count(report, f"name {printable(report.name)}", lookup_word(report), report.latency_ns)

    def lines(self, paint: Callable[[str, str], str]) -> list[str]:
        """The table, the worst first, then the most frequent; [] if there was nothing."""
        if not self._groups:
            return []
        order = {name: n for n, name in enumerate(_ORDER)}
        ranked = sorted(self._groups.items(), key=lambda i: (order.get(i[0][2], 99), -i[1].count, i[0]))
        shown = ranked[:ROWS]
        names = max(7, *(width(key[0]) for key, _ in shown))
        places = max(11, *(width(key[1]) for key, _ in shown))
        processes = len({pid for _, group in ranked for pid in group.pids})
        lines = [
            paint("1", f"{self._counted()} by {plural(processes, 'process', 'processes')}"),
            paint(
                "1",
                f"{'OUTCOME':11} {'COUNT':>6} {fit('PROCESS', names)} {fit('DESTINATION', places)} {'MEAN':>8}  WHY",
            ),
        ]
        for (name, where, outcome), group in shown:
            word = paint(_COLOURS.get(outcome, ""), f"{outcome:11}")
            mean = seconds(group.time // group.count)
            why = group.diagnosis.text if group.diagnosis else ""
            line = f"{word} {group.count:6} {fit(name, names)} {fit(where, places)} {mean:>8}  {printable(why)}"
            lines.append(line.rstrip())
        rest = sum(group.count for _, group in ranked[ROWS:]) + self._others
        if rest:
            lines.append(f"and {rest} more, of {len(ranked) - len(shown)} other kinds")
        return lines

    def _counted(self) -> str:
        bad = f"{plural(self._lookups, 'lookup')} that failed or {'was' if self._lookups == 1 else 'were'} slow"
        made = plural(self._total, "attempt")
        return made if not self._lookups else f"{made} and {bad}" if self._total else bad


class _Group:
    __slots__ = ("count", "diagnosis", "pids", "time")

    def __init__(self) -> None:
        self.count = 0
        self.time = 0
        self.diagnosis: Diagnosis | None = None
        self.pids: set[int] = set()


def destination(report: Report) -> str:
    """Where it goes; a protocol other than TCP by its name."""
    if report.remote.path is not None:
        return printable(report.remote.path)
    end = report.remote
    text = str(end)
    if end.name is not None:
        address = "?" if end.address is None else end.address
        text = f"{printable(end.name)} ({address}):{'?' if end.port is None else end.port}"
    return text if report.protocol in ("tcp", "mptcp", None) else f"{report.protocol} {text}"


def _is_plain_dns(report: Report) -> bool:
    """Whether it is a lookup's UDP socket, and has not failed."""
    return report.protocol == "udp" and report.remote.port == 53 and report.outcome not in FAILED


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


def _word(report: Report) -> str:
    """What a report without an outcome says."""
    if report.event == "closed":
        return "reset" if report.diagnosis is not None else "closed"
    return report.event if report.event in ("hanging", "accepted") else "connecting"


def reason(report: Report) -> str:
    """Why, as far as it is known; the errno where there is nothing better; of what ended, what it was."""
    if report.diagnosis is not None:
        return printable(report.diagnosis.text)
    if report.event == "accepted":
        return f"at {report.local}"
    if report.life is not None:
        life = report.life
        trip = "" if life.srtt_us is None else f", round trip {seconds(life.srtt_us * 1000)}"
        again = f", {plural(life.retransmits, 'retransmission')}" if life.retransmits else ""
        ends = {"us": "this side", "peer": "the peer", "reset": "a reset of the peer", "timeout": "a timeout"}
        return f"by {ends[life.closed_by]}; {life.bytes_sent} bytes sent, {life.bytes_received} received{trip}{again}"
    who = report.remote.listener
    if report.remote.path is not None and who is not None and who.comm is not None:
        return printable(f"{who.comm}[{who.pid}] listens there")
    return report.error or ""


def label(process: Process, pid: bool = True) -> str:
    """COMM[PID]; an interpreter with its script: python3 shop.py[4711]."""
    name = process.comm
    if process.args and name.rstrip("0123456789.") in _INTERPRETERS:
        script = next((a for a in process.args[1:] if a and not a.startswith("-")), None)
        if script is not None and len(script) < 200 and "\n" not in script and " " not in script:
            name += " " + script.rsplit("/", 1)[-1]
    return printable(f"{name}[{process.pid}]" if pid else name)


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
    return text[: _offset(text, cells)] + ("\x1b[0m" if "\x1b" in text else "")


def _offset(text: str, cells: int) -> int:
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
