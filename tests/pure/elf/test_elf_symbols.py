"""Symbol tables: which symbol an address is in, whatever the file holds."""

import random
import struct

import pytest
from tinyelf import FILE, LOCAL, NOTYPE, OBJECT, SECTION, TLS, WEAK, elf, reader, symbol

from dsight.elf.perfmap import PerfMap
from dsight.elf.symbols import ElfError, build_id, debug_link, functions, read_elf, read_symbols


def table(*symbols, **options):
    read = reader(elf(symbols, **options))
    return read_symbols(read_elf(read), read)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [2, 11])
def test_class_order_and_table(wide, order, kind):
    t = table(symbol("f", 0x1000, 16), symbol("g", 0x1010, 8), wide=wide, order=order, table=kind)
    assert [t.at(a) for a in (0xFFF, 0x1000, 0x100F, 0x1010, 0x1017, 0x1018)] == [
        None, ("f", 0), ("f", 15), ("g", 0), ("g", 7), None,
    ]  # fmt: skip


def test_of_several_names_the_global_one():
    t = table(symbol("w", 8, 4, WEAK), symbol("l", 8, 4, LOCAL), symbol("o", 8, 4, kind=OBJECT), symbol("G", 8, 4))
    assert t.at(9) == ("G", 1)
    assert table(symbol("second", 8, 4, WEAK), symbol("first", 8, 4, WEAK)).at(8) == ("second", 0)


def test_the_innermost_symbol_that_covers():
    t = table(symbol("outer", 0x100, 0x100), symbol("inner", 0x140, 0x10), symbol("label", 0x160, 0, kind=NOTYPE))
    assert t.at(0x145) == ("inner", 5)
    assert t.at(0x155) == ("outer", 0x55)
    assert t.at(0x165) == ("outer", 0x65)


def test_labels_of_assembly_reach_to_the_next_symbol():
    t = table(symbol("_start", 0x100, 0, kind=NOTYPE), symbol("main", 0x200, 0x10))
    assert t.at(0x150) == ("_start", 0x50)
    assert t.at(0x210) is None


def test_what_is_no_symbol_of_an_address():
    t = table(
        symbol("x.c", 0x10, 8, kind=FILE), symbol("", 0x10, 8), symbol("s", 0x10, 8, kind=SECTION),
        symbol("tls", 0x10, 8, kind=TLS), symbol("import", 0x10, 8, index=0), symbol("$d", 0x10, 8, kind=NOTYPE),
    )  # fmt: skip
    assert len(t) == 0 and t.at(0x10) is None


def test_addresses_are_found_through_the_segments():
    e = read_elf(reader(elf(segments=((0, 0, 0x100), (0x1000, 0x402000, 0x200)))))
    assert [e.address(o) for o in (0, 0xFF, 0x100, 0x1010, 0x1200)] == [0, 0xFF, None, 0x402010, None]


def test_build_id_and_debug_link():
    data = elf(build_id=bytes(range(20)), link="x.debug", checksum=0xDEADBEEF)
    e = read_elf(reader(data))
    assert build_id(e, reader(data)) == bytes(range(20)).hex()
    assert debug_link(e, reader(data)) == ("x.debug", 0xDEADBEEF)
    plain = elf()
    assert build_id(read_elf(reader(plain)), reader(plain)) == ""
    assert debug_link(read_elf(reader(plain)), reader(plain)) is None


def test_a_debug_link_does_not_leave_its_folder():
    data = elf(link="../../etc/shadow")
    assert debug_link(read_elf(reader(data)), reader(data)) is None


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20, b"\x7fELF\x05\x01" + bytes(80)])
def test_what_is_no_elf_file(data):
    with pytest.raises(ElfError):
        read_elf(reader(data))


