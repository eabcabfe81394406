"""The watcher against real connections: every kind of outcome, whoever makes them, however briefly."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

from dsight.testing.labs import connection_lab

pytestmark = pytest.mark.kernel

LAB = pathlib.Path(connection_lab.__file__)
DSIGHT = [sys.executable, "-m", "dsight.ui.cli"]


def parsed(line: bytes) -> dict:
    try:
        return json.loads(line)
    except ValueError as error:
        pytest.fail(f"{error}: {line!r}")


class Watch:
    """`dsight --json ...`, armed; `end()` stops it and gives all it said."""

    def __init__(self, *options: str) -> None:
        # Not a pipe: it would fill, and the watcher wait for its reader.
        self.out = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen([*DSIGHT, "watch", "--json", *options], stdout=self.out, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        assert b"watching" in self.process.stderr.readline()

    def end(self) -> list[dict]:
        self.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        assert time.monotonic() - began < 15  # it waits for nothing but the kernel
        return self.reports()

    def reports(self) -> list[dict]:
        """All it said, once it has ended."""
        self.out.seek(0)
        return [parsed(line) for line in self.out.read().splitlines()]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.stderr.close()
        self.process.wait()
        self.out.close()


@pytest.fixture
def watch() -> Iterator[list[Watch]]:
    """Watchers appended here are gone when the test ends."""
    started: list[Watch] = []
    yield started
    for one in started:
        one.kill()


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nothing listens while the test runs: bound, so that nobody else gets it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


@pytest.fixture(scope="module")
def lab() -> dict[str, list[dict]]:
    """All cases of the lab at once: what was reported of each, by case; the pids under "pids"."""
    watcher = Watch("--comm", "w-*")
    try:
        done = subprocess.run([sys.executable, str(LAB)], stdout=subprocess.PIPE, timeout=60, check=True)
        time.sleep(0.3)
        reports = watcher.end()
    finally:
        watcher.kill()
    found: dict[str, list[dict]] = {line.split()[0].decode(): [] for line in done.stdout.splitlines()}
    pids = {int(line.split()[1]): line.split()[0].decode() for line in done.stdout.splitlines()}
    for report in reports:
        assert report["event"] != "lost", report
        found[pids[report["process"]["pid"]]].append(report)
    return found


# case, outcome, errno, diagnosis, remote end, whether that is this host
OUTCOMES = [
    ("connected", "connected", None, "itself", "127.0.0.1:7000", True),
    ("refused", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("refused-nb", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("refused6", "refused", "ECONNREFUSED", "nothing-listens-here", "::1:7001", True),
    ("family6", "refused", "ECONNREFUSED", "wrong-family", "::1:7000", True),
    ("mapped", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("any", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("own", "refused", "ECONNREFUSED", "nothing-listens-here", "10.9.0.1:7001", True),
    ("noroute", "unreachable", "ENETUNREACH", "no-route", "198.51.100.1:80", False),
    ("unreach", "unreachable", "EHOSTUNREACH", "no-route", "10.66.0.1:80", False),
    ("prohibit", "denied", "EACCES", "denied-locally", "10.67.0.1:80", False),
    ("blackhole", "invalid", "EINVAL", "no-route", "10.68.0.1:80", False),
    ("arp", "unreachable", "EHOSTUNREACH", "host-unreachable", "10.9.0.3:80", False),
    ("icmp", "unreachable", "EHOSTUNREACH", "host-unreachable", "10.77.0.1:80", False),
    ("rst", "refused", "ECONNREFUSED", "refused-by-peer", "10.9.0.2:7001", False),
    ("silent", "aborted", None, "gave-up", "10.9.0.77:9300", False),
    ("killed", "aborted", None, "gave-up", "10.9.0.77:9301", False),
    ("timeout", "timed-out", "ETIMEDOUT", "no-answer", "10.9.0.77:9302", False),
    ("full", "aborted", None, "listener-full", "127.0.0.1:7002", True),
    ("self", "connected", None, "tcp-self-connect", "127.0.0.1:7066", True),
    ("thread", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("again", "connected", None, "itself", "127.0.0.1:7000", True),
    ("fastopen", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("mptcp", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("uring", "refused", "ECONNREFUSED", "nothing-listens-here", "127.0.0.1:7001", True),
    ("efault", "invalid", "EFAULT", None, "None:None", None),
    ("filter", "aborted", None, "denied-locally", "127.0.0.1:7077", True),
    ("ebadf", "invalid", "EBADF", None, "127.0.0.1:80", True),
]


@pytest.mark.parametrize(("case", "outcome", "error", "code", "there", "own"), OUTCOMES, ids=[o[0] for o in OUTCOMES])
def test_outcome(
    lab: dict[str, list[dict]],
    case: str,
    outcome: str,
    error: str | None,
    code: str | None,
    there: str,
    own: bool | None,
) -> None:
    attempt, *middle, end = lab[case]
    assert (attempt["event"], end["event"]) == ("attempt", "outcome")
    assert all(r["event"] == "hanging" for r in middle)
    assert attempt["id"] == end["id"] and attempt["process"] == end["process"]
    assert (end["outcome"], end["error"]) == (outcome, error)
    assert (end["diagnosis"] or {"code": None})["code"] == code, end["diagnosis"]
    remote = end["remote"]
    assert (f"{remote['address']}:{remote['port']}", remote["self"]) == (there, own)
    assert end["process"]["comm"] == f"w-{case}" and end["process"]["parents"][0]["pid"] == end["process"]["ppid"]
    assert end["latency_ns"] >= 0 and attempt["time"] <= end["time"]


def test_second_bind_finds_no_port_and_isconn_is_invalid(lab: dict[str, list[dict]]) -> None:
    ends = [(r["outcome"], r["error"]) for r in lab["ports"] if r["event"] == "outcome"]
    assert ends == [("connected", None), ("no-address", "EADDRNOTAVAIL")]
    assert lab["ports"][-1]["diagnosis"]["code"] == "ports-exhausted" and lab["ports"][-1]["syns"] == 0
    ends = [(r["outcome"], r["error"]) for r in lab["isconn"] if r["event"] == "outcome"]
    assert ends == [("connected", None), ("invalid", "EISCONN")]


def test_hanging_is_told_while_it_hangs(lab: dict[str, list[dict]]) -> None:
    hanging = [r for r in lab["silent"] if r["event"] == "hanging"]
    assert [r["latency_ns"] // 1_000_000_000 for r in hanging] == [1, 2]
    assert hanging[0]["diagnosis"]["code"] == "no-answer" and hanging[0]["latency_ns"] < 1_500_000_000
    counts = [r["syns"] for r in lab["silent"] if r["event"] != "attempt"]
    assert counts == sorted(counts) and counts[-1] >= 2
    full = [r for r in lab["full"] if r["event"] == "hanging"]
    assert full[0]["diagnosis"]["code"] == "listener-full" and full[0]["remote"]["listener"]["pid"]


def test_details(lab: dict[str, list[dict]]) -> None:
    connected = lab["connected"][-1]
    assert connected["remote"]["listener"]["pid"] == connected["process"]["ppid"]
    assert connected["local"]["address"] == "127.0.0.1" and connected["local"]["port"] > 0
    assert connected["process"]["netns"] != os.stat("/proc/self/ns/net").st_ino
    assert (lab["refused"][0]["blocking"], lab["refused-nb"][0]["blocking"]) == (True, False)
    assert lab["mapped"][-1]["family"] == "inet" and lab["refused6"][-1]["family"] == "inet6"
    assert lab["fastopen"][-1]["via"] == "fastopen" and lab["fastopen"][-1]["blocking"] is None
    assert lab["uring"][-1]["via"] == "io_uring" and lab["mptcp"][-1]["protocol"] == "mptcp"
    assert lab["thread"][-1]["process"]["tid"] != lab["thread"][-1]["process"]["pid"]
    assert lab["ebadf"][-1]["protocol"] is None
    assert lab["others"] == []
    assert lab["refused"][0]["process"]["args"][1].endswith("connection_lab.py")


def test_a_thousand_short_lives(watch: list[Watch], port: int) -> None:
    """Each process connects once and is gone; each attempt has its own pid, arguments and parent."""
    watch.append(Watch("--port", str(port)))
    spawned: dict[int, int] = {}
    running: set[int] = set()
    for n in range(1000):
        line = ["bash", "-c", f": 2>/dev/null >/dev/tcp/127.0.0.1/{port}", f"short-{n}", "\u00e4 b"]
        out = [(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]
        pid = os.posix_spawn("/bin/bash", line, {}, file_actions=out)
        spawned[pid] = n
        running.add(pid)
        if len(running) == 4:
            running.remove(os.wait()[0])
    for pid in running:
        os.waitpid(pid, 0)
    time.sleep(0.3)
    reports = watch[0].end()
    assert [r for r in reports if r["event"] == "lost"] == []
    for event in ("attempt", "outcome"):
        found = [r for r in reports if r["event"] == event]
        assert len(found) == 1000
        assert {r["process"]["pid"]: r["process"]["args"][3:] for r in found} == {
            pid: [f"short-{n}", "\u00e4 b"] for pid, n in spawned.items()
        }
        assert {r["process"]["parents"][0]["pid"] for r in found} == {os.getpid()}
        assert {r["process"]["ppid"] for r in found} == {os.getpid()}
        assert len({r["id"] for r in found}) == 1000
    assert {r["outcome"] for r in reports if r["event"] == "outcome"} == {"refused"}


def test_hostile_name_and_arguments(port: int) -> None:
    """Escape sequences in a process's name and arguments reach no terminal, as text or as JSON."""
    program = (
        "import ctypes, socket; ctypes.CDLL(None).prctl(15, b'\\x1b[2J\\x07\\n\\xff\\xc2\\x9bX', 0, 0, 0);"
        f"socket.socket().connect_ex(('127.0.0.1', {port}))"
    )
    for face in ([], ["--json"], ["--color", "always"]):
        line = [*DSIGHT, *face, "-c", f"{sys.executable} -c \"{program}\" '\x1b]0;owned\x07'"]
        out = subprocess.run(line, stdout=subprocess.PIPE, timeout=30).stdout
        if "--color" in face:
            out = out.replace(b"\x1b[1m", b"").replace(b"\x1b[1;31m", b"").replace(b"\x1b[0m", b"")
        assert b"refused" in out and b"\x1b" not in out and b"\x07" not in out and b"\x9b" not in out
        if "--json" in face:
            names = {json.loads(li)["process"]["comm"] for li in out.splitlines()}
            assert names == {"\x1b[2J\x07\n\\xff\u009bX"}
            out.decode("ascii")
        else:
            assert b"\\x1b[2J\\x07\\x0a\\xff\\x9bX" in out


