"""--record: what the watcher gets, written so that replay.py makes the same reports of it anywhere, later.

    Recorder(path, ...).watcher(host, selection, ...)  ->  a Watcher that writes what it is fed, and what it asks

A recording is JSON lines, since nothing else that Python reads is safe to take from strangers.  The first is
an object: `dsight` "recording", `format` (FORMAT), and what header() says; `values` names, for each tag, the
values of such a record: replay takes no other.  The others are lists:

    [TAG, VALUE..]          a record (record.values); bytes are {"b": base64}
    ["tick", TIME]          time passed
    ["stop", TIME], ["end"] the watch ended; nothing follows
    ["adopt", [PID..]]      processes that descend from a root
    ["lost", TIME, COUNT, WHERE, SEEN, TOLD]
    ["says", ASKED, [KEY..], ANSWER]    what this host said when it was asked, before the record that made
                            the watcher ask; only where it is not what it said before (at first: null, false)

Written in the order of the watch, by a program that may be killed: a recording without `end` is shown as
far as it goes.  Only its owner can read it: it has arguments of processes.
"""

from __future__ import annotations

import os
from binascii import b2a_base64

from dsight.connections.processes import Processes
from dsight.connections.watch import Watcher
from dsight.errors import UsageError
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TextIO

    from dsight.connections.events import Who
    from dsight.connections.host import Host, Listening, Owner
    from dsight.connections.host_unix import File, UnixSocket
    from dsight.connections.model import LookupReport, Lost, Report
    from dsight.connections.names import LookupWatch
    from dsight.connections.naming import Names
    from dsight.connections.watch import Selection, Tracks

    MakeTracker = Callable[[Callable[[int], Who | None]], Tracks]

FORMAT = 1
REMEMBERED = 4096  # answers, not to write one twice


