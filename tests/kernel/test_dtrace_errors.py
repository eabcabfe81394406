"""What goes wrong is said in one clear message with what to do: exit status 1 or 2, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dtrace_run import DTRACE, SECONDS, dtrace

pytestmark = pytest.mark.kernel

CASES = [
    # arguments, status, what the message has
    (["-n", "BEGIN { x = 1 "], 1, ["expected `;` or `}`", "--> -n:1:15", "^"]),
    (["-B", "-n", "BEGIN"], 2, ["invalid option -- B"]),
    (["-n", "BEGIN { trace(1) ]"], 1, ["`]` without its `[`", "^"]),
    (["-n", 'BEGIN { trace("abc); }'], 1, ["^"]),
    (["-n", "syscall::conect:entry"], 1, ["description syscall::conect:entry does not match any probes", "connect"]),
    (["-n", "tpc:::connect-request"], 1, ["description tpc:::connect-request does not match any probes", "tcp"]),
    (["-n", "pid1:libc::entry"], 1, ["does not match", "the pid provider is not supported yet"]),
    (["-n", "python1:::gc-start"], 1, ["does not match", "USDT"]),
    (["-x", "strsiz=4", "-n", "BEGIN"], 2, ["failed to set -x strsiz", "did you mean strsize?"]),
    (["-x", "qqq", "-n", "BEGIN"], 2, ["failed to set -x qqq", "the options are agghist"]),
    (["-n", "BEGIN { trace(foo); }"], 1, ['unknown name "foo"', "^~~", "hint:"]),
    (["-n", "BEGIN { trace(foo(1)); }"], 1, ["unknown function foo()"]),
    (["-n", 'BEGIN { x = "a" + 1; }'], 1, ["+ needs integers", "strjoin"]),
    (["-n", "BEGIN { trace(curthread->nope); }"], 1, ['"struct task_struct" has no member "nope"']),
    (["-n", 'BEGIN { x = 1; x = "s"; }'], 1, ['incompatible types: "int" and "string"']),
    (["-n", "BEGIN { trace((struct nope *)0); }"], 1, ["nope"]),
    (["-n", "BEGIN { trace($1); }"], 1, ["macro argument $1 is not defined"]),
    (["-n", "BEGIN { trace($target); }"], 1, ["$target"]),
    (["-n", "BEGIN {}", "extra"], 1, ["extraneous argument 'extra'"]),
    (["-n", ""], 1, ["the script has no clauses"]),
    (["-s", "/nowhere/script.d"], 1, ["failed to open /nowhere/script.d: No such file"]),
    (["-s", "/"], 1, ["failed to open /: Is a directory"]),
    (["-o", "/nowhere/out", "-n", "BEGIN {}"], 1, ["failed to open output file '/nowhere/out': No such file"]),
    (["-c", "no-such-command -x", "-n", "BEGIN {}"], 1, ["no-such-command: No such file or directory"]),
    (["-c", "/etc/passwd", "-n", "BEGIN {}"], 1, ["/etc/passwd: Permission denied"]),
    (["-c", "'unbalanced", "-n", "BEGIN {}"], 2, ["-c: No closing quotation"]),
    (["-p", str(2**22 + 3), "-n", "BEGIN {}"], 1, ["failed to grab process 4194307: no such process"]),
    (["-p", "me", "-n", "BEGIN {}"], 2, ["'me' is not a process id"]),
    (["-l", "-n", "syscall::conect:"], 1, ["probe description syscall::conect: does not match any probes"]),
    (["-l", "-i", "99999"], 1, ["no probe has the id 99999"]),
    (["-C", "-n", "#error no good\nBEGIN {}"], 1, ["the C preprocessor: -n:1: #error no good"]),
    (["-C", "-n", "#if\nBEGIN {}"], 1, ["the C preprocessor"]),
    ([], 2, ["usage: dtrace"]),
    (["-q"], 2, ["no probes specified", "usage: dtrace"]),
    (["-n"], 2, ["option requires an argument -- n"]),
    (["-y"], 2, ["invalid option -- y"]),
    (["-x", "bufsiz=4m", "-n", "BEGIN {}"], 2, ["failed to set -x bufsiz", "did you mean bufsize?"]),
    (["-x", "bufsize=lots", "-n", "BEGIN {}"], 2, ["'lots' is not a size"]),
    (["-x", "strsize=1g", "-n", "BEGIN {}"], 2, ["failed to set -x strsize"]),
    (["-x", "quiet=perhaps", "-n", "BEGIN {}"], 2, ["'perhaps' is neither yes nor no"]),
    (["--dump", "soup", "-n", "BEGIN {}"], 2, ["--dump: no stage 'soup'"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "has"), CASES, ids=[" ".join(c[0])[:40] for c in CASES])
def test_said_clearly(arguments: list[str], status: int, has: list[str]) -> None:
    done = dtrace(*arguments)
    assert done.err.startswith("dtrace: ") or not arguments
    for text in has:
        assert text in done.err, done.err
    assert (done.status, done.out) == (status, "")
    assert "Traceback" not in done.err and "internal error" not in done.err


def test_a_script_that_is_no_text(tmp_path: Path) -> None:
    for content in (b"\x7fELF\x02\x01\x01\0\0", bytes(range(256)), b"\xff\xfe" * 100, b"BEGIN { trace(\0); }"):
        (tmp_path / "x.d").write_bytes(content)
        done = dtrace("-s", tmp_path / "x.d")
        assert done.status == 1 and done.err.startswith("dtrace: failed to compile script "), done.err
        assert "internal error" not in done.err
        assert all(c in "\n\t" or c.isprintable() for c in done.err), repr(done.err)


def test_an_unreadable_script(tmp_path: Path) -> None:
    """Permissions do not stop root; nobody is told what stopped it."""
    script = tmp_path / "secret.d"
    script.write_text("BEGIN { exit(0); }")
    script.chmod(0)
    done = as_nobody("-e", "-s", script)
    assert done.returncode == 1
    assert done.stderr == f"dtrace: failed to open {script}: Permission denied\n"


def as_nobody(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", *DTRACE]
    return subprocess.run(
        [*words, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("-n", "BEGIN { exit(0); }"), ("-n", "syscall::connect:entry"), ("-l",)])
def test_without_privileges(arguments: tuple[str, ...]) -> None:
    done = as_nobody(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert "root" in done.stderr and "CAP_BPF" in done.stderr and "sudo" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("dtrace:") == 1


def hidden(*commands: str, script: str = "BEGIN { exit(0); }") -> subprocess.CompletedProcess[str]:
    """dtrace in a mount namespace of its own, after some commands."""
    line = " && ".join([*commands, "exec " + " ".join(DTRACE) + ' -n "$0"'])
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", line, script], capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_without_btf() -> None:
    """/sys/kernel/btf gone: a kernel built without CONFIG_DEBUG_INFO_BTF."""
    done = hidden("mount -t tmpfs none /sys/kernel/btf", script="BEGIN { trace(curthread->pid); exit(0); }")
    assert done.returncode == 1
    assert "CONFIG_DEBUG_INFO_BTF" in done.stderr and "hint:" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


def test_without_sys() -> None:
    done = hidden("mount -t tmpfs none /sys", script="syscall::connect:entry { @[curthread->pid] = count(); }")
    assert done.returncode == 1 and done.stdout == ""
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr
    assert "BTF" in done.stderr, done.stderr


# A seccomp filter as containers have it: bpf(2) and perf_event_open(2) answer EPERM or ENOSYS.
SECCOMP = """
import ctypes, os, struct, sys
error = int(sys.argv[1])
calls = {"x86_64": (321, 298), "aarch64": (280, 241)}[os.uname().machine]
def op(code, jt, jf, k): return struct.pack("=HBBI", code, jt, jf, k)
program = op(0x20, 0, 0, 0)  # the number
for n in calls:
    program += op(0x15, 0, 1, n) + op(0x06, 0, 0, 0x50000 | error)
program += op(0x06, 0, 0, 0x7fff0000)
memory = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(memory)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(("error", "says"), [(1, ["seccomp"]), (38, ["no such system call", "CONFIG_BPF_SYSCALL"])])
def test_without_bpf(error: int, says: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SECCOMP, str(error), *DTRACE, "-n", "BEGIN { exit(0); }"],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    for text in says:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


def test_full_disk() -> None:
    done = dtrace("-q", "-o", "/dev/full", "-n", "BEGIN { trace(1); exit(0); }")
    assert done.status == 1
    assert "No space left on device" in done.err and "/dev/full" in done.err, done.err
    assert "internal error" not in done.err


def test_several_errors_are_shown_at_once() -> None:
    done = dtrace("-n", "BEGIN { trace(a); trace(b); }")
    assert done.status == 1 and '"a"' in done.err
