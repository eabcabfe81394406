"""What of a filter the kernel left open: packets whose process it did not know."""

from __future__ import annotations

import os

from dsight.connections.host import Owner
from dsight.connections.processes import cgroup_of
from dsight.packets.script import Filter

_MOST = 65536  # processes that are remembered


class Choice:
    """Which packets to show, of those the kernel has passed."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._any = bool(wanted.pids or wanted.comms or wanted.uids or wanted.cgroups)
        self._family = set(wanted.pids)  # processes of the right descent
        self._known: dict[Owner, bool] = {}  # whether user and cgroup are right

    def takes(self, owner: Owner | None, ours: int) -> bool:
        """`ours`: as the record has it (snoop.d)."""
        if not self._any:
            return True
        if owner is None:
            return False
        if self._wanted.pids:
            if ours in (1, 3):
                self._family.add(owner.pid)
            elif owner.pid not in self._family:
                return False
        if ours == 1 and owner not in self._known:
            self._keep(owner, True)
        return self._named(owner) and self._placed(owner)

    def _named(self, owner: Owner) -> bool:
        """The kernel does not know names with `?` and `[..]`."""
        from fnmatch import fnmatchcase

        comms = self._wanted.comms
        return not comms or any(fnmatchcase(owner.comm, comm) for comm in comms)

    def _placed(self, owner: Owner) -> bool:
        if not self._wanted.uids and not self._wanted.cgroups:
            return True
        if owner not in self._known:
            self._keep(owner, self._asked(owner.pid))
        return self._known[owner]

    def _asked(self, pid: int) -> bool:
        """By /proc; what has ended cannot be asked."""
        try:
            if self._wanted.uids and os.stat(f"/proc/{pid}").st_uid not in self._wanted.uids:
                return False
            if not self._wanted.cgroups:
                return True
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
                return within(file.read(), self._wanted.cgroups)
        except OSError:
            return False

    def _keep(self, owner: Owner, right: bool) -> None:
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[owner] = right


def within(text: str, cgroups: tuple[tuple[int, int], ...]) -> bool:
    """Whether the cgroup that /proc/PID/cgroup names is one of these (level, id) or below it.  Raises OSError."""
    from dsight.kernel.cgroups import mount

    path, second = cgroup_of(text)
    parts = [part for part in (path or "").split("/") if part] if second else []
    root = mount()
    return any(
        level <= len(parts) and os.stat("/".join([root, *parts[:level]])).st_ino == number for level, number in cgroups
    )
