"""tcp: connections being made, refused, accepted; segments sent and received.

probe                stands on            fires when
accept-established   inet_sock_set_state  SYN_RECV -> ESTABLISHED, no process has the socket yet
accept-refused       tcp_send_reset       for a SYN, by no socket
connect-established  inet_sock_set_state  SYN_SENT -> ESTABLISHED, or SYN_RECV -> ESTABLISHED on a socket
                                          that belongs to a process (self-connect)
connect-failed       inet_sock_set_state  SYN_SENT -> CLOSE, or SYN_RECV -> CLOSE of such a socket
connect-refused      tcp_receive_reset    in SYN_SENT
connect-request      inet_sock_set_state  CLOSE -> SYN_SENT; or, where a script uses what is not known then,
                     net_dev_queue        for the first SYN of an attempt
connect-retransmit   tcp_retransmit_skb   in SYN_SENT
receive              netif_receive_skb    for a segment to this host
send                 net_dev_start_xmit   for a segment of this host's own
state-change         inet_sock_set_state  always

The arguments are views of one kernel object: D structs of dlib/tcp.d that wrap struct sock or
struct sk_buff, with a translator for each that says what the segment's header is.
Works without kprobes; costs other traffic nothing, but for send, receive and a connect-request whose
local port or sequence number is asked for (docs/decisions/0015-segments.md).
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, matching
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from dsight.kernel.btf import KernelBtf
    from dsight.lang.ast import ProbeDesc
    from dsight.lang.typed import Clause

BASE = 10

# include/net/tcp_states.h
_ESTABLISHED, _SYN_SENT, _SYN_RECV, _CLOSE = 1, 2, 3, 7

_OURS = "args[0]->sk_protocol == 6"  # IPPROTO_TCP: SCTP, DCCP and MPTCP change states there too
_ACCEPTED = "args[0]->sk_socket == 0 || ((struct tcp_sock *)args[0])->fastopen_rsk != 0"
_BY_US = f"(args[1] == {_SYN_SENT} || (args[1] == {_SYN_RECV} && !({_ACCEPTED})))"
_TRYING = f"args[0]->__sk_common.skc_state == {_SYN_SENT}"

# A segment of this host's own: its packet did not come in by a device.  A TCP socket's, or that of a request
# for one (state 12) or of what is left of one in TIME_WAIT (6), which have no sk_protocol; a SYN|ACK with a cookie
# has none.
_SENT = (
    "pkt_sent[args[0]] && args[0]->skb_iif == 0 && args[3] != 0 && pkt_protocol[args[1]] == 6 && (args[0]->sk == 0"
    " ? (args[3][13] & 0x17) == 0x12 : tcp_is_small[args[0]->sk] || args[0]->sk->sk_protocol == 6)"
)
_FIRST_SYN = (
    "pkt_sent[args[0]] && args[4] != 0 && args[3] != 0 && pkt_protocol[args[1]] == 6 && (args[3][13] & 0x17) == 2"
    f" && args[4]->sk.__sk_common.skc_state == {_SYN_SENT} && ((struct tcp_sock *)args[4])->total_retrans == 0"
)
_RECEIVED = (
    "pkt_received[args[0]] && args[0]->pkt_type == 0 && pkt_protocol[args[1]] == 6 && args[3] != 0"
    " && pkt_local[args[0], args[1]]"
)


class _Means(Value):
    """How a probe fires: a tracepoint, its arguments and those derived from them, a condition, and args[]."""

    tracepoint: str
    natives: tuple[str, ...]
    guard: str
    args: tuple[ArgType, ...]
    derived: tuple[str, ...] = ()  # the last of `natives`


def _socket_args(view: str, *more: ArgType) -> tuple[ArgType, ...]:
    """args[] made of a struct sock; `view`: whose translators give the segment."""
    sock, segment = "struct tcp_socket *", f"struct {view} *"
    return (
        ArgType(sock, 0, "pktinfo_t *"),
        ArgType(sock, 0, "csinfo_t *"),
        ArgType(segment, 0, "ipinfo_t *"),
        ArgType(sock, 0, "tcpsinfo_t *"),
        ArgType(segment, 0, "tcpinfo_t *"),
        *more,
    )


def _packet(tracepoint: str, guard: str, ip: str, *args: ArgType, sender: str = "(struct tcp_socket *)0") -> _Means:
    """Made of a struct sk_buff; `args`: args[1] and args[3].  Raw arguments as in dlib/tcp.d."""
    return _Means(
        tracepoint,
        ("struct sk_buff *", "unsigned char *", "int", "unsigned char *", "struct tcp_socket *"),
        guard,
        (
            ArgType("struct ip_packet *", 0, "pktinfo_t *"),
            args[0],
            ArgType("struct ip_header *", 1, "ipinfo_t *"),
            args[1],
            ArgType("struct tcp_header *", 3, "tcpinfo_t *"),
        ),
        (ip, "0", "pkt_transport[args[1]]", sender),
    )


def _refusal_args() -> tuple[ArgType, ...]:
    """args[] of a RST that no socket sends, made of the sk_buff it answers; the tracepoint's socket is NULL."""
    reset = "struct tcp_reset_sent *"
    return (
        ArgType(reset, 1, "pktinfo_t *"),
        ArgType(reset, 1, "csinfo_t *"),
        ArgType(reset, 1, "ipinfo_t *"),
        ArgType("struct tcp_socket *", 0, "tcpsinfo_t *"),
        ArgType(reset, 1, "tcpinfo_t *"),
    )


