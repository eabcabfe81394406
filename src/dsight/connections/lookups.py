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

from dsight.connections import lookup_events as ev
from dsight.connections.dns import AAAA, RCODES, A, Message, Stream, parse
from dsight.connections.events import Who
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    _Key = tuple[int, str, int]  # of a query on its socket: id, name, type

SECOND = 1_000_000_000
GRACE = SECOND // 2  # ns: how long a lookup of a program's own that found nothing may be tried again
REST = 2 * SECOND  # how long the other query is waited for where one has been answered with addresses
PATIENCE = 30 * SECOND  # how long a query of a program's own is waited for at all
LIMIT = 16384  # open lookups, queries, streams: beyond it the oldest are forgotten
PROCESSES = 4096  # whose names are remembered
ADDRESSES = 256  # of each
DOUBTFUL = 64  # calls that wait
PIPELINED = 256  # queries under way on one socket
_TYPES = {A: "A", AAAA: "AAAA"}
# Errors that say that there is no such name, or address of it.
NOT_FOUND = frozenset({"EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY", "HOST_NOT_FOUND", "NO_DATA", "NXDOMAIN", "NODATA"})
_FAMILIES = {2: "inet", 10: "inet6"}
# Services that the C library asks over UNIX sockets
_SERVICES = (
    ("/nscd/", "nscd"), ("io.systemd.Resolve", "resolved"), ("/sss/", "sssd"), ("avahi", "mdns"),
)  # fmt: skip


class Query(Value):
    """One DNS query, and its answer if one came."""

    name: str
    type: str  # A, AAAA
    server: str | None
    sent: int = 1  # how often
    result: str | None = None  # NOERROR, NODATA, an rcode, the errno of the socket; None: no answer
    addresses: tuple[str, ...] = ()


class Named(Value):
    """The name a process got an address for; `local`: it may well lead to this host (is_local)."""

    name: str
    source: str | None
    local: bool = False


class Lookup(Value):
    """A lookup, so far (`looking-up`) or in the end (`lookup`)."""

    event: str
    time: int
    id: str
    who: Who
    netns: int | None
    api: str  # getaddrinfo, gethostbyname, dns
    name: str
    service: str | None
    family: str | None  # asked for; None: any, or unknown
    waited: int  # ns
    answers: tuple[str, ...] = ()
    error: str | None = None
    source: str | None = None
    queries: tuple[Query, ...] = ()
    nodename: str | None = None  # the host's name for itself, where the process runs
    excused: bool = False  # it found nothing in one family, and the process has an address of the other


