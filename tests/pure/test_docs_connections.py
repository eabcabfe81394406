"""docs/connections.md: no outcome and no diagnosis of the source without its section and its transcript."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dsight.connections.model import OUTCOMES

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "connections.md").read_text()
BLOCK = re.compile(r"<!-- (lab|session)(?:: [^\n]*)? -->\n```text\n(.*?)```\n", re.DOTALL)


def diagnoses() -> set[str]:
    """The codes of all Diagnosis("code", ...) in the source."""
    found = set()
    for path in (REPO / "src" / "dsight" / "connections").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Diagnosis":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: a code that is no literal"
                found.add(node.args[0].value)
    return found


def sections(part: str) -> dict[str, str]:
    """The sections of a part of the page, whose titles are codes."""
    text = re.search(rf"^## {part}\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert text
    pieces = re.split(r"^### `(.*)`\n", text[1], flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2]))


def test_every_outcome_has_its_section() -> None:
    assert set(sections("Outcomes")) == set(OUTCOMES)


def test_every_diagnosis_has_its_section() -> None:
    assert set(sections("Diagnoses")) == diagnoses()


@pytest.mark.parametrize("code", sorted(OUTCOMES))
def test_an_outcome_is_shown(code: str) -> None:
    shown = "".join(text for _, text in BLOCK.findall(sections("Outcomes")[code]))
    assert re.search(rf"^[\d:.]+ \S+\[\d+\] .* {code} ", shown, re.MULTILINE)


@pytest.mark.parametrize("text", [PAGE, (REPO / "README.md").read_text()], ids=["connections", "readme"])
def test_every_block_has_been_made(text: str) -> None:
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("<!-- ")
    assert all("[" in shown or len(shown.splitlines()) > 1 for _, shown in blocks)
