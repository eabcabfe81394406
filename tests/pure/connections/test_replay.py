"""A recording says again what the watch has said; what is cut off, foreign or made up is told in one message."""

from __future__ import annotations

import json
import os
import random
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.pure.connections.test_watch import Host, records

from dsight.connections.host import Listening, Owner
from dsight.connections.model import Lost, Report, to_json
from dsight.connections.naming import Names
from dsight.connections.parts import kinds
from dsight.connections.recorder import Recorder, header
from dsight.connections.replay import Recording
from dsight.connections.watch import Selection
from dsight.errors import UsageError
from dsight.ui import replay_cli

S = T = 1_000_000_000
OWN = os.getpid()
OPTIONS = {"udp": False, "unix": False, "tcp": True, "names": False, "expect": [], "hosts": {}}


class Changes(Host):
    """Knows what it is asked until its namespace goes."""

    def listening(self, netns: int | None, pid: int, protocol: int = 6) -> tuple[Listening, ...] | None:
        return None if self.gone else (Listening("0.0.0.0", 8080, 5), Listening("::", 22, 6))

    def overflows(self, netns: int | None, pid: int) -> int | None:
        return None if self.gone else next(self.dropped)

    def owner(self, inode: int) -> Owner | None:
        return Owner(9, "se\x1b[2Jv") if inode == 5 else None


def record(path: Path, selection: Selection | None = None, roots: frozenset[int] | None = None) -> list[Report]:
    """A watch of a few attempts, with what goes wrong on the way; its reports."""
    selection = Selection() if selection is None else selection
    host = Changes(0, 3, 5)
    recorder = Recorder(str(path), lambda text: pytest.fail(text))
    trackers = kinds(lambda name, number: True, lambda name: True, others=False).trackers
    watcher = recorder.watcher(host, selection, roots, trackers, Names())
    recorder.begin(header("0.1.0", 1_700_000_000 * S, selection, roots or (), OPTIONS), watcher)
    reports: list = []
    if roots:
        watcher.adopt({OWN})
    for number, pid in enumerate((OWN, 4194400, 4194401)):
        for where in ("10.0.0.1", "10.0.0.9"):
            for row in records(pid, where, 80 + number, comm=f"a\x1b[2J{number}"):
                reports += watcher.feed(row)
            reports += watcher.tick(T + number * S)
        host.gone = number == 1
    for row in records(OWN, "10.0.0.1", 99)[:2]:
        reports += watcher.feed(row)
    reports += watcher.tick(5 * S)
    reports += watcher.stop(6 * S)
    reports.append(Lost(6 * S, 3, "here"))
    recorder.lost(reports[-1])
    recorder.close()
    return reports


def again(path: Path, **selection: object) -> list[Report]:
    recording = Recording(str(path))
    watcher = recording.watcher(recording.selection.replace(**selection), recording.roots or None)
    reports = [report for step in recording.play(watcher) for report in step.reports]
    recording.close()
    assert recording.trouble is None
    return reports


def said(reports: list[Report]) -> list[dict]:
    return [to_json(report, 0) for report in reports]


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"failed": True},
        {"ports": frozenset({81}), "networks": (ip_network("10.0.0.0/24"),)},
        {"comms": ("a*0",), "outcomes": frozenset({"pending", "refused"})},
    ],
)
def test_the_same_reports(tmp_path: Path, selection: dict) -> None:
    live = record(tmp_path / "r", Selection(**selection))
    assert said(again(tmp_path / "r")) == said(live) and len(live) > 2
    assert os.stat(tmp_path / "r").st_mode & 0o777 == 0o600


def test_descendants_are_known_again(tmp_path: Path) -> None:
    live = record(tmp_path / "r", roots=frozenset({4194400}))
    assert {r.process.pid for r in live if isinstance(r, Report)} == {OWN, 4194400}
    assert said(again(tmp_path / "r")) == said(live)


def test_a_part_of_it(tmp_path: Path) -> None:
    live = record(tmp_path / "r")
    wanted = [r for r in live if not isinstance(r, Report) or r.remote.port == 81]
    assert said(again(tmp_path / "r", ports=frozenset({81}))) == said(wanted)
    record(tmp_path / "f", Selection(failed=True))
    assert {r.event for r in again(tmp_path / "f", failed=False)[:-1]} == {"attempt", "outcome", "hanging"}


def replay(capfd: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, str, str]:
    code = replay_cli.main([*options, str(path)])
    out, err = capfd.readouterr()
    return code, out, err


def test_faces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    live = record(tmp_path / "r")
    code, out, err = replay(capfd, tmp_path / "r", "--json")
    assert (code, err) == (0, "") and [json.loads(line)["event"] for line in out.splitlines()] == [
        r.event if isinstance(r, Report) else "lost" for r in live
    ]
    code, out, _ = replay(capfd, tmp_path / "r", "--port", "80", "--comm", "a*", "--user", "0")
    assert code == 0 and "10.0.0.9:80" in out and ":81" not in out and "attempts by" in out and "\x1b" not in out
    assert replay(capfd, tmp_path / "r", "--no-summary", "--user", "4711")[1].splitlines()[1:] == [
        "3 events were lost (here)"
    ]
    assert replay(capfd, tmp_path / "r", "--expect", "10.0.0.9:80")[0] == 3
    assert "attempted but refused" in replay(capfd, tmp_path / "r", "--expect", "10.0.0.9:80")[1]
    with pytest.raises(UsageError, match="not a port"):
        replay(capfd, tmp_path / "r", "--port", "x")


