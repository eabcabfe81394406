"""Three network namespaces in a row, joined by veth pairs, and TCP between and inside them: for test_tcp_provider.

    tcp_lab.py hold              makes them; prints the pid that holds A, and the inodes of A and B; waits for EOF
    tcp_lab.py run A CASE...     from the first one: each case; prints "LAB " and what a capture on all its
                                 interfaces saw, and by how much the kernel's counters grew, as JSON

    A  10.8.0.1, fd08::1      B  10.8.0.2, fd08::2, 10.7.0.1; forwards      C  10.7.0.2
    B and C listen at 7100, A at 7101: they answer when all has been received
    10.8.0.77  a neighbour set by hand that does not exist: silence

No offloading, so that one packet is one segment.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
LISTENS, LOCAL, NOTHING = 7100, 7101, 7102
CASES: dict[str, Callable[[], object]] = {}


def case(function: Callable[[], object]) -> Callable[[], object]:
    CASES[function.__name__] = function
    return function


def exchange(address: str, port: int, family: int = socket.AF_INET, protocol: int = 0) -> None:
    """Ask, get 20,000 bytes, close."""
    with socket.socket(family, socket.SOCK_STREAM, protocol) as s:
        s.connect((address, port))
        s.sendall(b"x" * 5000)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass


def serve(server: socket.socket) -> None:
    while True:
        s, _ = server.accept()
        try:
            while s.recv(65536):
                pass
            s.sendall(b"y" * 20000)
        except ConnectionResetError:
            pass
        s.close()


def background(server: socket.socket) -> None:
    threading.Thread(target=serve, args=(server,), daemon=True).start()


@case
def inet() -> None:
    exchange("10.8.0.2", LISTENS)


@case
def routed() -> None:
    exchange("10.7.0.2", LISTENS)


@case
def inet6() -> None:
    exchange("fd08::2", LISTENS, socket.AF_INET6)


@case
def mapped() -> None:
    exchange("::ffff:10.8.0.2", LISTENS, socket.AF_INET6)


@case
def loopback() -> None:
    exchange("127.0.0.1", LOCAL)


@case
def loopback6() -> None:
    exchange("::1", LOCAL, socket.AF_INET6)


@case
def mptcp() -> None:
    exchange("10.8.0.2", LISTENS, protocol=262)


@case
def refused() -> None:
    assert socket.socket().connect_ex(("10.8.0.2", NOTHING)) == errno.ECONNREFUSED


@case
def refused_here() -> None:
    assert socket.socket().connect_ex(("127.0.0.1", NOTHING)) == errno.ECONNREFUSED


@case
def reset() -> None:
    with socket.create_connection(("10.8.0.2", LISTENS)) as s:
        s.sendall(b"x")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@case
def own() -> None:
    """A socket that connects to itself."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.connect(s.getsockname())
        s.sendall(b"x")
        s.recv(1)


@case
def abandoned() -> None:
    """Data for an end that is only remembered (FIN_WAIT_2 of a closed socket): a RST is the answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer = server.accept()[0]
        client.shutdown(socket.SHUT_WR)
        peer.recv(1)
        time.sleep(0.1)  # its FIN is acknowledged
        client.close()
        peer.send(b"x")
        peer.close()


@case
def fastopen() -> None:
    with socket.socket() as s:
        s.sendto(b"x", 0x20000000, ("10.8.0.2", LISTENS))  # MSG_FASTOPEN
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass


@case
def silent() -> None:
    """A SYN and one more, then it is given up."""
    with socket.socket() as s:
        s.setblocking(False)
        s.connect_ex(("10.8.0.77", NOTHING))
        time.sleep(1.3)


@case
def timeout() -> None:
    with socket.socket() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
        s.setsockopt(socket.IPPROTO_TCP, 18, 300)  # TCP_USER_TIMEOUT, ms
        assert s.connect_ex(("10.8.0.77", NOTHING)) == errno.ETIMEDOUT


@case
def port_taken() -> None:
    """The same ends twice: the second has no port."""
    with socket.socket() as one, socket.socket() as other:
        for s in (one, other):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(one.getsockname() if s is other else ("127.0.0.1", 0))
        one.connect(("127.0.0.1", LOCAL))
        assert other.connect_ex(("127.0.0.1", LOCAL)) == errno.EADDRNOTAVAIL


@case
def no_route() -> None:
    assert socket.socket().connect_ex(("198.51.100.1", 80)) == errno.ENETUNREACH


# ---- the namespaces


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def no_offload(device: str) -> None:
    """ETHTOOL_STSO, SGSO, SGRO: 0 (include/uapi/linux/ethtool.h)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in (0x1F, 0x24, 0x2C):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sQ16x", device.encode(), ctypes.addressof(value))
            fcntl.ioctl(s, 0x8946, request)  # SIOCETHTOOL


