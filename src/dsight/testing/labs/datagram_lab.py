"""UDP and UNIX sockets of every kind, in the namespaces of connection_lab: run by test_watch_udp,
test_watch_unix and `dsight selftest`.

Cases named u-* are UDP, x-* UNIX sockets, o-* others; each runs in a child named w-CASE.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import tempfile
import threading
import time

from dsight.testing.labs import connection_lab as lab
from dsight.testing.labs.connection_lab import LIBC, NOTHING, case

lab.CASES.clear()
SILENT, PEER, UNREACHABLE, NO_ROUTE, PROHIBITED = "10.9.0.77", "10.9.0.2", "10.77.0.1", "198.51.100.1", "10.67.0.1"
DGRAM = socket.SOCK_DGRAM


def udp(family: int = socket.AF_INET) -> socket.socket:
    s = socket.socket(family, DGRAM)
    s.settimeout(2)
    return s


def connected(address: str, port: int, family: int = socket.AF_INET) -> socket.socket:
    s = udp(family)
    s.connect_ex((address, port))
    s.send(b"x")
    return s


def sent(address: str, port: int, family: int = socket.AF_INET, keep: float = 0.0) -> None:
    with udp(family) as s:
        try:
            s.sendto(b"x", (address, port))
        except OSError:
            pass
        time.sleep(keep)


case("u-refused")(lambda: connected("127.0.0.1", NOTHING))
case("u-refused6")(lambda: connected("::1", NOTHING, socket.AF_INET6))
case("u-send")(lambda: sent("127.0.0.1", NOTHING))
case("u-send6")(lambda: sent("::1", NOTHING, socket.AF_INET6))
case("u-mapped")(lambda: sent("::ffff:127.0.0.1", NOTHING, socket.AF_INET6))
case("u-peer-send")(lambda: sent(PEER, NOTHING, keep=0.3))
case("u-icmp")(lambda: sent(UNREACHABLE, 9, keep=0.3))
case("u-log")(lambda: sent(SILENT, 514))
case("u-noroute")(lambda: sent(NO_ROUTE, 9))
case("u-alone")(lambda: udp().connect_ex((NO_ROUTE, 9)))
case("u-prohibit")(lambda: udp().connect_ex((PROHIBITED, 9)))


@case("u-peer")
def peer() -> None:
    with connected(PEER, NOTHING) as s:
        try:
            s.recv(9)
        except OSError:
            pass


@case("u-probe")
def probe() -> None:
    """What getaddrinfo(3) does: no datagram leaves."""
    for address in (SILENT, NO_ROUTE, PEER):
        with udp() as s:
            s.connect_ex((address, 80))


@case("u-lookup")
def lookup() -> None:
    socket.getaddrinfo("localhost", 80, proto=socket.IPPROTO_TCP)


@case("u-reply")
def reply() -> None:
    with udp() as server, udp() as client:
        server.bind(("127.0.0.1", 7099))
        for _ in range(3):
            client.sendto(b"ask", ("127.0.0.1", 7099))
            server.sendto(b"answer", server.recvfrom(9)[1])
            client.recv(9)


@case("u-shared")
def shared() -> None:
    """A descriptor of the socket is closed, not the last one."""
    with udp() as server, udp() as client:
        server.bind(("127.0.0.1", 7097))
        client.sendto(b"ask", ("127.0.0.1", 7097))
        os.close(os.dup(client.fileno()))
        server.sendto(b"answer", server.recvfrom(9)[1])
        client.recv(9)


@case("u-later")
def later() -> None:
    """The server answers, and is gone when it is asked again."""
    with udp() as client:
        with udp() as server:
            server.bind(("127.0.0.1", 7098))
            client.connect(("127.0.0.1", 7098))
            client.send(b"ask")
            server.sendto(b"answer", server.recvfrom(9)[1])
            client.recv(9)
            time.sleep(1.6)
        for _ in range(3):
            try:
                client.send(b"again")
            except OSError:
                pass


@case("u-dns")
def dns() -> None:
    with udp() as s:
        s.sendto(b"query", (SILENT, 53))
        s.sendto(b"again", (SILENT, 53))
        time.sleep(2.4)


@case("u-killed")
def killed() -> None:
    s = udp()
    s.sendto(b"query", (SILENT, 53))
    os.kill(os.getpid(), 9)


@case("u-sendmsg")
def sendmsg() -> None:
    with udp() as s:
        s.sendmsg([b"x"], [], 0, ("127.0.0.1", NOTHING))


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class Mmsghdr(ctypes.Structure):
    """As sendmmsg(2) has it on 64-bit machines, padding in the last two."""

    _fields_ = [("name", ctypes.c_char_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(Iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_ulong), ("len", ctypes.c_ulong)]  # fmt: skip


@case("u-sendmmsg")
def sendmmsg() -> None:
    """Two destinations in one call: sendmmsg(2)."""
    data = Iovec(b"x", 1)
    messages = (Mmsghdr * 2)()
    for message, port in zip(messages, (NOTHING, NOTHING + 50)):
        name = (2).to_bytes(2, sys.byteorder) + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + bytes(8)
        message.name, message.namelen = name, 16
        message.iov, message.iovlen = ctypes.pointer(data), 1
    with udp() as s:
        LIBC.sendmmsg(s.fileno(), messages, 2, 0)


# UNIX sockets.


def unix(kind: int = socket.SOCK_STREAM) -> socket.socket:
    return socket.socket(socket.AF_UNIX, kind)


def served(kind: int, name: str | None = None, client: int | None = None) -> None:
    """A server and its client in one process."""
    with tempfile.TemporaryDirectory() as folder, unix(kind) as server:
        path = f"{folder}/s" if name is None else name
        server.bind(path)
        if kind != DGRAM:
            server.listen(4)
        with unix(kind if client is None else client) as s:
            s.connect_ex(path)
            time.sleep(0.3)  # who listens is looked up


case("x-stream")(lambda: served(socket.SOCK_STREAM))
case("x-abstract")(lambda: served(socket.SOCK_STREAM, "\0dsight-lab"))
case("x-packet")(lambda: served(socket.SOCK_SEQPACKET))
case("x-dgram")(lambda: served(DGRAM))
case("x-type")(lambda: served(DGRAM, client=socket.SOCK_STREAM))
case("x-missing")(lambda: unix().connect_ex("/nonexistent/dsight-lab"))
case("x-nobody")(lambda: unix().connect_ex("\0dsight-nobody"))
case("x-file")(lambda: unix().connect_ex("/dev/null"))


@case("x-dead")
def dead() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with unix() as server:
            server.bind(f"{folder}/\x1b[2Js")
        unix().connect_ex(f"{folder}/\x1b[2Js")
        time.sleep(0.3)


@case("x-relative")
def relative() -> None:
    with tempfile.TemporaryDirectory() as folder, unix() as server:
        os.chdir(folder)
        server.bind("s")
        server.listen()
        unix().connect_ex("./s")
        time.sleep(0.3)
        os.chdir("/")


@case("x-denied")
def denied() -> None:
    with tempfile.TemporaryDirectory() as folder, unix() as server:
        server.bind(f"{folder}/s")
        server.listen()
        os.chmod(folder, 0o755)
        os.chmod(f"{folder}/s", 0o600)
        os.seteuid(65534)
        unix().connect_ex(f"{folder}/s")
        os.seteuid(0)


def full(name: str) -> socket.socket:
    server = unix()
    server.bind(name)
    server.listen(0)
    unix_client = unix()
    unix_client.connect(name)
    KEPT.append(unix_client)
    return server


KEPT: list[socket.socket] = []


@case("x-full")
def full_queue() -> None:
    with full("\0dsight-full"), unix() as s:
        s.setblocking(False)
        s.connect_ex("\0dsight-full")
        time.sleep(0.3)


@case("x-hang")
def hang() -> None:
    with full("\0dsight-hang"), unix() as s:
        threading.Timer(2.4, lambda: os.kill(os.getpid(), 9)).start()
        s.connect("\0dsight-hang")


@case("o-netlink")
def netlink() -> None:
    """No connection."""
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).connect((0, 0))


if __name__ == "__main__":
    lab.main()