def test_a_section_that_says_it_is_huge_is_not_read():
    """A read of that size would be asked for otherwise."""
    data = bytearray(elf([symbol("f", 0x10, 4)]))
    shoff = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, shoff + 64 + 32, 1 << 40)  # .tab's size
    asked = []

    def read(offset, size):
        asked.append(size)
        return bytes(data[offset : offset + size])

    assert len(read_symbols(read_elf(read), read)) == 0
    assert max(asked) < 1 << 20


def test_any_bytes_give_a_value_or_our_error():
    """Every reader, on files with a few bytes changed or cut off."""
    rng = random.Random(7)
    seeds = [
        elf(
            [symbol("f", 0x10, 4), symbol("g", 0x20, 0, kind=NOTYPE)],
            wide=wide,
            order=order,
            build_id=b"12345678",
            link="d",
        )
        for wide in (True, False)
        for order in "<>"
    ]
    for n in range(2000):
        data = bytearray(seeds[n % 4])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if n % 5 == 0:
            del data[rng.randrange(len(data)) :]
        read = reader(bytes(data))
        try:
            e = read_elf(read)
            t = read_symbols(e, read)
            for address in (0, 0x12, 0x25, 1 << 63):
                t.at(address)
                e.address(address)
            build_id(e, read)
            debug_link(e, read)
        except ElfError:
            pass


# ---- perf maps


def test_perf_map_lines():
    m = PerfMap(b"7f0000001000 20 LFoo;::bar(I)V\n7f0000002000 10 a name with blanks\r\n0x7f0000003000 0x8 hex\n")
    assert m.at(0x7F0000001000) == ("LFoo;::bar(I)V", 0)
    assert m.at(0x7F000000101F) == ("LFoo;::bar(I)V", 0x1F)
    assert m.at(0x7F0000001020) is None
    assert m.at(0x7F0000002001) == ("a name with blanks", 1)
    assert m.at(0x7F0000003007) == ("hex", 7)
    assert m.at(0) is None


def test_of_two_names_for_one_place_the_later():
    m = PerfMap(b"1000 100 old\n1000 40 new\n1080 20 third\n1060 40 over\n")
    assert m.at(0x1010) == ("new", 0x10)
    assert m.at(0x1090) == ("over", 0x30)
    assert m.at(0x1058) is None


def test_lines_nobody_can_read_are_passed_over():
    m = PerfMap(
        b"\n\xff\xfe\nzz 10 x\n1000\n1000 10\n-5 10 n\n2000 ffffffffffffffffff big\n3000 10 \xff\xfe\n" + b"1" * 9000
    )
    assert len(m) == 1
    assert m.at(0x3000) == ("\udcff\udcfe", 0)
    assert len(PerfMap(b"1000 10 " + b"x" * 100000).at(0x1000)[0]) == 4096


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("kind", [2, 11])
def test_functions_by_name(wide, kind):
    symbols = (
        symbol("f", 0x1000, 16), symbol("f", 0x2000, 8), symbol("gf", 0x1010, 8, WEAK), symbol("o", 8, 4, kind=OBJECT),
        symbol("import", 0, 0, index=0), symbol("l", 0x1020, 4, LOCAL),
    )  # fmt: skip
    read = reader(elf(symbols, wide=wide, table=kind))
    e = read_elf(read)
    assert functions(e, read) == {"f": (0x1000, 16), "gf": (0x1010, 8), "l": (0x1020, 4)}
    assert functions(e, read, "f") == {"f": (0x1000, 16)}
    assert functions(e, read, "l", "o", "gf") == {"gf": (0x1010, 8), "l": (0x1020, 4)}
    assert functions(e, read, "o") == functions(e, read, "import") == functions(e, read, "nothing") == {}


def test_where_in_the_file_an_address_is():
    e = read_elf(reader(elf(segments=((0, 0, 0x100), (0x1000, 0x402000, 0x200)))))
    assert [e.offset(a) for a in (0xFF, 0x100, 0x402010, 0x402200)] == [0xFF, None, 0x1010, None]
