"""Each *.golden file beside this one is a test; dsight.testing.golden says what they look like."""

from __future__ import annotations

import contextlib
import os

import interpreted
import pytest

from dsight.errors import CompileError
from dsight.machine import Machine
from dsight.testing import golden

HERE = os.path.dirname(os.path.abspath(__file__))
ON_THE_INTERPRETER = 77  # so many cases at least
NEEDS = {
    "root": lambda: os.geteuid() == 0,
    "kprobes": lambda: os.path.exists("/sys/bus/event_source/devices/kprobe"),
    "uprobes": lambda: os.path.exists("/sys/bus/event_source/devices/uprobe"),
}


def parameter(path: str):
    case = golden.load(path)
    marks = [pytest.mark.kernel] if case.section("run") else []
    return pytest.param(case, id=os.path.relpath(path, HERE).removesuffix(".golden"), marks=marks)


@pytest.mark.parametrize("case", [parameter(path) for path in golden.find(HERE)])
def test_golden(case):
    for need in (*case.needs, *(["root"] if case.section("run") else [])):
        if not NEEDS[need]():
            pytest.skip(f"needs {need}")
    difference = golden.check(case)
    assert not difference, difference + "\n(make golden writes what came out into the files)"


# ---- the same on the interpreter

CASES = [golden.load(path) for path in golden.find(HERE)]


@pytest.fixture(scope="module")
def here():
    with contextlib.closing(Machine()) as machine:
        yield machine


@pytest.mark.kernel
@pytest.mark.parametrize(
    "case", [pytest.param(c, id=os.path.basename(c.path)) for c in CASES if c.interpreter.startswith("yes")]
)
def test_on_the_interpreter(case, here):
    out, err, status = interpreted.run(case, here)
    wanted = {name: case.section(name) for name in ("run", "err", "status")}
    assert out == wanted["run"].text or out.rstrip("\n") == wanted["run"].text.rstrip("\n")
    if wanted["err"]:
        assert err == wanted["err"].text
    assert status == (int(wanted["status"].text) if wanted["status"] else 0)


@pytest.mark.kernel
def test_every_case_that_needs_no_probe_is_on_the_interpreter(here):
    without = []
    for case in CASES:
        if case.section("run"):
            try:
                compiled, _ = interpreted.compile_case(case, here)
            except CompileError:
                continue
            if {p.provider for p in compiled.probes.values()} == {"dtrace"}:
                without.append(case)
    assert [c.path for c in without if not c.interpreter] == []
    assert len([c for c in without if c.interpreter == "yes"]) >= ON_THE_INTERPRETER
