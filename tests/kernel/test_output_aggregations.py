"""Aggregating functions on the kernel: each case also in the IR interpreter, both against arithmetic in Python."""

from __future__ import annotations

from math import isqrt

import pytest

from dsight.machine import Machine
from dsight.record import bounds
from dsight.testing.differential import compare

pytestmark = pytest.mark.kernel

I64 = (-(2**63), -(2**32), -17, -1, 0, 1, 2, 3, 1000, 2**31, 2**32 + 5, 2**62, 2**63 - 1)


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    assert made.registry.btf  # opened once, before any test looks at what is held
    yield made
    made.close()


def aggregated(machine: Machine, function: str, values: tuple[int, ...], declare: str = "int64_t") -> object:
    """The one value of @ after aggregating the values, from variables so that nothing is folded."""
    lines = [f"x = ({declare}){v}{'ULL' if v > 2**63 - 1 else ''}; @ = {function};" for v in values]
    outcome = compare("BEGIN { " + " ".join(lines) + " exit(0); }", on=machine)
    return outcome.aggregations[""][()]


def spelled(v: int) -> str:
    return f"(-{2**63 - 1}LL - 1)" if v == -(2**63) else str(v)


def of_64_bits(machine: Machine, function: str, values: tuple[int, ...]) -> object:
    lines = [f"x = (int64_t){spelled(v)}; @ = {function};" for v in values]
    return compare("BEGIN { " + " ".join(lines) + " exit(0); }", on=machine).aggregations[""][()]


@pytest.mark.parametrize("values", [(5,), (1, 2, 3, 4, 100), (-7, 7), (2**40, -(2**40), 2**33 + 3), (-1, -1, -1)])
def test_stddev_is_exact_to_the_integer_below(machine, values):
    n = len(values)
    exact = isqrt((n * sum(v * v for v in values) - sum(values) ** 2) // (n * n))
    assert aggregated(machine, "stddev(x)", values) == exact


def test_stddev_carries_into_the_upper_half_of_the_squares(machine):
    values = (2**62, 2**62 - 1, 2**62 - 12345, 3)
    n = len(values)
    total = (sum(values) + 2**63) % 2**64 - 2**63  # totals wrap in 64 bits
    exact = isqrt(max(0, n * sum(v * v for v in values) - total**2) // (n * n))
    assert aggregated(machine, "stddev(x)", values) == exact


@pytest.mark.parametrize("params", [(10, 0, 3, 10), (10, 3, 5, 5), (2, 0, 62, 2), (10, 1, 4, 100), (10, 2, 3, 30)])
def test_llquantize_counts_what_its_bounds_say(machine, params):
    edges = bounds("llquantize", params)
    values = {v for e in edges[:: max(1, len(edges) // 12)] for v in (e - 1, e, e + 1) if v < 2**63} | {-5, 0, 2**62}
    expected = [0] * (len(edges) + 1)
    for v in values:
        expected[sum(v >= e for e in edges)] += 1
    function = f"llquantize(x, {', '.join(map(str, params))})"
    assert of_64_bits(machine, function, tuple(values)) == tuple(expected)


@pytest.mark.parametrize("params", [(-10, 10, 3), (-100, -10, 7), (0, 100, 25), (-5, 1, 6)])
def test_lquantize_counts_what_its_bounds_say(machine, params):
    edges = bounds("lquantize", params)
    values = [v for e in edges for v in (e - 1, e, e + 1)] + [-(2**63), 2**63 - 1]
    expected = [0] * (len(edges) + 1)
    for v in values:
        expected[sum(v >= e for e in edges)] += 1
    function = f"lquantize(x, {', '.join(map(str, params))})"
    assert of_64_bits(machine, function, tuple(values)) == tuple(expected)


def test_unsigned_values_from_2_to_the_63_on_overflow(machine):
    values = (0, 2**63, 2**64 - 1)
    assert aggregated(machine, "lquantize(x, -10, 10, 10)", values, "uint64_t") == (0, 0, 1, 2)
    assert aggregated(machine, "llquantize(x, 10, 0, 0, 10)", values, "uint64_t") == (1, *[0] * 9, 2)


@pytest.mark.parametrize("function", ["quantize(1{})", "lquantize(1, 0, 2, 1{})", "llquantize(1, 10, 0, 0, 10{})"])
def test_an_increment_is_what_a_bucket_grows_by(machine, function):
    script = "BEGIN {{ x = 0; x += 40; @ = {}; @ = {}; @ = {}; exit(0); }}"
    weights = [function.format(", " + w) for w in ("x", "2", "-5")]
    value = compare(script.format(*weights), on=machine).aggregations[""][()]
    assert sorted(n for n in value if n) == [37]


def test_a_distribution_larger_than_a_per_cpu_map_takes(machine):
    script = "BEGIN { @a = lquantize(30000, 0, 60000); @b[pid] = lquantize(-1, 0, 60000); exit(0); }"
    outcome = compare(script, on=machine)
    (a,), (b,) = outcome.aggregations["a"].values(), outcome.aggregations["b"].values()
    assert (len(a), a[30001], sum(a)) == (60002, 1, 1)
    assert (len(b), b[0], sum(b)) == (60002, 1, 1)


def test_a_sum_of_zero_is_a_value(machine):
    outcome = compare("BEGIN { @a = sum(0); @b = sum(5); @b = sum(-5); exit(0); } ERROR { @c = sum(1); }", on=machine)
    assert outcome.aggregations == {"a": {(): 0}, "b": {(): 0}, "c": {}}
