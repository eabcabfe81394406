"""Bytes of the ring buffer to records.

The ring holds records one behind the other, each behind an 8-byte header (kernel:
Documentation/bpf/ringbuf.rst, kernel/bpf/ringbuf.c): u32 length, whose bit 31 says BUSY
(not committed yet: nothing behind it may be read) and bit 30 DISCARD (skip it), u32 page
offset; then `length` bytes, padded to a multiple of 8.

Records of one layout have one size, and mostly come in runs.  `split` finds the runs by
comparing headers at a stride, without a Python step a record, and says where they are;
whoever wants values unpacks a whole run with one `struct.iter_unpack`.
"""

from __future__ import annotations

import struct
import sys

from dsight.consumer.format import ADDRESSES, plain_texts
from dsight.errors import Error
from dsight.record import FAULT, FAULT_FORMAT, FAULT_SIZE, SEEN, SEEN_SIZE, Field, RecordLayout
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from dsight.consumer.symbolise import Texts

RING_HEADER = 8
BUSY = 1 << 31
DISCARD = 1 << 30
LENGTH = DISCARD - 1

_NO_SIZE = (-1, 0)  # of a layout that does not exist
SCALAR = 8  # how long a run must be before it is compared in bulk
CHUNK = 4096  # records compared at once, at most

_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
CODES = {"i": {1: "b", 2: "h", 4: "i", 8: "q"}, "u": _UNSIGNED, "n": _UNSIGNED, "ksym": _UNSIGNED}


class Record(Value):
    """One record for Python programs.  `values`, in the order of the layout's fields: int, str
    (undecodable bytes as surrogates, as os.fsdecode has them), bytes, the text of an address or symbol, a
    tuple of such texts for a stack; None for a field of an action that did not run."""

    probe: int
    layout: int
    cpu: int
    values: tuple[int | str | bytes | tuple[str, ...] | None, ...]


class Fault(Value):
    """One fault record: a clause that was aborted.  `action` counts the clause's statements from 1 (0: its
    predicate), `fault` is a key of record.FAULTS."""

    probe: int
    cpu: int
    clause: int
    action: int
    fault: int
    address: int


def code(field: Field) -> str:
    """The struct code of a field."""
    return CODES[field.kind][field.size] if field.kind in CODES else f"{field.size}s"


def columns_of(layout: RecordLayout) -> dict[str, tuple[int, str]]:
    """Column name -> (offset in the record, struct code): cpu, probe, mask where there is one, f0, f1, ..."""
    columns = {"cpu": (0, "H"), "probe": (4, "I")}
    if layout.mask >= 0:
        columns["mask"] = (layout.mask, "Q")
    for i, field in enumerate(layout.fields):
        columns[f"f{i}"] = (field.offset, code(field))
    return columns


def unpacker(layout: RecordLayout, names: Sequence[str] | None = None) -> tuple[struct.Struct, list[str]]:
    """A Struct over one record *with* its ring header, giving only the columns named (None: all),
    and their names in the order it gives them."""
    columns = columns_of(layout)
    wanted = sorted(columns if names is None else names, key=lambda name: columns[name])
    format, at = f"={RING_HEADER}x", 0
    for name in wanted:
        offset, kind = columns[name]
        size = struct.calcsize("=" + kind)
        if offset < at:
            raise Error(f"record layout of clause {layout.clause}: {name} overlaps the field before it")
        format += f"{offset - at}x{kind}"
        at = offset + size
    if at > layout.size:
        raise Error(f"record layout of clause {layout.clause}: its fields need {at} bytes, it has {layout.size}")
    return struct.Struct(f"{format}{layout.size - at}x"), wanted


FAULT_STRUCT = struct.Struct(f"={RING_HEADER}x" + FAULT_FORMAT)


