"""The lookups' state machine: calls of the C library, programs that speak DNS themselves, and bounds."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from dsight.connections import lookup_events as ev
from dsight.connections import lookups as machine
from dsight.connections import naming
from dsight.connections.dns import AAAA, A
from dsight.connections.events import Who
from dsight.connections.lookups import Lookups
from dsight.connections.naming import Lookup, Named, Names, is_local, is_numeric

MS, S = 1_000_000, 1_000_000_000
SERVER = "10.0.0.53"


def who(tid: int = 7, pid: int = 7, start: int = 1) -> Who:
    return Who(0, tid, pid, "app", 0, start, 1, ((1, "init"),))


def packet(name: str, kind: int = A, number: int = 1, *addresses: str, rcode: int = -1, cut: bool = False) -> bytes:
    """A query; with addresses or an rcode, its answer."""
    answer = bool(addresses) or rcode >= 0 or cut
    flags = 0x8180 | max(rcode, 0) | (0x0200 if cut else 0) if answer else 0x0100
    out = struct.pack("!HHHHHH", number, flags, 1, len(addresses), 0, 0)
    out += b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0" + struct.pack("!HH", kind, 1)
    for a in addresses:
        family = socket.AF_INET6 if ":" in a else socket.AF_INET
        raw = socket.inet_pton(family, a)
        out += b"\xc0\x0c" + struct.pack("!HHIH", AAAA if ":" in a else A, 1, 60, len(raw)) + raw
    return out


class Bench:
    """A machine whose every thread is process 7, unless told otherwise."""

    def __init__(self, search: tuple[str, ...] = ()) -> None:
        self.who: dict[int, Who | None] = {}
        self.names = Names()
        self.lookups = Lookups(lambda tid: self.who.get(tid, who(tid)), self.names, lambda who: search)

    def feed(self, *events: object) -> list[Lookup]:
        return [one for event in events for one in self.lookups.handlers[type(event)](event)]

    def sent(
        self, time: int, data: bytes, sock: int = 100, tid: int = 7, server: str | None = SERVER, stream: bool = False
    ) -> list[Lookup]:
        return self.feed(ev.Sent(time, tid, sock, stream, server, 5, ((data, len(data)),)))

    def received(self, time: int, data: bytes, sock: int = 100, tid: int = 7, stream: bool = False) -> list[Lookup]:
        return self.feed(ev.Received(time, tid, sock, stream, False, data, len(data)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def call(name: str, error: str | None = None, *addresses: str, time: int = 0, took: int = MS, family: int = 0) -> list:
    return [
        ev.Asks(time, 7, 5, "host"), ev.Named(7, name), ev.Hints(7, family, False), ev.Service(7, "80"),
        *(ev.Address(7, (a,)) for a in addresses), ev.Found(time + took, 7, error),
    ]  # fmt: skip


def test_a_call(bench: Bench) -> None:
    (found,) = bench.feed(*call("db1", None, "10.0.0.5", "10.0.0.5", "fd00::5", family=2))
    assert (found.event, found.api, found.name, found.service, found.family) == (
        "lookup",
        "getaddrinfo",
        "db1",
        "80",
        "inet",
    )
    assert (found.answers, found.error, found.waited, found.source) == (("10.0.0.5", "fd00::5"), None, MS, None)
    assert bench.names.of(who(), "10.0.0.5") == Named("db1", None)
    assert bench.names.of(who(start=2), "10.0.0.5") is None, "another process, of the same number"
    assert bench.lookups.open == 0


@pytest.mark.parametrize(
    "meanwhile, source",
    [
        ([ev.InFiles(7)], "hosts"),
        ([ev.Consults(7, "/run/nscd/socket"), ev.Consulted(7, -2)], None),
        ([ev.Consults(7, "/run/nscd/socket"), ev.Consulted(7, 0)], "nscd"),
        ([ev.Consults(7, "/run/systemd/resolve/io.systemd.Resolve"), ev.Consulted(7, 0)], "resolved"),
        ([ev.Consults(7, None), ev.Consulted(7, 0)], None),
        ([ev.Consults(7, "/tmp/x"), ev.Consulted(7, 0)], None),
    ],
)
def test_where_the_answer_came_from(bench: Bench, meanwhile: list, source: str | None) -> None:
    first, *rest = call("db1", None, "10.0.0.5")
    (found,) = bench.feed(first, *meanwhile, *rest)
    assert found.source == source


def test_a_name_server_without_a_route(bench: Bench) -> None:
    """Not even connect(2) to it succeeds, so nothing is sent."""
    raw = (2).to_bytes(2, sys.byteorder) + (53).to_bytes(2, "big") + bytes([10, 0, 0, 53]) + bytes(8)
    tries = [e for _ in range(2) for e in (ev.DECODERS[52](7, 16, raw.ljust(110, b"\0")), ev.Consulted(7, -101))]
    first, *rest = call("db1", "EAI_AGAIN")
    (lost,) = bench.feed(first, *tries, *rest)
    assert [(q.name, q.type, q.server, q.sent, q.result) for q in lost.queries] == [
        ("db1", None, "10.0.0.53", 0, "ENETUNREACH")
    ]
    assert lost.source is None
    (found,) = bench.feed(first, *tries, *call("db1", None, "10.0.0.5")[1:])
    assert found.queries == (), "of what is found, getaddrinfo asks for the route"


def test_the_file_is_looked_at_where_nothing_else_tells() -> None:
    asked = []

    def in_hosts(of: Who, mounts: int, name: str, addresses: tuple[str, ...]) -> bool:
        asked.append((of.pid, mounts, name, addresses))
        return True

    lookups = Lookups(lambda tid: who(), None, in_hosts=in_hosts)
    events = [ev.Asks(0, 7, 5, "host", 1, 99), *call("db1", None, "10.0.0.5")[1:]]
    found = [one for event in events for one in lookups.handlers[type(event)](event)]
    assert found[0].source == "hosts" and asked == [(7, 99, "db1", ("10.0.0.5",))]


def test_dns_within_a_call_belongs_to_it(bench: Bench) -> None:
    asks, *rest = call("db1", None, "10.0.0.5", took=9 * MS)
    bench.feed(asks)
    two = ((packet("db1"), 40), (packet("db1", AAAA, 2), 40))
    for _ in range(2):  # sendmmsg(2) is seen once for each message
        bench.feed(ev.Sent(MS, 7, 100, False, SERVER, 5, two))
    assert bench.received(2 * MS, packet("db1", A, 1, "10.0.0.5")) == []
    assert bench.received(3 * MS, packet("db1", AAAA, 2, rcode=0)) == []
    (found,) = bench.feed(*rest)
    assert found.source == "dns" and found.api == "getaddrinfo"
    assert [(q.type, q.server, q.sent, q.result) for q in found.queries] == [
        ("A", SERVER, 1, "NOERROR"), ("AAAA", SERVER, 1, "NODATA"),
    ]  # fmt: skip
    assert bench.lookups.open == 0 and not bench.lookups._queries


def test_addresses_are_no_names(bench: Bench) -> None:
    assert bench.feed(*call("127.0.0.1", None, "127.0.0.1"), *call("::1", None, "::1")) == []
    events = call("db1", "EAI_NONAME")
    events[2] = ev.Hints(7, 0, True)
    assert bench.feed(*events) == []
    assert bench.names.of(who(), "127.0.0.1") is None


@pytest.mark.parametrize("text", ["1.2.3.4", "1", "0x7f.1", "::1", "fe80::1%eth0"])
def test_numeric(text: str) -> None:
    assert is_numeric(text)


@pytest.mark.parametrize("text", ["", "db1", "1x", "a.b", "1.2.3.4.5", "x::y", "0\x001"])
def test_not_numeric(text: str) -> None:
    assert not is_numeric(text)


@pytest.mark.parametrize(
    "text", ["localhost", "LocalHost.", "x.localhost", "web7", "web7.example.org", "ip6-localhost"]
)
def test_names_that_may_lead_here(text: str) -> None:
    assert is_local(text, "web7")


@pytest.mark.parametrize("text", ["db1", "localhost.example", "web", "web77"])
def test_names_that_should_not(text: str) -> None:
    assert not is_local(text, "web7") and not is_local(text, None)


def test_a_name_that_could_only_be_read_at_the_end(bench: Bench) -> None:
    bench.feed(ev.Asks(0, 7, 5, "host"))
    assert bench.lookups.tick(2 * S) == [], "nothing to say yet"
    (found,) = bench.feed(ev.Named(7, "late"), ev.Found(3 * S, 7, None))
    assert found.name == "late" and found.waited == 3 * S


def test_while_it_lasts(bench: Bench) -> None:
    bench.feed(*call("db1")[:2])
    bench.lookups.tick(0)
    waits = [n / 4 for n in range(1, 40) if bench.lookups.tick(n * S // 4)]
    assert waits == [1, 2, 4, 8]
    (end,) = bench.feed(ev.Gone(10 * S, 7))
    assert (end.error, end.waited) == ("aborted", 10 * S)
    assert bench.lookups.open == 0


def test_a_small_buffer_is_no_answer(bench: Bench) -> None:
    bench.feed(ev.Asks(0, 7, 5, "host", 0), ev.Named(7, "db1"))
    assert bench.feed(ev.Found(MS, 7, ev.AGAIN, 2)) == []
    assert bench.lookups.open == 0


def test_one_family_and_then_the_other_is_no_failure(bench: Bench) -> None:
    assert bench.feed(*call("db1", "EAI_NONAME", family=10)) == []
    first, second = bench.feed(*call("db1", None, "10.0.0.5", time=5 * MS, family=2))
    assert (first.error, first.excused, second.excused) == ("EAI_NONAME", True, False)
    (third,) = bench.feed(*call("db1", "EAI_NONAME", time=9 * MS, family=10))
    assert third.excused, "found before"
    assert bench.feed(*call("other", "EAI_NONAME", time=9 * MS, family=10)) == []
    (other,) = bench.lookups.tick(2 * S)
    assert other.name == "other" and not other.excused


def test_any_family_not_found_is_told_at_once(bench: Bench) -> None:
    (found,) = bench.feed(*call("db1", "EAI_NONAME"))
    assert found.error == "EAI_NONAME" and not found.excused


def test_of_nobody_selected_nothing_is_told(bench: Bench) -> None:
    bench.who[7] = None
    assert bench.feed(*call("db1", "EAI_NONAME")) == []
    assert bench.sent(0, packet("db1")) == [] and bench.lookups.open == 0
    assert bench.received(1, packet("db1", A, 1, "10.0.0.5")) == []


# Programs that speak DNS themselves.


def test_own_dns(bench: Bench) -> None:
    bench.sent(0, packet("db1.example"))
    bench.sent(0, packet("db1.example", AAAA, 2))
    assert bench.received(MS, packet("db1.example", A, 1, "10.0.0.5")) == [], "the other may come"
    assert bench.names.of(who(), "10.0.0.5") == Named("db1.example", "dns"), "but it may be used now"
    (found,) = bench.received(2 * MS, packet("db1.example", AAAA, 2, "fd00::5"))
    assert (found.api, found.source, found.answers) == ("dns", "dns", ("10.0.0.5", "fd00::5"))
    assert (found.waited, found.error, bench.lookups.open) == (2 * MS, None, 0)


def test_own_dns_not_found_waits_for_another_try(bench: Bench) -> None:
    bench.sent(0, packet("nx.example"))
    assert bench.received(MS, packet("nx.example", rcode=3)) == []
    assert bench.lookups.open == 1 and bench.lookups.tick(100 * MS) == []
    (found,) = bench.lookups.tick(S)
    assert (found.error, found.waited, bench.lookups.open) == ("NXDOMAIN", MS, 0)


def test_search_domains_are_one_lookup() -> None:
    bench = Bench(("a.example", "example"))
    bench.sent(0, packet("web.a.example"))
    bench.received(MS, packet("web.a.example", rcode=3))
    bench.sent(2 * MS, packet("web.example"), 101)
    (found,) = bench.received(3 * MS, packet("web.example", A, 1, "10.0.0.6"), 101)
    assert (found.name, found.error, [q.result for q in found.queries]) == ("web", None, ["NXDOMAIN", "NOERROR"])
    assert bench.names.of(who(), "10.0.0.6") == Named("web", "dns")


def test_other_names_are_others_lookups() -> None:
    bench = Bench(("example",))
    bench.sent(0, packet("a.one.example"))
    bench.sent(0, packet("a.two.example", A, 2))
    assert bench.lookups.open == 2


def test_names_of_a_resolver_that_answers_nothing(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    bench.lookups.tick(0)
    assert [one.event for one in bench.lookups.tick(S)] == ["looking-up"]
    bench.sent(5 * S, packet("db1"))
    bench.sent(10 * S, packet("db1", A, 2), 101)
    told = [one for n in range(11, 50) for one in bench.lookups.tick(n * S)]
    end = told[-1]
    assert (end.event, end.error, end.queries[0].sent, bench.lookups.open) == ("lookup", "TIMEOUT", 3, 0)


def test_a_truncated_answer_is_followed_by_tcp(bench: Bench) -> None:
    bench.sent(0, packet("big"))
    assert bench.received(MS, packet("big", cut=True)) == []
    query, answer = packet("big", A, 9), packet("big", A, 9, *[f"10.0.1.{n}" for n in range(40)])
    bench.feed(ev.Sent(2 * MS, 7, 200, True, SERVER, 5, ((struct.pack("!H", len(query)) + query, len(query) + 2),)))
    assert bench.received(3 * MS, struct.pack("!H", len(answer)), 200, stream=True) == []
    (found,) = bench.received(4 * MS, answer, 200, stream=True)
    assert len(found.answers) == 40 and found.error is None and len(found.queries) == 1


def test_the_second_server_answers(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    bench.sent(S, packet("db1", A, 2), 101, server="10.0.0.54")
    (found,) = bench.received(S + MS, packet("db1", A, 2, "10.0.0.5"), 101)
    assert [(q.server, q.result) for q in found.queries] == [(SERVER, None), ("10.0.0.54", "NOERROR")]


def test_a_late_answer_to_the_first_datagram(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    bench.sent(S, packet("db1", A, 2), 101)
    (found,) = bench.received(S + MS, packet("db1", A, 1, "10.0.0.5"))
    assert [(q.sent, q.result) for q in found.queries] == [(2, "NOERROR")]


def test_the_socket_says_that_nobody_listens(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    bench.feed(ev.WireError(MS, 7, 100, 111))
    (found,) = bench.lookups.tick(S)
    assert (found.error, found.queries[0].result) == ("ECONNREFUSED", "ECONNREFUSED")


def test_who_asked_ends(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    bench.sent(0, packet("nx", A, 2), 101)
    bench.received(MS, packet("nx", A, 2, rcode=3), 101)
    first, second = bench.feed(ev.Leaves(2 * S, 7))
    assert (first.name, first.error, second.name, second.error) == ("db1", "aborted", "nx", "NXDOMAIN")
    assert bench.lookups.open == 0


def test_an_answer_of_which_too_little_was_seen_is_no_failure(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    cut = packet("db1", A, 1, "10.0.0.5")[:-10]
    assert bench.received(MS, cut) == []
    (found,) = bench.lookups.tick(S)
    assert found.error is None and found.answers == ()


@pytest.mark.parametrize("kind", [2, 6, 12, 15, 16, 33, 65])
def test_what_asks_for_no_address_is_no_lookup(bench: Bench, kind: int) -> None:
    bench.sent(0, packet("example", kind))
    assert bench.lookups.open == 0


def test_an_answer_nobody_asked_for_changes_nothing(bench: Bench) -> None:
    bench.sent(0, packet("db1"))
    assert bench.received(1, packet("db1", A, 2, "10.6.6.6")) == []
    assert bench.received(1, packet("db2", A, 1, "10.6.6.6")) == []
    assert bench.received(1, packet("db1", A, 1, "10.6.6.6"), sock=101) == []
    assert bench.names.of(who(), "10.6.6.6") is None


def test_the_end(bench: Bench) -> None:
    bench.feed(*call("called")[:2])
    bench.sent(0, packet("asked"), tid=8)
    bench.sent(0, packet("nx", A, 3), 102, tid=8)
    bench.received(MS, packet("nx", A, 3, rcode=3), 102)
    bench.feed(ev.Asks(0, 9, 5, "host"), ev.Named(9, "six"), ev.Hints(9, 10, False), ev.Found(1, 9, "EAI_NONAME"))
    found = {one.name: one.error for one in bench.lookups.stop(S)}
    assert found == {"called": "pending", "asked": "pending", "nx": "NXDOMAIN", "six": "EAI_NONAME"}
    assert bench.lookups.open == 0 and bench.lookups.stop(S) == []


# Bounds.


def test_the_tables_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("LIMIT", 50), ("PIPELINED", 20), ("DOUBTFUL", 5)):
        monkeypatch.setattr(machine, name, most)
    for n in range(500):
        bench.who[n] = who(n, n)
        bench.feed(ev.Asks(n, 1000 + n, 5, "host"), ev.Named(1000 + n, "x"))
        bench.sent(n, packet(f"a{n}"), n, tid=n)
        bench.sent(n, packet(f"b{n}"), n, tid=7, server=None)
        bench.feed(ev.Server(n, "10.0.0.1"))
        bench.sent(n, b"\0", 10_000 + n, stream=True)
        bench.feed(*call(f"c{n}", "EAI_NONAME", family=10))
    made = bench.lookups
    assert len(made._calls) <= 50 and made._count <= 50 and sum(map(len, made._own.values())) == made._count
    assert len(made._queries) <= 50 and len(made._streams) <= 50 and len(made._servers) <= 50
    assert len(made._doubtful) <= 5
    made.stop(S)
    assert made.open == 0 and not made._queries and not made._own


def test_one_lookup_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PIPELINED", 20)
    for n in range(500):
        bench.sent(n, packet("db1", A, n), n, server=f"10.0.{n // 250}.{n % 250}")
    (lookup,) = bench.lookups.stop(S)
    assert len(lookup.queries) <= 20
    assert not bench.lookups._queries


def test_the_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "PROCESSES", 10)
    monkeypatch.setattr(naming, "ADDRESSES", 4)
    names = Names()
    for pid in range(100):
        names.remember(who(pid, pid), Named(f"n{pid}", None), [f"10.0.0.{n}" for n in range(9)])
    assert names.of(who(50, 50), "10.0.0.8") is None
    assert names.addresses(who(99, 99), "n99") == [f"10.0.0.{n}" for n in (5, 6, 7, 8)]
    assert names.of(who(99, 99), "10.0.0.8") == Named("n99", None)
