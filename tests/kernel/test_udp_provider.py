"""udp: each datagram of this host's sockets, as often as a capture and the kernel's own counters say; each member."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import packet_run
import pytest
from dtrace_run import dtrace

import dsight

pytestmark = pytest.mark.kernel

MEMBERS = """
udp:::send, udp:::receive /args[1]->cs_zoneid == $1/
{
    trace(probename);
    trace(args[0]->pkt_addr); trace(args[1]->cs_addr); trace(args[1]->cs_cid); trace(args[1]->cs_pid);
    trace(args[2]->ip_ver); trace(args[2]->ip_plength); trace(args[2]->ip_saddr); trace(args[2]->ip_daddr);
    trace(args[3]->udps_addr); trace(args[3]->udps_lport); trace(args[3]->udps_rport);
    trace(args[3]->udps_laddr); trace(args[3]->udps_raddr);
    trace(args[4]->udp_sport); trace(args[4]->udp_dport); trace(args[4]->udp_length); trace(args[4]->udp_checksum);
    trace(args[4]->udp_hdr); trace(arg0 + 0); trace($2);
}
"""


@pytest.mark.parametrize("case", packet_run.CASES)
def test_as_often_as_the_kernel_counts(case: str) -> None:
    """Sent: OutDatagrams.  Received: what was read, and what was refused after it had arrived for a socket."""
    ran = packet_run.results()[case]
    for version, group in ((4, "Udp"), (6, "Udp6")):
        kernel = ran.snmp[group]
        assert ran.udp.get(("send", version), 0) == kernel["OutDatagrams"]
        arrived = kernel["InDatagrams"] + kernel["InErrors"]
        if case == "segments" and version == 4:
            arrived = 1  # three of the receiver's end
        if case == "multicast" and version == 4:
            arrived = 1  # one, for two sockets
        assert ran.udp.get(("receive", version), 0) == arrived


def test_the_cases_have_datagrams() -> None:
    ran = packet_run.results()
    assert ran["plain"].udp == {("send", 4): 4, ("receive", 4): 4, ("send", 6): 2, ("receive", 6): 2}
    assert ran["fragments"].udp == {("send", 4): 1, ("receive", 4): 1, ("send", 6): 1, ("receive", 6): 1}
    assert ran["loopback"].udp == {("send", 4): 4, ("receive", 4): 3}
    assert ran["forwarded"].udp == {("send", 4): 1, ("receive", 4): 2}
    assert ran["errors"].snmp["Udp"]["RcvbufErrors"] > 0 and ran["errors"].snmp["Udp"]["InCsumErrors"] == 1


def test_members() -> None:
    found = packet_run.records("marked", MEMBERS)
    assert len(found) == 4
    for record in found:
        check(*record)
    assert {(r[0], r[5]) for r in found} == {(way, version) for way in ("send", "receive") for version in (4, 6)}
    assert found[0][2] == found[1][2] != found[2][2] == found[3][2]  # the same socket sends and receives


def check(
    way: str, packet: int, cs: int, cid: int, pid: int, version: int, plength: int, saddr: str, daddr: str, udps: int,
    lport: int, rport: int, laddr: str, raddr: str, sport: int, dport: int, length: int, checksum: int, header: int,
    arg0: int, lab: int,
) -> None:  # fmt: skip
    here, there = ("10.8.0.1", "10.8.0.2") if version == 4 else ("fd00:8::1", "fd00:8::2")
    out = way == "send"
    assert packet == arg0 & (1 << 64) - 1 and packet >> 63 == 1
    assert cs == udps != 0 and cid >= 0
    assert pid == lab
    assert (plength, length) == (14, 14)
    assert (saddr, daddr) == ((here, there) if out else (there, here))
    assert (laddr, raddr, lport, rport) == (here, there, 5010, 5001)
    assert (sport, dport) == ((5010, 5001) if out else (5001, 5010))
    assert header >> 63 == 1
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    pseudo = [socket.inet_pton(family, a) for a in (saddr, daddr)]
    start = folded(b"".join(pseudo) + struct.pack(">HH", 17, length))
    whole = folded(struct.pack(">HHHH", start, sport, dport, length) + b"marked")
    assert checksum in (start, ~whole & 0xFFFF)  # as far as it is worked out: the rest is left to the device


def folded(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_owner_of_what_waits_for_a_neighbour() -> None:
    """It may leave in another process's context."""
    script = """udp:::send, udp:::receive /args[1]->cs_zoneid == $1 && args[4]->udp_length == 11/
        { trace(probename); trace(args[1]->cs_pid == $2 ? "lab" : "another"); }"""
    assert packet_run.records("late", script) == [("send", "lab"), ("receive", "lab")]


WAITS = """
import socket, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
s.recv(9)
"""


def waiting() -> tuple[subprocess.Popen[str], int]:
    """A process that waits in recv(2), and its port."""
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    port = int(process.stdout.readline())
    end = time.monotonic() + 30
    while "skb" not in Path(f"/proc/{process.pid}/wchan").read_text():  # __skb_wait_for_more_packets
        assert time.monotonic() < end
        time.sleep(0.005)
    return process, port


def fired(script: str, port: int, send: Any) -> list[tuple[Any, ...]]:
    with dsight.trace(script, args=(str(port),)) as t:
        send()
        return [r.values for r in t.stop()]


def test_receiver_that_waits() -> None:
    """Its process is known with the first datagram it gets."""
    process, port = waiting()
    with process, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        script = "udp:::receive /args[4]->udp_dport == $1/ { trace(args[1]->cs_pid); trace(args[3]->udps_lport); }"
        assert fired(script, port, lambda: s.sendto(b"x", ("127.0.0.1", port))) == [(process.pid, port)]


def test_connected_before_others_and_groups() -> None:
    """Of two sockets on one port the connected one gets what its peer sends; of a group that shares a port, any may."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one_peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        s.bind(("127.0.0.1", 0))
        stranger.bind(("127.0.0.1", 0))
        for server in (any_peer, one_peer):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", any_peer.getsockname()[1] if server is one_peer else 0))
        one_peer.connect(s.getsockname())
        port = any_peer.getsockname()[1]
        script = (
            "udp:::receive /args[4]->udp_dport == $1/ { trace(args[3]->udps_rport); trace(args[3]->udps_addr != 0); }"
        )

        def both() -> None:
            s.sendto(b"x", ("127.0.0.1", port))
            stranger.sendto(b"x", ("127.0.0.1", port))

        assert fired(script, port, both) == [(s.getsockname()[1], 1), (0, 1)]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
    ):
        for server in (first, second):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", first.getsockname()[1] if server is second else 0))
        port = first.getsockname()[1]
        script = "udp:::receive /args[4]->udp_dport == $1/ { trace(args[1]->cs_pid); trace(args[3]->udps_laddr); }"
        assert fired(script, port, lambda: s.sendto(b"x", ("127.0.0.1", port))) == [(-1, "")]


def test_tells_its_arguments() -> None:
    out = dtrace("-lvP", "udp").out
    for n, kind in enumerate(("pktinfo_t *", "csinfo_t *", "ipinfo_t *", "udpsinfo_t *", "udpinfo_t *")):
        assert out.count(f"args[{n}]: {kind}") == 2
    assert os.path.exists("/sys/kernel/btf/vmlinux")
