"""What each tool sees of the same failures: dsight, strace, ss, bcc's tcpconnect and tcplife, bpftrace's tcpconnect.

    python bench/compare.py               (root) a table of what each one saw here
    python bench/compare.py --write       the same into docs/comparison.md, of this kernel, and of Debian's
                                          in a virtual machine (tests/vm), where kprobes are; some five minutes

The scenarios are the self-test's (dsight.testing.selftest): programs that connect in network namespaces of
their own.  All tools watch the same run, but for strace, which has one of its own: it stops what it
watches.  Of a tool's output only what bears a scenario's pid is looked at.  A tool that cannot
run says why.  Bounded in time; everything started is ended.

The rules by which a tool has told something are the same for all, and here:
Sight, and the function for each tool that makes it out of its output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "src"))

from dsight.testing import selftest  # noqa: E402

PAGE = REPO / "docs" / "comparison.md"
LABS = REPO / "src" / "dsight" / "testing" / "labs"
POLL = 0.1  # s, ss
ADDRESS = re.compile(
    r'htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")|sun_path=(@?)"((?:[^"\\]|\\.)*)"'
)


class Sight(NamedTuple):
    """What a tool's output says of one process: in a few words; where to; what came of it; why."""

    words: str
    destinations: frozenset[str] = frozenset()  # ADDRESS PORT, or a path
    outcome: str | None = None  # as the tool has it
    error: str | None = None
    cause: str | None = None
    named: bool = True  # whether the process's name is there


class Tool(NamedTuple):
    """A watcher of the whole machine: how it is started, what it says when it is ready, how it is read."""

    name: str
    line: list[str]
    ready: str
    read: Callable[[str], dict[int, Sight]]


# Reading.


def read_dsight(text: str) -> dict[int, Sight]:
    last = {}
    for line in text.splitlines():
        report = json.loads(line)
        if report["event"] in ("outcome", "closed"):
            last[report["process"]["pid"]] = report
    return {pid: dsight_sight(report) for pid, report in last.items()}


def dsight_sight(report: dict) -> Sight:
    outcome, error, code = selftest.told(report)
    end = report["remote"]
    where = end.get("path") or (end["address"] and f"{end['address']} {end['port']}")
    words = ", ".join(w for w in (outcome, error, code) if w)
    return Sight(words, frozenset([where] if where else []), outcome, error, code, bool(report["process"]["comm"]))


def read_strace(text: str) -> dict[int, Sight]:
    """Calls that name an address, and the result of the last of them."""
    calls: dict[int, list[str]] = {}
    for line in text.splitlines():
        pid, _, call = line.partition(" ")
        mine = calls.setdefault(int(pid), [])
        resumed = re.match(r" *<\.\.\. \w+ resumed>(.*)", call)
        if resumed and mine:
            mine[-1] += resumed[1]
        else:
            mine.append(call.strip())
    found = {}
    for pid, lines in calls.items():
        told = [line for line in lines if ADDRESS.search(line) or line.startswith("connect(")]
        if not told:
            continue
        result = re.search(r"\) += (-?\d+)(?: (E\w+))?", told[-1])
        word = "did not return" if result is None else result[2] or result[1]
        done = result is not None and word != "EINPROGRESS"
        found[pid] = Sight(
            f"{told[-1].partition('(')[0]}() = {word}",
            frozenset(place(m) for m in map(ADDRESS.search, told) if m),
            "ok" if done and result is not None and result[2] is None else None,
            result[2] if done and result is not None else None,
            named=False,
        )
    return found


def place(address: re.Match[str]) -> str:
    """ADDRESS PORT, or a path, of what strace writes."""
    port, inet, inet6, at, path = address.groups()
    return f"{inet or inet6} {port}" if path is None else f"{at}{path}".replace("\\33", "\x1b")


def read_ss(text: str) -> dict[int, Sight]:
    """Lines of ss -Htuxanp over time."""
    found: dict[int, tuple[list[str], set[str]]] = {}
    for line in text.splitlines():
        users = re.findall(r'\("([^"]*)",pid=(\d+)', line)
        words = line.split()
        if len(users) != 1 or words[1] in ("LISTEN", "UNCONN"):
            continue  # what several have, the scenarios have from the lab
        states, where = found.setdefault(int(users[0][1]), ([], set()))
        if words[1] not in states:
            states.append(words[1])
        peer = words[6] if words[0].startswith("u_") else words[5]
        host, _, port = peer.rpartition(":")
        where.add(f"{host.strip('[]')} {port}" if host else peer)
    return {
        pid: Sight(", ".join(states), frozenset(where), "ok" if "ESTAB" in states else None)
        for pid, (states, where) in found.items()
    }


