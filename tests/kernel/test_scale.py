"""Big scripts: correct, or a counted, reported drop; time and memory grow linearly (docs/decisions/0012)."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator

import pytest
from dtrace_run import DTRACE

from dsight.api import Trace
from dsight.ir import lower
from dsight.machine import Machine
from dsight.testing.differential import compare

pytestmark = pytest.mark.kernel


@pytest.fixture
def here() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.close()


# ---- a unit in parts

ACROSS_PARTS = [
    # what clause-local variables hold is handed on
    "BEGIN { this->x = 5; } BEGIN { this->x += 2; this->y = this->x; } BEGIN { trace(this->x); trace(this->y); }",
    "this string s; BEGIN { this->s = execname; } BEGIN { trace(1); } BEGIN { trace(this->s); }"
    ' BEGIN { this->s = "later"; } BEGIN { trace(this->s); }',
    "this int never; BEGIN { trace(1); } BEGIN { this->never = this->never + 1; } BEGIN { trace(this->never); }",
    # a pointer into scratch memory still points there
    "BEGIN { this->p = (int *)alloca(8); *this->p = 77; } BEGIN { q = (char *)alloca(64); *q = 1; }"
    " BEGIN { trace(*this->p); }",
    # clauses run in order; a fault ends only its own
    "int n; BEGIN { n = 1; } BEGIN { trace(n / (n - 1)); n = 50; } BEGIN { n = n * 3; trace(n); }"
    " ERROR { e++; } BEGIN { trace(e); }",
    # those behind exit() run as well
    "BEGIN { exit(3); } BEGIN { trace(9); } END { trace(10); }",
    # aggregations, associative arrays, speculations
    "BEGIN { @[1] = count(); } BEGIN { @[1] = count(); a[2] = 3; } BEGIN { @[a[2]] = count(); }",
    "BEGIN { s = speculation(); } BEGIN { speculate(s); trace(1); } BEGIN { commit(s); } BEGIN { trace(2); }",
    "BEGIN /pid/ { this->x = 1; } BEGIN /this->x == 0/ { trace(0); } BEGIN /this->x == 1/ { trace(1); }",
]


@pytest.mark.parametrize("script", ACROSS_PARTS)
def test_a_unit_in_parts_does_what_it_does_in_one(script: str, monkeypatch: pytest.MonkeyPatch, here: Machine) -> None:
    whole = compare(script, on=here)
    monkeypatch.setattr(lower, "PART", 1)
    trace = Trace(script, on=here)
    assert any(program.parts for program in trace.image.programs)
    trace.session.close()
    assert compare(script, on=here) == whole


def clauses(count: int) -> str:
    return "".join(
        f"syscall::getpgid:entry /pid == {os.getpid()} && arg0 == {n}/ "
        f'{{ this->t = arg0 + {n}; @a{n % 7}[execname, {n}] = count(); total += this->t; printf("%d", this->t); }}\n'
        for n in range(count)
    )


def test_300_clauses_on_one_probe(here: Machine) -> None:
    libc = ctypes.CDLL(None)
    trace = Trace(clauses(300) + "END { trace(total); }", on=here)
    with trace:
        for n in range(302):  # 300 and 301: no clause
            libc.getpgid(n)
        records = trace.stop()
    assert [r.clause for r in records] == list(range(301))
    assert [r.values[0] for r in records[:-1]] == [2 * n for n in range(300)]
    assert records[-1].values == (2 * sum(range(300)),)
    assert len(trace.image.programs[0].parts) >= 1


def test_programs_grow_linearly_with_clauses(here: Machine) -> None:
    """Instructions, of all parts together: what loading and firing cost grows with.  (bench/curves.py times it.)"""

    def size(count: int) -> int:
        trace = Trace(clauses(count), on=here)
        with trace:
            pass
        return sum(len(spec.insns) for program in trace.image.programs for spec in (program.spec, *program.parts))

    assert size(480) < 8 * size(60) * 1.25


# ---- many probes


def test_every_system_call_is_one_program_a_side(here: Machine) -> None:
    trace = Trace("syscall::: { @[probefunc, probename] = count(); }", on=here)
    probes = len(trace.image.probes)
    assert probes > 600
    assert len(trace.image.programs) == 2
    with trace:
        os.getpgid(0)
        trace.stop()
        found = trace.aggregation()
    assert found[("getpgid", "entry")] >= 1
    assert found[("getpgid", "return")] >= 1


def test_every_raw_tracepoint_and_system_call(here: Machine) -> None:
    """All of this kernel that are safe: a program and an attachment for each raw tracepoint."""
    trace = Trace("rawtp:::, syscall::: { @[probeprov, probename] = count(); @ids[id] = count(); }", on=here)
    raw = [probe for probe in trace.image.probes.values() if probe.provider == "rawtp"]
    assert len(raw) > 1000 and len({probe.id for probe in raw}) == len(raw)
    assert len(trace.image.programs) == len(raw) + 2
    with trace:
        os.getpgid(0)
        time.sleep(0.02)
        trace.stop()
        found, ids = trace.aggregation(), trace.aggregation("ids")
    assert found[("rawtp", "sys_enter")] > 0 and found[("syscall", "entry")] > 0
    assert {key[0] for key in ids} <= set(trace.image.probes)


# ---- many keys


def test_an_associative_array_of_10000_elements(here: Machine) -> None:
    libc = ctypes.CDLL(None)
    mine = f"pid == {os.getpid()}"
    script = f"""
        syscall::getpgid:entry /{mine}/ {{ a[arg0, "key"] = arg0 * 3; }}
        syscall::getsid:entry /{mine}/ {{ sum += a[arg0, "key"]; }}
        syscall::getpriority:entry /{mine}/ {{ a[arg1, "key"] = 0; }}
        syscall::getsid:entry /{mine} && a[arg0, "key"] != arg0 * 3/ {{ wrong++; }}
        END {{ trace(sum); trace(wrong); }}"""
    with Trace(script, options={"dynvarsize": "8m"}, on=here) as trace:
        for n in range(10_000):
            libc.getpgid(n)
        for n in range(10_000):
            libc.getsid(n)
        for n in range(10_000):  # storage is given back ...
            libc.getpriority(0, n)
        for n in range(10_000):  # ... and taken again
            libc.getpgid(n)
        records = trace.stop()
    assert trace.lost == 0
    assert records[-1].values == (3 * sum(range(10_000)), 0)


def test_an_associative_array_that_is_full_counts_what_it_drops(here: Machine) -> None:
    libc = ctypes.CDLL(None)
    script = f"syscall::getpgid:entry /pid == {os.getpid()}/ {{ a[arg0] = 1; kept += a[arg0]; }} END {{ trace(kept); }}"
    with Trace(script, options={"dynvarsize": "16k"}, on=here) as trace:
        for n in range(1000):
            libc.getpgid(n)
        records = trace.stop()
    (kept,) = records[-1].values
    assert isinstance(kept, int)
    assert 0 < kept < 1000
    assert kept + trace.lost == 1000


def keys(here: Machine, count: int, **options: str) -> tuple[Trace, dict[object, object], int]:
    """So many getpgid(n), n an aggregation's key; what it holds, memory that reading it took (KiB)."""
    libc = ctypes.CDLL(None)
    script = f"syscall::getpgid:entry /pid == {os.getpid()}/ {{ @[arg0] = sum(arg0); }}"
    with Trace(script, options=options, on=here) as trace:
        for n in range(count):
            libc.getpgid(n)
        trace.stop()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found: dict[object, object] = dict(trace.aggregation())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    return trace, found, memory


