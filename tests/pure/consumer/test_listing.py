"""Listings of aggregations, against the examples of the Dynamic Tracing Guide."""

import struct

import pytest

from dsight.consumer.aggregate import bucket_values
from dsight.consumer.histogram import distribution
from dsight.consumer.listing import default, formatted
from dsight.errors import CompileError
from dsight.record import AggLayout, Field, agg_words, bounds

NAME = (Field("s", 0, 16),)


def agg(func, keys=NAME, params=()):
    return AggLayout(0, "a", func, keys, 16, 8 * agg_words(func, params), "m", params)


def quantized(**counts):
    """quantize counts from n<value>=count."""
    labels = bucket_values(agg("quantize"))
    values = {int(name[1:].replace("_", "-")): n for name, n in counts.items()}
    assert set(values) <= set(labels)
    return tuple([values.get(label, 0) for label in labels])


def spread(layout, counts):
    """Bucket counts of lquantize and llquantize from {bound: count}; "under" for underflow."""
    edges = bounds(layout.func, layout.params)
    return tuple([counts.get(edge, 0) for edge in ("under", *edges)])


def test_counts_by_name():
    """Guide, "normalize": rows by value."""
    snapshot = {(b"in.routed",): 1, (b"syslogd",): 0, (b"write system calls",): 179}
    assert default([agg("count")], [snapshot]) == (
        "\n"
        "  syslogd                                                           0\n"
        "  in.routed                                                         1\n"
        "  write system calls                                              179\n"
    )


def test_quantize():
    """Guide, "Using the quantize Function"."""
    snapshot = {
        (b"bash",): quantized(n16384=4, n131072=1),
        (b"gnome-terminal",): quantized(n8192=5, n16384=5, n32768=4, n65536=1),
    }
    assert default([agg("quantize")], [snapshot]) == (
        "\n"
        "  bash                                              \n"
        "           value  ------------- Distribution ------------- count    \n"
        "            8192 |                                         0        \n"
        "           16384 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@         4        \n"
        "           32768 |                                         0        \n"
        "           65536 |                                         0        \n"
        "          131072 |@@@@@@@@                                 1        \n"
        "          262144 |                                         0        \n"
        "\n"
        "  gnome-terminal                                    \n"
        "           value  ------------- Distribution ------------- count    \n"
        "            4096 |                                         0        \n"
        "            8192 |@@@@@@@@@@@@@                            5        \n"
        "           16384 |@@@@@@@@@@@@@                            5        \n"
        "           32768 |@@@@@@@@@@@                              4        \n"
        "           65536 |@@@                                      1        \n"
        "          131072 |                                         0        \n"
        "\n"
    )


def test_lquantize():
    """Guide, "Using the lquantize Function"."""
    layout = agg("lquantize", params=(0, 100, 1))
    assert default([layout], [{(b"gnome-session",): spread(layout, {26: 9})}]) == (
        "\n"
        "  gnome-session                                     \n"
        "           value  ------------- Distribution ------------- count    \n"
        "              25 |                                         0        \n"
        "              26 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@ 9        \n"
        "              27 |                                         0        \n"
        "\n"
    )


def test_underflow_and_overflow():
    layout = agg("lquantize", params=(0, 20, 10))
    assert distribution(layout, spread(layout, {"under": 1, 20: 3})) == (
        "           value  ------------- Distribution ------------- count    \n"
        "             < 0 |@@@@@@@@@@                               1        \n"
        "               0 |                                         0        \n"
        "              10 |                                         0        \n"
        "           >= 20 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@           3        \n"
    )


def test_llquantize():
    layout = agg("llquantize", params=(10, 3, 5, 5))
    assert distribution(layout, spread(layout, {"under": 2, 4000: 2})) == (
        "           value  ------------- Distribution ------------- count    \n"
        "          < 1000 |@@@@@@@@@@@@@@@@@@@@                     2        \n"
        "            1000 |                                         0        \n"
        "            2000 |                                         0        \n"
        "            4000 |@@@@@@@@@@@@@@@@@@@@                     2        \n"
        "            6000 |                                         0        \n"
    )


