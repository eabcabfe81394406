"""A burst from many processes: each attempt has one outcome, or what was lost is counted."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

BURST = pathlib.Path(__file__).parents[2] / "bench" / "burst.py"


def burst(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, str(BURST), *arguments], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line[:16].rstrip(): float(line[16:]) for line in done.stdout.splitlines()}


@pytest.mark.parametrize("kind", [[], ["accepted"]])
def test_burst(kind: list[str]) -> None:
    found = burst(*kind, "5000", "20")
    assert (found["attempts"], found["attempts lost"]) == (5000, 0) or found["records lost"]


def test_more_than_can_be_read() -> None:
    """A ring buffer of 16 KiB holds some sixty attempts."""
    found = burst("4000", "20", "0", "--buffer", "16k")
    assert found["attempts lost"] > 0 and found["attempts"] + found["attempts lost"] == 4000
    assert found["records lost"] >= found["attempts lost"]
