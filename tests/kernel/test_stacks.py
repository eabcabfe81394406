"""Stacks and symbols of a program whose calls are known: as actions, in formats, as keys, from Python.

chain.c calls outer -> middle -> inner, which makes a system call by itself: libc's functions
keep no frame pointer, so that behind them the caller of the first function would be missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dtrace_run import dtrace

import dsight

pytestmark = pytest.mark.kernel

CHAIN = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline __attribute__((always_inline)) long trap(long number, void *argument) {
#if defined(__x86_64__)
        long result;
        __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(argument) : "rcx", "r11", "memory");
        return result;
#else
        register long x8 __asm__("x8") = number;
        register void *x0 __asm__("x0") = argument;
        __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8) : "memory");
        return (long) x0;
#endif
}

#define CALL __attribute__((noinline, noclone))
int number = 7;
CALL int inner(int n) { trap(SYS_getpgid, (void *) &inner); return n + 1; }
CALL int middle(int n) { return inner(n) + 1; }
CALL int outer(int n) { return middle(n) + 1; }

/* push the frame, call the first argument, return */
#if defined(__x86_64__)
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
#else
static const unsigned int code[] = {0xa9bf7bfd, 0x910003fd, 0xd63f0000, 0xa8c17bfd, 0xd65f03c0};
#endif

int main(int argc, char **argv) {
        const char *what = argc > 1 ? argv[1] : "";
        if (!strcmp(what, "unlink")) unlink(argv[0]);
        if (!strcmp(what, "exec")) { outer(0); execl(argv[2], argv[2], (char *) 0); return 9; }
        if (!strcmp(what, "jit")) {
                char path[64];
                unsigned char *made = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                memcpy(made, code, sizeof code);
                snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
                if (argc > 3) { mknod(path, 0010600, 0); }
                else {
                        FILE *map = fopen(path, "w");
                        fprintf(map, "junk\n%lx 40 Lold;::gone\n%lx %zx %s\n", (long) made, (long) made,
                                sizeof code, argv[2]);
                        fclose(map);
                }
                ((int (*)(int (*)(int))) made)(inner);
                usleep(300000);
                unlink(path);
                return 0;
        }
        if (outer(0) != 3) return 1;
        if (*what) usleep(300000);
        return 0;
}
"""

OURS = "syscall::getpgid:entry /pid == $target/"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("chain")
    (folder / "chain.c").write_text(CHAIN)
    build(folder, folder / "chain")
    return folder / "chain"


def build(folder: Path, out: Path, *flags: str) -> None:
    fixed = ["-O0", "-fno-omit-frame-pointer"]
    subprocess.run(["cc", *fixed, *flags, "-o", out, folder / "chain.c"], check=True, timeout=60)


def traced(body: str, command: object, *options: str) -> str:
    done = dtrace("-q", *options, "-n", f"{OURS} {{ {body} }}", "-c", command)
    assert done.status == 0 and done.err == "", done.err
    return done.out


def without_offsets(text: str) -> list[str]:
    return [re.sub(r"\+0x[0-9a-f]+$", "", line) for line in text.splitlines()]


INDENT = " " * 14
CALLS = ["chain`inner", "chain`middle", "chain`outer", "chain`main"]


def test_ustack_names_each_caller(chain: Path) -> None:
    lines = traced("ustack();", chain).splitlines()
    assert lines[0] == ""
    assert without_offsets("\n".join(lines[1:5])) == [INDENT + call for call in CALLS]
    assert all(re.fullmatch(rf"{INDENT}chain`\w+\+0x[0-9a-f]+", line) for line in lines[1:5])
    assert lines[5].startswith(f"{INDENT}libc.so.6`")  # __libc_start_call_main where libc's debug symbols are


