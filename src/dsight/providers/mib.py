"""mib: counters of the network's management information bases, as probes.

args[0] is what is added, args[1] (our own) the network namespace.

Names are those of the Dynamic Tracing Guide.  Offered are the counters that a tracepoint tells of exactly;
docs/incompatibilities.md lists the others.  Each fires where /proc/net/snmp counts, but for those the
guide defines otherwise (said there too).
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, matching
from dsight.providers.ip import PACKET, RECEIVED, SENT
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.kernel.btf import KernelBtf
    from dsight.lang.ast import ProbeDesc

BASE = 500

# Raw arguments: 0 to 3 the tracepoint's, 4 the increment, 5 the packet's IP header, 6 that of the transport, which
# is NULL in a later fragment; 7 the network namespace.
_RAW, _INCREMENT, _ZONE = 4, 4, 7
_ONE = "(uint64_t)1"


class Source(Value):
    """Where a counter is counted: tracepoint, types of its arguments, guard, increment, IP header, namespace."""

    tracepoint: str
    natives: tuple[str, ...]
    guard: str = "1"
    increment: str = _ONE
    header: str = "(unsigned char *)NULL"
    zone: str = "net_zone[args[0]]"


def _state(guard: str) -> tuple[Source, ...]:
    """A TCP socket's change of state: args[1] to args[2] (include/net/tcp_states.h)."""
    return (Source("inet_sock_set_state", ("struct sock *", "int", "int"), f"args[0]->sk_protocol == 6 && {guard}"),)


def _received(guard: str) -> tuple[Source, ...]:
    return _packet(
        RECEIVED, ("struct sk_buff *",), f"pkt_received[args[0]] && args[5] != NULL && {guard}", PACKET[RECEIVED][0]
    )


def _sent(guard: str) -> tuple[Source, ...]:
    return _packet(SENT, ("struct sk_buff *",), f"pkt_sent[args[0]] && args[5] != NULL && {guard}", PACKET[SENT][0])


def _dropped(reason: str, guard: str) -> tuple[Source, ...]:
    """A packet thrown away for this enum skb_drop_reason."""
    natives = ("struct sk_buff *", "void *", "int")
    guard = f"args[2] == SKB_DROP_REASON_{reason} && args[5] != NULL && {guard}"
    return _packet("kfree_skb", natives, guard, "net_skb_ip[args[0]]")


def _packet(tracepoint: str, natives: tuple[str, ...], guard: str, header: str) -> tuple[Source, ...]:
    return (Source(tracepoint, natives, guard, header=header, zone="net_dev_zone[args[0]->dev]"),)


_V4 = "!net_ip_is_v6[args[5]]"
_UDP = "udp_is[pkt_protocol[args[5]]]"
_LOCAL = "pkt_local[args[0], args[5]]"
_UDP_FAILED = Source("udp_fail_queue_rcv_skb", ("int", "struct sock *"), zone="net_zone[args[1]]")
_SEGMENTS = "((struct skb_shared_info *)(args[1]->head + args[1]->end))->gso_segs"

