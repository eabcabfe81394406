#!/usr/bin/env python3
"""Does it grow?  An hour of 1,000 events a second, made faster: resident memory along the way.

    soak.py [--events N] [--rate N] [--only lines,counts,watcher] [--json FILE]

lines      `dtrace` printing a line for each connect()
counts     `dtrace` counting them by process name
watcher    `dsight --json --no-names` on attempts that are refused, a third of so many

Each is sampled ten times while bench/load.c makes connections on loopback (3,600,000 at 30,000/s).
`growth` is the last sample less the third: by then all buffers and caches have been touched.
Needs root, gcc, clang and libbpf-dev.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

from bench import DTRACE, OURS_AGG, OURS_PRINT, compile_all, lacking
from code_cost import armed, end

DSIGHT = os.path.join(os.path.dirname(DTRACE), "dsight")
SAMPLES = 10
TRACERS = {
    "lines": ([DTRACE, "-qn", OURS_PRINT], "udp", 1.0),
    "counts": ([DTRACE, "-qn", OURS_AGG], "udp", 1.0),
    "watcher": ([DSIGHT, "--json", "--no-names", "--comm", "cxload"], "refuse", 1 / 3),
}


def resident(pid: int) -> float:
    """MB (proc(5): VmRSS)."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


def soak(command: list[str], load: str, kind: str, events: int, rate: int) -> list[float]:
    tracer = armed(command)
    try:
        samples = [resident(tracer.pid)]
        for _ in range(SAMPLES):
            made = [load, kind, "-n", str(events // SAMPLES), "-r", str(rate)]
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
            samples.append(resident(tracer.pid))
        return samples
    finally:
        end(tracer)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=3_600_000)
    parser.add_argument("--rate", type=int, default=30_000)
    parser.add_argument("--only", default=",".join(TRACERS))
    parser.add_argument("--json")
    args = parser.parse_args()
    if why := lacking():
        raise SystemExit(why)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        compile_all(folder)
        for name in args.only.split(","):
            command, kind, share = TRACERS[name]
            events, rate = int(args.events * share), int(args.rate * share)
            samples = found[name] = soak(command, f"{folder}/cxload", kind, events, rate)
            print(f"{name:10}{events:10,} events; MB:", " ".join(f"{mb:.1f}" for mb in samples), end="")
            print(f"; growth {samples[-1] - samples[3]:.1f}", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(found, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
