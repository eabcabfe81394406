"""Aggregations: contents of the per-CPU maps to merged values, and the consumer's part of
clear(), trunc(), normalize() and denormalize().

record.AggLayout says how keys and values lie in the maps.  In a snapshot a key is a tuple of
raw key fields (int, or bytes; strings cut at their NUL) and a value is

    count sum min max avg stddev             an int
    quantize lquantize llquantize            a tuple of ints, the count of each bucket (`bucket_values`)

Maps may give distributions more words than they have buckets (a power of two is easier on the
verifier).  The 128th word of quantize counts what record.AggLayout's 127 buckets have no place
for: values from 2**63 on, or where values are signed, -(2**63).

record.bounds says which values each bucket of lquantize and llquantize counts.
"""

from __future__ import annotations

import struct

from dsight.consumer.decode import code, python_value
from dsight.errors import Error
from dsight.record import QUANTIZE_WORDS, bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsight.consumer.symbolise import Texts
    from dsight.record import AggLayout

    Key = tuple[int | bytes, ...]
    Number = int | tuple[int, ...]
    Snapshot = dict[Key, Number]
    # What a map holds: (key, value of each CPU).
    Entries = list[tuple[bytes, list[bytes]]]

DISTRIBUTIONS = ("quantize", "lquantize", "llquantize")
M64, M128 = (1 << 64) - 1, (1 << 128) - 1


def bucket_values(layout: AggLayout) -> tuple[int, ...]:
    """What labels each bucket of a distribution, ascending: the smallest value it counts (quantize: the
    one nearest to zero, as in the Guide; underflow: one below the first bound)."""
    if layout.func == "quantize":
        below = [-(1 << k) for k in range(64 if layout.signed else 63)]
        above = [1 << k for k in range(63 if layout.signed else 64)]
        return (*reversed(below), 0, *above)
    edges = bounds(layout.func, layout.params)
    return (edges[0] - 1, *edges)


# ---- merging.  Merged words of a key: what is left of all CPUs' words, still to be added to and
# subtracted from (clear() remembers them): count (n,), sum (total,), avg (n, total), stddev
# (n, total, total of squares), distributions: the buckets; all modulo 2**64 (squares: 2**128).
# min, max: (value,) or () where there was none.


def merge(layout: AggLayout, values: Sequence[bytes]) -> tuple[int, ...]:
    """The merged words of one key from the values of all CPUs."""
    func, size = layout.func, layout.value_size // 8
    data = b"".join([v[: size * 8] for v in values])
    if func in ("min", "max"):
        pairs = struct.unpack(f"={len(data) // 8}{'q' if layout.signed else 'Q'}", data)
        seen = [value for value, used in zip(pairs[::size], pairs[1::size]) if used]
        return () if not seen else (min(seen),) if func == "min" else (max(seen),)
    flat = struct.unpack(f"={len(data) // 8}Q", data)
    totals = [sum(flat[i::size]) for i in range(size)]
    if func == "stddev":
        count, total, low, high = totals
        return count & M64, total & M64, (low + (high << 64)) & M128
    return tuple([t & M64 for t in totals])


