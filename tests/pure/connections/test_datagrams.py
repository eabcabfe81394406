"""UDP: exchanges as events; what is an attempt, what is none, and that each has one outcome."""

from __future__ import annotations

import errno
import struct

from dsight.connections.attempts import SECOND, Change
from dsight.connections.datagram_events import DECODERS, UdpClosed, UdpError, UdpIcmp, UdpReceived, UdpSent
from dsight.connections.datagrams import EARLY, GIVE_UP, Datagrams
from dsight.connections.events import Enter, Leave, Peer, ProcessExit, Who
from dsight.connections.tracker import Tracker

T = 100 * SECOND
TID, SOCK, NETNS = 71, 0xFFFF888000002000, 4026
ME, DNS, LOG = ("10.0.0.1", 40000), ("10.0.0.9", 53), ("10.0.0.9", 514)


class Both:
    """The keeper of identities and the tracker of UDP, fed as Watcher does."""

    def __init__(self, answers: bool = True, limit: int = 8192) -> None:
        self.tcp = Tracker()
        self.udp = Datagrams(self.tcp.caller, answers, limit)

    def play(self, *events: object) -> list[Change]:
        changes: list[Change] = []
        for event in events:
            for one in event if isinstance(event, list) else [event]:
                for tracker in (self.tcp, self.udp):
                    handle = tracker.handlers.get(type(one))
                    changes += [] if handle is None else handle(one)
        return changes


def who(time: int = T, tid: int = TID, pid: int = 70) -> Who:
    return Who(time, tid, pid, "app", 1000, 5 * SECOND, 1, ((1, "init"),))


def connect(to: tuple[str, int], ret: int = 0, time: int = T, sock: int = SOCK, tid: int = TID, family: int = 2
            ) -> list[object]:  # fmt: skip
    return [
        who(time, tid),
        Enter(time, tid, 3, sock, 1, 17, 2, False, NETNS),
        Peer(tid, family, *to),
        Leave(time + 1000, tid, ret),
    ]


def sent(to: tuple[str, int], time: int = T + 5000, result: int = 9, count: int = 1, connected: bool = False,
         sock: int = SOCK, start: int = 0, pid: int = 70, port: int = 40000) -> list[object]:  # fmt: skip
    one = UdpSent(time, TID, sock, result, count, connected, (ME[0], port), to, NETNS, start or time)
    return [one] if connected or count > 1 else [who(time, pid=pid), one]


def told(changes: list[Change]) -> list[tuple[str, str, str | None, int]]:
    return [(c.event, c.via, c.outcome, c.error) for c in changes]


ATTEMPT = ("attempt", "connect", None, 0)
SEND = ("attempt", "send", None, 0)


def test_route_probes_are_no_attempts() -> None:
    """getaddrinfo connects to each address, some have no route, AF_UNSPEC between; nothing is sent."""
    for answers in (True, False):
        both = Both(answers)
        rows = connect(DNS), connect(("0.0.0.0", 0), 0, T + 5000, family=0), connect(LOG, 0, T + 10000)
        assert both.play(*rows) == []
        assert both.udp.tick(T + 20 * SECOND) == [] and both.udp.stop(T + 30 * SECOND) == []
    both = Both(False)
    no_route = connect(("2001:db8::1", 443), -errno.ENETUNREACH, T + 5000)
    assert both.play(connect(DNS), no_route, connect(LOG, 0, T + 20000)) == []
    assert both.udp.tick(T + 20 * SECOND) == [] and both.udp.stop(T + 30 * SECOND) == []


def test_a_connect_that_fails_alone_is_an_attempt() -> None:
    both = Both(False)
    assert both.play(connect(DNS, -errno.ENETUNREACH)) == []
    changes = both.udp.tick(T + SECOND)
    assert told(changes) == [ATTEMPT, ("outcome", "connect", "unreachable", errno.ENETUNREACH)]
    assert (changes[1].waited, changes[1].evidence.on_wire, changes[1].remote) == (1000, False, DNS)
    assert both.udp.stop(T + 2 * SECOND) == []
    assert told(Both(True).play(connect(DNS, -errno.EACCES)))[1][2] == "denied"  # --udp: at once


