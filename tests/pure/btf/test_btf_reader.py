"""btf.reader over small BTF made here, and over damaged bytes."""

from __future__ import annotations

import random
import struct
import time
from binascii import crc32

import pytest

from dsight import errors
from dsight.btf import format as f
from dsight.btf.index import Index, build, open_index
from dsight.btf.reader import Btf
from dsight.btf.types import Array, Enum, Func, Int, Pointer, Qualified, Struct, Type, Typedef, unqualified

KEY = b"a kernel"


class Maker:
    """Makes BTF: each method adds a type and gives its id."""

    def __init__(self, base: Btf | None = None) -> None:
        self.types: list[bytes] = []
        self.first_id = base.end_id if base else 1
        self.first_string = base.end_string if base else 0
        self.strings = b"" if base else b"\0"

    def string(self, text: str) -> int:
        if not text:
            return 0
        at = self.first_string + len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str = "", size: int = 0, rest: bytes = b"", vlen: int = 0, flag: int = 0) -> int:
        self.types.append(struct.pack("<III", self.string(name), flag << 31 | kind << 24 | vlen, size) + rest)
        return self.first_id + len(self.types) - 1

    def int(self, name: str, size: int, encoding: int = 0, bits: int = 0, shift: int = 0) -> int:
        return self.add(f.INT, name, size, struct.pack("<I", encoding << 24 | shift << 16 | (bits or size * 8)))

    def struct(self, name: str, size: int, members: list[tuple[str, int, int]], kind: int = f.STRUCT, flag: int = 0):
        rest = b"".join(struct.pack("<III", self.string(n), t, at) for n, t, at in members)
        return self.add(kind, name, size, rest, len(members), flag)

    def enum(self, name: str, values: dict[str, int], flag: int = 0, wide: bool = False) -> int:
        if wide:
            rest = b"".join(
                struct.pack("<III", self.string(n), v & 0xFFFFFFFF, v >> 32 & 0xFFFFFFFF) for n, v in values.items()
            )
            return self.add(f.ENUM64, name, 8, rest, len(values), flag)
        rest = b"".join(struct.pack("<II", self.string(n), v & 0xFFFFFFFF) for n, v in values.items())
        return self.add(f.ENUM, name, 4, rest, len(values), flag)

    def proto(self, returns: int, params: list[tuple[str, int]]) -> int:
        rest = b"".join(struct.pack("<II", self.string(n), t) for n, t in params)
        return self.add(f.FUNC_PROTO, "", returns, rest, len(params))

    def bytes(self) -> bytes:
        types = b"".join(self.types)
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.strings))
        return head + types + self.strings

    def read(self, base: Btf | None = None) -> Btf:
        return read(self.bytes(), base)


def read(data: bytes, base: Btf | None = None) -> Btf:
    index = open_index(build(data, KEY, base.end_string if base else 0), KEY, len(data))
    assert index
    return Btf(data, index, base)


def test_integers() -> None:
    m = Maker()
    m.int("char", 1, 2)
    m.int("int", 4, 1)
    m.int("_Bool", 1, 4)
    m.add(f.FLOAT, "double", 8)
    btf = m.read()
    assert btf.type("int", "char") == Int("char", 1, False)
    assert btf.type("int", "int") == Int("int", 4, True)
    assert btf.type("int", "_Bool") == Int("_Bool", 1, False)
    assert str(btf.type("float", "double")) == "double" and btf.type("int", "double") is None
    assert btf.type("int", "long") is None
    assert str(btf.by_id(0)) == "void"


def test_same_id_same_object_and_members_read_late() -> None:
    m = Maker()
    node = m.struct("node", 16, [("next", 2, 0), ("value", 3, 64)])
    m.add(f.PTR, "", node)
    m.int("long", 8, 1)
    btf = m.read()
    t = btf.type("struct", "node")
    assert isinstance(t, Struct) and callable(t._members)
    following = t.members[0].type
    assert isinstance(following, Pointer) and following.to is t
    assert btf.by_id(node) is t and btf.id("struct", "node") == node


