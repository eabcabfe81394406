"""What is made of packets' bytes, whatever they are."""

from __future__ import annotations

import struct
from _socket import AF_INET6, inet_aton, inet_pton

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.packets.decode import inner, parse, ports
from dsight.packets.summary import Summaries, ends


def v4(protocol: int, payload: bytes, fragment: int = 0, source: str = "10.0.0.1", target: str = "10.0.0.2") -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0)
    return head + inet_aton(source) + inet_aton(target) + payload


def v6(kind: int, payload: bytes) -> bytes:
    head = struct.pack(">IHBB", 0x60000000, len(payload), kind, 64)
    return head + inet_pton(AF_INET6, "2001:db8::1") + inet_pton(AF_INET6, "2001:db8::2") + payload


def tcp(flags: int, seq: int, ack: int, data: bytes = b"", options: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", 4000, 80, seq, ack, (20 + len(options)) << 2, flags, 512, 0, 0) + options + data


def udp(source: int, target: int, data: bytes) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(data), 0) + data


def said(packet: bytes, verbose: bool = False) -> str:
    ip = parse(packet, len(packet))
    assert ip is not None
    return "{} > {} ".format(*ends(ip)) + Summaries(verbose).line(ip, 1)


def test_numbers_of_a_connection_are_counted_from_its_beginning() -> None:
    lines = Summaries()

    def line(packet: bytes) -> str:
        ip = parse(packet, len(packet))
        assert ip is not None
        return lines.line(ip, 1)

    options = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307".replace(" ", ""))
    assert line(v4(6, tcp(0x02, 0xFFFFFFFF, 0, options=options))) == (
        "tcp [S] seq 4294967295, win 512, options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0"
    )
    assert line(v4(6, tcp(0x18, 0, 5001, b"hello"))) == "tcp [P.] seq 1:6, ack 1, win 512, length 5"
    assert line(v4(6, tcp(0x11, 5, 5001))) == "tcp [F.] seq 6, ack 1, win 512, length 0"
    assert line(v4(6, tcp(0x10, 6, 5011))) == "tcp [.] ack 11, win 512, length 0"


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (v4(17, udp(4000, 9, b"x" * 10)), "10.0.0.1:4000 > 10.0.0.2:9 udp length 10"),
        (v6(17, udp(4000, 9, b"x")), "[2001:db8::1]:4000 > [2001:db8::2]:9 udp length 1"),
        (v6(0, bytes.fromhex("1100000000000000") + udp(1, 2, b"")), "[2001:db8::1]:1 > [2001:db8::2]:2 udp length 0"),
        (v4(1, bytes.fromhex("0800 0000 0007 0002")), "10.0.0.1 > 10.0.0.2 icmp echo request id 7, seq 2, length 8"),
        (v4(1, bytes.fromhex("0303 0000 0000 0000") + v4(17, udp(5, 53, b""))),
         "10.0.0.1 > 10.0.0.2 icmp port unreachable, of udp 10.0.0.1:5 > 10.0.0.2:53, length 36"),
        (v4(1, bytes.fromhex("0304 0000 0000 0578")),
         "10.0.0.1 > 10.0.0.2 icmp fragmentation needed (mtu 1400), length 8"),
        (v6(58, bytes.fromhex("87000000 00000000") + inet_pton(AF_INET6, "fe80::1")),
         "2001:db8::1 > 2001:db8::2 icmp6 neighbour solicitation of fe80::1, length 24"),
        (v4(17, udp(4000, 9, b"x" * 10), fragment=0x2000),
         "10.0.0.1:4000 > 10.0.0.2:9 udp length 10, fragment 7 at 0+"),
        (v4(17, b"x" * 10, fragment=185), "10.0.0.1 > 10.0.0.2 udp length 10, fragment 7 at 1480"),
        (v6(44, struct.pack(">BBHI", 17, 0, 1480, 99) + b"abc"),
         "2001:db8::1 > 2001:db8::2 udp length 3, fragment 99 at 1480"),
        (v4(47, b"abcd"), "10.0.0.1 > 10.0.0.2 gre length 4"),
        (v4(200, b""), "10.0.0.1 > 10.0.0.2 protocol 200 length 0"),
        (v4(6, b"abc"), "10.0.0.1 > 10.0.0.2 tcp length 3"),
    ],
)  # fmt: skip
def test_lines(packet: bytes, line: str) -> None:
    assert said(packet) == line


def test_a_name_server_s_answer() -> None:
    question = b"\x03db1\x07example\x00" + struct.pack(">HH", 1, 1)
    answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + inet_aton("192.0.2.7")
    data = struct.pack(">6H", 9, 0x8180, 1, 1, 0, 0) + question + answer
    assert said(v4(17, udp(53, 999, data))).endswith(f"udp dns 9 A? db1.example = 192.0.2.7, length {len(data)}")
    none = struct.pack(">6H", 9, 0x8183, 1, 0, 0, 0) + question
    assert "dns 9 A? db1.example = NXDOMAIN" in said(v4(17, udp(53, 999, none)))
    evil = data.replace(b"db1", b"\x1b[2")
    assert "\x1b" not in said(v4(17, udp(53, 999, evil)))


def test_what_is_no_packet() -> None:
    for data in (b"", b"\x45", b"\x42" + bytes(40), bytes(60), b"\x60" + bytes(38)):
        assert parse(data, len(data)) is None


def test_more_than_ip_can_say() -> None:
    """A packet of more than 64 KiB (BIG TCP) has 0 for its length."""
    ip = parse(v6(6, b"")[:4] + bytes(2) + v6(6, tcp(0x10, 1, 1))[6:], 100_000)
    assert ip is not None and ip.length == 99_960


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([1, 2, 6, 17, 44, 58, 60]), st.integers(0, 0xFFFF), st.booleans())
def test_nothing_anybody_sends_does_harm(data: bytes, protocol: int, fragment: int, six: bool) -> None:
    packet = v6(protocol, data) if six else v4(protocol, data, fragment)
    lines = Summaries(verbose=True)
    for size in (len(packet), len(packet) // 2, 41):
        ip = parse(packet[:size], len(packet))
        if ip is not None:
            text = lines.line(ip, 1) + "".join(ends(ip))
            assert text.isascii() and text.isprintable()
            ports(ip)
            inner(ip)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_nor_do_bytes_that_are_no_packet(data: bytes) -> None:
    ip = parse(data, len(data))
    if ip is not None:
        assert Summaries(verbose=True).line(ip, 1).isprintable()
