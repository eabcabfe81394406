"""syscall: NAME:entry and NAME:return for every system call.

A few probes stand on their own tracepoints (syscalls/sys_enter_NAME), which cost other system
calls least; many on one raw tracepoint with a table from number to probe.  Functions have the
names of syscalls(2) ("stat"); a description may also use the kernel's ("newstat").

entry    args[] as the tracepoint's format types them; arg0.. likewise
return   arg0, arg1: the result; errno: the error it means
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.kernel import syscalls
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, glob, is_glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.kernel.tracefs import TraceFs
    from dsight.lang.ast import ProbeDesc

BASE = 1000
FEW = 4  # so many probes have tracepoints of their own
TABLE = 1024  # entries of the table: a power of two above every system call number

# Tracepoint contexts (include/trace/syscall.h): common 8 bytes, number 8, then 8 each.
_ENTER = tuple(16 + 8 * i for i in range(6))
_EXIT = (16, 16)
_COMMON = 5  # fields before the arguments: common_type, _flags, _preempt_count, _pid; __syscall_nr

# struct pt_regs: the arguments, the number; and a D condition that is false for 32-bit system calls,
# whose numbers mean others.
_REGS = {
    "x86_64": ((112, 104, 96, 56, 72, 64), 120, "(curthread->thread_info.status & 2) == 0"),  # TS_COMPAT
    "aarch64": ((0, 8, 16, 24, 32, 40), 280, "(curthread->thread_info.flags & (1 << 22)) == 0"),  # TIF_32BIT
}


class Syscall:
    name = "syscall"

    def __init__(self, machine: str, tracefs: Callable[[], TraceFs]) -> None:
        self._machine = machine
        self._tracefs = tracefs
        self._numbers = syscalls.numbers(machine)
        self._formats: dict[str, tuple[ArgType, ...]] = {}

    def _names(self, pattern: str) -> list[str]:
        """Names of the system calls of this kernel that a pattern matches, by number."""
        if not is_glob(pattern):
            name = syscalls.of_entry(pattern, self._machine)
            known = name in self._numbers and self._tracefs().id("syscalls", "sys_enter_" + self._entry(name))
            return [name] if known else []
        here = set(self._tracefs().syscall_names())
        names = [n for n in self._numbers if self._entry(n) in here and glob(pattern, n)]
        return sorted(names, key=self._numbers.__getitem__)

    def _entry(self, name: str) -> str:
        return syscalls.entry(name, self._machine)

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        provider, module, function, name = (
            ("", "", "", "") if desc is None else (desc.provider, desc.module, desc.function, desc.name)
        )
        if not glob(provider, self.name) or not glob(module, MODULE):
            return []
        found = []
        ends = [(i, n) for i, n in enumerate(("entry", "return")) if glob(name, n)]
        for call in self._names(function) if ends else ():
            for i, end in ends:
                found.append(Probe(BASE + 2 * self._numbers[call] + i, self.name, MODULE, call, end))
        return found

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        if probe.name == "return":
            return (ArgType("int64_t", 0), ArgType("int64_t", 1))
        types = self._formats.get(probe.function)
        if types is None:
            fields = self._tracefs().format("syscalls", "sys_enter_" + self._entry(probe.function))
            natives = [f.type for f in fields if f.offset >= _ENTER[0]]
            types = self._formats[probe.function] = tuple(ArgType(t, i) for i, t in enumerate(natives))
        return types

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        if len(probes) <= FEW or self._machine not in _REGS:
            return [self._own_tracepoint(p) for p in probes]
        groups = ([p for p in probes if p.name == end] for end in ("entry", "return"))
        return [self._table(tuple(group)) for group in groups if group]

    def _own_tracepoint(self, probe: Probe) -> AttachPlan:
        if probe.name == "entry":
            fields = self._tracefs().count("syscalls", "sys_enter_" + self._entry(probe.function))
            given = fields - _COMMON  # the kernel lets no program read behind them
            kind, entry = "enter", Entry("ctx", _ENTER[:given], probe=probe.id)
        else:
            kind, entry = "exit", Entry("ctx", _EXIT, probe=probe.id, errno_arg=0)
        return AttachPlan("tracepoint", f"syscalls/sys_{kind}_{self._entry(probe.function)}", entry, (probe,))

    def _table(self, probes: tuple[Probe, ...]) -> AttachPlan:
        """sys_enter(regs, number), sys_exit(regs, result): include/trace/events/syscalls.h."""
        args, number, guard = _REGS[self._machine]
        if probes[0].name == "entry":
            target, entry = "sys_enter", Entry("regs", args, table_size=TABLE, number=8)
        else:
            target = "sys_exit"
            entry = Entry("ctx", (8, 8), table_size=TABLE, number=number, number_in_regs=True, errno_arg=0)
        numbers = tuple(self._numbers[p.function] for p in probes)
        return AttachPlan("tp_btf", target, entry, probes, numbers, guard)
