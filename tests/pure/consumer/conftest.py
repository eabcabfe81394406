"""Ring bytes and printers for the consumer's tests."""

import io
import struct

import pytest

from dsight.consumer.output import Printer
from dsight.lang.catalog import Probe
from dsight.record import RecordLayout

PROBES = {
    1: Probe(1, "dtrace", "", "", "BEGIN"),
    8: Probe(8, "syscall", "", "open", "entry"),
    77: Probe(77, "tcp", "", "", "connect-request"),
}


def ring(body: bytes, flags: int = 0) -> bytes:
    """One record as it lies in the ring."""
    return struct.pack("=II", len(body) | flags, 0x1234) + body + b"\0" * (-len(body) % 8)


def record(layout: RecordLayout, index: int, values, cpu=0, probe=8, mask=None) -> bytes:
    """The bytes of a record, without ring header; values are ints or bytes."""
    out = bytearray(layout.size)
    struct.pack_into("=HHI", out, 0, cpu, index, probe)
    for field, value in zip(layout.fields, values):
        data = value if isinstance(value, bytes) else (value & (1 << 8 * field.size) - 1).to_bytes(field.size, "little")
        out[field.offset : field.offset + field.size] = data.ljust(field.size, b"\0")
    if mask is not None:
        struct.pack_into("=Q", out, layout.mask, mask)
    return bytes(out)


class Session:
    """A printer, what it wrote, and the exit status it saw."""

    def __init__(self, layouts, **options):
        self.out, self.err, self.status = io.BytesIO(), io.BytesIO(), None
        self.printer = Printer(layouts, PROBES, self.out, self.err, on_exit=self._exit, **options)

    def _exit(self, status):
        self.status = status

    def run(self, *records: bytes) -> str:
        data = b"".join([ring(r) for r in records])
        assert self.printer.records(memoryview(data)) == len(data)
        return self.output

    @property
    def output(self) -> str:
        return self.out.getvalue().decode()

    @property
    def errors(self) -> str:
        return self.err.getvalue().decode()


@pytest.fixture(scope="session")
def session():
    return Session


@pytest.fixture(scope="session", name="ring")
def ring_fixture():
    return ring


@pytest.fixture(scope="session", name="record")
def record_fixture():
    return record
