#!/usr/bin/env python3
"""How cost grows with the size of the work: tables, docs/images/curves.svg, and JSON.

    curves.py [--only compile,arm,snapshot,records,watcher] [--quick] [--json FILE] [--svg FILE]

compile    CPU time of `dtrace -e` by clauses, each a predicate, an assignment, an aggregation, a printf
arm        exec to armed by probes matched: functions of a program of ours, by uprobe
snapshot   reading and decoding an aggregation, by keys
records    CPU time for a million records, by values in each: getpgid(2) calls of a process of ours
watcher    CPU time of 100,000 attempts, from records to reports, by how many are open at once (no kernel)

CPU time rather than elapsed, where that can be, so that other work on the machine counts less; the
least of some rounds.  `growth` is cost per item over that of the row before: 1 is linear.  Needs
root, gcc and, for --svg, matplotlib (`make curves` installs it).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time

from bench import DTRACE

CALLS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {  /* on a line of input: so many getpgid(n), in blocks with a pause after each */
    long n, count = atol(argv[1]);
    if (getchar() == EOF) return 1;
    for (n = 0; n < count; n++) { syscall(SYS_getpgid, n); if (n % 1000 == 999) usleep(1000); }
    return 0;
}
"""
CLAUSE = """syscall::{name}:entry /pid != $pid && arg0 > {n}/
{{ this->v{n} = arg1 * {n} + (uint_t) arg2; @a{n}[execname, probefunc] = quantize(this->v{n});
  printf("%s[%d] %s %d %x\\n", execname, pid, probefunc, this->v{n}, arg2 & 0xff); }}
"""
NAMES = ("read", "write", "connect", "openat", "close")
FUNCTIONS = 5000
Row = tuple[float, float]  # how much work, what it cost


