"""`dsight truss` beside `strace -f`: which calls of a command one of them saw and the other not, and what each costs.

    .venv/bin/python bench/truss.py                      # the commands below, as root, with strace installed
    .venv/bin/python bench/truss.py curl -s file:///etc/hosts
    .venv/bin/python bench/truss.py --cost               # slowdown of a process that does nothing but call

The command runs once under each, so what differs from run to run does so here too: addresses and numbers of
processes are left out of the comparison, and what a program reads of the time or of chance is told as a difference.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

TRUSS = [sys.executable, "-m", "dsight.ui.cli", "truss"]
COMMANDS = (
    ["ls", "-l", "/usr"],
    ["curl", "-s", "file:///etc/hosts"],
    [sys.executable, "-c", "pass"],
    ["sh", "-c", "true | cat; (exit 3); ls /nonexistent; kill -TERM $$"],
    [sys.executable, "-c", "import threading; [threading.Thread(target=print).start() for n in range(4)]"],
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|[0-7]{1,3}|.)")
_NAMED = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")


def by_strace(text: str) -> dict[int, list[str]]:
    """Calls of each thread in the order they began, of what `strace -f -o` wrote."""
    calls: dict[int, list[str]] = {}
    for line in text.split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        mine = calls.setdefault(int(found[1]), [])
        rest = _RESUMED.match(found[2])
        if rest is not None:
            begun = mine[-1].removesuffix("<unfinished ...>").rstrip()
            mine[-1] = (begun + " " if begun[-1] == "," else begun) + rest[1]
        else:
            mine.append(found[2])
    return calls


def by_truss(text: str) -> dict[int, list[str]]:
    """Calls of each thread in the order they ended, of what `truss --json` wrote; signals and ends as there."""
    calls: dict[int, list[str]] = {}
    for line in text.split("\n"):
        event = json.loads(line) if line else {"event": ""}
        if event["event"] in ("call", "unreturned"):
            words = [re.sub(r"^(-?\d+)<.*>$", r"\1", arg["text"]) for arg in event["args"]]
            if event["call"] == "clone":
                words = [f"{arg['name']}={word}" for arg, word in zip(event["args"], words)]
            text = re.sub(r"^(\d+)<.*>$", r"\1", event.get("result_text", "?"))
            calls.setdefault(event["tid"], []).append(f"{event['call']}({', '.join(words)}) = {text}")
        elif event["event"] == "signal":
            calls.setdefault(event["tid"], []).append(f"--- {event['signal']}")
        elif event["event"] in ("exit", "thread-exit"):
            end = f"killed by {event['signal']}" if event["signal"] else f"exited with {event['status']}"
            calls.setdefault(event["tid"], []).append(f"+++ {end} +++")
    return calls


def alike(line: str) -> str:
    """A line without what differs from run to run, and in one spelling."""
    line = re.sub(r" /\*.*?\*/", "", line)
    line = _QUOTED.sub(lambda m: repr(_ESCAPE.sub(_character, m[1])), line)
    line = re.sub(r"^--- (\w+).*", r"--- \1", line)
    line = re.sub(r"\b0x[0-9a-f]{6,}\b", "0x_", line)
    line = re.sub(r"\bst_atime.*?\}", "}", line)
    line = re.sub(r"\b(\w+(?:\|\w+)+)\b", lambda m: "|".join(sorted(m[1].split("|"))), line)
    found = _CALL.fullmatch(line)
    return f"{found[1]}({found[2]}) = {found[3]}" if found else line


def _character(found: re.Match[str]) -> str:
    word = found[1]
    if word[0] == "x":
        return chr(int(word[1:], 16))
    return chr(int(word, 8)) if word[0] in "01234567" else chr(_NAMED.get(word, ord(word)))


def numbers_out(threads: list[list[str]], ids: list[int]) -> list[list[str]]:
    """Numbers of the processes themselves, by their order."""
    names = {str(number): f"PID{n}" for n, number in enumerate(ids)}
    return [[re.sub(r"\b\d+\b", lambda m: names.get(m[0], m[0]), line) for line in lines] for lines in threads]


def compare(command: list[str]) -> int:
    """Print what differs; how many calls only one saw."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = f"{folder}/truss", f"{folder}/strace"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        subprocess.run(["strace", "-f", "-o", there, *command], **quiet)
        subprocess.run([*TRUSS, "--json", "-o", here, *command], **quiet)
        with open(here, encoding="utf-8") as file:
            ours = by_truss(file.read())
        with open(there, encoding="utf-8", errors="surrogateescape") as file:
            theirs = by_strace(file.read())
    mine = [[alike(line) for line in lines] for lines in numbers_out(list(ours.values()), list(ours))]
    other = [[alike(line) for line in lines] for lines in numbers_out(list(theirs.values()), list(theirs))]
    count = sum(len(lines) for lines in mine), sum(len(lines) for lines in other)
    print(f"{' '.join(command)}: truss {count[0]} lines of {len(mine)} threads, strace {count[1]} of {len(other)}")
    lonely = 0
    for left, right in _pairs(mine, other):
        lonely += _differences(left, right)
    return lonely


