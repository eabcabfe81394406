"""Records to output: carries out the data actions of each record, in order.

Each layout is compiled once into steps.  Where a layout's actions are only text (printf,
trace, tracemem) and none is conditional, a whole run of records becomes text in one list
comprehension over struct.iter_unpack; everything else goes record by record.
"""

from __future__ import annotations

import struct

from dsight.consumer.decode import FAULT_STRUCT, Decoder, fault, string_value, unpacker
from dsight.consumer.display import Display
from dsight.consumer.format import (
    INTEGER_WIDTHS,
    STRINGS,
    Cache,
    Template,
    compile_format,
    hexdump,
    literal,
    plain_texts,
    raw_text,
    text_of,
)
from dsight.consumer.outlet import Outlet
from dsight.errors import UsageError, fail
from dsight.record import FAULT, FAULTS, NOSCRATCH
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from dsight.consumer.aggregate import Aggregations
    from dsight.consumer.symbolise import Texts
    from dsight.lang.catalog import Probe
    from dsight.record import Action, AggLayout, Field, RecordLayout

    class Writer(Protocol):
        def write(self, data: bytes, /) -> object: ...

    Row = tuple[Any, ...]
    Step = Callable[[Row], str]


HEADER = "CPU     ID                    FUNCTION:NAME\n"
ADDRESS_FAULTS = (1, 2, 6, 7)  # their messages name the address
CODE_ACTIONS = ("stack", "ustack", "jstack", "func", "mod", "sym", "uaddr", "ufunc", "umod", "usym")
TEXT_ACTIONS = ("trace", "printf", "tracemem", "print", *CODE_ACTIONS)
COMMANDS = ("freopen", "system")  # actions with a format
FLOW_HEADER = "CPU FUNCTION                                 \n"

# What is lost, and the tag that -x droptags shows (dtrace_handle_drop(3DTRACE)).
DROP_TAGS = {
    "drop": "PRINCIPAL", "aggregation drop": "AGGREGATION", "dynamic variable drop": "DYNAMIC",
    "speculative drop": "SPEC", "failed speculation": "SPECUNAVAIL",
}  # fmt: skip


