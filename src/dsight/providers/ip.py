"""ip: every packet that IP sends to a device or receives from one, forwarded ones and fragments too.

probe    stands on          fires
send     net_dev_queue      once for each packet: not again where a device hands it to the one below it
receive  netif_receive_skb  likewise; a packet that was put together from several (GRO) is one

The guards and the views of struct sk_buff are in dlib/net.d and dlib/ip.d.  Works without kprobes; costs
packets only.
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, matching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.ast import ProbeDesc

BASE = 50

SENT, RECEIVED = "net_dev_queue", "netif_receive_skb"
_ALL = [Probe(BASE, "ip", MODULE, SENT, "send"), Probe(BASE + 1, "ip", MODULE, RECEIVED, "receive")]

# Raw arguments: 0 the packet, 1 its IP header, 2 the socket that sends it or NULL; ...
NATIVES = ("struct sk_buff *", "unsigned char *", "struct sock *")
PACKET = {
    SENT: ("net_skb_ip[args[0]]", "args[0]->sk"),
    RECEIVED: ("pkt_rx_ip[args[0]]", "(struct sock *)NULL"),
}
# ... 3 and 4 the IP header where it is of that version, else NULL.
_OF_VERSION = (
    "net_ip_is_v6[args[1]] ? (unsigned char *)NULL : args[1]",
    "net_ip_is_v6[args[1]] ? args[1] : (unsigned char *)NULL",
)
_GUARDS = {SENT: "pkt_sent[args[0]]", RECEIVED: "pkt_received[args[0]]"}

COMMON = (
    ArgType("struct ip_packet *", 0, "pktinfo_t *"),
    ArgType("struct ip_sock *", 2, "csinfo_t *"),
    ArgType("struct ip_header *", 1, "ipinfo_t *"),
)


class Ip:
    name = "ip"

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        return matching(desc, _ALL)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return (
            *COMMON,
            ArgType("struct ip_packet *", 0, "ifinfo_t *"),
            ArgType("struct ip4_header *", 3, "ipv4info_t *"),
            ArgType("struct ip6_header *", 4, "ipv6info_t *"),
        )

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        return [
            AttachPlan(
                "raw_tp",
                p.function,
                Entry("ctx", (0,), probe=p.id),
                (p,),
                guard=_GUARDS[p.function],
                natives=NATIVES,
                derived=(*PACKET[p.function], *_OF_VERSION),
            )
            for p in probes
        ]
