"""The watcher: what the kernel says -> reports, of the attempts selected.

    record.values -> decode -> Tracker -> Selection -> Processes, place, diagnose -> Report

No thread and no clock of its own: `feed` takes a record's values, `tick` and `stop` take the time.
"""

from __future__ import annotations

from dsight.connections.diagnose import diagnose, place, remote
from dsight.connections.events import Fork, ProcessExit, Who, decode
from dsight.connections.model import FAILED, Endpoint, Report, error_name
from dsight.connections.tracker import Tracker
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any

    from dsight.connections.host import Host
    from dsight.connections.model import Process
    from dsight.connections.processes import Processes
    from dsight.connections.tracker import Change


class Selection(Value):
    """Which attempts are reported; an empty field selects all."""

    comms: tuple[str, ...] = ()  # names, with * ? [..] as in a shell
    ports: frozenset[int] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    uids: frozenset[int] = frozenset()
    failed: bool = False  # only what failed, or hangs

    def takes_who(self, who: Who) -> bool:
        """Whether its attempts may be selected."""
        if self.uids and who.uid not in self.uids:
            return False
        if self.comms:
            from fnmatch import fnmatchcase

            return any(fnmatchcase(who.comm, comm) for comm in self.comms)
        return True

    def takes(self, change: Change) -> bool:
        """Whether an attempt of one of them is selected, by where it goes."""
        address, port = change.remote
        if self.ports and port not in self.ports:
            return False
        if self.networks:
            from ipaddress import ip_address

            if address is None:
                return False
            ip = ip_address(address)
            return any(ip in network for network in self.networks)
        return True


class _Known:
    """What was found out of an open attempt: later its process or namespace may be gone."""

    __slots__ = ("own", "process")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.own: bool | None = None  # whether it goes to this host


class Watcher:
    """One session of watching; see the module's docstring.

    `roots`: pids; only they and their descendants are reported, None for everybody.
    """

    def __init__(
        self,
        host: Host,
        processes: Processes,
        selection: Selection | None = None,
        roots: frozenset[int] | None = None,
    ) -> None:
        self._host = host
        self._processes = processes
        self._selection = Selection() if selection is None else selection
        self._roots = roots
        self._tree = set(roots or ())
        self._tracker = Tracker()
        self._open: dict[str, _Known] = {}  # selected attempts without an outcome

    def feed(self, values: tuple[Any, ...]) -> list[Report]:
        """The reports that one record causes."""
        event = decode(values)
        if event is None:
            return []
        if isinstance(event, Fork):
            if event.parent in self._tree:
                self._tree.add(event.child)
            return []
        if isinstance(event, ProcessExit):
            self._tree.discard(event.pid)
            return []
        if isinstance(event, Who) and not (self._is_ours(event) and self._selection.takes_who(event)):
            self._tracker.forget(event.tid)
            return []
        return self._reports(self._tracker.feed(event))

    @property
    def open(self) -> int:
        """How many selected attempts have no outcome yet."""
        return len(self._open)

    def adopt(self, pids: set[int]) -> None:
        """Processes known to descend from a root since before the watcher began."""
        self._tree |= pids

    def tick(self, now: int) -> list[Report]:
        """The `hanging` reports due by `now` (ns, CLOCK_MONOTONIC)."""
        return self._reports(self._tracker.tick(now))

    def stop(self, now: int) -> list[Report]:
        """`pending` for all that is open."""
        return self._reports(self._tracker.stop(now))

    def _reports(self, changes: list[Change]) -> list[Report]:
        return [report for change in changes if (report := self._report(change)) is not None]

    def _report(self, change: Change) -> Report | None:
        if change.event == "attempt":
            if not self._selection.takes(change):
                return None
            self._open[change.id] = _Known(self._processes.process(change.who, change.netns))
        known = self._open.get(change.id)
        if known is None:
            return None
        if change.event == "outcome":
            del self._open[change.id]
        if self._selection.failed and (
            change.event == "attempt" or (change.event == "outcome" and change.outcome not in FAILED)
        ):
            return None
        told = change.event != "attempt"
        where = place(change, self._host, told, known.own)
        known.own = where.self_
        return Report(
            change.event,
            change.time,
            change.id,
            known.process,
            change.protocol,
            change.family,
            change.via,
            Endpoint(*change.local),
            remote(change, where, self._host),
            change.blocking,
            change.outcome,
            error_name(change.error),
            change.waited if told else None,
            change.syns if told else None,
            diagnose(change, where, self._host) if told else None,
        )

    def _is_ours(self, who: Who) -> bool:
        if self._roots is None or who.pid in self._tree:
            return True
        return any(pid in self._roots for pid, _ in who.parents)


# Clauses that some kernels cannot have, and what stands in for them.
_RETRANSMIT_ERROR = "trace(args[2])"  # tcp_retransmit_skb says since 6.15 whether sending succeeded


def script(tree: bool, has_probe: Callable[[str, int], bool]) -> str:
    """The D program: connections/*.d as this kernel can run it.

    `tree`: with forks and exits, to know descendants.  `has_probe(name, n)`: whether the raw
    tracepoint exists and has more than n arguments.
    """
    text = _read("tcp.d")
    if not has_probe("tcp_retransmit_skb", 2):
        text = text.replace(_RETRANSMIT_ERROR, "trace(0)")
    if has_probe("icmp_send", 0):
        text += _read("icmp.d")
    return text + _read("tree.d") if tree else text


def _read(name: str) -> str:
    with open(f"{__file__.rpartition('/')[0]}/{name}", encoding="ascii") as file:
        return file.read()
