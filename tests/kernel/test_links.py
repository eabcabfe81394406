from __future__ import annotations

import _thread
import os
import select
import struct
import subprocess
import sys
import time

import pytest
from kernel_asm import EXIT, RING, call, emit, ldx, mov, movi
from kernel_held import holdings

from dsight.bpf.spec import Insn, MapSpec, ProgramSpec
from dsight.errors import FeatureError, KernelError
from dsight.kernel import links, maps, programs
from dsight.kernel.btf import KernelBtf
from dsight.kernel.ringbuf import RingBuffer
from dsight.kernel.tracefs import TraceFs

pytestmark = pytest.mark.kernel

PID_TGID, COOKIE = 14, 174


class Bench:
    """A ring buffer, the programs that write to it, and their links."""

    def __init__(self) -> None:
        self.ring = maps.create(RING.replace(max_entries=1 << 20))
        self.reader = RingBuffer(self.ring)
        self.opened: list[programs.Program | links.Link] = []

    def load(self, kind: str, value: tuple[Insn, ...], attach: str = "", btf: KernelBtf | None = None):
        p = programs.load(ProgramSpec("t", kind, emit(value), attach), {"ring": self.ring}, btf)
        self.opened.append(p)
        return p

    def values(self) -> list[int]:
        view = self.reader.view()
        found = [r[2] for r in struct.iter_unpack("<IIQ", view)]
        self.reader.consume(len(view))
        return found

    def close(self) -> None:
        for thing in reversed([self.ring, self.reader, *self.opened]):
            thing.close()


@pytest.fixture
def bench():
    b = Bench()
    yield b
    b.close()


# r3 = the process's id
PID = (call(PID_TGID), mov(3, 0), Insn(0x77, 3, imm=32))


def test_tracepoint_fires_for_each_call(bench: Bench) -> None:
    fs = TraceFs.open()
    number = fs.id("syscalls", "sys_enter_getppid")
    fs.close()
    assert number
    p = bench.load("tracepoint", PID)
    link = links.tracepoint(p, number)
    for _ in range(5):
        os.getppid()
    link.close()
    link.close()
    os.getppid()
    assert bench.values().count(os.getpid()) == 5


def test_tracepoint_context_holds_the_fields_where_format_says(bench: Bench) -> None:
    fs = TraceFs.open()
    number = fs.id("syscalls", "sys_enter_close")
    field = next(f for f in fs.format("syscalls", "sys_enter_close") if f.name == "fd")
    fs.close()
    assert number
    bench.opened.append(links.tracepoint(bench.load("tracepoint", (ldx(3, 9, field.offset),)), number))
    with pytest.raises(OSError):
        os.close(987654)
    assert 987654 in bench.values()


def test_cookie_says_which_probe_fired(bench: Bench) -> None:
    fs = TraceFs.open()
    ids = [fs.id("syscalls", f"sys_enter_{name}") for name in ("getppid", "getpgid")]
    fs.close()
    # (cookie << 32) + pid, so that other processes' calls can be left out
    shift = (mov(1, 9), call(COOKIE), Insn(0x67, 0, imm=32), mov(7, 0), *PID, Insn(0x4F, 3, 7))
    p = bench.load("tracepoint", shift)
    for cookie, number in enumerate(ids, 1):
        assert number
        bench.opened.append(links.tracepoint(p, number, cookie))
    os.getppid()
    os.getpgid(0)
    os.getppid()
    assert [v >> 32 for v in bench.values() if v & 0xFFFFFFFF == os.getpid()] == [1, 2, 1]


def test_raw_tracepoint_sees_the_syscall_number(bench: Bench) -> None:
    from dsight.kernel import syscalls

    # r3 = args[1], the number; a value nobody else's tracing process can mistake is not needed: ours must be among them
    bench.opened.append(links.raw_tracepoint(bench.load("raw_tp", (ldx(3, 9, 8),)), "sys_enter"))
    for _ in range(3):
        os.getpgid(0)
    assert bench.values().count(syscalls.numbers()["getpgid"]) >= 3


