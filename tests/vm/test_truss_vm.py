"""dsight truss on Linux 6.1: another BTF, an older verifier."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.vm

CODE = """
import os, socket
r, w = os.pipe()
os.writev(w, [b"hello", b"world"])
os.read(r, 10)
socket.socket().connect_ex(("127.0.0.1", 1))
os.kill(os.getpid(), 15)
"""


def test_calls_are_decoded(vm):
    vm.run("ip link set lo up")
    (vm.folder / "calls.py").write_text(CODE)
    traced = f"{sys.executable} -IS {vm.folder}/calls.py"
    done = vm.run(
        f"{sys.executable} -m dsight.ui.cli truss -e execve,writev,read,connect -o /dev/stdout {traced}", timeout=240
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 128 + 15 and not done.stderr, done
    assert lines[0].startswith("execve(") and lines[-1] == "+++ killed by SIGTERM +++"
    assert any('[{iov_base="hello", iov_len=5}, {iov_base="world", iov_len=5}], 2) = 10' in line for line in lines)
    assert any("read" in line and line.endswith('"helloworld", 10) = 10') for line in lines), lines
    assert any("sin_port=htons(1)" in line and "= -1 ECONNREFUSED" in line for line in lines)
    assert lines[-2].startswith("--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER")
