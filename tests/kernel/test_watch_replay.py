"""The summary on demand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.kernel

DSIGHT = [sys.executable, "-m", "dsight.ui.cli"]
CONNECTS = (
    "import socket, sys\nfor n in range(3):\n s = socket.socket(); s.connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGQUIT])
def test_a_signal_asks_for_the_summary(number: signal.Signals) -> None:
    """And the watch goes on: what comes later is in the next one."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and nothing listens
        port = str(held.getsockname()[1])
        command = [*DSIGHT, "--json", "--no-names", "--tcp", "--port", port]
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert watcher.stdout is not None and watcher.stderr is not None
        try:
            assert b"sums up" in watcher.stderr.readline()
            for wanted in (3, 6):
                subprocess.run([sys.executable, "-c", CONNECTS, port], check=True)
                time.sleep(0.3)  # the records are read
                os.kill(watcher.pid, number)
                said: dict = {"event": ""}
                while said["event"] != "summary":
                    said = json.loads(watcher.stdout.readline())
                (group,) = said["groups"]
                assert (said["attempts"], group["count"], group["outcome"]) == (wanted, wanted, "refused")
                assert group["diagnosis"]["code"] == "nothing-listens-here" and str(group["port"]) == port
            watcher.send_signal(signal.SIGINT)
            rest, err = watcher.communicate(timeout=30)
            assert (watcher.returncode, rest) == (0, b""), err
        finally:
            watcher.kill()
            watcher.communicate()
