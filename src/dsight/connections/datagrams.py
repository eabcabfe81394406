"""UDP: which datagrams are an attempt, and what came of it.  Events of udp*.d in, changes out, no I/O.

An exchange is a socket and a destination; it is one attempt, whatever the number of datagrams.

* connect(2) on a UDP socket sends nothing, and getaddrinfo(3) does it to learn which route an
  address has.  So the attempt begins with the first datagram.  A connect(2) that fails is an
  attempt of its own, unless it is one of a row of such calls (`ROW`), as getaddrinfo makes them.
* Where replies are not seen (`answers` is False), a socket that is refused nothing for `QUIET`
  after its first datagram is `connected`.
* Where they are: the first reply says `connected`; without one the attempt is open until the
  socket is closed, or for `GIVE_UP`: then it is `sent`, for nobody knows whether one was due.  Of
  protocols that are known to answer (`ANSWERED`) it is told while it hangs, and that the
  application gave up.
* An error after that is a further attempt, `via` "send", once.
* A destination from which something had come before is being answered: no attempt.
"""

from __future__ import annotations

import errno

from dsight.connections.attempts import ERRNO_OUTCOMES, FAMILIES, NEVER, SECOND, Change, Evidence
from dsight.connections.datagram_events import DECODERS, UdpClosed, UdpError, UdpIcmp, UdpReceived, UdpSent
from dsight.connections.events import Enter, Leave, Peer, ProcessExit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import Who

UDP = 17
LIMIT = 8192  # exchanges remembered, decided ones too; beyond it the oldest is given up
EARLY = 1024  # messages remembered that came before the datagram they answer was told
ROW = 10_000_000  # ns between the connects of a row
QUIET = SECOND
GIVE_UP, GIVE_UP_ANSWERED = 10 * SECOND, 60 * SECOND
# Ports whose protocols answer each request: DNS, DHCP, TFTP, Kerberos, portmapper, NTP, NetBIOS names,
# SNMP, CLDAP, QUIC, IKE (two), DNS over QUIC, OpenVPN, RADIUS, NFS, STUN, SIP.  IANA's registry.
ANSWERED = frozenset({53, 67, 69, 88, 111, 123, 137, 161, 389, 443, 500, 4500, 853, 1194, 1812, 1813, 2049, 3478, 5060})

# Errors of sending and of ICMP that say that the destination is not reached; others, such as
# EAGAIN and EMSGSIZE, say something of the datagram.
_NOT_REACHED = frozenset(
    {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENONET, errno.ENETDOWN,
     errno.EPERM, errno.EACCES, errno.ENOPROTOOPT, errno.EINVAL, errno.EADDRNOTAVAIL}
)  # fmt: skip
_UNREACHABLE = {errno.ENOPROTOOPT: "unreachable"}


class _Call:
    """connect(2) on a UDP socket: under way, or done and nothing sent since."""

    __slots__ = ("end", "enter", "peer", "who")

    def __init__(self, who: Who, enter: Enter) -> None:
        self.who = who
        self.enter = enter
        self.peer: Peer | None = None
        self.end = enter.time


class _Exchange:
    """One attempt, open until it has an outcome."""

    __slots__ = ("call", "family", "id", "local", "netns", "next_tick", "outcome", "remote", "sent", "sock", "start",
                 "via", "wait", "who")  # fmt: skip

    def __init__(self, sock: int, who: Who, start: int, remote: tuple[str | None, int | None]) -> None:
        self.id = f"{start:x}-{who.tid}"
        self.sock = sock
        self.who = who
        self.start = start
        self.remote = remote
        self.local: tuple[str | None, int | None] = (None, None)
        self.family: str | None = None if remote[0] is None else "inet6" if ":" in remote[0] else "inet"
        self.netns: int | None = None
        self.via = "send"
        self.call: _Call | None = None
        self.sent = 0
        self.outcome: str | None = None
        self.wait = SECOND
        self.next_tick = NEVER

    def change(self, event: str, time: int, outcome: str | None = None, error: int = 0, by: str = "kernel") -> Change:
        if outcome is not None:
            self.outcome = outcome
        return Change(
            event, time, self.id, self.who, self.netns, "udp", self.family, self.via, self.local, self.remote,
            None if self.call is None else not self.call.enter.nonblocking, 0, max(time - self.start, 0), outcome,
            error, Evidence(on_wire=self.sent > 0, by=by), 0, self.sent,
        )  # fmt: skip