class Printer:
    """Writes what records say to `out`, and errors to `err` (binary; one write each batch).

    probes        probe id -> Probe, for the prefix and error lines
    quiet         -q: no header, no prefix, no line end of its own
    aggregations  what printa(), clear(), trunc() ... ask; None: the script has none
    on_exit       called with the status an exit() action recorded
    texts         how code is shown; None: as numbers
    display       how output looks; `quiet` alone is enough where nothing else is asked for
    setopt        carries out setopt(name, value); raises UsageError
    droptags      -x droptags: messages of drops name their kind
    """

    def __init__(
        self,
        layouts: Sequence[RecordLayout],
        probes: Mapping[int, Probe],
        out: Writer,
        err: Writer,
        *,
        quiet: bool = False,
        aggregations: Aggregations | None = None,
        on_exit: Callable[[int], None] | None = None,
        texts: Texts | None = None,
        display: Display | None = None,
        setopt: Callable[[str, str], None] | None = None,
        droptags: bool = False,
    ) -> None:
        self.display = display or Display(quiet=quiet)
        self._setopt = setopt
        self._droptags = droptags
        self._changed = False  # display is not what the plans were made for
        self._depths: dict[int, int] = {}  # of -F's indentation, by CPU
        self._last: dict[int, tuple[int, int]] = {}  # by CPU: probe and clause of the last record
        self.texts = texts
        self.decoder = Decoder(layouts, texts)
        self.layouts = self.decoder.layouts
        self.probes = probes
        self.aggregations = aggregations
        self._out = Outlet(out)
        self._err = err
        self._on_exit = on_exit
        self._plans: dict[int, _Plan] = {}
        self._names = Cache(self._probe_column)
        self._pending: list[str] = []
        self._headed = False
        self._printed: set[int] = set()  # aggregations a printa() has printed: not listed at the end

    # ---- what the session calls

    def records(self, view: memoryview) -> int:
        """Carry out the records in `view`; gives the bytes consumed, to be handed to the ring."""
        runs, consumed = self.decoder.split(view)
        for layout, start, count, stride in runs:
            if layout == FAULT:
                for row in FAULT_STRUCT.iter_unpack(view[start : start + count * stride]):
                    self._fault(row)
                continue
            if not self._headed and not self.display.quiet:
                self._headed = True
                self._pending.append(FLOW_HEADER if self.display.flowindent else HEADER)
            plan = self._plans.get(layout) or self._plan(layout)
            if plan.batch is None:
                for row in plan.struct.iter_unpack(view[start : start + count * stride]):
                    plan.each(self, row)
                    if self._changed:
                        self._changed = False
                        self._plans.clear()
                        plan = self._plan(layout)  # of the same kind: what changes the display is no text
            elif count == 1:
                self._pending += plan.batch((plan.struct.unpack_from(view, start),))
            else:
                self._pending += plan.batch(plan.struct.iter_unpack(view[start : start + count * stride]))
        self.flush()
        return consumed

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending:
            text = "".join(self._pending)
            self._pending.clear()
            if text:
                self._out.write(text.encode("utf-8", "surrogateescape"))

    def drops(self, count: int, cpu: int | None = None, what: str = "drop") -> None:
        """Report lost records: `dtrace: 3 drops on CPU 1` (cpu None: it does not matter which)."""
        where = "" if cpu is None else f" on CPU {cpu}"
        what, _, why = what.partition(" (")
        tag = f"[DTRACEDROP_{DROP_TAGS.get(what, 'PRINCIPAL')}] " if self._droptags else ""
        self.error(f"{tag}{count} {what}{'' if count == 1 else 's'}{f' ({why}' if why else ''}{where}")

    def error(self, message: str) -> None:
        """A line on the error stream, after all output that came before it."""
        self.flush()
        self._err.write(f"dtrace: {message}\n".encode("utf-8", "surrogateescape"))

    def finish(self) -> None:
        """At the end: list the aggregations that no printa() has printed."""
        if self.aggregations is not None:
            from dsight.consumer import listing

            self.aggregations.release()
            for id, layout in self.aggregations.layouts.items():
                if id not in self._printed:
                    shown = listing.default([layout], [self.aggregations.snapshot(id)], self.texts, self.display)
                    self._pending.append(shown)
        self.flush()
        self._out.close()

    # ---- layouts to plans

    def _plan(self, index: int) -> _Plan:
        plan = self._plans[index] = _Plan(self.layouts[index], self)
        return plan

    def _probe_column(self, id: int) -> str:
        """ID and FUNCTION:NAME of a probe, as the default output has them."""
        probe = self.probes.get(id)
        name = f"{probe.function}:{probe.name}" if probe else "?:?"
        return f"{id:6d} {printable(name):>32s}"

    def prefix(self, layout: RecordLayout) -> Template:
        """What each record of a layout starts with: nothing when quiet."""
        if self.display.quiet:
            return Template()
        if self.display.flowindent:
            clause = layout.clause
            return Template("%s ", ((("cpu", "probe"), lambda cpu, probe: self._flow(cpu, probe, clause)),))
        return Template("%3d %s ", (("cpu", None), ("probe", self._names)))

    def _flow(self, cpu: int, id: int, clause: int) -> str:
        """-F: CPU and the function, entered (->, system calls =>), left (<-, <=) or passed (|); two columns
        for each call it is in (dtrace(1), -F).  A further clause of one firing does not go in again."""
        probe = self.probes.get(id)
        last, self._last[cpu] = self._last.get(cpu), (id, clause)
        again = last is not None and last[0] == id and clause > last[1]
        depth = self._depths.get(cpu, 0)
        if probe is None:
            text = "| ?:?"
        elif probe.name not in ("entry", "return") or again:
            text = f"| {probe.function}:{probe.name}"
        elif probe.name == "entry":
            text = f"{'=' if probe.provider == 'syscall' else '-'}> {probe.function}"
            self._depths[cpu] = depth + 1
        else:
            depth = self._depths[cpu] = max(0, depth - 1)
            text = f"<{'=' if probe.provider == 'syscall' else '-'} {probe.function}"
        return f"{cpu:3d} {' ' * (2 * depth + 1) + printable(text):41s}"

    # ---- actions that are not text

    def _exit(self, status: int) -> str:
        if self._on_exit is not None:
            self._on_exit(status)
        return ""

    def _command(self, kind: str, text: str) -> str:
        """freopen or system, with its format carried out."""
        self.flush()
        if kind == "system":
            self._out.run(text)
        else:
            wrong = self._out.reopen(text)
            if wrong:
                self.error(f"freopen: {wrong}")
        return ""

    def _truncate(self) -> str:
        self.flush()
        self._out.truncate()
        return ""

    def _set(self, name: str, value: str = "") -> str:
        """One setopt()."""
        try:
            if self._setopt is not None:
                self._setopt(name, value)
        except UsageError as e:
            self.error(f"setopt: {e.message.replace('-x ', '')}")
        self._changed = True
        return ""

    def _aggregation(self, action: Action, argument: int | None) -> str:
        """One printa, clear, trunc, normalize or denormalize."""
        source = self.aggregations
        if source is None:
            raise fail("D_UNKNOWN", f"{action.kind}() without aggregations")
        if action.kind == "printa":
            from dsight.consumer import listing

            self._printed.update(action.aggs)
            layouts: list[AggLayout] = [source.layouts[id] for id in action.aggs]
            snapshots = [source.snapshot(id) for id in action.aggs]
            return (
                listing.formatted(action.text, layouts, snapshots, self.texts, self.display)
                if action.text
                else listing.default(layouts, snapshots, self.texts, self.display)
            )
        for id in action.aggs:
            if action.kind == "clear":
                source.clear(id)
            elif action.kind == "trunc":
                source.trunc(id, argument or 0)
            elif action.kind == "denormalize":
                source.denormalize(id)
            elif argument:
                source.normalize(id, argument)
            else:
                self.error(f"normalize(@{source.layouts[id].name}, 0): cannot divide by zero, left as it was")
        return ""

    def _packet(self, time: int, wire: int, kept: int, link: int, data: bytes) -> str:
        """One pcap(): into the file of freopen(), else as text."""
        path = self._out.path
        if not path:
            return hexdump(data[:kept])
        packet = self._out.captured.packet(path, time, wire, data[:kept], link)
        if packet is None:
            self.error(f"pcap: '{printable(path)}' has packets of another protocol: one is left out")
            return ""
        self.flush()
        self._out.write(packet)
        return ""

    def _fault(self, row: Row) -> None:
        f = fault(row)
        probe = self.probes.get(f.probe)
        what = FAULTS.get(f.fault, f"unknown fault {f.fault}")
        if f.fault in ADDRESS_FAULTS:
            what += f" ({f.address:#x})"
        elif f.fault == NOSCRATCH:
            what += " (-x scratchsize: more)"
        where = f"action #{f.action}" if f.action else "predicate"
        self.error(
            f"error on enabled probe ID {f.clause + 1} (ID {f.probe}: {printable(str(probe)) if probe else '?'}): "
            f"{what} in {where}"
        )