def test_anonymous_members_are_looked_through() -> None:
    # struct s { int a; union { int b; struct { char c; char d; }; }; }
    m = Maker()
    number, char = m.int("int", 4, 1), m.int("char", 1, 2)
    inner = m.struct("", 2, [("c", char, 0), ("d", char, 8)])
    union = m.struct("", 4, [("b", number, 0), ("", inner, 0)], f.UNION)
    m.struct("s", 8, [("a", number, 0), ("", union, 32)])
    t = m.read().type("struct", "s")
    assert isinstance(t, Struct)
    assert [(n, t.member(n).bit_offset) for n in "abcd"] == [("a", 0), ("b", 32), ("c", 32), ("d", 40)]  # type: ignore[union-attr]


def test_bit_fields_new_encoding() -> None:
    m = Maker()
    number = m.int("unsigned int", 4)
    m.struct("s", 8, [("a", number, 3 << 24 | 5), ("b", number, 32)], flag=1)
    t = m.read().type("struct", "s")
    assert isinstance(t, Struct)
    assert [(x.name, x.bit_offset, x.bits) for x in t.members] == [("a", 5, 3), ("b", 32, 0)]


def test_bit_fields_old_encoding() -> None:
    # The width, and a shift, are in the integer; also through a typedef.
    m = Maker()
    three = m.int("unsigned int", 4, 0, 3, 2)
    alias = m.add(f.TYPEDEF, "u32", three)
    whole = m.int("unsigned int", 4)
    m.struct("s", 8, [("a", three, 8), ("b", alias, 0), ("c", whole, 32)])
    t = m.read().type("struct", "s")
    assert isinstance(t, Struct)
    assert [(x.bit_offset, x.bits) for x in t.members] == [(10, 3), (2, 3), (32, 0)]


def test_declarations_give_way_to_definitions() -> None:
    m = Maker()
    m.add(f.FWD, "s")
    m.add(f.FWD, "u", flag=1)
    m.enum("e", {})
    s = m.struct("s", 4, [])
    e = m.enum("e", {"A": 1})
    btf = m.read()
    assert (btf.id("struct", "s"), btf.id("enum", "e")) == (s, e)
    u = btf.type("union", "u")
    assert isinstance(u, Struct) and u.incomplete and u.kind == "union"
    assert btf.type("struct", "u") is None


def test_enums() -> None:
    m = Maker()
    m.enum("plain", {"A": 1, "TOP": 1 << 31})
    m.enum("signed", {"B": -1}, 1)
    m.enum("wide", {"C": 1 << 40}, wide=True)
    m.enum("wide_signed", {"D": -(1 << 40)}, 1, True)
    m.enum("", {"E": 5})
    btf = m.read()
    assert [btf.enumerator(n) for n in ("A", "TOP", "B", "C", "D", "E", "F")] == [
        1, 1 << 31, -1, 1 << 40, -(1 << 40), 5, None,
    ]  # fmt: skip
    wide = btf.type("enum", "wide")
    assert isinstance(wide, Enum) and wide.size == 8 and not wide.signed


def test_enums_before_they_told_their_sign() -> None:
    m = Maker()
    m.enum("old", {"MINUS": -1, "ONE": 1})
    m.enum("flags", {"TOP": 1 << 31})
    btf = m.read()
    assert (btf.enumerator("MINUS"), btf.enumerator("TOP")) == (-1, 1 << 31)


def test_functions_arrays_qualifiers_and_tags() -> None:
    m = Maker()
    char = m.int("char", 1, 2)
    const = m.add(f.CONST, "", char)
    tagged = m.add(f.TYPE_TAG, "user", const)
    pointer = m.add(f.PTR, "", tagged)
    m.add(f.FUNC, "printk", m.proto(char, [("fmt", pointer), ("", 0)]))
    m.add(f.DECL_TAG, "note", char, struct.pack("<i", -1))
    array = m.add(f.ARRAY, "", 0, struct.pack("<III", char, char, 16))
    btf = m.read()
    t = btf.type("func", "printk")
    assert isinstance(t, Func) and t.variadic and t.spell("printk") == "char printk(const char *fmt, ...)"
    inner = t.params[0][1]
    assert isinstance(inner, Pointer) and inner.to == Qualified("const", Int("char", 1, False))
    assert btf.by_id(array) == Array(Int("char", 1, False), 16)


