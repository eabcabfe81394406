"""The running trace: the D program of calls.script loaded, its records handed to a Joiner."""

from __future__ import annotations

from dsight.calls.fetch import Fetch, fetch
from dsight.calls.join import Joiner
from dsight.calls.narrow import FIRST, meant
from dsight.calls.narrow import spec as narrow_spec
from dsight.calls.script import Program, script
from dsight.calls.specs import Spec, class_names, guess, names, of_class, spec
from dsight.consumer.aggregate import Aggregations
from dsight.consumer.decode import Decoder
from dsight.errors import UsageError
from dsight.kernel import syscalls
from dsight.kernel.sys import machine
from dsight.lang.macros import Macros
from dsight.record import FAULT
from dsight.session import Session
from dsight.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any, Self

    from dsight.machine import Machine


def chosen(words: Iterable[str], here: Machine) -> dict[int, Spec]:
    """The calls that -e's words name, by number: names, classes (%network or network), globs; `!` in front of the
    first: all but these.  No words: all.  Raises UsageError."""
    from fnmatch import fnmatchcase

    numbers = syscalls.numbers()
    narrow = syscalls.numbers("i386") if machine() == "x86_64" else {}
    every = {*numbers, *narrow}
    words = list(words)
    but = bool(words) and words[0].startswith("!")
    taken: set[str] = set()
    for word in words:
        name = word.lstrip("!").lstrip("%")
        group = of_class(name) if word.lstrip("!").startswith("%") or name not in every else None
        found = set(group or ()) | {n for n in every if fnmatchcase(n, name)}
        if group is None and not found and name != "all":
            raise UsageError(f"-e: there is no system call '{name}'", f"a name, or: {', '.join(class_names())}")
        taken |= every if name == "all" else found & every
    if narrow:
        taken |= {name for name in narrow if meant(name) in taken}
    if but or not words:
        taken = every - taken
    known = set(names())
    made = {numbers[n]: _spec(n, n in known, here) for n in sorted(taken & set(numbers)) if numbers[n] < FIRST}
    return made | {FIRST + narrow[n]: narrow_spec(n) for n in sorted(taken & set(narrow)) if narrow[n] < FIRST}


def _spec(name: str, known: bool, here: Machine) -> Spec:
    made = spec(name) if known else None
    if made is not None:
        return made
    event = "sys_enter_" + syscalls.entry(name)
    tracefs = here.registry.tracefs()
    if tracefs.id("syscalls", event) is None:  # not on this kernel: it will not be called, or not succeed
        return guess(name, [("unsigned long", f"arg{n}") for n in range(6)])
    fields = [f for f in tracefs.format("syscalls", event) if f.offset >= 16]
    return guess(name, [(str(f.type), f.name) for f in fields])


class Feed:
    """One trace of processes and what they start; a context manager.  `joiner` has the state, `lost` counts records
    that were dropped."""

    def __init__(
        self, here: Machine, specs: dict[int, Spec], *, strings: int = 32, buffer: int = 1 << 25,
        summary: bool = False, other: bool = False,
    ) -> None:  # fmt: skip
        """`other`: calls of unknown numbers too."""
        fetches: dict[int, Fetch] = {number: fetch(one) for number, one in specs.items()}
        self._number = syscalls.numbers()["getpgid"]
        self.program: Program = script(fetches, machine(), self._number, strings, buffer, summary, other)
        self.joiner = Joiner(specs)
        self.lost = 0
        self._events: list[Any] = []
        macros = Macros.of_process((), "truss", None)
        image, self._loaded = here.image([Source("truss", self.program.text)], macros)
        records = self.program.records
        self._kinds = [records[layout.clause] if layout.clause < len(records) else "" for layout in image.layouts]
        self._decoder = Decoder(image.layouts)
        self.session = Session(image, here.registry, self)
        self.aggregations = Aggregations(image.aggs, self.session.aggregation_entries, self.session.erase)
        self._ids = {layout.name: layout.id for layout in image.aggs}

    # -- Sink

    def records(self, view: memoryview) -> int:
        runs, taken = self._decoder.split(view)
        feed, kinds, out = self.joiner.feed, self._kinds, self._events
        for run in runs:
            if run[0] == FAULT:  # memory that was not there: the call itself has a record of its own
                continue
            kind = kinds[run[0]]
            for row in self._decoder.rows(view, run):
                out += feed(kind, row[2:])
        return taken

    def drops(self, count: int, cpu: int | None = None, what: str = "drop") -> None:
        self.lost += count

    # -- use

    def __enter__(self) -> Self:
        self.session.start()
        if self._loaded is not None:
            self._loaded()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.session.stop()
        finally:
            self.session.close()

    def adopt(self, pid: int) -> None:
        """Trace a process too.  The program hears of it by a system call of ours that asks for something else."""
        import os

        try:
            os.getpgid(pid)
        except ProcessLookupError:
            pass

    def read(self, timeout: float) -> list[Any]:
        """The events there are; waits at most `timeout` seconds for the first."""
        if not self._events and self.session.running:
            self.session.wait(timeout)
        out, self._events = self._events, []
        return out

    def stop(self) -> list[Any]:
        """End the trace; the events that were left."""
        self.session.stop()
        out, self._events = self._events, []
        return [*out, *self.joiner.stop()]

    def counts(self, name: str) -> dict[int, Any]:
        """An aggregation of the summary, by the call's number."""
        self.aggregations.release()
        found = self.aggregations.values(self._ids[name])
        return {key[0]: value for key, value in found.items() if isinstance(key[0], int)}
