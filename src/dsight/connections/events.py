"""What comes from the kernel: one Value for each recording clause of tcp.d and tree.d.

    record.values of a clause  ->  decode()  ->  an event  ->  tracker

The first value of every record is the clause's tag (below, and in the .d files); `decode` is the
one place that knows the order of the others.  Times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, AF_VSOCK, inet_ntop
from struct import pack, unpack_from
from sys import byteorder

from dsight.connections.drops import WORDS
from dsight.value import Brief, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# TCP states, include/net/tcp_states.h
ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE = 1, 2, 3, 7
# socket_state, include/uapi/linux/net.h
SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED = 1, 2, 3
# task_struct.flags, include/linux/sched.h
PF_IO_WORKER, PF_KTHREAD = 0x10, 0x00200000
O_NONBLOCK = 0o4000  # asm-generic; the same on x86-64 and aarch64
TCP, MPTCP = 6, 262


class Who(Value):
    """The identity of the process about to connect, read in its own context."""

    time: int
    tid: int
    pid: int
    comm: str
    uid: int
    start: int  # when the process started, ns of CLOCK_BOOTTIME
    cgroup: int  # id of its cgroup (v2): the inode of its directory
    parents: tuple[tuple[int, str], ...]  # pid and comm, nearest first
    flags: int = 0  # task_struct.flags of the thread
    uring: bool = False  # the thread has an io_uring
    compat: bool = False  # in a 32-bit system call on a 64-bit kernel
    args: bytes | None = None  # the argument area, as far as it was read
    args_size: int = 0  # its full size


class Args(Value):
    """The argument area of the process whose Who came just before."""

    tid: int
    size: int  # of the whole area
    data: bytes  # at most what tcp.d copies


class Enter(Value):
    """connect(2) on a socket of another protocol than TCP is entered."""

    time: int
    tid: int
    fd: int
    sock: int  # address of its struct sock
    state: int  # SS_*: what the socket was doing
    protocol: int
    family: int
    nonblocking: bool
    netns: int


class Peer(Value):
    """The sockaddr given to connect(2), from user memory."""

    tid: int
    family: int
    address: str | None
    port: int | None


class Leave(Value):
    """connect(2) returns `ret`: 0 or a negative errno (512 ERESTARTSYS: a signal came)."""

    time: int
    tid: int
    ret: int


class Call(Brief):
    """What connect(2), or a request to connect, was called with."""

    time: int
    tid: int
    sock: int  # address of its struct sock; 0: not a socket, or not known
    protocol: int
    family: int
    nonblocking: bool
    netns: int


class Connect(Brief):
    """connect(2) on a TCP socket sends its SYN.  Of the caller what stands in every record; the rest is in the
    thread's Who."""

    time: int  # of the call; marks the attempt: its State has it too
    tid: int
    pid: int
    comm: str
    uid: int
    sock: int
    protocol: int
    family: int
    local: str
    local_port: int  # 0: not chosen yet
    remote: str
    remote_port: int
    netns: int
    nonblocking: bool


class Failed(Brief):
    """connect(2) on a TCP socket, or on what is no socket (protocol 0), fails, and nothing was sent."""

    time: int
    tid: int
    pid: int
    comm: str
    uid: int
    call: Call
    ret: int
    family: int  # of the sockaddr given; 0: not known
    address: str | None
    port: int | None


class Returned(Brief):
    """connect(2) returns while its attempt is open, or was closed within the call."""

    time: int
    sock: int  # that sent the SYN
    mark: int
    ret: int
    state: int  # of the socket, now


class SynSent(Brief):
    """A TCP socket goes to SYN_SENT: a SYN is about to leave."""

    time: int  # marks the attempt: its State has it too
    tid: int
    sock: int
    family: int
    local: str
    local_port: int  # 0: not chosen yet
    remote: str
    remote_port: int
    netns: int
    fastopen: bool = False
    mptcp: bool = False  # it is a subflow of an MPTCP connection
    called: bool = False  # inside a connect(2) that was filtered out by the address it was given


class State(Brief):
    """A TCP socket leaves SYN_SENT, or SYN_RECV on the way of a simultaneous open."""

    time: int
    sock: int
    mark: int  # SynSent.time of its attempt
    old: int
    new: int
    error: int  # sk_err
    soft_error: int  # sk_err_soft
    reset: bool  # a segment has come: if it is refused, it was a reset
    inside: bool  # within the connect(2) that began the attempt
    local: str
    local_port: int


