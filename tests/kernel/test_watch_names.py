"""The watcher and names: every way to look one up, with a name server of the test's own (names_lab.py)."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from test_watch import DSIGHT, Watch

from dsight.connections.libcs import Libcs
from dsight.testing.labs import names_lab

pytestmark = pytest.mark.kernel

LAB = pathlib.Path(names_lab.__file__)
MUSL = """
#include <netdb.h>
int main(int c, char **v)
{ struct addrinfo *r, h = { .ai_socktype = 1 }; return getaddrinfo(v[1], "80", &h, &r) != 0; }
"""
SERVER, SERVER6, NOBODY, SILENT = "10.53.0.1", "fd53::1", "10.53.0.2", "10.53.0.3"
NOTHING = 7001
MANY = [f"10.8.0.{n}" for n in range(1, 61)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """All cases at once: what was reported of each and of what it started, by case."""
    musl = tmp_path_factory.mktemp("musl") / "n-musl"
    env = dict(os.environ)
    if shutil.which("musl-gcc"):
        subprocess.run(["musl-gcc", "-x", "c", "-", "-o", musl], input=MUSL, text=True, check=True)
        env["NAMES_LAB_MUSL"] = str(musl)
    watcher = Watch("--names")
    try:
        done = subprocess.run([sys.executable, LAB], stdout=subprocess.PIPE, timeout=60, check=True, env=env, text=True)
        reports = watcher.end()
    finally:
        watcher.kill()
    pids = {int(pid): name for name, pid in (line.split() for line in done.stdout.splitlines())}
    found: dict[str, list[dict]] = {name: [] for name in pids.values()}
    for report in reports:
        assert report["event"] != "lost", report
        mine = [report["process"]["pid"], *(p["pid"] for p in report["process"]["parents"])]
        case = next((pids[pid] for pid in mine if pid in pids), None)
        if case is not None:
            found[case].append(report)
    return found


def lookups(lab: dict[str, list[dict]], case: str) -> list[dict]:
    if case not in lab:
        pytest.skip("needs a program that is not here")
    return [r for r in lab[case] if r["event"] == "lookup"]


# case, name, error, addresses, source, diagnosis, words of it
ONE = [
    ("ok", "ok.test", None, ["10.9.9.1", "fd53::99"], "dns", None, ""),
    ("any-type", "ok.test", None, ["10.9.9.1", "fd53::99"], "dns", None, ""),
    ("nx", "nx.test", "EAI_NONAME", [], "dns", "name-not-found", f"there is no nx.test: {SERVER} answered NXDOMAIN"),
    ("servfail", "fail.test", "EAI_AGAIN", [], "dns", "lookup-failed", f"{SERVER} answered SERVFAIL"),
    ("silent", "silent.test", "EAI_AGAIN", [], "dns", "lookup-failed", f"{SERVER} did not answer ("),
    ("slow", "slow.test", None, ["10.9.9.5"], "dns", "slow-lookup", "took 1."),
    ("nodata", "four.test", "EAI_NODATA", [], "dns", "name-not-found", "four.test exists, but has no IPv6 address"),
    ("alias", "alias.test", None, ["10.9.9.1"], "dns", None, ""),
    ("connect", "db1", None, ["127.0.0.1"], "hosts", "name-points-here", "db1 resolves to 127.0.0.1 (/etc/hosts)"),
    ("localhost", "localhost", None, ["127.0.0.1", "::1"], "hosts", None, ""),
    ("refused", "ok.test", "EAI_AGAIN", [], "dns", "lookup-failed", f"nothing listens on port 53 of {NOBODY}"),
    ("second", "ok.test", None, ["10.9.9.1", "fd53::99"], "dns", "slow-lookup", f"{SILENT} did not answer"),
    ("resolver6", "ok.test", None, ["10.9.9.1", "fd53::99"], "dns", None, ""),
    ("search", "web", None, ["10.9.9.6"], "dns", None, ""),
    ("search-nx", "nowhere", "EAI_NONAME", [], "dns", "name-not-found", "nowhere.a.test, nowhere.b.test, nowhere"),
    ("killed", "ok.test", "aborted", [], "dns", "slow-lookup", "the process ended after 1."),
    ("curl", "here.test", None, ["127.0.0.1"], "dns", "name-points-here", "a loopback address"),
    ("musl", "ok.test", None, ["10.9.9.1", "fd53::99"], "dns", None, ""),
    ("musl-nx", "nx.test", "EAI_NONAME", [], "dns", "name-not-found", "answered NXDOMAIN"),
    ("brief", "four.test", None, ["10.9.9.4"], "dns", None, ""),
    ("own-udp", "ok.test", None, ["10.9.9.1", "fd53::99"], "dns", None, ""),
    ("own-connected", "four.test", None, ["10.9.9.4"], "dns", None, ""),
    ("own-tcp", "big.test", None, MANY, "dns", None, ""),
    ("own-nx", "nx.test", "NXDOMAIN", [], "dns", "name-not-found", f"there is no nx.test: {SERVER} answered NXDOMAIN"),
    ("own-search", "web", None, ["10.9.9.6"], "dns", None, ""),
    ("own-refused", "ok.test", "ECONNREFUSED", [], "dns", "lookup-failed", f"nothing listens on port 53 of {NOBODY}"),
    ("own-silent", "ok.test", "aborted", [], "dns", "slow-lookup", f"{SILENT} did not answer (1 query)"),
]


def test_one_lookup_each(lab: dict[str, list[dict]]) -> None:
    wrong = {}
    for case, name, error, answers, source, code, words in ONE:
        if case not in lab:
            continue  # needs a program that is not here
        told = lookups(lab, case)
        why = told[0]["diagnosis"] or {"code": None, "text": ""} if told else {}
        seen = [(r["name"], r["error"], sorted(r["answers"]), r["source"], r["via"]) for r in told]
        via = "dns" if case.startswith("own-") else "getaddrinfo"
        if seen != [(name, error, sorted(answers), source, via)] or why["code"] != code or words not in why["text"]:
            wrong[case] = (seen, why)
            continue
        who = told[0]["process"]
        assert who["netns"] and who["uid"] == 0 and who["args"]
    assert not wrong


def test_what_is_asked_for(lab: dict[str, list[dict]]) -> None:
    (ok,), (slow,), (nodata,) = (lookups(lab, c) for c in ("ok", "slow", "nodata"))
    assert (ok["service"], ok["family"]) == ("5432", None)
    assert (slow["family"], nodata["family"]) == ("inet", "inet6")
    assert {(q["type"], q["server"], q["result"]) for q in ok["queries"]} == {
        ("A", SERVER, "NOERROR"), ("AAAA", SERVER, "NOERROR"),
    }  # fmt: skip
    assert {q["server"] for q in lookups(lab, "resolver6")[0]["queries"]} == {SERVER6}


def test_how_long_it_took(lab: dict[str, list[dict]]) -> None:
    assert lookups(lab, "slow")[0]["latency_ns"] >= 1_100_000_000
    assert lookups(lab, "second")[0]["latency_ns"] >= 900_000_000
    assert lookups(lab, "killed")[0]["latency_ns"] >= 1_200_000_000


def test_a_truncated_answer_is_asked_for_again_over_tcp(lab: dict[str, list[dict]]) -> None:
    """The C library's list is read as far as its first addresses."""
    (found,) = lookups(lab, "big")
    assert found["error"] is None and len(found["answers"]) == 12 and set(found["answers"]) < set(MANY)
    assert [q["result"] for q in found["queries"]] == ["NOERROR"]


