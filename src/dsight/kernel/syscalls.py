"""System call numbers and names, one table a machine (kernel.syscall_table, generated).

A system call has two names: the one of its number (`__NR_stat`, what strace shows) and, for
a few, another one for the kernel function it enters (`sys_newstat`), which is what tracefs
names its events for.
"""

from __future__ import annotations

from dsight.kernel import sys

# Name of the number: name of the entry function, where they differ.
# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h
_ENTRY = {
    "x86_64": {
        "stat": "newstat",
        "fstat": "newfstat",
        "lstat": "newlstat",
        "uname": "newuname",
        "sendfile": "sendfile64",
        "umount2": "umount",
    },
    "aarch64": {
        "fstat": "newfstat",
        "uname": "newuname",
        "sendfile": "sendfile64",
        "umount2": "umount",
        "fadvise64": "fadvise64_64",
        "personality": "arm64_personality",  # arch/arm64/kernel/sys.c
    },
}

_numbers: dict[str, dict[str, int]] = {}


def numbers(machine: str = "") -> dict[str, int]:
    """Name to number of every system call of a machine (this one), also of those this kernel lacks; of "i386" those
    of 32-bit programs on x86-64."""
    machine = machine or sys.machine()
    if machine not in _numbers:
        from dsight.kernel import syscall_table

        table: str = getattr(syscall_table, machine.upper())
        words = table.split()
        _numbers[machine] = {name: n for n, name in enumerate(words) if name != "-"}
    return _numbers[machine]


def names(machine: str = "") -> dict[int, str]:
    """Number to name."""
    return {n: name for name, n in numbers(machine).items()}


def entry(name: str, machine: str = "") -> str:
    """The tracefs name of a system call: "newstat" for "stat"; the event is sys_enter_ and that."""
    return _ENTRY[machine or sys.machine()].get(name, name)


def of_entry(name: str, machine: str = "") -> str:
    """The name of a system call by its tracefs name: "stat" for "newstat"."""
    entries = _ENTRY[machine or sys.machine()]
    return next((number_name for number_name, entry_name in entries.items() if entry_name == name), name)
