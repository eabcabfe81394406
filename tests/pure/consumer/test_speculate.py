"""Speculative records: held, shown at the commit, forgotten at the discard."""

from __future__ import annotations

import struct

from dsight.consumer.decode import Decoder
from dsight.consumer.speculate import Speculations
from dsight.record import Field, RecordLayout

PLAIN = RecordLayout(0, 16, (Field("i", 8, 8),), ())
SPEC = RecordLayout(1, 24, (Field("i", 16, 8),), (), spec=8)
END = RecordLayout(2, 24, (), (), ends=(("commit", 8), ("discard", 16)))
LAYOUTS = (PLAIN, SPEC, END)


def ring(*records: tuple[int, ...]) -> bytes:
    out = b""
    for layout, *words in records:
        data = struct.pack("=HHI", 0, layout, 1) + b"".join([struct.pack("=Q", w) for w in words])
        out += struct.pack("=II", len(data), 0) + data
    return out


def seen(*chunks: bytes) -> list[int]:
    decoder = Decoder(LAYOUTS)
    values: list[int] = []

    def take(view: memoryview) -> int:
        found, taken = decoder.records(view)
        values.extend([r.values[0] for r in found if not hasattr(r, "fault")])  # type: ignore[misc, union-attr]
        return taken

    speculations = Speculations(LAYOUTS, take)
    for chunk in chunks:
        assert speculations.records(memoryview(chunk)) == len(chunk)
    return values


def key(serial: int, number: int) -> int:
    return serial << 32 | number


def test_committed_records_come_in_order_where_the_commit_stands() -> None:
    a = key(1, 1)
    records = ring((0, 1), (1, a, 10), (0, 2), (1, a, 11), (0, 3), (2, a, 0), (0, 4))
    assert seen(records) == [1, 2, 3, 10, 11, 4]


def test_held_across_reads_of_the_ring() -> None:
    a = key(1, 1)
    assert seen(ring((1, a, 10)), ring((0, 1)), ring((1, a, 11), (2, a, 0))) == [1, 10, 11]


def test_discarded_and_never_ended_ones_are_not_shown() -> None:
    a, b = key(1, 1), key(1, 2)
    assert seen(ring((1, a, 10), (1, b, 20), (2, 0, a), (0, 1))) == [1]


def test_a_record_behind_its_end_is_dropped_and_the_ids_next_use_is_another() -> None:
    a, again = key(1, 1), key(2, 1)
    assert seen(ring((1, a, 10), (2, a, 0), (1, a, 11), (1, again, 12), (2, again, 0))) == [10, 12]


def test_a_clause_may_end_several() -> None:
    a, b = key(1, 1), key(1, 2)
    assert seen(ring((1, a, 10), (1, b, 20), (2, b, a), (0, 1))) == [20, 1]


def test_a_record_of_no_speculation_is_shown_at_once() -> None:
    assert seen(ring((1, 0, 5), (0, 1))) == [5, 1]


def test_scripts_without_speculations_do_without() -> None:
    assert not Speculations.wanted((PLAIN,))
    assert Speculations.wanted(LAYOUTS)