class Datagrams:
    """The tracker of UDP: see the module's docstring.  `caller`: Tracker.caller."""

    def __init__(self, caller: Callable[[int], Who | None], answers: bool = False, limit: int = LIMIT) -> None:
        self._caller = caller
        self._answers = answers
        self._limit = limit
        self._calls: dict[int, _Call] = {}  # by thread
        self._connected: dict[int, _Call] = {}  # by socket
        self._row: dict[int, int] = {}  # when a thread's newest connect(2) ended
        self._lone: dict[int, list[Change]] = {}  # by thread: what it comes to, if it failed and no other follows
        self._exchanges: dict[tuple[int, Any], _Exchange] = {}  # by socket and destination
        self._ports: dict[tuple[int, int, Any], _Exchange] = {}  # by namespace, local port, destination
        self._of_sock: dict[int, list[_Exchange]] = {}
        self._of_pid: dict[int, dict[str, _Exchange]] = {}  # open ones
        self._early: dict[tuple[int, Any], int] = {}  # when something was received, by socket and source
        self._early_icmp: dict[tuple[int, int, Any], UdpIcmp] = {}
        self._due = NEVER
        self.decoders = DECODERS
        self.handlers: dict[type, Callable[[Any], list[Change]]] = {
            Enter: self._enter,
            Peer: self._peer,
            Leave: self._leave,
            ProcessExit: self._exit,
            UdpError: self._error,
            UdpSent: self._sent,
            UdpReceived: self._received,
            UdpClosed: self._closed,
            UdpIcmp: self._icmp,
        }

    def tick(self, now: int) -> list[Change]:
        """What time decides."""
        changes = self._lone_until(now - ROW)
        if now < self._due:
            return changes
        self._due = NEVER
        for open_ones in list(self._of_pid.values()):
            for one in list(open_ones.values()):
                changes += self._time_passed(one, now)
                if one.outcome is None:
                    self._due = min(self._due, one.next_tick)
        return changes

    def stop(self, now: int) -> list[Change]:
        """What is open is pending."""
        changes = self._lone_until(now)
        for open_ones in list(self._of_pid.values()):
            changes += [self._end(one, now, "pending") for one in list(open_ones.values())]
        return changes

    # connect(2).

    def _enter(self, enter: Enter) -> list[Change]:
        if enter.protocol == UDP:
            who = self._caller(enter.tid)
            if who is not None:
                _bound(self._calls, self._limit)
                self._calls[enter.tid] = _Call(who, enter)
        return []

    def _peer(self, peer: Peer) -> list[Change]:
        call = self._calls.get(peer.tid)
        if call is not None:
            call.peer = peer
        return []

    def _leave(self, leave: Leave) -> list[Change]:
        call = self._calls.pop(leave.tid, None)
        if call is None:
            return []
        sock = call.enter.sock
        self._connected.pop(sock, None)
        if call.peer is not None and call.peer.family == 0:  # AF_UNSPEC takes the connection away
            return []
        call.end = leave.time
        in_row = call.enter.time - self._row.pop(leave.tid, -ROW) < ROW
        if in_row:
            self._lone.pop(leave.tid, None)
        _bound(self._row, self._limit)
        self._row[leave.tid] = leave.time
        if leave.ret == 0:
            _bound(self._connected, self._limit)
            self._connected[sock] = call
            return []
        changes = _failed_call(call, leave)
        if self._answers:
            return changes
        if not in_row:
            self._lone[leave.tid] = changes
        return []

    def _lone_until(self, then: int) -> list[Change]:
        """Connects that failed, no other before or after."""
        done = [tid for tid in self._lone if self._row.get(tid, 0) <= then]
        return [change for tid in done for change in self._lone.pop(tid)]

    # Datagrams.

    def _sent(self, sent: UdpSent) -> list[Change]:
        key = (sent.sock, sent.remote)
        one = self._exchanges.get(key)
        call = self._connected.pop(sent.sock, None) if sent.connected else None
        who = self._caller(sent.tid)
        changes: list[Change] = []
        if one is None or (call is not None and one.call is not call and one.outcome is not None):
            who = call.who if call is not None else who
            if who is None:
                return []
            if one is not None:
                self._drop(one)
            one, changes = self._begin(sent, who, call)
        one.local = sent.local
        if -sent.result not in _NOT_REACHED:
            one.sent += 1 if sent.count == 1 else sent.count // 2  # told at 1, 2, 4, 8..
        if one.outcome is not None:
            return changes
        if changes:
            changes[-1] = one.change("attempt", one.start)  # with the count
        if -sent.result in _NOT_REACHED:
            return [*changes, self._failed(one, sent.time, -sent.result)]
        icmp = self._early_icmp.pop((sent.netns, sent.local[1], sent.remote), None)
        if icmp is not None and icmp.time >= one.start:
            return [*changes, self._failed(one, icmp.time, icmp.error)]
        reply = self._early.pop(key, None)
        if reply is not None:
            changes.append(self._end(one, max(reply, one.start), "connected"))
        return changes

    def _begin(self, sent: UdpSent, who: Who, call: _Call | None) -> tuple[_Exchange, list[Change]]:
        """A new exchange."""
        start = sent.start
        if call is not None and start - call.end < SECOND:
            start = call.enter.time
        one = _Exchange(sent.sock, who, start, sent.remote)
        one.netns = sent.netns
        if sent.connected:
            one.call, one.via = call, "connect"
        changes = self._room(sent.time)
        self._exchanges[(sent.sock, sent.remote)] = one
        self._ports[(sent.netns, sent.local[1], sent.remote)] = one
        self._of_sock.setdefault(sent.sock, []).append(one)
        one.local = sent.local
        if self._early.get((sent.sock, sent.remote), NEVER) < start and call is None:
            one.outcome = "answer"
            return one, changes
        self._of_pid.setdefault(who.pid, {})[one.id] = one
        one.next_tick = start + SECOND
        self._due = min(self._due, one.next_tick)
        return one, [*changes, one.change("attempt", start)]

    def _error(self, event: UdpError) -> list[Change]:
        if event.error not in _NOT_REACHED:
            return []
        one = self._exchanges.get((event.sock, event.remote))
        call = self._connected.get(event.sock)
        if call is not None and (one is None or one.call is not call):
            # Over loopback the answer comes before sending has returned: the datagram is told next.
            sent = UdpSent(event.time, call.who.tid, event.sock, 0, 1, True, event.local, event.remote,
                           call.enter.netns, event.time)  # fmt: skip
            if one is not None:
                self._drop(one)
            one, changes = self._begin(sent, call.who, call)
            del self._connected[event.sock]
            one.sent = 1
            return [*changes, self._failed(one, event.time, event.error)]
        return [] if one is None else self._told(one, event.time, event.error)

    def _icmp(self, event: UdpIcmp) -> list[Change]:
        if not event.error:
            return []
        key = (event.netns, event.local_port, event.remote)
        one = self._ports.get(key)
        if one is None:
            _bound(self._early_icmp, EARLY)
            self._early_icmp[key] = event
            return []
        return self._told(one, event.time, event.error)

    def _told(self, one: _Exchange, time: int, error: int) -> list[Change]:
        """An error for an exchange that may have its outcome already."""
        if one.outcome is None:
            return [self._failed(one, time, error)]
        if one.outcome not in ("connected", "sent"):
            return []
        again = _Exchange(one.sock, one.who, time, one.remote)
        again.local, again.netns, again.sent, again.call = one.local, one.netns, one.sent, one.call
        one.outcome = outcome = _outcome(error)
        return [again.change("attempt", time), again.change("outcome", time, outcome, error)]

    def _received(self, event: UdpReceived) -> list[Change]:
        key = (event.sock, event.remote)
        one = self._exchanges.get(key)
        if one is None:
            _bound(self._early, EARLY)
            self._early[key] = event.time
            return []
        return [self._end(one, event.time, "connected")] if one.outcome is None else []

    # Ends.

    def _closed(self, event: UdpClosed) -> list[Change]:
        self._connected.pop(event.sock, None)
        changes = []
        for one in list(self._of_sock.get(event.sock, ())):
            if one.outcome is None:
                changes.append(self._left(one, event.time))
            self._drop(one)
        return changes

    def _exit(self, event: ProcessExit) -> list[Change]:
        ended = list(self._of_pid.get(event.pid, {}).values())
        return [self._left(one, event.time) for one in ended]

    def _left(self, one: _Exchange, time: int) -> Change:
        """The application waits no more."""
        if not self._answers:
            return self._quiet(one)
        if one.remote[1] in ANSWERED:
            return self._end(one, time, "aborted", by="caller")
        return self._end(one, time, "sent")

    def _time_passed(self, one: _Exchange, now: int) -> list[Change]:
        if now < one.next_tick:
            return []
        if not self._answers:
            return [self._quiet(one)] if now - one.start >= QUIET else []
        answered = one.remote[1] in ANSWERED
        if now - one.start >= (GIVE_UP_ANSWERED if answered else GIVE_UP):
            return [self._end(one, now, "sent")]
        while one.next_tick <= now:
            one.wait *= 2
            one.next_tick = one.start + one.wait
        one.next_tick = min(one.next_tick, one.start + (GIVE_UP_ANSWERED if answered else GIVE_UP))
        return [one.change("hanging", now)] if answered else []

    def _quiet(self, one: _Exchange) -> Change:
        """No error came: the socket is connected, and was when connect(2) returned."""
        return self._end(one, max(one.start, one.call.end if one.call is not None else 0), "connected")

    def _failed(self, one: _Exchange, time: int, error: int) -> Change:
        return self._end(one, time, _outcome(error), error)

    def _end(self, one: _Exchange, time: int, outcome: str, error: int = 0, by: str = "kernel") -> Change:
        self._close_pid(one)
        return one.change("outcome", time, outcome, error, by)

    def _close_pid(self, one: _Exchange) -> None:
        open_ones = self._of_pid.get(one.who.pid)
        if open_ones is not None:
            open_ones.pop(one.id, None)
            if not open_ones:
                del self._of_pid[one.who.pid]

    def _drop(self, one: _Exchange) -> None:
        """Forget an exchange that has its outcome."""
        self._exchanges.pop((one.sock, one.remote), None)
        if one.netns is not None and one.local[1] is not None:
            self._ports.pop((one.netns, one.local[1], one.remote), None)
        others = self._of_sock.get(one.sock)
        if others is not None and one in others:
            others.remove(one)
            if not others:
                del self._of_sock[one.sock]

    def _room(self, now: int) -> list[Change]:
        """Place for one more exchange."""
        if len(self._exchanges) < self._limit:
            return []
        oldest = next(iter(self._exchanges.values()))
        changes = [] if oldest.outcome is not None else [self._end(oldest, now, "pending")]
        self._drop(oldest)
        return changes


def _failed_call(call: _Call, leave: Leave) -> list[Change]:
    """connect(2) failed at once."""
    peer = call.peer
    one = _Exchange(call.enter.sock, call.who, call.enter.time, (None, None))
    family = call.enter.family
    if peer is not None and peer.address is not None:
        one.remote = (peer.address, peer.port)
        family = peer.family
    one.family = FAMILIES.get(family)
    one.call, one.via, one.netns = call, "connect", call.enter.netns
    error = -leave.ret
    return [one.change("attempt", one.start), one.change("outcome", leave.time, _outcome(error), error)]


def _outcome(error: int) -> str:
    return _UNREACHABLE.get(error) or ERRNO_OUTCOMES.get(error, "invalid")


def _bound(kept: dict[Any, Any], limit: int) -> None:
    """Make room in a dict that must not grow: the oldest goes."""
    if len(kept) >= limit:
        del kept[next(iter(kept))]
