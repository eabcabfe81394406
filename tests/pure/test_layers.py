"""Imports go one way, kernel words stay behind one door, and start-up stays quick.

The order is that of docs/map.md: a module may import what stands before it, never what stands
after; inside a package anything goes.  Imports inside functions and for type checkers count too:
a dependency that comes late is one all the same.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src" / "dsight"

# One row a layer; names in one row are modules or packages that do not know each other.
LAYERS = [
    ["value"],
    ["source"],
    ["errors"],
    ["record", "printf"],
    ["btf", "elf"],
    ["dlib"],
    ["lang"],
    ["ir"],
    ["bpf"],
    ["image"],
    ["consumer"],
    ["kernel"],
    ["image_cache"],
    ["providers"],
    ["options", "compile"],
    ["session"],
    ["machine"],
    ["tracing"],
    ["api"],
    ["connections", "calls"],
    ["packets"],
    ["testing"],
    ["ui"],
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}

# Dearer to import than a script to compile, or bringing in something that is.
HEAVY = set(
    "typing dataclasses enum argparse socket subprocess json inspect logging pathlib tempfile contextlib functools"
    " collections collections.abc shutil threading asyncio random datetime decimal ipaddress traceback shlex"
    " textwrap string urllib http importlib elftools rich textual psutil pyroute2".split()
)
FACES = {"ui", "connections", "calls", "packets", "testing"}  # may import them, but inside functions

# Only the door talks to the kernel.
DOOR = {"ctypes", "mmap", "fcntl", "select", "resource", "signal", "_socket.socket"}
PURE = {"value", "source", "errors", "record", "printf", "btf", "elf", "lang", "ir", "bpf"}
IMPURE = DOOR | {"os", "time", "io", "glob"}
EXCEPT = {("lang/macros.py", "os")}  # $pid, $uid and the like: this process's own ids

MODULES = sorted(SRC.rglob("*.py"))


def layer(path: Path) -> str:
    """The first name below dsight: the package, or the module at the top."""
    return path.relative_to(SRC).with_suffix("").parts[0]


def imported(node: ast.stmt, path: Path) -> list[str]:
    """Full names a statement imports; `from a import b` gives a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            here = ["dsight", *path.relative_to(SRC).parent.parts]
            base = ".".join([*here[: len(here) - node.level + 1], *([base] if base else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def everywhere(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    return [(n.lineno, name) for n in ast.walk(tree) if isinstance(n, ast.stmt) for name in imported(n, path)]


def at_run_time(path: Path) -> list[tuple[int, str]]:
    """What importing the module imports: not in functions, not under `if TYPE_CHECKING`."""
    found: list[tuple[int, str]] = []

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            found.extend((node.lineno, name) for name in imported(node, path))
            if isinstance(node, ast.If):
                if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                    visit(node.body)
                visit(node.orelse)
            elif isinstance(node, ast.Try):
                for part in (node.body, node.orelse, node.finalbody, *(h.body for h in node.handlers)):
                    visit(part)
            elif isinstance(node, (ast.ClassDef, ast.With)):
                visit(node.body)

    visit(ast.parse(path.read_text()).body)
    return found


def covers(names: set[str], name: str) -> bool:
    """Whether `name`, or a package it is in, is one of `names`."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in names for n in range(1, len(parts) + 1))


def module_id(path: Path) -> str:
    return str(path.relative_to(SRC))


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_imports_go_one_way(path: Path) -> None:
    own = layer(path)
    if own == "__init__":  # `import dsight` offers the library: it may name anything, late
        return
    assert own in RANK, f"{module_id(path)}: which layer is it? add it to LAYERS and to docs/map.md"
    for line, name in everywhere(path):
        parts = name.split(".")
        if parts[0] != "dsight" or len(parts) < 2 or parts[1] not in RANK or parts[1] == own:
            continue
        assert RANK[parts[1]] < RANK[own], f"{module_id(path)}:{line}: {own} must not import {name}"


# Labs are programs of their own, run as such: they are nobody's start-up.
@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name != "labs"], ids=module_id)
def test_heavy_modules_are_not_imported_at_start_up(path: Path) -> None:
    for line, name in at_run_time(path):
        assert not covers(HEAVY, name), f"{module_id(path)}:{line}: import {name} where it is used"


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p) not in FACES], ids=module_id)
def test_one_door_to_the_kernel(path: Path) -> None:
    own = layer(path)
    banned = IMPURE if own in PURE else DOOR if own not in ("kernel", "session") else set()
    for line, name in everywhere(path):
        if (module_id(path), name) in EXCEPT:
            continue
        assert not covers(banned, name), f"{module_id(path)}:{line}: {own} must not use {name}: kernel/ does"


def test_the_rules_can_see() -> None:
    """The reader of imports finds each form; else the tests above could not fail."""
    text = (
        "import os.path\nfrom dsight.ui import cli\nfrom . import x\nfrom ..lang import y\ndef f():\n    import json\n"
    )
    tree = ast.parse(text)
    where = SRC / "ir" / "z.py"
    names = [name for n in ast.walk(tree) if isinstance(n, ast.stmt) for name in imported(n, where)]
    assert sorted(names) == ["dsight.ir.x", "dsight.lang.y", "dsight.ui.cli", "json", "os.path"]
    assert covers(HEAVY, "collections.abc.Iterator")
    assert not covers(HEAVY, "struct.Struct")