_COUNTERS: dict[str, tuple[Source, ...]] = {
    "tcpActiveOpens": _state("args[1] == 7 && args[2] == 2"),
    "tcpPassiveOpens": _state("args[1] == 10 && args[2] == 3"),
    "tcpAttemptFails": _state("(args[1] == 2 || args[1] == 3) && args[2] == 7 && args[0]->sk_err != 0"),
    "tcpEstabResets": _state("(args[1] == 1 || args[1] == 8) && args[2] == 7"),
    "tcpInSegs": _received(f"args[0]->pkt_type == 0 && pkt_protocol[args[5]] == 6 && args[6] != NULL && {_LOCAL}"),
    "tcpRetransSegs": (
        Source(
            "tcp_retransmit_skb",
            ("struct sock *", "struct sk_buff *"),
            increment=f"(uint64_t)({_SEGMENTS} > 1 ? {_SEGMENTS} : 1)",
        ),
        Source("tcp_retransmit_synack", ("struct sock *",)),
    ),
    "tcpOutRsts": (
        Source(
            "tcp_send_reset",
            ("struct sock *", "struct sk_buff *"),
            zone="args[0] != NULL ? net_zone[args[0]] : net_dev_zone[args[1]->dev]",  # by no socket, for a segment
        ),
    ),
    "udpInDatagrams": (
        Source("sk_data_ready", ("struct sock *",), "args[0]->sk_type == 2 && udp_is[args[0]->sk_protocol]"),
    ),
    "udpOutDatagrams": _sent(f"{_UDP} && udp_sent_by[args[0]->sk, args[6]]"),
    "udpNoPorts": _dropped("NO_SOCKET", _UDP),
    "udpInCksumErrs": _dropped("UDP_CSUM", _UDP),
    "udpInOverflows": (_UDP_FAILED.replace(guard="args[0] == -12"),),  # ENOMEM
    "udpInErrors": (_UDP_FAILED, *_dropped("UDP_CSUM", _UDP)),
    "ipInReceives": _received(_V4),
    "ipReasmReqds": _received(f"{_V4} && (net_be16[args[5] + 6] & 0x3fff) != 0 && {_LOCAL}"),
    "ipInCksumErrs": _dropped("IP_CSUM", "1"),
    "ipInUnknownProtos": _dropped("IP_NOPROTO", _V4),
    "ipv6InReceives": _received("net_ip_is_v6[args[5]]"),
}

# RFC 792: what it is called, its type.
_ICMP = {
    "EchoReps": 0, "DestUnreachs": 3, "SrcQuenchs": 4, "Redirects": 5, "Echos": 8, "TimeExcds": 11, "ParmProbs": 12,
    "Timestamps": 13, "TimestampReps": 14, "AddrMasks": 17, "AddrMaskReps": 18,
}  # fmt: skip
_MESSAGE = f"{_V4} && pkt_protocol[args[5]] == 1 && args[6] != NULL"
_KINDS = {"Msgs": _MESSAGE, "FragNeeded": f"{_MESSAGE} && args[6][0] == 3 && args[6][1] == 4"}
_KINDS |= {name: f"{_MESSAGE} && args[6][0] == {kind}" for name, kind in _ICMP.items()}
for _kind, _is in _KINDS.items():
    _COUNTERS[f"icmpIn{_kind}"] = _received(f"{_is} && {_LOCAL}")
    _COUNTERS[f"icmpOut{_kind}"] = _sent(f"{_is} && args[0]->skb_iif == 0")


class Mib:
    name = "mib"

    def __init__(self, btf: KernelBtf) -> None:
        self._btf = btf

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        """Those whose tracepoints, and reasons of drops, this kernel has."""
        every = [Probe(BASE + i, "mib", MODULE, "", name) for i, name in enumerate(_COUNTERS)]
        return [p for p in matching(desc, every) if all(map(self._has, _COUNTERS[p.name]))]

    def _has(self, source: Source) -> bool:
        if self._btf.id("typedef", f"btf_trace_{source.tracepoint}") is None:
            return False
        words = source.guard.split()
        return source.tracepoint != "kfree_skb" or self._btf.enumerator(words[2]) is not None

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return ArgType("uint64_t", _INCREMENT), ArgType("zoneid_t", _ZONE)

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        return [_plan(p, source) for p in probes for source in _COUNTERS[p.name]]


def _plan(probe: Probe, source: Source) -> AttachPlan:
    given = len(source.natives)
    entry = Entry("ctx", tuple(8 * i if i < given else -1 for i in range(_RAW)), probe=probe.id)
    natives = (*source.natives, *["int64_t"] * (_RAW - given), "uint64_t", "unsigned char *", "unsigned char *")
    derived = (source.increment, source.header, "pkt_transport[args[5]]", source.zone)
    return AttachPlan("raw_tp", source.tracepoint, entry, (probe,), (), source.guard, natives, derived)
