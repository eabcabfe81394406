"""Makes the transcripts of docs/connections.md and of the README anew:  sudo .venv/bin/python tools/connections_doc.py

The prose is written by hand, there.  A block that stands below one of these lines is made here:

    <!-- lab: LAB CASE... -->   what the watcher said of these cases of a lab (LABS), in its own lines
    <!-- session -->            its lines that begin with `$ ` are run, in a network namespace of their own, in
                                which nothing listens, and 192.0.2.0/24 is there and never answers

A section headed by the code of a diagnosis must show that diagnosis: it is looked up in the JSON of the same
run.  Needs root, iproute2, nftables, curl, jq; some ten seconds.  tests/pure/test_docs_connections.py
checks that no outcome and no diagnosis is without its section.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
PAGES = (REPO / "docs" / "connections.md", REPO / "README.md")
LABS = {
    "connection": ("src/dsight/testing/labs/connection_lab.py", "w-*", ("--no-names",)),
    "datagram": ("src/dsight/testing/labs/datagram_lab.py", "w-*", ("--udp", "--unix", "--no-names")),
    "names": ("src/dsight/testing/labs/names_lab.py", "n-*", ("--names",)),
    "life": ("tests/kernel/life_lab.py", "x-*", ("--accepted", "--closed", "--no-names")),
}
BLOCK = re.compile(r"<!-- (lab|session)(?:: ([^\n]*?))? -->\n```(\w*)\n(.*?)```\n", re.DOTALL)
SECTION = re.compile(r"^#+ (.*)$", re.MULTILINE)
NETWORK = """
ip link set lo up
ip link add name out0 type veth peer name away0
ip addr add 192.0.2.1/24 dev out0
ip link set out0 up; ip link set away0 up
ip neigh add 192.0.2.10 lladdr 02:00:00:00:00:10 dev out0
sudo() { "$@"; }
"""


class Seen(NamedTuple):
    """What was said of a case: lines of text, objects of JSON."""

    lines: list[str]
    reports: list[dict[str, Any]]


class Watcher:
    """`dsight watch`, armed."""

    def __init__(self, *options: str) -> None:
        line = [sys.executable, "-m", "dsight.ui.cli", "watch", *options]
        self.out = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a pipe would fill)
        self.process = subprocess.Popen(line, stdout=self.out, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        if "watching" not in said:
            sys.exit(said)

    def end(self) -> list[str]:
        """The lines it has written."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        self.out.seek(0)
        return self.out.read().splitlines()


def seen(lab: str, cases: list[str]) -> dict[str, Seen]:
    """Run cases of a lab under the watcher."""
    path, names, options = LABS[lab]
    watchers = [Watcher("--comm", names, *options, face) for face in ("--no-summary", "--json")]
    line = [sys.executable, str(REPO / path), *cases]
    environment = os.environ | {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    time.sleep(0.5)
    text, objects = (one.end() for one in watchers)
    reports = [json.loads(o) for o in objects]
    found = {}
    for case, pid in (line.split() for line in done.stdout.splitlines()):
        mine = [r for r in reports if r.get("process", {}).get("pid") == int(pid)]
        found[case] = Seen([line for line in text if f"[{pid}] " in line], mine)
    return found


def session(commands: list[str]) -> str:
    """Commands and what they print, as in a terminal."""
    script = [NETWORK, *(f"s=$?; printf '%s\\n' {quoted('$ ' + c)}; (exit $s)\n{c}" for c in commands)]
    path = f"{REPO}/.venv/bin:{os.environ['PATH']}"
    line = ["unshare", "-n", "bash", "-c", "exec 2>&1\n" + "\n".join(script)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=60, cwd=REPO,
                          env=os.environ | {"PATH": path})  # fmt: skip
    return done.stdout


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def codes(seen_cases: list[Seen]) -> set[str]:
    """Of all diagnoses."""
    return {r["diagnosis"]["code"] for s in seen_cases for r in s.reports if r.get("diagnosis")}


def page(text: str) -> str:
    """The page, its blocks made anew."""
    wanted: dict[str, list[str]] = {}
    for kind, arguments, _, _ in BLOCK.findall(text):
        if kind != "session":
            lab, *cases = arguments.split()
            wanted.setdefault(lab, []).extend(c for c in cases if c not in wanted.get(lab, ()))
    found = {lab: seen(lab, cases) for lab, cases in wanted.items()}

    def made(block: re.Match[str]) -> str:
        kind, arguments, language, old = block.groups()
        head = f"<!-- {kind}{': ' + arguments if arguments else ''} -->\n```{language}\n"
        if kind == "session":
            return head + session([line[2:] for line in old.splitlines() if line.startswith("$ ")]) + "```\n"
        lab, *cases = arguments.split()
        mine = [found[lab][case] for case in cases]
        title = SECTION.findall(text[: block.start()])[-1].strip("`")
        known = {r.get("outcome") for s in mine for r in s.reports} | codes(mine)
        if re.fullmatch("[a-z]+(-[a-z]+)*", title) and title not in known:
            sys.exit(f"{arguments} does not show {title}, but {known}")
        return head + "\n".join(line for s in mine for line in s.lines) + "\n```\n"

    return BLOCK.sub(made, text)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text()))