def _heads(lines: list[str]) -> list[str]:
    """The calls' names."""
    return [line.split("(")[0] for line in lines]


def _pairs(mine: list[list[str]], other: list[list[str]]) -> list[tuple[list[str], list[str]]]:
    """Threads that did about the same: they need not have begun in the same order."""
    left, pairs = list(other), []
    for lines in mine:
        best = max(left, default=[], key=lambda some: difflib.SequenceMatcher(None, lines, some, False).ratio())
        left = [some for some in left if some is not best]
        pairs.append((lines, best))
    return pairs + [([], some) for some in left]


def _differences(left: list[str], right: list[str]) -> int:
    """Print calls that one lacks, and of each call the first of those told otherwise; how many one lacks."""
    heads = [_heads(left), _heads(right)]
    lonely = 0
    told: dict[str, int] = {}
    for kind, a, b, c, d in difflib.SequenceMatcher(None, heads[0], heads[1], autojunk=False).get_opcodes():
        if kind == "equal":
            for one, other, name in zip(left[a:b], right[c:d], heads[0][a:b]):
                if one != other:
                    told[name] = told.get(name, 0) + 1
                    if told[name] == 1:
                        print(f"  truss:  {one}\n  strace: {other}")
        else:
            lonely += b - a + d - c
            print("".join(f"  only truss:  {line}\n" for line in left[a:b]), end="")
            print("".join(f"  only strace: {line}\n" for line in right[c:d]), end="")
    return lonely


def cost(count: int = 200_000) -> None:
    """dd with blocks of one byte: two calls each, nothing between them."""
    command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", f"count={count}"]
    ways = {
        "bare": [],
        "truss --summary": [*TRUSS, "--summary"],
        "truss -e openat": [*TRUSS, "-e", "openat"],
        "truss -o FILE": [*TRUSS, "-o", os.devnull],
        "strace -c": ["strace", "-f", "-c"],
        "strace -e openat": ["strace", "-f", "-e", "openat"],
        "strace -o FILE": ["strace", "-f", "-o", os.devnull],
    }
    bare = 0.0
    for name, prefix in ways.items():
        began = time.monotonic()
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, check=True)
        whole = time.monotonic() - began
        found = re.search(r"([\d.]+) s,", done.stderr)
        assert found is not None, done.stderr
        took = float(found[1])
        bare = bare or took
        lost = next((line for line in done.stderr.split("\n") if "lost" in line), "")
        print(
            f"{name:18} {took * 1e9 / count / 2:9.0f} ns a call   x{took / bare:7.1f}   {whole:6.2f} s in all  {lost}"
        )


def main() -> None:
    if sys.argv[1:] == ["--cost"]:
        cost()
        return
    print("calls that one saw and the other not:", sum(map(compare, [sys.argv[1:]] if sys.argv[1:] else COMMANDS)))


if __name__ == "__main__":
    main()
