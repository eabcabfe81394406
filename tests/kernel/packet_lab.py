"""Packets of every kind, counted: run by test_udp_provider, test_ip_provider and test_mib_provider.

    this process   10.8.0.1, fd00:8::1 on v0; lo; br0 (10.10.0.1) over w0; mv0, a macvlan of v0 (10.12.0.1); d0
                   (10.9.0.1), to which it forwards
    the peer       10.8.0.2, fd00:8::2 on v1, joined by a veth pair, and w1; it answers datagrams to port 5001

Prints its network namespace; then, for each name of a CASE that it reads, makes the packets and prints as JSON what a
capture on each device saw (device, direction, IP version, protocol: number of packets) and by how much the
counters of /proc/net/snmp grew; ends with its input.
"""

from __future__ import annotations

import collections
import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

ECHO, NOTHING, FORWARDED, TCP, GROUP = 5001, 5999, 5003, 5004, "239.8.1.1"
LIBC = ctypes.CDLL(None, use_errno=True)
CASES: dict[str, Callable[[], object]] = {}
SELF = {socket.AF_INET: "10.8.0.1", socket.AF_INET6: "fd00:8::1"}
UDP_SEGMENT = 103  # include/uapi/linux/udp.h


def case(function: Callable[[], object]) -> Callable[[], object]:
    CASES[function.__name__] = function
    return function


def ip(*commands: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


def datagram(family: int = socket.AF_INET) -> socket.socket:
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(20)
    return s


def echo(address: str, sizes: tuple[int, ...], family: int = socket.AF_INET) -> None:
    """Datagrams to the peer, each answered."""
    with datagram(family) as s:
        for size in sizes:
            s.sendto(bytes(size), (address, ECHO))
            assert len(s.recv(65536)) == size


@case
def plain() -> None:
    echo("10.8.0.2", (1, 100, 1400))
    echo("fd00:8::2", (1, 1400), socket.AF_INET6)
    echo("::ffff:10.8.0.2", (7,), socket.AF_INET6)


@case
def fragments() -> None:
    echo("10.8.0.2", (4000,))
    echo("fd00:8::2", (4000,), socket.AF_INET6)


@case
def loopback() -> None:
    with datagram() as server, datagram() as client, datagram() as lost:
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        client.send(b"one")
        client.send(b"two ", socket.MSG_MORE)  # corked: with the next
        client.send(b"halves")
        assert [server.recv(99) for _ in range(2)] == [b"one", b"two halves"]
        server.sendto(b"back", client.getsockname())
        client.recv(99)
        lost.sendto(b"nobody", ("127.0.0.1", NOTHING))  # and the ICMP message that answers


@case
def segments() -> None:
    """UDP_SEGMENT: one packet until the receiver's end."""
    with datagram() as server, datagram() as client:
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        client.send(bytes(250))
        assert [len(server.recv(999)) for _ in range(3)] == [100, 100, 50]


@case
def multicast() -> None:
    """To two sockets of this host, and to the peer, where nobody listens."""
    member = socket.inet_aton(GROUP) + socket.inet_aton("10.8.0.1")
    with datagram() as one, datagram() as two, datagram() as sender:
        for s in (one, two):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((GROUP, 5005))
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.8.0.1"))
        sender.sendto(b"all", (GROUP, 5005))
        assert one.recv(9) == two.recv(9) == b"all"


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(address: str, family: int) -> None:
    raw = socket.socket(family, socket.SOCK_RAW, 1 if family == socket.AF_INET else 58)
    with raw:
        kind, answer = (8, 0) if family == socket.AF_INET else (128, 129)
        raw.settimeout(20)
        if family == socket.AF_INET6:
            raw.setsockopt(58, 1, struct.pack("8I", *[0xFFFFFFFF] * 4, ~2 & 0xFFFFFFFF, *[0xFFFFFFFF] * 3))  # only 129
        message = struct.pack(">BBHHH", kind, 0, 0, 0x1234, 7) + b"abcd"
        raw.sendto(message[:2] + struct.pack(">H", checksum(message)) + message[4:], (address, 0))
        while raw.recv(999)[20 if family == socket.AF_INET else 0] != answer:
            pass


@case
def pings() -> None:
    ping("10.8.0.2", socket.AF_INET)
    ping("10.8.0.2", socket.AF_INET)
    ping("fd00:8::2", socket.AF_INET6)
    with datagram() as s:
        s.connect(("10.8.0.2", NOTHING))
        s.send(b"x")
        try:
            s.recv(9)
        except ConnectionRefusedError:
            pass
        s.connect(("10.8.0.2", ECHO))
        s.send(b"knock")  # and it sends one to where nobody listens here
        s.recv(9)


@case
def marked() -> None:
    for family, address, level, kind, hops in (
        (socket.AF_INET, "10.8.0.2", socket.IPPROTO_IP, socket.IP_TOS, socket.IP_TTL),
        (socket.AF_INET6, "fd00:8::2", socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_UNICAST_HOPS),
    ):
        with datagram(family) as s:
            s.setsockopt(level, kind, 0x48)
            s.setsockopt(level, hops, 33)
            s.bind((SELF[family], 5010))
            s.connect((address, ECHO))
            s.send(b"marked")
            s.recv(9)


@case
def late() -> None:
    """A datagram that waits until the neighbour's address is known, and leaves in no process's context."""
    ip("neigh flush dev v0")
    echo("10.8.0.2", (3,))


@case
def below() -> None:
    """By devices that are on top of another."""
    for address in ("10.10.0.2", "10.12.0.2"):
        echo(address, (50,))


@case
def forwarded() -> None:
    """From the peer to d0, with a socket here on the same port, which it is not for; then one which is."""
    with datagram() as server, datagram() as s:
        server.bind(("", FORWARDED))
        s.connect(("10.8.0.2", ECHO))
        s.send(b"forward")
        s.recv(9)
        server.recv(9)


def raw_ip(protocol: int, payload: bytes) -> None:
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, protocol, 0, *[socket.inet_aton("127.0.0.1")] * 2)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        s.sendto(header + payload, ("127.0.0.1", 0))


