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
    "bufinfo_t": "io.d",
    "struct bufinfo": "io.d",
    "devinfo_t": "io.d",
    "struct devinfo": "io.d",
    "fileinfo_t": "io.d",
    "struct fileinfo": "io.d",
    "B_BUSY": "io.d",
    "B_DONE": "io.d",
    "B_ERROR": "io.d",
    "B_PAGEIO": "io.d",
    "B_PHYS": "io.d",
    "B_READ": "io.d",
    "B_WRITE": "io.d",
    "B_ASYNC": "io.d",
    "fds_file": "io.d",
    "file_has_path": "io.d",
    "PCAP_ETHER": "pcap.d",
    "PCAP_ETHERNET": "pcap.d",
    "PCAP_PPP": "pcap.d",
    "PCAP_IP": "pcap.d",
    "PCAP_WIFI": "pcap.d",
    "PCAP_IPNET": "pcap.d",
    "PCAP_IPOIB": "pcap.d",
    "pcap_offset": "pcap.d",
    "pcap_start": "pcap.d",
    "pcap_linear": "pcap.d",
    "pcap_length": "pcap.d",
    "ppid": "process.d",
    "vtimestamp": "process.d",
    "zonename": "process.d",
    "timestruc_t": "procfs.d",
    "struct timestruc": "procfs.d",
    "psinfo_t": "procfs.d",
    "struct psinfo": "procfs.d",
    "lwpsinfo_t": "procfs.d",
    "struct lwpsinfo": "procfs.d",
    "PRNODEV": "procfs.d",
    "PR_MODEL_ILP32": "procfs.d",
    "PR_MODEL_LP64": "procfs.d",
    "PR_STOPPED": "procfs.d",
    "PR_ISTOP": "procfs.d",
    "PR_DSTOP": "procfs.d",
    "PR_STEP": "procfs.d",
    "PR_ASLEEP": "procfs.d",
    "PR_PCINVAL": "procfs.d",
    "PR_ASLWP": "procfs.d",
    "PR_AGENT": "procfs.d",
    "PR_ISSYS": "procfs.d",
    "SSLEEP": "procfs.d",
    "SRUN": "procfs.d",
    "SZOMB": "procfs.d",
    "SSTOP": "procfs.d",
    "SIDL": "procfs.d",
    "SONPROC": "procfs.d",
    "PBIND_NONE": "procfs.d",
    "PS_NONE": "procfs.d",
    "task_args": "procfs.d",
    "task_state": "procfs.d",
    "struct task_began": "procfs.d",
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
    "fileinfo_t": "io.d",
    "timestruc_t": "procfs.d",
    "psinfo_t": "procfs.d",
    "lwpsinfo_t": "procfs.d",
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
        "bufinfo_t",
        "devinfo_t",
        "fileinfo_t",
        "timestruc_t",
        "psinfo_t",
        "lwpsinfo_t",
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
