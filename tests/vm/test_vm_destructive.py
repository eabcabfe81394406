"""What this machine's kernel refuses under lockdown, on one that does not: copyoutstr; and a speculation on
another kernel.  The rest would take minutes under emulation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm

REPO = Path(__file__).resolve().parents[2]


def test_copyoutstr_writes_there_and_speculations_work(vm):
    tests = "tests/kernel/test_destructive.py tests/kernel/test_speculations.py -k 'copyoutstr or in_order'"
    answer = vm.run(
        f"cd {REPO} && PYTHONPATH={REPO}/src {sys.executable} -m pytest -q -p no:cacheprovider {tests}", timeout=200
    )
    assert answer.returncode == 0, answer.stdout[-3000:]
    assert "passed" in answer.stdout
    probe = "import sys; sys.path.insert(0, 'tests/kernel'); import test_destructive as t; print(t.may_write())"
    answer = vm.run(f'cd {REPO} && PYTHONPATH={REPO}/src {sys.executable} -c "{probe}"')
    assert answer.stdout.strip() == "True", answer.stderr
