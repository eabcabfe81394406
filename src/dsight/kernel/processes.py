"""What is at an address of a process: /proc/PID/maps, the files mapped, perf maps, the vDSO.

A process is looked at when its first address arrives (`seen`): its mappings are kept and its
executable files held open, so that addresses can be named after it has ended, after it has
replaced a library, or where its files are in another mount namespace.  exec(2) and reused
process ids show in /proc/PID/stat: then it is looked at again, the older picture is kept beneath.

Of one that ends before it was looked at, kernel.mmaps knows the mappings, if it started or
mapped them after tracing began; its files are then found by name, unless they have been
deleted or are in another mount namespace.  What nobody knows stays a number.

Every file is chosen by the traced process: only regular ones are opened, and read with pread,
never mapped.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from stat import S_ISREG

from dsight.consumer.symbolise import Place
from dsight.elf.perfmap import PerfMap
from dsight.elf.symbols import (
    Elf,
    ElfError,
    SymbolTable,
    build_id,
    debug_link,
    read_elf,
    read_symbols,
)
from dsight.kernel.mmaps import Mmaps
from dsight.value import Value

MOST_PROCESSES = 1024
MOST_FILES = 256  # held open
MOST_LIVES = 8192  # processes kernel.mmaps told of
MOST_MAPPINGS = 4096  # of one of these
MOST_ANCESTORS = 8  # that may have mapped what a process uses
MOST_PICTURES = 4  # of one process: before and after exec
MOST_MAPS = 16 << 20  # bytes of /proc/PID/maps
MOST_PERF = 64 << 20  # bytes of a perf map
MOST_PERF_FILES = 128  # held open
DEBUG = "/usr/lib/debug"
_KERNELS = ("[vdso]", "[vsyscall]")  # the kernel's code in every process


class Mapping(Value):
    start: int
    end: int
    offset: int  # in the file
    file: tuple[str, int]  # device and inode; ("", 0): none
    path: str  # "" for anonymous memory
    runs: bool  # may be executed


def parse_maps(text: bytes) -> list[Mapping]:
    """/proc/PID/maps (proc(5)): start-end perms offset device inode path; ascending."""
    out = []
    for line in text.split(b"\n"):
        parts = line.split(None, 5)
        if len(parts) < 5:
            continue
        start, _, end = parts[0].partition(b"-")
        path = parts[5].decode("utf-8", "surrogateescape") if len(parts) > 5 else ""
        inode = int(parts[4])
        file = (parts[3].decode(), inode) if inode else ("", 0)
        out.append(Mapping(int(start, 16), int(end, 16), int(parts[2], 16), file, path, b"x" in parts[1]))
    return out


class File:
    """A file some process maps, held open; its symbols are read when first asked for."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._elf: Elf | None = None
        self._tables: list[SymbolTable] | None = None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def at(self, offset: int) -> tuple[str, int] | None:
        """(symbol, how far in) of a byte of the file."""
        if self._tables is None:
            self._tables = self._load()
        address = self._elf.address(offset) if self._elf is not None else None
        if address is None:
            return None
        for table in self._tables:
            found = table.at(address)
            if found is not None:
                return found
        return None

    def _load(self) -> list[SymbolTable]:
        """Of the file, then of its debug file."""
        tables = []
        try:
            self._elf = read_elf(self._read)
            tables.append(read_symbols(self._elf, self._read))
            debug = self._debug_symbols(self._elf)
            if debug is not None:
                tables.insert(0, debug)
        except (ElfError, OSError, ValueError):
            pass
        return tables

    def _read(self, offset: int, size: int) -> bytes:
        return _pread(self._fd, offset, size)

    def _debug_symbols(self, elf: Elf) -> SymbolTable | None:
        """A separate debug file's (gdb's manual, "Separate Debug Files"): by build id, or by name
        and checksum next to the file, in .debug/ there, or below /usr/lib/debug."""
        if any(s.name == ".symtab" for s in elf.sections):
            return None
        number = build_id(elf, self._read)
        if number:
            found = _debug_file(f"{DEBUG}/.build-id/{number[:2]}/{number[2:]}.debug", number, None)
            if found is not None:
                return found
        link = debug_link(elf, self._read)
        folder = os.path.dirname(self._path)
        if link is None or not folder.startswith("/"):
            return None
        for where in (folder, folder + "/.debug", DEBUG + folder):
            found = _debug_file(f"{where}/{link[0]}", number, link[1])
            if found is not None:
                return found
        return None


