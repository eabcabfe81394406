"""Kernel tests: root, a real kernel, and nothing left behind.

`clean` (for every test here) compares before and after: this process's descriptors, the BPF
programs, maps and links it holds (by the ids in their fdinfo, so that other tracers on the
machine do not matter), its maps in memory, and the mounts of file systems we use.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsight.kernel import sys as ksys

sys.path.insert(0, str(Path(__file__).parent))  # for kernel_asm and kernel_held

# A shell without job control starts what it puts into the background with SIGINT ignored, which commands inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if os.geteuid() == 0 and ksys.privileged():
        return
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Fails the test that leaves anything open."""
    from kernel_held import holdings

    gc.collect()
    before = holdings()
    yield
    gc.collect()  # a mapping goes with its last view
    after = holdings()
    for what in before:
        assert after[what] == before[what], f"{what} left behind"
