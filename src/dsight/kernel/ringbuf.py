"""The ring buffer, read side (Documentation/bpf/ringbuf.rst).

The kernel shows the data area twice in a row, so that whatever lies between consumer and
producer position is one contiguous run of bytes.  Only a window of it is mapped at a time, since each
mapped page counts as memory of this process, read or not.  In the data, each record is

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


STEP = 1 << 18  # bytes; the window moves on by so much, and shows twice that


class RingBuffer:
    """The reader's end of a ring buffer map.  One reader only.

    `fd` can be waited on (EPOLLIN: the kernel wakes a reader who has caught up);
    `size` is that of the data area in bytes.  `largest`: bytes of the largest record there may be.
    Raises KernelError.
    """

    def __init__(self, ring: Map, largest: int = 0) -> None:
        self.fd = ring.fd
        self.size = ring.spec.max_entries
        self._mask = self.size - 1
        self._step = STEP
        while self._step < largest + HEADER_SIZE:
            self._step *= 2
        self._step = min(self._step, self.size)
        try:
            consumer = mmap(ring.fd, PAGESIZE, MAP_SHARED, PROT_READ | PROT_WRITE)
            producer = mmap(ring.fd, PAGESIZE, MAP_SHARED, PROT_READ, offset=PAGESIZE)
        except OSError as e:
            raise sys.refused("map the ring buffer", e) from None
        self._consumer = memoryview(consumer).cast("Q")
        self._producer = memoryview(producer).cast("Q")
        self._at = 0  # where in the data the window begins
        self._window = self._map(0)

    def _map(self, at: int) -> memoryview:
        try:
            return memoryview(mmap(self.fd, 2 * self._step, MAP_SHARED, PROT_READ, offset=2 * PAGESIZE + at))
        except OSError as e:
            raise sys.refused("map the ring buffer", e) from None

    def view(self) -> memoryview:
        """What is between consumer and producer, as far as the window shows it: record headers included,
        the last record perhaps cut; empty where nothing is.  Valid until `consume` has let go of it: the
        kernel then writes over it."""
        position = self._consumer[0]
        at = (position & self._mask) - self._at
        if not 0 <= at < self._step:
            self._at += at // self._step * self._step
            self._window = self._map(self._at)  # the former goes with its last view
            at %= self._step
        return self._window[at : at + self._producer[0] - position]

    def pending(self) -> int:
        """How many bytes there are to read."""
        return self._producer[0] - self._consumer[0]

    def consume(self, n_bytes: int) -> None:
        """The first bytes of the view are done with: whole records, headers and padding included."""
        self._consumer[0] += n_bytes

    def close(self) -> None:
        """Let go of the memory; twice is once.  The map stays open.  A view the caller still
        holds keeps the memory mapped until it goes."""
        for view in (self._consumer, self._producer, self._window):
            view.release()