def _debug_file(path: str, number: str, checksum: int | None) -> SymbolTable | None:
    """The symbols of a debug file, if it is there and is the one meant."""
    fd = open_regular(path)
    if fd < 0:
        return None

    def read(offset: int, size: int) -> bytes:
        return _pread(fd, offset, size)

    try:
        elf = read_elf(read)
        if number and build_id(elf, read) != number:
            return None
        if not number and checksum is not None and _crc(fd) != checksum:
            return None
        return read_symbols(elf, read)
    except (ElfError, OSError, ValueError):
        return None
    finally:
        os.close(fd)


def _crc(fd: int) -> int:
    from zlib import crc32

    value, at = 0, 0
    while True:
        block = os.pread(fd, 1 << 20, at)
        if not block:
            return value
        value = crc32(block, value)
        at += len(block)


def _pread(fd: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes; fewer where the file ends."""
    size = min(size, max(0, os.fstat(fd).st_size - offset)) if offset < 1 << 62 else 0
    return os.pread(fd, size, offset) if size > 0 else b""


def open_regular(path: str, inode: int = 0) -> int:
    """A regular file for reading (with that inode, if given); -1 where there is none.  Nothing else is
    opened: to open a device or a FIFO can do things, or wait for ever."""
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1
    try:
        status = os.fstat(found)
        if not S_ISREG(status.st_mode) or (inode and status.st_ino != inode):
            return -1
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return -1
    finally:
        os.close(found)


class PerfFile:
    """A process's perf map, held open; read when first asked, and again when it has grown."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._like: tuple[int, int] | None = None  # the file's size and time when it was read
        self._map = PerfMap(b"")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def at(self, address: int) -> tuple[str, int] | None:
        """(name, how far in) of code."""
        found = self._map.at(address)
        if found is None:
            status = os.fstat(self._fd)
            like = (status.st_size, status.st_mtime_ns)
            if like != self._like and status.st_size <= MOST_PERF:
                self._like = like
                self._map = PerfMap(_pread(self._fd, 0, status.st_size))
                found = self._map.at(address)
        return found


class Picture:
    """A process's mappings at one time.  `identity` changes with exec(2), and with another process of
    the same id."""

    def __init__(self, identity: bytes, mappings: list[Mapping], user: int) -> None:
        self.identity = identity
        self.mappings = mappings
        self.user = user  # its user id
        self._starts = [m.start for m in mappings]

    def find(self, address: int) -> Mapping | None:
        n = bisect_right(self._starts, address) - 1
        return self.mappings[n] if n >= 0 and address < self.mappings[n].end else None


class Life:
    """What kernel.mmaps told of a process between two execs."""

    __slots__ = ("mappings", "parent")

    def __init__(self, parent: int = 0) -> None:
        self.mappings: list[Mapping] = []
        self.parent = parent  # whose mappings it has as well; 0: it has called exec(2)

    def find(self, address: int) -> Mapping | None:
        """The latest mapping that holds the address."""
        return next((m for m in reversed(self.mappings) if m.start <= address < m.end), None)


class Processes:
    """The processes seen, and what is at their addresses.  Not for more than one thread."""

    def __init__(self) -> None:
        # Process ids come from the kernel as the initial namespace counts them: elsewhere /proc has others.
        self._blind = _namespace() != _INITIAL
        self._mmaps: Mmaps | None = None
        self._lives: dict[int, list[Life]] = {}
        self._pictures: dict[int, list[Picture]] = {}
        self._files: dict[tuple[str, int], File] = {}
        self._perf: dict[int, PerfFile] = {}
        self._vdso: tuple[bytes, Elf, SymbolTable] | None = None

    def close(self) -> None:
        """Let go of files; twice is once."""
        for file in self._files.values():
            file.close()
        for perf in self._perf.values():
            perf.close()
        self._files.clear()
        self._perf.clear()
        if self._mmaps is not None:
            self._mmaps.close()
            self._mmaps = None

    def watch(self) -> list[int]:
        """Hear of mappings from now on, where the kernel lets us; the descriptors on which `hear` is
        to be called when they are readable."""
        if self._mmaps is None and not self._blind:
            try:
                self._mmaps = Mmaps()
            except OSError:
                return []
        return [] if self._mmaps is None else self._mmaps.fds

    def hear(self) -> None:
        """Take in what processes have mapped."""
        if self._mmaps is None:
            return
        for event in self._mmaps.read():
            lives = self._lives.get(event.pid)
            if lives is None or event.kind == "fork":
                lives = self._lives[event.pid] = [Life(event.parent)]
                if len(self._lives) > MOST_LIVES:
                    self._lives.pop(next(iter(self._lives)))
            if event.kind == "exec":
                lives.append(Life())
                del lives[:-MOST_PICTURES]
            elif event.kind == "map":
                mappings = lives[-1].mappings
                mappings.append(Mapping(event.start, event.end, event.offset, event.file, event.path, True))
                del mappings[:-MOST_MAPPINGS]

    def seen(self, pid: int) -> None:
        """Look at a process, unless it was and is still the same."""
        if self._blind:
            return
        self.hear()
        pictures = self._pictures.get(pid)
        identity = _identity(pid)
        if identity and not (pictures and pictures[-1].identity == identity):
            self._look(pid, identity)

    def at(self, pid: int, address: int) -> Place | None:
        """What is at an address of a process."""
        if self._blind:
            return None
        if pid not in self._pictures:
            self.seen(pid)
        place = self._find(pid, address)
        # A library loaded since may be where nothing was, or memory that was given back; of it mmaps has told.
        if (place is None or not (place.module or place.symbol)) and self._mmaps is None:
            identity = _identity(pid)
            if identity and self._look(pid, identity):
                place = self._find(pid, address)
        return place

    def _find(self, pid: int, address: int, depth: int = 0) -> Place | None:
        for picture in reversed(self._pictures.get(pid, ())):
            mapping = picture.find(address)
            if mapping is not None:
                return self._place(pid, picture.user, mapping, address)
        for life in reversed(self._lives.get(pid, ())):
            mapping = life.find(address)
            if mapping is not None:
                return self._place(pid, 0, mapping, address)
            if life.parent and depth < MOST_ANCESTORS:
                if life.parent not in self._pictures:
                    self.seen(life.parent)
                place = self._find(life.parent, address, depth + 1)
                if place is not None:
                    return place
        return None

    def _place(self, pid: int, user: int, mapping: Mapping, address: int) -> Place:
        offset = address - mapping.start + mapping.offset
        module = _module(mapping.path)
        found = None
        if mapping.path == "[vdso]":
            found = self._in_vdso(offset, address)
        elif mapping.file[1]:
            file = self._files.get(mapping.file) or self._open(pid, mapping)
            found = file.at(offset) if file is not None else None
        if found is None and mapping.path not in _KERNELS:
            jitted = self._in_perf_map(pid, user, address)
            if jitted is not None:
                return Place("", *jitted)
        if found is None:
            return Place(module, "", 0)
        return Place(module, *found)

    # -- looking at a process

    def _look(self, pid: int, identity: bytes) -> bool:
        """Take a picture; whether it shows anything new."""
        try:
            user = os.stat(f"/proc/{pid}").st_uid
            with open(f"/proc/{pid}/maps", "rb") as f:
                mappings = parse_maps(f.read(MOST_MAPS))
        except (OSError, ValueError):
            return False
        if not mappings:  # it is exiting
            return False
        pictures = self._pictures.setdefault(pid, [])
        if pictures and pictures[-1].identity == identity:
            if pictures[-1].mappings == mappings:
                return False
            del pictures[-1]
        pictures.append(Picture(identity, mappings, user))
        del pictures[:-MOST_PICTURES]
        if len(self._pictures) > MOST_PROCESSES:
            self._pictures.pop(next(iter(self._pictures)))
        for mapping in mappings:
            if mapping.runs and mapping.file[1] and mapping.file not in self._files:
                self._open(pid, mapping)
        if len(pictures) > 1 and pid in self._perf:
            self._perf.pop(pid).close()
        if pid not in self._perf and any(m.runs and m.path not in _KERNELS and m.path[:1] != "/" for m in mappings):
            self._open_perf(pid, user)
        return True

    def _open(self, pid: int, mapping: Mapping) -> File | None:
        """Hold the file behind a mapping: through map_files, which is the very file even if it has been
        deleted, else by name as the process sees it, else by name as we do."""
        path = mapping.path.removesuffix(" (deleted)")
        fd = open_regular(f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}")
        if fd < 0 and path.startswith("/"):
            fd = open_regular(f"/proc/{pid}/root{path}", mapping.file[1])
            if fd < 0:
                fd = open_regular(path, mapping.file[1])
        if fd < 0:
            return None
        if len(self._files) >= MOST_FILES:
            self._files.pop(next(iter(self._files))).close()
        file = self._files[mapping.file] = File(fd, path)
        return file

    # -- code without a file

    def _in_perf_map(self, pid: int, user: int, address: int) -> tuple[str, int] | None:
        file = self._perf.get(pid) or self._open_perf(pid, user)
        return None if file is None else file.at(address)

    def _open_perf(self, pid: int, user: int) -> PerfFile | None:
        fd = _open_perf_map(pid, user)
        if fd < 0:
            return None
        if len(self._perf) >= MOST_PERF_FILES:
            self._perf.pop(next(iter(self._perf))).close()
        file = self._perf[pid] = PerfFile(fd)
        return file

    def _in_vdso(self, offset: int, address: int) -> tuple[str, int] | None:
        """The vDSO of 64-bit processes is the same in all: ours is read."""
        if address < 1 << 32:
            return None
        if self._vdso is None:
            data = _own_vdso()
            try:

                def read(at: int, size: int) -> bytes:
                    return data[at : at + size]

                elf = read_elf(read)
                self._vdso = (data, elf, read_symbols(elf, read))
            except ElfError:
                return None
        _, elf, table = self._vdso
        where = elf.address(offset)
        return None if where is None else table.at(where)


_INITIAL = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _module(path: str) -> str:
    """A mapping's path as a module's name."""
    return path.removesuffix(" (deleted)").rpartition("/")[2]


def _identity(pid: int) -> bytes:
    """What tells a process from the next one with its id, and from itself after exec(2): when it was
    started, where its code and its stack start (proc_pid_stat(5), fields 22, 26 to 28); b"" where
    it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as f:
            fields = f.read(4096).rpartition(b")")[2].split()
    except OSError:
        return b""
    if len(fields) < 26 or fields[0] in b"ZX":
        return b""
    return b" ".join((fields[19], *fields[23:26]))


def _open_perf_map(pid: int, user: int) -> int:
    """/tmp/perf-PID.map as the process sees it (its /tmp, its id in its namespace), or as we do.  It
    must belong to the process's user or to root: others could name its code as they like."""
    inner = pid
    try:
        with open(f"/proc/{pid}/status", "rb") as f:
            for line in f:
                if line.startswith(b"NSpid:"):
                    inner = int(line.split()[-1])
    except (OSError, ValueError):
        pass
    for path in (f"/proc/{pid}/root/tmp/perf-{inner}.map", f"/tmp/perf-{pid}.map"):
        fd = open_regular(path)
        if fd >= 0:
            if os.fstat(fd).st_uid in (0, user):
                return fd
            os.close(fd)
    return -1


def _own_vdso() -> bytes:
    with open("/proc/self/maps", "rb") as f:
        for mapping in parse_maps(f.read()):
            if mapping.path == "[vdso]":
                fd = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    return os.pread(fd, mapping.end - mapping.start, mapping.start)
                except OSError:
                    return b""
                finally:
                    os.close(fd)
    return b""
