"""Each provider against a second witness: what the process did, getsockname, getpeername."""

from __future__ import annotations

import errno
import json
import re
import socket

import pytest
from dtrace_run import dtrace, python

pytestmark = pytest.mark.kernel

CALLS = """
import os
for i in range(7): os.getppid()
for i in range(5): os.getpgid(0)
for i in range(4):
    try: os.open('/nowhere/at/all', os.O_RDONLY)
    except OSError: pass
fd = os.open('/dev/zero', os.O_RDONLY)
for i in range(3): os.read(fd, 1000 + i)
for i in range(2): os.umask(0o22)
try: os.kill(2**22 + 5, 0)
except OSError: pass
"""
COUNTS = {"getppid": 7, "getpgid": 5, "umask": 2}


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "described",
    ["syscall::getppid:, syscall::getpgid:, syscall::umask:", "syscall:::"],
    ids=["own tracepoints", "table of all system calls"],
)
def test_syscall_counts_are_what_the_process_did(described: str) -> None:
    done = dtrace("-qn", f"{described} /pid == $target/ {{ @[probefunc, probename] = count(); }}", "-c", python(CALLS))
    assert done.err == ""
    got = {(name, end): int(n) for name, end, n in rows(done.out)}
    assert {k: v for k, v in got.items() if k[0] in COUNTS} == {
        (name, end): n for name, n in COUNTS.items() for end in ("entry", "return")
    }


def test_one_probe_by_both_means() -> None:
    """The same probe through its own tracepoint and through the table: arguments and results agree."""
    printed = 'printf("%s %d %d %d\\n", probename, (int)arg0, (int)arg1, errno); }'
    results = []
    for description in ("syscall::kill:", "syscall::kill:, syscall::[gu]*et*:, syscall::um*:"):
        script = f'{description} /pid == $target && probefunc == "kill"/ {{ {printed}'
        results.append(dtrace("-qn", script, "-c", python(CALLS)).out)
    assert results[0].split("\n") == results[1].split("\n")
    assert results[0].split("\n")[:2] == [
        f"entry {2**22 + 5} 0 0",
        f"return -{errno.ESRCH} -{errno.ESRCH} {errno.ESRCH}",
    ]


def test_arguments_that_a_system_call_does_not_have_are_0() -> None:
    done = dtrace(
        "-qn",
        'syscall::getppid:entry,syscall::close:entry /pid == $target/ { printf("%s %d %d\\n", probefunc, arg0, arg5) }',
        "-c",
        python("import os; os.getppid(); os.dup2(0, 77); os.close(77)"),
    )
    lines = done.out.splitlines()
    assert "getppid 0 0" in lines and "close 77 0" in lines, done


def test_syscall_typed_arguments_results_and_errno() -> None:
    done = dtrace(
        "-qn",
        """
        syscall::openat:entry /pid == $target && copyinstr(arg1) == "/nowhere/at/all"/
        { self->open = 1; printf("open %s %x\\n", copyinstr((uintptr_t)args[1]), args[2] & 3); }
        syscall::openat:return /self->open/
        { printf("= %d %d %d\\n", (int)arg0, (int)args[0], errno); self->open = 0; }
        syscall::read:entry /pid == $target && args[2] >= 1000 && args[2] < 1003/
        { self->read = args[2]; }
        syscall::read:return /self->read/
        { printf("read %d = %d %d\\n", self->read, arg0, errno); self->read = 0; }
        """,
        "-c",
        python(CALLS),
    )
    # Strings in pages that the process has not touched yet cannot be read at entry.
    assert all("invalid address" in line and "in predicate" in line for line in done.err.splitlines()), done.err
    assert (
        done.out.splitlines()[:8] == ["open /nowhere/at/all 0", f"= -{errno.ENOENT} -{errno.ENOENT} {errno.ENOENT}"] * 4
    )
    assert [line for line in done.out.splitlines() if line.startswith("read")] == [
        f"read {n} = {n} 0" for n in (1000, 1001, 1002)
    ]


def test_syscall_globs_count_each_call_once() -> None:
    """Overlapping descriptions in several clauses: each clause once for each firing."""
    done = dtrace(
        "-qn",
        """
        syscall::getp*:entry /pid == $target && (probefunc == "getppid" || probefunc == "getpgid")/ { @a = count(); }
        syscall::get?pid:entry, syscall::get[a-p]pid:entry /pid == $target/ { @b[probefunc] = count(); }
        syscall::um*k:* /pid == $target/ { @c[probename] = count(); }
        """,
        "-c",
        python(CALLS),
    )
    assert rows(done.out) == [["12"], ["getppid", "7"], ["entry", "2"], ["return", "2"]]


