"""What this host is: whose an address is, which sockets listen, who owns them.

`Host` is what diagnose asks; `KernelHost` answers from the kernel itself: rtnetlink(7) for routes,
sock_diag(7) for listening sockets, /proc for their owners, in any network namespace that some process
or a name under /run/netns keeps alive.  None always means: could not be found out.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import calcsize, pack, unpack_from
from time import monotonic

from dsight.connections.naming import is_local
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol, TypeVar

    from dsight.connections.host_unix import File, UnixSocket

    Answer = TypeVar("Answer")
else:
    Protocol = object


class Listening(Value):
    """One listening TCP socket."""

    address: str  # "0.0.0.0" and "::": every address
    port: int
    inode: int
    queued: int = 0  # connections waiting to be accepted
    limit: int = 0  # of that queue
    v6only: bool = False  # "::" does not hear IPv4

    @property
    def full(self) -> bool:
        """Whether a further SYN would be dropped (sk_acceptq_is_full, include/net/sock.h)."""
        return self.queued > self.limit


class Owner(Value):
    """A process that holds a socket."""

    pid: int
    comm: str


class Host(Protocol):
    """`netns`: the namespace's inode, None for ours; `pid`: a process believed to be in it."""

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        """Where packets to an address go: "local" (to this host itself), "unicast", "none" (no route),
        "unreachable", "prohibit", "blackhole", or another word of ip-route(8)."""

    def listening(self, netns: int | None, pid: int, protocol: int = 6) -> tuple[Listening, ...] | None:
        """Its listening sockets, of TCP (6); of UDP (17) those that are bound and not connected."""

    def unix_sockets(self, netns: int | None, pid: int) -> tuple[UnixSocket, ...] | None:
        """Its UNIX sockets that have a name."""

    def overflows(self, netns: int | None, pid: int) -> int | None:
        """TcpExt ListenOverflows: connections dropped since a listener's queue was full."""

    def owner(self, inode: int) -> Owner | None:
        """Who holds the socket (the first process found)."""

    def comm(self, pid: int) -> str | None:
        """The name of a process."""

    def file(self, path: str, pid: int) -> File | None:
        """What a process finds at a path."""

    def named(self, address: str, pid: int) -> tuple[str, ...]:
        """The names that the process's hosts(5) has for an address, but for those that any host gives itself; none
        where that is not known, or the process has a C library, whose lookups are seen."""


# rtnetlink and sock_diag, include/uapi/linux/{netlink,rtnetlink,sock_diag,inet_diag}.h
_NETLINK_ROUTE, _NETLINK_SOCK_DIAG = 0, 4
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_RTM_GETROUTE, _RTM_NEWROUTE, _RTA_DST = 26, 24, 1
_SOCK_DIAG_BY_FAMILY = 20
_HEADER = "=IHHII"  # length, type, flags, sequence, port id
_RTMSG = "=BBBBBBBBI"  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_DIAG_REQUEST = "=BBBBI48x"  # family, protocol, ext, pad, states, id
_DIAG_MESSAGE = "=BBBBHH16s16sIIIIIIII"  # family .. retrans, ports, addresses, if, cookies, expires, rq, wq, uid, inode
_LISTEN_STATE, _CLOSE_STATE = 1 << 10, 1 << 7
_INET_DIAG_SKV6ONLY = 11
_ROUTE_TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast",
                "blackhole", "unreachable", "prohibit", "throw")  # fmt: skip
# A route that forbids comes back as the errno a connect would get.
_ROUTE_ERRORS = {101: "none", 113: "unreachable", 13: "prohibit", 22: "blackhole"}
_CLONE_NEWNET = 0x40000000
_KEPT = 4096  # answers
LARGEST = 1 << 20  # characters of hosts(5) and resolv.conf(5) that are looked at
NOBODYS = 10.0  # s; so long a socket that nobody was seen to hold is not looked for again
SCAN_SHARE = 20  # looking for a socket's owner in all processes takes no more than one part in this of the time


