"""What the kernel says of names: one Value for each recording clause of names_calls.d, names_wire.d
and names_files.d; `DECODERS` by the record's tag.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from struct import unpack_from

from dsight.connections.events import inet_address, sockaddr
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Asks(Value):
    """A thread calls getaddrinfo or one of its kin; its Who came just before."""

    time: int
    tid: int
    netns: int
    nodename: str
    getaddrinfo: int = 1
    mounts: int = 0  # the inode of its mount namespace


class Named(Value):
    """The name it asks for."""

    tid: int
    name: str


class Consults(Value):
    """It connects to something meanwhile: `path` of a UNIX socket, `server` of a name server (port 53), else None."""

    tid: int
    path: str | None
    server: str | None = None


class Consulted(Value):
    """With what result: 0 or a negative errno."""

    tid: int
    ret: int


class Hints(Value):
    tid: int
    family: int  # 0: any
    numeric: bool  # only an address will do: nothing is looked up


class Service(Value):
    tid: int
    service: str


class Address(Value):
    """One address of the answer."""

    tid: int
    addresses: tuple[str, ...]


class Found(Value):
    """The call ends, with its error's name or None."""

    time: int
    tid: int
    error: str | None
    family: int | None = None  # asked for


class Gone(Value):
    """The thread ends within the call."""

    time: int
    tid: int


class Leaves(Value):
    """A thread ends that has sent to port 53."""

    time: int
    tid: int


class InFiles(Value):
    """The name was found in /etc/hosts."""

    tid: int


class Server(Value):
    """Where the unconnected socket of the Sent to come sends."""

    tid: int
    address: str | None


class Sent(Value):
    """Bytes sent to port 53."""

    time: int
    tid: int
    sock: int
    stream: bool  # TCP
    server: str | None  # None: an unconnected socket, see Server
    netns: int
    pieces: tuple[tuple[bytes, int], ...]  # what was seen, and how much it was


class Received(Value):
    """Bytes that came from there."""

    time: int
    tid: int
    sock: int
    stream: bool
    peek: bool  # they stay there, and come again
    data: bytes
    size: int


class WireError(Value):
    """Sending to port 53, or receiving from there, failed with an errno."""

    time: int
    tid: int
    sock: int
    error: int


# netdb.h of glibc and musl
EAI = {
    -1: "EAI_BADFLAGS", -2: "EAI_NONAME", -3: "EAI_AGAIN", -4: "EAI_FAIL", -5: "EAI_NODATA", -6: "EAI_FAMILY",
    -7: "EAI_SOCKTYPE", -8: "EAI_SERVICE", -9: "EAI_ADDRFAMILY", -10: "EAI_MEMORY", -11: "EAI_SYSTEM",
    -12: "EAI_OVERFLOW",
}  # fmt: skip
H_ERRNO = {1: "HOST_NOT_FOUND", 2: "TRY_AGAIN", 3: "NO_RECOVERY", 4: "NO_DATA"}
AGAIN = "ERANGE"  # gethostbyname_r: the caller's buffer is too small, and it will call again
_ERANGE = 34
_MSG_PEEK = 2
_AI_NUMERICHOST = 4  # the same in glibc and musl


def _consults(tid: int, size: int, data: bytes) -> Consults:
    raw = data[: max(size, 0)]
    if len(raw) < 3 or unpack_from("=H", raw)[0] != 1:  # AF_UNIX
        _, address, port = sockaddr(raw)
        return Consults(tid, None, address if port == 53 else None)
    return Consults(tid, raw[2:].partition(b"\0")[0].decode("utf-8", "surrogateescape") or None)


def _address(tid: int, data: bytes) -> Address:
    address = sockaddr(data)[1]
    return Address(tid, () if address is None else (address,))


def _host(tid: int, family: int, *found: bytes | None) -> Address:
    size = {AF_INET: 4, AF_INET6: 16}.get(family, 0)
    return Address(tid, tuple(inet_ntop(family, raw[:size]) for raw in found if size and raw))


def _found(time: int, tid: int, ret: int) -> Found:
    return Found(time, tid, EAI.get(ret, str(ret)) if ret else None)


def _done(time: int, tid: int, ret: int, found: int, family: int, h_errno: int) -> Found:
    error = None
    if ret == _ERANGE:
        error = AGAIN
    elif not found or ret:
        error = H_ERRNO.get(h_errno, str(h_errno))
    return Found(time, tid, error, family)


def _sent(
    time: int, tid: int, sock: int, protocol: int, family: int, four: int, six: bytes, netns: int, several: int,
    size: int, size2: int, data: bytes, data2: bytes,
) -> Sent:  # fmt: skip
    server: str | None = inet_address(family, four, six)[0]
    if server in ("0.0.0.0", "::"):
        server = None
    first, second = (data[: max(size, 0)], size), (data2[: max(size2, 0)], size2)
    if several:
        pieces = (first, second) if size2 > 0 else (first,)
    elif len(first[0]) < size:  # what follows the part that was not seen cannot be put in its place
        pieces = ((first[0], size + max(size2, 0)),)
    else:
        pieces = ((first[0] + second[0], size + max(size2, 0)),)
    return Sent(time, tid, sock, protocol == _TCP, server, netns, pieces)


_TCP = 6

DECODERS: dict[int, Callable[..., Any]] = {
    50: Asks,
    51: Named,
    52: _consults,
    53: lambda tid, data: Hints(tid, unpack_from("=i", data, 4)[0], bool(data[0] & _AI_NUMERICHOST)),
    54: Service,
    55: _address,
    56: _found,
    57: _host,
    58: _done,
    59: Gone,
    60: lambda tid, data: Server(tid, sockaddr(data)[1]),
    61: _sent,
    62: lambda time, tid, sock, protocol, flags, size, data: Received(
        time, tid, sock, protocol == _TCP, bool(flags & _MSG_PEEK), data[: max(size, 0)], size
    ),
    63: lambda time, tid, sock, error: WireError(time, tid, sock, -error),
    64: InFiles,
    65: Consulted,
    66: Leaves,
}
