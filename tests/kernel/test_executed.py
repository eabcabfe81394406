"""bench/executed.py: what it says a program has executed is what a small program must have."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_asm import EXIT, RING, addi, call, emit, jnei, ld_imm64, ldx, mov, movi, st, stx

from dsight.api import Trace
from dsight.bpf.spec import Insn, MapSpec, ProgramSpec
from dsight.kernel import maps, programs
from dsight.kernel.maps import create
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from bpf_object import read
from executed import EXECUTED, Blocks, Loading, counted

pytestmark = pytest.mark.kernel


def run(insns: tuple[Insn, ...], *contexts: int, kept: tuple[maps.Map, ...] = (), functions: tuple[int, ...] = ()):
    """What a program returned for each context of one u64, and what it executed."""
    with Loading() as loading:
        spec = ProgramSpec("t", "raw_tp", insns, functions=functions)
        program = programs.load(spec, {m.spec.name: m for m in kept})
        results = [program.test_run(struct.pack("<Q", n)) for n in contexts]
        program.close()
        (found,) = loading.profile().values()
    return results, found


def test_ways_through_a_program() -> None:
    # 2, 5: 0 1 4; another: all but the last two
    code = (ldx(0, 1, 0), jnei(0, 5, 2), movi(0, 50), EXIT, ld_imm64(2, 1 << 40), addi(0, 1), EXIT)
    results, found = run(code, 5, 6, 7)
    assert results == [50, 7, 8]
    assert (found.runs, found.instructions) == (3, 4 + 5 + 5)
    assert not found.calls


def test_a_loop_and_its_helper_calls() -> None:
    # r6 = 3; do { r7 = uid; r6 -= 1 } while (r6)
    code = (movi(6, 3), call(15), mov(7, 0), addi(6, -1), jnei(6, 0, -4), mov(0, 6), EXIT)
    results, found = run(code, 0)
    assert results == [0]
    assert found.instructions == 1 + 3 * 4 + 2
    assert dict(found.calls) == {"get_current_uid_gid": 3}


def test_registers_in_use_are_kept() -> None:
    """All ten hold something across a jump, the stack too: the sum is what it is without counters."""
    fill = tuple([movi(r, 1 << r) for r in (0, 2, 3, 4, 5, 6, 7, 8, 9)])
    add = tuple([Insn(0x0F, 0, r) for r in range(2, 10)])
    code = (
        ldx(1, 1, 0),
        *fill,
        st(10, -8, 4096),
        jnei(1, 5, 0),
        *add,
        Insn(0x0F, 0, 1),
        ldx(2, 10, -8),
        Insn(0x0F, 0, 2),
        EXIT,
    )
    results, found = run(code, 5, 6)
    assert results == [1021 + 4096 + 5, 1021 + 4096 + 6]
    assert found.instructions == 2 * len(code)


def test_a_call_of_a_function() -> None:
    # f(5) twice; f returns r1 + 1.  The loop calls it by number, ld_imm64 (src 4) would name it.
    code = (movi(1, 5), Insn(0x85, 0, 1, 0, 3), mov(1, 0), Insn(0x85, 0, 1, 0, 1), EXIT, mov(0, 1), addi(0, 1), EXIT)
    results, found = run(code, 0, functions=(0, 5))
    assert results == [7]
    assert found.instructions == 5 + 2 * 3


def test_what_a_tail_call_does_not_come_back_to_is_not_counted() -> None:
    m = maps.create(MapSpec("t", "prog_array", 4, 4, 1))
    code = (mov(6, 1), Insn(0x18, 2, ref=("map", "t")), movi(3, 0), call(12), movi(0, 1), EXIT)
    _, found = run(code, 0, kept=(m,))  # nobody there: it comes back
    assert found.instructions == 6
    with Loading() as loading:
        first = programs.load(ProgramSpec("a", "raw_tp", code), {"t": m})
        second = programs.load(ProgramSpec("b", "raw_tp", (movi(0, 2), EXIT)), {})
        m.update(bytes(4), struct.pack("<I", second.fd))
        assert first.test_run() == 2
        assert [(e.name, e.runs, e.instructions) for e in loading.profile().values()] == [("a", 1, 4), ("b", 1, 2)]
    for thing in (first, second, m):
        thing.close()


def test_what_runs_in_another_process_is_not_counted() -> None:
    with Loading(pid=1) as loading:
        program = programs.load(ProgramSpec("t", "raw_tp", (movi(0, 2), jnei(0, 2, 1), movi(0, 3), EXIT)), {})
        assert program.test_run() == 3
        loading.only(os.getpid())
        program.test_run()
        (found,) = loading.profile().values()
        assert (found.runs, found.instructions) == (1, 4)
        program.close()


def test_a_script_does_the_same_and_its_lines_are_told() -> None:
    text = """BEGIN
{
        this->n = pid & 1 ? 3 : 5;
        trace(this->n); trace(execname);
}
"""
    here = Machine()
    made, _ = here.compile([Source("s", text)], Macros.of_process((), "s", None))
    with Trace(made, on=here) as trace:
        plain = trace.read()
    with Loading() as loading, Trace(made, on=here) as trace:
        assert [r.values for r in trace.read()] == [r.values for r in plain] != []
        (found,) = loading.profile().values()
    here.close()
    assert found.calls["ringbuf_submit"] == 1 and found.instructions > 15
    assert {("s", 3), ("s", 4)} <= set(found.lines)


@pytest.mark.skipif(
    shutil.which("clang") is None or not os.path.exists("/usr/include/bpf/bpf_helpers.h"),
    reason="needs clang and libbpf-dev",
)
def test_what_clang_makes_is_loaded_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "t.bpf.c"
    source.write_text(
        """#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile int add = 3;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); }
    seen SEC(".maps");
