"""Who calls, by thread: what was recorded last of each.

The kernel records a thread again when something of it has changed, or after a while (call.d).
"""

from __future__ import annotations

from dsight.connections.events import Who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.connections.events import Args, Connect, Failed

LIMIT = 4096  # threads remembered; the kernel takes at most 1024 of them to be known


class Callers:
    """`takes`: whether somebody's attempts are of interest; what others do leads to nothing."""

    def __init__(self, takes: Callable[[Who], bool] = lambda who: True) -> None:
        self._takes = takes
        self._all: dict[int, Who | None] = {}  # None: of no interest

    def see(self, who: Who) -> None:
        """A thread has been recorded.  One that is as it was stays the same object, arguments included: much
        hangs on it."""
        before = self._all.pop(who.tid, None)
        if before is not None and _facts(before) == _facts(who):
            who = before
        if len(self._all) >= LIMIT:
            del self._all[next(iter(self._all))]
        self._all[who.tid] = who if self._takes(who) else None

    def args(self, args: Args) -> None:
        """The arguments of the process of which a thread has just been recorded."""
        who = self._all.get(args.tid)
        if who is not None and (who.args, who.args_size) != (args.data, args.size):
            self._all[args.tid] = who.replace(args=args.data, args_size=args.size)

    def of(self, tid: int) -> Who | None:
        """The identity recorded last in the thread, arguments and all; None: of no interest, or lost."""
        return self._all.get(tid)

    def named(self, call: Connect | Failed) -> Who | None:
        """The same for a thread of which the event itself says a little: that, where the rest was lost."""
        who = self._all.get(call.tid)
        if who is None and call.tid in self._all:
            return None
        if who is None or who.pid != call.pid or who.comm != call.comm:
            who = Who(0, call.tid, call.pid, call.comm, call.uid, 0, 0, ())
            return who if self._takes(who) else None
        return who


def _facts(who: Who) -> tuple[object, ...]:
    """All but when it was recorded, and the arguments."""
    return (who.pid, who.comm, who.uid, who.start, who.cgroup, who.parents, who.flags, who.uring, who.compat)
