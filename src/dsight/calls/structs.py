"""Structs that system calls read and write, as text: bytes in, text out.

Layouts are those of 64-bit Linux (uapi headers); where a machine has its own, it is said.
What the data is too short for is left out, and "..." says so.
"""

from __future__ import annotations

import os
import struct

from dsight.calls import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Bytes of each; of an array, of one element.
SIZES = {
    "stat": 144, "statx": 256, "statfs": 120, "pollfd": 8, "fdset": 128, "timespec": 16, "timespec2": 32,
    "timeval": 16, "itimerval": 32, "itimerspec": 32, "sigset": 8, "sigaction": 32, "stack_t": 24, "siginfo": 128,
    "int": 4, "uint": 4, "fds": 8, "off": 8, "wstatus": 4, "rlimit": 16, "rusage": 144, "utsname": 256, "sysinfo": 112,
    "cpuset": 128, "clone_args": 88, "open_how": 24, "caphdr": 8, "capdata": 24, "gid": 4,
    "timespec32": 8, "timeval32": 8, "rlimit32": 8,
    "epoll_event": 12 if os.uname().machine == "x86_64" else 16,  # packed on x86-64 only (linux/eventpoll.h)
}  # fmt: skip

_FILE_TYPES = {
    1: "S_IFIFO", 2: "S_IFCHR", 4: "S_IFDIR", 6: "S_IFBLK", 8: "S_IFREG", 10: "S_IFLNK", 12: "S_IFSOCK",
}  # fmt: skip
_STAT_AT = {"x86_64": (24, 48), "aarch64": (16, 48)}  # of st_mode, st_size (asm/stat.h)
_RLIM_INFINITY = (1 << 64) - 1
_UTIME = {(1 << 30) - 1: "UTIME_NOW", (1 << 30) - 2: "UTIME_OMIT"}
MOST = 16  # elements of an array shown


def text_of(kind: str, data: bytes, size: int) -> str:
    """One struct; `size`: of it in the process, of which `data` may be the start.  Raises KeyError for an unknown
    kind."""
    show = _SHOW[kind]
    need = _NEED.get(kind, SIZES.get(kind, 0))
    return show(data) if len(data) >= need else "{...}"


