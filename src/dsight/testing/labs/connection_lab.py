"""Every kind of connection, made for real in network namespaces of its own: run by test_watch and by `dsight selftest`.

    this process      10.9.0.1, lo; routes of each kind
    the router        10.9.0.2, joined by a veth pair; sends ICMP for 10.77.0.0/16
    10.9.0.77         a neighbour that is set by hand and does not exist: silence
    10.9.0.3          nobody there: no answer to ARP

Each case runs in a child named w-CASE.  Prints `CASE PID` for each, then ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

NOTHING, LISTENS, FULL = 7001, 7000, 7002
LIBC = ctypes.CDLL(None, use_errno=True)
CASES: dict[str, Callable[[], object]] = {}


def case(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(function: Callable[[], object]) -> Callable[[], object]:
        CASES[name] = function
        return function

    return add


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def attempt(address: str, port: int, family: int = socket.AF_INET, blocking: bool = True) -> socket.socket:
    s = socket.socket(family)
    s.setblocking(blocking)
    s.connect_ex((address, port))
    return s


case("connected")(lambda: attempt("127.0.0.1", LISTENS))
case("refused")(lambda: attempt("127.0.0.1", NOTHING))
case("refused-nb")(lambda: attempt("127.0.0.1", NOTHING, blocking=False))
case("refused6")(lambda: attempt("::1", NOTHING, socket.AF_INET6))
case("family6")(lambda: attempt("::1", LISTENS, socket.AF_INET6))
case("mapped")(lambda: attempt("::ffff:127.0.0.1", NOTHING, socket.AF_INET6))
case("any")(lambda: attempt("0.0.0.0", NOTHING))
case("own")(lambda: attempt("10.9.0.1", NOTHING))
case("noroute")(lambda: attempt("198.51.100.1", 80))
case("unreach")(lambda: attempt("10.66.0.1", 80))
case("prohibit")(lambda: attempt("10.67.0.1", 80))
case("blackhole")(lambda: attempt("10.68.0.1", 80))
case("arp")(lambda: attempt("10.9.0.3", 80))
case("rst")(lambda: attempt("10.9.0.2", NOTHING))


@case("silent")
def silent() -> None:
    s = attempt("10.9.0.77", 9300, blocking=False)
    time.sleep(2.4)
    s.close()


@case("killed")
def killed() -> None:
    threading.Timer(1.3, lambda: os.kill(os.getpid(), 9)).start()
    attempt("10.9.0.77", 9301)


@case("timeout")
def timeout() -> None:
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    s.connect_ex(("10.9.0.77", 9302))


@case("icmp")
def icmp() -> None:
    s = socket.socket()
    s.settimeout(1.2)
    s.connect_ex(("10.77.0.1", 80))


@case("ports")
def ports() -> None:
    kept = []
    for _ in range(2):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 7055))
        s.connect_ex(("127.0.0.1", LISTENS))
        kept.append(s)


@case("full")
def full() -> None:
    s = attempt("127.0.0.1", FULL, blocking=False)
    time.sleep(1.3)
    s.close()


@case("reset")
def reset() -> None:
    """Refused after all: the server resets what it has accepted, before it has said anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener, attempt(*listener.getsockname()) as s:
        other = listener.accept()[0]
        s.sendall(b"hello")
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        select.select([s], [], [], 5)


@case("filter")
def packet_filter() -> None:
    """nftables drops the SYN; in a namespace of its own."""
    LIBC.unshare(0x40000000)
    ip("link set lo up")
    rules = b"table inet lab { chain out { type filter hook output priority 0; tcp dport 7077 drop; }; }"
    subprocess.run(["nft", "-f", "-"], input=rules, check=True)
    s = attempt("127.0.0.1", 7077, blocking=False)
    time.sleep(0.1)
    s.close()


@case("self")
def self_connect() -> None:
    s = socket.socket()
    s.bind(("127.0.0.1", 7066))
    s.connect_ex(("127.0.0.1", 7066))


@case("thread")
def thread() -> None:
    t = threading.Thread(target=attempt, args=("127.0.0.1", NOTHING))
    t.start()
    t.join()


@case("efault")
def efault() -> None:
    with socket.socket() as s:
        LIBC.connect(s.fileno(), ctypes.c_void_p(8), 16)


@case("ebadf")
def ebadf() -> None:
    there = (2).to_bytes(2, sys.byteorder) + (80).to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + bytes(8)
    LIBC.connect(999, there, 16)


