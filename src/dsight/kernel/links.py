"""Links: a loaded program is attached to what makes it run.

Each function returns a Link; closing it detaches.  None outlives the process:
nothing is pinned.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from dsight.errors import FeatureError, KernelError
from dsight.kernel import sys
from dsight.kernel.programs import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType

CLOSERS = 15  # threads, at most, that detach
_BPF_PERF_EVENT = 41  # enum bpf_attach_type
_LINK_CREATE = struct.Struct("<IIIIQ")  # program, target, attach type, flags, cookie
UPROBE_MULTI = 48  # enum bpf_attach_type
_UPROBE_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN
# program, target, attach type, flags; path, offsets, reference counters, cookies, their number, flags, pid
_UPROBE_MULTI = struct.Struct("<IIIIQQQQIII4x")
_RAW_TRACEPOINT_OPEN = struct.Struct("<QI4xQ")  # name, program, cookie


class Link:
    """What holds a program attached: descriptors, closed last first."""

    def __init__(self, *fds: int) -> None:
        self.fds = list(fds)

    def close(self) -> None:
        """Detach; twice is once.  Takes some 60 ms for each tracepoint that was the last at its event, and for each
        uprobe link: the kernel waits out a grace period."""
        while self.fds:
            os.close(self.fds.pop())


def close(links: list[Link]) -> None:
    """Detach all of them, several at a time: these wait for the same grace periods."""
    from _thread import allocate_lock, start_new_thread

    left = list(links)
    workers = []
    for _ in range(min(len(left) - 1, CLOSERS)):
        at_work = allocate_lock()
        at_work.acquire()
        try:
            start_new_thread(_close_some, (left, at_work))
        except RuntimeError:  # there may be no more threads
            break
        workers.append(at_work)
    _close_some(left)
    for at_work in workers:
        at_work.acquire()


def _close_some(left: list[Link], at_work: LockType | None = None) -> None:
    """Take links until none is left."""
    try:
        while True:
            left.pop().close()
    except IndexError:
        pass
    finally:
        if at_work is not None:
            at_work.release()


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


def uprobe(program: Program, places: list[tuple[str, int, int]], returns: bool, pid: int = 0) -> Link:
    """Run a "uprobe" program at functions of user space, when they are entered, or return.

    `places`: file, offset in it, cookie.  `pid`: in that process only; 0: in every process that maps
    the file, now or later.  Through one multi link a file (Linux 6.6), which comes off quickly; else
    a perf event for each place, where a cookie that is not 0 takes Linux 5.15.
    """
    held: list[int] = []
    files: dict[str, list[tuple[int, int]]] = {}
    for path, offset, cookie in places:
        files.setdefault(path, []).append((offset, cookie))
    try:
        for path, at in files.items():
            held += _uprobe_multi(program, path, at, returns, pid) or _uprobe_events(program, path, at, returns, pid)
    except BaseException:
        Link(*held).close()
        raise
    return Link(*held)


def _uprobe_multi(program: Program, path: str, at: list[tuple[int, int]], returns: bool, pid: int) -> list[int]:
    """[] where this kernel has no such link."""
    count = len(at)
    name = sys.buffer(os.fsencode(path) + b"\0")
    offsets = sys.buffer(struct.pack(f"<{count}Q", *[offset for offset, _ in at]))
    cookies = sys.buffer(struct.pack(f"<{count}Q", *[cookie for _, cookie in at]))
    attr = _UPROBE_MULTI.pack(
        program.fd, 0, UPROBE_MULTI, 0, sys.address(name), sys.address(offsets), 0, sys.address(cookies), count,
        _UPROBE_RETURN if returns else 0, pid,
    )  # fmt: skip
    try:
        return [sys.bpf(sys.LINK_CREATE, sys.buffer(attr))]
    except OSError as e:
        # EINVAL also for what it will say better of a perf event: an offset beyond the file's end
        if e.errno in (errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP):
            return []
        raise _no_uprobe(path, e) from None


def _uprobe_events(program: Program, path: str, at: list[tuple[int, int]], returns: bool, pid: int) -> list[int]:
    try:
        kind, bit = _uprobe_events_kind()
    except OSError:
        raise FeatureError("uprobe", "this kernel has no probes in user space (CONFIG_UPROBE_EVENTS)") from None
    name = sys.buffer(os.fsencode(path) + b"\0")
    held: list[int] = []
    try:
        for offset, cookie in at:
            # struct perf_event_attr: disabled is bit 0 of the flags; config1 the path, config2 the offset
            attr = struct.pack(
                "<IIQQQQQIIQQ", kind, 112, bit if returns else 0, 1, 0, 0, 1, 0, 0, sys.address(name), offset
            )
            try:
                event = sys.perf_event(attr, -1 if pid else online_cpus()[0], pid or -1)
            except OSError as e:
                raise _no_uprobe(path, e) from None
            held += _attach_event(program, event, cookie, f"attach {program.spec.name} to {path}").fds
    except BaseException:
        Link(*held).close()
        raise
    return held


def _uprobe_events_kind() -> tuple[int, int]:
    """The number of perf's PMU for uprobes, and the bit of `config` that means return."""
    folder = "/sys/bus/event_source/devices/uprobe/"
    with open(folder + "type") as f:
        kind = int(f.read())
    with open(folder + "format/retprobe") as f:  # "config:0"
        return kind, 1 << int(f.read().strip().partition(":")[2])


def _no_uprobe(path: str, error: OSError) -> KernelError:
    if error.errno == errno.ENOENT:
        return KernelError(f"cannot probe {path}: there is no such file any more", error.errno)
    return sys.refused(f"probe {path}", error)


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
