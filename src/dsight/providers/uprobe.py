"""uprobe: functions of programs and libraries, in every process that runs them.

    uprobe:PATH:FUNCTION:entry      arg0 .. arg9: its arguments, as 64-bit integers
    uprobe:PATH:FUNCTION:return     arg1: what it returns (arg0, the offset of the return instruction
                                    for the pid provider, is 0: the kernel does not say it)

PATH is absolute; FUNCTION, which may be a glob, is a symbol of the file's own tables.  Nothing is
listed that was not asked for with a path, and ids are given out in the order of asking.
Integer and pointer arguments only: floating point ones are in other registers.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from dsight.elf.symbols import Elf, ElfError, functions, read_elf
from dsight.errors import fail
from dsight.image import Place, identity
from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import AttachPlan, glob, is_glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.ast import ProbeDesc

BASE = 10_000_000
_ENDS = ("entry", "return")

# machine: struct pt_regs: the arguments in registers, the result, and the rest of the arguments on the
# stack (ir.unit.Entry.stack); System V ABI for x86-64, AAPCS64.
_REGS: dict[str, tuple[tuple[int, ...], int, tuple[int, int, int]]] = {
    "x86_64": ((112, 104, 96, 88, 72, 64), 80, (152, 8, 8)),
    "aarch64": (tuple(range(0, 64, 8)), 0, (248, 0, 8)),
}
# Files of 32 bits: no argument is in a register on i386 (System V ABI, cdecl).
_REGS_32: dict[str, tuple[tuple[int, ...], int, tuple[int, int, int]]] = {"x86_64": ((), 80, (152, 4, 4))}


class Uprobe:
    name = "uprobe"

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._probes: dict[tuple[str, str, str], Probe] = {}
        self._files: dict[str, Elf] = {}
        self._places: dict[tuple[str, str], Place] = {}

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        """Raises CompileError where the description names a file that cannot be read."""
        if desc is None or not glob(desc.provider, self.name):
            return []
        if not desc.module.startswith("/"):
            if desc.provider == self.name:
                hint = "such as uprobe:/usr/lib/libc.so.6:getaddrinfo:entry"
                raise fail("D_PDESC_ZERO", f"no probe matches {desc}: uprobe wants the path of a file", desc.span, hint)
            return []
        ends = [end for end in _ENDS if glob(desc.name, end)]
        names = self._functions(desc) if ends else []
        return sorted((self._probe(desc.module, f, end) for f in names for end in ends), key=lambda p: p.id)

    def _probe(self, path: str, function: str, end: str) -> Probe:
        key = (path, function, end)
        if key not in self._probes:
            self._probes[key] = Probe(BASE + len(self._probes), self.name, path, function, end)
        return self._probes[key]

    def _functions(self, desc: ProbeDesc) -> list[str]:
        """The functions of a file that a description matches; their places are remembered."""
        wanted = "" if is_glob(desc.function) else desc.function
        if wanted and (desc.module, wanted) in self._places:
            return [wanted]
        try:
            elf, found, file = read_functions(desc.module, *([wanted] if wanted else ()))
        except (OSError, ElfError) as e:
            why = e.strerror if isinstance(e, OSError) else str(e)
            raise fail("D_PDESC_ZERO", f"no probe matches {desc}: {desc.module}: {why}", desc.span) from None
        self._files[desc.module] = elf
        names = []
        for name, (address, _) in found.items():
            offset = elf.offset(address)
            if offset is not None and glob(desc.function, name):
                self._places[desc.module, name] = Place(desc.module, offset, 0, file)
                names.append(name)
        return names

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return None

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        """One program for the probes of each kind, told apart by attach cookies; before Linux 5.15 one each."""
        from dsight.kernel import features

        groups: dict[tuple[bool, str], list[Probe]] = {}
        for p in probes:
            groups.setdefault((self._files[p.module].wide, p.name), []).append(p)
        plans = []
        for (wide, end), group in groups.items():
            together = len(group) > 1 and features.has("perf_cookie")
            for some in [tuple(group)] if together else [(p,) for p in group]:
                places = tuple(self._places[p.module, p.function] for p in some)
                plans.append(uprobe_plan(self._machine, wide, end, some, places))
        return plans


def uprobe_plan(machine: str, wide: bool, end: str, probes: tuple[Probe, ...], places: tuple[Place, ...]) -> AttachPlan:
    """One program for probes at entries, or returns, of functions of files of 64 bits, or 32."""
    registers, result, stack = (_REGS if wide else _REGS_32)[machine]
    entry = Entry("ctx", (-1, result)) if end == "return" else Entry("ctx", registers, stack=stack)
    entry = entry.replace(probe=probes[0].id) if len(probes) == 1 else entry.replace(cookie=True)
    return AttachPlan("uprobe", end, entry, probes, places=places)


def read_functions(path: str, *names: str) -> tuple[Elf, dict[str, tuple[int, int]], tuple[int, ...]]:
    """The headers of a program or library; its functions, or those of these names; and which file it is
    (Place.file).  Raises OSError, ElfError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        stat = os.fstat(fd)
        if not S_ISREG(stat.st_mode):
            raise ElfError("not a regular file")

        def read(offset: int, size: int) -> bytes:
            return os.pread(fd, size, offset) if offset < 1 << 62 else b""

        elf = read_elf(read)
        return elf, functions(elf, read, *names), identity(stat)
    finally:
        os.close(fd)