def test_quantize_around_zero():
    assert [
        line.split()[0] for line in distribution(agg("quantize"), quantized(n_2=1, n0=1, n1=1)).splitlines()[1:]
    ] == [*("-4", "-2", "-1", "0", "1", "2")]


def test_quantize_at_both_ends():
    rows = distribution(agg("quantize"), (1,) + (0,) * 126 + (1,)).splitlines()
    assert rows[1].split()[0] == str(-(2**63)) and rows[-1].split()[0] == str(2**62)
    assert len(rows) == 129


def test_cleared_distribution_has_no_rows():
    assert distribution(agg("quantize"), (0,) * 128).count("\n") == 1


def test_bars_with_negative_counts_do_not_fail():
    assert "-3" in distribution(agg("quantize"), quantized(n1=-3, n2=4))


def test_key_columns():
    keys = (Field("i", 0, 4), Field("s", 4, 8), Field("u", 16, 8), Field("i", 24, 1), Field("u", 26, 2))
    (line,) = default([agg("sum", keys)], [{(-42, b"sh", 7, 1, 9): 5}]).splitlines()[1:]
    assert line == f"      -42  {'sh':50s} {7:16d}   1     9 {5:16d}"


def test_address_and_hostile_keys():
    keys = (Field("inet", 0, 20), Field("s", 20, 8))
    key = (struct.pack("=I4s12x", 2, b"\x0a\0\0\1"), b"\x1b[m\n")
    (line,) = default([agg("count", keys)], [{key: 1}]).splitlines()[1:]
    assert line == f"  {'10.0.0.1':50s}  {chr(92) + 'x1b[m' + chr(92) + 'x0a':50s} {1:16d}"


def test_no_key():
    assert default([agg("count", ())], [{(): 123}]) == f"\n {123:16d}\n"
    assert default([agg("quantize", ())], [{(): quantized(n1=1)}]).startswith("\n\n           value  ---")


def test_nothing_aggregated_prints_nothing():
    assert default([agg("count")], [{}]) == ""
    assert formatted("%s %@d\n", [agg("count")], [{}]) == ""


def test_several_aggregations_side_by_side():
    layouts = [agg("count"), agg("sum")]
    text = default(layouts, [{(b"a",): 2, (b"b",): 1}, {(b"a",): 10, (b"c",): 30}])
    assert [line.split() for line in text.splitlines()[1:]] == [["c", "0", "30"], ["b", "1", "0"], ["a", "2", "10"]]


def test_printa_with_a_format():
    """Guide, "printa": the value first, and not every part of the key."""
    keys = (Field("u", 0, 8), Field("i", 8, 4))
    snapshot = {(0xFFFFFFFF8105F128, 1): 8, (0xFFFFFFFF8110CB90, 2): 1313}
    assert formatted("%@8u %a\n", [agg("count", keys)], [snapshot]) == (
        "       8 0xffffffff8105f128\n    1313 0xffffffff8110cb90\n"
    )


def test_printa_of_several_aggregations():
    layouts = [agg("count"), agg("sum")]
    text = formatted("%-6s|%@5d|%@-5d|%@x\n", layouts, [{(b"a",): 1}, {(b"a",): -20}])
    assert text == "a     |    1|-20  |1\n"
    assert formatted("%@x", [agg("sum")], [{(b"a",): -1}]) == "f" * 16


def test_printa_of_a_distribution():
    text = formatted("[%s]%@d\n", [agg("quantize")], [{(b"a",): quantized(n1=1)}])
    assert text.startswith("[a]\n           value  ---") and text.endswith(" 0        \n\n")


def test_printa_of_different_keys_is_an_error():
    with pytest.raises(CompileError) as e:
        formatted("%s %@d %@d", [agg("count"), agg("count", ())], [{}, {}])
    assert e.value.tag == "D_PRINTA_AGGKEY"
