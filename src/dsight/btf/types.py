"""C types as the kernel's BTF describes them; D's own types build on these (lang.types).

Struct and union members are read when first asked for: a script that follows
one pointer must not read the thousands of types behind it.  The same kernel
type read twice is the same object, so identity is equality for structs.
"""

from __future__ import annotations

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Type:
    """Base.  `size` in bytes (0 where it has none); `str()` spells it as C does."""

    __slots__ = ()

    @property
    def size(self) -> int:
        return 0

    def spell(self, name: str = "") -> str:
        """The C declaration of `name` with this type; the type alone without a name."""
        return f"{self._name()} {name}".rstrip()

    def _name(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.spell()


class _Leaf(Value, Type):
    def __repr__(self) -> str:
        return f"<{self.spell()}>"

    __str__ = Type.__str__


class Void(_Leaf):
    def _name(self) -> str:
        return "void"


class Int(_Leaf):
    """An integer type, char and _Bool included.  `signed` is as the kernel has it, but that its plain
    `char` is unsigned on every kernel, as it is since 6.2 (btf.reader)."""

    name: str
    bytes: int
    signed: bool

    @property
    def size(self) -> int:
        return self.bytes

    @property
    def is_char(self) -> bool:
        return self.bytes == 1 and self.name.endswith("char")

    def _name(self) -> str:
        return self.name


class Float(_Leaf):
    """A floating type: may be declared and pointed to, not computed with."""

    name: str
    bytes: int

    @property
    def size(self) -> int:
        return self.bytes

    def _name(self) -> str:
        return self.name


class Enum(Type):
    """`values`: name to value, read when asked for."""

    __slots__ = ("name", "_size", "signed", "_values")

    def __init__(self, name: str, size: int, signed: bool, values: Callable[[], dict[str, int]]) -> None:
        self.name = name
        self._size = size
        self.signed = signed
        self._values: dict[str, int] | Callable[[], dict[str, int]] = values

    @property
    def size(self) -> int:
        return self._size

    @property
    def values(self) -> dict[str, int]:
        if callable(self._values):
            self._values = self._values()
        return self._values

    def _name(self) -> str:
        return f"enum {self.name or '<anonymous>'}"

    def __repr__(self) -> str:
        return f"<{self._name()}>"


class Pointer(Type):
    """Pointer to `to`, which may be given as a callable (read when asked for)."""

    __slots__ = ("_to",)

    def __init__(self, to: Type | Callable[[], Type]) -> None:
        self._to = to

    @property
    def to(self) -> Type:
        if not isinstance(self._to, Type):
            self._to = self._to()
        return self._to

    @property
    def size(self) -> int:
        return 8

    def spell(self, name: str = "") -> str:
        to = unqualified(self.to)
        inner = f"*{name}"
        return self.to.spell(f"({inner})" if isinstance(to, (Array, Func)) else inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pointer) and (self is other or self.to == other.to)

    def __hash__(self) -> int:
        return hash("pointer")

    def __repr__(self) -> str:
        return f"<{self.spell()}>"


class Array(_Leaf):
    """`count` elements; 0 for a flexible array or one without a length."""

    of: Type
    count: int

    @property
    def size(self) -> int:
        return self.of.size * self.count

    def spell(self, name: str = "") -> str:
        return self.of.spell(f"{name}[{self.count or ''}]")


class Func(_Leaf):
    """`params`: (name, type) each."""

    returns: Type
    params: tuple[tuple[str, Type], ...]
    variadic: bool = False

    def spell(self, name: str = "") -> str:
        inside = [t.spell(n) for n, t in self.params] + (["..."] if self.variadic else [])
        return self.returns.spell(f"{name}({', '.join(inside) or 'void'})")


class Typedef(Type):
    """Another name for a type, given or read when asked for."""

    __slots__ = ("name", "_to")

    def __init__(self, name: str, to: Type | Callable[[], Type]) -> None:
        self.name = name
        self._to = to

    @property
    def to(self) -> Type:
        if not isinstance(self._to, Type):
            self._to = self._to()
        return self._to

    @property
    def size(self) -> int:
        return self.to.size

    def _name(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Typedef) and self.name == other.name and self.to == other.to

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Qualified(_Leaf):
    """const, volatile, restrict: kept for spelling only."""

    qualifier: str
    to: Type

    @property
    def size(self) -> int:
        return self.to.size

    def spell(self, name: str = "") -> str:
        if isinstance(self.to, Pointer):
            return self.to.spell(f"{self.qualifier} {name}".rstrip())
        return f"{self.qualifier} {self.to.spell(name)}"


class Member(Value):
    """A struct or union member.  `name` is "" for an anonymous struct or union.

    `bit_offset` counts from the start of the struct; `bits` is the width of a
    bit-field, 0 for an ordinary member.
    """

    name: str
    type: Type
    bit_offset: int
    bits: int = 0


class Struct(Type):
    """A struct or union; `members` in order, read when asked for.  Incomplete where
    only a forward declaration is known."""

    __slots__ = ("kind", "name", "_size", "_members", "incomplete", "_by_name")

    def __init__(
        self,
        kind: str,
        name: str,
        size: int,
        members: tuple[Member, ...] | Callable[[], tuple[Member, ...]],
        incomplete: bool = False,
    ) -> None:
        self.kind = kind
        self.name = name
        self._size = size
        self._members = members
        self.incomplete = incomplete
        self._by_name: dict[str, Member] | None = None

    @property
    def size(self) -> int:
        return self._size

    @property
    def members(self) -> tuple[Member, ...]:
        if callable(self._members):
            self._members = self._members()
        return self._members

    def member(self, name: str) -> Member | None:
        """The member of that name, with anonymous structs and unions looked through:
        its bit_offset counts from the start of this struct."""
        if self._by_name is None:
            found: dict[str, Member] = {}
            for m in self.members:
                inner = unqualified(m.type)
                if m.name:
                    found.setdefault(m.name, m)
                elif isinstance(inner, Struct):
                    inner.member("")  # fills its table
                    for n, deep in (inner._by_name or {}).items():
                        found.setdefault(n, deep.replace(bit_offset=deep.bit_offset + m.bit_offset))
            self._by_name = found
        return self._by_name.get(name)

    def complete(self, size: int, members: tuple[Member, ...]) -> None:
        """Give a forward-declared D struct its body."""
        self._size, self._members, self.incomplete, self._by_name = size, members, False, None

    def _name(self) -> str:
        return f"{self.kind} {self.name or '<anonymous>'}"

    def __repr__(self) -> str:
        return f"<{self._name()}>"


def unqualified(t: Type) -> Type:
    """The type behind typedefs and qualifiers."""
    while isinstance(t, (Typedef, Qualified)):
        t = t.to
    return t
