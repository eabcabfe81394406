"""Whose a packet is, from what was seen before."""

from __future__ import annotations

import struct
from _socket import inet_aton
from typing import Any

from dsight.connections.host import Listening, Owner
from dsight.packets.decode import Ip, parse
from dsight.packets.owners import Owners


class Host:
    """Process 8, a listener on port 80; process 9 holds inode 9."""

    def listening(self, netns: int | None, pid: int, protocol: int = 6) -> tuple[Listening, ...]:
        return (Listening("0.0.0.0", 80, 8),)

    def owner(self, inode: int) -> Owner | None:
        return {8: Owner(8, "httpd"), 9: Owner(9, "named")}.get(inode)

    def comm(self, pid: int) -> str | None:
        return None


def owners() -> Owners:
    host: Any = Host()
    made = Owners(host)
    made.holds({11: Owner(11, "gone")})
    return made


def packet(protocol: int, source: str, target: str, payload: bytes) -> Ip:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0)
    data = head + inet_aton(source) + inet_aton(target) + payload
    found = parse(data, len(data))
    assert found is not None
    return found


def segment(source: str, sport: int, target: str, dport: int, flags: int) -> Ip:
    return packet(6, source, target, struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1, 0, 0))


US, THEM = "10.0.0.1", "10.0.0.2"


def test_what_comes_when_the_socket_has_gone_is_of_the_last_owner() -> None:
    who = owners()
    who.name(7, "curl")
    assert who.of(7, 0, segment(US, 4000, THEM, 80, 2), False, 1) == Owner(7, "curl")
    assert who.of(-2, 0, segment(US, 4000, THEM, 80, 16), False, 1) == Owner(7, "curl")
    assert who.of(0, 0, segment(THEM, 80, US, 4000, 17), True, 1) == Owner(7, "curl")
    assert who.of(0, 0, segment(THEM, 80, US, 4000, 17), True, 2) is None  # another network namespace


def test_an_icmp_error_is_of_who_sent_what_it_is_about() -> None:
    who = owners()
    who.name(7, "dig")
    query = packet(17, US, THEM, struct.pack(">HHHH", 4000, 53, 8, 0))
    who.of(7, 0, query, False, 1)
    error = packet(1, THEM, US, bytes.fromhex("0303000000000000") + query.data)
    assert who.of(-1, 0, error, True, 1) == Owner(7, "dig")
    assert who.of(-1, 0, error, False, 1) is None  # an answer of our own kernel's
    assert who.nobody(-1, error) == "kernel"


def test_a_reply_is_of_who_pinged() -> None:
    who = owners()
    who.name(7, "ping")
    who.of(7, 0, packet(1, US, THEM, bytes.fromhex("0800000000070001")), False, 1)
    assert who.of(-1, 0, packet(1, THEM, US, bytes.fromhex("0000000000070001")), True, 1) == Owner(7, "ping")
    other = packet(1, THEM, US, bytes.fromhex("0000000000080001"))
    assert who.of(-1, 0, other, True, 1) is None and who.nobody(-1, other) == "unknown"


def test_a_first_segment_is_of_who_listens_others_are_not() -> None:
    who = owners()
    assert who.of(0, 0, segment(THEM, 5, US, 80, 2), True, 1) == Owner(8, "httpd")
    assert who.of(0, 0, segment(THEM, 6, US, 80, 16), True, 1) is None
    closed = segment(THEM, 5, US, 81, 2)
    assert who.of(-2, 0, closed, True, 1) is None and who.nobody(-2, closed) == "no socket"
    assert who.nobody(0, closed) == "unknown"


def test_an_old_socket_is_of_who_holds_it() -> None:
    who = owners()
    datagram = packet(17, THEM, US, struct.pack(">HHHH", 53, 4000, 8, 0))
    assert who.of(0, 9, datagram, True, 1) == Owner(9, "named")
    assert who.of(0, 11, packet(17, THEM, US, struct.pack(">HHHH", 55, 4000, 8, 0)), True, 1) == Owner(11, "gone")
    assert who.of(0, 10, packet(17, THEM, US, struct.pack(">HHHH", 54, 4000, 8, 0)), True, 1) is None


def test_a_name_is_what_the_process_is_called_now() -> None:
    who = owners()
    who.name(7, "sh")
    who.name(7, "curl")
    assert who.of(7, 0, None, False, 1) == Owner(7, "curl")
    assert who.of(6, 0, None, False, 1) == Owner(6, "?")


def test_memory_is_bounded(monkeypatch: Any) -> None:
    from dsight.packets import owners as module

    monkeypatch.setattr(module, "_MOST", 10)
    who = owners()
    for port in range(100):
        who.name(port + 1, "x")
        who.of(port + 1, 0, segment(US, port, THEM, 80, 2), False, 1)
    assert len(who._flows) == len(who._names) == 10
    assert who.of(0, 0, segment(US, 99, THEM, 80, 16), False, 1) == Owner(100, "x")
    assert who.of(0, 0, segment(US, 1, THEM, 80, 16), False, 1) is None