class KernelHost:
    """Host, from the kernel.  Answers are kept for a moment: a burst of failures asks once."""

    def __init__(self, keep: float = 0.2) -> None:
        self._keep = keep
        self._netns = _inode("/proc/self/ns/net")
        self._known: dict[tuple[object, ...], tuple[float, Any]] = {}
        self._owners: dict[int, tuple[int, str]] = {}  # inode -> pid, its descriptor's path
        self._rescan = 0.0  # when all processes may be looked at again
        self._nobodys: dict[int, float] = {}  # inode -> when it may be looked for again

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        return self._once(
            ("route", netns, address), lambda: self._ask(_NETLINK_ROUTE, netns, pid, lambda s: _route(s, address))
        )

    def listening(self, netns: int | None, pid: int, protocol: int = 6) -> tuple[Listening, ...] | None:
        return self._once(
            ("listening", netns, protocol),
            lambda: self._ask(_NETLINK_SOCK_DIAG, netns, pid, lambda s: _listening(s, protocol)),
        )

    def unix_sockets(self, netns: int | None, pid: int) -> tuple[UnixSocket, ...] | None:
        return self._once(("unix", netns), lambda: self._ask(_NETLINK_SOCK_DIAG, netns, pid, _unix_sockets))

    def overflows(self, netns: int | None, pid: int) -> int | None:
        def read() -> int | None:
            path = "/proc/self/ns/net" if netns in (None, self._netns) else self._namespace(netns or 0, pid)
            return None if path is None or not path.startswith("/proc/") else _overflows(path)

        return self._once(("overflows", netns), read)

    def owner(self, inode: int) -> Owner | None:
        return self._once(("owner", inode), lambda: self._owner(inode))

    def _owner(self, inode: int) -> Owner | None:
        link = f"socket:[{inode}]"
        found = self._owners.get(inode)
        if found is None or _readlink(found[1]) != link:
            began = monotonic()
            if began < max(self._rescan, self._nobodys.get(inode, 0.0)):
                return None
            self._owners = _sockets()
            done = monotonic()
            self._rescan = done + max(SCAN_SHARE * (done - began), self._keep)
            found = self._owners.get(inode)
            if found is None:
                if len(self._nobodys) >= _KEPT:
                    self._nobodys.clear()
                self._nobodys[inode] = done + NOBODYS
        if found is None:
            return None
        comm = self.comm(found[0])
        return None if comm is None else Owner(found[0], comm)

    def held(self) -> dict[int, Owner]:
        """Every socket some process holds now, by inode."""
        self._owners = _sockets()
        self._rescan = monotonic() + self._keep
        comms = {pid: self.comm(pid) for pid in {pid for pid, _ in self._owners.values()}}
        return {inode: Owner(pid, comms[pid] or "?") for inode, (pid, _) in self._owners.items()}

    def comm(self, pid: int) -> str | None:
        comm = read_text(f"/proc/{pid}/comm")
        return None if comm is None else comm.rstrip("\n")

    def file(self, path: str, pid: int) -> File | None:
        from dsight.connections.host_unix import socket_file

        return socket_file(path, pid)

    def named(self, address: str, pid: int) -> tuple[str, ...]:
        def read() -> tuple[str, ...]:
            text = read_text(f"/proc/{pid}/root/etc/hosts") or ""
            lines = [line.partition("#")[0].split() for line in text[:LARGEST].splitlines()]
            names = dict.fromkeys(n for words in lines if words[:1] == [address] for n in words[1:])
            found = tuple(name for name in names if not is_local(name, os.uname().nodename))
            return () if found and _has_libc(pid) else found

        return self._once(("named", address, pid), read)

    def _once(self, key: tuple[object, ...], ask: Callable[[], Answer]) -> Answer:
        """What is known since a moment ago, or else what `ask` gives."""
        if not self._fresh(key):
            self._put(key, ask())
        answer: Answer = self._known[key][1]
        return answer

    def _fresh(self, key: tuple[object, ...]) -> bool:
        known = self._known.get(key)
        return known is not None and monotonic() - known[0] < self._keep

    def _put(self, key: tuple[object, ...], value: object) -> None:
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[key] = (monotonic(), value)

    def _ask(self, protocol: int, netns: int | None, pid: int, question: Callable[[Socket], Answer]) -> Answer | None:
        """question(netlink socket in the namespace); None where that cannot be had."""
        try:
            if netns is None or netns == self._netns:
                sock = _netlink(protocol)
            else:
                path = self._namespace(netns, pid)
                if path is None:
                    return None
                sock = _netlink_in(path, protocol)
            try:
                return question(sock)
            finally:
                sock.close()
        except OSError:
            return None

    def _namespace(self, netns: int, pid: int) -> str | None:
        """A file that stands for the namespace: of the process, of a name, of any process."""
        path = f"/proc/{pid}/ns/net"
        if _inode(path) == netns:
            return path
        key = ("namespace", netns)
        known = self._known.get(key)
        if known is not None and isinstance(known[1], str) and _inode(known[1]) == netns:
            return known[1]
        if known is not None and known[1] is None and self._fresh(key):
            return None
        found = next((p for p in _namespaces() if _inode(p) == netns), None)
        self._put(key, found)
        return found


def _overflows(namespace: str) -> int | None:
    """From /proc/PID/net/netstat, where a line of names stands above a line of values."""
    lines = (read_text(namespace.replace("/ns/net", "/net/netstat")) or "").splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        if names.startswith("TcpExt:"):
            return int(dict(zip(names.split(), values.split())).get("ListenOverflows", -1))
    return None


def _namespaces() -> Iterator[str]:
    for folder in ("/run/netns", "/run/docker/netns"):
        try:
            yield from (f"{folder}/{name}" for name in os.listdir(folder))
        except OSError:
            continue
    yield from (f"/proc/{name}/ns/net" for name in os.listdir("/proc") if name.isdigit())


