"""How the watcher bears a burst: connections from many processes over loopback, each accounted for.

    python bench/burst.py [CONNECTIONS [PROCESSES [RATE [OPTION OF DSIGHT ..]]]]   (root; 100000, 50 and 0)

RATE: connections a second of all processes together, 0 as fast as they can.  Prints how long the burst took, how long the watcher needed, what it reported, what was lost; exit
status 1 if an attempt told has not exactly one outcome, or one is neither told nor counted as lost.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

NAME = "x-burst"


def process(port: int, connections: int, rate: float = 0) -> None:
    """A child: connections to a closed port of 127.0.0.1, one after another, so many a second."""
    with open("/proc/self/comm", "w") as file:
        file.write(NAME)
    began = time.monotonic()
    for n in range(connections):
        if rate and n % 32 == 0:
            time.sleep(max(began + n / rate - time.monotonic(), 0))
        with socket.socket() as s:
            s.connect_ex(("127.0.0.1", port))


def burst(connections: int, processes: int, rate: int, *options: str) -> dict[str, float]:
    """One burst under `dsight --json`; figures in seconds and counts."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        line = [sys.executable, "-m", "dsight.ui.cli", "--json", "--comm", NAME, "--no-names", "--no-summary", *options]
        watcher = subprocess.Popen(line, stdout=out, stderr=err)
        try:
            while b"watching" not in os.pread(err.fileno(), 4096, 0):
                if watcher.poll() is not None:
                    sys.exit(os.pread(err.fileno(), 4096, 0).decode())
                time.sleep(0.05)
            began = time.monotonic()
            children = []
            for _ in range(processes):
                pid = os.fork()
                if not pid:
                    process(closed.getsockname()[1], connections // processes, rate / processes)
                    os._exit(0)
                children.append(pid)
            for pid in children:
                os.waitpid(pid, 0)
            took = time.monotonic() - began
            watcher.send_signal(signal.SIGINT)
            _, watcher.returncode, usage = os.wait4(watcher.pid, 0)
            whole = time.monotonic() - began
        finally:
            if watcher.returncode is None:
                watcher.kill()
                watcher.wait()
        out.seek(0)
        outcomes: collections.Counter[str] = collections.Counter()
        attempts, lost, attempts_lost, unknown = set(), 0, 0, 0
        for text in out:
            report = json.loads(text)
            if report["event"] == "lost" and "seen" in report:
                attempts_lost = report["count"]
            elif report["event"] == "lost":
                lost += report["count"]
            elif report["event"] == "attempt":
                attempts.add(report["id"])
            elif report["event"] == "outcome":
                outcomes[report["id"]] += 1
                unknown += report["outcome"] == "unknown"
        return {
            "made": connections // processes * processes,
            "attempts": len(attempts),
            "outcomes": len(outcomes),
            "twice": sum(n > 1 for n in outcomes.values()),
            "of them unknown": unknown,
            "attempts lost": attempts_lost,
            "records lost": lost,
            "burst s": round(took, 2),
            "until told s": round(whole, 2),
            "watcher CPU s": round(usage.ru_utime + usage.ru_stime, 2),
            "watcher RSS MB": round(usage.ru_maxrss / 1024),
        }


def main() -> int:
    connections, processes, rate = (int(n) for n in (sys.argv[1:4] + ["100000", "50", "0"][len(sys.argv[1:4]) :]))
    found = burst(connections, processes, rate, *sys.argv[4:])
    for name, value in found.items():
        print(f"{name:<16}{value:>10}")
    whole = found["attempts"] + found["attempts lost"] == found["made"]
    return 0 if whole and found["attempts"] == found["outcomes"] and not found["twice"] else 1


if __name__ == "__main__":
    sys.exit(main())