def read_columns(
    pid: int, host: int, port: int, words: Callable[[list[str]], str]
) -> Callable[[str], dict[int, Sight]]:
    """Of tools that print a line of columns for each connection: which column is what."""

    def read(text: str) -> dict[int, Sight]:
        found = {}
        for line in text.splitlines():
            columns = line.split()
            if len(columns) > max(pid, host, port) and columns[pid].isdigit():
                where = frozenset([f"{columns[host]} {columns[port]}"])
                found[int(columns[pid])] = Sight(words(columns), where)
        return found

    return read


def attempt(columns: list[str]) -> str:
    return "attempt"


TOOLS = (
    Tool("dsight", [sys.executable, "-m", "dsight.ui.cli", "watch", "--json", "--comm", "w-*", "--unix", "--no-names"],
         "watching", read_dsight),
    Tool("tcpconnect (bcc)", ["tcpconnect-bpfcc"], "DPORT", read_columns(0, 4, 5, attempt)),
    Tool("tcplife (bcc)", ["tcplife-bpfcc"], "RPORT",
         read_columns(0, 4, 5, lambda c: f"closed after {c[8]} ms")),
    Tool("tcpconnect (bpftrace)", ["tcpconnect.bt"], "DPORT", read_columns(1, 5, 6, attempt)),
)  # fmt: skip
COLUMNS = ("dsight", "strace -f", "ss, each 100 ms", *(tool.name for tool in TOOLS[1:]))


# Running.


class Watching:
    """A tool, started; `ready()` waits until it is armed."""

    def __init__(self, tool: Tool, line: list[str]) -> None:
        self.tool = tool
        self.out = tempfile.TemporaryFile()
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPO / "src")}
        self.process = subprocess.Popen(line, stdout=self.out, stderr=subprocess.STDOUT, env=environment)

    def text(self) -> str:
        size = os.fstat(self.out.fileno()).st_size
        return os.pread(self.out.fileno(), size, 0).decode(errors="replace")

    def ready(self, patience: float) -> str | None:
        """None, or why it is not."""
        end = time.monotonic() + patience
        while self.tool.ready not in self.text():
            if self.process.poll() is not None:
                return why_not(self.text())
            if time.monotonic() > end:
                return f"not ready after {patience:.0f} s"
            time.sleep(0.05)
        return None

    def end(self) -> str:
        """What it printed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        text = self.text()
        self.out.close()
        return text


def why_not(text: str) -> str:
    """A line for people out of what a tool said when it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [
        line for line in lines if re.search("Unable to|Error attaching|not found", line) and "modprobe" not in line
    ]
    return (telling or lines or ["it ended"])[-1].split(". ")[0]