@pytest.mark.parametrize("rate", ["tick-100", "tick-10ms", "tick-10msec", "tick-100hz", "tick-10000us"])
def test_tick_fires_on_one_cpu_at_its_rate(rate: str) -> None:
    """Half a second of a 100 Hz tick by the tracer's own clock: about fifty, all on one CPU."""
    done = dtrace(
        "-qn",
        "BEGIN { began = timestamp; cpus = -1; }"
        f"{rate} {{ n++; moved += cpus != -1 && cpus != cpu; cpus = cpu; }}"
        f"{rate} /timestamp - began > 500000000/ {{ t = (timestamp - began) / 1000;"
        ' printf("%d %d %d\\n", n, t, moved); exit(0); }',
    )
    count, microseconds, moved = map(int, done.out.split())
    assert moved == 0
    assert 0.5 * microseconds / 10_000 < count < 1.2 * microseconds / 10_000 + 2


def test_profile_samples_the_cpu_that_works() -> None:
    """A process that computes for half a second on its CPU is seen there, in user mode mostly."""
    code = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: sum(range(100000))"
    done = dtrace("-qn", "profile-499 /pid == $target/ { @[arg1 != 0] = count(); }", "-c", python(code))
    samples = {user: int(n) for user, n in rows(done.out)}
    assert 100 < sum(samples.values()) < 400
    assert samples["1"] > samples.get("0", 0)


def test_profile_names_that_make_no_sense() -> None:
    for name in ("tick-0", "tick-5parsecs", "profile-", "tick--1", "profile-1.5"):
        done = dtrace("-n", name + " { exit(0); }")
        assert done.status == 1 and done.out == ""
        assert re.search(r"does not match any probes|expected|not a", done.err), done.err


# ---- tcp

PRINT = """
 { printf("%s|%s|%d|%s|%d|%s|%d|%s|%d|%d|%d\\n", probename, args[2]->ip_saddr, args[4]->tcp_sport, args[2]->ip_daddr,
    args[4]->tcp_dport, args[3]->tcps_laddr, args[3]->tcps_lport, args[3]->tcps_raddr, args[3]->tcps_rport,
    args[2]->ip_ver, args[1]->cs_pid); }
"""
TCP = f"""
tcp:::connect-request, tcp:::connect-established, tcp:::connect-refused
{PRINT.replace("{ printf", "/args[4]->tcp_dport == $1 || args[4]->tcp_sport == $1/ { printf")}
tcp:::accept-established
/args[3]->tcps_lport == $1/
{PRINT}
tcp:::accept-refused
/args[4]->tcp_sport == $1/
{{ printf("%s|%s|%d|%s|%d|null %d\\n", probename, args[2]->ip_saddr, args[4]->tcp_sport, args[2]->ip_daddr,
    args[4]->tcp_dport, args[3] == NULL); }}
"""

# argv: family, address, port, how many; prints the pid and getsockname of each connection
TCP_CLIENT = """
import json, os, socket, sys
family, address, port, count = getattr(socket, sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
names = []
for i in range(count):
    s = socket.socket(family, socket.SOCK_STREAM)
    try:
        s.connect((address, port))
        names.append(s.getsockname()[1])
    except OSError as e:
        names.append(-e.errno)
print("WITNESS", json.dumps([os.getpid(), names]))
"""


def unused_port(family: int, address: str) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def traced(script: str, family: str, address: str, port: int, count: int) -> tuple[list[list[str]], int, list[int]]:
    """Probe lines by "|", the client's pid, its local ports (or negative errno)."""
    done = dtrace("-qn", script, port, "-c", python(TCP_CLIENT, family, address, port, count))
    assert done.err == "" and done.status == 0
    witness = re.search(r"WITNESS (.*)", done.out)
    assert witness, done.out
    pid, ports = json.loads(witness.group(1))
    return [line.split("|") for line in done.out.splitlines() if "|" in line], pid, ports


@pytest.mark.parametrize(
    ("family", "address", "shown", "version"),
    [
        ("AF_INET", "127.0.0.1", "127.0.0.1", "4"),
        ("AF_INET6", "::1", "::1", "6"),
        ("AF_INET6", "::ffff:127.0.0.1", "127.0.0.1", "4"),
        ("AF_INET", "0.0.0.0", "127.0.0.1", "4"),
    ],
    ids=["IPv4", "IPv6", "mapped", "any"],
)
def test_tcp_connections_made(family: str, address: str, shown: str, version: str) -> None:
    listening = ("::1", socket.AF_INET6) if shown == "::1" else ("127.0.0.1", socket.AF_INET)
    with socket.create_server((listening[0], 0), family=listening[1]) as server:
        port = server.getsockname()[1]
        lines, pid, ports = traced(TCP, family, address, port, 5)
    by_name: dict[str, list[list[str]]] = {}
    for name, *rest in lines:
        by_name.setdefault(name, []).append(rest)
    to = [shown, str(port)]
    sockets = [[shown, str(p)] for p in ports]
    assert sorted(by_name) == ["accept-established", "connect-established", "connect-request"]
    # The SYN goes out to the port; the local port is known by then.
    assert [[r[2], r[3], r[6], r[7], r[8]] for r in by_name["connect-request"]] == [[*to, *to, version]] * 5
    assert [r[9] for r in by_name["connect-request"]] == [str(pid)] * 5
    # The header is the received SYN|ACK's: the other side is its source.
    assert [r[:8] for r in by_name["connect-established"]] == [[*to, *s, *s, *to] for s in sockets]
    # The accepting side: the received ACK is from the client.
    assert [r[:8] for r in by_name["accept-established"]] == [[*s, *to, *to, *s] for s in sockets]


