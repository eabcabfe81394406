"""dtrace: BEGIN, END, ERROR.

BEGIN and END are run by the session in its own process; ERROR's clauses run in the
program that faulted (ir.lower).
"""

from __future__ import annotations

from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import AttachPlan, matching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.ast import ProbeDesc

_PROBES = [Probe(i + 1, "dtrace", "", "", name) for i, name in enumerate(("BEGIN", "END", "ERROR"))]


class Dtrace:
    name = "dtrace"

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        return matching(desc, _PROBES)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return None

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        return [AttachPlan("run", p.name, Entry("none", probe=p.id), (p,)) for p in probes]