class Names:
    """Which name a process got an address from: the last one."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], dict[str, Named]] = {}

    def remember(self, who: Who, named: Named, addresses: Iterable[str]) -> None:
        key = (who.pid, who.start)
        mine = self._of.pop(key, None)
        if mine is None:
            mine = {}
            if len(self._of) >= PROCESSES:
                del self._of[next(iter(self._of))]
        self._of[key] = mine  # the newest last
        for address in addresses:
            if mine.pop(address, None) is None and len(mine) >= ADDRESSES:
                del mine[next(iter(mine))]
            mine[address] = named

    def of(self, who: Who, address: str | None) -> Named | None:
        """The name, and where the answer came from."""
        mine = self._of.get((who.pid, who.start))
        return None if mine is None or address is None else mine.get(address)

    def addresses(self, who: Who, name: str) -> list[str]:
        """What the process got for a name."""
        return [a for a, named in self._of.get((who.pid, who.start), {}).items() if named.name == name]


class _Query:
    """One query under way."""

    __slots__ = ("addresses", "error", "lookup", "message", "name", "sent", "server", "time", "type")

    def __init__(self, lookup: _Lookup, message: Message, server: str | None, time: int) -> None:
        self.lookup = lookup
        self.name = message.name
        self.type = message.type
        self.server = server
        self.time = time
        self.sent = 1
        self.message: Message | None = None  # the answer
        self.error = 0

    @property
    def open(self) -> bool:
        """Whether an answer is still to come: a truncated one is followed by one over TCP."""
        return not self.error and (self.message is None or self.message.truncated)

    def value(self) -> Query:
        result = None
        addresses: tuple[str, ...] = ()
        if self.message is not None:
            addresses = self.message.addresses
            unsure = self.message.truncated or not self.message.whole
            result = RCODES.get(self.message.rcode, str(self.message.rcode)) if self.message.rcode else "NOERROR"
            if result == "NOERROR" and not addresses and not unsure:
                result = "NODATA"
        elif self.error > 0:
            from dsight.connections.model import error_name

            result = error_name(self.error)
        return Query(self.name, _TYPES[self.type], self.server, self.sent, result, addresses)


class _Lookup:
    """One open lookup."""

    __slots__ = (
        "answers", "api", "bases", "consulting", "family", "hanging", "in_files", "keys", "last", "name", "netns",
        "nodename", "numeric", "queries", "service", "settles", "source", "start", "wait", "who",
    )  # fmt: skip

    def __init__(self, who: Who, start: int, netns: int, api: str) -> None:
        self.who = who
        self.start = start
        self.netns = netns
        self.api = api
        self.name: str | None = None
        self.service: str | None = None
        self.family: str | None = None
        self.nodename: str | None = None
        self.answers: dict[str, None] = {}
        self.queries: dict[tuple[str, int, str | None], _Query] = {}
        self.bases: set[str] = set()  # what may have been asked for, search domains aside
        self.source: str | None = None
        self.consulting: str | None = None
        self.keys: list[tuple[int, _Key]] = []  # of its queries, in Lookups
        self.in_files = False
        self.numeric = False  # only an address will do
        self.hanging = start + SECOND
        self.wait = SECOND
        self.last = start  # when something last happened to it
        self.settles = 0  # when it is over, if nothing follows

    @property
    def is_call(self) -> bool:
        """Of the C library."""
        return self.api != "dns"

    def asked(self) -> str:
        """The name, as far as it is known."""
        if self.name is not None:
            return self.name
        names = list(dict.fromkeys(name for name, _, _ in self.queries))
        if len(names) > 1 and self.bases:
            return min(self.bases, key=len)
        return names[0] if names else ""

    def report(self, event: str, time: int, error: str | None = None) -> Lookup:
        """`answers` are those of the call, or those seen on the wire."""
        queries = tuple(q.value() for q in self.queries.values())
        answers = tuple(self.answers)
        source = self.source
        if self.in_files and answers:
            source = "hosts"
        elif queries and (source is None or any(a in q.addresses for q in queries for a in answers)):
            source = "dns"
        return Lookup(
            event, time, f"{self.start:x}-{self.who.tid}n", self.who, self.netns, self.api, self.asked(), self.service,
            self.family, max(time - self.start, 0), answers, error, source, queries, self.nodename,
        )  # fmt: skip


class Lookups:
    """The state machine; see the module's docstring.

    `caller(tid)`: the identity recorded last in the thread.  `search(who)`: the search domains of its
    resolv.conf.  `in_hosts(who, name, addresses)`: whether its /etc/hosts says so.  `names` is told what is
    found.  `nodename`: this host's own name.
    """

    def __init__(
        self,
        caller: Callable[[int], Who | None],
        names: Names | None = None,
        search: Callable[[Who], tuple[str, ...]] = lambda who: (),
        in_hosts: Callable[[Who, str, tuple[str, ...]], bool] = lambda who, name, addresses: False,
        nodename: str | None = None,
    ) -> None:
        self._caller = caller
        self._search = search
        self._in_hosts = in_hosts
        self._nodename = nodename
        self.names = Names() if names is None else names
        self._calls: dict[int, _Lookup] = {}  # by thread
        self._own: dict[tuple[int, int], list[_Lookup]] = {}  # by process: pid, start
        self._count = 0  # of these
        self._queries: dict[int, dict[_Key, _Query]] = {}  # by socket
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
            lookup = self._calls[event.tid] = _Lookup(who, event.time, event.netns, api)
            lookup.nodename = event.nodename
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
        return []

    def _consulted(self, event: ev.Consulted) -> list[Lookup]:
        call = self._calls.get(event.tid)
        if call is not None and call.consulting is not None:
            if event.ret == 0:
                call.source = call.consulting
            call.consulting = None
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
            call.in_files = self._in_hosts(call.who, call.asked(), tuple(call.answers))
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

    def _remember(self, lookup: _Lookup, addresses: tuple[str, ...], source: str | None) -> None:
        if addresses:
            name = lookup.asked()
            local = is_local(name, lookup.nodename or self._nodename)
            self.names.remember(lookup.who, Named(name, source, local), addresses)

    def _gone(self, event: ev.Gone) -> list[Lookup]:
        call = self._end_call(event.tid)
        return [] if call is None else [call.report("lookup", event.time, "aborted")]

    def _end_call(self, tid: int) -> _Lookup | None:
        """The thread's call, which is over; None if there is none, or of a name that was never read."""
        call = self._calls.pop(tid, None)
        if call is not None:
            self._forget_queries(call)
        return call if call is not None and call.asked() else None

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
            if message is not None and not message.answer and message.type in _TYPES:
                self._ask(event, who, call, message, server)
        return []

    def _ask(self, event: ev.Sent, who: Who | None, call: _Lookup | None, message: Message, server: str | None) -> None:
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
        query = _Query(lookup, message, server, event.time)
        if former is not None:
            query.sent += former.sent
        lookup.queries[message.name, message.type, server] = query
        lookup.last = event.time
        lookup.settles = 0
        if event.sock not in self._queries and len(self._queries) >= LIMIT:
            del self._queries[next(iter(self._queries))]
        on_socket = self._queries.setdefault(event.sock, {})
        if len(on_socket) >= PIPELINED:
            del on_socket[next(iter(on_socket))]
        on_socket[key] = query
        lookup.keys.append((event.sock, key))

    def _own_lookup(self, who: Who, name: str, event: ev.Sent) -> _Lookup:
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
        lookup = _Lookup(who, event.time, event.netns, "dns")
        lookup.bases = bases
        self._own.setdefault((who.pid, who.start), mine).append(lookup)
        self._count += 1
        self._due = min(self._due, lookup.hanging)
        return lookup

    def _received(self, event: ev.Received) -> list[Lookup]:
        out: list[Lookup] = []
        if event.stream and event.peek:
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

    def _answered(self, query: _Query, time: int) -> list[Lookup]:
        lookup = query.lookup
        lookup.last = time
        for other in lookup.queries.values():  # the same was asked before, of another server or over UDP
            if (other.name, other.type) == (query.name, query.type) and other.open and query.message is not None:
                if not query.message.truncated and query.message.rcode in (0, 3):
                    other.error = other.error or _SUPERSEDED
        if lookup.is_call or query.message is None:
            return []
        lookup.answers.update(dict.fromkeys(query.message.addresses))
        self._remember(lookup, query.message.addresses, "dns")
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

    def _is_over(self, lookup: _Lookup, now: int) -> bool:
        if lookup.settles:
            return now >= lookup.settles
        return now - lookup.last >= (REST if lookup.answers else PATIENCE)

    def _close(self, lookup: _Lookup) -> list[Lookup]:
        """One of a program's own is over: what did it come to?"""
        self._forget(lookup)
        error = None
        if not lookup.answers:
            results = [q.value() for q in lookup.queries.values()]
            errors = [q.result for q in results if q.result is not None and q.result != "NOERROR"]
            unseen = any(q.result == "NOERROR" for q in results)  # an answer of which too little was seen
            error = None if unseen else _worst(errors) if errors else "TIMEOUT"
        return [lookup.report("lookup", lookup.last if error != "TIMEOUT" else lookup.last + PATIENCE, error)]

    def _forget(self, lookup: _Lookup) -> None:
        key = (lookup.who.pid, lookup.who.start)
        mine = self._own.get(key, [])
        if lookup in mine:
            mine.remove(lookup)
            self._count -= 1
        if not mine:
            self._own.pop(key, None)
        self._forget_queries(lookup)

    def _forget_queries(self, lookup: _Lookup) -> None:
        for sock, key in lookup.keys:
            on_socket = self._queries.get(sock)
            if on_socket is not None and key in on_socket and on_socket[key].lookup is lookup:
                del on_socket[key]
                if not on_socket:
                    del self._queries[sock]
        lookup.keys.clear()


