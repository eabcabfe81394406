"""Files of packets as tcpdump and Wireshark read them, with the process in each packet's comment.

draft-ietf-opsawg-pcapng: a section header; an interface block for each device of each network namespace, in front of
its first packet; packet blocks.  Times are in nanoseconds.  Packets begin with the IP header (LINKTYPE_RAW), since
what a device puts before it differs, and is not there yet when IP sends.
"""

from __future__ import annotations

from struct import pack

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_RAW = 101  # LINKTYPE_RAW: IPv4 or IPv6, as the first four bits say
_END, _COMMENT = 0, 1  # options of any block; ...
_SECTION_APPLICATION = 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_PACKET_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2


class Writer:
    """The blocks of one file; the caller writes them."""

    def __init__(self, application: str, snap: int) -> None:
        self._snap = snap
        self._interfaces: dict[tuple[int, str], int] = {}  # (network namespace, device) -> number
        text = _option(_SECTION_APPLICATION, application.encode())
        self.header = _block(_SECTION, pack("=IHHq", 0x1A2B3C4D, 1, 0, -1) + text + _option(_END, b""))

    def packet(
        self, time: int, netns: int, device: str, received: bool, data: bytes, wire: int, comment: str
    ) -> bytes:  # fmt: skip
        """A packet; where its device is new, that before it.  `time`: ns since 1970; `wire`: octets there were."""
        key = (netns, device)
        number = self._interfaces.get(key)
        head = b""
        if number is None:
            number = self._interfaces[key] = len(self._interfaces)
            head = self._interface(netns, device)
        body = pack("=IIIII", number, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF, len(data), max(wire, len(data)))
        options = _option(_COMMENT, comment.encode("utf-8", "backslashreplace")) if comment else b""
        options += _option(_PACKET_FLAGS, pack("=I", _INBOUND if received else _OUTBOUND))
        return head + _block(_PACKET, body + _padded(data) + options + _option(_END, b""))

    def _interface(self, netns: int, device: str) -> bytes:
        options = _option(_IF_NAME, device.encode("utf-8", "backslashreplace"))
        options += _option(
            _IF_DESCRIPTION, f"{device} in network namespace {netns}".encode("utf-8", "backslashreplace")
        )
        options += _option(_IF_TSRESOL, b"\x09")  # 10**-9 s
        return _block(_INTERFACE, pack("=HHI", _RAW, 0, self._snap) + options + _option(_END, b""))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(kind: int, value: bytes) -> bytes:
    return pack("=HH", kind, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return pack("=II", kind, size) + body + pack("=I", size)
