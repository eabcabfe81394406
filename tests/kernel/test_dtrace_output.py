"""What the command prints: the columns, aggregations, errors, drops; and safely, whatever a process is called."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dtrace_run import DTRACE, SECONDS, dtrace, python, run_bytes

pytestmark = pytest.mark.kernel

HEADER = "CPU     ID                    FUNCTION:NAME"


def test_columns_and_one_header() -> None:
    done = dtrace(
        "-n", 'BEGIN { trace(1); } BEGIN { trace("two"); } END { printf("three"); exit(0); } BEGIN { exit(0); }'
    )
    cpu = r" +\d+"
    assert re.fullmatch(
        rf"{HEADER}\n"
        rf"{cpu}      1                           :BEGIN         1\n"
        rf"{cpu}      1                           :BEGIN   two {{30}}\n"
        rf"{cpu}      1                           :BEGIN \n"
        rf"{cpu}      2                             :END three\n",
        done.out,
    ), done.out
    assert re.fullmatch(r"dtrace: description 'BEGIN' matched 4 probes\n", done.err)


def test_function_and_name_of_a_probe() -> None:
    done = dtrace(
        "-n", "syscall::getpgid:entry /pid == $target/ { trace(pid); }", "-c", python("import os; os.getpgid(0)")
    )
    line = next(line for line in done.out.splitlines() if "getpgid" in line)
    assert re.fullmatch(r" +\d+ +\d+ +getpgid:entry +\d+", line)
    assert line.index("getpgid:entry") + len("getpgid:entry") == len(HEADER) + 2 or len(line) > 40


def test_quiet_prints_only_what_the_script_says() -> None:
    script = 'BEGIN { trace(1); trace("two"); printf("%d\\n", 3); } END { trace(-4); } BEGIN { exit(0); }'
    for arguments in (("-q", "-n", script), ("-n", "#pragma D option quiet\n" + script), ("-x", "quiet", "-n", script)):
        done = dtrace(*arguments)
        assert (done.status, done.out, done.err) == (0, "1two3\n-4", "")


def test_output_is_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for n in (1, 2):
        done = dtrace("-q", "-o", path, "-n", f'BEGIN {{ printf("run {n}\\n"); exit(0); }}')
        assert (done.status, done.out, done.err) == (0, "", "")
    assert path.read_text() == "run 1\nrun 2\n"


def test_trace_of_each_type() -> None:
    done = dtrace(
        "-n",
        """BEGIN {
        trace((char)65); trace((int8_t)-5); trace((short)-300); trace((uint16_t)65535); trace(-70000);
        trace((uint32_t)4000000000); trace((int64_t)-5000000000); trace((uint64_t)-1); trace("text"); exit(0); }""",
    )
    values = done.out.splitlines()[1].split()[3:]
    assert values == [
        "65",
        "-5",
        "-300",
        "65535",
        "-70000",
        "4000000000",
        "-5000000000",
        "18446744073709551615",
        "text",
    ]


def test_order_of_clauses_predicates_and_printfs() -> None:
    done = dtrace(
        "-qn",
        """
        BEGIN /0/ { printf("no"); } BEGIN { n = 5; } BEGIN /n == 5/ { printf("a%db", n++); }
        BEGIN /n == 6/ { printf("c"); }
        BEGIN { printf("%5d|%-5d|%05d|%x|%X|%#x|%o|%c|%s|%10s|%-10s|%.2s|%%\\n",
            n, n, n, 255, 255, 255, 8, 65, "s", "right", "left", "cut"); exit(0); }
    """,
    )
    assert done.out == "a5bc    6|6    |00006|ff|FF|0xff|10|A|s|     right|left      |cu|%\n"


def test_default_listing_of_aggregations() -> None:
    """In order of value; those printa() names are not listed again."""
    code = "import os\nfor i in range(3): os.getpgid(0)\nfor i in range(9): os.getppid()\nos.umask(0)"
    done = dtrace(
        "-qn",
        """
        syscall::getpgid:entry, syscall::getppid:entry, syscall::umask:entry
        /pid == $target/ { @calls[probefunc] = count(); @two["x", -1] = sum(-7); @printed = max(4); }
        END { printa("%@d!\\n", @printed); }
    """,
        "-c",
        python(code),
    )
    rows = [line.split() for line in done.out.splitlines() if line]
    assert rows == [["4!"], ["umask", "1"], ["getpgid", "3"], ["getppid", "9"], ["x", "-1", "-91"]]


def test_an_aggregation_whose_printa_never_ran_is_listed() -> None:
    script = (
        'BEGIN { @a = sum(5); @b = sum(6); exit(0); } BEGIN { printa("%@d printed\\n", @b); } tick-1h { printa(@a); }'
    )
    done = dtrace("-qn", script)
    assert done.out == "6 printed\n\n                5\n"


def test_quantize_counts_every_power_of_two() -> None:
    code = (
        "import os\n"
        "for n in (3000, 3001, 5000, 9000, 9001, 9002, -5):\n    try: os.getpgid(n)\n    except OSError: pass"
    )
    done = dtrace(
        "-qn",
        "syscall::getpgid:entry /pid == $target/ { @ = quantize((int)arg0); }",
        "-c",
        python(code),
    )
    rows = {int(v): int(n) for v, n in re.findall(r"^ +(-?\d+) \|[@ ]*\s(\d+) *$", done.out, re.M)}
    assert {v: n for v, n in rows.items() if n} == {-4: 1, 2048: 2, 4096: 1, 8192: 3}


def test_error_probe_and_its_line() -> None:
    done = dtrace(
        "-qn",
        """
        BEGIN { trace(1); trace(*(int *)0x10); }
        BEGIN { zero = 0; n = 7 / zero; }
        BEGIN { exit(3); }
        ERROR { printf("%d/%d/%d/%x\\n", arg1, arg2, arg4, arg5); }
    """,
    )
    assert done.status == 3
    assert done.out == "1/2/1/10\n2/2/4/0\n"
    assert done.err.splitlines() == [
        "dtrace: error on enabled probe ID 1 (ID 1: dtrace:::BEGIN): invalid address (0x10) in action #2",
        "dtrace: error on enabled probe ID 2 (ID 1: dtrace:::BEGIN): divide-by-zero in action #2",
    ]


def drops(err: str) -> int:
    return sum(map(int, re.findall(r"^dtrace: (\d+) drops? on CPU \d+$", err, re.M)))


def test_drops_are_counted_exactly() -> None:
    """A tiny buffer, a reader that stops, a process that makes 30,000 records: shown + dropped is all."""
    code = "import os\nfor i in range(30000): os.getpgid(0)"
    process = subprocess.Popen(
        [*DTRACE, "-q", "-b", "4k", "-n", 'syscall::getpgid:entry /pid == $target/ { printf("x%d\\n", ++n); }'
         "syscall::getpgid:entry /pid == $target/ { @ = count(); }",
         "-c", python(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        time.sleep(1.0)  # its pipe is full by now: it cannot read records while it cannot write
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    shown = [int(n) for n in re.findall(r"^x(\d+)$", out, re.M)]
    assert shown == sorted(shown)
    assert int(out.split()[-1]) == 30000  # the aggregation loses nothing
    assert drops(err) > 0
    assert len(shown) + drops(err) == 30000


def test_aggregation_drops_are_counted_exactly() -> None:
    code = "import os\nfor i in range(5000):\n    try: os.getpgid(2**23 + i)\n    except OSError: pass"
    done = dtrace(
        "-q",
        "-x",
        "aggsize=16k",
        "-n",
        "syscall::getpgid:entry /pid == $target/ { @[arg0] = count(); }",
        "-c",
        python(code),
    )
    kept = len([line for line in done.out.splitlines() if line.strip()])
    lost = sum(map(int, re.findall(r"^dtrace: (\d+) aggregation drops? on CPU \d+$", done.err, re.M)))
    assert kept > 0 and lost > 0
    assert kept + lost == 5000


NAMES = [b"\x1b[2J\x1b[31mred", b"new\nline\rcr\ttab", b"\xff\xfe\x80\xc3(", b"\xe2\x80\xaebidi", b"\x9b31mcsi",
         b"\xc2\x9bcsi", b"\x07bell\x08", b"quote\"'\\n%s%d"]  # fmt: skip
SAFE = re.compile(rb"[\n\t\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]+")


@pytest.mark.parametrize("name", NAMES, ids=[repr(n) for n in NAMES])
def test_names_are_shown_harmlessly(name: bytes) -> None:
    """execname and strings of the process through printf, trace, keys, and the columns."""
    code = (
        f"import os\nopen('/proc/self/comm', 'wb').write({name!r})\ntry: os.open({name!r}, 0)\nexcept OSError: pass\n"
    )
    done = run_bytes(
        "-n",
        """
        syscall::openat:entry /pid == $target && execname != "python" && copyinstr(arg1) == copyinstr(arg1)/
        { printf("printf:%s:%16s:", execname, copyinstr(arg1)); trace(execname);
            @[execname, copyinstr(arg1)] = count(); }
        syscall::openat:return /pid == $target/ { @last[execname] = count(); }
        END { printa("printa:%s:%s:%@d\\n", @); }
    """,
        "-c",
        python(code),
    )
    out = done.stdout
    assert done.returncode == 0
    rest = SAFE.sub(b"", out)
    assert rest == b"", rest
    text = out.decode()  # valid UTF-8
    assert not re.search("[\\u0080-\\u009f\\u200b-\\u200f\\u202a-\\u202e\\u2066-\\u2069]", text)
    assert "printf:" in text
    # A newline in a name does not begin a line: printa's are whole.
    assert re.search(r"printa:[^\n]*:[^\n]*:1$", text, re.M)


def test_output_is_line_by_line_on_a_terminal() -> None:
    """Through a pseudo-terminal: a line is there before the script ends."""
    import pty

    pid, fd = pty.fork()
    if not pid:
        os.execv(DTRACE[0], [*DTRACE, "-qn", 'BEGIN { printf("first\\n"); } tick-20s { exit(0); }'])
    try:
        text = b""
        end = time.monotonic() + 15
        while b"first" not in text and time.monotonic() < end:
            text += os.read(fd, 1000)
        assert b"first\r\n" in text
        os.write(fd, b"\x03")  # Ctrl-C, as a person types it
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(fd)


def test_stdin_script() -> None:
    done = dtrace("-qs", "-", stdin='BEGIN { printf("from stdin"); exit(0); }')
    assert (done.status, done.out, done.err) == (0, "from stdin", "")


def test_python_itself_is_not_needed_in_the_environment() -> None:
    """-c runs in the caller's environment and working directory."""
    done = dtrace(
        "-qn",
        "BEGIN { }",
        "-c",
        f"{sys.executable} -c 'import os; print(os.environ[\"MARK\"], os.getcwd())'",
        env={"MARK": "here"},
    )
    assert done.out == f"here {os.getcwd()}\n"
