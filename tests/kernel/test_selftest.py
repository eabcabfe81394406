"""`dsight selftest` on this kernel: all that can be made is told rightly, and nothing stays."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dsight.testing.selftest import CASES

pytestmark = pytest.mark.kernel


def namespaces() -> set[str]:
    """Of network, as processes have them."""
    done = subprocess.run(["lsns", "-t", "net", "-no", "NS,COMMAND"], stdout=subprocess.PIPE, text=True, check=True)
    return {line for line in done.stdout.splitlines() if "_lab.py" in line}


def test_every_case_is_told_rightly() -> None:
    line = [sys.executable, "-m", "dsight.ui.cli", "selftest", "--json"]
    before = namespaces()
    done = subprocess.run(line, capture_output=True, timeout=60)
    said = json.loads(done.stdout)
    assert [case for case in said["cases"] if case["result"] == "failed"] == []
    assert done.returncode == 0 and said["passed"] and said["lost"] == 0
    assert {case["case"] for case in said["cases"]} == {case.name for case in CASES}
    assert next(m for m in said["means"] if m["name"] == "btf")["there"]
    assert namespaces() <= before


def test_without_privileges_it_is_one_message() -> None:
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*powerless, sys.executable, "-m", "dsight.ui.cli", "selftest"], capture_output=True)
    assert done.returncode == 1 and b"root" in done.stderr and b"Traceback" not in done.stderr
