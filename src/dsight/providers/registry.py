"""All providers as one Catalog: what lang.check asks of the machine."""

from __future__ import annotations

from dsight.kernel.sys import machine
from dsight.providers.base import glob, is_glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.btf.types import Type
    from dsight.kernel.btf import KernelBtf
    from dsight.kernel.symbols import KernelSymbols
    from dsight.kernel.tracefs import TraceFs
    from dsight.lang.ast import ProbeDesc
    from dsight.lang.catalog import ArgType, Probe
    from dsight.lang.typed import Clause
    from dsight.providers.base import AttachPlan, Provider


def _may_have(provider: str, name: str) -> bool:
    """Whether a provider can have a probe of that name, as far as that is known without making it:
    BEGIN need not read the table of system calls."""
    if is_glob(name) or provider not in _PROBE_NAMES:
        return True
    return name.startswith(_PROBE_NAMES[provider])


_PROBE_NAMES = {
    "dtrace": ("BEGIN", "END", "ERROR"),
    "profile": ("profile-", "tick-"),
    "syscall": ("entry", "return"),
    "uprobe": ("entry", "return"),
}


class Registry:
    """Providers, made when first asked for; a Catalog."""

    NAMES = ("dtrace", "tcp", "ip", "udp", "icmp", "mib", "profile", "syscall", "rawtp", "uprobe")

    def __init__(self) -> None:
        self._btf: KernelBtf | None = None
        self._tracefs: TraceFs | None = None
        self._symbols: KernelSymbols | None = None
        self._machine = machine()
        self._made: dict[str, Provider] = {}
        self._by_id: dict[int, Probe] = {}

    def provider(self, name: str) -> Provider:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(name)
        return made

    def _make(self, name: str) -> Provider:
        if name == "dtrace":
            from dsight.providers.dtrace import Dtrace

            return Dtrace()
        if name == "tcp":
            from dsight.providers.tcp import Tcp

            return Tcp(self.btf)
        if name == "ip":
            from dsight.providers.ip import Ip

            return Ip()
        if name == "udp":
            from dsight.providers.udp import Udp

            return Udp(self.btf)
        if name == "icmp":
            from dsight.providers.icmp import Icmp

            return Icmp()
        if name == "mib":
            from dsight.providers.mib import Mib

            return Mib(self.btf)
        if name == "profile":
            from dsight.providers.profile import Profile

            return Profile(self._machine)
        if name == "syscall":
            from dsight.providers.syscall import Syscall

            return Syscall(self._machine, self.tracefs)
        if name == "uprobe":
            from dsight.providers.uprobe import Uprobe

            return Uprobe(self._machine)
        from dsight.providers.rawtp import Rawtp

        return Rawtp(self.btf, self.tracefs)

    @property
    def btf(self) -> KernelBtf:
        """The kernel's types, opened when first asked for.  Raises FeatureError."""
        if self._btf is None:
            from dsight.kernel.btf import KernelBtf

            self._btf = KernelBtf.open()
        return self._btf

    @property
    def symbols_used(self) -> bool:
        """Whether the kernel's symbols were asked for."""
        return self._symbols is not None

    def tracefs(self) -> TraceFs:
        """Opened when first asked for.  Raises PrivilegeError, FeatureError."""
        if self._tracefs is None:
            from dsight.kernel.tracefs import TraceFs

            self._tracefs = TraceFs.open()
        return self._tracefs

    def close(self) -> None:
        """Let go of files; twice is once."""
        if self._tracefs is not None:
            self._tracefs.close()
            self._tracefs = None
        if self._btf is not None:
            self._btf.close()

    def kernel_symbols(self) -> KernelSymbols:
        """The kernel's symbols, made when first asked for."""
        if self._symbols is None:
            from dsight.kernel.symbols import KernelSymbols

            self._symbols = KernelSymbols()
        return self._symbols

    # -- Catalog

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        """The probes matched, by id; all for None."""
        if desc is not None and desc.id >= 0:
            found = self._by_id.get(desc.id)
            if found is None:
                found = {p.id: p for p in self.probes(None)}.get(desc.id)
            return [] if found is None else [found]
        found_all: list[Probe] = []
        for name in self.NAMES:
            if desc is None or (glob(desc.provider, name) and _may_have(name, desc.name)):
                found_all += self.provider(name).probes(desc)
        self._by_id.update((p.id, p) for p in found_all)
        return found_all

    def by_id(self, number: int) -> Probe | None:
        return self._by_id.get(number)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return self.provider(probe.provider).args(probe)

    def refine(self, clauses: tuple[Clause, ...]) -> bool:
        """Let providers choose between means by which members a script uses; whether args() changed."""
        made = self._made.get("tcp")
        if made is None:
            return False
        from dsight.providers.tcp import Tcp

        return isinstance(made, Tcp) and made.refine(clauses)

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        """Plans for probes of one provider that have the same clauses."""
        return self.provider(probes[0].provider).plan(probes)

    def direct(self, kind: str) -> tuple[int, int] | None:
        """How programs of a kind may read kernel memory in place (kernel.features.cast)."""
        from dsight.kernel import features

        return features.cast(kind, self.btf)

    def structs(self) -> tuple[Callable[[str], Type | None], Callable[[str], int | None]]:
        """The kernel's structs by name, and their numbers in its BTF."""
        return lambda name: self.btf.type("struct", name), lambda name: self.btf.id("struct", name)

    def type(self, kind: str, name: str) -> Type | None:
        return self.btf.type(kind, name)

    def enumerator(self, name: str) -> int | None:
        if name == "HZ":  # no enumerator, but what the kernel's sources call the rate of jiffies: TICK_NSEC is 1 / HZ
            import time

            return round(1 / time.clock_getres(6))  # CLOCK_MONOTONIC_COARSE of linux/time.h
        return self.btf.enumerator(name)

    def symbol(self, module: str, name: str) -> tuple[int, Type | None] | None:
        where = "vmlinux" if module in ("genunix", "unix", "kernel") else module or None
        address = self.kernel_symbols().address(name, where)
        if address is None:
            return None
        known = self.btf if where in (None, "vmlinux") else None
        # BTF has the types of functions and of per-CPU variables, whose "address" is an offset.
        return address, known.type("func", name) if known is not None and address >> 63 else None

    def symbols_hint(self, name: str) -> str:
        symbols = self.kernel_symbols()
        if symbols.address("jiffies", "vmlinux") is None and symbols.address("schedule", "vmlinux") is not None:
            return "/proc/kallsyms of this kernel has functions only (CONFIG_KALLSYMS_ALL is off): no variables by name"
        if symbols.address("schedule", "vmlinux") is None:
            return "/proc/kallsyms shows no addresses: dtrace needs root, or kernel.kptr_restrict to be lower"
        return f"grep {name} /proc/kallsyms"
