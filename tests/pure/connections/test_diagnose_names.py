"""What came of a lookup, in words; and what a name adds to an attempt's diagnosis."""

from __future__ import annotations

import pytest

from dsight.connections.diagnose_names import diagnose, is_bad, report, with_hosts, with_name
from dsight.connections.events import Who
from dsight.connections.model import Diagnosis, Process
from dsight.connections.naming import Lookup, Named, Query

S = 1_000_000_000
SERVER = "10.0.0.53"


class Host:
    """10.0.0.5 is ours."""

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        return "local" if address == "10.0.0.5" else "unicast"


def lookup(error: str | None = None, *queries: Query, name: str = "db1", **more: object) -> Lookup:
    who = Who(0, 7, 7, "app", 0, 1, 1, ())
    facts: dict[str, object] = {"waited": 1000, "nodename": "web7", "family": None}
    return Lookup("lookup", 9, "x", who, 5, "getaddrinfo", name, "80", error=error, queries=queries,
                  **(facts | more))  # type: ignore[arg-type]  # fmt: skip


def why(one: Lookup) -> tuple[str, str] | None:
    found = diagnose(one, Host())  # type: ignore[arg-type]
    return None if found is None else (found.code, found.text)


def asked(result: str | None, kind: str = "A", server: str | None = SERVER, name: str = "db1", sent: int = 1) -> Query:
    return Query(name, kind, server, sent, result)


@pytest.mark.parametrize(
    "one, code, text",
    [
        (lookup("EAI_NONAME"), "name-not-found", "there is no db1, and no name server was asked"),
        (lookup("EAI_NONAME", source="nscd"), "name-not-found", "nscd knows no db1"),
        (lookup("EAI_NONAME", asked("NXDOMAIN"), asked("NXDOMAIN", "AAAA")), "name-not-found",
         f"there is no db1: {SERVER} answered NXDOMAIN"),
        (lookup("EAI_NONAME", asked("NXDOMAIN", name="db1.x"), asked("NXDOMAIN")), "name-not-found",
         f"there is no db1: {SERVER} answered NXDOMAIN; tried as db1.x, db1 (search domains)"),
        (lookup("EAI_NODATA", asked("NODATA", "AAAA"), family="inet6"), "name-not-found",
         f"db1 exists, but has no IPv6 address: {SERVER} answered NODATA"),
        (lookup("NODATA", asked("NODATA")), "name-not-found",
         f"db1 exists, but has no address: {SERVER} answered NODATA"),
        (lookup("EAI_AGAIN", asked(None, sent=3), asked(None, "AAAA", sent=3)), "lookup-failed",
         f"db1 could not be looked up: {SERVER} did not answer (6 queries)"),
        (lookup("SERVFAIL", asked("SERVFAIL")), "lookup-failed",
         f"db1 could not be looked up: {SERVER} answered SERVFAIL"),
        (lookup("EAI_AGAIN", asked("ECONNREFUSED")), "lookup-failed",
         f"db1 could not be looked up: nothing listens on port 53 of {SERVER} (ECONNREFUSED)"),
        (lookup("EAI_AGAIN", asked("ENETUNREACH", sent=0)), "lookup-failed",
         f"db1 could not be looked up: this host has no route to the name server {SERVER}"),
        (lookup("EAI_AGAIN", asked("EHOSTUNREACH")), "lookup-failed",
         f"db1 could not be looked up: asking {SERVER} failed: EHOSTUNREACH"),
        (lookup("EAI_AGAIN"), "lookup-failed", "db1 could not be looked up (EAI_AGAIN), and no name server was asked"),
        (lookup("EAI_AGAIN", source="resolved"), "lookup-failed", "systemd-resolved could not look up db1 (EAI_AGAIN)"),
        (lookup("EAI_SERVICE"), "lookup-failed", "there is no service 80"),
        (lookup(None, asked(None), asked("NOERROR", server="10.0.0.54"), waited=5 * S), "slow-lookup",
         f"took 5.0 s: {SERVER} did not answer (1 query); 10.0.0.54 answered with addresses"),
        (lookup(None, asked("NOERROR"), asked(None, "AAAA"), waited=5 * S), "slow-lookup",
         f"took 5.0 s: {SERVER} answered with addresses, but not for AAAA"),
        (lookup(None, asked("NOERROR", sent=2), waited=5 * S), "slow-lookup",
         f"took 5.0 s: {SERVER} answered with addresses, after 1 query was sent again"),
        (lookup(None, waited=2 * S, source="mdns"), "slow-lookup", "took 2.0 s: mDNS was asked"),
        (lookup("aborted", asked(None), waited=2 * S), "slow-lookup",
         f"the process ended after 2.0 s: {SERVER} did not answer (1 query)"),
        (lookup("pending", waited=2 * S), "slow-lookup", "no answer after 2.0 s"),
        (lookup(waited=2 * S).replace(event="looking-up"), "slow-lookup", "no answer for 2.0 s"),
    ],
)  # fmt: skip
def test_causes(one: Lookup, code: str, text: str) -> None:
    assert why(one) == (code, text)


