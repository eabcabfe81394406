"""profile and tick: time.

profile-RATE fires on every CPU, tick-RATE on one.  RATE: a number with ns nsec us usec ms
msec s sec m min h hour d day hz; without a suffix hz (Dynamic Tracing Guide, profile
Provider).  arg0 is the kernel's program counter or 0, arg1 the user's or 0.
Both stand on perf's software CPU clock.
"""

from __future__ import annotations

from dsight.errors import FeatureError
from dsight.ir.unit import Entry
from dsight.lang.catalog import ArgType, Probe
from dsight.providers.base import AttachPlan, is_glob, matching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.ast import ProbeDesc

BASE = 100
_UNITS = {
    "ns": 1, "nsec": 1, "us": 1_000, "usec": 1_000, "ms": 1_000_000, "msec": 1_000_000,
    "s": 10**9, "sec": 10**9, "m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "hour": 3600 * 10**9,
    "d": 86400 * 10**9, "day": 86400 * 10**9,
}  # fmt: skip
_LISTED = [f"profile-{n}" for n in (97, 199, 499, 997, 1999, 4001, 4999)] + [
    f"tick-{n}" for n in (1, 10, 100, 500, 1000, 5000)
]
SHORTEST = 10_000  # ns; kernel/events/core.c, perf_swevent_start_hrtimer

# struct bpf_perf_event_data begins with the registers: (ip, offset of the word that says the mode, user mode's bits)
_PC = {"x86_64": ((128, 136), 3)}


def period(name: str) -> int | None:
    """Nanoseconds between firings of "tick-10s" and the like; None if it is no such name."""
    kind, dash, rate = name.partition("-")
    if kind not in ("profile", "tick") or not dash:
        return None
    digits = len(rate) - len(rate.lstrip("0123456789"))
    if not 0 < digits < 19 or int(rate[:digits]) == 0:
        return None
    n, unit = int(rate[:digits]), rate[digits:]
    if unit in ("", "hz"):
        return 10**9 // n or None
    return n * _UNITS[unit] if unit in _UNITS else None


class Profile:
    name = "profile"

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._known = [Probe(BASE + i, "profile", "", "", name) for i, name in enumerate(_LISTED)]

    def probes(self, desc: ProbeDesc | None) -> list[Probe]:
        if desc is not None and not is_glob(desc.name) and all(p.name != desc.name for p in self._known):
            if period(desc.name) is None:
                return []
            self._known.append(Probe(BASE + len(self._known), "profile", "", "", desc.name))
        return matching(desc, self._known)

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return None

    def plan(self, probes: tuple[Probe, ...]) -> list[AttachPlan]:
        if self._machine not in _PC:
            raise FeatureError("profile", f"the profile provider is not supported yet on {self._machine}")
        offsets, user = _PC[self._machine]
        return [
            AttachPlan(
                "sample",
                "one" if p.name.startswith("tick") else "each",
                Entry("pc", offsets, user, p.id),
                (p,),
                period=max(SHORTEST, period(p.name) or 0),
            )
            for p in probes
        ]