class SockError(Value):
    """An error is reported to a socket in SYN_SENT; error 0 with a soft error: an ICMP message came."""

    time: int
    sock: int
    error: int
    soft_error: int


class Retransmit(Value):
    """A SYN is sent again; `error`: the negative errno of sending it, 0 where unknown."""

    time: int
    sock: int
    error: int


class Icmp(Value):
    """This host itself made an ICMP error for a packet of the socket."""

    time: int
    sock: int
    type: int
    code: int


class Drop(Value):
    """This host drops a SYN, or the answer to one."""

    time: int
    sock: int  # whose SYN it is; 0: not known, as with an answer
    reason: str  # of drops.WORDS
    answer: bool
    local: tuple[str, int]  # the end that connects
    remote: tuple[str, int]
    netns: int  # where it is dropped; 0 unknown


class Watched(Value):
    """Events were lost.  Of the attempts told before this, those that the kernel still watches are open."""

    time: int
    marks: dict[int, int]  # by socket


class Fork(Value):
    """`parent` made the process `child`."""

    time: int
    parent: int
    child: int


class ProcessExit(Value):
    """The last thread of a process is ending."""

    time: int
    pid: int


if TYPE_CHECKING:
    Event = (
        Who
        | Args
        | Enter
        | Connect
        | Failed
        | Returned
        | Peer
        | Leave
        | SynSent
        | State
        | SockError
        | Retransmit
        | Icmp
        | Drop
        | Watched
        | Fork
        | ProcessExit
    )


def decode(values: tuple[Any, ...]) -> Event | None:
    """The event of one record; None for a tag that is not ours (a clause that records nothing)."""
    make = DECODERS.get(values[0]) if values else None
    return None if make is None else make(*values[1:])


def _who(
    time: int, tid: int, pid: int, comm: str, uid: int, start: int, cgroup: int, flags: int, uring: int, *line: Any
) -> Who:
    parents = []
    for at in range(0, len(line), 2):
        if line[at] == 0:  # the idle task, parent of pid 1
            break
        parents.append((line[at], line[at + 1]))
    return Who(time, tid, pid, comm, uid, start, cgroup, tuple(parents), flags, bool(uring & 1), bool(uring & 2))


def _args(tid: int, size: int, data: bytes) -> Args:
    return Args(tid, size, data[: max(size, 0)])


def _enter(
    time: int, tid: int, fd: int, sock: int, state: int, protocol: int, family: int, flags: int, netns: int
) -> Enter:
    return Enter(time, tid, fd, sock, state, protocol, family, bool(flags & O_NONBLOCK), netns)


def _peer(tid: int, size: int, data: bytes) -> Peer:
    family, address, port = sockaddr(data[: max(size, 0)])
    return Peer(tid, family, address, port)


def _syn_sent(
    time: int, tid: int, sock: int, family: int, local4: int, remote4: int, local6: bytes, remote6: bytes,
    local_port: int, remote_port: int, netns: int, flags: int = 0,
) -> SynSent:  # fmt: skip
    local = inet_address(family, local4, local6)[0]
    remote, family_r = inet_address(family, remote4, remote6)
    return SynSent(
        time,
        tid,
        sock,
        family_r,
        local,
        port_number(local_port),
        remote,
        port_number(remote_port),
        netns,
        bool(flags & 1),
        bool(flags & 2),
        bool(flags & 4),
    )


def _connect(
    time: int, tid: int, sock: int, family: int, local4: int, remote4: int, local6: bytes, remote6: bytes,
    local_port: int, remote_port: int, netns: int, pid: int, uid: int, comm: bytes, protocol: int, flags: int,
) -> Connect:  # fmt: skip
    local = inet_address(family, local4, local6)[0]
    remote, family = inet_address(family, remote4, remote6)
    return Connect(
        time, tid, pid, _text(comm), uid, sock, protocol, family, local, port_number(local_port), remote,
        port_number(remote_port), netns, flags & O_NONBLOCK != 0,
    )  # fmt: skip


def _failed(
    entered: int, time: int, tid: int, pid: int, ret: int, sock: int, protocol: int, family: int, flags: int,
    netns: int, uid: int, comm: bytes, size: int, data: bytes,
) -> Failed:  # fmt: skip
    call = Call(entered, tid, sock, protocol, family, bool(flags & O_NONBLOCK), netns)
    return Failed(time, tid, pid, _text(comm), uid, call, ret, *sockaddr(data[: max(size, 0)]))


