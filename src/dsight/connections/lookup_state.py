"""A lookup under way, and its queries: what lookups.Lookups keeps until it is over."""

from __future__ import annotations

from dsight.connections.dns import AAAA, RCODES, A, Message
from dsight.connections.model import error_name
from dsight.connections.naming import Lookup, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.events import Who

    Key = tuple[int, str, int]  # of a query on its socket: id, name, type

SECOND = 1_000_000_000
TYPES = {A: "A", AAAA: "AAAA"}
SUPERSEDED = -1  # in place of an errno: the answer came another way


class OpenQuery:
    """One query under way."""

    __slots__ = ("addresses", "error", "lookup", "message", "name", "sent", "server", "time", "type")

    def __init__(self, lookup: OpenLookup, message: Message, server: str | None, time: int) -> None:
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
            result = error_name(self.error)
        return Query(self.name, TYPES[self.type], self.server, self.sent, result, addresses)


class OpenLookup:
    """One open lookup."""

    __slots__ = (
        "answers", "api", "bases", "consulting", "family", "hanging", "in_files", "keys", "last", "mounts", "name",
        "netns", "nodename", "numeric", "queries", "server", "service", "settles", "source", "start", "tid", "unasked",
        "wait", "who",
    )  # fmt: skip

    def __init__(self, who: Who, start: int, netns: int, api: str) -> None:
        self.who = who
        self.start = start
        self.tid = who.tid  # of the thread that asked last
        self.netns = netns
        self.api = api
        self.name: str | None = None
        self.service: str | None = None
        self.family: str | None = None
        self.nodename: str | None = None
        self.mounts = 0
        self.answers: dict[str, None] = {}
        self.queries: dict[tuple[str, int, str | None], OpenQuery] = {}
        self.bases: set[str] = set()  # what may have been asked for, search domains aside
        self.source: str | None = None
        self.consulting: str | None = None
        self.server: str | None = None  # that it connects to now
        self.unasked: dict[str, int] = {}  # servers to which connect(2) failed, and the errno
        self.keys: list[tuple[int, Key]] = []  # of its queries, in Lookups
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
        if not answers:  # getaddrinfo(3) also connects to what it has found, to put it in order
            asked = {q.server for q in queries}
            unasked = {server: error for server, error in self.unasked.items() if server not in asked}
            queries += tuple(Query(self.asked(), None, s, 0, error_name(error)) for s, error in unasked.items())
        source = self.source
        if self.in_files and answers:
            source = "hosts"
        elif any(q.sent for q in queries) and (
            source is None or any(a in q.addresses for q in queries for a in answers)
        ):
            source = "dns"
        return Lookup(
            event, time, f"{self.start:x}-{self.who.tid}n", self.who, self.netns, self.api, self.asked(), self.service,
            self.family, max(time - self.start, 0), answers, error, source, queries, self.nodename,
        )  # fmt: skip
