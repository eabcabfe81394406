"""Who, in full: what the kernel froze at the attempt, completed from /proc while the process is still there.

`Who` (pid, comm, uid, arguments, parents, start time) is the kernel's own and holds for processes
that are long gone; executable, cgroup and unit come from /proc, and only if the process there
started when ours did.
"""

from __future__ import annotations

import os

from dsight.connections.host import read_text
from dsight.connections.model import Parent, Process
from dsight.kernel import cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.events import Who

_KEPT = 4096


class Processes:
    """Completes Who to Process; remembers what it found."""

    def __init__(self) -> None:
        self._tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._users: dict[int, str | None] = {}
        self._known: dict[tuple[object, ...], Process] = {}
        self._last: dict[int, tuple[Who, int | None, Process]] = {}  # by thread
        self._cgroups: dict[int, str] = {}  # id of a version 2 cgroup -> path

    def process(self, who: Who, netns: int | None) -> Process:
        """The record's process; the same object for the same facts."""
        last = self._last.get(who.tid)
        if last is not None and last[0] is who and last[1] == netns:
            return last[2]
        found = self._of_facts(who, netns)
        if len(self._last) >= _KEPT:
            self._last.clear()
        self._last[who.tid] = (who, netns, found)
        return found

    def _of_facts(self, who: Who, netns: int | None) -> Process:
        key = (who.pid, who.tid, who.start, who.comm, who.uid, who.cgroup, who.parents, who.args, netns)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            found = self._known[key] = self._complete(who, netns)
        return found

    def _complete(self, who: Who, netns: int | None) -> Process:
        exe, cmdline, cgroup = self._read(who)
        container, unit = place_of(cgroup)
        return Process(
            who.pid,
            who.tid,
            who.comm,
            exe,
            arguments(who, cmdline),
            who.parents[0][0] if who.parents else 0,
            tuple(Parent(pid, comm) for pid, comm in who.parents),
            who.uid,
            self._user(who.uid),
            cgroup,
            container,
            unit,
            netns,
        )

    def _read(self, who: Who) -> tuple[str | None, tuple[str, ...] | None, str | None]:
        """Executable, full arguments, cgroup; of a process that is gone the cgroup only, if that still is there."""
        base = f"/proc/{who.pid}"
        cmdline = read_text(base + "/cmdline")
        cgroup = read_text(base + "/cgroup")
        try:
            exe = os.readlink(base + "/exe")
        except OSError:
            exe = None
        stat = read_text(base + "/stat")  # last: it vouches for what was read before it
        if stat is None or state(stat) in "ZX" or start_ticks(stat) != who.start // self._tick:
            return None, None, self._cgroup(who.cgroup)
        line = None if not cmdline else tuple(cmdline.rstrip("\0").split("\0"))
        path = None
        if cgroup is not None:
            path, named_by_id = cgroup_of(cgroup)
            if named_by_id and path is not None:
                self._cgroups[who.cgroup] = path
        return exe, line, path

    def _cgroup(self, number: int) -> str | None:
        """The path of a version 2 cgroup; "/" says nothing."""
        if number not in self._cgroups and number != cgroups.ROOT:
            path = cgroups.path_of(number)
            if path is None:
                return None
            self._cgroups[number] = path
        return self._cgroups.get(number)

    def _user(self, uid: int) -> str | None:
        if uid not in self._users:
            import pwd

            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = None
        return self._users[uid]


def arguments(who: Who, cmdline: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What the kernel read; /proc's where that was cut and is the beginning of it, or where nothing
    could be read."""
    if who.args is None or (not who.args and who.args_size):
        return cmdline
    text = who.args.decode("utf-8", "surrogateescape")
    frozen = tuple(text.rstrip("\0").split("\0")) if text else ()
    if len(who.args) < who.args_size and cmdline is not None and cmdline[: len(frozen) - 1] == frozen[:-1]:
        return cmdline
    return frozen


def state(stat: str) -> str:
    """Field 3 of /proc/PID/stat, proc(5): Z and X have ended, and most of /proc forgets them."""
    return stat[stat.rfind(")") + 2 :][:1]


def start_ticks(stat: str) -> int:
    """Field 22 of /proc/PID/stat, proc(5); the comm before it may hold anything, parentheses too."""
    fields = stat[stat.rfind(")") + 2 :].split()
    return int(fields[19]) if len(fields) > 19 else -1


def cgroup_of(text: str) -> tuple[str | None, bool]:
    """The cgroup path of /proc/PID/cgroup, cgroups(7), and whether it is that of version 2; where
    version 2 says only "/", the most telling of version 1: systemd's, or the longest."""
    best, rank = None, -1
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers and path != "/":
            return path, True
        worth = 0 if path == "/" else 1000 if controllers == "name=systemd" else len(path)
        if worth > rank:
            best, rank = path, worth
    return best, False


def place_of(cgroup: str | None) -> tuple[str | None, str | None]:
    """Container (short id) and systemd unit that a cgroup path names."""
    import re

    if not cgroup:
        return None, None
    container = re.search(r"(?:^|[/:.-])([0-9a-f]{64})(?=$|[./])", cgroup)
    units = re.findall(r"[^/]+\.(?:service|scope|socket|mount|swap)(?=/|$)", cgroup)
    return container.group(1)[:12] if container else None, units[-1] if units else None


def descendants(roots: frozenset[int]) -> set[int]:
    """The processes that descend from `roots` now, roots included, by /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = read_text(f"/proc/{name}/stat")
            if stat is not None:
                children.setdefault(int(stat[stat.rfind(")") + 2 :].split()[1]), []).append(int(name))
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, ())
    return found