def test_an_aggregation_of_100000_keys_is_whole(here: Machine) -> None:
    trace, found, memory = keys(here, 100_000, aggsize="64m")
    assert trace.lost == 0
    assert len(found) == 100_000
    assert all(found[(n,)] == n for n in range(0, 100_000, 997))
    assert memory < 200_000  # 40 MB


def test_an_aggregation_that_is_full_counts_what_it_drops(here: Machine) -> None:
    trace, found, _ = keys(here, 20_000, aggsize="256k")
    assert 0 < len(found) < 20_000
    assert len(found) + trace.lost == 20_000
    assert all(key[0] == value for key, value in found.items())  # type: ignore[index]


def test_a_million_updates_are_counted_or_said_to_be_lost(here: Machine) -> None:
    trace, found, memory = keys(here, 1_000_000)
    assert 10_000 < len(found) < 1_000_000
    assert len(found) + trace.lost == 1_000_000
    assert memory < 100_000


def test_drops_are_said() -> None:
    def said(*args: str) -> str:
        return subprocess.run([*DTRACE, "-q", *args], capture_output=True, text=True, timeout=60, check=True).stderr

    assert not re.search("drop", said("-n", "BEGIN { a[1] = 1; } BEGIN { @[1] = count(); exit(0); }"))
    many = "".join(f"BEGIN {{ @[{n}] = count(); }}\n" for n in range(300))
    assert re.search(
        r"dtrace: \d+ aggregation drops on CPU \d", said("-x", "aggsize=1k", "-n", many + "BEGIN { exit(0); }")
    )


def test_150_thread_local_variables(here: Machine) -> None:
    """More of them than the stack has bytes for."""
    n = 150
    script = (
        "BEGIN { " + " ".join([f"self->v{i} = {i + 1};" for i in range(n)]) + " }"
        "BEGIN { trace(" + " + ".join([f"self->v{i}" for i in range(n)]) + "); }"
        "BEGIN { " + " ".join([f"self->v{i} = 0;" for i in range(n)]) + " } BEGIN { trace(self->v7); }"
    )
    with Trace(script, on=here) as trace:
        records = [*trace.read(), *trace.stop()]
    assert [record.values for record in records] == [(n * (n + 1) // 2,), (0,)]
    assert (trace.faults, trace.lost) == ([], 0)
