#!/usr/bin/env python3
"""How long compiling takes, by the size of the script: `dtrace -e`, exec to exit.

    compile.py [ROUNDS]

Each clause has a predicate, an assignment, a printf of five values and an aggregation: three
lines.  The budget is 150 ms for 100 clauses over the time of an empty script, growing linearly.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

DTRACE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".venv", "bin", "dtrace")
CLAUSE = """syscall::{name}:entry /pid != $pid && arg0 > {n}/
{{ this->v{n} = arg1 * {n} + (uint_t) arg2; @a{n}[execname, probefunc] = quantize(this->v{n});
  printf("%s[%d] %s %d %x\\n", execname, pid, probefunc, this->v{n}, arg2 & 0xff); }}
"""
NAMES = ("read", "write", "connect", "openat", "close")


def took(script: str, rounds: int) -> float | None:
    """Median milliseconds of compiling a script; None where dtrace refuses it."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = subprocess.run([DTRACE, "-e", "-s", script], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        times.append((time.perf_counter() - began) * 1e3)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return None
    return statistics.median(times)


def main(rounds: int = 5) -> int:
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "clauses.d")
        empty = 0.0
        for clauses in (0, 25, 50, 100, 200):
            with open(script, "w") as f:
                f.write("BEGIN { exit(0); }\n")
                f.writelines(CLAUSE.format(n=n, name=NAMES[n % len(NAMES)]) for n in range(clauses))
            ms = took(script, rounds)
            if ms is None:
                return 1
            empty = empty or ms
            print(f"{clauses:4} clauses {ms:7.1f} ms, {ms - empty:7.1f} over an empty script")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
