"""What the watcher remembers is bounded, and goes with the connections.

Twenty thousand connections, a twentieth of them open at once; `DSIGHT_BOUNDS=1000000` makes it a million, 50,000 at
once (a minute or two), and prints the memory.
"""

from __future__ import annotations

import os
from collections import deque

from tests.pure.connections.test_watch import Host, records

from dsight.connections import callers, destinations, lives, processes
from dsight.connections.processes import Processes
from dsight.connections.tracker import WINNERS, Tracker
from dsight.connections.watch import Selection, Watcher

MADE = int(os.environ.get("DSIGHT_BOUNDS", "20000"))
AT_ONCE = MADE // 20
# What stays when all connections have ended, and how much of it at most.
KEPT = {
    "._tracker._callers._all": callers.LIMIT,
    "._tracker._won": WINNERS,
    "._lives._open": lives.LIMIT_RESETS,
    "._lives._processes": lives.PROCESSES,
    "._standing": lives.LIMIT_RESETS,
    "._processes._known": processes._KEPT,
    "._processes._last": processes._KEPT,
    "._processes._users": 1,
    "._destinations._known": destinations.LIMIT,
    "._destinations._reasons": destinations.LIMIT,
}


class Nobody(Processes):
    """Looks nothing up in /proc."""

    def _read(self, who: object) -> tuple[None, None, None]:
        return None, None, None


def sizes(thing: object, path: str = "", seen: set[int] | None = None) -> dict[str, int]:
    """The number of entries of each table that hangs on an object of the watcher's."""
    seen = set() if seen is None else seen
    found: dict[str, int] = {}
    if id(thing) in seen:
        return found
    seen.add(id(thing))
    if isinstance(thing, (dict, set, list, deque)):
        found[path] = len(thing)
        if isinstance(thing, list):
            for n, item in enumerate(thing[:9]):
                found |= sizes(item, f"{path}[{n}]", seen)
    elif type(thing).__module__.startswith(("dsight.", __name__)) and hasattr(thing, "__dict__"):
        for name, value in vars(thing).items():
            found |= sizes(value, f"{path}.{name}", seen)
    return found


def memory() -> int:
    """Resident, in MB: proc(5), field 2 of /proc/PID/statm."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def test_a_long_life() -> None:
    """Each connection by another process, of another address, every other one refused."""
    watcher = Watcher(Host(), Nobody())
    before = sizes(watcher)
    open_now: deque[tuple[object, ...]] = deque()
    outcomes, most = 0, 0
    used = [memory()]

    def end() -> None:
        nonlocal outcomes
        outcomes += sum(r.event == "outcome" for r in watcher.feed(open_now.popleft()))

    for n in range(MADE):
        error = 111 if n % 2 else 0
        who, connect, state = records(
            100 + n, f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", n % 60000 + 1, error=error
        )
        watcher.feed(who)
        watcher.feed(connect)
        open_now.append(state)
        most = max(most, watcher.open)
        if len(open_now) >= AT_ONCE:
            end()
        if n % (MADE // 10) == 0:
            used.append(memory())
    while open_now:
        end()
    used.append(memory())
    if "DSIGHT_BOUNDS" in os.environ:
        print("\nMB resident: before, after each tenth, at the end:", *used)
    assert (outcomes, most, watcher.open) == (MADE, AT_ONCE, 0)
    after = {name: size for name, size in sizes(watcher).items() if size > before.get(name, 0)}
    assert all(size <= KEPT.get(name, 0) for name, size in after.items()), after


def test_connections_that_stand_for_ever() -> None:
    """With --closed, what is forgotten for the bound is counted."""
    watcher = Watcher(Host(), Nobody(), Selection(closed=True))
    watcher._limit = watcher._lives._limit = 100
    for n in range(250):
        for row in records(100 + n, error=0):
            watcher.feed(row)
    assert (len(watcher._standing), len(watcher._lives._open), watcher.forgotten) == (100, 100, 150)


def test_outcomes_that_were_lost() -> None:
    """Records are lost under load: what is never told to have ended is given up, the oldest first."""
    tracker = Tracker(limit=100)
    given_up = 0
    for n in range(1000):
        for row in records(100 + n)[:2]:
            given_up += sum(c.outcome == "unknown" for c in tracker.feed(tracker.decoders[row[0]](*row[1:])))
    assert (tracker.open, given_up) == (100, 900)
    assert all(size <= 100 for name, size in sizes(tracker).items() if name != "._callers._all"), sizes(tracker)
