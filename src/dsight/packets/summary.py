"""What a packet says, in one line: in the words of tcpdump(1), which their readers know."""

from __future__ import annotations

from _socket import AF_INET6, inet_ntop
from struct import unpack_from

from dsight.packets.decode import ECHOES, ICMP, ICMP6, TCP, UDP, Ip, inner, ports

NAMES = {1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6",
         59: "nothing", 89: "ospf", 103: "pim", 112: "vrrp", 132: "sctp", 136: "udplite"}  # fmt: skip
_FLAGS = ((1, "F"), (2, "S"), (4, "R"), (8, "P"), (16, "."), (32, "U"), (64, "E"), (128, "W"))
_DNS = (53, 5353)
_MOST_FLOWS = 65536

# RFC 792, RFC 4443, RFC 4861: (type, code) or type
_SAYS: dict[int, dict[object, str]] = {
    ICMP: {
        (3, 0): "net unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable",
        (3, 3): "port unreachable", (3, 4): "fragmentation needed", (3, 9): "net prohibited",
        (3, 10): "host prohibited", (3, 13): "administratively prohibited", 3: "unreachable", 4: "source quench",
        5: "redirect", 8: "echo request", 0: "echo reply", 9: "router advertisement", 10: "router solicitation",
        (11, 0): "time to live exceeded", (11, 1): "reassembly time exceeded", 12: "parameter problem",
        13: "timestamp request", 14: "timestamp reply",
    },
    ICMP6: {
        (1, 0): "no route", (1, 1): "administratively prohibited", (1, 3): "address unreachable",
        (1, 4): "port unreachable", 1: "unreachable", 2: "packet too big", (3, 0): "hop limit exceeded",
        (3, 1): "reassembly time exceeded", 4: "parameter problem", 128: "echo request", 129: "echo reply",
        130: "listener query", 131: "listener report", 132: "listener done", 133: "router solicitation",
        134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement", 137: "redirect",
        143: "listener report v2",
    },
}  # fmt: skip


def ends(ip: Ip) -> tuple[str, str]:
    """Both ends, with ports where there are any (ICMP's echoes have an id instead)."""
    found = ports(ip) if ip.protocol not in (ICMP, ICMP6) else None
    if found is None:
        return ip.source, ip.target
    return _end(ip.source, found[0]), _end(ip.target, found[1])


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Summaries:
    """Lines about packets; it remembers where each direction of a TCP connection began, since numbers are shown from
    there.  `verbose`: IP's own fields, and the options of every segment."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._began: dict[object, int] = {}  # (namespace, source, port, target, port) -> number before the first octet

    def line(self, ip: Ip, netns: int) -> str:
        """What is behind the addresses."""
        text = self._what(ip, netns)
        if ip.offset or ip.more:
            text += f", fragment {ip.ident} at {ip.offset}{'+' if ip.more else ''}"
        if self._verbose:
            text += f" (ttl {ip.hops}, tos {ip.tos:#x}, id {ip.ident})"
        return text

    def _what(self, ip: Ip, netns: int) -> str:
        name = NAMES.get(ip.protocol, f"protocol {ip.protocol}")
        if ip.offset:
            return f"{name} length {ip.length}"
        size = len(ip.data) - ip.at
        if ip.protocol == TCP and size >= 20:
            return "tcp " + self._tcp(ip, netns)
        if ip.protocol == UDP and size >= 8:
            return "udp " + _udp(ip)
        if ip.protocol in _SAYS and size >= 4:
            return f"{name} {_icmp(ip)}"
        return f"{name} length {ip.length}"

    def _tcp(self, ip: Ip, netns: int) -> str:
        source, target, seq, ack, offset, flags, window, _, urgent = unpack_from("!HHIIBBHHH", ip.data, ip.at)
        header = (offset >> 4) * 4
        length = max(ip.length - header, 0)
        letters = "".join([letter for bit, letter in _FLAGS if flags & bit]) or "none"
        out = f"[{letters}]"
        if flags & 2 or flags & 5 or length:
            first = seq if flags & 2 else self._from(ip, netns, source, target, seq)
            out += f" seq {first}" + (f":{(first + length) & 0xFFFFFFFF}" if length else "") + ","
        if flags & 2:
            self._keep((netns, ip.source, source, ip.target, target), seq)
        if flags & 16:
            out += f" ack {self._to(ip, netns, source, target, ack)},"
        out += f" win {window},"
        if flags & 32:
            out += f" urg {urgent},"
        options = ip.data[ip.at + 20 : ip.at + header]
        if options and (flags & 2 or self._verbose):
            out += f" options [{_options(options)}],"
        return f"{out} length {length}"

    def _from(self, ip: Ip, netns: int, source: int, target: int, seq: int) -> int:
        """A sequence number, from the connection's beginning or the first that was seen, which is 1."""
        key = (netns, ip.source, source, ip.target, target)
        if key not in self._began:
            self._keep(key, (seq - 1) & 0xFFFFFFFF)
        return (seq - self._began[key]) & 0xFFFFFFFF

    def _to(self, ip: Ip, netns: int, source: int, target: int, ack: int) -> int:
        key = (netns, ip.target, target, ip.source, source)
        if key not in self._began:
            self._keep(key, (ack - 1) & 0xFFFFFFFF)
        return (ack - self._began[key]) & 0xFFFFFFFF

    def _keep(self, key: object, number: int) -> None:
        self._began.pop(key, None)
        if len(self._began) >= _MOST_FLOWS:
            del self._began[next(iter(self._began))]
        self._began[key] = number


