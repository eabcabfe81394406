"""Names looked up in every way, in a network namespace with a name server of its own: run by test_watch_names
and `dsight selftest`.

    10.53.0.1, fd53::1    the name server, over UDP and TCP: see ANSWERS
    10.53.0.2             nobody: asking there is refused
    10.53.0.3             a name server that never answers
    127.0.0.1 db1         stands in /etc/hosts, with nothing listening on any port

/etc/resolv.conf and /etc/hosts are files of the lab's own, mounted over the host's.  Each case runs in
a child named n-CASE, programs it starts keep that name where they are ours.  Prints `CASE PID` for each.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

SERVER, SERVER6, NOBODY, SILENT = "10.53.0.1", "fd53::1", "10.53.0.2", "10.53.0.3"
NOTHING = 7001
LIBC = ctypes.CDLL(None, use_errno=True)
CASES: dict[str, Callable[[], object]] = {}
TOOLS: dict[str, str] = {}  # a folder; a program the test has compiled with musl, that calls getaddrinfo
A, CNAME, AAAA = 1, 5, 28
MANY = [f"10.8.0.{n}" for n in range(1, 61)]

# name: rcode, addresses
ANSWERS: dict[str, tuple[int, list[str]]] = {
    "ok.test": (0, ["10.9.9.1", "fd53::99"]),
    "four.test": (0, ["10.9.9.4"]),
    "here.test": (0, ["127.0.0.1"]),
    "fail.test": (2, []),
    "slow.test": (0, ["10.9.9.5"]),
    "big.test": (0, MANY),
    "web.b.test": (0, ["10.9.9.6"]),
    "alias.test": (0, ["10.9.9.1"]),
}


def answer(query: bytes, stream: bool) -> bytes | None:
    """What the name server says; None: nothing."""
    number, labels, at = query[:2], [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    name, kind = ".".join(labels).lower(), struct.unpack_from("!H", query, at + 1)[0]
    question = query[12 : at + 5]
    if name == "silent.test":
        return None
    if name == "slow.test":
        time.sleep(1.2)
    rcode, addresses = ANSWERS.get(name, (3, []))
    records = []
    if name == "alias.test":
        target = b"\x02ok\xc0\x12"  # ok, and .test of the question
        records.append(b"\xc0\x0c" + struct.pack("!HHIH", CNAME, 1, 60, len(target)) + target)
    for address in addresses:
        raw = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        if (len(raw) == 4) == (kind == A) and kind in (A, AAAA):
            owner = b"\x02ok\xc0\x12" if name == "alias.test" else b"\xc0\x0c"
            records.append(owner + struct.pack("!HHIH", kind, 1, 60, len(raw)) + raw)
    cut = 0x0200 if len(records) > 20 and not stream else 0
    kept = [] if cut else records
    return number + struct.pack("!HHHHH", 0x8180 | cut | rcode, 1, len(kept), 0, 0) + question + b"".join(kept)


def serve() -> int:
    """The name server, a process of its own; its pid, once it listens."""
    ready, ready_in = os.pipe()
    pid = os.fork()
    if pid:
        os.read(ready, 1)
        return pid
    import threading

    LIBC.prctl(1, 9)  # PR_SET_PDEATHSIG
    LIBC.prctl(15, b"lab-names", 0, 0, 0)
    held = []
    for address in (SERVER, SERVER6):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, 53))
        tcp = socket.create_server((address, 53), family=family)
        held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

        def datagrams(udp: socket.socket = udp) -> None:
            def one(query: bytes, peer: tuple[str, int]) -> None:
                said = answer(query, False)
                if said is not None:
                    udp.sendto(said, peer)

            while True:
                threading.Thread(target=one, args=udp.recvfrom(4096), daemon=True).start()

        def streams(tcp: socket.socket = tcp) -> None:
            while True:
                s = tcp.accept()[0]
                length = struct.unpack("!H", s.recv(2))[0]
                said = answer(s.recv(length), True)
                if said is not None:
                    s.sendall(struct.pack("!H", len(said)) + said)
                s.close()

        threading.Thread(target=datagrams, daemon=True).start()
        threading.Thread(target=streams, daemon=True).start()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((SILENT, 53))
    os.write(ready_in, b"x")
    while True:
        time.sleep(60)


def case(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(function: Callable[[], object]) -> Callable[[], object]:
        CASES[name] = function
        return function

    return add


def mounted(path: str, text: str) -> None:
    """A file of our own in place of another; this mount namespace only."""
    with tempfile.NamedTemporaryFile("w", dir=TOOLS["folder"], delete=False) as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    if LIBC.mount(f.name.encode(), path.encode(), None, 4096, None):  # MS_BIND
        raise OSError(ctypes.get_errno(), f"mount {path}")


def servers(*addresses: str, search: str = "", options: str = "timeout:1 attempts:1") -> None:
    """An /etc/resolv.conf for this case alone."""
    LIBC.unshare(0x20000)  # CLONE_NEWNS
    lines = [f"nameserver {a}" for a in addresses] + ([f"search {search}"] if search else [])
    mounted("/etc/resolv.conf", "\n".join([*lines, f"options {options}", ""]))


def resolve(name: str, port: int | None = 80, family: int = 0) -> object:
    try:
        return socket.getaddrinfo(name, port, family, socket.SOCK_STREAM)
    except OSError:
        return None


def query(name: str, kind: int = A, number: int = 0x1234) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


case("ok")(lambda: resolve("ok.test", 5432))
case("any-type")(lambda: socket.getaddrinfo("ok.test", None))
case("nx")(lambda: resolve("nx.test"))
case("servfail")(lambda: resolve("fail.test"))
case("silent")(lambda: resolve("silent.test"))
case("slow")(lambda: resolve("slow.test", family=socket.AF_INET))
case("nodata")(lambda: resolve("four.test", family=socket.AF_INET6))
case("alias")(lambda: resolve("alias.test"))
case("big")(lambda: resolve("big.test", family=socket.AF_INET))
case("numeric")(lambda: [resolve("127.0.0.1"), resolve("::1")])
case("byname")(lambda: subprocess.run([sys.executable, "-c", BY_NAME], check=False))
case("curl")(lambda: subprocess.run(["curl", "-sm2", f"http://here.test:{NOTHING}/"], check=False))
case("musl")(lambda: subprocess.run([TOOLS["musl"], "ok.test"], check=False, stdout=subprocess.DEVNULL))
case("musl-nx")(lambda: subprocess.run([TOOLS["musl"], "nx.test"], check=False, stdout=subprocess.DEVNULL))
case("node")(lambda: subprocess.run(["node", "-e", NODE], check=False))

# gethostbyname2 as old programs call it
BY_NAME = """
import ctypes
LIBC = ctypes.CDLL(None)
LIBC.gethostbyname(b"four.test")
LIBC.gethostbyname2(b"nx.test", 2)
"""
NODE = """
const { Resolver } = require('dns'); const r = new Resolver({ timeout: 1000, tries: 1 });
r.resolve4('four.test', () => r.resolve4('nx.test', () => {}));
"""


@case("connect")
def connect() -> None:
    """The story: the application's database is db1, and that is this very host."""
    try:
        socket.create_connection(("db1", NOTHING))
    except OSError:
        pass


