"""Reports as text: a line an attempt, its outcome filled in when it is known, and a summary.

On a terminal the lines of open attempts stand below the finished ones and are drawn again in
place; a finished line is written once.  On a pipe a line is written when an outcome is known, when
an attempt hangs, and, for an attempt still open after `PATIENCE`, when that is noticed.
"""

from __future__ import annotations

from dsight.connections.diagnose import seconds
from dsight.connections.diagnose_names import is_bad
from dsight.connections.model import FAILED, LookupReport, Report
from dsight.source import printable
from dsight.ui.words import (
    COLOURS,
    clip,
    clock,
    destination,
    fit,
    found,
    label,
    lookup_word,
    offset,
    outcome_word,
    reason,
    width,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from dsight.connections.expect import Verdict
    from dsight.connections.model import Lost

PATIENCE = 200_000_000  # ns; quicker attempts are one line, not two

KEPT = 1024  # cells made of who, where, what and why
_WIDTHS = (12, 24, 34, 11, 8)  # time, process, destination, outcome, how long
_NARROW = (12, 18, 22, 11, 7)  # on terminals of less than 100 columns


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
        terminal: bool = False,
    ) -> None:
        """`names`: every lookup; `dns`: also the UDP sockets they take, when nothing is wrong with them.
        `terminal`: the summary has to fit it."""
        from dsight.ui.summary import Summary

        self._out = out
        self._offset = wall_offset
        self._live = live
        self._colour = colour
        self._summary = Summary()
        self._sums_up = summary  # at the end
        self._terminal = terminal or live
        self._size = size
        self._dns = dns
        self._names = names  # all lookups, not only those that fail or are slow
        self._open: dict[str, Report | LookupReport] = {}  # attempts without an outcome, their newest report
        self._waiting: dict[str, Report | LookupReport] = {}  # of these, on a pipe: not written yet
        self._drawn = 0  # lines of open attempts on the terminal
        self._headed = False
        # What _said() has made; with it the objects whose id() is in its key.
        self._known: dict[tuple[object, ...], tuple[tuple[str, str], tuple[object, ...]]] = {}
        self._second = (-1, "")  # the last one, and its text, up to the milliseconds
        self._widths = _NARROW if live and size()[0] < 100 else _WIDTHS

    def show(self, reports: list[Report | LookupReport | Lost]) -> None:
        """One batch."""
        lines = []
        for report in reports:
            if isinstance(report, Report):
                if not self._dns and _is_plain_dns(report):
                    continue
                lines += self._take(report)
            elif isinstance(report, LookupReport):
                lines += self._take_lookup(report)
            else:
                lines.append(self._paint("33", f"{report.count} events were lost ({printable(report.where)})"))
            self._summary.see(report)
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
        lines = self._summary_lines() if self._sums_up else []
        if lines:
            self._out.write("\n" + "\n".join(lines) + "\n")
        for verdict in verdicts:
            self._out.write(self._paint("32" if verdict.result == "met" else "1;31", printable(str(verdict))) + "\n")
        self._out.flush()

    def sum_up(self, now: int) -> None:
        """The summary so far."""
        lines = ["", f"at {clock(now + self._offset)}:", *(self._summary_lines() or ["no attempts"]), ""]
        if self._live:
            columns = self._size()[0]
            self._draw([clip(line, columns) for line in lines], now)
        else:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()

    def _summary_lines(self) -> list[str]:
        return self._summary.lines(self._paint, self._size()[0] if self._terminal else None)

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
        return [self._line(report, None)]

    def _take_lookup(self, report: LookupReport) -> list[str]:
        """What to write for good of a lookup."""
        if report.event == "looking-up":
            self._open[report.id] = report
            return [] if self._live else [self._line(report, None)]
        shown = self._open.pop(report.id, None) is not None or is_bad(report) or self._names
        return [self._line(report, None)] if shown else []

    def _line(self, report: Report | LookupReport, now: int | None) -> str:
        """One attempt or lookup.  `now`: for an open one, to say how long it has waited."""
        if isinstance(report, LookupReport):
            start = report.time - report.latency_ns
            waited = report.latency_ns if now is None else max(now - start, 0)
            cells = self._cells(label(report.process), printable(f"name {report.name}"), lookup_word(report))
            return self._columns(start, cells, seconds(waited), found(report))
        waited = report.latency_ns or 0
        start = report.time - waited
        if report.life is not None:
            waited = report.life.duration_ns
        if now is not None:
            waited = max(now - start, 0)
        known = report.latency_ns is not None or report.life is not None or now is not None
        cells, why = self._said(report)
        return self._columns(start, cells, seconds(waited) if known else "", why)

    def _said(self, report: Report) -> tuple[str, str]:
        """The cells of who, where and what, and why: made once where they come again and again."""
        if report.life is not None or report.event == "accepted":
            return self._say(report)
        process, end, why = report.process, report.remote, report.diagnosis
        key = (id(process), id(end), id(why), report.protocol, report.event, report.outcome, report.error)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            known = self._known[key] = (self._say(report), (process, end, why))
        return known[0]

    def _say(self, report: Report) -> tuple[str, str]:
        where = destination(report) + (" (here)" if report.remote.self_ and report.remote.path is None else "")
        return self._cells(label(report.process), where, outcome_word(report)), reason(report)

    def _cells(self, who: str, where: str, word: str) -> str:
        cells = [fit(text, width) for text, width in zip((who, where, word), self._widths[1:])]
        cells[2] = self._paint(COLOURS.get(word, ""), cells[2])
        return " ".join(cells)

    def _columns(self, start: int, cells: str, long: str, why: str) -> str:
        second, nanos = divmod(start + self._offset, 1_000_000_000)
        if second != self._second[0]:
            self._second = (second, clock(second * 1_000_000_000)[:-3])
        line = f"{self._second[1]}{nanos // 1_000_000:03d} {cells} {long.rjust(self._widths[4])}"
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

        at = offset(line, indent)
        below = wrap(line[at:], columns - self._widths[0] - 1, break_on_hyphens=False)
        return "\n".join([line[:at].rstrip(), *(" " * (self._widths[0] + 1) + text for text in below)])

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


def _is_plain_dns(report: Report) -> bool:
    """Whether it is a lookup's UDP socket, and has not failed."""
    return report.protocol == "udp" and report.remote.port == 53 and report.outcome not in FAILED
