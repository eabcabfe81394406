"""The same script on the kernel and in the IR interpreter: both must leave the same.

    from dsight.testing.differential import compare

    outcome = compare('BEGIN { trace(7 / -2); @ = sum(3); }')
    outcome.records        ((0, (-3,)),)             clause, recorded values
    outcome.aggregations   {"": {(): 3}}

`compare` compiles a script once, runs its programs both ways and raises Disagreement, which
shows script, IR and both outcomes, where they differ.  It takes what the session runs by
itself, the clauses of BEGIN, END and ERROR: nothing has to happen on the machine.

A script should not record what two runs cannot agree on: times, addresses, rand(), the CPU.
The process is this one both times, so that pid, execname and the like agree; its memory is
unknown to the interpreter but for what `memory` says.

Needs the privileges of dtrace; `interpret` alone needs none.
"""

from __future__ import annotations

import _thread
import os
import struct

from dsight.compile import Compiled
from dsight.consumer.aggregate import Aggregations
from dsight.consumer.decode import Decoder, Fault
from dsight.consumer.speculate import Speculations
from dsight.errors import Error
from dsight.ir import interp
from dsight.ir.maps import (
    AGG_DROPS,
    DROPS,
    DYN_DROPS,
    INACTIVE,
    NAME_SIZE,
    SPEC_DROPS,
    SPEC_FAILED,
    STATE,
    STOPPED,
)
from dsight.ir.unit import parts_map
from dsight.record import FAULTS
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dsight.machine import Machine
    from dsight.record import AggLayout


_LOST = (DROPS, AGG_DROPS, DYN_DROPS, SPEC_DROPS, SPEC_FAILED)  # what the session reports


class Outcome(Value):
    """What a script left.  `records`: (clause, values) in order, values as api.TraceRecord has them;
    `faults`: as api.Trace has them; `aggregations`: name -> key -> value; `lost`: drops of all kinds."""

    records: tuple[tuple[int, tuple[int | str | bytes | tuple[str, ...] | None, ...]], ...]
    faults: tuple[str, ...]
    aggregations: dict[str, dict[tuple[int | str | bytes | tuple[str, ...], ...], object]]
    lost: int


class Disagreement(Error):
    """The kernel and the interpreter differ: a bug in dsight."""


Memory = tuple[tuple[int, bytes], ...]  # (address, contents) of this process's memory


def compare(
    script: str, *, memory: Memory = (), options: dict[str, str] | None = None, on: Machine | None = None
) -> Outcome:
    """Run a script both ways; what both left.  `on`: the machine to share between scripts.

    Raises CompileError, KernelError (VerifierError: an accepted script must load), and Disagreement.
    """
    from dsight.api import Trace
    from dsight.lang.macros import Macros
    from dsight.machine import Machine
    from dsight.source import Source

    here = on or Machine()
    compiled, in_force = here.compile([Source("script", script)], Macros.of_process(), options)
    trace = Trace(compiled, options=in_force, on=here)
    with trace:
        records = tuple([(r.clause, r.values) for r in trace.stop()])
        aggregations = {layout.name: trace.aggregation(layout.name) for layout in compiled.aggs}
        kernel = Outcome(records, tuple(trace.faults), aggregations, trace.lost)
    interpreted = interpret(compiled, this_process(memory))
    if kernel != interpreted:
        raise Disagreement(_difference(script, compiled, kernel, interpreted))
    return kernel


def this_process(memory: Memory = ()) -> interp.Machine:
    """A machine of the interpreter in which programs run by this process, as the session's BEGIN and END."""
    machine = interp.Machine()
    machine.pid_tgid = os.getpid() << 32 | _thread.get_native_id()
    machine.uid_gid = os.getgid() << 32 | os.getuid()
    with open("/proc/thread-self/comm", "rb") as f:
        machine.comm = f.read().rstrip(b"\n")
    for address, data in memory:
        machine.add_memory("user", data, at=address)
    return machine


def interpret(compiled: Compiled, machine: interp.Machine) -> Outcome:
    """Run a compiled script's BEGIN and END in the interpreter, as a session does.

    Raises IRError where the programs do what the verifier would refuse.
    """
    records, faults = _decode(compiled, b"".join(phases(compiled, machine)))
    return Outcome(records, faults, _aggregations(compiled, machine), _lost(machine))


