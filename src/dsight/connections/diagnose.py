"""Why: an outcome, its evidence and what this host says of the destination -> a Diagnosis.

    place(change, host)              what the destination is, seen from here
    diagnose(change, place, host)    code and text; None where there is nothing to add

A text states what is known, and says so where something is not.  Codes: docs/connection-record.md.
"""

from __future__ import annotations

from dsight.connections.attempts import SECOND
from dsight.connections.drops import DROPPERS, NEIGHBOUR, UNSAID
from dsight.connections.lives import reset_early
from dsight.connections.model import Diagnosis, Endpoint, Listener, endpoint_text
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.attempts import Change
    from dsight.connections.host import Host, Listening

_ICMP_HOST_UNREACHABLE = (3, 1)  # type and code that the kernel makes where the next hop is silent (RFC 1122, 3.2.2.1)
ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EACCES, EINVAL = 101, 113, 99, 13, 22


class Place(Value):
    """The destination: ours or not (None: unknown), what listens there, what listens at all."""

    self_: bool | None
    listener: Listening | None = None
    listening: tuple[Listening, ...] | None = None
    route: str | None = None
    overflows: int = 0  # how often a listener's queue here was full since the attempt


_INTERNET = ("inet", "inet6", None)
_LISTENS = ("tcp", "mptcp", "udp", None)  # the protocols of which this host can be asked who listens


def place(change: Change, host: Host, look: bool = True, own: bool | None = None) -> Place:
    """What the destination is; `look`: for listeners too, if it is ours; `own`: what was known before."""
    address, port = change.remote
    if change.family not in _INTERNET:
        return Place(change.family == "unix" or None)
    if address is None:
        return Place(None)
    pid = change.who.pid
    route = None
    self_: bool | None = is_loopback(address) or change.local[0] == address
    if not self_:
        route = host.route(address, change.netns, pid)
        self_ = own if route is None else route == "local"
    if not self_ or not look or change.protocol not in _LISTENS:
        return Place(self_, route=route)
    udp = change.protocol == "udp"
    listening = host.listening(change.netns, pid, 17) if udp else host.listening(change.netns, pid)
    there = [] if listening is None else [s for s in listening if s.port == port and serves(s, address)]
    return Place(True, there[0] if there else None, listening, route)


def remote(change: Change, where: Place, host: Host) -> Endpoint:
    """The record's remote end."""
    if change.family == "unix":
        from dsight.connections import diagnose_unix

        return diagnose_unix.remote(change, host)
    listener = None
    if where.listener is not None:
        owner = host.owner(where.listener.inode)
        listener = Listener(None, None) if owner is None else Listener(owner.pid, owner.comm)
    return Endpoint(*change.remote, None, where.self_, listener)


def diagnose(change: Change, where: Place, host: Host) -> Diagnosis | None:
    """The cause of a `hanging` or `outcome` change."""
    if change.outcome == "unknown":
        return Diagnosis("lost", "what came of it was lost: more happened here than could be read")
    if change.family == "unix":
        from dsight.connections import diagnose_unix

        return diagnose_unix.diagnose(change, host)
    if change.protocol == "udp":
        from dsight.connections import diagnose_udp

        why = diagnose_udp.diagnose(change, where, host)
        if why is not None:
            return why
    if change.protocol not in ("tcp", "mptcp", None) and change.outcome not in _LOCAL:
        return None  # of a protocol that is not looked into, the errno is all there is
    if change.event == "closed":
        return _closed(change)
    if change.outcome != "connected" and change.evidence.won is None:
        why = _done_here(change)
        if why is not None:
            return why
    if change.event == "hanging" or change.outcome == "pending":
        return _unanswered(change, where, f"no reply for {seconds(change.waited)}")
    make = _BY_OUTCOME.get(change.outcome or "")
    return None if make is None else make(change, where, host)


