"""print(): a value's bytes by its type, with the names of members.

The form is that of the Guide's examples ("print Action"): the type, then the value; numbers in
hexadecimal, null pointers as NULL, enumerators by name, an array between brackets, a struct's
members one a line.
"""

from __future__ import annotations

import sys

from dsight.consumer.format import string_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.record import Shape

INDENT = 4
ELEMENTS = 64  # of an array shown; what follows is counted


def typed_value(shape: Shape, value: int | bytes | str) -> str:
    """What print() writes, with a line end.  `value`: raw bytes, a number, or a text."""
    if isinstance(value, str):
        return f'{shape.name} "{value}"\n'
    if isinstance(value, int):
        value = (value & (1 << 8 * shape.size) - 1).to_bytes(shape.size, sys.byteorder)
    return f"{shape.name} {_value(shape, value, 0)}\n"


def _value(shape: Shape, raw: bytes, depth: int) -> str:
    kind = shape.kind
    if kind == "struct":
        return _struct(shape, raw, depth)
    if kind == "array":
        return _array(shape, raw, depth)
    if kind == "bytes":
        return f"[ {' '.join([f'{c:02x}' for c in raw])} ]" if raw else "[]"
    n = int.from_bytes(raw, sys.byteorder)
    if kind == "ptr":
        return f"{n:#x}" if n else "NULL"
    if kind == "char" and 32 <= n < 127:
        return repr(chr(n))
    if kind == "enum":
        signed = int.from_bytes(raw, sys.byteorder, signed=True)
        for number, name in shape.values:
            if number in (n, signed):
                return name
    return f"{n:#x}"


def _struct(shape: Shape, raw: bytes, depth: int) -> str:
    margin = " " * (INDENT * (depth + 1))
    lines = ["{"]
    for name, bit, bits, member in shape.members:
        if bits:
            whole = int.from_bytes(raw, "little") if sys.byteorder == "little" else int.from_bytes(raw, "big")
            shift = bit if sys.byteorder == "little" else 8 * len(raw) - bit - bits
            text = f"{whole >> shift & (1 << bits) - 1:#x}"
        else:
            at = bit // 8
            text = _value(member, raw[at : at + member.size], depth + 1)
        lines.append(f"{margin}{name} = {text}" if name else f"{margin}{text}")
    return "\n".join([*lines, " " * (INDENT * depth) + "}"])


def _array(shape: Shape, raw: bytes, depth: int) -> str:
    of = shape.members[0][3]
    if of.kind == "char":
        head = raw.split(b"\0", 1)[0]
        if all(32 <= c < 127 for c in head):
            return f'"{string_text(head)}"'
    if not of.size or not raw:
        return "[]"
    parts = [
        _value(of, raw[at : at + of.size], depth + 1) for at in range(0, min(len(raw), ELEMENTS * of.size), of.size)
    ]
    left = len(raw) // of.size - len(parts)
    return f"[ {', '.join(parts)}{f', ... {left} more' if left else ''} ]"
