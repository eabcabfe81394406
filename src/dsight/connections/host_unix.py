"""UNIX sockets of this host: unix_diag, the part of sock_diag(7) for them."""

from __future__ import annotations

import os
from stat import S_ISSOCK
from struct import calcsize, pack, unpack_from

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# include/uapi/linux/unix_diag.h
REQUEST = "=BBHIIIII"  # family, protocol, pad, states, inode, show, cookie
_MESSAGE = "=BBBBIII"  # family, type, state, pad, inode, cookie
_SHOW_NAME, _SHOW_VFS, _SHOW_RQLEN = 0x01, 0x02, 0x10
_NAME, _VFS, _RQLEN = 0, 1, 4  # attributes
_LISTEN = 10  # the state, as TCP's

STREAM, DGRAM, SEQPACKET = 1, 2, 5  # SOCK_*


class UnixSocket(Value):
    """One UNIX socket that has a name."""

    name: str  # as bound; an abstract one after "@"
    inode: int
    type: int
    listening: bool
    file: tuple[int, int] | None = None  # inode and device of the socket file
    queued: int = 0  # connections waiting to be accepted (of a listening one)
    limit: int = 0  # of that queue

    @property
    def full(self) -> bool:
        """Whether connect(2) would have to wait (unix_recvq_full, net/unix/af_unix.c)."""
        return self.listening and self.queued > self.limit


class File(Value):
    """What is found at a path."""

    inode: int
    device: int
    is_socket: bool


def request() -> bytes:
    """The body of the request for all of them."""
    return pack(REQUEST, 1, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME | _SHOW_VFS | _SHOW_RQLEN, 0, 0)


def parse(answer: bytes) -> UnixSocket | None:
    """One message; None for a socket without a name."""
    _, kind, state, _, inode, _, _ = unpack_from(_MESSAGE, answer)
    name, file, queue = None, None, (0, 0)
    for attribute, data in _attributes(answer, calcsize(_MESSAGE)):
        if attribute == _NAME:
            raw = data.replace(b"\0", b"@") if data[:1] == b"\0" else data.split(b"\0", 1)[0]
            name = raw.decode("utf-8", "surrogateescape")
        elif attribute == _VFS:
            number, device = unpack_from("=II", data)
            file = (number, os.makedev(device >> 20, device & 0xFFFFF))  # the kernel's own dev_t
        elif attribute == _RQLEN:
            queue = unpack_from("=II", data)
    if not name:
        return None
    return UnixSocket(name, inode, kind, state == _LISTEN, file, *queue)


def _attributes(answer: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= len(answer):
        length, kind = unpack_from("=HH", answer, at)
        yield kind, answer[at + 4 : at + max(length, 4)]
        at += (max(length, 4) + 3) & ~3


def socket_file(path: str, pid: int) -> File | None:
    """What `path` is as the process sees it: from its root, or its working directory; None where there
    is nothing, or it cannot be found out."""
    start = f"/proc/{pid}/root{path}" if path.startswith("/") else f"/proc/{pid}/cwd/{path}"
    try:
        there = os.stat(start)
    except (OSError, ValueError):
        return None
    return File(there.st_ino, there.st_dev, S_ISSOCK(there.st_mode))


def at(
    path: str, sockets: tuple[UnixSocket, ...], pid: int, file: Callable[[str, int], File | None] = socket_file
) -> UnixSocket | None:
    """The socket that a connect(2) to `path` reaches: the listening one, or the bound datagram socket."""
    named = [s for s in sockets if s.name == path]
    if not path.startswith("@"):
        there = file(path, pid)
        if there is not None:
            named = [s for s in sockets if s.file is not None and s.file == (there.inode, there.device)]
    useful = [s for s in named if s.listening] or [s for s in named if s.type == DGRAM]
    return useful[0] if useful else None
