"""Names for numbers: errno, R_*, SIG*, O_*, AF_*, IPPROTO_*, DTRACEFLT_*, TCP_STATE_*, TH_*, CLD_*.

Values are this machine's where they differ between architectures (errno, signals, O_*).
`lookup` costs a dictionary look-up; the tables of errno and signals are Python's own.
"""

from __future__ import annotations

_FAMILIES = {
    "UNSPEC": 0, "UNIX": 1, "LOCAL": 1, "INET": 2, "AX25": 3, "IPX": 4, "APPLETALK": 5, "NETROM": 6, "BRIDGE": 7,
    "ATMPVC": 8, "X25": 9, "INET6": 10, "ROSE": 11, "NETBEUI": 13, "SECURITY": 14, "KEY": 15, "NETLINK": 16,
    "ROUTE": 16, "PACKET": 17, "ASH": 18, "ECONET": 19, "ATMSVC": 20, "RDS": 21, "SNA": 22, "IRDA": 23,
    "PPPOX": 24, "WANPIPE": 25, "LLC": 26, "IB": 27, "MPLS": 28, "CAN": 29, "TIPC": 30, "BLUETOOTH": 31,
    "IUCV": 32, "RXRPC": 33, "ISDN": 34, "PHONET": 35, "IEEE802154": 36, "CAIF": 37, "ALG": 38, "NFC": 39,
    "VSOCK": 40, "KCM": 41, "QIPCRTR": 42, "SMC": 43, "XDP": 44, "MCTP": 45,
}  # fmt: skip  # include/linux/socket.h

_PROTOCOLS = {
    "IP": 0, "ICMP": 1, "IGMP": 2, "IPIP": 4, "TCP": 6, "EGP": 8, "PUP": 12, "UDP": 17, "IDP": 22, "TP": 29,
    "DCCP": 33, "IPV6": 41, "ROUTING": 43, "FRAGMENT": 44, "RSVP": 46, "GRE": 47, "ESP": 50, "AH": 51,
    "ICMPV6": 58, "NONE": 59, "DSTOPTS": 60, "MTP": 92, "BEETPH": 94, "ENCAP": 98, "PIM": 103, "COMP": 108,
    "L2TP": 115, "SCTP": 132, "MH": 135, "UDPLITE": 136, "MPLS": 137, "ETHERNET": 143, "RAW": 255, "MPTCP": 262,
    "HOPOPTS": 0,
}  # fmt: skip  # include/uapi/linux/in.h, in6.h

_TABLES = {
    "AF_": _FAMILIES,
    "PF_": _FAMILIES,
    "IPPROTO_": _PROTOCOLS,
    "DTRACEFLT_": {
        "UNKNOWN": 0, "BADADDR": 1, "BADALIGN": 2, "ILLOP": 3, "DIVZERO": 4, "NOSCRATCH": 5, "KPRIV": 6, "UPRIV": 7,
        "TUPOFLOW": 8, "BADSTACK": 9,
    },
    # The numbers other systems' tcp provider shows, not Linux's: closed is below 0, established 0.
    "TCP_STATE_": {
        "CLOSED": -6, "IDLE": -5, "BOUND": -4, "LISTEN": -3, "SYN_SENT": -2, "SYN_RECEIVED": -1, "ESTABLISHED": 0,
        "CLOSE_WAIT": 1, "FIN_WAIT_1": 2, "CLOSING": 3, "LAST_ACK": 4, "FIN_WAIT_2": 5, "TIME_WAIT": 6,
    },
    "TH_": {
        "FIN": 0x01, "SYN": 0x02, "RST": 0x04, "PUSH": 0x08, "PSH": 0x08, "ACK": 0x10, "URG": 0x20, "ECE": 0x40,
        "CWR": 0x80,
    },
    "CLD_": {"EXITED": 1, "KILLED": 2, "DUMPED": 3, "TRAPPED": 4, "STOPPED": 5, "CONTINUED": 6},
    "O_": {"ACCMODE": 3},
}  # fmt: skip


def lookup(name: str) -> int | None:
    """The value of a constant; None where there is none of that name."""
    if not name.isupper():
        return None
    for prefix in ("DTRACEFLT_", "TCP_STATE_", "IPPROTO_", "CLD_", "AF_", "PF_", "TH_", "O_"):
        if name.startswith(prefix):
            value = _TABLES[prefix].get(name[len(prefix) :])
            if value is None and prefix == "O_":
                import posix

                value = getattr(posix, name, None)
            return value
    if name.startswith("R_"):
        from dsight.lang import registers

        return registers.table().get(name)
    if name.startswith("SIG"):
        import _signal  # type: ignore[import-not-found]  # signal itself imports enum

        value = getattr(_signal, name, None)
        return value if isinstance(value, int) else None
    if name.startswith("E"):
        import errno

        value = getattr(errno, name, None)
        return value if isinstance(value, int) else None
    return None


def names() -> list[str]:
    """All of them, for suggestions."""
    import _signal
    import errno
    import posix

    found = [prefix + name for prefix, table in _TABLES.items() for name in table]
    found += [n for n in dir(posix) if n.startswith("O_")]
    found += [n for n in dir(_signal) if n.startswith("SIG") and n.isupper()]
    return found + list(errno.errorcode.values())
