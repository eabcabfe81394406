"""The C libraries in use on this host, those of containers too: where their functions are.

    Libcs().find()  ->  the files not found before, each once (by device and inode)

Looked for at the usual places below each root directory some process has, and where there is
nothing, in what the process maps.  What starts later is found by calling `find` again.
"""

from __future__ import annotations

import os

from dsight.elf.symbols import ElfError
from dsight.image import Place
from dsight.providers.uprobe import read_functions
from dsight.value import Value

CALLS = ("getaddrinfo", "gethostbyname_r", "gethostbyname2_r")
# glibc's module for /etc/hosts, in libc itself since 2.34; which of them is called is its affair
FILES = ("_nss_files_gethostbyname4_r", "_nss_files_gethostbyname3_r", "_nss_files_gethostbyname2_r")

MOST_FILES = 64
MOST_ROOTS = 4096  # remembered
_MOST_MAPS = 4 << 20  # bytes


class Libc(Value):
    """One file.  `functions`: of CALLS and FILES, those it has, and where."""

    path: str
    functions: dict[str, Place]


class Libcs:
    """Which are known."""

    def __init__(self, machine: str | None = None) -> None:
        machine = machine or os.uname().machine
        folders = (f"lib/{machine}-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib", f"usr/lib/{machine}-linux-gnu")
        self._usual = [f"{folder}/libc.so.6" for folder in folders] + [f"lib/ld-musl-{machine}.so.1"]
        self._roots: set[tuple[int, int, str]] = set()
        self._pids: set[str] = set()
        self._files: set[tuple[int, int]] = set()

    def find(self) -> list[Libc]:
        """Files that were not known."""
        found = self._look(0, 0, "", "/", "self") if not self._pids else []
        pids = {name for name in os.listdir("/proc") if name.isdigit()}
        for pid in pids - self._pids:
            try:
                root = os.stat(f"/proc/{pid}/root/.")
                space = os.readlink(f"/proc/{pid}/ns/mnt")
            except OSError:
                continue
            found += self._look(root.st_dev, root.st_ino, space, f"/proc/{pid}/root/", pid)
        self._pids = pids
        return found

    def _look(self, device: int, inode: int, space: str, root: str, pid: str) -> list[Libc]:
        """Below one root directory, if it is new."""
        key = (device, inode, space)
        if key in self._roots or len(self._roots) >= MOST_ROOTS:
            return []
        self._roots.add(key)
        found: list[Libc] = []
        known = False
        for path in self._usual:
            known = self._take(root + path, found) or known
        if not known:
            for path in _mapped(pid):
                self._take(root + path.lstrip("/"), found)
        return found

    def _take(self, path: str, found: list[Libc]) -> bool:
        """Whether there is such a file; a new one is added to `found`."""
        try:
            stat = os.stat(path)
        except OSError:
            return False
        file = (stat.st_dev, stat.st_ino)
        if file in self._files or len(self._files) >= MOST_FILES:
            return True
        self._files.add(file)
        functions = _functions(path)
        if all(name in functions for name in CALLS):
            found.append(Libc(path, functions))
        return True


def _functions(path: str) -> dict[str, Place]:
    """Those of CALLS and FILES; {} for a file that cannot be understood, or is one of 32 bits."""
    try:
        elf, found, file = read_functions(path, *CALLS, *FILES)
    except (OSError, ElfError):
        return {}
    if not elf.wide:
        return {}
    places = {}
    for name in (*CALLS, *FILES):
        offset = elf.offset(found[name][0]) if name in found else None
        if offset is not None:
            places[name] = Place(path, offset, 0, file)
    return places


def _mapped(pid: str) -> list[str]:
    """The C library a process maps."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_MOST_MAPS)
    except OSError:
        return []
    paths = dict.fromkeys(line.split(None, 5)[5] for line in text.splitlines() if line.count("/"))
    return [p for p in paths if (n := p.rpartition("/")[2]) == "libc.so.6" or n.startswith(("libc-2.", "ld-musl-"))]