def _of_one(one: Lookup, other: Lookup) -> bool:
    """Whether a process looked up the same name twice."""
    return (one.who.pid, one.who.start, one.name) == (other.who.pid, other.who.start, other.name)


_SUPERSEDED = -1  # in place of an errno: the answer came another way


def _worst(errors: list[str]) -> str:
    """Of several queries' results: one that says that the name could not be looked up, before one that says
    that there is none; of these NODATA, for then the name exists."""
    failed = [e for e in errors if e not in ("NXDOMAIN", "NODATA")]
    return failed[0] if failed else "NODATA" if "NODATA" in errors else errors[0]


def is_local(name: str, nodename: str | None) -> bool:
    """Whether a name may well lead to this host: localhost and its kin (RFC 6761), the host's own name."""
    plain = name.lower().rstrip(".")
    if plain in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "localhost4", "localhost6"):
        return True
    if plain.endswith((".localhost", ".localdomain")):
        return True
    own = (nodename or "").lower().partition(".")[0]
    return bool(own) and plain.partition(".")[0] == own


def is_numeric(name: str) -> bool:
    """Whether a name is an address as inet_aton(3) and inet_pton(3) take it."""
    from _socket import AF_INET6, inet_aton, inet_pton

    try:
        if ":" in name:
            inet_pton(AF_INET6, name.partition("%")[0])
        else:
            if not name[:1].isdigit():
                return False
            inet_aton(name)
    except (OSError, ValueError):
        return False
    return True


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
    ev.Server: Lookups._server,
    ev.Sent: Lookups._sent,
    ev.Received: Lookups._received,
    ev.WireError: Lookups._wire_error,
}
