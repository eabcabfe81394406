"""dlib's tables are true to its files.  `python tests/pure/dlib/test_index.py` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from dsight import dlib
from dsight.lang.library import Library, index, is_type_name
from dsight.lang.parser import parse
from dsight.source import Source

HERE = Path(dlib.__file__).parent
KERNEL = {"u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "__be16", "__be32", "__be64", "gfp_t"}


class NoKernel:
    """Knows the commonest typedefs, nothing else."""

    def type(self, kind: str, name: str) -> object | None:
        return object() if kind == "typedef" and name in KERNEL else None


def tables() -> tuple[dict[str, str], dict[str, str], list[str]]:
    texts = {p.name: p.read_text() for p in sorted(HERE.glob("*.d"))}
    types: set[str] = set()
    programs = {}
    for _ in range(2):  # the second time round, with the typedefs of all files
        for name, text in texts.items():
            known = frozenset(types)
            programs[name] = parse(
                Source(name, text), None, lambda w, known=known: w in known or is_type_name(w, NoKernel())
            )
        types |= set(index(programs)[2])
    return index(programs)


def test_index() -> None:
    names, translators, types = tables()
    message = "run `python tests/pure/dlib/test_index.py`"
    assert names == dlib.INDEX, message
    assert translators == dlib.TRANSLATORS, message
    assert set(types) == dlib.TYPES, message


def test_every_library_file_parses_as_the_checker_reads_it() -> None:
    library = Library(NoKernel())
    for name, file in dlib.INDEX.items():
        assert library.declaration(name) or library.inline(name) or library.variable(name), (name, file)
    for output in dlib.TRANSLATORS:
        assert library.translators(output), output


def written() -> str:
    names, translators, types = tables()

    def table(head: str, items: dict[str, str]) -> str:
        return head + "".join(f'    "{k}": "{v}",\n' for k, v in items.items()) + "}\n"

    text = (HERE / "__init__.py").read_text()
    replaced = {
        "INDEX: dict[str, str] = {\n": names,
        "TRANSLATORS: dict[str, str] = {\n": translators,
    }
    for head, items in replaced.items():
        text = re.sub(re.escape(head) + r"(?:    .*\n)*\}\n", lambda _, h=head, i=items: table(h, i), text)
    inside = "".join(f'        "{t}",\n' for t in types)
    return re.sub(r"TYPES = frozenset\([^)]*\)\n", lambda _: f"TYPES = frozenset(\n    {{\n{inside}    }}\n)\n", text)


if __name__ == "__main__":
    (HERE / "__init__.py").write_text(written())
