"""Ring bytes to runs and records: any stream, cut anywhere, with BUSY and DISCARD."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsight.consumer.decode import BUSY, DISCARD, Decoder, Fault, Record
from dsight.errors import Error
from dsight.record import BADADDR, FAULT, FAULT_FORMAT, Action, Field, RecordLayout

LAYOUTS = (
    RecordLayout(0, 16, (Field("u", 8, 4),), ()),
    RecordLayout(1, 16, (Field("i", 8, 8),), ()),
    RecordLayout(2, 48, (Field("s", 8, 16), Field("inet", 24, 20), Field("u", 44, 2)), ()),
    RecordLayout(3, 8, (), ()),
    RecordLayout(4, 24, (Field("b", 8, 12), Field("i", 20, 1), Field("i", 22, 2)), ()),
)
MAKE = (
    lambda n: (n,),
    lambda n: (-n,),
    lambda n: (b"p%d" % n, struct.pack("=I4s12x", 2, bytes([10, 0, n & 255, 1])), n & 0xFFFF),
    lambda n: (),
    lambda n: (b"b%011d" % n, -(n & 127), -(n & 0x7FFF)),
)
EXPECT = (
    lambda n: (n,),
    lambda n: (-n,),
    lambda n: (f"p{n}", f"10.0.{n & 255}.1", n & 0xFFFF),
    lambda n: (),
    lambda n: (b"b%011d" % n, -(n & 127), -(n & 0x7FFF)),
)

# Streams: runs of one layout (some long enough for the bulk path), each with how it lies in the ring.
RUN = st.tuples(st.integers(0, len(LAYOUTS)), st.sampled_from([1, 1, 2, 7, 8, 9, 71, 73, 200]))
STREAM = st.lists(RUN, max_size=8)


def build(ring, record, stream, discarded):
    """The bytes of a stream, the records in it, and the offset behind each."""
    data, expected, ends, n = bytearray(), [], [], 0
    for index, count in stream:
        for _ in range(count):
            n += 1
            flags = DISCARD if n in discarded else 0
            if index == len(LAYOUTS):
                body = struct.pack("=" + FAULT_FORMAT, n & 7, FAULT, 8, 3, 2, BADADDR, n, 0)
                want = Fault(8, n & 7, 3, 2, BADADDR, n)
            else:
                body = record(LAYOUTS[index], index, MAKE[index](n), cpu=n & 7, probe=n)
                want = Record(n, index, n & 7, EXPECT[index](n))
            data += ring(body, flags)
            if not flags:
                expected.append((len(data), want))
            ends.append(len(data))
    return bytes(data), expected, ends


@given(STREAM, st.sets(st.integers(1, 300), max_size=5), st.data())
def test_any_stream_cut_anywhere(ring, record, stream, discarded, data):
    raw, expected, ends = build(ring, record, stream, discarded)
    cut = data.draw(st.integers(0, len(raw)))
    decoder = Decoder(LAYOUTS)
    got, consumed = decoder.records(memoryview(raw)[:cut])
    assert consumed == max([end for end in ends if end <= cut], default=0)
    more, rest = decoder.records(memoryview(raw)[consumed:])
    assert consumed + rest == len(raw)
    assert got + more == [want for _, want in expected]
    values, faults, consumed = decoder.values(memoryview(raw))
    assert consumed == len(raw) and values == [want.values for _, want in expected if isinstance(want, Record)]
    assert faults == [want for _, want in expected if not isinstance(want, Record)]


@given(STREAM.filter(bool), st.data())
def test_stops_at_the_first_busy_record(ring, record, stream, data):
    raw, expected, ends = build(ring, record, stream, ())
    busy = data.draw(st.integers(0, len(ends) - 1))
    at = ([0, *ends])[busy]
    torn = bytearray(raw)
    (length,) = struct.unpack_from("=I", torn, at)
    struct.pack_into("=I", torn, at, length | BUSY)
    torn[at + 8 : ends[busy]] = b"\xff" * (ends[busy] - at - 8)  # not written yet
    got, consumed = Decoder(LAYOUTS).records(memoryview(torn))
    assert consumed == at
    assert got == [want for end, want in expected if end <= at]


def test_runs_are_found_whole(ring, record):
    raw, _, _ = build(ring, record, [(0, 5000), (2, 1), (1, 300)], ())
    runs, consumed = Decoder(LAYOUTS).split(memoryview(raw))
    assert consumed == len(raw)
    assert [(layout, count) for layout, _, count, _ in runs] == [(0, 5000), (2, 1), (1, 300)]


def test_same_size_other_layout_ends_a_run(ring, record):
    raw, _, _ = build(ring, record, [(0, 100), (1, 100), (0, 100)], ())
    runs, _ = Decoder(LAYOUTS).split(memoryview(raw))
    assert [(layout, count) for layout, _, count, _ in runs] == [(0, 100), (1, 100), (0, 100)]


@pytest.mark.parametrize("index, size", [(0, 24), (9, 16), (FAULT, 16)])
def test_a_record_that_fits_no_layout_is_an_error(ring, index, size):
    body = struct.pack("=HHI", 0, index, 1).ljust(size, b"\0")
    with pytest.raises(Error, match="does not fit layout"):
        Decoder(LAYOUTS).split(memoryview(ring(body)))


def test_overlapping_fields_are_an_error(ring, record):
    layout = RecordLayout(0, 24, (Field("u", 8, 8), Field("u", 12, 4)), ())
    with pytest.raises(Error, match="overlaps"):
        Decoder((layout,)).records(memoryview(ring(record(layout, 0, (1, 2)))))


def test_strings_for_programs_keep_their_bytes(ring, record):
    layout = RecordLayout(0, 24, (Field("s", 8, 16),), ())
    (got,), _ = Decoder((layout,)).records(memoryview(ring(record(layout, 0, (b"\x1b[1m\xff\xc3\xa9\0junk",)))))
    assert got.values == ("\x1b[1m\udcffé",)


def test_addresses(ring, record):
    layout = RecordLayout(0, 32, (Field("inet", 8, 20),), ())
    six = struct.pack("=I", 10) + bytes.fromhex("20010db8000000000000000000000001")
    data = b"".join([ring(record(layout, 0, (a,))) for a in (six, struct.pack("=I4s", 2, b"\xc0\xa8\x00\xff"), b"")])
    got, _ = Decoder((layout,)).records(memoryview(data))
    assert [r.values for r in got] == [("2001:db8::1",), ("192.168.0.255",), ("",)]


def test_fields_of_actions_that_did_not_run_are_none(ring, record):
    """Their bytes in the ring are whatever was there before."""
    actions = (Action("trace", (0,), bit=0), Action("trace", (1,), bit=1), Action("trace", (2,)))
    layout = RecordLayout(0, 32, (Field("u", 16, 4), Field("s", 20, 4), Field("u", 24, 4)), actions, 8)
    data = b"".join([ring(record(layout, 0, (1, b"ab", 3), mask=mask)) for mask in range(4)])
    got, _ = Decoder((layout,)).records(memoryview(data))
    assert [r.values for r in got] == [(None, None, 3), (1, None, 3), (None, "ab", 3), (1, "ab", 3)]
