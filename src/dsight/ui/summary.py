"""The summary: reports counted by process, destination and outcome, the worst first.

    Summary.see(report) for each  ->  lines() for people, json() as the record's object `summary`

Memory is bounded, however long a watch lasts: so many groups, and for each a few dozen counts, from which
the percentiles come (Times).
"""

from __future__ import annotations

from dsight.connections.diagnose import seconds
from dsight.connections.diagnose_names import is_bad
from dsight.connections.model import OUTCOMES, LookupReport, Lost, Report, rfc3339
from dsight.source import printable
from dsight.ui.words import COLOURS, ENDS, destination, fit, label, lookup_word, outcome_word, plural, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.model import Diagnosis

    Paint = Callable[[str, str], str]

GROUPS = 10_000  # what comes later, of other kinds, is counted together
PROCESSES = 65_536  # told apart
OPEN = 65_536  # hanging attempts
QUICK = 1024  # groups found quickly
ROWS = 60  # shown as text, of each table
PERCENTILES = (50, 90, 99)
NARROW = 100  # columns; below, one percentile less is shown

_BEFORE = OUTCOMES.index("aborted")
_WORST = ("reset", "not-found", "failed", *OUTCOMES[:_BEFORE], "hanging", "looking-up", *OUTCOMES[_BEFORE:-1], "slow")
_ORDER = {word: rank for rank, word in enumerate((*_WORST, OUTCOMES[-1]))}
_HARMLESS = "race-lost"  # the diagnosis of an `aborted` that is no failure


