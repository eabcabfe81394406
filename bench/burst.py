"""How the watcher bears a burst: connections from many processes over loopback, each accounted for.

    python bench/burst.py [accepted] [CONNECTIONS [PROCESSES [RATE [OPTION OF DSIGHT ..]]]]   (root; 100000, 50 and 0)

The connections are refused, or with `accepted` taken, and closed by who takes them.  RATE: connections a second of
all processes together, 0 as fast as they can.  Prints how long the burst took, how long the watcher needed, what it
reported, what was lost; exit status 1 if an attempt told has not exactly one outcome, or one is neither told nor
counted as lost.
"""

from __future__ import annotations

import collections
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

NAME = "x-burst"
SERVERS = 8  # ports, since one has only so many local ports to connect it with


def process(ports: list[int], connections: int, rate: float = 0) -> None:
    """A child: connections to ports of 127.0.0.1, one after another, so many a second."""
    with open("/proc/self/comm", "w") as file:
        file.write(NAME)
    began = time.monotonic()
    for n in range(connections):
        if rate and n % 32 == 0:
            time.sleep(max(began + n / rate - time.monotonic(), 0))
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", ports[n % len(ports)])) == 0:
                s.recv(1)


def server(sockets: list[socket.socket]) -> None:
    """A child: takes connections, and closes them."""
    poll = select.epoll()
    for s in sockets:
        poll.register(s, select.EPOLLIN)
    by_number = {s.fileno(): s for s in sockets}
    while True:
        for number, _ in poll.poll():
            by_number[number].accept()[0].close()


def burst(accepted: bool, connections: int, processes: int, rate: int, *options: str) -> dict[str, float]:
    """One burst under `dsight --json`; figures in seconds and counts."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sockets = [socket.socket() for _ in range(SERVERS if accepted else 1)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
            if accepted:
                s.listen(4096)
        ports = [s.getsockname()[1] for s in sockets]
        serving = os.fork() if accepted else 0
        if accepted and not serving:
            server(sockets)
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
                    process(ports, connections // processes, rate / processes)
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
            if serving:
                os.kill(serving, signal.SIGKILL)
                os.waitpid(serving, 0)
            for s in sockets:
                s.close()
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
    words = sys.argv[1:]
    accepted = words[:1] == ["accepted"]
    words = words[accepted:]
    connections, processes, rate = (int(n) for n in (words[:3] + ["100000", "50", "0"][len(words[:3]) :]))
    found = burst(accepted, connections, processes, rate, *words[3:])
    for name, value in found.items():
        print(f"{name:<16}{value:>10}")
    whole = found["attempts"] + found["attempts lost"] == found["made"]
    return 0 if whole and found["attempts"] == found["outcomes"] and not found["twice"] else 1


if __name__ == "__main__":
    sys.exit(main())
