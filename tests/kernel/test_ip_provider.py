"""ip and icmp: each packet, as often as a capture on the devices and the kernel's own counters say; each member."""

from __future__ import annotations

import os
import socket
import struct

import packet_run
import pytest
from dtrace_run import dtrace

pytestmark = pytest.mark.kernel

PROTOCOLS = {(4, 1), (4, 6), (4, 17), (6, 6), (6, 17), (6, 44)}  # the kernel sends others when it likes
ONE_OF_EACH = sorted(set(packet_run.CASES) - {"below", "multicast"})

MEMBERS = """
ip:::send, ip:::receive /args[1]->cs_zoneid == $1 && args[4] != NULL && args[4]->ipv4_protocol == 17/
{
    trace(probename); trace(args[0]->pkt_addr != 0); trace(args[1]->cs_addr != 0); trace(args[1]->cs_pid == $2);
    trace(args[2]->ip_ver); trace(args[2]->ip_plength); trace(args[2]->ip_saddr); trace(args[2]->ip_daddr);
    trace(args[3]->if_name); trace(args[3]->if_local); trace(args[3]->if_ipstack == $1); trace(args[3]->if_addr != 0);
    trace(args[5] == NULL);
    trace(args[4]->ipv4_ver); trace(args[4]->ipv4_ihl); trace(args[4]->ipv4_tos); trace(args[4]->ipv4_length);
    trace(args[4]->ipv4_ident); trace(args[4]->ipv4_flags); trace(args[4]->ipv4_offset); trace(args[4]->ipv4_ttl);
    trace(args[4]->ipv4_protocol); trace(args[4]->ipv4_protostr); trace(args[4]->ipv4_checksum);
    trace(args[4]->ipv4_src); trace(args[4]->ipv4_dst); trace(args[4]->ipv4_saddr); trace(args[4]->ipv4_daddr);
    trace(*(uint8_t *)args[4]->ipv4_hdr);
}
ip:::send, ip:::receive /args[1]->cs_zoneid == $1 && args[5] != NULL && args[2]->ip_plength == 14/
{
    trace(probename); trace(args[4] == NULL); trace(args[2]->ip_ver); trace(args[2]->ip_saddr);
    trace(args[2]->ip_daddr); trace(args[3]->if_name);
    trace(args[5]->ipv6_ver); trace(args[5]->ipv6_tclass); trace(args[5]->ipv6_flow); trace(args[5]->ipv6_plen);
    trace(args[5]->ipv6_nexthdr); trace(args[5]->ipv6_nextstr); trace(args[5]->ipv6_hlim);
    trace(inet_ntoa6(args[5]->ipv6_src)); trace(inet_ntoa6(args[5]->ipv6_dst)); trace(args[5]->ipv6_saddr);
    trace(args[5]->ipv6_daddr); trace(*(uint32_t *)args[5]->ipv6_hdr);
}
"""


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_as_often_as_a_capture_shows(case: str) -> None:
    ran = packet_run.results()[case]
    assert {k: n for k, n in ran.ip.items() if k[2:] in PROTOCOLS} == {
        k: n for k, n in ran.captured.items() if k[2:] in PROTOCOLS
    }


@pytest.mark.parametrize("case", packet_run.CASES)
def test_as_often_as_the_kernel_counts(case: str) -> None:
    ran = packet_run.results()[case]
    received = sum(n for (_, way, version, _), n in ran.ip.items() if (way, version) == ("receive", 4))
    assert received == ran.snmp["Ip"]["InReceives"]
    # What is made here, and what is forwarded; in fragments, where that is done.
    kernel = ran.snmp["Ip"]
    sent = sum(n for (_, way, version, _), n in ran.ip.items() if (way, version) == ("send", 4))
    igmp = sum(n for (_, way, _, protocol), n in ran.ip.items() if (way, protocol) == ("send", 2))
    made = kernel["OutRequests"] + kernel["ForwDatagrams"] + kernel["FragCreates"] - kernel["FragOKs"]
    raw = 2 if case == "errors" else 0  # their headers come from the process: no OutRequests
    assert made + raw - igmp <= sent <= made + raw + igmp  # IGMP comes when it likes


def test_one_packet_by_several_devices() -> None:
    """The capture sees it by each; IP sends and receives it once."""
    ran = packet_run.results()["below"]
    assert ran.captured["w0", "send", 4, 17] == ran.captured["br0", "send", 4, 17] == 1
    datagrams = {k: n for k, n in ran.ip.items() if k[2:] == (4, 17)}
    below = "v0"  # a macvlan's packets are received by the device it is on
    assert datagrams == {
        ("br0", "send", 4, 17): 1, ("br0", "receive", 4, 17): 1, ("mv0", "send", 4, 17): 1, (below, "receive", 4, 17): 1
    }  # fmt: skip


def test_multicast_comes_back() -> None:
    """The copy for this host's own sockets is received, though no capture shows it."""
    ran = packet_run.results()["multicast"]
    assert ran.ip["v0", "send", 4, 17] == ran.ip["v0", "receive", 4, 17] == 1