@pytest.mark.parametrize("case", ["numeric", "numeric-only", "garbage"])
def test_what_is_no_lookup(lab: dict[str, list[dict]], case: str) -> None:
    assert lookups(lab, case) == []


def test_an_address_in_another_form_leaves_no_record(tmp_path: pathlib.Path) -> None:
    """AI_NUMERICHOST (4): whatever the name is, nobody is asked; the same without it is recorded."""
    path = tmp_path / "numeric.rec"
    code = "import socket as s; s.getaddrinfo('10.1.2.3', 80, flags=4); s.getaddrinfo('10.1.2.4', 80)"
    command = f'{os.path.realpath(sys.executable)} -c "{code}"'
    subprocess.run([*DSIGHT, "--json", "--record", path, "-c", command], capture_output=True, timeout=30, check=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [row[2] for row in rows if row[0] == 51] == ["10.1.2.4"]
    assert [sum(row[0] == tag for row in rows) for tag in (50, 53, 56)] == [1, 1, 1]


def test_one_family_after_the_other_is_no_failure(lab: dict[str, list[dict]]) -> None:
    first, second = lookups(lab, "other-family")
    assert (first["error"], first["diagnosis"], second["error"]) == ("EAI_NODATA", None, None)


def test_threads_are_told_apart(lab: dict[str, list[dict]]) -> None:
    found = {r["name"]: r["error"] for r in lookups(lab, "thread")}
    assert found == {"ok.test": None, "nx.test": "EAI_NONAME"}


def test_the_older_calls(lab: dict[str, list[dict]]) -> None:
    first, second = lookups(lab, "byname")
    assert (first["via"], first["name"], first["answers"], first["family"]) == (
        "gethostbyname", "four.test", ["10.9.9.4"], "inet",
    )  # fmt: skip
    assert (second["name"], second["error"]) == ("nx.test", "HOST_NOT_FOUND") or second["diagnosis"] is not None


def test_another_resolver(lab: dict[str, list[dict]]) -> None:
    """Node's own, c-ares."""
    first, second = lookups(lab, "node")
    assert (first["name"], first["answers"], first["via"]) == ("four.test", ["10.9.9.4"], "dns")
    assert (second["name"], second["error"]) == ("nx.test", "NXDOMAIN")


@pytest.mark.parametrize("case", ["silent", "own-silent", "killed"])
def test_while_it_lasts(lab: dict[str, list[dict]], case: str) -> None:
    first = next(r for r in lab[case] if r["event"] == "looking-up")
    assert first["diagnosis"]["code"] == "slow-lookup" and "did not answer" in first["diagnosis"]["text"]
    assert first["id"] == lookups(lab, case)[0]["id"]


def test_the_story(lab: dict[str, list[dict]]) -> None:
    """The application connects to itself, for that is where the name of its database leads."""
    (outcome,) = [r for r in lab["connect"] if r["event"] == "outcome"]
    assert outcome["remote"]["name"] == "db1" and outcome["remote"]["address"] == "127.0.0.1"
    assert outcome["diagnosis"]["code"] == "nothing-listens-here"
    assert outcome["diagnosis"]["text"].endswith("; db1 resolves to 127.0.0.1 (/etc/hosts)")


def test_localhost_is_where_it_belongs(lab: dict[str, list[dict]]) -> None:
    told = [r for r in lab["localhost"] if r["event"] == "outcome" and r["protocol"] == "tcp"]
    assert len(told) == 2 and all(r["remote"]["name"] == "localhost" for r in told)
    assert not any("resolves" in r["diagnosis"]["text"] for r in told)


def test_the_name_is_joined_where_the_program_asked_by_itself(lab: dict[str, list[dict]]) -> None:
    (attempt,) = [r for r in lab["own-search"] if r["event"] == "attempt" and r["protocol"] == "tcp"]
    assert (attempt["remote"]["name"], attempt["remote"]["address"]) == ("web", "10.9.9.6")


def dsight(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DSIGHT, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_text_and_expect_by_name() -> None:
    """Of --expect, where only the process's own hosts file knows the name."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inner = f"echo 127.0.0.1 db1 >$F; mount --bind $F /etc/hosts; rm $F; exec 3<>/dev/tcp/db1/{port}"
        command = f"env F=/tmp/hosts.{os.getpid()} unshare -m bash -c '{inner}'"
        done = dsight("--color", "never", "--expect", f"bash->db1:{port}", "--expect", f"db2:{port}", "-c", command)
    assert f"db1 (127.0.0.1):{port}" in done.stdout, done
    assert "; db1 resolves to 127.0.0.1 (/etc/hosts)" in done.stdout
    assert f"expected bash->db1:{port}: met" in done.stdout
    assert f"expected db2:{port}: never attempted" in done.stdout
    assert done.returncode == 3


def test_no_names() -> None:
    command = f"{sys.executable} -c \"import socket; socket.getaddrinfo('localhost', 80)\""
    assert dsight("--no-names", "--json", "-c", command).stdout == ""
    done = dsight("--json", "-c", command)
    assert '"localhost"' in done.stdout, done


# C libraries of others: containers have their own.


@pytest.fixture
def elsewhere(tmp_path: pathlib.Path) -> Iterator[list[str]]:
    """A root directory with getent and a copy of the C library; what to put before a command to run it there."""
    program = shutil.which("getent")
    with open("/proc/self/maps") as f:
        libc = next((line.split()[5] for line in f if "/libc.so.6" in line), None)
    if program is None or libc is None:
        pytest.skip("needs glibc's getent")
    for path in (program, libc, "/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"):
        if os.path.exists(path):
            there = tmp_path / path.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(path), there)
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("10.1.2.3 of-container\n")
    (tmp_path / "etc/nsswitch.conf").write_text("hosts: files\n")
    yield ["chroot", str(tmp_path), program]


def inside(root: str) -> subprocess.Popen[bytes]:
    """A process that stays in a root directory."""
    code = "import os, sys, time; os.chroot(sys.argv[1]); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, root], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    return process


def test_libraries_are_found_by_the_processes_that_have_them(elsewhere: list[str]) -> None:
    libcs = Libcs()
    before = {libc.path for libc in libcs.find()}
    process = inside(elsewhere[1])
    try:
        (found,) = [libc for libc in libcs.find() if f"/{process.pid}/" in libc.path]
        assert found.path not in before and os.path.samefile(f"/proc/{process.pid}/root", elsewhere[1])
        assert {"getaddrinfo", "gethostbyname_r", "gethostbyname2_r"} <= set(found.functions)
        assert not [libc for libc in libcs.find() if f"/{process.pid}/" in libc.path], "once is enough"
    finally:
        process.kill()
        process.communicate()


def test_a_library_that_comes_later(elsewhere: list[str]) -> None:
    watcher = Watch("--names", "--comm", "getent")
    process = inside(elsewhere[1])
    try:
        seen, end = False, time.monotonic() + 30
        while not seen and time.monotonic() < end:
            subprocess.run([*elsewhere, "ahosts", "of-container"], stdout=subprocess.DEVNULL, check=True)
            time.sleep(0.1)
            seen = b"of-container" in os.pread(watcher.out.fileno(), 1 << 20, 0)
        found = [r for r in watcher.end() if r["event"] == "lookup" and r["name"] == "of-container"]
        assert found and found[-1]["answers"] == ["10.1.2.3"] and found[-1]["source"] == "hosts"
    finally:
        watcher.kill()
        process.kill()
        process.communicate()