def test_command_and_its_descendants_only(port: int) -> None:
    """-c: also a grandchild whose parents have gone; nobody else; and the command's exit status."""
    program = f"import socket, time\nwhile not time.sleep(0.002): socket.socket().connect_ex(('127.0.0.1', {port}))"
    stranger = subprocess.Popen([sys.executable, "-c", program])
    try:
        grand = f"(sleep 0.2; exec bash -c ': >/dev/tcp/127.0.0.1/{port}' grandchild) & "
        command = f'bash -c "{grand} (: >/dev/tcp/127.0.0.1/{port}); wait; sleep 0.4; exit 7"'
        done = subprocess.run([*DSIGHT, "--json", "-c", command], capture_output=True, timeout=30)
    finally:
        stranger.kill()
        stranger.wait()
    assert done.returncode == 7 and b"bash ended with status 7" in done.stderr
    reports = [json.loads(li) for li in done.stdout.splitlines()]
    pids = {r["process"]["pid"] for r in reports}
    assert len(pids) == 2 and stranger.pid not in pids
    assert any("grandchild" in r["process"]["args"] for r in reports)


def test_pid_and_what_it_started_before(port: int) -> None:
    """-p: a child that was there before the watcher; ends when the process ends."""
    inner = f"while read x; do (: >/dev/tcp/127.0.0.1/{port}) 2>/dev/null; done"
    outer = subprocess.Popen(["bash", "-c", f"bash -c '{inner}'; exit"], stdin=subprocess.PIPE)
    watcher = subprocess.Popen(
        [*DSIGHT, "--json", "-p", str(outer.pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert b"watching" in watcher.stderr.readline()
        outer.stdin.write(b"x\n")
        outer.stdin.flush()
        time.sleep(0.3)
        outer.stdin.close()
        outer.wait(10)
        out, _ = watcher.communicate(timeout=10)
    finally:
        for one in (outer, watcher):
            if one.poll() is None:
                one.kill()
                one.communicate()
    assert watcher.returncode == 0
    reports = [json.loads(li) for li in out.splitlines()]
    assert [r["event"] for r in reports] == ["attempt", "outcome"]
    assert outer.pid in [p["pid"] for p in reports[0]["process"]["parents"]]


def test_pending_when_the_watcher_ends_and_the_filters(watch: list[Watch], port: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    there = listener.getsockname()
    kept = [socket.socket() for _ in range(3)]
    for option in (["--port", str(there[1])], ["--failed", "--port", str(there[1])], ["--to", "127.9.0.0/16"],
                   ["--user", "nobody"], ["--comm", "no-such"]):  # fmt: skip
        watch.append(Watch(*option))
    for s in kept:
        s.setblocking(False)
        s.connect_ex(there)
    with socket.socket() as s:
        s.connect_ex(("127.9.1.1", port))
    time.sleep(0.3)
    everything, failed, network, user, comm = (w.end() for w in watch)
    for s in kept:
        s.close()
    listener.close()
    ends = [r["outcome"] for r in everything if r["event"] == "outcome"]
    assert sorted(ends) == ["connected", "pending", "pending"]
    assert sum(r["event"] == "attempt" for r in everything) == 3
    assert failed == []  # pending has not failed
    assert {r["remote"]["address"] for r in network} == {"127.9.1.1"}
    assert user == [] and comm == []


def test_errors_are_one_message() -> None:
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*powerless, *DSIGHT], capture_output=True, timeout=30)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"root" in done.stderr
    for line, status in (
        (["--port", "x"], 2),
        (["--nonsense"], 2),
        (["nonsense"], 2),
        (["-c", "no-such-command-here"], 1),
        (["-p", "4194304"], 1),
    ):
        done = subprocess.run([*DSIGHT, *line], capture_output=True, timeout=30)
        assert done.returncode == status and b"Traceback" not in done.stderr and done.stderr, line


def test_a_reader_that_goes_away(port: int) -> None:
    """`dsight | head -1`: quiet, and nothing stays."""
    watcher = subprocess.Popen([*DSIGHT, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"watching" in watcher.stderr.readline()
    with socket.socket() as s:
        s.connect_ex(("127.0.0.1", port))
    assert watcher.stdout.readline().startswith(b'{"event": "attempt"')
    watcher.stdout.close()
    deadline = time.monotonic() + 10
    while watcher.poll() is None and time.monotonic() < deadline:
        with socket.socket() as s:
            s.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
    assert watcher.poll() is not None
    assert watcher.stderr.read() == b""
    watcher.stderr.close()


def expecting(*options: str, command: str) -> tuple[int, str]:
    done = subprocess.run([*DSIGHT, "watch", *options, "-c", command], capture_output=True, timeout=60)
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode()


def test_expectations() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    address = "(a.split(':')[0], int(a.split(':')[1]))"
    code = f"import socket, sys; [socket.socket().connect_ex({address}) for a in sys.argv[1:]]"
    connects = f'{sys.executable} -c "{code}" '
    with listener:
        here = f"127.0.0.1:{port}"
        status, out = expecting("--expect", here, command=connects + here)
        assert (status, "met in" in out) == (0, True)
        status, out = expecting("--expect", "127.0.0.1:1", "--expect", here, command=connects + "127.0.0.1:1 " + here)
        assert status == 3
        assert "expected 127.0.0.1:1: attempted but refused" in out
        assert "nothing listens on port 1" in out
        status, out = expecting("--expect", "127.0.0.9:9300", command=connects + here)
        assert status == 3
        assert f"expected 127.0.0.9:9300: never attempted; the processes watched tried {here} (connected)" in out
        status, out = expecting("--json", "--expect", "curl->*:1", command=connects + here)
        last = json.loads(out.splitlines()[-1])
        assert (status, last["event"], last["result"], last["tried"]) == (3, "expectation", "never", [])


def test_an_expectation_ends_the_watcher(watch: list[Watch]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        watch.append(Watch("--expect", f"127.0.0.1:{port}", "--for", "30"))
        socket.create_connection(("127.0.0.1", port)).close()
        watch[0].process.wait(20)
    assert watch[0].process.returncode == 0
    assert watch[0].reports()[-1]["result"] == "met"


def test_a_command_that_connects_nowhere() -> None:
    """Or by a UNIX socket only, as many speak to their server: silence would be taken for a broken watcher."""
    program = "import socket; socket.socket(socket.AF_UNIX).connect_ex('/nonexistent/dsight')"
    for more, said in (([], b"no connection was seen; UNIX sockets are shown with --unix\n"), (["--unix"], None)):
        line = [*DSIGHT, "--no-names", *more, "-c", f'{sys.executable} -c "{program}"']
        done = subprocess.run(line, capture_output=True, timeout=30)
        assert (said is None) == (b"/nonexistent/dsight" in done.stdout)
        assert said is None or said in done.stderr
