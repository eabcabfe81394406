"""Packets as lines, as JSON, or as a file for tcpdump and Wireshark."""

from __future__ import annotations

from dsight.packets.decode import WITH_PORTS, ports
from dsight.packets.summary import NAMES, Summaries, ends
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, TextIO

    from dsight.packets.feed import Packet
    from dsight.packets.pcapng import Writer


def whose(packet: Packet) -> str:
    """NAME[PID], or why there is none."""
    if packet.owner is not None:
        return f"{printable(packet.owner.comm)}[{packet.owner.pid}]"
    return f"({packet.nobody})"


class Lines:
    """A line for each packet:  TIME in|out DEVICE PROCESS SOURCE > TARGET PROTOCOL ...

    `wall`: what to add to a packet's time, ns; `here`: the network namespace whose devices go by their name alone.
    """

    def __init__(self, out: TextIO, wall: int, here: int, *, verbose: bool = False, dump: bool = False) -> None:
        self._out = out
        self._wall = wall
        self._here = here
        self._dump = dump
        self._summaries = Summaries(verbose)
        self._second = -1
        self._clock = ""

    def show(self, packets: list[Packet]) -> None:
        """One batch."""
        if packets:
            self._out.write("".join([self._line(packet) for packet in packets]))
            self._out.flush()

    def _line(self, packet: Packet) -> str:
        device = printable(packet.device)
        if packet.netns != self._here:
            device += f"@{packet.netns}"
        direction = "in " if packet.received else "out"
        head = f"{self._time(packet.time)} {direction} {device:<8} {whose(packet):<22} "
        ip = packet.ip
        if ip is None:
            text = f"{len(packet.data)} of {packet.wire} bytes that are no IP packet"
        else:
            source, target = ends(ip)
            text = f"{source} > {target} {self._summaries.line(ip, packet.netns)}"
        return f"{head}{text}\n" + (hexdump(packet.data) if self._dump else "")

    def _time(self, time: int) -> str:
        from time import localtime, strftime

        second, rest = divmod(time + self._wall, 10**9)
        if second != self._second:
            self._second, self._clock = second, strftime("%H:%M:%S", localtime(second))
        return f"{self._clock}.{rest // 1000:06d}"


class JsonLines:
    """A JSON object for each packet, in ASCII."""

    def __init__(self, out: TextIO, wall: int) -> None:
        from json import JSONEncoder

        self._out = out
        self._wall = wall
        self._encode = JSONEncoder().encode
        self._summaries = Summaries()

    def show(self, packets: list[Packet]) -> None:
        """One batch."""
        if packets:
            self._out.write("".join([self._encode(self._object(packet)) + "\n" for packet in packets]))
            self._out.flush()

    def _object(self, packet: Packet) -> dict[str, object]:
        from dsight.connections.model import rfc3339

        who = packet.owner
        found: dict[str, object] = {
            "time": rfc3339(packet.time + self._wall),
            "direction": "in" if packet.received else "out",
            "device": printable(packet.device),
            "netns": packet.netns,
            "process": None if who is None else {"pid": who.pid, "comm": printable(who.comm)},
            "nobody": packet.nobody or None,
            "length": packet.wire,
        }
        ip = packet.ip
        if ip is not None:
            ends = ports(ip) if ip.protocol in WITH_PORTS else None
            found |= {
                "protocol": NAMES.get(ip.protocol, str(ip.protocol)),
                "source": {"address": ip.source, "port": ends[0] if ends else None},
                "target": {"address": ip.target, "port": ends[1] if ends else None},
                "says": self._summaries.line(ip, packet.netns),
            }
        return found


class File:
    """A pcapng file; each packet's comment is its process."""

    def __init__(self, out: BinaryIO, wall: int, writer: Writer) -> None:
        self._out = out
        self._wall = wall
        self._writer = writer
        out.write(writer.header)
        out.flush()

    def show(self, packets: list[Packet]) -> None:
        """One batch."""
        if packets:
            self._out.write(b"".join([self._block(packet) for packet in packets]))
            self._out.flush()

    def _block(self, p: Packet) -> bytes:
        return self._writer.packet(p.time + self._wall, p.netns, p.device, p.received, p.data, p.wire, whose(p))


def hexdump(data: bytes) -> str:
    """As tcpdump -X: offset, octets, what of them is printable ASCII."""
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        octets = " ".join([part[i : i + 2].hex() for i in range(0, len(part), 2)])
        text = "".join([chr(c) if 0x20 <= c < 0x7F else "." for c in part])
        lines.append(f"\t0x{at:04x}:  {octets:<39}  {text}\n")
    return "".join(lines)
