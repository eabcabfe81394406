"""Packets' bytes, from the IP header on, as far as a line about them wants them.

    parse(bytes, length on the wire) -> Ip, or None for what is none
    ports(Ip), inner(Ip)             -> its ends; of an ICMP error, those of the packet it is about

The bytes come from anybody on the network and may be cut off: whatever they hold, nothing is raised, and the time is
bounded.  RFC 791, RFC 8200.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from struct import unpack_from

from dsight.value import Value

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
WITH_PORTS = (TCP, UDP, 132, 136)  # SCTP and UDP-Lite begin with two ports, too
_EXTENSIONS = (0, 43, 60, 44, 51)  # of IPv6: hop-by-hop, routing, destination, fragment, authentication
_MOST_EXTENSIONS = 8
ERRORS = {ICMP: (3, 4, 5, 11, 12), ICMP6: (1, 2, 3, 4)}  # types of messages that quote the packet they are about
ECHOES = {ICMP: (8, 0), ICMP6: (128, 129)}
_REPLIES = {ICMP: b"\x00", ICMP6: b"\x81"}


class Ip(Value):
    """An IP packet.  `data` is what was captured of it, `at` where its payload begins there, `length` the payload's
    on the wire; `offset` and `more` are a fragment's."""

    version: int
    source: str
    target: str
    protocol: int
    hops: int
    tos: int
    ident: int
    offset: int
    more: bool
    at: int
    length: int
    data: bytes

    @property
    def payload(self) -> bytes:
        return self.data[self.at :]


def parse(data: bytes, wire: int) -> Ip | None:
    """`wire`: octets of the whole packet, which IP's own length does not tell where it is more than 64 KiB."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return _four(data, wire)
    if version == 6 and len(data) >= 40:
        return _six(data, wire)
    return None


def _four(data: bytes, wire: int) -> Ip | None:
    first, tos, total, ident, fragment, hops, protocol, _ = unpack_from("!BBHHHBBH", data)
    at = (first & 15) * 4
    if at < 20:
        return None
    source, target = inet_ntop(AF_INET, data[12:16]), inet_ntop(AF_INET, data[16:20])
    length = max((total or wire) - at, 0)
    return Ip(4, source, target, protocol, hops, tos, ident, (fragment & 0x1FFF) * 8, bool(fragment & 0x2000), at,
              length, data)  # fmt: skip


def _six(data: bytes, wire: int) -> Ip:
    first, total, kind, hops = unpack_from("!IHBB", data)
    source, target = inet_ntop(AF_INET6, data[8:24]), inet_ntop(AF_INET6, data[24:40])
    at, ident, offset, more = 40, 0, 0, False
    for _ in range(_MOST_EXTENSIONS):
        if kind not in _EXTENSIONS or offset or len(data) < at + 8:
            break
        if kind == 44:
            place, ident = unpack_from("!HI", data, at + 2)
            offset, more = place & 0xFFF8, bool(place & 1)
        size = 8 if kind == 44 else (data[at + 1] + 2) * 4 if kind == 51 else (data[at + 1] + 1) * 8
        kind, at = data[at], at + size
    length = max((total or wire - 40) + 40 - at, 0)
    return Ip(6, source, target, kind, hops, first >> 20 & 255, ident, offset, more, at, length, data)


def ports(ip: Ip) -> tuple[int, int] | None:
    """Source and destination port; of an ICMP echo its id, twice; None where there are none, or not here."""
    if ip.offset or len(ip.data) < ip.at + 4:
        return None
    if ip.protocol in WITH_PORTS:
        source, target = unpack_from("!HH", ip.data, ip.at)
        return source, target
    if ip.data[ip.at] in ECHOES.get(ip.protocol, ()) and len(ip.data) >= ip.at + 6:
        (number,) = unpack_from("!H", ip.data, ip.at + 4)
        return number, number
    return None


def is_echo_reply(ip: Ip | None) -> bool:
    """Whether it answers a ping, which a process waits for."""
    return ip is not None and not ip.offset and ip.data[ip.at : ip.at + 1] == _REPLIES.get(ip.protocol)


def inner(ip: Ip) -> Ip | None:
    """The packet that an ICMP error quotes, as far as it does."""
    if ip.offset or len(ip.data) < ip.at + 8 or ip.data[ip.at] not in ERRORS.get(ip.protocol, ()):
        return None
    quoted = ip.data[ip.at + 8 :]
    return parse(quoted, len(quoted))
