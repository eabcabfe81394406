"""--expect [PROCESS->]HOST:PORT: what should happen, and what did.

Reports in, verdicts out; pure but for `addresses`, which asks the resolver once at the start.
An expectation is met by one attempt that connected; otherwise its newest attempt says why not;
and if there was none, what the process tried instead is told.
"""

from __future__ import annotations

from dsight.connections.diagnose import seconds
from dsight.connections.model import LookupReport, Report, endpoint_text
from dsight.errors import UsageError
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

TRIED = 1000  # other destinations remembered; what comes later is not told


class Expectation(Value):
    """One --expect.  `process`: a name (* ? [..] as in a shell), "" for any; `addresses`: those the
    host has, None for any host (`*`), empty where its name was not found."""

    text: str
    process: str
    host: str
    addresses: frozenset[str] | None
    port: int

    def concerns(self, report: Report | LookupReport) -> bool:
        """Whether the process is meant."""
        if not self.process:
            return True
        from fnmatch import fnmatchcase

        return fnmatchcase(report.process.comm, self.process)

    def fits(self, report: Report) -> bool:
        """Whether the attempt is one that was expected."""
        remote = report.remote
        return (
            self.concerns(report)
            and remote.port == self.port
            and (self.addresses is None or remote.address in self.addresses or self.names(remote.name))
        )

    def names(self, name: str | None) -> bool:
        """Whether a name the process asked for is the host's."""
        return name is not None and name.lower().rstrip(".") == self.host.lower().rstrip(".")


class Verdict(Value):
    """The answer to one expectation.  result: "met", "failed" (attempted, but) or "never".

    `report`: the attempt that decided it, None for "never"; `tried`: what was tried instead, as
    (endpoint, outcome, how often), the most frequent first; `lookup`: why its name led nowhere.
    """

    expectation: Expectation
    result: str
    report: Report | None = None
    tried: tuple[tuple[str, str, int], ...] = ()
    lookup: LookupReport | None = None

    def __str__(self) -> str:
        return f"expected {self.expectation.text}: {self._answer()}"

    def _answer(self) -> str:
        r = self.report
        if r is not None and self.result == "met":
            took = "" if r.latency_ns is None else f" in {seconds(r.latency_ns)}"
            return f"met{took} ({r.process.comm}[{r.process.pid}] to {r.remote})"
        if r is not None:
            why = f": {r.diagnosis.text}" if r.diagnosis is not None else ""
            return f"attempted but {r.outcome or 'still hanging'} ({r.process.comm}[{r.process.pid}]){why}"
        unknown = self.expectation.addresses is not None and not self.expectation.addresses
        name = f" (no address was found for {self.expectation.host})" if unknown else ""
        if self.lookup is not None and self.lookup.diagnosis is not None:
            name = f" ({self.lookup.diagnosis.text})"
        who = self.expectation.process or "the processes watched"
        if not self.tried:
            return f"never attempted{name}; {who} connected nowhere else"
        tried = ", ".join(
            f"{where} ({outcome}{'' if n == 1 else f', {n} times'})" for where, outcome, n in self.tried[:5]
        )
        more = len(self.tried) - 5
        return f"never attempted{name}; {who} tried {tried}" + (f" and {more} more" if more > 0 else "")

    def json(self) -> dict[str, Any]:
        """The verdict as one object of the connection record."""
        r = self.report if self.report is not None else self.lookup
        return {
            "event": "expectation",
            "expect": self.expectation.text,
            "result": self.result,
            "id": r.id if r is not None else None,
            "outcome": r.outcome if isinstance(r, Report) else None,
            "latency_ns": r.latency_ns if r is not None else None,
            "diagnosis": None
            if r is None or r.diagnosis is None
            else {"code": r.diagnosis.code, "text": r.diagnosis.text},
            "tried": [{"remote": where, "outcome": outcome, "count": n} for where, outcome, n in self.tried],
        }


def parse(text: str, resolve: Callable[[str], frozenset[str]]) -> Expectation:
    """[PROCESS->]HOST:PORT; HOST is a name, an address ([...] around IPv6) or *.  Raises UsageError."""
    process, arrow, where = text.rpartition("->")
    host, colon, port = where.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (arrow and not process):
        raise UsageError(f"--expect: '{text}' is not [PROCESS->]HOST:PORT", "such as db1:5432 or nginx->10.0.0.5:8080")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return Expectation(text, process, host, None if host == "*" else resolve(host), int(port))


def addresses(host: str) -> frozenset[str]:
    """The addresses of a host, as the watcher writes them; none where the name is not found."""
    from ipaddress import ip_address
    from socket import IPPROTO_TCP, gaierror, getaddrinfo

    try:
        found = getaddrinfo(host, None, proto=IPPROTO_TCP)
    except (gaierror, UnicodeError):
        return frozenset()
    return frozenset(str(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found)


class Expectations:
    """All expectations of a run."""

    def __init__(self, expectations: Iterable[Expectation]) -> None:
        self._all = tuple(expectations)
        self._met: dict[Expectation, Report] = {}
        self._seen: dict[Expectation, Report] = {}
        self._tried: dict[Expectation, dict[tuple[str, str], int]] = {e: {} for e in self._all}
        self._lookups: dict[Expectation, LookupReport] = {}  # those of its host that failed

    def see(self, report: Report | LookupReport) -> None:
        """Take one report into account."""
        for e in self._all:
            if e in self._met:
                continue
            if isinstance(report, LookupReport):
                if (
                    report.event == "lookup"
                    and report.error is not None
                    and e.concerns(report)
                    and e.names(report.name)
                ):
                    self._lookups[e] = report
                continue
            if e.fits(report):
                self._seen[e] = report
                if report.outcome == "connected":
                    self._met[e] = report
            elif report.outcome is not None and e.concerns(report):
                tried = self._tried[e]
                key = (endpoint_text(report.remote.address, report.remote.port), report.outcome)
                if key in tried or len(tried) < TRIED:
                    tried[key] = tried.get(key, 0) + 1

    @property
    def hosts(self) -> dict[str, list[str]]:
        """The addresses that were taken for each host."""
        return {e.host: sorted(e.addresses) for e in self._all if e.addresses is not None}

    @property
    def all_met(self) -> bool:
        return len(self._met) == len(self._all)

    def verdicts(self) -> list[Verdict]:
        """One for each expectation, in the order given."""
        return [self._verdict(e) for e in self._all]

    def _verdict(self, e: Expectation) -> Verdict:
        if e in self._met:
            return Verdict(e, "met", self._met[e])
        if e in self._seen:
            return Verdict(e, "failed", self._seen[e])
        tried = sorted(self._tried[e].items(), key=lambda item: -item[1])
        rest = tuple((where, outcome, n) for (where, outcome), n in tried)
        return Verdict(e, "never", None, rest, self._lookups.get(e))
