"""Socket addresses, and sockets, as text."""

from __future__ import annotations

import struct

from dsight.calls import names
from dsight.calls.structs import quoted

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK = 1, 2, 10, 16, 17, 40
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLITE", 255: "RAW", 262: "MPTCP"}
_LISTEN = 10  # TCP_LISTEN, include/net/tcp_states.h


def sockaddr(data: bytes) -> str:
    """struct sockaddr, as long as its caller says it is."""
    if len(data) < 2:
        return quoted(data) if data else "{}"
    family = int.from_bytes(data[:2], "little")
    head = f"{{sa_family={names.enum(family, 'af')}"
    if family == AF_UNIX:
        return f"{head}, sun_path={_unix(data[2:])}}}" if len(data) > 2 else head + "}"
    if family == AF_INET and len(data) >= 8:
        port = int.from_bytes(data[2:4], "big")
        return f'{head}, sin_port=htons({port}), sin_addr=inet_addr("{ipv4(data[4:8])}")}}'
    if family == AF_INET6 and len(data) >= 24:
        port = int.from_bytes(data[2:4], "big")
        flow = int.from_bytes(data[4:8], "big")
        scope = int.from_bytes(data[24:28], "little")
        return (
            f'{head}, sin6_port=htons({port}), sin6_flowinfo=htonl({flow}), inet_pton(AF_INET6, "{ipv6(data[8:24])}", '
            f"&sin6_addr), sin6_scope_id={scope}}}"
        )
    if family == AF_NETLINK and len(data) >= 12:
        pid, groups = struct.unpack_from("II", data, 4)
        return f"{head}, nl_pid={pid}, nl_groups={f'{groups:#08x}' if groups else '00000000'}}}"
    if family == AF_PACKET and len(data) >= 12:
        protocol, index = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:8], "little")
        return f"{head}, sll_protocol=htons({protocol:#x}), sll_ifindex={index}}}"
    if family == AF_VSOCK and len(data) >= 12:
        port, cid = struct.unpack_from("II", data, 4)
        return f"{head}, svm_cid={cid:#x}, svm_port={port:#x}}}"
    return f"{head}, sa_data={quoted(data[2:16])}}}"


def netlink(data: bytes, protocol: str, shown: Callable[[bytes], str]) -> str:
    """The first of the messages that a netlink socket is given or gives: struct nlmsghdr, linux/netlink.h.

    `protocol`: ROUTE, SOCK_DIAG, ...; `shown`: the text of what follows the header."""
    size, kind, flags, sequence, pid = struct.unpack_from("IHHII", data)
    name = names.enum(kind, "nlmsg")
    if kind >= 16 and protocol == "ROUTE":
        name = names.enum(kind, "rtm")
    elif kind == 20 and protocol == "SOCK_DIAG":
        name = "SOCK_DIAG_BY_FAMILY"
    is_new = protocol == "ROUTE" and name.startswith("RTM_NEW")
    table = "nlmsg_ack" if kind == 2 else "nlmsg_new" if is_new else "nlmsg"
    head = f"{{nlmsg_len={size}, nlmsg_type={name}, nlmsg_flags={names.flags(flags, table)}, nlmsg_seq={sequence}, "
    rest = data[16:]
    if kind == 2 and len(rest) >= 4:
        number = -int.from_bytes(rest[:4], "little", signed=True)
        body = f"{{error={'-' + names.error(number)[0] if number > 0 else 0}, ...}}"
    else:
        body = shown(rest)
    return f"[{head}nlmsg_pid={pid}}}, {body}]"


def _unix(path: bytes) -> str:
    """A path, or after a NUL an abstract name."""
    if path[:1] == b"\0":
        return "@" + quoted(path[1:])
    return quoted(path.split(b"\0")[0])


def ipv4(address: bytes) -> str:
    return ".".join([str(b) for b in address])


def ipv6(address: bytes) -> str:
    from ipaddress import IPv6Address

    return str(IPv6Address(address))


def socket(
    inode: int, family: int, kind: int, protocol: int, state: int, ports: tuple[int, int], local: bytes, remote: bytes
) -> str:
    """An open socket: TCP:[10.0.0.1:4711->10.0.0.2:80], or with its inode where it has no address.

    `ports`: its own, and the other side's (0: none); `local` and `remote`: 4 or 16 bytes."""
    label = names.enum(family, "af").removeprefix("AF_")
    if family == AF_NETLINK:
        return f"NETLINK:[{names.enum(protocol, 'netlink').removeprefix('NETLINK_')}:{inode}]"
    if family not in (AF_INET, AF_INET6):
        return f"{label}:[{inode}]"
    label = _PROTOCOLS.get(protocol, {2: "DGRAM", 3: "RAW"}.get(kind, "SOCKET"))
    label += "v6" if family == AF_INET6 else ""
    if not ports[0] and not ports[1]:
        return f"{label}:[{inode}]"
    here = f"{_host(local)}:{ports[0]}"
    return f"{label}:[{here}->{_host(remote)}:{ports[1]}]" if ports[1] and state != _LISTEN else f"{label}:[{here}]"


def _host(address: bytes) -> str:
    return ipv4(address) if len(address) == 4 else f"[{ipv6(address)}]"
