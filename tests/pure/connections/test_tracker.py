"""Each row of the table "What each outcome looks like on tracepoints", as events; and what must not confuse."""

from __future__ import annotations

import errno

from dsight.connections.events import (
    CLOSE,
    ESTABLISHED,
    MPTCP,
    PF_KTHREAD,
    SS_CONNECTED,
    SS_CONNECTING,
    SS_UNCONNECTED,
    SYN_RECV,
    SYN_SENT,
    TCP,
    Args,
    Drop,
    Enter,
    Icmp,
    Leave,
    Peer,
    Reset,
    Retransmit,
    SockError,
    State,
    SynSent,
    Who,
)
from dsight.connections.tracker import SECOND, Change, Tracker

T = 100 * SECOND
TID, SOCK = 71, 0xFFFF888000001000
ME, THERE = "10.0.0.1", "10.0.0.9"


def who(time: int = T, tid: int = TID, **more: object) -> Who:
    return Who(time, tid, 70, "app", 1000, 5 * SECOND, 1, ((1, "init"),), **more)


def enter(
    time: int = T,
    tid: int = TID,
    nonblocking: bool = False,
    state: int = SS_UNCONNECTED,
    protocol: int = TCP,
    sock: int = SOCK,
) -> list[object]:
    return [
        who(time, tid),
        Args(tid, 4, b"app\0"),
        Enter(time, tid, 3, sock, state, protocol, 2, nonblocking, 4026),
        Peer(tid, 2, THERE, 9300),
    ]


def syn(time: int = T + 10, tid: int = TID, sock: int = SOCK, remote: str = THERE, **more: object) -> SynSent:
    return SynSent(time, tid, sock, 2, ME, 0, remote, 9300, 4026, **more)


def state(
    time: int, new: int, error: int = 0, tid: int = TID, soft: int = 0, old: int = SYN_SENT, local: str = ME
) -> State:
    return State(time, tid, SOCK, old, new, error, soft, local, 40000)


def leave(time: int, ret: int, tid: int = TID) -> Leave:
    return Leave(time, tid, ret)


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
    changes = play(enter(), syn(), state(T + 500, ESTABLISHED, tid=0), leave(T + 600, 0))
    attempt, end = changes
    assert attempt.remote == (THERE, 9300) and attempt.local == (ME, None)
    assert attempt.blocking is True and attempt.netns == 4026 and attempt.via == "connect"
    assert attempt.who.args == b"app\0" and attempt.time == T
    assert (end.outcome, end.error, end.waited, end.syns) == ("connected", 0, 500, 1)
    assert end.local == (ME, 40000)


def test_refused_blocking() -> None:
    end = outcome(
        play(
            enter(),
            syn(),
            Reset(T + 20, SOCK),
            state(T + 30, CLOSE, 111),
            SockError(T + 31, SOCK, 111, 0),
            SockError(T + 32, SOCK, 0, 0),
            leave(T + 40, -111),
        )
    )
    assert (end.outcome, end.error) == ("refused", 111)
    assert end.evidence.reset and end.evidence.by == "kernel"


def test_refused_nonblocking_is_decided_before_einprogress() -> None:
    changes = play(enter(nonblocking=True), syn(), Reset(T + 20, SOCK), state(T + 30, CLOSE, 111), leave(T + 40, -115))
    assert outcome(changes).outcome == "refused" and changes[-1].time == T + 30
    assert changes[-1].blocking is False


def test_error_reported_before_the_state_changes_decides() -> None:
    # tcp_write_err of kernels before 6.10 reports first; the process may take the error away in between.
    changes = play(enter(), syn(), SockError(T + 30, SOCK, 110, 0), state(T + 31, CLOSE, 0), leave(T + 40, -110))
    assert (outcome(changes).outcome, changes[-1].time) == ("timed-out", T + 30)


def test_the_call_decides_where_the_socket_was_not_heard() -> None:
    changes = play(who(), enter(), syn(), leave(T + 3_000_000_000, -errno.EHOSTUNREACH))
    assert (outcome(changes).outcome, outcome(changes).error) == ("unreachable", errno.EHOSTUNREACH)
    assert [c.event for c in play(who(), enter(), syn(), leave(T + 20, -errno.EAGAIN))] == ["attempt"]


