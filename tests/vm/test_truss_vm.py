"""dsight truss on Linux 6.1: another BTF, an older verifier."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.vm

CODE = """
import os, socket
socket.socket().connect_ex(("127.0.0.1", 1))
os.kill(os.getpid(), 15)
"""


def test_calls_are_decoded(vm):
    vm.run("ip link set lo up")
    (vm.folder / "calls.py").write_text(CODE)
    traced = f"{sys.executable} -IS {vm.folder}/calls.py"
    done = vm.run(f"{sys.executable} -m dsight.ui.cli truss -e connect -o /dev/stdout {traced}", timeout=240)
    assert done.returncode == 128 + 15 and not done.stderr, done
    call, signal, end = done.stdout.splitlines()
    assert call.startswith("connect(") and "<TCP:[" in call and call.endswith("= -1 ECONNREFUSED (Connection refused)")
    assert 'sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16)' in call
    assert signal.startswith("--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER") and end == "+++ killed by SIGTERM +++"
