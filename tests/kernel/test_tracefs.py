from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsight.kernel import syscalls, tracefs
from dsight.kernel.tracefs import EventField, TraceFs

pytestmark = pytest.mark.kernel


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("mounted", [tracefs._MOUNTED, "/nonexistent"])
def test_events_are_listed_without_changing_the_machine(mounted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "_MOUNTED", mounted)
    before = [line for line in mounts().splitlines() if "tracefs" in line]
    fs = TraceFs.open()
    assert {"sched", "syscalls", "sock"} <= set(fs.systems())
    assert "inet_sock_set_state" in fs.events("sock")
    assert fs.events("nonesuch") == []
    number = fs.id("sock", "inet_sock_set_state")
    assert number and number != fs.id("sched", "sched_switch")
    assert fs.id("sock", "nonesuch") is None and fs.id("nonesuch", "x") is None
    assert fs.format("sock", "nonesuch") == ()
    fs.close()
    fs.close()
    assert [line for line in mounts().splitlines() if "tracefs" in line] == before


def test_format_of_a_real_event() -> None:
    fs = TraceFs.open()
    fields = {f.name: f for f in fs.format("sched", "sched_switch")}
    for field in fs.format("sock", "inet_sock_set_state"):
        assert field.size > 0
    fs.close()
    assert fields["common_type"] == EventField("common_type", "unsigned short", 0, 2, False)
    assert fields["prev_comm"].type == "char[16]" and fields["prev_comm"].size == 16
    assert fields["prev_pid"].type == "pid_t" and fields["prev_pid"].signed


def test_every_syscall_event_has_a_number() -> None:
    fs = TraceFs.open()
    names = fs.syscall_names()
    fs.close()
    assert len(names) > 300
    known = syscalls.numbers()
    assert [name for name in names if syscalls.of_entry(name) not in known] == []
    assert syscalls.entry("stat") in names if os.uname().machine == "x86_64" else True


def test_debugfs_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracefs, "_MOUNTED", "/nonexistent")
    monkeypatch.setattr(tracefs, "_OLD_MOUNT", str(tmp_path))

    def refuse() -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(tracefs, "_detached", refuse)
    from dsight.errors import FeatureError

    with pytest.raises(FeatureError, match="no tracefs"):
        TraceFs.open()
    (tmp_path / "events" / "sched" / "sched_switch").mkdir(parents=True)
    (tmp_path / "events" / "sched" / "sched_switch" / "id").write_text("7\n")
    fs = TraceFs.open()
    assert fs.systems() == ["sched"] and fs.id("sched", "sched_switch") == 7
    fs.close()
