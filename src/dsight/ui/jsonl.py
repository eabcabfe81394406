"""Reports as JSON, one object a line, in exactly the names of docs/connection-record.md."""

from __future__ import annotations

from dsight.connections.model import Report, diagnosis_json, facts_json, process_json, remote_json, rfc3339, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TextIO, TypeVar

    from dsight.connections.expect import Verdict
    from dsight.connections.model import Diagnosis, Endpoint, LookupReport, Lost, Process

    Thing = TypeVar("Thing")


_WORDS = {None: "null", True: "true", False: "false"}
_KEPT = 256  # of each kind of thing, its JSON


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
        # As JSON, by its id(), what comes again and again as the same object.
        self._processes: dict[int, tuple[Process, str]] = {}
        self._ends: dict[int, tuple[Endpoint, str]] = {}  # remote ones
        self._reasons: dict[int, tuple[Diagnosis | None, str]] = {}
        self._texts: dict[str | None, str] = {None: "null"}  # words of the record, addresses: few
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
        process = self._known(self._processes, report.process, process_json)
        paths = report.local.path is not None or report.remote.path is not None
        if paths or report.life is not None or report.datagrams is not None:
            facts = self._encode(facts_json(report))[1:-1]
        else:
            facts = self._plain(report)
        return (
            f'{{"event": "{report.event}", "time": "{self._second[1]}{nanos:09d}Z", "id": "{report.id}", '
            f'"process": {process}, {facts}}}'
        )

    def _known(
        self, known: dict[int, tuple[Thing, str]], thing: Thing, json: Callable[[Thing], dict[str, Any] | None]
    ) -> str:
        """The JSON of a thing."""
        found = known.get(id(thing))
        if found is None or found[0] is not thing:
            if len(known) >= _KEPT:
                known.clear()
            found = known[id(thing)] = (thing, self._encode(json(thing)))
        return found[1]

    def _text(self, text: str | None) -> str:
        """A string that many reports have, or null."""
        found = self._texts.get(text)
        if found is None:
            if len(self._texts) >= _KEPT:
                self._texts = {None: "null"}
            found = self._texts[text] = self._encode(text)
        return found

    def _plain(self, report: Report) -> str:
        """facts_json as text, of a report without a path, datagrams or a life: by far the most, and
        six times as fast."""
        here, string = report.local, self._text
        text = (
            f'"protocol": {string(report.protocol)}, "family": {string(report.family)}, "via": "{report.via}", '
            f'"local": {{"address": {string(here.address)}, "port": {_number(here.port)}}}, '
            f'"remote": {self._known(self._ends, report.remote, remote_json)}, "blocking": {_WORDS[report.blocking]}'
        )
        if report.event in ("attempt", "accepted"):
            return text
        if report.event == "outcome":
            text += f', "outcome": {string(report.outcome)}, "error": {string(report.error)}'
        why = self._known(self._reasons, report.diagnosis, diagnosis_json)
        return f'{text}, "latency_ns": {_number(report.latency_ns)}, "syns": {_number(report.syns)}, "diagnosis": {why}'

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