def _options(data: bytes) -> str:
    """TCP's (RFC 9293, RFC 7323, RFC 2018)."""
    out, at = [], 0
    while at < len(data):
        kind = data[at]
        size = 1 if kind < 2 else data[at + 1] if at + 1 < len(data) else 0
        value = data[at + 2 : at + size]
        if kind == 0:
            out.append("eol")
            break
        if size == 0 or (kind > 1 and (size < 2 or at + size > len(data))):
            out.append("cut off")
            break
        if kind == 1:
            out.append("nop")
        elif kind == 2 and size == 4:
            out.append(f"mss {unpack_from('!H', value)[0]}")
        elif kind == 3 and size == 3:
            out.append(f"wscale {value[0]}")
        elif kind == 4 and size == 2:
            out.append("sackOK")
        elif kind == 5 and size in (10, 18, 26, 34):
            numbers = unpack_from(f"!{(size - 2) // 4}I", value)
            out.append("sack " + "".join([f"{{{a}:{b}}}" for a, b in zip(numbers[::2], numbers[1::2])]))
        elif kind == 8 and size == 10:
            out.append("TS val {} ecr {}".format(*unpack_from("!II", value)))
        else:
            out.append(f"option {kind}")
        at += size
    return ",".join(out)


def _udp(ip: Ip) -> str:
    source, target, length = unpack_from("!HHH", ip.data, ip.at)
    text = f"length {max((length or ip.length) - 8, 0)}"
    if source in _DNS or target in _DNS:
        said = _dns(ip.data[ip.at + 8 :])
        return f"dns {said}, {text}" if said else text
    return text


def _dns(data: bytes) -> str | None:
    from dsight.connections.dns import AAAA, CNAME, DNAME, RCODES, A, parse

    message = parse(data)
    if message is None:
        return None
    known = {A: "A", AAAA: "AAAA", CNAME: "CNAME", DNAME: "DNAME", 2: "NS", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT",
             33: "SRV", 65: "HTTPS", 255: "ANY"}  # fmt: skip
    kind = known.get(message.type, f"TYPE{message.type}")
    asked = f"{message.id} {kind}? {message.name or '.'}"
    if not message.answer:
        return asked
    found = ", ".join(message.addresses[:8]) + (", ..." if len(message.addresses) > 8 else "")
    said = RCODES.get(message.rcode, f"RCODE{message.rcode}") if message.rcode else found or "no address"
    if not message.rcode and not found and message.type not in (A, AAAA):
        said = "answered"
    return (
        f"{asked} = {said}"
        + (f" (by {message.canonical})" if message.canonical else "")
        + (" (truncated)" if message.truncated else "")
    )


def _icmp(ip: Ip) -> str:
    kind, code = ip.data[ip.at], ip.data[ip.at + 1]
    says = _SAYS[ip.protocol]
    text = says.get((kind, code)) or says.get(kind) or f"type {kind} code {code}"
    if kind in ECHOES[ip.protocol] and len(ip.data) >= ip.at + 8:
        text += " id {}, seq {}".format(*unpack_from("!HH", ip.data, ip.at + 4))
    if (ip.protocol, kind, code) == (ICMP, 3, 4) or (ip.protocol, kind) == (ICMP6, 2):
        if len(ip.data) >= ip.at + 8:
            text += (
                f" (mtu {unpack_from('!I', ip.data, ip.at + 4)[0] & (0xFFFF if ip.protocol == ICMP else 0xFFFFFFFF)})"
            )
    if ip.protocol == ICMP6 and kind in (135, 136) and len(ip.data) >= ip.at + 24:
        text += f" of {inet_ntop(AF_INET6, ip.data[ip.at + 8 : ip.at + 24])}"
    about = inner(ip)
    if about is not None:
        source, target = ends(about)
        text += f", of {NAMES.get(about.protocol, about.protocol)} {source} > {target}"
    return f"{text}, length {ip.length}"