@case("again")
def again() -> None:
    """Asks with connect(2) itself, as some event loops do: one attempt."""
    s = attempt("127.0.0.1", LISTENS, blocking=False)
    time.sleep(0.05)
    s.connect_ex(("127.0.0.1", LISTENS))


@case("isconn")
def isconn() -> None:
    s = attempt("127.0.0.1", LISTENS)
    s.connect_ex(("127.0.0.1", LISTENS))


@case("fastopen")
def fastopen() -> None:
    with socket.socket() as s:
        try:
            s.sendto(b"x", 0x20000000, ("127.0.0.1", NOTHING))  # MSG_FASTOPEN
        except OSError:
            pass


@case("mptcp")
def mptcp() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect_ex(("127.0.0.1", NOTHING))  # IPPROTO_MPTCP


@case("uring")
def uring() -> None:
    """One IORING_OP_CONNECT: see io_uring_setup(2), io_uring_enter(2)."""
    params = ctypes.create_string_buffer(120)
    fd = LIBC.syscall(425, 4, params)  # io_uring_setup, four entries
    array, _, tail = (struct.unpack_from("=I", params, 40 + 4 * n)[0] for n in (6, 0, 1))
    ring = mmap.mmap(fd, array + 16, offset=0)
    entries = mmap.mmap(fd, 4 * 64, offset=0x10000000)  # IORING_OFF_SQES
    address = ctypes.create_string_buffer(
        (2).to_bytes(2, sys.byteorder) + NOTHING.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + bytes(8)
    )
    with socket.socket() as s:
        entries[:48] = struct.pack("=BBHiQQ24x", 16, 0, 0, s.fileno(), 16, ctypes.addressof(address))
        ring[array : array + 4] = bytes(4)
        ring[tail : tail + 4] = (1).to_bytes(4, sys.byteorder)
        LIBC.syscall(426, fd, 1, 1, 1, None, 0)  # io_uring_enter, wait for one


@case("others")
def others() -> None:
    """What is no TCP: nothing to report yet."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", NOTHING))
    socket.socket(socket.AF_UNIX).connect_ex("/nonexistent")
    LIBC.connect(0, bytes(16), 16)  # a pipe, and no address


def child(name: bytes, run: Callable[[], object]) -> int:
    """Run in a process of this name."""
    pid = os.fork()
    if pid:
        return pid
    try:
        LIBC.prctl(15, name, 0, 0, 0)  # PR_SET_NAME
        run()
    finally:
        os._exit(0)


def router() -> tuple[int, int]:
    """A process in a namespace of its own; its pid, and a pipe: when that closes, it ends."""
    ready, ready_in = os.pipe()
    life_out, life = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(life)
        LIBC.unshare(0x40000000)  # CLONE_NEWNET
        os.write(ready_in, b"x")
        os.read(life_out, 1)
        ip("link set lo up", "addr add 10.9.0.2/24 dev v1", "link set v1 up", "route add unreachable 10.77.0.0/16")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
            f.write("1")
        os.write(ready_in, b"x")
        os.read(life_out, 1)
        os._exit(0)
    os.close(life_out)
    os.read(ready, 1)
    ip(
        "link add v0 type veth peer name v1",
        f"link set v1 netns {pid}",
        "addr add 10.9.0.1/24 dev v0",
        "link set v0 up",
    )
    os.write(life, b"x")
    os.read(ready, 1)
    return pid, life


def main() -> None:
    if LIBC.unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    ip("link set lo up")
    other, life = router()
    ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev v0", "route add 10.77.0.0/16 via 10.9.0.2")
    ip("route add unreachable 10.66.0.0/16", "route add prohibit 10.67.0.0/16", "route add blackhole 10.68.0.0/16")
    listeners = [socket.create_server(("127.0.0.1", LISTENS)), socket.create_server(("127.0.0.1", FULL), backlog=0)]
    filling = [attempt("127.0.0.1", FULL, blocking=False) for _ in range(3)]
    time.sleep(0.1)
    wanted = sys.argv[1:] or list(CASES)
    pids = {name: child(b"w-" + name.encode(), CASES[name]) for name in wanted}
    for name, pid in pids.items():
        os.waitpid(pid, 0)
        print(name, pid, flush=True)
    time.sleep(1)  # the namespace is still there when the last outcome is looked at, also on a busy machine
    os.close(life)
    os.waitpid(other, 0)
    for s in (*filling, *listeners):
        s.close()


if __name__ == "__main__":
    main()
