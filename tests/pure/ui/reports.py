"""Reports for the tests of faces."""

from __future__ import annotations

from dsight.connections.model import Diagnosis, Endpoint, LookupReport, Parent, Process, Report
from dsight.connections.naming import Query

S = 1_000_000_000


def report(
    event: str = "attempt", id: str = "a", outcome: str | None = None, time: int = 0, comm: str = "app", **more: object
) -> Report:
    process = Process(7, 8, comm, "/bin/app", ("app", "-x"), 1, (Parent(1, "init"),), 0, "root", None, None, None, 5)
    facts: dict[str, object] = {"latency_ns": None if event == "attempt" else time, "syns": 2}
    if outcome == "refused":
        facts |= {"error": "ECONNREFUSED", "diagnosis": Diagnosis("refused-by-peer", "answered with a reset")}
    remote = Endpoint("10.0.0.9", 9300, None, False)
    facts |= {"remote": remote, "local": Endpoint("10.0.0.1", 4000), "blocking": True}
    return Report(event, time, id, process, "tcp", "inet", "connect", outcome=outcome, **(facts | more))  # type: ignore[arg-type]


def lookup(event: str = "lookup", error: str | None = None, code: str = "", text: str = "because", took: int = 5000,
           name: str = "db1", id: str = "n", **more: object) -> LookupReport:  # fmt: skip
    facts: dict[str, object] = {"answers": () if error else ("10.0.0.5", "fd00::5"), "source": "hosts"}
    queries = (Query(name, "A", "10.0.0.53", 2, "NOERROR"),)
    why = Diagnosis(code, text) if code else None
    facts |= {"queries": queries, "diagnosis": why, "service": "80", "family": None, "error": error}
    return LookupReport(event, S + took, id, report().process, "getaddrinfo", name, latency_ns=took, **(facts | more))  # type: ignore[arg-type]
