"""pcap(): packets as files that tcpdump and Wireshark read, or as text.

The file format is draft-ietf-opsawg-pcap: a header with the link type, then each packet behind its
time (seconds, nanoseconds), its bytes in the file and its bytes on the wire.
"""

from __future__ import annotations

import struct

_FILE = struct.Struct("=IHHiIII")  # magic, version 2.4, reserved, reserved, most bytes of a packet, link type
_PACKET = struct.Struct("=IIII")
_NANOSECONDS = 0xA1B23C4D  # the magic of files whose times have nanoseconds
_MOST = 0x40000  # what tcpdump says; packets hold less


class Capture:
    """What one file needs to be remembered for: the link type it was begun with."""

    def __init__(self) -> None:
        self._links: dict[str, int] = {}  # by path

    def knows(self, path: str) -> bool:
        """Whether this file holds packets, so that it is gone on with when it is opened again."""
        return path in self._links

    def packet(self, path: str, time: int, wire: int, data: bytes, link: int) -> bytes | None:
        """What to write to this file for a packet (`time`: ns since 1970), a new file's header included;
        None where the file has been begun with another link type."""
        head = b""
        if path not in self._links:
            self._links[path] = link
            head = _FILE.pack(_NANOSECONDS, 2, 4, 0, 0, _MOST, link)
        if self._links[path] != link:
            return None
        seconds, nanoseconds = divmod(time, 10**9)
        return head + _PACKET.pack(seconds & 0xFFFFFFFF, nanoseconds, len(data), wire) + data
