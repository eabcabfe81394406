"""What every process maps to be executed, as it happens: perf's own account (perf_event_open(2),
PERF_RECORD_MMAP2, COMM and FORK).

For stacks of processes that end before /proc/PID/maps can be read.  A dummy event on each CPU
costs the machine nothing but a record for each fork, exec and executable mapping.
"""

from __future__ import annotations

import os
import struct
from mmap import MAP_SHARED, PAGESIZE, PROT_READ, PROT_WRITE, mmap

from dsight.kernel import sys
from dsight.kernel.links import online_cpus
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = 32  # of each CPU's ring: a power of two
_COUNT_SW_DUMMY = 9
_SAMPLE_TIME = 1 << 2
# Bits of perf_event_attr: exclude_kernel, mmap, comm, task, watermark, sample_id_all, mmap2, comm_exec.
_FLAGS = 1 << 5 | 1 << 8 | 1 << 9 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 23 | 1 << 24
_ATTR = struct.Struct("=IIQQQQQI")  # to wakeup_watermark
_HEAD, _TAIL = 1024 // 8, 1032 // 8  # data_head and data_tail in perf_event_mmap_page, in words

_COMM, _FORK, _MMAP2 = 3, 7, 10  # PERF_RECORD_*
_COMM_EXEC = 1 << 13  # PERF_RECORD_MISC_COMM_EXEC
_MMAP2_FIELDS = struct.Struct(
    "=IIQQQIIQQII"
)  # pid, tid, address, length, offset, major, minor, inode, ..., prot, flags


class Event(Value):
    """What a process did.  kind "map": `start`, `end`, `offset`, `file`, `path` as in /proc/PID/maps;
    "exec": it starts anew; "fork": of `parent`."""

    time: int
    kind: str
    pid: int
    parent: int = 0
    start: int = 0
    end: int = 0
    offset: int = 0
    file: tuple[str, int] = ("", 0)
    path: str = ""


def parse(data: bytes) -> Iterator[Event]:
    """The records of a ring, in the order they lie there."""
    at = 0
    while at + 8 <= len(data):
        kind, misc, size = struct.unpack_from("=IHH", data, at)
        if size < 8 or at + size > len(data):
            return
        body, when = data[at + 8 : at + size - 8], int.from_bytes(data[at + size - 8 : at + size], "little")
        at += size
        if kind == _MMAP2 and len(body) >= _MMAP2_FIELDS.size:
            pid, _, address, length, offset, major, minor, inode, _, _, _ = _MMAP2_FIELDS.unpack_from(body)
            path = body[_MMAP2_FIELDS.size :].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            file = (f"{major:02x}:{minor:02x}", inode) if inode else ("", 0)
            yield Event(when, "map", pid, 0, address, address + length, offset, file, "" if path == "//anon" else path)
        elif kind == _COMM and misc & _COMM_EXEC and len(body) >= 8:
            yield Event(when, "exec", int.from_bytes(body[:4], "little"))
        elif kind == _FORK and len(body) >= 16:
            pid, parent = struct.unpack_from("=II", body)
            if pid != parent:  # else a thread
                yield Event(when, "fork", pid, parent)


class Ring:
    """One CPU's records."""

    def __init__(self, cpu: int) -> None:
        size = PAGES * PAGESIZE
        attr = _ATTR.pack(sys.PERF_TYPE_SOFTWARE, 112, _COUNT_SW_DUMMY, 0, _SAMPLE_TIME, 0, _FLAGS, size // 2)
        self.fd = sys.perf_event(attr, cpu)
        try:
            memory = mmap(self.fd, size + PAGESIZE, MAP_SHARED, PROT_READ | PROT_WRITE)
        except OSError:
            os.close(self.fd)
            raise
        self._words = memoryview(memory)[:PAGESIZE].cast("Q")
        self._data = memoryview(memory)[PAGESIZE:]
        self._size = size

    def read(self) -> bytes:
        """What has come since the last time."""
        head, tail = self._words[_HEAD], self._words[_TAIL]
        if head == tail:
            return b""
        first, last = tail % self._size, head % self._size
        data = bytes(self._data[first:last]) if first < last else bytes(self._data[first:]) + bytes(self._data[:last])
        self._words[_TAIL] = head
        return data

    def close(self) -> None:
        """Twice is once."""
        if self.fd >= 0:
            self._words.release()
            self._data.release()
            os.close(self.fd)
            self.fd = -1


class Mmaps:
    """The rings of all CPUs.  `fds` can be waited on: readable when one is half full."""

    def __init__(self) -> None:
        """Raises OSError where the kernel does not allow it."""
        self._rings: list[Ring] = []
        try:
            for cpu in online_cpus():
                self._rings.append(Ring(cpu))
        except OSError:
            self.close()
            raise

    @property
    def fds(self) -> list[int]:
        return [ring.fd for ring in self._rings]

    def read(self) -> list[Event]:
        """What has happened since the last time, in order."""
        events = [event for ring in self._rings for event in parse(ring.read())]
        events.sort(key=lambda event: event.time)
        return events

    def close(self) -> None:
        """Twice is once."""
        for ring in self._rings:
            ring.close()
        self._rings.clear()
