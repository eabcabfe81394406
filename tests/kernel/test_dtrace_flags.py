"""dtrace(1)'s command line: what each flag does, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dtrace_run import DTRACE

pytestmark = pytest.mark.kernel


def run(*args: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DTRACE, *args], capture_output=True, text=True, timeout=60, input=given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library folder: one file needs the other, which comes later in the alphabet."""
    (tmp_path / "a.d").write_text(
        "#pragma D depends_on library b.d\ninline myint_t fortytwo = 42;\ninline int twice[myint_t v] = v * 2;\n"
    )
    (tmp_path / "b.d").write_text("typedef long myint_t;\nstruct point { int x; int y; };\n")
    (tmp_path / "notes.txt").write_text("not D\n")
    return tmp_path


def test_library_folders_are_read(folder: Path) -> None:
    script = "myint_t g; BEGIN { g = fortytwo; trace(twice[g]); trace(sizeof(struct point)); exit(0); }"
    for given in (("-L", str(folder)), ("-x", f"libdir={folder}")):
        done = run(*given, "-qn", script)
        assert (done.stdout, done.returncode) == ("848", 0), done.stderr


def test_mistakes_in_library_folders_are_shown_where_they_are(folder: Path) -> None:
    done = run("-L", "/nowhere", "-n", "BEGIN { exit(0); }")
    assert done.returncode == 1
    assert "failed to open the library folder /nowhere: No such file or directory" in done.stderr
    (folder / "c.d").write_text("inline int z = 5")
    done = run("-L", str(folder), "-n", "BEGIN { exit(0); }")
    assert done.returncode == 1
    assert f"{folder}/c.d:1:" in done.stderr


def test_the_preprocessors_flags(tmp_path: Path) -> None:
    (tmp_path / "n.h").write_text("#define N 7\n")
    script = '#include "n.h"\nBEGIN { trace(N); trace(__STDC__); exit(0); }'
    for letter, value in (("a", "0"), ("c", "1"), ("t", "0")):
        done = run("-C", "-H", "-X", letter, "-I", str(tmp_path), "-qn", script)
        assert done.stdout == "7" + value, done.stderr
        assert f"{tmp_path}/n.h\n" in done.stderr
    done = run("-x", "cpp", "-x", "cpphdrs", "-x", f"incdir={tmp_path}", "-qn", script)
    assert done.stdout.startswith("7") and f"{tmp_path}/n.h\n" in done.stderr
    undefined = "BEGIN { exit(3); }\n#ifdef __STDC__\nsyntax error\n#endif\n"
    assert run("-C", "-X", "s", "-qn", undefined).returncode == 3
    assert run("-C", "-X", "q", "-qn", undefined).returncode == 2
    assert run("-CD", "A=4", "-D", "B", "-U", "B", "-qn", "BEGIN { trace(A); exit(0); }").stdout == "4"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("-32", "-n", "BEGIN { exit(0); }"), "the data model is that of the kernel"),
        (("-A", "-n", "BEGIN { exit(0); }"), "there is no anonymous tracing on Linux"),
        (("-a",), "there is no anonymous tracing on Linux"),
        (("-h", "-s", "provider.d"), "USDT headers are not supported yet"),
        (("-G", "-s", "provider.d"), "USDT objects are not supported yet"),
    ],
)
def test_what_cannot_be_had_says_so(args: tuple[str, ...], says: str) -> None:
    done = run(*args)
    assert done.returncode == 1
    assert says in done.stderr


def test_several_commands_run_until_the_last_one_ends_and_target_is_the_first() -> None:
    script = """BEGIN { printf("target %d\\n", $target); }
        syscall::execve:return /arg0 == 0/ { execs++; }
        syscall::exit_group:entry /pid == $target/ { printf("first ends\\n"); }
        END { printf("%d execs\\n", execs); }"""
    done = run("-n", script, "-c", "sleep 0.05", "-c", "sleep 0.5", "-c", "true")
    ended = [line for line in done.stderr.splitlines() if line.endswith("has exited")]
    assert len(ended) == 3, done.stderr
    first = int(done.stdout.partition("target ")[2].split()[0])
    assert f"dtrace: pid {first} has exited" in ended
    assert ended[-1] != f"dtrace: pid {first} has exited"
    assert "first ends" in done.stdout
    assert int(done.stdout.rpartition(" execs")[0].split()[-1]) >= 3


def test_a_command_and_a_process() -> None:
    sleeper = subprocess.Popen(["sleep", "0.4"])
    try:
        done = run("-qn", 'BEGIN { printf("%d\\n", $target); }', "-p", str(sleeper.pid), "-c", "true")
        assert done.stdout == f"{sleeper.pid}\n"
    finally:
        sleeper.wait()
    assert run("-n", "BEGIN", "-p", "none").returncode == 2
    assert "failed to grab process 4194304" in run("-n", "BEGIN", "-p", "4194304").stderr


def test_every_way_to_name_probes_takes_a_predicate_and_actions() -> None:
    done = run(
        "-q",
        "-P", "dtrace /probename == \"END\"/ { trace(\"P \"); }",
        "-f", "syscall:vmlinux:getpgid /pid == $target/ { trace(\"f \"); }",
        "-m", "syscall:vmlinux /pid == $target && probefunc == \"getsid\"/ { trace(\"m \"); }",
        "-n", "BEGIN { trace($1); trace($$2); }",
        "-i", "2 /pid/ { trace(\"i \"); }",
        "-s", "/dev/stdin",
        "-c", f"{sys.executable} -c 'import os; os.getpgid(0); os.getsid(0)'",
        "4", "hello ",
        given="END { trace(\"end\"); }",
    )  # fmt: skip
    assert done.stdout == "4hello f f m m P i end", done.stderr


def test_listing_by_description_and_by_id() -> None:
    lines = run("-ln", "syscall::getpgid:").stdout.splitlines()
    assert lines[0].split() == ["ID", "PROVIDER", "MODULE", "FUNCTION", "NAME"]
    ids = [line.split()[0] for line in lines[1:]]
    assert [line.split()[-2:] for line in lines[1:]] == [["getpgid", "entry"], ["getpgid", "return"]]
    assert run("-l", "-i", ids[0], "-i", ids[1]).stdout.splitlines() == lines
    assert "BEGIN" in run("-lP", "dtrace").stdout


def test_v_says_what_each_program_stands_on() -> None:
    done = run("-v", "-n", "BEGIN { exit(0); }", "-n", "syscall::getpgid:entry { trace(1); }")
    assert "fired by the kernel's tracepoint syscalls/sys_enter_getpgid" in done.stderr
    assert "dtrace:::BEGIN: fired by dtrace itself; eBPF program" in done.stderr


def test_verbose_may_be_an_option_of_the_script() -> None:
    for args in (("-x", "verbose", "-n", "BEGIN { exit(0); }"), ("-n", "#pragma D option verbose\nBEGIN { exit(0); }")):
        assert "fired by dtrace itself" in run(*args).stderr


def test_a_script_without_clauses_is_refused_unless_it_may_be() -> None:
    done = run("-x", "errtags", "-n", "int x;")
    assert done.returncode == 1
    assert "[D_EMPTY]" in done.stderr
    assert run("-x", "empty", "-e", "-n", "int x;").returncode == 0