def test_einprogress_is_no_outcome() -> None:
    assert [c.event for c in play(enter(nonblocking=True), syn(), leave(T + 20, -115))] == ["attempt"]


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
        changes = play(enter(), leave(T + 9, ret))
        end = outcome(changes)
        assert (end.outcome, end.error, end.syns, end.remote) == (word, -ret, 0, (THERE, 9300))
        assert not end.evidence.on_wire
        assert changes[0].time == T and end.time == T + 9


def test_not_a_socket() -> None:
    changes = play(
        who(), Enter(T, TID, 9, 0, SS_UNCONNECTED, 0, 0, False, 4026), Peer(TID, 2, THERE, 80), leave(T + 5, -9)
    )
    assert (outcome(changes).outcome, changes[-1].error) == ("invalid", 9)
    assert changes[-1].protocol is None and changes[-1].blocking is None
    # A descriptor that is no socket, and an address that is none of ours.
    assert (
        play(who(), Enter(T, TID, 9, 0, SS_UNCONNECTED, 0, 0, False, 4026), Peer(TID, 0, None, None), leave(T, -88))
        == []
    )


def test_gave_up_after_silence() -> None:
    tracker = Tracker()
    changes = play(enter(nonblocking=True), syn(), leave(T + 20, -115), tracker=tracker)
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
    play(enter(), syn(), tracker=tracker)
    seen = [t for t in range(70) if tracker.tick(T + t * SECOND)]
    assert seen == [1, 2, 4, 8, 16, 32, 64]
    late = Tracker()
    play(enter(), syn(), tracker=late)
    assert len(late.tick(T + 20 * SECOND)) == 1
    assert late.tick(T + 31 * SECOND) == [] and len(late.tick(T + 32 * SECOND)) == 1


def test_killed_while_hanging() -> None:
    changes = play(enter(), syn(), leave(T + SECOND, -512), state(T + SECOND + 50, CLOSE))
    assert (outcome(changes).outcome, changes[-1].time) == ("aborted", T + SECOND + 50)


def test_interrupted_and_restarted_is_one_attempt() -> None:
    again = enter(T + SECOND, state=SS_CONNECTING)
    changes = play(
        enter(), syn(), leave(T + 900, -512), again, state(T + 2 * SECOND, ESTABLISHED), leave(T + 3 * SECOND, 0)
    )
    assert outcome(changes).outcome == "connected" and changes[-1].time == T + 2 * SECOND


