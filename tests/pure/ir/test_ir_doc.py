"""The example in docs/ir.md is right.  (Its tables: tests/pure/test_docs.py.)"""

from __future__ import annotations

from pathlib import Path

from dsight.ir.text import parse, show
from dsight.ir.verify import verify

PAGE = Path(__file__).parents[3] / "docs" / "ir.md"


def test_the_example_verifies() -> None:
    example = PAGE.read_text().split("```")[1].lstrip("\n")
    function = parse(example)
    verify(function)
    assert show(function) == example
