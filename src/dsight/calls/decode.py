"""A system call as text: values in, text out.

    arguments(call)   one text for each argument
    result(call)      what stands behind the "="

The looks are strace's, for that is what people read; a descriptor is followed by what it is open on.
"""

from __future__ import annotations

from dsight.calls import names, structs
from dsight.calls.buffers import SHOW, path
from dsight.calls.call import Call, signed
from dsight.calls.structs import pointer, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

AT_FDCWD = -100
_AF_NETLINK = 16
_SOL_SOCKET, _SO_ERROR = 1, 4
_FUTEX_TIMED = (0, 6, 9, 11, 13)  # operations whose fourth argument is a time, not a count
_F_DUPFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 2, 3, 4, 1030
_LOCKS = (5, 6, 7, 36, 37, 38)
_TERMIOS, _FIONREAD, _FIONBIO, _TIOCGWINSZ = range(0x5401, 0x5405), 0x541B, 0x5421, 0x5413
_FIOASYNC = 0x5452
# prctl(2): how many arguments an option has; 4 where it is not here
_PRCTL_ARGUMENTS = {
    1: 1, 2: 1, 3: 0, 4: 1, 7: 0, 8: 1, 14: 0, 15: 1, 16: 1, 21: 0, 23: 1, 24: 1, 27: 0, 28: 1, 29: 1, 30: 0, 36: 1,
    37: 1, 0x59616D61: 1,
}  # fmt: skip
_PIDS = (0x540F, 0x5410, 0x5429)  # TIOCGPGRP, TIOCSPGRP, TIOCGSID


def arguments(call: Call, limit: int) -> list[str]:
    """Text of each argument that means something; `limit`: bytes of data shown."""
    named = call.name == "clone"  # whose arguments stand in another order on each machine
    return [f"{name}={text}" if named else text for name, text, _ in named_arguments(call, limit)]


def named_arguments(call: Call, limit: int) -> list[tuple[str, str, int]]:
    """(name, text, value) of each argument that means something."""
    out: list[tuple[str, str, int]] = []
    fds = 0
    for i, (arg, value) in enumerate(zip(call.spec.args, call.args)):
        if arg.kind in ("fd", "dirfd"):
            text = descriptor(value, call.files[fds] if fds < 2 else "", arg.kind == "dirfd")
            fds += 1
        else:
            text = _argument(call, i, arg.kind, value, limit)
        out.append((arg.name, text, value))
    used = _USED.get(call.name)
    return out if used is None or len(call.args) < len(call.spec.args) else [out[i] for i in used(call)]


def _open_used(call: Call) -> range:
    """Without the mode, unless a file may be made: O_CREAT, O_TMPFILE."""
    flags = call.args[len(call.spec.args) - 2]
    return range(len(call.spec.args) - (0 if flags & 0x400040 else 1))


def _fcntl_used(call: Call) -> range:
    return range(2 if signed(call.args[1]) in (1, 3, 9, 11, 1025, 1032, 1034) else 3)


def _futex_used(call: Call) -> tuple[int, ...]:
    """As futex(2) has them for each operation."""
    operation = call.args[1] & 0x7F
    if operation in (9, 10):  # with a bit set, and FUTEX_WAIT_BITSET with a time
        return (0, 1, 2, 3, 5) if operation == 9 else (0, 1, 2, 5)
    return (0, 1, 2) if operation in (1, 7, 8) else (0, 1, 2, 3) if operation in (0, 6, 13) else (0, 1, 2, 3, 4, 5)


def _prctl_used(call: Call) -> range:
    return range(1 + _PRCTL_ARGUMENTS.get(signed(call.args[0]), 4))


def _clone_used(call: Call) -> list[int]:
    """Those that its flags say are read."""
    flags = {"parent_tidptr": 0x101000, "child_tidptr": 0x1200000, "tls": 0x80000}
    rest = [i for i, arg in enumerate(call.spec.args) if call.args[0] & flags.get(arg.name, 0)]
    return [1, 0, *rest]


_USED: dict[str, Callable[[Call], Iterable[int]]] = {
    "open": _open_used, "openat": _open_used, "mq_open": lambda call: (0, 1, 2, 3) if call.args[1] & 0x40 else (0, 1),
    "fcntl": _fcntl_used, "fcntl64": _fcntl_used, "futex": _futex_used,
    "futex_time64": _futex_used, "prctl": _prctl_used, "clone": _clone_used,
}  # fmt: skip


