"""One-liners whose output is a statistic, a time or a pid: checked against another witness."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dtrace_run import Running, dtrace, python

pytestmark = pytest.mark.kernel

ACT = Path(__file__).resolve().parents[1] / "golden" / "triggers" / "act"


def act(*words: object) -> str:
    return " ".join([str(ACT), *map(str, words)])


def histogram(text: str) -> dict[int, int]:
    """Rows of a distribution: value -> count."""
    return {int(row[1]): int(row[2]) for row in re.finditer(r"^ *(-?\d+) \|[@ ]* (\d+) *$", text, re.MULTILINE)}


def ok(*arguments: object) -> str:
    done = dtrace(*arguments)
    assert done.status == 0 and done.err == "", done.err
    return done.out


def test_system_calls_of_a_process_are_as_many_as_strace_counts():
    program = "/bin/true"
    traced = ok("-qn", "syscall:::entry /pid == $target/ { @[probefunc] = count(); }", "-c", program)
    counts = {name: int(n) for name, n in re.findall(r"^  (\w+) +(\d+)$", traced, re.MULTILINE)}
    done = subprocess.run(["strace", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    witness = {row.split()[-1]: int(row.split()[3]) for row in re.findall(r"^ +[\d.]+ .*$", done.stderr, re.MULTILINE)}
    witness.pop("total", None)
    # dtrace also sees what its child did before execve, and exit_group, which strace does not count.
    assert witness == {name: n for name, n in counts.items() if name in witness}


def test_latency_of_a_sleep_by_quantize_avg_min_and_max():
    out = ok(
        "-qn",
        """
        syscall::*nanosleep:entry /pid == $target/ { self->ts = timestamp; }
        syscall::*nanosleep:return /self->ts/
        {
                this->t = timestamp - self->ts;
                @q = quantize(this->t); @avg = avg(this->t); @min = min(this->t); @max = max(this->t);
                self->ts = 0;
        }
        END { printa("avg %@d\\n", @avg); printa("min %@d\\n", @min); printa("max %@d\\n", @max); printa(@q); }
        """,
        "-c",
        act("sleep", 20, "sleep", 40, "sleep", 20),
    )
    value = {name: int(n) for name, n in re.findall(r"^(avg|min|max) (\d+)$", out, re.MULTILINE)}
    assert 20e6 <= value["min"] <= value["avg"] <= value["max"]
    assert 40e6 <= value["max"] < 5e9
    rows = histogram(out)
    assert sum(rows.values()) == 3
    assert min(v for v, n in rows.items() if n) >= 2**24  # the row of 16.8 to 33.6 ms


def test_profile_samples_a_spinning_process_as_often_as_it_has_time():
    out = ok(
        "-qn",
        'profile-997 /pid == $target && execname == "act"/ { @[execname] = count(); @cpu = lquantize(cpu, 0, 99, 1); }',
        "-c",
        act("spin", 300),
    )
    samples = int(re.search(r"^  act +(\d+)$", out, re.MULTILINE)[1])
    assert 200 < samples < 600  # 299 in 300 ms of processor time, some more while Python starts
    rows = histogram(out)
    assert sum(rows.values()) == samples
    assert {cpu for cpu, n in rows.items() if n} <= set(os.sched_getaffinity(0))


def test_tick_fires_as_often_as_the_clock_says():
    out = ok(
        "-qn",
        "BEGIN { t = timestamp; } tick-20ms { n++; } "
        'tick-20ms /n == 15/ { printf("%d\\n", (timestamp - t) / 1000000); exit(0); }',
    )
    assert 15 * 20 - 25 <= int(out) < 3000


def test_a_second_of_calls_by_tick_with_clear_and_normalize():
    """Calls per interval: each interval shows its own, and normalize() makes a rate of it."""
    out = ok(
        "-qn",
        """
        syscall::getppid:entry /pid == $target/ { @ = count(); @total = count(); }
        tick-100ms { normalize(@, 2); printa("%@d\\n", @); clear(@); }
        END { printa("total %@d\\n", @total); printa("rest %@d\\n", @); }
        """,
        "-c",
        python("import os, time\nfor _ in range(4):\n  [os.getppid() for _ in range(1000)]\n  time.sleep(0.1)"),
    )
    intervals = [int(line) for line in out.splitlines() if line.isdigit()]
    rest = int(re.search(r"rest (\d+)", out)[1]) if "rest" in out else 0
    assert "total 4000" in out
    assert abs(sum(intervals) + rest - 2000) <= len(intervals)  # halves, rounded down


def test_top_ten_of_files_opened():
    paths = [f"/nowhere/{n}" for n in range(30)]
    words = [w for n, path in enumerate(paths) for w in ["open", path] * (n + 1)]
    out = ok(
        "-qn",
        "syscall::openat:entry /pid == $target/ { self->path = arg1; } syscall::openat:return /self->path && "
        'strstr(copyinstr(self->path), "/nowhere/") != NULL/ { @[copyinstr(self->path)] = count(); self->path = 0; } '
        "END { trunc(@, 10); }",
        "-c",
        act(*words),
    )
    assert [row.split() for row in out.split("\n") if row] == [[paths[n], str(n + 1)] for n in range(20, 30)]


def test_process_id_and_name_are_those_proc_says():
    with subprocess.Popen(["sleep", "30"]) as sleeper:
        try:
            with Running("-qn", 'BEGIN { printf("%d ready\\n", $target); }', "-p", sleeper.pid) as tracer:
                assert tracer.wait_for("ready").startswith(f"{sleeper.pid} ")
                sleeper.terminate()
                done, seconds = tracer.signal(0)
                assert done.status == 0 and seconds < 20
        finally:
            sleeper.kill()


def test_an_attached_process_is_traced_and_goes_on():
    code = "import os, time, sys\nprint('up', flush=True)\nwhile True:\n  os.getppid(); time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            script = "syscall::getppid:entry /pid == $target/ { n++; } tick-10ms /n >= 5/ "
            script += '{ printf("%d\\n", n >= 5); exit(0); }'
            assert ok("-qn", script, "-p", process.pid).strip() == "1"
            time.sleep(0.05)
            assert process.poll() is None
        finally:
            process.kill()


def test_walltimestamp_is_the_time_of_day():
    before = time.time()
    out = ok("-qn", 'BEGIN { printf("%d\\n%Y\\n", walltimestamp, walltimestamp); exit(0); }')
    number, text = out.splitlines()
    assert before - 1 <= int(number) / 1e9 <= time.time() + 1
    assert text == time.strftime("%Y %b %e %H:%M:%S", time.localtime(int(number) // 10**9))


def test_stack_counts_name_the_system_call_in_the_kernel():
    out = ok(
        "-qn",
        "profile-997 /pid == $target && arg0/ { @[stack()] = count(); @f[func(arg0)] = count(); }",
        "-c",
        act("read", 1000000, 300),
    )
    assert re.search(r"^ +vmlinux`(ksys_read|__x64_sys_read|vfs_read)\+0x[0-9a-f]+$", out, re.MULTILINE)
    assert re.search(r"^  vmlinux`\w+ +\d+$", out, re.MULTILINE)


def test_probe_forms_enable_the_same_probe():
    listing = dtrace("-ln", "syscall::getpriority:entry").out.splitlines()[1].split()
    assert listing[1:] == ["syscall", "vmlinux", "getpriority", "entry"]
    body = '/pid == $target && probename == "entry"/ { n++; } END { printf("%d\\n", n); }'
    for form in (["-n", "getpriority:entry" + body], ["-f", "syscall::getpriority" + body], ["-i", listing[0] + body]):
        assert ok("-q", *form, "-c", act("mark")).split() == ["1"], form


def test_who_kills_whom_and_how_each_ends() -> None:
    """On the whole machine, without a target: the processes are this test's own."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        script = (
            f'syscall::kill:entry /(int)arg0 == {sleeper.pid}/ {{ printf("%s kills with %d\\n", execname, arg1); }}'
            f'syscall::exit_group:entry /ppid == {os.getpid()} && execname == "sh"/ {{ printf("exit %d\\n", arg0); }}'
        )
        with Running("-qn", f'{script} BEGIN {{ printf("ready\\n"); }}') as traced:
            traced.wait_for("ready")
            subprocess.run(["sh", "-c", f"kill -TERM {sleeper.pid}; exit 5"], check=False, timeout=60)
            assert traced.wait_for("exit ").splitlines() == ["ready", "sh kills with 15", "exit 5"]
    assert sleeper.returncode == -15
