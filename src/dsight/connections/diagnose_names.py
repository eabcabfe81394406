"""Why a lookup failed or was slow, and where a name leads: a Lookup -> its report; and what a name adds
to the diagnosis of an attempt.  Codes: docs/connection-record.md.
"""

from __future__ import annotations

from dsight.connections.diagnose import is_loopback, seconds
from dsight.connections.model import Diagnosis, LookupReport
from dsight.connections.naming import NOT_FOUND, is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.connections.host import Host
    from dsight.connections.model import Process
    from dsight.connections.naming import Lookup, Named, Query

SLOW = 1_000_000_000  # ns
_LOOKED = 4  # addresses of which it is found out whose they are
SOURCES = {"hosts": "/etc/hosts", "dns": "DNS", "resolved": "systemd-resolved", "mdns": "mDNS"}
_FAMILIES = {"inet": "IPv4 ", "inet6": "IPv6 "}


def report(lookup: Lookup, process: Process, host: Host) -> LookupReport:
    """What the watcher says of a lookup."""
    return LookupReport(
        lookup.event,
        lookup.time,
        lookup.id,
        process,
        lookup.api,
        lookup.name,
        lookup.service,
        lookup.family,
        lookup.answers,
        lookup.error,
        lookup.waited,
        lookup.source,
        lookup.queries,
        diagnose(lookup, host),
    )


def is_bad(report: LookupReport) -> bool:
    """Whether it failed or was slow."""
    return report.diagnosis is not None and report.diagnosis.code != "name-points-here"


def diagnose(lookup: Lookup, host: Host) -> Diagnosis | None:
    """The cause; None where nothing is wrong."""
    if lookup.event == "looking-up":
        return Diagnosis("slow-lookup", f"no answer for {seconds(lookup.waited)}{_so_far(lookup)}")
    if lookup.excused:
        return None
    if lookup.error in ("aborted", "pending"):
        if lookup.waited < SLOW:
            return None
        what = "the process ended" if lookup.error == "aborted" else "no answer"
        return Diagnosis("slow-lookup", f"{what} after {seconds(lookup.waited)}{_so_far(lookup)}")
    if lookup.error in NOT_FOUND:
        return Diagnosis("name-not-found", _not_found(lookup))
    if lookup.error is not None:
        return Diagnosis("lookup-failed", _failed(lookup))
    if lookup.waited >= SLOW:
        return Diagnosis("slow-lookup", f"took {seconds(lookup.waited)}{_so_far(lookup)}")
    return _points_here(lookup, host)


def with_name(diagnosis: Diagnosis | None, named: Named | None, address: str | None, own: bool | None,
              all_of_it: list[str]) -> Diagnosis | None:  # fmt: skip
    """The diagnosis of an attempt to an address the process got for a name.  `all_of_it`: the name's addresses."""
    if diagnosis is None or named is None or address is None:
        return diagnosis
    if diagnosis.code == "wrong-family":
        return diagnosis.replace(text=f"{diagnosis.text}; {named.name} resolves to {', '.join(all_of_it[:6])}")
    if own and not named.local:
        return diagnosis.replace(text=f"{diagnosis.text}; {named.name} resolves to {address}{_source(named.source)}")
    return diagnosis


def with_hosts(diagnosis: Diagnosis | None, address: str | None, pid: int, host: Host) -> Diagnosis | None:
    """The diagnosis of an attempt to an address of which no lookup was seen: some programs read hosts(5)
    themselves, as Go's do."""
    if diagnosis is None or diagnosis.code != "nothing-listens-here" or address is None or not is_loopback(address):
        return diagnosis
    names = host.named(address, pid)
    if not 0 < len(names) <= _LOOKED:  # of long lists, such as those against advertisements, none is likelier
        return diagnosis
    return diagnosis.replace(text=f"{diagnosis.text}; /etc/hosts gives {address} to {', '.join(names)}")


def _points_here(lookup: Lookup, host: Host) -> Diagnosis | None:
    if is_local(lookup.name, lookup.nodename):
        return None
    for address in lookup.answers[:_LOOKED]:
        if is_loopback(address) or host.route(address, lookup.netns, lookup.who.pid) == "local":
            whose = "a loopback address" if is_loopback(address) else "an address of this very host"
            return Diagnosis(
                "name-points-here", f"{lookup.name} resolves to {address}{_source(lookup.source)}, {whose}"
            )
    return None


def _source(source: str | None) -> str:
    return "" if source is None else f" ({SOURCES.get(source, source)})"


def _not_found(lookup: Lookup) -> str:
    family = _FAMILIES.get(lookup.family or "", "")
    if lookup.error in ("EAI_NODATA", "EAI_ADDRFAMILY", "NO_DATA", "NODATA"):
        return f"{lookup.name} exists, but has no {family}address{_said(lookup)}"
    if lookup.queries:
        return f"there is no {lookup.name}{_said(lookup)}"
    if lookup.source is not None:
        return f"{SOURCES.get(lookup.source, lookup.source)} knows no {lookup.name}"
    return f"there is no {lookup.name}, and no name server was asked"


def _failed(lookup: Lookup) -> str:
    if lookup.error == "EAI_SERVICE":
        return f"there is no service {lookup.service}"
    if lookup.queries:
        return f"{lookup.name} could not be looked up{_said(lookup)}"
    if lookup.source is not None:
        return f"{SOURCES.get(lookup.source, lookup.source)} could not look up {lookup.name} ({lookup.error})"
    return f"{lookup.name} could not be looked up ({lookup.error}), and no name server was asked"


def _so_far(lookup: Lookup) -> str:
    """What is known of a lookup that takes its time."""
    said = _said(lookup)
    if not said and lookup.source is not None:
        return f": {SOURCES.get(lookup.source, lookup.source)} was asked"
    return said


def _said(lookup: Lookup, most: int = 4) -> str:
    """What the name servers said, or did not, and which names were tried; "" if none was asked."""
    if not lookup.queries:
        return ""
    servers: dict[str, list[Query]] = {}
    for query in lookup.queries:
        servers.setdefault(query.server or "a name server", []).append(query)
    parts = [_server(name, queries) for name, queries in list(servers.items())[:most]]
    if len(servers) > most:
        parts.append(f"and {len(servers) - most} more servers were asked")
    names = list(dict.fromkeys(q.name for q in lookup.queries))
    if len(names) > 1:
        more = f" and {len(names) - most} more" if len(names) > most else ""
        parts.append(f"tried as {', '.join(names[:most])}{more} (search domains)")
    return ": " + "; ".join(parts)


def _server(server: str, queries: list[Query]) -> str:
    """One server's words."""
    silent = [q for q in queries if q.result is None]
    results = list(dict.fromkeys(q.result for q in queries if q.result is not None))
    sent = sum(q.sent for q in queries)
    if len(silent) == len(queries):
        return f"{server} did not answer ({sent} {'query' if sent == 1 else 'queries'})"
    if results == ["ECONNREFUSED"]:
        return f"nothing listens on port 53 of {server} (ECONNREFUSED)"
    if results == ["ENETUNREACH"]:
        return f"this host has no route to the name server {server}"
    text = f"{server} answered {' and '.join('with addresses' if r == 'NOERROR' else r for r in results)}"
    if any(r.startswith("E") for r in results):
        text = f"asking {server} failed: {', '.join(results)}"
    again = sum(max(q.sent - 1, 0) for q in queries)
    if again:
        text += f", after {again} {'query was' if again == 1 else 'queries were'} sent again"
    if silent:
        kinds = " and ".join(dict.fromkeys(q.type for q in silent if q.type))
        text += f", but not for {kinds}"
    return text
