"""Attempts that connect(2) itself decides: UNIX sockets, SCTP, vsock and every other family.

Events of connect.d, tcp.d and unix*.d in, changes out, no I/O.  TCP and UDP have trackers of their own.

The call's return is the outcome.  A call that says EINPROGRESS is open until a later call for the
same socket knows more, or the process ends.  connect(2) with AF_UNSPEC takes a connection away.
"""

from __future__ import annotations

import errno
from struct import unpack_from

from dsight.connections.attempts import ERESTARTSYS, ERRNO_OUTCOMES, FAMILIES, NEVER, SECOND, Change, Evidence
from dsight.connections.datagrams import UDP
from dsight.connections.events import MPTCP, TCP, Enter, Leave, Peer, ProcessExit
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import Who

AF_UNIX = 1
LIMIT = 8192  # calls and open attempts remembered
# Of the internet families, by protocol; others have the name of their family.
_PROTOCOLS = {1: "icmp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite", 256: "smc"}
_NOT_YET = frozenset({errno.EINPROGRESS, errno.EALREADY})
# Where glibc asks for its name service cache before each lookup (nscd(8)).  Most machines have none: it goes on itself.
_OPTIONAL = frozenset({"/var/run/nscd/socket", "/run/nscd/socket"})


class UnixAddress(Value):
    """The sockaddr_un given to connect(2)."""

    tid: int
    path: str | None


class UnixPeer(Value):
    """Of a socket connected just now."""

    tid: int
    listener: int  # pid of who called listen(2); 0: not known
    local: str | None  # the name our socket is bound to


def unix_path(data: bytes) -> str | None:
    """The name in a sockaddr_un (unix(7)); an abstract one after "@"; None where there is none.

    Bytes that are not UTF-8 are kept as surrogates; a NUL inside an abstract name is "@" too, as
    /proc/net/unix has it.
    """
    if len(data) <= 2 or unpack_from("=H", data)[0] != AF_UNIX:
        return None
    name = data[2:]
    name = name.replace(b"\0", b"@") if name[:1] == b"\0" else name.split(b"\0", 1)[0]
    return name.decode("utf-8", "surrogateescape")


def _address(tid: int, size: int, data: bytes) -> UnixAddress:
    return UnixAddress(tid, unix_path(data[: max(size, 0)]))


def _peer(tid: int, listener: int, size: int, data: bytes) -> UnixPeer:
    return UnixPeer(tid, listener, unix_path(data[: max(size, 0)]))


DECODERS: dict[int, Callable[..., Any]] = {30: _address, 31: _peer}


class _Call:
    """One attempt, open until it has an outcome."""

    __slots__ = ("announced", "enter", "family", "id", "listener", "local", "next_tick", "protocol", "remote",
                 "unspecified", "wait", "who")  # fmt: skip

    def __init__(self, who: Who, enter: Enter) -> None:
        self.id = f"{enter.time:x}-{who.tid}"
        self.who = who
        self.enter = enter
        self.family = FAMILIES.get(enter.family, str(enter.family))
        self.protocol = _PROTOCOLS.get(enter.protocol) if self.family in ("inet", "inet6") else self.family
        self.local: tuple[str | None, int | None] = (None, None)
        self.remote: tuple[str | None, int | None] = (None, None)
        self.listener: int | None = None
        self.unspecified = False  # AF_UNSPEC
        self.announced = False
        self.wait = SECOND
        self.next_tick = enter.time + SECOND

    def change(self, event: str, time: int, outcome: str | None = None, error: int = 0, by: str = "") -> Change:
        return Change(
            event, time, self.id, self.who, self.enter.netns or None, self.protocol or str(self.enter.protocol),
            self.family, "connect", self.local, self.remote, not self.enter.nonblocking, 0,
            max(time - self.enter.time, 0), outcome, error, Evidence(by=by), 0, None, self.listener,
        )  # fmt: skip


