"""The D program for a filter: snoop.d, with what it asks for.

    Filter, bytes of a packet -> Program(text, which record each clause leaves)

What the kernel can decide it does, so that a packet left out costs no record; what it cannot (whose a socket is that
is older than the trace, a process name with `[..]`) it passes, and packets.feed decides.
"""

from __future__ import annotations

import sys

from dsight.connections.kernel_filter import Kernel
from dsight.errors import UsageError
from dsight.source import beside
from dsight.tracing import clause_kinds
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

MOST = 65536  # bytes of a packet
_KINDS = frozenset({"Name", "Packet", "Paged", "Piece"})
_HEADERS = 256  # bytes in front of those in pages, at most
_PIECES = 17  # of those: MAX_SKB_FRAGS as it mostly is
_SMALL = 1024  # where fewer bytes are wanted, the first piece will do
_SIZES = (96, 256, 1024, 4096, 16384, MOST)  # of the records there are: a record has a constant size
PROTOCOLS = {
    "tcp": (6,), "udp": (17,), "icmp": (1, 58), "icmp4": (1,), "icmp6": (58,), "sctp": (132,), "igmp": (2,),
    "gre": (47,), "esp": (50,), "ah": (51,), "ospf": (89,), "udplite": (136,),
}  # fmt: skip
_PORTS = (6, 17, 132, 136)  # protocols whose header begins with two ports

# Where a process is seen with a socket: its name is recorded there.
_CALLS = "rawtp:::sock_send_length, rawtp:::sock_recv_length"
_NAMED = (
    ("rawtp:::inet_sock_set_state", "args[0]->sk_protocol == 6 && args[1] == 7 && (args[2] == 2 || args[2] == 10)"
     " && curthread->mm != NULL && snoop_known[pid] != 1"),
    (_CALLS,
     "sock_is_inet[args[0]->__sk_common.skc_family] && snoop_known[pid] != 1"),
)  # fmt: skip
# A socket nobody was seen using is the process's that sends by it (dlib/sockowner.d): what the packet causes may come
# back before that send has returned.
_FRESH = """ip:::send
/{}snoop_fresh[(struct sock *)arg2]/
{{
	sock_owner[(uint64_t)arg2] = sock_inode[sock_file[(struct sock *)arg2]] << 32 | pid;
}}"""


class Filter(Value):
    """Which packets; an empty field takes all."""

    pids: frozenset[int] = frozenset()  # these and what they start; the processes there are by now
    started: bool = False  # they are children of ours that have not called execve(2) yet
    comms: tuple[str, ...] = ()
    uids: frozenset[int] = frozenset()
    cgroups: tuple[tuple[int, int], ...] = ()  # level in the hierarchy, id (kernel_filter.cgroup)
    devices: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset()  # either end
    hosts: tuple[IPv4Network | IPv6Network, ...] = ()  # either end
    protocols: frozenset[int] = frozenset()
    netns: frozenset[int] = frozenset()  # inode numbers
    direction: str = ""  # "in" or "out"

    @property
    def who(self) -> Kernel:
        """What it asks of processes, but for their descent."""
        return Kernel(comms=self.comms, uids=self.uids, cgroups=self.cgroups)


class Program(Value):
    """A D program, and which record each of its clauses leaves ("" none), in the order of clauses."""

    text: str
    records: tuple[str, ...]


def script(
    wanted: Filter, snap: int, buffer: int = 1 << 25, *, udp_table: bool = True, calls: bool = True, bound: bool = True,
    pages: int | None = None,
) -> Program:  # fmt: skip
    """The program that records `snap` bytes of each packet at most, with a ring buffer of `buffer` bytes.

    What this kernel has: `udp_table`, tables of UDP sockets to look them up in (providers.udp.has_table); `calls`,
    tracepoints for calls that send and receive (sock_send_length, Linux 6.4); `bound`, a table of TCP ports by
    namespace (Linux 5.19).  `pages`: the constant of packets.pages, with which bytes in pages are copied too.
    """
    text = beside(__file__, "snoop.d")
    first, fresh = _fresh(wanted)
    parts = {
        "FRESH FIRST": first,
        "FRESH": fresh,
        "BEGIN": _begin(wanted),
        "NAMES": "\n\n".join([_name(wanted, probes, when) for probes, when in _NAMED if calls or probes != _CALLS]),
        "USERS": beside(__file__, "users.d") if calls else "",
        "BOUND": beside(__file__, "bound.d") if bound else "",
        "WHERE": _where(wanted),
        "WHAT": _what(wanted),
        "WHOSE": _whose(wanted),
        "QUOTED": beside(__file__, "quoted.d") if udp_table else "",
        "PAGED": "" if pages is None else beside(__file__, "paged.d"),
        "PACKETS": _packets(snap, pages is not None),
    }
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part)
    # NULL where there is no socket, 1 where it is not known
    receiver = "udp_receiver_of[this->skb, this->ip, this->th]" if udp_table else "(struct sock *)1"
    text = (
        text.replace("UDP_RECEIVER", receiver)
        .replace("SNAP", str(snap))
        .replace("HEADERS", str(_HEADERS))
        .replace("PAGES", f"{pages or 0:#x}")
    )
    options = f"#pragma D option bufsize={buffer}\n#pragma D option dynvarsize=8m\n"
    return Program(options + text, clause_kinds(text, _KINDS))


