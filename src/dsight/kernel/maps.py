"""Maps: a MapSpec becomes a Map, a descriptor with ways to read and write it.

Keys and values are bytes.  A per-CPU value is one value after another for each
possible CPU, each padded to a multiple of 8 bytes: `Map.value_bytes` in all.
"""

from __future__ import annotations

import errno
import os
import struct
from mmap import PAGESIZE

from dsight.bpf.spec import MapSpec
from dsight.errors import KernelError
from dsight.ir.maps import EACH_CPU
from dsight.kernel import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# kind: number.  include/uapi/linux/bpf.h, enum bpf_map_type
KINDS = {
    "hash": 1, "array": 2, "prog_array": 3, "percpu_hash": 5, "percpu_array": 6, "lru_hash": 9, "queue": 22,
    "ringbuf": 27,
}  # fmt: skip

# BPF_MAP_CREATE flags
_NO_PREALLOC, _RDONLY_PROG, _MMAPABLE = 1, 1 << 7, 1 << 10

# union bpf_attr for BPF_MAP_CREATE: type, key size, value size, entries, flags, inner map, NUMA node, name
_CREATE = struct.Struct("<7I16s")
_ELEM = struct.Struct("<I4xQQQ")  # BPF_MAP_*_ELEM: map, key, value or next key, flags
_BATCH = struct.Struct("<QQQQIIQQ")  # BPF_MAP_*_BATCH: in, out, keys, values, count, map, flags of elements, flags

_BATCH_SIZE = 4096  # elements asked for at a time

_possible: list[int] = []


def _possible_list() -> list[int]:
    if not _possible:
        with open("/sys/devices/system/cpu/possible") as f:
            _possible.extend(cpu_list(f.read()))
    return _possible


def possible_cpus() -> int:
    """How many CPUs this kernel can ever have: the number of values in a per-CPU value."""
    return len(_possible_list())


def cpu_numbers() -> int:
    """The power of two below which the numbers of all these CPUs are."""
    return 1 << max(_possible_list()).bit_length()


def cpu_list(text: str) -> list[int]:
    """The CPUs of a list as in /sys/devices/system/cpu: "0-3,8"."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def round8(n: int) -> int:
    return n + 7 & ~7


def object_name(name: str) -> bytes:
    """A name the kernel takes for a map or a program (15 of A-Z a-z 0-9 _ .); for bpftool's lists only."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[:15].encode()


