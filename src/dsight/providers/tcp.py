"""tcp: connections being made, refused, accepted.

probe                stands on            fires when
connect-request      inet_sock_set_state  CLOSE -> SYN_SENT
connect-established  inet_sock_set_state  SYN_SENT -> ESTABLISHED, or SYN_RECV -> ESTABLISHED on a socket
                                          that belongs to a process (self-connect)
connect-refused      tcp_receive_reset    in SYN_SENT
accept-established   inet_sock_set_state  SYN_RECV -> ESTABLISHED, no process has the socket yet
accept-refused       tcp_send_reset       for a SYN, by no socket
state-change         inet_sock_set_state  always

The arguments are views of one kernel object: D structs of dlib/tcp.d that wrap struct sock or
struct sk_buff, with a translator for each that says what the segment's header is.
Works without kprobes; costs other traffic nothing.
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, matching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.ast import ProbeDesc

BASE = 10

# include/net/tcp_states.h
_ESTABLISHED, _SYN_SENT, _SYN_RECV, _CLOSE = 1, 2, 3, 7

_STATE = ("inet_sock_set_state", ("struct sock *", "int", "int"))
_OURS = "args[0]->sk_protocol == 6"  # IPPROTO_TCP: SCTP, DCCP and MPTCP change states there too
_ACCEPTED = "args[0]->sk_socket == 0 || ((struct tcp_sock *)args[0])->fastopen_rsk != 0"

# name: (tracepoint, its arguments), guard, the view whose translators give the segment, index of the viewed argument
_PROBES: dict[str, tuple[tuple[str, tuple[str, ...]], str, str, int]] = {
    "accept-established": (
        _STATE,
        f"args[2] == {_ESTABLISHED} && args[1] == {_SYN_RECV} && {_OURS} && ({_ACCEPTED})",
        "tcp_segment_received",
        0,
    ),
    "accept-refused": (
        ("tcp_send_reset", ("struct sock *", "struct sk_buff *")),
        # a SYN without ACK (byte 13 of the header), to no socket
        "arg0 == 0 && (((unsigned char *)(args[1]->head + args[1]->transport_header))[13] & 0x12) == 2",
        "tcp_reset_sent",
        1,
    ),
    "connect-established": (
        _STATE,
        f"args[2] == {_ESTABLISHED} && {_OURS} && "
        f"(args[1] == {_SYN_SENT} || (args[1] == {_SYN_RECV} && !({_ACCEPTED})))",
        "tcp_segment_received",
        0,
    ),
    "connect-refused": (
        ("tcp_receive_reset", ("struct sock *",)),
        f"args[0]->__sk_common.skc_state == {_SYN_SENT}",
        "tcp_segment_received",
        0,
    ),
    "connect-request": (
        _STATE,
        f"args[2] == {_SYN_SENT} && args[1] == {_CLOSE} && {_OURS}",
        "tcp_segment_sent",
        0,
    ),
    "state-change": (_STATE, _OURS, "", 0),
}
_ALL = [
    Probe(BASE + i, "tcp", MODULE, tracepoint[0], name) for i, (name, (tracepoint, *_)) in enumerate(_PROBES.items())
]


class Tcp:
    name = "tcp"

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        return matching(desc, _ALL)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        _, _, view, at = _PROBES[probe.name]
        segment = f"struct {view} *"
        sock = segment if probe.name == "accept-refused" else "struct tcp_socket *"
        if probe.name == "state-change":
            return (
                ArgType("void *", at),
                ArgType(sock, at, "csinfo_t *"),
                ArgType("void *", at),
                ArgType(sock, at, "tcpsinfo_t *"),
                ArgType("void *", at),
                ArgType("struct tcp_state *", 1, "tcplsinfo_t *"),
            )
        return (
            ArgType(sock, at, "pktinfo_t *"),
            ArgType(sock, at, "csinfo_t *"),
            ArgType(segment, at, "ipinfo_t *"),
            # Of a reset sent by no socket the tracepoint's socket, which is NULL.
            ArgType("struct tcp_no_socket *", 0, "tcpsinfo_t *")
            if sock == segment
            else ArgType(sock, at, "tcpsinfo_t *"),
            ArgType(segment, at, "tcpinfo_t *"),
        )

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        plans = []
        for p in probes:
            (tracepoint, natives), guard, _, _ = _PROBES[p.name]
            entry = Entry("ctx", tuple(8 * i for i in range(len(natives))), probe=p.id)
            plans.append(AttachPlan("raw_tp", tracepoint, entry, (p,), guard=guard, natives=natives))
        return plans
