"""What a process does as its trace begins: the calls its threads wait in, from /proc.

/proc/PID/task/TID/syscall   number, six arguments, stack and program counter; "running" for a thread that does
                             not wait, -1 for one that waits elsewhere (proc_pid_syscall(5))
/proc/PID/mem, fd, net       what the arguments point to and are open on
"""

from __future__ import annotations

import os
import struct

from dsight.calls import addresses
from dsight.calls.call import Call, Memory
from dsight.calls.fetch import LARGE, WHAT, Fetch, fetch
from dsight.calls.narrow import FIRST
from dsight.calls.script import TEXT_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from dsight.calls.specs import Spec

MOST = 16  # descriptors named of a call that waits for several

# Tables of a process's network: file, family, type, protocol.
_TABLES = (
    ("tcp", addresses.AF_INET, 1, 6),
    ("tcp6", addresses.AF_INET6, 1, 6),
    ("udp", addresses.AF_INET, 2, 17),
    ("udp6", addresses.AF_INET6, 2, 17),
)


def is_32_bit(pid: int) -> bool:
    """Whether a process runs a 32-bit program (EI_CLASS of its ELF file); False where that cannot be read."""
    try:
        with open(f"/proc/{pid}/exe", "rb") as file:
            return file.read(5) == b"\x7fELF\x01"
    except OSError:
        return False


def in_progress(pid: int, specs: Mapping[int, Spec], now: int) -> list[Call]:
    """The calls that a process's threads wait in, of those in `specs`; `now` stands for when they began."""
    calls = []
    files = _Files(pid)
    offset = FIRST if is_32_bit(pid) else 0
    for tid in _numbers(f"/proc/{pid}/task"):
        words = _read(f"/proc/{pid}/task/{tid}/syscall").split()
        spec = specs.get(offset + int(words[0])) if len(words) == 9 else None
        if spec is None:
            continue
        call = Call(now, tid, pid, spec, tuple([int(word, 16) for word in words[1:7]]))
        call.before = True
        what = fetch(spec)
        call.seen = _memory(pid, call, what)
        places = [what.what >> WHAT[name] & 7 for name in ("fd0", "fd1")]
        first, second = [files.name(call.args[place - 1]) if place else "" for place in places]
        call.files = (first, second)
        call.inner = {fd: name for fd in _inner(call) if (name := files.name(fd))}
        calls.append(call)
    return calls


def _memory(pid: int, call: Call, what: Fetch) -> Memory:
    """As the D program copies it when a call begins (calls.script)."""
    found = Memory()
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return found
    try:
        for name in ("str0", "str1", "str2"):
            place = what.what >> WHAT[name] & 7
            text = _copy(memory, call.args[place - 1], TEXT_SIZE) if place else b""
            if text:
                found.texts[call.args[place - 1]] = text.split(b"\0", 1)[0]
        for word in what.entry:
            address, how = call.args[(word & 7) - 1], word >> 3 & 3
            size = (word >> 8) * (call.args[word & 7] & 0xFFFFFFFF if how == 1 else 1)
            data = _copy(memory, address, min(size, LARGE))
            if data:
                found.blocks[address] = (size, data)
    finally:
        os.close(memory)
    return found


def _copy(memory: int, address: int, size: int) -> bytes:
    """Bytes of a process, as many as there are up to the end of a page that is there; b"" for none."""
    if not 4096 <= address < 1 << 63:
        return b""
    for part in (size, min(size, 4096 - address % 4096)):
        try:
            return os.pread(memory, part, address)
        except OSError:
            continue
    return b""


def _inner(call: Call) -> list[int]:
    """The descriptors that poll(2) and select(2) wait for, the first of them."""
    found: list[int] = []
    for arg, value in zip(call.spec.args, call.args):
        data = call.seen.blocks.get(value, (0, b""))[1]
        if arg.kind == "<>pollfd[]":
            found += [fd for fd, _ in struct.iter_unpack("i4s", data[: len(data) & ~7])]
        elif arg.kind == "<>fdset":
            bits = int.from_bytes(data, "little")
            found += [n for n in range(min(bits.bit_length(), call.args[0])) if bits >> n & 1]
    return [fd for fd in found[:MOST] if fd >= 0]


class _Files:
    """What a process's descriptors are open on, as calls.join names it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._sockets: dict[int, str] | None = None  # by inode, read when a socket is first met

    def name(self, number: int, inside: bool = True) -> str:
        """ "" for none; `inside`: of an epoll descriptor, what it waits for too."""
        number &= 0xFFFFFFFF
        try:
            text = os.readlink(f"/proc/{self._pid}/fd/{number}")
        except OSError:
            return ""
        if inside and text == "anon_inode:[eventpoll]" and (watched := self._watched(number)):
            return f"{text}: {watched}"
        if not text.startswith("socket:["):
            return text
        if self._sockets is None:
            self._sockets = _sockets(self._pid)
        return self._sockets.get(int(text[8:-1]), text)

    def _watched(self, number: int) -> str:
        """What an epoll descriptor waits for, the first: rows of "tfd: N ..." (proc_pid_fdinfo(5))."""
        lines = _read(f"/proc/{self._pid}/fdinfo/{number}").split("\n")
        fds = sorted([int(line.split()[1]) for line in lines if line.startswith("tfd:")])
        parts = [f"{fd}<{name}>" for fd in fds[:MOST] if (name := self.name(fd, False))]
        return ", ".join(parts + ["..."] * (len(fds) > MOST))


def _sockets(pid: int) -> dict[int, str]:
    """Sockets of a process's network, by inode: rows of "n: local:port remote:port state ... inode", addresses in words
    of 32 bits."""
    found: dict[int, str] = {}
    for table, family, kind, protocol in _TABLES:
        for line in _read(f"/proc/{pid}/net/{table}").split("\n")[1:]:
            words = line.split()
            if len(words) > 9 and words[9] != "0":
                (local, port), (remote, other) = (words[n].split(":") for n in (1, 2))
                ports, inode = (int(port, 16), int(other, 16)), int(words[9])
                found[inode] = addresses.socket(
                    inode, family, kind, protocol, int(words[3], 16), ports, _address(local), _address(remote)
                )
    for line in _read(f"/proc/{pid}/net/unix").split("\n")[1:]:
        words = line.split()
        if len(words) > 6 and words[6].isascii() and words[6].isdigit():  # a path may hold a line end, and anything
            found.setdefault(int(words[6]), f"UNIX:[{words[6]}]")
    return found


def _address(text: str) -> bytes:
    return b"".join([struct.pack("=I", int(text[n : n + 8], 16)) for n in range(0, len(text), 8)])


def _numbers(folder: str) -> list[int]:
    try:
        return sorted([int(name) for name in os.listdir(folder)])
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
