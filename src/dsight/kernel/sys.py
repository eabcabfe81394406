"""Raw system calls: bpf(2), perf_event_open(2), the mount calls; and what a refusal means.

All other modules of `kernel` go through here.  `syscall` raises OSError; the
modules turn it into what the user is told with `refused`.

Uses `_ctypes`, the C half of ctypes: `import ctypes` alone takes some 3 ms, more
than loading a program.  ctypes itself is the fallback should CPython change it.
"""

from __future__ import annotations

import errno
import os
import struct

from dsight.errors import FeatureError, KernelError, PrivilegeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _ctypes import (
        FUNCFLAG_CDECL,
        FUNCFLAG_USE_ERRNO,
        CFuncPtr,
        _SimpleCData,
        addressof,
        dlopen,
        dlsym,
        get_errno,
    )

    class _Char(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "c"

    class _Long(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    class _Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
        _restype_ = _Long

    _syscall: Any = _Function(dlsym(dlopen(None, os.RTLD_NOW), "syscall"))  # type: ignore[arg-type]
except (ImportError, AttributeError, TypeError):  # pragma: no cover - another interpreter
    import ctypes
    from ctypes import addressof, get_errno

    _Char, _Long = ctypes.c_char, ctypes.c_long  # type: ignore[assignment,misc]
    _syscall = ctypes.CDLL(None, use_errno=True).syscall
    _syscall.restype = _Long
_syscall.argtypes = (_Long,) * 7

# machine (uname -m): numbers of the calls we make.  arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h; from 424 on all architectures share them.
NUMBERS = {
    "x86_64": {
        "bpf": 321,
        "perf_event_open": 298,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "open_by_handle_at": 304,
    },
    "aarch64": {
        "bpf": 280,
        "perf_event_open": 241,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "open_by_handle_at": 265,
    },
}

# bpf(2) commands: include/uapi/linux/bpf.h, enum bpf_cmd
MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, MAP_GET_NEXT_KEY, PROG_LOAD = range(6)
PROG_TEST_RUN = 10
PROG_GET_NEXT_ID, MAP_GET_NEXT_ID, PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD = range(11, 16)
RAW_TRACEPOINT_OPEN, BTF_LOAD = 17, 18
MAP_FREEZE = 22
MAP_LOOKUP_BATCH = 24
LINK_CREATE = 28
LINK_GET_NEXT_ID = 31

ENOTSUPP = 524  # the kernel's own; has no name in errno(3)

_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39


def machine() -> str:
    """The machine's name as in NUMBERS; FeatureError on one dsight does not know."""
    name = os.uname().machine
    if name not in NUMBERS:
        raise FeatureError("architecture", f"dsight runs on x86_64 and aarch64, not on {name}")
    return name


_numbers: dict[str, int] = {}


def syscall(name: str, a: int = 0, b: int = 0, c: int = 0, d: int = 0, e: int = 0) -> int:
    """One system call of NUMBERS; its result.  Raises OSError."""
    if not _numbers:
        _numbers.update(NUMBERS[machine()])
    result: int = _syscall(_numbers[name], a, b, c, d, e, 0)
    if result < 0:
        number = get_errno()
        raise OSError(number, os.strerror(number))
    return result


def buffer(content: bytes | int) -> Any:
    """Memory the kernel can read and write: a copy of some bytes, or that many zero bytes.
    `.raw` gives its bytes back; `struct.pack_into` and memoryview() work on it."""
    if isinstance(content, int):
        return (_Char * content)()
    return (_Char * len(content)).from_buffer_copy(content)


def address(memory: Any) -> int:
    """Where a buffer is.  The caller keeps the buffer alive."""
    return addressof(memory)


def bpf(command: int, attr: Any) -> int:
    """bpf(2) with an attr made by `buffer`.  Raises OSError."""
    while True:
        try:
            return syscall("bpf", command, addressof(attr), len(attr))
        except OSError as e:
            # A signal came while the verifier ran: the call was not made.
            if e.errno != errno.EAGAIN or command != PROG_LOAD:
                raise


def bpf_create(command: int, attr: Any) -> int:
    """bpf(2) for what takes locked memory (a map, a program).  Kernels before 5.11 count it
    against RLIMIT_MEMLOCK and say EPERM: only then is the limit raised, for it is inherited
    by the command a script runs."""
    try:
        return bpf(command, attr)
    except OSError as e:
        if e.errno != errno.EPERM or not _raise_memlock():
            raise
    return bpf(command, attr)


def _raise_memlock() -> bool:
    """Whether RLIMIT_MEMLOCK could be raised; it need not be on kernels from 5.11 on."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for wanted in ((resource.RLIM_INFINITY,) * 2, (hard, hard)):
        if wanted != (soft, hard):
            try:
                resource.setrlimit(resource.RLIMIT_MEMLOCK, wanted)
                return True
            except (OSError, ValueError):
                pass
    return False


# struct perf_event_attr, PERF_ATTR_SIZE_VER5 (112 bytes): type, size, config, sample_period,
# sample_type, read_format, flags, wakeup_events
_PERF_ATTR = struct.Struct("<IIQQQQQI")
PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT = 1, 2
PERF_COUNT_SW_CPU_CLOCK = 0
_PERF_FLAG_FD_CLOEXEC = 8
PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF = 0x2400, 0x40042408


def perf_event_open(kind: int, config: int, period: int, cpu: int, disabled: bool = True) -> int:
    """A perf event on one CPU for every process; its descriptor.  Raises OSError."""
    return perf_event(_PERF_ATTR.pack(kind, 112, config, period, 0, 0, int(disabled), 0), cpu)


def perf_event(attributes: bytes, cpu: int, pid: int = -1) -> int:
    """perf_event_open(2) for every process on one CPU, or for one process on every CPU (-1);
    `attributes`: the start of a struct perf_event_attr."""
    attr = buffer(attributes.ljust(112, b"\0"))
    return syscall("perf_event_open", addressof(attr), pid, cpu, -1, _PERF_FLAG_FD_CLOEXEC)


# --- refusals ------------------------------------------------------------------------------


def privileged() -> bool:
    """CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON, in effect."""
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("CapEff:"):
                caps = int(line.split()[1], 16)
                return bool(caps >> _CAP_SYS_ADMIN & 1 or (caps >> _CAP_BPF & 1 and caps >> _CAP_PERFMON & 1))
    return os.geteuid() == 0


def lockdown() -> str:
    """The kernel's lockdown mode: "none", "integrity", "confidentiality"; "" where unknown."""
    try:
        with open("/sys/kernel/security/lockdown") as f:
            text = f.read()
    except OSError:
        return ""
    return text[text.find("[") + 1 : text.find("]")] if "[" in text else ""


def refused(what: str, error: OSError) -> KernelError:
    """What to tell the user when the kernel refused `what` ("create map @count"); the caller raises it."""
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        if not privileged():
            return PrivilegeError(
                f"cannot {what}: this takes root, or the capabilities CAP_BPF and CAP_PERFMON",
                number,
                "run it as root, for instance with sudo",
            )
        mode = lockdown()
        if mode not in ("", "none"):
            hint = f"kernel lockdown is in force ({mode}): see kernel_lockdown(7)"
        else:
            hint = "a container's seccomp profile, a security module or kernel lockdown may forbid it"
        return PrivilegeError(f"cannot {what}: the kernel forbids it even to root", number, hint)
    if number == errno.ENOSYS:
        return FeatureError("bpf", f"cannot {what}: this kernel has no such system call", number, _CONFIG_HINT)
    if number == ENOTSUPP:
        return KernelError(f"cannot {what}: not supported by this kernel (ENOTSUPP)", number)
    if number in (errno.EMFILE, errno.ENFILE):
        return KernelError(f"cannot {what}: too many open files", number, "raise the limit: ulimit -n")
    if number == errno.ENOMEM:
        return KernelError(
            f"cannot {what}: out of memory", number, "ask for smaller buffers, or raise the cgroup's memory limit"
        )
    name = errno.errorcode.get(number, str(number))
    return KernelError(f"cannot {what}: {os.strerror(number)} ({name})", number)


_CONFIG_HINT = "dsight needs Linux 5.8 or later, built with CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF"
