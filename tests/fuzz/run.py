"""Thousands of random D programs in one process, as CI runs them and on demand:

    .venv/bin/python tests/fuzz/run.py                          3,000 programs, at most 150 s, at least 1,000
    .venv/bin/python tests/fuzz/run.py --count 100000 --seconds 7200 --seed 500000 --least 0
    .venv/bin/python tests/fuzz/run.py --seed 1234 --count 1    one of them again

Each is refused with a D_ tag, or loads and leaves on the kernel what it leaves in the IR interpreter, and what
Python's integers say (random_d); with every sixth goes one for another kind of probe, which only has to load:
the same, or a script of what a probe alone can show (random_load).  Needs root.

Exit status 0; 1 where a program does otherwise, which is shown with its seed and as short as it could be made;
2 where fewer ran than were asked for at the least.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from agree import KINDS, agrees, load
from draws import Draws, shrink
from random_d import random_program
from random_load import random_load

from dsight.errors import CompileError
from dsight.machine import Machine

OTHER = list(KINDS)
SIZES = (2, 3, 4, 5, 3, 4, 2, 8)


def check(random: Random, seed: int, machine: Machine, note: list[str]) -> bool:
    """Whether the programs of a seed were accepted; what was tried goes to `note`.  Raises what is wrong."""
    program = random_program(random, SIZES[seed % len(SIZES)])
    note[:] = [program.text]
    accepted = agrees(program, machine)
    if seed % 6 == 0:
        probe = OTHER[seed // 6 % len(OTHER)]
        note[:] = [random_load(random, probe) if seed % 12 else program.on({"BEGIN": probe, "END": probe})]
        loads(note[0], machine)
    return accepted


def loads(text: str, machine: Machine) -> None:
    try:
        load(text, machine)
    except CompileError as error:
        assert error.tag.startswith("D_"), error.tag


def report(seed: int, error: Exception, text: str, machine: Machine) -> None:
    print(f"\nseed {seed}: {type(error).__name__}: {str(error)[:2000]}\n--- the program\n{text}", flush=True)
    found, why = [text], str(error)

    def fails(values: list[int]) -> bool:
        nonlocal why
        note = [""]
        try:
            check(Draws(0, values), seed, machine, note)
        except type(error) as other:
            found[:], why = note, str(other)
            return True
        except Exception:
            pass
        return False

    draws = Draws(seed)
    note = [""]
    try:
        check(draws, seed, machine, note)
    except Exception:
        shrink(draws.drawn, fails, 30.0)
    print(f"--- made shorter\n{found[0]}\n{why[:2000]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=3000, help="programs (%(default)s)")
    parser.add_argument("--seconds", type=float, default=150, help="stop after these (%(default)s)")
    parser.add_argument("--least", type=int, default=1000, help="fail if fewer ran (%(default)s)")
    parser.add_argument("--seed", type=int, default=100_000, help="of the first (%(default)s)")
    parser.add_argument("--failures", type=int, default=3, help="stop after so many (%(default)s)")
    given = parser.parse_args()
    if os.geteuid():
        parser.error("needs root")
    began, ran, accepted, failed = time.monotonic(), 0, 0, 0
    machine = Machine()
    try:
        for seed in range(given.seed, given.seed + given.count):
            if time.monotonic() - began > given.seconds or failed >= given.failures:
                break
            note = [""]
            ran += 1
            try:
                accepted += check(Draws(seed), seed, machine, note)
            except Exception as error:
                failed += 1
                report(seed, error, note[0], machine)
    finally:
        machine.close()
    took = time.monotonic() - began
    print(f"{ran} programs from seed {given.seed} on in {took:.0f} s: {accepted} accepted, {failed} wrong")
    if failed:
        return 1
    if ran < min(given.least, given.count) or accepted < ran // 2:
        print(f"too few: at least {given.least} are to run, and half of them to be accepted")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
