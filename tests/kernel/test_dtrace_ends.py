"""However it is ended, it ends: at once, with END run and aggregations printed, and nothing left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dtrace_run import DTRACE, SECONDS, Running, dtrace, python

pytestmark = pytest.mark.kernel

COUNT = """
    BEGIN { printf("begun\\n"); }
    syscall::getpgid:entry { @[execname] = count(); }
    tick-100 { seen = 1; }
    END { printf("ended\\n"); }
"""


def objects_of(pid: int) -> list[str]:
    """What BPF objects and perf events a process holds."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if re.search("bpf|perf_event", target):
            info = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
            found += re.findall(r"^((?:prog|map|link)_id:\s*\d+)", info, re.M)
    return sorted(set(found))


def alive(objects: list[str]) -> list[str]:
    """Those of the objects that the kernel still has."""
    left = []
    for kind in ("prog", "map", "link"):
        done = subprocess.run(["bpftool", "-j", kind, "list"], capture_output=True, text=True, timeout=30, check=True)
        ids = {entry["id"] for entry in json.loads(done.stdout or "[]")}
        left += [o for o in objects if o.startswith(kind) and int(o.split()[-1]) in ids]
    return left


def gone_soon(objects: list[str]) -> bool:
    """The kernel frees them after a grace period."""
    end = time.monotonic() + 10
    while alive(objects):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def tracing_mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if re.search(r" - (tracefs|bpf|debugfs) ", line)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_and_leaves_nothing(number: int) -> None:
    mounts = tracing_mounts()
    with Running("-qn", COUNT) as running:
        running.wait_for("begun")
        for _ in range(3):
            subprocess.run([sys.executable, "-c", "import os; os.getpgid(0)"], check=True, timeout=SECONDS)
        held = objects_of(running.pid)
        assert any(o.startswith("prog") for o in held) and any(o.startswith("map") for o in held)
        ran, seconds = running.signal(number)
    assert ran.status == 0 and ran.err == ""
    assert ran.out.startswith("begun\nended\n")
    assert re.search(r"^\s+python\S*\s+\d+$", ran.out, re.M), ran.out
    assert seconds < 1.5
    assert gone_soon(held)
    assert tracing_mounts() == mounts


def test_killed_outright_it_leaves_nothing() -> None:
    mounts = tracing_mounts()
    with Running("-qn", COUNT) as running:
        running.wait_for("begun")
        held = objects_of(running.pid)
        assert held
        running.process.kill()
        running.process.wait(SECONDS)
    assert gone_soon(held)
    assert tracing_mounts() == mounts


