"""Tracing from Python: `dsight.trace`, and what both commands are made of.

with dsight.trace('syscall::openat:entry { trace(copyinstr(arg1)); }') as t:
    for record in t:
        print(record.probe, record.values)
"""

from __future__ import annotations

from dsight.consumer.aggregate import Aggregations
from dsight.consumer.decode import Decoder, Fault
from dsight.lang.catalog import Probe
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.record import FAULTS
from dsight.source import Source
from dsight.tracing import Tracing
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any

    from dsight.compile import Compiled


class TraceRecord(Value):
    """What one firing of one clause left.  `clause` is its position in the script, from 0;
    `values` are its recorded values in order: int, str (undecodable bytes as surrogates),
    bytes, the text of an address or a symbol, for a stack a tuple of such texts; None for those of an
    action under an `if` that did not run."""

    probe: Probe
    clause: int
    cpu: int
    values: tuple[int | str | bytes | tuple[str, ...] | None, ...]


class Trace(Tracing):
    """A running script whose records are read by iterating; a context manager.

    Iteration ends with exit(), `stop()`, or after `timeout` seconds.  `lost` counts
    records (and aggregation or variable updates) that were dropped; `faults` lists what
    clauses were aborted by, as text, the newest thousand.  `script` is D text, or what
    Machine.compile made of it.  `entries`: how many elements global associative arrays may have, by name, instead
    of what dynvarsize says of all.  `plain`: records are kept as their values only, for rows() and
    batches(), which is the fastest way to read them; the others give none.
    """

    def __init__(
        self,
        script: str | Compiled,
        *,
        args: tuple[str, ...] = (),
        target: int | None = None,
        options: dict[str, str] | None = None,
        name: str = "script",
        timeout: float | None = None,
        on: Machine | None = None,
        entries: Mapping[str, int] | None = None,
        plain: bool = False,
    ) -> None:
        here = on or Machine()
        self._own = None if on else here
        loaded: Callable[[], None] | None = None
        if isinstance(script, str):
            macros = Macros.of_process(args, name, target)
            image, loaded = here.image([Source(name, script)], macros, options)
        else:
            image = script.image(options=options)
        if entries:
            sizes = {f"var_{name}": size for name, size in entries.items()}
            maps = [m.replace(max_entries=sizes[m.name]) if m.name in sizes else m for m in image.maps]
            image = image.replace(maps=tuple(maps))
        texts = here.texts(image)
        super().__init__(here, image, loaded)
        self.faults: list[str] = []
        self.timeout = timeout
        self._decoder = Decoder(image.layouts, texts)
        self._pending: list[TraceRecord] = []
        self._rows: list[tuple[Any, ...]] = []
        self._plain = plain
        here.listen(self.session)
        self._aggregations = Aggregations(image.aggs, self.session.aggregation_entries, self.session.erase, texts)

    # -- Sink

    def records(self, view: memoryview) -> int:
        if self._plain:
            rows, faults, taken = self._decoder.values(view)
            self._rows += rows
            for fault in faults:
                self._fault(fault)
            return taken
        found, taken = self._decoder.records(view)
        probes = self.image.probes
        for r in found:
            if isinstance(r, Fault):
                self._fault(r)
            else:
                self._pending.append(TraceRecord(probes[r.probe], r.layout, r.cpu, r.values))
        return taken

    def _fault(self, r: Fault) -> None:
        self.faults.append(f"{FAULTS.get(r.fault, r.fault)} ({r.address:#x}) in clause {r.clause}")
        del self.faults[:-1000]

    # -- use

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, tb)
        finally:
            if self._own is not None:
                self._own.close()

    def read(self, timeout: float = 0.0) -> list[TraceRecord]:
        """The records there are; waits at most `timeout` seconds for the first."""
        if not self._pending and self.session.running:
            self.session.wait(timeout)
        out, self._pending = self._pending, []
        return out

    def rows(self, timeout: float = 0.0) -> list[tuple[Any, ...]]:
        """With `plain`: the values of the records there are; waits at most `timeout` seconds for the first."""
        if not self._rows and self.session.running:
            self.session.wait(timeout)
        out, self._rows = self._rows, []
        return out

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """With `plain`: what has been recorded by now, a part at a time."""
        left = self.session.pending()
        while left > 0:
            before = self.session.taken
            self.session.drain(1)
            if self.session.taken == before:
                return  # still being written
            left -= self.session.taken - before
            yield self.rows()

    def rest(self) -> Iterator[list[tuple[Any, ...]]]:
        """With `plain`: end the trace, END included, and give what is left a part at a time."""
        self.session.request_stop()
        yield from self.batches()
        self.session.stop()
        yield self.rows()

    def stop(self) -> list[TraceRecord]:
        """End the trace: no probe fires any more; the records that were left, END's included."""
        self.session.stop()
        out, self._pending = self._pending, []
        return out

    def aggregation(self, name: str = "") -> dict[tuple[int | str | bytes | tuple[str, ...], ...], object]:
        """An aggregation's keys and values now.  Raises KeyError for an unknown name."""
        ids = {layout.name: layout.id for layout in self.image.aggs}
        self._aggregations.release()
        return dict(self._aggregations.values(ids[name]))

    def elements(self, name: str) -> list[tuple[bytes, bytes]]:
        """Keys and values of a global associative array, as they lie in memory."""
        return self.session.elements(name)

    def __iter__(self) -> Iterator[TraceRecord]:
        import time

        end = None if self.timeout is None else time.monotonic() + self.timeout
        while self.session.running:
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                break
            yield from self.read(min(1.0, left))
        yield from self.stop()
