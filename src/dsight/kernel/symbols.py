"""The kernel's symbols, from /proc/kallsyms: name to address, address to name.

A line is "ffffffff81000000 T name" or "... t name\\t[module]"; the letter is that of
nm(1), upper case for what other files may use.  Without privileges, or with
kernel.kptr_restrict, all addresses are 0: then nothing is found.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from io import BytesIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

KALLSYMS = "/proc/kallsyms"

# Symbols have no length here.  An address so far behind the last one is in none of them.
_FARTHEST = 1 << 20


class KernelSymbols:
    """Looked up lazily: the first question by address reads all (5 MB, some 0.2 s, kept);
    one by name streams through it, and its answer is kept."""

    def __init__(self, path: str = KALLSYMS) -> None:
        self._path = path
        self._by_name: dict[tuple[str, str | None], int | None] = {}
        self._text = b""
        self._addresses: array[int] | None = None
        self._lines: array[int] = array("I")  # where the line of that address starts

    def address(self, name: str, module: str | None = None) -> int | None:
        """The first symbol of that name: in a module, in the kernel proper ("vmlinux"), or in any (None)."""
        key = (name, module)
        if key not in self._by_name:
            self._by_name[key] = self._search(name, module)
        return self._by_name[key]

    def at(self, address: int) -> tuple[str, int, str] | None:
        """(name, how far in, module or "vmlinux") of what is at an address."""
        if self._addresses is None:
            self._read()
        assert self._addresses is not None
        n = bisect_right(self._addresses, address) - 1
        if n < 0 or address - self._addresses[n] > _FARTHEST:
            return None
        found = self._addresses[n]
        # Of several names for one place: one that others may use, then the one listed first.
        best = None
        while n >= 0 and self._addresses[n] == found:
            start = self._lines[n]
            end = self._text.find(b"\n", start)
            letter, name, module = _split(self._text[start : end if end >= 0 else None])
            if best is None or letter.isupper() >= best[0]:
                best = (letter.isupper(), name, module)
            n -= 1
        assert best is not None
        return best[1], address - found, best[2]

    def _search(self, name: str, module: str | None) -> int | None:
        ends = (b" " + name.encode() + b"\n", b" " + name.encode() + b"\t")
        try:
            with open(self._path, "rb", 1 << 16) as f:
                return _first(f, ends, module)
        except OSError:
            return None

    def _read(self) -> None:
        try:
            with open(self._path, "rb") as f:
                self._text = f.read()
        except OSError:
            self._text = b""
        found = []
        at = 0
        for line in BytesIO(self._text):
            try:
                address = int(line[: line.find(b" ")], 16)
            except ValueError:
                address = 0
            if address >> 63:  # the kernel's half: no per-CPU offsets, no zeros
                found.append(address << 32 | at)
            at += len(line)
        found.sort()
        self._addresses = array("Q", [n >> 32 for n in found])
        self._lines = array("I", [n & 0xFFFFFFFF for n in found])


def _first(lines: BinaryIO, ends: tuple[bytes, bytes], module: str | None) -> int | None:
    """The address of the first line with that name, " NAME\\n" or " NAME\\t[MODULE]\\n"."""
    rest = b""
    while True:
        block = lines.read(1 << 16)
        text = rest + block
        if block:
            cut = text.rfind(b"\n") + 1
            text, rest = text[:cut], text[cut:]
        for end in ends:
            at = text.find(end)
            while at >= 0:
                start = text.rfind(b"\n", 0, at) + 1
                stop = text.find(b"\n", at)
                line = text[start : stop if stop >= 0 else None]
                address = int(line[: line.find(b" ")], 16)
                if address and (module is None or _split(line)[2] == module):
                    return address
                at = text.find(end, at + 1)
        if not block:
            return None


def _split(line: bytes) -> tuple[str, str, str]:
    """Letter, name, module of a line."""
    parts = line.decode("utf-8", "replace").split()
    letter, name = (parts + ["", "", ""])[1:3]
    return letter, name, parts[3].strip("[]") if len(parts) > 3 else "vmlinux"