class Calls:
    """The tracker: see the module's docstring.  `caller`: Tracker.caller."""

    def __init__(self, caller: Callable[[int], Who | None], limit: int = LIMIT) -> None:
        self._caller = caller
        self._limit = limit
        self._calls: dict[int, _Call] = {}  # inside connect(2), by thread
        self._open: dict[int, _Call] = {}  # after EINPROGRESS, by socket
        self.decoders = DECODERS
        self.handlers: dict[type, Callable[[Any], list[Change]]] = {
            Enter: self._enter,
            Peer: self._peer,
            UnixAddress: self._unix_address,
            UnixPeer: self._unix_peer,
            Leave: self._leave,
            ProcessExit: self._exit,
        }

    def tick(self, now: int) -> list[Change]:
        """`hanging` for calls that have not returned for 1, 2, 4, 8.. s."""
        changes = []
        for call in self._calls.values():
            if call.announced and now >= call.next_tick:
                changes.append(call.change("hanging", now))
                while call.next_tick <= now:
                    call.wait *= 2
                    call.next_tick = call.enter.time + call.wait
        return changes

    def stop(self, now: int) -> list[Change]:
        """The watcher ends."""
        open_ones = [c for c in (*self._calls.values(), *self._open.values()) if c.announced]
        self._calls.clear()
        self._open.clear()
        return [call.change("outcome", now, "pending") for call in open_ones]

    def _enter(self, enter: Enter) -> list[Change]:
        if enter.sock == 0 or (enter.protocol in (TCP, MPTCP, UDP) and enter.family != AF_UNIX):
            return []
        who = self._caller(enter.tid)
        if who is None:
            return []
        changes = []
        lost = self._calls.pop(enter.tid, None)  # its Leave was lost
        if lost is None and len(self._calls) >= self._limit:
            lost = self._calls.pop(next(iter(self._calls)))
        if lost is not None and lost.announced:
            changes.append(lost.change("outcome", enter.time, "pending"))
        self._calls[enter.tid] = _Call(who, enter)
        return changes

    def _peer(self, peer: Peer) -> list[Change]:
        call = self._calls.get(peer.tid)
        if call is None:
            return []
        call.unspecified = peer.family == 0
        call.remote = (peer.address, peer.port)
        if peer.address is None or call.enter.sock in self._open:
            return []
        return self._announce(call)

    def _unix_address(self, event: UnixAddress) -> list[Change]:
        call = self._calls.get(event.tid)
        if call is None:
            return []
        call.remote = (event.path, None)
        return [] if call.unspecified or event.path in _OPTIONAL else self._announce(call)

    def _announce(self, call: _Call) -> list[Change]:
        if call.announced:
            return []
        call.announced = True
        return [call.change("attempt", call.enter.time)]

    def _unix_peer(self, event: UnixPeer) -> list[Change]:
        call = self._calls.get(event.tid)
        if call is not None:
            call.listener = event.listener or None
            call.local = (event.local, None)
        return []

    def _leave(self, leave: Leave) -> list[Change]:
        call = self._calls.pop(leave.tid, None)
        if call is None or (call.unspecified and leave.ret == 0):
            return []
        error = -leave.ret if leave.ret < 0 else 0
        if call.remote[0] in _OPTIONAL and error in (errno.ENOENT, errno.ECONNREFUSED):
            return []
        before = self._open.get(call.enter.sock)
        if error in _NOT_YET:
            return [] if before is not None else self._under_way(call)
        if before is not None:
            del self._open[call.enter.sock]
            done = error in (0, errno.EISCONN)
            return [_ended(before, leave.time, 0 if done else error)]
        changes = self._announce(call)
        return [*changes, _ended(call, leave.time, error)]

    def _under_way(self, call: _Call) -> list[Change]:
        changes = self._announce(call)
        if len(self._open) >= self._limit:
            oldest = self._open.pop(next(iter(self._open)))
            changes.append(oldest.change("outcome", call.enter.time, "pending"))
        call.next_tick = NEVER
        self._open[call.enter.sock] = call
        return changes

    def _exit(self, event: ProcessExit) -> list[Change]:
        ended = [sock for sock, call in self._open.items() if call.who.pid == event.pid]
        return [self._open.pop(sock).change("outcome", event.time, "aborted", 0, "caller") for sock in ended]


def _ended(call: _Call, time: int, error: int) -> Change:
    if error == 0:
        return call.change("outcome", time, "connected")
    if error == ERESTARTSYS:
        return call.change("outcome", time, "aborted", errno.EINTR, "caller")
    outcome = ERRNO_OUTCOMES.get(error, "invalid")
    if error == errno.EAGAIN and call.enter.family == AF_UNIX:
        # unix(7): no room in the listener's queue; a blocking socket waited as long as SO_SNDTIMEO allows
        outcome = "refused" if call.enter.nonblocking else "timed-out"
    return call.change("outcome", time, outcome, error, "kernel")
