"""The watcher and real UNIX sockets: outcomes, why, and who listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from watch_run import DSIGHT, told, watched

pytestmark = pytest.mark.kernel

CASES = ["x-stream", "x-abstract", "x-packet", "x-dgram", "x-type", "x-missing", "x-nobody", "x-file", "x-dead",
         "x-relative", "x-denied", "x-full", "x-hang"]  # fmt: skip
Lab = dict[str, list[dict]]


@pytest.fixture(scope="module")
def labs() -> tuple[Lab, Lab]:
    """All cases at once, with --unix and without it."""
    there, without = watched("datagram_lab.py", CASES, ["--unix"], [])
    return there, without


REFUSED = ("refused", "ECONNREFUSED")
# case, outcome, errno, diagnosis, path (its end), whether the listener is known: the case itself.  MAYBE: it is
# looked for in /proc, at most every two seconds and while it is there.
MAYBE = "maybe"
OUTCOMES = [
    ("x-stream", "connected", None, None, "/s", True),
    ("x-abstract", "connected", None, None, "@dsight-lab", True),
    ("x-packet", "connected", None, None, "/s", True),
    ("x-dgram", "connected", None, None, "/s", MAYBE),
    ("x-relative", "connected", None, None, "./s", True),
    ("x-type", "invalid", "EPROTOTYPE", "wrong-type", "/s", MAYBE),
    ("x-missing", "invalid", "ENOENT", "nothing-listens-here", "/nonexistent/dsight-lab", False),
    ("x-nobody", *REFUSED, "nothing-listens-here", "@dsight-nobody", False),
    ("x-file", *REFUSED, "nothing-listens-here", "/dev/null", False),
    ("x-dead", *REFUSED, "nothing-listens-here", "/\x1b[2Js", False),
    ("x-denied", "denied", "EACCES", "denied-locally", "/s", None),
    ("x-full", "refused", "EAGAIN", "listener-full", "@dsight-full", MAYBE),
    ("x-hang", "aborted", "EINTR", "gave-up", "@dsight-hang", None),
]


@pytest.mark.parametrize("want", OUTCOMES, ids=[o[0] for o in OUTCOMES])
def test_outcome(labs: tuple[Lab, Lab], want: tuple[object, ...]) -> None:
    case, outcome, error, code, path, listens = want
    reports = labs[0][str(case)]
    end = reports[-1]
    attempt = next(r for r in reports if r["id"] == end["id"])
    assert (attempt["event"], end["event"]) == ("attempt", "outcome")
    assert told(end)[1:4] == (outcome, error, code), end["diagnosis"]
    remote = end["remote"]
    assert remote["path"].endswith(str(path)) and remote["self"] is True
    assert remote["address"] is None and remote["port"] is None
    assert (end["protocol"], end["family"], end["via"], end["syns"]) == ("unix", "unix", "connect", None)
    if listens is not None:
        pid = (remote["listener"] or {"pid": None})["pid"]
        own = end["process"]["pid"]
        assert pid in (own, None) if listens == MAYBE else pid == (own if listens else None)
    assert end["process"]["comm"] == f"w-{case}" and end["latency_ns"] > 0


def test_every_attempt_has_one_outcome_and_none_is_told_unasked(labs: tuple[Lab, Lab]) -> None:
    for reports in labs[0].values():
        attempts = [r["id"] for r in reports if r["event"] == "attempt"]
        assert attempts == [r["id"] for r in reports if r["event"] == "outcome"]
    assert all(reports == [] for reports in labs[1].values())


def test_hanging_on_a_full_queue(labs: tuple[Lab, Lab]) -> None:
    hanging = [r for r in labs[0]["x-hang"] if r["event"] == "hanging"]
    assert hanging and hanging[0]["diagnosis"]["code"] == "listener-full"
    assert hanging[0]["remote"]["listener"]["pid"] in (hanging[0]["process"]["pid"], None)


def test_paths_select_and_text_is_safe(tmp_path: object) -> None:
    """--to with a path takes UNIX sockets, without --unix; hostile names reach no terminal."""
    code = (
        "import socket\n"
        "for n in ('a', 'b'): socket.socket(socket.AF_UNIX).connect_ex('/nonexistent/' + n + chr(27) + '[2J')\n"
    )
    script = f"{tmp_path}/paths.py"
    with open(script, "w") as file:
        file.write(code)
    line = [*DSIGHT[:-1], "--to", "/nonexistent/a*", "-c", f"{sys.executable} {script}"]
    out = subprocess.run(line, capture_output=True, timeout=30).stdout
    assert b"/nonexistent/a\\x1b[2J" in out and b"\x1b" not in out and b"/nonexistent/b" not in out
    assert b"there is no /nonexistent/a" in out


def test_who_listened_is_gone_when_it_is_looked_up() -> None:
    """The kernel's word for the listener does not need it to be there any more."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0dsight-gone")
        server.listen()
        code = "import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + 'dsight-gone')"
        line = [*DSIGHT, "--unix", "--to", "@dsight-gone", "-c", f'{sys.executable} -c "{code}"']
        out = subprocess.run(line, capture_output=True, timeout=30).stdout
    assert f'"listener": {{"pid": {os.getpid()}, '.encode() in out
