"""Connections that this host hinders, that end, that are accepted, that take odd ways; and healthy traffic.

Run by test_watch_closed, in network namespaces of its own, as connection_lab is.  Each case runs in a
child named x-CASE, healthy ones in h-CASE.  Prints `CASE PID` for each, then ends.

    this process    10.9.0.1, 2001:db8:9::1, lo; nftables as RULES says; 10.9.0.77 is silent
    the router      10.9.0.2; drops what goes to its port 8131
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

from dsight.testing.labs.connection_lab import LIBC, attempt, child, ip, router

ECHO, RESETS, DRAINS, SILENT = 8000, 8001, 8002, 8003
NOTHING = 8009
RULES = """
table inet lab {
    chain out { type filter hook output priority 0;
        tcp dport 8101 drop
        tcp dport 8102 reject with tcp reset
        tcp dport 8103 reject
        tcp dport 8141 meta length > 70 drop
        tcp sport 8121 drop
    }
    chain in { type filter hook input priority 0;
        tcp dport 8111 drop
        tcp dport 8112 reject with tcp reset
    }
}
"""
ROUTER_RULES = "table inet lab { chain in { type filter hook input priority 0; tcp dport 8131 drop; }; }"
CASES: dict[str, Callable[[], object]] = {}


def case(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(function: Callable[[], object]) -> Callable[[], object]:
        CASES[name] = function
        return function

    return add


def short(address: str, port: int, wait: float = 0.1) -> None:
    """An attempt that is not waited for."""
    s = attempt(address, port, blocking=False)
    select.select([], [s], [], wait)
    s.close()


# What this host itself does to a SYN.

case("x-drop")(lambda: short("127.0.0.1", 8101))
case("x-reset-here")(lambda: attempt("127.0.0.1", 8102))
case("x-icmp-here")(lambda: short("127.0.0.1", 8103))
case("x-drop-in")(lambda: short("127.0.0.1", 8111))
case("x-reset-in")(lambda: attempt("127.0.0.1", 8112))
case("x-drop-answer")(lambda: short("127.0.0.1", 8121))
case("x-drop-there")(lambda: short("10.9.0.2", 8131))
case("x-neighbour6")(lambda: attempt("2001:db8:9::3", 80, socket.AF_INET6))


@case("x-ports")
def ports() -> None:
    """All local ports of a namespace of its own are used up."""
    LIBC.unshare(0x40000000)
    ip("link set lo up")
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write("40000 40001")
    with socket.create_server(("127.0.0.1", 8004)):
        kept = [attempt("127.0.0.1", 8004) for _ in range(3)]
        del kept


@case("x-cgroup")
def cgroup() -> None:
    """A BPF program of the cgroup says no: bpf(2), BPF_CGROUP_INET4_CONNECT."""
    if LIBC.unshare(0x00020000):  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    LIBC.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    here = f"/tmp/dsight-lab-{os.getpid()}"
    os.mkdir(here)
    if LIBC.mount(b"none", here.encode(), b"cgroup2", 0, None):
        os.rmdir(here)
        raise OSError(ctypes.get_errno(), "mount")
    with open("/proc/self/cgroup") as f:
        old = next(line.rstrip("\n").partition("::")[2] for line in f if line.startswith("0::"))
    group = f"{here}/dsight-lab-{os.getpid()}"
    os.mkdir(group)
    try:
        with open(f"{group}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))
        code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
        insns, gpl = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
        load = struct.pack(
            "=IIQQIIQII16sII", 18, 2, ctypes.addressof(insns), ctypes.addressof(gpl), 0, 0, 0, 0, 0, b"no", 0, 10
        )
        program = LIBC.syscall(321 if os.uname().machine == "x86_64" else 280, 5, load, len(load))
        folder = os.open(group, os.O_RDONLY)
        LIBC.syscall(
            321 if os.uname().machine == "x86_64" else 280, 8, struct.pack("=IIII", folder, program, 10, 0), 16
        )
        attempt("127.0.0.1", NOTHING)
        with open(f"{here}{old}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))
        os.close(folder)
        os.close(program)
    finally:
        os.rmdir(group)
        LIBC.umount2(here.encode(), 2)  # MNT_DETACH
        os.rmdir(here)


@case("x-full")
def full() -> None:
    """The listener's queue was full when the SYN came, and is not any more when that is looked at."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        kept = [attempt(*listener.getsockname(), blocking=False) for _ in range(3)]
        select.select([], kept[:1], [], 5)
        time.sleep(1.2)  # a SYN is sent again after a second
        listener.accept()[0].close()
        time.sleep(0.3)
        kept[-1].close()
        time.sleep(0.5)  # until it was looked at