def _text(comm: bytes) -> str:
    found = _COMMS.get(comm)
    if found is None:
        if len(_COMMS) >= _MOST_KEPT:
            _COMMS.clear()
        found = _COMMS[comm] = comm.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return found


def _state(
    time: int, sock: int, mark: int, old: int, new: int, error: int, soft: int, flags: int, family: int, local4: int,
    local6: bytes, local_port: int,
) -> State:  # fmt: skip
    local = inet_address(family, local4, local6)[0]
    return State(
        time, sock, mark, old, new, error, soft, bool(flags & 1), bool(flags & 2), local, port_number(local_port)
    )


def _drop(time: int, sock: int, reason: int, answer: int, six: int, ip: bytes, ports: bytes, netns: int) -> Drop:
    if six:
        ends = [inet_address(AF_INET6, 0, ip[at : at + 16])[0] for at in (8, 24)]
    else:
        ends = [inet_ntop(AF_INET, ip[at : at + 4]) for at in (12, 16)]
    source, destination = zip(ends, unpack_from("!HH", ports))
    local, remote = (destination, source) if answer else (source, destination)
    return Drop(time, sock, WORDS[reason - 1], bool(answer), local, remote, netns)


def _watched(time: int, *numbers: int) -> Watched:
    return Watched(time, dict(zip(numbers[::2], numbers[1::2])))


WATCHED = 17  # the tag of what is no record: losses.py makes it
# By tag.  Other modules have such a table of their own tags; Watcher puts them together.
DECODERS: dict[int, Callable[..., Event]] = {
    1: _who,
    2: _args,
    3: _enter,
    4: _peer,
    5: Leave,
    6: _syn_sent,
    7: _state,
    8: SockError,
    9: Retransmit,
    11: Icmp,
    12: Fork,
    13: ProcessExit,
    14: _connect,
    15: _failed,
    16: Returned,
    42: _drop,
    WATCHED: _watched,
}


def port_number(port: int) -> int:
    """A port as it lies in memory (big-endian, read as a host integer) to its number."""
    return (port & 0xFF) << 8 | port >> 8 & 0xFF if _SWAPPED else port & 0xFFFF


_SWAPPED = byteorder == "little"


def inet_address(family: int, four: int, six: bytes) -> tuple[str, int]:
    """A socket's address as text, and its true family: IPv4-mapped IPv6 is IPv4.

    `four` is the __be32 read as a host integer, `six` the struct in6_addr.
    """
    key = six if family == AF_INET6 else four
    found = _ADDRESSES.get(key)
    if found is None:
        if len(_ADDRESSES) >= _MOST_KEPT:
            _ADDRESSES.clear()
        found = _ADDRESSES[key] = _inet_address(family, four, six)
    return found


def _inet_address(family: int, four: int, six: bytes) -> tuple[str, int]:
    if family == AF_INET6:
        if six[:12] == _MAPPED:
            return inet_ntop(AF_INET, six[12:16]), AF_INET
        return inet_ntop(AF_INET6, six), AF_INET6
    return inet_ntop(AF_INET, pack("=I", four & 0xFFFFFFFF)), AF_INET


_MAPPED = b"\0" * 10 + b"\xff\xff"
# Seen lately: mostly the same ones come again.
_ADDRESSES: dict[int | bytes, tuple[str, int]] = {}
_COMMS: dict[bytes, str] = {}
_MOST_KEPT = 1024


def sockaddr(data: bytes) -> tuple[int, str | None, int | None]:
    """Family, address, port of a sockaddr as far as `data` goes (ip(7), ipv6(7), vsock(7)); mapped IPv4 is
    IPv4, and the address of vsock its context id."""
    if len(data) < 2:
        return 0, None, None
    family = unpack_from("=H", data)[0]
    if family == AF_INET and len(data) >= 8:
        return family, inet_ntop(AF_INET, data[4:8]), unpack_from("!H", data, 2)[0]
    if family == AF_INET6 and len(data) >= 24:
        address, family = inet_address(AF_INET6, 0, data[8:24])
        return family, address, unpack_from("!H", data, 2)[0]
    if family == AF_VSOCK and len(data) >= 12:
        port, cid = unpack_from("=II", data, 4)
        return family, str(cid), port
    return family, None, None