@pytest.mark.parametrize("milliseconds", [0, 20, 40, 60, 80, 110, 150, 250])
def test_ctrl_c_at_any_moment_of_starting(milliseconds: int) -> None:
    """From before Python is up to armed: no traceback, no hang, whatever was reached."""
    process = subprocess.Popen(
        [*DTRACE, "-qn", COUNT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=SECONDS)
        assert time.monotonic() - began < 5  # a tenth of a second on a machine of its own
    finally:
        process.kill()
        process.wait()
    # Before the command's own first line runs, Python's own handler is in force.
    if "<frozen runpy>" in err or "site" in err:
        return
    assert "Traceback" not in err, err
    assert process.returncode in (0, 130, -signal.SIGINT)
    if "begun" in out:
        assert "ended" in out and process.returncode == 0


def test_ctrl_c_under_load() -> None:
    """While records come faster than they are printed, to a reader that is slow too."""
    flood = subprocess.Popen(
        [sys.executable, "-c", "import os\nwhile os.getppid(): os.getpgid(0)"], stdin=subprocess.DEVNULL
    )
    try:
        with Running("-qn", "syscall::getpgid:entry { printf(\"%d\\n\", n++); } syscall::getpgid:entry { @ = count(); } END { trace(\"over\"); }") as r:  # fmt: skip # noqa: E501
            r.wait_for("1000\n")
            ran, seconds = r.signal()
    finally:
        flood.kill()
        flood.wait()
    assert ran.status == 0
    assert "over" in ran.out
    assert seconds < 2
    made = int(ran.out.split()[-1])
    shown = len(re.findall(r"^\d+$", ran.out, re.M)) - (1 if not ran.out.endswith("over") else 0)
    lost = sum(map(int, re.findall(r"dtrace: (\d+) drops?", ran.err)))
    assert 0 <= made - (shown + lost) <= 2, (made, shown, lost)


def test_ctrl_c_while_the_target_runs(tmp_path: Path) -> None:
    """The target got the terminal's SIGINT too in real life; here only dtrace does, and lets it live."""
    code = """
import os, sys, time
os.dup2(os.open('/dev/null', os.O_RDWR), 2)
os.getpgid(0)
os.write(1, b'up')
os.dup2(2, 1)
time.sleep(30)
"""
    with Running("-qn", COUNT + 'syscall::getpgid:entry /pid == $target/ { printf("pid %d.", pid); }',
                 "-c", python(code)) as running:  # fmt: skip
        running.wait_for("up")
        target = int(re.search(r"pid (\d+)", running.wait_for(".")).group(1))  # type: ignore[union-attr]
        try:
            ran, seconds = running.signal()
            assert Path(f"/proc/{target}").exists()
        finally:
            os.kill(target, signal.SIGKILL)
    assert ran.status == 0 and seconds < 1.5
    assert "ended" in ran.out and re.search(r"^\s+python\S*\s+1$", ran.out, re.M), ran.out


def test_two_interrupts_end_it_hard_if_need_be() -> None:
    with Running("-qn", COUNT) as running:
        running.wait_for("begun")
        running.process.send_signal(signal.SIGINT)
        ran, seconds = running.signal()
    assert seconds < 1.5
    assert ran.status in (0, -signal.SIGINT)
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("how", ["BEGIN { trace(1); } tick-200 { trace(2); }", 'tick-1000 { printf("line\\n"); }'])
def test_a_reader_that_goes_away(how: str) -> None:
    """dtrace ... | head -1: quietly over."""
    process = subprocess.Popen(
        f"exec {' '.join(DTRACE)} -qn '{how}' | head -c 4", shell=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert len(out) == 4 and err == ""


def test_listing_to_a_reader_that_goes_away() -> None:
    done = subprocess.run(
        f"{' '.join(DTRACE)} -l | head -2", shell=True, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout.count("\n") == 2 and done.stderr == ""


def test_the_end_of_the_target_is_the_end() -> None:
    done = dtrace("-n", "syscall::getpgid:entry /pid == $target/ { @ = count(); } END { trace(\"END\"); }",
                  "-c", python("import os\nos.getpgid(0)"))  # fmt: skip
    assert done.status == 0
    assert re.search(r"^dtrace: pid \d+ has exited$", done.err, re.M)
    assert re.search(r":END   END", done.out) and done.out.split()[-1] == "1"


def test_the_end_of_an_existing_process_is_the_end() -> None:
    code = "import os, sys\nsys.stdin.readline()\nos.getpgid(0)"
    victim = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        with Running("-qp", victim.pid, "-n", 'BEGIN { printf("%d begun\\n", $target); }'
                     "syscall::getpgid:entry /pid == $target/ { @ = count(); } END { printf(\"END\\n\"); }") as running:  # fmt: skip # noqa: E501
            running.wait_for(f"{victim.pid} begun")
            victim.communicate(b"\n", timeout=SECONDS)
            running.wait_for("END")
            running.process.wait(SECONDS)
            assert running.process.returncode == 0
            assert running.process.stderr is not None and running.process.stderr.read() == b""
    finally:
        victim.kill()
        victim.wait()


def test_order_of_the_ends() -> None:
    """exit() in BEGIN: no probe is armed, END runs, the status is exit's; a later clause of the
    same probe still runs."""
    done = dtrace("-qn", 'BEGIN { printf("1 "); exit(7); } BEGIN { printf("2 "); } tick-1000 { printf("never "); }'
                  'END { printf("3 "); } END { printf("4"); }')  # fmt: skip
    assert (done.status, done.out, done.err) == (7, "1 2 3 4", "")


@pytest.mark.parametrize(("value", "status"), [("0", 0), ("1", 1), ("255", 255), ("256", 0), ("-1", 255)])
def test_exit_gives_the_status(value: str, status: int) -> None:
    assert dtrace("-qn", f"BEGIN {{ exit({value}); }}").status == status