def _change(guard: str, args: tuple[ArgType, ...], *derived: str) -> _Means:
    natives = ("struct sock *", "int", "int", *["int"] * len(derived))
    return _Means("inet_sock_set_state", natives, guard, args, derived)


def _out(tracepoint: str, guard: str) -> _Means:
    return _packet(
        tracepoint,
        guard,
        "net_skb_ip[args[0]]",
        ArgType("struct tcp_packet_sent *", 0, "csinfo_t *"),
        ArgType("struct tcp_socket *", 4, "tcpsinfo_t *"),
        sender="tcp_sender[args[0]->sk]",
    )


_MEANS = {
    "accept-established": _change(
        f"args[2] == {_ESTABLISHED} && args[1] == {_SYN_RECV} && {_OURS} && ({_ACCEPTED})",
        _socket_args("tcp_segment_received"),
    ),
    "accept-refused": _Means(
        "tcp_send_reset",
        ("struct sock *", "struct sk_buff *"),
        # a SYN without ACK (byte 13 of the header), to no socket
        "arg0 == 0 && (net_skb_transport[args[1]][13] & 0x12) == 2",
        _refusal_args(),
    ),
    "connect-established": _change(
        f"args[2] == {_ESTABLISHED} && {_OURS} && {_BY_US}", _socket_args("tcp_segment_received")
    ),
    "connect-refused": _Means("tcp_receive_reset", ("struct sock *",), _TRYING, _socket_args("tcp_segment_received")),
    "connect-request": _change(
        f"args[2] == {_SYN_SENT} && args[1] == {_CLOSE} && {_OURS}", _socket_args("tcp_segment_sent")
    ),
    "state-change": _change(
        _OURS,
        (
            ArgType("void *", 0),
            ArgType("struct tcp_socket *", 0, "csinfo_t *"),
            ArgType("void *", 0),
            ArgType("struct tcp_socket *", 0, "tcpsinfo_t *"),
            ArgType("void *", 0),
            ArgType("struct tcp_state *", 1, "tcplsinfo_t *"),
        ),
    ),
    "send": _out("net_dev_start_xmit", _SENT),
    "receive": _packet(
        "netif_receive_skb",
        _RECEIVED,
        "pkt_rx_ip[args[0]]",
        ArgType("struct tcp_packet_received *", 0, "csinfo_t *"),
        ArgType("struct tcp_packet_received *", 0, "tcpsinfo_t *", through="tcp_receiver"),
    ),
    "connect-failed": _change(
        f"args[2] == {_CLOSE} && {_OURS} && {_BY_US}",
        _socket_args("tcp_segment_sent", ArgType("int", 3)),
        "tcp_attempt_errno[(struct tcp_socket *)args[0]]",
    ),
    "connect-retransmit": _Means(
        "tcp_retransmit_skb",
        ("struct sock *", "struct sk_buff *", "int", "uint32_t"),
        # where the kernel says whether the segment could be sent (from 6.15 on): it could
        f"{_TRYING} && args[2] == 0",
        _socket_args("tcp_segment_sent", ArgType("uint32_t", 3)),
        ("0", "((struct tcp_sock *)args[0])->total_retrans"),
    ),
}
_QUEUED_REQUEST = _out("net_dev_queue", _FIRST_SYN)

