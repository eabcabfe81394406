#!/usr/bin/env python3
"""The programs dsight loads beside those clang -O2 makes of the same in C (conn.bpf.c, request.bpf.c).

    code_cost.py [--calls N] [--rounds N] [--json FILE]

For each pair, under the same load (connect() of a UDP socket by bench/load.c; for "SYN sent" one of TCP, refused):
instructions loaded (as the verifier left them) and bytes of machine code; then, of one connect(), what is executed:
instructions and helper calls of the bytecode (executed.py), and ns by the kernel's own count (cost.py).  A reader of
C's records looks each 10 ms and is never woken; ours is woken once it has caught up.  Ours do what C's do not: they
look whether the script is running, number their records and say on which CPU they were made.

Then what getppid(2), which only the last script asks about, takes more while each of these runs.
Needs root, gcc, clang, libbpf-dev and bpftool.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import bpf_object
from bench import DTRACE, HERE, OURS_AGG, OURS_PRINT, compile_all, lacking, with_tracefs
from cost import Cost, of_object, of_script, plain
from dsight.machine import Machine

EXAMPLES = os.path.join(os.path.dirname(HERE), "examples")
PAIRS = {  # ours, C's program, the load
    "name and pid": (OURS_PRINT, "print", "udp"),
    "address and port": ("connect.d", "print_ip", "udp"),
    "count by name": (OURS_AGG, "agg", "udp"),
    "SYN sent": ("tcp-connect.d", "request", "refuse"),
}
WIDE = {
    "connect alone": OURS_PRINT,
    "its tcp probes": "tcp:::connect-* { @[probename] = count(); }",
    "sock*, connect, accept*": "syscall::sock*:entry, syscall::connect:entry, syscall::accept*:entry { @ = count(); }",
    "every call but this one": 'syscall:::entry /probefunc != "getppid"/ { @[probefunc] = count(); }',
    "every call": "syscall:::entry { @[probefunc] = count(); }",
}


def _programs(pid: int) -> list[str]:
    """Those a process holds (proc(5): fdinfo)."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # a descriptor closed meanwhile
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with open(f"/proc/{pid}/fdinfo/{fd}") as f:
                found += [line for line in f if line.startswith("prog_id:")]
    return found


def armed(command: list[str]) -> subprocess.Popen[bytes]:
    """A tracer that has loaded its programs."""
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not _programs(tracer.pid):
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


def script(name: str) -> str:
    """D text; an example's, without its first line."""
    if not name.endswith(".d"):
        return name
    with open(os.path.join(EXAMPLES, name)) as file:
        return file.read().partition("\n")[2]


def pairs(folder: str, calls: int, rounds: int) -> dict[str, dict[str, Cost]]:
    here = Machine()
    wake = (1).to_bytes(8, "little")  # BPF_RB_NO_WAKEUP
    objects = [
        bpf_object.read(f"{folder}/conn.bpf.o", here.registry.btf, {".rodata": wake}),
        bpf_object.compiled("request.bpf.c", folder, here.registry.btf),
    ]
    found: dict[str, dict[str, Cost]] = {}
    for name, (ours, theirs, load) in PAIRS.items():
        command = [f"{folder}/cxload", load, "-n", str(calls)]
        (made,) = [o for o in objects if theirs in [p.name for p in o.programs]]
        costs = {
            "dsight": of_script(here, script(ours), command, rounds),
            "C": of_object(here, made, (theirs,), command, rounds),
        }
        found[name] = {side: max(all_, key=lambda c: c.ns) for side, all_ in costs.items()}
    here.close()
    return found


def table(found: dict[str, dict[str, Cost]]) -> None:
    print(f"{'':18}{'':8}{'loaded':>8}{'bytes':>7}{'executed':>10}{'ratio':>7}{'calls':>7}{'ns':>6}{'ratio':>7}")
    for name, by_side in found.items():
        c = by_side["C"]
        for side, r in by_side.items():
            executed, ns = (f"{r.executed / c.executed:7.2f}", f"{r.ns / c.ns:7.2f}") if r is not c else (f"{'':7}", "")
            calls = sum(r.calls.values())
            print(f"{name:18}{side:8}{r.loaded:8}{r.bytes:7}{r.executed:10.1f}{executed}{calls:7.1f}{r.ns:6.0f}{ns}")
        print("".join(f"{'':18}{side:8}{called(r)}\n" for side, r in by_side.items()), end="")


def called(r: Cost) -> str:
    return ", ".join(f"{name} {count:.2f}" for name, count in sorted(r.calls.items()) if count >= 0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    if why := lacking():
        raise SystemExit(why)
    with_tracefs()
    with tempfile.TemporaryDirectory() as folder:
        compile_all(folder)
        found = pairs(folder, args.calls, args.rounds)
        table(found)
        more = {name: min(added(folder, text) for _ in range(args.rounds)) for name, text in WIDE.items()}
    print("\nns that getppid() takes more")
    for name, ns in more.items():
        print(f"{name:26}{ns:8.1f}")
    if args.json:
        with open(args.json, "w") as f:
            programs = {name: {side: plain(r) for side, r in by_side.items()} for name, by_side in found.items()}
            json.dump({"programs": programs, "getppid": more}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
