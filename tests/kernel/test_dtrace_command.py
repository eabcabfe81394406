"""The command's options: listing, compiling only, the preprocessor, what each stage shows."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dtrace_run import REPO, SECONDS, dtrace, python

pytestmark = pytest.mark.kernel


def listed(*arguments: object) -> list[tuple[int, str]]:
    """dtrace -l: (id, provider:module:function:name)."""
    done = dtrace("-l", *arguments)
    assert (done.status, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert head.split() == ["ID", "PROVIDER", "MODULE", "FUNCTION", "NAME"]
    found = []
    for line in lines:
        number, rest = line.split(None, 1)
        found.append((int(number), ":".join(rest.split())))
    return found


def test_listing_everything_is_quick_and_complete() -> None:
    listed()  # the index of kernel types is cached by now
    began = time.monotonic()
    probes = listed()
    assert time.monotonic() - began < 5  # half a second on a machine of its own
    assert len(probes) > 1000
    names = {name for _, name in probes}
    assert {"dtrace:BEGIN", "dtrace:END", "dtrace:ERROR", "profile:tick-1", "profile:profile-97"} <= names
    assert {f"syscall:vmlinux:connect:{end}" for end in ("entry", "return")} <= names
    assert {n.rsplit(":", 1)[1] for n in names if n.startswith("tcp:")} >= {
        "connect-request", "connect-established", "connect-refused",
        "accept-established", "accept-refused", "state-change",
    }  # fmt: skip
    assert any(n == "rawtp:vmlinux:sched_switch" for n in names)
    ids = [number for number, _ in probes]
    assert len(set(ids)) == len(ids)


def test_ids_are_stable_and_name_a_probe() -> None:
    everything = dict(listed())
    some = listed("-n", "syscall::conn*:")
    assert [name for _, name in some] == ["syscall:vmlinux:connect:entry", "syscall:vmlinux:connect:return"]
    for number, name in [some[0], listed("-P", "tcp")[-1]]:
        assert everything[number] == name
        assert listed("-i", number) == [(number, name)]
    number = some[0][0]
    code = python("import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError: pass")
    done = dtrace("-q", "-i", f"{number} /pid == $target/ {{ printf(\"%d %s:%s\\n\", id, probefunc, probename); }}",
                  "-c", code)  # fmt: skip
    assert f"{number} connect:entry\n" in done.out


def test_listing_by_provider_module_function_name() -> None:
    assert listed("-P", "tcp") == listed("-n", "tcp:::") == listed("-P", "t[abc]p")
    assert {n.split(":")[2] for _, n in listed("-f", "openat")} == {"openat"}
    assert listed("-f", "syscall::openat") == listed("-n", "syscall::openat:")
    assert {n.split(":")[0] for _, n in listed("-m", "syscall:vmlinux")} == {"syscall"}
    assert [n for _, n in listed("-n", "BEGIN", "-n", "END")] == ["dtrace:BEGIN", "dtrace:END"]


def test_listing_with_types() -> None:
    out = dtrace("-lvn", "syscall::connect:entry").out
    assert re.search(r"args\[0\]: int\n\s+args\[1\]: struct sockaddr \*\n\s+args\[2\]: int\n", out)
    out = dtrace("-lvn", "tcp:::connect-request").out
    assert re.findall(r"args\[\d\]: (.*)", out) == [
        "pktinfo_t *",
        "csinfo_t *",
        "ipinfo_t *",
        "tcpsinfo_t *",
        "tcpinfo_t *",
    ]


def test_listing_a_script(tmp_path: Path) -> None:
    script = tmp_path / "s.d"
    script.write_text("#!/usr/sbin/dtrace -s\nsyscall::connect:entry { trace(1); }\nEND { }\n")
    assert [n for _, n in listed("-s", script)] == ["dtrace:END", "syscall:vmlinux:connect:entry"]


def test_compiling_only() -> None:
    for letter in ("-e", "-Se"):
        done = dtrace(letter, "-n", "syscall::connect:entry { trace(pid); }")
        assert (done.status, done.out) == (0, "")
    assert "call get_current_pid_tgid" in done.err and "exit" in done.err


@pytest.mark.parametrize(
    ("stage", "shows"),
    [
        ("tokens", "connect"),
        ("ast", "Clause"),
        ("types", "pid"),
        ("ir", "function syscall_0"),
        ("asm", "call "),
        ("spec", "syscall_0"),
        ("records", "printf"),
    ],
)
def test_each_stage_can_be_seen(stage: str, shows: str) -> None:
    done = dtrace("--dump", stage, "-n", 'syscall::connect:entry { printf("%d", pid); }')
    assert (done.status, done.out) == (0, "")
    assert shows in done.err, done.err


def test_version_help_and_verbose() -> None:
    assert re.fullmatch(r"dtrace: dsight \d+\.\d+\S*\n", dtrace("-V").out)
    done = dtrace("--help")
    assert done.status == 0 and "usage: dtrace" in done.out + done.err
    done = dtrace("-v", "-n", "syscall::connect:entry { trace(1); } BEGIN { exit(0); }")
    assert "syscalls/sys_enter_connect" in done.err


def test_descriptions_that_match_nothing_are_allowed_with_Z() -> None:
    done = dtrace("-Z", "-n", "nope:::x { trace(1); }", "-n", 'BEGIN { printf("here"); exit(0); }')
    assert done.status == 0 and "here" in done.out
    assert "description 'nope:::x' matched 0 probes" in done.err
    assert "description 'BEGIN' matched 1 probe\n" in done.err


def test_preprocessor(tmp_path: Path) -> None:
    (tmp_path / "values.h").write_text("#define HUNDRED 100\n#define TWICE(x) ((x) * 2)\n")
    script = tmp_path / "c.d"
    script.write_text(
        '#!/usr/sbin/dtrace -Cqs\n#include "values.h"\n#ifdef N\nBEGIN { trace(TWICE(N) + HUNDRED); exit(0); }\n'
        "#else\nBEGIN { nothing; }\n#endif\n"
    )
    assert dtrace("-C", "-D", "N=21", "-qs", script).out == "142"
    assert dtrace("-C", "-DN=21", "-U", "M", "-I", tmp_path, "-qs", script).out == "142"
    done = dtrace("-C", "-qs", script)
    assert done.status == 1 and "c.d:6:9" in done.err and "nothing" in done.err  # the line it was on


def test_preprocessor_is_declared_as_a_dependency() -> None:
    import tomllib

    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert any(d.startswith("pcpp") for d in project["dependencies"])


def test_options_from_environment_pragma_and_command_line() -> None:
    script = 'BEGIN { printf("%s", "0123456789abcdef0123"); exit(0); }'
    assert dtrace("-n", script, env={"DTRACE_OPT_QUIET": "1"}).out == "0123456789abcdef0123"
    assert dtrace("-n", "#pragma D option quiet\n#pragma D option strsize=16\n" + script).out == "0123456789abcde"
    assert dtrace("-q", "-x", "strsize=10", "-n", "#pragma D option strsize=16\n" + script).out == "012345678"


def test_macro_arguments() -> None:
    done = dtrace("-qn", 'BEGIN { printf("%d %s %s %d", $1, $$1, $$2, $3 + 1); exit(0); }', "--", "17", "a b", "-5")
    assert done.out == "17 17 a b -4"
    done = dtrace("-q", "-x", "defaultargs", "-n", 'BEGIN { printf("%d[%s]", $1, $$2); exit(0); }')
    assert done.out == "0[]"


# Inserts a read of an uninitialised register where the D line's second action begins.
REFUSED = """
import sys
import dsight.bpf.compile as back_end
from dsight.bpf.spec import Insn
real = back_end.compile_function
def broken(function, *rest):
    spec = real(function, *rest)
    at = next(i for i, insn in enumerate(spec.insns) if insn.span and insn.span.line == 3)
    bad = spec.insns[at].replace(code=0x79, dst=1, src=7, off=0, imm=0, ref=None)
    return spec.replace(insns=(*spec.insns[:at], bad, *spec.insns[at + 1 :]))
back_end.compile_function = broken
from dsight.ui.dtrace_cli import main
sys.exit(main(["-n", "BEGIN\\n{\\n  trace(curthread->pid);\\n  exit(0);\\n}"]))
"""


def test_a_refusal_of_the_verifier_is_shown_at_the_d_line() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "-n:3:" in done.stderr and "trace(curthread->pid)" in done.stderr, done.stderr
    assert "R7" in done.stderr  # the verifier's own words
    assert "Traceback" not in done.stderr