@case("localhost")
def localhost() -> None:
    """Nobody is told that localhost is here."""
    try:
        socket.create_connection(("localhost", NOTHING))
    except OSError:
        pass


@case("refused")
def refused() -> None:
    servers(NOBODY)
    resolve("ok.test")


@case("second")
def second() -> None:
    """The first server is silent, the second answers: a second is lost."""
    servers(SILENT, SERVER)
    resolve("ok.test")


@case("resolver6")
def resolver6() -> None:
    servers(SERVER6)
    resolve("ok.test")


@case("search")
def search() -> None:
    servers(SERVER, search="a.test b.test")
    resolve("web")


@case("search-nx")
def search_nx() -> None:
    servers(SERVER, search="a.test b.test")
    resolve("nowhere")


@case("other-family")
def other_family() -> None:
    """First IPv6, then IPv4, as old programs do: nothing is wrong."""
    resolve("four.test", family=socket.AF_INET6)
    resolve("four.test", family=socket.AF_INET)


@case("numeric-only")
def numeric_only() -> None:
    """Is it an address? No. Nothing is looked up."""
    try:
        socket.getaddrinfo("nx.test", 80, flags=socket.AI_NUMERICHOST)
    except OSError:
        pass


@case("killed")
def killed() -> None:
    import threading

    servers(SILENT, options="timeout:5 attempts:1")
    threading.Timer(1.3, lambda: os.kill(os.getpid(), 9)).start()
    resolve("ok.test")