class Times:
    """How long things took, in buckets a sixteenth wide: a percentile is at most 6.25 % too high."""

    __slots__ = ("_buckets", "count", "most")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}  # the most that is counted in it (ns) -> how many
        self.count = 0
        self.most = 0

    def add(self, ns: int) -> None:
        ns = max(ns, 0)
        bucket = ns
        if ns >= 32:
            spare = ns.bit_length() - 5
            bucket |= (1 << spare) - 1
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        if ns > self.most:
            self.most = ns

    def percentiles(self) -> list[int]:
        """Of PERCENTILES, by nearest rank."""
        found: list[int] = []
        seen, wanted = 0, [-(-self.count * p // 100) for p in PERCENTILES]
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            while len(found) < len(wanted) and seen >= wanted[len(found)]:
                found.append(min(bucket, self.most))
        return found

    def json(self) -> dict[str, int] | None:
        """None where nothing was timed."""
        if not self.count:
            return None
        return dict(zip((f"p{p}" for p in PERCENTILES), self.percentiles())) | {"max": self.most}


class _Group:
    """One row."""

    __slots__ = ("again", "count", "diagnosis", "first", "last", "received", "report", "sent", "times", "word")

    def __init__(self, report: Report | LookupReport, word: str) -> None:
        self.report = report  # the first
        self.word = word
        self.first = report.time
        self.last = report.time
        self.count = 0
        self.times = Times()
        self.diagnosis: Diagnosis | None = None  # the newest
        self.sent = self.received = self.again = 0  # bytes, bytes, segments: of what ended

    def rank(self) -> tuple[int, int]:
        """The worst first, then the most frequent."""
        harmless = self.diagnosis is not None and self.diagnosis.code == _HARMLESS
        return len(_ORDER) if harmless else _ORDER.get(self.word, len(_ORDER)), -self.count

    def add(self, report: Report | LookupReport) -> None:
        self.count += 1
        self.last = report.time
        self.diagnosis = report.diagnosis or self.diagnosis
        if report.latency_ns is not None:
            self.times.add(report.latency_ns)
        elif isinstance(report, Report) and report.life is not None:
            life = report.life
            self.times.add(life.duration_ns)
            self.sent += life.bytes_sent
            self.received += life.bytes_received
            self.again += life.retransmits


class Summary:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._open: dict[str, Report | LookupReport] = {}  # what hangs, the newest report of each
        self._pids: set[int] = set()
        self._attempts = self._lookups = self._closed = self._lost = 0
        self._others = 0  # beyond GROUPS
        # The newest groups, by facts at hand; and the objects whose id() is among these.
        self._quick: dict[tuple[object, ...], tuple[_Group, tuple[object, ...]]] = {}

    def see(self, report: Report | LookupReport | Lost) -> None:
        """One report.  Of lookups only those count that failed or were slow; of ends that are failures (resets)
        the attempt was counted when it was made."""
        if isinstance(report, Lost):
            self._lost += report.count if report.seen is None else 0
        elif report.event == "attempt":
            return
        elif report.event == "outcome":
            self._open.pop(report.id, None)
            self._attempts += 1
            assert isinstance(report, Report)
            self._outcome(report)
        elif report.event in ("hanging", "looking-up"):
            if report.id in self._open or len(self._open) < OPEN:
                self._open[report.id] = report
        else:
            self._open.pop(report.id, None)
            if isinstance(report, LookupReport):
                if not is_bad(report):
                    return
                self._lookups += 1
            self._closed += _has_ended(report)
            self._count(report)

    def _outcome(self, report: Report) -> None:
        """Into its group; found without making its words again where a process does the same as before."""
        process, end, why = report.process, report.remote, report.diagnosis
        facts = (id(process), id(end), id(why), report.protocol, report.outcome)
        known = self._quick.get(facts)
        if known is not None:
            known[0].add(report)
            return
        group = self._count(report)
        if group is not None:
            if len(self._quick) >= QUICK:
                self._quick.clear()
            self._quick[facts] = (group, (process, end, why))

    def _count(self, report: Report | LookupReport) -> _Group | None:
        """Into its group, which is returned if there is room for it."""
        if len(self._pids) < PROCESSES:
            self._pids.add(report.process.pid)
        group = _grouped(self._groups, report)
        self._others += group is None
        return group

    def lines(self, paint: Paint, columns: int | None = None) -> list[str]:
        """Tables, for a terminal so wide; None: as wide as they come, a line a row.  [] if there was nothing."""
        made, ended = self._tables()
        lines = []
        if made:
            lines.append(paint("1", f"{self._counted()} by {self._processes()}"))
            lines += _table(made, _MADE, paint, columns)
        if ended:
            gap = [""] if made else []
            lines += [*gap, paint("1", f"{plural(self._closed, 'connection')} that ended")]
            lines += _table(ended, _ENDED, paint, columns)
        if self._others:
            lines.append(f"and {self._others} more, of other kinds")
        return lines

    def json(self, now: int, wall_offset: int) -> dict[str, Any]:
        """As in docs/connection-record.md."""
        rows = [row for table in self._tables() for row in table]
        return {
            "event": "summary",
            "time": rfc3339(now + wall_offset),
            "attempts": self._attempts,
            "lookups": self._lookups,
            "closed": self._closed,
            "processes": len(self._pids),
            "lost": self._lost,
            "groups": [_group_json(row, wall_offset) for row in rows],
            "others": self._others,
        }

    def _tables(self) -> tuple[list[_Group], list[_Group]]:
        """What was made or looked up, what hangs included, and what ended; the worst first, then the most frequent."""
        hanging: dict[tuple[str, ...], _Group] = {}
        for report in self._open.values():
            _grouped(hanging, report)
        ranked = sorted([*self._groups.items(), *hanging.items()], key=lambda item: (item[1].rank(), item[0]))
        made = [group for _, group in ranked if not _has_ended(group.report)]
        return made, [group for _, group in ranked if _has_ended(group.report)]

    def _counted(self) -> str:
        bad = f"{plural(self._lookups, 'lookup')} that failed or {'was' if self._lookups == 1 else 'were'} slow"
        parts = [plural(self._attempts, "attempt")] if self._attempts or not self._lookups else []
        parts += [bad] if self._lookups else []
        return " and ".join(parts) + (f", {len(self._open)} without an answer yet," if self._open else "")

    def _processes(self) -> str:
        pids = self._pids | {report.process.pid for report in self._open.values()}
        more = "or more " if len(self._pids) >= PROCESSES else ""
        return plural(len(pids), f"{more}process", f"{more}processes")


def _has_ended(report: Report | LookupReport) -> bool:
    """Whether it is of the second table: a connection that was closed, and that is no failure."""
    return report.event == "closed" and report.diagnosis is None


def _grouped(groups: dict[tuple[str, ...], _Group], report: Report | LookupReport) -> _Group | None:
    """Add a report to its group, which is returned; None if there are too many groups for another."""
    if isinstance(report, LookupReport):
        word = lookup_word(report)
    else:
        word = ENDS[report.life.closed_by] if report.life is not None and _has_ended(report) else outcome_word(report)
    code = "" if report.diagnosis is None else report.diagnosis.code
    key = (label(report.process, False), _where(report), word, code, report.event)
    group = groups.get(key)
    if group is None:
        if len(groups) >= GROUPS:
            return None
        group = groups[key] = _Group(report, word)
    group.add(report)
    return group


def _where(report: Report | LookupReport) -> str:
    """Its destination; of what was accepted the port here, since each peer has another."""
    if isinstance(report, LookupReport):
        return f"name {printable(report.name)}"
    return printable(f"at {report.local}") if report.via == "accept" else destination(report)


def _times(group: _Group, wanted: tuple[int, ...]) -> list[str]:
    """Those of PERCENTILES, and the longest; of a single thing only that."""
    if group.times.count < 2:
        return [""] * len(wanted) + [seconds(group.times.most) if group.times.count else ""]
    found = [ns for percent, ns in zip(PERCENTILES, group.times.percentiles()) if percent in wanted]
    return [seconds(ns) for ns in (*found, group.times.most)]


def _amount(count: int) -> str:
    """Bytes for people: 512 B, 9.4 kB, 1.5 MB."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB", "GB"):
        if count < 999_950:
            return f"{count / 1000:.1f} {unit}"
        count //= 1000
    return f"{count / 1000:.1f} TB"


# A table: the first column's title and width, and what else stands before the times.
_MADE: tuple[str, int, tuple[tuple[str, Callable[[_Group], str]], ...]] = ("OUTCOME", 11, ())
_ENDED = (
    "ENDED BY",
    11,
    (
        ("SENT", lambda group: _amount(group.sent)),
        ("RECEIVED", lambda group: _amount(group.received)),
        ("AGAIN", lambda group: str(group.again)),
    ),
)


def _table(
    groups: list[_Group],
    kind: tuple[str, int, tuple[tuple[str, Callable[[_Group], str]], ...]],
    paint: Paint,
    columns: int | None,
) -> list[str]:
    """Head and rows."""
    title, first, amounts = kind
    shown = groups[:ROWS]
    narrow = columns is not None and columns < NARROW
    if narrow:  # what matters most
        amounts = amounts[:2]
    shown_times = PERCENTILES if not narrow else (50,) if amounts else (50, 99)
    numbers = [[get(g) for _, get in amounts] + _times(g, shown_times) for g in shown]
    titles = [*(name for name, _ in amounts), *(f"P{p}" for p in shown_times), "MAX"]
    wide = [max(len(name), *(len(row[at]) for row in numbers)) for at, name in enumerate(titles)]
    counts = max(5, *(len(str(g.count)) for g in shown))
    fixed = first + counts + 3 + sum(wide) + len(wide)
    whos = [label(g.report.process, False) for g in shown]
    wheres = [_where(g.report) for g in shown]
    names, places = _shares(max(7, *map(width, whos)), max(11, *map(width, wheres)), columns, fixed)
    why = any(g.diagnosis is not None for g in shown)
    head = [f"{title:{first}} {'COUNT':>{counts}} {fit('PROCESS', names)} {fit('DESTINATION', places)}"]
    head += [name.rjust(n) for name, n in zip(titles, wide)]
    title = " ".join(head)
    why = why and (columns is None or width(title) + 5 <= columns)
    lines = [paint("1", title + ("  WHY" if why else ""))]
    for group, who, where, row in zip(shown, whos, wheres, numbers):
        cells = [paint(COLOURS.get(group.word, ""), f"{group.word:{first}}"), f"{group.count:{counts}}"]
        cells += [fit(who, names), fit(where, places), *(text.rjust(n) for text, n in zip(row, wide))]
        lines += _with_reason(" ".join(cells), group.diagnosis, columns)
    if len(groups) > ROWS:
        rest = sum(g.count for g in groups[ROWS:])
        lines.append(f"and {rest} more, of {len(groups) - ROWS} other kinds")
    return lines


def _shares(names: int, places: int, columns: int | None, fixed: int) -> tuple[int, int]:
    """The widths of process and destination in what a terminal leaves for both."""
    if columns is None or names + places + fixed <= columns:
        return names, places
    room = max(columns - fixed, 24)
    names = min(names, max(room * 2 // 5, room - places))
    return names, min(places, room - names)


def _with_reason(line: str, diagnosis: Diagnosis | None, columns: int | None) -> list[str]:
    """A row and its diagnosis: beside it where there is room, else below."""
    if diagnosis is None:
        return [line.rstrip()]
    text = printable(diagnosis.text)
    if columns is None or width(line) + 2 + width(text) <= columns:
        return [f"{line}  {text}"]
    from textwrap import wrap

    below = wrap(text, max(columns - 4, 20), break_on_hyphens=False)
    return [line.rstrip(), *(f"    {part}" for part in below)]


def _group_json(group: _Group, wall_offset: int) -> dict[str, Any]:
    report = group.report
    out: dict[str, Any] = {
        "event": report.event,
        "process": {"comm": report.process.comm, "label": label(report.process, False)},
        "destination": _where(report),
    }
    if isinstance(report, LookupReport):
        out |= {"name": report.name, "error": report.error}
    else:
        end = report.remote if report.via != "accept" else report.local
        out |= {"protocol": report.protocol, "address": end.address, "port": end.port, "path": end.path}
        out |= {"name": report.remote.name, "outcome": report.outcome, "error": report.error}
    out["count"] = group.count
    if isinstance(report, Report) and report.life is not None:
        out |= {"closed_by": report.life.closed_by, "bytes_sent": group.sent, "bytes_received": group.received}
        out |= {"retransmits": group.again, "duration_ns": group.times.json()}
    else:
        out["latency_ns"] = group.times.json()
    why = group.diagnosis
    out["diagnosis"] = None if why is None else {"code": why.code, "text": why.text}
    return out | {"first": rfc3339(group.first + wall_offset), "last": rfc3339(group.last + wall_offset)}
