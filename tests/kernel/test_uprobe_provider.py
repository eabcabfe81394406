"""uprobe: functions of programs and libraries, compiled here or installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dtrace_run import dtrace, python
from kernel_held import holdings

import dsight
from dsight.image import Place
from dsight.kernel import links
from dsight.lang.ast import ProbeDesc
from dsight.providers.uprobe import read_functions
from dsight.source import Source, Span

pytestmark = pytest.mark.kernel

SOURCE = """
#include <stdlib.h>
#define KEPT __attribute__((noinline, noclone, used))
KEPT long many(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j)
{ asm volatile(""); return a + b * 10 + c + d + e + f + g + h + i + j * 1000; }
KEPT int minus(int n) { asm volatile(""); return -n; }
KEPT long deep(long n) { asm volatile(""); return n ? 1 + deep(n - 1) : 0; }
int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 1;
    for (long i = 0; i < n; i++) { many(i, 2, 3, 4, 5, 6, 7, 8, 9, -10); minus(3); }
    return deep(3) - 3;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("uprobe")
    path = folder / "a-program"
    subprocess.run(["gcc", "-O1", "-x", "c", "-", "-o", path], input=SOURCE, text=True, check=True)
    return str(path)


def libc() -> str:
    with open("/proc/self/maps") as f:
        return next(line.split()[5] for line in f if "/libc.so.6" in line or "/libc-2" in line)


def test_arguments_in_registers_and_on_the_stack(program):
    wanted = " ".join(["%d"] * 10)
    values = ", ".join(f"(int64_t)arg{n}" for n in range(10))
    done = dtrace("-qn", f'uprobe:{program}:many:entry {{ printf("{wanted}\\n", {values}); }}', "-c", f"{program} 2")
    assert done.out.split("\n")[:2] == ["0 2 3 4 5 6 7 8 9 -10", "1 2 3 4 5 6 7 8 9 -10"], done


def test_return_gives_the_value(program):
    script = f'uprobe:{program}:minus:return {{ printf("%d %d\\n", arg0, (int)arg1); }}'
    assert dtrace("-qn", script, "-c", program).out.strip() == "0 -3"


def test_recursion_returns_as_often_as_it_is_entered(program):
    script = f'uprobe:{program}:deep: {{ @[probename] = count(); }} END {{ printa("%s %@d\\n", @); }}'
    assert sorted(dtrace("-qn", script, "-c", program).out.split("\n")[:-1]) == ["entry 4", "return 4"]


def test_functions_by_a_glob_are_told_apart(program):
    script = f'uprobe:{program}:m*n*:entry {{ printf("%s %s\\n", probemod, probefunc); }}'
    out = dtrace("-qn", script, "-c", program).out
    assert sorted(out.strip().split("\n")) == [f"{program} {f}" for f in ("main", "many", "minus")]


def test_libc_of_a_process_that_runs_already(program):
    """Breakpoints are put into mappings that are there, not only into those that come."""
    script = f"uprobe:{libc()}:getaddrinfo:entry /pid == {os.getpid()}/ {{ trace(copyinstr(arg0)); trace(pid); }}"
    with dsight.trace(script, timeout=20) as t:
        import socket

        socket.getaddrinfo("127.0.0.1", 80)
        record = next(iter(t))
    assert record.values == ("127.0.0.1", os.getpid())


