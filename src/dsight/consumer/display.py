"""How output looks: the options of DTrace that may change while tracing (setopt()).

Source of the options' meaning: Dynamic Tracing Guide, "Options and Tunables" and "Aggregations"
(sorting); B. Cantrill, "agghist, aggzoom and aggpack" (2013) for the histograms of aggregations.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from dsight.consumer.aggregate import Key, Number, Snapshot
    from dsight.record import AggLayout, Field


class Display:
    """The options in force; options.set_display() changes one.

    quiet          only what the script prints
    flowindent     a header of CPU and FUNCTION, and calls indented
    rawbytes       trace() and tracemem() show bytes in hexadecimal, also where they are text
    aggsortkey     aggregations are sorted by key, then by value; else by value, then by key
    aggsortkeypos  which part of the key counts first
    aggsortpos     which of the aggregations printed together counts first
    aggsortrev     descending
    agghist        counts and sums are shown as a histogram of their keys
    aggpack        distributions take one line a key
    aggzoom        the fullest bucket fills a histogram's width, not the whole of its counts
    utf8           whether aggpack may use block characters
    """

    __slots__ = (
        *("quiet", "flowindent", "rawbytes", "agghist", "aggpack", "aggzoom", "utf8"),
        *("aggsortkey", "aggsortkeypos", "aggsortpos", "aggsortrev"),
    )

    def __init__(self, *, quiet: bool = False, utf8: bool = False) -> None:
        self.quiet = quiet
        self.flowindent = False
        self.rawbytes = False
        self.aggsortkey = False
        self.aggsortkeypos = 0
        self.aggsortpos = 0
        self.aggsortrev = False
        self.agghist = False
        self.aggpack = False
        self.aggzoom = False
        self.utf8 = utf8

    def ordered(
        self, layouts: Sequence[AggLayout], snapshots: Sequence[Snapshot], weights: Sequence[Callable[[Number], int]]
    ) -> list[Key]:
        """The keys of aggregations printed together, in printing order.  `snapshots`: each has every key;
        `weights`: what a value of each sorts by."""
        first = min(self.aggsortpos, len(layouts) - 1)
        order = [first, *[i for i in range(len(layouts)) if i != first]]
        key_of = self._key_order(layouts[0].keys)

        def values(key: Key) -> tuple[int, ...]:
            return tuple([weights[i](snapshots[i][key]) for i in order])

        def by(key: Key) -> Any:
            return (key_of(key), values(key)) if self.aggsortkey else (values(key), key_of(key))

        return sorted(snapshots[0], key=by, reverse=self.aggsortrev)

    def _key_order(self, fields: Sequence[Field]) -> Callable[[Key], Any]:
        """What a key sorts by: its parts from aggsortkeypos on, then those before; names as text."""
        at = self.aggsortkeypos if self.aggsortkeypos < len(fields) else 0
        names = [(i, field.names) for i, field in enumerate(fields) if field.names is not None]
        if not at and not names:
            return lambda key: key

        def order(key: Key) -> Any:
            parts: list[Any] = list(key)
            for i, texts in names:
                parts[i] = texts.get(parts[i], "")
            return (*parts[at:], *parts[:at])

        return order
