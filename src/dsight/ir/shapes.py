"""Types as plain data for print() (record.Shape)."""

from __future__ import annotations

from dsight.lang.types import Array, Enum, Int, Pointer, String, Struct, Type, unqualified
from dsight.record import Shape


def shape_of(t: Type, known: dict[int, Shape] | None = None) -> Shape:
    """The shape of a type; pointers are not followed, so there is an end.  `known`: by the type's id."""
    known = {} if known is None else known
    found = known.get(id(t))
    if found is None:
        found = known[id(t)] = _shape(t, known)
    return found


def _shape(t: Type, known: dict[int, Shape]) -> Shape:
    u = unqualified(t)
    if isinstance(u, Struct) and not u.incomplete:
        members = [(m.name, m.bit_offset, m.bits, shape_of(m.type, known)) for m in u.members]
        return Shape("struct", str(t), u.size, tuple(members))
    if isinstance(u, Array):
        return Shape("array", str(t), u.size, (("", 0, 0, shape_of(u.of, known)),))
    if isinstance(u, Pointer):
        return Shape("ptr", str(t), 8)
    if isinstance(u, Enum):
        return Shape("enum", str(t), u.size, (), tuple([(n, name) for name, n in u.values.items()]))
    if isinstance(u, String):
        return Shape("string", str(t), 0)
    if isinstance(u, Int):
        return Shape("char" if u.is_char else "int", str(t), u.size)
    return Shape("bytes", str(t), u.size)
