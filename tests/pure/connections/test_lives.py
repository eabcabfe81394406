"""Connections that stand: who is told of, by whom they end, what is remembered and what is not."""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.pure.connections.test_watch import T, records, watcher

import dsight.connections
from dsight.connections import lives
from dsight.connections.lives import Ended, Life, Lives, closed_by, reset_early
from dsight.connections.model import Report, to_json
from dsight.connections.script import accepted as accepts
from dsight.connections.script import script

SOCK = 0xFFFF0000
BE80 = struct.unpack("=H", struct.pack("!H", 80))[0]
BE443 = struct.unpack("=H", struct.pack("!H", 443))[0]


def address(text: str) -> int:
    return struct.unpack("=I", socket.inet_aton(text))[0]


def connected(pid: int = 50) -> list[tuple[object, ...]]:
    """records(), the local port 443 known."""
    rows = records(pid, error=0)
    return [(*r[:-1], BE443) if r[0] == 7 else r for r in rows]


def ended(
    pid: int = 50,
    old: int = 1,
    error: int = 0,
    received: int = 9,
    flags: int = 0,
    acked: int = 502,
    local: int = BE443,
    remote: int = BE80,
) -> tuple[object, ...]:
    return (40, 5 * T, SOCK + pid, old, error, 700, 200, received, flags, 2, 800, acked, local, remote)


def accepted(tid: int = 50, state: int = 1) -> list[tuple[object, ...]]:
    return [
        (1, T, tid, tid, "srv", 0, 1, 1, 0, 0, 1, "parent", 0, "swapper"),
        (41, T, tid, SOCK + tid, state, 6, 2, address("10.0.0.1"), address("10.9.9.9"), bytes(16), bytes(16), BE443,
         BE80, 0, 77),
    ]  # fmt: skip


def run(one: object, rows: list[tuple[object, ...]]) -> list[Report]:
    return [r for row in rows for r in one.feed(row)]


@pytest.mark.parametrize(
    ("old", "error", "who"),
    [
        (1, 0, "us"),  # SO_LINGER 0, data unread, disconnect
        (1, 103, "us"),  # ss -K
        (4, 0, "us"),
        (5, 0, "us"),
        (4, 104, "us"),
        (11, 0, "us"),
        (4, 110, "us"),
        (9, 0, "peer"),
        (8, 0, "peer"),
        (8, 32, "reset"),
        (1, 104, "reset"),
        (1, 110, "timeout"),
        (1, 113, "timeout"),
    ],
)
def test_who_closed(old: int, error: int, who: str) -> None:
    assert closed_by(old, error) == who


def test_an_attempt_and_its_end() -> None:
    reports = run(watcher(closed=True), [*connected(), ended(flags=2)])
    assert [r.event for r in reports] == ["attempt", "outcome", "closed"]
    assert len({r.id for r in reports}) == 1
    last = to_json(reports[-1], 0)
    assert {k: last[k] for k in Life._fields} == {
        "duration_ns": 4 * T - 9,
        "bytes_sent": 500,  # each once
        "bytes_received": 8,  # the FIN is none
        "retransmits": 2,
        "srtt_us": 100,
        "closed_by": "us",
    }
    assert last["diagnosis"] is None and "latency_ns" not in last and "outcome" not in last


def test_only_early_resets_without_asking() -> None:
    for failed in (False, True):
        early = run(watcher(failed=failed), [*connected(), ended(error=104, received=0)])
        assert early[-1].event == "closed" and early[-1].diagnosis is not None
        assert early[-1].diagnosis.code == "reset-after-connect" and "500 bytes" in early[-1].diagnosis.text
        assert early[-1].error == "ECONNRESET"
        for other in (ended(received=0), ended(error=104), ended(old=4, error=104, received=0)):
            assert [r.event for r in run(watcher(failed=failed), [*connected(), other])][-1:] != ["closed"]
    assert [r.event for r in run(watcher(closed=True, failed=True), [*connected(), ended()])] == []


def test_socket_address_used_again() -> None:
    one = watcher(closed=True)
    run(one, connected())
    assert run(one, [ended(local=BE80)]) == []  # another connection, of which nothing is known
    assert run(one, [ended(pid=51)]) == []
    again = [r for r in run(one, [*connected(), ended(), ended()]) if r.event == "closed"]
    assert len(again) == 1