def test_what_is_cut_off_is_shown_as_far_as_it_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "r")
    lines = (tmp_path / "r").read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b"tick" in line)  # the first attempt has ended
    foreign = b"\0\xff{[\n"
    for end, why in (
        (b"", "it was not finished"),
        (lines[at][:-5], f"line {at + 1} is cut"),
        (foreign, f"line {at + 1} is not"),
    ):
        (tmp_path / "c").write_bytes(b"".join(lines[:at]) + end)
        code, out, err = replay(capfd, tmp_path / "c")
        assert code == 1 and "refused" in out and "1 attempt by 1 process" in out
        assert err.count("\n") == 1 and f"breaks off: {why}" in err


def test_what_was_open_where_it_breaks_off_is_pending_since_it_began(tmp_path: Path) -> None:
    record(tmp_path / "r")
    lines = (tmp_path / "r").read_bytes().splitlines(keepends=True)
    (tmp_path / "c").write_bytes(b"".join(lines[: next(n for n, line in enumerate(lines) if line[:4] == b"[14,") + 1]))
    recording = Recording(str(tmp_path / "c"))
    (step,) = recording.play(recording.watcher(recording.selection, None))
    assert step.last and [r.event for r in step.reports] == ["attempt", "outcome"]
    assert isinstance(step.reports[1], Report) and step.reports[1].latency_ns == 0


def test_what_is_no_recording(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "r")
    head = json.loads((tmp_path / "r").read_bytes().splitlines()[0])
    for text, why in (
        ("", "not a recording"),
        ("\x7fELF\n", "not a recording"),
        ('{"dsight": "other"}\n', "not a recording"),
        ("[" * 100_000 + "\n", "not a recording"),
        (json.dumps(head | {"format": 99}) + "\n", "another version"),
        (json.dumps(head | {"selection": {}}) + "\n", "damaged"),
        (json.dumps(head | {"roots": "x"}) + "\n", "damaged"),
        (json.dumps(head | {"options": {}}) + "\n", "damaged"),
    ):
        (tmp_path / "n").write_text(text)
        with pytest.raises(UsageError, match=why):
            replay(capfd, tmp_path / "n")
    with pytest.raises(UsageError, match="cannot read"):
        replay(capfd, tmp_path / "none")
    # Of a version that says something else with the same tag.
    other = head | {"version": "0.9", "values": head["values"] | {"14": ["time", "something"]}}
    rest = (tmp_path / "r").read_text().split("\n", 1)[1]
    (tmp_path / "n").write_text(json.dumps(other) + "\n" + rest)
    code, _, err = replay(capfd, tmp_path / "n")
    assert code == 1 and "as dsight 0.9 made it" in err


WEIRD = [
    None,
    True,
    -1,
    1 << 70,
    1e400,
    "",
    "\x1b[2J\udcff",
    [],
    [[]],
    {"b": "AAAA"},
    {"b": "?"},
    {"x": 1},
    99999999999,
]


def spoilt(value: object) -> object:
    """Something in it is something else."""
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        return [*value[:at], spoilt(value[at]), *value[at + (random.random() < 0.95) :]]
    return random.choice(WEIRD)


def test_strangers_files_do_no_harm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever stands in it: an end of its own, one message at most, and nothing that moves a terminal."""
    record(tmp_path / "r")
    head, *rest = (tmp_path / "r").read_text().splitlines()
    random.seed(7)
    for n in range(150):
        lines = list(rest)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(lines))
            lines[at] = json.dumps(spoilt(json.loads(lines[at])))
        (tmp_path / "x").write_text("\n".join([head, *lines, ""]))
        code, out, err = replay(capfd, tmp_path / "x", *(["--json"] if n % 2 else []))
        assert code in (0, 1) and (code == 0) == (err == "") and err.count("\n") == code
        assert not set(out + err) & {"\x1b", "\udcff"}


def test_a_full_disk_ends_the_recording_only() -> None:
    told: list[str] = []
    recorder = Recorder("/dev/full", told.append)
    watcher = recorder.watcher(Host(), Selection(), None, (), None)
    recorder.begin(header("0.1.0", 0, Selection(), (), OPTIONS), watcher)
    reports = [r for row in records(4194400) for r in watcher.feed(row)] + watcher.tick(T)
    recorder.close()
    assert [r.event for r in reports] == ["attempt", "outcome"]
    assert told == ["the recording /dev/full ends here: no space left on device"]
    with pytest.raises(UsageError, match="cannot write"):
        Recorder("/no/such/folder/x", told.append)
