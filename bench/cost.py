"""What programs cost in the kernel under a load, ours or clang's: time, instructions and helper calls executed.

    of_script(...), of_object(...)  ->  a Cost for each program

The load is run with the programs as they are, for the kernel's own count of time (of a run, helpers included, whoever
made it run; the least of some rounds), then with counters (executed.py), for what they execute in the load's process.
All is given as of one operation of the load, which may run a program several times.  The reader looks each 10 ms at
the ring buffer, and throws away what is there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bpf_object import Attached, Object
from dsight.api import Trace
from dsight.bpf import insn as bpf
from dsight.bpf.spec import ProgramSpec
from dsight.ir.ops import HELPERS
from dsight.kernel import programs, sys
from dsight.kernel.ringbuf import RingBuffer
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source
from executed import Executed, Loading

_ENABLE_STATS = 32  # enum bpf_cmd
PAUSE = 0.01
NOBODY = (1 << 32) - 1  # no process
TIMES, PACE = 20_000, 20_000  # operations counted, and a second: no record is lost
MOVES = ("bpf_rdonly_cast", "bpf_cast_to_kern_ctx")  # kernel/bpf/verifier.c, fixup_kfunc_call
Reader = Callable[[], object]
Armed = Callable[[], contextlib.AbstractContextManager[Reader]]


@dataclass
class Cost:
    """Of a program; `ns`, `runs`, `executed` and `calls` an operation of the load.

    `calls`: of helpers, by name; not of those for which the kernel puts instructions (`inlined`).
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


def plain(r: Cost) -> dict[str, object]:
    """For JSON."""
    return {name: getattr(r, name) for name in ("name", "target", "loaded", "bytes", "ns", "runs", "executed", "calls")}


def inlined() -> set[str]:
    """The helpers, of those one may expect it of, whose call this kernel's verifier replaces by instructions."""
    found = set()
    for name in ("get_smp_processor_id", "get_current_task", "get_current_task_btf"):
        code = (bpf.call(HELPERS[name]), bpf.alu_imm(bpf.MOV, 0, 0), bpf.exit_())
        program = programs.load(ProgramSpec("t", "raw_tp", code), {})
        if program.info().xlated_len > 8 * len(code):
            found.add(name)
        program.close()
    return found


@contextlib.contextmanager
def timing() -> Iterator[None]:
    """The kernel counts the time of BPF programs while somebody holds such a descriptor (bpf(2), BPF_ENABLE_STATS)."""
    fd = sys.bpf(_ENABLE_STATS, sys.buffer(bytes(4)))  # BPF_STATS_RUN_TIME
    try:
        yield
    finally:
        os.close(fd)


def of_script(
    here: Machine,
    text: str,
    load: list[str],
    rounds: int = 3,
    given: dict[str, str] | None = None,
    entries: dict[str, int] | None = None,
) -> list[Cost]:
    """`load`: cxload with its arguments.  `given`: options; `entries`: as for api.Trace."""
    made, options = here.compile([Source("script", text)], Macros.of_process((), "script", None), given)
    targets = {spec.name: p.target for p in made.image().programs for spec in (p.spec, *p.parts)}

    @contextlib.contextmanager
    def armed() -> Iterator[Reader]:
        with Trace(made, on=here, plain=True, options=options, entries=entries) as trace:
            yield lambda: trace.rows(PAUSE)

    return _costs(here, armed, targets, load, rounds)


def of_object(here: Machine, made: Object, names: tuple[str, ...], load: list[str], rounds: int = 3) -> list[Cost]:
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

    return _costs(here, armed, targets, load, rounds)


def _costs(
    here: Machine,
    armed: Armed,
    targets: dict[str, str],
    load: list[str],
    rounds: int,
) -> list[Cost]:
    with timing():
        timed = [_timed(armed, targets, load) for _ in range(rounds)]
    costs = {name: min([found[name] for found in timed], key=lambda c: c.ns) for name in timed[0]}
    moves = frozenset(n for n in (here.registry.btf.id("func", name) for name in MOVES) if n is not None)
    with Loading(moves=moves, pid=NOBODY) as loading, armed() as read:
        _run([*load, "-n", str(TIMES), "-r", str(PACE)], read, loading.only)
        profile = loading.profile()
    no_calls = inlined()
    for name, found in profile.items():
        cost = costs[name]
        cost.runs = found.runs / TIMES
        cost.ns *= cost.runs
        cost.executed = found.instructions / TIMES
        cost.calls = Counter({h: count / TIMES for h, count in found.calls.items() if h not in no_calls})
        cost.detail = found
    return [costs[name] for name in targets if name in costs]


def _timed(armed: Armed, targets: dict[str, str], load: list[str]) -> dict[str, Cost]:
    """`ns`: of a run."""
    with Loading(counters=False) as loading, armed() as read:
        _run(load, read, lambda pid: None)
        infos = {name: p.info() for name, p in loading.programs.items()}
    return {
        name: Cost(name, targets[name], i.xlated_len // 8, i.jited_len, i.run_time_ns / max(1, i.runs))
        for name, i in infos.items()
    }


def _run(load: list[str], read: Reader, starts: Callable[[int], None]) -> None:
    """`starts` is called with the process that is about to begin."""
    with subprocess.Popen([*load, "-w"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        starts(process.pid)
        process.stdin.write(b"\n")
        process.stdin.close()
        while process.poll() is None:
            read()
    if process.returncode:
        raise SystemExit(f"{load[0]} ended with {process.returncode}")
