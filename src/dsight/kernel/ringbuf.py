"""The ring buffer, read side (Documentation/bpf/ringbuf.rst).

The data area is mapped twice in a row, so that whatever lies between consumer
and producer position is one contiguous run of bytes.  In it, each record is

    offset 0   u32  length of the data; bit 31 BUSY: reserved and not yet submitted, so stop
                    here: this one and those behind it are read later; bit 30 DISCARD: skip it
    offset 4   u32  the kernel's own
    offset 8   ...  the data, padded to a multiple of 8

Taking records apart is the consumer's work (consumer.decode).
"""

from __future__ import annotations

from mmap import MAP_SHARED, PAGESIZE, PROT_READ, PROT_WRITE, mmap

from dsight.kernel import sys
from dsight.kernel.maps import Map

HEADER_SIZE = 8
BUSY = 1 << 31
DISCARD = 1 << 30


class RingBuffer:
    """The reader's end of a ring buffer map.  One reader only.

    `fd` can be waited on (EPOLLIN: the kernel wakes a reader who has caught up);
    `size` is that of the data area in bytes.
    """

    def __init__(self, ring: Map) -> None:
        self.fd = ring.fd
        self.size = ring.spec.max_entries
        try:
            consumer = mmap(ring.fd, PAGESIZE, MAP_SHARED, PROT_READ | PROT_WRITE)
            rest = mmap(ring.fd, PAGESIZE + 2 * self.size, MAP_SHARED, PROT_READ, offset=PAGESIZE)
        except OSError as e:
            raise sys.refused("map the ring buffer", e) from None
        self._mask = self.size - 1
        self._consumer = memoryview(consumer).cast("Q")
        self._producer = memoryview(rest)[:PAGESIZE].cast("Q")
        self._data = memoryview(rest)[PAGESIZE:]

    def view(self) -> memoryview:
        """All that is between consumer and producer, record headers included; empty where
        nothing is.  Valid until `consume` has let go of it: the kernel then writes over it."""
        position = self._consumer[0]
        at = position & self._mask
        return self._data[at : at + self._producer[0] - position]

    def pending(self) -> int:
        """How many bytes `view` would show."""
        return self._producer[0] - self._consumer[0]

    def consume(self, n_bytes: int) -> None:
        """The first bytes of the view are done with: whole records, headers and padding included."""
        self._consumer[0] += n_bytes

    def close(self) -> None:
        """Let go of the memory; twice is once.  The map stays open.  A view the caller still
        holds keeps the memory mapped until it goes."""
        for view in (self._consumer, self._producer, self._data):
            view.release()
