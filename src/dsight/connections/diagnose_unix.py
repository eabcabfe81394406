"""Who listens at a UNIX socket, and why it could not be connected."""

from __future__ import annotations

import errno

from dsight.connections.diagnose import seconds
from dsight.connections.host_unix import DGRAM, SEQPACKET, STREAM, at
from dsight.connections.model import Diagnosis, Endpoint, Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.attempts import Change
    from dsight.connections.host import Host
    from dsight.connections.host_unix import UnixSocket

_TYPES = {STREAM: "stream", DGRAM: "datagram", SEQPACKET: "seqpacket"}


def remote(change: Change, host: Host) -> Endpoint:
    """The record's remote end."""
    path = change.remote[0]
    listener = None
    if change.event != "attempt":
        listener = _listener(change, host)
    return Endpoint(None, None, None, True, listener, path)


def _listener(change: Change, host: Host) -> Listener | None:
    if change.listener is not None:  # the kernel's own word
        return Listener(change.listener, host.comm(change.listener))
    sock = _socket(change, host)
    if sock is None:
        return None
    owner = host.owner(sock.inode)
    return Listener(None, None) if owner is None else Listener(owner.pid, owner.comm)


def _socket(change: Change, host: Host) -> UnixSocket | None:
    path = change.remote[0]
    sockets = None if path is None else host.unix_sockets(change.netns, change.who.pid)
    return None if path is None or sockets is None else at(path, sockets, change.who.pid, host.file)


def diagnose(change: Change, host: Host) -> Diagnosis | None:
    """The cause of a `hanging` or `outcome` change."""
    path = change.remote[0]
    if path is None or change.outcome == "connected":
        return None
    if change.event == "hanging" or change.outcome in ("pending", "timed-out", "aborted"):
        return _unanswered(change, host, f"no answer for {seconds(change.waited)}")
    make = _BY_ERROR.get(change.error)
    return None if make is None else make(change, path, host)


def _unanswered(change: Change, host: Host, what: str) -> Diagnosis:
    sock = _socket(change, host)
    if sock is not None and sock.full:
        return Diagnosis("listener-full", f"{_full(sock, change, host)}; {what}")
    if change.outcome == "aborted":
        return Diagnosis("gave-up", f"the call was interrupted after {seconds(change.waited)}")
    return Diagnosis("no-answer", f"the listener did not take the connection: {what}")


def _full(sock: UnixSocket, change: Change, host: Host) -> str:
    who = host.owner(sock.inode)
    name = "the listener" if who is None else f"{who.comm}[{who.pid}]"
    return f"{name} does not accept: its queue takes {sock.limit + 1} and {sock.queued} wait"


def _refused(change: Change, path: str, host: Host) -> Diagnosis:
    if path.startswith("@"):
        sock = _socket(change, host)
        if sock is not None:
            return Diagnosis(
                "wrong-type",
                f"{path} is the name of a {_TYPES.get(sock.type, 'different')} socket: the process's is of another "
                "type, or that one came later",
            )
        return Diagnosis(
            "nothing-listens-here", f"no socket of the name {path} listens in this process's network namespace"
        )
    there = host.file(path, change.who.pid)
    if there is None:
        return Diagnosis("nothing-listens-here", f"nobody listened at {path}")
    if not there.is_socket:
        return Diagnosis("nothing-listens-here", f"{path} is there, but is no socket")
    return Diagnosis(
        "nothing-listens-here",
        f"nobody listened at {path}: the socket file was left by a server that has ended, or that does not listen yet",
    )


def _missing(change: Change, path: str, host: Host) -> Diagnosis:
    return Diagnosis(
        "nothing-listens-here",
        f"there is no {path} where this process looks: its server does not run, or has its socket elsewhere",
    )


def _queue(change: Change, path: str, host: Host) -> Diagnosis:
    sock = _socket(change, host)
    if sock is not None and sock.full:
        return Diagnosis("listener-full", f"{_full(sock, change, host)}; the socket does not wait (O_NONBLOCK)")
    return Diagnosis("listener-full", "the queue of the listener was full; the socket does not wait (O_NONBLOCK)")


def _denied(change: Change, path: str, host: Host) -> Diagnosis:
    if change.error == errno.EPERM:
        return Diagnosis("denied-locally", "refused on this host: a security module or a cgroup program")
    return Diagnosis(
        "denied-locally",
        f"connecting to {path} wants permission to write to it and to search its folders: this process (real uid "
        f"{change.who.uid}) has not, or a security module refuses",
    )


def _wrong_type(change: Change, path: str, host: Host) -> Diagnosis:
    sock = _socket(change, host)
    kind = "" if sock is None else f": a {_TYPES.get(sock.type, 'different')} one"
    return Diagnosis("wrong-type", f"the socket at {path} is of another type than the process's{kind}")


_BY_ERROR = {
    errno.ECONNREFUSED: _refused,
    errno.ENOENT: _missing,
    errno.ENOTDIR: _missing,
    errno.EAGAIN: _queue,
    errno.EACCES: _denied,
    errno.EPERM: _denied,
    errno.EPROTOTYPE: _wrong_type,
}