# How connections end.


@case("x-life")
def life() -> None:
    with socket.create_connection(("127.0.0.1", ECHO)) as s:
        s.sendall(b"x" * 100_000)
        left = 100_000
        while left:
            left -= len(s.recv(65536))
        time.sleep(0.05)


@case("x-peer")
def peer_closes() -> None:
    with socket.create_connection(("127.0.0.1", DRAINS)) as s:
        s.sendall(b"abc")
        assert s.recv(100) == b"bye" and s.recv(100) == b""


@case("x-linger")
def linger() -> None:
    with socket.create_connection(("127.0.0.1", ECHO)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@case("x-reset")
def reset() -> None:
    with socket.create_connection(("127.0.0.1", RESETS)) as s:
        s.sendall(b"hello")
        try:
            s.recv(1)
        except ConnectionResetError:
            pass


@case("x-stuck")
def stuck() -> None:
    """Data is not acknowledged any more."""
    with socket.create_connection(("127.0.0.1", 8141)) as s:
        s.setsockopt(socket.IPPROTO_TCP, 18, 500)  # TCP_USER_TIMEOUT, ms
        s.sendall(b"x" * 100)
        select.select([s], [], [], 10)


@case("x-serve")
def serve() -> None:
    """Accepts one by accept4 (as Python does) and one by accept(2) in a child; both are from x-serve."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mine = attempt(*listener.getsockname())
        listener.accept()[0].close()
        other = attempt(*listener.getsockname())
        pid = os.fork()
        if pid == 0:
            os.close(LIBC.accept(listener.fileno(), None, None))
            os._exit(0)
        os.waitpid(pid, 0)
        mine.close()
        other.close()


@case("x-u-serve")
def uring_accept() -> None:
    """IORING_OP_ACCEPT (13): one that ends with a connection, then one for two (multishot, ioprio 1)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = [attempt(*listener.getsockname())]
        uring(struct.pack("=BBH", 13, 0, 0) + struct.pack("=i24xQ", listener.fileno(), 7))
        made += [attempt(*listener.getsockname()) for _ in range(2)]
        uring(struct.pack("=BBH", 13, 0, 1) + struct.pack("=i24xQ", listener.fileno(), 8), wait=2)
        for s in made:
            s.close()


@case("x-late")
def late() -> None:
    """Accepted when its peer has already reset it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        s = attempt(*listener.getsockname())
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        listener.accept()[0].close()


# Odd ways.


def sockaddr(address: str, port: int) -> bytes:
    return struct.pack("=H", 2) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def uring(*entries: bytes, wait: int = 0) -> None:
    """Submit entries and wait for all, or so many completions: io_uring_setup(2), io_uring_enter(2)."""
    params = ctypes.create_string_buffer(120)
    fd = LIBC.syscall(425, 8, params)
    array, _, tail = (struct.unpack_from("=I", params, 40 + 4 * n)[0] for n in (6, 0, 1))
    ring = mmap.mmap(fd, array + 32, offset=0)
    slots = mmap.mmap(fd, 8 * 64, offset=0x10000000)  # IORING_OFF_SQES
    for n, entry in enumerate(entries):
        slots[64 * n : 64 * n + 64] = entry.ljust(64, b"\0")
        ring[array + 4 * n : array + 4 * n + 4] = struct.pack("=I", n)
    ring[tail : tail + 4] = struct.pack("=I", len(entries))
    LIBC.syscall(426, fd, len(entries), wait or len(entries), 1, None, 0)
    os.close(fd)


def uring_connect(address: str, port: int, flags: int = 0, timeout: float = 0) -> None:
    there = ctypes.create_string_buffer(sockaddr(address, port))
    with socket.socket() as s:
        entries = [
            struct.pack("=BBHiQQ", 16, flags | (4 if timeout else 0), 0, s.fileno(), 16, ctypes.addressof(there))
        ]
        if timeout:  # IORING_OP_LINK_TIMEOUT, linked by IOSQE_IO_LINK
            spec = ctypes.create_string_buffer(struct.pack("=qq", 0, int(timeout * 1e9)))
            entries.append(struct.pack("=BBHiQQI", 15, 0, 0, -1, 0, ctypes.addressof(spec), 1))
        uring(*entries)


case("x-u-noroute")(lambda: uring_connect("198.51.100.1", 80))
case("x-u-refused")(lambda: uring_connect("127.0.0.1", NOTHING))
case("x-u-worker")(lambda: uring_connect("127.0.0.1", NOTHING, flags=16))  # IOSQE_ASYNC
case("x-u-ok")(lambda: uring_connect("127.0.0.1", ECHO))
case("x-u-timeout")(lambda: uring_connect("10.9.0.77", SILENT, timeout=0.2))


@case("x-passed")
def passed() -> None:
    """A socket made by one process is connected by another, to which it was passed (SCM_RIGHTS)."""
    a, b = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        with socket.socket() as s:
            socket.send_fds(a, [b"x"], [s.fileno()])
        os._exit(0)
    fd = socket.recv_fds(b, 1, 1)[1][0]
    os.waitpid(pid, 0)
    socket.socket(fileno=fd).connect_ex(("127.0.0.1", NOTHING))


@case("x-forked")
def forked() -> None:
    """socket(2) in the parent, connect(2) in a child."""
    s = socket.socket()
    pid = os.fork()
    if pid == 0:
        LIBC.prctl(15, b"x-forked-child", 0, 0, 0)
        s.connect_ex(("127.0.0.1", NOTHING))
        os._exit(0)
    os.waitpid(pid, 0)


@case("x-m32")
def compat() -> None:
    """A 32-bit process; the test says where its program is, if it could be made."""
    if len(sys.argv) > 1:
        os.execv(sys.argv[1], ["x-m32"])


@case("x-race")
def race() -> None:
    """Happy eyeballs: the slower attempt is closed when the other has connected."""
    slow = attempt("10.9.0.77", ECHO, blocking=False)
    time.sleep(0.05)
    fast = attempt("10.9.0.1", ECHO)
    slow.close()
    fast.close()


@case("x-mptcp")
def mptcp() -> None:
    """A connection to which the kernel adds a subflow, from 127.0.0.2; in a namespace of its own."""
    LIBC.unshare(0x40000000)
    ip("link set lo up", "addr add 127.0.0.2/8 dev lo", "mptcp limits set subflow 2 add_addr_accepted 2")
    ip("mptcp endpoint add 127.0.0.2 dev lo subflow")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as listener:  # IPPROTO_MPTCP
        listener.bind(("127.0.0.1", 8231))
        listener.listen()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as s:
            s.connect(("127.0.0.1", 8231))
            with listener.accept()[0] as other:
                for _ in range(2):
                    s.sendall(b"ping")
                    other.sendall(other.recv(100))
                    s.recv(100)
                    time.sleep(0.1)


# Healthy.


@case("h-idle")
def idle() -> None:
    with socket.create_connection(("127.0.0.1", ECHO)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        time.sleep(1.5)


@case("h-pool")
def pool() -> None:
    kept = [socket.create_connection(("127.0.0.1", ECHO)) for _ in range(5)]
    for _ in range(3):
        for s in kept:
            s.sendall(b"ping")
            assert s.recv(100) == b"ping"
    for s in kept:
        s.close()


@case("h-check")
def check() -> None:
    """Health checks: connect, and close at once; with a FIN, and with a reset."""
    socket.create_connection(("127.0.0.1", DRAINS)).close()
    with socket.create_connection(("127.0.0.1", DRAINS)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.create_connection(("127.0.0.1", RESETS)).close()  # a server that resets what has closed


@case("h-half")
def half_closed() -> None:
    with socket.create_connection(("127.0.0.1", ECHO)) as s:
        s.sendall(b"all")
        s.shutdown(socket.SHUT_WR)
        assert s.recv(100) == b"all" and s.recv(100) == b""


@case("h-reset-after-data")
def reset_after_data() -> None:
    with socket.create_connection(("127.0.0.1", RESETS)) as s:
        s.sendall(b"data please")
        try:
            while s.recv(100):
                pass
        except ConnectionResetError:
            pass


@case("h-poll")
def polling() -> None:
    s = attempt("10.9.0.2", ECHO, blocking=False)
    poll = select.epoll()
    poll.register(s, select.EPOLLOUT)
    assert poll.poll(10) and s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    s.connect_ex(("10.9.0.2", ECHO))
    s.close()


case("h-race")(race)


@case("h-killed")
def killed() -> None:
    """Ends without closing anything."""
    socket.create_connection(("127.0.0.1", ECHO)).sendall(b"x")
    os.kill(os.getpid(), 9)


# Servers, threads of the lab.


def echo(s: socket.socket) -> None:
    while data := s.recv(65536):
        s.sendall(data)


def resets(s: socket.socket) -> None:
    data = s.recv(100)
    if data.startswith(b"data"):
        s.sendall(b"y" * 100)
        time.sleep(0.05)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drains(s: socket.socket) -> None:
    if s.recv(100):
        s.sendall(b"bye")


def serve_on(address: str, port: int, answer: Callable[[socket.socket], None]) -> None:
    listener = socket.create_server((address, port))

    def one(s: socket.socket) -> None:
        with s:
            try:
                answer(s)
            except OSError:
                pass

    def run() -> None:
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def inside(pid: int, *line: str, text: str = "") -> None:
    """A command in the network namespace of a process."""
    subprocess.run(["nsenter", "-t", str(pid), "-n", *line], input=text.encode(), check=True)


def main() -> None:
    if LIBC.unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    ip("link set lo up")
    other, life = router()
    ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev v0", "addr add 2001:db8:9::1/64 dev v0 nodad")
    subprocess.run(["nft", "-f", "-"], input=RULES.encode(), check=True)
    inside(other, "nft", "-f", "-", text=ROUTER_RULES)
    far = "import socket\nl = socket.create_server(('', 8000))\nprint(flush=True)\nwhile True: l.accept()"
    server = subprocess.Popen(["nsenter", "-t", str(other), "-n", sys.executable, "-c", far], stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    serve_on("", ECHO, echo)
    serve_on("", RESETS, resets)
    serve_on("", DRAINS, drains)
    serve_on("127.0.0.1", 8121, drains)
    serve_on("127.0.0.1", 8141, drains)
    pids = {name: child(name.encode(), run) for name, run in CASES.items()}
    for name, pid in pids.items():
        os.waitpid(pid, 0)
        print(name, pid, flush=True)
    time.sleep(1)  # the namespace is still there when the last outcome is looked at, also on a busy machine
    server.kill()
    server.wait()
    os.close(life)
    os.waitpid(other, 0)


if __name__ == "__main__":
    main()
