"""Reports as JSON, one object a line, in exactly the names of docs/connection-record.md."""

from __future__ import annotations

from dsight.connections.model import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from dsight.connections.model import Lost, Report


class JsonFace:
    """Writes each report as it comes; ASCII only, so that no terminal and no log can be harmed."""

    def __init__(self, out: TextIO, wall_offset: int) -> None:
        from json import JSONEncoder

        self._out = out
        self._offset = wall_offset
        self._encode = JSONEncoder(separators=(", ", ": ")).encode

    def show(self, reports: list[Report | Lost]) -> None:
        """One batch."""
        if reports:
            lines = [self._encode(_valid(to_json(r, self._offset))) for r in reports]
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()

    def refresh(self, now: int) -> None:
        """Nothing: lines are written once."""

    def finish(self, now: int) -> None:
        """Nothing: there is no summary."""


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
