"""Tracing from Python: `dsight.trace`, and what both commands are made of.

with dsight.trace('syscall::openat:entry { trace(copyinstr(arg1)); }') as t:
    for record in t:
        print(record.probe, record.values)
"""

from __future__ import annotations

from dsight import options as opts
from dsight.compile import Compiled, check_script, compile_script, parse_script
from dsight.consumer.aggregate import Aggregations
from dsight.consumer.decode import Decoder, Fault
from dsight.kernel.btf import KernelBtf
from dsight.kernel.sys import machine
from dsight.lang import ast, check_act
from dsight.lang.catalog import Probe
from dsight.lang.library import Library
from dsight.lang.preprocess import Macros
from dsight.providers.registry import Registry
from dsight.record import FAULTS
from dsight.session import Session
from dsight.source import Source
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from dsight.consumer.symbolise import Texts
    from dsight.kernel.code import Code


class Machine:
    """This kernel's types and probes; share one between scripts."""

    def __init__(self) -> None:
        self.registry = Registry(KernelBtf.open(), machine())
        self._code: Code | None = None

    def close(self) -> None:
        """Let go of files and memory; twice is once."""
        if self._code is not None:
            self._code.close()
        self.registry.close()

    def listen(self, session: Session) -> None:
        """Have the session take note of the processes that may leave user addresses."""
        if self._code is not None and session.reads_users:
            for fd in self._code.watch():
                session.watch(fd, self._code.hear)

    def texts(self, compiled: Compiled, options: dict[str, str]) -> Texts | None:
        """How a script's stacks and symbols are shown; None: it has none."""
        fields = [f for layout in compiled.layouts for f in layout.fields] + [f for a in compiled.aggs for f in a.keys]
        formats = [a.text for layout in compiled.layouts for a in layout.actions if a.kind == "printa"]
        if not any(f.is_code for f in fields) and not any(formats):  # %a shows keys that are numbers
            return None
        from dsight.consumer.symbolise import Texts
        from dsight.kernel.code import Code

        if self._code is None:
            self._code = Code(self.registry.kernel_symbols())
        return Texts(self._code, opts.count("stackindent", options.get("stackindent", "14")))

    def compile(
        self,
        sources: Iterable[Source],
        macros: Macros,
        options: dict[str, str] | None = None,
        libraries: dict[str, str] | None = None,
    ) -> tuple[Compiled, dict[str, str]]:
        """Sources to specs, as one script; with the options in force, #pragma D option included.
        `libraries`: D library files besides the shipped ones, path to text.

        Raises CompileError, UsageError.
        """
        given = dict(options or {})
        library = Library(self.registry, libraries) if libraries else None
        items: list[object] = []
        for source in sources:
            items += parse_script(source, self.registry, macros, library).items
        script = check_script(ast.Program(tuple(items)), self.registry, given, library)  # type: ignore[arg-type]
        in_force = {name: value for name, value, _ in script.options} | given
        opts.check_pragmas(script.options)
        opts.check_setopts(script)
        check_act.permit(script.clauses, opts.is_set(in_force, "destructive"))
        return compile_script(script, self.registry, opts.lowering(in_force)), in_force


class TraceRecord(Value):
    """What one firing of one clause left.  `clause` is its position in the script, from 0;
    `values` are its recorded values in order: int, str (undecodable bytes as surrogates),
    bytes, the text of an address or a symbol, for a stack a tuple of such texts; None for those of an
    action under an `if` that did not run."""

    probe: Probe
    clause: int
    cpu: int
    values: tuple[int | str | bytes | tuple[str, ...] | None, ...]


class Trace:
    """A running script whose records are read by iterating; a context manager.

    Iteration ends with exit(), `stop()`, or after `timeout` seconds.  `lost` counts
    records (and aggregation or variable updates) that were dropped; `faults` lists what
    clauses were aborted by, as text, the newest thousand.
    """

    def __init__(
        self,
        script: str,
        *,
        args: tuple[str, ...] = (),
        target: int | None = None,
        options: dict[str, str] | None = None,
        name: str = "script",
        timeout: float | None = None,
        on: Machine | None = None,
    ) -> None:
        here = on or Machine()
        self._own = None if on else here
        macros = Macros.of_process(args, name, target)
        self.compiled, in_force = here.compile([Source(name, script)], macros, options)
        texts = here.texts(self.compiled, in_force)
        self.lost = 0
        self.faults: list[str] = []
        self.timeout = timeout
        self._decoder = Decoder(self.compiled.layouts, texts)
        self._pending: list[TraceRecord] = []
        self.session = Session(self.compiled, here.registry, self)
        here.listen(self.session)
        self._aggregations = Aggregations(
            self.compiled.aggs, self.session.aggregation_entries, self.session.erase, texts
        )

    # -- Sink

    def records(self, view: memoryview) -> int:
        found, taken = self._decoder.records(view)
        probes = self.compiled.probes
        for r in found:
            if isinstance(r, Fault):
                self.faults.append(f"{FAULTS.get(r.fault, r.fault)} ({r.address:#x}) in clause {r.clause}")
                del self.faults[:-1000]
            else:
                self._pending.append(TraceRecord(probes[r.probe], r.layout, r.cpu, r.values))
        return taken

    def drops(self, count: int, cpu: int | None = None, what: str = "drop") -> None:
        self.lost += count

    # -- use

    def __enter__(self) -> Self:
        self.session.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.session.stop()
        finally:
            self.session.close()
            if self._own is not None:
                self._own.close()

    def read(self, timeout: float = 0.0) -> list[TraceRecord]:
        """The records there are; waits at most `timeout` seconds for the first."""
        if not self._pending and self.session.running:
            self.session.wait(timeout)
        out, self._pending = self._pending, []
        return out

    def stop(self) -> list[TraceRecord]:
        """End the trace: no probe fires any more; the records that were left, END's included."""
        self.session.stop()
        out, self._pending = self._pending, []
        return out

    def aggregation(self, name: str = "") -> dict[tuple[int | str | bytes | tuple[str, ...], ...], object]:
        """An aggregation's keys and values now.  Raises KeyError for an unknown name."""
        ids = {layout.name: layout.id for layout in self.compiled.aggs}
        self._aggregations.release()
        return dict(self._aggregations.values(ids[name]))

    def __iter__(self) -> Iterator[TraceRecord]:
        import time

        end = None if self.timeout is None else time.monotonic() + self.timeout
        while self.session.running:
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                break
            yield from self.read(min(1.0, left))
        yield from self.stop()
