"""Random D programs: each is refused with a D_ tag, or loads and leaves on the kernel what it leaves in the IR
interpreter and what Python's integers say (random_d); or it only has to load (random_load).

Here are a few; run.py runs thousands, and makes shorter what fails.  DSIGHT_FUZZ=500 runs so many here,
DSIGHT_FUZZ_SEED=N starts at seed N.  A failure names its seed: `random_program(Random(seed), size)` is the
program again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from dsight.errors import CompileError
from dsight.kernel import sys as ksys
from dsight.machine import Machine
from dsight.testing.differential import compare

sys.path.insert(0, str(Path(__file__).parent))
from agree import KINDS, agrees, load
from draws import Draws, shrink
from random_d import random_program
from random_load import random_load

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0 or not ksys.privileged(), reason="needs root"),
]

COUNT = int(os.environ.get("DSIGHT_FUZZ", "150"))
START = int(os.environ.get("DSIGHT_FUZZ_SEED", "0"))
BLOCK = 25


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


@pytest.mark.parametrize("start", range(START, START + COUNT, BLOCK))
def test_random_programs(start: int, machine: Machine) -> None:
    ran = 0
    for seed in range(start, start + BLOCK):
        program = random_program(Random(seed), 2 + seed % 4)
        try:
            ran += agrees(program, machine)
        except Exception as error:
            error.add_note(f"seed {seed}:\n{program.text}")
            raise
    assert ran > BLOCK // 2, "most programs are refused: nothing is tested"


@pytest.mark.parametrize("probe", KINDS)
def test_random_programs_load_as_every_kind(probe: str, machine: Machine) -> None:
    for seed in range(START, START + COUNT // 6):
        text = random_program(Random(seed), 4).on({"BEGIN": probe, "END": probe})
        if seed % 2:
            text = random_load(Random(seed), probe)
        try:
            kinds = {kind for kind, _ in load(text, machine).values()}
        except CompileError as error:
            assert error.tag.startswith("D_")
            continue
        except Exception as error:
            error.add_note(f"seed {seed}:\n{text}")
            raise
        assert kinds == {KINDS[probe]}


def test_draws_are_made_again_and_shorter() -> None:
    draws = Draws(5)
    text = random_program(draws, 4).text
    assert random_program(Draws(0, draws.drawn), 4).text == text

    def fails(values: list[int]) -> bool:
        return "self->" in random_program(Draws(0, values), 4).text

    assert fails(draws.drawn)
    shorter = shrink(draws.drawn, fails, 20.0)
    assert fails(shorter) and len(random_program(Draws(0, shorter), 4).text) < len(text) // 2


# ---- large scripts: they load, and the verifier's work grows with them and no faster


def predicates(n: int) -> str:
    return "int g;" + "".join(
        f"BEGIN /g >= {i} && pid != {i}/ {{ @[execname, {i}] = count(); x[{i}, g]++; trace(g); g = {i + 1}; }}"
        for i in range(n)
    )


def strings(n: int) -> str:
    return "string s;" + "".join(
        f'BEGIN /s != "abc{i}"/ {{ y[s] = "foo{i}"; s = y[""]; @[s, execname] = sum(1); printf("%s {i}", y[s]); }}'
        for i in range(n)
    )


def branches(n: int) -> str:
    """Sequential ifs, each leaving two states behind."""
    ifs = "".join(
        f"if (k & {1 << i % 62}) {{ this->a += {i}; h[{i}] = k; }} else {{ this->b ^= k; }} k += {i};" for i in range(n)
    )
    return (
        f"uint64_t k, h[int]; this int a; this uint64_t b; BEGIN {{ k = pid; {ifs} trace(this->a); trace(this->b); }}"
    )


def records(n: int) -> str:
    """A record filled on many paths."""
    return "int g;" + "BEGIN {" + "".join(f"if (pid % {i + 2}) {{ trace(g++); }}" for i in range(min(n, 60))) + "}"


def memory(n: int) -> str:
    """Scratch memory and pointers in every clause."""
    return "".join(
        f"BEGIN {{ this->p = (int *)alloca(64); this->p[{i % 16}] = {i}; trace(this->p[{i % 16}]); }}" for i in range(n)
    )


def aggregations(n: int) -> str:
    return "int g;" + "".join(
        f"BEGIN {{ g += {i}; @q[g % 3] = quantize(g); @l = lquantize(g, 0, 90, 3); }}" for i in range(n)
    )


@pytest.mark.parametrize("script", [predicates, strings, branches, records, memory, aggregations])
def test_large_scripts(script, machine: Machine) -> None:
    left = compare(script(60), on=machine)
    assert left.faults == () and left.lost == 0 and (left.records or left.aggregations)
    small, large = (sum(n for _, n in load(script(size), machine).values()) for size in (60, 120))
    assert large <= 2.5 * small
    huge = load(script(300), machine)
    assert 0 < sum(n for _, n in huge.values()) < 250_000  # BPF_COMPLEXITY_LIMIT_INSNS is a million


def test_deep_expressions(machine: Machine) -> None:
    right = "".join(f"(k * {i} + " for i in range(1, 40)) + "k" + ")" * 39
    expected = 3
    for i in reversed(range(1, 40)):
        expected = 3 * i + expected
    nested = "".join(f"(k > {i} ? {i} : " for i in range(40)) + "99" + ")" * 40
    left = compare(f"int64_t k, a[int]; BEGIN {{ k = 3; trace({right}); trace({nested}); }}", on=machine)
    assert left.records == ((0, (expected, 0)),)


def test_many_live_values(machine: Machine) -> None:
    """More than there are registers, across calls."""
    n = 60
    sums = " + ".join(f"this->v{i} * this->v{n - 1 - i}" for i in range(n))
    reads = " ".join(f"this->v{i} = a[{i}];" for i in range(n))
    writes = " ".join(f"a[{i}] = {i};" for i in range(n))
    calls = "(" + " + (".join(f"a[{i}]" for i in range(40)) + ")" * 40
    left = compare(f"int64_t a[int]; BEGIN {{ {writes} {reads} trace({sums}); trace({calls}); }}", on=machine)
    assert left.records == ((0, (sum(i * (n - 1 - i) for i in range(n)), sum(range(40)))),)


def test_more_values_than_the_stack_has_room_for(machine: Machine) -> None:
    n = 190
    sets = "".join(f"BEGIN {{ this->v{i} = a[{i}] + {i}; }}" for i in range(n))
    total = "BEGIN { trace(0" + "".join(f" + this->v{i} * {i}" for i in range(n)) + "); }"
    left = compare(f"int64_t a[int]; {sets} {total}", on=machine)
    assert left.records[-1] == (n, (sum(i * i for i in range(n)),))
    nested = "(" + " + (".join(f"a[{i}]" for i in range(48)) + ")" * 48
    left = compare(f"int64_t a[int]; BEGIN {{ a[7] = 5; trace({nested}); }}", on=machine)
    assert left.records == ((0, (5,)),)


@pytest.mark.parametrize("seed", [25, 27, 29, 35])
def test_branchy_scripts(seed: int, machine: Machine) -> None:
    """Some like these took the verifier more than half a million instructions, or were refused (decision 0016).
    Now it is 2 to 4 for each byte of D, on Linux 6.1 up to 9."""
    text = random_program(Random(seed), 9).text
    assert len(text) > 10_000
    assert sum(n for _, n in load(text, machine).values()) < 20 * len(text)


@pytest.mark.parametrize(
    "script",
    [
        "".join(f"BEGIN {{ @a{i} = count(); }}" for i in range(100)),
        "".join(f"BEGIN {{ p{i} = copyin({i}, 250); }}" for i in range(200)),
        "BEGIN { " + "".join(f"if (pid) {{ trace({i}); }}" for i in range(65)) + " }",
    ],
    ids=["aggregations", "pointers", "conditional actions"],
)  # fmt: skip
def test_too_large_is_an_error_of_the_script(script: str, machine: Machine) -> None:
    """Or loads, on a day when there is more room."""
    try:
        load(script, machine)
    except CompileError as error:
        assert error.tag == "D_UNKNOWN" and error.diagnostics[0].hint
