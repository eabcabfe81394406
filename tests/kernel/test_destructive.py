"""Destructive actions that write to memory or take time.  (Signals: test_speculations.py.)"""

from __future__ import annotations

import subprocess
import sys

import pytest
from dtrace_run import DTRACE

from dsight.bpf import insn as bpf
from dsight.bpf.spec import ProgramSpec
from dsight.errors import KernelError
from dsight.ir.ops import HELPERS
from dsight.kernel import programs

pytestmark = pytest.mark.kernel


def may_write() -> bool:
    """Whether this kernel lets a program write to a process: tried, not guessed."""
    code = (
        bpf.alu_imm(bpf.MOV, 1, 0),
        bpf.alu(bpf.MOV, 2, 10),
        bpf.alu_imm(bpf.ADD, 2, -8),
        bpf.store_imm(8, 10, -8, 0),
        bpf.alu_imm(bpf.MOV, 3, 8),
        bpf.call(HELPERS["probe_write_user"]),
        bpf.alu_imm(bpf.MOV, 0, 0),
        bpf.exit_(),
    )
    try:
        programs.load(ProgramSpec("probe", "tracepoint", code), {}).close()
    except KernelError:
        return False
    return True


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DTRACE, *args], capture_output=True, text=True, timeout=60)


CHILD = """\
import ctypes
buffer = ctypes.create_string_buffer(b"-" * 31, 32)
ctypes.CDLL(None).rmdir(ctypes.c_void_p(ctypes.addressof(buffer)))
print(buffer.raw)
"""


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ('copyoutstr("hello", arg0)', b"hello\\0-----"),
        ('copyoutstr("hello", arg0, 3)', b"hel--------"),
        ("this->p = (char *)alloca(8); *this->p = 65; copyout(this->p, arg0, 2)", b"A\\0---------"),
        ("this->p = (char *)alloca(8); *this->p = 65; this->n = 1; copyout(this->p, arg0, this->n)", b"A----------"),
    ],
)
def test_copyout_writes_to_the_process_or_says_why_not(action: str, expected: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    done = run(
        "-qwn", f"syscall::rmdir:entry /pid == $target/ {{ {action}; }}",
        "-c", f"{sys.executable} {script}",
    )  # fmt: skip
    if may_write():
        assert done.returncode == 0, done.stderr
        assert expected.decode().replace("\\0", "\\x00") in done.stdout
    else:
        assert done.returncode == 1
        assert "does not offer the helper probe_write_user" in done.stderr
        assert "lockdown" in done.stderr


def test_chill_keeps_the_cpu_busy_for_the_time_given() -> None:
    found = compare_kernel("BEGIN { this->t = timestamp; chill(50000000); } BEGIN { trace(timestamp - this->t); }")
    assert 50_000_000 <= found < 1_000_000_000


def compare_kernel(script: str) -> int:
    from dsight.api import Trace

    with Trace(script, options={"destructive": ""}) as trace:
        (record,) = trace.stop()
    (value,) = record.values
    assert isinstance(value, int)
    return value


def test_chill_refuses_more_than_half_a_second_of_each() -> None:
    done = run("-qwn", "BEGIN { chill(400000000); trace(1); } BEGIN { chill(200000000); trace(2); } BEGIN { exit(0); }")
    assert done.stdout == "1"
    assert "illegal operation in action #1" in done.stderr
