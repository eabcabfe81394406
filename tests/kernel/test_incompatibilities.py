"""docs/incompatibilities.md lists what is not supported yet: all of it, and nothing that works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsight.errors import CompileError
from dsight.lang import builtins
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).resolve().parents[2] / "docs" / "incompatibilities.md"

# Providers D knows, by a description that one of each would match.
PROVIDERS = {
    name: f"{name}:::"
    for name in "dtrace syscall tcp udp ip proc sched io fbt sdt rawtp lockstat mib vminfo sysinfo".split()
}
PROVIDERS |= {
    "profile": "profile-97",
    "tick": "tick-1s",
    "pid": "pid$target:::entry",
    "cpc": "cpc:::cpu_clock-all-5000",
}

ACTIONS = {
    "clear": "clear(@a)", "commit": "commit(1)", "denormalize": "denormalize(@a)", "discard": "discard(1)",
    "exit": "exit(0)", "freopen": 'freopen("/dev/null")', "ftruncate": "ftruncate()", "func": "func(arg1)",
    "jstack": "jstack()", "mod": "mod(arg1)", "normalize": "normalize(@a, 2)", "panic": "panic()",
    "pcap": "pcap((void *) arg1, 1)", "print": "print(arg1)", "printa": "printa(@a)", "printf": 'printf("%d", pid)',
    "raise": "raise(9)", "return": "return(1, 1)", "setopt": 'setopt("quiet")', "speculate": "speculate(1)",
    "stack": "stack()", "stop": "stop()", "sym": "sym(arg1)", "system": 'system("true")', "trace": "trace(1)",
    "tracemem": "tracemem(curthread, 8)", "trunc": "trunc(@a)", "uaddr": "uaddr(arg1)", "ufunc": "ufunc(arg1)",
    "umod": "umod(arg1)", "ustack": "ustack()", "usym": "usym(arg1)", "breakpoint": "breakpoint()", "chill": "chill(1)",
}  # fmt: skip
VALUES = {"string": '"a"', "string0": '"a"', "base": "10", "addr": "arg1", "ptr": "curthread"}  # of a parameter; else 1
POINTERS = {
    "copyinto": "arg1, 4, alloca(4)",
    "inet_ntoa": "(ipaddr_t *) alloca(4)",
    "inet_ntoa6": "(in6_addr_t *) alloca(16)",
}  # not to just anything
PARAMETERS = {"count": "", "lquantize": "1, 0, 10, 1", "llquantize": "1, 10, 0, 2, 10"}  # else 1


def cases() -> Iterator[tuple[str, str, str]]:
    """Row of the page, name, script that uses it."""
    for name, probe in PROVIDERS.items():
        yield "providers", name, f"{probe} {{ trace(1); }}"
    for name in sorted(builtins.ACTIONS):
        yield "actions", name, f"syscall::read:entry {{ @a = count(); {ACTIONS[name]}; }}"
    for name, (result, parameters) in builtins.SUBROUTINES.items():
        words = parameters.split("?")[0].split()
        call = f"{name}({POINTERS.get(name) or ', '.join(VALUES.get(word, '1') for word in words)})"
        yield "subroutines", name, f"syscall::read:entry {{ {call if result == 'void' else f'this->x = {call}'}; }}"
    for name in (*builtins.VARIABLES, *builtins.TRANSLATED_VARIABLES):
        yield "variables", name, f"syscall::read:entry {{ this->x = {name}; }}"
    yield "variables", "fds", "syscall::read:entry { trace(fds[arg0].fi_oflags); }"
    yield "variables", "uregs", "syscall::read:entry { trace(uregs[0]); }"
    for name in sorted(builtins.AGGREGATING):
        yield "aggregating functions", name, f"syscall::read:entry {{ @ = {name}({PARAMETERS.get(name, '1')}); }}"


def listed() -> dict[str, set[str]]:
    """The page's table: row -> names."""
    rows = re.findall(r"^\| ([a-zA-Z ]+) \| (.*)\|$", PAGE.read_text(), re.MULTILINE)
    return {kind: set(re.findall(r"`(\w+)`", names)) for kind, names in rows}


def refusal(machine: Machine, name: str, script: str) -> tuple[str, str]:
    """Why the script does not compile, and which table that belongs to: " not on Linux" or "";
    nothing where it compiles.  Errors that are the script's own are raised."""
    try:
        machine.compile([Source(name, script)], Macros.of_process((), "script", 1), {"destructive": ""})
    except CompileError as e:
        if re.search(r"not supported yet|does not match any probes", e.message):
            return e.message, ""
        if e.tag != "D_UNKNOWN":
            raise
        return e.message, " not on Linux"
    return "", ""


def test_the_page_is_right() -> None:
    page = listed()
    wrong = []
    names: dict[str, set[str]] = {}
    machine = Machine()
    try:
        for row, name, script in cases():
            names.setdefault(row, set()).add(name)
            why, where = refusal(machine, name, script)
            for table in ("", " not on Linux"):
                there = name in page.get(row + table, set())
                if why and where == table and not there:
                    wrong.append(f"{row}{table}: add `{name}` ({why})")
                elif there and (not why or where != table):
                    wrong.append(f"{row}{table}: `{name}` works, take it out")
    finally:
        machine.close()
    for row, known in names.items():
        wrong += [f"{row}: there is no `{name}`" for name in sorted(page[row] - known)]
    assert not wrong, "docs/incompatibilities.md, Not yet:\n" + "\n".join(wrong)