def test_tp_btf_follows_its_btf_id(bench: Bench) -> None:
    btf = KernelBtf.open()
    p = bench.load("tp_btf", PID, "sched_process_fork", btf)
    btf.close()
    bench.opened.append(links.raw_tracepoint(p, "sched_process_fork"))
    subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    assert os.getpid() in bench.values()


def test_samples_come_at_their_period(bench: Bench) -> None:
    cpu = links.online_cpus()[0]
    link = links.sample(bench.load("perf_event", (movi(3, 1),)), 1_000_000, cpu)
    start = time.monotonic()
    time.sleep(0.2)
    link.close()
    ms = (time.monotonic() - start) * 1e3
    # A busy virtual machine skips ticks, and never makes up more than there were.
    assert ms * 0.2 < len(bench.values()) < ms * 1.2 + 2


def test_the_reader_is_woken(bench: Bench) -> None:
    with select.epoll() as waiting:
        waiting.register(bench.reader.fd, select.EPOLLIN)
        assert waiting.poll(0) == []
        bench.load("raw_tp", (movi(3, 1),)).test_run()
        assert waiting.poll(1) == [(bench.reader.fd, select.EPOLLIN)]
        bench.values()
        assert waiting.poll(0) == []


def test_without_links_the_ioctl_is_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsight.kernel import sys as ksys

    real = ksys.bpf

    def old(command: int, attr: object) -> int:
        if command == ksys.LINK_CREATE:
            raise OSError(22, "Invalid argument")
        return real(command, attr)

    monkeypatch.setattr(ksys, "bpf", old)
    p = bench.load("perf_event", (movi(3, 1),))
    link = links.sample(p, 1_000_000, links.online_cpus()[0])
    time.sleep(0.05)
    link.close()
    assert bench.values()
    with pytest.raises(FeatureError, match="cookies"):
        links.sample(p, 1_000_000, links.online_cpus()[0], cookie=1)


def test_what_is_not_there_is_named(bench: Bench) -> None:
    raw = bench.load("raw_tp", (movi(3, 1),))
    with pytest.raises(FeatureError, match="no tracepoint nonesuch"):
        links.raw_tracepoint(raw, "nonesuch")
    btf = KernelBtf.open()
    with pytest.raises(FeatureError, match="no tracepoint nonesuch"):
        programs.load(ProgramSpec("t", "tp_btf", (movi(0, 0), EXIT), "nonesuch"), {}, btf)
    btf.close()
    event = bench.load("perf_event", (movi(3, 1),))
    with pytest.raises(KernelError, match="sample CPU 4000"):
        links.sample(event, 1_000_000, 4000)
    with pytest.raises(KernelError, match="tracepoint 1000000"):
        links.tracepoint(event, 1000000)


def test_many_are_detached_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than threads; and where there may be none."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    program = bench.load("raw_tp", PID)
    for start in (_thread.start_new_thread, refuse):
        monkeypatch.setattr(_thread, "start_new_thread", start)
        held = [links.raw_tracepoint(program, "sys_enter") for _ in range(links.CLOSERS + 5)]
        numbers = [fd for link in held for fd in link.fds]
        os.getppid()
        assert bench.values().count(os.getpid()) >= len(held)
        links.close(held)
        links.close(held)
        links.close([])
        assert not any(os.path.exists(f"/proc/self/fd/{fd}") for fd in numbers)
        bench.values()
        os.getppid()
        assert bench.values() == []


def test_the_fixture_sees_what_is_left() -> None:
    before = holdings()
    m = maps.create(MapSpec("left", "array", 4, 8, 1, mmap=True))
    m.memory()
    p = programs.load(ProgramSpec("left", "raw_tp", (movi(0, 0), EXIT)), {})
    link = links.raw_tracepoint(p, "sys_enter")
    during = holdings()
    for thing in (link, p, m):
        thing.close()
    found = {str(target).split()[0] for fd, target in during["descriptors"].items() if fd not in before["descriptors"]}
    assert found == {"anon_inode:bpf-map", "anon_inode:bpf-prog", "anon_inode:bpf_link"}
    assert len(during["mapped rings and arrays"]) == 1 + len(before["mapped rings and arrays"])
    assert holdings() == before
