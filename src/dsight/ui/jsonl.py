"""Reports as JSON, one object a line, in exactly the names of docs/connection-record.md."""

from __future__ import annotations

from dsight.connections.model import Report, facts_json, process_json, rfc3339, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

    from dsight.connections.expect import Verdict
    from dsight.connections.model import LookupReport, Lost, Process


_WORDS = {None: "null", True: "true", False: "false"}


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


class JsonFace:
    """Writes each report as it comes; ASCII only, so that no terminal and no log can be harmed."""

    def __init__(self, out: TextIO, wall_offset: int, summary: bool = False) -> None:
        """`summary`: also at the end."""
        from json import JSONEncoder
        from json.encoder import encode_basestring_ascii

        from dsight.ui.summary import Summary

        self._out = out
        self._offset = wall_offset
        self._summary = Summary()
        self._sums_up = summary
        self._encoder = JSONEncoder().encode
        self._string = encode_basestring_ascii
        self._processes: dict[int, tuple[Process, str]] = {}  # by its id(): as JSON
        self._second = (-1, "")  # the last one, and its text

    def show(self, reports: list[Report | LookupReport | Lost]) -> None:
        """One batch."""
        for report in reports:
            self._summary.see(report)
        if reports:
            self._out.write("\n".join([self._line(r) for r in reports]) + "\n")
            self._out.flush()

    def _line(self, report: Report | LookupReport | Lost) -> str:
        if not isinstance(report, Report):
            return self._encode(to_json(report, self._offset))
        head = f'{{"event": "{report.event}", "time": "{self._time(report.time)}", "id": "{report.id}"'
        paths = report.local.path is not None or report.remote.path is not None
        facts = "" if paths or report.life is not None or report.datagrams is not None else self._plain(report)
        if not facts or "\\ud" in facts:
            facts = self._encode(facts_json(report))[1:-1]
        return f'{head}, "process": {self._process(report.process)}, {facts}}}'

    def _time(self, time: int) -> str:
        second, nanos = divmod(time + self._offset, 1_000_000_000)
        if second != self._second[0]:
            self._second = (second, rfc3339(second * 1_000_000_000)[:-10])
        return f"{self._second[1]}{nanos:09d}Z"

    def _process(self, process: Process) -> str:
        known = self._processes.get(id(process))
        if known is None or known[0] is not process:
            if len(self._processes) >= 256:
                self._processes.clear()
            known = self._processes[id(process)] = (process, self._encode(process_json(process)))
        return known[1]

    def _plain(self, report: Report) -> str:
        """facts_json as text, of a report without a path, datagrams or a life: by far the most, and
        four times as fast."""

        def string(value: str | None) -> str:
            return "null" if value is None else self._string(value)

        here, there = report.local, report.remote
        who = there.listener
        listener = "null" if who is None else f'{{"pid": {_number(who.pid)}, "comm": {string(who.comm)}}}'
        text = (
            f'"protocol": {string(report.protocol)}, "family": {string(report.family)}, "via": "{report.via}", '
            f'"local": {{"address": {string(here.address)}, "port": {_number(here.port)}}}, '
            f'"remote": {{"address": {string(there.address)}, "port": {_number(there.port)}, '
            f'"name": {string(there.name)}, "self": {_WORDS[there.self_]}, "listener": {listener}}}, '
            f'"blocking": {_WORDS[report.blocking]}'
        )
        if report.event in ("attempt", "accepted"):
            return text
        if report.event == "outcome":
            text += f', "outcome": {string(report.outcome)}, "error": {string(report.error)}'
        d = report.diagnosis
        why = "null" if d is None else f'{{"code": "{d.code}", "text": {string(d.text)}}}'
        latency, syns = _number(report.latency_ns), _number(report.syns)
        return f'{text}, "latency_ns": {latency}, "syns": {syns}, "diagnosis": {why}'

    def _encode(self, value: dict[str, Any]) -> str:
        text = self._encoder(value)
        return self._encoder(_valid(value)) if "\\ud" in text else text

    def refresh(self, now: int) -> None:
        """Nothing: lines are written once."""

    def finish(self, now: int, verdicts: Sequence[Verdict] = ()) -> None:
        """The summary where it is asked for, and what became of what was expected."""
        if self._sums_up:
            self.sum_up(now)
        if verdicts:
            self._out.write("".join([self._encode(v.json()) + "\n" for v in verdicts]))
            self._out.flush()

    def sum_up(self, now: int) -> None:
        """The summary so far."""
        self._out.write(self._encode(self._summary.json(now, self._offset)) + "\n")
        self._out.flush()


def _valid(value: Any) -> Any:
    """Bytes that were not UTF-8 (surrogates, after decoding) as \\xNN: JSON has no way to say them."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_valid(item) for item in value]
    return value
