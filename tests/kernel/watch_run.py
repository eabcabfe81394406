"""`dsight watch --json` beside a lab of connections: what it said of each case."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

DSIGHT = [sys.executable, "-m", "dsight.ui.cli", "watch", "--json"]
FOLDER = pathlib.Path(__file__).parent


class Watching:
    """A watcher, armed; `end()` stops it and gives all it said."""

    def __init__(self, *options: str) -> None:
        # Not a pipe: it would fill, and the watcher wait for its reader.
        self.out = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen([*DSIGHT, *options], stdout=self.out, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        assert b"watching" in self.process.stderr.readline()

    def end(self) -> list[dict]:
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        self.out.seek(0)
        reports = [json.loads(line) for line in self.out.read().splitlines()]
        assert [r for r in reports if r["event"] == "lost"] == []
        return reports

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.out.close()


def watched(lab: str, cases: list[str], *watchers: list[str]) -> list[dict[str, list[dict]]]:
    """Cases of a lab under several watchers at once, each with its options: the reports by case."""
    running = []
    try:
        for options in watchers:
            running.append(Watching("--comm", "w-*", *options))
        line = [sys.executable, str(FOLDER / lab), *cases]
        done = subprocess.run(line, stdout=subprocess.PIPE, timeout=60, check=True)
        time.sleep(0.3)
        pids = {int(li.split()[1]): li.split()[0].decode() for li in done.stdout.splitlines()}
        found = []
        for one in running:
            by_case: dict[str, list[dict]] = {name: [] for name in pids.values()}
            for report in one.end():
                by_case[pids[report["process"]["pid"]]].append(report)
            found.append(by_case)
        return found
    finally:
        for one in running:
            one.kill()


def told(report: dict) -> tuple[object, ...]:
    """The facts of an outcome that tests compare."""
    remote = report["remote"]
    where = remote.get("path") or f"{remote['address']}:{remote['port']}"
    code = (report["diagnosis"] or {"code": None})["code"]
    return (report["via"], report["outcome"], report["error"], code, where, remote["self"])
