"""What this machine's kernel refuses under lockdown, on one that does not: copyoutstr; and a speculation there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm

REPO = Path(__file__).resolve().parents[2]
CHILD = """\
import ctypes
buffer = ctypes.create_string_buffer(b"-" * 9, 10)
ctypes.CDLL(None).rmdir(ctypes.c_void_p(ctypes.addressof(buffer)))
print(buffer.raw)
"""
SCRIPT = """
syscall::rmdir:entry /pid == $target/ { copyoutstr("hello", arg0); s = speculation(); }
syscall::rmdir:return /pid == $target/ { speculate(s); printf("speculated %d, ", errno); }
syscall::rmdir:return /pid == $target/ { commit(s); }
"""


def test_copyoutstr_writes_to_the_process_and_speculations_work(vm):
    vm.run(f"cat > $TMPDIR/child.py <<'E'\n{CHILD}E\n")
    answer = vm.run(
        f"PYTHONPATH={REPO}/src {sys.executable} -m dsight.ui.dtrace_cli -qwn {shlex.quote(SCRIPT)} "
        f'-c "{sys.executable} $TMPDIR/child.py"',
        timeout=180,
    )
    assert answer.returncode == 0, answer.stderr
    assert "b'hello\\x00---\\x00'" in answer.stdout
    assert "speculated " in answer.stdout