_FORK = """rawtp:::sched_process_fork
/snoop_tree[args[0]->tgid] != snoop_tree[args[1]->tgid]/
{
	snoop_tree[args[1]->tgid] = snoop_tree[args[0]->tgid];
}

/* Its sockets close after this; most have none. */
rawtp:::sched_process_exit
/snoop_tree[args[0]->tgid] && !snoop_known[args[0]->tgid] && args[0]->signal->live.counter == 0/
{
	snoop_tree[args[0]->tgid] = 0;
}"""
# A command's process is not named in the text, so that its program is compiled once (image_cache).
_STARTED = """int snoop_root;

BEGIN
{
	snoop_root = pid;
}

rawtp:::sched_process_exec
/args[0]->real_parent->tgid == snoop_root/
{
	snoop_tree[args[0]->tgid] = 1;
}

"""


_FORGET = """

rawtp:::sched_process_exit
/snoop_called[args[0]->tgid] && args[0]->signal->live.counter == 0/
{
	snoop_called[args[0]->tgid] = 0;
}"""


def _begin(wanted: Filter) -> str:
    text = ""
    if wanted.started:
        text = _STARTED + _FORK
    elif wanted.pids:
        first = "".join([f"\tsnoop_tree[{pid:d}] = 1;\n" for pid in sorted(wanted.pids)])
        text = f"BEGIN\n{{\n{first}}}\n\n{_FORK}"
    return text + (_FORGET if wanted.who.any else "")


def _name(wanted: Filter, probes: str, when: str) -> str:
    text = (
        f"{probes}\n{{\n\tthis->called = {when};\n}}\n\n"
        f"/* Name */\n{probes}\n/this->called/\n"
        "{\n\tsnoop_known[pid] = 1;\n\ttrace(pid); trace(stringof(curthread->group_leader->comm));\n}"
    )
    if not wanted.who.any:
        return text
    return (
        f"{text}\n\n{probes}\n/this->called/\n{{\n\tsnoop_called[pid] = 0;\n}}\n\n"
        f"{wanted.who.who(probes, 'this->called')}"
        f"{probes}\n/this->called/\n{{\n\tsnoop_called[pid] = 1;\n}}"
    )


def _fresh(wanted: Filter) -> tuple[str, str]:
    """Who sends by a socket that was not seen before: of every packet, in front of the filter, where the messages of
    ICMP that packets cause are shown and the packets are not; else of those that are."""
    kinds = wanted.protocols
    first = bool(kinds & {1, 58}) and 17 not in kinds
    when = "" if first else "this->take && "
    name = _name(wanted, "ip:::send", f"{when}snoop_fresh[(struct sock *)arg2] && pid > 0 && snoop_known[pid] != 1")
    text = f"{name}\n\n{_FRESH.format(when)}"
    return (text, "") if first else ("", text)


def _drop(unless: str, before: str = "") -> str:
    return f"ip:::send, ip:::receive\n/this->take/\n{{\n{before}\tthis->take = {unless};\n}}\n\n"


def _where(wanted: Filter) -> str:
    text = ""
    if wanted.direction:
        other = "send" if wanted.direction == "in" else "receive"
        text += f"ip:::{other}\n{{\n\tthis->take = 0;\n}}\n\n"
    if wanted.netns:
        zones = " || ".join([f"this->zone == {number:d}" for number in sorted(wanted.netns)])
        text += _drop(zones, "\tthis->zone = net_dev_zone[this->skb->dev];\n")
    if wanted.devices:
        names = " || ".join([f'this->name == "{_device(name)}"' for name in wanted.devices])
        text += _drop(names, "\tthis->name = stringof(this->skb->dev->name);\n")
    four = [n for n in wanted.hosts if n.version == 4]
    six = [n for n in wanted.hosts if n.version == 6]
    if wanted.hosts:
        tests4 = " || ".join([_network(n, at) for n in four for at in (12, 16)]) or "0"
        tests6 = " || ".join([_network(n, at) for n in six for at in (8, 24)]) or "0"
        text += _drop(f"net_ip_is_v6[this->ip] ? {tests6} : {tests4}")
    return text


