"""The summary: what is counted together, in which order, how wide, as JSON; percentiles; bounds."""

from __future__ import annotations

import io
import json
import random

import pytest
from reports import S, lookup, report

from dsight.connections.lives import Life
from dsight.connections.model import Diagnosis, Endpoint, Lost, Report
from dsight.ui import summary
from dsight.ui.jsonl import JsonFace
from dsight.ui.summary import Summary, Times
from dsight.ui.text import TextFace
from dsight.ui.words import width


def plain(colour: str, text: str) -> str:
    return text


def closed(by: str = "us", received: int = 7, **more: object) -> Report:
    life = Life(2 * S, 1500, received, 1, 40, by)
    return report("closed", life=life, latency_ns=None, diagnosis=None).replace(**more)


def test_percentiles_are_those_of_all_times_within_a_sixteenth() -> None:
    random.seed(4)
    for spread in (30, 10**6, 10**11):
        sample = sorted(random.randrange(spread) for _ in range(997))
        times = Times()
        for ns in sample:
            times.add(ns)
        said = times.json()
        assert said is not None and said.pop("max") == sample[-1]
        for name, at in (("p50", 498), ("p90", 897), ("p99", 987)):
            assert sample[at] <= said[name] <= sample[at] * 1.0625 + 1
    one = Times()
    one.add(1_234_567)
    assert one.json() == {"p50": 1_234_567, "p90": 1_234_567, "p99": 1_234_567, "max": 1_234_567}
    assert Times().json() is None


def test_times_take_little_memory() -> None:
    times = Times()
    for n in range(5000):
        times.add(n * n * n)
    assert len(times._buckets) < 16 * 40


def rows(*reports: object, columns: int | None = None) -> list[list[str]]:
    found = Summary()
    for one in reports:
        found.see(one)  # type: ignore[arg-type]
    return [line.split() for line in found.lines(plain, columns)]


def test_what_hangs_is_counted_until_its_outcome() -> None:
    hangs = [report("hanging", "h", time=n * S) for n in (1, 2)]
    said = rows(
        report("attempt", "h"), *hangs, report("outcome", "x", "refused", 5), report("outcome", "y", "connected")
    )
    assert " ".join(said[0]) == "2 attempts, 1 without an answer yet, by 1 process"
    assert [row[:2] for row in said[2:]] == [["refused", "1"], ["hanging", "1"], ["connected", "1"]]
    after = rows(*hangs, report("outcome", "h", "timed-out", 9 * S))
    assert [row[0] for row in after[2:]] == ["timed-out"] and after[0] == "1 attempt by 1 process".split()


def test_a_race_that_was_lost_is_no_failure() -> None:
    lost = report("outcome", "r", "aborted", 5, diagnosis=Diagnosis("race-lost", "another address answered"))
    gave_up = report("outcome", "g", "aborted", 5, diagnosis=Diagnosis("gave-up", "stopped waiting"))
    said = rows(lost, gave_up, report("outcome", "c", "connected", 5))
    assert [" ".join(row)[-15:] for row in said[2:]] == [
        "stopped waiting",
        "app 10.0.0.9:9300 0 µs"[-15:],
        "ddress answered",
    ]


def test_the_same_again_is_found_quickly_and_rightly() -> None:
    tcp = report("outcome", "t", "refused", 5)
    others = [tcp, tcp.replace(protocol="udp"), tcp.replace(outcome="aborted"), tcp.replace(diagnosis=None)]
    others += [tcp.replace(remote=tcp.remote.replace(name="db1")), report("outcome", "t", "refused", 5, "other")]
    found = Summary()
    for _ in range(3):
        for one in others:
            found.see(one)
    assert [g["count"] for g in found.json(0, 0)["groups"]] == [3] * len(others)
    assert len(found._quick) == len(others)


