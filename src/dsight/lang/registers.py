"""uregs[]: the user's registers, by the names the Dynamic Tracing Guide has for them, and by this machine's.

A register's number is its place in struct pt_regs, in words of 64 bits.
"""

from __future__ import annotations

# arch/x86/include/asm/ptrace.h
_X86_64 = {
    "R_R15": 0, "R_R14": 1, "R_R13": 2, "R_R12": 3, "R_RBP": 4, "R_RBX": 5, "R_R11": 6, "R_R10": 7, "R_R9": 8,
    "R_R8": 9, "R_RAX": 10, "R_RCX": 11, "R_RDX": 12, "R_RSI": 13, "R_RDI": 14, "R_ERR": 15, "R_RIP": 16,
    "R_CS": 17, "R_RFL": 18, "R_RSP": 19, "R_SS": 20,
    "R_EBP": 4, "R_EBX": 5, "R_EAX": 10, "R_ECX": 11, "R_EDX": 12, "R_ESI": 13, "R_EDI": 14, "R_EIP": 16,
    "R_EFL": 18, "R_ESP": 19, "R_UESP": 19,
    "R_PC": 16, "R_SP": 19, "R_FP": 4, "R_PS": 18, "R_R0": 10, "R_R1": 12,
}  # fmt: skip

# arch/arm64/include/asm/ptrace.h
_AARCH64 = {
    **{f"R_X{n}": n for n in range(31)}, "R_FP": 29, "R_LR": 30, "R_SP": 31, "R_PC": 32, "R_PSTATE": 33, "R_PS": 33,
    "R_R0": 0, "R_R1": 1,
}  # fmt: skip

_TABLES = {"x86_64": _X86_64, "aarch64": _AARCH64}


def table(machine: str = "") -> dict[str, int]:
    """Name to number, of a machine (uname -m); of this one without."""
    import posix

    return _TABLES.get(machine or posix.uname().machine, {})


def count(machine: str = "") -> int:
    """How many registers there are."""
    return max(table(machine).values(), default=-1) + 1
