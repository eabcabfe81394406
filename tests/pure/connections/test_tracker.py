"""Each row of the table "What each outcome looks like on tracepoints", as events; and what must not confuse."""

from __future__ import annotations

import errno

from dsight.connections.attempts import SECOND, Change
from dsight.connections.events import (
    CLOSE,
    ESTABLISHED,
    MPTCP,
    PF_KTHREAD,
    SYN_RECV,
    SYN_SENT,
    TCP,
    Args,
    Call,
    Connect,
    Drop,
    Failed,
    Icmp,
    Retransmit,
    Returned,
    SockError,
    State,
    SynSent,
    Watched,
    Who,
)
from dsight.connections.tracker import Tracker

T = 100 * SECOND
TID, SOCK = 71, 0xFFFF888000001000
ME, THERE = "10.0.0.1", "10.0.0.9"


def who(time: int = T, tid: int = TID, **more: object) -> Who:
    return Who(time, tid, 70, "app", 1000, 5 * SECOND, 1, ((1, "init"),), **more)


def call(sock: int = SOCK, protocol: int = TCP) -> Call:
    return Call(T, TID, sock, protocol, 2, False, 4026)


def connect(time: int = T, tid: int = TID, sock: int = SOCK, remote: str = THERE,
            nonblocking: bool = False, protocol: int = TCP) -> list[object]:  # fmt: skip
    """connect(2) that sends its SYN, and who calls."""
    one = Connect(time, tid, 70, "app", 1000, sock, protocol, 2, ME, 0, remote, 9300, 4026, nonblocking)
    return [who(time, tid), Args(tid, 4, b"app\0"), one]


def failed(ret: int, sock: int = SOCK, protocol: int = TCP, address: str | None = THERE) -> list[object]:
    """connect(2) that sends nothing."""
    return [who(), Failed(T + 9, TID, 70, "app", 1000, call(sock=sock, protocol=protocol), ret, 2, address, 9300)]


def syn(time: int = T + 10, tid: int = TID, sock: int = SOCK, remote: str = THERE, **more: object) -> SynSent:
    return SynSent(time, tid, sock, 2, ME, 0, remote, 9300, 4026, **more)


def state(
    time: int, new: int, error: int = 0, soft: int = 0, old: int = SYN_SENT, local: str = ME, mark: int = T,
    reset: bool = False, inside: bool = False, sock: int = SOCK, port: int = 40000,
) -> State:  # fmt: skip
    return State(time, sock, mark, old, new, error, soft, reset, inside, local, port)


def leave(time: int, ret: int, state: int = SYN_SENT) -> Returned:
    return Returned(time, SOCK, T, ret, state)


def play(*events: object, tracker: Tracker | None = None) -> list[Change]:
    tracker = Tracker() if tracker is None else tracker
    changes: list[Change] = []
    for event in events:
        for one in event if isinstance(event, list) else [event]:
            changes += tracker.feed(one)
    return changes


def outcome(changes: list[Change]) -> Change:
    """The one outcome of the one attempt."""
    assert [c.event for c in changes if c.event != "hanging"] == ["attempt", "outcome"]
    assert changes[0].id == changes[-1].id
    return changes[-1]


def test_connected() -> None:
    changes = play(connect(), state(T + 500, ESTABLISHED), leave(T + 600, 0))
    attempt, end = changes
    assert attempt.remote == (THERE, 9300) and attempt.local == (ME, None)
    assert attempt.blocking is True and attempt.netns == 4026 and attempt.via == "connect"
    assert attempt.who.args == b"app\0" and attempt.time == T
    assert (end.outcome, end.error, end.waited, end.syns) == ("connected", 0, 500, 1)
    assert end.local == (ME, 40000)


def test_refused_blocking() -> None:
    end = outcome(
        play(
            connect(),
            state(T + 30, CLOSE, 111, reset=True),
            SockError(T + 31, SOCK, 111, 0),
            SockError(T + 32, SOCK, 0, 0),
            leave(T + 40, -111),
        )
    )
    assert (end.outcome, end.error) == ("refused", 111)
    assert end.evidence.reset and end.evidence.by == "kernel"


