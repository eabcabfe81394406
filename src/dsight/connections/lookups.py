"""Which name is looked up, and what came of it: events in, lookups out, no I/O.

    lookup_events -> Lookups.handlers[type](event) -> [Lookup]
                     Lookups.tick(now)             -> those without an answer yet, those that are over

Two kinds, which may hold each other:

* a call of the C library, known by its thread: Asks .. Found; what the thread sends to port 53
  meanwhile belongs to it;
* a program that speaks DNS itself: its queries for A and AAAA of one name, and of the names that
  search domains make of it (resolv.conf(5)), are one lookup.  It is over when all are answered;
  where none had an address, when no other try follows within `GRACE`.
"""

from __future__ import annotations

from errno import EINPROGRESS

from dsight.connections import lookup_events as ev
from dsight.connections.dns import Message, Stream, parse
from dsight.connections.events import Who
from dsight.connections.lookup_state import SECOND, SUPERSEDED, TYPES, OpenLookup, OpenQuery
from dsight.connections.naming import NOT_FOUND, Lookup, Named, Names, is_local, is_numeric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.lookup_state import Key

GRACE = SECOND // 2  # ns: how long a lookup of a program's own that found nothing may be tried again
REST = 2 * SECOND  # how long the other query is waited for where one has been answered with addresses
PATIENCE = 30 * SECOND  # how long a query of a program's own is waited for at all
LIMIT = 16384  # open lookups, queries, streams: beyond it the oldest are forgotten
DOUBTFUL = 64  # calls that wait
PIPELINED = 256  # queries under way on one socket
_FAMILIES = {2: "inet", 10: "inet6"}
# Services that the C library asks over UNIX sockets
_SERVICES = (
    ("/nscd/", "nscd"), ("io.systemd.Resolve", "resolved"), ("/sss/", "sssd"), ("avahi", "mdns"),
)  # fmt: skip


