"""Perf maps: what a just-in-time compiler says of the code it made.

A text file, a line a function: START SIZE NAME, the numbers in hex (Linux:
tools/perf/Documentation/jit-interface.txt).  Code is thrown away and its place used again: of
two lines for one place the later holds.  Written by traced programs: lines that cannot be read
are passed over.
"""

from __future__ import annotations

from bisect import bisect_right

LONGEST_NAME = 4096


class PerfMap:
    """Names by address."""

    __slots__ = ("_rows", "_starts")

    def __init__(self, text: bytes) -> None:
        rows: dict[int, tuple[int, int, bytes]] = {}
        for number, line in enumerate(text.split(b"\n")):
            parts = line.split(None, 2)
            try:
                start, size = int(parts[0], 16), int(parts[1], 16)
            except (IndexError, ValueError):
                continue
            if len(parts) == 3 and 0 <= start < 1 << 64 and 0 < size < 1 << 48:
                rows[start] = (number, start + size, parts[2][:LONGEST_NAME])
        self._starts = sorted(rows)
        self._rows = [rows[start] for start in self._starts]

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, address: int) -> tuple[str, int] | None:
        """(name, offset) of what an address is in."""
        n = bisect_right(self._starts, address) - 1
        best = -1
        for i in range(n, max(-1, n - 64), -1):
            number, end, _ = self._rows[i]
            if address < end and (best < 0 or number > self._rows[best][0]):
                best = i
        if best < 0:
            return None
        name = self._rows[best][2].decode("utf-8", "surrogateescape").rstrip("\r")
        return name, address - self._starts[best]