@case
def errors() -> None:
    with datagram() as full, datagram() as s:
        full.bind(("127.0.0.1", 0))
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(10):
            s.sendto(bytes(1000), full.getsockname())
        raw_ip(17, struct.pack(">HHHH", 9, full.getsockname()[1], 12, 0xBAD) + b"evil")
        raw_ip(253, b"experiment")
        full.recv(9999)


@case
def connections() -> None:
    with socket.socket() as silent, socket.socket() as listener:
        silent.setblocking(False)
        silent.connect_ex(("10.8.0.77", 9300))  # sends its SYN again after a second
        began = time.monotonic()
        with socket.create_connection(("10.8.0.2", TCP)) as s:
            s.sendall(b"hello")
            assert s.recv(9) == b"hello"
        with socket.socket() as refused:
            refused.connect_ex(("127.0.0.1", NOTHING))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for linger in (0, 1):
            with socket.create_connection(listener.getsockname()) as s:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
                accepted.close()  # a reset, the second time
                s.recv(9) if not linger else select.select([s], [], [], 20)
        while snmp()["Tcp"]["RetransSegs"] == BEFORE["Tcp"]["RetransSegs"] and time.monotonic() < began + 20:
            time.sleep(0.02)


# ---- the peer


def peer(pid: int, go: int, done: int) -> None:
    """Answers until its pipe closes."""
    ip(
        "link set lo up", "addr add 10.8.0.2/24 dev v1", "addr add fd00:8::2/64 dev v1 nodad", "link set v1 up",
        "addr add 10.12.0.2/24 dev v1", "addr add 10.10.0.2/24 dev w1", "link set w1 up",
        "link set d1 up", "route add 10.9.0.0/24 via 10.8.0.1",
    )  # fmt: skip
    with datagram(socket.AF_INET6) as s, socket.create_server(("", TCP)) as tcp:
        s.bind(("::", ECHO))
        os.write(done, b"x")
        while True:
            ready, _, _ = select.select([s, tcp, go], [], [])
            if go in ready:
                return
            if tcp in ready:
                c, _ = tcp.accept()
                with c:
                    c.sendall(c.recv(99))
                    c.recv(99)  # until the other end closes
            if s in ready:
                data, sender = s.recvfrom(65536)
                if data == b"knock":
                    s.sendto(b"x", (sender[0], NOTHING))
                if data == b"forward":
                    s.sendto(data, ("::ffff:10.9.0.9", FORWARDED))
                    s.sendto(data, ("::ffff:10.8.0.1", FORWARDED))
                s.sendto(data, sender)


