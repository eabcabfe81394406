"""What a provider is: first it says, purely, which probes exist; attaching is a second step.

    probes(desc)    which probes a description matches (no kernel object is made)
    args(probe)     types of args[]
    plan(probes)    by which means these probes, which have the same clauses, fire

Probe ids are stable: a provider has a base, its probes fixed numbers behind it, so
an id means the same probe in every run on one kernel and nothing need be listed
to know it.
"""

from __future__ import annotations

from dsight.image import Place
from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from dsight.lang.ast import ProbeDesc
else:
    Protocol = object

MODULE = "vmlinux"


class AttachPlan(Value):
    """How probes fire: one program.

    means       is                                              target
    tracepoint  perf event on a tracepoint                      "syscalls/sys_enter_connect"
    raw_tp      BPF raw tracepoint                              "inet_sock_set_state"
    tp_btf      the same with pointers the verifier knows       "sys_enter"
    sample      perf CPU clock every `period` ns                "one" CPU or "each"
    uprobe      a function of user space, at `places`           "entry" or "return"
    run         run by the session itself (BPF_PROG_TEST_RUN)   "BEGIN", "END", "ERROR"

    `entry.probe` is the probe's id, or -1 with a table of ids that the session fills: probe
    `probes[i]` is at index `numbers[i]`.  `guard`: a D condition that must hold for the probe to
    have fired, over args[] of the raw types `natives`.  `derived`: D expressions over the same, each worked
    out where it is first used, and once: they are the raw arguments behind those of the entry.
    `helper`: the program runs no clauses, it only calls this helper with its first raw argument.
    """

    means: str
    target: str
    entry: Entry
    probes: tuple[Probe, ...]
    numbers: tuple[int, ...] = ()
    guard: str = ""
    natives: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    helper: str = ""
    period: int = 0
    places: tuple[Place, ...] = ()


class Provider(Protocol):
    """One provider."""

    name: str

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        """The probes matched, in the order of their ids; all for None."""

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        """Types of args[]; None where unknown."""

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        """The best means this kernel has."""


def glob(pattern: str, name: str) -> bool:
    """Whether a field of a probe description matches: "" all, else a shell pattern (*, ?, [...])."""
    if not pattern or pattern == name or pattern == "*":
        return True
    if not is_glob(pattern):
        return False
    return _compiled(pattern).fullmatch(name) is not None


def is_glob(pattern: str) -> bool:
    return not pattern or "*" in pattern or "?" in pattern or "[" in pattern


_patterns: dict[str, re.Pattern[str]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    made = _patterns.get(pattern)
    if made is None:
        import fnmatch
        import re

        made = _patterns[pattern] = re.compile(fnmatch.translate(pattern))
    return made


def matching(desc: ProbeDesc | None, probes: list[Probe]) -> list[Probe]:
    """Those of a short list that a description matches."""
    if desc is None:
        return probes
    return [
        p
        for p in probes
        if glob(desc.provider, p.provider)
        and glob(desc.module, p.module)
        and glob(desc.function, p.function)
        and glob(desc.name, p.name)
    ]


if TYPE_CHECKING:
    import re
