"""Filters in the kernel: what is filtered out leaves no record, what is selected leaves all of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from tests.kernel.test_watch import DSIGHT, Watch

from dsight.api import Trace
from dsight.connections.kernel_filter import Kernel
from dsight.connections.script import script
from dsight.kernel.cgroups import cgroup, mount
from dsight.machine import Machine

pytestmark = pytest.mark.kernel

# Refused over IPv4 and IPv6 (mapped too), by a child of a process of its own name and user.
LOAD = """
import ctypes, os, socket, sys
port = int(sys.argv[1])
ctypes.CDLL(None).prctl(15, b"k-load-one", 0, 0, 0)
sys.stdin.read()
def go():
    for family, address in ((2, "127.0.0.77"), (10, "::1"), (10, "::ffff:127.0.0.77")):
        with socket.socket(family) as s:
            s.connect_ex((address, port))
os.setuid(61777)
if os.fork() == 0:
    go()
    os._exit(0)
os.wait()
"""


@pytest.fixture(scope="module")
def machine() -> Machine:
    made = Machine()
    with Trace("syscall::connect:entry /curthread->tgid == 0/ { trace(1); }", on=made):
        return made  # with the files open that it keeps


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Nothing listens there."""
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::", 0))
        yield s.getsockname()[1]


def records(machine: Machine, kernel: Kernel, port: int, pids: bool = False) -> list[tuple]:
    """All that a program with the filter records while the load runs; `pids`: the load's, added."""
    load = subprocess.Popen([sys.executable, "-c", LOAD, str(port)], stdin=subprocess.PIPE)
    try:
        if pids:
            kernel = kernel.replace(pids=frozenset({load.pid}))
        text = script(pids, lambda name, argument: False, kernel=kernel)
        with Trace(text, on=machine) as trace:
            load.communicate(timeout=30)
            found = [*trace.read(0), *trace.stop()]
            assert trace.lost == 0
        return [r.values for r in found if r.values and r.values[0] not in (40,)]
    finally:
        load.kill()
        load.wait()
        load.stdin.close()


def tags(found: list[tuple]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for values in found:
        counts[values[0]] = counts.get(values[0], 0) + 1
    return counts


def test_what_is_selected(machine: Machine, port: int) -> None:
    """By each, one after another: one identity, three attempts, three outcomes."""
    here = os.stat("/proc/self/ns/net").st_ino
    for kernel in (
        Kernel(comms=("k-load*",), ports=frozenset({port}), netns=frozenset({here})),
        Kernel(uids=frozenset({61777}), comms=("k-load-one", "nobody")),
        Kernel(comms=("*load-one",), cgroups=(cgroup("/"),)),
    ):
        counts = tags(records(machine, kernel, port))
        assert (counts[1], counts[2], counts[14], counts[7]) == (1, 1, 3, 3), kernel
        assert sum(counts.values()) == 8, kernel


def test_descendants(machine: Machine, port: int) -> None:
    counts = tags(records(machine, Kernel(), port, pids=True))
    assert (counts[1], counts[14], counts[7], counts[12], counts[13]) == (1, 3, 3, 1, 2)


def test_networks(machine: Machine, port: int) -> None:
    """Mapped IPv4 is IPv4."""
    ours = Kernel(comms=("k-load-one",))
    for network, expected in (("127.0.0.64/26", 2), ("::1/128", 1), ("::/0", 1), ("127.0.0.77", 2)):
        counts = tags(records(machine, ours.replace(networks=(ip_network(network),)), port))
        assert (counts[1], counts[14], counts[7]) == (1, expected, expected), network


def test_what_is_not_leaves_nothing(machine: Machine, port: int) -> None:
    """Not one record of anybody, with values of the filters that nobody has."""
    for kernel in (
        Kernel(comms=("k-load-two", "k-loaf*", "*two")),
        Kernel(uids=frozenset({61778})),
        Kernel(ports=frozenset({port - 1 if port > 1024 else port + 1}), comms=("k-load-one",)),
        Kernel(networks=(ip_network("127.0.0.78"), ip_network("2001:db8::/32"), ip_network("127.1.0.0/16"))),
        Kernel(netns=frozenset({1})),
        Kernel(cgroups=((0, 987654321), (3, 1))),
        Kernel(pids=frozenset({4194399})),
    ):
        assert records(machine, kernel, port) == [], kernel


def test_options(port: int) -> None:
    """By the command line, for several at once; what is said of outcomes that are not asked for: nothing."""
    here = str(os.getpid())
    watch: list[Watch] = []
    try:
        for options in (
            ["--netns", here, "--outcome", "refused", "--cgroup", "/", "--user", "61777", "--port", str(port)],
            ["--netns", here, "--outcome", "connected,timed-out", "--comm", "k-load-one"],
        ):
            watch.append(Watch("--no-names", *options))
        subprocess.run([sys.executable, "-c", LOAD, str(port)], stdin=subprocess.DEVNULL, timeout=30, check=True)
        refused, others = (one.end() for one in watch)
    finally:
        for one in watch:
            one.kill()
    assert [(r["event"], r["outcome"]) for r in refused] == [("outcome", "refused")] * 3
    assert others == []


@pytest.mark.parametrize(
    "options", [["--cgroup", "/no/such"], ["--unit", "no-such"], ["--container", "no-such"], ["--netns", "no-such"],
                ["--netns", "../self"], ["--outcome", "happy"]],
)  # fmt: skip
def test_what_is_not_there(options: list[str]) -> None:
    done = subprocess.run([*DSIGHT, *options], capture_output=True, timeout=30)
    assert done.returncode == 2 and options[0].encode() in done.stderr, done.stderr


def test_a_container_and_its_slice(port: int) -> None:
    """By id and by path; the record has both, though the process is gone at once."""
    whole = "5e1f" * 16
    outer = f"{mount()}/dsight-test-{os.getpid()}.slice"
    inner = f"{outer}/docker-{whole}.scope"
    connect = f": >/dev/tcp/127.0.0.1/{port}"
    watch: list[Watch] = []
    os.makedirs(inner)
    try:
        watch.append(Watch("--no-names", "--container", whole[:12]))
        watch.append(Watch("--no-names", "--cgroup", outer))
        for line in (f"echo $$ >{inner}/cgroup.procs; {connect}", f"echo $$ >{outer}/cgroup.procs; {connect}", connect):
            subprocess.run(["bash", "-c", line], stderr=subprocess.DEVNULL, timeout=30)
        contained, sliced = (one.end() for one in watch)
    finally:
        for one in watch:
            one.kill()
        os.rmdir(inner)
        os.rmdir(outer)

    def places(reports: list[dict]) -> list[tuple[str, str]]:
        return [(r["process"]["cgroup"], r["process"]["container"]) for r in reports if r["event"] == "outcome"]

    path = f"/{os.path.basename(outer)}"
    assert places(contained) == [(f"{path}/docker-{whole}.scope", whole[:12])]
    assert places(sliced) == [*places(contained), (path, None)]
