"""tracefs: which tracepoints (events) there are, their ids and formats.

Where tracefs is mounted, that mount is used; else a detached one is made for this
process alone, read-only (fsopen(2), Linux 5.2): nothing on the machine changes.
Documentation/trace/events.rst describes the files.
"""

from __future__ import annotations

import errno
import os

from dsight.errors import FeatureError
from dsight.kernel import sys
from dsight.value import Value

_MOUNTED = "/sys/kernel/tracing"
_OLD_MOUNT = "/sys/kernel/debug/tracing"  # looking at it mounts it there: so it comes last

_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC = 1, 1
_FSCONFIG_CMD_CREATE = 6
_MOUNT_ATTRS = 1 | 2 | 4 | 8  # MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class EventField(Value):
    """A field of an event's record: where a "tracepoint" program finds it in its context.

    `type` is C text, arrays as in "char[16]"; "__data_loc char[]" is a u32 whose low half is
    where the data is and whose high half is how long.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool


class TraceFs:
    """An open tracefs.  Lists are read each time they are asked for."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def open(cls) -> TraceFs:
        """Raises PrivilegeError, FeatureError."""
        try:
            return cls(os.open(_MOUNTED + "/events", _FOLDER))
        except OSError:
            pass
        try:
            return cls(_detached())
        except OSError as e:
            try:
                return cls(os.open(_OLD_MOUNT + "/events", _FOLDER))
            except OSError:
                pass
            if e.errno in (errno.EPERM, errno.EACCES):
                raise sys.refused("open tracefs", e) from None
            message = "this kernel has no tracefs, or it cannot be mounted"
            hint = "it takes CONFIG_TRACING; or mount it: mount -t tracefs tracefs " + _MOUNTED
            raise FeatureError("tracefs", message, e.errno or 0, hint) from None

    def systems(self) -> list[str]:
        """The events' groups: "sched", "syscalls", ..."""
        return self._folders(".")

    def events(self, system: str) -> list[str]:
        """The events of one group; [] where there is no such group."""
        return self._folders(system)

    def id(self, system: str, event: str) -> int | None:
        """The id perf_event_open takes; None where there is no such event."""
        text = self._read(f"{system}/{event}/id")
        return int(text) if text else None

    def format(self, system: str, event: str) -> tuple[EventField, ...]:
        """The fields of its record, the common ones first; () where there is no such event."""
        return parse_format(self._read(f"{system}/{event}/format"))

    def count(self, system: str, event: str) -> int:
        """How many fields its record has, the common ones too: `format` without its parser."""
        return self._read(f"{system}/{event}/format").count("\tfield:")

    def syscall_names(self) -> list[str]:
        """The system calls with events of their own, sorted, as the kernel calls their entry
        functions ("newstat"): kernel.syscalls knows their numbers."""
        start = "sys_enter_"
        return [name[len(start) :] for name in self.events("syscalls") if name.startswith(start)]

    def close(self) -> None:
        """Twice is once.  A detached mount ends with it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _folders(self, name: str) -> list[str]:
        try:
            fd = os.open(name, _FOLDER, dir_fd=self._fd)
        except OSError:
            return []
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        finally:
            os.close(fd)

    def _read(self, name: str) -> str:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as e:
            raise sys.refused(f"read {name} in tracefs", e) from None
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
            return b"".join(parts).decode("utf-8", "replace")
        finally:
            os.close(fd)


def _detached() -> int:
    """The folder of events in a mount that is nowhere in the file system.  Raises OSError."""
    name = sys.buffer(b"tracefs\0")
    context = sys.syscall("fsopen", sys.address(name), _FSOPEN_CLOEXEC)
    try:
        sys.syscall("fsconfig", context, _FSCONFIG_CMD_CREATE)
        mount = sys.syscall("fsmount", context, _FSMOUNT_CLOEXEC, _MOUNT_ATTRS)
    finally:
        os.close(context)
    try:
        return os.open("events", _FOLDER, dir_fd=mount)  # keeps the mount alive
    finally:
        os.close(mount)


_FIELD = r"^\s*field:([^;]*);\s*offset:(\d+);\s*size:(\d+);(?:\s*signed:(\d+);)?"
_FUNCTION_POINTER = r"^(.*\(\*\s*)(\w+)(\s*\).*)$"


def parse_format(text: str) -> tuple[EventField, ...]:
    """The fields an event's `format` file lists; lines it does not know are passed over."""
    import re  # not at start-up: most scripts read no format

    fields = []
    for declaration, offset, size, signed in re.findall(_FIELD, text, re.M):
        name, c_type = _declared(declaration.strip())
        fields.append(EventField(name, c_type, int(offset), int(size), signed == "1"))
    return tuple(fields)


def _declared(text: str) -> tuple[str, str]:
    """Name and type of "char comm[16]", "struct sockaddr * addr", "__data_loc char[] msg", "void (*f)(int)"."""
    import re

    pointer = re.match(_FUNCTION_POINTER, text)
    if pointer:
        return pointer[2], pointer[1] + pointer[3]
    declared, bracket, count = text.partition("[") if text.endswith("]") else (text, "", "")
    start = len(declared)
    while start and (declared[start - 1].isalnum() or declared[start - 1] == "_"):
        start -= 1
    return declared[start:], declared[:start].rstrip() + bracket + count
