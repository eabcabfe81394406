"""The scripts in examples/ do what their first comment says, on real connections.

The tracer sees the whole machine: each test looks only for lines of its own port.
"""

from __future__ import annotations

import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.kernel

REPO = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPO / "examples").glob("*.d"))
CONNECT_TO = REPO / "tests" / "golden" / "triggers" / "connect_to"
SECONDS = 20
ARGUMENTS = {"connect-target": ["-c", "true"], "first-port": ["9300"]}


def dtrace(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "dsight.ui.dtrace_cli", *map(str, arguments)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_it_compiles(path: pathlib.Path) -> None:
    command = dtrace("-e", "-s", path, *ARGUMENTS.get(path.stem, []))
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


class Running:
    """An example being run: `until` pokes and reads until a line matches; leaving ends it by SIGINT."""

    def __init__(self, name: str, *arguments: object) -> None:
        command = dtrace("-q", "-s", REPO / "examples" / f"{name}.d", *arguments)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.text = ""

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until(self, pattern: str, poke) -> re.Match[str]:
        """Calls `poke` every tenth of a second until the output has the pattern."""
        assert self.process.stdout is not None
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found = re.search(pattern, self.text, re.MULTILINE)
            if found:
                return found
            poke()
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                read = os.read(self.process.stdout.fileno(), 65536)
                self.text += read.decode()
                if not read:
                    break
        errors = self.process.communicate()[1] if self.process.poll() is not None else b""
        pytest.fail(f"no {pattern!r} in {self.text!r} {errors.decode()}")

    def end(self) -> str:
        """All that is printed, to the end, after SIGINT."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=SECONDS)
        assert (self.process.returncode, err) == (0, b"")
        return self.text + out.decode()


@pytest.fixture
def closed():
    """A port that refuses: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


@pytest.fixture
def listener():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(64)
        yield s.getsockname()[1]


def ask(port: int) -> None:
    """One TCP attempt, whatever comes of it."""
    with socket.socket() as s:
        s.connect_ex(("127.0.0.1", port))


def comm() -> str:
    return pathlib.Path("/proc/self/comm").read_text().strip()


def quiet() -> None:
    """A poke that does nothing."""


def test_first_port_names_who_asks_and_ends(closed):
    with Running("first-port", closed) as tracer:
        tracer.until(
            rf"^{re.escape(comm())}, process {os.getpid()} of {os.getppid()}, user {os.getuid()}, "
            rf"connects to 127\.0\.0\.1:{closed}$",
            lambda: ask(closed),
        )
        assert tracer.process.wait(SECONDS) == 0


@pytest.mark.parametrize("name", ["connect", "tcp-connect"])
def test_the_birth_scripts_run_as_they_stand(name, closed):
    with Running(name) as tracer:
        tracer.until(rf"^{re.escape(comm())}: 127\.0\.0\.1:{closed}$", lambda: ask(closed))
        tracer.end()


def test_connect_this(closed):
    with Running("connect-this") as tracer:
        tracer.until(rf"^{re.escape(comm())}\[{os.getpid()}\]: 127\.0\.0\.1:{closed}$", lambda: ask(closed))
        tracer.end()


def test_connect_target_sees_its_target_only():
    done = subprocess.run(
        dtrace("-qs", REPO / "examples" / "connect-target.d", "-c", f"{CONNECT_TO} 127.0.0.1 9 127.0.0.2 10"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"connect_to: connect\(\d\) = 0, errno 0, \d+ us", line), line


def test_by_destination_counts(closed):
    with Running("by-destination") as tracer:
        tracer.until("^Counting", quiet)
        for _ in range(7):
            ask(closed)
        row = re.search(rf"^{re.escape(comm())[:16]} +127\.0\.0\.1 +{closed} +(\d+)$", tracer.end(), re.MULTILINE)
        assert row and row[1] == "7"


def test_outcomes_tells_all_four(closed, listener):
    with Running("outcomes") as tracer:
        tracer.until(rf"^refused    127\.0\.0\.1:{closed}$", lambda: ask(closed))
        tracer.until(rf"^turned away 127\.0\.0\.1: nothing listens on port {closed}$", lambda: ask(closed))
        tracer.until(rf"^connected  127\.0\.0\.1:{listener}$", lambda: ask(listener))
        tracer.until(rf"^accepted   127\.0\.0\.1:\d+ on port {listener}$", lambda: ask(listener))
        tracer.end()


def test_states_shows_each_change(closed):
    with Running("states") as tracer:
        tracer.until(rf" {closed}  state-closed -> state-syn-sent$", lambda: ask(closed))
        tracer.until(rf" {closed}  state-syn-sent -> state-closed$", lambda: ask(closed))
        tracer.end()


def test_connect_latency_prints_a_distribution(closed):
    with Running("connect-latency") as tracer:
        # Printed every five seconds: what is there by then proves that it was armed.
        tracer.until(rf"^ +{re.escape(comm())} *$", lambda: ask(closed))
        assert re.search(r"value +-+ Distribution -+ count", tracer.end())


def test_syscall_count_ends_by_itself():
    done = subprocess.run(
        dtrace("-s", REPO / "examples" / "syscall-count.d"), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    counts = [int(line.split()[-1]) for line in done.stdout.splitlines() if line.strip()]
    assert counts and counts == sorted(counts) and counts[0] > 0
