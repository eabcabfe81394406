"""Aggregations as text: the listing at the end, and printa() with and without a format.

Formats are those of the Guide's examples ("Aggregations", "Output Formatting"): each row
is its key, printed as trace() prints a value but strings 50 wide, then its value 16 wide; a
distribution stands below its key as a table of 40 columns of @.
"""

from __future__ import annotations

from dsight.consumer.aggregate import DISTRIBUTIONS, bucket_values, weight
from dsight.consumer.display import Display
from dsight.consumer.format import (
    ADDRESSES,
    INTEGER_WIDTHS,
    STRINGS,
    compile_format,
    hexdump,
    is_text,
    plain_texts,
    string_text,
)
from dsight.consumer.histogram import distribution, of_keys, packed
from dsight.errors import fail
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsight.consumer.aggregate import Key, Number, Snapshot
    from dsight.consumer.symbolise import Texts
    from dsight.record import AggLayout, Field


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


def default(
    layouts: Sequence[AggLayout],
    snapshots: Sequence[Snapshot],
    texts: Texts | None = None,
    display: Display | None = None,
) -> str:
    """The listing of one aggregation, or of several side by side; "" without a key."""
    if not any(snapshots):
        return ""
    display = display or Display()
    layout, keys = layouts[0], layouts[0].keys
    full = _full(layouts, snapshots)
    order = _ordered(layouts, full, display)
    if len(layouts) == 1 and keys and (display.aggpack if layout.func in DISTRIBUTIONS else display.agghist):
        rows = [(_key_words(keys, key, texts), full[0][key]) for key in order]
        if layout.func in DISTRIBUTIONS:
            return "\n" + packed(layout, rows, display.aggzoom, display.utf8)  # type: ignore[arg-type]
        return "\n" + of_keys(rows, display.aggzoom)  # type: ignore[arg-type]
    lines = ["\n"]
    for key in order:
        line = key_text(keys, key, texts)
        for layout, snapshot in zip(layouts, full):
            value = snapshot[key]
            if isinstance(value, int):
                line += f" {value:16d}"
            else:
                line += f"\n{distribution(layout, value, display.aggzoom)}"
        lines.append(line + "\n")
    return "".join(lines)


def formatted(
    text: str,
    layouts: Sequence[AggLayout],
    snapshots: Sequence[Snapshot],
    texts: Texts | None = None,
    display: Display | None = None,
) -> str:
    """printa(text, @a, @b ...): the format once for each key.

    Conversions take the key's parts in order, %@ the aggregations in order (again from the
    first where there are more).  Raises CompileError as compile_format does.
    """
    if any(len(layout.keys) != len(layouts[0].keys) for layout in layouts):
        raise fail("D_PRINTA_AGGKEY", "printa() of aggregations with different keys")
    display = display or Display()
    keys = [(f"k{i}", field) for i, field in enumerate(layouts[0].keys)]
    names = [f"a{i}" for i in range(len(layouts))]
    template = compile_format(text, keys, names, texts)
    line = template.single([name for name, _ in keys] + names)
    full = _full(layouts, snapshots)
    out = []
    for key in _ordered(layouts, full, display):
        values = [_cell(layout, snapshot[key], display.aggzoom) for layout, snapshot in zip(layouts, full)]
        out.append(line(*key, *values))
    return "".join(out)


def _cell(layout: AggLayout, value: Number, zoom: bool) -> int | str:
    return value if isinstance(value, int) else "\n" + distribution(layout, value, zoom)


def _key_words(fields: Sequence[Field], key: Key, texts: Texts | None) -> str:
    """A key on one line, without columns."""
    return " ".join(key_text(fields, key, texts).split())


def _full(layouts: Sequence[AggLayout], snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The snapshots, each with the keys of all: nothing where another has the key."""
    if len(snapshots) == 1:
        return [snapshots[0]]
    every: Snapshot = {}
    for snapshot in snapshots:
        every.update(snapshot)
    full = []
    for layout, snapshot in zip(layouts, snapshots):
        nothing: Number = (0,) * len(bucket_values(layout)) if layout.func in DISTRIBUTIONS else 0
        full.append(dict.fromkeys(every, nothing) | snapshot)
    return full


def _ordered(layouts: Sequence[AggLayout], full: Sequence[Snapshot], display: Display) -> list[Key]:
    return display.ordered(layouts, full, [_weigher(layout) for layout in layouts])


def _weigher(layout: AggLayout) -> Callable[[Number], int]:
    labels = bucket_values(layout) if layout.func in DISTRIBUTIONS else ()
    return lambda value: weight(value, labels)
