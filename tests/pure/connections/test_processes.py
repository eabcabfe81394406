"""Identity: the kernel's copy first, /proc only while it is the same process."""

from __future__ import annotations

import os

from dsight.connections.events import Who
from dsight.connections.host import read_text
from dsight.connections.processes import Processes, arguments, cgroup_of, place_of, start_ticks

HEX = "0123456789abcdef" * 4


def who(pid: int, start: int, args: bytes | None = b"app\0-x\0", size: int = 7) -> Who:
    return Who(0, pid, pid, "app", 0, start, 1, ((1, "init"),), args=args, args_size=size)


def my_start() -> int:
    stat = read_text("/proc/self/stat")
    assert stat is not None
    return start_ticks(stat) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def test_same_process() -> None:
    process = Processes().process(who(os.getpid(), my_start()), 7)
    assert process.exe == os.readlink("/proc/self/exe") and process.user == "root" and process.netns == 7
    assert process.args == ("app", "-x")  # frozen, whatever /proc says now
    assert process.ppid == 1 and process.cgroup is not None


def test_pid_used_again_by_another() -> None:
    process = Processes().process(who(os.getpid(), my_start() + 10_000_000_000), 7)
    assert process.exe is None and process.cgroup is None and process.args == ("app", "-x")


def test_gone() -> None:
    process = Processes().process(who(4194305, 5, None), None)
    assert process.exe is None and process.args is None and process.comm == "app"


def test_arguments() -> None:
    assert arguments(who(1, 1, b"", 0), ("else",)) == ()
    assert arguments(who(1, 1, None), ("cat", "x")) == ("cat", "x")
    assert arguments(who(1, 1, b"a\0\0b\0", 5), None) == ("a", "", "b")
    assert arguments(who(1, 1, b"a\0\xff\0", 4), None) == ("a", "\udcff")
    # Cut: /proc knows the rest, if it still is the same line.
    assert arguments(who(1, 1, b"a\0bb\0cc", 99), ("a", "bb", "cccc", "d")) == ("a", "bb", "cccc", "d")
    assert arguments(who(1, 1, b"a\0bb\0cc", 99), ("z", "bb", "cccc")) == ("a", "bb", "cc")


def test_stat_with_a_hostile_comm() -> None:
    assert start_ticks("5 (a) b) S " + " ".join(str(n) for n in range(1, 30))) == 19


def test_cgroups() -> None:
    assert cgroup_of("3:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n") == (
        "/system.slice/a.service",
        False,
    )
    assert cgroup_of("0::/user.slice/session-1.scope\n") == ("/user.slice/session-1.scope", True)
    assert cgroup_of("4:memory:/long/path\n3:cpu:/\n1:name=systemd:/\n0::/\n") == ("/long/path", False)
    assert place_of(f"/system.slice/docker-{HEX}.scope") == (HEX[:12], f"docker-{HEX}.scope")
    assert place_of(f"/docker/{HEX}") == (HEX[:12], None)
    assert place_of("/user.slice/user-0.slice/user@0.service/app.slice/x.service") == (None, "x.service")
    assert place_of(None) == (None, None) and place_of("/") == (None, None)
