"""Whose a packet is, where the kernel's record alone does not say.

In this order: the process that the record names; the one that holds the socket (by its inode, in /proc), for sockets
older than the trace; the last owner of the same flow, for what comes when the socket has gone (TIME_WAIT) and for
ICMP, whose errors quote a packet of the flow; for a SYN, who listens on the port.  Else it is unknown.
"""

from __future__ import annotations

from dsight.connections.host import Owner
from dsight.packets.decode import ICMP, ICMP6, TCP, Ip, inner, is_echo_reply, ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from dsight.connections.host import Host

    Key = TypeVar("Key")

_MOST = 65536  # flows, and names, that are remembered
_NOBODY = {0: "unknown", -1: "kernel", -2: "no socket"}


class Owners:
    """Names of processes, and owners of flows."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._held: dict[int, Owner] = {}
        self._names: dict[int, Owner] = {}
        self._flows: dict[object, Owner] = {}

    def holds(self, held: dict[int, Owner]) -> None:
        """The sockets that processes hold as the trace begins, by inode: those processes may be gone later."""
        self._held = held

    def name(self, pid: int, comm: str) -> None:
        """A process is called so (from now on: a number is used again)."""
        known = self._names.get(pid)
        if known is None or known.comm != comm:
            _keep(self._names, pid, Owner(pid, comm))

    def of(self, pid: int, inode: int, ip: Ip | None, received: bool, netns: int) -> Owner | None:
        """`pid`, `inode`: as the record has them, 0 unknown, pid -1 the kernel's own, -2 no socket's."""
        key = None if ip is None else _key(ip, received, netns)
        found = self._process(pid) if pid > 0 else self._holder(inode) if inode and pid == 0 else None
        if found is None and key is not None:
            found = self._flows.get(key)
            if found is None and ip is not None and pid == 0 and received and _opens(ip):
                found = self._listener(key[3], netns)
        if found is not None and ip is not None and key is not None:
            if self._flows.get(key) is not found:
                _keep(self._flows, key, found)
            if ip.more and not ip.offset:
                _keep(self._flows, _rest(ip, received, netns), found)
        return found

    def nobody(self, pid: int, ip: Ip | None) -> str:
        """Why a packet of this host is no process's: "kernel", "no socket"; "unknown" where that is unknown."""
        if ip is None or pid > 0 or is_echo_reply(ip):
            return "unknown"
        return _NOBODY[pid]

    def _process(self, pid: int) -> Owner:
        known = self._names.get(pid)
        if known is None:
            known = Owner(pid, self._host.comm(pid) or "?")
            _keep(self._names, pid, known)
        return known

    def _holder(self, inode: int) -> Owner | None:
        found = self._held.get(inode) or self._host.owner(inode)
        if found is None:
            return None
        self.name(found.pid, found.comm)
        return self._names[found.pid]

    def _listener(self, port: int, netns: int) -> Owner | None:
        """The only process that listens on a port, of whatever address."""
        inodes = {one.inode for one in self._host.listening(netns, 0) or () if one.port == port}
        owners = {owner.pid: owner for owner in map(self._holder, inodes) if owner is not None}
        return next(iter(owners.values())) if len(owners) == 1 else None


def _keep(where: dict[Key, Owner], key: Key, owner: Owner) -> None:
    where.pop(key, None)
    if len(where) >= _MOST:
        del where[next(iter(where))]
    where[key] = owner


def _key(ip: Ip, received: bool, netns: int) -> tuple[int, int, str, int, str, int] | None:
    """The flow of a packet as seen from this host: namespace, protocol, local address and port, remote ones.  An ICMP
    error that is received is part of the flow it is about."""
    if ip.protocol in (ICMP, ICMP6) and (about := inner(ip)) is not None:
        if not received:
            return None  # an answer of the kernel's
        ip, received = about, False
    if ip.offset or (found := ports(ip)) is None:
        return _rest(ip, received, netns) if ip.offset else None
    source, target = found
    if received:
        return netns, ip.protocol, ip.target, target, ip.source, source
    return netns, ip.protocol, ip.source, source, ip.target, target


def _rest(ip: Ip, received: bool, netns: int) -> tuple[int, int, str, int, str, int]:
    """The later fragments of a datagram: those with its identification."""
    return netns, -ip.protocol, ip.source, ip.ident, ip.target, int(received)


def _opens(ip: Ip) -> bool:
    """Whether it is the first segment of a connection (SYN alone)."""
    return ip.protocol == TCP and not ip.offset and len(ip.data) >= ip.at + 14 and ip.data[ip.at + 13] & 0x12 == 2
