"""Distributions as text: the Guide's table, and the forms of agghist, aggpack and aggzoom."""

from __future__ import annotations

from dsight.consumer.aggregate import bucket_values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsight.record import AggLayout

HEAD = "           value  ------------- Distribution ------------- count    \n"
BAR = 40
BLOCKS = " ▁▂▃▄▅▆▇█"
RAMP = " .,:;+*#@"


def whole_of(counts: Sequence[int], zoom: bool) -> int:
    """What a full bar stands for: all counts, with aggzoom the greatest one."""
    if zoom:
        return max([abs(n) for n in counts], default=0)
    return sum([abs(n) for n in counts])


def bar(count: int, whole: int, width: int = BAR) -> str:
    """A count's share of the whole, rounded to the nearest column, halves up; a negative count (a negative
    increment) has no bar."""
    return "@" * ((2 * width * count + whole) // (2 * whole)) if count > 0 else ""


def shown(counts: Sequence[int]) -> tuple[int, int]:
    """The first and last bucket shown: those counted in and an empty one on each side.  Some count is not 0."""
    used = [i for i, n in enumerate(counts) if n]
    return max(0, used[0] - 1), min(len(counts) - 1, used[-1] + 1)


def distribution(layout: AggLayout, counts: tuple[int, ...], zoom: bool = False) -> str:
    """The table of a distribution."""
    if not any(counts):
        return HEAD
    first, last = shown(counts)
    labels = bucket_values(layout)
    whole = whole_of(counts, zoom)
    lines = [HEAD]
    for i in range(first, last + 1):
        label = str(labels[i])
        if layout.func != "quantize" and i == 0:
            label = f"< {labels[1]}"
        elif layout.func != "quantize" and i == len(counts) - 1:
            label = f">= {labels[i]}"
        lines.append(f"{label:>16s} |{bar(counts[i], whole):{BAR}s} {counts[i]:<9d}\n")
    return "".join(lines)


def of_keys(rows: Sequence[tuple[str, int]], zoom: bool = False) -> str:
    """agghist: the values of an aggregation's keys as a histogram."""
    whole = whole_of([n for _, n in rows], zoom)
    lines = [f"{'key':>16s}  ------------- Distribution ------------- count    \n"]
    for key, n in rows:
        lines.append(f"{key:>16s} |{bar(n, whole):{BAR}s} {n:<9d}\n")
    return "".join(lines)


def packed(layout: AggLayout, rows: Sequence[tuple[str, tuple[int, ...]]], zoom: bool, utf8: bool) -> str:
    """aggpack: a line for each key, a character for each bucket; the buckets are those of all keys."""
    together = [sum([abs(n) for n in column]) for column in zip(*[counts for _, counts in rows])]
    if not any(together):
        together[0] = 1
    first, last = shown(together)
    labels = bucket_values(layout)
    marks = BLOCKS if utf8 else RAMP
    low, high = str(labels[first]), str(labels[last])
    edge, end = max(5, len(low)), max(6, len(high))
    lines = [f"{'key':>16s} {'min':>{edge}s} .{'-' * (last + 1 - first)}. {'max':{end}s} | count\n"]
    for key, counts in rows:
        whole = whole_of(counts, zoom)
        # Any count at all leaves a mark.
        cells = "".join([marks[-(-8 * n // whole)] if n > 0 else " " for n in counts[first : last + 1]])
        lines.append(f"{key:>16s} {low:>{edge}s} :{cells}: {high:{end}s} | {sum(counts)}\n")
    return "".join(lines)