def array(kind: str, data: bytes, count: int, files: Mapping[int, str] | None = None) -> str:
    """An array; `count` elements in the process, of which `data` has the first.  `files`: of pollfd, what descriptors
    are open on."""
    each = SIZES[kind]
    there = min(count, len(data) // each, MOST)
    parts = [_SHOW[kind](data[i * each : (i + 1) * each]) for i in range(there)]
    for i in range(there if files else 0):
        head, comma, rest = parts[i].partition(",")
        parts[i] = f"{head}{_open_on(files, int(head.removeprefix('{fd=')))}{comma}{rest}"
    return "[" + ", ".join(parts + ["..."] * (count > there)) + "]"


def quoted(data: bytes, cut: bool = False) -> str:
    """Bytes as a C string; `cut`: there is more."""
    return '"' + "".join([_BYTES[b] for b in data]) + ('"...' if cut else '"')


def _byte(b: int) -> str:
    named = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    return named[b] if b in named else chr(b) if 32 <= b < 127 else f"\\x{b:02x}"


_BYTES = [_byte(b) for b in range(256)]


def sockaddr(data: bytes) -> str:
    """struct sockaddr of any family."""
    from dsight.calls.addresses import sockaddr as show

    return show(data)


def mode(value: int) -> str:
    """st_mode: S_IFREG|0644."""
    kind = _FILE_TYPES.get(value >> 12)
    if kind is None:
        return octal(value)
    marks = [name for bit, name in ((0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")) if value & bit]
    return "|".join([kind, *marks, octal(value & 0o777)])


def octal(value: int) -> str:
    return f"0{value:o}".rjust(3, "0")


def _stat(data: bytes) -> str:
    mode_at, size_at = _STAT_AT.get(os.uname().machine, _STAT_AT["x86_64"])
    kind = struct.unpack_from("I", data, mode_at)[0]
    size = struct.unpack_from("q", data, size_at)[0]
    if kind >> 12 in (2, 6):
        device = struct.unpack_from("Q", data, 40 if mode_at == 24 else 32)[0]
        return f"{{st_mode={mode(kind)}, st_rdev=makedev({os.major(device):#x}, {os.minor(device):#x}), ...}}"
    return f"{{st_mode={mode(kind)}, st_size={size}, ...}}"


def _statx(data: bytes) -> str:
    mask = struct.unpack_from("I", data, 0)[0]
    kind = struct.unpack_from("H", data, 28)[0]
    attributes, size = (struct.unpack_from("Q", data, at)[0] for at in (8, 40))
    head = f"stx_mask={names.flags(mask, 'statx')}, stx_attributes={names.flags(attributes, 'statx_attributes')}"
    return f"{{{head}, stx_mode={mode(kind)}, stx_size={size}, ...}}"


def _statfs(data: bytes) -> str:
    kind, bsize, blocks, free, available = struct.unpack_from("5q", data)
    head = f"f_type={names.enum(kind, 'fs_magic')}, f_bsize={bsize}, f_blocks={blocks}"
    return f"{{{head}, f_bfree={free}, f_bavail={available}, ...}}"


def _pollfd(data: bytes) -> str:
    fd, events, revents = struct.unpack_from("iHH", data)
    back = f", revents={names.flags(revents, 'poll')}" if revents else ""
    return f"{{fd={fd}, events={names.flags(events, 'poll')}{back}}}"


def _open_on(files: Mapping[int, str] | None, fd: int) -> str:
    return f"<{files[fd]}>" if files and fd in files else ""


def fdset(data: bytes, files: Mapping[int, str] | None = None) -> str:
    """A set of small numbers; `files`: what descriptors are open on."""
    bits = int.from_bytes(data, "little")
    return "[" + " ".join([f"{n}{_open_on(files, n)}" for n in range(bits.bit_length()) if bits >> n & 1]) + "]"


def _timespec(data: bytes) -> str:
    sec, nsec = struct.unpack_from("qq", data)
    return f"{{tv_sec={sec}, tv_nsec={_UTIME.get(nsec, nsec)}}}"


def _timespec2(data: bytes) -> str:
    return f"[{_timespec(data[:16])}, {_timespec(data[16:])}]"


def _timeval(data: bytes) -> str:
    sec, usec = struct.unpack_from("qq", data)
    return f"{{tv_sec={sec}, tv_usec={usec}}}"


def _itimerval(data: bytes) -> str:
    return f"{{it_interval={_timeval(data)}, it_value={_timeval(data[16:])}}}"


def _itimerspec(data: bytes) -> str:
    return f"{{it_interval={_timespec(data)}, it_value={_timespec(data[16:])}}}"


def _sigset(data: bytes) -> str:
    return names.signal_set(int.from_bytes(data[:8], "little"))


def _sigaction(data: bytes) -> str:
    handler, flags, restorer, mask = struct.unpack_from("QQQQ", data)
    shown = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler, f"{handler:#x}")
    tail = f", sa_restorer={restorer:#x}" if flags & 0x4000000 else ""
    return f"{{sa_handler={shown}, sa_mask={names.signal_set(mask)}, sa_flags={names.flags(flags, 'sa')}{tail}}}"


def _stack(data: bytes) -> str:
    sp, flags, size = struct.unpack_from("QixxxxQ", data)
    shown = {0: "0", 1: "SS_ONSTACK", 2: "SS_DISABLE"}.get(flags, f"{flags:#x}")
    return f"{{ss_sp={pointer(sp)}, ss_flags={shown}, ss_size={size}}}"


def _siginfo(data: bytes) -> str:
    signo, _, code = struct.unpack_from("iii", data)
    pid, uid, status = struct.unpack_from("iIi", data, 16)
    return siginfo(signo, code, pid, uid, status, struct.unpack_from("Q", data, 16)[0])


def siginfo(signo: int, code: int, pid: int, uid: int, status: int, address: int) -> str:
    """siginfo_t, by what the signal and its code say is in it."""
    head = f"si_signo={names.signal(signo)}, "
    if signo == 17 and 1 <= code <= 6:
        exited = str(status) if code == 1 else names.signal(status)
        return f"{{{head}si_code={names.enum(code, 'cld')}, si_pid={pid}, si_uid={uid}, si_status={exited}}}"
    if signo in (4, 5, 7, 8, 11) and 0 < code < 128:
        shown = names.enum(code, "segv") if signo == 11 else str(code)
        return f"{{{head}si_code={shown}, si_addr={pointer(address)}}}"
    if pid < 0:
        return f"{{{head[:-2]}}}"
    tail = f", si_pid={pid}, si_uid={uid}" if code in (0, -6, -1) else ""
    return f"{{{head}si_code={names.enum(code, 'si_code')}{tail}}}"


def _int(data: bytes) -> str:
    return f"[{int.from_bytes(data[:4], 'little', signed=True)}]"


def _uint(data: bytes) -> str:
    return f"[{int.from_bytes(data[:4], 'little')}]"


def _off(data: bytes) -> str:
    return f"[{int.from_bytes(data[:8], 'little', signed=True)}]"


def _fds(data: bytes) -> str:
    return "[{}, {}]".format(*struct.unpack_from("ii", data))


def _wstatus(data: bytes) -> str:
    return f"[{wait_status(int.from_bytes(data[:4], 'little'))}]"


def wait_status(status: int) -> str:
    """As wait(2)'s macros say it."""
    number = status & 0x7F
    if status == 0xFFFF:
        return "{WIFCONTINUED(s)}"
    if number == 0x7F:
        return f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {names.signal(status >> 8 & 0xFF)}}}"
    if number:
        core = " && WCOREDUMP(s)" if status & 0x80 else ""
        return f"{{WIFSIGNALED(s) && WTERMSIG(s) == {names.signal(number)}{core}}}"
    return f"{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}"


def _rlimit(data: bytes) -> str:
    return "{{rlim_cur={}, rlim_max={}}}".format(*[_limit(n) for n in struct.unpack_from("QQ", data)])


def _limit(n: int) -> str:
    return "RLIM64_INFINITY" if n == _RLIM_INFINITY else f"{n >> 10}*1024" if n > 1024 and n % 1024 == 0 else str(n)


def _rusage(data: bytes) -> str:
    return f"{{ru_utime={_timeval(data)}, ru_stime={_timeval(data[16:])}, ...}}"


def _utsname(data: bytes) -> str:
    parts = [quoted(data[at : at + 65].split(b"\0")[0]) for at in (0, 65, 130)]
    return "{{sysname={}, nodename={}, release={}, ...}}".format(*parts)


def _sysinfo(data: bytes) -> str:
    uptime, one, five, fifteen, *words = struct.unpack_from("q9QHxxxxxxQQI", data)
    names_of = "totalram freeram sharedram bufferram totalswap freeswap procs totalhigh freehigh mem_unit".split()
    rest = ", ".join([f"{name}={word}" for name, word in zip(names_of, words)])
    return f"{{uptime={uptime}, loads=[{one}, {five}, {fifteen}], {rest}}}"


def _clone_args(data: bytes) -> str:
    """Fields that its flags give a meaning to, as clone(2) says."""
    flags, pidfd, child, parent, signal, stack, size = struct.unpack_from("7Q", data)
    tls, set_tid, set_tid_size, cgroup = struct.unpack("4Q", data[56:88].ljust(32, b"\0"))
    text = f"{{flags={names.flags(flags, 'clone')}"
    text += f", pidfd={pointer(pidfd)}" if flags & 0x1000 else ""
    text += f", child_tid={pointer(child)}" if flags & 0x1200000 else ""
    text += f", parent_tid={pointer(parent)}" if flags & 0x100000 else ""
    text += f", exit_signal={names.signal(signal) if signal else 0}, stack={pointer(stack)}, stack_size={size:#x}"
    text += f", tls={pointer(tls)}" if flags & 0x80000 else ""
    text += f", set_tid={pointer(set_tid)}, set_tid_size={set_tid_size}" if set_tid else ""
    return text + (f", cgroup={cgroup}}}" if flags & 0x200000000 else "}")


def _open_how(data: bytes) -> str:
    flags, opened, resolve = struct.unpack_from("QQQ", data)
    with_mode = f", mode={octal(opened)}" if opened else ""
    return f"{{flags={names.open_flags(flags)}{with_mode}, resolve={names.flags(resolve, 'resolve')}}}"


def _epoll_event(data: bytes) -> str:
    events, value = struct.unpack_from("=IQ" if SIZES["epoll_event"] == 12 else "IxxxxQ", data)
    return f"{{events={names.flags(events, 'epoll')}, data={{u32={value & 0xFFFFFFFF}, u64={value}}}}}"


def _caphdr(data: bytes) -> str:
    version, pid = struct.unpack_from("Ii", data)
    return f"{{version={names.enum(version, 'cap_version')}, pid={pid}}}"


def _capdata(data: bytes) -> str:
    """struct __user_cap_data_struct, of version 3: two, the second with the upper 32 bits."""
    words = struct.unpack_from("6I", data)
    sets = [_capabilities(words[n] | words[n + 3] << 32) for n in range(3)]
    return "{{effective={}, permitted={}, inheritable={}}}".format(*sets)


def _capabilities(mask: int) -> str:
    """Names where they are few, else the bits."""
    numbers = [n for n in range(64) if mask >> n & 1]
    return (
        "|".join([f"1<<{names.enum(n, 'cap')}" for n in numbers])
        if 0 < len(numbers) <= 8
        else hex(mask)
        if mask
        else "0"
    )


def _widened(data: bytes, words: str) -> bytes:
    """Two words of a 32-bit program, as 64-bit ones have them; a limit of all ones is none."""
    first, second = [-1 if n == 0xFFFFFFFF else n for n in struct.unpack_from(words, data)]
    return struct.pack("qq", first, second)


def pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


_SHOW: dict[str, Callable[[bytes], str]] = {
    "stat": _stat, "statx": _statx, "statfs": _statfs, "pollfd": _pollfd, "fdset": fdset, "timespec": _timespec,
    "timespec2": _timespec2, "timeval": _timeval, "itimerval": _itimerval, "itimerspec": _itimerspec,
    "sigset": _sigset, "sigaction": _sigaction, "stack_t": _stack, "siginfo": _siginfo, "int": _int, "uint": _uint,
    "fds": _fds, "off": _off, "wstatus": _wstatus, "rlimit": _rlimit, "rusage": _rusage, "utsname": _utsname,
    "sysinfo": _sysinfo, "cpuset": fdset, "clone_args": _clone_args, "open_how": _open_how,
    "epoll_event": _epoll_event, "sockaddr": sockaddr, "caphdr": _caphdr, "capdata": _capdata,
    "gid": lambda data: str(int.from_bytes(data[:4], "little")),
    "timespec32": lambda data: _timespec(_widened(data, "ii")),
    "timeval32": lambda data: _timeval(_widened(data, "ii")),
    "rlimit32": lambda data: _rlimit(_widened(data, "II")),
}  # fmt: skip
_NEED = {"fdset": 0, "cpuset": 0, "sockaddr": 0, "siginfo": 32, "clone_args": 64, "utsname": 195}
