"""--timings: where the milliseconds of starting go."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


class Timings:
    """Stages and when each ended, from the start of the process."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, int]] = [("imports", time.monotonic_ns())]

    def mark(self, stage: str) -> None:
        self._marks.append((stage, time.monotonic_ns()))

    def show(self, out: TextIO) -> None:
        """One line a stage, milliseconds each."""
        before = _started()
        first = before
        for stage, end in self._marks:
            out.write(f"dtrace: {(end - before) / 1e6:8.2f} ms  {stage}\n")
            before = end
        out.write(f"dtrace: {(before - first) / 1e6:8.2f} ms  from exec to armed\n")


def _started() -> int:
    """When this process began, on the monotonic clock (proc(5): starttime, in clock ticks since boot)."""
    import os

    with open("/proc/self/stat", "rb") as f:
        ticks = int(f.read().rpartition(b")")[2].split()[19])
    since_boot = ticks * 10**9 // os.sysconf("SC_CLK_TCK")
    return time.monotonic_ns() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - since_boot)
