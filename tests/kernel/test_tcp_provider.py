"""tcp: each segment and each end of an attempt, in network namespaces made for it (tcp_lab.py).

What the probes saw is compared with a capture on the interfaces and with the kernel's own counters.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dtrace_run import dtrace

from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source

pytestmark = pytest.mark.kernel

LAB = Path(__file__).with_name("tcp_lab.py")
LISTENS, LOCAL, NOTHING = 7100, 7101, 7102


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[int, int, int]]:
    """The pid that holds namespace A, and the inodes of A and B."""
    with subprocess.Popen([sys.executable, str(LAB), "hold"], stdin=-1, stdout=-1, text=True) as held:
        assert held.stdin and held.stdout
        pid, first, second = map(int, held.stdout.readline().split())
        yield pid, first, second
        held.stdin.close()
        assert held.wait(30) == 0


def traced(
    script: str, lab: tuple[int, int, int], *cases: str, zone: int = 0
) -> tuple[list[list[str]], dict[str, Any]]:
    """What the script printed, in words, one list a line that starts with "P"; what the lab says."""
    command = f"{sys.executable} {LAB} run {lab[0]} {' '.join(cases)}"
    done = dtrace("-qn", script, zone or lab[1], "-c", command)
    assert done.status == 0 and done.err == "", done.err
    lines = done.out.splitlines()
    said = [line for line in lines if line.startswith("LAB ")]
    assert said, done.out
    return [line.split()[1:] for line in lines if line.startswith("P ")], json.loads(said[0][4:])


SEGMENTS = """
tcp:::send, tcp:::receive
/args[1]->cs_zoneid == $1/
{
    printf("P %s %s %d %s %d %u %u %d %d\\n", probename, args[2]->ip_saddr, args[4]->tcp_sport, args[2]->ip_daddr,
        args[4]->tcp_dport, args[4]->tcp_seq, args[4]->tcp_ack, args[4]->tcp_flags, args[2]->ip_plength);
}
"""
TRAFFIC = (
    "inet inet6 mapped routed loopback loopback6 mptcp refused refused_here reset own abandoned fastopen port_taken"
).split()


def test_each_segment_once(lab: tuple[int, int, int]) -> None:
    """The probes, a capture and /proc/net/snmp agree."""
    probed, said = traced(SEGMENTS, lab, *TRAFFIC)
    seen = Counter(tuple(map(str, s)) for s in said["segments"])
    fired = Counter(map(tuple, probed))
    assert fired == seen, (fired - seen, seen - fired)
    kinds = Counter(line[0] for line in probed)
    # OutSegs leaves out what is sent again, and so the SYN|ACK that answers a socket's own SYN.
    assert kinds["send"] == said["grown"]["OutSegs"] + said["grown"]["RetransSegs"] + 1
    assert kinds["receive"] == said["grown"]["InSegs"]
    assert min(kinds.values()) > 100  # 20,000 bytes in segments of 1,448, several times


ATTEMPTS = """
tcp:::connect-request, tcp:::connect-established, tcp:::connect-refused, tcp:::accept-established
/args[1]->cs_zoneid == $1/
{
    printf("P %s %s %d %d %s\\n", probename, args[3]->tcps_raddr, args[3]->tcps_rport, args[1]->cs_pid, "-");
}
tcp:::connect-failed, tcp:::connect-retransmit
/args[1]->cs_zoneid == $1/
{
    printf("P %s %s %d %d %d\\n", probename, args[3]->tcps_raddr, args[3]->tcps_rport, args[1]->cs_pid, args[5]);
}
tcp:::accept-refused
/args[1]->cs_zoneid == $1/
{
    printf("P %s %s %d %d %d\\n", probename, args[2]->ip_saddr, args[4]->tcp_sport, args[1]->cs_pid, args[3] == NULL);
}
"""


def test_each_end_of_an_attempt(lab: tuple[int, int, int]) -> None:
    """Once an attempt, with the process it belongs to, whichever runs then."""
    probed, said = traced(ATTEMPTS, lab, *TRAFFIC, "silent", "timeout", "no_route")
    assert {line[3] for line in probed if line[0] != "accept-refused"} == {str(said["pid"])}
    ends: dict[str, Counter[str]] = {}
    for name, address, port, _, more in probed:
        known = f"{address}:{port}" if port in map(str, (LISTENS, LOCAL, NOTHING)) else "another"
        ends.setdefault(known, Counter())[f"{name} {more}".removesuffix(" -")] += 1
    made = {"connect-request": 1, "connect-established": 1}
    assert ends == {
        f"10.8.0.2:{LISTENS}": dict.fromkeys(made, 5),  # inet, mapped, mptcp, reset, fastopen
        f"fd08::2:{LISTENS}": made,
        f"10.7.0.2:{LISTENS}": made,
        f"::1:{LOCAL}": made,
        f"127.0.0.1:{LOCAL}": {"connect-request": 3, "connect-established": 2, "connect-failed 99": 1},
        # own and abandoned; the clients of four
        "another": {"connect-request": 2, "connect-established": 2, "accept-established": 4},
        f"10.8.0.2:{NOTHING}": {"connect-request": 1, "connect-refused": 1, "connect-failed 111": 1},
        f"127.0.0.1:{NOTHING}": {
            "connect-request": 1, "connect-refused": 1, "accept-refused 1": 1, "connect-failed 111": 1
        },
        f"10.8.0.77:{NOTHING}": {
            "connect-request": 2, "connect-retransmit 1": 2, "connect-failed 0": 1, "connect-failed 110": 1
        },
    }  # fmt: skip


def test_a_request_with_its_port_and_sequence_number_is_the_first_syn(lab: tuple[int, int, int]) -> None:
    script = """
    tcp:::connect-request
    /args[1]->cs_zoneid == $1/
    {
        printf("P %s %d %s %d %u %d\\n", args[2]->ip_saddr, args[4]->tcp_sport, args[2]->ip_daddr, args[4]->tcp_dport,
            args[4]->tcp_seq, args[1]->cs_pid);
    }
    """
    probed, said = traced(script, lab, *TRAFFIC, "silent", "no_route")
    syns = {tuple(map(str, s[1:6])) for s in said["segments"] if s[0] == "send" and s[7] & 0x17 == 2}
    assert Counter(tuple(line[:5]) for line in probed) == Counter(syns)
    assert {line[5] for line in probed} == {str(said["pid"])}


def test_what_is_forwarded_is_nobodys(lab: tuple[int, int, int]) -> None:
    """B, which forwards, between A and C: its own segments only, each that A sent it or got from it."""
    probed, said = traced(SEGMENTS, lab, "routed", "inet", "refused", zone=lab[2])
    other = {"send": "receive", "receive": "send"}
    theirs = [[other[s[0]], *map(str, s[1:])] for s in said["segments"] if "10.8.0.2" in (s[1], s[3])]
    assert Counter(map(tuple, probed)) == Counter(map(tuple, theirs))


def test_the_socket_of_a_segment(lab: tuple[int, int, int]) -> None:
    script = """
    tcp:::send, tcp:::receive
    /args[1]->cs_zoneid == $1/
    {
        printf("P %s %d %d %d %d %d %s|%s %d %d %u %u %u %u %s %d\\n", probename,
            args[4]->tcp_flags, args[4]->tcp_sport, args[1]->cs_addr == args[3]->tcps_addr, args[1]->cs_pid,
            args[3]->tcps_active, args[3]->tcps_laddr, args[3]->tcps_raddr, args[3]->tcps_lport, args[3]->tcps_rport,
            args[3]->tcps_iss, args[3]->tcps_irs, args[3]->tcps_suna, args[3]->tcps_rnxt,
            tcp_state_string[args[3]->tcps_state], args[3]->tcps_mss);
    }
    """
    probed, said = traced(script, lab, "inet")
    syn, syn_ack = [s for s in said["segments"] if s[7] & 2]
    pid, port = str(said["pid"]), str(syn[2])
    assert len(probed) == len(said["segments"])
    for _name, _flags, _sport, same, owner, active, addresses, local, remote, iss, *_ in probed:
        assert [same, owner, active, addresses] == ["1", pid, "1", "10.8.0.1|10.8.0.2"]
        assert [local, remote, iss] == [port, str(LISTENS), str(syn[5])]
    assert [line[0] for line in probed[:3]] == ["send", "receive", "send"]
    assert [line[13] for line in probed[:3]] == ["state-syn-sent", "state-syn-sent", "state-established"]
    assert {line[10] for line in probed[2:]} == {str(syn_ack[5])}
    # A segment is received before its socket takes it in.
    assert [int(line[11]) - syn[5] for line in probed[:3]] == [0, 0, 1]
    assert [int(line[12]) - syn_ack[5] for line in probed[2:3]] == [1]
    assert probed[4][14] == "1448" and int(probed[-1][12]) - syn_ack[5] > 20000


@pytest.mark.parametrize(
    ("members", "tracepoints"),
    [
        ("args[2]->ip_daddr, args[4]->tcp_dport", {"inet_sock_set_state"}),
        ("args[1]->cs_pid, args[3]->tcps_raddr", {"inet_sock_set_state", "tcp_destroy_sock"}),
        ("args[2]->ip_daddr, args[4]->tcp_sport", {"net_dev_queue"}),
    ],
)
def test_a_connect_script_costs_other_traffic_nothing(members: str, tracepoints: set[str]) -> None:
    """It stands on packets only where it asks for what a packet has."""
    formats = ", ".join(f"trace({member})" for member in members.split(", ")).replace("), ", "); ")
    done = dtrace("--dump", "spec", "-en", f"tcp:::connect-request {{ {formats}; }}")
    assert done.status == 0
    assert set(re.findall(r"fired by the kernel's tracepoint (\w+)", done.out + done.err)) == tracepoints


def test_cookies_are_the_kernels() -> None:
    """cs_cid at every event, though nobody asked for a cookie before."""
    code = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    ends = client, server.accept()[0]
    print("COOKIES", *[int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 57, 8), "little") for s in ends])  # SO_COOKIE
"""
    script = """
    tcp:::connect-request, tcp:::connect-established, tcp:::accept-established
    /args[1]->cs_pid == $target/
    { printf("P %s %d\\n", probename, args[1]->cs_cid); }
    """
    done = dtrace("-qn", script, "-c", f"{sys.executable} -c '{code}'")
    words = [line.split() for line in done.out.splitlines()]
    client, server = next(w[1:] for w in words if w[:1] == ["COOKIES"])
    assert [w[1:] for w in words if w[:1] == ["P"]] == [
        ["connect-request", client],
        ["connect-established", client],
        ["accept-established", server],
    ]


def test_one_clause_for_many_probes() -> None:
    """args[] of a glob are what the script sees, whatever they are made of."""
    done = dtrace("-en", "tcp:::connect-*, tcp:::accept-*, tcp:::send { trace(args[4]->tcp_dport); }")
    assert (done.status, done.err) == (0, "")
    assert dtrace("-en", "tcp::: { trace(args[3]->tcps_lport); }").status == 0


def test_scripts_do_not_change_each_others_means() -> None:
    machine = Machine()
    try:
        targets = []
        for member in ("args[4]->tcp_sport", "args[4]->tcp_dport", "args[4]->tcp_seq"):
            text = f"tcp:::connect-request {{ trace({member}); }}"
            compiled, _ = machine.compile([Source("x", text)], Macros.of_process((), "x", 1))
            targets.append([program.plan.target for program in compiled.programs])
    finally:
        machine.close()
    assert targets == [["net_dev_queue"], ["inet_sock_set_state"], ["net_dev_queue"]]