def test_nothing_wrong() -> None:
    assert why(lookup(answers=("10.9.9.9",))) is None
    assert why(lookup("aborted")) is None and why(lookup("pending")) is None
    assert why(lookup("EAI_NONAME", excused=True)) is None


def test_many_servers_and_names_are_not_all_told() -> None:
    queries = [asked("NXDOMAIN", server=f"10.0.0.{n}", name=f"db1.{n}") for n in range(50)]
    text = diagnose(lookup("EAI_NONAME", *queries), Host()).text  # type: ignore[arg-type,union-attr]
    assert "and 46 more servers were asked" in text and "and 46 more (search domains)" in text and len(text) < 500


@pytest.mark.parametrize("address, whose", [("127.0.0.1", "a loopback address"), ("10.0.0.5", "of this very host"),
                                            ("::1", "a loopback address")])  # fmt: skip
def test_a_name_that_points_here(address: str, whose: str) -> None:
    code, text = why(lookup(answers=("10.9.9.9", address), source="hosts"))  # type: ignore[misc]
    assert code == "name-points-here" and text.startswith(f"db1 resolves to {address} (/etc/hosts)") and whose in text


@pytest.mark.parametrize("name", ["localhost", "web7", "web7.example.org", "x.localhost"])
def test_names_that_may_point_here(name: str) -> None:
    assert why(lookup(name=name, answers=("127.0.0.1",))) is None


def test_what_is_bad() -> None:
    process = Process(7, 7, "app")
    made = [report(one, process, Host()) for one in  # type: ignore[arg-type]
            (lookup(answers=("127.0.0.1",)), lookup(), lookup("EAI_NONAME"), lookup(waited=2 * S))]  # fmt: skip
    assert [is_bad(one) for one in made] == [False, False, True, True]


def test_an_attempts_diagnosis_says_where_its_name_led() -> None:
    why_refused = Diagnosis("nothing-listens-here", "127.0.0.1 is this very host")
    named = Named("db1", "hosts")
    told = with_name(why_refused, named, "127.0.0.1", True, ["127.0.0.1"])
    assert told is not None and told.code == "nothing-listens-here"
    assert told.text == "127.0.0.1 is this very host; db1 resolves to 127.0.0.1 (/etc/hosts)"
    assert with_name(why_refused, named, "10.0.0.9", False, []) is why_refused, "not here"
    assert with_name(why_refused, Named("localhost", "hosts", True), "127.0.0.1", True, []) is why_refused
    assert with_name(why_refused, None, "127.0.0.1", True, []) is why_refused
    assert with_name(None, named, "127.0.0.1", True, []) is None


class Hosts:
    """127.0.0.1 db1; ::1 of many names."""

    def named(self, address: str, pid: int) -> tuple[str, ...]:
        return ("db1",) if address == "127.0.0.1" else tuple(f"ads{n}.test" for n in range(9))


def test_where_the_name_is_not_known_hosts_may_tell() -> None:
    def told(code: str, address: str | None) -> str | None:
        found = with_hosts(Diagnosis(code, "text"), address, 7, Hosts())  # type: ignore[arg-type]
        return found and found.text

    assert told("nothing-listens-here", "127.0.0.1") == "text; /etc/hosts gives 127.0.0.1 to db1"
    assert told("itself", "127.0.0.1") == told("refused-by-peer", "1.2.3.4") == "text"
    assert {told("nothing-listens-here", address) for address in ("::1", None, "10.0.0.5")} == {"text"}


def test_the_wrong_family_shows_all_addresses_of_the_name() -> None:
    wrong = Diagnosis("wrong-family", "port 80 is listened on for IPv4 only")
    told = with_name(wrong, Named("localhost", "hosts", True), "::1", True, ["::1", "127.0.0.1"])
    assert told is not None and told.text.endswith("; localhost resolves to ::1, 127.0.0.1")
