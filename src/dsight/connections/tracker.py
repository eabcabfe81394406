"""Which attempt is it, and what came of it: events in, changes out, no I/O.

    events.decode -> Tracker.feed(event) -> changes -> diagnose -> faces
                     Tracker.tick(now)   -> `hanging` changes
                     Tracker.stop(now)   -> `pending` for what is still open

A list of events fed again gives the same changes.  How each outcome shows in the events is the
table in docs/connection-record.md ("What each outcome looks like").  Two things are joined here:

* a call of connect(2), known by its thread: Enter .. Leave, with the caller's Who, Args and Peer;
* an attempt on the wire, known by its socket's address: SynSent .. State.

An attempt that reaches SYN_SENT is decided by its socket (State, SockError), since calls on
non-blocking sockets return before anything is known; one that never does is decided by what
connect(2) returns.  Attempts that were under way when the watcher started are not invented.
"""

from __future__ import annotations

import errno

from dsight.connections.events import (
    DECODERS,
    ESTABLISHED,
    MPTCP,
    PF_KTHREAD,
    SS_CONNECTING,
    SYN_RECV,
    TCP,
    Args,
    Drop,
    Enter,
    Icmp,
    Leave,
    Peer,
    Reset,
    Retransmit,
    SockError,
    State,
    SynSent,
    Who,
)
from dsight.connections.uring import DECODERS as URING_DECODERS
from dsight.connections.uring import Requests, UringConnect, UringDone, UringPeer
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import Event
    from dsight.connections.lives import Life

SECOND = 1_000_000_000
LIMIT = 65536  # open attempts (and calls) remembered; beyond it the oldest is given up as pending
ERESTARTSYS = 512  # include/linux/errno.h: a signal interrupts the call; never seen by the process

# include/linux/socket.h, AF_*
FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 30: "tipc", 31: "bluetooth", 33: "rxrpc", 40: "vsock", 42: "qipcrtr"}
_PROTOCOLS = {TCP: "tcp", MPTCP: "mptcp"}

# What an errno means as an outcome.  All others: invalid.
ERRNO_OUTCOMES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.ETIMEDOUT: "timed-out",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ENONET: "unreachable",
    errno.EPERM: "denied",
    errno.EACCES: "denied",
    errno.EADDRNOTAVAIL: "no-address",
    errno.EADDRINUSE: "no-address",
    errno.ECONNABORTED: "aborted",
    errno.EINTR: "aborted",
    ERESTARTSYS: "aborted",
}
# What connect(2) returns without having failed: EALREADY is the answer to asking again.
_NO_VERDICT = frozenset({0, errno.EALREADY, errno.EINPROGRESS})
# Errors that connect(2) can only have from the socket of an attempt under way: it is over.
_SOCKET_ERRORS = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN}
)
RACE = SECOND // 2  # the slower of two attempts is closed that soon after the other has connected
WINNERS = 4096  # connections just made that are remembered for that
FRESH = SECOND // 10  # a SYN leaves that soon after its attempt began
NEVER = 1 << 63  # a time that does not come


class Evidence(Value):
    """What was seen besides the outcome, for the diagnosis."""

    on_wire: bool = False  # a SYN left, or was about to
    reset: bool = False  # a RST came
    soft_error: int = 0  # errno of an ICMP error that did not end the attempt
    filtered: bool = False  # sending the SYN failed with EPERM: a packet filter here
    icmp: tuple[int, int] | None = None  # type and code this host itself made for the SYN
    drop: Drop | None = None  # the newest SYN, or answer, that this host dropped
    all_dropped: bool = False  # it dropped every one
    no_port: bool = False  # the kernel found no local port
    won: tuple[str | None, int | None] | None = None  # where the process had connected instead, just before
    by: str = ""  # who ended it: "kernel", "caller" (closed, interrupted, killed)


