"""dsight snoop on Linux 6.1: no table of UDP sockets by namespace, nothing told of calls that send and receive."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.vm

TRAFFIC = """
import os, socket
def named(name): open("/proc/self/comm", "w").write(name)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 7002))
tcp = socket.create_server(("127.0.0.1", 7001))
if os.fork() == 0:
    named("client")
    with socket.create_connection(("127.0.0.1", 7001)) as c:
        c.sendall(b"hello there")
        c.recv(9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"x", ("127.0.0.1", 7002))
        s.recv(9)
    os._exit(0)
named("server")
c, _ = tcp.accept()
c.sendall(c.recv(99)[:1])
c.close()
udp.sendto(*udp.recvfrom(9))
os.wait()
"""


def test_both_sides(vm):
    (vm.folder / "both.py").write_text(TRAFFIC)
    vm.run("ip link set lo up")
    done = vm.run(f'P={sys.executable}; $P -m dsight.ui.cli snoop -x -c "$P {vm.folder}/both.py"', timeout=180)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.split("\n") if line and not line.startswith("\t")]
    whose = {(way, who.partition("[")[0], source == "127.0.0.1:7001", kind) for _, way, _, who, source, _, _, kind, *_
             in lines if kind == "tcp"}  # fmt: skip
    assert {("out", "client", False), ("in", "client", True)} <= {row[:3] for row in whose}
    assert "hello there" in done.stdout  # payload, which lies in pages
    udp = [(way, who.partition("[")[0]) for _, way, _, who, _, _, _, kind, *_ in lines if kind == "udp"]
    assert udp[0] == ("out", "client") and ("in", "client") in udp and ("out", "server") in udp
