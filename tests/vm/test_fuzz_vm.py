"""Random D programs (tests/fuzz) on Debian's 6.1 kernel: each is refused with a tag, or loads and agrees."""

from __future__ import annotations

import os
import shlex
import sys

import pytest

pytestmark = pytest.mark.vm

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COUNT = 25  # programs; under emulation each takes some two seconds
SECONDS = 600  # a bound for a machine that has other work


def test_random_programs_on_another_kernel(vm):
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{REPO}/tests/fuzz/test_random_d.py"]
    chosen = ["-k", "test_random_programs or branchy or more_values"]
    ran = vm.run(f"DSIGHT_FUZZ={COUNT} {shlex.join(tests + chosen)}", SECONDS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout and "skipped" not in ran.stdout, ran.stdout
