"""Small ELF files for tests: symbols, a build id, a debug link."""

import struct
import zlib

GLOBAL, WEAK, LOCAL = 1, 2, 0
NOTYPE, OBJECT, FUNC, SECTION, FILE, TLS = 0, 1, 2, 3, 4, 6


def symbol(name, value, size, binding=GLOBAL, kind=FUNC, index=1):
    return name, value, size, binding, kind, index


def elf(
    symbols=(), *, wide=True, order="<", table=2, build_id=b"", link="", checksum=0, segments=((0, 0x400000, 0x1000),)
):
    """An ELF file.  `table`: 2 for .symtab, 11 for .dynsym; segments: (offset, address, size)."""
    strings, rows = b"\0", b""
    for name, value, size, binding, kind, index in symbols:
        at = len(strings)
        strings += name.encode("utf-8", "surrogateescape") + b"\0"
        info = binding << 4 | kind
        if wide:
            rows += struct.pack(order + "IBBHQQ", at, info, 0, index, value, size)
        else:
            rows += struct.pack(order + "IIIBBH", at, value, size, info, 0, index)
    parts = [("", 0, 0, b""), (".tab", table, 2, rows), (".str", 3, 0, strings)]
    if build_id:
        note = struct.pack(order + "III", 4, len(build_id), 3) + b"GNU\0" + build_id
        parts.append((".note.gnu.build-id", 7, 0, note))
    if link:
        name = link.encode() + b"\0"
        parts.append((".gnu_debuglink", 1, 0, name + bytes(-len(name) % 4) + struct.pack(order + "I", checksum)))
    names = b"".join([p[0].encode() + b"\0" for p in parts]) + b".names\0"
    parts.append((".names", 3, 0, names))
    head, ph, sh = (64, 56, 64) if wide else (52, 32, 40)
    body, headers, name_at = b"", b"", 0
    start = head + ph * len(segments)
    for name, kind, linked, data in parts:
        fields = (name_at, kind, 0, 0, start + len(body), len(data), linked, 0, 1, 0)
        headers += struct.pack(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"), *fields)
        body += data
        name_at += len(name) + 1
    load = b""
    for offset, address, size in segments:
        if wide:
            load += struct.pack(order + "IIQQQQQQ", 1, 5, offset, address, address, size, size, 4096)
        else:
            load += struct.pack(order + "IIIIIIII", 1, offset, address, address, size, size, 5, 4096)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    rest = struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        3, 62, 1, 0, head, start + len(body), 0, head, ph, len(segments), sh, len(parts), len(parts) - 1,
    )  # fmt: skip
    return ident + rest + load + body + headers


def reader(data):
    return lambda offset, size: data[offset : offset + size]


def crc(data):
    return zlib.crc32(data)