class Poll(threading.Thread):
    """ss in the labs' network namespaces, each 100 ms."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__()
        self.pids, self.over, self.lines = pids, threading.Event(), []

    def run(self) -> None:
        ours = os.stat("/proc/self/ns/net").st_ino
        while not self.over.wait(POLL):
            for pid in self.pids:
                try:
                    if os.stat(f"/proc/{pid}/ns/net").st_ino == ours:
                        continue
                except OSError:
                    continue
                line = ["nsenter", "-t", str(pid), "-n", "ss", "-Htuxanp"]
                self.lines += subprocess.run(line, capture_output=True, text=True).stdout.splitlines()


def run_labs(
    cases: Iterable[selftest.Case], before: list[str], patience: float, poll: bool
) -> tuple[dict[str, int], list[str]]:
    """Run the cases, in each lab those that are its own: their pids, and what ss said."""
    labs: dict[str, list[str]] = {}
    for case in cases:
        labs.setdefault(case.lab, []).append(case.name)
    environment = os.environ | {"PYTHONPATH": str(REPO / "src")}
    running = [
        subprocess.Popen(
            [*before, sys.executable, str(LABS / lab), *names], stdout=subprocess.PIPE, text=True, env=environment
        )
        for lab, names in labs.items()
    ]
    looking = Poll([process.pid for process in running])
    if poll:
        looking.start()
    try:
        said = [process.communicate(timeout=patience)[0] for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
        looking.over.set()
        if poll:
            looking.join()
    return {
        name: int(pid) for text in said for name, pid in (line.split() for line in text.splitlines())
    }, looking.lines


def compare(patience: float) -> dict:
    """All of it, as plain data: cases, what each tool said of each, which tools cannot run, versions."""
    from dsight.machine import Machine

    has_probe = selftest.probes_of(Machine())
    cases = [
        case
        for case in selftest.CASES  # names looked up are another thing than connections
        if case.lab != selftest.NAMES and selftest.missing(case.needs, has_probe) is None
    ]
    seen: dict[str, dict[str, Sight]] = {}
    cannot: dict[str, str] = {}
    started = []
    try:
        for tool in TOOLS:
            line = (
                [*tool.line, "--udp"]
                if tool.name == "dsight" and not selftest.missing("datagrams", has_probe)
                else tool.line
            )
            if line[0] != sys.executable and shutil.which(line[0]) is None:
                cannot[tool.name] = "not installed"
                continue
            one = Watching(tool, line)
            started.append(one)
            why = one.ready(patience)
            if why is not None:
                cannot[tool.name] = why
        pids, lines = run_labs(cases, [], patience, True)
        time.sleep(2)  # some print what they have once a second
    finally:
        said = {one.tool.name: one.end() for one in started}
    for tool in TOOLS:
        if tool.name in said and tool.name not in cannot:
            text = said[tool.name]
            seen[tool.name] = by_case(
                pids,
                tool.read("\n".join(x for x in text.splitlines() if x[:1] == "{") if tool.name == "dsight" else text),
            )
    seen["ss, each 100 ms"] = by_case(pids, read_ss("\n".join(lines)))
    with tempfile.TemporaryDirectory() as folder:
        trace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,io_uring_enter", "-o"]
        if shutil.which("strace"):
            for lab in dict.fromkeys(case.lab for case in cases):
                pids, _ = run_labs([c for c in cases if c.lab == lab], [*trace, f"{folder}/out"], patience, False)
                more = by_case(pids, read_strace(Path(folder, "out").read_text(errors="replace")))
                seen["strace -f"] = seen.get("strace -f", {}) | more
        else:
            cannot["strace -f"] = "not installed"
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "kprobes": os.path.exists("/sys/bus/event_source/devices/kprobe"),
        "cases": [case.name for case in cases],
        "seen": {
            tool: {case: [*s[:1], sorted(s[1]), *s[2:]] for case, s in mine.items()} for tool, mine in seen.items()
        },
        "cannot": cannot,
    }


def by_case(pids: dict[str, int], found: dict[int, Sight]) -> dict[str, Sight]:
    return {name: found[pid] for name, pid in pids.items() if pid in found}


# Judging and writing.


def tells_outcome(case: selftest.Case, s: Sight) -> bool:
    """Whether what came of it can be read: the errno, or that it is connected; or the outcome itself."""
    if case.error is not None:
        return s.error == case.error
    return s.outcome == case.outcome or (case.outcome == "connected" and s.outcome == "ok")


def same_place(one: Sight, other: Sight) -> bool:
    """Whether they agree on the destination; but for what is another in each run."""

    def steady(sight: Sight) -> set[str]:
        places = (re.sub(r"^/tmp/\w+/", "", where) for where in sight.destinations)
        return {re.sub(r" (3[3-9]|[45]\d|6[0-5])\d{3}$", " any", where) for where in places}

    return bool(steady(one) & steady(other))


def tells_cause(case: selftest.Case, s: Sight) -> bool:
    return case.code is not None and s.cause == case.code


def table(result: dict, columns: tuple[str, ...] = COLUMNS) -> list[str]:
    """Markdown: a row a scenario, and the counts."""
    known = {case.name: case for case in selftest.CASES}
    cases = [known[name] for name in result["cases"]]
    seen = {t: {c: Sight(s[0], frozenset(s[1]), *s[2:]) for c, s in mine.items()} for t, mine in result["seen"].items()}
    shown = [column for column in columns if column in seen]
    truth = seen["dsight"]
    out = ["| " + " | ".join(["what happens", *shown]) + " |", "|" + "---|" * (len(shown) + 1)]
    for case in cases:
        cells = [seen[column][case.name].words if case.name in seen[column] else "–" for column in shown]
        out.append("| " + " | ".join([case.title, *cells]) + " |")
    out += ["", "| of these | " + " | ".join(shown) + " |", "|" + "---|" * (len(shown) + 1)]
    caused = [case for case in cases if case.code is not None]
    counts: list[tuple[str, list[selftest.Case], Callable[[selftest.Case, Sight], bool]]] = [
        ("seen at all", cases, lambda c, s: True),
        ("with the process's name", cases, lambda c, s: s.named),
        ("with the destination", [c for c in cases if c.error != "EFAULT"], lambda c, s: same_place(s, truth[c.name])),
        ("with what came of it", cases, tells_outcome),
        ("with the cause", caused, tells_cause),
    ]
    for title, among, rule in counts:
        told = [sum(c.name in seen[t] and rule(c, seen[t][c.name]) for c in among) for t in shown]
        out.append("| " + " | ".join([title, *(f"{n} of {len(among)}" for n in told)]) + " |")
    out += ["", *(f"- {tool} cannot run on this kernel: {why}." for tool, why in result["cannot"].items())]
    return out


TEXT = """# The same failures, seen by others