class Recorder:
    """The file.  `tell` is given one sentence if it cannot be written any more; the watch goes on.

    Raises UsageError where it cannot be made.
    """

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        from json import JSONEncoder

        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"--record: cannot write {path}: {(error.strerror or '').lower()}") from None
        self._path = path
        self._file: TextIO | None = open(fd, "w", encoding="ascii", buffering=1 << 16)  # noqa: SIM115
        self._tell = tell
        self._encode = JSONEncoder(separators=(",", ":"), default=_encoded).encode
        self._said: dict[tuple[object, ...], object] = {}
        self._forgot = False
        self._stopped = False
        self.idle = False  # nothing was written since the last tick

    def watcher(
        self,
        host: Host,
        selection: Selection,
        roots: frozenset[int] | None,
        trackers: Iterable[MakeTracker],
        names: Names | None,
    ) -> Watcher:
        """As Watcher is made, but for the processes."""
        return _Watcher(self, _Host(host, self), selection, roots, trackers, names)

    def lookups(self, watch: LookupWatch) -> None:
        """Have what a lookup's tracker asks written too."""
        search, in_hosts = watch.search, watch.in_hosts
        watch.search = lambda who: self.asked("search", (who.pid, who.start), search(who), ())
        watch.in_hosts = lambda who, mounts, name, addresses: self.asked(
            "in_hosts", (who.pid, who.start, mounts, name, *addresses), in_hosts(who, mounts, name, addresses), False
        )

    def begin(self, header: dict[str, Any], watcher: Watcher) -> None:
        """The first line.  `header`: what header() says."""
        self._put({"dsight": "recording", "format": FORMAT} | header | {"values": layout(watcher.decoders)})
        self._flush()

    def asked(self, what: str, key: tuple[object, ...], answer: Any, usual: object = None) -> Any:
        """`answer`, which is written unless it is the one of the last time; `usual`: that of the first."""
        full = (what, *key)
        before = self._said.get(full, self if self._forgot else usual)
        if answer != before:
            if len(self._said) >= REMEMBERED:
                self._said.clear()
                self._forgot = True
            self._said[full] = answer
            self._put(["says", what, key, answer])
        return answer

    def record(self, values: tuple[Any, ...]) -> None:
        """A record, after the answers it made the watcher ask for."""
        self._put(values)

    def adopted(self, pids: set[int]) -> None:
        self._put(["adopt", sorted(pids)])

    def lost(self, lost: Lost) -> None:
        self._put(["lost", lost.time, lost.count, lost.where, lost.seen, lost.told])

    def ticked(self, now: int, last: bool = False) -> None:
        """Time has passed; all so far goes to the file."""
        self._put(["stop" if last else "tick", now])
        self._flush()
        self.idle = True
        self._stopped = last

    def close(self) -> None:
        if self._stopped:
            self._put(["end"])
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put(self, line: object) -> None:
        self.idle = False
        if self._file is not None:
            try:
                self._file.write(self._encode(line) + "\n")
            except OSError as error:
                self._failed(error)

    def _flush(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()  # tries once more to write what is left
        except OSError:
            pass
        self._tell(f"the recording {self._path} ends here: {(error.strerror or '').lower()}")


def header(
    version: str,
    wall_offset: int,
    selection: Selection,
    roots: Iterable[int],
    options: dict[str, Any],
) -> dict[str, Any]:
    """What replay needs to know besides the events.  `options`: of the command line, as replay_cli reads them."""
    chosen = {name: getattr(selection, name) for name in selection._fields}
    chosen = {name: sorted(v) if isinstance(v, frozenset) else v for name, v in chosen.items()}
    chosen["networks"] = [str(network) for network in selection.networks]
    system = os.uname()
    return {
        "version": version,
        "kernel": system.release,
        "machine": system.machine,
        "host": system.nodename,
        "wall_offset": wall_offset,
        "selection": chosen,
        "roots": sorted(roots),
        "options": options,
    }


def layout(decoders: Mapping[int, Callable[..., Any]]) -> dict[str, list[str]]:
    """The names of a record's values, by its tag."""
    names = {}
    for tag, make in decoders.items():
        code = getattr(make, "__code__", None)
        fields = getattr(make, "_fields", ()) if code is None else code.co_varnames[: code.co_argcount]
        names[str(tag)] = list(fields)
    return names


def _encoded(value: object) -> object:
    """What JSON has no word for."""
    if isinstance(value, bytes):
        return {"b": b2a_base64(value, newline=False).decode()}
    if isinstance(value, Value):
        return [getattr(value, name) for name in value._fields]
    raise TypeError(f"{type(value).__name__} in a recording")


class _Watcher(Watcher):
    """Writes what it is fed."""

    def __init__(
        self,
        recorder: Recorder,
        host: Host,
        selection: Selection,
        roots: frozenset[int] | None,
        trackers: Iterable[MakeTracker],
        names: Names | None,
    ) -> None:
        super().__init__(host, _Processes(recorder), selection, roots, trackers, names)
        self._recorder = recorder

    def feed(self, *rows: tuple[Any, ...], same: bool = False) -> list[Report | LookupReport]:
        reports = []
        for values in rows:  # one by one: what each makes this host say stands before it
            reports += super().feed(values, same=same)
            if values and values[0] in self.decoders:
                self._recorder.record(values)
        return reports

    def adopt(self, pids: set[int]) -> None:
        super().adopt(pids)
        self._recorder.adopted(pids)

    def tick(self, now: int) -> list[Report | LookupReport]:
        reports = super().tick(now)
        if reports or self.open or not self._recorder.idle:
            self._recorder.ticked(now)
        return reports

    def stop(self, now: int) -> list[Report | LookupReport]:
        reports = super().stop(now)
        self._recorder.ticked(now, last=True)
        return reports


class _Processes(Processes):
    """Writes what /proc and the user database say."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def _read(self, who: Who) -> tuple[str | None, tuple[str, ...] | None, str | None]:
        nothing = (None, None, None)
        found: tuple[str | None, tuple[str, ...] | None, str | None]
        found = self._recorder.asked("process", (who.pid, who.start), super()._read(who), nothing)
        return found

    def _user(self, uid: int) -> str | None:
        found: str | None = self._recorder.asked("user", (uid,), super()._user(uid))
        return found


class _Host:
    """Host; writes what another one says.  The pid is no part of a question about a namespace."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self._host = host
        self._asked = recorder.asked

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        found: str | None = self._asked("route", (address, netns), self._host.route(address, netns, pid))
        return found

    def listening(self, netns: int | None, pid: int, protocol: int = 6) -> tuple[Listening, ...] | None:
        answer = self._host.listening(netns, pid, protocol)
        found: tuple[Listening, ...] | None = self._asked("listening", (netns, protocol), answer)
        return found

    def unix_sockets(self, netns: int | None, pid: int) -> tuple[UnixSocket, ...] | None:
        answer = self._host.unix_sockets(netns, pid)
        found: tuple[UnixSocket, ...] | None = self._asked("unix_sockets", (netns,), answer)
        return found

    def overflows(self, netns: int | None, pid: int) -> int | None:
        found: int | None = self._asked("overflows", (netns,), self._host.overflows(netns, pid))
        return found

    def owner(self, inode: int) -> Owner | None:
        found: Owner | None = self._asked("owner", (inode,), self._host.owner(inode))
        return found

    def comm(self, pid: int) -> str | None:
        found: str | None = self._asked("comm", (pid,), self._host.comm(pid))
        return found

    def file(self, path: str, pid: int) -> File | None:
        found: File | None = self._asked("file", (path, pid), self._host.file(path, pid))
        return found

    def named(self, address: str, pid: int) -> tuple[str, ...]:
        found: tuple[str, ...] = self._asked("named", (address, pid), self._host.named(address, pid), ())
        return found
