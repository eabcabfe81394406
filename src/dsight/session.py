"""A tracing session: load -> attach -> consume -> end; owns every lifetime.

    session = Session(image, registry, sink)
    session.start()             maps, programs, BEGIN, attach
    while session.running:
        session.wait()          drains into the sink
    session.stop()              detach, END, drain
    session.close()

What is left in the kernel after close(): nothing.  Killed outright: nothing either,
for every object is held by a descriptor of this process and none is pinned.
"""

from __future__ import annotations

import select
import time
from errno import E2BIG, EINVAL, ENOMEM
from struct import pack

from dsight.errors import KernelError
from dsight.ir.maps import (
    ACTIVE,
    AGG_DROPS,
    DROPS,
    DYN_DROPS,
    INACTIVE,
    LINE,
    NAME_SIZE,
    SPEC_DROPS,
    SPEC_FAILED,
    STATE,
    STOPPED,
    WALL_OFFSET,
)
from dsight.kernel import links, maps, programs
from dsight.kernel.ringbuf import RingBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from dsight.bpf.spec import ProgramSpec
    from dsight.image import Image, Place, Program
    from dsight.ir.maps import MapSpec
    from dsight.lang.catalog import Probe
    from dsight.providers.registry import Registry
    from dsight.record import AggLayout

    class Sink(Protocol):
        """Who gets the records: consumer.output.Printer, or Records of dsight.trace()."""

        def records(self, view: memoryview) -> int:
            """Take the records in the view; how many bytes were taken."""

        def drops(self, count: int, cpu: int | None = None, what: str = "drop") -> None:
            """So many records were lost."""


SETTLE = 100  # ms; how long a record that is still being written is waited for, at the end
LINGER = 0.005  # s; how long the reader sleeps before it drains: the kernel wakes it once a batch (design.md section 8)
ROUNDS = 4  # drains before a look at anything else: a flood may come faster than it can be read
STATUS = 1.0  # s between looks at drops and clock (option statusrate)
LARGEST_RING = 1 << 30  # bytes
MISSED = "drop (probes fired inside others on the same CPU)"

# Counters and what a lost thing of each is called.
_LOST = ((DROPS, "drop"), (AGG_DROPS, "aggregation drop"), (DYN_DROPS, "dynamic variable drop"))
# Those of which it does not matter on which CPU.
_LOST_ANYWHERE = (
    (SPEC_DROPS, "speculative drop"),
    (SPEC_FAILED, "failed speculation (no speculative buffer available)"),
)