def test_a_further_copy_of_a_file_counts_as_the_first(program, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes(Path(program).read_bytes())
    copy.chmod(0o755)
    script = f"uprobe:{program}:minus:entry, uprobe:{program}:many:entry {{ trace(probefunc); }}"
    with dsight.trace(script) as t:
        elf, found, _ = read_functions(str(copy), "minus")
        offset = elf.offset(found["minus"][0])
        assert offset is not None
        probe = next(p for p in t.image.probes.values() if p.function == "minus")
        t.session.attach_also([(probe, Place(str(copy), offset))])
        subprocess.run([copy], check=True)
        assert [(r.probe.module, r.values) for r in t.stop()] == [(program, ("minus",))]


def test_perf_events_do_where_there_are_no_multi_links(program, monkeypatch):
    monkeypatch.setattr(links, "_uprobe_multi", lambda *a: [])
    script = f"uprobe:{program}:minus:entry, uprobe:{program}:minus:return {{ trace(probename); trace(arg1); }}"
    with dsight.trace(script) as t:
        subprocess.run([program], check=True)
        found = t.stop()
    assert [r.values[0] for r in found] == ["entry", "return"]
    assert found[1].values[1] & 0xFFFFFFFF == (-3) & 0xFFFFFFFF


def test_nothing_stays(program):
    before = holdings()
    with dsight.trace(f"uprobe:{program}:minus: {{ trace(1); }}") as t:
        subprocess.run([program], check=True)
        assert len(t.stop()) == 2
    assert holdings() == before
    assert subprocess.run([program], check=False).returncode == 0


def test_a_script_killed_outright_leaves_the_program_whole(program):
    """The breakpoint goes with the descriptor: the kernel itself takes it out."""
    script = f"uprobe:{program}:many:entry {{ trace(1); }}"
    code = "import dsight, os, sys\nwith dsight.trace(sys.argv[1]): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, script], check=False).returncode == -9
    assert subprocess.run([program, "5"], check=False).returncode == 0


@pytest.mark.parametrize(
    "description, words",
    [
        ("uprobe:/nonexistent/lib.so:f:entry", "/nonexistent/lib.so: No such file or directory"),
        ("uprobe:/etc/passwd:f:entry", "/etc/passwd: not an ELF file"),
        ("uprobe:/dev/null:f:entry", "/dev/null: not a regular file"),
        ("uprobe:PROGRAM:minuss:entry", "did you mean minus?"),
        ("uprobe:PROGRAM:minus:enter", "did you mean entry?"),
        ("uprobe:libc.so.6:getaddrinfo:entry", "uprobe wants the path of a file"),
    ],
)
def test_what_is_not_there_is_said(program, description, words):
    done = dtrace("-n", description.replace("PROGRAM", program) + " {}")
    assert done.status == 1 and "[D_PDESC_ZERO]" not in done.err and words in done.err
    assert "D_PDESC_ZERO" in dtrace("-xerrtags", "-n", description.replace("PROGRAM", program) + " {}").err


def test_a_file_that_has_changed_is_read_again(tmp_path):
    """A script's image is kept with the places of its probes, which are of one very file only."""
    path = tmp_path / "changing"
    for more in ("", 'KEPT int pad(int n) { asm volatile(".skip 999, 0x90"); return n; }'):
        text = SOURCE.replace("KEPT long many", more + "\nKEPT long many", 1)
        subprocess.run(["gcc", "-O1", "-x", "c", "-", "-o", path], input=text, text=True, check=True)
        for _ in range(2):
            done = dtrace("-qn", f"uprobe:{path}:minus:entry {{ trace(arg0); }}", "-c", str(path))
            assert (done.status, done.out.strip()) == (0, "3"), done


def test_listing(program):
    done = dtrace("-ln", f"uprobe:{program}:minus:")
    assert [line.split()[1:] for line in done.out.splitlines()[1:]] == [
        ["uprobe", program, "minus", "entry"],
        ["uprobe", program, "minus", "return"],
    ]


def test_a_file_that_goes_before_it_is_attached(program, tmp_path):
    from dsight.errors import KernelError
    from dsight.machine import Machine

    copy = tmp_path / "gone"
    copy.write_bytes(Path(program).read_bytes())
    machine = Machine()
    span = Span(Source("t", ""), 0, 0)
    try:
        assert machine.registry.probes(ProbeDesc("uprobe", str(copy), "minus", "entry", -1, span))
        copy.unlink()
        with pytest.raises(KernelError, match="there is no such file any more"):
            dsight.Trace(f"uprobe:{copy}:minus:entry {{ trace(1); }}", on=machine).__enter__()
    finally:
        machine.close()


def test_programs_of_32_bits_pass_arguments_on_the_stack(tmp_path):
    path = tmp_path / "narrow"
    made = subprocess.run(
        ["gcc", "-m32", "-O1", "-x", "c", "-", "-o", path], input=SOURCE, text=True, check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("needs a compiler for 32 bits (apt-get install gcc-multilib)")
    script = f'uprobe:{path}:many:entry {{ printf("%d %d %d\\n", arg0, (int)arg1, (int)arg9); }}'
    assert dtrace("-qn", script, "-c", str(path)).out.strip() == "0 2 -10"


def test_python_itself(program):
    """A function of a large program that nobody prepared."""
    exe = os.path.realpath(sys.executable)
    names = read_functions(exe)[1]
    if "PyObject_Repr" not in names:
        pytest.skip("this Python keeps its functions elsewhere")
    script = f'uprobe:{exe}:PyObject_Repr:return /pid == $target/ {{ @ = count(); }} END {{ printa("%@d\\n", @); }}'
    done = dtrace("-qn", script, "-c", python("for i in range(7): repr([])"))
    assert int(done.out.split()[-1]) >= 7
