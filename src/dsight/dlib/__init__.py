"""D source shipped with the package, and which file defines which name.

The tables let the checker open a file only for a script that uses it.  They are
checked against the files by tests/pure/dlib/test_index.py, which prints what they
should be (`lang.library.index` makes them).
"""

from __future__ import annotations

# typedef, "struct tag", enumerator or inline: the file
INDEX: dict[str, str] = {
    "cpuinfo_t": "cpuinfo.d",
    "struct cpuinfo": "cpuinfo.d",
    "ppid": "process.d",
    "vtimestamp": "process.d",
    "zonename": "process.d",
    "pktinfo_t": "tcp.d",
    "struct pktinfo": "tcp.d",
    "csinfo_t": "tcp.d",
    "struct csinfo": "tcp.d",
    "ipinfo_t": "tcp.d",
    "struct ipinfo": "tcp.d",
    "tcpinfo_t": "tcp.d",
    "struct tcpinfo": "tcp.d",
    "tcpsinfo_t": "tcp.d",
    "struct tcpsinfo": "tcp.d",
    "tcplsinfo_t": "tcp.d",
    "struct tcplsinfo": "tcp.d",
    "struct tcp_socket": "tcp.d",
    "struct tcp_segment_sent": "tcp.d",
    "struct tcp_segment_received": "tcp.d",
    "struct tcp_reset_sent": "tcp.d",
    "struct tcp_no_socket": "tcp.d",
    "struct tcp_state": "tcp.d",
    "tcp_mapped": "tcp.d",
    "tcp_is_v6": "tcp.d",
    "tcp_laddr": "tcp.d",
    "tcp_raddr": "tcp.d",
    "tcp_state_of": "tcp.d",
    "tcp_skb_ip": "tcp.d",
    "tcp_skb_tcp": "tcp.d",
    "tcp_skb_is_v6": "tcp.d",
    "tcp_state_string": "tcpstate.d",
}

# output type of translators: the files, separated by spaces
TRANSLATORS: dict[str, str] = {
    "cpuinfo_t": "cpuinfo.d",
    "pktinfo_t": "tcp.d",
    "csinfo_t": "tcp.d",
    "ipinfo_t": "tcp.d",
    "tcpinfo_t": "tcp.d",
    "tcpsinfo_t": "tcp.d",
    "tcplsinfo_t": "tcp.d",
}

# those names of INDEX that are types
TYPES = frozenset(
    {
        "cpuinfo_t",
        "pktinfo_t",
        "csinfo_t",
        "ipinfo_t",
        "tcpinfo_t",
        "tcpsinfo_t",
        "tcplsinfo_t",
    }
)


def read(name: str) -> str:
    """The text of a library file."""
    with open(f"{__path__[0]}/{name}", encoding="utf-8") as f:
        return f.read()
