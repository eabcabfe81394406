"""What is at an address of a process: the formats of the kernel's answers, and this very process."""

import ctypes
import os
import struct
import subprocess
import sys

import pytest

from dsight.kernel import mmaps
from dsight.kernel.processes import Mapping, Processes, _own_vdso, open_regular, parse_maps

MAPS = b"""\
55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1234                       /usr/bin/with blank
55d0c8a02000-55d0c8a04000 r-xp 00002000 fe:01 1234                       /usr/bin/with blank
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0                          [vdso]
7ffd00000000-7ffd00001000 r-xp 00000000 00:01 77                         /tmp/gone (deleted)
nonsense
"""


def test_maps():
    got = parse_maps(MAPS)
    assert got[1] == Mapping(0x55D0C8A02000, 0x55D0C8A04000, 0x2000, ("fe:01", 1234), "/usr/bin/with blank", True)
    assert got[2] == Mapping(0x7F0000000000, 0x7F0000001000, 0, ("", 0), "", True)
    assert [m.path for m in got[3:]] == ["[vdso]", "/tmp/gone (deleted)"]
    assert not got[0].runs


@pytest.fixture
def processes():
    found = Processes()
    yield found
    found.close()


def address_of(name):
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value


def test_this_process(processes):
    place = processes.at(os.getpid(), address_of("getppid") + 2)
    assert place.module.startswith("libc") and place.symbol.endswith("getppid") and place.offset == 2
    assert processes.at(os.getpid(), 8) is None


def test_in_a_process_id_namespace_nothing_is_known(monkeypatch):
    """The kernel's ids are not those of /proc there: another process's symbols would be shown."""
    monkeypatch.setattr("dsight.kernel.processes._namespace", lambda: "pid:[4026532000]")
    blind = Processes()
    assert blind.watch() == []
    assert blind.at(os.getpid(), address_of("getppid")) is None


def test_a_library_loaded_later_is_found(processes):
    processes.seen(os.getpid())
    with open("/proc/self/maps") as f:
        there = f.read()
    name = next(
        n for n in ("libz.so.1", "libbz2.so.1.0", "libnsl.so.1", "libanl.so.1", "libutil.so.1") if n not in there
    )
    ctypes.CDLL(name)
    with open("/proc/self/maps", "rb") as f:
        new = next(m for m in parse_maps(f.read()) if m.runs and name.partition(".so")[0] in m.path)
    assert processes.at(os.getpid(), new.start).module.startswith(name.partition(".so")[0])


def test_the_vdso(processes):
    with open("/proc/self/maps", "rb") as f:
        base = next((m.start for m in parse_maps(f.read()) if m.path == "[vdso]"), None)
    if base is None or not _own_vdso():
        pytest.skip("no vDSO")
    names = {getattr(processes.at(os.getpid(), base + at), "symbol", "") for at in range(0, 0x2000, 16)}
    assert any("clock_gettime" in name for name in names)


def test_a_process_that_has_ended_keeps_its_picture(processes):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with open(f"/proc/{child.pid}/maps", "rb") as f:
            while not (code := [m for m in parse_maps(f.read()) if m.runs and "python" in m.path]):
                f.seek(0)
        processes.seen(child.pid)
    finally:
        child.communicate(b"\n", timeout=20)
    assert processes.at(child.pid, code[0].start + 64).module.startswith("python")
    assert processes.at(1 << 22, code[0].start) is None


@pytest.mark.parametrize("path", ["/dev/zero", "/tmp", "/nowhere", "a\0b"])
def test_only_regular_files_are_opened(path):
    assert open_regular(path) == -1


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    os.symlink(tmp_path / "fifo", tmp_path / "link")
    assert open_regular(str(tmp_path / "link")) == -1


def test_another_file_of_the_same_name_is_not_taken(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    inode = os.stat(tmp_path / "f").st_ino
    assert open_regular(str(tmp_path / "f"), inode + 1) == -1
    fd = open_regular(str(tmp_path / "f"), inode)
    assert fd >= 0
    os.close(fd)


# ---- perf's records


def perf(kind, body, misc=0, when=1):
    body += struct.pack("<Q", when)
    return struct.pack("<IHH", kind, misc, 8 + len(body)) + body


def mapped(pid, start, size, name, when=1):
    name = name.encode() + b"\0"
    fields = struct.pack("<IIQQQIIQQII", pid, pid, start, size, 0x1000, 0xFE, 1, 99, 0, 5, 2)
    return perf(10, fields + name + bytes(-len(name) % 8), when=when)


def test_perf_records():
    data = mapped(7, 0x5000, 0x1000, "/lib/x.so", 5) + perf(3, struct.pack("<II", 7, 7) + b"sh\0\0\0\0\0\0", 1 << 13, 6)
    data += perf(3, struct.pack("<II", 7, 7) + bytes(8)) + perf(7, struct.pack("<IIIIQ", 8, 7, 8, 7, 0), when=9)
    data += perf(7, struct.pack("<IIIIQ", 7, 7, 9, 7, 0)) + perf(2, bytes(16)) + mapped(7, 0x9000, 0x1000, "//anon")
    got = list(mmaps.parse(data))
    assert [(e.kind, e.pid, e.time) for e in got] == [("map", 7, 5), ("exec", 7, 6), ("fork", 8, 9), ("map", 7, 1)]
    assert (got[0].start, got[0].end, got[0].offset, got[0].file, got[0].path) == (
        0x5000, 0x6000, 0x1000, ("fe:01", 99), "/lib/x.so",
    )  # fmt: skip
    assert got[2].parent == 7 and got[3].path == ""


@pytest.mark.parametrize("cut", range(1, 90, 7))
def test_a_record_that_is_cut_off_ends_them(cut):
    assert list(mmaps.parse(mapped(7, 0x5000, 0x1000, "/lib/x.so")[:-cut])) == []


class Told:
    """kernel.mmaps.Mmaps with a script."""

    def __init__(self, data):
        self._data = data

    def read(self):
        data, self._data = self._data, b""
        return list(mmaps.parse(data))

    def close(self):
        pass


GONE, CHILD = 1 << 22 | 1, 1 << 22 | 2  # no process has such ids: the limit is 1 << 22


def test_what_perf_tells_names_modules_of_processes_that_are_gone(processes):
    exec_ = perf(3, struct.pack("<II", GONE, GONE) + bytes(8), 1 << 13)
    processes._mmaps = Told(
        mapped(GONE, 0x5000, 0x1000, "/old/first")
        + exec_
        + mapped(GONE, 0x7000, 0x1000, "/old/second")
        + perf(7, struct.pack("<IIIIQ", CHILD, GONE, CHILD, GONE, 0))
        + mapped(CHILD, 0x9000, 0x1000, "/old/third")
    )
    processes.hear()
    asked = (
        (GONE, 0x5001), (GONE, 0x7001), (GONE, 0x9001), (CHILD, 0x9001), (CHILD, 0x7001), (CHILD, 1),
    )  # fmt: skip
    modules = [getattr(processes.at(*where), "module", None) for where in asked]
    assert modules == ["first", "second", None, "third", "second", None]
