"""What programs cost in the kernel under a load, ours or clang's: time, instructions and helper calls executed.

    of_script(...), of_object(...)  ->  a Cost for each program

The load is run twice, or more: as the programs are, for the kernel's own count of time (bpf_stats_enabled(7): helpers
included), the least of some rounds; and with counters (executed.py), for what they execute.  All is given as of one
operation of the load, which may run a program several times.  The reader looks each 10 ms at the ring buffer, and
throws away what is there.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bpf_object import Attached, Object
from dsight.api import Trace
from dsight.kernel.ringbuf import RingBuffer
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source
from executed import Executed, Loading

STATS = "/proc/sys/kernel/bpf_stats_enabled"
PAUSE = 0.01
MOVES = ("bpf_rdonly_cast", "bpf_cast_to_kern_ctx")  # kernel/bpf/verifier.c, fixup_kfunc_call
Reader = Callable[[], object]


@dataclass
class Cost:
    """Of a program; `ns`, `runs`, `executed` and `calls` an operation of the load.

    `loaded`: instructions as the verifier left them; `bytes`: of machine code."""

    name: str
    target: str
    loaded: int = 0
    bytes: int = 0
    ns: float = 0.0
    runs: float = 0.0
    executed: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    detail: Executed | None = None


@contextlib.contextmanager
def timing() -> Iterator[None]:
    """The kernel counts the time of BPF programs."""
    with open(STATS, "r+") as stats:
        before = stats.read()
        _write(stats, "1")
        try:
            yield
        finally:
            _write(stats, before)


def _write(file: Any, text: str) -> None:
    file.seek(0)  # elsewhere a write means nothing (sysctl_writes_strict)
    file.write(text)
    file.flush()


def of_script(
    here: Machine, text: str, load: list[str], times: int, rounds: int = 3, entries: dict[str, int] | None = None
) -> list[Cost]:
    """`load`: a command of so many `times` an operation."""
    made, options = here.compile([Source("script", text)], Macros.of_process((), "script", None))
    targets = {spec.name: p.target for p in made.image().programs for spec in (p.spec, *p.parts)}

    @contextlib.contextmanager
    def armed() -> Iterator[Reader]:
        with Trace(made, on=here, plain=True, options=options, entries=entries) as trace:
            yield lambda: trace.rows(PAUSE)

    return _costs(here, armed, targets, load, times, rounds)


def of_object(
    here: Machine, made: Object, names: tuple[str, ...], load: list[str], times: int, rounds: int = 3
) -> list[Cost]:
    """The programs of these `names`, () for all.  Their ring buffer, if there is one, is the map "ring"."""
    targets = {spec.name: target for spec, target in zip(made.programs, made.targets)}

    @contextlib.contextmanager
    def armed() -> Iterator[Reader]:
        with Attached(made, here.registry, names) as attached:
            ring = RingBuffer(attached.maps["ring"])
            try:
                yield lambda: (time.sleep(PAUSE), ring.consume(ring.pending()))
            finally:
                ring.close()

    return _costs(here, armed, targets, load, times, rounds)


def _costs(
    here: Machine,
    armed: Callable[[], contextlib.AbstractContextManager[Reader]],
    targets: dict[str, str],
    load: list[str],
    times: int,
    rounds: int,
) -> list[Cost]:
    with timing():
        costs = min(
            (_timed(armed, targets, load, times) for _ in range(rounds)), key=lambda all_: sum(c.ns for c in all_)
        )
    moves = frozenset(n for n in (here.registry.btf.id("func", name) for name in MOVES) if n is not None)
    with Loading(moves=moves) as loading, armed() as read:
        _run(load, read)
        profile = loading.profile()
    for cost, found in zip(costs, profile):
        cost.executed = found.instructions / times
        cost.calls = Counter({name: count / times for name, count in found.calls.items()})
        cost.detail = found
    return costs


def _timed(armed: Any, targets: dict[str, str], load: list[str], times: int) -> list[Cost]:
    with Loading(counters=False) as loading, armed() as read:
        _run(load, read)
        infos = [(p.spec.name, p.info()) for p in loading.programs]
    return [
        Cost(name, targets[name], i.xlated_len // 8, i.jited_len, i.run_time_ns / times, i.runs / times)
        for name, i in infos
    ]


def _run(load: list[str], read: Reader) -> None:
    with subprocess.Popen(load, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            read()
    if process.returncode:
        raise SystemExit(f"{load[0]} ended with {process.returncode}")
