"""Filters as D: what of a selection the kernel itself can decide, so that the rest costs no record.

    Selection, roots, cgroups -> Kernel -> clauses() for script.script, who() for names.py

Of who connects: descent, name, user, cgroup.  Of where it connects: port, network, network
namespace.  Selection in user space stays the truth: what the kernel cannot decide (a name with
`?` or `[..]`, an address it cannot read) passes here and is looked at there.  The D text is put
together in this module only, of numbers and of names that `_name` has accepted.

    tree[pid]      1 for a process of -c or -p and its descendants
    watched[sock]  not 0 for a TCP socket from its SYN to its outcome (call.d)
    self->aside    1 inside a connect(2) whose destination is not selected
"""

from __future__ import annotations

import sys

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

_ANCESTORS = 6  # as many as who.d records
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/+@,= ")
_SYN = "rawtp:::inet_sock_set_state"
_ENTRY = "syscall::connect:entry"
_MAPPED = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)  # the third word of an IPv4-mapped address
# What every firing of a clause of who() sets, by parents: tree.d keeps the array.
_DESCENT = "        this->k_kin = tree[pid]; this->k_up = curthread->real_parent;\n" + (
    "        this->k_kin = this->k_kin != 0 || tree[this->k_up->tgid] != 0; this->k_up = this->k_up->real_parent;\n"
    * _ANCESTORS
)


