"""icmp: messages of ICMP and ICMPv6 that this host sends or receives, not those it forwards.  No other system has it.

probe    stands on          fires
send     net_dev_queue      as a message goes to a device
receive  netif_receive_skb  as one for this host arrives
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, matching
from dsight.providers.ip import COMMON, NATIVES, PACKET, RECEIVED, SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.ast import ProbeDesc

BASE = 70

_ALL = [Probe(BASE, "icmp", MODULE, SENT, "send"), Probe(BASE + 1, "icmp", MODULE, RECEIVED, "receive")]

# Raw arguments as of ip; 3 the message, NULL in a later fragment.
_MESSAGE = "pkt_is_icmp[args[1]] ? pkt_transport[args[1]] : (unsigned char *)NULL"
_GUARDS = {
    SENT: "pkt_sent[args[0]] && args[0]->skb_iif == 0 && args[1] != NULL && args[3] != NULL",
    RECEIVED: "pkt_received[args[0]] && args[1] != NULL && args[3] != NULL && pkt_local[args[0], args[1]]",
}


class Icmp:
    name = "icmp"

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        return matching(desc, _ALL)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return (*COMMON, ArgType("struct icmp_header *", 3, "icmpinfo_t *"))

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        return [
            AttachPlan(
                "raw_tp",
                p.function,
                Entry("ctx", (0,), probe=p.id),
                (p,),
                guard=_GUARDS[p.function],
                natives=(*NATIVES, "unsigned char *"),
                derived=(*PACKET[p.function], _MESSAGE),
            )
            for p in probes
        ]
