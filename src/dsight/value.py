"""Frozen values: the nouns handed from one stage to the next.

`Value` is a small stand-in for `@dataclass(frozen=True, slots=True)`: importing
`dataclasses` costs more than compiling a script (docs/decisions/0002-values.md).

    class Span(Value):
        start: int
        end: int = 0

gives slots, positional and keyword construction, equality, hash, repr and
`replace()`.  Annotations that start with ``ClassVar`` are left alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


# A class is made with an __init__ that serves any fields.  One that is used often gets its own,
# eight times as fast; to give every class its own at import would cost more than most scripts do.
OFTEN = 40


def _first_init(self: Any, *args: Any, **kwargs: Any) -> None:
    cls = type(self)
    fields = cls._fields
    if len(args) > len(fields):
        raise TypeError(f"{cls.__name__} takes {len(fields)} values, got {len(args)}")
    put = object.__setattr__
    for name, value in zip(fields, args):
        put(self, name, value)
    for name in fields[len(args) :]:
        if name in kwargs:
            put(self, name, kwargs.pop(name))
        elif name in cls._defaults:
            put(self, name, cls._defaults[name])
        else:
            raise TypeError(f"{cls.__name__} misses {name!r}")
    if kwargs:
        raise TypeError(f"{cls.__name__} has no {', '.join(kwargs)}")
    cls._made += 1
    if cls._made == OFTEN and _defaults_last(cls):
        cls.__init__ = _own_init(cls)


def _defaults_last(cls: Any) -> bool:
    """Whether no field with a default comes before one without: what a function's parameters must hold to."""
    with_default = [f in cls._defaults for f in cls._fields]
    return with_default == sorted(with_default)


def _own_init(cls: Any) -> Any:
    """An __init__ with the class's fields as parameters, that sets them; of a frozen one, through their slots."""
    names: dict[str, Any] = {}
    parameters, body = [], []
    for i, field in enumerate(cls._fields):
        if issubclass(cls, Brief):
            body.append(f" self.{field} = {field}")
        else:
            names[f"_set{i}"] = getattr(cls, field).__set__
            body.append(f" _set{i}(self, {field})")
        if field in cls._defaults:
            names[f"_default{i}"] = cls._defaults[field]
            parameters.append(f"{field}=_default{i}")
        else:
            parameters.append(field)
    exec(f"def __init__({', '.join(['self', *parameters])}):\n" + ("\n".join(body) or " pass"), names)
    return names["__init__"]


@dataclass_transform(frozen_default=True)
class _ValueMeta(type):
    def __new__(mcls, name: str, bases: tuple[type, ...], ns: dict[str, Any]) -> _ValueMeta:
        own = tuple(n for n, t in ns.get("__annotations__", {}).items() if not t.startswith("ClassVar"))
        defaults = {n: ns.pop(n) for n in own if n in ns}
        ns["__slots__"] = own
        ns.setdefault("__init__", _first_init)
        cls = super().__new__(mcls, name, bases, ns)
        inherited: tuple[str, ...] = ()
        inherited_defaults: dict[str, Any] = {}
        for base in bases:
            inherited += getattr(base, "_fields", ())
            inherited_defaults.update(getattr(base, "_defaults", {}))
        cls._fields = inherited + own  # type: ignore[attr-defined]
        cls._defaults = inherited_defaults | defaults  # type: ignore[attr-defined]
        cls._made = 0  # type: ignore[attr-defined]
        return cls


class Value(metaclass=_ValueMeta):
    """Base of all frozen values; see the module's docstring."""

    if TYPE_CHECKING:
        _fields: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def _key(self) -> tuple[Any, ...]:
        return tuple([getattr(self, n) for n in self._fields])

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))

    def __repr__(self) -> str:
        inside = ", ".join(f"{n}={getattr(self, n)!r}" for n in self._fields)
        return f"{type(self).__name__}({inside})"

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        for name in self._fields:
            if name not in changes:
                changes[name] = getattr(self, name)
        return type(self)(**changes)


class Brief(Value):
    """Base of values that are made by the ten thousand a second and soon forgotten: frozen for the type checker only.
    To make one of 18 fields takes 0.3 µs; 0.9 where it has to be done past a __setattr__ that refuses."""

    if not TYPE_CHECKING:
        __setattr__ = object.__setattr__
        __delattr__ = object.__delattr__  # with the other one: Python keeps them in one slot
