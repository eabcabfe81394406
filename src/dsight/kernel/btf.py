"""The running kernel's BTF, over an index kept in the user's cache folder.

The index is made once per kernel (some 0.3 s) and then opened in a millisecond.
Whatever is wrong with the file (torn, foreign, another format), it is made anew;
where it cannot be written, that is done at each start.
"""

from __future__ import annotations

import os
import stat
import struct
from mmap import MADV_DONTNEED, MAP_PRIVATE, PROT_READ, mmap

from dsight.btf.index import Index, build, open_index
from dsight.btf.reader import Btf
from dsight.errors import FeatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.btf.reader import Bytes

VMLINUX = "/sys/kernel/btf/vmlinux"
_NOTES = "/sys/kernel/notes"
_NT_GNU_BUILD_ID = 3


class KernelBtf(Btf):
    """The types of the running kernel.  Modules' own (/sys/kernel/btf/MODULE, Btf over this
    as `base`) are not read yet."""

    @classmethod
    def open(cls, cache_dir: str | None = None) -> KernelBtf:
        """Open it, with its index in `cache_dir` ($XDG_CACHE_HOME/dsight or ~/.cache/dsight).

        Raises FeatureError where this kernel has no BTF.
        """
        try:
            fd = os.open(VMLINUX, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise FeatureError(
                "BTF",
                "this kernel does not describe its types (there is no BTF in /sys/kernel/btf)",
                e.errno or 0,
                "it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' own kernels are",
            ) from None
        size = os.fstat(fd).st_size
        data: mmap | FileBytes
        try:
            data = mmap(fd, size, MAP_PRIVATE, PROT_READ)  # Linux 6.16
        except OSError:
            data = FileBytes(fd, size)
        else:
            os.close(fd)
        try:
            return cls(data, _index(data, cache_dir or cache_folder()))
        except BaseException:
            data.close()
            raise

    def close(self) -> None:
        """Let go of file and memory; types already read stay, but read no more members."""
        self._index.close()
        if isinstance(self._data, (mmap, FileBytes)):
            self._data.close()


class FileBytes:
    """A file's bytes, read slice by slice: what is not asked for is not in memory."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice) -> bytes:
        start, stop, _ = where.indices(self._size)
        parts = []
        while start < stop:  # a read from /sys may give no more than a page
            part = os.pread(self._fd, stop - start, start)
            if not part:
                break
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Twice is once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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


def cache_folder() -> str | None:
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


def _index(data: Bytes, folder: str | None) -> Index:
    """The kernel's index: from the cache, or built, and then cached."""
    key = build_id()
    path = f"{folder}/btf-{key.hex()}.idx" if folder and key else None
    found = _load(path, key, len(data)) if path else None
    if found is None:
        raw = build(data[0 : len(data)], key)
        if path:
            _store(path, raw)
        found = open_index(raw, key, len(data))
        assert found is not None
    return found


def _load(path: str, key: bytes, size: int) -> Index | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        s = os.fstat(fd)
        # Ours alone: another's file could send us to wrong types.
        if not stat.S_ISREG(s.st_mode) or s.st_uid != os.geteuid() or s.st_mode & 0o022 or not s.st_size:
            return None
        mapped = mmap(fd, s.st_size, MAP_PRIVATE, PROT_READ)
        found = open_index(mapped, key, size)
        mapped.madvise(MADV_DONTNEED)  # the checksum has touched every page
        return found
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def _store(path: str, raw: bytes) -> None:
    """Write the file whole or not at all; no harm where it cannot be written."""
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
            os.fsync(fd)  # so that a crash leaves no empty file of that name
        finally:
            os.close(fd)
        os.rename(part, path)
    except OSError:
        try:
            os.unlink(part)
        except OSError:
            pass
