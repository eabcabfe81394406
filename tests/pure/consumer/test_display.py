"""Sorting and histograms of aggregations; buffer policies; print(): what the options say."""

import struct

import pytest

from dsight.consumer.display import Display
from dsight.consumer.hold import Hold
from dsight.consumer.listing import default, formatted
from dsight.consumer.render import typed_value
from dsight.record import AggLayout, Field, Shape, agg_words

NAME_PID = (Field("s", 0, 16), Field("i", 16, 4))


def agg(func="sum", keys=NAME_PID, params=(), id=0):
    return AggLayout(id, "a", func, keys, 24, 8 * agg_words(func, params), "m", params)


SUMS = {(b"b", 1): 5, (b"a", 2): 7, (b"c", 1): 5, (b"a", 1): -1}


def order(display, *snapshots):
    text = formatted("%s%d ", [agg()] * len(snapshots), snapshots, display=display)
    return text.split()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a1", "b1", "c1", "a2"]),  # by value, ties by key
        ({"aggsortrev": True}, ["a2", "c1", "b1", "a1"]),
        ({"aggsortkey": True}, ["a1", "a2", "b1", "c1"]),
        ({"aggsortkey": True, "aggsortkeypos": 1}, ["a1", "b1", "c1", "a2"]),
        ({"aggsortkey": True, "aggsortkeypos": 1, "aggsortrev": True}, ["a2", "c1", "b1", "a1"]),
        ({"aggsortkey": True, "aggsortkeypos": 9}, ["a1", "a2", "b1", "c1"]),  # no such part: the first
    ],
)
def test_sorting(options, expected):
    display = Display()
    for name, value in options.items():
        setattr(display, name, value)
    assert order(display, SUMS) == expected


def test_aggsortpos_says_which_of_several_counts():
    first, second = {(b"a", 1): 1, (b"b", 1): 2}, {(b"a", 1): 9, (b"b", 1): 3, (b"c", 1): 4}
    display = Display()
    assert order(display, first, second) == ["c1", "a1", "b1"]  # where one has no value it counts as 0
    display.aggsortpos = 1
    assert order(display, first, second) == ["b1", "c1", "a1"]


def test_names_of_probes_sort_as_text():
    keys = (Field("n", 0, 4, {1: "write", 2: "read"}),)
    display = Display()
    display.aggsortkey = True
    text = formatted("%s ", [agg(keys=keys)], [{(1,): 1, (2,): 2}], display=display)
    assert text == "read write "


def test_agghist_shows_each_keys_share_and_aggzoom_fills_the_width():
    display = Display()
    display.agghist = True
    snapshot = {(b"x", 1): 30, (b"y", 1): 10}
    lines = default([agg()], [snapshot], display=display).splitlines()
    assert lines[1] == "             key  ------------- Distribution ------------- count    "
    assert lines[2] == f"             y 1 |{'@' * 10:40s} 10       "
    assert lines[3] == f"             x 1 |{'@' * 30:40s} 30       "
    display.aggzoom = True
    assert default([agg()], [snapshot], display=display).splitlines()[3].count("@") == 40


def test_aggpack_takes_one_line_a_key():
    display = Display(utf8=True)
    display.aggpack = True
    layout = agg("lquantize", params=(0, 4, 1))
    lines = default([layout], [{(b"x", 1): (0, 8, 4, 0, 0, 0), (b"y", 1): (0, 0, 0, 3, 0, 0)}], display=display)
    assert lines.splitlines() == [
        "",
        "             key   min .-----. max    | count",
        "             x 1    -1 : ▆▃  : 3      | 12",
        "             y 1    -1 :   █ : 3      | 3",
    ]
    display.utf8 = False
    assert default([layout], [{(b"x", 1): (0, 8, 4, 0, 0, 0)}], display=display).isascii()


# ---- buffer policies


def ring(*bodies):
    return b"".join(struct.pack("=II", len(b), 0) + b + bytes(-len(b) % 8) for b in bodies)


def held(policy, limit, *views):
    taken, full = [], []
    hold = Hold(policy, limit, lambda v: taken.append(bytes(v)) or len(v), len, lambda: full.append(True))
    for view in views:
        assert hold.records(memoryview(view)) == len(view)
    assert not taken
    hold.release()
    hold.records(memoryview(ring(b"end")))
    return b"".join(taken), len(full)


def test_fill_keeps_the_first_records_and_says_once_that_it_is_full():
    a, b, c = ring(b"1" * 8), ring(b"2" * 8), ring(b"3" * 3)
    assert held("fill", 40, a + b, c + a, b) == (a + b + ring(b"end"), 1)
    assert held("fill", 100, a, b) == (a + b + ring(b"end"), 0)


def test_ring_keeps_the_last_records():
    a, b, c = ring(b"1" * 8), ring(b"2" * 8), ring(b"3" * 3)
    assert held("ring", 40, a + b, c + a, b) == (a + b + ring(b"end"), 0)
    assert held("ring", 48, a + b, c) == (a + b + c + ring(b"end"), 0)
    assert held("ring", 17, a + b + c)[0] == c + ring(b"end")


# ---- print()

INT = Shape("int", "int", 4)
CHAR = Shape("char", "char", 1)


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        (INT, -1, "int 0xffffffff\n"),
        (Shape("ptr", "void *", 8), bytes(8), "void * NULL\n"),
        (Shape("string", "string", 0), "sh", 'string "sh"\n'),
        (Shape("enum", "enum e", 4, (), ((-1, "E_BAD"), (2, "E_TWO"))), b"\xff" * 4, "enum e E_BAD\n"),
        (Shape("enum", "enum e", 4, (), ((2, "E_TWO"),)), 7, "enum e 0x7\n"),
        (Shape("array", "char [4]", 4, (("", 0, 0, CHAR),)), b"ab\0x", 'char [4] "ab"\n'),
        (Shape("array", "char [2]", 2, (("", 0, 0, CHAR),)), b"\1b", "char [2] [ 0x1, 'b' ]\n"),
        (Shape("array", "int [2]", 8, (("", 0, 0, INT),)), struct.pack("=ii", 1, 2), "int [2] [ 0x1, 0x2 ]\n"),
    ],
)
def test_print_of_one_value(shape, value, expected):
    assert typed_value(shape, value) == expected


def test_print_of_a_struct_names_members_and_takes_bit_fields_apart():
    inner = Shape("struct", "struct in", 4, (("n", 0, 0, INT),))
    flags = (("a", 0, 3, INT), ("b", 3, 5, INT), ("", 32, 0, inner))
    text = typed_value(Shape("struct", "struct out", 8, flags), bytes([0b10101_011, 0, 0, 0, 9, 0, 0, 0]))
    assert text == "struct out {\n    a = 0x3\n    b = 0x15\n    {\n        n = 0x9\n    }\n}\n"


def test_print_escapes_what_was_traced():
    shape = Shape("array", "char [6]", 6, (("", 0, 0, CHAR),))
    assert "\x1b" not in typed_value(shape, b"\x1b[31m\0")
