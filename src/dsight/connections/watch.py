"""The watcher: what the kernel says -> reports, of the attempts selected.

    record.values -> decode -> Tracker -> Selection -> Processes, place, diagnose -> Report

No thread and no clock of its own: `feed` takes a record's values, `tick` and `stop` take the time.
"""

from __future__ import annotations

from dsight.connections.diagnose import diagnose, place, remote
from dsight.connections.events import Fork, ProcessExit, Who
from dsight.connections.model import FAILED, Endpoint, Report, error_name
from dsight.connections.tracker import Tracker
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any, Protocol

    from dsight.connections.host import Host
    from dsight.connections.model import Process
    from dsight.connections.processes import Processes
    from dsight.connections.tracker import Change

    class Tracks(Protocol):
        """A state machine without I/O: what Watcher asks of it.

        Of the processes' identities `Tracker` is the keeper: another tracker is given its method
        `caller` when it is made, and asks for the thread at the event that wants it.
        """

        @property
        def decoders(self) -> Mapping[int, Callable[..., Any]]:
            """By the tag of a record."""

        @property
        def handlers(self) -> Mapping[type, Callable[[Any], list[Change]]]:
            """By the class of an event."""

        def tick(self, now: int) -> list[Change]:
            """Time has passed."""

        def stop(self, now: int) -> list[Change]:
            """The watcher ends: each open attempt gets its outcome."""


class Selection(Value):
    """Which attempts are reported; an empty field selects all."""

    comms: tuple[str, ...] = ()  # names, with * ? [..] as in a shell
    ports: frozenset[int] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    uids: frozenset[int] = frozenset()
    failed: bool = False  # only what failed, or hangs
    paths: tuple[str, ...] = ()  # of UNIX sockets, with * ? [..]; with `networks`, either is taken

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
        if not (self.networks or self.paths):
            return True
        if address is None:
            return False
        if change.family == "unix":
            from fnmatch import fnmatchcase

            return any(fnmatchcase(address, path) for path in self.paths)
        if not self.networks or change.family not in ("inet", "inet6"):
            return False
        from ipaddress import ip_address

        ip = ip_address(address)
        return any(ip in network for network in self.networks)


_SYNS = ("tcp", "mptcp", None)  # the protocols that have SYNs


class _Known:
    """What was found out of an open attempt: later its process or namespace may be gone."""

    __slots__ = ("own", "process")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.own: bool | None = None  # whether it goes to this host


class Watcher:
    """One session of watching; see the module's docstring.

    `roots`: pids; only they and their descendants are reported, None for everybody.
    `trackers`: of more than TCP; each is made with Tracker.caller.
    """

    def __init__(
        self,
        host: Host,
        processes: Processes,
        selection: Selection | None = None,
        roots: frozenset[int] | None = None,
        trackers: Iterable[Callable[[Callable[[int], Who | None]], Tracks]] = (),
    ) -> None:
        self._host = host
        self._processes = processes
        self._selection = Selection() if selection is None else selection
        self._roots = roots
        self._tree = set(roots or ())
        self._tracker = Tracker()
        self._trackers: list[Tracks] = [self._tracker, *(make(self._tracker.caller) for make in trackers)]
        self._decoders: dict[int, Callable[..., Any]] = {}
        self._takers: dict[type, list[Callable[[Any], list[Change]]]] = {}
        for tracker in self._trackers:
            self._decoders.update(tracker.decoders)
            for kind, handle in tracker.handlers.items():
                self._takers.setdefault(kind, []).append(handle)
        self._open: dict[str, _Known] = {}  # selected attempts without an outcome

    def feed(self, values: tuple[Any, ...]) -> list[Report]:
        """The reports that one record causes."""
        make = self._decoders.get(values[0]) if values else None
        if make is None:
            return []  # a clause that records nothing
        event = make(*values[1:])
        if isinstance(event, Fork):
            if event.parent in self._tree:
                self._tree.add(event.child)
            return []
        if isinstance(event, ProcessExit):
            self._tree.discard(event.pid)
        if isinstance(event, Who) and not (self._is_ours(event) and self._selection.takes_who(event)):
            self._tracker.forget(event.tid)
            return []
        reports = []
        for take in self._takers.get(type(event), ()):
            reports += self._reports(take(event))
        return reports

    @property
    def open(self) -> int:
        """How many selected attempts have no outcome yet."""
        return len(self._open)

    def adopt(self, pids: set[int]) -> None:
        """Processes known to descend from a root since before the watcher began."""
        self._tree |= pids

    def tick(self, now: int) -> list[Report]:
        """The `hanging` reports due by `now` (ns, CLOCK_MONOTONIC)."""
        return [report for tracker in self._trackers for report in self._reports(tracker.tick(now))]

    def stop(self, now: int) -> list[Report]:
        """`pending` for all that is open."""
        return [report for tracker in self._trackers for report in self._reports(tracker.stop(now))]

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
            _local(change),
            remote(change, where, self._host),
            change.blocking,
            change.outcome,
            error_name(change.error),
            change.waited if told else None,
            change.syns if told and change.protocol in _SYNS else None,
            diagnose(change, where, self._host) if told else None,
            change.datagrams if told else None,
        )

    def _is_ours(self, who: Who) -> bool:
        if self._roots is None or who.pid in self._tree:
            return True
        return any(pid in self._roots for pid, _ in who.parents)


def _local(change: Change) -> Endpoint:
    """The record's local end."""
    if change.family == "unix":
        return Endpoint(None, None, path=change.local[0])
    return Endpoint(*change.local)


# What the files say that is filled in here.
_RETRANSMIT_ERROR = "trace(args[2])"  # tcp_retransmit_skb says since 6.15 whether sending succeeded
_WANTED = "this->protocol == 6 || this->protocol == 262"  # connect.d: the sockets whose connect(2) is told
_WHERE = "syscall::connect:entry, rawtp:::inet_sock_set_state"  # who.d: the probes that may ask who it is


class Part(Value):
    """D of one more thing to watch, besides TCP's connections."""

    files: tuple[str, ...] = ()  # clauses
    asks: tuple[str, ...] = ()  # files with clauses that set self->who, which come before who.d
    probes: tuple[str, ...] = ()  # theirs
    wanted: str = ""  # which other sockets' connect(2) is told, as a D expression over `this`


def script(tree: bool, has_probe: Callable[[str, int], bool], parts: Iterable[Part] = ()) -> str:
    """The D program: connections/*.d as this kernel can run it.

    `tree`: with forks and exits, to know descendants.  `has_probe(name, n)`: whether the raw
    tracepoint exists and has more than n arguments.
    """
    parts = tuple(parts)
    connect = _read("connect.d").replace(_WANTED, " || ".join([_WANTED, *(p.wanted for p in parts if p.wanted)]))
    who = _read("who.d").replace(_WHERE, ", ".join(dict.fromkeys([_WHERE, *(n for p in parts for n in p.probes)])))
    tcp = _read("tcp.d")
    if not has_probe("tcp_retransmit_skb", 2):
        tcp = tcp.replace(_RETRANSMIT_ERROR, "trace(0)")
    text = [connect, *(_read(f) for p in parts for f in p.asks), who, tcp]
    if has_probe("icmp_send", 0):
        text.append(_read("icmp.d"))
    text += [_read(f) for p in parts for f in p.files]
    if tree:
        text.append(_read("tree.d"))
    return "".join(text)


def _read(name: str) -> str:
    with open(f"{__file__.rpartition('/')[0]}/{name}", encoding="ascii") as file:
        return file.read()
