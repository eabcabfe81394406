"""The user's cache folder: files made once and read at each start; which kernel they are for.

Only files that are this user's alone are read, and one is written whole or not at all.  Whatever is wrong with
one, it is made anew; where none can be written, that is done at each start.
"""

from __future__ import annotations

import os
import stat
import struct

_NOTES = "/sys/kernel/notes"
_NT_GNU_BUILD_ID = 3


def folder() -> str | None:
    """The user's own cache folder for dsight; None where there is none.

    Under sudo HOME may be another user's: a folder of theirs is left alone, root has its own.
    """
    places = [os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", "") + "/.cache", _home() + "/.cache"]
    for place in places:
        if place != "/.cache" and os.path.isabs(place) and _is_ours(place):
            return place + "/dsight"
    return None


def _home() -> str:
    """The user's home folder by the password file."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


def _is_ours(place: str) -> bool:
    """Whether a folder, or the nearest above it that exists, is ours."""
    while True:
        try:
            return os.stat(place).st_uid == os.geteuid()
        except OSError:
            above = os.path.dirname(place)
            if above == place:
                return False
            place = above


def open_own(path: str) -> tuple[int, int] | None:
    """A descriptor of a file that only this user can have written, and its length; None where it is not so."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    s = os.fstat(fd)
    if stat.S_ISREG(s.st_mode) and s.st_uid == os.geteuid() and not s.st_mode & 0o022 and s.st_size:
        return fd, s.st_size
    os.close(fd)
    return None


def store(path: str, raw: bytes, lasting: bool = True) -> None:
    """Write the file whole or not at all; no harm where it cannot be written.  `lasting`: also where the
    machine crashes right now."""
    import time

    part = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        try:
            left = memoryview(raw)
            while left:
                left = left[os.write(fd, left) :]
            if lasting:
                os.fsync(fd)  # else a crash may leave an empty file of that name
        finally:
            os.close(fd)
        os.rename(part, path)
    except OSError:
        try:
            os.unlink(part)
        except OSError:
            pass


def build_id() -> bytes:
    """The running kernel's build id; empty where it has none."""
    try:
        with open(_NOTES, "rb") as f:
            notes = f.read()
    except OSError:
        return b""
    at = 0
    while at + 12 <= len(notes):  # elf(5): name size, descriptor size, type; both padded to 4
        name_size, desc_size, kind = struct.unpack_from("=III", notes, at)
        name_at = at + 12
        desc_at = name_at + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[name_at : name_at + name_size] == b"GNU\0":
            return notes[desc_at : desc_at + desc_size][:32]
        at = desc_at + (desc_size + 3 & ~3)
    return b""
