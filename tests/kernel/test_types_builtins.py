"""Translated built-in variables against what this process, /proc and the C library say."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time

import pytest

from dsight.api import Trace
from dsight.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    assert made.registry.btf  # opened once, before any test looks at what is held
    yield made
    made.close()


def values(*expressions: str, machine: Machine) -> list[object]:
    """What BEGIN, which this thread runs, sees: of each expression its value."""
    script = "BEGIN { " + " ".join([f"trace({e});" for e in expressions]) + " }"
    with Trace(script, on=machine) as trace:
        records = [*trace.read(), *trace.stop()]
    assert trace.faults == []
    assert len(records) == 1
    return list(records[0].values)


def status() -> dict[str, list[str]]:
    with open("/proc/self/status") as f:
        return {line.split(":")[0]: line.split(":")[1].split() for line in f}


def test_psinfo(machine: Machine) -> None:
    names = ("pid", "ppid", "pgid", "sid", "uid", "euid", "gid", "egid", "nlwp", "fname", "dmodel", "zoneid")
    found = dict(zip(names, values(*[f"curpsinfo->pr_{name}" for name in names], machine=machine)))
    said = status()
    with open("/proc/self/comm") as f:
        comm = f.read().strip()
    assert found == {
        "pid": os.getpid(), "ppid": os.getppid(), "pgid": os.getpgid(0), "sid": os.getsid(0), "uid": os.getuid(),
        "euid": os.geteuid(), "gid": os.getgid(), "egid": os.getegid(), "nlwp": int(said["Threads"][0]), "fname": comm,
        "dmodel": 2, "zoneid": os.stat("/proc/self/ns/pid").st_ino,
    }  # fmt: skip


def test_psinfo_of_the_start(machine: Machine) -> None:
    seconds, nanoseconds = values("curpsinfo->pr_start.tv_sec", "curpsinfo->pr_start.tv_nsec", machine=machine)
    with open("/proc/self/stat") as f:
        ticks = int(f.read().rpartition(")")[2].split()[19])
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    assert abs(seconds + nanoseconds / 1e9 - began) < 1  # /proc counts from the boot, which suspends may move
    assert 0 <= nanoseconds < 1_000_000_000


def test_psinfo_of_a_terminal(machine: Machine) -> None:
    (terminal,) = values("curpsinfo->pr_ttydev", machine=machine)
    with open("/proc/self/stat") as f:
        number = int(f.read().rpartition(")")[2].split()[4])
    assert terminal == (0xFFFFFFFF if number == 0 else os.major(number) << 20 | os.minor(number))


def test_psinfo_where_it_lies(machine: Machine) -> None:
    """pr_argv and pr_envp are where the arguments' and the environment's bytes are."""
    arguments, environment, size = values(
        "curpsinfo->pr_argv", "curpsinfo->pr_envp", "curpsinfo->pr_size", machine=machine
    )
    with open("/proc/self/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    assert [arguments, environment] == [int(fields[45]), int(fields[47])]
    assert abs(size - int(fields[20]) // 1024) < 64 << 10


def test_lwpsinfo(machine: Machine) -> None:
    names = ("lwpid", "sname", "state", "nice", "pri", "clname", "bindpro", "flag", "addr")
    expressions = [f"curlwpsinfo->pr_{name}" for name in names]
    found = dict(zip(names, values(*expressions, "(uintptr_t)curthread", machine=machine)))
    with open("/proc/thread-self/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    assert found["lwpid"] == int(os.readlink("/proc/thread-self").rpartition("/")[2])
    assert (chr(found["sname"]), found["state"]) == ("O", 6)  # on a CPU: it fires the probe
    assert found["nice"] == os.getpriority(os.PRIO_PROCESS, 0) == int(fields[16])
    assert found["pri"] == int(fields[15]) + 100
    assert found["clname"] == {0: "TS", 1: "FF", 2: "RR", 3: "B", 5: "IDL"}[os.sched_getscheduler(0)]
    assert found["flag"] == 0


def test_lwpsinfo_of_a_bound_thread(machine: Machine) -> None:
    allowed = os.sched_getaffinity(0)
    only = max(allowed)
    try:
        os.sched_setaffinity(0, {only})
        assert (
            values("curlwpsinfo->pr_bindpro", "curlwpsinfo->pr_onpro", "curcpu->cpu_id", "cpu", machine=machine)
            == [only] * 4
        )
    finally:
        os.sched_setaffinity(0, allowed)
    if len(allowed) > 1:
        assert values("curlwpsinfo->pr_bindpro", machine=machine) == [-1]


def test_fds(machine: Machine, tmp_path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(bytes(100))
    with open(path, "rb") as f, socket.socket() as s, open(path, "ab") as g:
        f.seek(42)
        found = values(
            f"fds[{f.fileno()}].fi_name", f"fds[{f.fileno()}].fi_offset", f"fds[{f.fileno()}].fi_oflags & O_ACCMODE",
            f"fds[{g.fileno()}].fi_oflags & (O_ACCMODE | O_APPEND)", f"fds[{s.fileno()}].fi_fs",
            f"fds[{f.fileno()}].fi_fs", machine=machine,
        )  # fmt: skip
        assert found[:5] == ["a file", 42, os.O_RDONLY, os.O_WRONLY | os.O_APPEND, "sockfs"]
        with open("/proc/self/mountinfo") as mounts:
            assert found[5] in {line.split(" - ")[1].split()[0] for line in mounts}


def test_fds_paths(machine: Machine, tmp_path) -> None:
    """Path, folder and mount point, across mounts; what cannot be mounted has no path."""
    path = tmp_path / "a file"
    path.write_bytes(b"")
    with open(path) as f, open("/proc/self/status") as g, socket.socket() as s:
        for file, name in ((f, str(path)), (g, f"/proc/{os.getpid()}/status")):
            found = values(
                *[f"fds[{file.fileno()}].fi_{member}" for member in ("pathname", "dirname", "mount")], machine=machine
            )
            mount = name
            while not os.path.ismount(mount):
                mount = os.path.dirname(mount)
            assert found == [name, os.path.dirname(name), mount]
        assert (
            values(f"fds[{s.fileno()}].fi_pathname", f"fds[{s.fileno()}].fi_name", machine=machine) == ["<unknown>"] * 2
        )


def test_psargs(machine: Machine) -> None:
    with open("/proc/self/cmdline", "rb") as f:
        arguments = f.read().rstrip(b"\0").replace(b"\0", b" ").decode()
    assert values("curpsinfo->pr_psargs", machine=machine) == [arguments[:255]]


def test_a_whole_psinfo_by_value(machine: Machine) -> None:
    script = """BEGIN { this->ps = xlate <psinfo_t> (curthread); self->kept = this->ps; }
    END { trace(self->kept.pr_pid); trace(self->kept.pr_fname == execname); trace(self->kept.pr_start.tv_sec); }"""
    (began,) = values("curpsinfo->pr_start.tv_sec", machine=machine)
    with Trace(script, on=machine) as trace:
        assert [r.values for r in trace.stop()] == [(os.getpid(), 1, began)]


def test_fds_of_what_is_not_open(machine: Machine) -> None:
    """Numbers that are no open file's: no fault, "<none>"."""
    assert values(
        "fds[-1].fi_name", "fds[1000000].fi_fs", "fds[999].fi_offset", "fds[999].fi_oflags", machine=machine
    ) == ["<none>", "<none>", 0, 0]


