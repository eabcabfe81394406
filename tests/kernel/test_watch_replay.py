"""The summary on demand; a recording, which says the same again without root."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

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
                for event in ("outcome", "outcome", "outcome", "summary"):
                    if event == "summary":
                        os.kill(watcher.pid, number)
                    said: dict = {"event": ""}
                    while said["event"] != event:
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


SEVERAL = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    while True:
        one = listener.accept()[0]; one.sendall(one.recv(9)); one.close()
threading.Thread(target=serve, daemon=True).start()
for n in range(3):
    s = socket.create_connection(listener.getsockname()); s.sendall(b"12345"); s.recv(9); s.recv(9); s.close()
socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1])))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(("127.0.0.1", int(sys.argv[1]))); u.send(b"x")
for path in ("/no/such/socket", "/dev/null", "\\0nobody"):
    socket.socket(socket.AF_UNIX).connect_ex(path)
try:
    socket.getaddrinfo("no-such-name.invalid", 80)
except OSError:
    pass
"""


def test_a_recording_says_the_same_again(tmp_path: pathlib.Path) -> None:
    """To somebody without any right, and to whom /proc of then says nothing."""
    with socket.socket() as held, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held_too:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        held_too.bind(("127.0.0.1", port))
        held_too.connect(("127.0.0.1", 9))  # takes from nobody else
        program = tmp_path / "several.py"
        program.write_text(SEVERAL)
        options = ["--json", "--summary", "--unix", "--names", "--accepted", "--closed", "--expect", f"*:{port}"]
        live = subprocess.run(
            [*DSIGHT, *options, "--record", str(tmp_path / "r"), "-c", f"{sys.executable} {program} {port}"],
            capture_output=True, timeout=60,
        )  # fmt: skip
    recording = (tmp_path / "r").read_bytes()
    again = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", *DSIGHT, "replay", "--json", "--summary", "-"],
        input=recording, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (3, b"")  # what was expected did not happen
    assert again.stdout == live.stdout
    events = [json.loads(line) for line in live.stdout.splitlines()]
    assert {"attempt", "outcome", "accepted", "closed", "lookup", "summary", "expectation"} <= {
        e["event"] for e in events
    }
    assert {e.get("protocol") for e in events} >= {"tcp", "udp", "unix"}
    text = subprocess.run(
        [*DSIGHT, "replay", "--failed", "--port", str(port), str(tmp_path / "r")],
        capture_output=True,
        timeout=60,
        text=True,
    )
    rows = [line.split() for line in text.stdout.splitlines() if line[2:3] == ":"]
    assert text.returncode == 3 and rows and all(f":{port}" in " ".join(row) and "refused" in row for row in rows)
