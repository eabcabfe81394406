"""docs/d-checklist.md names tests that exist, has every option, subroutine and action, and leaves nothing that
works without a test."""

from __future__ import annotations

import re
from pathlib import Path

from dsight import options
from dsight.lang import builtins

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "d-checklist.md").read_text()
ROWS = [re.fullmatch(r"\| `(.+)` \| (.+) \| (\S+) \|", line) for line in PAGE.splitlines() if line.startswith("| `")]


def test_every_row_reads() -> None:
    assert ROWS
    assert all(ROWS)


def test_the_tests_named_exist() -> None:
    for row in ROWS:
        assert row is not None
        item, state, test = row.groups()
        if test == "-":
            assert state.startswith(("later", "not on Linux", "refused")), item
        else:
            assert (REPO / "tests" / test).is_file(), (item, test)


def test_a_test_named_for_a_word_has_it() -> None:
    for row in ROWS:
        assert row is not None
        item, _, test = row.groups()
        word = item.partition("(")[0]
        if test != "-" and word in {*builtins.SUBROUTINES, *builtins.ACTIONS}:
            assert re.search(rf"\b{word}\b", (REPO / "tests" / test).read_text()), (item, test)


def test_nothing_is_left_out() -> None:
    items = {row.group(1) for row in ROWS if row is not None}
    known = {*builtins.SUBROUTINES, *builtins.ACTIONS, *builtins.AGGREGATING, *options.KINDS, *options.DYNAMIC}
    assert known - items == {"d_mountpoint"}  # of dlib/io.d only


def test_what_an_option_does_is_told_as_it_is() -> None:
    states = {row.group(1): row.group(2) for row in ROWS if row is not None}
    for name, why in options.WITHOUT_EFFECT.items():
        assert states[name] == f"accepted, changes nothing: {why}", name
    for name, why in options.REFUSED.items():
        assert states[name] == f"refused: {why}", name