@pytest.mark.parametrize("flags", [("-no-pie",), ("-static",), ("-Wl,-z,noseparate-code",)], ids=" ".join)
def test_ustack_however_it_is_linked(chain: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    build(chain.parent, tmp_path / "chain", *flags)
    lines = without_offsets(traced("ustack(4);", tmp_path / "chain"))
    assert lines[1:] == [INDENT + call for call in CALLS]


def test_the_number_of_frames(chain: Path) -> None:
    assert without_offsets(traced("ustack(2);", chain))[1:] == [INDENT + call for call in CALLS[:2]]
    assert without_offsets(traced("ustack(3, 512);", chain))[1:] == [INDENT + call for call in CALLS[:3]]
    assert without_offsets(traced("jstack(1);", chain))[1:] == [INDENT + CALLS[0]]
    assert len(traced("ustack();", chain, "-x", "ustackframes=3").splitlines()) == 4
    assert len(traced("stack();", chain, "-x", "stackframes=2").splitlines()) == 3
    assert len(traced("jstack();", chain, "-x", "jstackframes=2", "-x", "ustackframes=1").splitlines()) == 3
    done = dtrace("-qn", f"#pragma D option ustackframes=1\n{OURS} {{ ustack(); }}", "-c", chain)
    assert len(done.out.splitlines()) == 2


def test_stack_starts_at_the_probe_and_indents(chain: Path) -> None:
    lines = traced("stack();", chain, "-x", "stackindent=3").splitlines()
    assert lines[0] == ""
    assert all(re.fullmatch(r"   vmlinux`\w+(\+0x[0-9a-f]+)?", line) for line in lines[1:]), lines
    assert not re.search("bpf|perf_", lines[1])
    assert any("do_syscall_64" in line or "el0_svc" in line for line in lines)


@pytest.mark.parametrize("probe", ["syscall::getpgid:entry", "syscall:::entry", "syscall::getpgid:return"])
def test_stack_is_without_frames_of_tracing_whatever_the_means(chain: Path, probe: str) -> None:
    done = dtrace("-qn", f'{probe} /pid == $target && probefunc == "getpgid"/ {{ stack(1); stack(2); }}', "-c", chain)
    lines = done.out.split()
    assert len(lines) == 3 and lines[0] == lines[1]
    assert not re.search("bpf|perf_", done.out), done.out


def test_symbol_actions(chain: Path) -> None:
    say = 'printf("\\n");'
    out = traced(f"usym(arg0 + 1); {say} ufunc(arg0 + 1); {say} uaddr(arg0 + 1); {say} umod(arg0 + 1); {say}", chain)
    assert out.splitlines() == ["chain`inner", "chain`inner", "chain`inner+0x1", "chain"]
    assert traced("uaddr(arg0);", chain) == "chain`inner"
    assert traced("usym(1); trace(0); uaddr(2);", chain) == "0x100x2"
    out = traced(f"sym(caller); {say} func(caller); {say} mod(caller); {say}", chain).splitlines()
    assert re.fullmatch(r"vmlinux`\w+", out[0])
    assert out[1:] == [out[0], "vmlinux"]


def test_default_output_sets_symbols_in_a_column(chain: Path) -> None:
    done = dtrace("-n", f"{OURS} {{ usym(arg0); trace(1); }}", "-c", chain)
    assert re.search(r"getpgid:entry   chain`inner {39}        1\n", done.out)


def test_formats(chain: Path) -> None:
    out = traced('printf("[%A] [%-20A] [%a] [%k]", arg0 + 2, arg0, caller, ustack(2));', chain)
    found = re.fullmatch(
        r"\[chain`inner\+0x2\] \[chain`inner         \] \[vmlinux`\w+\+0x[0-9a-f]+\] \[\n"
        rf"{INDENT}chain`inner\+0x[0-9a-f]+\n{INDENT}chain`middle\+0x[0-9a-f]+\n\]",
        out,
    )
    assert found, out
    assert re.fullmatch(r"vmlinux`\w+ vmlinux", traced('printf("%a %a", sym(caller), mod(caller));', chain))
    assert traced('printf("%A %A %A", usym(arg0), umod(arg0), ucaller);', chain).startswith("chain`inner chain chain`")
    assert re.fullmatch(r"\n +vmlinux`\S+\n", traced('printf("%k", stack(1));', chain))


def test_keys(chain: Path) -> None:
    """The process has ended when they are shown."""
    out = traced("@[ustack(2)] = count();", chain)
    assert without_offsets(out) == ["", "", INDENT + "chain`inner", INDENT + "chain`middle", " " * 16 + "1"]
    out = traced("@[usym(arg0)] = count(); @[usym(arg0 + 1)] = count();", chain)  # one function, one key
    assert out == "\n" + f"  {'chain`inner':50s} {2:16d}\n"
    out = traced("@[uaddr(arg0), umod(arg0 + 1), 3] = sum(4);", chain)
    assert out == "\n" + f"  {'chain`inner':50s}  {'chain':50s} {3:8d} {4:16d}\n"
    out = traced("@[func(caller), stack(1), execname] = count();", chain)
    assert re.fullmatch(r"\n  vmlinux`\w+ +\n {14}vmlinux`\S+\n  chain {61}1\n", out), out


def test_keys_in_printa(chain: Path) -> None:
    body = "@a[ustack(1), usym(arg0), arg0] = count(); @b[ustack(1), usym(arg0), arg0] = sum(5);"
    done = dtrace("-qn", f'{OURS} {{ {body} }} END {{ printa("%k%A|%p|%@d %@d", @a, @b); }}', "-c", chain)
    assert re.fullmatch(rf"\n{INDENT}chain`inner\+0x[0-9a-f]+\nchain`inner\|[0-9a-f]+\|1 5", done.out), done.out


def test_from_python(chain: Path) -> None:
    script = (
        'syscall::getpgid:entry /execname == "chain"/ { ustack(3); usym(arg0); @[umod(arg0), ustack(1)] = count(); }'
    )
    with dsight.trace(script, timeout=20) as trace:
        subprocess.run([chain], check=True, timeout=20)
        records = [*trace.read(5), *trace.stop()]
        ((key, count),) = trace.aggregation().items()
    stack, symbol = records[0].values
    assert isinstance(stack, tuple) and isinstance(key[1], tuple)
    assert [frame.split("+")[0] for frame in stack] == CALLS[:3]
    assert symbol == "chain`inner"
    assert key[0] == "chain" and key[1][0].startswith("chain`inner+") and count == 1


# ---- where symbols come from


def strip(program: Path, debug: Path) -> None:
    """Its symbols into a file of their own, which it names (gdb's manual, "Separate Debug Files")."""
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy")
    debug.parent.mkdir(exist_ok=True)
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", program], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", program], check=True)


