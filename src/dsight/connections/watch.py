"""The watcher: what the kernel says -> reports, of the attempts selected.

    record.values -> decode -> Tracker -> Selection -> Processes, place, diagnose -> Report

No thread and no clock of its own: `feed` takes a record's values, `tick` and `stop` take the time.
"""

from __future__ import annotations

from dsight.connections.destinations import SYNS, Destinations
from dsight.connections.diagnose_names import is_bad
from dsight.connections.diagnose_names import report as report_lookup
from dsight.connections.events import Fork, ProcessExit
from dsight.connections.kernel_filter import Kernel
from dsight.connections.lives import LIMIT, LIMIT_RESETS, Lives, reset_early
from dsight.connections.model import FAILED, Endpoint, LookupReport, Report, error_name
from dsight.connections.naming import Lookup, Named, Names
from dsight.connections.tracker import Tracker
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any, Protocol

    from dsight.connections.attempts import Change
    from dsight.connections.destinations import Destination
    from dsight.connections.diagnose import Place
    from dsight.connections.events import Who
    from dsight.connections.host import Host, Listening
    from dsight.connections.model import Diagnosis, Process
    from dsight.connections.processes import Processes

    class Tracks(Protocol):
        """A state machine without I/O: what Watcher asks of it.

        Of the processes' identities `Tracker` is the keeper: another tracker is given its method
        `caller` when it is made, and asks for the thread at the event that wants it.
        """

        @property
        def decoders(self) -> Mapping[int, Callable[..., Any]]:
            """By the tag of a record."""

        @property
        def handlers(self) -> Mapping[type, Callable[[Any], list[Change] | list[Lookup]]]:
            """By the class of an event."""

        def tick(self, now: int) -> list[Change] | list[Lookup]:
            """Time has passed."""

        def stop(self, now: int) -> list[Change] | list[Lookup]:
            """The watcher ends: each open attempt gets its outcome."""


class Selection(Value):
    """Which attempts are reported; an empty field selects all."""

    comms: tuple[str, ...] = ()  # names, with * ? [..] as in a shell
    ports: frozenset[int] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    uids: frozenset[int] = frozenset()
    failed: bool = False  # only what failed, or hangs
    paths: tuple[str, ...] = ()  # of UNIX sockets, with * ? [..]; with `networks`, either is taken
    accepted: bool = False  # also connections that the processes accept
    closed: bool = False  # also how connections end, those accepted included
    netns: frozenset[int] = frozenset()  # network namespaces, by inode number
    outcomes: frozenset[str] = frozenset()  # these outcomes only
    cgroups: tuple[tuple[int, int], ...] = ()  # level and id: the kernel itself decides

    def kernel(self, pids: frozenset[int] = frozenset()) -> Kernel:
        """What of it the kernel can decide, and descent from `pids`."""
        networks = () if self.paths else self.networks
        return Kernel(self.comms, self.uids, self.ports, networks, pids, self.cgroups, self.netns)

    def takes_who(self, who: Who) -> bool:
        """Whether its attempts may be selected."""
        if self.uids and who.uid not in self.uids:
            return False
        if self.comms:
            from fnmatch import fnmatchcase

            return any(fnmatchcase(who.comm, comm) for comm in self.comms)
        return True

    def takes_lookup(self, lookup: Lookup) -> bool:
        """Whether a lookup is selected: by the port, where it was asked for with one, and by its answers."""
        if self.netns and lookup.netns not in self.netns:
            return False
        if self.ports and not (lookup.service and lookup.service.isascii() and lookup.service.isdigit()
                               and int(lookup.service) in self.ports):  # fmt: skip
            return False
        if not (self.networks or self.paths):
            return True
        from ipaddress import ip_address

        return any(ip_address(a.partition("%")[0]) in network for a in lookup.answers for network in self.networks)

    def takes(self, change: Change) -> bool:
        """Whether an attempt of one of them is selected, by where it goes; of what is accepted, by the
        port here and the address there."""
        address, port = change.remote
        if self.netns and change.netns not in self.netns:
            return False
        if change.event == "accepted":
            port = change.local[1]
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


class _Known:
    """What was found out of an open attempt: later its process or namespace may be gone."""

    __slots__ = ("full", "name", "overflows", "own", "process")

    def __init__(self, process: Process, name: Named | None = None) -> None:
        self.process = process
        self.name = name  # by which the process knows where it goes
        self.own: bool | None = None  # whether it goes to this host
        self.overflows: int | None = None  # if it does: Host.overflows before it
        self.full: Listening | None = None  # the listener there, when its queue was found full


