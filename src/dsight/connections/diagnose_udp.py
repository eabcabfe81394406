"""Why, for UDP: see diagnose.py, which gives us what it says of every protocol."""

from __future__ import annotations

from dsight.connections.datagrams import ANSWERED
from dsight.connections.diagnose import owner_text, seconds
from dsight.connections.model import Diagnosis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.attempts import Change
    from dsight.connections.diagnose import Place
    from dsight.connections.host import Host


def diagnose(change: Change, where: Place, host: Host) -> Diagnosis | None:
    """The cause of what came of datagrams; None where connect(2) or sending failed on this host at once."""
    if change.event == "hanging" or change.outcome in ("pending", "sent"):
        return _unanswered(change, where)
    if change.outcome == "aborted" and change.evidence.by == "caller":
        return Diagnosis(
            "gave-up",
            f"the application closed the socket or ended after {seconds(change.waited)}; {_sent(change)}, no reply"
            + _silent(where),
        )
    if change.outcome == "refused":
        return _refused(change, where, host)
    if change.outcome == "connected" and where.listener is not None:
        return Diagnosis(
            "itself", f"to this very host: {owner_text(where.listener, change, host)} has the socket there"
        )
    if change.outcome == "unreachable" and change.evidence.on_wire and where.route not in ("none", "unreachable"):
        return Diagnosis("host-unreachable", f"{_sent(change)}; an ICMP message said that "
                         f"{change.remote[0]} cannot be reached")  # fmt: skip
    return None


def _unanswered(change: Change, where: Place) -> Diagnosis:
    text = f"{_sent(change)}, no reply for {seconds(change.waited)}"
    if change.remote[1] not in ANSWERED:
        text += "; many protocols never answer: whether anybody took them is unknown"
    return Diagnosis("no-answer", text + _silent(where))


def _refused(change: Change, where: Place, host: Host) -> Diagnosis:
    address, port = change.remote
    answer = f"an ICMP message said that UDP port {port} of {address} is unreachable"
    if not where.self_:
        unknown = f"; whether {address} is this very host is unknown" if where.self_ is None else ""
        return Diagnosis("refused-by-peer", f"{answer}: no socket has it, or a firewall refuses{unknown}")
    ours = f"{address} is this very host"
    if where.listener is not None:
        who = owner_text(where.listener, change, host)
        return Diagnosis("itself", f"{ours}; {who} has UDP port {port} now: it came later, or a packet filter refuses")
    if where.listening is None:
        return Diagnosis("nothing-listens-here", f"{ours}, and no socket had UDP port {port}; who has which port is "
                         "unknown: its network namespace is gone or cannot be read")  # fmt: skip
    elsewhere = [s for s in where.listening if s.port == port]
    if elsewhere and all((":" in s.address) != (":" in (address or "")) for s in elsewhere):
        other = "IPv6" if ":" in elsewhere[0].address else "IPv4"
        who = owner_text(elsewhere[0], change, host)
        return Diagnosis("wrong-family", f"{ours}; {who} has UDP port {port}, but for {other} only")
    if elsewhere:
        at = ", ".join(sorted({s.address for s in elsewhere}))
        who = owner_text(elsewhere[0], change, host)
        return Diagnosis("nothing-listens-here", f"{ours}; {who} has UDP port {port}, but only at {at}")
    text = f"{ours}, and no socket has UDP port {port} here"
    streams = [s for s in host.listening(change.netns, change.who.pid) or () if s.port == port]
    if streams:
        text += f"; {owner_text(streams[0], change, host)} listens on TCP port {port}"
    return Diagnosis("nothing-listens-here", text)


def _sent(change: Change) -> str:
    count = change.datagrams or 0
    return f"{count} datagram{'' if count == 1 else 's'} sent"


def _silent(where: Place) -> str:
    if where.listener is not None:
        return "; the destination is this very host, and its socket is there"
    return "; the destination is this very host" if where.self_ else ""