class Map:
    """An open map.  `fd` is closed by `close`, with what `memory` mapped."""

    def __init__(self, spec: MapSpec, fd: int) -> None:
        self.spec = spec
        self.fd = fd
        self.per_cpu = spec.kind.startswith("percpu")
        self.value_bytes = possible_cpus() * round8(spec.value_size) if self.per_cpu else spec.value_size
        self._memory: memoryview | None = None
        # One element's buffers, used again for each call.
        self._key = sys.buffer(spec.key_size)
        self._value = sys.buffer(self.value_bytes)
        self._attr = sys.buffer(_ELEM.size)

    def _elem(self, command: int, key: bytes | None, second: Any, flags: int = 0) -> bool:
        """One BPF_MAP_*_ELEM call; False where there is no such element."""
        if key is not None:
            if len(key) != self.spec.key_size:
                raise ValueError(f"map {self.spec.name}: key of {len(key)} bytes, not {self.spec.key_size}")
            self._key.raw = key
        at = 0 if key is None else sys.address(self._key)
        _ELEM.pack_into(self._attr, 0, self.fd, at, sys.address(second) if second is not None else 0, flags)
        try:
            sys.bpf(command, self._attr)
        except OSError as e:
            if e.errno == errno.ENOENT:
                return False
            raise sys.refused(f"access map {self.spec.name}", e) from None
        return True

    def lookup(self, key: bytes) -> bytes | None:
        """The key's value (`value_bytes` long); None where there is none."""
        return bytes(self._value.raw) if self._elem(sys.MAP_LOOKUP_ELEM, key, self._value) else None

    def update(self, key: bytes, value: bytes) -> None:
        """Set the key's value, `value_bytes` long.  A queue has no keys (b""): the value goes to its end."""
        if len(value) != self.value_bytes:
            raise ValueError(f"map {self.spec.name}: value of {len(value)} bytes, not {self.value_bytes}")
        self._value.raw = value
        self._elem(sys.MAP_UPDATE_ELEM, key or None, self._value)

    def delete(self, key: bytes) -> bool:
        """Remove a hash's element; whether there was one."""
        return self._elem(sys.MAP_DELETE_ELEM, key, None)

    def read(self) -> tuple[bytes, bytes]:
        """All keys and all values, each as one run of bytes (key n with value n), for iter_unpack.

        Elements that come or go meanwhile may be in or not.
        """
        try:
            return self._read_batches()
        except OSError as e:
            # Per-CPU arrays have no batch before 5.13, hashes none before 5.6.
            if e.errno not in (errno.EINVAL, errno.EOPNOTSUPP, sys.ENOTSUPP):
                raise sys.refused(f"read map {self.spec.name}", e) from None
        return self._read_each()

    def items(self) -> list[tuple[bytes, bytes]]:
        """The same as pairs."""
        keys, values = self.read()
        k, v = self.spec.key_size, self.value_bytes
        return [(keys[i * k : i * k + k], values[i * v : i * v + v]) for i in range(len(keys) // k)]

    def _read_batches(self) -> tuple[bytes, bytes]:
        k, v = self.spec.key_size, self.value_bytes
        room = max(1, min(self.spec.max_entries, _BATCH_SIZE, (1 << 20) // v))
        keys, values = sys.buffer(room * k), sys.buffer(room * v)
        # The place to go on from: a bucket's number for hashes, a key for arrays.
        place = sys.buffer(max(8, k))
        all_keys: list[bytes] = []
        all_values: list[bytes] = []
        first, more = True, True
        attr = sys.buffer(_BATCH.size)
        while more:
            at = sys.address(place)
            _BATCH.pack_into(
                attr, 0, 0 if first else at, at, sys.address(keys), sys.address(values), room, self.fd, 0, 0
            )
            try:
                sys.bpf(sys.MAP_LOOKUP_BATCH, attr)
            except OSError as e:
                if e.errno == errno.ENOSPC and room < 2 * self.spec.max_entries + 64:
                    # A hash bucket holds more than there is room for: nothing was read past `place`.
                    room *= 2
                    keys, values = sys.buffer(room * k), sys.buffer(room * v)
                    continue
                if e.errno != errno.ENOENT:  # which means: that was the last of them
                    raise
                more = False
            count = _BATCH.unpack_from(attr)[4]
            all_keys.append(memoryview(keys).cast("B")[: count * k].tobytes())
            all_values.append(memoryview(values).cast("B")[: count * v].tobytes())
            first = False
        return b"".join(all_keys), b"".join(all_values)

    def _read_each(self) -> tuple[bytes, bytes]:
        """Key by key.  Where another deletes the key we stand on, the kernel starts anew: a
        dict takes what comes twice, and the number of steps is bounded."""
        found: dict[bytes, bytes] = {}
        following = sys.buffer(self.spec.key_size)
        key: bytes | None = None
        for _ in range(4 * self.spec.max_entries):
            if not self._elem(sys.MAP_GET_NEXT_KEY, key, following):
                break
            key = bytes(following.raw)
            value = self.lookup(key)
            if value is not None:
                found[key] = value
        return b"".join(found), b"".join(found.values())

    def memory(self) -> memoryview:
        """The values of an array with `mmap`, one each round8(value_size) bytes: what the
        programs see, writable.  The same view each time; not usable after `close`."""
        if self._memory is None:
            from mmap import MAP_SHARED, PROT_READ, PROT_WRITE, mmap

            size = self.spec.max_entries * round8(self.spec.value_size)
            try:
                mapped = mmap(self.fd, -(-size // PAGESIZE) * PAGESIZE, MAP_SHARED, PROT_READ | PROT_WRITE)
            except OSError as e:
                raise sys.refused(f"map the memory of {self.spec.name}", e) from None
            self._memory = memoryview(mapped)[:size]
        return self._memory

    def freeze(self) -> None:
        """Read-only from user space from now on; with BPF_F_RDONLY_PROG the verifier then knows its contents."""
        try:
            sys.bpf(sys.MAP_FREEZE, sys.buffer(struct.pack("<I", self.fd)))
        except OSError as e:
            raise sys.refused(f"freeze map {self.spec.name}", e) from None

    def close(self) -> None:
        """Twice is once.  The kernel's map lives on while a loaded program uses it."""
        if self._memory is not None:
            self._memory.release()  # the mapping goes with its last view
            self._memory = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def create(spec: MapSpec) -> Map:
    """Create the map; `initial` written and frozen as the spec says.

    A ring buffer's size (max_entries, in bytes) is rounded up to a power of two of pages:
    the returned map's spec says how much it is.  Raises KernelError.
    """
    if spec.kind not in KINDS:
        raise KernelError(f"map {spec.name}: kind {spec.kind} is not supported yet")
    if spec.kind == "ringbuf":
        size = PAGESIZE
        while size < spec.max_entries:
            size *= 2
        spec = spec.replace(max_entries=size)
    if spec.max_entries == EACH_CPU:
        spec = spec.replace(max_entries=possible_cpus())
    flags = 0
    if spec.mmap:
        flags |= _MMAPABLE
    if spec.readonly:
        flags |= _RDONLY_PROG
    if not spec.prealloc and spec.kind.endswith("hash"):
        flags |= _NO_PREALLOC
    name = object_name(spec.name)
    sizes = (spec.key_size, spec.value_size, spec.max_entries)
    try:
        fd = sys.bpf_create(sys.MAP_CREATE, sys.buffer(_CREATE.pack(KINDS[spec.kind], *sizes, flags, 0, 0, name)))
    except OSError as e:
        raise _not_created(spec, e) from None
    made = Map(spec, fd)
    try:
        if spec.kind == "queue":
            for at in range(0, len(spec.initial), spec.value_size):
                made.update(b"", spec.initial[at : at + spec.value_size])
        elif spec.initial:
            made.update(bytes(spec.key_size), spec.initial.ljust(spec.value_size, b"\0"))
        if spec.readonly:
            made.freeze()
    except BaseException:
        made.close()
        raise
    return made


def _not_created(spec: MapSpec, error: OSError) -> KernelError:
    what = f"create map {spec.name} ({spec.kind}, key {spec.key_size}, value {spec.value_size}, {spec.max_entries})"
    if error.errno == errno.E2BIG:
        return KernelError(f"cannot {what}: it is too large", errno.E2BIG, "ask for fewer or smaller elements")
    if spec.kind == "ringbuf" and error.errno == errno.EINVAL and spec.max_entries <= 1 << 27:
        from dsight.errors import FeatureError

        return FeatureError("ring buffer", f"cannot {what}: dsight needs Linux 5.8 or later", errno.EINVAL)
    return sys.refused(what, error)
