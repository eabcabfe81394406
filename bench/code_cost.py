#!/usr/bin/env python3
"""The programs dsight loads beside those clang -O2 makes of the same in C (conn.bpf.c).

    code_cost.py [--calls N] [--rounds N] [--json FILE]

For each pair: instructions (as the verifier left them), helper calls, bytes of machine code, and what
a run takes in the kernel's own count (bpf_stats_enabled(7): the mean, helpers included), the least of
some rounds, under the same load: connect() of a UDP socket by bench/load.c.  C's reader polls each
10 ms and is never woken; ours is woken once it has caught up.  Ours do what C's do not:
they look whether the script is running, number their records and say on which CPU they were made.

Then what getppid(2), which only the last script asks about, takes more while each of these runs.
Needs root, gcc, clang, libbpf-dev and bpftool.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import TextIO

from bench import DTRACE, HERE, OURS_AGG, OURS_PRINT, compile_all, lacking, with_tracefs

STATS = "/proc/sys/kernel/bpf_stats_enabled"
CONNECT = os.path.join(os.path.dirname(HERE), "examples", "connect.d")
PAIRS = {
    "name and pid": (["-qn", OURS_PRINT], "print"),
    "address and port": (["-qs", CONNECT], "print_ip"),
    "count by name": (["-qn", OURS_AGG], "agg"),
}
WIDE = {
    "connect alone": OURS_PRINT,
    "its tcp probes": "tcp:::connect-* { @[probename] = count(); }",
    "sock*, connect, accept*": "syscall::sock*:entry, syscall::connect:entry, syscall::accept*:entry { @ = count(); }",
    "every call but this one": 'syscall:::entry /probefunc != "getppid"/ { @[probefunc] = count(); }',
    "every call": "syscall:::entry { @[probefunc] = count(); }",
}
CALL = re.compile(r"\bcall bpf_\w+")


def programs(pid: int) -> list[int]:
    """The ids of the programs a process holds (proc(5): fdinfo)."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # a descriptor closed meanwhile
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with open(f"/proc/{pid}/fdinfo/{fd}") as f:
                found += [int(line.split()[1]) for line in f if line.startswith("prog_id:")]
    return found


def bpftool(*args: str) -> str:
    return subprocess.run(["bpftool", *args], capture_output=True, text=True, check=True).stdout


def write(file: TextIO, text: str) -> None:
    file.seek(0)  # elsewhere a write means nothing (sysctl_writes_strict)
    file.write(text)
    file.flush()


def armed(command: list[str]) -> subprocess.Popen[bytes]:
    """A tracer that has loaded its programs."""
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not programs(tracer.pid):
        if time.monotonic() > deadline or tracer.poll() is not None:
            tracer.kill()
            raise SystemExit(f"{command[0]} did not start")
        time.sleep(0.05)
    time.sleep(0.3)  # libbpf tries out programs of its own first
    return tracer


def end(tracer: subprocess.Popen[bytes]) -> None:
    tracer.send_signal(signal.SIGINT)
    tracer.wait(10)


def getppid(folder: str) -> float:
    """Nanoseconds of a getppid(2), the least of some runs."""
    command = [f"{folder}/cxload", "getppid", "-n", "1000000"]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    return min(float(text.partition("ns_per_op=")[2].split()[0]) for text in said)


def added(folder: str, script: str) -> float:
    before = getppid(folder)
    tracer = armed([DTRACE, "-qn", script])
    try:
        return getppid(folder) - before
    finally:
        end(tracer)


def measure(command: list[str], load: list[str]) -> dict[str, float]:
    """The one program of a tracer, after a load of connects."""
    tracer = armed(command)
    try:
        program_id = str(programs(tracer.pid)[-1])
        subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
        program = json.loads(bpftool("-j", "prog", "show", "id", program_id))
        code = bpftool("prog", "dump", "xlated", "id", program_id)
    finally:
        end(tracer)
    return {
        "instructions": program["bytes_xlated"] / 8,
        "calls": len(CALL.findall(code)),
        "bytes": program["bytes_jited"],
        "ns": program["run_time_ns"] / program["run_cnt"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    if why := lacking():
        raise SystemExit(why)
    with_tracefs()
    results: dict[str, dict[str, dict[str, float]]] = {}
    with open(STATS, "r+") as stats, tempfile.TemporaryDirectory() as folder:
        before = stats.read()
        compile_all(folder)
        load = [f"{folder}/cxload", "udp", "-n", str(args.calls)]
        try:
            write(stats, "1")
            for name, (ours, theirs) in PAIRS.items():
                sides = {
                    "dsight": [DTRACE, *ours],
                    "C": [f"{folder}/conn", f"{folder}/conn.bpf.o", theirs, "10"],
                }
                rounds = {side: [measure(command, load) for _ in range(args.rounds)] for side, command in sides.items()}
                results[name] = {side: min(found, key=lambda f: f["ns"]) for side, found in rounds.items()}
        finally:
            write(stats, before)
        more = {name: min(added(folder, script) for _ in range(args.rounds)) for name, script in WIDE.items()}
    print(f"{'':18}{'':8}{'instructions':>14}{'helper calls':>14}{'bytes':>8}{'ns a run':>10}{'ratio':>8}")
    for name, by_side in results.items():
        for side, r in by_side.items():
            ratio = f"{r['ns'] / by_side['C']['ns']:8.2f}" if side != "C" else ""
            print(f"{name:18}{side:8}{r['instructions']:14.0f}{r['calls']:14}{r['bytes']:8}{r['ns']:10.0f}{ratio}")
    print("\nns that getppid() takes more")
    for name, ns in more.items():
        print(f"{name:26}{ns:8.1f}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"programs": results, "getppid": more}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