def test_forwarded() -> None:
    ran = packet_run.results()["forwarded"]
    assert ran.ip["v0", "receive", 4, 17] == 3 and ran.ip["d0", "send", 4, 17] == 1


def test_members() -> None:
    found = packet_run.records("marked", MEMBERS)
    assert len(found) == 4
    for number, (way, *values) in enumerate(found[:2]):
        out = number == 0
        assert way == ("send" if out else "receive")
        here, there = ("10.8.0.1", "10.8.0.2") if out else ("10.8.0.2", "10.8.0.1")
        assert values[:3] == [1, out, out]  # a socket and its process, of what is sent
        assert values[3:12] == [4, 14, here, there, "v0", 0, 1, 1, 1]
        ver, ihl, tos, length, ident, flags, offset, ttl, protocol, name, checksum, src, dst, saddr, daddr, first = (
            values[12:]
        )
        assert (ver, ihl, length, flags & 0x40, offset, protocol, name) == (4, 20, 34, 0x40, 0, 17, "UDP")
        assert (tos, ttl) == ((0x48, 33) if out else (0, 64))
        assert (saddr, daddr, first) == (here, there, 0x45)
        assert [n.to_bytes(4, "little") for n in (src, dst)] == [socket.inet_aton(a) for a in (here, there)]
        header = struct.pack(">BBHHHBBH4s4s", ver << 4 | ihl >> 2, tos, length, ident, flags << 8 | offset >> 3, ttl,
            protocol, checksum, socket.inet_aton(saddr), socket.inet_aton(daddr))  # fmt: skip
        assert sum(struct.unpack(">10H", header)) % 0xFFFF == 0
    for number, (way, *values) in enumerate(found[2:]):
        out = number == 0
        assert way == ("send" if out else "receive")
        here, there = ("fd00:8::1", "fd00:8::2") if out else ("fd00:8::2", "fd00:8::1")
        flow = values[7]
        assert values[:7] == [1, 6, here, there, "v0", 6, 0x48 if out else 0]
        assert values[8:12] == [14, 17, "UDP", 33 if out else 64]
        assert values[12:16] == [here, there, here, there]
        word = int.from_bytes(values[16].to_bytes(4, "little"), "big")
        assert word == 6 << 28 | values[6] << 20 | flow


def test_fragments() -> None:
    """IPH_MF and the offset, in bytes."""
    script = """ip:::send /args[1]->cs_zoneid == $1 && args[4] != NULL && args[4]->ipv4_protocol == 17/
        { trace(args[4]->ipv4_offset); trace((args[4]->ipv4_flags & IPH_MF) != 0); trace(args[2]->ip_plength); }"""
    assert packet_run.records("fragments", script) == [(0, 1, 1480), (1480, 1, 1480), (2960, 0, 1048)]


def test_icmp_as_often_as_sent() -> None:
    ran = packet_run.results()
    assert {k: n for k, n in ran["pings"].icmp.items() if k[1] == 4} == {
        ("send", 4, 8, 0): 2, ("receive", 4, 0, 0): 2, ("receive", 4, 3, 3): 1, ("send", 4, 3, 3): 1
    }  # fmt: skip
    assert ran["pings"].icmp["send", 6, 128, 0] == ran["pings"].icmp["receive", 6, 129, 0] == 1
    # Neighbour discovery (133 to 137) and MLDv2 (143) are the kernel's own, whenever a device is not long up.
    found = {k: n for k, n in ran["loopback"].icmp.items() if k[1] == 4 or k[2] not in (*range(133, 138), 143)}
    assert found == {("send", 4, 3, 3): 1, ("receive", 4, 3, 3): 1}


def test_icmp_members() -> None:
    script = """icmp:::send, icmp:::receive /args[1]->cs_zoneid == $1 && args[3]->icmp_seq != 0/
        {
            trace(probename); trace(args[2]->ip_saddr); trace(args[2]->ip_daddr); trace(args[3]->icmp_type);
            trace(args[3]->icmp_code); trace(args[3]->icmp_id); trace(args[3]->icmp_seq);
            trace(args[3]->icmp_checksum != 0); trace(*(uint8_t *)args[3]->icmp_hdr);
            trace(args[0]->pkt_addr == arg0); trace(args[1]->cs_pid == $2);
        }"""
    found = packet_run.records("pings", script)
    here, there = "10.8.0.1", "10.8.0.2"
    assert found[:2] == [
        ("send", here, there, 8, 0, 0x1234, 7, 1, 8, 1, 1),
        ("receive", there, here, 0, 0, 0x1234, 7, 1, 0, 1, 0),
    ]
    assert [(r[0], r[3]) for r in found[4:]] == [("send", 128), ("receive", 129)]


def test_tell_their_arguments() -> None:
    out = dtrace("-lvP", "ip").out
    for n, kind in enumerate(("pktinfo_t *", "csinfo_t *", "ipinfo_t *", "ifinfo_t *", "ipv4info_t *", "ipv6info_t *")):
        assert out.count(f"args[{n}]: {kind}") == 2
    assert dtrace("-lvP", "icmp").out.count("args[3]: icmpinfo_t *") == 2
    assert os.geteuid() == 0