def _done_here(change: Change) -> Diagnosis | None:
    """What this very host did to the SYN, or to the answer; None for nothing, or where something got
    through later that decided."""
    facts = change.evidence
    decided = change.outcome in ("refused", "unreachable")
    drop = facts.drop
    if drop is None:
        if facts.icmp is not None and facts.icmp != _ICMP_HOST_UNREACHABLE:
            kind, code = facts.icmp
            text = f"a packet filter of this host rejects the SYN (ICMP type {kind}, code {code})"
            return Diagnosis("denied-locally", f"{text}{_when(change)}")
        return None
    if decided and not facts.all_dropped:
        return None
    if drop.reason == UNSAID and change.error != EHOSTUNREACH:
        return None
    if drop.reason in (NEIGHBOUR, UNSAID):
        return Diagnosis("host-unreachable", f"{_no_neighbour(change)}{_when(change)}")
    where = f", in the network namespace {drop.netns}" if drop.netns not in (0, change.netns) else ""
    what = f"the answer (SYN-ACK) of {change.remote[0]}" if drop.answer else "the SYN"
    verb = "rejects" if decided else "drops"
    return Diagnosis("denied-locally", f"{DROPPERS[drop.reason]} {verb} {what}{where}{_when(change)}")


def _when(change: Change) -> str:
    """How it went on, in a few words."""
    if change.evidence.by == "caller":
        return f"; the application closed the socket or ended after {seconds(change.waited)}"
    return f"; {seconds(change.waited)} so far" if change.outcome in (None, "pending") else ""


def _closed(change: Change) -> Diagnosis | None:
    life = change.life
    if life is None or not reset_early(change):
        return None
    return Diagnosis(
        "reset-after-connect",
        f"{endpoint_text(*change.remote)} took the connection and reset it after {seconds(life.duration_ns)}; "
        f"{life.bytes_sent} bytes were sent and no byte came back: the service there, or what stands before it, "
        "does not want it",
    )


def _connected(change: Change, where: Place, host: Host) -> Diagnosis | None:
    if change.local == change.remote:
        return Diagnosis(
            "tcp-self-connect",
            f"both ends are the same socket: nothing listens on port {change.remote[1]}, and the kernel happened to "
            "choose it as the local port",
        )
    if not where.self_:
        return None
    return Diagnosis("itself", f"to this very host: {_there(change, where, host)}")


def _refused(change: Change, where: Place, host: Host) -> Diagnosis:
    address, port = change.remote
    if where.self_ is None:
        return Diagnosis("refused-by-peer", f"{_refusal(change)}; whether {address} is this very host is unknown")
    if not where.self_:
        return Diagnosis("refused-by-peer", _refusal(change))
    if where.listening is None:
        return Diagnosis(
            "nothing-listens-here",
            f"{address} is this very host, and nothing listened on port {port}; which ports are is unknown: "
            "its network namespace is gone or cannot be read",
        )
    if where.listener is not None:
        return Diagnosis(
            "itself",
            f"{address} is this very host; {_there(change, where, host)} now: it came later, or a packet filter here "
            "refuses",
        )
    return _nothing_listens(change, where.listening, host)


def _nothing_listens(change: Change, listening: tuple[Listening, ...], host: Host) -> Diagnosis:
    address, port = change.remote
    elsewhere = [s for s in listening if s.port == port]
    ours = f"{address} is this very host"
    if elsewhere and all((":" in s.address) != (":" in (address or "")) for s in elsewhere):
        other = "IPv6" if ":" in elsewhere[0].address else "IPv4"
        return Diagnosis(
            "wrong-family",
            f"{ours}; port {port} is listened on by {owner_text(elsewhere[0], change, host)}, but for {other} only",
        )
    if elsewhere:
        at = ", ".join(sorted({s.address for s in elsewhere}))
        return Diagnosis(
            "nothing-listens-here",
            f"{ours}; on port {port} {owner_text(elsewhere[0], change, host)} listens, but only at {at}",
        )
    return Diagnosis(
        "nothing-listens-here", f"{ours}, and nothing listens on port {port} here; {_ports(change, listening, host)}"
    )


def _timed_out(change: Change, where: Place, host: Host) -> Diagnosis:
    return _unanswered(change, where, f"no reply, the kernel gave up after {seconds(change.waited)}")


