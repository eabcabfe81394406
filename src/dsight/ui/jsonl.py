"""Reports as JSON, one object a line, in exactly the names of docs/connection-record.md."""

from __future__ import annotations

from dsight.connections.model import Report, diagnosis_json, facts_json, process_json, remote_json, rfc3339, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

    from dsight.connections.expect import Verdict
    from dsight.connections.model import Diagnosis, Endpoint, LookupReport, Lost, Process


_KEPT = 1024  # of each kind of thing, its JSON


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


class JsonFace:
    """Writes each report as it comes; ASCII only, so that no terminal and no log can be harmed."""

    def __init__(self, out: TextIO, wall_offset: int, summary: bool = False) -> None:
        """`summary`: also at the end."""
        from json import JSONEncoder

        from dsight.ui.summary import Summary

        self._out = out
        self._offset = wall_offset
        self._summary = Summary()
        self._sums_up = summary
        self._encoder = JSONEncoder().encode
        # What comes again and again, as text; with it the objects whose id() is in its key.
        self._processes: dict[int, tuple[str, Process]] = {}
        self._frames: dict[tuple[object, ...], tuple[str, str, Endpoint]] = {}
        self._verdicts: dict[tuple[object, ...], tuple[str, str, Diagnosis | None]] = {}
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
        second, nanos = divmod(report.time + self._offset, 1_000_000_000)
        if second != self._second[0]:
            self._second = (second, rfc3339(second * 1_000_000_000)[:-10])
        head = f'{{"event": "{report.event}", "time": "{self._second[1]}{nanos:09d}Z", "id": "{report.id}", "process": '
        process = self._process(report.process)
        here = report.local
        if here.path is not None or report.remote.path is not None or report.life or report.datagrams is not None:
            return f"{head}{process}, {self._encode(facts_json(report))[1:]}"
        # Else what facts_json says too: by far the most, and ten times as fast.
        before, after, _ = self._frame(report)
        if report.event in ("attempt", "accepted"):
            return f"{head}{process}{before}{_number(here.port)}{after}}}"
        what, why, _ = self._verdict(report)
        latency, syns = _number(report.latency_ns), _number(report.syns)
        return (
            f"{head}{process}{before}{_number(here.port)}{after}{what}, "
            f'"latency_ns": {latency}, "syns": {syns}, "diagnosis": {why}}}'
        )

    def _frame(self, report: Report) -> tuple[str, str, Endpoint]:
        """What stands between the process and the local port, and between that and what came of it."""
        end, here = report.remote, report.local.address
        key = (id(end), here, report.protocol, report.family, report.via, report.blocking)
        known = self._frames.get(key)
        if known is None:
            if len(self._frames) >= _KEPT:
                self._frames.clear()
            json = self._encode
            before = (
                f', "protocol": {json(report.protocol)}, "family": {json(report.family)}, '
                f'"via": "{report.via}", "local": {{"address": {json(here)}, "port": '
            )
            after = f'}}, "remote": {json(remote_json(end))}, "blocking": {json(report.blocking)}'
            known = self._frames[key] = (before, after, end)
        return known

    def _verdict(self, report: Report) -> tuple[str, str, Diagnosis | None]:
        """Outcome and error, where the event has them, and the diagnosis."""
        why = report.diagnosis
        key = (report.event, report.outcome, report.error, id(why))
        known = self._verdicts.get(key)
        if known is None:
            if len(self._verdicts) >= _KEPT:
                self._verdicts.clear()
            what = ""
            if report.event == "outcome":
                what = f', "outcome": {self._encode(report.outcome)}, "error": {self._encode(report.error)}'
            known = self._verdicts[key] = (what, self._encode(diagnosis_json(why)), why)
        return known

    def _process(self, process: Process) -> str:
        known = self._processes.get(id(process))
        if known is None:
            if len(self._processes) >= _KEPT:
                self._processes.clear()
            known = self._processes[id(process)] = (self._encode(process_json(process)), process)
        return known[0]

    def _encode(self, value: object) -> str:
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