def test_ends_have_a_table_of_their_own() -> None:
    accepted = closed("peer", via="accept", local=Endpoint("10.0.0.1", 80))
    other = accepted.replace(remote=Endpoint("10.0.0.9", 4711))
    said = rows(report("outcome", "a", "connected", 5), closed(), closed(), accepted, other)
    at = said.index("4 connections that ended".split())
    assert said[at + 1] == "ENDED BY COUNT PROCESS DESTINATION SENT RECEIVED AGAIN P50 P90 P99 MAX".split()
    numbers = "3.0 kB 14 B 2 2.0 s 2.0 s 2.0 s 2.0 s"
    assert " ".join(said[at + 2]) == f"this side 2 app 10.0.0.9:9300 {numbers}"
    assert " ".join(said[at + 3]) == f"the peer 2 app at 10.0.0.1:80 {numbers}"
    reset = closed("reset", 0, diagnosis=Diagnosis("reset-after-connect", "reset before a byte came back"))
    assert [row[0] for row in rows(reset)[2:]] == ["reset"]


@pytest.mark.parametrize("columns", [60, 80, 99, 100, 140])
def test_it_fits_the_terminal(columns: int) -> None:
    found = Summary()
    for n in range(30):
        text = "10.0.0.9 answered with a reset, and that is told with many words " * 2
        name = report("outcome", str(n), "refused", n * S, diagnosis=Diagnosis("refused-by-peer", text))
        found.see(name.replace(remote=Endpoint("2001:db8:1234:5678:9abc:def0:1234:5678", 65000)))
        found.see(closed(remote=Endpoint("2001:db8:1234:5678:9abc:def0:1234:5678", 65000)))
    lines = found.lines(plain, columns)
    assert max(width(line) for line in lines) <= columns + (20 if columns < 80 else 0)
    assert sum("refused" in line for line in lines) == 1 and "30" in lines[2]


def test_groups_are_bounded_and_what_is_beyond_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "GROUPS", 100)
    found = Summary()
    for n in range(150):
        found.see(report("outcome", str(n), "refused", 1).replace(remote=Endpoint("10.0.0.9", n)))
    found.see(Lost(0, 3, "somewhere"))
    found.see(Lost(0, 1, "the account of attempts", 151, 150))
    lines = found.lines(plain)
    assert lines[0] == "150 attempts by 1 process"
    assert lines[-2:] == ["and 40 more, of 40 other kinds", "and 50 more, of other kinds"]
    said = found.json(0, 0)
    assert (len(said["groups"]), said["others"], said["attempts"], said["lost"]) == (100, 50, 150, 3)


def test_json() -> None:
    out = io.StringIO()
    face = JsonFace(out, 1_700_000_000 * S, summary=True)
    face.show([report("outcome", "a", "refused", 5), lookup(error="EAI_NONAME", code="name-not-found"), closed()])
    face.finish(60 * S)
    said = json.loads(out.getvalue().splitlines()[-1])
    assert said["event"] == "summary" and said["time"] == "2023-11-14T22:14:20.000000000Z"
    failed, refused, ended = said["groups"]
    assert (failed["name"], failed["error"], failed["diagnosis"]["code"]) == ("db1", "EAI_NONAME", "name-not-found")
    assert refused["process"] == {"comm": "app", "label": "app"}
    assert (refused["address"], refused["port"], refused["outcome"], refused["count"]) == (
        "10.0.0.9",
        9300,
        "refused",
        1,
    )
    assert refused["latency_ns"] == {"p50": 5, "p90": 5, "p99": 5, "max": 5}
    assert (ended["bytes_sent"], ended["bytes_received"], ended["closed_by"]) == (1500, 7, "us")
    quiet = io.StringIO()
    JsonFace(quiet, 0).finish(0)
    assert quiet.getvalue() == ""


@pytest.mark.parametrize("live", [True, False])
def test_on_demand_it_stands_between_the_lines(live: bool) -> None:
    out = io.StringIO()
    face = TextFace(out, 0, live=live, size=lambda: (80, 24))
    face.sum_up(S)
    assert "no attempts" in out.getvalue()
    face.show([report("outcome", "a", "refused", 5)])
    face.sum_up(2 * S)
    face.show([report("outcome", "b", "refused", 5)])
    text = out.getvalue()
    assert text.index("1 attempt by 1 process") < text.rindex("answered with a reset")