def _aborted(change: Change, where: Place, host: Host) -> Diagnosis | None:
    if change.evidence.by != "caller":
        return None
    if change.evidence.won is not None:
        return Diagnosis(
            "race-lost",
            f"no failure: the process had just connected to {endpoint_text(*change.evidence.won)} and closed this, the "
            f"slower attempt, after {seconds(change.waited)}",
        )
    if change.evidence.filtered or _is_full(where):
        return _unanswered(change, where, f"the application stopped waiting after {seconds(change.waited)}")
    return Diagnosis(
        "gave-up",
        f"the application closed the socket or ended after {seconds(change.waited)}; {_syns(change)}, "
        f"the network had not answered{_own(where)}{_hasty(change)}",
    )


def _unanswered(change: Change, where: Place, what: str) -> Diagnosis:
    """No reply so far, or in the end."""
    facts = change.evidence
    if facts.filtered:
        return Diagnosis("denied-locally", f"a packet filter of this host drops the SYN (EPERM); {what}")
    if facts.soft_error or facts.icmp:
        return Diagnosis("host-unreachable", f"{_unreachable_by(change)}; {_syns(change)}, {what}")
    if _is_full(where):
        assert where.listener is not None
        if not where.listener.full:
            return Diagnosis(
                "listener-full",
                "the listener here does not accept in time: while this waited, full queues dropped "
                f"{where.overflows} connections here (TcpExt ListenOverflows); {_syns(change)}, {what}",
            )
        return Diagnosis(
            "listener-full",
            f"the listener here does not accept: its queue took {where.listener.limit + 1} and "
            f"{where.listener.queued} waited; {_syns(change)}, {what}",
        )
    if where.self_:
        return Diagnosis(
            "no-answer", f"{_syns(change)}, {what}; {change.remote[0]} is this very host: a packet filter here drops it"
        )
    return Diagnosis("no-answer", f"{_syns(change)}, {what}: dropped on the way (a firewall), or the host is down")


def _unreachable(change: Change, where: Place, host: Host) -> Diagnosis:
    address = change.remote[0]
    if change.evidence.on_wire:
        after = "; the application closed the socket or ended" if change.evidence.by == "caller" else ""
        return Diagnosis("host-unreachable", f"{_unreachable_by(change)}{after}, after {seconds(change.waited)}")
    if where.route == "unreachable" or change.error == EHOSTUNREACH:
        return Diagnosis("no-route", f"the route to {address} is of type unreachable")
    return Diagnosis("no-route", f"this host has no route to {address}")


def _denied(change: Change, where: Place, host: Host) -> Diagnosis:
    if change.error == EACCES and where.route == "prohibit":
        return Diagnosis("denied-locally", f"the route to {change.remote[0]} is of type prohibit")
    if change.error == EACCES:
        return Diagnosis(
            "denied-locally", "refused on this host: a security module, a prohibit route or a broadcast address"
        )
    return Diagnosis("denied-locally", "refused on this host: a packet filter, a security module or a cgroup program")


def _no_address(change: Change, where: Place, host: Host) -> Diagnosis:
    if change.error != EADDRNOTAVAIL:
        return Diagnosis("ports-exhausted", "the local address and port are in use")
    if change.evidence.no_port:
        return Diagnosis(
            "ports-exhausted",
            f"no local port is free for {endpoint_text(*change.remote)}: net.ipv4.ip_local_port_range is used up, or "
            "the port the socket is bound to is already connected there",
        )
    return Diagnosis("no-route", f"this host has no address from which to reach {change.remote[0]}")


def _invalid(change: Change, where: Place, host: Host) -> Diagnosis | None:
    if change.error == EINVAL and where.route == "blackhole":
        return Diagnosis("no-route", f"the route to {change.remote[0]} is of type blackhole")
    return None


# Outcomes that this host makes at once, for any protocol.
_LOCAL = ("unreachable", "denied", "no-address", "invalid")

_BY_OUTCOME = {
    "connected": _connected,
    "refused": _refused,
    "timed-out": _timed_out,
    "aborted": _aborted,
    "unreachable": _unreachable,
    "denied": _denied,
    "no-address": _no_address,
    "invalid": _invalid,
}


