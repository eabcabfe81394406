"""How the self-test judges what it saw, and says it."""

from __future__ import annotations

import pytest

from dsight.testing import selftest
from dsight.testing.selftest import Case, Mean, Result
from dsight.ui.selftest_cli import lines

CASE = Case("lab.py", "refused", "nothing listens", "refused", "ECONNREFUSED", "nothing-listens-here")
END = {"event": "outcome", "outcome": "refused", "error": "ECONNREFUSED", "diagnosis": {"code": "nothing-listens-here"}}
SEEN = "refused, ECONNREFUSED, nothing-listens-here"


@pytest.mark.parametrize(
    ("why", "reports", "state", "seen"),
    [
        (None, [{"event": "attempt"}, END], "passed", SEEN),
        (None, [END | {"outcome": "aborted"}], "failed", "aborted, ECONNREFUSED, nothing-listens-here"),
        (None, [END | {"diagnosis": None}], "failed", "refused, ECONNREFUSED"),
        (None, [END, {"event": "closed", "diagnosis": {"code": "x"}}], "failed", "reset, x"),
        (None, [{"event": "attempt"}], "failed", "no outcome was seen"),
        (None, [], "failed", "it was not seen"),
        ("no nft", [], "skipped", "no nft"),
    ],
)
def test_judgement(why: str | None, reports: list[dict], state: str, seen: str) -> None:
    assert selftest._judged(CASE, why, reports) == Result(CASE, state, seen)


def test_of_a_lookup_the_lookup_is_judged() -> None:
    case = Case("names_lab.py", "nx", "no such name", "lookup", "EAI_NONAME", "name-not-found")
    lookup = {"event": "lookup", "error": "EAI_NONAME", "diagnosis": {"code": "name-not-found"}}
    assert selftest._judged(case, None, [lookup, END]).state == "passed"
    assert selftest._judged(case, None, [END]).seen == "no outcome was seen"


def test_a_failure_says_what_should_have_been_seen() -> None:
    text = lines([Result(CASE, "failed", "aborted")], [Mean("btf", False, "no \x1b[2J")], 3)
    assert "no   btf                   no \\x1b[2J" in text
    assert f"failed   nothing listens                        aborted; it should be: {SEEN}" in text
    assert "0 passed, 1 failed, 0 skipped" in text and "3 events were lost before they could be read" in text


def test_names_of_cases_are_those_of_the_labs() -> None:
    """All labs' reports are told apart by them."""
    assert len({case.name for case in selftest.CASES}) == len(selftest.CASES)


def test_an_older_kernel_skips_what_it_cannot_say() -> None:
    def none(name: str, argument: int) -> bool:
        return False

    assert "6.3" in str(selftest.missing("datagrams", none)) and "5.17" in str(selftest.missing("nft", none))
    assert selftest.missing("datagrams", lambda name, argument: True) is None
    assert selftest.missing("", none) is None
