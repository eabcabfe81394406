"""Records of calls put together: beginnings, ends and memory of many threads, with records missing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.calls import addresses, specs
from dsight.calls.call import Call
from dsight.calls.decode import arguments
from dsight.calls.join import OTHER, SLOW, Exec, Exit, Foreign, Fork, Joiner, Signal, Unfinished
from dsight.ui.truss_text import JsonLines, Lines

NAMES = (
    "read write openat close connect clone vfork execve exit_group rt_sigreturn poll prctl getpid accept getsockopt "
    "exit clone3 wait4 sendmsg kill futex"
).split()
NUMBERS = {name: n for n, name in enumerate(NAMES)}
SPECS = {n: spec for name, n in NUMBERS.items() if (spec := specs.spec(name)) is not None}
AT = 0x7000


def call(join: Joiner, time: int, tid: int, name: str, *args: int, pid: int = 0, file: int = 0) -> list:
    words = args + (0,) * (6 - len(args))
    return join.feed("Call", (time, tid, pid or tid, NUMBERS[name], *words, file, 0))


def back(join: Joiner, time: int, tid: int, name: str, result: int, *args: int, pid: int = 0, file: int = 0) -> list:
    words = (args + (0,) * 3)[:3]
    return join.feed("Return", (time, tid, pid or tid, NUMBERS[name], result, *words, file))


def lines(events: list) -> list[str]:
    face = Lines(None, 0, several=True)  # type: ignore[arg-type]
    return [re.sub(" += ", " = ", line) for event in events if (line := face.line(event))]


def test_a_call_with_memory_of_both_ends_and_its_file() -> None:
    join = Joiner(SPECS, {5: "cat"})
    join.feed("File", (77, 0o100644, 9, 1, b"/etc/hosts\0\0"))
    assert call(join, 10, 5, "read", 3, AT, 64, file=77) == []
    join.feed("Memory", (30, 5, AT, 5, b"hello\0\0\0"))
    (one,) = back(join, 30, 5, "read", 5, 3, AT, 64)
    assert lines([one]) == ['cat[5] read(3</etc/hosts>, "hello", 64) = 5']
    assert (one.time, one.end) == (10, 30)


def test_memory_of_another_firing_is_not_taken() -> None:
    join = Joiner(SPECS)
    join.feed("Memory", (9, 5, AT, 3, b"old"))
    call(join, 10, 5, "write", 1, AT, 3)
    (one,) = back(join, 11, 5, "write", 3, 1, AT, 3)
    assert arguments(one, 32) == ["1", "0x7000", "3"]


@pytest.mark.parametrize(
    "mode, has_path, name, said",
    [
        (0o100644, 1, b"/a\n\0", "/a\n"),
        (0o010600, 0, b"\0", "pipe:[9]"),
        (0, 0, b"[eventpoll]\0", "anon_inode:[eventpoll]"),
        (0o100644, 1, b"\xff\0", "\udcff"),
    ],
)
def test_names_of_files(mode: int, has_path: int, name: bytes, said: str) -> None:
    join = Joiner(SPECS)
    join.feed("File", (77, mode, 9, has_path, name))
    call(join, 1, 5, "close", 3, file=77)
    (one,) = back(join, 2, 5, "close", 0, 3)
    assert one.files[0] == said


def test_names_of_sockets() -> None:
    port = int.from_bytes((80).to_bytes(2, "big"), "little")  # skc_dport is in network byte order
    four, other = (int.from_bytes(bytes(a), "little") for a in ([127, 0, 0, 1], [10, 0, 0, 2]))
    six = bytes(15) + b"\1"
    join = Joiner(SPECS)
    for values, said in (
        ((9, addresses.AF_INET, 1, 6, 1, 4711, port, four, other), "TCP:[127.0.0.1:4711->10.0.0.2:80]"),
        ((9, addresses.AF_INET, 1, 6, 10, 80, 0, 0, 0), "TCP:[0.0.0.0:80]"),
        ((9, addresses.AF_INET6, 2, 17, 7, 53, 0, 0, 0), "UDPv6:[[::1]:53]"),
        ((9, addresses.AF_NETLINK, 3, 4, 7, 0, 0, 0, 0), "NETLINK:[SOCK_DIAG:9]"),
        ((9, addresses.AF_UNIX, 1, 0, 1, 0, 0, 0, 0), "UNIX:[9]"),
        ((9, addresses.AF_INET, 1, 6, 7, 0, 0, 0, 0), "TCP:[9]"),
    ):
        join.feed("Socket", (77, *values, six, six))
        call(join, 1, 5, "close", 3, file=77)
        (one,) = back(join, 2, 5, "close", 0, 3)
        assert one.files[0] == said


def test_threads_keep_apart() -> None:
    join = Joiner(SPECS, {5: "x"})
    call(join, 1, 5, "read", 3, AT, 1, pid=5)
    call(join, 2, 6, "read", 4, AT, 1, pid=5)
    (second,) = back(join, 3, 6, "read", 0, 4, AT, 1, pid=5)
    (first,) = back(join, 4, 5, "read", 1, 3, AT, 1, pid=5)
    assert [(c.tid, c.args[0], c.result) for c in (second, first)] == [(6, 4, 0), (5, 3, 1)]
    assert lines([second])[0].startswith("x[5/6] ")


def test_a_call_that_takes_long_is_shown_twice() -> None:
    join = Joiner(SPECS, {5: "x"})
    call(join, 100, 5, "read", 3, AT, 9)
    assert join.waiting and join.tick(100 + SLOW) == []
    (late,) = join.tick(101 + SLOW)
    assert lines([late]) == ["x[5] read(3, <unfinished ...>"]
    assert not join.waiting and join.tick(200 + SLOW) == []
    assert lines(back(join, 300 + SLOW, 5, "read", 0, 3, AT, 9)) == ['x[5] <... read resumed>"", 9) = 0']


def test_what_never_returns() -> None:
    join = Joiner(SPECS, {5: "x"})
    (one,) = call(join, 1, 5, "exit_group", 3)
    assert lines([one]) == ["x[5] exit_group(3) = ?"]
    call(join, 2, 6, "read", 3, AT, 9, pid=5)
    ended = join.feed("Exit", (3, 6, 5, 0, 0)) + join.feed("Exit", (3, 5, 5, 1, 3 << 8))
    assert lines(ended) == [
        "x[5/6] read(3, 0x7000, 9) = ?",
        "x[5/6] +++ thread exited +++",
        "x[5] +++ exited with 3 +++",
    ]
    call(join, 4, 7, "poll", 0, 0, 1)
    assert lines(join.stop()) == ["?[7] poll(NULL, 0, 1 <unfinished ...>"]


def test_a_vfork_child_speaks_before_its_parent_returns() -> None:
    join = Joiner(SPECS, {5: "sh"})
    call(join, 1, 5, "vfork")
    forked = join.feed("Fork", (2, 5, 5, 6, 6, b"sh\0"))
    assert isinstance(forked[0], Fork) and forked[0].child_pid == 6
    assert back(join, 3, 6, "vfork", 0) == []  # as the child sees it
    assert lines(call(join, 4, 6, "getpid")) == ["sh[5] vfork( <unfinished ...>"]
    assert lines(back(join, 5, 6, "getpid", 6)) == ["sh[6] getpid() = 6"]
    assert lines(back(join, 6, 5, "vfork", 6)) == ["sh[5] <... vfork resumed>) = 6"]


def test_exec_by_a_thread_renames_and_renumbers() -> None:
    join = Joiner(SPECS, {5: "old"})
    join.feed("Text", (1, 8, AT, b"/bin/new\0"))
    call(join, 1, 8, "execve", AT, AT + 8, 0, pid=5)
    events = join.feed("Exec", (2, 5, 5, 8, b"new\0", 1)) + join.feed("Args", (5, 4, b"a\0b\0"))
    assert [type(event) for event in events] == [Exec, Foreign]
    (one,) = back(join, 3, 5, "execve", 0)
    assert lines([one])[0].startswith('old[5/8] execve("/bin/new", ["a", "b"], NULL)')
    assert lines(events) == ["new[5] +++ a 32-bit program: its calls are not seen +++"]


def test_a_thread_renames_only_itself_a_process_is_renamed() -> None:
    join = Joiner(SPECS, {5: "x"})
    for tid, comm in ((6, "x"), (5, "worker")):
        join.feed("Memory", (1, tid, AT, 16, b"worker\0".ljust(16, b"?")))
        call(join, 1, tid, "prctl", 15, AT, pid=5)
        back(join, 2, tid, "prctl", 0, 15, AT, pid=5)
        assert join.comms[5] == comm


def test_the_signal_that_ends_a_process_is_told_once() -> None:
    join = Joiner(SPECS, {5: "x"})
    join.feed("Fatal", (5, 15, 0, 77, 1000))
    delivered = (0, 0, -1, 0, 0, 0)  # SIGKILL from the kernel itself
    (one,) = join.feed("Signal", (9, 5, 5, 9, *delivered))
    assert isinstance(one, Signal) and (one.number, one.sender, one.uid) == (15, 77, 1000)
    assert lines([one]) == ["x[5] --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=77, si_uid=1000} ---"]
    assert join.feed("Signal", (9, 6, 5, 9, *delivered)) == []  # its other threads; so do exit_group and execve
    (other,) = join.feed("Signal", (9, 5, 5, 10, 0x4000, 0, 5, 0, 0, 0))
    assert other.number == 10


def test_lost_records_are_not_joined_wrongly() -> None:
    join = Joiner(SPECS, {5: "x"})
    call(join, 1, 5, "read", 3, AT, 9)
    shown = call(join, 2, 5, "write", 1, AT, 2)  # the return of read was lost
    assert lines(shown) == ["x[5] read(3, 0x7000, 9) = ?"]
    events = back(join, 3, 5, "read", 4, 3, AT, 9)  # and now the return of write, and the beginning of a read
    assert lines(events) == [
        "x[5] write(1, 0x7000, 2) = ?",
        "x[5] <... read resumed>0x7000, 9) = 4",
    ]
    assert lines(back(join, 4, 9, "close", 0, 3, pid=5)) == ["x[5/9] <... close resumed>) = 0"]


def before(tid: int, name: str, *args: int) -> Call:
    one = Call(100, tid, 5, SPECS[NUMBERS[name]], args + (0,) * (6 - len(args)))
    one.before = True
    return one


def test_a_call_that_no_table_has() -> None:
    join = Joiner(SPECS, {5: "x"})
    join.feed("Call", (1, 5, 5, OTHER + 9999, 1, 0, 0, 0, 0, 0xFF, 0, 0))
    (one,) = join.feed("Return", (2, 5, 5, OTHER + 9999, -38, 1, 0, 0, 0))
    assert lines([one]) == ["x[5] syscall_0x270f(0x1, 0, 0, 0, 0, 0xff) = -1 ENOSYS (Function not implemented)"]


def test_calls_in_progress_at_the_start() -> None:
    join = Joiner(SPECS)
    assert join.begin(100, 5, "x", [before(5, "read", 3, AT, 9), before(6, "poll", 0, 0, 1)], False) == []
    (one,) = back(join, 200, 5, "read", 0, 3, AT, 9)
    assert lines([one]) == ['x[5] read(3, "", 9) = 0 <in progress at start>']
    assert lines(join.tick(101 + SLOW)) == ["x[5/6] poll(NULL, 0, 1 <in progress at start ...>"]
    assert lines(back(join, 300, 6, "poll", 0, 0, 0, 1, pid=5)) == ["x[5/6] <... poll resumed>) = 0 (Timeout)"]
    body = JsonLines(None, 0).body(one)  # type: ignore[arg-type]
    assert body["in_progress_at_start"] is True and body["duration_ns"] is None
    # what ended before records came is left out: nothing is known of its end
    join.begin(100, 5, "x", [before(5, "read", 3, AT, 9)], False)
    assert call(join, 101, 5, "write", 1, AT, 2) == []
    assert [type(e) for e in join.begin(1, 7, "y", [], True)] == [Foreign]


def test_rt_sigreturn_gives_back_what_was_interrupted() -> None:
    join = Joiner(SPECS, {5: "x"})
    call(join, 1, 5, "rt_sigreturn", 1, 2, 3)
    (one,) = join.feed("Return", (2, 5, 5, -1, -4, 7, 7, 7, 0))
    assert lines([one])[0].endswith("= -1 EINTR (Interrupted system call)")
    assert join.feed("Return", (3, 5, 5, -1, 0, 7, 7, 7, 0)) == []


numbers = st.integers(0, 6)
args = st.sampled_from([0, 1, 2, AT, 1 << 63])
records = st.one_of(
    st.tuples(st.just("Call"), st.tuples(numbers, numbers, numbers, st.integers(0, 30), *[args] * 6, numbers, numbers)),
    st.tuples(
        st.just("Return"),
        st.tuples(numbers, numbers, numbers, st.integers(-1, 30), st.integers(-600, 600), *[args] * 3, numbers),
    ),
    st.tuples(st.just("Text"), st.tuples(numbers, numbers, args, st.binary(max_size=8))),
    st.tuples(st.just("Memory"), st.tuples(numbers, numbers, args, numbers, st.binary(max_size=300))),
    st.tuples(st.just("File"), st.tuples(numbers, args, numbers, numbers, st.binary(max_size=8))),
    st.tuples(st.just("Fork"), st.tuples(numbers, numbers, numbers, numbers, numbers, st.binary(max_size=8))),
    st.tuples(st.just("Exec"), st.tuples(numbers, numbers, numbers, numbers, st.binary(max_size=8), st.booleans())),
    st.tuples(st.just("Args"), st.tuples(numbers, numbers, st.binary(max_size=8))),
    st.tuples(st.just("Exit"), st.tuples(numbers, numbers, numbers, st.integers(0, 1), st.integers(0, 0xFFFF))),
    st.tuples(st.just("Fatal"), st.tuples(*[numbers] * 5)),
    st.tuples(st.just("Signal"), st.tuples(numbers, numbers, numbers, st.integers(0, 70), *[st.integers(-9, 300)] * 6)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(records, max_size=30))
def test_any_order_of_records_gives_lines_that_can_be_shown(rows: list) -> None:
    join = Joiner(SPECS)
    text, body = Lines(None, 0), JsonLines(None, 0)  # type: ignore[arg-type]
    began = sum(kind == "Call" and row[3] in SPECS for kind, row in rows)
    events = [event for kind, row in rows for event in join.feed(kind, row)] + join.tick(SLOW * 2) + join.stop()
    assert all(text.line(event).replace("\t", "").isprintable() for event in events)  # tabs stay (source.printable)
    assert all(isinstance(body.body(event), dict) for event in events)
    ended = [e for e in events if isinstance(e, (Call, Unfinished))]
    assert len({id(e if isinstance(e, Call) else e.call) for e in ended}) <= began + len(rows)
    assert sum(isinstance(e, Exit) for e in events) == sum(kind == "Exit" for kind, _ in rows)
