"""The running trace: the D program of packets.script loaded, its records as packets."""

from __future__ import annotations

from dsight.lang.catalog import Probe
from dsight.packets.choice import Choice
from dsight.packets.decode import Ip, parse
from dsight.packets.owners import Owners
from dsight.packets.script import Filter, script
from dsight.providers import udp
from dsight.tracing import Feed as _Feed
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

    from dsight.connections.host import KernelHost, Owner
    from dsight.machine import Machine

_PIECES_COME = 2_000_000  # ns after a packet's own record, at most


class Packet(Value):
    """One packet as IP sent or received it.  `data`: what was captured, from the IP header on, of `wire` octets."""

    time: int  # ns, of the clock that does not stop for changes of the time of day (CLOCK_MONOTONIC)
    owner: Owner | None  # whose it is
    nobody: str  # where that is None: "forwarded" (not for this host, nor from it), "kernel", "no socket", "unknown"
    received: bool
    netns: int
    device: str
    wire: int
    data: bytes
    ip: Ip | None  # None where the bytes are none that can be read


class Feed(_Feed):
    """One trace.  `snap`: bytes of a packet, at most; `payload`: those in pages
    too, which is most of what TCP carries.  `lost` counts packets that were dropped before they were read, `unread`
    those whose memory could not be read."""

    def __init__(
        self, here: Machine, wanted: Filter, host: KernelHost, *, snap: int = 512, buffer: int = 1 << 25,
        payload: bool = False,
    ) -> None:  # fmt: skip
        where: int | None = None
        if payload:
            from dsight.packets import pages

            where = pages.constant(here)
        calls = here.registry.args(Probe(0, "rawtp", "", "", "sock_send_length")) is not None
        btf = here.registry.btf
        ports = btf.type("struct", "inet_timewait_death_row")
        bound = any(m.name == "hashinfo" for m in getattr(ports, "members", ()))
        program = script(wanted, snap, buffer, udp_table=udp.has_table(btf), calls=calls, bound=bound, pages=where)
        super().__init__(here, "snoop", program.text, program.records)
        self.unread = 0
        self._host = host
        self._choice = Choice(wanted)
        self._owners = Owners(host)
        self._packets: list[Packet] = []
        self._open: dict[int, int] = {}  # packets of which pieces may come, by time: place in _packets
        self._snap = snap

    def _fault(self) -> None:
        self.unread += 1

    def _recorded(self, kind: str, rows: Iterable[tuple[Any, ...]]) -> None:
        for row in rows:
            if kind == "Packet":
                self._packet(row[2:11], row[11][: row[12]])
            elif kind == "Paged":
                self._packet(row[2:11], row[11][: row[12]] + row[13][: row[14]], more=True)
            elif kind == "Piece":
                self._piece(row[2], row[3], row[4][: row[5]])
            else:
                self._owners.name(row[2], _text(row[3]))

    def _packet(self, values: tuple[Any, ...], data: bytes, more: bool = False) -> None:
        """`values`: what script's records of packets begin with; `more`: further pieces of it may follow."""
        time, pid, ours, received, forwarded, inode, netns, device, wire = values
        ip = parse(data, wire)
        owner = None if forwarded else self._owners.of(pid, inode, ip, bool(received), netns)
        if not self._choice.takes(owner, ours):
            return
        nobody = "forwarded" if forwarded else "" if owner else self._owners.nobody(pid, ip)
        if more and len(data) < min(wire, self._snap):
            self._open[time] = len(self._packets)
        self._packets.append(Packet(time, owner, nobody, bool(received), netns, _text(device), wire, data, ip))

    def _piece(self, time: int, at: int, data: bytes) -> None:
        """A further piece of a packet, to be put at an offset; not if one before it was lost."""
        position = self._open.get(time)
        if position is None or len(self._packets[position].data) != at:
            return
        packet = self._packets[position]
        self._packets[position] = packet = packet.replace(data=packet.data + data)
        if len(packet.data) >= min(packet.wire, self._snap):
            del self._open[time]

    def _take(self, last: bool = False) -> list[Packet]:
        """The packets that are whole, in front of the first one of which pieces may still come."""
        from time import monotonic_ns

        recent = monotonic_ns() - _PIECES_COME
        held = min((at for time, at in self._open.items() if time > recent and not last), default=len(self._packets))
        out, self._packets = self._packets[:held], self._packets[held:]
        self._open = {time: at - held for time, at in self._open.items() if at >= held}
        return out

    # -- use

    def __enter__(self) -> Self:
        super().__enter__()
        self._owners.holds(self._host.held())
        return self

    def read(self, timeout: float) -> list[Packet]:
        """The packets there are; waits at most `timeout` seconds for the first."""
        if self.session.running:
            self.session.wait(min(timeout, _PIECES_COME / 1e9) if self._open else timeout)
        return self._take()

    def stop(self) -> list[Packet]:
        """End the trace; the packets that were left."""
        self.session.stop()
        return self._take(last=True)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
