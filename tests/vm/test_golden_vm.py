"""The golden cases on Debian's 6.1 kernel: the same scripts, the same output, in one boot.

All that run: 2-4 seconds a case under emulation, two at a time.
"""

from __future__ import annotations

import os
import shlex
import sys

import pytest

from dsight.testing import golden

pytestmark = pytest.mark.vm

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(os.path.dirname(HERE), "golden")
WORKERS = 2  # as many as the guest has CPUs
SECONDS = 600  # a bound for a machine that has other work

# What cannot be the same there, and why.
DIFFERENT: dict[str, str] = {"builtins-of-dtrace-itself": "commands run below a chroot(2) there, which root shows"}


def cases() -> list[str]:
    """Those that run; messages of the compiler do not depend on the kernel."""
    every = [(path, golden.load(path)) for path in golden.find(CASES)]
    return [path for path, case in every if case.section("run") and not name_of(path).startswith("error")]


def name_of(path: str) -> str:
    return os.path.basename(path).removesuffix(".golden")


def test_golden_cases_give_the_same_on_another_kernel(vm):
    paths = cases()
    workers = [
        f"{shlex.join([sys.executable, f'{HERE}/golden_guest.py', *paths[n::WORKERS]])} >{vm.folder}/golden.{n} 2>&1"
        for n in range(WORKERS)
    ]
    try:
        vm.run(" & ".join(workers) + " & wait", SECONDS)
    finally:  # when time is over too: what was found so far
        printed = "".join((vm.folder / f"golden.{n}").read_text() for n in range(WORKERS))
        print(printed)
    found = results(printed)
    assert set(found) == set(paths), printed
    unexpected = {name_of(p): text for p, text in found.items() if bool(text) != (name_of(p) in DIFFERENT)}
    assert not unexpected, "\n".join(f"{name}:\n{text or 'is the same now'}" for name, text in unexpected.items())


def results(printed: str) -> dict[str, str]:
    """Path -> difference, of what golden_guest.py printed."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in printed.splitlines():
        if line.startswith("=== "):
            lines = found[line.split()[1]] = []
        else:
            lines.append(line)
    return {path: "\n".join(lines) for path, lines in found.items()}