@pytest.mark.parametrize("flag", ["-Wl,--build-id", "-Wl,--build-id=none"])
def test_separate_debug_files(chain: Path, tmp_path: Path, flag: str) -> None:
    program = tmp_path / "chain"
    build(chain.parent, program, flag)
    debug = tmp_path / ".debug" / "chain.debug"
    strip(program, debug)
    assert without_offsets(traced("ustack(3);", program))[1:] == [INDENT + call for call in CALLS[:3]]
    build(
        chain.parent,
        debug,
        "-DOTHER",
        "-O2",
        flag.replace("build-id", "build-id=0x1234") if flag[-2:] == "id" else flag,
    )
    line = traced("ustack(1);", program).splitlines()[1]  # not the file meant
    assert re.fullmatch(rf"{INDENT}chain`0x[0-9a-f]+", line)


def test_a_program_that_has_been_deleted(chain: Path, tmp_path: Path) -> None:
    shutil.copy(chain, tmp_path / "chain")
    out = traced("ustack(4);", f"{tmp_path}/chain unlink")
    assert without_offsets(out)[1:] == [INDENT + call for call in CALLS]


def test_a_program_in_another_mount_namespace(chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    command = (
        f"unshare -m sh -c 'mount -t tmpfs none {folder} && cp {chain} {folder}/hidden && exec {folder}/hidden stay'"
    )
    assert without_offsets(traced("ustack(1);", command))[1:] == [INDENT + "hidden`inner"]
    assert not list(folder.iterdir())


def test_exec_between_two_stacks(chain: Path, tmp_path: Path) -> None:
    build(chain.parent, tmp_path / "second", "-Douter=other", "-Dmiddle=another")
    out = traced("ustack(3); @[ustack(3)] = count();", f"{chain} exec {tmp_path}/second")
    for part in (out.split("\n\n\n")[0], out.split("\n\n\n")[1]):
        frames = [line.strip().split("+")[0] for line in part.splitlines() if "`" in line]
        assert sorted(frames) == sorted(
            ["chain`inner", "chain`middle", "chain`outer", "second`inner", "second`another", "second`other"]
        )


def test_jstack_reads_perf_maps(chain: Path) -> None:
    lines = without_offsets(traced("jstack();", f"{chain} jit 'LMain;::run(I)V'"))
    assert lines[1:4] == [INDENT + "chain`inner", INDENT + "LMain;::run(I)V", INDENT + "chain`main"]
    assert "LMain;::run(I)V" in traced("@[ustack()] = count();", f"{chain} jit 'LMain;::run(I)V'")


def test_hostile_names_stay_on_their_line(chain: Path) -> None:
    name = "\x1b[2Jgone\u202e\x07\t" + "x" * 5000
    line = traced("ustack(2);", f"{chain} jit '{name}'").splitlines()[2]
    assert line.startswith(INDENT + "\\x1b[2Jgone\\u202e\\x07\\x09xxx")
    assert len(line) < 1200 and line.isprintable()


def test_a_perf_map_that_is_no_file_is_left_alone(chain: Path) -> None:
    """A FIFO would be waited for."""
    line = traced("ustack(2);", f"{chain} jit x fifo").splitlines()[2]
    assert re.fullmatch(rf"{INDENT}0x[0-9a-f]+", line)


def test_kernel_threads_have_no_user_stack() -> None:
    with dsight.trace(
        "rawtp:::workqueue_execute_start { ustack(); @[ustack(2)] = count(); exit(0); }", timeout=20
    ) as trace:
        records = list(trace)
        assert records[0].values[0] == ()
        assert trace.aggregation() == {((),): 1}


def test_nothing_is_held_afterwards(chain: Path) -> None:
    """The fixture `clean` counts descriptors: files of traced processes are let go of."""
    before = len(os.listdir("/proc/self/fd"))
    with dsight.trace('syscall::getpgid:entry /execname == "chain"/ { ustack(); }', timeout=20) as trace:
        subprocess.run([chain], check=True, timeout=20)
        assert trace.read(5)
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before
