"""What watching costs: memory and CPU of `dsight` and of others, idle and at 1,000 connections a second.

    python bench/watchers.py [SECONDS [RATE]]          (root; 8 and 1000; bpftrace and bcc where they are installed)

Each is armed, left alone for SECONDS, then given RATE refused connections a second over loopback by four processes
for as long.  CPU is that of the tool's own process, in per cent of one; memory is what is resident (VmRSS) at the
end, RssAnon what of that nobody else can share.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import burst

# bpftrace needs tracefs, which may not be mounted: it is, in a mount namespace of its own.
MOUNTED = ["unshare", "-m", "sh", "-c", 'mount -t debugfs debugfs /sys/kernel/debug; exec "$@"', "sh"]
PROGRAM = 'tracepoint:sock:inet_sock_set_state /args->newstate == 2/ { printf("%s %d\\n", comm, pid); }'
TOOLS = {
    "dsight": [sys.executable, "-m", "dsight.ui.cli"],
    "dsight --json": [sys.executable, "-m", "dsight.ui.cli", "--json"],
    "dsight --json --no-names": [sys.executable, "-m", "dsight.ui.cli", "--json", "--no-names"],
    "bcc tcpconnect": ["tcpconnect-bpfcc"],
    "bcc tcptracer": ["tcptracer-bpfcc"],
    "bpftrace, a line a connect": [*MOUNTED, "bpftrace", "-e", PROGRAM],
}


def seconds(pid: int) -> float:
    """CPU time used: proc(5), fields 14 and 15 of stat."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> tuple[float, float]:
    """MB: all, and anonymous."""
    found = {}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                found[name] = int(value.split()[0]) / 1024
    return found["VmRSS"], found["RssAnon"]


def load(port: int, span: float, rate: int, processes: int = 4) -> None:
    children = []
    for _ in range(processes):
        pid = os.fork()
        if not pid:
            burst.process([port], int(rate * span) // processes, rate / processes)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


def measure(line: list[str], port: int, span: float, rate: int) -> str:
    with tempfile.TemporaryFile() as out:
        tool = subprocess.Popen(line, stdout=out, stderr=subprocess.DEVNULL)
        try:
            time.sleep(4)  # to be armed
            if tool.poll() is not None:
                return "  does not run here"
            marks = [(time.monotonic(), seconds(tool.pid))]
            time.sleep(span)
            marks.append((time.monotonic(), seconds(tool.pid)))
            idle = resident(tool.pid)
            load(port, span, rate)
            time.sleep(0.5)
            marks.append((time.monotonic(), seconds(tool.pid)))
            busy = resident(tool.pid)
        finally:
            tool.send_signal(signal.SIGINT)
            tool.wait()
        cpu = [100 * (b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(marks)]
        lines = os.fstat(out.fileno()).st_size // 1000
        return (
            f"{idle[0]:6.0f} {idle[1]:6.0f} {cpu[0]:7.1f} % {busy[0]:6.0f} {busy[1]:6.0f} {cpu[1]:7.1f} % {lines:8} kB"
        )


def main() -> int:
    span = float(sys.argv[1]) if len(sys.argv) > 1 else 8
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    print(f"{'':<28}  idle: RSS  anon   CPU    at {rate}/s: RSS  anon   CPU   written")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name, line in TOOLS.items():
            if shutil.which(line[0]):
                print(f"{name:<28}{measure(line, closed.getsockname()[1], span, rate)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
