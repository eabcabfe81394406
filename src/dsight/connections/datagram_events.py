"""What comes from the kernel for UDP: a Value for each recording clause of udp*.d.

See events.py.  Addresses are (text, port), IPv4-mapped IPv6 as IPv4; times ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import errno
from _socket import AF_INET6
from struct import pack

from dsight.connections.events import inet_address, port_number
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The errno that Linux makes of an unreachable message's code: icmp_err_convert in net/ipv4/icmp.c,
# tab_unreach in net/ipv6/icmp.c.  Code 4 of IPv4 speaks of the datagram's size.
_ICMP4 = {
    0: errno.ENETUNREACH, 1: errno.EHOSTUNREACH, 2: errno.ENOPROTOOPT, 3: errno.ECONNREFUSED, 6: errno.ENETUNREACH,
    7: errno.EHOSTDOWN, 8: errno.ENONET, 9: errno.ENETUNREACH, 10: errno.EHOSTUNREACH, 11: errno.ENETUNREACH,
    12: errno.EHOSTUNREACH, 13: errno.EHOSTUNREACH, 14: errno.EHOSTUNREACH, 15: errno.EHOSTUNREACH,
}  # fmt: skip
_ICMP6 = {
    0: errno.ENETUNREACH, 1: errno.EACCES, 2: errno.EHOSTUNREACH, 3: errno.EHOSTUNREACH, 4: errno.ECONNREFUSED,
    5: errno.EACCES, 6: errno.EACCES,
}  # fmt: skip


class UdpError(Value):
    """An ICMP message made an error of a connected socket."""

    time: int
    sock: int
    error: int
    local: tuple[str, int]
    remote: tuple[str, int]


class UdpSent(Value):
    """A datagram was sent; `count`: the how many-th in a row to this destination.  Not all are told:
    see udp_first.d and udp_all.d."""

    time: int
    tid: int
    sock: int
    result: int  # octets, or a negative errno
    count: int
    connected: bool  # to the address the socket is connected to
    local: tuple[str, int]
    remote: tuple[str, int]
    netns: int
    start: int  # when the call began; 0: unknown


class UdpReceived(Value):
    """A datagram came, from another address than the one before."""

    time: int
    sock: int
    remote: tuple[str, int]


class UdpClosed(Value):
    """The socket is being closed."""

    time: int
    sock: int


class UdpIcmp(Value):
    """An ICMP message came: a datagram could not be delivered."""

    time: int
    netns: int
    error: int  # the errno it stands for; 0 for none
    remote: tuple[str, int]
    local_port: int


def _address(hi: int, lo: int, port: int) -> tuple[str, int]:
    """Halves of a struct in6_addr as host integers, and a port in network order."""
    return inet_address(AF_INET6, 0, pack("=QQ", hi & 0xFFFFFFFFFFFFFFFF, lo & 0xFFFFFFFFFFFFFFFF))[0], port_number(
        port
    )


def _error(
    time: int, sock: int, error: int, family: int, local4: int, remote4: int, local6: bytes, remote6: bytes,
    local_port: int, remote_port: int,
) -> UdpError:  # fmt: skip
    local = inet_address(family, local4, local6)[0], port_number(local_port)
    return UdpError(time, sock, error, local, (inet_address(family, remote4, remote6)[0], port_number(remote_port)))


def _sent(
    time: int, tid: int, sock: int, result: int, count: int, connected: int, family: int, local4: int, local6: bytes,
    local_port: int, hi: int, lo: int, port: int, netns: int, start: int,
) -> UdpSent:  # fmt: skip
    local = inet_address(family, local4, local6)[0], port_number(local_port)
    return UdpSent(time, tid, sock, result, count, bool(connected), local, _address(hi, lo, port), netns, start or time)


def _received(time: int, sock: int, hi: int, lo: int, port: int) -> UdpReceived:
    return UdpReceived(time, sock, _address(hi, lo, port))


def _icmp(time: int, netns: int, six: int, code: int, hi: int, lo: int, local_port: int, port: int) -> UdpIcmp:
    error = (_ICMP6 if six else _ICMP4).get(code, 0)
    return UdpIcmp(time, netns, error, _address(hi, lo, port), port_number(local_port))


DECODERS: dict[int, Callable[..., Any]] = {20: _error, 21: _sent, 22: _received, 23: UdpClosed, 24: _icmp}
