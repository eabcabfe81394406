"""`dsight watch --json` beside labs of connections, programs that print `CASE PID`: what was said of each case."""

from __future__ import annotations

import os
import signal
import sys
import time

from dsight.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DSIGHT = [sys.executable, "-m", "dsight.ui.cli", "watch", "--json"]
PATIENCE = 60  # s, for a lab; the slowest takes a few


def environment() -> dict[str, str]:
    """Of programs that import this dsight, wherever it lies."""
    import dsight

    above = os.path.dirname(os.path.dirname(os.path.abspath(dsight.__file__)))
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in (above, os.environ.get("PYTHONPATH")) if p)}


class Watching:
    """A watcher, armed; `end()` stops it and gives all it said.  Error: it could not be armed, or failed."""

    def __init__(self, *options: str) -> None:
        from subprocess import PIPE, Popen
        from tempfile import TemporaryFile

        # Not a pipe: it would fill, and the watcher wait for its reader.
        self.out = TemporaryFile()  # noqa: SIM115
        self.process = Popen([*DSIGHT, *options], stdout=self.out, stderr=PIPE, env=environment())
        assert self.process.stderr is not None
        said = b""
        while b"watching" not in said:
            line = self.process.stderr.readline()
            said += line
            if not line:
                self.kill()
                raise Error(said.decode(errors="replace").strip().removeprefix("dsight: "))

    def end(self) -> list[dict[str, Any]]:
        from json import loads

        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=30)
        if self.process.returncode:
            raise Error(f"the watcher ended with status {self.process.returncode}: {err.decode(errors='replace')}")
        self.out.seek(0)
        return [loads(line) for line in self.out.read().splitlines()]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.out.close()


class Lab:
    """A lab that runs some of its cases; `end()` waits for it and gives the cases by pid."""

    def __init__(self, path: str, cases: Sequence[str]) -> None:
        from subprocess import PIPE, Popen

        self.process = Popen([sys.executable, path, *cases], stdout=PIPE, stderr=PIPE, env=environment())

    def end(self) -> dict[int, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        if self.process.returncode:
            lines = err.decode(errors="replace").strip().splitlines()
            raise Error(f"the lab could not be made: {lines[-1] if lines else self.process.returncode}")
        return {int(line.split()[1]): line.split()[0].decode() for line in out.splitlines()}

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def watched(
    labs: Sequence[tuple[str, Sequence[str]]], *watchers: Sequence[str]
) -> list[dict[str, list[dict[str, Any]]]]:
    """Cases of labs (the path of each, and which), all at once, under several watchers, each with its
    options: the reports by case, those of lost events under "lost"."""
    running: list[Watching] = []
    made: list[Lab] = []
    try:
        for options in watchers:
            running.append(Watching("--comm", "w-*", "--comm", "n-*", *options))
        for path, cases in labs:
            made.append(Lab(path, cases))
        pids = {pid: name for lab in made for pid, name in lab.end().items()}
        time.sleep(0.3)
        found = []
        for one in running:
            by_case: dict[str, list[dict[str, Any]]] = {name: [] for name in (*pids.values(), "lost")}
            for report in one.end():
                name = "lost" if report["event"] == "lost" else pids.get(report["process"]["pid"])
                if name is not None:  # else somebody else's process of such a name
                    by_case[name].append(report)
            found.append(by_case)
        return found
    finally:
        for lab in made:
            lab.kill()
        for one in running:
            one.kill()
