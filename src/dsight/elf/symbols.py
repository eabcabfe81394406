"""Symbol tables of ELF files (System V ABI, chapters 4 and 5; elf(5)).

A pure reader over a function `read(offset, size)`, which gives fewer bytes where the file ends.
Files come from traced processes: whatever they hold, the answer is an ElfError or a value, in
bounded time and memory.

By `struct` rather than pyelftools, which is twenty times slower (docs/decisions/0013-symbols.md).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]

PT_LOAD = 1
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 2, 7, 8, 11
NT_GNU_BUILD_ID = 3
STT_FUNC = 2
MOST_SECTIONS = 4096
MOST_BYTES = 64 << 20  # of one section: 2.8 million symbols
LONGEST_NAME = 4096

# Symbol types: what may stand at an address of code or data; the better, the lower.
_TYPES = {2: 0, 10: 0, 1: 1, 0: 2}  # FUNC, GNU_IFUNC, OBJECT, NOTYPE (labels of assembly)
_BINDINGS = {1: 0, 10: 0, 2: 1, 0: 2}  # GLOBAL, GNU_UNIQUE, WEAK, LOCAL

_NAMELESS = (b"", b"\0", b"$")  # how names start that are none: $x and the like are ARM's marks


class ElfError(Exception):
    """Not an ELF file, or one that cannot be understood."""


class Segment(Value):
    """A loadable segment: `size` bytes of the file from `offset` are at virtual `address`."""

    offset: int
    address: int
    size: int


class Section(Value):
    name: str
    type: int
    offset: int
    size: int
    link: int
    flags: int


class Elf(Value):
    """The headers of a file.  `wide`: 64-bit; `order`: "<" or ">"."""

    wide: bool
    order: str
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)

    def offset(self, address: int) -> int | None:
        """Where in the file the byte at a virtual address is."""
        for s in self.segments:
            if s.address <= address < s.address + s.size:
                return address - s.address + s.offset
        return None

    def address(self, offset: int) -> int | None:
        """The virtual address of a byte of the file: whatever the base a process loaded it at."""
        for s in self.segments:
            if s.offset <= offset < s.offset + s.size:
                return offset - s.offset + s.address
        return None


def read_elf(read: Read) -> Elf:
    """The headers.  Raises ElfError."""
    head = read(0, 64)
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise ElfError("not an ELF file")
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    try:
        if wide:
            phoff, shoff, _, _, phsize, phnum, shsize, shnum, names = struct.unpack_from(order + "QQIHHHHHH", head, 32)
        else:
            phoff, shoff, _, _, phsize, phnum, shsize, shnum, names = struct.unpack_from(order + "IIIHHHHHH", head, 28)
    except struct.error:
        raise ElfError("the header is cut off") from None
    segments = []
    for row in _rows(read, phoff, phsize, phnum, order + ("IIQQQQQQ" if wide else "IIIIIIII")):
        if row[0] == PT_LOAD:
            segments.append(Segment(row[2], row[3], row[5]) if wide else Segment(row[1], row[2], row[4]))
    rows = _rows(read, shoff, shsize, min(shnum, MOST_SECTIONS), order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    found = [Section("", row[1], row[4], row[5], row[6], row[2]) for row in rows]
    if names < len(found):
        strings = section_data(found[names], read)
        found = [s.replace(name=_name(strings, row[0])) for s, row in zip(found, rows)]
    return Elf(wide, order, tuple(segments), tuple(found))


def _rows(read: Read, offset: int, size: int, count: int, format: str) -> list[tuple[int, ...]]:
    """A table of headers, as far as the file has it."""
    need = struct.calcsize(format)
    if not offset or not count or size < need:
        return []
    data = read(offset, size * count)
    return [struct.unpack_from(format, data, at) for at in range(0, len(data) - need + 1, size)]


def _name(strings: bytes, offset: int) -> str:
    """The NUL-ended name at an offset; bytes that are not UTF-8 as surrogates."""
    if offset >= len(strings):
        return ""
    end = strings.find(b"\0", offset, offset + LONGEST_NAME)
    return strings[offset : end if end >= 0 else offset + LONGEST_NAME].decode("utf-8", "surrogateescape")


def section_data(section: Section, read: Read) -> bytes:
    """A section's bytes; none of one that is absurdly large."""
    if section.type == SHT_NOBITS or section.size > MOST_BYTES:
        return b""
    return read(section.offset, section.size)


def build_id(elf: Elf, read: Read) -> str:
    """The build id in hex, "" for none."""
    section = elf.section(".note.gnu.build-id")
    if section is None or section.size > 4096:
        return ""
    data = section_data(section, read)
    if len(data) < 16:
        return ""
    name_size, size, kind = struct.unpack_from(elf.order + "III", data)
    if kind != NT_GNU_BUILD_ID or name_size != 4 or data[12:16] != b"GNU\0" or size > 64:
        return ""
    return data[16 : 16 + size].hex()


