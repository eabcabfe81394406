"""DNS messages: what is read of good ones, and that bad ones do no harm."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.connections.dns import AAAA, CNAME, A, Message, Stream, parse
from dsight.testing.work import lines_run


def name(text: str) -> bytes:
    return b"".join(bytes([len(p)]) + p.encode() for p in text.split(".") if p) + b"\0"


def message(
    question: str = "db1.example", kind: int = A, records: tuple[tuple[bytes, int, bytes], ...] = (), *,
    number: int = 7, flags: int = 0x8180, questions: int = 1, answers: int | None = None, extra: bytes = b"",
) -> bytes:  # fmt: skip
    out = struct.pack("!HHHHHH", number, flags, questions, len(records) if answers is None else answers, 0, 0)
    out += name(question) + struct.pack("!HH", kind, 1)
    for owner, of, data in records:
        out += owner + struct.pack("!HHIH", of, 1, 60, len(data)) + data
    return out + extra


FOUR = (b"\xc0\x0c", A, socket.inet_aton("10.0.0.5"))
SIX = (b"\xc0\x0c", AAAA, socket.inet_pton(socket.AF_INET6, "fd00::5"))


def test_a_query() -> None:
    assert parse(message(flags=0x0100)) == Message(7, False, 0, False, "db1.example", A)


def test_an_answer_with_addresses_of_both_families() -> None:
    found = parse(message(records=(FOUR, SIX)))
    assert found == Message(7, True, 0, False, "db1.example", A, ("10.0.0.5", "fd00::5"))


def test_aliases_are_followed_and_a_circle_ends() -> None:
    alias = (b"\xc0\x0c", CNAME, name("web.example"))
    found = parse(message(records=(alias, (name("web.example"), A, FOUR[2]))))
    assert found is not None and (found.addresses, found.canonical) == (("10.0.0.5",), "web.example")
    circle = (name("web.example"), CNAME, name("db1.example"))
    again = parse(message(records=(alias, circle)))
    assert again is not None and again.addresses == ()


@pytest.mark.parametrize("rcode", range(16))
def test_the_code_and_truncation(rcode: int) -> None:
    found = parse(message(flags=0x8380 | rcode))
    assert found is not None and (found.rcode, found.truncated, found.answer) == (rcode, True, True)


def test_edns_and_what_comes_behind_the_answers_does_not_matter() -> None:
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    found = parse(message(records=(FOUR,), extra=opt + b"\xff" * 9))
    assert found is not None and found.whole and found.addresses == ("10.0.0.5",)


def test_names_are_lower_case_and_odd_bytes_are_escaped() -> None:
    found = parse(message("DB1.Example", flags=0x0100))
    assert found is not None and found.name == "db1.example"
    raw = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x04a\x1b.\\\x02\xffb\0" + struct.pack("!HH", A, 1)
    odd = parse(raw)
    assert odd is not None and odd.name == "a\\027\\046\\092.\\255b"


def test_a_message_that_was_cut_off_keeps_what_came_before() -> None:
    whole = message(records=(FOUR, SIX))
    found = parse(whole[:-5])
    assert found is not None and (found.addresses, found.whole) == (("10.0.0.5",), False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 11,
        message(questions=0),
        message(questions=2),
        message(flags=0x0100, records=(FOUR,)),  # a query with answers
        message(flags=0x2800),  # an update
        message()[:20],
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c" + struct.pack("!HH", A, 1),  # points to itself
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x20" + struct.pack("!HH", A, 1) * 9,  # ahead
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x80" + struct.pack("!HH", A, 1),  # neither
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x01a" * 200 + b"\0" + struct.pack("!HH", A, 1),
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    assert parse(data) is None


def test_many_pointers_are_not_all_followed() -> None:
    """Each of 65,535 records a name of many jumps."""
    chain = b"".join(struct.pack("!H", 0xC000 | 12 + 2 * n) for n in range(600))
    data = struct.pack("!HHHHHH", 1, 0x8180, 1, 0xFFFF, 0, 0) + b"\0\0\1\0\1" + chain * 50
    assert lines_run(lambda: parse(data)) < 1_000_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    found = parse(data)
    assert found is None or (len(found.name) <= 4 * 600 and len(found.addresses) <= 256)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_good_message_with_bytes_changed(data: st.DataObject) -> None:
    raw = bytearray(message(records=(FOUR, (b"\xc0\x0c", CNAME, b"\x03web\xc0\x10"), SIX)))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = parse(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert found is None or found.name.isascii()


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(m)) + m for m in messages)


@given(st.lists(st.binary(max_size=50), max_size=6), st.data())
def test_a_stream_in_any_pieces(messages: list[bytes], data: st.DataObject) -> None:
    stream, raw, found = Stream(), framed(*messages), []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        found += stream.feed(raw[:size], size)
        raw = raw[size:]
    assert found == messages and not stream


def test_a_piece_of_which_only_the_beginning_was_seen() -> None:
    stream = Stream()
    raw = framed(b"a" * 100)
    assert stream.feed(raw[:40], 60) == [] and stream
    assert stream.feed(raw[60:], 42) == [b"a" * 38] and not stream


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 70000)), max_size=20))
def test_a_stream_of_nonsense_is_bounded(pieces: list[tuple[bytes, int]]) -> None:
    stream = Stream()
    for data, more in pieces:
        for one in stream.feed(data, len(data) + more):
            assert len(one) <= 65535
    assert len(stream._kept) <= Stream.LIMIT + 40