@pytest.mark.parametrize(("family", "address"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
def test_tcp_connections_refused(family: str, address: str) -> None:
    port = unused_port(getattr(socket, family), address)
    lines, _pid, ports = traced(TCP, family, address, port, 4)
    assert ports == [-errno.ECONNREFUSED] * 4
    names = [line[0] for line in lines]
    assert {n: names.count(n) for n in names} == {"connect-request": 4, "accept-refused": 4, "connect-refused": 4}
    refused = [line for line in lines if line[0] == "connect-refused"]
    turned = [line for line in lines if line[0] == "accept-refused"]
    for r, t in zip(refused, turned):
        assert r[1:3] == [address, str(port)] and r[3] == address  # the RST comes from there
        assert r[7:9] == [address, str(port)]  # the remote side
        assert t[1:3] == [address, str(port)] and t[3] == address  # and goes out from there
        assert t[4] == r[4] != "0" and t[5] == "null 1"
    assert len({r[4] for r in refused}) == 4  # a local port for each attempt


def test_tcp_self_connect() -> None:
    """A socket that connects to itself: established once, accepted never."""
    code = """
import socket, sys
s = socket.socket()
s.bind(("127.0.0.1", int(sys.argv[1])))
s.connect(("127.0.0.1", int(sys.argv[1])))
assert s.getpeername() == s.getsockname()
"""
    port = unused_port(socket.AF_INET, "127.0.0.1")
    done = dtrace("-qn", TCP, port, "-c", python(code, port))
    assert done.err == ""
    lines = [line.split("|") for line in done.out.splitlines() if "|" in line]
    ends = ["127.0.0.1", str(port)]
    assert [line[0] for line in lines] == ["connect-request", "connect-established"], done.out
    assert lines[1][1:9] == ends * 4


def test_tcp_state_changes_and_their_names() -> None:
    """The client's and the server's life, in the order of RFC 9293, each state named."""
    code = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
print("PORT", port, flush=True)
client = socket.create_connection(("127.0.0.1", port))
peer, _ = server.accept()
client.shutdown(socket.SHUT_WR)
peer.recv(1)
peer.close()
client.recv(1)
client.close()
"""
    done = dtrace(
        "-qn",
        """tcp:::state-change
        { printf("%d %d %s %s\\n", args[3]->tcps_lport, args[3]->tcps_rport,
            tcp_state_string[args[5]->tcps_state], tcp_state_string[args[3]->tcps_state]); }""",
        "-c",
        python(code),
    )
    port = re.search(r"PORT (\d+)", done.out)
    assert port
    lines = [line.split() for line in done.out.splitlines() if re.match(r"\d+ \d+ state", line)]
    client = [line[2:] for line in lines if line[1] == port.group(1)]
    server = [line[2:] for line in lines if line[0] == port.group(1) and line[1] != "0"]
    assert client == [
        ["state-closed", "state-syn-sent"],
        ["state-syn-sent", "state-established"],
        ["state-established", "state-fin-wait-1"],
        ["state-fin-wait-1", "state-fin-wait-2"],
        ["state-fin-wait-2", "state-time-wait"],
    ] or client[-1][1] in ("state-closed", "state-time-wait"), client
    assert client[:4] == [
        ["state-closed", "state-syn-sent"],
        ["state-syn-sent", "state-established"],
        ["state-established", "state-fin-wait-1"],
        ["state-fin-wait-1", "state-fin-wait-2"],
    ]
    assert [s for s in server if s[0] != "state-listen"][-3:] == [
        ["state-established", "state-close-wait"],
        ["state-close-wait", "state-last-ack"],
        ["state-last-ack", "state-closed"],
    ]


def test_tcp_non_blocking_and_retried() -> None:
    """EINPROGRESS is no outcome: one request and one establishment for each socket."""
    code = """
import select, socket, sys
for i in range(3):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", int(sys.argv[1])))
    select.select([], [s], [])
    assert s.connect_ex(("127.0.0.1", int(sys.argv[1]))) in (0, 106)
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = dtrace("-qn", TCP, port, "-c", python(code, port))
    names = [line.split("|")[0] for line in done.out.splitlines() if "|" in line]
    assert {n: names.count(n) for n in names} == {
        "connect-request": 3,
        "connect-established": 3,
        "accept-established": 3,
    }


def test_rawtp_has_the_kernels_own_arguments() -> None:
    done = dtrace(
        "-qn",
        """rawtp:::sched_process_fork /args[0]->tgid == $target/
        { printf("%s %d\\n", args[0]->comm, args[1]->tgid != args[0]->tgid); }""",
        "-c",
        python("import os\nfor i in range(3):\n    if not os.fork(): os._exit(0)\n    os.wait()"),
    )
    assert done.err == ""
    assert [line.split()[1] for line in done.out.splitlines()] == ["1", "1", "1", ""][:3]