def debug_link(elf: Elf, read: Read) -> tuple[str, int] | None:
    """What .gnu_debuglink says: the name of the file with the debug symbols, and its CRC-32."""
    section = elf.section(".gnu_debuglink")
    if section is None or section.size > 4096:
        return None
    data = section_data(section, read)
    name, nul, _ = data.partition(b"\0")
    at = (len(name) + 4) & ~3
    if not name or not nul or len(data) < at + 4 or b"/" in name:
        return None
    return name.decode("utf-8", "surrogateescape"), struct.unpack_from(elf.order + "I", data, at)[0]


class SymbolTable:
    """Symbols by virtual address."""

    __slots__ = ("_starts", "_sizes", "_names", "_strings")

    def __init__(self, starts: array[int], sizes: array[int], names: array[int], strings: bytes) -> None:
        """Ascending; of several at one address the best first."""
        self._starts, self._sizes, self._names, self._strings = starts, sizes, names, strings

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, address: int) -> tuple[str, int] | None:
        """(name, offset) of the symbol an address is in: the innermost that covers it; or one without
        a size (assembly) if nothing else begins in between."""
        starts = self._starts
        n = bisect_right(starts, address) - 1
        unsized = -1
        for i in range(n, max(-1, n - 64), -1):
            if address - starts[i] < self._sizes[i]:
                while i and starts[i - 1] == starts[i] and address - starts[i] < self._sizes[i - 1]:
                    i -= 1
                return _name(self._strings, self._names[i]), address - starts[i]
            if not self._sizes[i] and starts[i] == starts[n]:
                unsized = i
        if unsized < 0:
            return None
        return _name(self._strings, self._names[unsized]), address - starts[unsized]


def read_symbols(elf: Elf, read: Read) -> SymbolTable:
    """The symbols of .symtab, or where it was stripped, of .dynsym.  Raises ElfError."""
    for kind in (SHT_SYMTAB, SHT_DYNSYM):
        for section in elf.sections:
            if section.type == kind:
                table = _table(elf, section, read)
                if len(table):
                    return table
    return SymbolTable(array("Q"), array("Q"), array("I"), b"")


def _table(elf: Elf, section: Section, read: Read) -> SymbolTable:
    data = section_data(section, read)
    strings = section_data(elf.sections[section.link], read) if section.link < len(elf.sections) else b""
    types, bindings = _TYPES, _BINDINGS
    found = []
    for name, info, index, value, size in _symbols(elf, data):
        rank = types.get(info & 15)
        if rank is not None and index and value and strings[name : name + 1] not in _NAMELESS:
            found.append((value, rank, bindings.get(info >> 4, 3), name, size))
    found.sort()
    return SymbolTable(
        array("Q", [f[0] for f in found]), array("Q", [f[4] for f in found]), array("I", [f[3] for f in found]), strings
    )


def functions(elf: Elf, read: Read, *names: str) -> dict[str, tuple[int, int]]:
    """Functions defined in the file, of .symtab and .dynsym: name -> (virtual address, size); all, or
    only those of these names.  Raises ElfError."""
    found: dict[str, tuple[int, int]] = {}
    for section in elf.sections:
        if section.type not in (SHT_SYMTAB, SHT_DYNSYM):
            continue
        strings = section_data(elf.sections[section.link], read) if section.link < len(elf.sections) else b""
        wanted = {at: name for name in names for at in _places(strings, name)}
        if names and not wanted:
            continue
        data = section_data(section, read)
        for at, info, index, value, size in _symbols(elf, data):
            if (not names or at in wanted) and info & 15 == STT_FUNC and index and value:
                found.setdefault(wanted[at] if names else _name(strings, at), (value, size))
    return found


def _places(strings: bytes, name: str) -> Iterator[int]:
    """Where a string table has a name: also at the end of another one."""
    wanted = name.encode("utf-8", "surrogateescape") + b"\0"
    at = strings.find(wanted)
    while at >= 0:
        yield at
        at = strings.find(wanted, at + 1)


def _symbols(elf: Elf, data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Rows of a symbol table: offset of the name, info, index of the section, value, size."""
    row = struct.Struct(elf.order + ("IBBHQQ" if elf.wide else "IIIBBH"))
    data = data[: len(data) // row.size * row.size]
    if elf.wide:
        return ((name, info, index, value, size) for name, info, _, index, value, size in row.iter_unpack(data))
    return ((name, info, index, value, size) for name, value, size, info, _, index in row.iter_unpack(data))
