"""What the watcher reports: the nouns of the connection record, and their JSON.

Names and meanings are those of docs/connection-record.md; unknown is None (JSON null), never a guess.
Times are nanoseconds of CLOCK_MONOTONIC, as the kernel stamped the event; `to_json` turns them into
RFC 3339 with the offset between that clock and the wall's.
"""

from __future__ import annotations

from errno import errorcode
from time import gmtime, strftime

from dsight.value import Brief, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.connections.lives import Life
    from dsight.connections.naming import Query

# Outcomes, the worst first: the order of the summary.
OUTCOMES = (
    "refused",
    "timed-out",
    "unreachable",
    "denied",
    "no-address",
    "invalid",
    "aborted",
    "unknown",
    "pending",
    "sent",
    "connected",
)
FAILED = frozenset(OUTCOMES) - {"connected", "unknown", "pending", "sent"}


class Parent(Value):
    """One ancestor of a process."""

    pid: int
    comm: str


class Process(Value):
    """Who connects, as it was at the attempt."""

    pid: int
    tid: int
    comm: str
    exe: str | None = None
    args: tuple[str, ...] | None = None
    ppid: int | None = None
    parents: tuple[Parent, ...] = ()  # nearest first
    uid: int | None = None
    user: str | None = None
    cgroup: str | None = None
    container: str | None = None
    unit: str | None = None
    netns: int | None = None  # inode


class Listener(Value):
    """Who listens at an address; pid and comm are None where the owner could not be found."""

    pid: int | None
    comm: str | None


class Endpoint(Brief):
    """One end of a connection.  `name`, `self_` and `listener` are of the remote end; `path` is that
    of a UNIX socket, an abstract one after "@"."""

    address: str | None
    port: int | None
    name: str | None = None
    self_: bool | None = None
    listener: Listener | None = None
    path: str | None = None

    def __str__(self) -> str:
        return self.path if self.path is not None else endpoint_text(self.address, self.port)


class Diagnosis(Value):
    """A short cause in words an administrator can act on."""

    code: str
    text: str


class Report(Brief):
    """One event of the record: `attempt`, `hanging`, `outcome`, `accepted`, `closed`."""

    event: str
    time: int
    id: str
    process: Process
    protocol: str | None
    family: str | None
    via: str
    local: Endpoint
    remote: Endpoint
    blocking: bool | None = None
    outcome: str | None = None
    error: str | None = None
    latency_ns: int | None = None
    syns: int | None = None
    diagnosis: Diagnosis | None = None
    datagrams: int | None = None  # UDP: how many were sent
    life: Life | None = None  # with `closed`


class LookupReport(Value):
    """`lookup` and `looking-up` of the record: a host name, and what came of it.  `queries`: DNS as it was seen."""

    event: str
    time: int
    id: str
    process: Process
    via: str
    name: str
    service: str | None
    family: str | None
    answers: tuple[str, ...]
    error: str | None
    latency_ns: int
    source: str | None
    queries: tuple[Query, ...]
    diagnosis: Diagnosis | None = None


class Lost(Value):
    """`count` events were dropped at `where` before the watcher could read them; or, where `seen` and `told`
    say of how many, attempts."""

    time: int
    count: int
    where: str
    seen: int | None = None
    told: int | None = None


def endpoint_text(address: str | None, port: int | None) -> str:
    """ADDRESS:PORT as people write it; "?" for what is unknown."""
    host = "?" if address is None else f"[{address}]" if ":" in address else address
    return f"{host}:{'?' if port is None else port}"


def error_name(number: int) -> str | None:
    """The name of an errno; None for 0, the number as text where the C library has no name."""
    return errorcode.get(number, str(number)) if number else None


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339, UTC, all nine digits."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{nanos:09d}Z"


def to_json(report: Report | LookupReport | Lost, wall_offset: int) -> dict[str, Any]:
    """The report as the record's JSON object; `wall_offset` is wall time minus monotonic time, in ns."""
    if isinstance(report, Lost):
        time = rfc3339(report.time + wall_offset)
        out = {"event": "lost", "time": time, "count": report.count, "where": report.where}
        return out if report.seen is None else out | {"seen": report.seen, "told": report.told}
    if isinstance(report, LookupReport):
        return _lookup_json(report, wall_offset)
    head = {"event": report.event, "time": rfc3339(report.time + wall_offset), "id": report.id}
    return head | {"process": process_json(report.process)} | facts_json(report)


def facts_json(report: Report) -> dict[str, Any]:
    """All of a report but when, which and who."""
    out: dict[str, Any] = {
        "protocol": report.protocol,
        "family": report.family,
        "via": report.via,
        "local": _end_json(report.local),
        "remote": remote_json(report.remote),
        "blocking": report.blocking,
    }
    if report.event == "outcome":
        out["outcome"] = report.outcome
        out["error"] = report.error
    if report.life is not None:
        out |= {name: getattr(report.life, name) for name in report.life._fields}
    elif report.event not in ("attempt", "accepted"):
        out["latency_ns"] = report.latency_ns
        out["syns"] = report.syns
    if report.event not in ("attempt", "accepted"):
        if report.datagrams is not None:
            out["datagrams"] = report.datagrams
        out["diagnosis"] = diagnosis_json(report.diagnosis)
    return out


def process_json(process: Process) -> dict[str, Any]:
    """A process as the record's object."""
    out = {name: getattr(process, name) for name in process._fields}
    out["args"] = None if process.args is None else list(process.args)
    out["parents"] = [{"pid": p.pid, "comm": p.comm} for p in process.parents]
    return out


def diagnosis_json(diagnosis: Diagnosis | None) -> dict[str, Any] | None:
    """A diagnosis as the record's object."""
    return None if diagnosis is None else {"code": diagnosis.code, "text": diagnosis.text}


def _end_json(end: Endpoint) -> dict[str, Any]:
    out: dict[str, Any] = {"address": end.address, "port": end.port}
    return out if end.path is None else out | {"path": end.path}


def _lookup_json(report: LookupReport, wall_offset: int) -> dict[str, Any]:
    return {
        "event": report.event,
        "time": rfc3339(report.time + wall_offset),
        "id": report.id,
        "process": process_json(report.process),
        "via": report.via,
        "name": report.name,
        "service": report.service,
        "family": report.family,
        "answers": list(report.answers),
        "error": report.error,
        "latency_ns": report.latency_ns,
        "source": report.source,
        "queries": [
            {"name": q.name, "type": q.type, "server": q.server, "count": q.sent, "result": q.result}
            for q in report.queries
        ],
        "diagnosis": diagnosis_json(report.diagnosis),
    }


def remote_json(remote: Endpoint) -> dict[str, Any]:
    """A remote end as the record's object."""
    who = remote.listener
    return _end_json(remote) | {
        "name": remote.name,
        "self": remote.self_,
        "listener": None if who is None else {"pid": who.pid, "comm": who.comm},
    }