def test_fds_with_an_index_known_when_it_runs(machine: Machine) -> None:
    r, w = os.pipe()
    try:
        with Trace(f"BEGIN {{ this->fd = pid * 0 + {r}; trace(fds[this->fd].fi_fs); }}", on=machine) as trace:
            assert [x.values for x in (*trace.read(), *trace.stop())] == [("pipefs",)]
    finally:
        os.close(r)
        os.close(w)


def test_uregs() -> None:
    """The stack pointer and program counter of a process that sleeps in a system call, as /proc has them."""
    child = "import sys, time; sys.stdin.readline(); time.sleep(30)"
    process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE)
    script = "syscall::clock_nanosleep:entry /pid == $target/ { trace(uregs[R_SP]); trace(uregs[R_PC]); trace(arg0); }"
    try:
        with Trace(script, target=process.pid) as trace:  # a machine of its own: it keeps tracefs open
            process.stdin.write(b"\n")
            process.stdin.close()
            records, end = [], time.monotonic() + 20
            while not records and time.monotonic() < end:
                records = trace.read(0.2)
            with open(f"/proc/{process.pid}/syscall") as f:
                said = f.read().split()
        assert records, "the child did not sleep"
        assert records[0].values == (int(said[-2], 16), int(said[-1], 16), int(said[1], 16))
    finally:
        process.kill()
        process.wait()


def test_symbols(machine: Machine) -> None:
    """A kernel function's address, as /proc/kallsyms has it; `module`name too."""
    with open("/proc/kallsyms") as f:
        addresses = [line.split()[0] for line in f if line.split()[2] == "vfs_read" and len(line.split()) == 3]
    expected = int(addresses[0], 16)
    assert (
        values("(uintptr_t)&`vfs_read", "(uintptr_t)`vfs_read", "(uintptr_t)vmlinux`vfs_read", machine=machine)
        == [expected] * 3
    )
    # What the address leads to can be read with a cast: here the function's first bytes.
    one, two = values("*(uint32_t *)&`vfs_read", "((uint16_t *)&`vfs_read)[1]", machine=machine)
    assert struct.pack("=I", one)[2:] == struct.pack("=H", two)


def test_a_translated_pointer_in_a_variable(machine: Machine) -> None:
    script = "BEGIN { self->ps = curpsinfo; } END { trace(self->ps->pr_pid); self->ps = NULL; }"
    with Trace(script, on=machine) as trace:
        assert [r.values for r in trace.stop()] == [(os.getpid(),)]