def _sockets() -> dict[int, tuple[int, str]]:
    """Every socket some process holds: inode -> pid, path of the descriptor.  Of several processes
    that hold one, the first: the parent, where children have inherited it."""
    found: dict[int, tuple[int, str]] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for fd in descriptors:
            path = f"/proc/{pid}/fd/{fd}"
            link = _readlink(path)
            if link.startswith("socket:["):
                found.setdefault(int(link[8:-1]), (pid, path))
    return found


def _netlink(protocol: int) -> Socket:
    from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    sock.settimeout(1.0)
    sock.bind((0, 0))
    return sock


def _netlink_in(path: str, protocol: int) -> Socket:
    """A netlink socket of another namespace: made by a thread that enters it and then ends (setns(2))."""
    import ctypes
    from _thread import allocate_lock, start_new_thread

    made: list[Socket | OSError] = []
    done = allocate_lock()
    done.acquire()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(fd, _CLONE_NEWNET) < 0:
                made.append(OSError(ctypes.get_errno(), "setns"))
            else:
                made.append(_netlink(protocol))
        except OSError as error:
            made.append(error)
        finally:
            done.release()

    try:
        start_new_thread(run, ())
        done.acquire()
    finally:
        os.close(fd)
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return pack(_HEADER, calcsize(_HEADER) + len(body), kind, _NLM_F_REQUEST | flags, 1, 0) + body


def _messages(sock: Socket) -> Iterator[tuple[int, bytes]]:
    """The answers to one request: type and body, until DONE; an ERROR ends them too."""
    while True:
        data = sock.recv(65536)
        at = 0
        while at + 16 <= len(data):
            length, kind = unpack_from("=IH", data, at)
            if kind == _NLMSG_DONE or length < 16:
                return
            yield kind, data[at + 16 : at + length]
            if kind == _NLMSG_ERROR:
                return
            at += (length + 3) & ~3


def _route(sock: Socket, address: str) -> str | None:
    family = AF_INET6 if ":" in address else AF_INET
    packed = inet_pton(family, address)
    body = pack(_RTMSG, family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    sock.send(_request(_RTM_GETROUTE, 0, body + pack("=HH", 4 + len(packed), _RTA_DST) + packed))
    for kind, answer in _messages(sock):
        if kind == _NLMSG_ERROR:
            return _ROUTE_ERRORS.get(-unpack_from("=i", answer)[0])
        if kind == _RTM_NEWROUTE:
            number = unpack_from(_RTMSG, answer)[7]
            return _ROUTE_TYPES[number] if number < len(_ROUTE_TYPES) else None
    return None


def _listening(sock: Socket, protocol: int) -> tuple[Listening, ...]:
    states = _LISTEN_STATE if protocol == 6 else _CLOSE_STATE
    found = []
    for family in (AF_INET, AF_INET6):
        sock.send(_request(_SOCK_DIAG_BY_FAMILY, _NLM_F_DUMP, pack(_DIAG_REQUEST, family, protocol, 0, 0, states)))
        for kind, answer in _messages(sock):
            if kind == _SOCK_DIAG_BY_FAMILY:
                found.append(_listening_socket(answer))
    return tuple(found)


def _unix_sockets(sock: Socket) -> tuple[UnixSocket, ...]:
    from dsight.connections.host_unix import parse, request

    sock.send(_request(_SOCK_DIAG_BY_FAMILY, _NLM_F_DUMP, request()))
    found = [parse(answer) for kind, answer in _messages(sock) if kind == _SOCK_DIAG_BY_FAMILY]
    return tuple(s for s in found if s is not None)


def _listening_socket(answer: bytes) -> Listening:
    f = unpack_from(_DIAG_MESSAGE, answer)
    port = int.from_bytes(answer[4:6], "big")
    address = inet_ntop(AF_INET6, f[6]) if f[0] == AF_INET6 else inet_ntop(AF_INET, f[6][:4])
    return Listening(address, port, f[15], f[12], f[13], _v6only(answer))


def _v6only(answer: bytes) -> bool:
    """The attribute INET_DIAG_SKV6ONLY, which comes with every IPv6 listener."""
    at = calcsize(_DIAG_MESSAGE)
    while at + 5 <= len(answer):
        length, kind = unpack_from("=HH", answer, at)
        if kind == _INET_DIAG_SKV6ONLY:
            return answer[at + 4] != 0
        at += (max(length, 4) + 3) & ~3
    return False


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _readlink(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _has_libc(pid: int) -> bool:
    """Whether a process has glibc or musl mapped; also where that cannot be read."""
    maps = read_text(f"/proc/{pid}/maps")
    return not maps or "/libc.so" in maps or "/libc-" in maps or "/ld-musl-" in maps


def read_text(path: str) -> str | None:
    """A small file of /proc, bytes that are not UTF-8 kept as surrogates; None if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    finally:
        os.close(fd)
