"""Speculative records are held back until their speculation is committed.

Stands between the ring buffer and whoever takes records.  A record of a clause with
speculate() names its speculation by key (RecordLayout.spec); one of a clause with commit() or
discard() says which keys have ended (RecordLayout.ends).  Since the ring keeps the order of
reservation, everything a speculation has recorded stands before its end; what was reserved
on another CPU while it ended comes after, and is dropped.
"""

from __future__ import annotations

from dsight.consumer.decode import Decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsight.record import RecordLayout


class Speculations:
    """Hands records on to `records`, which takes a view and says how many bytes it took (all of what
    it is given here)."""

    def __init__(self, layouts: Sequence[RecordLayout], records: Callable[[memoryview], int]) -> None:
        self._layouts = tuple(layouts)
        self._decoder = Decoder(layouts)
        self._records = records
        self._held: dict[int, bytearray] = {}  # by key
        self._ended: dict[int, int] = {}  # speculation id: the serial number that ended last

    @staticmethod
    def wanted(layouts: Sequence[RecordLayout]) -> bool:
        """Whether a script has speculations at all."""
        return any(layout.spec >= 0 or layout.ends for layout in layouts)

    def records(self, view: memoryview) -> int:
        """Take the records in the view; the bytes taken."""
        runs, consumed = self._decoder.split(view)
        begin = 0  # of what is to be handed on together
        for index, start, count, stride in runs:
            layout = self._layouts[index] if index < len(self._layouts) else None
            if layout is None or (layout.spec < 0 and not layout.ends):
                continue
            for at in range(start, start + count * stride, stride):
                keys = self._ends(layout, view, at)
                key = self._key(view, at + layout.spec) if layout.spec >= 0 else 0
                if not keys and not key and layout.shown:
                    continue
                self._hand_on(view[begin:at])
                begin = at + stride
                for name, ended in keys:
                    self._end(name, ended)
                if key:
                    self._hold(key, view[at:begin])
                elif layout.shown:
                    begin = at
        self._hand_on(view[begin:consumed])
        return consumed

    def _ends(self, layout: RecordLayout, view: memoryview, at: int) -> list[tuple[str, int]]:
        found = [(name, self._key(view, at + offset)) for name, offset in layout.ends]
        return [(name, key) for name, key in found if key]

    @staticmethod
    def _key(view: memoryview, at: int) -> int:
        """The u64 at this offset behind the ring's own header of 8 bytes."""
        return int.from_bytes(view[at + 8 : at + 16], "little")

    def _hand_on(self, view: memoryview) -> None:
        if view:
            self._records(view)

    def _hold(self, key: int, record: memoryview) -> None:
        if key >> 32 > self._ended.get(key & 0xFFFFFFFF, 0):
            self._held.setdefault(key, bytearray()).extend(record)

    def _end(self, name: str, key: int) -> None:
        self._ended[key & 0xFFFFFFFF] = key >> 32
        held = self._held.pop(key, None)
        if held and name == "commit":
            self._hand_on(memoryview(bytes(held)))
