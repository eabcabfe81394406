"""Regular expressions must work on every Python we support.

Python before 3.11.5 (Debian 12 has 3.11.2) matches possessive and atomic *groups* wrongly
(cpython issue 106052); possessive single characters and classes are fine.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src" / "dsight"
POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+|\(\?>")
LITERAL = re.compile(r"""\br(?:"{3}[\s\S]*?"{3}|"[^"\n]*"|'[^'\n]*')""")


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_no_possessive_groups(path: Path) -> None:
    for literal in LITERAL.findall(path.read_text()):
        assert not POSSESSIVE_GROUP.search(literal), literal


def test_the_rule_can_see() -> None:
    assert POSSESSIVE_GROUP.search(r"(?:a|b)*+c")
    assert POSSESSIVE_GROUP.search(r"(?>ab)")
    assert not POSSESSIVE_GROUP.search(r"[^*]*+\*++")
    assert LITERAL.findall('x = re.compile(r"(?:a)*+")') == ['r"(?:a)*+"']
