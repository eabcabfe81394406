"""The watcher and real datagrams: what is an attempt, what came of it; and what must not be reported."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from watch_run import DSIGHT, told, watched

pytestmark = pytest.mark.kernel

CASES = [
    "u-refused", "u-refused6", "u-send", "u-send6", "u-mapped", "u-peer", "u-peer-send", "u-icmp", "u-log", "u-noroute",
    "u-alone", "u-prohibit", "u-probe", "u-lookup", "u-reply", "u-shared", "u-later", "u-dns", "u-killed", "u-sendmsg",
    "u-sendmmsg", "o-netlink",
]  # fmt: skip
Lab = dict[str, list[dict]]


@pytest.fixture(scope="module")
def labs() -> tuple[Lab, Lab]:
    """All cases at once, without --udp and with it."""
    default, every = watched("datagram_lab.py", CASES, [], ["--udp"])
    return default, every


HERE = ("refused", "ECONNREFUSED", "nothing-listens-here")
NO_ROUTE = ("unreachable", "ENETUNREACH", "no-route")
# case, via, outcome, errno, diagnosis, remote end, whether that is this host
CONNECTED = [
    ("u-refused", "connect", *HERE, "127.0.0.1:7001", True),
    ("u-refused6", "connect", *HERE, "::1:7001", True),
    ("u-peer", "connect", "refused", "ECONNREFUSED", "refused-by-peer", "10.9.0.2:7001", False),
    ("u-alone", "connect", *NO_ROUTE, "198.51.100.1:9", False),
    ("u-prohibit", "connect", "denied", "EACCES", "denied-locally", "10.67.0.1:9", False),
]
SENT = [
    ("u-send", "send", *HERE, "127.0.0.1:7001", True),
    ("u-send6", "send", *HERE, "::1:7001", True),
    ("u-mapped", "send", *HERE, "127.0.0.1:7001", True),
    ("u-sendmsg", "send", *HERE, "127.0.0.1:7001", True),
    ("u-peer-send", "send", "refused", "ECONNREFUSED", "refused-by-peer", "10.9.0.2:7001", False),
    ("u-icmp", "send", "unreachable", "EHOSTUNREACH", "host-unreachable", "10.77.0.1:9", False),
    ("u-noroute", "send", *NO_ROUTE, "198.51.100.1:9", False),
    ("u-log", "send", "sent", None, "no-answer", "10.9.0.77:514", False),
    ("u-dns", "send", "aborted", None, "gave-up", "10.9.0.77:53", False),
    ("u-killed", "send", "aborted", None, "gave-up", "10.9.0.77:53", False),
    ("u-reply", "send", "connected", None, None, "127.0.0.1:7099", True),
    ("u-shared", "send", "connected", None, None, "127.0.0.1:7097", True),
]


def one(reports: list[dict]) -> dict:
    """The outcome of the only attempt."""
    attempt, *middle, end = reports
    assert (attempt["event"], end["event"]) == ("attempt", "outcome")
    assert all(r["event"] == "hanging" for r in middle)
    assert {r["id"] for r in reports} == {attempt["id"]}
    assert end["protocol"] == "udp" and end["syns"] is None and end["latency_ns"] >= 0
    return end


@pytest.mark.parametrize("want", CONNECTED, ids=[c[0] for c in CONNECTED])
def test_connected_sockets(labs: tuple[Lab, Lab], want: tuple[object, ...]) -> None:
    for lab in labs:
        assert told(one(lab[str(want[0])])) == want[1:]


@pytest.mark.parametrize("want", SENT, ids=[c[0] for c in SENT])
def test_unconnected_sockets(labs: tuple[Lab, Lab], want: tuple[object, ...]) -> None:
    default, every = labs
    assert default[str(want[0])] == []
    end = one(every[str(want[0])])
    got = told(end)
    assert got[:3] + got[4:] == want[1:4] + want[5:]
    assert got[3] == want[4] or (want[1:3] == ("send", "connected") and got[3] == "itself"), end["diagnosis"]


def test_a_server_that_goes(labs: tuple[Lab, Lab]) -> None:
    for lab in labs:
        ends = [told(r)[:3] for r in lab["u-later"] if r["event"] == "outcome"]
        assert ends == [("connect", "connected", None), ("send", "refused", "ECONNREFUSED")]
        assert sum(r["event"] == "attempt" for r in lab["u-later"]) == 2


def test_route_probes_are_no_attempts(labs: tuple[Lab, Lab]) -> None:
    default, every = labs
    for lab in labs:
        assert [r for r in lab["u-lookup"] if r["event"] != "lookup"] == []
    assert default["u-probe"] == []
    assert told(one(every["u-probe"])) == ("connect", *NO_ROUTE, "198.51.100.1:80", False)
    assert default["o-netlink"] == [] and every["o-netlink"] == []


def test_a_resolver_that_is_silent_hangs(labs: tuple[Lab, Lab]) -> None:
    hanging = [r for r in labs[1]["u-dns"] if r["event"] == "hanging"]
    assert hanging and hanging[0]["diagnosis"]["code"] == "no-answer"
    assert hanging[0]["datagrams"] == 2 and "2 datagrams sent, no reply" in hanging[0]["diagnosis"]["text"]


def test_each_destination_of_sendmmsg(labs: tuple[Lab, Lab]) -> None:
    ends = [told(r) for r in labs[1]["u-sendmmsg"] if r["event"] == "outcome"]
    assert ends == [("send", *HERE, "127.0.0.1:7001", True), ("send", *HERE, "127.0.0.1:7051", True)]


def test_details(labs: tuple[Lab, Lab]) -> None:
    for lab in labs:
        end = lab["u-refused"][-1]
        assert end["local"]["address"] == "127.0.0.1" and end["local"]["port"] > 0 and end["datagrams"] == 1
        assert end["blocking"] is False and end["family"] == "inet"  # settimeout
        assert end["process"]["comm"] == "w-u-refused" and end["process"]["args"][1].endswith("datagram_lab.py")
        assert end["process"]["netns"] != os.stat("/proc/self/ns/net").st_ino
    assert labs[1]["u-send6"][-1]["family"] == "inet6" and labs[1]["u-mapped"][-1]["family"] == "inet"
    assert labs[1]["u-noroute"][-1]["datagrams"] == 0


def test_text_tcp_only_and_expectation() -> None:
    """UDP is named in the line; --tcp leaves it out; an expectation is answered by it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        code = (f"import socket; s = socket.socket(2, 2); s.connect(('127.0.0.1', {port})); s.send(b'x');"
                "t = socket.socket(); t.connect_ex(('127.0.0.1', 1))")  # fmt: skip
        command = f'{sys.executable} -c "{code}"'
        text = [*DSIGHT[:-1], "-c", command]
        out = subprocess.run([*text, "--expect", f"127.0.0.1:{port}"], capture_output=True, timeout=30)
        assert out.returncode == 0 and f"udp 127.0.0.1:{port} (here)" in out.stdout.decode()
        out = subprocess.run([*text, "--tcp"], capture_output=True, timeout=30)
        assert b"udp" not in out.stdout and b"refused" in out.stdout
