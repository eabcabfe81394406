"""What the kernel left open of a filter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsight.connections.host import Owner
from dsight.kernel import cgroups
from dsight.packets.choice import Choice, within
from dsight.packets.script import Filter

US = Owner(os.getpid(), "python")
GONE = Owner(1 << 30, "gone")


def test_all_is_taken_where_nothing_is_asked() -> None:
    assert Choice(Filter()).takes(None, 1)


def test_descent_is_what_the_kernel_said() -> None:
    choice = Choice(Filter(pids=frozenset({7})))
    child = Owner(8, "child")
    assert not choice.takes(child, 2) and not choice.takes(None, 2)
    assert choice.takes(child, 1)
    assert choice.takes(child, 2)  # an ICMP message of its flow
    assert choice.takes(Owner(7, "x"), 2)


def test_names_with_wildcards_the_kernel_does_not_know() -> None:
    choice = Choice(Filter(comms=("p?thon", "x[ab]")))
    assert choice.takes(US, 1) and choice.takes(Owner(9, "xa"), 2)
    assert not choice.takes(Owner(9, "xc"), 1)


def test_a_user_is_asked_for_once() -> None:
    choice = Choice(Filter(uids=frozenset({os.getuid()})))
    assert choice.takes(US, 2) and not choice.takes(GONE, 2)
    assert choice.takes(Owner(1 << 30, "seen"), 1) and choice.takes(Owner(1 << 30, "seen"), 2)
    assert not Choice(Filter(uids=frozenset({4242}))).takes(US, 2)


def test_a_cgroup_and_all_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system" / "web").mkdir(parents=True)
    monkeypatch.setattr(cgroups, "mount", lambda: str(tmp_path))
    system, web = (path.stat().st_ino for path in (tmp_path / "system", tmp_path / "system" / "web"))
    assert within("0::/system/web\n", ((1, system),)) and within("0::/system/web\n", ((2, web),))
    assert within("0::/system/web\n", ((0, tmp_path.stat().st_ino),))
    assert not within("0::/system\n", ((2, web),)) and not within("0::/system/web\n", ((1, web),))
