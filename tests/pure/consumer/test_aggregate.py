"""Per-CPU map contents to values, and clear, trunc, normalize."""

import struct
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsight.consumer.aggregate import Aggregations, bucket_values, finish, merge, ordered
from dsight.record import AggLayout, Field, agg_words, bounds

INTS = st.lists(st.lists(st.integers(-(2**40), 2**40), max_size=6), min_size=1, max_size=4)
BUCKETS = st.integers(-(2**63), 2**63 - 1)
KEY = (Field("i", 0, 4),)


def agg(func, params=(), keys=KEY, signed=True):
    size = keys[-1].offset + keys[-1].size if keys else 0
    return AggLayout(0, "a", func, keys, size + 7 & ~7, 8 * agg_words(func, params), "m", params, signed)


def kernel(layout, values):
    """What one CPU's value is after aggregating `values`, by the layout record.py describes."""
    m64 = 2**64 - 1
    func = layout.func
    if func == "count":
        out = [len(values)]
    elif func == "sum":
        out = [sum(values)]
    elif func in ("min", "max"):
        out = [(min if func == "min" else max)(values), 1] if values else [0, 0]
    elif func in ("avg", "stddev"):
        squares = sum([v * v for v in values])
        out = [len(values), sum(values), squares, squares >> 64][: 2 if func == "avg" else 4]
    else:
        out = [0] * (layout.value_size // 8)
        for v in values:
            out[word(layout, v)] += 1
    return struct.pack(f"={len(out)}Q", *[n & m64 for n in out])


def word(layout, value):
    """Which word of a distribution counts a value (record.AggLayout)."""
    if layout.func == "quantize":
        k = abs(value).bit_length() - 1
        return (63 if not value else 64 + k if value > 0 else 62 - k) % 128
    return sum([value >= edge for edge in bounds(layout.func, layout.params)])


@given(INTS)
def test_scalar_functions_agree_with_arithmetic(cpus):
    flat = [v for cpu in cpus for v in cpu]

    def value(func):
        layout = agg(func)
        return finish(layout, merge(layout, [kernel(layout, cpu) for cpu in cpus]))

    assert value("count") == len(flat)
    assert value("sum") == sum(flat)
    if flat:
        assert (value("min"), value("max")) == (min(flat), max(flat))
        towards_zero = abs(sum(flat)) // len(flat) * (1 if sum(flat) >= 0 else -1)
        assert value("avg") == towards_zero
        n = len(flat)
        assert value("stddev") == isqrt((n * sum([v * v for v in flat]) - sum(flat) ** 2) // (n * n))


@pytest.mark.parametrize("func", ["sum", "min", "max"])
def test_unsigned_values_stay_unsigned(func):
    layout = agg(func, signed=False)
    raw = struct.pack("=QQ", 2**64 - 1, 1)[: layout.value_size]
    assert finish(layout, merge(layout, [raw])) == 2**64 - 1
    assert finish(agg(func), merge(agg(func), [raw])) == -1


@pytest.mark.parametrize(
    "func, params",
    [("quantize", ()), ("lquantize", (-10, 100, 7)), ("llquantize", (10, 1, 4, 20)), ("llquantize", (2, 0, 6, 2))],
)
@given(cpus=st.lists(st.lists(BUCKETS | st.integers(-50, 20_000), max_size=10), min_size=1, max_size=3))
def test_distributions_count_each_value_where_its_label_says(func, params, cpus):
    layout = agg(func, params)
    layout = layout.replace(value_size=1 << layout.value_size.bit_length())  # padded, as maps may be
    counts = finish(layout, merge(layout, [kernel(layout, cpu) for cpu in cpus]))
    labels = bucket_values(layout)
    assert len(counts) == len(labels) and list(labels) == sorted(labels)
    assert sum(counts) == sum(map(len, cpus))
    for value in [v for cpu in cpus for v in cpu]:
        if func == "quantize" and value <= 0:
            at = min([i for i, label in enumerate(labels) if label >= value])
        else:
            at = max([i for i, label in enumerate(labels) if label <= value], default=0)
        assert counts[at] > 0


def test_quantize_of_the_extremes():
    signed, unsigned = agg("quantize"), agg("quantize", signed=False)
    assert bucket_values(signed)[0] == -(2**63) and bucket_values(unsigned)[-1] == 2**63
    assert finish(signed, merge(signed, [kernel(signed, [-(2**63)])]))[0] == 1
    assert finish(unsigned, merge(unsigned, [kernel(unsigned, [2**64 - 1])]))[-1] == 1


def test_the_parts_of_one_value_for_all_cpus():
    """Of four CPUs, each with a cache line of its own; the others of the map follow each other."""
    layout = agg("avg", keys=()).replace(each=64)
    cpus = [[3, -5], [], [2**40], []]
    values = b"".join([kernel(layout, cpu).ljust(64, b"\0") for cpu in cpus])
    assert layout.parts(values) == [kernel(layout, cpu) for cpu in cpus]
    assert merge(layout, layout.parts(values)) == (3, 2**40 - 2)
    assert layout.replace(each=0).parts(values[:16] + values[128:144]) == [
        kernel(layout, cpus[0]),
        kernel(layout, cpus[2]),
    ]


def test_bounds():
    assert bounds("lquantize", (0, 100, 25)) == (0, 25, 50, 75, 100)
    # Guide, llquantize: factor 10, magnitudes 3 to 5, 5 steps
    assert bounds("llquantize", (10, 3, 5, 5)) == (
        *(1000, 2000, 4000, 6000, 8000),
        *(10000, 20000, 40000, 60000, 80000),
        *(100000, 200000, 400000, 600000, 800000, 1000000),
    )
    # Guide: 20 steps give 20 - 20/10 = 18 buckets a magnitude, but 9 for magnitude 0
    assert bounds("llquantize", (10, 0, 0, 20)) == (*range(1, 10), 10)
    assert len(bounds("llquantize", (10, 3, 3, 20))) == 18 + 1


class Kernel:
    """A per-CPU map of two CPUs that the tests feed."""

    def __init__(self, layout):
        self.layout, self.seen = layout, {}

    def add(self, key, *values, cpu=0):
        self.seen.setdefault(key, ([], []))[cpu].extend(values)

    def fetch(self, layout):
        return [(self.raw(key), [kernel(layout, v) for v in cpus]) for key, cpus in self.seen.items()]

    def raw(self, key):
        return struct.pack("=i4x", key)

    def erase(self, layout, keys):
        for key in list(self.seen):
            if self.raw(key) in keys:
                del self.seen[key]

    def session(self):
        return Aggregations([self.layout], self.fetch, self.erase)


def now(aggregations):
    aggregations.release()
    return {key[0]: value for key, value in aggregations.snapshot(0).items()}


@pytest.mark.parametrize(
    "func, first, second", [("sum", 12, 4), ("count", 2, 1), ("max", 9, 4), ("min", 3, 4), ("avg", 6, 4)]
)
def test_clear_keeps_the_keys(func, first, second):
    k = Kernel(agg(func))
    a = k.session()
    k.add(1, 3)
    k.add(1, 9, cpu=1)
    k.add(2, 5)
    assert now(a)[1] == first
    a.clear(0)
    assert now(a) == {1: 0, 2: 0}
    k.add(1, 4)
    assert now(a) == {1: second, 2: 0}
    a.clear(0)
    assert now(a) == {1: 0, 2: 0}


def test_clear_after_printa_loses_nothing_in_between():
    """Both actions of one record see one snapshot: what arrives between them counts for the next."""
    k = Kernel(agg("count"))
    a = k.session()
    k.add(1, 1)
    assert a.snapshot(0) == {(1,): 1}
    k.add(1, 1, 1)
    a.clear(0)
    assert now(a) == {1: 2}


@pytest.mark.parametrize(
    "count, kept", [(2, {3: 30, 4: 40}), (-2, {1: 10, 2: 20}), (0, {}), (9, {1: 10, 2: 20, 3: 30, 4: 40})]
)
def test_trunc(count, kept):
    k = Kernel(agg("sum"))
    a = k.session()
    for n in (3, 1, 4, 2):
        k.add(n, 10 * n)
    a.trunc(0, count)
    assert now(a) == kept
    assert set(k.seen) == set(kept)
    k.add(1, 5)
    assert now(a)[1] == 5 + kept.get(1, 0)


@pytest.mark.parametrize("func", ["sum", "max"])
def test_trunc_after_clear_forgets_the_keys(func):
    k = Kernel(agg(func))
    a = k.session()
    k.add(1, 7)
    a.clear(0)
    a.release()
    a.trunc(0)
    assert now(a) == {}
    k.add(1, 3)
    assert now(a) == {1: 3}


def test_normalize_divides_towards_zero():
    k = Kernel(agg("sum"))
    a = k.session()
    k.add(1, -7)
    k.add(2, 7)
    a.normalize(0, 2)
    assert now(a) == {1: -3, 2: 3}
    a.denormalize(0)
    assert now(a) == {1: -7, 2: 7}


def test_order_is_by_value_then_key():
    assert ordered(agg("sum"), {(3,): 1, (1,): 5, (2,): 1, (0,): -4}) == [(0,), (2,), (3,), (1,)]


def test_order_of_distributions_is_by_weighted_total():
    low, high = [0] * 128, [0] * 128
    low[65], high[75] = 5, 1  # five times 1, once 1024
    assert ordered(agg("quantize"), {(1,): tuple(high), (2,): tuple(low)}) == [(2,), (1,)]


def test_no_key_and_nothing_aggregated_is_nothing():
    layout = agg("count", keys=())
    entries = [(b"\0" * 4, [struct.pack("=Q", 0)])]
    a = Aggregations([layout], lambda _: entries, lambda *_: None)
    assert a.snapshot(0) == {}
    entries[0] = (b"\0" * 4, [struct.pack("=Q", 4)])
    a.release()
    assert a.snapshot(0) == {(): 4}
    a.clear(0)
    assert a.snapshot(0) == {(): 0}


def test_keyless_maximum_of_zero_is_shown():
    layout = agg("max", keys=())
    a = Aggregations([layout], lambda _: [(b"", [struct.pack("=qQ", 0, 1), struct.pack("=qQ", 0, 0)])], lambda *_: None)
    assert a.snapshot(0) == {(): 0}


def test_keys_for_programs():
    keys = (Field("s", 0, 16), Field("u", 16, 2), Field("inet", 20, 20))
    raw = b"curl\0junk".ljust(16, b"\0") + struct.pack("=H2xI4s12x", 443, 2, b"\x01\x02\x03\x04")
    same = b"curl".ljust(16, b"\0") + raw[16:]
    layout = agg("count", keys=keys)
    a = Aggregations(
        [layout], lambda _: [(raw, [struct.pack("=Q", 1)]), (same, [struct.pack("=Q", 2)])], lambda *_: None
    )
    assert a.values(0) == {("curl", 443, "1.2.3.4"): 3}