class Change(Value):
    """One change of one attempt: event is attempt, hanging or outcome; or of a connection that stands
    (lives.py): accepted, closed."""

    event: str
    time: int
    id: str
    who: Who
    netns: int | None
    protocol: str | None
    family: str | None
    via: str
    local: tuple[str | None, int | None]
    remote: tuple[str | None, int | None]
    blocking: bool | None
    syns: int
    waited: int  # ns since the attempt
    outcome: str | None = None
    error: int = 0
    evidence: Evidence = Evidence()
    datagrams: int | None = None  # UDP: how many were sent
    listener: int | None = None  # pid of who made the listening socket, where the kernel says so
    sock: int = 0  # TCP: address of the socket
    life: Life | None = None  # with `closed`


class Call:
    """connect(2) in progress in one thread, or the Who of a SynSent about to come."""

    __slots__ = ("args", "attempt", "enter", "peer", "via", "who")

    def __init__(self, who: Who) -> None:
        self.who = who
        self.args: Args | None = None
        self.enter: Enter | None = None
        self.peer: Peer | None = None
        self.attempt: _Attempt | None = None
        self.via = "connect"

    def identity(self) -> Who:
        """Who calls, with the arguments if they could be read."""
        args = self.args
        return self.who if args is None else self.who.replace(args=args.data, args_size=args.size)


class _Attempt:
    """One open attempt."""

    __slots__ = (
        "blocking",
        "closed",
        "drops",
        "facts",
        "family",
        "id",
        "local",
        "netns",
        "next_tick",
        "protocol",
        "remote",
        "sock",
        "start",
        "syns",
        "tries",
        "via",
        "wait",
        "who",
    )

    def __init__(self, sock: int, start: int, who: Who) -> None:
        self.id = f"{start:x}-{who.tid}"
        self.sock = sock
        self.start = start
        self.who = who
        self.protocol: str | None = "tcp"
        self.family: str | None = None
        self.via = "connect"
        self.netns: int | None = None
        self.local: tuple[str | None, int | None] = (None, None)
        self.remote: tuple[str | None, int | None] = (None, None)
        self.blocking: bool | None = None
        self.syns = 0
        self.tries = 1  # SYNs made, sent or not
        self.drops = 0
        self.facts: dict[str, Any] = {}  # of Evidence
        self.wait = SECOND
        self.next_tick = start + SECOND
        self.closed = 0  # when the socket left SYN_SENT without an error, inside its call

    def change(self, event: str, time: int, outcome: str | None = None, error: int = 0) -> Change:
        return Change(
            event,
            time,
            self.id,
            self.who,
            self.netns,
            self.protocol,
            self.family,
            self.via,
            self.local,
            self.remote,
            self.blocking,
            self.syns,
            max(time - self.start, 0),
            outcome,
            error,
            Evidence(**self.facts),
            sock=self.sock,
        )


