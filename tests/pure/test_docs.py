"""What the documents say holds: links lead somewhere, D parses, commands are those that exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from dsight.errors import CompileError
from dsight.lang.macros import Macros
from dsight.lang.parser import parse
from dsight.source import Source

REPO = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("*/README.md")])
SCRIPTS = sorted(REPO.glob("examples/**/*.d"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTIONS = {"dtrace": "-n -s -q -l -c -p -o -x -w -e -S -v -V -Z -D --dump", "dsight": "-c -p --comm --port --to"}
OPTIONS["dsight"] += " --failed --expect --for --user --unit --json --record"


def relative(path: Path) -> str:
    return str(path.relative_to(REPO))


def fences(path: Path) -> list[tuple[str, str]]:
    return [(m[1], m[2]) for m in FENCE.finditer(path.read_text())]


def commands(path: Path) -> list[list[str]]:
    """The shell commands in a document's plain code blocks, as words, without comments."""
    found = []
    for kind, text in fences(path):
        if kind in ("", "sh"):
            for line in text.splitlines():
                if re.match(r"(sudo|make|dtrace|dsight|\.venv/|tools/)\b", line):
                    words = shlex.split(line, comments=True)
                    found.append(words[: words.index("|")] if "|" in words else words)
    return found


def parses(name: str, text: str) -> None:
    try:
        parse(Source(name, text), Macros({"target": 1, "pid": 1}, (name, "9300")), lambda word: word.endswith("_t"))
    except CompileError as e:
        pytest.fail("\n".join(d.render() for d in e.diagnostics))


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        destination = (path.parent / file) if file else path
        assert destination.exists(), f"{relative(path)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", destination.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, f"{relative(path)}: {target}"


def test_documents_the_sources_speak_of_exist() -> None:
    for top in ("src", "tests", "tools", "bench"):
        for path in (REPO / top).rglob("*"):
            if path.suffix in (".py", ".d", ".toml") or (path.parent == REPO / "tools" and path.is_file()):
                for name in re.findall(r"\bdocs/[\w/.-]+\.md\b", path.read_text()):
                    assert (REPO / name).exists(), f"{relative(path)} speaks of {name}"


def test_the_page_of_the_ir_is_that_of_its_tables() -> None:
    spec = importlib.util.spec_from_file_location("ir_doc", REPO / "tools" / "ir_doc.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PAGE.read_text() == tool.page(), "run tools/ir_doc.py"


def test_every_decision_is_listed_once_and_numbered_in_order() -> None:
    folder = REPO / "docs" / "decisions"
    files = sorted(p.name for p in folder.glob("0*.md"))
    listed = re.findall(r"\]\((0[^)]+)\)", (folder / "README.md").read_text())
    assert listed == files
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    for name in files:
        assert (folder / name).read_text().startswith(f"# {name[:4]} "), name


def test_the_map_lists_the_layers_of_the_layer_test() -> None:
    """docs/map.md and test_layers.py tell the same order."""
    source = (REPO / "tests" / "pure" / "test_layers.py").read_text()
    rows = source[source.index("LAYERS = [") : source.index("\n]\n", source.index("LAYERS = ["))]
    in_test = re.findall(r'"(\w+)"', rows)
    section = (REPO / "docs" / "map.md").read_text().split("## The layers")[1].split("\n## ")[0]
    in_map = re.findall(r"`(\w+)(?:\.py|/)`", section)
    assert in_map == in_test


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_examples_parse(path: Path) -> None:
    assert path.stat().st_mode & 0o111, "an example can be run as it stands"
    text = path.read_text()
    assert text.startswith("#!/usr/sbin/dtrace -"), "and says by what"
    parses(relative(path), text)


def blocks_of_d() -> list[object]:
    found = []
    for path in DOCUMENTS:
        texts = [text for kind, text in fences(path) if kind == "d"]
        found += [pytest.param(text, id=f"{relative(path)}-{n}") for n, text in enumerate(texts)]
    return found


@pytest.mark.parametrize("text", blocks_of_d())
def test_d_in_documents_parses(text: str) -> None:
    parses("document", text)


def test_the_readme_shows_the_example_it_names() -> None:
    assert (REPO / "examples" / "connect.d").read_text() in [t for k, t in fences(REPO / "README.md") if k == "d"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_commands_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    for words in commands(path):
        words = words[1:] if words[0] == "sudo" else words
        name = Path(words[0]).name
        if name == "make":
            assert words[1] in targets, words
        elif name in OPTIONS:
            given = words[1 : words.index("-c") + 1] if "-c" in words else words[1:]
            for word in (w for w in given if w.startswith("-")):
                known = OPTIONS[name].split()
                letters = [f"-{c}" for c in word[1:]]
                assert word in known or set(letters) <= set(known), f"{name} {word}"
            for flags, text in pairwise(words):
                if name == "dtrace" and re.fullmatch(r"-\w*n", flags):
                    parses("-n", text)
        else:
            assert (REPO / words[0]).exists() or words[0].startswith(".venv/"), words


def test_the_rules_can_see() -> None:
    readme = REPO / "README.md"
    assert ["make", "watch"] in commands(readme)
    assert any("--json" in words for words in commands(readme))
    with pytest.raises(pytest.fail.Exception):
        parses("broken", "syscall::read:entry { trace( }")
