"""What was lost: told with the reports, and accounted for, attempt by attempt.

    Losses.look(now)   after each batch: how many records were lost, and which open attempts ended unseen
    Losses.total(now)  at the end: how many attempts over TCP there were, told and lost

The kernel counts the attempts it sees (@attempts in call.d) and remembers which of them are open
(watched[]); neither can be lost with a record.
"""

from __future__ import annotations

from struct import unpack

from dsight.connections.events import WATCHED
from dsight.connections.model import Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.api import Trace
    from dsight.connections.model import LookupReport, Report
    from dsight.connections.watch import Watcher


_LEAST, _MOST, _SHARE = 8 << 20, 32 << 20, 256


def buffer_size() -> int:
    """Bytes for the ring buffer: 1/256 of this machine's memory, from 8 to 32 MiB.  An attempt takes 240,
    so that 32 MiB hold a burst of more than 100,000 while nothing is read."""
    from os import sysconf

    share = sysconf("SC_PHYS_PAGES") * sysconf("SC_PAGE_SIZE") // _SHARE
    return min(max(1 << share.bit_length() - 1, _LEAST), _MOST)


class Losses:
    """Of one watch: `trace` runs script.script's program, `watcher` is fed what it records."""

    def __init__(self, trace: Trace, watcher: Watcher) -> None:
        self._trace = trace
        self._watcher = watcher
        self._told = 0  # records
        self._forgotten = 0  # connections

    def look(self, now: int) -> list[Report | LookupReport | Lost]:
        """The reports that a loss since the last time causes; mostly none."""
        reports: list[Report | LookupReport | Lost] = []
        forgotten = self._watcher.forgotten - self._forgotten
        if forgotten:
            self._forgotten += forgotten
            reports.append(Lost(now, forgotten, "ends of connections: more stand than are remembered"))
        new = self._trace.lost - self._told
        if not new:
            return reports
        self._told += new
        reports.append(Lost(now, new, "in the kernel, before they were read"))
        numbers = [unpack("=Q", item)[0] for pair in self._trace.elements("watched") for item in pair]
        for batch in self._trace.batches():  # what was recorded before that look, and after
            reports += self._watcher.feed(*batch)
        return reports + self._watcher.feed((WATCHED, now, *numbers))

    def total(self, now: int) -> list[Lost]:
        """The account, if anything was lost at all.  The trace has stopped, and all its records were fed."""
        seen = self._trace.aggregation("attempts").get((), 0)
        assert isinstance(seen, int)
        told = self._watcher.begun
        if seen == told and not self._told:
            return []
        where = f"attempts over TCP: {seen} seen by the kernel, {told} told"
        return [Lost(now, seen - told, where, seen, told)]