def hold() -> None:
    """A is this process, B and C are children."""
    LIBC.unshare(0x40000000)  # CLONE_NEWNET
    router, to_router = child(listen)
    ip("link add v0 type veth peer name v1", f"link set v1 netns {router}")
    behind, to_behind = child(listen)
    ip("link add w0 type veth peer name w1", f"link set w0 netns {router}", f"link set w1 netns {behind}")
    set_up("v0", "10.8.0.1/24", "fd08::1/64")
    ip("route add 10.7.0.0/24 via 10.8.0.2", "neigh add 10.8.0.77 lladdr 02:00:00:00:00:77 dev v0")
    for control, devices in (to_router, "v1 10.8.0.2/24 fd08::2/64 w0 10.7.0.1/24 -"), (to_behind, "w1 10.7.0.2/24 -"):
        control.send(devices.encode())
        control.recv(1)
    for address in ("10.8.0.2", "fd08::2", "10.7.0.2"):  # each knows the other's link address
        exchange(address, LISTENS, socket.AF_INET6 if ":" in address else socket.AF_INET)
    inodes = [os.stat(f"/proc/{pid}/ns/net").st_ino for pid in (os.getpid(), router)]
    print(os.getpid(), *inodes, flush=True)
    sys.stdin.read()
    for pid, control in ((router, to_router), (behind, to_behind)):
        control.shutdown(socket.SHUT_RDWR)  # C has B's end as well
        os.waitpid(pid, 0)


def child(work: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    """A process in a namespace of its own; it ends when its socket is closed."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            LIBC.unshare(0x40000000)
            theirs.send(b"x")
            work(theirs)
        finally:
            os._exit(0)
    theirs.close()
    ours.recv(1)
    return pid, ours


def listen(control: socket.socket) -> None:
    """B and C: take devices and addresses, forward, serve until the end."""
    words = control.recv(1000).decode().split()
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with open(f"/proc/sys/net/{name}", "w") as f:
            f.write("1")
    for at in range(0, len(words), 3):
        set_up(*words[at : at + 3])
    if len(words) == 3:
        ip("route add 10.8.0.0/24 via 10.7.0.1")
    server = socket.create_server(("::", LISTENS), family=socket.AF_INET6, dualstack_ipv6=True)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    background(server)
    control.send(b"x")
    control.recv(1)


def set_up(device: str, *addresses: str) -> None:
    ip("link set lo up", f"link set {device} up")
    for address in addresses:
        if address != "-":
            ip(f"addr add {address} dev {device}{' nodad' if ':' in address else ''}")
    for name in (device, "lo"):
        no_offload(name)


# ---- a run


def counters() -> dict[str, int]:
    with open("/proc/self/net/snmp") as f:
        names, values = [line.split()[1:] for line in f if line.startswith("Tcp:")]
    return dict(zip(names, map(int, values)))


def segment(frame: bytes, out: bool, protocol: int) -> list[object] | None:
    """send or receive, addresses and ports, sequence numbers, flags, octets behind the IP header."""
    if protocol == 0x800 and frame[9] == 6:
        at, family, addresses = (frame[0] & 15) * 4, socket.AF_INET, (12, 16, 20)
        length = int.from_bytes(frame[2:4], "big") - at
    elif protocol == 0x86DD and frame[6] == 6:
        at, family, addresses = 40, socket.AF_INET6, (8, 24, 40)
        length = int.from_bytes(frame[4:6], "big")
    else:
        return None
    a, b, c = addresses
    source, target = socket.inet_ntop(family, frame[a:b]), socket.inet_ntop(family, frame[b:c])
    sport, dport, seq, ack, _, flags = struct.unpack_from(">HHIIBB", frame, at)
    return ["send" if out else "receive", source, sport, target, dport, seq, ack, flags, length]


def captured(tap: socket.socket) -> list[list[object]]:
    found = []
    while select.select([tap], [], [], 0.3)[0]:
        frame, (_, protocol, kind, *_) = tap.recvfrom(65536)
        seen = segment(frame, kind == socket.PACKET_OUTGOING, protocol)
        if seen is not None and kind in (socket.PACKET_OUTGOING, socket.PACKET_HOST):
            found.append(seen)
    return found


def run(first: str, cases: list[str]) -> None:
    with open(f"/proc/{first}/ns/net") as namespace:
        if LIBC.setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL, from the IP header on
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    background(socket.create_server(("::", LOCAL), family=socket.AF_INET6, dualstack_ipv6=True))
    before = counters()
    runs = [threading.Thread(target=CASES[name]) for name in cases]
    for r in runs:
        r.start()
    for r in runs:
        r.join()
    seen = captured(tap)
    after = counters()
    grown = {name: after[name] - before[name] for name in ("InSegs", "OutSegs", "RetransSegs", "ActiveOpens")}
    print("LAB", json.dumps({"pid": os.getpid(), "segments": seen, "grown": grown}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    hold() if sys.argv[1] == "hold" else run(sys.argv[2], sys.argv[3:])
