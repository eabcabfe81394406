"""What this host itself dropped: a SYN, or the answer to one.  The kernel's reason -> a word of ours.

The kernel says why it drops a packet since Linux 5.17 (enum skb_drop_reason, include/net/dropreason-core.h);
the numbers are not the same in all kernels, so drop.d is filled in with those of this one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A word and what the diagnosis says did it; nothing where it was no refusal.
NEIGHBOUR = "neighbour"
UNSAID = "unsaid"  # for no reason that is told: so do kernels with what waits for a neighbour of IPv6 (ndisc.c)
DROPPERS = {
    NEIGHBOUR: "",
    "filter": "a packet filter of this host (nftables, iptables)",
    "cgroup": "a BPF program of the process's cgroup",
    "tc": "a traffic control filter (tc) of this host",
    "xdp": "an XDP program of this host",
    "rp_filter": "the reverse path filter of this host (net.ipv4.conf.*.rp_filter)",
    "ipsec": "an IPsec policy of this host (ip xfrm)",
    UNSAID: "",
}
WORDS = tuple(DROPPERS)
_REASONS = {
    "NEIGH_FAILED": NEIGHBOUR,
    "NETFILTER_DROP": "filter",
    "BPF_CGROUP_EGRESS": "cgroup",
    "TC_EGRESS": "tc",
    "TC_INGRESS": "tc",
    "XDP": "xdp",
    "IP_RPFILTER": "rp_filter",
    "XFRM_POLICY": "ipsec",
}


_SYN_SENT = "args[0]->protocol == 0xdd86 && args[0]->sk != 0 && args[0]->sk->__sk_common.skc_state == 2"


def reasons(enumerator: Callable[[str], int | None]) -> str:
    """The D expression for REASON: 1 and on for WORDS, 0 for what is of no interest; "" where this
    kernel tells no reasons."""
    found = [(enumerator(f"SKB_DROP_REASON_{name}"), WORDS.index(word) + 1) for name, word in _REASONS.items()]
    known = [(number, code) for number, code in found if number is not None]
    if not known:
        return ""
    text = "".join(f"args[2] == {number} ? {code} : " for number, code in known)
    unsaid = enumerator("SKB_DROP_REASON_NOT_SPECIFIED")
    if unsaid is not None:  # of a socket in SYN_SENT
        text += f"args[2] == {unsaid} && {_SYN_SENT} ? {WORDS.index(UNSAID) + 1} : "
    return f"({text}0)"
