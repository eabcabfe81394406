"""What this host hinders, how connections end, who accepts, odd ways to connect; and no false alarm.

All cases of life_lab run once, under two watchers; each test looks at some of what they said.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest
from tests.kernel.test_watch import Watch

from dsight.connections.model import FAILED

pytestmark = pytest.mark.kernel

LAB = pathlib.Path(__file__).with_name("life_lab.py")
# A 32-bit program without a C library: connect(2) by its own number, and by socketcall(2).
COMPAT = """
static long call(long n, long a, long b, long c) {
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory");
    return r;
}
void _start(void) {
    static const unsigned char to[16] = {2, 0, 8009 >> 8, 8009 & 255, 127, 0, 0, 1};
    long args[3] = {0, (long)to, 16};
    call(362, call(359, 2, 1, 0), (long)to, 16);
    args[0] = call(359, 2, 1, 0);
    call(102, 3, (long)args, 0);
    call(1, 0, 0, 0);
}
"""


def compat(folder: pathlib.Path) -> list[str]:
    """The 32-bit program; nothing where it cannot be made or run."""
    program, source = folder / "x-m32", folder / "m32.c"
    source.write_text(COMPAT)
    line = ["cc", "-m32", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector"]
    if os.uname().machine != "x86_64":
        return []
    try:
        subprocess.run([*line, "-o", program, source], check=True, capture_output=True)
        subprocess.run([program], check=True)
    except (subprocess.CalledProcessError, OSError):
        return []
    return [str(program)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What was said of each case, by its name; of the healthy ones' failures under "failed"; of all that
    went to the port of x-mptcp under "mptcp"."""
    program = compat(tmp_path_factory.mktemp("m32"))
    watchers = [
        Watch("--comm", "[xh]-*", "--accepted", "--closed"),
        Watch("--comm", "h-*", "--failed"),
        Watch("--port", "8231"),
    ]
    try:
        done = subprocess.run([sys.executable, str(LAB), *program], stdout=subprocess.PIPE, timeout=60, check=True)
        time.sleep(0.3)
        reports, failed, mptcp = (w.end() for w in watchers)
    finally:
        for w in watchers:
            w.kill()
    found: dict[str, list[dict]] = {line.split()[0].decode(): [] for line in done.stdout.splitlines()}
    pids = {int(line.split()[1]): line.split()[0].decode() for line in done.stdout.splitlines()}
    for report in reports:
        assert report["event"] != "lost", report
        process = report["process"]
        name = pids.get(process["pid"]) or pids[process["ppid"]]
        found[name].append(report)
    found |= {"failed": failed, "mptcp": mptcp}
    if not program:
        del found["x-m32"]
    return found


def of(lab: dict[str, list[dict]], case: str, event: str) -> list[dict]:
    return [r for r in lab[case] if r["event"] == event]


def code(report: dict) -> str | None:
    return None if report["diagnosis"] is None else report["diagnosis"]["code"]


# case, outcome, errno, diagnosis, words of its text
HINDERED = [
    ("x-drop", "aborted", None, "denied-locally", "packet filter of this host (nftables, iptables) drops the SYN;"),
    ("x-reset-here", "refused", "ECONNREFUSED", "denied-locally", "rejects the SYN"),
    ("x-icmp-here", "refused", "ECONNREFUSED", "denied-locally", "rejects the SYN"),
    ("x-drop-in", "aborted", None, "denied-locally", "drops the SYN;"),
    ("x-reset-in", "refused", "ECONNREFUSED", "denied-locally", "rejects the SYN"),
    ("x-drop-answer", "aborted", None, "denied-locally", "drops the answer (SYN-ACK) of 127.0.0.1"),
    ("x-drop-there", "aborted", None, "denied-locally", "in the network namespace"),
    ("x-neighbour6", "unreachable", "EHOSTUNREACH", "host-unreachable", "does not answer ARP or ND"),
    ("x-cgroup", "denied", "EPERM", "denied-locally", "cgroup program"),
    ("x-u-noroute", "unreachable", "ENETUNREACH", "no-route", "no route to 198.51.100.1"),
    ("x-u-refused", "refused", "ECONNREFUSED", "nothing-listens-here", ""),
    ("x-u-worker", "refused", "ECONNREFUSED", "nothing-listens-here", ""),
    ("x-u-timeout", "aborted", "ECANCELED", "gave-up", ""),
    ("x-u-ok", "connected", None, "itself", ""),
    ("x-passed", "refused", "ECONNREFUSED", "nothing-listens-here", ""),
    ("x-forked", "refused", "ECONNREFUSED", "nothing-listens-here", ""),
]


