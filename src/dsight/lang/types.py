"""D's own types over the C types of btf.types, and the questions the checker asks of types."""

from __future__ import annotations

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
    _Leaf,
    unqualified,
)

__all__ = [
    "Array", "Enum", "Float", "Func", "Int", "Member", "Pointer", "Qualified", "Struct", "Type", "Typedef", "Void",
    "unqualified", "String", "Inet", "Stack", "Symaddr",
    "VOID", "CHAR", "SHORT", "INT", "LONG", "UCHAR", "USHORT", "UINT", "ULONG", "LONGLONG", "ULONGLONG",
    "BOOL", "STRING", "INT_TYPES",
    "MOST_FRAMES", "is_integer", "is_pointer", "is_scalar", "is_stringlike", "pointer_to",
]  # fmt: skip


class String(_Leaf):
    """D's string: a value.  `limit` is the room its text can need, NUL included
    (16 for execname, 257 for a literal of 256); 0: up to the option strsize."""

    limit: int = 0

    @property
    def size(self) -> int:
        return self.limit or 256

    def _name(self) -> str:
        return "string"


class Inet(String):
    """A string that is the text of an address, kept as INET_SIZE raw bytes (record.INET_SIZE)
    until it must be text: the consumer writes it.  To the user it is a string."""


class Stack(_Leaf):
    """stack(), ustack(), jstack(): frames to be shown as symbols.  `frames` 0: as many as the
    option stackframes or ustackframes says, -1: as jstackframes says."""

    user: bool
    frames: int

    def _name(self) -> str:
        if self.frames < 0:
            return "jstack()"
        return f"{'ustack' if self.user else 'stack'}({self.frames or ''})"


class Symaddr(_Leaf):
    """func/mod/sym/uaddr/ufunc/umod/usym: an address to be shown as a symbol; "addr": with the
    offset in it (%a), of the kernel."""

    action: str

    @property
    def user(self) -> bool:
        return self.action.startswith("u")

    @property
    def size(self) -> int:
        return 16 if self.user else 8

    def _name(self) -> str:
        return f"{self.action}()"


VOID = Void()
CHAR = Int("char", 1, True)  # D's char is signed on every architecture dsight supports; the kernel's is what BTF says
SCHAR = Int("signed char", 1, True)
UCHAR = Int("unsigned char", 1, False)
SHORT = Int("short", 2, True)
USHORT = Int("unsigned short", 2, False)
INT = Int("int", 4, True)
UINT = Int("unsigned int", 4, False)
LONG = Int("long", 8, True)
ULONG = Int("unsigned long", 8, False)
LONGLONG = Int("long long", 8, True)
ULONGLONG = Int("unsigned long long", 8, False)
BOOL = Int("_Bool", 1, False)
STRING = String()

# The frames of a stack bpf_get_stack() gives at most: PERF_MAX_STACK_DEPTH, include/uapi/linux/perf_event.h.
MOST_FRAMES = 127

# The words of a C integer type, sorted and joined, without "int" where another word says the size.
INT_TYPES = {
    "char": CHAR,
    "char signed": SCHAR,
    "char unsigned": UCHAR,
    "short": SHORT,
    "short signed": SHORT,
    "short unsigned": USHORT,
    "int": INT,
    "signed": INT,
    "unsigned": UINT,
    "long": LONG,
    "long signed": LONG,
    "long unsigned": ULONG,
    "long long": LONGLONG,
    "long long signed": LONGLONG,
    "long long unsigned": ULONGLONG,
    "_Bool": BOOL,
}


def is_integer(t: Type) -> bool:
    """Integers, enums and _Bool."""
    return isinstance(unqualified(t), (Int, Enum))


def is_pointer(t: Type) -> bool:
    """Pointers, and arrays, which decay to them."""
    return isinstance(unqualified(t), (Pointer, Array))


def is_scalar(t: Type) -> bool:
    return is_integer(t) or is_pointer(t)


def is_stringlike(t: Type) -> bool:
    """string, or a pointer to or an array of char: what string operators take."""
    u = unqualified(t)
    if isinstance(u, String):
        return True
    inner = unqualified(u.to) if isinstance(u, Pointer) else unqualified(u.of) if isinstance(u, Array) else None
    return isinstance(inner, Int) and inner.is_char


def pointer_to(t: Type) -> Pointer:
    return Pointer(t)