def test_tracepoint_arguments() -> None:
    m = Maker()
    number = m.int("int", 4, 1)
    void = m.add(f.PTR, "", 0)
    for name, named in (("plain", False), ("named", True)):
        proto = m.proto(0, [("", void), ("", number), ("", number)])
        m.add(f.TYPEDEF, f"btf_trace_{name}", m.add(f.PTR, "", proto))
        if named:
            m.add(f.FUNC, f"__probestub_{name}", m.proto(0, [("__data", void), ("a", number), ("b", number)]))
    m.add(f.TYPEDEF, "btf_trace_odd", number)
    btf = m.read()
    int_ = Int("int", 4, True)
    assert btf.tracepoint("plain") == Func(btf.by_id(0), (("", int_), ("", int_)))
    assert btf.tracepoint("named") == Func(btf.by_id(0), (("a", int_), ("b", int_)))
    assert btf.tracepoint("odd") is None and btf.tracepoint("nonesuch") is None


def test_a_module_stands_on_the_kernel() -> None:
    kernel = Maker()
    number = kernel.int("int", 4, 1)
    base = kernel.read()
    m = Maker(base)
    mine = m.struct("mine", 4, [("n", number, 0)])
    module = m.read(base)
    t = module.type("struct", "mine")
    assert isinstance(t, Struct) and t.members[0].type is base.by_id(number)
    assert module.id("struct", "mine") == mine == 2
    assert module.type("int", "int") is base.by_id(number)
    assert base.type("struct", "mine") is None


def test_names_whose_checksums_agree_are_told_apart() -> None:
    # crc32 of both is the same, whatever it starts with.
    assert crc32(b"plumless", 4) == crc32(b"buckeroo", 4)
    m = Maker()
    first, second = m.struct("plumless", 1, []), m.struct("buckeroo", 2, [])
    btf = m.read()
    assert btf._index.ids(f.STRUCT, "plumless") == [first, second]
    assert (btf.id("struct", "plumless"), btf.id("struct", "buckeroo")) == (first, second)


def test_a_name_of_another_kind_is_not_found() -> None:
    class Agreeing:
        """An index in which all checksums agree."""

        n_types, signed_enums = 2, True

        def __init__(self, real: Index) -> None:
            self.offset = real.offset

        def ids(self, kind: int, name: str) -> list[int]:
            return [1, 2]

    m = Maker()
    m.enum("same", {"A": 1})
    m.struct("same", 4, [])
    data = m.bytes()
    index = open_index(build(data, KEY), KEY, len(data))
    assert index
    btf = Btf(data, Agreeing(index))  # type: ignore[arg-type]
    assert (btf.id("enum", "same"), btf.id("struct", "same"), btf.id("union", "same")) == (1, 2, None)
    assert btf.enumerator("A") == 1 and btf.enumerator("B") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.add(f.TYPEDEF, "t", 1),
        lambda m: (m.add(f.CONST, "", 2), m.add(f.TYPEDEF, "t", 1)),
        lambda m: m.add(f.ARRAY, "t", 0, struct.pack("<III", 1, 1, 2)),
        lambda m: m.proto(1, []),
        lambda m: m.proto(0, [("x", 1)]),
    ],
)
def test_a_type_that_contains_itself_is_found(make) -> None:
    m = Maker()
    make(m)
    with pytest.raises(errors.Error, match="contains itself"):
        m.read().by_id(1)


def test_an_anonymous_struct_that_contains_itself_is_found() -> None:
    m = Maker()
    m.struct("s", 4, [("", 2, 0)])
    m.struct("", 4, [("", 3, 0)], f.UNION)
    m.struct("", 4, [("", 2, 0)])
    t = m.read().by_id(1)
    assert isinstance(t, Struct)
    with pytest.raises(errors.Error, match="contains itself"):
        t.member("x")


