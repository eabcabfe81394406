"""Reports as JSON, one object a line, in exactly the names of docs/connection-record.md."""

from __future__ import annotations

from dsight.connections.model import Report, facts_json, process_json, rfc3339, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

    from dsight.connections.expect import Verdict
    from dsight.connections.model import LookupReport, Lost, Process


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
        self._process: Process | None = None  # the last one, and its JSON: an attempt and its
        self._process_text = ""  # outcome come one after the other

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
        if report.process is not self._process:
            self._process = report.process
            self._process_text = self._encode(process_json(report.process))
        head = f'{{"event": "{report.event}", "time": "{rfc3339(report.time + self._offset)}", "id": "{report.id}"'
        return f'{head}, "process": {self._process_text}, {self._encode(facts_json(report))[1:]}'

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
