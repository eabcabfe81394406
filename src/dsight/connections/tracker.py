"""Which attempt is it, and what came of it: events in, changes out, no I/O.

    events.decode -> Tracker.feed(event) -> changes -> diagnose -> faces
                     Tracker.tick(now)   -> `hanging` changes
                     Tracker.stop(now)   -> `pending` for what is still open

A list of events fed again gives the same changes.  How each outcome shows in the events is the
table in docs/connection-record.md ("What each outcome looks like").

An attempt is known by its socket's address and a mark, the time it began: Connect or SynSent .. State.
One that reaches SYN_SENT is decided by its socket (State, SockError), since calls on non-blocking
sockets return before anything is known; one that never does is decided by what connect(2) returns
(Failed).  Attempts that were under way when the watcher started are not invented.
"""

from __future__ import annotations

import errno

from dsight.connections.attempts import ERESTARTSYS, ERRNO_OUTCOMES, FAMILIES, NEVER, ON_WIRE, SECOND, Attempt, Change
from dsight.connections.callers import Callers
from dsight.connections.events import (
    CLOSE,
    DECODERS,
    ESTABLISHED,
    MPTCP,
    PF_KTHREAD,
    SYN_RECV,
    SYN_SENT,
    TCP,
    Args,
    Call,
    Connect,
    Drop,
    Failed,
    Icmp,
    Retransmit,
    Returned,
    SockError,
    State,
    SynSent,
    Watched,
    Who,
)
from dsight.connections.uring import DECODERS as URING_DECODERS
from dsight.connections.uring import Requests, UringConnect, UringDone, UringPeer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import Event
    from dsight.connections.uring import Request

LIMIT = 65536  # open attempts remembered; beyond it the oldest is given up: what comes of it is unknown
_PROTOCOLS = {TCP: "tcp", MPTCP: "mptcp"}
# What a request comes to without having failed: EALREADY is the answer to asking again.
_NO_VERDICT = frozenset({0, errno.EALREADY, errno.EINPROGRESS, errno.ECANCELED, errno.EAGAIN})
# Errors that connect(2) can only have from the socket of an attempt under way: it is over.
_SOCKET_ERRORS = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN}
)
RACE = SECOND // 2  # the slower of two attempts is closed that soon after the other has connected
WINNERS = 4096  # connections just made that are remembered for that
FRESH = SECOND // 10  # a SYN leaves that soon after its attempt began


