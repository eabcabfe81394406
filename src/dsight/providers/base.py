"""What a provider is: first it says, purely, which probes exist; attaching is kernel's work.

describe   probes(desc) -> probes, args(probe) -> types of args[]
plan       plan(probe) -> AttachPlan: by which means it fires and where its arguments are
"""

from __future__ import annotations

from dsight.lang.catalog import ArgType, Probe
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from dsight.lang.ast import ProbeDesc
else:
    Protocol = object


class ArgPlan(Value):
    """Where raw arguments come from: one of

    ctx     arg n is the `size`-byte value (signed or not) at `offsets[n]` in the context
    const   arg n is the constant `offsets[n]`
    """

    kind: str
    offsets: tuple[int, ...] = ()
    size: int = 8
    signed: bool = False


class AttachPlan(Value):
    """How a probe fires.

    kind        means                                           target
    tracepoint  perf event on a tracepoint                      "syscalls/sys_enter_connect"
    tp_btf      BPF raw tracepoint with BTF                     "inet_sock_set_state"
    raw_tp      BPF raw tracepoint                              "sys_enter"
    sample      perf CPU clock every `period` ns, on one CPU    "tick" or on each: "profile"
    run         run once by the session (BPF_PROG_TEST_RUN)     "BEGIN", "END", "ERROR"

    `args`: the arguments.  `filter`: D text of a condition over arg0.. that must hold for this
    probe to fire ("" for none); it is checked before the clauses' predicates.
    """

    kind: str
    target: str
    args: ArgPlan
    filter: str = ""
    period: int = 0


class Provider(Protocol):
    """One provider.  Probe ids are given by the registry, in listing order."""

    name: str

    def probes(self, desc: ProbeDesc | None) -> list[tuple[str, str, str, str]]:
        """(provider, module, function, name) of the probes matched; all for None."""

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        """Types of args[]; None where unknown."""

    def plan(self, probe: Probe) -> AttachPlan:
        """The best means this kernel has."""
