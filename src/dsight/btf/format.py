"""The bytes of BTF (Documentation/bpf/btf.rst, include/uapi/linux/btf.h): header, records, strings.

    header    magic 0xEB9F, version 1, flags, length; then offset and length of the type
              and the string section, counted from the header's end
    type n    u32 name (offset in the strings), u32 info, u32 size or type, then what its kind
              asks for.  info: bits 0-15 vlen, 24-28 kind, 31 kind flag.  Ids count from 1:
              0 is void
    strings   NUL-ended; the first is empty

Types are numbered by their order alone, so finding type n takes an index (btf.index).
"""

from __future__ import annotations

import struct

from dsight.errors import Error
from dsight.value import Value

# enum BTF_KIND_*
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(9, 20)

# What follows a record's first 12 bytes: so many bytes, and so many for each of its vlen parts.
# A kind we do not know ends the reading: its length cannot be told.
FIXED = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
PER_PART = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
LAST_KIND = ENUM64

HEADER_SIZE = 24
MAX_NAME = 512  # KSYM_NAME_LEN: no name in the kernel is longer

_HEADER = struct.Struct("<HBBIIIII")


class Header(Value):
    """Where the sections are, counted from the first byte."""

    types: int
    types_end: int
    strings: int
    strings_end: int


def damaged(what: str) -> Error:
    """The caller raises it."""
    return Error(f"BTF is damaged: {what}")


def parse_header(raw: bytes, size: int) -> Header:
    """The first 24 bytes of `size` bytes of BTF.  Raises Error."""
    if len(raw) < HEADER_SIZE:
        raise damaged("it is too short for a header")
    magic, version, _, length, types, types_len, strings, strings_len = _HEADER.unpack_from(raw)
    if magic == 0x9FEB:
        raise Error("BTF of the other byte order is not supported yet")
    if magic != 0xEB9F:
        raise damaged(f"its magic number is {magic:#06x}")
    if version != 1:
        raise Error(f"BTF version {version} is not supported yet")
    header = Header(length + types, length + types + types_len, length + strings, length + strings + strings_len)
    if length < HEADER_SIZE or max(header.types_end, header.strings_end) > size or strings_len == 0:
        raise damaged("its sections do not fit")
    return header
