"""What this host says of sockets: their owners, and how much looking for them may cost."""

from __future__ import annotations

import os
import socket

import pytest

from dsight.connections import host as module
from dsight.connections.host import KernelHost


def test_the_owner_of_a_socket() -> None:
    with socket.socket() as mine:
        owner = KernelHost().owner(os.fstat(mine.fileno()).st_ino)
        assert owner is not None and owner.pid == os.getpid()


def test_new_sockets_are_looked_for_again_but_seldom_where_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now, scans, takes = [100.0], [], 0.5

    def sockets() -> dict[int, tuple[int, str]]:
        scans.append(now[0])
        now[0] += takes
        return {}

    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_sockets", sockets)
    host = KernelHost()
    for inode in range(2000):  # 100 s, at 20 new ones in a second
        assert host.owner(inode) is None
        now[0] += 0.05
    assert 8 <= len(scans) <= 11, "0.5 s each, a twentieth of the time"
    takes, before = 0.001, len(scans)
    now[0] += 100
    for inode in range(2000, 2200):
        host.owner(inode)
        now[0] += 0.05
    assert len(scans) - before >= 30, "where it is quick, a new listener is known at once"


def test_what_nobody_holds_is_not_looked_for_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener of a process that is not visible here; another one is looked for all the same."""
    now, scans = [100.0], []
    held: dict[int, tuple[int, str]] = {}

    def sockets() -> dict[int, tuple[int, str]]:
        scans.append(now[0])
        return dict(held)

    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_sockets", sockets)
    monkeypatch.setattr(module, "_readlink", lambda path: path)
    host = KernelHost()
    for _ in range(90):
        assert host.owner(5) is None
        now[0] += 0.1
    assert len(scans) == 1
    held[6] = (os.getpid(), "socket:[6]")
    found = host.owner(6)
    assert found is not None and found.pid == os.getpid() and len(scans) == 2
    held[5] = (os.getpid(), "socket:[5]")
    now[0] += 10
    assert host.owner(5) is not None


def test_names_of_an_address_in_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process whose lookups are not seen, since it has no C library."""
    text = "# 127.0.0.1 old\n127.0.0.1\tlocalhost db1 # x\n::1 localhost\n\n127.0.0.1 db1 db2\n127.0.0.10 other\n"
    files = {"/proc/7/root/etc/hosts": text, "/proc/7/maps": "400000-401000 r-xp 00000000 08:01 7 /srv/shop\n"}
    monkeypatch.setattr(module, "read_text", files.get)
    host = KernelHost(keep=0)
    assert host.named("127.0.0.1", 7) == ("db1", "db2")
    assert host.named("127.0.0.2", 7) == host.named("::1", 7) == host.named("127.0.0.1", 8) == ()
    files["/proc/7/maps"] += "7f0000-7f1000 r-xp 00000000 08:01 8 /usr/lib/x86_64-linux-gnu/libc.so.6\n"
    assert host.named("127.0.0.1", 7) == ()