def _network(network: IPv4Network | IPv6Network, at: int) -> str:
    """Whether the address at an offset of the IP header is in the network, word by word."""
    address, mask = network.network_address.packed, network.netmask.packed
    tests = [
        f"(*(uint32_t *)(this->ip + {at + i}) & {_word(mask[i : i + 4])}u) == {_word(address[i : i + 4])}u"
        for i in range(0, len(address), 4)
        if any(mask[i : i + 4])
    ]
    return f"({' && '.join(tests) or '1'})"


def _word(data: bytes) -> int:
    """Octets in network order, as the machine reads them."""
    return int.from_bytes(data, sys.byteorder)


def _device(name: str) -> str:
    if not name.isascii() or not name.isprintable() or not 0 < len(name) < 16 or set(name) & set('"\\ /%'):
        raise UsageError(f"-i: '{name}' is not the name of a device")
    return name


def _what(wanted: Filter) -> str:
    text = ""
    if wanted.protocols:
        text += _drop(" || ".join([f"this->proto == {number:d}" for number in sorted(wanted.protocols)]))
    if wanted.ports:
        kinds = " || ".join([f"this->proto == {number}" for number in _PORTS])
        text += _drop(f"this->th != NULL && ({kinds})")
        ends = [f"this->from == {port:d} || this->to == {port:d}" for port in sorted(wanted.ports)]
        text += _drop(" || ".join(ends), "\tthis->from = net_be16[this->th];\n\tthis->to = net_be16[this->th + 2];\n")
    return text


def _whose(wanted: Filter) -> str:
    """Packets of nobody pass, as do ICMP's: the flow they are of is known to packets.owners."""
    if not wanted.pids and not wanted.who.any:
        return ""
    known = "1"
    if wanted.who.any:
        known = "snoop_known[this->pid] != 1 ? 2 : snoop_called[this->pid] != 0"
    if wanted.pids:
        known = f"snoop_tree[this->pid] == 0 ? 0 : {known.replace('? 2', '? 3')}"
    nobody = "this->pid == 0 || this->proto == 1 || this->proto == 58 || (this->proto == 6 && this->pid == -2) ? 2 : 0"
    return _drop("this->ours != 0", f"\tthis->ours = this->forwarded ? 0 : this->pid > 0 ? ({known}) : ({nobody});\n")


_RECORD = (
    "\ttrace(this->stamp); trace(this->pid); trace((uint8_t)this->ours); trace((uint8_t)this->got);\n"
    "\ttrace((uint8_t)this->forwarded); trace(this->inode); trace((uint32_t)net_dev_zone[this->skb->dev]);\n"
    "\ttrace(stringof(this->skb->dev->name)); trace(this->wire);\n"
)


def _packets(snap: int, paged: bool) -> str:
    """A clause for each size of record up to `snap`; where bytes in pages are copied too, for each size of those."""
    sizes = [*[size for size in _SIZES if size < snap], snap]
    text, below = "", -1
    for size in sizes:
        text += (
            "/* Packet */\nip:::send, ip:::receive\n"
            f"/this->take && this->part == 0 && (int)this->have > {below} && (int)this->have <= {size}/\n{{\n"
            f"{_RECORD}\ttracemem(this->ip, {size}, this->have);\n}}\n\n"
        )
        below = size
    below = 0
    for size in sizes if paged else ():
        text += (
            "/* Paged */\nip:::send, ip:::receive\n"
            f"/this->take && (int)this->part > {below} && (int)this->part <= {size}/\n{{\n"
            f"{_RECORD}\ttracemem(this->ip, {_HEADERS}, this->have);\n"
            f"\ttracemem(this->paged, {size}, this->part);\n}}\n\n"
        )
        below = size
    return text + ("".join([_piece(n, snap) for n in range(1, _PIECES)]) if paged and snap > _SMALL else "")


def _piece(n: int, snap: int) -> str:
    """A further piece of a packet's bytes, in a record of its own: the packet's time, and where the piece belongs."""
    text = (
        "ip:::send, ip:::receive\n/this->part != 0/\n{\n"
        "\tthis->have = this->have + this->part;\n"
        f"\tthis->piece = (uint64_t *)&this->pieces->frags[{n}];\n"
        f"\tthis->part = this->count <= {n} || (this->piece[0] & 1) ? 0 :\n"
        "\t\t(uint32_t)this->piece[1] < this->left ? (uint32_t)this->piece[1] : this->left;\n"
        "\tthis->paged = (unsigned char *)((this->piece[0] << 6) + PAGES + (this->piece[1] >> 32));\n"
        "\tthis->left = this->left - this->part;\n}\n\n"
    )
    below = 0
    for size in (min(4096, snap), snap) if snap > 4096 else (snap,):
        text += (
            "/* Piece */\nip:::send, ip:::receive\n"
            f"/this->part != 0 && (int)this->part > {below} && (int)this->part <= {size}/\n{{\n"
            f"\ttrace(this->stamp); trace(this->have); tracemem(this->paged, {size}, this->part);\n}}\n\n"
        )
        below = size
    return text
