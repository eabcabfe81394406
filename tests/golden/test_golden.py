"""Each *.golden file beside this one is a test; dsight.testing.golden says what they look like."""

from __future__ import annotations

import os

import pytest

from dsight.testing import golden

HERE = os.path.dirname(os.path.abspath(__file__))
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
