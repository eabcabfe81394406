"""The parts of kernel/ that need no kernel: system call tables, event formats, lists of symbols."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dsight.errors import FeatureError
from dsight.kernel import programs, syscall_table, syscalls, tracefs
from dsight.kernel import sys as ksys
from dsight.kernel.symbols import KernelSymbols
from dsight.kernel.tracefs import EventField, parse_format

REPO = Path(__file__).resolve().parents[3]


def test_the_table_is_what_its_generator_makes() -> None:
    include = Path("/usr/include")
    if not (include / "asm-generic/unistd.h").exists() or not list(include.glob("*/asm/unistd_64.h")):
        pytest.skip("needs the kernel's headers (linux-libc-dev)")
    run = subprocess.run([sys.executable, REPO / "tools/syscall-table", "--print"], capture_output=True, text=True)
    made: dict[str, str] = {}
    exec(run.stdout, made)
    for machine in ("X86_64", "I386", "AARCH64"):
        shipped = getattr(syscall_table, machine).split()
        # Headers newer than ours may know more calls, but no others.
        assert made[machine].split()[: len(shipped)] == shipped, "run tools/syscall-table"


@pytest.mark.parametrize(
    ("machine", "number", "name", "entry"),
    [
        ("x86_64", 42, "connect", "connect"),
        ("x86_64", 4, "stat", "newstat"),
        ("x86_64", 0, "read", "read"),
        ("x86_64", 435, "clone3", "clone3"),
        ("x86_64", 469, "file_setattr", "file_setattr"),
        ("aarch64", 203, "connect", "connect"),
        ("aarch64", 80, "fstat", "newfstat"),
        ("aarch64", 222, "mmap", "mmap"),
        ("aarch64", 223, "fadvise64", "fadvise64_64"),
        ("aarch64", 63, "read", "read"),
        ("aarch64", 435, "clone3", "clone3"),
    ],
)
def test_numbers_and_names(machine: str, number: int, name: str, entry: str) -> None:
    assert syscalls.numbers(machine)[name] == number
    assert syscalls.names(machine)[number] == name
    assert syscalls.entry(name, machine) == entry
    assert syscalls.of_entry(entry, machine) == name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_two_entries_are_one(machine: str) -> None:
    names = syscalls.numbers(machine)
    assert len({syscalls.entry(n, machine) for n in names}) == len(names)
    assert "-" not in names and "clock_gettime64" not in names
    # The numbers kernel.sys makes its calls by are in both.
    assert all(names[n] == number for n, number in ksys.NUMBERS[machine].items())


def test_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ksys.os, "uname", lambda: type("U", (), {"machine": "riscv64"}))
    with pytest.raises(FeatureError, match="riscv64"):
        ksys.machine()


FORMAT = """name: made_up
ID: 7
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] msg;\toffset:24;\tsize:4;\tsigned:0;
\tfield:const struct sockaddr * addr;\toffset:32;\tsize:8;\tsigned:0;
\tfield:void (*function)(struct x *);\toffset:40;\tsize:8;\tsigned:0;
\tfield:__u8 saddr_v6[sizeof(struct in6_addr)];\toffset:48;\tsize:16;\tsigned:0;
\tfield:int old;\toffset:64;\tsize:4;
\tsomething else

print fmt: "field:int x; offset:1; size:2; signed:0;"
"""


def test_format() -> None:
    assert parse_format(FORMAT) == (
        EventField("common_type", "unsigned short", 0, 2, False),
        EventField("comm", "char[16]", 8, 16, False),
        EventField("msg", "__data_loc char[]", 24, 4, False),
        EventField("addr", "const struct sockaddr *", 32, 8, False),
        EventField("function", "void (*)(struct x *)", 40, 8, False),
        EventField("saddr_v6", "__u8[sizeof(struct in6_addr)]", 48, 16, False),
        EventField("old", "int", 64, 4, False),
    )
    assert parse_format("") == ()


def test_a_c_type_of_two_words_has_no_name() -> None:
    assert tracefs._declared("unsigned long x") == ("x", "unsigned long")
    assert tracefs._declared("int") == ("int", "")


SYMBOLS = b"""0000000000000000 A per_cpu_start
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000010 t local
ffffffff81000010 T global
ffffffff81000100 t twice
ffffffffa0000000 t in_module\t[nf_tables]
ffffffffa0000100 t twice\t[nf_tables]
ffffffff90000000 T last"""


@pytest.fixture
def symbols(tmp_path: Path) -> KernelSymbols:
    file = tmp_path / "kallsyms"
    file.write_bytes(SYMBOLS)
    return KernelSymbols(str(file))


def test_symbols_by_name(symbols: KernelSymbols) -> None:
    assert symbols.address("global") == 0xFFFFFFFF81000010
    assert symbols.address("last") is None  # cut off: no end of line
    assert symbols.address("twice") == symbols.address("twice", "vmlinux") == 0xFFFFFFFF81000100
    assert symbols.address("twice", "nf_tables") == 0xFFFFFFFFA0000100
    assert symbols.address("obal") is None and symbols.address("per_cpu_start") is None


def test_symbols_by_address(symbols: KernelSymbols) -> None:
    assert symbols.at(0xFFFFFFFF81000010) == ("global", 0, "vmlinux")
    assert symbols.at(0xFFFFFFFF81000005) == ("_stext", 5, "vmlinux")
    assert symbols.at(0xFFFFFFFFA0000001) == ("in_module", 1, "nf_tables")
    assert symbols.at(0xFFFFFFFF90000002) == ("last", 2, "vmlinux")
    assert symbols.at(0xFFFFFFFF80FFFFFF) is None and symbols.at(0) is None
    assert symbols.at(0xFFFFFFFFB0000000) is None  # far behind the last one


def test_hidden_symbols_are_not_found(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    file.write_bytes(b"0000000000000000 T hidden\n" * 3)
    symbols = KernelSymbols(str(file))
    assert symbols.address("hidden") is None and symbols.at(5) is None
    assert KernelSymbols(str(tmp_path / "none")).address("x") is None
    assert KernelSymbols(str(tmp_path / "none")).at(1 << 63) is None


def test_the_verifiers_last_word() -> None:
    log = "0: (bf) r1 = r2\nR2 !read_ok\nprocessed 1 insns (limit 1000000)\n\n"
    assert programs.reason(log) == "R2 !read_ok"
    assert programs.reason("") == "it gave no reason"
