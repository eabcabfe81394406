"""An index over BTF: type id to offset, (kind, name) to id.

Scanning the kernel's 5.5 MB takes some 200 ms in Python; an index made once is
opened in less than one.  It is bytes, kept in a file by kernel.btf:

    64 bytes   magic, format version, types, names, flags, length of the BTF, checksum of
               flags and all that follows, key (whose BTF it is: the kernel's build id)
    u32[]      offset of type n + 1 in the BTF
    u64[]      for each name crc32(name, kind * _SPREAD) << 32 | id, sorted; kind: one of the
               kinds, or ENUMERATOR

A checksum can agree by chance: the reader compares kind and name.
"""

from __future__ import annotations

import struct
from binascii import crc32
from bisect import bisect_left

from dsight.btf import format as f
from dsight.btf.format import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENUMERATOR = 32  # after the kinds: a name in an enum, with the enum's id

_MAGIC, _VERSION = b"dsightBI", 1
_HEAD = struct.Struct("=8sIIIIII32s")
_SPREAD = 0x1000193  # so that one-letter names of different kinds do not meet
_SIGNED_ENUMS = 1  # flag: enums say whether they are signed (pahole 1.24); before that none did

# Enums of 32 and of 64 bits are looked up alike.
_KEYED = {k: k for k in (f.INT, f.STRUCT, f.UNION, f.ENUM, f.FWD, f.TYPEDEF, f.FUNC, f.VAR, f.FLOAT)}
_KEYED[f.ENUM64] = f.ENUM


def build(data: bytes, key: bytes, first_string: int = 0) -> bytes:
    """The index of some BTF.  `key` is kept, to tell whose it is.

    `first_string`: for a module's BTF, how long the kernel's strings are: below are theirs.
    Raises Error where the BTF is damaged.
    """
    header = f.parse_header(data[: f.HEADER_SIZE], len(data))
    fixed = [12 + f.FIXED.get(kind, 0) for kind in range(32)]
    part = [f.PER_PART.get(kind, 0) for kind in range(32)]
    keyed = [_KEYED.get(kind, 0) for kind in range(32)]
    unpack = struct.Struct("<II").unpack_from
    find, strings, strings_end = data.find, header.strings - first_string, header.strings_end
    offsets: list[int] = []
    names: list[int] = []
    flags = 0

    def name_key(name: int, code: int) -> int:
        start = strings + name
        end = find(b"\0", start, min(start + f.MAX_NAME, strings_end))
        if end < 0:
            raise damaged("a name does not end")
        return crc32(data[start:end], code * _SPREAD) << 32 | len(offsets)

    at, end = header.types, header.types_end
    while at < end:
        if at + 12 > end:
            raise damaged("its last type is cut off")
        name, info = unpack(data, at)
        kind = info >> 24 & 31
        offsets.append(at)
        if not 0 < kind <= f.LAST_KIND:
            raise damaged(f"type {len(offsets)} is of unknown kind {kind}")
        vlen = info & 0xFFFF
        code = keyed[kind]
        if code and name >= first_string and name:
            # An enum without values is but declared; so are FWDs.
            names.append(name_key(name, f.FWD if code == f.ENUM and not vlen else code))
        start = at + 12
        at += fixed[kind] + vlen * part[kind]
        if at > end:
            raise damaged(f"type {len(offsets)} is cut off")
        if code == f.ENUM:
            flags |= _SIGNED_ENUMS if info >> 31 or kind == f.ENUM64 else 0
            for value in range(start, at, part[kind]):
                (name,) = struct.unpack_from("<I", data, value)
                if name >= first_string:
                    names.append(name_key(name, ENUMERATOR))
    names.sort()
    body = struct.pack(f"={len(offsets)}I", *offsets) + bytes(len(offsets) % 2 * 4)
    body += struct.pack(f"={len(names)}Q", *names)
    return _head(len(offsets), len(names), flags, len(data), crc32(body, flags), key) + body


def _head(n_types: int, n_names: int, flags: int, size: int, check: int, key: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, _VERSION, n_types, n_names, flags, size, check, key)


class Index:
    """An index opened: over bytes, or a file mapped."""

    def __init__(self, n_types: int, offsets: memoryview, names: memoryview, signed_enums: bool) -> None:
        self.n_types = n_types
        self.signed_enums = signed_enums
        self._offsets = offsets
        self._names = names

    def offset(self, n: int) -> int:
        """Where in the BTF its n-th type is, from 0."""
        where: int = self._offsets[n]
        return where

    def ids(self, kind: int, name: str) -> list[int]:
        """Which types may have that name, lowest first, counted from 1: kind and name are still to be compared."""
        key = crc32(name.encode(), kind * _SPREAD) << 32
        names = self._names
        at = bisect_left(names, key)
        found = []
        while at < len(names) and names[at] >> 32 == key >> 32:
            found.append(names[at] & 0xFFFFFFFF)
            at += 1
        return found

    def close(self) -> None:
        """Let go of the file mapped."""
        self._offsets.release()
        self._names.release()


def open_index(raw: Any, key: bytes, size: int) -> Index | None:
    """The index in a buffer; None where it is not a whole one of that key over `size` bytes of BTF."""
    view = memoryview(raw)
    if len(view) < _HEAD.size:
        return None
    magic, version, n_types, n_names, flags, btf_size, check, its_key = _HEAD.unpack_from(view)
    middle = _HEAD.size + (n_types + n_types % 2) * 4
    if (magic, version, btf_size, its_key) != (_MAGIC, _VERSION, size, key.ljust(32, b"\0")[:32]):
        return None
    if len(view) != middle + n_names * 8 or crc32(view[_HEAD.size :], flags) != check:
        return None
    offsets = view[_HEAD.size : _HEAD.size + n_types * 4].cast("I")
    return Index(n_types, offsets, view[middle:].cast("Q"), bool(flags & _SIGNED_ENUMS))