What `dsight`, `strace -f`, `ss -tuxanp`, bcc's `tcpconnect` and `tcplife`, and bpftrace's `tcpconnect.bt` say of the
scenarios that `dsight selftest` makes. Made by `bench/compare.py --write`, {date}, with
{versions}.
Cells are what the tool said of the scenario's process; – is nothing. What `dsight` says is explained in
[connections.md](connections.md).

How it was counted, which is kind to the others: `ss` was asked ten times a second, in the scenario's own network
namespace, which an administrator would have to know first. `strace` ran the scenarios itself; on a machine where
nobody knows which process fails there is nothing to attach it to, and it stops the process at every call. It names no
process but by pid. *What came of it* is told if the errno can be read, or that it is connected. *The cause* is more
than the errno: who drops it, what listens instead, which queue is full. On the other hand the scenarios are `dsight`'s
own, and short: `ss` is good at what lasts, with its queues and timers, and `strace` sees all else that a process does,
among it getsockopt(2) with SO_ERROR, where a program asks that way.

`tcpconnect` tells that a SYN is about to be sent, `tcplife` that a TCP socket was closed: neither says what came of the
attempt, and they see no UDP, no UNIX sockets, and nothing that fails before a SYN.
"""


NOTES = (
    "The machine this was made on.",
    "In a virtual machine, for those that need kprobes; it is emulated, and too slow for a fair poll. Of UDP less can "
    "be seen before Linux 6.3: what cannot is left out.",
)
IN_GUEST = tuple(column for column in COLUMNS if column not in ("strace -f", "ss, each 100 ms"))


def page(results: list[dict]) -> str:
    """docs/comparison.md."""
    packages = ["strace", "iproute2", "bpfcc-tools", "bpftrace"]
    line = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *packages]
    versions = subprocess.run(line, capture_output=True, text=True).stdout.rstrip(", ")
    out = [TEXT.format(date=time.strftime("%Y-%m-%d"), versions=versions)]
    for result, note, columns in zip(results, NOTES, (COLUMNS, IN_GUEST)):
        kprobes = "with" if result["kprobes"] else "without"
        out += [f"## {result['kernel']}, {kprobes} kprobes", "", note, "", *table(result, columns), ""]
    return "\n".join(out).rstrip() + "\n"


def in_guest() -> dict:
    """compare() in a virtual machine with Debian's kernel."""
    sys.path.insert(0, str(REPO / "tests" / "vm"))
    import conftest

    why = conftest.missing()
    if why is None and not any(conftest.CACHE.glob("kernel/lib/modules/*/kernel/drivers/net/veth.ko")):
        why = f"the kernel in {conftest.CACHE} has no veth: remove it, and run tools/vm-kernel"
    if why:
        sys.exit(why)
    with conftest.booted() as guest:
        done = guest.run(f"{sys.executable} bench/compare.py --json --patience 240", timeout=1200)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the findings as they are")
    parser.add_argument("--write", action="store_true", help="docs/comparison.md")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS", help="with each tool, each run")
    given = parser.parse_args()
    result = compare(given.patience)
    if given.write:
        PAGE.write_text(page([result, in_guest()]))
    else:
        print(json.dumps(result) if given.json else "\n".join(table(result)))
