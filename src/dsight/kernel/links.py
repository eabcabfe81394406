"""Links: a loaded program is attached to what makes it run.

Each function returns a Link; closing it detaches.  None outlives the process:
nothing is pinned.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from dsight.errors import FeatureError
from dsight.kernel import sys
from dsight.kernel.programs import Program

_BPF_PERF_EVENT = 41  # enum bpf_attach_type
_LINK_CREATE = struct.Struct("<IIIIQ")  # program, target, attach type, flags, cookie
_RAW_TRACEPOINT_OPEN = struct.Struct("<QI4xQ")  # name, program, cookie


class Link:
    """What holds a program attached: descriptors, closed last first."""

    def __init__(self, *fds: int) -> None:
        self.fds = list(fds)

    def close(self) -> None:
        """Detach; twice is once.  Takes some 60 ms for each tracepoint that was the last at its
        event (the kernel waits out a grace period, one after the other), next to none for others."""
        while self.fds:
            os.close(self.fds.pop())


def tracepoint(program: Program, tracepoint_id: int, cookie: int = 0) -> Link:
    """Run a "tracepoint" program at the tracepoint with that id (tracefs: events/SYSTEM/NAME/id),
    on all CPUs.  `cookie` is what bpf_get_attach_cookie gives it (Linux 5.15)."""
    what = f"attach {program.spec.name} to tracepoint {tracepoint_id}"
    try:
        event = _event_anywhere(sys.PERF_TYPE_TRACEPOINT, tracepoint_id)
    except OSError as e:
        raise sys.refused(what, e) from None
    return _attach_event(program, event, cookie, what)


def sample(program: Program, period_ns: int, cpu: int, cookie: int = 0) -> Link:
    """Run a "perf_event" program every `period_ns` (10,000 at least) on one CPU."""
    what = f"sample CPU {cpu} every {period_ns} ns"
    try:
        event = sys.perf_event_open(sys.PERF_TYPE_SOFTWARE, sys.PERF_COUNT_SW_CPU_CLOCK, period_ns, cpu)
    except OSError as e:
        raise sys.refused(what, e) from None
    return _attach_event(program, event, cookie, what)


def raw_tracepoint(program: Program, name: str, cookie: int = 0) -> Link:
    """Run a "raw_tp" program at the tracepoint of that name, or a "tp_btf" one at that it was
    loaded for (`name` is then for messages only).  `cookie`: "raw_tp" and "tp_btf", Linux 6.10."""
    text = sys.buffer(name.encode() + b"\0")
    at = 0 if program.spec.kind == "tp_btf" else sys.address(text)
    try:
        return Link(sys.bpf(sys.RAW_TRACEPOINT_OPEN, sys.buffer(_RAW_TRACEPOINT_OPEN.pack(at, program.fd, cookie))))
    except OSError as e:
        if e.errno == errno.ENOENT:
            raise FeatureError("tracepoint", f"this kernel has no tracepoint {name}", e.errno) from None
        if cookie and e.errno in (errno.EINVAL, errno.E2BIG):
            raise _no_cookie(name, e) from None
        raise sys.refused(f"attach {program.spec.name} to tracepoint {name}", e) from None


def _event_anywhere(kind: int, config: int) -> int:
    """A perf event on the first CPU that is online: a tracepoint's programs run on all CPUs
    whichever the event is on."""
    try:
        return sys.perf_event_open(kind, config, 1, 0)
    except OSError as e:
        if e.errno != errno.ENODEV:
            raise
    return sys.perf_event_open(kind, config, 1, online_cpus()[0])


def online_cpus() -> list[int]:
    """The CPUs that are online now."""
    from dsight.kernel.maps import cpu_list

    with open("/sys/devices/system/cpu/online") as f:
        return cpu_list(f.read())


def _attach_event(program: Program, event: int, cookie: int, what: str) -> Link:
    """Tie the program to a perf event and start it: by a link (5.15), else by ioctl(2)."""
    fds = [event]
    try:
        try:
            attr = _LINK_CREATE.pack(program.fd, event, _BPF_PERF_EVENT, 0, cookie)
            fds.append(sys.bpf(sys.LINK_CREATE, sys.buffer(attr)))
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.E2BIG):
                raise
            if cookie:
                raise _no_cookie(what, e) from None
            fcntl.ioctl(event, sys.PERF_EVENT_IOC_SET_BPF, program.fd)
        fcntl.ioctl(event, sys.PERF_EVENT_IOC_ENABLE, 0)
    except BaseException as e:
        for fd in reversed(fds):
            os.close(fd)
        if isinstance(e, OSError):
            raise sys.refused(what, e) from None
        raise
    return Link(*fds)


def _no_cookie(what: str, error: OSError) -> FeatureError:
    return FeatureError("attach cookie", f"this kernel has no attach cookies ({what})", error.errno or 0)
