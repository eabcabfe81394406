"""Connections that stand: accepted, and how they end.  Events of accept.d and end*.d in, changes out, no I/O.

    Watcher: outcome `connected`  ->  begin(change)  ...  Ended   ->  `closed`
             Accepted             ->  `accepted`     ...  Ended   ->  `closed`

A connection is known by the address of its socket, and checked by its ports, since a socket's end
may not be told (end_reset.d tells some only) and the address be used again.  A connection that stood
before the watcher began is not known, and so not told when it ends.
"""

from __future__ import annotations

from dsight.connections.attempts import FAMILIES, Change
from dsight.connections.events import CLOSE, ESTABLISHED, inet_address, port_number
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import Who

LIMIT = 65536  # connections remembered; beyond it the oldest is forgotten
LIMIT_RESETS = 16384  # the same, where only a reset before the first byte is told
PROCESSES = 4096  # identities shared by the connections of a process
CLOSE_WAIT, LAST_ACK = 8, 9  # include/net/tcp_states.h
_ECONNRESET, _EPIPE, _ECONNABORTED = 104, 32, 103


class Ended(Value):
    """A TCP connection ends: its socket goes to CLOSE, or a reset has come for it."""

    time: int
    sock: int
    old: int  # the state it leaves
    error: int  # sk_err; 0: nobody but this side ended it
    sent: int  # bytes of data, each counted once; too many if sending failed here
    acked: int  # octets of sequence acknowledged or still to be: SYN and FIN count
    received: int
    retransmits: int  # segments
    srtt_us: int  # 0: never measured
    local_port: int
    remote_port: int


class Accepted(Value):
    """accept(2), accept4(2) or an io_uring has given a process a TCP connection."""

    time: int
    tid: int
    sock: int
    state: int
    protocol: int
    family: int
    local: tuple[str, int]
    remote: tuple[str, int]
    nonblocking: bool
    netns: int


class Life(Value):
    """What a connection was: the record's fields of `closed`."""

    duration_ns: int
    bytes_sent: int
    bytes_received: int
    retransmits: int
    srtt_us: int | None
    closed_by: str  # us, peer, reset, timeout


def _ended(
    time: int, sock: int, old: int, error: int, sent: int, again: int, received: int, flags: int, retransmits: int,
    srtt: int, acked: int, local_port: int, remote_port: int,
) -> Ended:  # fmt: skip
    fin = flags >> 1 & 1  # SOCK_DONE: the peer's FIN came, and was counted as a byte received
    return Ended(
        time, sock, old, error, max(sent - again, 0), acked, max(received - fin, 0), retransmits, srtt >> 3,
        port_number(local_port), port_number(remote_port),
    )  # fmt: skip


def _accepted(
    time: int, tid: int, sock: int, state: int, protocol: int, family: int, local4: int, remote4: int,
    local6: bytes, remote6: bytes, local_port: int, remote_port: int, flags: int, netns: int,
) -> Accepted:  # fmt: skip
    local = inet_address(family, local4, local6)[0]
    remote, family = inet_address(family, remote4, remote6)
    return Accepted(
        time, tid, sock, state, protocol, family, (local, port_number(local_port)),
        (remote, port_number(remote_port)), bool(flags & 0o4000), netns,
    )  # fmt: skip


DECODERS: dict[int, Callable[..., Any]] = {40: _ended, 41: _accepted}


def closed_by(old: int, error: int) -> str:
    """Which side ended it, by the state before the end (RFC 9293, 3.3.2) and the socket's error.

    Who closed first is who closed it, also when a reset then answers what was still sent.
    """
    if error in (_ECONNRESET, _EPIPE) and old in (ESTABLISHED, CLOSE_WAIT):
        return "reset"
    if old in (CLOSE_WAIT, LAST_ACK):
        return "peer"
    if error in (0, _ECONNABORTED) or old != ESTABLISHED:
        return "us"
    return "timeout"  # ETIMEDOUT, or what an ICMP message said while nothing was acknowledged


class Lives:
    """The connections that stand.  `caller`: Tracker.caller; `begin` is called for those made."""

    def __init__(self, caller: Callable[[int], Who | None], limit: int = LIMIT) -> None:
        self._caller = caller
        self._limit = limit
        self._open: dict[int, Change] = {}  # by socket: how it began
        self._processes: dict[tuple[int, int, str], Who] = {}  # that a busy one is kept once
        self.decoders = DECODERS
        self.handlers: dict[type, Callable[[Any], list[Change]]] = {Ended: self._ended, Accepted: self._accepted}

    def begin(self, change: Change) -> None:
        """A connection stands from now on, by its outcome `connected` or by `accepted`."""
        self._open.pop(change.sock, None)
        if len(self._open) >= self._limit:
            del self._open[next(iter(self._open))]
        who = change.who
        if len(self._processes) >= PROCESSES:
            self._processes.clear()
        one = self._processes.setdefault((who.pid, who.start, who.comm), who)
        self._open[change.sock] = change if one is who else change.replace(who=one)

    def tick(self, now: int) -> list[Change]:
        """Nothing: a connection may stand for years."""
        return []

    def stop(self, now: int) -> list[Change]:
        """The watcher ends; what stands has not closed."""
        self._open.clear()
        return []

    def _accepted(self, event: Accepted) -> list[Change]:
        who = self._caller(event.tid)
        if who is None:
            return []  # of no interest, or its Who was lost
        sock = 0 if event.state == CLOSE else event.sock  # it ended while it waited to be accepted
        change = Change(
            "accepted", event.time, f"{event.time:x}-{who.tid}", who, event.netns,
            "mptcp" if event.protocol == 262 else "tcp", FAMILIES.get(event.family),
            "accept", event.local, event.remote, None, 0, 0, sock=sock,
        )  # fmt: skip
        return [change]

    def _ended(self, event: Ended) -> list[Change]:
        began = self._open.get(event.sock)
        if began is None or (began.local[1], began.remote[1]) != (event.local_port, event.remote_port):
            return []
        del self._open[event.sock]
        sent = _sent(event, began.via == "accept")
        life = Life(
            max(event.time - began.time, 0), sent, event.received, event.retransmits, event.srtt_us or None,
            closed_by(event.old, event.error),
        )  # fmt: skip
        return [began.replace(event="closed", time=event.time, outcome=None, error=event.error, life=life)]


def _sent(event: Ended, accepted: bool) -> int:
    """Bytes of data sent.  The kernel counts a segment that could not leave, as when a packet filter
    here dropped it, each time: then what the sequence numbers say is nearer."""
    if event.sent <= event.acked:
        return event.sent
    return max(event.acked - (not accepted) - (event.old not in (ESTABLISHED, CLOSE_WAIT)), 0)


def reset_early(change: Change) -> bool:
    """Whether a connection made from here was reset before a byte came back."""
    life = change.life
    return life is not None and life.closed_by == "reset" and not life.bytes_received and change.via != "accept"
