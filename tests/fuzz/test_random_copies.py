"""Random D programs with copyin() (random_copies) leave on the kernel what they leave in the IR interpreter, and there
without the passes that leave out what nobody reads.

DSIGHT_FUZZ and DSIGHT_FUZZ_SEED as in test_random_d.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from dsight.ir import narrow, unread, widen
from dsight.kernel import sys as ksys
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source
from dsight.testing.differential import compare, interpret, this_process

sys.path.insert(0, str(Path(__file__).parent))
from random_copies import READABLE, random_copies

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0 or not ksys.privileged(), reason="needs root"),
]

COUNT = int(os.environ.get("DSIGHT_FUZZ", "150"))
START = int(os.environ.get("DSIGHT_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def readable() -> Iterator[int]:
    """The address of memory behind which nothing can be read."""
    pages = -(-READABLE // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    rng = Random(1)
    memory[:pages] = bytes([rng.choice(b"\0ab\xffz\1") for _ in range(pages)])
    held = ctypes.c_char.from_buffer(memory)
    libc, guard = ctypes.CDLL(None), ctypes.c_void_p(ctypes.addressof(held) + pages)
    assert libc.mprotect(guard, mmap.PAGESIZE, 0) == 0  # PROT_NONE
    yield ctypes.addressof(held) + pages - READABLE
    del held
    memory.close()


def test_random_copies(readable: int) -> None:
    memory = ((readable, ctypes.string_at(readable, READABLE)),)
    machine = Machine()
    for seed in range(START, START + COUNT):
        text = random_copies(Random(seed), readable)
        try:
            left = compare(text, on=machine, memory=memory)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(unread, "drop_unread", lambda function, read: function)
                patch.setattr(widen, "widen", lambda function: function)
                patch.setattr(narrow, "narrow", lambda function: function)
                plain, _ = machine.compile([Source("script", text)], Macros.of_process())
            assert interpret(plain, this_process(memory)) == left
        except Exception as error:
            error.add_note(f"seed {seed}:\n{text}")
            raise
    machine.close()