def blob(types: bytes = b"", strings: bytes = b"\0", version: int = 1, length: int | None = None) -> bytes:
    n = len(types) if length is None else length
    return struct.pack("<HBBIIIII", 0xEB9F, version, 0, 24, 0, n, n, len(strings)) + types + strings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short"),
        (blob()[:23], "too short"),
        (b"\xeb\x9f\x01" + bytes(21), "byte order"),
        (b"ELF!" + bytes(20), "magic"),
        (blob(version=2), "version 2"),
        (blob(length=100), "do not fit"),
        (blob(strings=b""), "do not fit"),
        (blob(struct.pack("<III", 0, 25 << 24, 0)), "kind 25"),
        (blob(struct.pack("<III", 0, f.INT << 24, 4)), "cut off"),
        (blob(struct.pack("<II", 0, f.PTR << 24)), "cut off"),
        (blob(struct.pack("<III", 1, f.TYPEDEF << 24, 0), b"\0endless"), "does not end"),
        (blob(struct.pack("<III", 1, f.TYPEDEF << 24, 0), b"\0" + b"x" * 600 + b"\0"), "does not end"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(errors.Error, match=message):
        build(data, KEY)


def sample() -> bytes:
    m = Maker()
    char, number = m.int("char", 1, 2), m.int("int", 4, 1)
    pointer = m.add(f.PTR, "", 8)
    array = m.add(f.ARRAY, "", 0, struct.pack("<III", char, number, 16))
    union = m.struct("", 16, [("x", number, 0), ("name", array, 0)], f.UNION)
    alias = m.add(f.TYPEDEF, "u_t", union)
    const = m.add(f.CONST, "", alias)
    m.struct("s", 40, [("n", number, 3 << 24), ("", union, 64), ("next", pointer, 192), ("c", const, 64)], flag=1)
    m.enum("e", {"A": 1, "B": -2}, 1)
    m.enum("w", {"C": 1 << 40}, wide=True)
    m.add(f.TYPEDEF, "btf_trace_t", m.add(f.PTR, "", m.proto(0, [("", pointer), ("s", pointer), ("n", number)])))
    m.add(f.FUNC, "__probestub_t", m.proto(number, [("", pointer), ("s", pointer), ("n", number)]))
    m.add(f.FWD, "declared", flag=1)
    m.add(f.VAR, "v", number, bytes(4))
    return m.bytes()


def use_all(btf: Btf) -> int:
    """Look at everything a caller may; the number of types seen."""
    seen = 0
    for kind in ("struct", "union", "enum", "typedef", "int", "func"):
        for name in ("s", "e", "w", "u_t", "int", "char", "declared", "btf_trace_t", ""):
            seen += btf.type(kind, name) is not None
    btf.tracepoint("t"), btf.enumerator("A"), btf.enumerator("C")
    waiting: list[Type] = [btf.by_id(n) for n in range(btf.end_id)]
    for t in waiting[:]:
        u = unqualified(t)
        _ = (str(t), t.size)
        if isinstance(u, Struct):
            u.member("name")
        elif isinstance(u, Pointer):
            _ = u.to
        elif isinstance(u, Enum):
            _ = u.values
        assert not isinstance(u, Typedef)
    return seen


def test_the_sample_is_whole() -> None:
    assert use_all(read(sample())) == 8


def test_mutated_bytes_give_an_error_or_a_value_in_bounded_time() -> None:
    """Fuzz: seeded, so that a failure can be made again."""
    whole = sample()
    errors_seen = 0
    start = time.monotonic()
    for seed in range(3000):
        rng = random.Random(seed)
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            how, at = rng.randrange(4), rng.randrange(len(data))
            if how == 0:
                data[at] = rng.randrange(256)
            elif how == 1:
                data[at] ^= 1 << rng.randrange(8)
            elif how == 2:
                del data[at : at + rng.randint(1, 8)]
            else:
                data[at & ~3 : (at & ~3) + 4] = struct.pack("<I", rng.choice((0, 1, 8, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF)))
        try:
            use_all(read(bytes(data)))
        except errors.Error:
            errors_seen += 1
    assert 300 < errors_seen < 3000  # both ends are reached
    assert time.monotonic() - start < 60