class Tracker:
    """The state machine; see the module's docstring."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._calls: dict[int, Call] = {}  # by thread
        self._open: dict[int, _Attempt] = {}  # by socket
        self._to: dict[tuple[str | None, int | None], dict[int, _Attempt]] = {}  # the same, by destination
        # Process and port -> when and where it last connected.
        self._won: dict[tuple[int, int | None], tuple[int, tuple[str | None, int | None] | None]] = {}
        self._due = 0  # no attempt turns `hanging` before this time
        self.decoders: dict[int, Callable[..., Any]] = DECODERS | URING_DECODERS
        self._requests = Requests()
        self.handlers: dict[type, Callable[[Any], list[Change]]] = {
            kind: handle.__get__(self) for kind, handle in _HANDLERS.items()
        }

    @property
    def open(self) -> int:
        """How many attempts have no outcome yet."""
        return len(self._open)

    def feed(self, event: Event) -> list[Change]:
        """What one event changes; [] for nothing."""
        handle = _HANDLERS.get(type(event))
        return [] if handle is None else handle(self, event)

    def tick(self, now: int) -> list[Change]:
        """`hanging` for attempts without an answer for 1, 2, 4, 8.. s; cheap when called often."""
        if now < self._due:
            return []
        changes = []
        due = now + SECOND
        for attempt in self._open.values():
            if now >= attempt.next_tick:
                changes.append(attempt.change("hanging", now))
                while attempt.next_tick <= now:
                    attempt.wait *= 2
                    attempt.next_tick = attempt.start + attempt.wait
            due = min(due, attempt.next_tick)
        self._due = due
        return changes

    def stop(self, now: int) -> list[Change]:
        """The watcher ends: every open attempt is pending."""
        changes = [a.change("outcome", now, "pending") for a in self._open.values()]
        self._open.clear()
        self._to.clear()
        self._requests.clear()
        self._calls.clear()
        return changes

    def caller(self, tid: int) -> Who | None:
        """The identity recorded last in the thread, arguments and all; it is taken away: the event
        that it was recorded for is another tracker's."""
        call = self._calls.pop(tid, None)
        return None if call is None else call.identity()

    def forget(self, tid: int) -> None:
        """The thread's next attempt is of no interest: what it does leads to nothing."""
        self._calls.pop(tid, None)

    # The call.

    def _who(self, who: Who) -> list[Change]:
        if len(self._calls) >= self._limit:  # calls whose Leave was lost
            del self._calls[next(iter(self._calls))]
        self._calls.pop(who.tid, None)
        self._calls[who.tid] = Call(who)
        return []

    def _args(self, args: Args) -> list[Change]:
        call = self._calls.get(args.tid)
        if call is not None:
            call.args = args
        return []

    def _enter(self, enter: Enter) -> list[Change]:
        call = self._calls.get(enter.tid)
        if call is not None and (enter.protocol in _PROTOCOLS or enter.sock == 0):
            call.enter = enter
        return []

    def _peer(self, peer: Peer) -> list[Change]:
        call = self._calls.get(peer.tid)
        if call is not None:
            call.peer = peer
        return []

    def _leave(self, leave: Leave) -> list[Change]:
        call = self._calls.pop(leave.tid, None)
        return [] if call is None or call.enter is None else self._returned(call, call.enter, leave)

    def _returned(self, call: Call, enter: Enter, leave: Leave) -> list[Change]:
        """What connect(2), or a request to connect, has come to."""
        attempt = call.attempt
        error = -leave.ret if leave.ret < 0 else 0
        if attempt is None:
            return self._never_sent(call, enter, leave, error)
        if self._open.get(attempt.sock) is not attempt:
            return []  # its socket has decided
        if attempt.closed:
            return [self._taken_back(attempt, leave.time, error)]
        if error == 0:
            # TCP_FASTOPEN_CONNECT: success is claimed, the SYN waits for the first write (tcp(7)).
            attempt.via = "fastopen"
            attempt.syns = 0
            attempt.next_tick = NEVER
        elif error in _SOCKET_ERRORS:  # what the socket itself would have said did not reach us
            return [self._failed(attempt, leave.time, error)]
        return []

    def _taken_back(self, attempt: _Attempt, time: int, error: int) -> Change:
        """The socket left SYN_SENT within the call and without an error: no port, no route, no
        permission; or the caller itself was interrupted and closed it."""
        outcome = ERRNO_OUTCOMES.get(error, "invalid") if error else "aborted"
        if outcome == "aborted":
            attempt.facts.update(by="caller")
        else:
            attempt.syns = 0
            attempt.facts.update(by="kernel", on_wire=False, no_port=outcome == "no-address")
        return self._end(attempt, time, outcome, errno.EINTR if error == ERESTARTSYS else error)

    def _never_sent(self, call: Call, enter: Enter, leave: Leave, error: int) -> list[Change]:
        """connect(2) came back and no SYN was sent: an attempt only if the call failed by itself."""
        if error in _NO_VERDICT or enter.state == SS_CONNECTING:
            return []  # nothing failed, or the call asks what came of an attempt made before
        peer = call.peer
        if enter.sock == 0 and (peer is None or peer.address is None):
            return []  # not a socket, and no address of ours: nobody meant TCP
        attempt = self._begin(call, enter.sock, enter.time)
        attempt.via = call.via
        if peer is not None and peer.address is not None:
            attempt.remote = (peer.address, peer.port)
            attempt.family = FAMILIES.get(peer.family, attempt.family)
        attempt.facts.update(by="kernel")
        outcome = ERRNO_OUTCOMES.get(error, "invalid")
        if error == ERESTARTSYS:
            error = errno.EINTR
        return [attempt.change("attempt", enter.time), attempt.change("outcome", leave.time, outcome, error)]

    def _begin(self, call: Call, sock: int, start: int) -> _Attempt:
        """An attempt with what the call says of it."""
        enter = call.enter
        attempt = _Attempt(sock, start, call.identity())
        if enter is not None:
            attempt.protocol = _PROTOCOLS.get(enter.protocol)
            attempt.family = FAMILIES.get(enter.family)
            attempt.blocking = None if enter.sock == 0 else not enter.nonblocking
            attempt.netns = enter.netns or None
        return attempt

    # io_uring.

    def _uring_connect(self, event: UringConnect) -> list[Change]:
        call = self._calls.pop(event.tid, None)
        if call is not None and (event.protocol in _PROTOCOLS or event.sock == 0):
            self._requests.begin(event, call)
        return []

    def _uring_peer(self, event: UringPeer) -> list[Change]:
        self._requests.peer(event)
        return []

    def _uring_done(self, event: UringDone) -> list[Change]:
        call = self._requests.done(event.request)
        if call is None or call.enter is None:
            return []
        attempt = call.attempt
        if event.result in (-errno.ECANCELED, -errno.EAGAIN):
            if event.result == -errno.EAGAIN or attempt is None or self._open.get(attempt.sock) is not attempt:
                return []
            attempt.facts.update(by="caller")  # by a linked timeout, or IORING_OP_ASYNC_CANCEL
            return [self._end(attempt, event.time, "aborted", errno.ECANCELED)]
        return self._returned(call, call.enter, Leave(event.time, call.enter.tid, event.result))

    # The socket.

    def _syn_sent(self, syn: SynSent) -> list[Change]:
        call = self._calls.get(syn.tid)
        if call is None:
            return []  # its Who was lost: nobody to name
        if syn.mptcp and call.who.flags & PF_KTHREAD:
            del self._calls[syn.tid]
            return []  # the kernel adds a subflow to a connection that was told
        changes = []
        former = self._open.get(syn.sock)
        if former is not None:  # its end was lost, the address is in use again
            changes.append(self._end(former, syn.time, "pending"))
        if len(self._open) >= self._limit:
            changes.append(self._end(next(iter(self._open.values())), syn.time, "pending"))
        if call.enter is None:
            request = self._requests.of_syn(syn, call.who.pid)
            if request is not None:
                del self._calls[syn.tid]
                call = request
        enter = call.enter
        if enter is not None and call.attempt is None:
            attempt = self._begin(call, syn.sock, enter.time)
            attempt.via = call.via
            call.attempt = attempt
        else:
            attempt = self._begin(call, syn.sock, syn.time)
            attempt.via = _via(call.who, syn)
            if enter is None:
                del self._calls[syn.tid]
        attempt.family = FAMILIES.get(syn.family)
        attempt.netns = syn.netns
        attempt.local = (syn.local, syn.local_port or None)
        attempt.remote = (syn.remote, syn.remote_port)
        attempt.syns = 1
        attempt.facts.update(on_wire=True)
        self._open[syn.sock] = attempt
        self._to.setdefault(attempt.remote, {})[syn.sock] = attempt
        self._due = min(self._due, attempt.next_tick)
        changes.append(attempt.change("attempt", attempt.start))
        return changes

    def _state(self, state: State) -> list[Change]:
        attempt = self._open.get(state.sock)
        if attempt is None or state.new == SYN_RECV:  # a simultaneous open goes on
            return []
        if state.local_port:
            attempt.local = (state.local, state.local_port)
        if state.soft_error:
            attempt.facts.update(soft_error=state.soft_error)
        if state.new == ESTABLISHED:
            self._won.pop((attempt.who.pid, attempt.remote[1]), None)
            if len(self._won) >= WINNERS:
                del self._won[next(iter(self._won))]
            self._won[attempt.who.pid, attempt.remote[1]] = (state.time, attempt.remote)
            return [self._end(attempt, state.time, "connected")]
        if state.error:
            return [self._failed(attempt, state.time, state.error)]
        call = self._calls.get(attempt.who.tid)
        called = call is not None and call.attempt is attempt and state.tid == attempt.who.tid
        if called or (attempt.via == "io_uring" and self._requests.under_way(attempt)):
            attempt.closed = state.time  # within the call: what it returns says why
            return []
        attempt.facts.update(by="caller")
        # An ICMP error ends no attempt by itself (RFC 9293, 3.9.2.2): the caller was told and closed.
        icmp = attempt.facts.get("soft_error", 0)
        if not icmp:
            attempt.facts.update(won=self._winner(attempt, state.time))
        return [self._end(attempt, state.time, ERRNO_OUTCOMES.get(icmp, "aborted"), icmp)]

    def _error(self, event: SockError) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is None:
            return []
        if event.error:
            return [self._failed(attempt, event.time, event.error)]
        if event.soft_error:
            attempt.facts.update(soft_error=event.soft_error)
        return []

    def _retransmit(self, event: Retransmit) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is not None:
            attempt.tries += event.error != -errno.EBUSY  # the one before still waits in this host
            if attempt.drops:
                attempt.facts.update(all_dropped=attempt.drops >= attempt.tries)
            if event.error == -errno.EPERM:
                attempt.facts.update(filtered=True)
            if event.error == 0:
                attempt.syns += 1
        return []

    def _reset(self, event: Reset) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is not None:
            attempt.facts.update(reset=True)
        return []

    def _drop(self, event: Drop) -> list[Change]:
        attempt = self._open.get(event.sock) if event.sock else self._sender(event)
        if attempt is not None:
            attempt.drops += 1
            attempt.facts.update(drop=event, all_dropped=attempt.drops >= attempt.tries)
        return []

    def _sender(self, event: Drop) -> _Attempt | None:
        """Whose SYN it was, by its ends.  The kernel chooses the local port after it has told of the
        attempt: an attempt of which it is unknown is meant if its SYN has left just now."""
        newest = None
        for attempt in self._to.get(event.remote, {}).values():
            if attempt.local == event.local:
                return attempt
            fresh = attempt.local == (event.local[0], None) and attempt.start <= event.time < attempt.start + FRESH
            if fresh and (newest is None or attempt.start > newest.start):
                newest = attempt
        if newest is not None:
            newest.local = event.local
        return newest

    def _icmp(self, event: Icmp) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is not None:
            attempt.facts.update(icmp=(event.type, event.code))
        return []

    def _winner(self, attempt: _Attempt, time: int) -> tuple[str | None, int | None] | None:
        """Where else the process has just connected, to the same port, while the attempt was open:
        happy eyeballs (RFC 8305) try the addresses of a name side by side and close the slower."""
        since, remote = self._won.get((attempt.who.pid, attempt.remote[1]), (0, None))
        fits = max(attempt.start, time - RACE) <= since <= time and remote != attempt.remote
        return remote if fits else None

    def _failed(self, attempt: _Attempt, time: int, error: int) -> Change:
        attempt.facts.update(by="kernel")
        return self._end(attempt, time, ERRNO_OUTCOMES.get(error, "invalid"), error)

    def _end(self, attempt: _Attempt, time: int, outcome: str, error: int = 0) -> Change:
        del self._open[attempt.sock]
        there = self._to[attempt.remote]
        del there[attempt.sock]
        if not there:
            del self._to[attempt.remote]
        return attempt.change("outcome", time, outcome, error)


def _via(who: Who, syn: SynSent) -> str:
    """By which door a SYN went out that no connect(2) asked for."""
    if who.flags & PF_KTHREAD:
        return "kernel"
    if who.compat or syn.called:
        return "connect"  # or socketcall(2): 32-bit processes' calls are not seen
    if syn.fastopen:
        return "fastopen"
    return "io_uring" if who.uring else "kernel"


_HANDLERS: dict[type, Callable[[Tracker, Any], list[Change]]] = {
    Who: Tracker._who,
    Args: Tracker._args,
    Enter: Tracker._enter,
    Peer: Tracker._peer,
    Leave: Tracker._leave,
    SynSent: Tracker._syn_sent,
    State: Tracker._state,
    SockError: Tracker._error,
    Retransmit: Tracker._retransmit,
    Reset: Tracker._reset,
    Icmp: Tracker._icmp,
    Drop: Tracker._drop,
    UringConnect: Tracker._uring_connect,
    UringPeer: Tracker._uring_peer,
    UringDone: Tracker._uring_done,
}