def subtract(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Merged words since b (not for min and max)."""
    return tuple([(x - y) & (M128 if i == 2 and len(a) == 3 else M64) for i, (x, y) in enumerate(zip(a, b))])


def add(func: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Merged words of two keys that turned out to be one."""
    if func in ("min", "max"):
        both = a + b
        return () if not both else (min(both),) if func == "min" else (max(both),)
    return tuple([(x + y) & (M128 if i == 2 and len(a) == 3 else M64) for i, (x, y) in enumerate(zip(a, b))])


def signed64(n: int) -> int:
    return n - (1 << 64) if n >> 63 else n


def divide(a: int, b: int) -> int:
    """Integer division as C has it: towards zero."""
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def finish(layout: AggLayout, merged: tuple[int, ...]) -> Number:
    """The value of merged words; 0 where nothing was aggregated (after clear())."""
    func = layout.func
    if func in ("min", "max"):
        return merged[0] if merged else 0
    if func == "count":
        return merged[0]
    if func == "quantize":
        counts = [signed64(n) for n in (*merged, 0)[:QUANTIZE_WORDS]]
        return (counts[-1], *counts[:-1]) if layout.signed else tuple(counts)
    if func in DISTRIBUTIONS:
        return tuple([signed64(n) for n in merged[: len(bounds(func, layout.params)) + 1]])
    sign = signed64 if layout.signed else int
    if func == "sum":
        return sign(merged[0])
    count, total = merged[0], sign(merged[1])
    if not count:
        return 0
    if func == "avg":
        return divide(total, count)
    from math import isqrt

    # The square root of the average of squares less the square of the average, rounded down.
    return isqrt(max(0, count * merged[2] - total * total) // (count * count))


def weight(value: Number, labels: tuple[int, ...] = ()) -> int:
    """What a value sorts by: itself, or a distribution's total weighted by its buckets."""
    if isinstance(value, int):
        return value
    return sum([label * n for label, n in zip(labels, value) if n])


def ordered(layout: AggLayout, snapshot: Snapshot) -> list[Key]:
    """The keys in printing order: by value, then by key, ascending."""
    labels = bucket_values(layout) if layout.func in DISTRIBUTIONS else ()
    return sorted(snapshot, key=lambda key: (weight(snapshot[key], labels), key))


class Aggregations:
    """The aggregations of a session, as the consumer sees them.

    `fetch(layout)` reads an aggregation's map: (key, value of each CPU) of every entry.
    `erase(layout, keys)` removes these keys from the map (no key: sets its one entry to zero).
    `texts`: how code is shown; addresses of one function (sym, usym, mod ...) are one key.
    The actions of one record see one snapshot: `release()` makes the next action read anew.
    """

    def __init__(
        self,
        layouts: Sequence[AggLayout],
        fetch: Callable[[AggLayout], Entries],
        erase: Callable[[AggLayout, list[bytes]], None],
        texts: Texts | None = None,
    ) -> None:
        self._texts = texts
        self.layouts = {layout.id: layout for layout in layouts}
        self._fetch = fetch
        self._erase = erase
        self._keys = {layout.id: _key_struct(layout) for layout in layouts}
        self._symbols = {
            layout.id: [(i, field) for i, field in enumerate(layout.keys) if texts and field.show in ("sym", "mod")]
            for layout in layouts
        }
        self._first: dict[tuple[int, int, str], int | bytes] = {}  # the address that stands for others of one text
        self._current: dict[int, dict[Key, tuple[list[bytes], tuple[int, ...]]]] = {}
        self._base: dict[int, dict[Key, tuple[int, ...]]] = {}  # merged words at the last clear()
        self._zero: dict[int, set[Key]] = {}  # keys of min and max cleared, without a value since
        self._normal: dict[int, int] = {}

    def release(self) -> None:
        """Forget what was read."""
        self._current.clear()

    def snapshot(self, id: int) -> Snapshot:
        """Every key and its value, normalized."""
        layout = self.layouts[id]
        base = self._base.get(id, {})
        factor = self._normal.get(id, 1)
        out: Snapshot = dict.fromkeys(self._zero.get(id, ()), 0)
        for key, (_, merged) in self._read(id).items():
            value = finish(layout, subtract(merged, base[key]) if key in base else merged)
            if factor != 1:
                value = divide(value, factor) if isinstance(value, int) else tuple([divide(n, factor) for n in value])
            out[key] = value
        return out

    def values(self, id: int) -> dict[tuple[int | str | bytes | tuple[str, ...], ...], Number]:
        """The snapshot for Python programs: keys as int, str, bytes, the text of an address or symbol, or a
        tuple of such texts for a stack."""
        makes = [python_value(field, self._texts) for field in self.layouts[id].keys]
        return {
            tuple([part if make is None else make(part) for part, make in zip(key, makes)]): value
            for key, value in self.snapshot(id).items()
        }

    def clear(self, id: int) -> None:
        """All values become zero; the keys stay."""
        layout = self.layouts[id]
        entries = self._read(id)
        if layout.func in ("min", "max"):  # cannot be subtracted
            self._zero.setdefault(id, set()).update(entries)
            self._erase(layout, [raw for raws, _ in entries.values() for raw in raws])
            self._current[id] = {}
        else:
            self._base[id] = {key: merged for key, (_, merged) in entries.items()}

    def trunc(self, id: int, count: int = 0) -> None:
        """Keep the `count` keys with the highest values (negative: the lowest); 0: none."""
        layout = self.layouts[id]
        keys = ordered(layout, self.snapshot(id))
        dropped = keys[: max(0, len(keys) - count)] if count > 0 else keys[-count:]
        entries = self._read(id)
        self._erase(layout, [raw for key in dropped if key in entries for raw in entries[key][0]])
        for key in dropped:
            entries.pop(key, None)
            self._base.get(id, {}).pop(key, None)
            self._zero.get(id, set()).discard(key)

    def normalize(self, id: int, factor: int) -> None:
        """Divide values by `factor` (not 0) when they are shown."""
        self._normal[id] = factor

    def denormalize(self, id: int) -> None:
        self._normal.pop(id, None)

    def _read(self, id: int) -> dict[Key, tuple[list[bytes], tuple[int, ...]]]:
        """Key -> its bytes in the map and its merged words."""
        known = self._current.get(id)
        if known is not None:
            return known
        layout = self.layouts[id]
        unpack, cut = self._keys[id]
        out: dict[Key, tuple[list[bytes], tuple[int, ...]]] = {}
        for raw, values in self._fetch(layout):
            merged = merge(layout, values)
            if self._absent(layout, merged):
                continue
            key = unpack.unpack_from(raw) if layout.keys else ()
            for at in cut:
                key = (*key[:at], key[at].split(b"\0", 1)[0], *key[at + 1 :])
            for at, field in self._symbols[id]:
                assert self._texts is not None
                text = self._texts.of(field)[key[at]]
                key = (*key[:at], self._first.setdefault((id, at, text), key[at]), *key[at + 1 :])
            if key in out:
                raws, other = out[key]
                out[key] = ([*raws, raw], add(layout.func, other, merged))
            else:
                out[key] = ([raw], merged)
        if id in self._zero:
            self._zero[id].difference_update(out)
        self._current[id] = out
        return out

    def _absent(self, layout: AggLayout, merged: tuple[int, ...]) -> bool:
        """Whether an entry of the map holds nothing yet: a min or max no CPU has completed, or the one
        entry of an array, which is there from the start (a keyless sum of 0 is not told apart)."""
        if layout.func in ("min", "max"):
            return not merged
        return not layout.keys and not any(merged) and () not in self._base.get(layout.id, {})


def _key_struct(layout: AggLayout) -> tuple[struct.Struct, list[int]]:
    """The Struct of a key, and which of its parts are strings (to be cut at their NUL)."""
    format, at = "=", 0
    for field in layout.keys:  # their order in the tuple is their order in the key
        if field.offset < at:
            raise Error(f"@{layout.name}: the key's fields overlap")
        format += f"{field.offset - at}x{code(field)}"
        at = field.offset + field.size
    return struct.Struct(format), [i for i, field in enumerate(layout.keys) if field.kind == "s"]
