"""-x statusrate: how soon is told what was lost, where no record wakes dtrace."""

from __future__ import annotations

import select

import pytest
from dtrace_run import Running

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("clean")]

# A loss that leaves no record: elements that find no room.
SCRIPT = f"""
tick-10ms {{ {"n++; kept[n] = n; " * 20} }}
tick-900ms {{ printf("later\\n"); }}
"""


def first_said(rate: str) -> tuple[bool, str]:
    """Whether a loss was told before the script printed its line; and all that was told at the end."""
    with Running("-q", "-x", f"statusrate={rate}", "-x", "dynvarsize=4k", "-n", SCRIPT) as traced:
        out, err = traced.process.stdout, traced.process.stderr
        assert out is not None and err is not None
        ready, _, _ = select.select([out, err], [], [], 60)
        early = err in ready and out not in ready
        told = err.read1(4096) if early else b""  # type: ignore[attr-defined]
        if not early:
            traced.wait_for("later")
        done, _ = traced.signal()
        return early, told.decode() + done.err


def test_a_loss_is_told_at_the_next_look() -> None:
    early, told = first_said("20ms")
    assert early and "dynamic variable drop" in told


def test_at_the_latest_when_it_ends() -> None:
    early, told = first_said("1h")
    assert not early and "dynamic variable drop" in told
