"""What the watcher remembers is bounded, and goes with the connections.

Ten thousand connections, 500 of them open at once; `DSIGHT_BOUNDS=1000000` makes it a
million, 50,000 at once (a minute or two).
"""

from __future__ import annotations

import os
from collections import deque

from tests.pure.connections.test_watch import Host, records

from dsight.connections.lives import LIMIT_RESETS
from dsight.connections.processes import _KEPT, Processes
from dsight.connections.tracker import WINNERS, Tracker
from dsight.connections.watch import Watcher

MADE = int(os.environ.get("DSIGHT_BOUNDS", "10000"))
AT_ONCE = MADE // 20


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


def test_a_long_life() -> None:
    watcher = Watcher(Host(), Nobody())
    before = sizes(watcher)
    open_now: deque[list[tuple[object, ...]]] = deque()
    outcomes = 0
    most = 0
    after_half: dict[str, int] = {}

    def end() -> None:
        nonlocal outcomes
        outcomes += sum(r.event == "outcome" for row in open_now.popleft() for r in watcher.feed(row))

    for n in range(MADE):
        error = 111 if n % 2 else 0
        rows = records(100 + n, f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", n % 60000 + 1, error=error)
        for row in rows[:2]:
            watcher.feed(row)
        open_now.append(rows[2:])
        most = max(most, watcher.open)
        if len(open_now) >= AT_ONCE:
            end()
        if n == MADE // 2:
            after_half = sizes(watcher)
    while open_now:
        end()
    after = sizes(watcher)
    assert (outcomes, most, watcher.open) == (MADE, AT_ONCE, 0)
    # Beside what is kept on purpose, up to a limit, there is what there was before.
    kept = {name for name, size in after.items() if size > before.get(name, 0)}
    limit = max(WINNERS, _KEPT, LIMIT_RESETS)
    assert all(after[name] <= limit for name in kept), {name: after[name] for name in kept}
    assert len(kept) <= 7, kept
    assert after_half and sum(after.values()) <= sum(after_half.values()) + 4 * limit
    attempts = {name: size for name, size in after.items() if name in ("._open", "._tracker._open", "._tracker._to")}
    assert attempts == {"._open": 0, "._tracker._open": 0, "._tracker._to": 0}


def test_outcomes_that_were_lost() -> None:
    """Records are lost under load: what is never told to have ended is given up, the oldest first."""
    tracker = Tracker(limit=100)
    given_up = 0
    for n in range(1000):
        for row in records(100 + n)[:2]:
            given_up += sum(c.outcome == "unknown" for c in tracker.feed(tracker.decoders[row[0]](*row[1:])))
    assert (tracker.open, given_up) == (100, 900)
    assert all(size <= 100 for name, size in sizes(tracker).items() if name != "._callers._all"), sizes(tracker)