class Decoder:
    """Finds and unpacks the records of a session's layouts."""

    def __init__(self, layouts: Sequence[RecordLayout], texts: Texts | None = None) -> None:
        self._texts = texts
        self.layouts = tuple(layouts)
        sizes = {i: layout.size for i, layout in enumerate(layouts)} | {FAULT: FAULT_SIZE, SEEN: SEEN_SIZE}
        self._sizes = {layout: (size, _words(size)) for layout, size in sizes.items()}
        self._values_only: dict[int, struct.Struct | None] = {}
        self._unpackers: dict[int, tuple[struct.Struct, tuple[Any, ...], int]] = {}

    def split(self, view: memoryview) -> tuple[list[tuple[int, int, int, int]], int]:
        """The runs in `view`, which starts at a ring header, up to the first record not committed yet.

        Gives (layout index, offset of the first record's ring header, records, stride) of each run,
        in order, and how many bytes were consumed (discarded records included).  A process told of
        (record.SEEN) is looked at.  Raises Error where
        a record is not of its layout's size, which only a bug can bring about.
        """
        view = view[: len(view) & ~7]
        words, halves = view.cast("I"), view.cast("H")
        end = len(words)
        sizes = self._sizes
        runs = []
        at = 0  # all in words of 4 bytes
        while at < end:
            head = words[at]
            layout = halves[2 * at + 5] if at + 2 < end else -1
            size, step = sizes.get(layout, _NO_SIZE)
            if size != head:  # not committed, discarded, or wrong
                if head & BUSY:
                    break
                step = _words(head & LENGTH)
            stop = at + step
            if stop > end:
                break
            if head & DISCARD:
                at = stop
                continue
            if size != head:
                raise Error(f"ring buffer: a record of {head} bytes does not fit layout {layout}")
            if layout == SEEN:
                if self._texts is not None:
                    self._texts.symbols.seen(int.from_bytes(words[at + 4 : at + 6], sys.byteorder))
                at = stop
                continue
            count = 1
            while count < SCALAR and stop + step <= end and words[stop] == head and halves[2 * stop + 5] == layout:
                count += 1
                stop += step
            if count == SCALAR:
                more = self._bulk(words, halves, stop, step, head, layout)
                count += more
                stop += more * step
            runs.append((layout, at * 4, count, step * 4))
            at = stop
        return runs, at * 4

    @staticmethod
    def _bulk(words: memoryview, halves: memoryview, at: int, step: int, head: int, layout: int) -> int:
        """How many more records with this header and layout follow at `at`."""
        total, chunk = 0, 64
        one_head = head.to_bytes(4, sys.byteorder)
        one_layout = layout.to_bytes(2, sys.byteorder)
        while True:
            n = min(chunk, (len(words) - at) // step)
            if n <= 0:
                return total
            stop = at + n * step
            heads = words[at:stop:step].tobytes()
            layouts = halves[2 * at + 5 : 2 * stop : 2 * step].tobytes()
            same = n
            if heads != one_head * n:
                same = _common(heads, one_head * n) // 4
            if layouts != one_layout * n:
                same = min(same, _common(layouts, one_layout * n) // 2)
            total += same
            if same < n:
                return total
            at = stop
            chunk = min(chunk * 4, CHUNK)

    def rows(self, view: memoryview, run: tuple[int, int, int, int]) -> Iterator[tuple[Any, ...]]:
        """The records of one run as tuples: cpu, probe, then mask and fields by offset (see unpacker);
        of faults, record.FAULT_FORMAT."""
        layout, start, count, stride = run
        unpack = FAULT_STRUCT if layout == FAULT else self._unpacker(layout)[0]
        return unpack.iter_unpack(view[start : start + count * stride])

    def _unpacker(self, index: int) -> tuple[struct.Struct, tuple[Any, ...], int]:
        """The Struct of all columns of a layout; (position in the row, converter, bit of the mask or -1)
        of each field; the position of the mask or -1."""
        known = self._unpackers.get(index)
        if known is None:
            layout = self.layouts[index]
            unpack, names = unpacker(layout)
            bits = {at: action.bit for action in layout.actions for at in action.fields}
            fields = tuple(
                [
                    (
                        names.index(f"f{i}"),
                        python_value(field, self._texts),
                        bits.get(i, -1) if layout.mask >= 0 else -1,
                    )
                    for i, field in enumerate(layout.fields)
                ]
            )
            mask = names.index("mask") if layout.mask >= 0 else -1
            known = self._unpackers[index] = (unpack, fields, mask)
        return known

    def values(self, view: memoryview) -> tuple[list[tuple[Any, ...]], list[Fault], int]:
        """The values of each record in `view`, faults, and how many bytes were consumed: for who needs to know
        no more, in half the time that `records` takes."""
        runs, consumed = self.split(view)
        out: list[tuple[Any, ...]] = []
        faults: list[Fault] = []
        known = self._values_only
        for run in runs:
            layout, start, count, stride = run
            if layout == FAULT:
                faults += [fault(row) for row in self.rows(view, run)]
                continue
            unpack = known[layout] if layout in known else self._only_values(layout)
            if unpack is None:
                out += [values for _, values in self._values(view, run)]
            elif count == 1:
                out.append(unpack.unpack_from(view, start))
            else:
                out += unpack.iter_unpack(view[start : start + count * stride])
        return out, faults, consumed

    def _only_values(self, index: int) -> struct.Struct | None:
        """The Struct of a layout's fields, where they are values as they come."""
        layout = self.layouts[index]
        fields = [f"f{i}" for i in range(len(layout.fields))]
        unpack, names = unpacker(layout, fields)
        converted = layout.mask >= 0 or any(python_value(field, self._texts) is not None for field in layout.fields)
        self._values_only[index] = found = None if converted or names != fields else unpack
        return found

    def _values(self, view: memoryview, run: tuple[int, int, int, int]) -> Iterator[tuple[Any, Any]]:
        """Of each record of a run its row and its values."""
        _, fields, mask_at = self._unpacker(run[0])
        for row in self.rows(view, run):
            ran = row[mask_at] if mask_at >= 0 else 0
            yield (
                row,
                tuple(
                    [
                        None if bit >= 0 and not ran >> bit & 1 else row[at] if make is None else make(row[at])
                        for at, make, bit in fields
                    ]
                ),
            )

    def records(self, view: memoryview) -> tuple[list[Record | Fault], int]:
        """The records in `view` for Python programs, and how many bytes were consumed."""
        runs, consumed = self.split(view)
        out: list[Record | Fault] = []
        for run in runs:
            index = run[0]
            if index == FAULT:
                out += [fault(row) for row in self.rows(view, run)]
                continue
            out += [Record(row[1], index, row[0], values) for row, values in self._values(view, run)]
        return out, consumed


def _words(size: int) -> int:
    """Words of 4 bytes that a record of so many bytes takes in the ring, header and all."""
    return (size + 7 >> 3 << 1) + 2


def fault(row: tuple[Any, ...]) -> Fault:
    """A row of a run of faults."""
    cpu, _, probe, clause, action, number, address, _ = row
    return Fault(probe, cpu, clause, action, number, address)


def python_value(field: Field, texts: Texts | None = None) -> Any:
    """The function that makes a field's raw value a Python one; None: it is one.  `texts`: how code
    is shown."""
    if field.is_code:
        return (texts or plain_texts()).value(field)
    if field.names is not None:
        return field.names.get
    return {"s": string_value, "inet": ADDRESSES.__getitem__}.get(field.kind)


def string_value(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _common(a: bytes, b: bytes) -> int:
    """How many bytes two strings of one length share at their start."""
    differing = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    return ((differing & -differing).bit_length() - 1) >> 3 if differing else len(a)
