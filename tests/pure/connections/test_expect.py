"""--expect: parsing, and the verdict on what was seen."""

from __future__ import annotations

import pytest

from dsight.connections.expect import Expectations, addresses, parse
from dsight.connections.model import Diagnosis, Endpoint, LookupReport, Process, Report
from dsight.errors import UsageError


def resolve(host: str) -> frozenset[str]:
    return {"db": frozenset({"10.0.0.5", "fd00::5"}), "nowhere": frozenset()}.get(host, frozenset({host}))


def outcome(comm: str, address: str, port: int, what: str | None, text: str = "because") -> Report:
    diagnosis = None if what in (None, "connected") else Diagnosis("x", text)
    return Report(
        "outcome" if what else "attempt", 1, f"{comm}{address}{port}", Process(7, 7, comm), "tcp", "inet", "connect",
        Endpoint(None, None), Endpoint(address, port), False, what, None, 1_500_000, 1, diagnosis,
    )  # fmt: skip


def verdict(text: str, *reports: Report) -> tuple[str, str]:
    seen = Expectations([parse(text, resolve)])
    for report in reports:
        seen.see(report)
    assert seen.all_met == (seen.verdicts()[0].result == "met")
    return seen.verdicts()[0].result, str(seen.verdicts()[0])


@pytest.mark.parametrize("text", ["db", "db:", ":80", "db:x", "db:70000", "->db:80", "db:-1", ""])
def test_what_is_not_an_expectation(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        parse(text, resolve)


def test_parts() -> None:
    e = parse("ng*->[::1]:80", resolve)
    assert (e.process, e.host, e.addresses, e.port) == ("ng*", "::1", frozenset({"::1"}), 80)
    assert parse("*:80", resolve).addresses is None
    assert addresses("127.0.0.1") == {"127.0.0.1"}
    assert addresses("no-such-host.invalid") == frozenset()


def test_met() -> None:
    assert verdict("db:5432", outcome("web", "fd00::5", 5432, "connected"))[0] == "met"
    result, text = verdict("web->db:5432", outcome("web", "10.0.0.5", 5432, "connected"))
    assert (result, text) == ("met", "expected web->db:5432: met in 1 ms (web[7] to 10.0.0.5:5432)")


def test_a_later_attempt_may_meet_it() -> None:
    failed = outcome("web", "10.0.0.5", 5432, "refused")
    assert verdict("db:5432", failed, outcome("web", "10.0.0.5", 5432, "connected"))[0] == "met"
    assert verdict("db:5432", outcome("web", "10.0.0.5", 5432, "connected"), failed)[0] == "met"


def test_attempted_but() -> None:
    result, text = verdict("db:5432", outcome("web", "10.0.0.5", 5432, "refused"))
    assert (result, text) == ("failed", "expected db:5432: attempted but refused (web[7]): because")
    assert "still hanging" in verdict("db:5432", outcome("web", "10.0.0.5", 5432, None))[1]


def test_never_attempted() -> None:
    here, port = outcome("web", "127.0.0.1", 8080, "refused"), outcome("web", "10.0.0.5", 1, "connected")
    other = outcome("cron", "10.0.0.5", 5432, "connected")
    result, text = verdict("web->db:5432", here, port, here, other)
    assert result == "never"
    tried = "127.0.0.1:8080 (refused, 2 times), 10.0.0.5:1 (connected)"
    assert text == f"expected web->db:5432: never attempted; web tried {tried}"
    assert "connected nowhere else" in verdict("db:5432")[1]
    assert "no address was found for nowhere" in verdict("nowhere:80")[1]


def test_by_the_name_the_process_asked_for() -> None:
    """web's resolver says something else than ours: what counts is that it asked for db."""
    made = outcome("web", "10.7.7.7", 5432, "connected")
    assert verdict("web->db:5432", made)[0] == "never"
    named = made.replace(remote=made.remote.replace(name="DB."))
    assert verdict("web->db:5432", named)[0] == "met"
    assert verdict("web->db:5433", named)[0] == "never"
    assert verdict("web->other:5432", named)[0] == "never"


def lookup(comm: str, name: str, error: str | None, event: str = "lookup") -> LookupReport:
    why = Diagnosis("name-not-found", f"there is no {name}") if error else None
    return LookupReport(
        event, 1, "n", Process(7, 7, comm), "getaddrinfo", name, None, None, (), error, 5, "dns", (), why
    )


def test_never_attempted_because_the_name_was_not_found() -> None:
    result, text = verdict("web->db:5432", lookup("web", "db", "EAI_NONAME"))  # type: ignore[arg-type]
    assert result == "never" and "never attempted (there is no db); web connected nowhere else" in text
    seen = Expectations([parse("web->db:5432", resolve)])
    seen.see(lookup("web", "db", "EAI_NONAME"))
    told = seen.verdicts()[0].json()
    assert (told["result"], told["id"], told["outcome"], told["diagnosis"]["code"]) == (
        "never", "n", None, "name-not-found",
    )  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        lookup("web", "db", None),
        lookup("app", "db", "EAI_NONAME"),
        lookup("web", "db2", "EAI_NONAME"),
        lookup("web", "db", "x", "looking-up"),
    ],
)
def test_other_lookups_do_not_matter(other: LookupReport) -> None:
    assert "there is no" not in verdict("web->db:5432", other)[1]  # type: ignore[arg-type]
