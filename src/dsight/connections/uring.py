"""Connects by io_uring: requests under way.  Events of uring.d, and which request a SYN belongs to.

A request is known by the address of its struct io_kiocb.  It has no system call around it: what came
of it is its completion's result; the SYN may leave in the thread that submitted it, or in a worker.
"""

from __future__ import annotations

from dsight.connections.events import Call, sockaddr
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.connections.events import SynSent, Who

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


class Request:
    """One under way: who submitted it, what it is, and the attempt it has made."""

    __slots__ = ("attempt", "call", "peer", "who")

    def __init__(self, who: Who, call: Call) -> None:
        self.who = who
        self.call = call
        self.peer: UringPeer | None = None
        self.attempt: object = None


class Requests:
    """The requests under way."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._all: dict[int, Request] = {}
        self._by_sock: dict[int, Request] = {}
        self._fixed: dict[int, Request] = {}  # those of which the socket is not known, by request

    def begin(self, event: UringConnect, who: Who) -> None:
        """A connect is submitted."""
        self.done(event.request)
        if len(self._all) >= self._limit:
            self.done(next(iter(self._all)))
        call = Call(event.time, event.tid, event.sock, event.protocol, event.family, event.nonblocking, event.netns)
        request = self._all[event.request] = Request(who, call)
        if event.fixed:
            self._fixed[event.request] = request
        elif event.sock:
            self._by_sock[event.sock] = request

    def peer(self, event: UringPeer) -> None:
        """The address that was given with it."""
        request = self._all.get(event.request)
        if request is not None:
            request.peer = event

    def of_syn(self, syn: SynSent, pid: int) -> Request | None:
        """The request that makes this SYN: by the socket, or by process and destination."""
        request = self._by_sock.get(syn.sock)
        if request is None:
            there = (syn.remote, syn.remote_port)
            fits = (
                r
                for r in self._fixed.values()
                if r.who.pid == pid and r.peer and (r.peer.address, r.peer.port) == there
            )
            request = next((r for r in fits if r.attempt is None), None)
        return request if request is not None and request.attempt is None else None

    def under_way(self, attempt: object) -> bool:
        """Whether an attempt's request is not completed yet."""
        return any(request.attempt is attempt for request in self._all.values())

    def done(self, number: int) -> Request | None:
        """The request is completed."""
        request = self._all.pop(number, None)
        if request is not None:
            self._fixed.pop(number, None)
            if self._by_sock.get(request.call.sock) is request:
                del self._by_sock[request.call.sock]
        return request

    def clear(self) -> None:
        """The watcher ends."""
        self._all.clear()
        self._by_sock.clear()
        self._fixed.clear()