SEC("raw_tp/sys_enter") int t(void *ctx)
{
    __u32 key = 1;
    __u64 *n = bpf_map_lookup_elem(&seen, &key);
    return n ? *n += add : 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
    )
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    command = ["clang", "-O2", "-g", "-target", "bpf", include, "-c", str(source), "-o", str(tmp_path / "t.o")]
    subprocess.run(command, check=True)
    here = Machine()
    made = read(str(tmp_path / "t.o"), here.registry.btf, {".rodata": (5).to_bytes(4, "little")})
    assert [(p.name, p.kind) for p in made.programs] == [("t", "raw_tp")] and made.targets == ("sys_enter",)
    kept = {m.name: create(m) for m in made.maps}
    assert {(m.name, m.kind, m.value_size, m.max_entries) for m in made.maps} == {
        ("seen", "array", 8, 2),
        (".rodata", "array", 4, 1),
    }
    with Loading() as loading:
        program = programs.load(made.programs[0], kept)
        assert [program.test_run(), program.test_run()] == [5, 10]
        (found,) = loading.profile().values()
    assert found.runs == 2 and found.calls == {"map_lookup_elem": 2}
    for thing in (program, *kept.values()):
        thing.close()
    here.close()


def test_what_a_reserved_record_needs_lives_on() -> None:
    ring = maps.create(RING)
    _, found = run(emit((ldx(3, 9, 0),)), 1, 2, kept=(ring,))
    assert dict(found.calls) == {"ringbuf_reserve": 2, "ringbuf_submit": 2}
    assert found.instructions == 2 * (5 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1)
    ring.close()


def test_a_program_that_cannot_be_counted_is_refused() -> None:
    full = (stx(10, -512, 1), *[movi(r, 0) for r in (0, 2, 3, 4, 5, 6, 7, 8, 9)], jnei(1, 5, 0))
    full += (*[Insn(0x0F, 0, r) for r in range(2, 10)], EXIT)
    with pytest.raises(ValueError, match="stack is full"):
        counted(ProgramSpec("t", "raw_tp", full))
    far = (jnei(1, 5, 32001), *[jnei(1, 5, 0)] * 32001, EXIT)
    with pytest.raises(ValueError, match="too long"):
        counted(ProgramSpec("t", "raw_tp", far))
    with pytest.raises(ValueError, match="instruction 0xe5"):
        Blocks((Insn(0xE5), EXIT))
    assert EXECUTED == "executed"