def given_first(call: Call) -> int:
    """How many of its arguments are known when it begins: those before the first that the kernel writes."""
    kinds = [arg.kind for arg in call.spec.args]
    return next((i for i, kind in enumerate(kinds) if kind.endswith(">") or kind[0] == ">"), len(kinds))


def descriptor(value: int, file: str, directory: bool = False) -> str:
    number = signed(value)
    if directory and number == AT_FDCWD:
        return "AT_FDCWD"
    return f"{number}<{file}>" if file else str(number)


def _signed64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _argument(call: Call, i: int, kind: str, value: int, limit: int) -> str:
    first = kind[0]
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple(value)
    if first == "|":
        return names.flags(value & 0xFFFFFFFF, kind[1:])
    if first == "=":
        return names.enum(signed(value), kind[1:])
    if kind == "s":
        return _text(call, value)
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(call, i, value, limit)
    if first in "<>":
        return _struct(call, i, kind, value)
    return pointer(value)


# -- memory


def _text(call: Call, address: int) -> str:
    if not address:
        return "NULL"
    found = call.seen.texts.get(address)
    if found is None:
        found = call.back.texts.get(address)
    return pointer(address) if found is None else path(found)


def _struct(call: Call, i: int, kind: str, address: int) -> str:
    """A struct or an array, read (<), written (>) or both (<>): then as it was at the end, if that is known."""
    if not address:
        return "NULL"
    written = ">" in kind[:2]
    if kind.startswith("<>") and call.result is not None and not call.error:
        found = call.block(address, True) or call.block(address, False)
    elif written and not kind.startswith("<"):
        found = call.block(address, True) if not call.error else None
    else:
        found = call.block(address, False)
    if found is None:
        return "[]" if kind.endswith("[ret]") and call.result == 0 else pointer(address)
    size, data = found
    name, bracket, _ = kind.lstrip("<>").partition("[")
    data = data[:size]
    if name == "opt":
        return _option(call, data)
    if name == "cpuset":  # getaffinity returns how many bytes it wrote
        data = data[: call.result or 0] if written else data[: call.args[i - 1]]
    if name == "wstatus" and not call.result:
        return pointer(address)
    if kind == "<>uint" and call.result is not None:
        return _length(call, address, data)
    if call.inner and name == "pollfd":
        return structs.array(name, data, size // structs.SIZES[name], call.inner)
    if call.inner and name == "fdset":
        return structs.fdset(data, call.inner)
    if bracket:
        return structs.array(name, data, size // structs.SIZES[name])
    return structs.text_of(name, data, size)


def _length(call: Call, address: int, data: bytes) -> str:
    """The length of an address: of the buffer, and where that is another, what the kernel wrote."""
    before = call.seen.blocks.get(address)
    text = structs.text_of("uint", data, 4)
    if before is None or call.error or len(before[1]) < 4 or before[1][:4] == data[:4]:
        return text
    return f"[{int.from_bytes(before[1][:4], 'little')} => {text[1:]}"


def _option(call: Call, data: bytes) -> str:
    """A socket option's value.  getsockopt(2) says how many bytes of its buffer it wrote."""
    if call.name == "getsockopt":
        length = call.block(call.args[4], True)
        data = data[: int.from_bytes(length[1][:4], "little")] if length is not None else data
    if len(data) != 4:
        return quoted(data)
    value = int.from_bytes(data, "little", signed=True)
    if signed(call.args[1]) == _SOL_SOCKET and signed(call.args[2]) == _SO_ERROR and value:
        return f"[{names.error(value)[0]}]"
    return f"[{value}]"


# -- words whose meaning hangs on others


def _protocol(call: Call, i: int, value: int, limit: int) -> str:
    family = signed(call.args[0])
    if family == _AF_NETLINK:
        return names.enum(signed(value), "netlink")
    return names.enum(signed(value), "ipproto") if family in (2, 10) else str(signed(value))


def _option_name(call: Call, i: int, value: int, limit: int) -> str:
    table = {0: "ip", 1: "so", 6: "tcp", 41: "ipv6", 270: "sol_netlink"}.get(signed(call.args[i - 1]))
    return names.enum(signed(value), table) if table else str(signed(value))


def _futex_time(call: Call, i: int, value: int, limit: int) -> str:
    if call.args[1] & 0x7F in _FUTEX_TIMED:
        return _struct(call, i, "<timespec", value)
    return str(value & 0xFFFFFFFF)


def _fcntl_argument(call: Call, i: int, value: int, limit: int) -> str:
    command = signed(call.args[1])
    if command == _F_SETFD:
        return names.flags(value, "fcntl_fd")
    if command == _F_SETFL:
        return names.open_flags(value)
    if command in _LOCKS and not call.spec.narrow:
        block = call.block(value, False)
        if block is not None and len(block[1]) >= 24:
            kind, whence = (int.from_bytes(block[1][n : n + 2], "little") for n in (0, 2))
            start, length = (int.from_bytes(block[1][n : n + 8], "little", signed=True) for n in (8, 16))
            return (
                f"{{l_type={names.enum(kind, 'flock_type')}, l_whence={names.enum(whence, 'seek')}, l_start={start}, "
                f"l_len={length}}}"
            )
        return pointer(value)
    return str(signed(value)) if command in (_F_DUPFD, _F_DUPFD_CLOEXEC, 8, 10, 1024, 1031) else f"{value:#x}"


def _ioctl_request(value: int) -> str:
    value &= 0xFFFFFFFF
    found = names.enum(value, "ioctl")
    if not found.startswith("0x"):
        return found
    way = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")[value >> 30]
    return f"_IOC({way}, {value >> 8 & 0xFF:#x}, {value & 0xFF:#x}, {value >> 16 & 0x3FFF:#x})"


def _ioctl_argument(call: Call, i: int, value: int, limit: int) -> str:
    request = call.args[1] & 0xFFFFFFFF
    block = call.block(value, True) if not call.error and call.result is not None else None
    if request in (_FIONBIO, _FIOASYNC):
        block = call.block(value, False)
    if block is None:
        return pointer(value)
    if request in (_FIONREAD, _FIONBIO, _FIOASYNC, *_PIDS):
        return f"[{int.from_bytes(block[1][:4], 'little', signed=True)}]"
    if request == _TIOCGWINSZ:
        rows, columns = (int.from_bytes(block[1][n : n + 2], "little") for n in (0, 2))
        return f"{{ws_row={rows}, ws_col={columns}, ...}}"
    if request in _TERMIOS:
        words = [int.from_bytes(block[1][n : n + 4], "little") for n in range(0, 16, 4)]
        return "{{c_iflag={:#x}, c_oflag={:#x}, c_cflag={:#x}, c_lflag={:#x}, ...}}".format(*words)
    return pointer(value)


def _prctl_argument(call: Call, i: int, value: int, limit: int) -> str:
    option = signed(call.args[0])
    if option in (15, 16):  # PR_SET_NAME, PR_GET_NAME: 16 bytes
        block = call.block(value, option == 16)
        return pointer(value) if block is None else quoted(block[1][:16].split(b"\0")[0])
    if option in (23, 24):  # PR_CAPBSET_READ, PR_CAPBSET_DROP
        return names.enum(signed(value), "cap")
    if option == 1:
        return names.signal(signed(value))
    return _hexadecimal(value) if option in (2, 16, 22, 35, 37, 0x53564D41) else str(value)


def _socket_type(value: int) -> str:
    kind, rest = names.enum(value & 0xF, "pf_types"), value & 0xFFFFFFF0
    return f"{kind}|{names.flags(rest, 'sock')}" if rest else kind


def _map_flags(value: int) -> str:
    value &= 0xFFFFFFFF
    return "MAP_FILE|" + names.flags(value, "map") if not value & 3 else names.flags(value, "map")


def _clone_flags(value: int) -> str:
    number, rest = value & 0xFF, value & ~0xFF
    if not rest:
        return names.signal(number) if number else "0"
    return names.flags(rest, "clone") + (f"|{names.signal(number)}" if number else "")


def _futex_operation(value: int) -> str:
    marks = ("_PRIVATE" if value & 0x80 else "") + ("|FUTEX_CLOCK_REALTIME" if value & 0x100 else "")
    return names.enum(value & 0x7F, "futex") + marks


def _clock(value: int) -> str:
    """clockid_t; negative: ~id << 3, and below it the clock, 4 for a thread's (linux/posix-timers.h)."""
    number = signed(value)
    if number >= 0:
        return names.enum(number, "clock")
    owner, kind = ~(number >> 3), number & 7
    if kind == 3:
        return f"FD_TO_CLOCKID({owner})"
    label = ("CPUCLOCK_PROF", "CPUCLOCK_VIRT", "CPUCLOCK_SCHED", "3")[kind & 3]
    return f"MAKE_{'THREAD' if kind & 4 else 'PROCESS'}_CPUCLOCK({owner}, {label})"


def _statx_flags(value: int) -> str:
    value &= 0xFFFFFFFF
    if value & 0x6000:  # AT_STATX_SYNC_TYPE
        return names.flags(value, "at")
    return "AT_STATX_SYNC_AS_STAT" + (f"|{names.flags(value, 'at')}" if value else "")


def _hexadecimal(value: int) -> str:
    return f"{value:#x}" if value else "0"


def _signal(value: int) -> str:
    return names.signal(signed(value)) if value else "0"


_SIMPLE: dict[str, Callable[[int], str]] = {
    "d": lambda v: str(signed(v)),
    "u": lambda v: str(v & 0xFFFFFFFF),
    "l": lambda v: str(_signed64(v)),
    "U": str,
    "x": _hexadecimal,
    "o": lambda v: structs.octal(v & 0xFFFF),
    "omode": lambda v: structs.octal(v & 0xFFFF),
    "p": pointer,
    "pid": lambda v: str(signed(v)),
    "sig": _signal,
    "oflags": lambda v: names.open_flags(v & 0xFFFFFFFF),
    "oflags0": lambda v: names.flags(v & 0xFFFFFFFF, "open"),
    "pipeflags": lambda v: names.flags(v & 0xFFFFFFFF, "open"),
    "mmapflags": _map_flags,
    "cloneflags": _clone_flags,
    "socktype": _socket_type,
    "futexop": _futex_operation,
    "ioctlcmd": _ioctl_request,
    "clock": _clock,
    "pages": lambda v: _hexadecimal((v & 0xFFFFFFFF) << 12),
    "statxflags": _statx_flags,
    "bitset": lambda v: "FUTEX_BITSET_MATCH_ANY" if v & 0xFFFFFFFF == 0xFFFFFFFF else f"{v & 0xFFFFFFFF:#x}",
}

_SPECIAL: dict[str, Callable[[Call, int, int, int], str]] = {
    **SHOW, "proto": _protocol, "optname": _option_name, "futexarg": _futex_time, "fcntlarg": _fcntl_argument,
    "ioctlarg": _ioctl_argument, "prctlarg": _prctl_argument,
}  # fmt: skip


# -- results


def result(call: Call) -> str:
    """What the call gave: a number, a descriptor, an address, or an error and its text."""
    value = call.result
    if value is None:
        return "?"
    number = call.error
    if number:
        name, text = names.error(number)
        return f"? {name} ({text})" if number in names.RESTARTS else f"-1 {name} ({text})"
    kind = call.spec.result
    if kind == "fd":
        return f"{value}<{call.made}>" if call.made else str(value)
    if kind == "x":
        return f"{value & (1 << 64) - 1:#x}"
    if kind == "o":
        return structs.octal(value)
    if kind[:1] == "=":
        return names.enum(value, kind[1:])
    if kind == "sig":
        return f"{value} ({names.signal(value)})"
    if kind == "poll":
        return f"{value} (Timeout)" if value == 0 else str(value)
    if kind == "fcntl":
        return _fcntl_result(call, value)
    return str(value)


def _fcntl_result(call: Call, value: int) -> str:
    command = signed(call.args[1])
    if command == _F_GETFL:
        return f"{value:#x} (flags {names.open_flags(value)})"
    if command == 1:
        return f"{value:#x} (flags {names.flags(value, 'fcntl_fd')})" if value else "0"
    return f"{value}<{call.files[0]}>" if command in (_F_DUPFD, _F_DUPFD_CLOEXEC) and call.files[0] else str(value)
