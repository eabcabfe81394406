"""Which text belongs to a test: for the tables of docs/ that name a test for each item.

A test is `golden/NAME.golden`, whose text is its script and the options it runs with, or
`FILE.py::FUNCTION`, whose text is the function, its decorators and what of the module's own names they use.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def text_of(test: str) -> str | None:
    """The text of a test named so; None if there is none."""
    name, _, function = test.partition("::")
    path = TESTS / name
    if not path.is_file():
        return None
    if path.suffix == ".golden":
        return _golden(path.read_text()) if not function else None
    names = _names(path)
    if not function.startswith("test_") or function not in names:
        return None
    seen, left = {function}, [function]
    while left:
        used = set(re.findall(r"[A-Za-z_]\w*", names[left.pop()])) & set(names) - seen
        left += [n for n in used if not n.startswith("test_")]
        seen |= used
    return "\n".join(names[n] for n in seen if n == function or not n.startswith("test_"))


def _golden(text: str) -> str:
    script = re.search(r"^--- d\n(.*?)(?=^--- )", text, re.MULTILINE | re.DOTALL)
    run = re.search(r"^--- run.*", text, re.MULTILINE)
    return (script[1] if script else "") + (run[0] if run else "")


@cache
def _names(path: Path) -> dict[str, str]:
    """What a module defines at its top: name -> source, decorators included."""
    source = path.read_text()
    lines = source.splitlines()
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *[d.lineno for d in node.decorator_list]])
            found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                    found[target.id] = found.get(target.id, "") + "\n" + text
    return found