class Tracker:
    """The state machine; see the module's docstring.

    `takes`: whose attempts are of interest.  `begun`: how many attempts it was told of, of interest or not:
    what the kernel has counted beyond that was lost.
    """

    def __init__(self, limit: int = LIMIT, takes: Callable[[Who], bool] = lambda who: True) -> None:
        self._limit = limit
        self._callers = Callers(takes)
        self.caller = self._callers.of  # of a thread: who it is
        self.begun = 0
        self._open: dict[int, Attempt] = {}  # by socket
        self._to: dict[tuple[str | None, int | None], dict[int, Attempt]] = {}  # the same, by destination
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
        return changes

    # The call.

    def _who(self, who: Who) -> list[Change]:
        self._callers.see(who)
        return []

    def _args(self, args: Args) -> list[Change]:
        self._callers.args(args)
        return []

    def _connect(self, event: Connect) -> list[Change]:
        self.begun += 1
        who = self._callers.named(event)
        if who is None:
            return []
        attempt = Attempt(event.sock, event.time, event.time, who)
        attempt.protocol = _PROTOCOLS.get(event.protocol)
        attempt.blocking = not event.nonblocking
        _sent(attempt, event)
        return self._sends(event, attempt)

    def _call_failed(self, event: Failed) -> list[Change]:
        self.begun += 1
        who = self._callers.named(event)
        if who is None or (event.call.sock == 0 and event.address is None):
            return []  # not a socket, and no address of ours: nobody meant TCP
        attempt = _called(who, event.call, event.call.sock, 0)
        if event.address is not None:
            attempt.remote = (event.address, event.port)
            attempt.family = FAMILIES.get(event.family, attempt.family)
        return _never_sent(attempt, event.time, -event.ret)

    def _returned(self, event: Returned) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is None or attempt.mark != event.mark:
            return []  # its socket has decided
        if event.ret == 0 and event.state not in (SYN_SENT, CLOSE):  # its State was missed
            return [self._end(attempt, event.time, "connected")]
        return self._come_to(attempt, event.time, -event.ret if event.ret < 0 else 0)

    def _come_to(self, attempt: Attempt, time: int, error: int) -> list[Change]:
        """What connect(2), or a request to connect, returns of an open attempt."""
        if attempt.closed:
            return [self._taken_back(attempt, time, error)]
        if error == 0:
            # TCP_FASTOPEN_CONNECT: success is claimed, the SYN waits for the first write (tcp(7)).
            attempt.via = "fastopen"
            attempt.syns = 0
            attempt.next_tick = NEVER
        elif error in _SOCKET_ERRORS:  # what the socket itself would have said did not reach us
            return [self._failed(attempt, time, error)]
        return []

    def _taken_back(self, attempt: Attempt, time: int, error: int) -> Change:
        """The socket left SYN_SENT within the call and without an error: no port, no route, no
        permission; or the caller itself was interrupted and closed it."""
        outcome = ERRNO_OUTCOMES.get(error, "invalid") if error else "aborted"
        if outcome == "aborted":
            attempt.learn(by="caller")
        else:
            attempt.syns = 0
            attempt.learn(by="kernel", on_wire=False, no_port=outcome == "no-address")
        return self._end(attempt, time, outcome, errno.EINTR if error == ERESTARTSYS else error)

    # io_uring.

    def _uring_connect(self, event: UringConnect) -> list[Change]:
        who = self.caller(event.tid)
        if who is not None and (event.protocol in _PROTOCOLS or event.sock == 0):
            self._requests.begin(event, who)
        return []

    def _uring_peer(self, event: UringPeer) -> list[Change]:
        self._requests.peer(event)
        return []

    def _uring_done(self, event: UringDone) -> list[Change]:
        request = self._requests.done(event.request)
        if request is None:
            return []
        error = -event.result if event.result < 0 else 0
        attempt = request.attempt
        if not isinstance(attempt, Attempt):
            return _request_failed(request, event.time, error)
        if self._open.get(attempt.sock) is not attempt or error == errno.EAGAIN:
            return []
        if error == errno.ECANCELED:
            attempt.learn(by="caller")  # by a linked timeout, or IORING_OP_ASYNC_CANCEL
            return [self._end(attempt, event.time, "aborted", errno.ECANCELED)]
        return self._come_to(attempt, event.time, error)

    # The socket.

    def _syn_sent(self, syn: SynSent) -> list[Change]:
        """Without connect(2)."""
        self.begun += 1
        who = self.caller(syn.tid)
        if who is None or (syn.mptcp and who.flags & PF_KTHREAD):
            return []  # of no interest, or nobody to name; or the kernel adds a subflow to a connection that was told
        request = self._requests.of_syn(syn, who.pid)
        if request is not None:
            attempt = _called(request.who, request.call, syn.sock, syn.time)
            attempt.via = "io_uring"
            request.attempt = attempt
        else:
            attempt = Attempt(syn.sock, syn.time, syn.time, who)
            attempt.via = _via(who, syn)
        _sent(attempt, syn)
        return self._sends(syn, attempt)

    def _sends(self, syn: SynSent | Connect, attempt: Attempt) -> list[Change]:
        """The attempt's SYN is about to leave."""
        changes = []
        former = self._open.get(syn.sock)
        if former is None and len(self._open) >= self._limit:
            former = next(iter(self._open.values()))
        if former is not None:  # its end was lost, the address is in use again
            changes.append(self._end(former, syn.time, "unknown"))
        self._open[syn.sock] = attempt
        self._to.setdefault(attempt.remote, {})[syn.sock] = attempt
        if attempt.next_tick < self._due:
            self._due = attempt.next_tick
        changes.append(attempt.change("attempt", attempt.start))
        return changes

    def _state(self, state: State) -> list[Change]:
        attempt = self._open.get(state.sock)
        if attempt is None:
            return []
        if attempt.mark != state.mark:  # of an attempt that was lost; so was this one's end
            return [self._end(attempt, state.time, "unknown")]
        if state.new == SYN_RECV:  # a simultaneous open goes on
            return []
        if state.local_port:
            attempt.local = (state.local, state.local_port)
        if state.soft_error:
            attempt.learn(soft_error=state.soft_error)
        if state.new == ESTABLISHED:
            self._won.pop((attempt.who.pid, attempt.remote[1]), None)
            if len(self._won) >= WINNERS:
                del self._won[next(iter(self._won))]
            self._won[attempt.who.pid, attempt.remote[1]] = (state.time, attempt.remote)
            return [self._end(attempt, state.time, "connected")]
        if state.error:
            attempt.learn(reset=state.reset, by="kernel")
            return [self._end(attempt, state.time, ERRNO_OUTCOMES.get(state.error, "invalid"), state.error)]
        if state.inside or (attempt.via == "io_uring" and self._requests.under_way(attempt)):
            attempt.closed = state.time  # within the call: what it returns says why
            return []
        attempt.learn(by="caller")
        # An ICMP error ends no attempt by itself (RFC 9293, 3.9.2.2): the caller was told and closed.
        icmp = attempt.evidence.soft_error
        if not icmp:
            attempt.learn(won=self._winner(attempt, state.time))
        return [self._end(attempt, state.time, ERRNO_OUTCOMES.get(icmp, "aborted"), icmp)]

    def _error(self, event: SockError) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is None:
            return []
        if event.error:
            return [self._failed(attempt, event.time, event.error)]
        if event.soft_error:
            attempt.learn(soft_error=event.soft_error)
        return []

    def _retransmit(self, event: Retransmit) -> list[Change]:
        attempt = self._open.get(event.sock)
        if attempt is not None:
            attempt.tries += event.error != -errno.EBUSY  # the one before still waits in this host
            if attempt.drops:
                attempt.learn(all_dropped=attempt.drops >= attempt.tries)
            if event.error == -errno.EPERM:
                attempt.learn(filtered=True)
            if event.error == 0:
                attempt.syns += 1
        return []

    def _drop(self, event: Drop) -> list[Change]:
        attempt = self._open.get(event.sock) if event.sock else self._sender(event)
        if attempt is not None:
            attempt.drops += 1
            attempt.learn(drop=event, all_dropped=attempt.drops >= attempt.tries)
        return []

    def _sender(self, event: Drop) -> Attempt | None:
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
            attempt.learn(icmp=(event.type, event.code))
        return []

    def _winner(self, attempt: Attempt, time: int) -> tuple[str | None, int | None] | None:
        """Where else the process has just connected, to the same port, while the attempt was open:
        happy eyeballs (RFC 8305) try the addresses of a name side by side and close the slower."""
        since, remote = self._won.get((attempt.who.pid, attempt.remote[1]), (0, None))
        fits = max(attempt.start, time - RACE) <= since <= time and remote != attempt.remote
        return remote if fits else None

    def _watched(self, event: Watched) -> list[Change]:
        """What is open here, and not in the kernel, has had an outcome that nobody knows."""
        gone = [a for a in self._open.values() if event.marks.get(a.sock) != a.mark]
        return [self._end(attempt, event.time, "unknown") for attempt in gone]

    def _failed(self, attempt: Attempt, time: int, error: int) -> Change:
        attempt.learn(by="kernel")
        return self._end(attempt, time, ERRNO_OUTCOMES.get(error, "invalid"), error)

    def _end(self, attempt: Attempt, time: int, outcome: str, error: int = 0) -> Change:
        del self._open[attempt.sock]
        there = self._to[attempt.remote]
        del there[attempt.sock]
        if not there:
            del self._to[attempt.remote]
        return attempt.change("outcome", time, outcome, error)