class Kernel(Value):
    """What the kernel is to decide; an empty field selects all."""

    comms: tuple[str, ...] = ()
    uids: frozenset[int] = frozenset()
    ports: frozenset[int] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    pids: frozenset[int] = frozenset()  # the roots, and their descendants by now
    cgroups: tuple[tuple[int, int], ...] = ()  # (level in the hierarchy, id): it and all below it
    netns: frozenset[int] = frozenset()  # inode numbers

    def who(self, probes: str, flag: str, more: str = "") -> str:
        """Clauses that set the D variable `flag` to 0 at `probes` where who is running is not selected,
        and do what the statements `more` say; "" if everybody is."""
        tests = [t for t in (self._comm(), self._uid(), self._cgroup()) if t]
        if self.pids:
            tests.append("this->k_kin != 0")
        if not tests:
            return ""
        before = _DESCENT if self.pids else ""
        if self.cgroups:
            before += "        this->k_cgroup = curthread->cgroups->dfl_cgrp;\n"
        if self._comm():
            before += "        this->k_name = stringof(curthread->group_leader->comm);\n"
        return (
            f"{probes}\n/{flag}/\n{{\n{before}        this->k_ours = {' && '.join(tests)};\n"
            f"        if (!this->k_ours) {{ {flag} = 0;{more} }}\n}}\n\n"
        )

    def fill(self, tcp: str) -> str:
        """tcp.d with WATCHED, whether the TCP socket args[0] is selected, and ASIDE, whether its SYN
        leaves inside a connect(2) that was not told."""
        tcp = tcp.replace("WATCHED", "watched[(uint64_t)args[0]] != 0")
        return tcp.replace("ASIDE", "self->aside != 0" if self.any else "0")

    @property
    def any(self) -> bool:
        """Whether the kernel decides anything."""
        return bool(self._who() or self._where())

    def begin(self) -> str:
        """Declarations, and what is there when the probes are armed."""
        text = "uint64_t watched[uint64_t];\n"
        if self.any:
            text += "uint64_t tree[int];\nself int aside;\n"
        if self.pids:
            text += "BEGIN\n{\n" + "".join(f"        tree[{pid:d}] = 1;\n" for pid in sorted(self.pids)) + "}\n\n"
        return text

    def clauses(self, probes: str, accepts: bool) -> str:
        """Clauses between those that ask who is running, at `probes`, and who.d.  `accepts`: accepted
        connections are watched too."""
        return (self._clauses(probes, accepts) if self.any else "") + self._watched()

    def _clauses(self, probes: str, accepts: bool) -> str:
        more = " self->sock = 0; this->sock = 0;" + (" self->accepted = 0;" if accepts else "")
        text = self.who(probes, "this->who", more)
        # A BPF program of the cgroup may send it elsewhere: the SYN is looked at again.
        text += "syscall::connect:return\n/self->aside != 0/\n{\n        self->aside = 0;\n}\n\n"
        if self.ports or self.networks:
            text += (
                f"{_ENTRY}\n/this->sock != 0 && (int)arg2 >= 16/\n{{\n"
                "        this->k_in = (uint32_t *)copyin(arg1, 8);\n"
                "        this->k_inet = *(uint16_t *)this->k_in == 2; this->k_v4 = 1;\n"
                "        this->k_port = *((uint16_t *)this->k_in + 1);\n"
                "        this->k_w0 = (uint32_t)0; this->k_w1 = (uint32_t)0; this->k_w2 = (uint32_t)0;\n"
                "        this->k_w3 = this->k_in[1];\n"
                "        this->k_any = this->k_w3 == 0;\n}\n\n"
                f"{_ENTRY}\n/this->sock != 0 && (int)arg2 >= 24/\n{{\n"
                "        this->k_in = (uint32_t *)copyin(arg1, 24);\n"
                "        if (*(uint16_t *)this->k_in == 10) {\n"
                "        this->k_inet = 1; this->k_port = *((uint16_t *)this->k_in + 1);\n"
                "        this->k_w0 = this->k_in[2]; this->k_w1 = this->k_in[3];\n"
                "        this->k_w2 = this->k_in[4]; this->k_w3 = this->k_in[5];\n"
                f"        this->k_v4 = this->k_w0 == 0 && this->k_w1 == 0 && this->k_w2 == {_MAPPED:d};\n"
                "        this->k_any = this->k_w3 == 0 && this->k_w0 == 0 && this->k_w1 == 0\n"
                "            && (this->k_w2 == 0 || this->k_v4);\n"
                "        }\n}\n\n"
                f"{_ENTRY}\n/this->sock != 0 && this->k_inet && !({self._destination()})/\n{{\n"
                "        this->sock = 0; this->who = 0; self->aside = 1;\n}\n\n"
            )
        if self.netns:
            text += (
                f"{_ENTRY}\n/this->sock != 0/\n{{\n"
                "        this->k_ns = this->sock > 1 ? ((struct sock *)this->sock)->__sk_common.skc_net.net->ns.inum\n"
                "            : curthread->nsproxy->net_ns->ns.inum;\n"
                f"        if (!({self._namespace()})) {{ this->sock = 0; this->who = 0; self->aside = 1; }}\n}}\n\n"
            )
        return text

    def _watched(self) -> str:
        """The clause that begins to watch a socket.  In a connect(2) of another protocol than TCP (SMC) the
        SYN is none of ours."""
        where = self._where()
        asked = "(this->sock == 0 ? this->who : this->entered) != 0"
        text = f"{_SYN}\n/this->near && args[2] == 2 && {asked}/\n{{\n"
        if where:
            text += (
                "        this->k_port = args[0]->__sk_common.skc_dport; this->k_any = 0;\n"
                "        this->k_six = &args[0]->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0];\n"
                "        this->k_is6 = args[0]->__sk_common.skc_family == 10;\n"
                "        this->k_w0 = this->k_is6 ? this->k_six[0] : (uint32_t)0;\n"
                "        this->k_w1 = this->k_is6 ? this->k_six[1] : (uint32_t)0;\n"
                "        this->k_w2 = this->k_is6 ? this->k_six[2] : (uint32_t)0;\n"
                "        this->k_w3 = this->k_is6 ? this->k_six[3] : (uint32_t)args[0]->__sk_common.skc_daddr;\n"
                f"        this->k_v4 = !this->k_is6\n"
                f"            || this->k_w0 == 0 && this->k_w1 == 0 && this->k_w2 == {_MAPPED:d};\n"
                "        this->k_ns = args[0]->__sk_common.skc_net.net->ns.inum;\n"
            )
        return text + (
            f"        if ({where or '1'}) {{\n"
            "                this->mark = this->entered != 0 && this->syn == 0 ? this->entered : timestamp;\n"
            "                watched[(uint64_t)args[0]] = this->mark;\n"
            "                @attempts = count();\n"
            "        } else { this->who = 0; }\n}\n\n"
        )

    def ends(self) -> str:
        """The last clause: a socket has its outcome."""
        # this->mark was not looked up for one in SYN_RECV (3) without a socket.
        left = "this->mark != 0 && args[2] != 2 && (args[1] == 3 || args[2] != 3)"
        sock = "watched[(uint64_t)args[0]]"
        other = f"this->near && this->mark == 0 && args[1] == 3 && {sock} != 0"
        return f"{_SYN}\n/{left} || {other}/\n{{\n        {sock} = 0;\n}}\n\n"

    def _who(self) -> bool:
        return bool(self._comm() or self.uids or self.cgroups or self.pids)

    def _where(self) -> str:
        tests = [self._destination()] if self.ports or self.networks else []
        return " && ".join([*tests, *([self._namespace()] if self.netns else [])])

    def _uid(self) -> str:
        return _either(f"uid == {uid:d}" for uid in sorted(self.uids))

    def _comm(self) -> str:
        tests = [_name(comm) for comm in self.comms]
        return "" if not all(tests) else _either(tests)

    def _cgroup(self) -> str:
        return _either(
            f"(this->k_cgroup->level >= {level:d} && this->k_cgroup->ancestors[{level:d}]->kn->id == {number:d})"
            for level, number in self.cgroups
        )

    def _namespace(self) -> str:
        return _either(f"this->k_ns == {number:d}" for number in sorted(self.netns))

    def _destination(self) -> str:
        """Over this->k_port, this->k_w0 to w3, this->k_v4: whether it is IPv4, in w3; this->k_any: 0.0.0.0 or ::,
        which the kernel makes an address of this host."""
        tests = []
        if self.ports:
            tests.append(_either(f"this->k_port == {_big(port.to_bytes(2, 'big')):d}" for port in sorted(self.ports)))
        if self.networks:
            tests.append("(this->k_any || " + " || ".join(_network(n) for n in self.networks) + ")")
        return " && ".join(tests)


