"""The watcher on another kernel: its program loads there, and tells an outcome, an accept, an end and a lookup."""

from __future__ import annotations

import json
import sys
from pathlib import Path

CLIENT = """
import socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    made = socket.create_connection(listener.getsockname())
    other = listener.accept()[0]
    made.sendall(b"abc")
    other.recv(3)
    made.close()
    other.close()
socket.socket().connect_ex(("127.0.0.1", 1))
socket.getaddrinfo("localhost", 1)
"""


def test_it_watches(vm):
    vm.run("ip link set lo up")
    source = Path(__file__).resolve().parents[2] / "src"
    answer = vm.run(
        f"cat >/run/tmp/client.py <<'EOF'\n{CLIENT}\nEOF\n"
        f"PYTHONPATH={source} {sys.executable} -m dsight.ui.cli --tcp --accepted --closed --json"
        f" -c '{sys.executable} /run/tmp/client.py'"
    )
    assert answer.returncode == 0, answer.stderr
    reports = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [r["outcome"] for r in reports if r["event"] == "outcome"] == ["connected", "refused"]
    closed = {
        r["via"]: (r["closed_by"], r["bytes_sent"], r["bytes_received"]) for r in reports if r["event"] == "closed"
    }
    assert closed == {"connect": ("us", 3, 0), "accept": ("peer", 0, 3)}
    assert [r["event"] for r in reports].count("accepted") == 1
    (found,) = [r for r in reports if r["event"] == "lookup"]
    assert (found["name"], found["source"], found["error"]) == ("localhost", "hosts", None)
    assert "127.0.0.1" in found["answers"]
    assert "that takes Linux 6.3" in answer.stderr, "of DNS on the wire"