def test_refused_nonblocking_is_decided_before_einprogress() -> None:
    changes = play(connect(nonblocking=True), state(T + 30, CLOSE, 111, reset=True), leave(T + 40, -115))
    assert outcome(changes).outcome == "refused" and changes[-1].time == T + 30
    assert changes[-1].blocking is False


def test_error_reported_before_the_state_changes_decides() -> None:
    # tcp_write_err of kernels before 6.10 reports first; the process may take the error away in between.
    changes = play(connect(), SockError(T + 30, SOCK, 110, 0), state(T + 31, CLOSE, 0), leave(T + 40, -110))
    assert (outcome(changes).outcome, changes[-1].time) == ("timed-out", T + 30)


def test_the_call_decides_where_the_socket_was_not_heard() -> None:
    changes = play(connect(), leave(T + 3_000_000_000, -errno.EHOSTUNREACH))
    assert (outcome(changes).outcome, outcome(changes).error) == ("unreachable", errno.EHOSTUNREACH)
    assert [c.event for c in play(connect(), leave(T + 20, -errno.EAGAIN))] == ["attempt"]


def test_connected_and_the_socket_was_not_heard() -> None:
    end = outcome(play(connect(), leave(T + 20, 0, ESTABLISHED)))
    assert (end.outcome, end.via, end.waited) == ("connected", "connect", 20)


def test_einprogress_is_no_outcome() -> None:
    assert [c.event for c in play(connect(nonblocking=True), leave(T + 20, -115))] == ["attempt"]


def test_never_sent() -> None:
    for ret, word in [
        (-101, "unreachable"),
        (-113, "unreachable"),
        (-13, "denied"),
        (-1, "denied"),
        (-22, "invalid"),
        (-97, "invalid"),
        (-14, "invalid"),
        (-99, "no-address"),
        (-98, "no-address"),
    ]:
        changes = play(failed(ret))
        end = outcome(changes)
        assert (end.outcome, end.error, end.syns, end.remote) == (word, -ret, 0, (THERE, 9300))
        assert not end.evidence.on_wire
        assert changes[0].time == T and end.time == T + 9


def test_not_a_socket() -> None:
    changes = play(failed(-9, sock=0, protocol=0))
    assert (outcome(changes).outcome, changes[-1].error) == ("invalid", 9)
    assert changes[-1].protocol is None and changes[-1].blocking is None
    # A descriptor that is no socket, and an address that is none of ours.
    assert play(failed(-88, sock=0, protocol=0, address=None)) == []


def test_interrupted_before_anything_was_sent() -> None:
    assert (outcome(play(failed(-512))).outcome, outcome(play(failed(-512))).error) == ("aborted", errno.EINTR)


def test_gave_up_after_silence() -> None:
    tracker = Tracker()
    changes = play(connect(nonblocking=True), tracker=tracker)
    assert tracker.tick(T + SECOND - 1) == []
    changes += play(Retransmit(T + SECOND, SOCK, 0), tracker=tracker)
    first = tracker.tick(T + SECOND + 1)
    assert [(c.event, c.syns) for c in first] == [("hanging", 2)]
    assert tracker.tick(T + SECOND + 2) == []
    second = tracker.tick(T + 2 * SECOND)
    assert [c.waited for c in second] == [2 * SECOND]
    assert tracker.tick(T + 4 * SECOND - 1) == []
    changes += play(Retransmit(T + 3 * SECOND, SOCK, 0), tracker=tracker)
    changes += play(state(T + 3 * SECOND + 5, CLOSE), tracker=tracker)
    end = outcome(changes)
    assert (end.outcome, end.error, end.syns, end.evidence.by) == ("aborted", 0, 3, "caller")
    assert tracker.open == 0 and tracker.tick(T + 100 * SECOND) == []


def test_hanging_doubles_and_catches_up() -> None:
    tracker = Tracker()
    play(connect(), tracker=tracker)
    seen = [t for t in range(70) if tracker.tick(T + t * SECOND)]
    assert seen == [1, 2, 4, 8, 16, 32, 64]
    late = Tracker()
    play(connect(), tracker=late)
    assert len(late.tick(T + 20 * SECOND)) == 1
    assert late.tick(T + 31 * SECOND) == [] and len(late.tick(T + 32 * SECOND)) == 1