def test_connected_and_quiet() -> None:
    both = Both(False)
    assert told(both.play(connect(DNS), sent(DNS, connected=True))) == [ATTEMPT]
    assert both.udp.tick(T + SECOND // 2) == []
    (end,) = both.udp.tick(T + 2 * SECOND)
    assert (end.outcome, end.waited, end.datagrams) == ("connected", 1000, 1)
    assert both.udp.stop(T + 3 * SECOND) == []
    # Refused later: a further attempt, once.
    refused = UdpError(T + 3 * SECOND, SOCK, errno.ECONNREFUSED, ME, DNS)
    again = both.play(refused, refused)
    assert told(again) == [SEND, ("outcome", "send", "refused", errno.ECONNREFUSED)]
    assert again[0].id != end.id


def test_refused_over_loopback_before_sending_returns() -> None:
    for answers in (True, False):
        both = Both(answers)
        refused = UdpError(T + 4000, SOCK, errno.ECONNREFUSED, ME, DNS)
        changes = both.play(connect(DNS), refused, sent(DNS, connected=True), refused)
        assert told(changes) == [ATTEMPT, ("outcome", "connect", "refused", errno.ECONNREFUSED)]
        assert changes[1].waited == 4000 and changes[1].local == ME
        both = Both()
        icmp = UdpIcmp(T + 4000, NETNS, errno.ECONNREFUSED, DNS, ME[1])
        changes = both.play(icmp, sent(DNS, start=T + 3000))
        assert told(changes) == [SEND, ("outcome", "send", "refused", errno.ECONNREFUSED)]
        assert changes[1].waited == 1000
    stale = UdpIcmp(T - SECOND, NETNS, errno.ECONNREFUSED, DNS, ME[1])  # the port was somebody else's
    assert told(Both().play(stale, sent(DNS))) == [SEND]


def test_errors_of_sending_and_icmp() -> None:
    for changes, outcome in [
        (Both().play(sent(DNS, result=-errno.EPERM)), "denied"),
        (Both().play(sent(DNS, result=-errno.ENETUNREACH)), "unreachable"),
        (Both().play(sent(DNS), UdpIcmp(T + SECOND, NETNS, errno.EHOSTUNREACH, DNS, ME[1])), "unreachable"),
        (Both().play(sent(DNS), UdpIcmp(T + SECOND, NETNS, errno.ENOPROTOOPT, DNS, ME[1])), "unreachable"),
    ]:
        assert [c.outcome for c in changes] == [None, outcome]
        assert changes[1].evidence.on_wire is (changes[1].datagrams == 1) is (changes[1].waited > 0)
    quiet = [sent(DNS, result=-errno.EAGAIN), UdpError(T + 1, SOCK, errno.EMSGSIZE, ME, DNS),
             UdpIcmp(T, NETNS, 0, DNS, ME[1]), UdpIcmp(T, NETNS + 1, errno.ECONNREFUSED, DNS, ME[1])]  # fmt: skip
    assert told(Both().play(*quiet)) == [SEND]


def test_a_reply_is_connected_and_counts_datagrams() -> None:
    both = Both()
    changes = both.play(sent(DNS), sent(DNS, T + 6000, count=2), sent(DNS, T + 7000, count=4))
    changes += both.play(UdpReceived(T + 25000, SOCK, LOG), UdpReceived(T + 25000, SOCK, DNS))
    assert told(changes) == [SEND, ("outcome", "send", "connected", 0)]
    assert (changes[1].waited, changes[1].datagrams) == (20000, 4)
    assert (
        both.play(sent(DNS, T + 30000, count=8), UdpReceived(T + 40000, SOCK, DNS), UdpClosed(T + SECOND, SOCK)) == []
    )


def test_a_reply_told_before_the_datagram() -> None:
    changes = Both().play(UdpReceived(T + 4000, SOCK, DNS), sent(DNS, start=T + 3000))
    assert told(changes) == [SEND, ("outcome", "send", "connected", 0)] and changes[1].waited == 1000


def test_answering_is_no_attempt() -> None:
    both = Both()
    assert both.play(UdpReceived(T, SOCK, DNS), sent(DNS, start=T + 3000), sent(DNS, T + 9000)) == []
    assert both.udp.stop(T + 60 * SECOND) == []


def test_silence_of_a_protocol_that_answers() -> None:
    both = Both()
    both.play(sent(DNS))
    assert [c.event for c in both.udp.tick(T + 2 * SECOND)] == ["hanging"]
    assert both.udp.tick(T + 2 * SECOND + 1) == []
    assert [c.event for c in both.udp.tick(T + 5 * SECOND)] == ["hanging"]
    (end,) = both.play(UdpClosed(T + 6 * SECOND, SOCK))
    assert (end.outcome, end.evidence.by, end.error) == ("aborted", "caller", 0)
    both.play(sent(DNS, T + 7 * SECOND))
    (end,) = both.play(ProcessExit(T + 8 * SECOND, 70))
    assert end.outcome == "aborted"


def test_silence_of_one_that_may_not_answer_is_no_alarm() -> None:
    both = Both()
    both.play(sent(LOG))
    assert both.udp.tick(T + 5 * SECOND) == []
    (end,) = both.udp.tick(T + GIVE_UP + SECOND)
    assert (end.outcome, end.error) == ("sent", 0)
    assert both.udp.stop(T + 60 * SECOND) == []
    both = Both()
    both.play(sent(LOG))
    assert [c.outcome for c in both.play(UdpClosed(T + SECOND, SOCK))] == ["sent"]
    both = Both()
    both.play(sent(LOG))
    assert [c.outcome for c in both.udp.stop(T + SECOND)] == ["pending"]


def test_each_destination_and_each_connect_is_an_attempt() -> None:
    both = Both()
    assert told(both.play(sent(DNS), sent(LOG), sent(DNS), sent(LOG))) == [SEND, SEND]
    both = Both(False)
    first = both.play(connect(DNS), sent(DNS, connected=True))
    both.udp.tick(T + 2 * SECOND)
    then = T + 3 * SECOND
    second = both.play(connect(DNS, 0, then), sent(DNS, then + 5000, connected=True))
    assert told(first) == told(second) == [ATTEMPT] and first[0].id != second[0].id


def test_nobody_to_name_nothing_to_tell() -> None:
    assert Both().play(sent(DNS)[1:]) == []
    assert Both().play(UdpError(T, SOCK, errno.ECONNREFUSED, ME, DNS), UdpClosed(T, SOCK), ProcessExit(T, 70)) == []


def test_what_is_remembered_is_bounded() -> None:
    both = Both(limit=50)
    changes: list[Change] = []
    for n in range(2000):
        changes += both.play(sent(DNS, T + n, sock=SOCK + n, pid=1000 + n, port=1 + n))
        both.play(UdpReceived(T, n, LOG), UdpIcmp(T, NETNS, errno.ECONNREFUSED, LOG, n))
        both.play(connect(DNS, 0, T + n, SOCK - n, tid=5000 + n))
    assert sum(c.event == "attempt" for c in changes) == 2000
    assert sum(c.outcome == "pending" for c in changes) == 1950
    assert len(both.udp.stop(T + SECOND)) == 50
    udp = both.udp
    for kept in (udp._exchanges, udp._ports, udp._of_sock, udp._of_pid, udp._connected, udp._row, udp._calls):
        assert len(kept) <= 50
    assert len(udp._early) <= EARLY and len(udp._early_icmp) <= EARLY


def be(port: int) -> int:
    return struct.unpack("=H", struct.pack("!H", port))[0]


def test_decoders() -> None:
    hi, lo = struct.unpack("=QQ", bytes(10) + b"\xff\xff\x0a\x00\x00\x09")
    six = struct.unpack("=QQ", bytes.fromhex("20010db8") + bytes(11) + b"\x01")
    mine = struct.unpack("=I", bytes([10, 0, 0, 1]))[0]
    zero = bytes(16)
    assert DECODERS[21](T, TID, SOCK, -1, 2, 1, 2, mine, zero, be(40000), hi, lo, be(53), NETNS, 0) == UdpSent(
        T, TID, SOCK, -1, 2, True, ME, DNS, NETNS, T
    )
    assert DECODERS[22](T, SOCK, *six, be(53)) == UdpReceived(T, SOCK, ("2001:db8::1", 53))
    assert DECODERS[24](T, NETNS, 0, 3, hi, lo, be(9), be(53)) == UdpIcmp(T, NETNS, errno.ECONNREFUSED, DNS, 9)
    assert DECODERS[24](T, NETNS, 1, 4, *six, be(9), be(53)).error == errno.ECONNREFUSED
    assert DECODERS[24](T, NETNS, 0, 4, hi, lo, be(9), be(53)).error == 0
    there = struct.unpack("=I", bytes([10, 0, 0, 9]))[0]
    error = DECODERS[20](T, SOCK, 111, 2, mine, there, zero, zero, be(40000), be(53))
    assert error == UdpError(T, SOCK, 111, ME, DNS)