# What inet_sock_set_state shows of a connect-request; all else is known when its SYN is queued.
_KNOWN_EARLY = {
    "csinfo": {"cs_addr", "cs_cid", "cs_pid", "cs_zoneid"},
    "ipinfo": {"ip_ver", "ip_saddr", "ip_daddr"},
    "tcpinfo": {"tcp_dport", "tcp_ack", "tcp_flags", "tcp_urgent"},
    "tcpsinfo": {"tcps_addr", "tcps_local", "tcps_active", "tcps_rport", "tcps_laddr", "tcps_raddr", "tcps_state"},
}
_TRANSLATED = ("pktinfo", *_KNOWN_EARLY)

_ALL = [Probe(BASE + i, "tcp", MODULE, means.tracepoint, name) for i, (name, means) in enumerate(_MEANS.items())]


def _late(clause: Clause) -> bool:
    """Whether a clause of connect-request uses what only the SYN has."""
    return any(s in _TRANSLATED and m not in _KNOWN_EARLY.get(s, ()) for s, m in clause.members)


class Tcp:
    name = "tcp"

    def __init__(self, btf: KernelBtf) -> None:
        self._btf = btf
        self._request = _MEANS["connect-request"]
        self._cookies = False  # whether sockets are still to be given some

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        return matching(desc, _ALL)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return self._means(probe).args

    def refine(self, clauses: Iterable[Clause]) -> bool:
        """Choose what the script needs: connect-request waits for its SYN, if a clause of it uses what is known
        only then; sockets are given cookies, if one uses them."""
        ours = [c for c in clauses if any(p.provider == "tcp" for p in c.probes)]
        requests = [c for c in ours if any(p.name == "connect-request" for p in c.probes)]
        before = self._request
        self._request = _QUEUED_REQUEST if any(map(_late, requests)) else _MEANS["connect-request"]
        self._cookies = any(("csinfo", "cs_cid") in c.members for c in ours)
        return self._request is not before

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        plans = []
        if self._cookies and self._btf.type("func", "bpf_get_socket_ptr_cookie") is not None:  # Linux 5.12
            # Before the others: a socket has no cookie until somebody asks for it, which only such a program can.
            entry = Entry("ctx", (0,), probe=probes[0].id)
            plans.append(AttachPlan("tp_btf", "inet_sock_set_state", entry, probes[:1], helper="get_socket_cookie"))
        self._cookies = False
        for p in probes:
            means = self._means(p)
            entry = Entry("ctx", tuple(8 * i for i in range(len(means.natives) - len(means.derived))), probe=p.id)
            plans.append(
                AttachPlan(
                    "raw_tp",
                    means.tracepoint,
                    entry,
                    (p,),
                    guard=means.guard,
                    natives=means.natives,
                    derived=means.derived,
                )
            )
        return plans

    def _means(self, probe: Probe) -> _Means:
        means = self._request if probe.name == "connect-request" else _MEANS[probe.name]
        if means.tracepoint == "tcp_retransmit_skb":
            func = self._btf.tracepoint(means.tracepoint)
            if func is not None and len(func.params) > 2:
                return means.replace(derived=means.derived[1:])
        return means
