"""BTF to the types of btf.types, each read when first asked for.

Damaged BTF gives errors.Error, in bounded time: a type that contains itself is
found while it is read, for all but pointers and struct bodies are read at once.
"""

from __future__ import annotations

import struct

from dsight.btf import format as f
from dsight.btf.format import damaged
from dsight.btf.index import ENUMERATOR, Index
from dsight.btf.types import (
    Array,
    Enum,
    Float,
    Func,
    Int,
    Member,
    Pointer,
    Qualified,
    Struct,
    Type,
    Typedef,
    Void,
    unqualified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Bytes(Protocol):
        """bytes, a file mapped, or what reads a file slice by slice."""

        def __getitem__(self, where: slice, /) -> bytes: ...
        def __len__(self) -> int: ...


KINDS = {
    "int": f.INT,
    "struct": f.STRUCT,
    "union": f.UNION,
    "enum": f.ENUM,
    "typedef": f.TYPEDEF,
    "func": f.FUNC,
    "var": f.VAR,
    "float": f.FLOAT,
}
_QUALIFIERS = {f.CONST: "const", f.VOLATILE: "volatile", f.RESTRICT: "restrict"}

_VOID = Void()
_MAX_DEPTH = 64  # of types one inside the other; the kernel resolves no more than 32

_RECORD = struct.Struct("<III")
_U32 = struct.Struct("<I")


class Btf:
    """One BTF.  A module's has the kernel's as `base`, whose types and strings come first."""

    def __init__(self, data: Bytes, index: Index, base: Btf | None = None) -> None:
        self._data = data
        self._index = index
        self._base = base
        self._header = f.parse_header(data[0 : f.HEADER_SIZE], len(data))
        self.first_id = base.end_id if base else 1
        self.end_id: int = self.first_id + index.n_types
        self.first_string = base.end_string if base else 0
        self.end_string: int = self.first_string + self._header.strings_end - self._header.strings
        self._types: dict[int, Type] = {0: _VOID}
        self._open: set[int] = set()  # ids being read

    # --- by name -----------------------------------------------------------------------

    def id(self, kind: str, name: str) -> int | None:
        """The BTF id of the first type of that kind ("struct", "union", "enum", "typedef", "int",
        "float", "func", "var") and name; of a declaration where no definition is known."""
        code = KINDS[kind]
        found = self._find(code, name, code)
        if found is None and code in (f.STRUCT, f.UNION, f.ENUM):
            found = self._find(f.FWD, name, code)
        if found is None and self._base:
            return self._base.id(kind, name)
        return found

    def _find(self, code: int, name: str, kind: int) -> int | None:
        """The first type of a kind and name that is listed under `code`: the kind, or FWD."""
        for n in self._index.ids(code, name):
            number = self.first_id + n - 1
            its_name, info, _, _ = self._record(number)
            if _kind(info) == kind and self.string(its_name) == name:
                return number
        return None

    def type(self, kind: str, name: str) -> Type | None:
        """The type of that kind and name; for a function, its Func; for a variable, its type."""
        number = self.id(kind, name)
        return None if number is None else self.by_id(number)

    def enumerator(self, name: str) -> int | None:
        """The value of a name in any enum."""
        for n in self._index.ids(ENUMERATOR, name):
            t = self.by_id(self.first_id + n - 1)
            if isinstance(t, Enum) and name in t.values:
                return t.values[name]
        return self._base.enumerator(name) if self._base else None

    def tracepoint(self, name: str) -> Func | None:
        """The arguments of the BPF raw tracepoint of that name: those of its TP_PROTO."""
        # include/trace/bpf_probe.h: typedef void (*btf_trace_NAME)(void *__data, TP_PROTO)
        t = self.type("typedef", f"btf_trace_{name}")
        pointer = unqualified(t) if t else None
        call = unqualified(pointer.to) if isinstance(pointer, Pointer) else None
        if not isinstance(call, Func) or not call.params:
            return None
        # Its parameters have no names; those of the functions made with it do.
        for maker in ("__probestub_", "__traceiter_"):
            same = self.type("func", maker + name)
            if isinstance(same, Func) and len(same.params) == len(call.params):
                named = tuple((n, t) for (n, _), (_, t) in zip(same.params, call.params))
                return Func(call.returns, named[1:])
        return Func(call.returns, call.params[1:])

    # --- by id -------------------------------------------------------------------------

    def by_id(self, number: int) -> Type:
        """The type of an id: the same object each time.  Raises Error."""
        found = self._types.get(number)
        if found is not None:
            return found
        if number < self.first_id and self._base:
            return self._base.by_id(number)
        self._enter(number)
        try:
            found = self._types[number] = self._read(number)
        finally:
            self._open.discard(number)
        return found

    def _enter(self, number: int) -> None:
        if number in self._open or len(self._open) >= _MAX_DEPTH:
            raise damaged(f"type {number} contains itself, or lies too deep")
        self._open.add(number)

    def _record(self, number: int) -> tuple[int, int, int, int]:
        """Name, info, size or type, and where the rest is."""
        if not self.first_id <= number < self.end_id:
            raise damaged(f"there is no type {number}")
        at = self._index.offset(number - self.first_id)
        raw = self._data[at : at + 12]
        if len(raw) < 12:
            raise damaged(f"type {number} is cut off")
        name, info, size = _RECORD.unpack(raw)
        return name, info, size, at + 12

    def _rest(self, at: int, length: int) -> bytes:
        raw = self._data[at : at + length]
        if len(raw) < length or at + length > self._header.types_end:
            raise damaged("a type is cut off")
        return raw

    def string(self, offset: int) -> str:
        """A name by its offset; names are ASCII."""
        if offset < self.first_string and self._base:
            return self._base.string(offset)
        if not offset:
            return ""
        at = self._header.strings + offset - self.first_string
        for room in (64, f.MAX_NAME):  # most are short
            raw = self._data[at : min(at + room, self._header.strings_end)]
            end = raw.find(0)
            if end >= 0:
                return raw[:end].decode("utf-8", "replace")
        raise damaged("a name does not end")

    def _read(self, number: int) -> Type:
        name_at, info, size, rest = self._record(number)
        kind, vlen, flag = info >> 24 & 31, info & 0xFFFF, info >> 31
        if kind == f.PTR:
            return Pointer(lambda: self.by_id(size))
        if kind in _QUALIFIERS:
            return Qualified(_QUALIFIERS[kind], self.by_id(size))
        if kind in (f.FUNC, f.VAR, f.TYPE_TAG, f.DECL_TAG):  # tags say nothing D asks for
            return self.by_id(size)
        if kind == f.ARRAY:
            element, _, count = _RECORD.unpack(self._rest(rest, 12))
            return Array(self.by_id(element), count)
        if kind == f.FUNC_PROTO:
            return self._func(size, self._rest(rest, vlen * 8))
        name = self.string(name_at)
        if kind == f.TYPEDEF:
            return Typedef(name, self.by_id(size))
        if kind == f.INT:
            (encoding,) = _U32.unpack(self._rest(rest, 4))
            # Kernels from 6.2 on are built with -funsigned-char and say so; a script means the same bytes
            # on older ones, whose char is signed on x86-64: octets of addresses, above all.
            return Int(name, size, name != "char" and bool(encoding >> 24 & 1))
        if kind in (f.STRUCT, f.UNION):
            word = "struct" if kind == f.STRUCT else "union"
            return Struct(word, name, size, lambda: self._members(number, flag, self._rest(rest, vlen * 12)))
        if kind in (f.ENUM, f.ENUM64):
            return self._enum(name, size, kind == f.ENUM64, flag, self._rest(rest, vlen * f.PER_PART[kind]))
        if kind == f.FWD:
            return Struct("union" if flag else "struct", name, 0, (), incomplete=True)
        if kind == f.FLOAT:
            return Float(name, size)
        raise damaged(f"type {number} is no C type (kind {kind})")

    def _func(self, returns: int, raw: bytes) -> Func:
        params = []
        variadic = False
        for name, number in struct.iter_unpack("<II", raw):
            if not name and not number:  # "..." is a last parameter without name and type
                variadic = True
            else:
                params.append((self.string(name), self.by_id(number)))
        return Func(self.by_id(returns), tuple(params), variadic)

    def _enum(self, name: str, size: int, wide: bool, flag: int, raw: bytes) -> Enum:
        if wide:
            found = [(n, high << 32 | low) for n, low, high in struct.iter_unpack("<III", raw)]
        else:
            found = list(struct.iter_unpack("<II", raw))
        bits = 64 if wide else 32
        # Before pahole 1.24 no enum said that it is signed: small negative numbers then give it away.
        signed = bool(flag) or (not self._index.signed_enums and any(value >= (1 << bits) - 4096 for _, value in found))
        if signed:
            found = [(n, value - (1 << bits) if value >> bits - 1 else value) for n, value in found]
        return Enum(name, size, signed, lambda: {self.string(n): value for n, value in found})

    def _members(self, number: int, flag: int, raw: bytes) -> tuple[Member, ...]:
        self._enter(-number)
        try:
            members = []
            for name_at, type_id, offset in _RECORD.iter_unpack(raw):
                name = self.string(name_at)
                t = self.by_id(type_id)
                if flag:
                    bits, offset = offset >> 24, offset & 0xFFFFFF
                else:
                    bits, shift = self._old_bit_field(t, type_id)
                    offset += shift
                if not name:
                    inner = unqualified(t)
                    if isinstance(inner, Struct):
                        _ = inner.members  # read at once: finds one that contains itself
                members.append(Member(name, t, offset, bits))
            return tuple(members)
        finally:
            self._open.discard(-number)

    def _old_bit_field(self, t: Type, number: int) -> tuple[int, int]:
        """Width (0: no bit-field) and shift of a member without the kind flag: they are in its
        integer type, as pahole wrote them before 1.13."""
        if not isinstance(unqualified(t), Int):
            return 0, 0
        if number < self.first_id and self._base:
            return self._base._old_bit_field(t, number)
        _, info, size, rest = self._record(number)
        if info >> 24 & 31 != f.INT:
            return self._old_bit_field(t, size)  # ends: by_id has read the chain down to the integer
        (encoding,) = _U32.unpack(self._rest(rest, 4))
        bits, shift = encoding & 0xFF, encoding >> 16 & 0xFF
        return (bits, shift) if bits != size * 8 or shift else (0, 0)


def _kind(info: int) -> int:
    """A type's kind; of a declaration, that of what it declares.  Enums of both widths are ENUM."""
    kind = info >> 24 & 31
    if kind == f.FWD:
        return f.UNION if info >> 31 else f.STRUCT
    return f.ENUM if kind == f.ENUM64 else kind
