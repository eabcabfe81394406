"""Output options and the consumer's actions through the command: -F, buffer policies, system(), freopen()."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dtrace_run import dtrace, python

pytestmark = pytest.mark.kernel

WRITES = python("import os\nfor i in range(3): os.write(2, b'')")


def test_a_further_clause_of_one_firing_does_not_go_in_again() -> None:
    done = dtrace(
        *("-F", "-c", WRITES, "-n", "syscall::write:entry /pid == $target && !arg2/ { trace(arg0); }"),
        *("-n", "syscall::write:entry /pid == $target && !arg2/ { trace(2); }"),
    )
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "CPU FUNCTION                                 "
    shapes = [line[4:] for line in lines[1:] if line]
    first, second = f"{' => write':41s}  {2:16d}", f"{'   | write:entry':41s}  {2:8d}"
    assert shapes[:2] == [first, second]
    assert len(shapes) == 6


def test_flow_comes_back_out_with_the_return() -> None:
    done = dtrace(
        *("-F", "-c", WRITES, "-n", "syscall::write: /pid == $target/ { trace(pid); }"),
        *("-n", "tick-1d { trace(1); }"),
    )
    shapes = [line[4:].split("  ")[0].rstrip() for line in done.out.splitlines()[1:] if line]
    assert shapes == [" => write", " <= write"] * 3


def test_quiet_wins_over_flow() -> None:
    done = dtrace("-qF", "-n", 'BEGIN { printf("x\\n"); exit(0); }')
    assert done.out == "x\n"


@pytest.mark.parametrize("policy", ["ring", "fill"])
def test_buffer_policies_print_at_the_end(policy: str) -> None:
    done = dtrace(
        *("-q", "-x", f"bufpolicy={policy}", "-b", "4k", "-n", 'tick-1ms { printf("%d\\n", ++n); }'),
        *("-n", "tick-1ms /n == 400/ { exit(0); }", "-n", 'END { printf("end\\n"); }'),
    )
    assert done.status == 0
    *numbers, end = done.out.splitlines()
    assert end == "end"
    shown = [int(n) for n in numbers]
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    assert 100 <= len(shown) <= 170  # a record takes 24 bytes, 32 with the ring buffer's header
    assert shown[0] == 1 if policy == "fill" else shown[-1] == 400
    assert done.err == ""


def test_a_buffer_too_large_is_halved_and_said() -> None:
    script = 'BEGIN { printf("x\\n"); exit(0); }'
    done = dtrace("-q", "-b", "4g", "-n", script)
    assert (done.status, done.out) == (0, "x\n")
    assert re.fullmatch(r"dtrace: buffer size lowered to \d+[mg]\n", done.err)
    assert dtrace("-q", "-x", "bufsize=4g", "-x", "quietresize", "-n", script).err == ""
    refused = dtrace("-q", "-b", "4g", "-x", "bufresize=manual", "-n", script)
    assert refused.status == 1 and "4294967296" in refused.err


def test_system_keeps_the_order_of_output_and_runs_a_shell(tmp_path: Path) -> None:
    done = dtrace(
        *("-qw", "-o", tmp_path / "out", "-n"),
        'BEGIN { printf("1\\n"); system("echo $((%d + 1)); echo %s >&2", 1, "seen"); printf("3\\n"); exit(5); }',
    )
    assert (done.status, done.err) == (5, "seen\n")
    assert (tmp_path / "out").read_text() == "1\n2\n3\n"


def test_freopen_of_what_cannot_be_opened_leaves_output_where_it_is(tmp_path: Path) -> None:
    done = dtrace("-qw", "-n", f'BEGIN {{ freopen("{tmp_path}/no/file"); printf("here\\n"); exit(0); }}')
    assert done.out == "here\n"
    assert done.err.startswith("dtrace: freopen: couldn't open") and "No such file" in done.err


def test_freopen_empties_the_file_first(tmp_path: Path) -> None:
    (tmp_path / "f0").write_text("old\n")
    done = dtrace("-qw", "-n", f'BEGIN {{ freopen("{tmp_path}/f%d", 0); printf("new\\n"); @ = count(); exit(0); }}')
    assert (done.out, done.err) == ("", "")
    text = (tmp_path / "f0").read_text()
    assert text.startswith("new\n") and text.split() == ["new", "1"]  # the listing at the end goes there too


@pytest.mark.parametrize(("option", "tag"), [((), ""), (("-x", "droptags"), "[DTRACEDROP_PRINCIPAL] ")])
def test_drops_are_counted_and_named(option: tuple[str, ...], tag: str) -> None:
    tracemem = " ".join(["tracemem(curthread, 4096);"] * 4)
    done = dtrace("-q", "-b", "4k", *option, "-n", "BEGIN { " + tracemem + " }", "-n", "BEGIN { exit(0); }")
    assert re.fullmatch(re.escape(f"dtrace: {tag}1 drop on CPU ") + r"\d+\n", done.err)


def test_option_cpu_traces_one_cpu_only() -> None:
    done = dtrace("-q", "-x", "cpu=0", "-n", "profile-997 { @[cpu] = count(); } tick-300ms { exit(0); }")
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines() if line] == ["0"]


def test_options_from_the_environment() -> None:
    script = "BEGIN { @[1] = sum(1); @[2] = sum(3); exit(0); }"
    done = dtrace("-q", "-n", script, env={"DTRACE_OPT_AGGSORTREV": "yes", "DTRACE_OPT_AGGHIST": ""})
    assert [line.split()[0] for line in done.out.splitlines() if "|" in line] == ["2", "1"]


def test_printa_in_ticks_with_clear_and_trunc() -> None:
    done = dtrace(
        *("-q", "-n", 'BEGIN { @["a"] = sum(7); @["b"] = sum(9); i = 0; }'),
        *("-n", 'tick-20ms /i == 0/ { printa("%s=%@d ", @); clear(@); printa("%s=%@d ", @); }'),
        *("-n", 'tick-20ms /i == 1/ { @["b"] = sum(4); normalize(@, 2); printa("%s=%@d ", @); denormalize(@); }'),
        *("-n", 'tick-20ms /i == 2/ { printa("%s=%@d ", @); trunc(@, 1); printa("%s=%@d ", @); exit(0); }'),
        *("-n", "tick-20ms { i++; }"),
    )
    assert done.out == "a=7 b=9 a=0 b=0 a=0 b=2 a=0 b=4 b=4 "


def test_print_of_a_kernel_struct_has_its_members() -> None:
    done = dtrace("-q", "-n", "BEGIN { print(*curthread->cred); print(curthread->comm); exit(0); }")
    assert done.status == 0
    assert re.search(r"^    uid = \{\n        val = 0x0\n    \}$", done.out, re.MULTILINE)
    assert re.search(r'^char \[16\] "[^"]+"$', done.out, re.MULTILINE)


def test_print_larger_than_printsize_is_refused() -> None:
    done = dtrace("-x", "errtags", "-x", "printsize=64", "-n", "BEGIN { print(*curthread); }")
    assert done.status == 1 and "[D_PRINT_SIZE]" in done.err
    assert dtrace("-q", "-x", "printsize=32k", "-n", "BEGIN { print(*curthread); exit(0); }").status == 0
