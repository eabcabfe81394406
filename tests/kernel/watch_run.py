"""`dsight watch --json` beside a lab of connections: what it said of each case."""

from __future__ import annotations

import pathlib

from dsight.testing import labs
from dsight.testing.watch_run import DSIGHT, Watching
from dsight.testing.watch_run import watched as watched_labs

__all__ = ["DSIGHT", "Watching", "told", "watched"]
FOLDERS = (pathlib.Path(__file__).parent, pathlib.Path(labs.__file__).parent)


def watched(lab: str, cases: list[str], *watchers: list[str]) -> list[dict[str, list[dict]]]:
    """Cases of a lab under several watchers at once, each with its options: the reports by case."""
    path = next(folder / lab for folder in FOLDERS if (folder / lab).exists())
    found = watched_labs([(str(path), cases)], *watchers)
    assert all(by_case.pop("lost") == [] for by_case in found)
    return found


def told(report: dict) -> tuple[object, ...]:
    """The facts of an outcome that tests compare."""
    remote = report["remote"]
    where = remote.get("path") or f"{remote['address']}:{remote['port']}"
    code = (report["diagnosis"] or {"code": None})["code"]
    return (report["via"], report["outcome"], report["error"], code, where, remote["self"])