class Session:
    """One script, loaded.  Not for more than one thread."""

    def __init__(
        self,
        image: Image,
        registry: Registry,
        sink: Sink,
        *,
        status: float = STATUS,
        resized: Callable[[int], None] | None = None,
    ) -> None:
        """`status`: s between looks at drops and clock.  `resized`: where the ring buffer cannot have its
        size, it is halved until it can, and `resized` told what it is; None: that is an error."""
        self._image = image
        self._status = status
        self._resized = resized
        self.running = False
        self.taken = 0  # bytes of records
        self._registry = registry
        self._sink = sink
        self._records = sink.records
        if any(layout.spec >= 0 or layout.ends for layout in image.layouts):
            from dsight.consumer.speculate import Speculations

            self._records = Speculations(image.layouts, lambda view: sink.records(view)).records
        self._maps: dict[str, maps.Map] = {}
        self._programs: list[tuple[Program, programs.Program]] = []
        self._parts: list[programs.Program] = []
        self._links: list[links.Link] = []
        self._ring: RingBuffer | None = None
        self._globals: memoryview | None = None
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        fields = [f for layout in image.layouts for f in layout.fields] + [f for a in image.aggs for f in a.keys]
        self.reads_users = any(f.kind in ("ustack", "usym") for f in fields)  # who left them may be about to exit
        self._seen_lost: dict[tuple[int | None, int], int] = {}
        self._next_status = 0.0
        self._ended = False

    # -- life

    def start(self) -> None:
        """Load, run BEGIN, attach.  Raises KernelError; then everything is closed."""
        try:
            self._load()
            self._run("BEGIN")
            if self._state() != STOPPED:
                for program, loaded in self._programs:
                    self._attach(program, loaded)
                self._set_state(ACTIVE)
        except BaseException:
            self.close()
            raise
        self.running = True

    def stop(self) -> None:
        """Stop all probes, take what is in the ring, run END, take what it left; report drops.
        Twice is once."""
        if self._ended or self._globals is None:
            return
        self._ended = True
        self.running = False
        self._set_state(STOPPED)
        self.drain()
        self._run("END")
        self.drain()
        self._detach()
        for _ in range(SETTLE):  # what was still being written, in a program that an interrupt holds up
            self.drain()
            if self._ring is None or not self._ring.pending():
                break
            time.sleep(0.001)
        self._report_lost()
        missed = sum([loaded.info().recursion_misses for _, loaded in self._programs])
        if missed:
            self._sink.drops(missed, None, MISSED)

    def close(self) -> None:
        """Give everything back to the kernel; twice is once."""
        self.running = False
        self._detach()
        for _, loaded in self._programs:
            loaded.close()
        self._programs.clear()
        for part in self._parts:
            part.close()
        self._parts.clear()
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._globals is not None:
            self._globals.release()
            self._globals = None
        for made in self._maps.values():
            made.close()
        self._maps.clear()
        self._epoll.close()

    # -- running

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call `ready` from wait() when a descriptor can be read."""
        self._watched[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    def wait(self, timeout: float = STATUS) -> None:
        """Wait for records, or a watched descriptor, at most `timeout` seconds; drain."""
        assert self._ring is not None
        for fd, _ in self._epoll.poll(0 if self._ring.pending() else timeout):
            ready = self._watched.get(fd)
            if ready is not None:
                ready()
        if self._ring.pending() and self._state() != STOPPED and not self.reads_users:
            time.sleep(LINGER)
        self.drain(ROUNDS)
        now = time.monotonic()
        if now >= self._next_status:
            self._next_status = now + self._status
            self._set_clock()
            self._report_lost()
        if self._state() == STOPPED:
            self.running = False

    def drain(self, rounds: int = 0) -> None:
        """Hand the sink what is in the ring; `rounds`: at most so many times what is there, 0: all."""
        assert self._ring is not None
        while self._ring.pending():
            rounds -= 1
            taken = self._records(self._ring.view())
            if not taken:
                break  # the next record is still being written
            self._ring.consume(taken)
            self.taken += taken
            if not rounds:
                break

    def pending(self) -> int:
        """How many bytes of records wait to be taken."""
        return 0 if self._ring is None else self._ring.pending()

    def request_stop(self) -> None:
        """End the trace as exit() does; from a signal handler's follow-up or a watched descriptor."""
        self.running = False
        if self._globals is not None:
            self._set_state(STOPPED)

    def aggregation_entries(self, layout: AggLayout) -> list[tuple[bytes, list[bytes]]]:
        """Each key of an aggregation and its value on each CPU."""
        made = self._maps[layout.map]
        if layout.each:
            # Programs write meanwhile.  As u64s, for copied as bytes one may come out as neither old nor new; from the
            # end, for that there is a value (min, max) is stored behind it, and after it.
            words = made.memory().cast("Q")[::-1].tolist()
            return [(b"", layout.parts(pack(f"={len(words)}Q", *reversed(words))))]
        return [(key if layout.keys else b"", layout.parts(values)) for key, values in made.items()]

    def elements(self, variable: str) -> list[tuple[bytes, bytes]]:
        """Keys and values of a global associative array."""
        return self._maps[f"var_{variable}"].items()

    def erase(self, layout: AggLayout, keys: list[bytes]) -> None:
        """Take keys out of an aggregation; the one entry of one without keys becomes zero."""
        made = self._maps[layout.map]
        if layout.keys:
            for key in keys:
                made.delete(key)
        elif keys:
            made.update(bytes(4), bytes(made.value_bytes))

    # -- the kernel

    def _load(self) -> None:
        for m in self._image.maps:
            self._maps[m.name] = self._ring_buffer(m) if m.kind == "ringbuf" else maps.create(m)
        self._globals = self._maps["globals"].memory()
        self._set_state(INACTIVE)
        self._set_clock()
        self._ring = RingBuffer(self._maps["ring"], max([layout.size for layout in self._image.layouts], default=0))
        self._epoll.register(self._ring.fd, select.EPOLLIN)
        if self._image.looks_up_names:
            for probe in self._image.probes.values():
                parts = (probe.provider, probe.module, probe.function, probe.name)
                names = b"".join(p.encode()[: NAME_SIZE - 1].ljust(NAME_SIZE, b"\0") for p in parts)
                self._maps["probe_names"].update(probe.id.to_bytes(4, "little"), names)
        for program in self._image.programs:
            for number, spec in enumerate(program.parts, 1):
                part = self._loaded(spec)
                self._parts.append(part)
                self._maps[program.parts_map].update(number.to_bytes(4, "little"), part.fd.to_bytes(4, "little"))
            self._programs.append((program, self._loaded(program.spec)))

    def _loaded(self, spec: ProgramSpec) -> programs.Program:
        return programs.load(spec, self._maps, self._registry.btf if spec.kind == "tp_btf" else None)

    def _ring_buffer(self, spec: MapSpec) -> maps.Map:
        """The ring buffer, in its size or, where that may be, in what the kernel gives."""
        size = spec.max_entries
        while True:
            try:
                if size > LARGEST_RING:
                    raise KernelError(f"cannot have a buffer of {size} bytes", ENOMEM, "a smaller one: -b 64m")
                made = maps.create(spec.replace(max_entries=size))
                break
            except KernelError as e:
                if self._resized is None or e.errno not in (ENOMEM, E2BIG, EINVAL) or size <= 1 << 16:
                    raise
                size //= 2
        if size != spec.max_entries and self._resized is not None:
            self._resized(size)
        return made

    def _run(self, name: str) -> None:
        """Run the programs of BEGIN or END here and now."""
        for program, loaded in self._programs:
            if program.means == "run" and program.target == name:
                loaded.test_run()

    def _attach(self, program: Program, loaded: programs.Program) -> None:
        if program.means == "tracepoint":
            system, _, event = program.target.partition("/")
            number = self._registry.tracefs().id(system, event)
            if number is None:
                raise KernelError(f"this kernel has no tracepoint {program.target}")
            self._links.append(links.tracepoint(loaded, number))
        elif program.means in ("raw_tp", "tp_btf"):
            self._links.append(links.raw_tracepoint(loaded, program.target))
        elif program.means == "sample":
            cpus = links.online_cpus()
            for cpu in cpus if program.target == "each" else cpus[:1]:
                self._links.append(links.sample(loaded, program.period, cpu))
        elif program.means == "uprobe":
            self._attach_places(program, loaded, list(zip(program.probes, program.places)))
        elif program.means != "run":
            raise KernelError(f"cannot attach by {program.means}")

    def attach_also(self, places: list[tuple[Probe, Place]]) -> None:
        """Have enabled probes of means "uprobe" fire at further places too: in another copy of a library.
        Raises KernelError."""
        for program, loaded in self._programs:
            if program.means == "uprobe":
                self._attach_places(program, loaded, [(p.id, at) for p, at in places if p.id in program.probes])

    def _attach_places(self, program: Program, loaded: programs.Program, places: list[tuple[int, Place]]) -> None:
        for pid in {at.pid for _, at in places}:
            marked = [(at.path, at.offset, p if program.cookie else 0) for p, at in places if at.pid == pid]
            self._links.append(links.uprobe(loaded, marked, program.target == "return", pid))

    def _detach(self) -> None:
        links.close(self._links)
        self._links.clear()

    # -- shared memory

    def _state(self) -> int:
        assert self._globals is not None
        return int.from_bytes(self._globals[STATE : STATE + 8], "little")

    def _set_state(self, state: int) -> None:
        assert self._globals is not None
        self._globals[STATE : STATE + 8] = state.to_bytes(8, "little")

    def _set_clock(self) -> None:
        """Wall clock minus monotonic clock, for walltimestamp."""
        assert self._globals is not None
        offset = time.time_ns() - time.monotonic_ns()
        self._globals[WALL_OFFSET : WALL_OFFSET + 8] = offset.to_bytes(8, "little")

    def _report_lost(self) -> None:
        """Tell the sink what has been lost since the last time."""
        counters = self._maps["counters"].lookup(bytes(4))
        assert counters is not None
        for cpu in range(len(counters) // LINE):
            for index, what in _LOST:
                at = LINE * cpu + 8 * index
                self._lost(cpu, index, int.from_bytes(counters[at : at + 8], "little"), what)
        for index, what in _LOST_ANYWHERE:
            each = [counters[at : at + 8] for at in range(8 * index, len(counters), LINE)]
            self._lost(None, index, sum([int.from_bytes(n, "little") for n in each]), what)

    def _lost(self, cpu: int | None, index: int, count: int, what: str) -> None:
        new = count - self._seen_lost.get((cpu, index), 0)
        if new:
            self._seen_lost[cpu, index] = count
            self._sink.drops(new, cpu, what)
