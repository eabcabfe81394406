"""Records in, reports out: selection, descendants, what is remembered of an attempt."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_network
from itertools import cycle

from dsight.connections.host import Listening, Owner
from dsight.connections.lookups import Lookups
from dsight.connections.model import LookupReport, Report
from dsight.connections.naming import Names
from dsight.connections.processes import Processes
from dsight.connections.script import script
from dsight.connections.watch import Selection, Watcher

T = 1_000_000_000


class Host:
    """Knows routes until its namespace goes."""

    gone = False

    def __init__(self, *dropped: int | None) -> None:
        self.dropped = cycle(dropped or (0,))

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        return None if self.gone else "local" if address == "10.0.0.1" else "unicast"

    def listening(self, netns: int | None, pid: int) -> tuple[Listening, ...] | None:
        return None if self.gone else ()

    def overflows(self, netns: int | None, pid: int) -> int | None:
        return next(self.dropped)

    def owner(self, inode: int) -> Owner | None:
        return None


def records(pid: int, address: str = "10.0.0.9", port: int = 80, comm: str = "app", uid: int = 0, parent: int = 1,
            error: int = 111) -> list[tuple[object, ...]]:  # fmt: skip
    there = struct.unpack("=I", socket.inet_aton(address))[0]
    be = struct.unpack("=H", struct.pack("!H", port))[0]
    new = 7 if error else 1
    zero = bytes(16)
    sock, name = 0xFFFF0000 + pid, comm.encode().ljust(16, b"\0")
    return [
        (1, T, pid, pid, comm, uid, 1, 1, 0, 0, parent, "parent", 0, "swapper"),
        (14, T, pid, sock, 2, 0, there, zero, zero, 0, be, 77, pid, uid, name, 6, 0),
        (7, T + 9, sock, T, 2, new, error, 0, 0, 2, 0, zero, 0),
    ]


def run(watcher: Watcher, rows: list[tuple[object, ...]]) -> list[tuple[str, int, str | None]]:
    return [(r.event, r.process.pid, r.outcome) for row in rows for r in watcher.feed(row)]


def watcher(roots: frozenset[int] | None = None, host: Host | None = None, **selection: object) -> Watcher:
    return Watcher(host or Host(), Processes(), Selection(**selection), roots)


def test_everything() -> None:
    assert run(watcher(), records(4194400)) == [("attempt", 4194400, None), ("outcome", 4194400, "refused")]


def test_selection() -> None:
    for wanted, other in [
        ({"ports": frozenset({80})}, {"ports": frozenset({81})}),
        ({"comms": ("x", "ap*")}, {"comms": ("ap",)}),
        ({"uids": frozenset({0})}, {"uids": frozenset({5})}),
        ({"networks": (ip_network("10.0.0.0/8"),)}, {"networks": (ip_network("2001:db8::/32"),)}),
    ]:
        assert len(run(watcher(**wanted), records(4194400))) == 2, wanted
        assert run(watcher(**other), records(4194400)) == [], other


def test_failed_only() -> None:
    assert run(watcher(failed=True), records(4194400)) == [("outcome", 4194400, "refused")]
    assert run(watcher(failed=True), records(4194400, error=0)) == []


def test_descendants() -> None:
    one = watcher(frozenset({50}))
    assert run(one, records(50)) and run(one, records(60)) == []
    run(one, [(12, T, 50, 60), (12, T, 60, 61), (12, T, 99, 98)])
    assert run(one, records(61)) and run(one, records(98)) == []
    run(one, [(13, T, 61)])
    assert run(one, records(61)) == []  # a pid used again
    assert run(one, records(70, parent=50))  # its fork was not seen
    one.adopt({80})
    assert run(one, records(80))


def test_of_no_interest_then_of_interest_in_one_thread() -> None:
    one = watcher(comms=("app",))
    rows = records(4194400, comm="other")
    assert run(one, [*rows[:1], *records(4194400)]) == [("attempt", 4194400, None), ("outcome", 4194400, "refused")]


def test_what_was_known_at_the_attempt_stays_known() -> None:
    host = Host()
    one = watcher(host=host)
    *before, end = records(4194400, "10.0.0.1")
    reports = [r for row in before for r in one.feed(row)]
    assert reports[0].remote.self_ is True and one.open == 1
    host.gone = True
    (last,) = one.feed(end)
    assert last.remote.self_ is True and last.diagnosis is not None
    assert last.diagnosis.code == "nothing-listens-here" and "unknown" in last.diagnosis.text
    assert one.open == 0


def test_hanging_and_pending() -> None:
    one = watcher()
    for row in records(4194400)[:2]:
        one.feed(row)
    assert [r.event for r in one.tick(3 * T)] == ["hanging"]
    (end,) = one.stop(4 * T)
    assert (end.outcome, end.latency_ns) == ("pending", 3 * T)


def test_script_fits_the_kernel() -> None:
    full = script(True, lambda name, argument: True)
    assert "icmp_send" in full and "sched_process_fork" in full and "trace(args[2]);\n}" in full
    old = script(False, lambda name, argument: name == "tcp_retransmit_skb" and argument < 2)
    assert "icmp_send" not in old and "sched_process_fork" not in old
    assert "trace(args[1]); trace(args[2]);" in old  # of another probe
    assert "trace(0);\n}" in old[old.index("tcp_retransmit_skb") :]


class Listens(Host):
    """Somebody listens at 10.0.0.1:80."""

    def listening(self, netns: int | None, pid: int) -> tuple[Listening, ...] | None:
        return (Listening("0.0.0.0", 80, 1, 0, 5),)


def test_a_queue_that_was_full_meanwhile() -> None:
    for counts, code in (((5, 7), "listener-full"), ((5, 5), "no-answer"), ((None, 7), "no-answer")):
        one = watcher(host=Listens(*counts))
        for row in records(4194400, "10.0.0.1")[:2]:
            one.feed(row)
        (hanging,) = one.tick(3 * T)
        assert hanging.diagnosis is not None and hanging.diagnosis.code == code
        if code == "listener-full":
            assert "full queues dropped 2 connections here (TcpExt ListenOverflows)" in hanging.diagnosis.text


def test_a_queue_that_was_found_full_stays_known() -> None:
    host = Listens()
    full = Listening("0.0.0.0", 80, 1, 6, 5)
    one = watcher(host=host)
    rows = records(4194400, "10.0.0.1")
    for row in rows[:2]:
        one.feed(row)
    host.listening = lambda netns, pid: (full,)  # type: ignore[method-assign]
    assert [r.diagnosis.code for r in one.tick(3 * T) if r.diagnosis] == ["listener-full"]
    host.listening = lambda netns, pid: ()  # type: ignore[method-assign]
    (end,) = one.stop(4 * T)
    assert end.diagnosis is not None and end.diagnosis.code == "listener-full"


def asks(name: str, *addresses: str, error: int = 0, pid: int = 7, service: str = "80") -> list[tuple[object, ...]]:
    sockaddrs = [struct.pack("=HH4s20x", 2, 0, socket.inet_aton(a)) for a in addresses]
    return [
        (1, T, pid, pid, "app", 0, 1, 1, 0, 0, 1, "parent", 0, "swapper"),
        (50, T, pid, 77, "web7", 1, 99), (51, pid, name), (54, pid, service), *((55, pid, s) for s in sockaddrs),
        (56, T + 3, pid, error),
    ]  # fmt: skip


def named(**selection: object) -> Watcher:
    names = Names()
    return Watcher(Host(), Processes(), Selection(**selection), None, [lambda caller: Lookups(caller, names)], names)  # type: ignore[arg-type]


def test_a_lookup_and_the_attempt_that_follows() -> None:
    w = named()
    reports = [r for row in asks("db1", "10.0.0.1") + records(7, "10.0.0.1") for r in w.feed(row)]
    assert [r.event for r in reports] == ["lookup", "attempt", "outcome"]
    found, attempt, outcome = reports
    assert (
        isinstance(found, LookupReport) and found.diagnosis is not None and found.diagnosis.code == "name-points-here"
    )
    assert isinstance(attempt, Report) and attempt.remote.name == "db1"
    assert isinstance(outcome, Report) and outcome.remote.name == "db1" and outcome.diagnosis is not None
    assert outcome.diagnosis.code == "nothing-listens-here"
    assert outcome.diagnosis.text.endswith("; db1 resolves to 10.0.0.1")


def test_which_lookups_are_selected() -> None:
    def seen(watcher: Watcher, rows: list[tuple[object, ...]]) -> int:
        return len([r for row in rows for r in watcher.feed(row)])

    rows = asks("db1", "10.0.0.9")
    assert seen(named(), rows) == seen(named(ports=frozenset({80})), rows) == 1
    assert seen(named(ports=frozenset({81})), rows) == seen(named(failed=True), rows) == 0
    assert seen(named(networks=(ip_network("10.0.0.0/24"),)), rows) == 1
    assert seen(named(networks=(ip_network("10.1.0.0/24"),)), rows) == 0
    assert seen(named(comms=("other",)), rows) == 0
    assert seen(named(failed=True), asks("db1", error=-2)) == 1


def test_in_a_batch_a_destination_is_asked_about_once() -> None:
    class Counting(Host):
        asked = 0
        answers: tuple[Listening, ...] = ()

        def listening(self, netns: int | None, pid: int) -> tuple[Listening, ...] | None:
            self.asked += 1
            return self.answers

    host = Counting()
    one = watcher(host=host)
    rows = [row for pid in range(70, 80) for row in records(pid, "10.0.0.1")]
    first = [r for r in one.feed(*rows) if r.event == "outcome"]
    assert (len(first), host.asked) == (10, 1) and {r.diagnosis.code for r in first} == {"nothing-listens-here"}
    again = [r for r in one.feed(*rows) if r.event == "outcome"]
    assert host.asked == 2 and all(a.remote is b.remote for a, b in zip(first, again))
    assert all(a.diagnosis is b.diagnosis for a, b in zip(first[1:], again[1:]))  # kept where it came twice
    host.answers = (Listening("10.0.0.1", 80, 5),)
    other = [r for r in one.feed(*rows) if r.event == "outcome"]
    assert host.asked == 3 and {r.diagnosis.code for r in other} == {"itself"}
