"""cgroups(7) of version 2: where they are mounted; path to id and back; which there are."""

from __future__ import annotations

import os
import struct

from dsight.kernel import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FILEID_KERNFS = 0xFE  # include/linux/exportfs.h: a handle of 8 bytes, the id
ROOT = 1  # the id of "/" (fs/kernfs/dir.c)


def mount() -> str:
    """The directory; OSError if they are not mounted."""
    with open("/proc/self/mounts") as file:
        for line in file:
            _, where, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                return where
    raise FileNotFoundError(2, "cgroups of version 2 are not mounted")


def cgroup(path: str) -> tuple[int, int]:
    """Level and id of a cgroup, by its directory; OSError if there is none."""
    root = mount()
    whole = os.path.realpath(path if path.startswith(root) else f"{root}/{path.strip('/')}")
    number = os.stat(whole).st_ino
    inside = os.path.relpath(whole, root)
    return (0 if inside == "." else inside.count("/") + 1), number


def path_of(number: int) -> str | None:
    """The path of a cgroup that still is there, from the mount's root, by its id (open_by_handle_at(2))."""
    try:
        root = mount()
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    handle = sys.buffer(struct.pack("=IiQ", 8, _FILEID_KERNFS, number))
    try:
        found = sys.syscall("open_by_handle_at", at, sys.address(handle), os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(at)
    try:
        whole = os.readlink(f"/proc/self/fd/{found}")
    except OSError:
        return None
    finally:
        os.close(found)
    return None if whole.endswith(" (deleted)") else whole.removeprefix(root) or "/"


def named(matches: Callable[[str], bool]) -> list[str]:
    """The paths of cgroups whose last component `matches`, the outermost only."""
    root = mount()
    found = []
    for folder, names, _ in os.walk(root):
        hits = [name for name in names if matches(name)]
        found += [f"{folder}/{name}" for name in hits]
        names[:] = [name for name in names if name not in hits]
    return found
