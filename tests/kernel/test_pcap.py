"""pcap(): files that tcpdump reads, and text."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from dtrace_run import DTRACE

pytestmark = pytest.mark.kernel

PORT = 47123
MINE = 'rawtp:::net_dev_queue /execname == "pcap-test"/'  # the sender's thread is called so


def traced(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a script while a datagram goes to the loopback interface every 50 ms."""
    done = threading.Event()

    def send() -> None:
        Path("/proc/thread-self/comm").write_text("pcap-test")
        kind = (socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(*kind) as s, socket.socket(*kind) as receiver:
            receiver.bind(("127.0.0.1", PORT))  # else ICMP would complain
            while not done.wait(0.05):
                s.sendto(b"hello packet", ("127.0.0.1", PORT))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return subprocess.run([*DTRACE, *args, "-qwn", script], capture_output=True, text=True, timeout=60)
    finally:
        done.set()
        sender.join()


def packets(data: bytes) -> tuple[int, list[tuple[float, int, bytes]]]:
    """Link type; (time, bytes on the wire, bytes) of each packet."""
    magic, major, minor, _, _, _, link = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor) == (0xA1B23C4D, 2, 4)
    found, at = [], 24
    while at < len(data):
        seconds, nanoseconds, kept, wire = struct.unpack_from("=IIII", data, at)
        found.append((seconds + nanoseconds / 1e9, wire, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return link, found


def test_packets_go_into_the_file_of_freopen_which_is_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "out.pcap"
    before = time.time()
    done = traced(
        f'{MINE} {{ freopen("%s", "{file}"); pcap(args[0], PCAP_IP); freopen(""); n++; }}'
        "rawtp:::net_dev_queue /n > 2/ { exit(0); }"
    )
    assert done.returncode == 0, done.stderr
    link, found = packets(file.read_bytes())
    assert link == 101
    assert len(found) == 3
    for at, wire, data in found:
        assert before - 1 < at < time.time() + 1
        assert wire == len(data) == 40
        assert data[0] == 0x45
        assert data[22:24] == PORT.to_bytes(2, "big")
        assert data.endswith(b"hello packet")
    if shutil.which("tcpdump"):
        text = subprocess.run(["tcpdump", "-nr", str(file)], capture_output=True, text=True, timeout=30).stdout
        assert text.count(f"127.0.0.1.{PORT}: UDP, length 12") == 3


def test_pcapsize_bounds_what_is_kept_not_what_was_on_the_wire(tmp_path: Path) -> None:
    file = tmp_path / "out.pcap"
    done = traced(f'{MINE} {{ freopen("%s", "{file}"); pcap(args[0], PCAP_ETHER); exit(0); }}', "-x", "pcapsize=20")
    assert done.returncode == 0, done.stderr
    link, found = packets(file.read_bytes())
    assert link == 1
    assert [(wire, len(data)) for _, wire, data in found] == [(54, 20)]
    assert found[0][2][12:14] == b"\x08\x00"


def test_without_a_file_packets_are_text() -> None:
    done = traced(f"{MINE} {{ pcap(args[0], PCAP_IP); exit(0); }}")
    assert "0123456789abcdef" in done.stdout
    assert done.stdout.rstrip().endswith("packet")


def test_one_file_has_one_protocol(tmp_path: Path) -> None:
    file = tmp_path / "out.pcap"
    done = traced(f'{MINE} {{ freopen("%s", "{file}"); pcap(args[0], PCAP_IP); pcap(args[0], PCAP_ETHER); exit(0); }}')
    assert "packets of another protocol" in done.stderr
    assert len(packets(file.read_bytes())[1]) == 1


def test_pcapsize_has_bounds() -> None:
    done = subprocess.run(
        [*DTRACE, "-x", "errtags", "-x", "pcapsize=1m", "-en", "rawtp:::net_dev_queue { pcap(args[0], PCAP_IP); }"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "[D_PCAP_SIZE]" in done.stderr
