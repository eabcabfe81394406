#!/usr/bin/env python3
"""What an attempt to connect takes in the kernel under `dsight`, beside the same in C (watch.bpf.c).

    watch_cost.py [--attempts N] [--rounds N] [--json FILE] [--lines FILE]

The D program is that of `dsight --json --no-names`.  The loads are bench/load.c's, over loopback: each attempt refused,
or accepted and ended by a reset.  By attach point, of an attempt: runs, instructions and helper calls executed
(executed.py), and ns by the kernel's own count (cost.py), ours and clang -O2's.  Where ours has no counterpart in C the
load does not come by, but for a few runs of others.

--lines: for each program, D line and instruction what is executed of it, into a file.
Needs root, gcc, clang, libbpf-dev and bpftool.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter

import bpf_object
from bench import compile_all, lacking, with_tracefs
from cost import TIMES, Cost, of_object, of_script, plain
from dsight.bpf import asm
from dsight.connections.losses import buffer_size
from dsight.connections.parts import kinds
from dsight.connections.script import script
from dsight.connections.tracker import LIMIT
from dsight.ir.ops import HELPERS
from dsight.lang.catalog import Probe
from dsight.machine import Machine

# What watch.bpf.c casts addresses to: the structs' BTF ids.
CASTS = ("sock", "inet_sock", "tcp_sock", "file", "socket", "hlist_head", "sock_exterr_skb")
LOADS = {"refused": "refuse", "accepted, then reset": "tcp"}
HELPER_NAMES = {number: name for name, number in HELPERS.items()}
COUNTED = 0.2  # runs an attempt: what runs less is none of its way


def watcher(here: Machine) -> str:
    """The D program of `dsight --no-names`, as ui/cli.py has it made."""

    def has_probe(name: str, n: int) -> bool:
        types = here.registry.args(Probe(0, "rawtp", "", "", name))
        return types is not None and len(types) > n

    parts = kinds(has_probe, lambda name: here.registry.type("typedef", name) is not None).parts
    btf = here.registry.btf
    return script(False, has_probe, parts, False, btf.enumerator, btf.type("struct", "mptcp_sock") is not None)


def in_c(here: Machine, folder: str) -> bpf_object.Object:
    btf = here.registry.btf
    flags = [f"-DID_{name.upper()}={btf.id('struct', name)}" for name in CASTS]
    return bpf_object.compiled("watch.bpf.c", folder, btf, *flags)


def by_target(costs: list[Cost]) -> dict[str, Cost]:
    """Programs at the same attach point as one; what hardly runs is left out."""
    found: dict[str, Cost] = {}
    for c in costs:
        if c.runs < COUNTED:
            continue
        _add(found.setdefault(c.target, Cost(c.name, c.target)), c)
    return found


def _add(to: Cost, c: Cost) -> None:
    to.loaded += c.loaded
    to.runs += c.runs
    to.executed += c.executed
    to.calls += c.calls
    to.ns += c.ns


def table(ours: dict[str, Cost], theirs: dict[str, Cost]) -> None:
    total = [Cost("", "all"), Cost("", "all")]
    print(f"{'':28}{'runs':>5}{'instructions':>16}{'ratio':>7}{'calls':>14}{'ns':>14}{'ratio':>7}")
    for target in dict.fromkeys([*ours, *theirs]):
        pair = [side.get(target, Cost("", target)) for side in (ours, theirs)]
        for sum_, c in zip(total, pair):
            _add(sum_, c)
        _row(target, *pair)
    _row("all", *total)
    for side, c in zip(("dsight", "C"), total):
        print(f"  {side}: " + ", ".join(f"{name} {count:.1f}" for name, count in c.calls.most_common() if count > 0.05))


def _row(target: str, a: Cost, b: Cost) -> None:
    calls = f"{a.calls.total():.0f}, {b.calls.total():.0f}"
    print(
        f"{target.rpartition('/')[2]:28}{max(a.runs, b.runs):5.1f}{f'{a.executed:.0f}, {b.executed:.0f}':>16}"
        f"{_ratio(a.executed, b.executed):>7}{calls:>14}{f'{a.ns:.0f}, {b.ns:.0f}':>14}{_ratio(a.ns, b.ns):>7}"
    )


def _ratio(a: float, b: float) -> str:
    return f"{a / b:.2f}" if b else ""


def lines(costs: list[Cost], text: str) -> str:
    """What is executed, by line of the script and instruction by instruction."""
    source, out = text.split("\n"), []
    for c in costs:
        if c.runs < COUNTED or c.detail is None:
            continue
        out.append(f"{c.name} {c.target}: {c.executed:.1f} an attempt")
        maps: Counter[str] = Counter()
        for (name, number), count in sorted(c.detail.lines.items()):
            if count >= COUNTED * TIMES:
                of = source[number - 1] if name == "script" else ""
                out.append(f"{count / TIMES:8.1f}  {name}:{number}: {of.strip()}")
        last = None
        for count, i in c.detail.insns:
            if count < COUNTED * TIMES:
                continue
            note = f"   ; {i.span.line}: {' '.join(i.span.text.split())[:70]}" if i.span and i.span != last else ""
            last = i.span
            out.append(f"{count / TIMES:8.2f}  {asm.show_insn(i, HELPER_NAMES)}{note}")
            if i.ref is not None and i.ref[0] == "map":
                maps[i.ref[1]] += count
        out.append("  maps: " + ", ".join(f"{name} {count / TIMES:.1f}" for name, count in maps.most_common()))
        out.append("")
    return "\n".join(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--lines")
    args = parser.parse_args()
    if why := lacking():
        raise SystemExit(why)
    with_tracefs()
    here, told, found = Machine(), "", {}
    given = {"bufsize": str(buffer_size())}
    with tempfile.TemporaryDirectory() as folder:
        compile_all(folder)
        made, text = in_c(here, folder), watcher(here)
        for name, load in LOADS.items():
            command = [f"{folder}/cxload", load, "-n", str(args.attempts)]
            ours = of_script(here, text, command, args.rounds, given, {"watched": LIMIT})
            theirs = of_object(here, made, (), command, args.rounds)
            print(f"{name}: dsight, C")
            table(by_target(ours), by_target(theirs))
            found[name] = {"dsight": [plain(c) for c in ours], "C": [plain(c) for c in theirs]}
            print()
            told += f"--- {name}\n" + lines(ours, text) + lines(theirs, text)
    here.close()
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)
    if args.lines:
        with open(args.lines, "w") as file:
            file.write(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
