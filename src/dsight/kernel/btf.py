"""The running kernel's BTF, over an index kept in the user's cache folder.

The index is made once per kernel (some 0.3 s) and then opened in a millisecond.
Whatever is wrong with the file (torn, foreign, another format), it is made anew;
where it cannot be written, that is done at each start.
"""

from __future__ import annotations

import os
from mmap import MADV_DONTNEED, MAP_PRIVATE, PROT_READ, mmap

from dsight.btf.index import Index, build, open_index
from dsight.btf.reader import Btf
from dsight.errors import FeatureError
from dsight.kernel import cache
from dsight.kernel.cache import build_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.btf.reader import Bytes

VMLINUX = "/sys/kernel/btf/vmlinux"


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
            return cls(data, _index(data, cache_dir or cache.folder()))
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


def _index(data: Bytes, folder: str | None) -> Index:
    """The kernel's index: from the cache, or built, and then cached."""
    key = build_id()
    path = f"{folder}/btf-{key.hex()}.idx" if folder and key else None
    found = _load(path, key, len(data)) if path else None
    if found is None:
        raw = build(data[0 : len(data)], key)
        if path:
            cache.store(path, raw)
        found = open_index(raw, key, len(data))
        assert found is not None
    return found


def _load(path: str, key: bytes, size: int) -> Index | None:
    opened = cache.open_own(path)
    if opened is None:
        return None
    fd, length = opened
    try:
        mapped = mmap(fd, length, MAP_PRIVATE, PROT_READ)
        found = open_index(mapped, key, size)
        mapped.madvise(MADV_DONTNEED)  # the checksum has touched every page
        return found
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