def _called(who: Who, call: Call, sock: int, mark: int) -> Attempt:
    """An attempt, with what it was called with."""
    attempt = Attempt(sock, mark, call.time, who)
    attempt.protocol = _PROTOCOLS.get(call.protocol)
    attempt.family = FAMILIES.get(call.family)
    attempt.blocking = None if call.sock == 0 else not call.nonblocking
    attempt.netns = call.netns or None
    return attempt


def _sent(attempt: Attempt, syn: SynSent | Connect) -> None:
    """What its SYN says."""
    attempt.family = FAMILIES.get(syn.family)
    attempt.netns = syn.netns
    attempt.local = (syn.local, syn.local_port or None)
    attempt.remote = (syn.remote, syn.remote_port)
    attempt.syns = 1
    attempt.evidence = ON_WIRE


def _request_failed(request: Request, time: int, error: int) -> list[Change]:
    """A request to connect was completed, and no SYN was sent."""
    peer = request.peer
    if error in _NO_VERDICT or (request.call.sock == 0 and (peer is None or peer.address is None)):
        return []
    attempt = _called(request.who, request.call, request.call.sock, 0)
    attempt.via = "io_uring"
    if peer is not None and peer.address is not None:
        attempt.remote = (peer.address, peer.port)
        attempt.family = FAMILIES.get(peer.family, attempt.family)
    return _never_sent(attempt, time, error)


def _never_sent(attempt: Attempt, time: int, error: int) -> list[Change]:
    """The call failed by itself: no SYN was sent."""
    attempt.learn(by="kernel")
    outcome = ERRNO_OUTCOMES.get(error, "invalid")
    if error == ERESTARTSYS:
        error = errno.EINTR
    return [attempt.change("attempt", attempt.start), attempt.change("outcome", time, outcome, error)]


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
    Connect: Tracker._connect,
    Failed: Tracker._call_failed,
    Returned: Tracker._returned,
    SynSent: Tracker._syn_sent,
    State: Tracker._state,
    SockError: Tracker._error,
    Retransmit: Tracker._retransmit,
    Icmp: Tracker._icmp,
    Drop: Tracker._drop,
    Watched: Tracker._watched,
    UringConnect: Tracker._uring_connect,
    UringPeer: Tracker._uring_peer,
    UringDone: Tracker._uring_done,
}