def _either(tests: Iterable[str]) -> str:
    text = " || ".join(tests)
    return f"({text})" if text else ""


def _big(data: bytes) -> int:
    """Octets in network order, as the machine reads them."""
    return int.from_bytes(data, sys.byteorder)


def _network(network: IPv4Network | IPv6Network) -> str:
    address, mask = network.network_address.packed, network.netmask.packed
    if len(address) == 4:
        return f"(this->k_v4 && (this->k_w3 & {_big(mask)}u) == {_big(address)}u)"
    words = [
        f"(this->k_w{n} & {_big(mask[4 * n : 4 * n + 4])}u) == {_big(address[4 * n : 4 * n + 4])}u"
        for n in range(4)
        if any(mask[4 * n : 4 * n + 4])
    ]
    return f"({' && '.join(['!this->k_v4', *words])})"


def _name(pattern: str) -> str:
    """A glob over this->k_name in D; "" where only fnmatch can tell."""
    text = pattern.strip("*")
    if not text or not set(text) <= _PLAIN or (pattern.startswith("*") and pattern.endswith("*")):
        return ""
    if pattern.startswith("*"):
        return f'substr(this->k_name, strlen(this->k_name) - {len(text)}) == "{text}"'
    if pattern.endswith("*"):
        return f'substr(this->k_name, 0, {len(text)}) == "{text}"'
    return f'this->k_name == "{text}"'