class Watcher:
    """One session of watching; see the module's docstring.

    `roots`: pids; only they and their descendants are reported, None for everybody.
    `trackers`: of more than TCP; each is made with Tracker.caller.  `names`: what lookups found.
    """

    def __init__(
        self,
        host: Host,
        processes: Processes,
        selection: Selection | None = None,
        roots: frozenset[int] | None = None,
        trackers: Iterable[Callable[[Callable[[int], Who | None]], Tracks]] = (),
        names: Names | None = None,
    ) -> None:
        self._host = host
        self._processes = processes
        self._selection = Selection() if selection is None else selection
        self._roots = roots
        self._tree = set(roots or ())
        self._tracker = Tracker(takes=self._takes)
        self._names = Names() if names is None else names
        self._destinations = Destinations(host, self._names)
        self._limit = LIMIT if self._selection.closed else LIMIT_RESETS
        self._lives = Lives(self._tracker.caller, self._limit)
        self._trackers: list[Tracks] = [self._tracker, self._lives, *(make(self._tracker.caller) for make in trackers)]
        self._decoders: dict[int, Callable[..., Any]] = {}
        self._takers: dict[type, list[Callable[[Any], list[Change] | list[Lookup]]]] = {
            Fork: [self._fork],
            ProcessExit: [self._exit],
        }
        for tracker in self._trackers:
            self._decoders.update(tracker.decoders)
            for kind, handle in tracker.handlers.items():
                self._takers.setdefault(kind, []).append(handle)
        self._kinds: dict[str, Callable[[Change], Report | None]] = {
            "attempt": self._begin,
            "hanging": self._hang,
            "outcome": self._decide,
            "accepted": self._inbound,
            "closed": self._end,
        }
        self._open: dict[str, _Known] = {}  # selected attempts without an outcome
        self._standing: dict[str, _Known] = {}  # selected connections, until they close
        self.forgotten = 0  # of them, since there were too many

    def feed(self, *rows: tuple[Any, ...], same: bool = False) -> list[Report | LookupReport]:
        """The reports that records cause, given as their values.  This host is asked about a destination once for all
        of them; `same`: it would say what it said for those before."""
        if not same:
            self._destinations.next()
        reports: list[Report | LookupReport] = []
        for values in rows:
            make = self._decoders.get(values[0]) if values else None
            if make is None:
                continue  # a clause that records nothing
            event = make(*values[1:])
            for take in self._takers.get(type(event), ()):
                for change in take(event):
                    report = self._report(change)
                    if report is not None:
                        reports.append(report)
        return reports

    def _fork(self, event: Fork) -> list[Change]:
        if event.parent in self._tree:
            self._tree.add(event.child)
        return []

    def _exit(self, event: ProcessExit) -> list[Change]:
        self._tree.discard(event.pid)
        return []

    @property
    def decoders(self) -> Mapping[int, Callable[..., Any]]:
        """By the tag of a record, those of all trackers."""
        return self._decoders

    @property
    def begun(self) -> int:
        """How many attempts over TCP it was told of, selected or not."""
        return self._tracker.begun

    @property
    def open(self) -> int:
        """How many selected attempts have no outcome yet."""
        return len(self._open)

    def adopt(self, pids: set[int]) -> None:
        """Processes known to descend from a root since before the watcher began."""
        self._tree |= pids

    def tick(self, now: int) -> list[Report | LookupReport]:
        """The `hanging` reports due by `now` (ns, CLOCK_MONOTONIC)."""
        return [report for tracker in self._trackers for report in self._reports(tracker.tick(now))]

    def stop(self, now: int) -> list[Report | LookupReport]:
        """`pending` for all that is open."""
        return [report for tracker in self._trackers for report in self._reports(tracker.stop(now))]

    def _reports(self, changes: list[Change] | list[Lookup]) -> list[Report | LookupReport]:
        self._destinations.next()
        return [report for change in changes if (report := self._report(change)) is not None]

    def _looked_up(self, lookup: Lookup) -> LookupReport | None:
        if not self._selection.takes_lookup(lookup):
            return None
        made = report_lookup(lookup, self._processes.process(lookup.who, lookup.netns), self._host)
        return None if self._selection.failed and not is_bad(made) else made

    def _stands(self, change: Change, known: _Known) -> None:
        """A selected connection stands: its end will be told, where there is a socket to know it by."""
        if not change.sock:
            return
        if len(self._standing) >= self._limit:
            del self._standing[next(iter(self._standing))]
            self.forgotten += self._selection.closed  # else most have ended long ago
        self._standing[change.id] = known
        self._lives.begin(change)

    def _inbound(self, change: Change) -> Report | None:
        """`accepted`."""
        if not self._selection.takes(change):
            return None
        known = _Known(self._processes.process(change.who, change.netns))
        self._stands(change, known)
        if not self._selection.accepted or self._selection.failed:
            return None
        return _made(change, known, self._destinations.of(change, False).end, None)

    def _end(self, change: Change) -> Report | None:
        """`closed`: where it is asked for, and where it is a failure."""
        known = self._standing.pop(change.id, None)
        early = reset_early(change)
        if known is None or not (early or (self._selection.closed and not self._selection.failed)):
            return None
        there = self._destinations.of(change, early, known.own, known.name)
        return _made(change, known, there.end, self._destinations.why(change, there, there.place))

    def _report(self, change: Change | Lookup) -> Report | LookupReport | None:
        return self._looked_up(change) if isinstance(change, Lookup) else self._kinds[change.event](change)

    def _begin(self, change: Change) -> Report | None:
        """`attempt`."""
        if not self._selection.takes(change):
            return None
        name = self._names.of(change.who, change.remote[0])
        known = self._open[change.id] = _Known(self._processes.process(change.who, change.netns), name)
        if self._selection.failed or self._selection.outcomes:
            return None
        return self._attempted(change, known)

    def _hang(self, change: Change) -> Report | None:
        """`hanging`."""
        known = self._open.get(change.id)
        return None if known is None else self._attempted(change, known)

    def _decide(self, change: Change) -> Report | None:
        """`outcome`."""
        known = self._open.pop(change.id, None)
        if known is None:
            return None
        if change.outcome == "connected":
            self._stands(change, known)
        selection = self._selection
        if selection.outcomes and change.outcome not in selection.outcomes:
            return None
        if selection.failed and (change.evidence.won is not None or change.outcome not in FAILED):
            return None
        return self._attempted(change, known)

    def _attempted(self, change: Change, known: _Known) -> Report:
        told = change.event != "attempt"
        there = self._destinations.of(change, told, known.own, known.name)
        where, end = there.place, there.end
        known.own = where.self_
        if where.self_ and change.protocol in SYNS and change.outcome not in ("connected", "refused"):
            where = self._with_queue(change, known, there)
            if where is not there.place:
                end = self._destinations.end(change, where, known.name)
        return _made(change, known, end, self._destinations.why(change, there, where) if told else None)

    def _with_queue(self, change: Change, known: _Known, there: Destination) -> Place:
        """What is known of the listener's queue since the attempt; at the attempt the counter is noted."""
        where = there.place
        if where.listener is not None and where.listener.full:
            known.full = where.listener
        elif known.full is not None:
            return where.replace(listener=known.full)
        count = self._destinations.overflows(change, there)
        if change.event == "attempt":
            known.overflows = count
        if count is None or known.overflows is None or count <= known.overflows:
            return where
        return where.replace(overflows=count - known.overflows)

    def _takes(self, who: Who) -> bool:
        """Whether somebody's attempts are of interest.  Without a start its Who was lost, and who it descends
        from is not known; of a process of no interest the kernel would not have told."""
        return self._selection.takes_who(who) and (who.start == 0 or self._is_ours(who))

    def _is_ours(self, who: Who) -> bool:
        if self._roots is None or who.pid in self._tree:
            return True
        return any(pid in self._roots for pid, _ in who.parents)


def _made(change: Change, known: _Known, end: Endpoint, diagnosis: Diagnosis | None) -> Report:
    """`end`: the remote one."""
    told = change.event in ("hanging", "outcome")
    unix = change.family == "unix"
    return Report(
        change.event,
        change.time,
        change.id,
        known.process,
        change.protocol,
        change.family,
        change.via,
        Endpoint(None, None, path=change.local[0]) if unix else Endpoint(*change.local),
        end,
        change.blocking,
        change.outcome,
        error_name(change.error),
        change.waited if told else None,
        change.syns if told and change.protocol in SYNS else None,
        diagnosis,
        change.datagrams if told else None,
        change.life,
    )