def test_first_hop_silent() -> None:
    end = outcome(
        play(
            enter(),
            syn(),
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
    end = outcome(
        play(enter(), syn(), leave(T + 20, -115), SockError(T + 30, SOCK, 0, 113), state(T + 40, CLOSE, soft=113))
    )
    assert (end.outcome, end.error, end.evidence.by) == ("unreachable", 113, "caller")


def test_local_ports_exhausted() -> None:
    end = outcome(play(enter(), syn(), state(T + 11, CLOSE), leave(T + 12, -99)))
    assert (end.outcome, end.error, end.syns) == ("no-address", 99, 0)
    assert end.evidence.no_port and not end.evidence.on_wire


def test_self_connect() -> None:
    tracker = Tracker()
    changes = play(
        enter(),
        SynSent(T, TID, SOCK, 2, "127.0.0.1", 0, "127.0.0.1", 9300, 4026),
        State(T + 1, TID, SOCK, SYN_SENT, SYN_RECV, 0, 0, "127.0.0.1", 9300),
        State(T + 2, TID, SOCK, SYN_RECV, ESTABLISHED, 0, 0, "127.0.0.1", 9300),
        leave(T + 3, 0),
        tracker=tracker,
    )
    end = outcome(changes)
    assert end.outcome == "connected" and end.local == end.remote


def test_mptcp_is_one_connection() -> None:
    subflow = SOCK + 64
    changes = play(
        enter(protocol=MPTCP),
        syn(sock=subflow),
        leave(T + 20, -115),
        State(T + 30, 0, subflow, SYN_SENT, ESTABLISHED, 0, 0, ME, 40000),
    )
    assert outcome(changes).outcome == "connected" and changes[0].protocol == "mptcp"


def test_without_connect() -> None:
    for more, fastopen, via in [
        ({"uring": True}, False, "io_uring"),
        ({"flags": PF_KTHREAD}, False, "kernel"),
        ({}, True, "fastopen"),
    ]:
        changes = play(who(**more), Args(TID, 2, b"x\0"), syn(fastopen=fastopen), state(T + 50, CLOSE, 111, tid=0))
        assert outcome(changes).outcome == "refused"
        assert changes[0].via == via and changes[0].blocking is None and changes[0].who.args == b"x\0"


def test_fastopen_connect_claims_success_at_once() -> None:
    tracker = Tracker()
    changes = play(enter(), syn(), leave(T + 20, 0), tracker=tracker)
    assert tracker.tick(T + 99 * SECOND) == []
    changes += play(state(T + 100 * SECOND, ESTABLISHED), tracker=tracker)
    assert outcome(changes).outcome == "connected" and changes[-1].via == "fastopen"


def test_asking_again_is_no_attempt() -> None:
    tracker = Tracker()
    changes = play(enter(nonblocking=True), syn(), leave(T + 20, -115), tracker=tracker)
    for ret in (-114, 0, -111):
        changes += play(enter(T + 30, state=SS_CONNECTING), leave(T + 31, ret), tracker=tracker)
    assert [c.event for c in changes] == ["attempt"]
    again = play(enter(T + 50, state=SS_CONNECTED), leave(T + 51, -106))
    assert outcome(again).outcome == "invalid"


def test_closed_by_another_thread() -> None:
    end = outcome(play(enter(), syn(), state(T + 50, CLOSE, tid=TID + 1), leave(T + 60, -103)))
    assert (end.outcome, end.evidence.by) == ("aborted", "caller")


def test_threads_do_not_mix() -> None:
    other = SOCK + 4096
    tracker = Tracker()
    changes = play(
        enter(),
        enter(T + 1, TID + 1, sock=other),
        syn(T + 2, TID + 1, other, "10.0.0.8"),
        syn(T + 3),
        state(T + 4, CLOSE, 111, tid=0),
        State(T + 5, 0, other, SYN_SENT, ESTABLISHED, 0, 0, ME, 40001),
        leave(T + 6, 0, TID + 1),
        leave(T + 7, -111),
        tracker=tracker,
    )
    ends = {c.who.tid: (c.outcome, c.remote[0]) for c in changes if c.event == "outcome"}
    assert ends == {TID: ("refused", THERE), TID + 1: ("connected", "10.0.0.8")}
    assert len({c.id for c in changes}) == 2 and len(changes) == 4


def test_socket_address_used_again() -> None:
    changes = play(enter(), syn(), enter(T + 9 * SECOND), syn(T + 9 * SECOND), state(T + 10 * SECOND, ESTABLISHED))
    assert [(c.event, c.outcome) for c in changes] == [
        ("attempt", None),
        ("outcome", "pending"),
        ("attempt", None),
        ("outcome", "connected"),
    ]
    assert changes[0].id == changes[1].id != changes[2].id == changes[3].id


def test_what_began_before_the_watcher_is_not_invented() -> None:
    assert play(leave(T, -111), state(T, ESTABLISHED), SockError(T, SOCK, 111, 0), Retransmit(T, SOCK, 0)) == []
    assert play(syn(), state(T + 99, ESTABLISHED)) == []  # its Who was lost: nobody to name


def test_pending_at_stop() -> None:
    tracker = Tracker()
    changes = play(enter(), syn(), tracker=tracker)
    changes += tracker.stop(T + SECOND)
    assert outcome(changes).outcome == "pending" and changes[-1].waited == SECOND
    assert tracker.stop(T + SECOND) == []


def test_state_is_bounded_and_every_attempt_ends_once() -> None:
    tracker = Tracker(limit=10)
    changes: list[Change] = []
    for n in range(100):
        changes += play(enter(T + n, TID + n, sock=SOCK + n), syn(T + n, TID + n, SOCK + n), tracker=tracker)
        assert tracker.open <= 10 and len(tracker._calls) <= 10
    changes += tracker.stop(T + 1000)
    attempts = [c.id for c in changes if c.event == "attempt"]
    ends = [c.id for c in changes if c.event == "outcome"]
    assert len(attempts) == 100 and sorted(attempts) == sorted(ends)


def test_packet_filter_here() -> None:
    end = outcome(play(enter(), syn(), Retransmit(T + SECOND, SOCK, -1), state(T + 9 * SECOND, CLOSE, 110)))
    assert (end.outcome, end.syns, end.evidence.filtered) == ("timed-out", 1, True)


def drop(time: int, sock: int = 0, local: int = 40000, **more: object) -> Drop:
    return Drop(**{"time": time, "sock": sock, "reason": "filter", "answer": False, "local": (ME, local),
                   "remote": (THERE, 9300), "netns": 4026} | more)  # fmt: skip


def test_dropped_here_by_the_socket() -> None:
    end = outcome(
        play(enter(), syn(), drop(T + 11, SOCK), Retransmit(T + SECOND, SOCK, 0), drop(T + SECOND, SOCK),
             state(T + 9 * SECOND, CLOSE, 110))
    )  # fmt: skip
    assert end.evidence.drop is not None and end.evidence.drop.time == T + SECOND and end.evidence.all_dropped


def test_one_dropped_then_one_got_through() -> None:
    end = outcome(
        play(enter(), syn(), drop(T + 11, SOCK), Retransmit(T + SECOND, SOCK, 0), state(T + 2 * SECOND, CLOSE, 111))
    )
    assert end.evidence.drop is not None and not end.evidence.all_dropped


def test_whose_syn_was_dropped_by_its_ends() -> None:
    tracker = Tracker()
    other = SOCK + 4096
    play(enter(), syn(), enter(T + 50, TID + 1, sock=other), syn(T + 60, TID + 1, other), tracker=tracker)
    play(drop(T + 61, local=1111), drop(T + 62, remote=("10.9.9.9", 9300)), tracker=tracker)
    ends = {c.who.tid: c for c in tracker.stop(T + SECOND)}
    assert ends[TID].evidence.drop is None
    assert ends[TID + 1].evidence.drop is not None and ends[TID + 1].local == (ME, 1111)
    # Once the port is known, only it will do; what is unknown is not guessed long after.
    play(enter(), syn(), drop(T + 70, local=1111), drop(T + 80, local=2222), tracker=tracker)
    (end,) = tracker.stop(T + SECOND)
    assert end.evidence.drop is not None and end.evidence.drop.local[1] == 1111
    play(enter(), syn(), drop(T + SECOND), tracker=tracker)
    (end,) = tracker.stop(T + 2 * SECOND)
    assert end.evidence.drop is None and not tracker._to


def test_the_slower_of_two_attempts() -> None:
    fast = SOCK + 4096

    def race(closed: int, address: str = "10.0.0.8", tid: int = TID + 1) -> Change:
        changes = play(
            enter(nonblocking=True),
            syn(),
            leave(T + 20, -115),
            enter(T + SECOND, tid, sock=fast),
            syn(T + SECOND, tid, fast, address),
            State(T + SECOND + 9, tid, fast, SYN_SENT, ESTABLISHED, 0, 0, ME, 40001),
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
    changes = play(who(compat=True), Args(TID, 2, b"x\0"), syn(), state(T + 50, CLOSE, 111, tid=0))
    assert outcome(changes).outcome == "refused" and changes[0].via == "connect"


def test_further_subflows_of_mptcp_are_no_attempts() -> None:
    worker = who(T + 90, TID + 1, flags=PF_KTHREAD)
    changes = play(
        enter(protocol=MPTCP),
        syn(sock=SOCK, mptcp=True),
        state(T + 30, ESTABLISHED),
        worker,
        syn(T + 91, TID + 1, SOCK + 64, mptcp=True),
        State(T + 95, 0, SOCK + 64, SYN_SENT, ESTABLISHED, 0, 0, ME, 40001),
    )
    assert outcome(changes).outcome == "connected"
    tracker = Tracker()
    play(worker, syn(T + 91, TID + 1, SOCK + 64), tracker=tracker)
    assert tracker.open == 1  # the kernel's own connection