class _Plan:
    """How the records of one layout are carried out.

    struct   unpacks a record with its ring header
    batch    rows -> texts, where text is all there is to it; else None, and `each` does a row
    """

    __slots__ = ("struct", "batch", "_layout", "_mask", "_columns", "_printer", "_variants")

    def __init__(self, layout: RecordLayout, printer: Printer) -> None:
        self._layout = layout
        self._printer = printer
        self._variants: dict[int, list[Step]] = {}
        self.struct: struct.Struct
        self.batch: Callable[[Iterable[Row]], list[str]] | None = None
        conditional = layout.mask >= 0 and any(a.bit >= 0 for a in layout.actions)
        if not conditional and all(a.kind in TEXT_ACTIONS for a in layout.actions):
            template = self._text(layout.actions)
            self.struct, names = unpacker(layout, sorted(template.columns()))
            self.batch = template.batch(names)
        self._columns: list[str] = []
        self._mask = -1
        if self.batch is None:
            self.struct, self._columns = unpacker(layout)
            if conditional:
                self._mask = self._columns.index("mask")

    def each(self, printer: Printer, row: Row) -> None:
        """Carry out one record."""
        mask = row[self._mask] if self._mask >= 0 else 0
        steps = self._variants.get(mask)
        if steps is None:
            if len(self._variants) >= 1024:  # as many as ten independent conditions
                self._variants.clear()
            steps = self._variants[mask] = self._steps(mask)
        for step in steps:
            text = step(row)
            if text:
                printer._pending.append(text)
        if printer.aggregations is not None:
            printer.aggregations.release()

    def _steps(self, mask: int) -> list[Step]:
        """The steps of the actions that ran: neighbouring text actions become one."""
        printer = self._printer
        steps: list[Step] = []
        text = printer.prefix(self._layout)
        for action in self._layout.actions:
            if action.bit >= 0 and self._mask >= 0 and not mask >> action.bit & 1:
                continue
            if action.kind in TEXT_ACTIONS:
                text += self._action(action)
                continue
            self._flush(steps, text)
            text = Template()
            steps.append(self._call(action))
        if not printer.display.quiet:
            text += literal("\n")
        self._flush(steps, text)
        return steps

    def _flush(self, steps: list[Step], text: Template) -> None:
        if text.format:
            line = text.single(self._columns)
            steps.append(lambda row: line(*row))

    def _call(self, action: Action) -> Step:
        """The step of an action that is not text."""
        printer = self._printer
        at = self._columns.index(f"f{action.fields[0]}") if action.fields else -1
        if action.kind == "exit":
            return lambda row: printer._exit(row[at])
        if action.kind in ("printa", "clear", "trunc", "normalize", "denormalize"):
            return lambda row: printer._aggregation(action, row[at] if at >= 0 else None)
        if action.kind == "ftruncate":
            return lambda row: printer._truncate()
        if action.kind == "setopt":
            ats = [self._columns.index(f"f{i}") for i in action.fields]
            return lambda row: printer._set(*[string_value(row[at]) for at in ats])
        if action.kind == "pcap":
            ats = [self._columns.index(f"f{i}") for i in action.fields]
            return lambda row: printer._packet(*[row[at] for at in ats])
        if action.kind in COMMANDS:
            fields = [(f"f{i}", self._layout.fields[i]) for i in action.fields]
            text = compile_format(action.text, fields, (), printer.texts).single(self._columns)
            return lambda row: printer._command(action.kind, text(*row))
        raise fail("D_UNKNOWN", f"{action.kind}() is not supported yet")

    def _text(self, actions: Iterable[Action]) -> Template:
        template = self._printer.prefix(self._layout)
        for action in actions:
            template += self._action(action)
        return template if self._printer.display.quiet else template + literal("\n")

    def _action(self, action: Action) -> Template:
        """The text of one action of TEXT_ACTIONS."""
        fields = [(f"f{i}", self._layout.fields[i]) for i in action.fields]
        if action.kind == "printf":
            return compile_format(action.text, fields, (), self._printer.texts)
        name, field = fields[0]
        quiet, rawbytes = self._printer.display.quiet, self._printer.display.rawbytes
        if action.kind == "tracemem":
            if len(fields) > 1:
                return Template("%s", (((name, fields[1][0]), lambda raw, size: hexdump(raw[:size])),))
            return Template("%s", ((name, hexdump),))
        if action.kind == "print":
            return Template("%s", ((name, self._rendered(action, field)),))
        if field.is_code:
            stack = quiet or field.kind in ("kstack", "ustack")
            return Template("%s" if stack else "  %-50s", ((name, (self._printer.texts or plain_texts()).of(field)),))
        if field.kind in ("i", "u"):
            return Template("%d" if quiet else f" %{INTEGER_WIDTHS[field.size]}d", ((name, None),))
        if field.kind == "b":
            return Template("%s" if quiet else "  %-33s", ((name, hexdump if rawbytes else raw_text),))
        return Template("%s" if quiet else "  %-33s", ((name, text_of(field)),))

    def _rendered(self, action: Action, field: Field) -> Callable[[Any], str]:
        """print(): the value with its type."""
        from dsight.consumer.render import typed_value

        shape = action.shape
        assert shape is not None
        if field.kind not in ("n", "s", "inet"):
            return lambda value: typed_value(shape, value)
        how = STRINGS if field.kind == "s" else text_of(field)
        return lambda value: typed_value(shape, how[value])
