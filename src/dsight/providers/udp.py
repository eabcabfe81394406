"""udp: datagrams of sockets on this host, by whatever device; loopback too.

probe    stands on          fires when
send     net_dev_queue      a UDP socket's datagram goes to a device
receive  netif_receive_skb  a datagram arrives for a UDP socket of this host

Of a datagram in fragments the first is meant, which has the UDP header.  The receiving socket is looked
up in the namespace's table of UDP sockets (dlib/udp.d), as the kernel does after this tracepoint;
kernels before 6.2 have none, so there a datagram for this host counts, and its socket is not known.
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, matching
from dsight.providers.ip import NATIVES, PACKET, RECEIVED, SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.kernel.btf import KernelBtf
    from dsight.lang.ast import ProbeDesc

BASE = 60

_ALL = [Probe(BASE, "udp", MODULE, SENT, "send"), Probe(BASE + 1, "udp", MODULE, RECEIVED, "receive")]

# Raw arguments as of ip (socket: the receiver's too); 3 the UDP header, NULL in a later fragment.
_HEADER = "udp_is[pkt_protocol[args[1]]] ? pkt_transport[args[1]] : (unsigned char *)NULL"
_NATIVES = (*NATIVES, "unsigned char *")
_UNKNOWN = "(struct sock *)1"
# What is needed in several places is worked out once, if first where nothing branches.
_ONCE = "args[1] != NULL && args[3] != NULL && args[2] != NULL"


def sent() -> tuple[str, tuple[str, ...]]:
    """Guard, and derived arguments."""
    return f"pkt_sent[args[0]] && {_ONCE} && udp_sent_by[args[2], args[3]]", (*PACKET[SENT], _HEADER)


def has_table(btf: KernelBtf) -> bool:
    """Whether this kernel has a table of UDP sockets in each namespace, which udp_receiver_of (dlib/udp.d) reads."""
    namespace = btf.type("struct", "netns_ipv4")
    return any(m.name == "udp_table" for m in getattr(namespace, "members", ()))


def received(btf: KernelBtf) -> tuple[str, tuple[str, ...]]:
    """Guard, and derived arguments."""
    header, _ = PACKET[RECEIVED]
    looked_up = f"pkt_protocol[args[1]] == 17 ? udp_receiver_of[args[0], args[1], args[3]] : {_UNKNOWN}"
    socket = looked_up if has_table(btf) else _UNKNOWN
    guard = f"pkt_received[args[0]] && {_ONCE} && udp_here[args[2], args[0], args[1]]"
    return guard, (header, socket, _HEADER)


class Udp:
    name = "udp"

    def __init__(self, btf: KernelBtf) -> None:
        self._btf = btf

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        return matching(desc, _ALL)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return (
            ArgType("struct ip_packet *", 0, "pktinfo_t *"),
            ArgType(f"struct udp_{'sender' if probe.name == 'send' else 'receiver'} *", 2, "csinfo_t *"),
            ArgType("struct ip_header *", 1, "ipinfo_t *"),
            ArgType("struct udp_sock_view *", 2, "udpsinfo_t *"),
            ArgType("struct udp_header *", 3, "udpinfo_t *"),
        )

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        plans = []
        for p in probes:
            guard, derived = sent() if p.function == SENT else received(self._btf)
            entry = Entry("ctx", (0,), probe=p.id)
            plans.append(AttachPlan("raw_tp", p.function, entry, (p,), guard=guard, natives=_NATIVES, derived=derived))
        return plans
