"""What this host says of where attempts go, and why they fail there: the same for many attempts in a burst.

    Destinations.of(change, ...)  ->  Destination: the place, and the record's remote end
    Destinations.why(change, destination, ...)  ->  the diagnosis, with what names say of it

This host is asked once in a batch of records for each destination.  Where it says what it said before, the
objects stay the same, and with them what was made of them: diagnoses here, pieces of text in the faces.
"""

from __future__ import annotations

from dsight.connections.diagnose import diagnose, place, remote
from dsight.connections.diagnose_names import with_hosts, with_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.attempts import Change
    from dsight.connections.diagnose import Place
    from dsight.connections.host import Host
    from dsight.connections.model import Diagnosis, Endpoint
    from dsight.connections.naming import Named, Names

LIMIT = 1024  # destinations, and diagnoses, that are kept
SYNS = ("tcp", "mptcp", None)  # the protocols that have SYNs
_DECIDED = ("refused", "connected")  # outcomes that come in bursts, and of which the diagnosis has no time in it


class Destination:
    """One of them.  `end` has the name by which the process knows it."""

    __slots__ = ("again", "batch", "counted", "end", "name", "overflows", "place")

    def __init__(self, place: Place, end: Endpoint, name: Named | None) -> None:
        self.place = place
        self.end = end
        self.name = name
        self.batch = self.counted = 0  # in which this host was asked last, for it and for `overflows`
        self.overflows: int | None = None
        self.again = False  # it was met more than once: diagnoses are worth keeping


class Destinations:
    """See the module's docstring."""

    def __init__(self, host: Host, names: Names) -> None:
        self._host = host
        self._names = names
        self._batch = 0
        # With each the objects whose id() is in its key, that they stay what they are.
        self._known: dict[tuple[object, ...], Destination] = {}
        self._reasons: dict[tuple[object, ...], tuple[Diagnosis | None, tuple[object, ...]]] = {}

    def next(self) -> None:
        """Another batch begins: this host may say something else."""
        self._batch += 1

    def of(self, change: Change, look: bool, own: bool | None = None, name: Named | None = None) -> Destination:
        """`look`, `own`: as diagnose.place has them; `name`: by which the process knows it."""
        if change.family == "unix":
            return self._asked(change, look, own, name)
        key = (change.remote, change.local[0], change.netns, change.protocol, change.family, look, own, id(name))
        known = self._known.get(key)
        if known is not None and known.batch == self._batch:
            known.again = True
            return known
        found = self._asked(change, look, own, name)
        if known is not None and _same(known, found):
            found = known
            found.again = True
        else:
            if len(self._known) >= LIMIT:
                self._known.clear()
            self._known[key] = found
        found.batch = self._batch
        return found

    def _asked(self, change: Change, look: bool, own: bool | None, name: Named | None) -> Destination:
        where = place(change, self._host, look, own)
        return Destination(where, self.end(change, where, name), name)

    def end(self, change: Change, where: Place, name: Named | None) -> Endpoint:
        """The record's remote end."""
        end = remote(change, where, self._host)
        return end if name is None else end.replace(name=name.name)

    def overflows(self, change: Change, there: Destination) -> int | None:
        """Host.overflows in its namespace."""
        if there.counted != self._batch:
            there.counted = self._batch
            there.overflows = self._host.overflows(change.netns, change.who.pid)
        return there.overflows

    def why(self, change: Change, there: Destination, where: Place) -> Diagnosis | None:
        """The diagnosis.  `where`: the destination's place, or what more is known of it."""
        if not there.again or change.outcome not in _DECIDED or change.protocol not in SYNS:
            return self._why(change, there, where)
        who, seen = change.who, change.evidence
        key = (id(there), id(who), id(seen), change.event, change.error, change.local == change.remote)
        made = self._reasons.get(key)
        if made is None:
            if len(self._reasons) >= LIMIT:
                self._reasons.clear()
            made = self._reasons[key] = (self._why(change, there, where), (there, who, seen))
        return made[0]

    def _why(self, change: Change, there: Destination, where: Place) -> Diagnosis | None:
        why = diagnose(change, where, self._host)
        name = there.name
        if name is not None:
            same = self._names.addresses(change.who, name.name)
            return with_name(why, name, change.remote[0], where.self_, same)
        if change.event == "outcome" and change.protocol in ("tcp", "mptcp"):
            return with_hosts(why, change.remote[0], change.who.pid, self._host)
        return why


def _same(known: Destination, found: Destination) -> bool:
    """Whether this host says what it said before; of its listeners, whether they are what was found before."""
    was, now = known.place, found.place
    return (
        was.listening is now.listening
        and was.listener is now.listener
        and was.self_ == now.self_
        and was.route == now.route
        and known.end == found.end
    )
