"""The running trace: the D program of calls.script loaded, its records handed to a Joiner."""

from __future__ import annotations

from dsight.calls.fetch import Fetch, fetch
from dsight.calls.join import Joiner
from dsight.calls.narrow import FIRST, meant
from dsight.calls.narrow import spec as narrow_spec
from dsight.calls.script import Program, script
from dsight.calls.specs import Spec, class_names, guess, names, of_class, spec
from dsight.consumer.aggregate import Aggregations
from dsight.errors import UsageError
from dsight.kernel import syscalls
from dsight.kernel.sys import machine
from dsight.tracing import Feed as _Feed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

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


class Feed(_Feed):
    """One trace of processes and what they start.  `joiner` has the state."""

    def __init__(
        self, here: Machine, specs: dict[int, Spec], *, strings: int = 32, buffer: int = 1 << 25,
        summary: bool = False, other: bool = False,
    ) -> None:  # fmt: skip
        """`other`: calls of unknown numbers too."""
        fetches: dict[int, Fetch] = {number: fetch(one) for number, one in specs.items()}
        self._number = syscalls.numbers()["getpgid"]
        program: Program = script(fetches, machine(), self._number, strings, buffer, summary, other)
        super().__init__(here, "truss", program.text, program.records)
        self.joiner = Joiner(specs)
        self._events: list[Any] = []
        self.aggregations = Aggregations(self.image.aggs, self.session.aggregation_entries, self.session.erase)
        self._ids = {layout.name: layout.id for layout in self.image.aggs}

    def _recorded(self, kind: str, rows: Iterable[tuple[Any, ...]]) -> None:
        feed, out = self.joiner.feed, self._events
        for row in rows:
            out += feed(kind, row[2:])

    # -- use

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
