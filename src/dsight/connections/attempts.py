"""An attempt to connect: what is known of it so far, and its changes, which are what trackers tell."""

from __future__ import annotations

import errno

from dsight.value import Brief, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.connections.events import Drop, Who
    from dsight.connections.lives import Life

SECOND = 1_000_000_000
ERESTARTSYS = 512  # include/linux/errno.h: a signal interrupts the call; never seen by the process

# include/linux/socket.h, AF_*
FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 30: "tipc", 31: "bluetooth", 33: "rxrpc", 40: "vsock", 42: "qipcrtr"}

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


NOTHING = Evidence()
ON_WIRE = Evidence(on_wire=True)


class Change(Brief):
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
    evidence: Evidence = NOTHING
    sock: int = 0  # TCP: address of the socket
    datagrams: int | None = None  # UDP: how many were sent
    listener: int | None = None  # pid of who made the listening socket, where the kernel says so
    life: Life | None = None  # with `closed`


class Attempt:
    """One open attempt."""

    __slots__ = (
        "blocking",
        "closed",
        "drops",
        "evidence",
        "family",
        "id",
        "local",
        "mark",
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

    def __init__(self, sock: int, mark: int, start: int, who: Who) -> None:
        self.id = f"{start:x}-{who.tid}"
        self.sock = sock
        self.mark = mark  # SynSent.time: with `sock`, which attempt an event is of
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
        self.evidence = NOTHING
        self.wait = SECOND
        self.next_tick = start + SECOND
        self.closed = 0  # when the socket left SYN_SENT without an error, inside its call

    def learn(self, **facts: Any) -> None:
        """More evidence.  What many attempts show is made once."""
        before = self.evidence
        key = (id(before), *facts.items())
        learned = _LEARNED.get(key)
        if learned is None:
            if len(_LEARNED) >= _MOST_LEARNED:
                _LEARNED.clear()
            learned = _LEARNED[key] = (before, before.replace(**facts))
        self.evidence = learned[1]

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
            time - self.start if time > self.start else 0,
            outcome,
            error,
            self.evidence,
            self.sock,
        )


# Evidence, which stays while it is here, with its id() and what is learned: the two together.
_LEARNED: dict[tuple[object, ...], tuple[Evidence, Evidence]] = {}
_MOST_LEARNED = 256
