"""Aggregations as text: the listing at the end, and printa() with and without a format.

Formats are those of the Guide's examples ("Aggregations", "Output Formatting"): each row
is its key, printed as trace() prints a value but strings 50 wide, then its value 16 wide; a
distribution stands below its key as a table of 40 columns of @.
"""

from __future__ import annotations

from dsight.consumer.aggregate import DISTRIBUTIONS, bucket_values, ordered
from dsight.consumer.format import ADDRESSES, STRINGS, compile_format, hexdump, is_text, plain_texts, string_text
from dsight.errors import fail
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsight.consumer.aggregate import Key, Number, Snapshot
    from dsight.consumer.symbolise import Texts
    from dsight.record import AggLayout, Field

# Width of a traced integer by its size in bytes, after one space.
INTEGER_WIDTHS = {1: 3, 2: 5, 4: 8, 8: 16}

HEAD = "           value  ------------- Distribution ------------- count    \n"
BAR = 40


def key_text(fields: Sequence[Field], key: Key, texts: Texts | None = None) -> str:
    """The key's columns; a stack starts lines of its own.  `texts`: how code is shown."""
    out = ""
    for field, part in zip(fields, key):
        if field.names is not None:
            out += f"  {printable(field.names.get(part, '?')):50s}"  # type: ignore[arg-type]
        elif field.is_code:
            text = (texts or plain_texts()).of(field)[part]
            out += text if text.startswith("\n") else f"  {text:50s}"
        elif isinstance(part, int):
            out += f" {part:{INTEGER_WIDTHS[field.size]}d}"
        elif field.kind == "b" and not is_text(part):
            out += hexdump(part)
        else:
            text = (
                ADDRESSES[part] if field.kind == "inet" else STRINGS[part] if field.kind == "s" else string_text(part)
            )
            out += f"  {text:50s}"
    return out


def distribution(layout: AggLayout, counts: tuple[int, ...]) -> str:
    """The table of a distribution: the buckets counted and one empty bucket on each side."""
    used = [i for i, n in enumerate(counts) if n]
    if not used:
        return HEAD
    first, last = max(0, used[0] - 1), min(len(counts) - 1, used[-1] + 1)
    labels = bucket_values(layout)
    total = sum([abs(n) for n in counts])
    lines = [HEAD]
    for i in range(first, last + 1):
        label = str(labels[i])
        if layout.func != "quantize" and i == 0:
            label = f"< {labels[1]}"
        elif layout.func != "quantize" and i == len(counts) - 1:
            label = f">= {labels[i]}"
        # Rounded to the nearest column, halves up; a negative count (a negative increment) has no bar.
        bar = "@" * ((2 * BAR * counts[i] + total) // (2 * total)) if counts[i] > 0 else ""
        lines.append(f"{label:>16s} |{bar:{BAR}s} {counts[i]:<9d}\n")
    return "".join(lines)


def default(layouts: Sequence[AggLayout], snapshots: Sequence[Snapshot], texts: Texts | None = None) -> str:
    """The listing of one aggregation, or of several side by side (printa(@a, @b)); "" without a key."""
    if not any(snapshots):
        return ""
    lines = ["\n"]
    keys = layouts[0].keys
    for key in _keys(layouts, snapshots):
        line = key_text(keys, key, texts)
        for layout, snapshot in zip(layouts, snapshots):
            value = snapshot.get(key, _nothing(layout))
            if isinstance(value, int):
                line += f" {value:16d}"
            else:
                line += f"\n{distribution(layout, value)}"
        lines.append(line + "\n")
    return "".join(lines)


def formatted(
    text: str, layouts: Sequence[AggLayout], snapshots: Sequence[Snapshot], texts: Texts | None = None
) -> str:
    """printa(text, @a, @b ...): the format once for each key.

    Conversions take the key's parts in order, %@ the aggregations in order (again from the
    first where there are more).  Raises CompileError as compile_format does.
    """
    if any(len(layout.keys) != len(layouts[0].keys) for layout in layouts):
        raise fail("D_PRINTA_AGGKEY", "printa() of aggregations with different keys")
    keys = [(f"k{i}", field) for i, field in enumerate(layouts[0].keys)]
    names = [f"a{i}" for i in range(len(layouts))]
    template = compile_format(text, keys, names, texts)
    line = template.single([name for name, _ in keys] + names)
    out = []
    for key in _keys(layouts, snapshots):
        values = [_cell(layout, snapshot.get(key, _nothing(layout))) for layout, snapshot in zip(layouts, snapshots)]
        out.append(line(*key, *values))
    return "".join(out)


def _cell(layout: AggLayout, value: Number) -> int | str:
    return value if isinstance(value, int) else "\n" + distribution(layout, value)


def _nothing(layout: AggLayout) -> Number:
    """The value of a key another aggregation has and this one has not."""
    return (0,) * len(bucket_values(layout)) if layout.func in DISTRIBUTIONS else 0


def _keys(layouts: Sequence[AggLayout], snapshots: Sequence[Snapshot]) -> list[Key]:
    """The keys of all snapshots, ordered by the first aggregation's values."""
    first = dict(snapshots[0])
    for snapshot in snapshots[1:]:
        for key in snapshot:
            first.setdefault(key, _nothing(layouts[0]))
    return ordered(layouts[0], first)