@case("thread")
def thread() -> None:
    import threading

    threads = [threading.Thread(target=resolve, args=(n,)) for n in ("ok.test", "nx.test")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


@case("brief")
def brief() -> None:
    """A process that does nothing else."""
    subprocess.run([sys.executable, "-Sc", "import _socket; _socket.getaddrinfo('four.test', 80)"], check=False)


# Programs that speak DNS themselves.


@case("own-udp")
def own_udp() -> None:
    """Unconnected, A and AAAA on one socket."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for n, kind in enumerate((A, AAAA)):
        s.sendto(query("ok.test", kind, n), (SERVER, 53))
    for _ in range(2):
        s.recvfrom(512)


@case("own-connected")
def own_connected() -> None:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((SERVER, 53))
    s.send(query("four.test"))
    s.recvmsg(512)


@case("own-tcp")
def own_tcp() -> None:
    """In pieces, as programs do; 60 addresses come back."""
    s = socket.create_connection((SERVER, 53))
    message = query("big.test")
    s.sendmsg([struct.pack("!H", len(message)), message])
    length = struct.unpack("!H", s.recv(2))[0]
    while length:
        length -= len(s.recv(min(length, 100)))


@case("own-nx")
def own_nx() -> None:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(query("nx.test"), (SERVER, 53))
    s.recvfrom(512)


@case("own-search")
def own_search() -> None:
    """Search domains tried one by one, as Go and c-ares do: found in the end, so nothing is wrong."""
    servers(SERVER, search="a.test b.test")
    for n, name in enumerate(("web.a.test", "web.b.test")):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect((SERVER, 53))
        s.send(query(name, A, n))
        s.recv(512)
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("10.9.9.6", 80))
    time.sleep(1)  # its resolv.conf is read while it is there


@case("own-refused")
def own_refused() -> None:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((NOBODY, 53))
    s.send(query("ok.test"))
    try:
        s.recv(512)
    except OSError:
        pass


@case("own-silent")
def own_silent() -> None:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1.3)
    s.connect((SILENT, 53))
    s.send(query("ok.test"))
    try:
        s.recv(512)
    except OSError:
        pass


@case("garbage")
def garbage() -> None:
    """To port 53, and no DNS at all."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for data in (b"", b"x", os.urandom(40), os.urandom(4000), query("ok.test")[:-3], b"\xff" * 600):
        s.sendto(data, (SILENT, 53))


def child(name: str, run: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        LIBC.prctl(15, b"n-" + name.encode(), 0, 0, 0)  # PR_SET_NAME
        run()
    finally:
        os._exit(0)


def main() -> None:
    if LIBC.unshare(0x40000000 | 0x20000):  # CLONE_NEWNET, CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    LIBC.mount(b"none", b"/", None, 0x44000, None)  # MS_REC, MS_PRIVATE
    addresses = [f"addr add {a}/32 dev lo" for a in (SERVER, NOBODY, SILENT)]
    for command in ("link set lo up", *addresses, f"addr add {SERVER6}/128 dev lo nodad", "route add default dev lo"):
        subprocess.run(["ip", *command.split()], check=True)
    TOOLS.update(folder=tempfile.mkdtemp(prefix="names-lab-"), musl=os.environ.get("NAMES_LAB_MUSL", ""))
    mounted("/etc/resolv.conf", f"nameserver {SERVER}\noptions timeout:1 attempts:2\n")
    mounted("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 db1 # the culprit\n")
    mounted("/etc/nsswitch.conf", "hosts: files dns\n")
    server = serve()
    wanted = sys.argv[1:] or list(CASES)
    missing = [n for n, tool in (("curl", "curl"), ("node", "node")) if shutil.which(tool) is None]
    missing += [] if TOOLS["musl"] and pathlib.Path(TOOLS["musl"]).exists() else ["musl", "musl-nx"]
    pids = {name: child(name, CASES[name]) for name in wanted if name not in missing}
    for name, pid in pids.items():
        os.waitpid(pid, 0)
        print(name, pid, flush=True)
    time.sleep(1)  # what finds nothing is told when nothing follows
    os.kill(server, 9)
    os.waitpid(server, 0)
    shutil.rmtree(TOOLS["folder"])


if __name__ == "__main__":
    main()