def phases(compiled: Compiled, machine: interp.Machine) -> Iterator[bytes]:
    """The same step by step: what is in the ring buffer, behind the kernel's headers (consumer.decode), once
    BEGIN has run, and once END has."""
    for spec in compiled.maps:
        machine.add_map(
            spec.name, spec.kind, spec.key_size, spec.value_size, spec.max_entries, spec.initial, spec.readonly
        )
    if compiled.looks_up_names:
        for probe in compiled.probes.values():
            parts = (probe.provider, probe.module, probe.function, probe.name)
            names = b"".join([p.encode()[: NAME_SIZE - 1].ljust(NAME_SIZE, b"\0") for p in parts])
            machine.maps["probe_names"].update(probe.id.to_bytes(4, interp.ORDER), names, 0)
    for program in compiled.programs:
        for number, (function, _) in enumerate(program.parts, 1):
            machine.parts[parts_map(program.unit), number] = function
    state = machine.maps["globals"].only_value().data
    _set_state(state, INACTIVE)
    _run(compiled, machine, "BEGIN")
    yield _ring(machine)
    _set_state(state, STOPPED)
    _run(compiled, machine, "END")
    yield _ring(machine)


def _ring(machine: interp.Machine) -> bytes:
    return b"".join([struct.pack("=II", len(r), 0) + r + bytes(-len(r) % 8) for r in machine.rings["ring"].read()])


def _run(compiled: Compiled, machine: interp.Machine, name: str) -> None:
    for program in compiled.programs:
        if program.plan.means == "run" and program.plan.target == name:
            interp.run(program.function, machine)


def _set_state(memory: bytearray, state: int) -> None:
    memory[STATE : STATE + 8] = state.to_bytes(8, interp.ORDER)


def _decode(
    compiled: Compiled, ring: bytes
) -> tuple[tuple[tuple[int, tuple[int | str | bytes | tuple[str, ...] | None, ...]], ...], tuple[str, ...]]:
    if Speculations.wanted(compiled.layouts):
        shown: list[bytes] = []

        def show(view: memoryview) -> int:
            shown.append(bytes(view))
            return len(view)

        Speculations(compiled.layouts, show).records(memoryview(ring))
        ring = b"".join(shown)
    found, _ = Decoder(compiled.layouts).records(memoryview(ring))
    records, faults = [], []
    for r in found:
        if isinstance(r, Fault):
            faults.append(f"{FAULTS.get(r.fault, r.fault)} ({r.address:#x}) in clause {r.clause}")
        else:
            records.append((r.layout, r.values))
    return tuple(records), tuple(faults)


def entries_of(machine: interp.Machine) -> Callable[[AggLayout], list[tuple[bytes, list[bytes]]]]:
    """What Aggregations asks for an aggregation's keys and values."""

    def fetch(layout: AggLayout) -> list[tuple[bytes, list[bytes]]]:
        found = machine.maps[layout.map].items()
        return [(key if layout.keys else b"", layout.parts(values)) for key, values in found.items()]

    return fetch


def _aggregations(
    compiled: Compiled, machine: interp.Machine
) -> dict[str, dict[tuple[int | str | bytes | tuple[str, ...], ...], object]]:
    found = Aggregations(compiled.aggs, entries_of(machine), lambda layout, keys: None)
    return {layout.name: dict(found.values(layout.id)) for layout in compiled.aggs}


def _lost(machine: interp.Machine) -> int:
    counters = machine.maps["counters"].items().get(bytes(4), b"")
    return sum([struct.unpack_from("=Q", counters, 8 * n)[0] for n in _LOST if counters])


def _difference(script: str, compiled: Compiled, kernel: Outcome, interpreted: Outcome) -> str:
    from dsight.ir.text import show

    lines: list[str] = ["the kernel and the interpreter differ", "script:", script]
    for what in ("records", "faults", "aggregations", "lost"):
        ours, theirs = getattr(interpreted, what), getattr(kernel, what)
        if ours != theirs:
            lines += _unequal(what, theirs, ours)
    lines += ["IR:", *[show(f) for p in compiled.programs for f in p.functions]]
    return "\n".join(lines)


def _unequal(what: str, kernel: object, interpreted: object) -> Iterable[str]:
    if isinstance(kernel, tuple) and isinstance(interpreted, tuple) and len(kernel) == len(interpreted):
        for n, (a, b) in enumerate(zip(kernel, interpreted)):
            if a != b:
                yield from (f"{what}[{n}]:", f"  kernel      {a!r}", f"  interpreter {b!r}")
        return
    yield from (f"{what}:", f"  kernel      {kernel!r}", f"  interpreter {interpreted!r}")
