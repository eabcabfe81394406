"""Aggregating functions on the kernel: each case also in the IR interpreter, both against arithmetic in Python."""

from __future__ import annotations

import os
from math import isqrt

import pytest

from dsight.api import Trace
from dsight.consumer.aggregate import Aggregations, bucket_values
from dsight.ir.text import show
from dsight.kernel import maps
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.record import bounds
from dsight.source import Source
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


EVERY = (
    "@n = count(); @sum = sum(x); @avg = avg(x); @dev = stddev(x); @min = min(x); @max = max(x); "
    "@q = quantize(x); @l = lquantize(x, 0, 1000, 10); @ll = llquantize(x, 10, 0, 3, 10);"
)


def test_without_keys_nothing_is_looked_up(machine):
    def text(script: str) -> str:
        compiled, _ = machine.compile([Source("script", script)], Macros.of_process())
        return "".join(show(f) for p in compiled.programs for f in p.functions)

    of_none, of_one = f"BEGIN {{ x = pid; {EVERY} }}", "BEGIN { @[pid] = count(); }"
    assert "map_lookup_elem" not in text(of_none) and "map_lookup_elem" in text(of_one)


def test_where_one_value_has_no_room_for_all_cpus(machine, monkeypatch):
    monkeypatch.setattr(maps, "cpu_numbers", lambda: 4096)
    script = "BEGIN { @n = count(); @q = quantize(5); @l = lquantize(30000, 0, 60000); exit(0); }"
    compiled, _ = machine.compile([Source("script", script)], Macros.of_process())
    found = [(m.kind, m.value_size) for m in compiled.maps if m.name.startswith("agg_")]
    assert found == [("array", 4096 * 64), ("percpu_array", 1024), ("array", 8 << 16)]
    outcome = compare(script, on=machine).aggregations
    assert outcome["n"] == {(): 1}
    assert (outcome["q"][()][67], sum(outcome["q"][()])) == (1, 1)
    assert (outcome["l"][()][30001], sum(outcome["l"][()])) == (1, 1)


def test_what_several_cpus_counted_is_one_value_and_can_be_cleared():
    """This process calls lseek() with different numbers on each CPU it may run on."""
    allowed = os.sched_getaffinity(0)
    null = os.open(os.devnull, os.O_RDONLY)
    script = f"syscall::lseek:entry /pid == $pid && arg0 == {null}/ {{ x = arg1; {EVERY} }}"

    def count(numbers: dict[int, list[int]]) -> None:
        for cpu, values in numbers.items():
            os.sched_setaffinity(0, {cpu})
            for value in values:
                os.lseek(null, value, os.SEEK_SET)

    def seen() -> dict[str, object]:
        here.release()
        return {layout.name: here.snapshot(layout.id).get(()) for layout in trace.image.aggs}

    def expected(numbers: dict[int, list[int]]) -> dict[str, object]:
        flat = [v for values in numbers.values() for v in values]
        n, total = len(flat), sum(flat)
        out: dict[str, object] = {"n": n, "sum": total, "avg": total // n, "min": min(flat), "max": max(flat)}
        out["dev"] = isqrt((n * sum(v * v for v in flat) - total**2) // (n * n))
        for layout in trace.image.aggs:
            if layout.name in ("q", "l", "ll"):
                labels = bucket_values(layout)
                counts = dict.fromkeys(labels, 0)
                for v in flat:
                    counts[max(label for label in labels if label <= v)] += 1
                out[layout.name] = tuple(counts.values())
        return out

    first = {cpu: [3 + n, 700 - 100 * (n % 5), 3 + n] for n, cpu in enumerate(sorted(allowed))}
    second = {cpu: [50 + n] * 4 for n, cpu in enumerate(sorted(allowed))}
    try:
        with Trace(script) as trace:
            here = Aggregations(trace.image.aggs, trace.session.aggregation_entries, trace.session.erase)
            assert set(seen().values()) == {None}
            count(first)
            assert seen() == expected(first)
            for layout in trace.image.aggs:
                here.clear(layout.id)
            assert {name: value for name, value in seen().items() if type(value) is int} == dict.fromkeys(
                ("n", "sum", "avg", "dev", "min", "max"), 0
            )
            count(second)
            assert seen() == expected(second)
            for layout in trace.image.aggs:
                here.trunc(layout.id)
            assert set(seen().values()) == {None}
            count(first)
            assert seen() == expected(first)
            for layout in trace.image.aggs:
                here.normalize(layout.id, 3)
            assert seen()["sum"] == expected(first)["sum"] // 3
            assert trace.lost == 0
    finally:
        os.sched_setaffinity(0, allowed)
        os.close(null)