def cpu_of(command: list[str], release: subprocess.Popen[bytes] | None = None) -> float:
    """CPU seconds of a command, itself only; `release`: a process to let go once the command is armed."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    if release is not None:
        assert release.stdin is not None
        while b"from exec to armed" not in (line := child.stderr.readline()):
            if not line:
                raise SystemExit(f"{command[0]} ended early")
        release.stdin.write(b"\n")
        release.stdin.close()
        release.wait()
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command}: {said.decode(errors='replace')}")
    if b"drop" in said:
        print(said.decode(errors="replace"), file=sys.stderr)
    return usage.ru_utime + usage.ru_stime


def compile_curve(quick: bool, folder: str, rounds: int) -> list[Row]:
    """Milliseconds over those of an empty script."""
    rows: list[Row] = []
    empty = 0.0
    for clauses in (0, 10, 30, 100) if quick else (0, 10, 30, 100, 300, 600):
        script = f"{folder}/{clauses}.d"
        with open(script, "w") as f:
            f.write("BEGIN { exit(0); }\n")
            f.writelines(CLAUSE.format(n=n, name=NAMES[n % len(NAMES)]) for n in range(clauses))
        ms = 1e3 * min(cpu_of([DTRACE, "-e", "-s", script]) for _ in range(rounds))
        empty = empty or ms
        if clauses:
            rows.append((clauses, ms - empty))
    return rows


def arm_curve(quick: bool, folder: str, rounds: int) -> list[Row]:
    """Milliseconds from exec to armed."""
    source, program = f"{folder}/many.c", f"{folder}/many"
    with open(source, "w") as f:
        f.writelines(f"void f{n:04}(void) {{}}\n" for n in range(FUNCTIONS))
        f.write("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-O0", "-o", program, source], check=True)
    rows: list[Row] = []
    for glob, count in (("f0000", 1), ("f000*", 10), ("f00*", 100), ("f0*", 1000), ("f*", FUNCTIONS)):
        took = []
        for n in range(rounds):
            # Another script each time: else the image of the first would be found.
            script = f"uprobe:{program}:{glob}:entry {{ @[probefunc] = count(); }} tick-1ms /{n} >= 0/ {{ exit(0); }}"
            done = subprocess.run([DTRACE, "-q", "--timings", "-n", script], capture_output=True, text=True, check=True)
            took += [float(line.split()[1]) for line in done.stderr.splitlines() if "exec to armed" in line]
        rows.append((count, min(took)))
    return rows


def snapshot_curve(quick: bool, folder: str, rounds: int) -> list[Row]:
    """Milliseconds of CPU."""
    from dsight.api import Trace

    libc = ctypes.CDLL(None)
    rows: list[Row] = []
    for keys in (10, 1000, 100_000) if quick else (10, 100, 1000, 10_000, 100_000, 1_000_000):
        script = f"syscall::getpgid:entry /pid == {os.getpid()}/ {{ @[arg0] = sum(arg0); }}"
        with Trace(script, options={"aggsize": "1g" if keys > 100_000 else "64m"}) as trace:
            for n in range(keys):
                libc.getpgid(n)
            trace.stop()
            gc.disable()  # as the command has it
            took = []
            for _ in range(rounds):
                began = time.process_time()
                found = len(trace.aggregation())
                took.append((time.process_time() - began) * 1e3)
            gc.enable()
            if found != keys or trace.lost:
                raise SystemExit(f"{found} keys of {keys}, {trace.lost} lost")
        rows.append((keys, min(took)))
    return rows


def record_curve(quick: bool, folder: str, rounds: int) -> list[Row]:
    """CPU seconds of dtrace for a million lines of so many values (8 bytes each)."""
    source, program = f"{folder}/calls.c", f"{folder}/calls"
    with open(source, "w") as f:
        f.write(CALLS)
    subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    count = 50_000 if quick else 300_000
    rows: list[Row] = []
    for values in (1, 2, 4, 8, 16, 32):
        arguments = ", ".join(f"arg0 + {n}" for n in range(values))
        form = " ".join(["%d"] * values)
        probe = "syscall::getpgid:entry /pid == $target/"
        script = f'{probe} {{ printf("{form}\\n", {arguments}); }}'

        def cost(calls: int, script: str = script) -> float:
            load = subprocess.Popen([program, str(calls)], stdin=subprocess.PIPE)
            return cpu_of([DTRACE, "-q", "--timings", "-b", "64m", "-n", script, "-p", str(load.pid)], load)

        cost(0)
        idle = min(cost(0) for _ in range(rounds))
        rows.append((values, (min(cost(count) for _ in range(rounds)) - idle) * 1e6 / count))
    return rows


def watcher_curve(quick: bool, folder: str, rounds: int) -> list[Row]:
    """CPU seconds of 100,000 attempts, from records to reports, while so many are open (no kernel)."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from tests.pure.connections.test_bounds import Nobody
    from tests.pure.connections.test_watch import Host, records

    from dsight.connections.watch import Watcher

    made = 20_000 if quick else 100_000
    given = [records(n, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", n % 60000 + 1) for n in range(made)]
    rows: list[Row] = []
    for at_once in (10, 100, 1000, 10_000, 50_000):
        took = []
        for _ in range(rounds):
            watcher = Watcher(Host(), Nobody())
            began = time.process_time()
            for n in range(made + at_once):
                if n < made:
                    watcher.feed(given[n][0])
                    watcher.feed(given[n][1])
                if at_once <= n:
                    watcher.feed(given[n - at_once][2])
            took.append((time.process_time() - began) * 100_000 / made)
        rows.append((at_once, min(took)))
    return rows


CURVES = {
    "compile": (compile_curve, "clauses", "ms of CPU"),
    "arm": (arm_curve, "probes matched", "ms from exec to armed"),
    "snapshot": (snapshot_curve, "keys", "ms of CPU"),
    "records": (record_curve, "values a record", "s of CPU a million"),
    "watcher": (watcher_curve, "attempts open at once", "s of CPU for 100,000"),
}


def show(name: str, rows: list[Row], work: str, cost: str) -> None:
    print(f"\n{name}: {cost} by {work}")
    before = None
    for amount, took in rows:
        growth = "" if before is None else f"{(took / amount) / before:8.2f}"
        print(f"{amount:10,.0f} {took:12.3f} {growth}")
        before = took / amount


def plot(found: dict[str, list[Row]], path: str) -> None:
    """Small multiples, both axes logarithmic: a slope of 1 is linear.  What hardly grows is drawn from 0."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"font.size": 8, "svg.hashsalt": "dsight", "axes.spines.top": False})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(3 * len(found), 2.6), squeeze=False)
    for axis, (name, rows) in zip(axes[0], found.items()):
        _, work, cost = CURVES[name]
        costs = [took for _, took in rows]
        grows = max(costs) > 3 * min(costs)
        draw = axis.loglog if grows else axis.semilogx
        draw(*zip(*rows), marker="o", markersize=3)
        if not grows:
            axis.set_ylim(bottom=0)
        axis.set(title=name, xlabel=work, ylabel=cost)
        axis.grid(True, which="major", linewidth=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(CURVES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--svg")
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            measure, work, cost = CURVES[name]
            found[name] = measure(args.quick, folder, args.rounds)
            show(name, found[name], work, cost)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(
                {
                    name: {"work": CURVES[name][1], "cost": CURVES[name][2], "rows": rows}
                    for name, rows in found.items()
                },
                f,
                indent=1,
            )
    if args.svg:
        plot(found, args.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