class Lookups:
    """The state machine; see the module's docstring.

    `caller(tid)`: the identity recorded last in the thread.  `search(who)`: the search domains of its
    resolv.conf.  `in_hosts(who, mount namespace, name, addresses)`: whether its /etc/hosts says so.  `names`
    is told what is found.  `nodename`: this host's own name.
    """

    def __init__(
        self,
        caller: Callable[[int], Who | None],
        names: Names | None = None,
        search: Callable[[Who], tuple[str, ...]] = lambda who: (),
        in_hosts: Callable[[Who, int, str, tuple[str, ...]], bool] = lambda who, mounts, name, addresses: False,
        nodename: str | None = None,
    ) -> None:
        self._caller = caller
        self._search = search
        self._in_hosts = in_hosts
        self._nodename = nodename
        self.names = Names() if names is None else names
        self._calls: dict[int, OpenLookup] = {}  # by thread
        self._own: dict[tuple[int, int], list[OpenLookup]] = {}  # by process: pid, start
        self._count = 0  # of these
        self._queries: dict[int, dict[Key, OpenQuery]] = {}  # by socket
        self._streams: dict[tuple[int, str], Stream] = {}  # by socket and direction; of messages begun
        self._servers: dict[int, str | None] = {}  # by thread: of the Sent to come
        self._doubtful: list[tuple[int, Lookup]] = []  # when they are told, if they are not excused before
        self._due = 0
        self.decoders = ev.DECODERS
        self.handlers: dict[type, Callable[[Any], list[Lookup]]] = {
            kind: handle.__get__(self) for kind, handle in _HANDLERS.items()
        }

    @property
    def open(self) -> int:
        """How many lookups are under way."""
        return len(self._calls) + self._count + len(self._doubtful)

    def tick(self, now: int) -> list[Lookup]:
        """Those without an answer for 1, 2, 4 .. s, and those that are over."""
        if now < self._due:
            return []
        out: list[Lookup] = []
        due = now + SECOND
        for lookup in [*self._calls.values(), *(one for some in self._own.values() for one in some)]:
            if not lookup.is_call and self._is_over(lookup, now):
                out += self._close(lookup)
                continue
            if now >= lookup.hanging:
                if not lookup.answers and lookup.asked():
                    out.append(lookup.report("looking-up", now))
                while lookup.hanging <= now:
                    lookup.wait *= 2
                    lookup.hanging = lookup.start + lookup.wait
            due = min(due, lookup.hanging, lookup.settles or due)
        out += [lookup for when, lookup in self._doubtful if when <= now]
        self._doubtful = [(when, lookup) for when, lookup in self._doubtful if when > now]
        self._due = min([due, *(when for when, _ in self._doubtful)])
        return out

    def stop(self, now: int) -> list[Lookup]:
        """The watcher ends."""
        out = [c.report("lookup", now, "pending") for c in self._calls.values() if c.asked()]
        self._calls.clear()
        for lookup in [one for some in self._own.values() for one in some]:
            if lookup.answers or not any(q.open for q in lookup.queries.values()):
                out += self._close(lookup)
            else:
                self._forget(lookup)
                out.append(lookup.report("lookup", now, "pending"))
        out += [lookup for _, lookup in self._doubtful]
        self._doubtful.clear()
        return out

    # Calls of the C library.

    def _asks(self, event: ev.Asks) -> list[Lookup]:
        who = self._caller(event.tid)
        self._calls.pop(event.tid, None)
        if who is not None:
            if len(self._calls) >= LIMIT:
                del self._calls[next(iter(self._calls))]
            api = "getaddrinfo" if event.getaddrinfo else "gethostbyname"
            lookup = self._calls[event.tid] = OpenLookup(who, event.time, event.netns, api)
            lookup.nodename, lookup.mounts = event.nodename, event.mounts
            self._due = min(self._due, lookup.hanging)
        return []

    def _named(self, event: ev.Named) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None:
            call.name = event.name
        return []

    def _consults(self, event: ev.Consults) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None:
            path = event.path
            call.consulting = None if path is None else next((w for part, w in _SERVICES if part in path), None)
            call.server = event.server
        return []

    def _consulted(self, event: ev.Consulted) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None and call.consulting is not None:
            if event.ret == 0:
                call.source = call.consulting
            call.consulting = None
        if call is not None and call.server is not None:
            if event.ret < 0 and event.ret != -EINPROGRESS and len(call.unasked) < PIPELINED:
                call.unasked[call.server] = -event.ret
            call.server = None
        return []

    def _hints(self, event: ev.Hints) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None:
            call.family = _FAMILIES.get(event.family)
            call.numeric = event.numeric
        return []

    def _service(self, event: ev.Service) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None:
            call.service = event.service
        return []

    def _address(self, event: ev.Address) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None:
            call.answers.update(dict.fromkeys(event.addresses))
        return []

    def _in_files(self, event: ev.InFiles) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None:
            call.in_files = True
        return []

    def _found(self, event: ev.Found) -> list[Lookup]:
        call = self._end_call(event.tid)
        if call is None or event.error == ev.AGAIN:
            return []
        if event.family is not None:
            call.family = _FAMILIES.get(event.family)
        if event.error:
            call.answers.clear()
        if call.numeric or is_numeric(call.asked()):
            return []  # an address, no name: nothing was looked up
        if call.answers and call.source is None and not call.queries and not call.in_files:
            call.in_files = self._in_hosts(call.who, call.mounts, call.asked(), tuple(call.answers))
        lookup = call.report("lookup", event.time, event.error)
        self._remember(call, lookup.answers, lookup.source)
        return self._told(lookup)

    def _told(self, lookup: Lookup) -> list[Lookup]:
        """A call that is over.  One that found nothing in the one family it asked for waits a moment: many
        programs ask for the other family next, or have done so before, and that is all they need."""
        out = [lookup]
        if lookup.answers:
            same = [d for _, d in self._doubtful if _of_one(d, lookup)]
            self._doubtful = [(when, d) for when, d in self._doubtful if not _of_one(d, lookup)]
            out = [d.replace(excused=True) for d in same] + out
        elif lookup.family is not None and lookup.error in NOT_FOUND:
            if self.names.addresses(lookup.who, lookup.name):
                return [lookup.replace(excused=True)]
            self._doubtful.append((lookup.time + GRACE, lookup))
            self._due = min(self._due, lookup.time + GRACE)
            out = [d for _, d in self._doubtful[:-DOUBTFUL]]
            del self._doubtful[:-DOUBTFUL]
        return out

    def _remember(self, lookup: OpenLookup, addresses: tuple[str, ...], source: str | None) -> None:
        if addresses:
            name = lookup.asked()
            local = is_local(name, lookup.nodename or self._nodename)
            self.names.remember(lookup.who, Named(name, source, local), addresses)

    def _gone(self, event: ev.Gone) -> list[Lookup]:
        call = self._end_call(event.tid)
        return [] if call is None else [call.report("lookup", event.time, "aborted")]

    def _end_call(self, tid: int) -> OpenLookup | None:
        """The thread's call, which is over; None if there is none, or of a name that was never read."""
        call = self._calls.pop(tid, None)
        if call is not None:
            self._forget_queries(call)
        return call if call is not None and call.asked() else None

    def _leaves(self, event: ev.Leaves) -> list[Lookup]:
        """Nobody waits any more for what the thread asked."""
        out: list[Lookup] = []
        for lookup in [one for some in self._own.values() for one in some if one.tid == event.tid]:
            if lookup.answers or lookup.settles:
                out += self._close(lookup)
            else:
                self._forget(lookup)
                out.append(lookup.report("lookup", event.time, "aborted"))
        return out

    # DNS on the wire.

    def _server(self, event: ev.Server) -> list[Lookup]:
        if len(self._servers) >= LIMIT:
            self._servers.clear()
        self._servers[event.tid] = event.address
        return []

    def _sent(self, event: ev.Sent) -> list[Lookup]:
        who = self._caller(event.tid)
        server = event.server or self._servers.pop(event.tid, None)
        call = self._calls.get(event.tid)
        if who is None and call is None:
            return []
        for data in self._messages(event.sock, "sent", event.stream, event.pieces):
            message = parse(data)
            if message is not None and not message.answer and message.type in TYPES:
                self._ask(event, who, call, message, server)
        return []

    def _ask(
        self, event: ev.Sent, who: Who | None, call: OpenLookup | None, message: Message, server: str | None
    ) -> None:
        key = (message.id, message.name, message.type)
        query = self._queries.get(event.sock, {}).get(key)
        if query is not None and query.open:  # sent again; sendmmsg(2) shows each of its two twice
            if event.time - query.time > SECOND // 100:
                query.sent += 1
                query.time = query.lookup.last = event.time
                query.lookup.settles = 0
            return
        lookup = call
        if lookup is None:
            assert who is not None
            lookup = self._own_lookup(who, message.name, event)
        former = lookup.queries.get((message.name, message.type, server))
        query = OpenQuery(lookup, message, server, event.time)
        if former is not None:
            query.sent += former.sent
        elif len(lookup.queries) >= PIPELINED:
            del lookup.queries[next(iter(lookup.queries))]
        lookup.queries[message.name, message.type, server] = query
        lookup.tid = event.tid
        lookup.last = event.time
        lookup.settles = 0
        if event.sock not in self._queries and len(self._queries) >= LIMIT:
            del self._queries[next(iter(self._queries))]
        on_socket = self._queries.setdefault(event.sock, {})
        if len(on_socket) >= PIPELINED:
            del on_socket[next(iter(on_socket))]
        on_socket[key] = query
        lookup.keys.append((event.sock, key))
        if len(lookup.keys) > PIPELINED:
            self._forget_queries(lookup, 1)

    def _own_lookup(self, who: Who, name: str, event: ev.Sent) -> OpenLookup:
        """The lookup that a query belongs to: one under way for what may be the same name, or a new one."""
        bases = {name} | {name[: -len(s) - 1] for s in self._search(who) if name.endswith("." + s)}
        mine = self._own.setdefault((who.pid, who.start), [])
        for lookup in mine:
            if lookup.bases & bases:
                lookup.bases &= bases
                return lookup
        if self._count >= LIMIT:
            oldest = next(iter(self._own.values()))
            self._forget(oldest[0] if oldest else mine[0])
        lookup = OpenLookup(who, event.time, event.netns, "dns")
        lookup.bases = bases
        self._own.setdefault((who.pid, who.start), mine).append(lookup)
        self._count += 1
        self._due = min(self._due, lookup.hanging)
        return lookup

    def _received(self, event: ev.Received) -> list[Lookup]:
        out: list[Lookup] = []
        if event.sock not in self._queries or (event.stream and event.peek):
            return []
        for data in self._messages(event.sock, "received", event.stream, ((event.data, event.size),)):
            message = parse(data)
            if message is None or not message.answer:
                continue
            query = self._queries.get(event.sock, {}).get((message.id, message.name, message.type))
            if query is None or query.message is not None:
                continue
            query.message = message
            out += self._answered(query, event.time)
        return out

    def _answered(self, query: OpenQuery, time: int) -> list[Lookup]:
        lookup = query.lookup
        lookup.last = time
        message = query.message
        assert message is not None
        for other in lookup.queries.values():  # the same was asked again, or of another server before
            if (other.name, other.type) == (query.name, query.type) and other.open and not message.truncated:
                if other.server == query.server:
                    other.message = message
                elif message.rcode in (0, 3):
                    other.error = SUPERSEDED
        if lookup.is_call:
            return []
        lookup.answers.update(dict.fromkeys(message.addresses))
        self._remember(lookup, message.addresses, "dns")
        if any(q.open for q in lookup.queries.values()):
            return []
        if lookup.answers:
            return self._close(lookup)
        lookup.settles = time + GRACE
        self._due = min(self._due, lookup.settles)
        return []

    def _wire_error(self, event: ev.WireError) -> list[Lookup]:
        for query in self._queries.get(event.sock, {}).values():
            if query.message is None and not query.error:
                query.error = event.error
                lookup = query.lookup
                lookup.last = event.time
                if not lookup.is_call and not any(q.open for q in lookup.queries.values()):
                    lookup.settles = event.time + GRACE
                    self._due = min(self._due, lookup.settles)
        return []

    def _messages(self, sock: int, way: str, stream: bool, pieces: tuple[tuple[bytes, int], ...]) -> list[bytes]:
        if not stream:
            return [data for data, _ in pieces]
        begun = self._streams.pop((sock, way), None) or Stream()
        messages = [m for data, size in pieces for m in begun.feed(data, size)]
        if begun:
            if len(self._streams) >= LIMIT:
                del self._streams[next(iter(self._streams))]
            self._streams[sock, way] = begun
        return messages

    def _is_over(self, lookup: OpenLookup, now: int) -> bool:
        if lookup.settles:
            return now >= lookup.settles
        return now - lookup.last >= (REST if lookup.answers else PATIENCE)

    def _close(self, lookup: OpenLookup) -> list[Lookup]:
        """One of a program's own is over: what did it come to?"""
        self._forget(lookup)
        error = None
        if not lookup.answers:
            results = [q.value() for q in lookup.queries.values()]
            errors = [q.result for q in results if q.result is not None and q.result != "NOERROR"]
            unseen = any(q.result == "NOERROR" for q in results)  # an answer of which too little was seen
            error = None if unseen else _worst(errors) if errors else "TIMEOUT"
        return [lookup.report("lookup", lookup.last if error != "TIMEOUT" else lookup.last + PATIENCE, error)]

    def _forget(self, lookup: OpenLookup) -> None:
        key = (lookup.who.pid, lookup.who.start)
        mine = self._own.get(key, [])
        if lookup in mine:
            mine.remove(lookup)
            self._count -= 1
        if not mine:
            self._own.pop(key, None)
        self._forget_queries(lookup)

    def _forget_queries(self, lookup: OpenLookup, count: int | None = None) -> None:
        """What may still be answered: all of it, or the oldest."""
        for sock, key in lookup.keys[:count]:
            on_socket = self._queries.get(sock)
            if on_socket is not None and key in on_socket and on_socket[key].lookup is lookup:
                del on_socket[key]
                if not on_socket:
                    del self._queries[sock]
        del lookup.keys[:count]


def _of_one(one: Lookup, other: Lookup) -> bool:
    """Whether a process looked up the same name twice."""
    return (one.who.pid, one.who.start, one.name) == (other.who.pid, other.who.start, other.name)


def _worst(errors: list[str]) -> str:
    """Of several queries' results: one that says that the name could not be looked up, before one that says
    that there is none; of these NODATA, for then the name exists."""
    failed = [e for e in errors if e not in ("NXDOMAIN", "NODATA")]
    return failed[0] if failed else "NODATA" if "NODATA" in errors else errors[0]


_HANDLERS: dict[type, Callable[[Lookups, Any], list[Lookup]]] = {
    ev.Asks: Lookups._asks,
    ev.Named: Lookups._named,
    ev.Consults: Lookups._consults,
    ev.Consulted: Lookups._consulted,
    ev.Hints: Lookups._hints,
    ev.Service: Lookups._service,
    ev.Address: Lookups._address,
    ev.InFiles: Lookups._in_files,
    ev.Found: Lookups._found,
    ev.Gone: Lookups._gone,
    ev.Leaves: Lookups._leaves,
    ev.Server: Lookups._server,
    ev.Sent: Lookups._sent,
    ev.Received: Lookups._received,
    ev.WireError: Lookups._wire_error,
}