def test_killed_while_hanging() -> None:
    changes = play(connect(), leave(T + SECOND, -512), state(T + SECOND + 50, CLOSE))
    assert (outcome(changes).outcome, changes[-1].time) == ("aborted", T + SECOND + 50)


def test_interrupted_and_restarted_is_one_attempt() -> None:
    changes = play(connect(), leave(T + 900, -512), state(T + 2 * SECOND, ESTABLISHED))
    assert outcome(changes).outcome == "connected" and changes[-1].time == T + 2 * SECOND


def test_first_hop_silent() -> None:
    end = outcome(
        play(
            connect(),
            Retransmit(T + 1, SOCK, -16),
            Icmp(T + 2, SOCK, 3, 1),
            SockError(T + 3, SOCK, 0, 113),
            state(T + 4, CLOSE, 113),
            leave(T + 5, -113),
        )
    )
    assert (end.outcome, end.error, end.syns) == ("unreachable", 113, 1)
    assert end.evidence.icmp == (3, 1) and end.evidence.on_wire


def test_icmp_from_a_router_then_the_application_ends() -> None:
    end = outcome(play(connect(), SockError(T + 30, SOCK, 0, 113), state(T + 40, CLOSE, soft=113)))
    assert (end.outcome, end.error, end.evidence.by) == ("unreachable", 113, "caller")


def test_local_ports_exhausted() -> None:
    end = outcome(play(connect(), state(T + 11, CLOSE, inside=True), leave(T + 12, -99)))
    assert (end.outcome, end.error, end.syns) == ("no-address", 99, 0)
    assert end.evidence.no_port and not end.evidence.on_wire


def test_self_connect() -> None:
    tracker = Tracker()
    changes = play(
        connect(remote="127.0.0.1"),
        state(T + 1, SYN_RECV, local="127.0.0.1", port=9300),
        state(T + 2, ESTABLISHED, old=SYN_RECV, local="127.0.0.1", port=9300),
        tracker=tracker,
    )
    end = outcome(changes)
    assert end.outcome == "connected" and end.local == end.remote


def test_mptcp_is_one_connection() -> None:
    changes = play(connect(protocol=MPTCP), state(T + 30, ESTABLISHED))
    assert outcome(changes).outcome == "connected" and changes[0].protocol == "mptcp"


def test_without_connect() -> None:
    for more, fastopen, via in [
        ({"uring": True}, False, "io_uring"),
        ({"flags": PF_KTHREAD}, False, "kernel"),
        ({}, True, "fastopen"),
    ]:
        changes = play(who(**more), Args(TID, 2, b"x\0"), syn(T, fastopen=fastopen), state(T + 50, CLOSE, 111))
        assert outcome(changes).outcome == "refused"
        assert changes[0].via == via and changes[0].blocking is None and changes[0].who.args == b"x\0"


def test_fastopen_connect_claims_success_at_once() -> None:
    tracker = Tracker()
    changes = play(connect(), leave(T + 20, 0), tracker=tracker)
    assert tracker.tick(T + 99 * SECOND) == []
    changes += play(state(T + 100 * SECOND, ESTABLISHED), tracker=tracker)
    assert outcome(changes).outcome == "connected" and changes[-1].via == "fastopen"


def test_a_socket_that_is_connected() -> None:
    assert outcome(play(failed(-106))).outcome == "invalid"


def test_closed_by_another_thread() -> None:
    end = outcome(play(connect(), state(T + 50, CLOSE), leave(T + 60, -103)))
    assert (end.outcome, end.evidence.by) == ("aborted", "caller")


def test_threads_do_not_mix() -> None:
    other = SOCK + 4096
    tracker = Tracker()
    changes = play(
        connect(),
        connect(T + 1, TID + 1, other, "10.0.0.8"),
        state(T + 4, CLOSE, 111),
        state(T + 5, ESTABLISHED, mark=T + 1, sock=other),
        leave(T + 7, -111),
        tracker=tracker,
    )
    ends = {c.who.tid: (c.outcome, c.remote[0]) for c in changes if c.event == "outcome"}
    assert ends == {TID: ("refused", THERE), TID + 1: ("connected", "10.0.0.8")}
    assert len({c.id for c in changes}) == 2 and len(changes) == 4


