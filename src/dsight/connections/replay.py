"""A recording of `--record` read: the same reports as then, on any machine, without root.

    Recording(path)  ->  watcher(...)  ->  play(watcher): a Step for each time the watch looked at its clock

recorder.py has the format.  A recording may come from anybody: it is read as data, line by line, and what is
no such line ends the play: `trouble` says so then, and what came before has been shown.
"""

from __future__ import annotations

import struct
import sys
from binascii import a2b_base64

from dsight.connections.host import Listening, Owner
from dsight.connections.host_unix import File, UnixSocket
from dsight.connections.model import LookupReport, Lost, Report
from dsight.connections.processes import Processes
from dsight.connections.recorder import FORMAT, layout
from dsight.connections.watch import Selection, Watcher
from dsight.errors import UsageError
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dsight.connections.events import Who
    from dsight.connections.naming import Names

LINE = 16 << 20  # the longest line there may be
REMEMBERED = 8192  # answers; twice what the recorder takes to be known
# What wrong values lead to, here and in a face.
DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError, struct.error)


class Step(Value):
    """What the watch had to say at `now` (ns, that machine's CLOCK_MONOTONIC); `last`: the end."""

    now: int
    reports: list[Report | LookupReport | Lost]
    last: bool


class Recording:
    """One file, "-" for standard input.  UsageError where it is no recording, or one that this version cannot read.

    `wall_offset`: wall time minus its clock; `selection`, `roots`: what was selected; `options`: the others of
    its command line.  `trouble`: once played, why it was not played to the end; else None.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"cannot read {path}: {(error.strerror or '').lower()}") from None
        self._path = path
        self._line = 1
        self._answers: dict[tuple[Any, ...], Any] = {}
        self.trouble: str | None = None
        try:
            self._head(self._file.readline(LINE))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {(error.strerror or '').lower()}") from None

    def close(self) -> None:
        self._file.close()

    def watcher(self, selection: Selection, roots: frozenset[int] | None) -> Watcher:
        """One to play it to."""
        from dsight.connections.naming import Names
        from dsight.connections.parts import kinds

        names = Names()
        options = self.options
        more = kinds(lambda name, number: True, lambda name: True, options["udp"], options["unix"], not options["tcp"])
        trackers = [*more.trackers, *([self._lookups(names)] if options["names"] is not False else [])]
        return Watcher(_Host(self._says), _Processes(self._says), selection, roots, trackers, names)

    def play(self, watcher: Watcher) -> Iterator[Step]:
        """All of it.  The last Step is the end, wherever that was."""
        known = layout(watcher.decoders)
        self._tags = {int(tag) for tag, names in known.items() if self._values.get(tag) == names}
        times = {int(tag): names.index("time") for tag, names in known.items() if "time" in names}
        now = latest = 0
        same = False  # nothing else has been said since the last record
        reports: list[Report | LookupReport | Lost] = []
        while True:
            data = self._file.readline(LINE)
            self._line += 1
            if not data.endswith(b"\n"):
                self.trouble = f"line {self._line} is cut off" if data else "it was not finished"
                break
            try:
                line = _line(data)
                word = line[0]
                if isinstance(word, int):
                    self._check(word)
                    if word in times:
                        latest = max(latest, _time(line[1 + times[word]]))
                    reports += watcher.feed(tuple(line), same=same)
                    same = True
                elif word == "says":
                    same = False
                    self._put((line[1], *_frozen(line[2])), _frozen(line[3]))
                elif word == "adopt":
                    watcher.adopt({int(pid) for pid in line[1]})
                elif word == "lost":
                    reports.append(Lost(int(line[1]), int(line[2]), str(line[3]), *line[4:6]))
                elif word == "stop":
                    now = _time(line[1])
                    reports += watcher.stop(now)
                elif word in ("tick", "end"):
                    if word == "tick":
                        now = _time(line[1])
                        reports += watcher.tick(now)
                    for report in reports:
                        _time(report.time)
                    yield Step(now, reports, word == "end")
                    if word == "end":
                        return
                    reports = []
                else:
                    raise ValueError(word)
            except _Newer as error:
                self.trouble = str(error)
                break
            except DAMAGE:
                self.trouble = f"line {self._line} is not what dsight writes"
                break
        now = max(now, latest)
        try:
            yield Step(now, [*reports, *watcher.stop(now)], True)
        except DAMAGE:  # nothing more can be said of what was under way
            yield Step(now, [], True)

    def _head(self, data: bytes) -> None:
        """The first line."""
        try:
            head = _object(data)
            if head["dsight"] != "recording":
                raise ValueError
            number = int(head["format"])
        except (KeyError, TypeError, ValueError, RecursionError):
            raise UsageError(f"{self._path} is not a recording of dsight", "dsight --record FILE makes one") from None
        if number != FORMAT:
            raise UsageError(f"{self._path} is of another version of dsight ({head.get('version')})")
        try:
            self.wall_offset = _time(head["wall_offset"])
            self._nodename = str(head["host"])
            self._version = str(head["version"])
            self._values: dict[str, list[str]] = dict(head["values"])
            self.selection = _selection(head["selection"])
            self.roots = frozenset(int(pid) for pid in head["roots"])
            self.options: dict[str, Any] = dict(head["options"])
            if not {"udp", "unix", "tcp", "names", "expect", "hosts"} <= self.options.keys():
                raise KeyError
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{self._path}: its first line is damaged") from None

    def _check(self, tag: int) -> None:
        if tag not in self._tags:
            if str(tag) in self._values:
                raise _Newer(f"line {self._line} is a record as dsight {self._version} made it, not this version")
            raise ValueError(tag)

    def _lookups(self, names: Names) -> Callable[[Callable[[int], Who | None]], Any]:
        from dsight.connections.lookups import Lookups

        def search(who: Who) -> tuple[str, ...]:
            found: tuple[str, ...] = self._says("search", (who.pid, who.start), ())
            return found

        def in_hosts(who: Who, mounts: int, name: str, addresses: tuple[str, ...]) -> bool:
            return bool(self._says("in_hosts", (who.pid, who.start, mounts, name, *addresses), False))

        return lambda caller: Lookups(caller, names, search, in_hosts, self._nodename)

    def _put(self, key: tuple[Any, ...], answer: Any) -> None:
        self._answers.pop(key, None)
        if len(self._answers) >= REMEMBERED:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = answer

    def _says(self, what: str, key: tuple[object, ...], usual: Any = None) -> Any:
        """What was said last; `usual` where it was never asked."""
        return self._answers.get((what, *key), usual)


class _Newer(Exception):
    """A record of another version."""


def _object(data: bytes) -> dict[str, Any]:
    from json import loads

    found = loads(data, parse_float=_no_number, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _line(data: bytes) -> list[Any]:
    """A line that is a list; bytes in it are bytes again."""
    from json import loads

    found = loads(
        data, object_hook=lambda item: a2b_base64(item["b"]), parse_float=_no_number, parse_constant=_no_number
    )
    if not isinstance(found, list):
        raise ValueError
    return found


def _no_number(text: str) -> int:
    """All numbers of a recording are whole."""
    raise ValueError(text)


def _frozen(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _time(value: Any) -> int:
    """Nanoseconds that a clock may well show."""
    if not isinstance(value, int) or not -(1 << 62) < value < 1 << 62:
        raise ValueError(value)
    return value


def _selection(said: dict[str, Any]) -> Selection:
    from ipaddress import ip_network

    usual = Selection()
    chosen: dict[str, Any] = {}
    for name in Selection._fields:
        kind = type(getattr(usual, name))
        chosen[name] = kind(_frozen(said[name]))
    chosen["networks"] = tuple(ip_network(text) for text in chosen["networks"])
    return Selection(**chosen)


class _Processes(Processes):
    """What /proc and the user database said then."""

    def __init__(self, says: Callable[..., Any]) -> None:
        super().__init__()
        self._says = says

    def _read(self, who: Who) -> tuple[str | None, tuple[str, ...] | None, str | None]:
        exe, line, cgroup = self._says("process", (who.pid, who.start), (None, None, None))
        return exe, line, cgroup

    def _user(self, uid: int) -> str | None:
        found: str | None = self._says("user", (uid,))
        return found


class _Host:
    """Host, as it was then; what was not asked then is not known."""

    def __init__(self, says: Callable[..., Any]) -> None:
        self._says = says

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        found: str | None = self._says("route", (address, netns))
        return found

    def listening(self, netns: int | None, pid: int, protocol: int = 6) -> tuple[Listening, ...] | None:
        found = self._says("listening", (netns, protocol))
        return None if found is None else tuple(Listening(*item) for item in found)

    def unix_sockets(self, netns: int | None, pid: int) -> tuple[UnixSocket, ...] | None:
        found = self._says("unix_sockets", (netns,))
        return None if found is None else tuple(UnixSocket(*item) for item in found)

    def overflows(self, netns: int | None, pid: int) -> int | None:
        found: int | None = self._says("overflows", (netns,))
        return found

    def owner(self, inode: int) -> Owner | None:
        found = self._says("owner", (inode,))
        return None if found is None else Owner(*found)

    def comm(self, pid: int) -> str | None:
        found: str | None = self._says("comm", (pid,))
        return found

    def file(self, path: str, pid: int) -> File | None:
        found = self._says("file", (path, pid))
        return None if found is None else File(*found)

    def named(self, address: str, pid: int) -> tuple[str, ...]:
        return tuple(str(name) for name in self._says("named", (address, pid), ()))
