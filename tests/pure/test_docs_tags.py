"""docs/d-tags.md: each tag dsight raises is listed with a test that names it, and no other."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "d-tags.md").read_text()
RAISED, NEVER = (
    [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| D_")]
    for part in PAGE.split("## Tags that are never raised")
)


def test_each_tag_is_listed_once() -> None:
    tags = [row[0].strip() for row in RAISED + NEVER]
    assert len(tags) == len(set(tags))


def test_the_tests_named_exist_and_have_the_tag() -> None:
    for tag, _, where in RAISED:
        text = (REPO / "tests" / where.strip()).read_text()
        assert re.search(rf"\b{tag.strip()}\b", text), (tag, where)


def test_what_the_source_raises_is_listed_as_raised() -> None:
    written: set[str] = set()
    for path in (REPO / "src" / "dsight").rglob("*.py"):
        written |= set(re.findall(r'"(D_[A-Z0-9_]+)"', path.read_text()))
    listed = {row[0].strip() for row in RAISED}
    assert written - listed == set()
    families = ("CLEAR", "TRUNC", "NORMALIZE", "PRINTA", "STACK", "USTACK")  # f"D_{family}_..."
    built = {tag for tag in listed if tag.split("_")[1] in families}
    assert listed - built - written == set()
