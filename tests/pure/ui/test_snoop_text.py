"""Packets as lines, JSON and blocks of a file: names that come from anybody do no harm."""

from __future__ import annotations

import io
import json
import struct
from _socket import inet_aton

from dsight.connections.host import Owner
from dsight.packets.decode import parse
from dsight.packets.feed import Packet
from dsight.packets.pcapng import Writer
from dsight.ui.snoop_text import File, JsonLines, Lines

DATA = struct.pack(">BBHHHBBH", 0x45, 0, 29, 7, 0, 64, 17, 0) + inet_aton("10.0.0.1") + inet_aton("10.0.0.2")
DATA += struct.pack(">HHHH", 4000, 9, 9, 0) + b"x"
EVIL = Owner(7, "a\x1b[2J\udcff\n")


def packet(owner: Owner | None, nobody: str = "", received: bool = False, data: bytes = DATA) -> Packet:
    return Packet(5, owner, nobody, received, 99, "eth0", 29, data, parse(data, 29))


def test_a_line() -> None:
    out = io.StringIO()
    face = Lines(out, 10**18, 99, dump=True)
    face.show([packet(EVIL), packet(None, "kernel", received=True, data=b"?")])
    first, *dump, second, last = out.getvalue().splitlines()
    assert first.partition(".")[2] == (
        "000000 out eth0     a\\x1b[2J\\xff\\x0a[7]    10.0.0.1:4000 > 10.0.0.2:9 udp length 1"
    )
    assert dump[0] == "\t0x0000:  4500 001d 0007 0000 4011 0000 0a00 0001  E.......@......."
    assert second.endswith("in  eth0     (kernel)               1 of 29 bytes that are no IP packet")
    assert last == "\t0x0000:  3f                                       ?"


def test_a_device_elsewhere_has_its_namespace() -> None:
    out = io.StringIO()
    Lines(out, 0, 1).show([packet(None, "unknown")])
    assert " eth0@99  (unknown) " in out.getvalue()


def test_json() -> None:
    out = io.StringIO()
    JsonLines(out, 10**18).show([packet(EVIL), packet(None, "forwarded", received=True)])
    first, second = map(json.loads, out.getvalue().splitlines())
    assert out.getvalue().isascii()
    assert first == {
        "time": "2001-09-09T01:46:40.000000005Z", "direction": "out", "device": "eth0", "netns": 99,
        "process": {"pid": 7, "comm": "a\\x1b[2J\\xff\\x0a"}, "nobody": None, "length": 29, "protocol": "udp",
        "source": {"address": "10.0.0.1", "port": 4000}, "target": {"address": "10.0.0.2", "port": 9},
        "says": "udp length 1",
    }  # fmt: skip
    assert (second["process"], second["nobody"], second["direction"]) == (None, "forwarded", "in")


def test_blocks_of_a_file() -> None:
    out = io.BytesIO()
    File(out, 1 << 32, Writer("dsight", 512)).show([packet(EVIL), packet(EVIL, received=True)])
    data = out.getvalue()
    kinds, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        kinds.append(kind)
        last = data[at : at + size]
        at += size
    assert kinds == [0x0A0D0D0A, 1, 6, 6]  # the interface once
    assert struct.unpack_from("=5I", last, 8) == (0, 1, 5, 29, 29)
    assert b"a\\x1b[2J\\xff\\x0a[7]" in last
