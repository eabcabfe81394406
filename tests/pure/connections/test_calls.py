"""UNIX sockets and other families: what connect(2) itself decides; who listens; the words for it."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import struct

import pytest

from dsight.connections import host_unix
from dsight.connections.attempts import ERESTARTSYS, SECOND, Change
from dsight.connections.calls import AF_UNIX, Calls, UnixAddress, UnixPeer, unix_path
from dsight.connections.diagnose_unix import diagnose, remote
from dsight.connections.events import Enter, Leave, Peer, ProcessExit, Who
from dsight.connections.host import Owner
from dsight.connections.host_unix import DGRAM, STREAM, File, UnixSocket
from dsight.connections.model import Endpoint, Process, Report, facts_json
from dsight.connections.tracker import Tracker
from dsight.connections.watch import Selection
from dsight.ui.text import TextFace
from dsight.ui.words import destination

T, TID, SOCK = 100 * SECOND, 71, 0xFFFF888000003000
PID = os.getpid()  # paths are looked at as it sees them


def play(*events: object, calls: Calls | None = None) -> list[Change]:
    tcp = Tracker()
    calls = calls or Calls(tcp.caller)
    calls._caller = tcp.caller
    changes: list[Change] = []
    for event in events:
        for tracker in (tcp, calls):
            handle = tracker.handlers.get(type(event))
            changes += [] if handle is None else handle(event)
    return changes


def begin(family: int = AF_UNIX, protocol: int = 0, nonblocking: bool = False, time: int = T) -> list[object]:
    who = Who(time, TID, PID, "app", 1000, 5 * SECOND, 1, ((1, "init"),))
    return [who, Enter(time, TID, 3, SOCK, 1, protocol, family, nonblocking, 4026)]


def unix(path: str | None, ret: int, nonblocking: bool = False, *between: object) -> list[object]:
    address = [Peer(TID, AF_UNIX, None, None), UnixAddress(TID, path)]
    return [*begin(nonblocking=nonblocking), *address, *between, Leave(T + 7000, TID, ret)]


def test_no_name_service_cache_is_no_failure() -> None:
    assert play(*unix("/var/run/nscd/socket", -errno.ENOENT)) == []
    assert play(*unix("/var/run/nscd/socket", -errno.ECONNREFUSED)) == []
    assert [c.outcome for c in play(*unix("/var/run/nscd/socket", 0))] == [None, "connected"]
    assert [c.outcome for c in play(*unix("/var/run/nscd/socket", -errno.EACCES))] == [None, "denied"]


@pytest.mark.parametrize(
    ("ret", "nonblocking", "outcome", "error"),
    [
        (0, False, "connected", 0),
        (-errno.ECONNREFUSED, False, "refused", errno.ECONNREFUSED),
        (-errno.ENOENT, False, "invalid", errno.ENOENT),
        (-errno.EACCES, False, "denied", errno.EACCES),
        (-errno.EAGAIN, True, "refused", errno.EAGAIN),
        (-errno.EAGAIN, False, "timed-out", errno.EAGAIN),
        (-errno.EPROTOTYPE, False, "invalid", errno.EPROTOTYPE),
        (-ERESTARTSYS, False, "aborted", errno.EINTR),
    ],
)
def test_unix_outcomes(ret: int, nonblocking: bool, outcome: str, error: int) -> None:
    attempt, end = play(*unix("/run/x", ret, nonblocking))
    assert (attempt.event, attempt.family, attempt.protocol, attempt.remote) == (
        "attempt", "unix", "unix", ("/run/x", None),
    )  # fmt: skip
    assert (end.outcome, end.error, end.waited, end.blocking, end.id) == (
        outcome, error, 7000, not nonblocking, attempt.id,
    )  # fmt: skip


def test_who_listened_and_our_own_name() -> None:
    end = play(*unix("@x", 0, False, UnixPeer(TID, 44, "@0001a")))[1]
    assert (end.listener, end.local) == (44, ("@0001a", None))


def test_a_call_that_hangs() -> None:
    tcp = Tracker()
    calls = Calls(tcp.caller)
    play(*unix("/run/x", 0)[:-1], calls=calls)
    assert calls.tick(T + SECOND // 2) == []
    assert [c.event for c in calls.tick(T + 2 * SECOND)] == ["hanging"]
    assert calls.tick(T + 3 * SECOND) == []
    assert [c.outcome for c in calls.stop(T + 4 * SECOND)] == ["pending"]
    assert calls.stop(T + 5 * SECOND) == []


def test_no_address_and_no_connection() -> None:
    """A bad pointer is an attempt that fails; AF_UNSPEC takes a connection away."""
    attempt, end = play(*begin(), Leave(T + 1, TID, -errno.EFAULT))
    assert (attempt.remote, end.outcome) == ((None, None), "invalid")
    assert play(*begin(2, 132), Peer(TID, 0, None, None), Leave(T + 1, TID, 0)) == []


def test_protocols_and_families() -> None:
    for family, protocol, want in [(2, 132, ("sctp", "inet")), (40, 0, ("vsock", "vsock")), (99, 0, ("99", "99"))]:
        changes = play(*begin(family, protocol), Peer(TID, family, "x", 1), Leave(T + 1, TID, 0))
        assert [(c.protocol, c.family) for c in changes] == [want, want]
    for protocol in (6, 262, 17):
        assert play(*begin(2, protocol), Peer(TID, 2, "x", 1)) == []


def test_in_progress_until_a_later_call_knows() -> None:
    def there(ret: int, time: int) -> list[object]:
        return [*begin(40, 0, True, time), Peer(TID, 40, "2", 9), Leave(time + 1, TID, ret)]

    first = there(-errno.EINPROGRESS, T), there(-errno.EALREADY, T + 10)
    for ret, outcome in ((0, "connected"), (-errno.EISCONN, "connected"), (-errno.ECONNRESET, "refused")):
        changes = play(*first[0], *first[1], *there(ret, T + 20))
        assert [(c.event, c.outcome) for c in changes] == [("attempt", None), ("outcome", outcome)]
        assert changes[1].waited == 21
    assert [c.outcome for c in play(*first[0], ProcessExit(T + 30, PID))] == [None, "aborted"]


def test_lost_leave() -> None:
    changes = play(*unix("/a", 0)[:-1], *unix("/b", 0))
    got = [(c.remote[0], c.outcome) for c in changes]
    assert got == [("/a", None), ("/a", "pending"), ("/b", None), ("/b", "connected")]


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"", None),
        (b"\1\0", None),
        (b"\1\0/run/x\0stale", "/run/x"),
        (b"\1\0relative", "relative"),
        (b"\1\0\0name", "@name"),
        (b"\1\0\0a\0b", "@a@b"),
        (b"\1\0/\xff", "/\udcff"),
        (b"\2\0/x", None),
    ],
)
def test_sockaddr_un(data: bytes, path: str | None) -> None:
    assert unix_path(data) == path


class Host:
    def __init__(self, *sockets: UnixSocket) -> None:
        self.sockets = sockets

    def unix_sockets(self, netns: int | None, pid: int) -> tuple[UnixSocket, ...]:
        return self.sockets

    def overflows(self, netns: int | None, pid: int) -> int | None:
        return 0

    def owner(self, inode: int) -> Owner:
        return Owner(inode, "server")

    def comm(self, pid: int) -> str:
        return "named"

    def file(self, path: str, pid: int) -> File | None:
        return host_unix.socket_file(path, os.getpid())


def test_words() -> None:
    def why(path: str, error: int, *sockets: UnixSocket, nonblocking: bool = True) -> tuple[str, str]:
        end = play(*unix(path, -error, nonblocking))[1]
        told = diagnose(end, Host(*sockets))  # type: ignore[arg-type]
        assert told is not None
        return told.code, told.text

    full = UnixSocket("@x", 5, STREAM, True, None, 3, 2)
    assert why("@x", errno.EAGAIN, full) == (
        "listener-full",
        "server[5] does not accept: its queue takes 3 and 3 wait; the socket does not wait (O_NONBLOCK)",
    )
    assert why("@x", errno.EAGAIN, full, nonblocking=False)[0] == "listener-full"
    assert why("@x", errno.ECONNREFUSED)[0] == "nothing-listens-here"
    assert why("@x", errno.ECONNREFUSED, UnixSocket("@x", 5, DGRAM, False))[0] == "wrong-type"
    assert why("/no/such/socket", errno.ENOENT)[0] == "nothing-listens-here"
    assert "is no socket" in why("/dev/null", errno.ECONNREFUSED)[1]
    assert why("/x", errno.EACCES)[0] == why("/x", errno.EPERM)[0] == "denied-locally"
    assert why("/x", errno.EPROTOTYPE)[0] == "wrong-type"


def test_remote_end() -> None:
    host = Host(UnixSocket("@x", 5, STREAM, True))
    attempt, end = play(*unix("@x", 0, False, UnixPeer(TID, 44, None)))
    assert remote(attempt, host).listener is None  # type: ignore[arg-type]
    there = remote(end, host)  # type: ignore[arg-type]
    assert there.listener is not None and (there.listener.pid, there.listener.comm) == (44, "named")
    guess = remote(play(*unix("@x", -errno.EACCES))[1], host).listener  # type: ignore[arg-type]
    assert guess is not None and (guess.pid, guess.comm) == (5, "server")


def report(path: str) -> Report:
    end = Endpoint(None, None, None, True, None, path)
    return Report("outcome", T, "1", Process(1, 1, "app"), "unix", "unix", "connect", Endpoint(None, None), end, True,
                  "connected", None, 5)  # fmt: skip


def test_faces() -> None:
    hostile = report("/run/\x1b[2J\n\udcff")
    assert destination(hostile) == "/run/\\x1b[2J\\x0a\\xff"
    out = io.StringIO()
    face = TextFace(out, 0)
    face.show([hostile])
    face.finish(T)
    assert "\x1b" not in out.getvalue() and out.getvalue().count("/run/\\x1b[2J\\x0a\\xff") == 2
    facts = json.loads(json.dumps(facts_json(report("@x"))))
    assert facts["remote"] == {
        "address": None,
        "port": None,
        "path": "@x",
        "name": None,
        "self": True,
        "listener": None,
    }
    assert facts["local"] == {"address": None, "port": None}


def test_selection_by_path() -> None:
    attempt = play(*unix("/run/x.sock", 0))[0]
    tcp = attempt.replace(family="inet", protocol="tcp", remote=("10.0.0.1", 80))
    assert Selection(paths=("/run/*",)).takes(attempt) and not Selection(paths=("/tmp/*",)).takes(attempt)
    assert not Selection(paths=("/run/*",)).takes(tcp)
    assert not Selection(ports=frozenset({80})).takes(attempt)
    from ipaddress import ip_network

    both = Selection(paths=("/run/*",), networks=(ip_network("10.0.0.0/8"),))
    assert both.takes(attempt) and both.takes(tcp)


def test_socket_of_a_path(tmp_path: object) -> None:
    """By the socket file as the process sees it, whatever name it was bound by."""
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        one.listen()
        there = os.stat(path)
        bound = UnixSocket("s", 7, STREAM, True, (there.st_ino, there.st_dev))
        other = UnixSocket(path, 8, STREAM, True, (1, 1))
        assert host_unix.at(path, (other, bound), os.getpid()) == bound
        assert host_unix.at("@s", (other, bound), os.getpid()) is None


def test_parse_unix_diag() -> None:
    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    head = struct.pack("=BBBBIII", 1, 1, 10, 0, 99, 0, 0)
    got = host_unix.parse(
        head
        + attribute(0, b"/run/x\0")
        + attribute(1, struct.pack("=II", 12, 8 << 20 | 1))
        + attribute(4, b"\2\0\0\0\1\0\0\0")
    )
    assert got == UnixSocket("/run/x", 99, STREAM, True, (12, os.makedev(8, 1)), 2, 1) and got.full
    assert host_unix.parse(head) is None
    assert host_unix.parse(head + attribute(0, b"\0x")).name == "@x"  # type: ignore[union-attr]