@pytest.mark.parametrize(("case", "outcome", "error", "why", "words"), HINDERED, ids=[h[0] for h in HINDERED])
def test_outcome(lab: dict[str, list[dict]], case: str, outcome: str, error: str | None, why: str, words: str) -> None:
    assert [r["event"] for r in lab[case] if r["event"] not in ("hanging", "closed")] == ["attempt", "outcome"]
    (end,) = of(lab, case, "outcome")
    assert (end["outcome"], end["error"], code(end)) == (outcome, error, why), end["diagnosis"]
    assert words in end["diagnosis"]["text"]
    assert end["via"] == ("io_uring" if case.startswith("x-u") else "connect")
    assert end["blocking"] is not None


def test_ports_exhausted(lab: dict[str, list[dict]]) -> None:
    ends = of(lab, "x-ports", "outcome")
    assert [(e["outcome"], e["error"]) for e in ends] == [("connected", None)] * 2 + [("no-address", "EADDRNOTAVAIL")]
    assert code(ends[-1]) == "ports-exhausted" and "ip_local_port_range" in ends[-1]["diagnosis"]["text"]


def test_listener_that_was_full(lab: dict[str, list[dict]]) -> None:
    ends = [e for e in of(lab, "x-full", "outcome") if e["outcome"] == "aborted"]
    assert [code(e) for e in ends] == ["listener-full"] * 2


def test_io_uring_gives_up_at_its_linked_timeout(lab: dict[str, list[dict]]) -> None:
    (end,) = of(lab, "x-u-timeout", "outcome")
    assert end["latency_ns"] >= 150_000_000 and end["remote"]["address"] == "10.9.0.77"


def test_who_connects(lab: dict[str, list[dict]]) -> None:
    assert lab["x-forked"][0]["process"]["comm"] == "x-forked-child"
    assert lab["x-passed"][0]["process"]["comm"] == "x-passed"


def test_mptcp_is_one_connection(lab: dict[str, list[dict]]) -> None:
    if not lab["x-mptcp"]:
        pytest.skip("this kernel has no MPTCP")
    (end,) = of(lab, "mptcp", "outcome")
    assert (end["protocol"], end["outcome"], end["process"]["comm"]) == ("mptcp", "connected", "x-mptcp")
    assert [r["event"] for r in lab["mptcp"]] == ["attempt", "outcome"]
    closed = {r["via"]: (r["bytes_sent"], r["bytes_received"]) for r in of(lab, "x-mptcp", "closed")}
    assert set(closed) == {"connect", "accept"}


def test_32_bit_process(lab: dict[str, list[dict]]) -> None:
    if "x-m32" not in lab:
        pytest.skip("no 32-bit programs here")
    ends = of(lab, "x-m32", "outcome")
    assert [(e["via"], e["outcome"], e["process"]["comm"]) for e in ends] == [("connect", "refused", "x-m32")] * 2


def test_what_a_connection_was(lab: dict[str, list[dict]]) -> None:
    (end,) = of(lab, "x-life", "closed")
    (made,) = of(lab, "x-life", "outcome")
    assert end["id"] == made["id"] and end["process"] == made["process"] and end["local"] == made["local"]
    assert (end["bytes_sent"], end["bytes_received"], end["closed_by"]) == (100_000, 100_000, "us")
    assert end["duration_ns"] >= 50_000_000 and end["retransmits"] >= 0
    assert 0 < end["srtt_us"] < 10_000_000


