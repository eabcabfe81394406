"""A burst from many processes: each attempt has one outcome, or what was lost is counted."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

BURST = pathlib.Path(__file__).parents[2] / "bench" / "burst.py"


def test_burst() -> None:
    done = subprocess.run([sys.executable, str(BURST), "4000", "20"], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
