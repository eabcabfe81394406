"""dsight snoop: each packet as a capture has it, with the process it belongs to."""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import packet_run
import pytest

from dsight.connections.host import KernelHost
from dsight.machine import Machine
from dsight.packets.decode import ports
from dsight.packets.feed import Feed, Packet
from dsight.packets.pages import constant
from dsight.packets.script import MOST, Filter

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("clean")]

LAB = Path(__file__).parent / "snoop_lab.py"
SNOOP = [sys.executable, "-m", "dsight.ui.cli", "snoop"]


class Lab:
    """The lab's process; its network namespace."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-IS", LAB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.zone = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        return found

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)


@pytest.fixture
def lab() -> Iterator[Lab]:
    one = Lab()
    yield one
    one.close()


def snooped(lab: Lab, **wanted: Any) -> tuple[dict[str, Any], list[Packet], int]:
    """The exchange; the packets shown of it; how many records the kernel left of packets."""
    machine = Machine()
    taken = 0

    class Counted(Feed):
        def _packet(self, *values: Any) -> None:
            nonlocal taken
            taken += 1
            super()._packet(*values)

    try:
        with Counted(machine, Filter(netns=frozenset({lab.zone}), **wanted), KernelHost()) as feed:
            said = lab.run()
            packets = feed.stop()
            assert not feed.lost and not feed.unread
    finally:
        machine.close()
    return said, packets, taken


def test_each_packet_once_with_the_processes_of_both_sides_though_they_are_gone(lab: Lab) -> None:
    said, packets, _ = snooped(lab)
    ours = [p for p in packets if p.ip is not None and p.ip.protocol in (1, 6, 17, 58)]
    seen = [("in" if p.received else "out", p.ip.version, p.ip.protocol, p.wire, p.data) for p in ours if p.ip]
    wanted = [(way, ip, kind, len(data) // 2, bytes.fromhex(data)) for way, ip, kind, data in said["captured"]]
    assert sorted(map(headers, seen)) == sorted(map(headers, wanted))
    whose: collections.Counter[str] = collections.Counter()
    for p in ours:
        assert p.ip is not None and p.device == "lo" and p.netns == lab.zone
        who = p.nobody if p.owner is None else f"{p.owner.comm}[{p.owner.pid}]"
        ends = ports(p.ip) or (0, 0)
        local, remote = ends[::-1] if p.received else ends
        if local in (5001, 5002):
            assert who == f"snoop-server[{said['server']}]" or who == f"python[{said['lab']}]" and p.ip.protocol == 6
        elif local not in (0, 53, 5999):
            assert remote in (53, 5001, 5002, 5999) and who == f"snoop-client[{said['client']}]"
        whose[who] += 1
    assert not whose["unknown"]
    assert whose["kernel"] == 1  # the ICMP message that nobody listens there, as it is sent
    assert whose["no socket"] == 3  # the query and the SYN as they arrive, and the RST
    assert whose[f"snoop-server[{said['server']}]"] > 5


def sumless(row: tuple[str, int, int, int, bytes]) -> tuple[Any, ...]:
    """Without checksums, which a capture may see before they are complete."""
    way, version, protocol, wire, data = row
    at = {6: 16, 17: 6}.get(protocol)
    if at is not None:
        at += 20 if version == 4 else 40
        data = data[:at] + data[at + 2 :]
    return way, version, protocol, wire, data


def headers(row: tuple[str, int, int, int, bytes]) -> tuple[Any, ...]:
    """Without what TCP carries, either."""
    way, version, protocol, wire, data = sumless(row)
    at = 20 if version == 4 else 40
    return way, version, protocol, wire, data[: at + (data[at + 12] >> 4) * 4 - 2] if protocol == 6 else data


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({"comms": ("snoop-cl*",)}, lambda p: p.owner is not None and p.owner.comm == "snoop-client"),
        ({"ports": frozenset({53, 5002})}, lambda p: p.ip.protocol == 17),
        ({"hosts": (ipaddress.ip_network("::/64"),)}, lambda p: p.ip.version == 6),
        ({"hosts": (ipaddress.ip_network("127.0.0.0/9"),), "protocols": frozenset({1, 58})},
         lambda p: p.ip.protocol == 1),
        ({"devices": ("eth7",)}, lambda p: False),
        ({"direction": "out"}, lambda p: not p.received),
        ({"comms": ("snoop-c?ient",)}, lambda p: p.owner is not None and p.owner.comm == "snoop-client"),
        ({"uids": frozenset({os.getuid()})}, lambda p: p.owner is not None),
        ({"uids": frozenset({4242})}, lambda p: False),
    ],
)  # fmt: skip
def test_a_filter_takes_those_only_and_in_the_kernel(lab: Lab, wanted: dict[str, Any], shown: Any) -> None:
    said, packets, taken = snooped(lab, **wanted)
    assert all(shown(p) for p in packets)
    assert bool(packets) == ("devices" not in wanted and 4242 not in wanted.get("uids", ()))
    # what the kernel passes in vain: packets that are nobody's (two SYNs, the RST, ICMP) where processes are asked for
    in_kernel = wanted.get("comms") != ("snoop-c?ient",)
    assert taken - len(packets) <= (6 if {"comms", "uids"} & set(wanted) else 0) or not in_kernel
    if "hosts" in wanted and "protocols" in wanted:  # the error, received, is of the process that sent the query
        assert [p.owner.pid if p.owner else p.nobody for p in packets] == ["kernel", said["client"]]


def test_fragments_and_forwarded_packets_as_often_as_a_capture_shows() -> None:
    machine = Machine()
    seen: dict[str, Any] = {}
    try:
        with packet_run.Lab() as lab, Feed(machine, Filter(netns=frozenset({int(lab.zone)})), KernelHost()) as feed:
            for case in ("fragments", "forwarded", "pings"):
                said = lab.run(case)
                packets = feed.read(5)
                counted = collections.Counter(
                    (p.device, "receive" if p.received else "send", p.ip.version, p.data[9 if p.ip.version == 4 else 6])
                    for p in packets
                    if p.ip is not None
                )
                kinds = ((4, 1), (4, 17), (6, 17), (6, 44))  # the kernel sends others when it likes
                captured = {tuple(key): n for *key, n in said["captured"]}
                assert {k: n for k, n in counted.items() if k[2:] in kinds} == {
                    k: n for k, n in captured.items() if k[2:] in kinds
                }
                seen[case] = packets
            assert not feed.lost
    finally:
        machine.close()
    later = [p for p in seen["fragments"] if p.ip is not None and p.ip.offset]
    assert later and all(p.owner is not None and p.owner.pid == lab.pid for p in later)
    forwarded = [p for p in seen["forwarded"] if p.nobody == "forwarded"]
    assert {(p.device, p.received) for p in forwarded} == {("v0", True), ("d0", False)}
    replies = [p for p in seen["pings"] if p.ip and p.ip.protocol == 1 and p.received and p.ip.payload[0] == 0]
    assert len(replies) == 2 and all(p.owner is not None and p.owner.pid == lab.pid for p in replies)


def test_a_command_with_a_file_for_wireshark(tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    command = f"unshare -n {sys.executable} -IS {LAB}"
    done = subprocess.run([*SNOOP, "-w", str(file), "-c", command], input="go\n", capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    zone, line = done.stdout.splitlines()
    said = json.loads(line)
    interfaces, packets = pcapng(file.read_bytes())
    assert [(i[1], i[2]) for i in interfaces] == [("lo", f"lo in network namespace {zone}")]
    assert f"{len(packets)} packets were written" in done.stderr
    inside = [p for p in packets if p[4] not in ("(kernel)", "(no socket)")]
    assert {p[4] for p in inside} <= {
        f"snoop-server[{said['server']}]", f"snoop-client[{said['client']}]", f"python[{said['lab']}]",
    }  # fmt: skip
    whole = [(way, ip, kind, len(data) // 2, bytes.fromhex(data)) for way, ip, kind, data in said["captured"]]
    shown = [(way, data[0] >> 4, data[9 if data[0] >> 4 == 4 else 6], wire, data) for _, way, data, wire, _ in inside]
    assert not collections.Counter(map(headers, shown)) - collections.Counter(map(headers, whole))
    with contextlib.closing(Machine()) as machine:
        found = constant(machine) is not None
    if found:  # what TCP carries too, though it lies elsewhere in memory than the headers
        assert not collections.Counter(map(sumless, shown)) - collections.Counter(map(sumless, whole))
        assert sum(data.endswith(b"hello" * 200) and kind == 6 for _, _, kind, _, data in shown) == 4
    if shutil.which("tcpdump"):
        read = subprocess.run(["tcpdump", "-nr", str(file)], capture_output=True, text=True, timeout=30)
        assert len(read.stdout.splitlines()) == len(packets), read.stderr
        assert "127.0.0.1.53: 4711+ A? db1.example. (29)" in read.stdout
    if shutil.which("capinfos"):
        assert subprocess.run(["capinfos", str(file)], capture_output=True, timeout=30).returncode == 0


def pcapng(data: bytes) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, bytes, int, str]]]:
    """Interfaces: link type, name, description.  Packets: time, direction, bytes, bytes on the wire, comment."""
    interfaces, packets, at = [], [], 0
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        assert size % 4 == 0 and struct.unpack_from("=I", data, at + size - 4) == (size,)
        body = data[at + 8 : at + size - 4]
        if kind == 1:
            found = options(body[8:])
            assert found[9] == b"\x09"
            interfaces.append((struct.unpack_from("=H", body)[0], found[2].decode(), found[3].decode()))
        elif kind == 6:
            number, high, low, kept, wire = struct.unpack_from("=5I", body)
            assert number < len(interfaces)
            found = options(body[20 + (kept + 3) // 4 * 4 :])
            way = {1: "in", 2: "out"}[struct.unpack("=I", found[2])[0]]
            packets.append((high << 32 | low, way, body[20 : 20 + kept], wire, found[1].decode()))
        at += size
    return interfaces, packets


def options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while True:
        kind, size = struct.unpack_from("=HH", data, at)
        if kind == 0:
            return found
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4


def test_sockets_older_than_the_trace_are_of_who_held_them() -> None:
    """Of a process that is gone when the packets are read, too; the filter by process takes them."""
    with subprocess.Popen(
        [sys.executable, "-ISc", OLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as old:
        assert old.stdin is not None and old.stdout is not None
        zone = int(old.stdout.readline())
        for wanted in (Filter(netns=frozenset({zone})), Filter(pids=frozenset({old.pid}))):
            with contextlib.closing(Machine()) as machine, Feed(machine, wanted, KernelHost()) as feed:
                old.stdin.write("go\n")
                old.stdin.flush()
                old.stdout.readline()
                if wanted.pids:
                    old.stdin.close()
                    old.wait(20)
                packets = feed.stop()
            assert {p.data[9] for p in packets} == {6, 17}
            unknown = [p for p in packets if p.owner is None or p.owner.pid != old.pid]
            # of the old connection: what arrives before the receiving socket has sent
            assert len(unknown) <= 1 and all(p.received and not p.data[33] & 2 for p in unknown)


OLD = """
import ctypes, os, socket, subprocess, sys
ctypes.CDLL(None).unshare(0x40000000)  # CLONE_NEWNET
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", 7001))
client = socket.create_connection(("127.0.0.1", 7001))
accepted, _ = server.accept()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 7002))
print(os.stat("/proc/self/ns/net").st_ino, flush=True)
for _ in sys.stdin:
    client.send(b"x")
    accepted.recv(9)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"x", ("127.0.0.1", 7002))
    udp.recv(9)
    another = socket.create_connection(("127.0.0.1", 7001))
    server.accept()[0].close()
    print(flush=True)