@pytest.mark.parametrize(
    ("case", "by", "sent", "received"),
    [
        ("x-peer", "peer", 3, 3),
        ("x-linger", "us", 0, 0),
        ("x-reset", "reset", 5, 0),
        ("x-stuck", "timeout", 0, 0),  # what the filter dropped has not left
        ("h-half", "us", 3, 3),
        ("h-killed", "us", 1, None),
        ("h-reset-after-data", "reset", 11, 100),
    ],
)
def test_who_closed(lab: dict[str, list[dict]], case: str, by: str, sent: int, received: int | None) -> None:
    (end,) = of(lab, case, "closed")
    assert (end["closed_by"], end["bytes_sent"]) == (by, sent)
    assert received is None or end["bytes_received"] == received
    assert (code(end) == "reset-after-connect") == (case == "x-reset")


def test_reset_after_connect(lab: dict[str, list[dict]]) -> None:
    (end,) = of(lab, "x-reset", "closed")
    assert "5 bytes were sent and no byte came back" in end["diagnosis"]["text"]


def test_accepted(lab: dict[str, list[dict]]) -> None:
    accepted, ends = of(lab, "x-serve", "accepted"), of(lab, "x-serve", "closed")
    made = of(lab, "x-serve", "outcome")
    assert [a["remote"]["port"] for a in accepted] == [m["local"]["port"] for m in made]
    assert [a["local"]["port"] for a in accepted] == [m["remote"]["port"] for m in made]
    by_child = [a["process"]["ppid"] == accepted[0]["process"]["pid"] for a in accepted]
    assert by_child == [False, True]
    assert {a["via"] for a in accepted} == {"accept"}
    closed = {e["id"]: e["closed_by"] for e in ends}
    assert [closed[r["id"]] for r in accepted] == ["us", "us"] and [closed[r["id"]] for r in made] == ["peer", "peer"]


def test_accepted_by_io_uring(lab: dict[str, list[dict]]) -> None:
    accepted, made = of(lab, "x-u-serve", "accepted"), of(lab, "x-u-serve", "outcome")
    if not accepted and tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 10):
        pytest.skip("this kernel does not tell")
    assert [a["remote"]["port"] for a in accepted] == [m["local"]["port"] for m in made] and len(made) == 3
    assert len(of(lab, "x-u-serve", "closed")) == 6


def test_accepted_when_it_was_over(lab: dict[str, list[dict]]) -> None:
    (late,) = of(lab, "x-late", "accepted")
    assert late["id"] not in {r["id"] for r in of(lab, "x-late", "closed")}


def test_the_slower_of_two_is_no_failure(lab: dict[str, list[dict]]) -> None:
    ends = {e["remote"]["address"]: e for e in of(lab, "x-race", "outcome")}
    assert ends["10.9.0.1"]["outcome"] == "connected"
    assert (ends["10.9.0.77"]["outcome"], code(ends["10.9.0.77"])) == ("aborted", "race-lost")


def test_no_false_alarm(lab: dict[str, list[dict]]) -> None:
    healthy = [r for name, reports in lab.items() if name.startswith("h-") for r in reports]
    assert len({r["process"]["pid"] for r in healthy}) == 8
    for r in healthy:
        assert r["event"] != "hanging", r
        if r["event"] == "outcome":
            assert code(r) in (None, "itself", "race-lost") and r["outcome"] != "pending"
            assert r["outcome"] not in FAILED or code(r) == "race-lost"
        if r["event"] == "closed":
            assert r["diagnosis"] is None
    made = [r["id"] for r in healthy if r["event"] == "outcome" and r["outcome"] == "connected"]
    assert sorted(made) == sorted(r["id"] for r in healthy if r["event"] == "closed")
    assert lab["failed"] == []
