"""Connects by io_uring: a request is the call, its completion the return."""

from __future__ import annotations

import errno
import re
import socket
import struct
from pathlib import Path

from tests.pure.connections.test_tracker import SECOND, SOCK, THERE, TID, T, outcome, play, state, syn, who

import dsight.connections
from dsight.connections import uring
from dsight.connections.events import CLOSE, ESTABLISHED
from dsight.connections.tracker import Tracker
from dsight.connections.uring import Requests, UringConnect, UringDone, UringPeer

REQUEST = 0xFFFF888000009000


def submit(sock: int = SOCK, fixed: bool = False, request: int = REQUEST, protocol: int = 6) -> list[object]:
    return [
        who(T, uring=True),
        UringConnect(T, TID, request, sock, fixed, protocol, 2, False, 4026),
        UringPeer(request, 2, THERE, 9300),
    ]


def sent(tid: int = TID, sock: int = SOCK) -> list[object]:
    """The SYN, and who is running then: the thread that submitted it, or a worker."""
    return [who(T + 10, tid, uring=True), syn(T, tid, sock)]


def done(result: int, time: int = T + 99) -> UringDone:
    return UringDone(time, REQUEST, result)


def test_connected_and_refused() -> None:
    for tid in (TID, TID + 5):
        changes = play(submit(), sent(tid), state(T + 50, ESTABLISHED), done(0))
        end = outcome(changes)
        assert (end.outcome, end.via, end.blocking, changes[0].time) == ("connected", "io_uring", True, T)
    end = outcome(play(submit(), sent(), state(T + 50, CLOSE, 111), done(-111)))
    assert (end.outcome, end.error, end.via) == ("refused", 111, "io_uring")


def test_never_sent() -> None:
    end = outcome(play(submit(), done(-errno.ENETUNREACH)))
    assert (end.outcome, end.remote, end.syns, end.via) == ("unreachable", (THERE, 9300), 0, "io_uring")
    assert play(submit(), done(-errno.ECANCELED)) == []  # nothing was tried
    assert play(submit(protocol=17), done(-errno.ENETUNREACH)) == []
    assert play([], done(-errno.ENETUNREACH)) == []  # it was submitted before we looked


def test_no_port_is_said_by_the_completion() -> None:
    end = outcome(play(submit(), sent(), state(T + 11, CLOSE), done(-errno.EADDRNOTAVAIL)))
    assert (end.outcome, end.evidence.no_port) == ("no-address", True)


def test_cancelled_by_a_linked_timeout() -> None:
    end = outcome(play(submit(), sent(), done(-errno.ECANCELED, T + SECOND), state(T + 2 * SECOND, CLOSE)))
    assert (end.outcome, end.error, end.evidence.by, end.waited) == ("aborted", errno.ECANCELED, "caller", SECOND)


def test_file_of_the_ring_is_known_by_its_destination() -> None:
    changes = play(submit(0, fixed=True), sent(TID + 1), state(T + 50, ESTABLISHED), done(0))
    assert outcome(changes).outcome == "connected" and changes[0].time == T
    assert changes[0].blocking is None


def test_bounded_and_forgotten() -> None:
    requests = Requests(limit=10)
    tracker = Tracker()
    tracker._requests = requests
    for n in range(50):
        play(submit(SOCK + n, n % 2 == 0, REQUEST + n), tracker=tracker)
    assert len(requests._all) == 10 and len(requests._fixed) + len(requests._by_sock) == 10
    for n in range(50):
        play(UringDone(T, REQUEST + n, -errno.ECANCELED), tracker=tracker)
    assert not (requests._all or requests._fixed or requests._by_sock)


def test_decoders() -> None:
    address = struct.pack("=H", 2) + struct.pack("!H", 9300) + socket.inet_aton(THERE) + bytes(20)
    assert uring.DECODERS[44](REQUEST, 16, address) == UringPeer(REQUEST, 2, THERE, 9300)
    assert uring.DECODERS[43](T, TID, REQUEST, SOCK, 1, 6, 2, 0o4000, 4026) == UringConnect(
        T, TID, REQUEST, SOCK, True, 6, 2, True, 4026
    )
    text = (Path(dsight.connections.__file__).parent / "uring.d").read_text()
    assert {int(n) for n in re.findall(r"\btrace\((4\d)\);", text)} == set(uring.DECODERS)