def test_accepted() -> None:
    one = watcher(accepted=True, closed=True)
    reports = run(one, [*accepted(), ended(error=104, received=0)])
    assert [(r.event, r.via, str(r.local), str(r.remote)) for r in reports] == [
        ("accepted", "accept", "10.0.0.1:443", "10.9.9.9:80"),
        ("closed", "accept", "10.0.0.1:443", "10.9.9.9:80"),
    ]
    assert reports[0].process.comm == "srv" and reports[1].diagnosis is None  # nothing that we asked for
    assert "latency_ns" not in to_json(reports[0], 0) and reports[1].life is not None
    assert [r.event for r in run(watcher(closed=True), [*accepted(), ended()])] == ["closed"]
    assert [r.event for r in run(watcher(accepted=True), accepted())] == ["accepted"]
    assert run(watcher(accepted=True, failed=True), accepted()) == []
    gone = watcher(accepted=True, closed=True)
    assert [r.event for r in run(gone, [*accepted(state=7), ended()])] == ["accepted"]  # reset while it waited


def test_accepted_is_selected_by_its_process_port_here_and_address_there() -> None:
    for wanted, other in [
        ({"comms": ("srv",)}, {"comms": ("x",)}),
        ({"ports": frozenset({443})}, {"ports": frozenset({80})}),
        ({"networks": (ip_network("10.9.0.0/16"),)}, {"networks": (ip_network("10.0.0.0/16"),)}),
    ]:
        assert len(run(watcher(accepted=True, closed=True, **wanted), [*accepted(), ended()])) == 2, wanted
        assert run(watcher(accepted=True, closed=True, **other), [*accepted(), ended()]) == [], other
    assert run(watcher(frozenset({99}), accepted=True), accepted()) == []


def test_what_is_remembered_is_bounded() -> None:
    one = watcher(closed=True)
    one._limit = one._lives._limit = 10
    for pid in range(100, 150):
        run(one, connected(pid))
    assert len(one._standing) == len(one._lives._open) == 10
    ends = [r.process.pid for pid in range(100, 150) for r in run(one, [ended(pid)])]
    assert ends == list(range(140, 150))
    assert not one._standing and not one._lives._open


def test_no_growth_when_ends_are_not_told() -> None:
    tracker = Lives(lambda tid: None, limit=10)
    change = next(c for c in run_changes(connected()) if c.outcome == "connected")
    for n in range(100):
        tracker.begin(change.replace(sock=n))
    assert len(tracker._open) == 10 and len(tracker._processes) == 1
    assert tracker.tick(1) == [] and tracker.stop(1) == [] and not tracker._open
    assert not reset_early(change)


def run_changes(rows: list[tuple[object, ...]]) -> list:
    from dsight.connections.events import decode
    from dsight.connections.tracker import Tracker

    tracker = Tracker()
    return [c for row in rows for c in tracker.feed(decode(row))]


def test_scripts_and_decoders_know_the_same_tags() -> None:
    folder = Path(dsight.connections.__file__).parent
    text = "".join((folder / name).read_text() for name in ("accept.d", "end.d"))
    assert {int(n) for n in re.findall(r"\btrace\((\d+)\);", text)} == set(lives.DECODERS)
    assert isinstance(lives.DECODERS[40](*ended()[1:]), Ended)


def test_script_has_the_ends_that_are_wanted() -> None:
    part = accepts(lambda name, argument: argument < 3, True)
    some, every = (script(False, lambda name, argument: True, [part], closed) for closed in (False, True))
    old = accepts(lambda name, argument: False, False)
    assert "mptcp_sock" in part.text and "mptcp_sock" not in old.text
    assert "io_uring_complete" in part.text and "io_uring" not in old.text + "".join(old.asks)
    assert "rawtp:::tcp_receive_reset\n/this->end" in some and "rawtp:::inet_sock_set_state\n/this->end" in every
    assert "rawtp:::END" not in some + every and "syscall::accept4:return" in some


def test_what_could_not_leave_was_not_sent() -> None:
    for old, sent in ((1, 199), (4, 198)):
        last = run(watcher(closed=True), [*connected(), ended(old=old, acked=200)])[-1]
        assert last.life is not None and last.life.bytes_sent == sent
    last = run(watcher(closed=True), [*accepted(), ended(acked=200)])[-1]
    assert last.life is not None and last.life.bytes_sent == 200
