"""Connects by io_uring: requests under way.  Events of uring.d, and which request a SYN belongs to.

A request is known by the address of its struct io_kiocb.  It has no system call around it: what came
of it is its completion's result; the SYN may leave in the thread that submitted it, or in a worker.
"""

from __future__ import annotations

from dsight.connections.events import SS_UNCONNECTED, Enter, Peer, sockaddr
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import SynSent
    from dsight.connections.tracker import Call

LIMIT = 8192  # requests remembered


class UringConnect(Value):
    """A connect is submitted."""

    time: int
    tid: int
    request: int
    sock: int  # address of its struct sock; 0: not a socket, or not known
    fixed: bool  # its file is one of the ring's own: the socket is not known
    protocol: int
    family: int
    nonblocking: bool
    netns: int


class UringPeer(Value):
    """The address it is to connect to."""

    request: int
    family: int
    address: str | None
    port: int | None


class UringDone(Value):
    """It is completed: 0 or a negative errno."""

    time: int
    request: int
    result: int


def _connect(
    time: int, tid: int, request: int, sock: int, fixed: int, protocol: int, family: int, flags: int, netns: int
) -> UringConnect:
    return UringConnect(time, tid, request, sock, bool(fixed), protocol, family, bool(flags & 0o4000), netns)


def _peer(request: int, size: int, data: bytes) -> UringPeer:
    return UringPeer(request, *sockaddr(data[: max(size, 0)]))


DECODERS: dict[int, Callable[..., Any]] = {43: _connect, 44: _peer, 45: UringDone}


class Requests:
    """The requests under way, each with the tracker's call: who, Enter, Peer, attempt."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._all: dict[int, Call] = {}
        self._by_sock: dict[int, Call] = {}
        self._fixed: dict[int, Call] = {}  # those of which the socket is not known, by request

    def begin(self, event: UringConnect, call: Call) -> None:
        """A connect is submitted."""
        self.done(event.request)
        if len(self._all) >= self._limit:
            self.done(next(iter(self._all)))
        call.via = "io_uring"
        call.enter = Enter(
            event.time, event.tid, -1, event.sock, SS_UNCONNECTED, event.protocol, event.family, event.nonblocking,
            event.netns,
        )  # fmt: skip
        self._all[event.request] = call
        if event.fixed:
            self._fixed[event.request] = call
        elif event.sock:
            self._by_sock[event.sock] = call

    def peer(self, event: UringPeer) -> None:
        """The address that was given with it."""
        call = self._all.get(event.request)
        if call is not None and call.enter is not None:
            call.peer = Peer(call.enter.tid, event.family, event.address, event.port)

    def of_syn(self, syn: SynSent, pid: int) -> Call | None:
        """The request that makes this SYN: by the socket, or by process and destination."""
        call = self._by_sock.get(syn.sock)
        if call is None:
            there = (syn.remote, syn.remote_port)
            fits = (
                c
                for c in self._fixed.values()
                if c.who.pid == pid and c.peer and (c.peer.address, c.peer.port) == there
            )
            call = next((c for c in fits if c.attempt is None), None)
        return call if call is not None and call.attempt is None else None

    def under_way(self, attempt: object) -> bool:
        """Whether an attempt's request is not completed yet."""
        return any(call.attempt is attempt for call in self._all.values())

    def done(self, request: int) -> Call | None:
        """The request is completed."""
        call = self._all.pop(request, None)
        if call is not None:
            self._fixed.pop(request, None)
            if call.enter is not None and self._by_sock.get(call.enter.sock) is call:
                del self._by_sock[call.enter.sock]
        return call

    def clear(self) -> None:
        """The watcher ends."""
        self._all.clear()
        self._by_sock.clear()
        self._fixed.clear()