def second_namespace() -> tuple[int, int]:
    """The peer's process, and a pipe: when that closes, it ends."""
    ready_out, ready = os.pipe()
    life_out, life = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(life)
            unshare()
            os.write(ready, b"x")
            os.read(life_out, 1)
            peer(pid, life_out, ready)
        finally:
            os._exit(0)
    os.close(life_out)
    os.read(ready_out, 1)
    ip(
        "link set lo up",
        f"link add v0 type veth peer name v1 netns {pid}", f"link add w0 type veth peer name w1 netns {pid}",
        "addr add 10.8.0.1/24 dev v0", "addr add fd00:8::1/64 dev v0 nodad", "link set v0 up",
        "neigh add 10.8.0.77 lladdr 02:00:00:00:00:77 dev v0",
        "link add br0 type bridge", "link set w0 master br0", "addr add 10.10.0.1/24 dev br0", "link set w0 up",
        "link set br0 up", "link add mv0 link v0 type macvlan", "addr add 10.12.0.1/24 dev mv0", "link set mv0 up",
        f"link add d0 type veth peer name d1 netns {pid}", "addr add 10.9.0.1/24 dev d0", "link set d0 up",
        "neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev d0",
    )  # fmt: skip
    with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
        f.write("1")
    os.write(life, b"x")
    os.read(ready_out, 1)
    return pid, life


def unshare() -> None:
    if LIBC.unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")


# ---- the witnesses


def snmp() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    with open("/proc/net/snmp") as f:
        lines = [line.split() for line in f]
    for names, values in zip(lines[::2], lines[1::2]):
        found[names[0][:-1]] = dict(zip(names[1:], map(int, values[1:])))
    with open("/proc/net/snmp6") as f:
        for line in f:
            name, value = line.split()
            found.setdefault(name.partition("6")[0] + "6", {})[name.partition("6")[2]] = int(value)
    return found


def captured(capture: socket.socket) -> Iterator[tuple[str, str, int, int]]:
    """(device, direction, IP version, protocol) of each packet."""
    while True:
        try:
            data, (device, protocol, kind, *_) = capture.recvfrom(256)
        except BlockingIOError:
            return
        if protocol in (0x800, 0x86DD) and kind != socket.PACKET_OTHERHOST:
            version = data[0] >> 4
            yield (
                device,
                "send" if kind == socket.PACKET_OUTGOING else "receive",
                version,
                data[9 if version == 4 else 6],
            )


def main() -> None:
    global BEFORE
    unshare()
    other, life = second_namespace()
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
    capture.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
    capture.setblocking(False)
    for address in ("10.10.0.2", "10.12.0.2", "10.8.0.2"):
        echo(address, (1,))
    echo("fd00:8::2", (1,), socket.AF_INET6)  # neighbours are known: the packets to come are those of the case
    print(os.stat("/proc/self/ns/net").st_ino, flush=True)
    for line in sys.stdin:
        list(captured(capture))
        BEFORE = snmp()
        CASES[line.strip()]()
        after = snmp()
        counted = collections.Counter(captured(capture))
        grown = {
            group: {k: v - BEFORE.get(group, {}).get(k, 0) for k, v in rows.items()} for group, rows in after.items()
        }
        print(json.dumps({"captured": [[*key, n] for key, n in counted.items()], "snmp": grown}), flush=True)
    os.close(life)
    os.waitpid(other, 0)


BEFORE: dict[str, dict[str, int]] = {}

if __name__ == "__main__":
    main()