def test_socket_address_used_again() -> None:
    again = T + 9 * SECOND
    changes = play(connect(), connect(again), state(T + 10 * SECOND, ESTABLISHED, mark=again))
    assert [(c.event, c.outcome) for c in changes] == [
        ("attempt", None),
        ("outcome", "unknown"),
        ("attempt", None),
        ("outcome", "connected"),
    ]
    assert changes[0].id == changes[1].id != changes[2].id == changes[3].id


def test_what_came_of_another_attempt_is_not_taken_for_this_ones() -> None:
    """One's end and another's beginning were lost; their socket has the same address."""
    end = outcome(play(connect(), state(T + 10 * SECOND, ESTABLISHED, mark=T + 9 * SECOND)))
    assert end.outcome == "unknown"
    assert [c.event for c in play(connect(), Returned(T + SECOND, SOCK, T + 9, -111, CLOSE))] == ["attempt"]


def test_what_ended_unseen_is_unknown_and_what_is_open_stays() -> None:
    tracker = Tracker()
    other = SOCK + 4096
    play(connect(), connect(T + 1, TID + 1, other), tracker=tracker)
    assert play(Watched(T + 9, {SOCK: T, other: T + 1}), tracker=tracker) == []
    (end,) = play(Watched(T + 9, {SOCK: T, other: T + 5}), tracker=tracker)  # its address is in use again
    assert (end.outcome, end.sock, tracker.open, tracker.begun) == ("unknown", other, 1, 2)
    assert [c.outcome for c in play(Watched(T + 9, {}), tracker=tracker)] == ["unknown"] and not tracker._to


def test_what_began_before_the_watcher_is_not_invented() -> None:
    assert play(leave(T, -111), state(T, ESTABLISHED), SockError(T, SOCK, 111, 0), Retransmit(T, SOCK, 0)) == []
    assert play(syn(), state(T + 99, ESTABLISHED)) == []  # its Who was lost: nobody to name


def test_who_was_lost_and_the_call_itself_says_a_little() -> None:
    def played(*events: object) -> Change:
        return outcome(play(*events, connect()[2], state(T + 50, CLOSE, 111)))

    for end in (played(), played(who().replace(comm="before")), played(who().replace(pid=9))):
        assert (end.who.pid, end.who.comm, end.who.uid, end.who.parents) == (70, "app", 1000, ())
    assert played(who()).who.parents == ((1, "init"),)


def test_who_is_recorded_again() -> None:
    """As before: the same object; with other arguments, or another parent: what is new."""
    tracker = Tracker()
    play(who(), Args(TID, 4, b"app\0"), tracker=tracker)
    first = tracker.caller(TID)
    play(who(T + 9), Args(TID, 4, b"app\0"), tracker=tracker)
    assert tracker.caller(TID) is first
    play(who(T + 9), Args(TID, 4, b"APP\0"), tracker=tracker)
    assert tracker.caller(TID).args == b"APP\0"
    play(who(T + 9).replace(parents=()), tracker=tracker)
    assert (tracker.caller(TID).parents, tracker.caller(TID).args) == ((), None)


def test_of_no_interest() -> None:
    tracker = Tracker(takes=lambda who: who.comm != "app")
    assert play(connect(), state(T + 50, CLOSE, 111), tracker=tracker) == [] and tracker.begun == 1
    assert play(connect()[2], state(T + 50, CLOSE, 111), tracker=tracker) == []
    assert tracker.caller(TID) is None


def test_pending_at_stop() -> None:
    tracker = Tracker()
    changes = play(connect(), tracker=tracker)
    changes += tracker.stop(T + SECOND)
    assert outcome(changes).outcome == "pending" and changes[-1].waited == SECOND
    assert tracker.stop(T + SECOND) == []


def test_state_is_bounded_and_every_attempt_ends_once() -> None:
    tracker = Tracker(limit=10)
    changes: list[Change] = []
    for n in range(100):
        changes += play(connect(T + n, TID + n, SOCK + n), tracker=tracker)
        assert tracker.open <= 10
    changes += tracker.stop(T + 1000)
    attempts = [c.id for c in changes if c.event == "attempt"]
    ends = [c.id for c in changes if c.event == "outcome"]
    assert len(attempts) == 100 and sorted(attempts) == sorted(ends)


