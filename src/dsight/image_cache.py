"""Images of scripts that have run before, kept in the user's cache folder.

    find(inputs) -> Image or None        keep(inputs, image)

`Inputs` is all that a compilation depends on; it is written into the file and compared, so a file
serves the very same script, options, arguments, dsight and kernel (this boot of it) only.  Starting
from an image takes neither the compiler nor the kernel's BTF: a third of the time, half the memory.
"""

from __future__ import annotations

import marshal
import os
from binascii import crc32

from dsight.image import Image, identity, packed, unpacked
from dsight.kernel import cache
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 64  # files kept; beyond it the ones longest unused go
_LARGEST = 4 << 20  # bytes of a file


class Inputs(Value):
    """All that a compilation depends on.  `macros`: text of the script's arguments and of the named
    macro variables whose value stays the same from run to run."""

    sources: tuple[tuple[str, str], ...]  # name, text
    options: tuple[tuple[str, str], ...]
    libraries: tuple[tuple[str, str], ...]  # path, text
    macros: tuple[str, ...]


def find(inputs: Inputs) -> Image | None:
    """The image kept for these inputs."""
    path, key = _place(inputs)
    opened = cache.open_own(path) if path else None
    if opened is None:
        return None
    with open(opened[0], "rb") as file:
        raw = file.read(_LARGEST)
    try:
        if crc32(raw[4:]) != int.from_bytes(raw[:4], "little"):
            return None
        kept, packed_image = marshal.loads(memoryview(raw)[4:])
        image: Image | None = unpacked(packed_image) if kept == key else None
        return image if image is not None and _holds(image) else None
    except (ValueError, TypeError, EOFError, KeyError, IndexError):
        return None


def _holds(image: Image) -> bool:
    """Whether the files that it probes are still the same."""
    places = {place.path: place.file for program in image.programs for place in program.places}
    try:
        return all(identity(os.stat(path)) == file for path, file in places.items())
    except OSError:
        return False


def keep(inputs: Inputs, image: Image) -> None:
    """Write an image; no harm where that cannot be done."""
    path, key = _place(inputs)
    if not path:
        return
    data = marshal.dumps((key, packed(image)))
    if len(data) < _LARGEST:
        _make_room(os.path.dirname(path))
        cache.store(path, crc32(data).to_bytes(4, "little") + data, lasting=False)


def _place(inputs: Inputs) -> tuple[str, bytes]:
    """The file for these inputs ("": there is no cache folder, or nothing says which kernel this is), and
    what must stand in it."""
    folder, kernel, boot = cache.folder(), cache.build_id(), _boot_id()
    if folder is None or not kernel or not boot:
        return "", b""
    parts = inputs.sources, inputs.options, inputs.libraries, inputs.macros
    key = marshal.dumps((kernel, boot, _dsight(), parts), 2)  # version 2: equal values give equal bytes
    return f"{folder}/scripts/{crc32(key):08x}{crc32(key[::-1]):08x}", key


def _boot_id() -> str:
    """Which boot of the kernel this is (proc_sys_kernel(5)): its symbols move with each."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _dsight() -> tuple[tuple[str, int, int], ...]:
    """Which dsight this is: names, sizes and times of its files."""
    return tuple(sorted(_files(os.path.dirname(__file__))))


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".d")):
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns
            elif "." not in entry.name and entry.name != "__pycache__":
                yield from _files(entry.path)


def _make_room(folder: str) -> None:
    """Take away what was not used for longest, where there are too many files."""
    try:
        with os.scandir(folder) as entries:
            files = sorted([(entry.stat().st_mtime_ns, entry.path) for entry in entries])
        for _, path in files[: max(0, len(files) - _MOST + 1)]:
            os.unlink(path)
    except OSError:
        pass  # there is none yet, or another dsight is at it
