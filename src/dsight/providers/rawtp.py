"""rawtp: the kernel's tracepoints as they are, with the arguments the kernel's code gives them.

rawtp:vmlinux::NAME; args[] are typed from BTF (typedef btf_trace_NAME).
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import MODULE, AttachPlan, glob, is_glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.kernel.btf import KernelBtf
    from dsight.kernel.tracefs import TraceFs
    from dsight.lang.ast import ProbeDesc

BASE = 1_000_000  # plus the BTF id of the tracepoint's typedef
_PREFIX = "btf_trace_"


class Rawtp:
    name = "rawtp"

    def __init__(self, btf: KernelBtf, tracefs: Callable[[], TraceFs]) -> None:
        self._btf = btf
        self._tracefs = tracefs

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        if desc is not None and not (
            glob(desc.provider, self.name) and glob(desc.module, MODULE) and glob(desc.function, "")
        ):
            return []
        if desc is not None and not is_glob(desc.name):
            number = self._btf.id("typedef", _PREFIX + desc.name)
            return [] if number is None else [self._probe(number, desc.name)]
        numbers = {name: self._btf.id("typedef", _PREFIX + name) for name in self._names(desc)}
        return sorted((self._probe(n, name) for name, n in numbers.items() if n is not None), key=lambda p: p.id)

    def _names(self, desc: ProbeDesc | None) -> list[str]:
        """Names of tracefs events that a description matches: those whose code is not shared with
        another event have a raw tracepoint of that name."""
        here = self._tracefs()
        events = [e for system in here.systems() if system != "syscalls" for e in here.events(system)]
        return [e for e in events if desc is None or glob(desc.name, e)]

    def _probe(self, number: int, name: str) -> Probe:
        return Probe(BASE + number, self.name, MODULE, "", name)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        func = self._btf.tracepoint(probe.name)
        if func is None:
            return None
        return tuple(ArgType(str(t), i) for i, (_, t) in enumerate(func.params))

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        return [
            AttachPlan(
                "raw_tp", p.name, Entry("ctx", tuple(8 * i for i in range(12))[: self._count(p)], probe=p.id), (p,)
            )
            for p in probes
        ]

    def _count(self, probe: Probe) -> int:
        return len(self.args(probe) or ())