"""


def test_what_tcp_carries_from_all_its_pages() -> None:
    data = random.Random(7).randbytes(400_000)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.closing(Machine()) as machine:
        if constant(machine) is None:
            pytest.skip("pages are not found on this kernel")
        port = server.getsockname()[1]
        wanted = Filter(ports=frozenset({port}), direction="out")
        with Feed(machine, wanted, KernelHost(), snap=MOST, payload=True) as feed:
            with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as accepted:
                sender = threading.Thread(target=client.sendall, args=(data,))
                sender.start()
                got = 0
                while got < len(data):
                    got += len(accepted.recv(1 << 20))
                sender.join()
            packets = [p for p in [*feed.read(0), *feed.stop()] if p.ip is not None and ports(p.ip)[1:] == (port,)]
            assert not feed.lost and not feed.unread
    first = int.from_bytes(packets[0].data[24:28], "big") + 1
    largest = 0
    for p in packets[1:]:
        at = (int.from_bytes(p.data[24:28], "big") - first) & 0xFFFFFFFF
        carried = p.data[20 + (p.data[32] >> 4) * 4 :]
        assert carried == data[at : at + len(carried)]
        assert len(p.data) == min(p.wire, MOST)
        largest = max(largest, len(carried))
    assert largest > 40_000  # more than a piece


def test_packets_that_are_lost_are_counted() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.connect(one.getsockname())
        wanted = Filter(ports=frozenset({one.getsockname()[1]}))
        with contextlib.closing(Machine()) as machine, Feed(machine, wanted, KernelHost(), buffer=1 << 16) as feed:
            for _ in range(1000):
                two.send(b"x" * 60)
                one.recv(99)
            packets = feed.stop()
            assert feed.lost
            assert 2000 <= len(packets) + feed.lost < 2500  # with names of processes, others' too


def test_lines_end_after_so_many(lab: Lab) -> None:
    with subprocess.Popen(
        [*SNOOP, "--netns", str(lab.zone), "--port", "53", "--count", "2", "-x"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as snoop:  # fmt: skip
        assert snoop.stderr is not None and "watching packets" in snoop.stderr.readline()
        said = lab.run()
        out, _ = snoop.communicate(timeout=60)
    assert snoop.returncode == 0
    first, second = [line for line in out.splitlines() if not line.startswith("\t")]
    device, client = f"lo@{lab.zone}", f"snoop-client[{said['client']}]"
    assert first.split()[1:4] == ["out", device, client]
    assert first.endswith("> 127.0.0.1:53 udp dns 4711 A? db1.example, length 29")
    assert second.split()[1:5] == ["in", device, "(no", "socket)"]
    assert "........db1.exam" in out or "db1" in out


def test_a_device_that_is_not_here_is_remarked() -> None:
    done = subprocess.run([*SNOOP, "-i", "nosuch0", "--for", "0.1"], capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout == b""
    assert done.stderr.startswith(b"dsight: snoop: there is no device nosuch0 here by now; there are: ")


def test_a_pipe_gets_packets_only_and_a_full_disk_is_told() -> None:
    code = "import socket; s = socket.socket(2, 2); s.sendto(b'x', ('127.0.0.1', 9)); print('said')"
    line = f'unshare -n sh -c "ip link set lo up && {sys.executable} -ISc \\"{code}\\""'
    done = subprocess.run([*SNOOP, "-w", "-", "-c", line], capture_output=True, timeout=60)
    assert done.returncode == 0 and b"said\n" in done.stderr
    _, packets = pcapng(done.stdout)
    assert [p[1] for p in packets if p[2][9] == 17] == ["out"]
    done = subprocess.run([*SNOOP, "-w", "/dev/full", "-c", line], capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stderr.endswith(b"dsight: cannot write: No space left on device\n")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--proto", "ipx"], "--proto: there is no protocol 'ipx'"),
        (["--host", "db1"], "--host: 'db1' is not an address or a network"),
        (["-i", 'a"b'], "-i: 'a\"b' is not the name of a device"),
        (["-s", "7"], "-s: between 40 and 65536 bytes"),
        (["-c", "true", "-p", "1"], "-c and -p do not go together"),
    ],
)
def test_wrong_command_lines(args: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    from dsight.ui.cli import main

    assert main(["snoop", *args]) == 2
    assert complaint in capsys.readouterr().err