# Pieces of text.


def _refusal(change: Change) -> str:
    address, port = change.remote
    if change.evidence.reset:
        return f"{address} answered with a reset: nothing listens on its port {port}, or a firewall in between refuses"
    return f"an ICMP message said that port {port} of {address} is unreachable, as firewalls do"


def _unreachable_by(change: Change) -> str:
    if change.evidence.icmp:
        return _no_neighbour(change)
    return f"an ICMP message said that {change.remote[0]} cannot be reached"


def _no_neighbour(change: Change) -> str:
    return f"this host could not deliver the SYN: the next hop to {change.remote[0]} does not answer ARP or ND"


def _syns(change: Change) -> str:
    return f"{change.syns} SYN{'' if change.syns == 1 else 's'} sent"


def _hasty(change: Change) -> str:
    """Of one that waited too short a time for a lost SYN to be sent again: RFC 6298, section 2."""
    return "; a SYN that is lost is sent again after 1 s" if change.waited < SECOND and change.syns == 1 else ""


def _own(where: Place) -> str:
    return "; the destination is this very host" if where.self_ else ""


def _is_full(where: Place) -> bool:
    return where.listener is not None and (where.listener.full or where.overflows > 0)


def _there(change: Change, where: Place, host: Host) -> str:
    """Who listens at the destination, which is ours."""
    if where.listener is not None:
        return f"{owner_text(where.listener, change, host)} listens there"
    return "who listens there is unknown" if where.listening is None else "nobody listens there any more"


def owner_text(sock: Listening, change: Change, host: Host) -> str:
    """Who has a socket."""
    owner = host.owner(sock.inode)
    if owner is None:
        return "a process unknown"
    if owner.pid == change.who.pid:
        return f"{owner.comm}[{owner.pid}] (this very process)"
    return f"{owner.comm}[{owner.pid}]"


def _ports(change: Change, listening: tuple[Listening, ...], host: Host, most: int = 6) -> str:
    """Which ports are listened on: those of this process and its parents first."""
    near = {change.who.pid: 0} | {pid: n for n, (pid, _) in enumerate(change.who.parents, 1) if pid > 1}
    found: dict[int, tuple[int, str]] = {}
    for sock in listening:
        owner = host.owner(sock.inode)
        rank = 99 if owner is None else near.get(owner.pid, 98)
        text = str(sock.port) if owner is None else f"{sock.port} ({owner.comm}[{owner.pid}])"
        if rank == 0:
            text = f"{sock.port} ({owner.comm}[{owner.pid}], this very process)" if owner else text
        if sock.port not in found or rank < found[sock.port][0]:
            found[sock.port] = (rank, text)
    if not found:
        return "no port is listened on at all"
    ranked = sorted(found.items(), key=lambda item: (item[1][0], item[0]))
    shown = "; ".join(text for _, (_, text) in ranked[:most])
    more = f"; and {len(ranked) - most} more" if len(ranked) > most else ""
    return f"these ports are: {shown}{more}"


def seconds(ns: int) -> str:
    """A time for people: 340 µs, 12 ms, 2.5 s, 127 s."""
    if ns < 1_000_000:
        return f"{ns // 1000} µs"
    if ns < 1_000_000_000:
        return f"{ns // 1_000_000} ms"
    return f"{ns / 1e9:.1f} s" if ns < 60_000_000_000 else f"{ns // 1_000_000_000} s"


def is_loopback(address: str) -> bool:
    """127.0.0.0/8 and ::1 belong to every host; connecting to 0.0.0.0 or :: means them."""
    return address.startswith("127.") or address in ("::1", "0.0.0.0", "::")


def serves(sock: Listening, address: str) -> bool:
    """Whether a listening socket hears connections to `address`; "::" hears IPv4 as well (ipv6(7))."""
    if sock.address == address:
        return True
    return (
        sock.address == "::"
        if ":" in address
        else sock.address == "0.0.0.0" or (sock.address == "::" and not sock.v6only)
    )
