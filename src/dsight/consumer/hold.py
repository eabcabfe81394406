"""Buffer policies fill and ring: records wait until tracing ends (Guide, "Buffers and Buffering").

The kernel's ring buffer is read all the same, and its records are kept here, within the size of
bufsize: under `fill` the first ones, and tracing ends when they fill it; under `ring` the last ones.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = 8  # of a record in the ring buffer (consumer.decode)
LENGTH = (1 << 30) - 1


class Hold:
    """Between the session and who takes records.  `take` and `extent` are given views of the ring buffer:
    the one carries their records out, the other says how many bytes of it are complete records.
    `full` is called once, when `fill` has no room left."""

    def __init__(
        self,
        policy: str,
        limit: int,
        take: Callable[[memoryview], int],
        extent: Callable[[memoryview], int],
        full: Callable[[], None],
    ) -> None:
        self._policy = policy
        self._limit = limit
        self._take = take
        self._extent = extent
        self._full = full
        self._chunks: list[bytes] = []
        self._size = 0
        self._holding = True
        self._filled = False

    def records(self, view: memoryview) -> int:
        """Keep the complete records of a view; how many bytes they take."""
        if not self._holding:
            return self._take(view)
        taken = self._extent(view)
        data = bytes(view[:taken])
        if self._policy == "fill":
            data = b"" if self._filled else data[: _fit(data, self._limit - self._size)]
            if len(data) < taken and not self._filled:
                self._filled = True
                self._full()
        if data:
            self._chunks.append(data)
            self._size += len(data)
        if self._policy == "ring" and self._size > self._limit:
            self._trim()
        return taken

    def _trim(self) -> None:
        """Let the oldest records go."""
        gone = 0
        while self._size - len(self._chunks[gone]) >= self._limit:
            self._size -= len(self._chunks[gone])
            gone += 1
        first = self._chunks[gone]
        at = 0
        while self._size - at > self._limit:
            at += _step(first, at)
        self._size -= at
        self._chunks[: gone + 1] = [first[at:]] if at < len(first) else []

    def release(self) -> None:
        """Hand over what was kept; from now on records pass through."""
        self._holding = False
        for chunk in self._chunks:
            self._take(memoryview(chunk))
        self._chunks.clear()


def _step(data: bytes, at: int) -> int:
    """The size of the record at an offset, with its header and padding."""
    return HEADER + ((int.from_bytes(data[at : at + 4], "little") & LENGTH) + 7 & ~7)


def _fit(data: bytes, room: int) -> int:
    """How many bytes of whole records there is room for."""
    if len(data) <= room:
        return len(data)
    at = 0
    while at + _step(data, at) <= room:
        at += _step(data, at)
    return at
