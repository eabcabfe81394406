"""Records to events: byte order, mapped addresses, and what a process may put into user memory."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

import pytest

import dsight.connections
from dsight.connections import events
from dsight.connections.drops import reasons
from dsight.connections.events import Args, Drop, Peer, SynSent, Who, decode, sockaddr

FOLDER = Path(dsight.connections.__file__).parent


def host_int(address: str) -> int:
    return struct.unpack("=I", socket.inet_aton(address))[0]


def swapped(port: int) -> int:
    return struct.unpack("=H", struct.pack("!H", port))[0]


def test_syn_sent_every_octet_and_high_ports() -> None:
    zero = bytes(16)
    for octet in (0, 1, 127, 128, 200, 255):
        there = f"{octet}.{octet}.1.{octet}"
        got = decode(
            (6, 5, 7, 99, 2, host_int("10.0.0.1"), host_int(there), zero, zero, 0, swapped(50000 + octet), 1, 0)
        )
        assert got == SynSent(5, 7, 99, 2, "10.0.0.1", 0, there, 50000 + octet, 1, False)


def test_ipv6_and_mapped() -> None:
    six, mapped = socket.inet_pton(10, "2001:db8::80"), bytes(10) + b"\xff\xff" + bytes([192, 168, 200, 255])
    got = decode((6, 5, 7, 99, 10, 0, 0, six, six, 0, swapped(443), 1, 0))
    assert isinstance(got, SynSent) and (got.family, got.remote, got.remote_port) == (10, "2001:db8::80", 443)
    got = decode((6, 5, 7, 99, 10, 0, 0, mapped, mapped, 0, swapped(443), 1, 0))
    assert isinstance(got, SynSent) and (got.family, got.remote) == (2, "192.168.200.255")


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (
            struct.pack("=H", 2) + struct.pack("!H", 443) + bytes([192, 168, 0, 255]) + bytes(8),
            (2, "192.168.0.255", 443),
        ),
        (
            struct.pack("=H", 10) + struct.pack("!HI", 65535, 0) + socket.inet_pton(10, "fe80::1"),
            (10, "fe80::1", 65535),
        ),
        (struct.pack("=H", 1) + b"/tmp/x\0", (1, None, None)),
        (struct.pack("=H", 2) + b"\1", (2, None, None)),
        (b"", (0, None, None)),
        (b"\1", (0, None, None)),
    ],
)
def test_sockaddr(data: bytes, want: tuple[object, ...]) -> None:
    assert sockaddr(data) == want


def test_sizes_from_user_memory_cut_the_copy() -> None:
    assert decode((2, 7, 4, b"app\0" + b"stale" * 9)) == Args(7, 4, b"app\0")
    assert decode((2, 7, -5, b"stale")) == Args(7, -5, b"")
    assert decode((4, 7, -1, bytes(28))) == Peer(7, 0, None, None)


def test_parents_end_at_the_idle_task() -> None:
    got = decode((1, 5, 7, 6, "app", 0, 9, 1, 0, 1, 20, "sh", 1, "init", 0, "swapper/0", 0, "swapper/0"))
    assert isinstance(got, Who) and got.parents == ((20, "sh"), (1, "init")) and got.uring is True


def test_unknown_tags_are_none() -> None:
    assert decode(()) is None and decode((99, 1)) is None


def test_scripts_and_decoders_know_the_same_tags() -> None:
    text = "".join(
        (FOLDER / name).read_text() for name in ("connect.d", "call.d", "who.d", "tcp.d", "icmp.d", "drop.d", "tree.d")
    )
    tags = {
        int(n) for n in re.findall(r"\btrace\((\d+)\);\s*trace\((?:timestamp|tid|this->mark|this->entered)\)", text)
    }
    assert tags | {events.WATCHED} == set(events.DECODERS)


def test_drop_of_a_syn_and_of_its_answer() -> None:
    ports = struct.pack("!HH", 40000, 80)
    ip = bytes(12) + socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.9") + bytes(20)
    here, there = ("10.0.0.1", 40000), ("10.0.0.9", 80)
    assert decode((42, 5, 99, 2, 0, 0, ip, ports, 7)) == Drop(5, 99, "filter", False, here, there, 7)
    ip = bytes(8) + socket.inet_pton(10, "2001:db8::80") + socket.inet_pton(10, "2001:db8::1")
    got = decode((42, 5, 0, 1, 1, 1, ip, ports, 0))
    assert got == Drop(5, 0, "neighbour", True, ("2001:db8::1", 80), ("2001:db8::80", 40000), 0)


def test_reasons_of_this_kernel() -> None:
    known = {"SKB_DROP_REASON_NETFILTER_DROP": 12, "SKB_DROP_REASON_NEIGH_FAILED": 58}
    assert reasons(known.get) == "(args[2] == 58 ? 1 : args[2] == 12 ? 2 : 0)"
    assert reasons(lambda name: None) == ""
    known["SKB_DROP_REASON_NOT_SPECIFIED"] = 2
    assert "args[2] == 2 && args[0]->protocol == 0xdd86" in reasons(known.get)
