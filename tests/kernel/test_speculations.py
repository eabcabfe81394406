"""Speculative tracing on the kernel, as the Dynamic Tracing Guide describes it; signals."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
from dtrace_run import DTRACE

from dsight.testing.differential import compare

pytestmark = pytest.mark.kernel


def values(script: str, **options: str) -> list[object]:
    return [v for _, v in compare(script, options=dict(options)).records]


def test_what_is_committed_is_shown_in_order_behind_what_came_before() -> None:
    assert values(
        """BEGIN { self->s = speculation(); }
        BEGIN { speculate(self->s); trace(1); }
        BEGIN { trace(2); }
        BEGIN { speculate(self->s); trace(3); }
        BEGIN { commit(self->s); }
        BEGIN { trace(4); }"""
    ) == [(2,), (1,), (3,), (4,)]


def test_what_is_discarded_or_left_is_not() -> None:
    assert values(
        """BEGIN { a = speculation(); b = speculation(); }
        BEGIN { speculate(a); trace(1); }
        BEGIN { speculate(b); trace(2); }
        BEGIN { discard(a); }
        BEGIN { trace(3); }""",
        nspec="2",
    ) == [(3,)]


def test_nspec_bounds_speculations_and_0_is_what_one_too_many_gets() -> None:
    outcome = compare("BEGIN { a = speculation(); b = speculation(); trace(a != 0); trace(b); }")
    assert outcome.records[0][1] == (1, 0)
    found = compare(
        """BEGIN { a = speculation(); b = speculation(); c = speculation(); trace(a); trace(b); trace(c); }
        BEGIN { discard(b); }
        BEGIN { c = speculation(); trace(c); }""",
        options={"nspec": "2"},
    )
    assert [v for _, v in found.records] == [(1, 2, 0), (2,)]


def test_an_id_that_is_not_active_takes_nothing() -> None:
    assert values(
        """BEGIN { a = speculation(); x = 0; }
        BEGIN { commit(a); }
        BEGIN { speculate(a); trace(1); x = 7; }
        BEGIN { speculate(0); trace(2); }
        BEGIN { speculate(99); trace(3); }
        BEGIN { speculate(-1); trace(4); }
        BEGIN { commit(a); commit(0); commit(99); discard(-1); }
        BEGIN { trace(x); }"""
    ) == [(7,)]


def test_specsize_bounds_what_a_speculation_holds() -> None:
    found = compare(
        "BEGIN { a = speculation(); }" + "BEGIN { speculate(a); trace(1); }" * 5 + "BEGIN { commit(a); }",
        options={"specsize": "96"},
    )
    assert len(found.records) == 3  # 24 bytes and the ring's 8 each


def test_a_fault_takes_its_record_out_of_the_speculation() -> None:
    found = compare(
        """BEGIN { a = speculation(); z = 0; }
        BEGIN { speculate(a); trace(1 / z); }
        BEGIN { speculate(a); trace(2); }
        BEGIN { commit(a); }"""
    )
    assert [v for _, v in found.records] == [(2,)]
    assert len(found.faults) == 1


def run(*args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DTRACE, *args], capture_output=True, text=True, timeout=timeout)


def test_messages_and_default_output() -> None:
    done = run(
        "-x", "specsize=40", "-n",
        """BEGIN { a = speculation(); b = speculation(); c = speculation(); }
        BEGIN { speculate(a); }
        BEGIN { speculate(a); trace(1); }
        BEGIN { speculate(a); trace(2); }
        BEGIN { commit(a); exit(0); }""",
    )  # fmt: skip
    assert "dtrace: 2 failed speculations (no speculative buffer available)\n" in done.stderr
    assert "dtrace: 2 speculative drops\n" in done.stderr
    assert len(re.findall(":BEGIN", done.stdout)) == 2  # the bare speculate(a), and the clause that exits


def test_across_threads_each_system_call_that_fails_is_shown_whole() -> None:
    """The Guide's example: trace a call speculatively, commit where it failed."""
    child = (
        "import os, threading\n"
        "def work():\n"
        "    for i in range(50):\n"
        "        try: os.open('/nowhere/%d' % i, 0)\n"
        "        except OSError: pass\n"
        "        os.close(os.open('/dev/null', 0))\n"
        "ts = [threading.Thread(target=work) for _ in range(4)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]\n"
    )
    script = """
        syscall::openat:entry /pid == $target/ { self->s = speculation(); }
        syscall::openat:entry /self->s/ { speculate(self->s); printf("open %s\\n", copyinstr(arg1)); }
        syscall::openat:return /self->s && errno == 2/ { speculate(self->s); printf("failed %d\\n", errno); }
        syscall::openat:return /self->s && errno == 2/ { commit(self->s); self->s = 0; }
        syscall::openat:return /self->s/ { discard(self->s); self->s = 0; }
    """
    done = run("-q", "-x", "nspec=8", "-n", script, "-c", f'{sys.executable} -c "{child}"')
    lines = [line for line in done.stdout.splitlines() if line]
    ours = [n for n, line in enumerate(lines) if line.startswith("open /nowhere/")]
    assert len(ours) == 200, done.stderr
    assert all(lines[n + 1] == "failed 2" for n in ours)
    assert "open /dev/null" not in done.stdout
    assert "speculation" not in done.stderr


def test_raise_and_stop_signal_the_process_that_fired_the_probe() -> None:
    child = (
        "import os, signal; signal.signal(10, lambda *a: print('got', a[0], flush=True)); os.getppid(); os.getpgid(0)"
    )
    done = run(
        "-qwn", "syscall::getpgid:entry /pid == $target/ { raise(SIGUSR1); }", "-c", f'{sys.executable} -c "{child}"'
    )
    assert "got 10" in done.stdout, done.stderr
    sleeper = subprocess.Popen([sys.executable, "-c", "import os, time\nwhile True:\n os.getpgid(0); time.sleep(0.02)"])
    try:
        tracer = subprocess.Popen(
            [*DTRACE, "-qwn", f"syscall::getpgid:entry /pid == {sleeper.pid}/ {{ stop(); exit(0); }}"]
        )
        assert tracer.wait(30) == 0
        state = ""
        for _ in range(100):
            with open(f"/proc/{sleeper.pid}/stat") as f:
                state = f.read().rpartition(")")[2].split()[0]
            if state == "T":
                break
            time.sleep(0.02)
        assert state == "T"
    finally:
        sleeper.send_signal(signal.SIGKILL)
        sleeper.wait()


def test_destructive_actions_are_refused_without_w() -> None:
    done = run("-n", "BEGIN { raise(SIGUSR1); }")
    assert done.returncode == 1
    assert "destructive actions not allowed: raise()" in done.stderr
    done = run("-e", "-n", "#pragma D option destructive\nBEGIN { raise(SIGUSR1); }")
    assert done.returncode == 0, done.stderr
