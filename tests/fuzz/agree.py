"""What is asked of a random D program (random_d)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from random_d import Program

from dsight.errors import CompileError
from dsight.kernel import maps, programs
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source
from dsight.testing.differential import compare

# Another probe for BEGIN and END, and the kind of program that makes
KINDS = {
    "syscall::getppid:entry": "tracepoint",
    "syscall:::entry": "tp_btf",
    "rawtp:::sched_switch": "raw_tp",
    "profile-97": "perf_event",
}


def agrees(program: Program, machine: Machine) -> bool:
    """Whether it was accepted."""
    try:
        left = compare(program.text, on=machine)
    except CompileError as error:
        assert error.tag.startswith("D_")
        return False
    if not program.known:
        return True
    expected = program.run()
    same("records", left.records, expected.records)
    same("faults", left.faults, expected.faults)
    # An aggregation without keys that is still 0 is shown as none
    shown = {
        name: found
        for name, found in expected.aggregations.items()
        if list(found) != [()] or left.aggregations.get(name)
    }
    same("aggregations", {name: found for name, found in left.aggregations.items() if found}, shown)
    return True


def same(what: str, left: object, expected: object) -> None:
    assert left == expected, f"{what}: {left}, expected {expected}"


def load(text: str, machine: Machine) -> dict[str, tuple[str, int]]:
    """Load a script's programs and let them go; of each its kind and how many instructions the verifier
    looked at.  Raises CompileError, KernelError."""
    compiled, _ = machine.compile([Source("script", text)], Macros.of_process((), "script", None))
    made, found = {}, {}
    try:
        for spec in compiled.maps:
            made[spec.name] = maps.create(spec)
        for program in compiled.programs:
            for spec in program.specs:
                loaded = programs.load(spec, made, machine.registry.btf)
                found[f"{spec.name} {len(found)}"] = spec.kind, loaded.info().verified_insns
                loaded.close()
    finally:
        for one in made.values():
            one.close()
    return found