def test_packet_filter_here() -> None:
    end = outcome(play(connect(), Retransmit(T + SECOND, SOCK, -1), state(T + 9 * SECOND, CLOSE, 110)))
    assert (end.outcome, end.syns, end.evidence.filtered) == ("timed-out", 1, True)


def drop(time: int, sock: int = 0, local: int = 40000, **more: object) -> Drop:
    return Drop(**{"time": time, "sock": sock, "reason": "filter", "answer": False, "local": (ME, local),
                   "remote": (THERE, 9300), "netns": 4026} | more)  # fmt: skip


def test_dropped_here_by_the_socket() -> None:
    end = outcome(
        play(connect(), drop(T + 11, SOCK), Retransmit(T + SECOND, SOCK, 0), drop(T + SECOND, SOCK),
             state(T + 9 * SECOND, CLOSE, 110))
    )  # fmt: skip
    assert end.evidence.drop is not None and end.evidence.drop.time == T + SECOND and end.evidence.all_dropped


def test_one_dropped_then_one_got_through() -> None:
    end = outcome(
        play(connect(), drop(T + 11, SOCK), Retransmit(T + SECOND, SOCK, 0), state(T + 2 * SECOND, CLOSE, 111))
    )
    assert end.evidence.drop is not None and not end.evidence.all_dropped


def test_whose_syn_was_dropped_by_its_ends() -> None:
    tracker = Tracker()
    other = SOCK + 4096
    play(connect(), connect(T + 50, TID + 1, other), tracker=tracker)
    play(drop(T + 61, local=1111), drop(T + 62, remote=("10.9.9.9", 9300)), tracker=tracker)
    ends = {c.who.tid: c for c in tracker.stop(T + SECOND)}
    assert ends[TID].evidence.drop is None
    assert ends[TID + 1].evidence.drop is not None and ends[TID + 1].local == (ME, 1111)
    # Once the port is known, only it will do; what is unknown is not guessed long after.
    play(connect(), drop(T + 70, local=1111), drop(T + 80, local=2222), tracker=tracker)
    (end,) = tracker.stop(T + SECOND)
    assert end.evidence.drop is not None and end.evidence.drop.local[1] == 1111
    play(connect(), drop(T + SECOND), tracker=tracker)
    (end,) = tracker.stop(T + 2 * SECOND)
    assert end.evidence.drop is None and not tracker._to


def test_the_slower_of_two_attempts() -> None:
    fast = SOCK + 4096

    def race(closed: int, address: str = "10.0.0.8", tid: int = TID + 1) -> Change:
        changes = play(
            connect(nonblocking=True),
            connect(T + SECOND, tid, fast, address),
            state(T + SECOND + 9, ESTABLISHED, mark=T + SECOND, sock=fast),
            state(closed, CLOSE),
        )
        (end,) = [c for c in changes if c.event == "outcome" and c.sock == SOCK]
        assert end.outcome == "aborted"
        return end

    assert race(T + SECOND + 10).evidence.won == ("10.0.0.8", 9300)
    assert race(T + 2 * SECOND).evidence.won is None  # not at once: something else was the reason
    assert race(T + SECOND + 10, THERE).evidence.won is None  # the same address again
    assert race(T + SECOND + 5).evidence.won is None  # before the other connected


def test_32_bit_call_has_no_enter() -> None:
    changes = play(who(compat=True), Args(TID, 2, b"x\0"), syn(T), state(T + 50, CLOSE, 111))
    assert outcome(changes).outcome == "refused" and changes[0].via == "connect"


def test_further_subflows_of_mptcp_are_no_attempts() -> None:
    worker = who(T + 90, TID + 1, flags=PF_KTHREAD)
    changes = play(
        connect(protocol=MPTCP),
        state(T + 30, ESTABLISHED),
        worker,
        syn(T + 91, TID + 1, SOCK + 64, mptcp=True),
        state(T + 95, ESTABLISHED, mark=T + 91, sock=SOCK + 64),
    )
    assert outcome(changes).outcome == "connected"
    tracker = Tracker()
    play(worker, syn(T + 91, TID + 1, SOCK + 64), tracker=tracker)
    assert tracker.open == 1  # the kernel's own connection
