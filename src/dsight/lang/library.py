"""The D library: types, inlines and translators written in D and shipped in `dlib/`.

A file is parsed only when a script uses a name it defines: `dlib.INDEX` and
`dlib.TRANSLATORS` say which file that is, without opening it.  What a file
defines stays syntax here; the checker resolves each item when it is first used.

A file may also keep something: it declares global variables and has clauses that fill them.
Those clauses become part of a script that uses one of the variables.
"""

from __future__ import annotations

from dsight import dlib
from dsight.lang import ast
from dsight.lang.builtins import typedef
from dsight.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.catalog import Catalog


class Library:
    """The shipped files, and `files` (name to text; parsed at once) before them."""

    def __init__(self, catalog: Catalog, files: dict[str, str] | None = None) -> None:
        self._catalog = catalog
        self._loaded: set[str] = set()
        self._declarations: dict[str, ast.Declaration] = {}
        self._inlines: dict[str, ast.Inline] = {}
        self._translators: dict[str, list[ast.Translator]] = {}
        self._variables: dict[str, ast.Program] = {}  # the whole file each is declared in
        for name in _ordered(files or {}):
            self._loaded.add(name)
            self._add(self._parse(name, files[name]))  # type: ignore[index]

    def declares(self, name: str) -> bool:
        """Whether the library has a typedef (or another name) spelled so; opens nothing."""
        return name in self._declarations or name in dlib.INDEX

    def declares_type(self, name: str) -> bool:
        """Whether a typedef of `files` is called so (those shipped: `is_type_name`)."""
        decl = self._declarations.get(name)
        return decl is not None and decl.spec.storage == "typedef"

    def declaration(self, name: str) -> ast.Declaration | None:
        """The declaration of a typedef, a tag ("struct x") or an enumerator."""
        self._load(dlib.INDEX.get(name, ""))
        return self._declarations.get(name)

    def inline(self, name: str) -> ast.Inline | None:
        self._load(dlib.INDEX.get(name, ""))
        return self._inlines.get(name)

    def translators(self, output: str) -> list[ast.Translator]:
        """The translators to a typedef or tag ("struct x"), those of `files` first."""
        self._load(dlib.TRANSLATORS.get(output, ""))
        return self._translators.get(output, [])

    def variable(self, name: str) -> ast.Program | None:
        """The file that declares a global variable of this name."""
        self._load(dlib.INDEX.get(name, ""))
        return self._variables.get(name)

    def names(self) -> list[str]:
        """All names, for suggestions."""
        return [*dlib.INDEX, *self._declarations, *self._inlines]

    def _load(self, files: str) -> None:
        for name in files.split():
            if name not in self._loaded:
                self._loaded.add(name)
                self._add(self._parse(name, dlib.read(name)))

    def _parse(self, name: str, text: str) -> ast.Program:
        from dsight.lang.parser import parse

        return parse(
            Source(name, text), None, lambda word: self.declares_type(word) or is_type_name(word, self._catalog)
        )

    def _add(self, program: ast.Program) -> None:
        for item in program.items:
            if isinstance(item, ast.Declaration):
                for name in declared_names(item):
                    self._declarations.setdefault(name, item)
                for name in variables(item):
                    self._variables.setdefault(name, program)
            elif isinstance(item, ast.Inline):
                self._inlines.setdefault(item.decl.declarators[0].name, item)
            elif isinstance(item, ast.Translator):
                self._translators.setdefault(type_key(item.output.spec), []).append(item)


def files() -> set[str]:
    """The names of the shipped files."""
    return {*dlib.INDEX.values(), *[name for names in dlib.TRANSLATORS.values() for name in names.split()]}


def _ordered(files: dict[str, str]) -> list[str]:
    """The files, each behind those it depends on: #pragma D depends_on library NAME.d, of the same folder."""
    import re

    order: list[str] = []
    begun: set[str] = set()

    def add(name: str) -> None:
        if name in begun or name not in files:
            return
        begun.add(name)
        folder = name.rpartition("/")[0]
        for needed in re.findall(
            r"^[ \t]*#[ \t]*pragma[ \t]+D[ \t]+depends_on[ \t]+library[ \t]+(\S+)", files[name], re.M
        ):
            add(f"{folder}/{needed}" if folder else needed)
        order.append(name)

    for name in files:
        add(name)
    return order


def is_type_name(name: str, catalog: Catalog) -> bool:
    """Whether a word names a type: a built-in or library typedef, or one of the kernel's."""
    if typedef(name) is not None:
        return True
    if name in dlib.INDEX:
        return name in dlib.TYPES
    from dsight.lang.builtins import SPELLED_TYPEDEFS

    return name in SPELLED_TYPEDEFS or catalog.type("typedef", name) is not None


def type_key(spec: ast.Specifiers) -> str:
    """What the library files a type under: its typedef name, or "struct tag"."""
    if spec.tag_kind:
        return f"{spec.tag_kind} {spec.tag}"
    return spec.words[-1] if spec.words else ""


def declared_names(decl: ast.Declaration) -> list[str]:
    """The names a declaration of types gives: typedefs, "struct tag", enumerators."""
    spec = decl.spec
    names = [d.name for d in decl.declarators] if spec.storage == "typedef" else []
    if spec.tag_kind and spec.body is not None:
        if spec.tag:
            names.append(f"{spec.tag_kind} {spec.tag}")
        if isinstance(spec.body, ast.EnumBody):
            names += [name for name, _, _ in spec.body.items]
    return names


def variables(decl: ast.Declaration) -> list[str]:
    """The global variables of a declaration."""
    return [] if decl.spec.storage else [d.name for d in decl.declarators]


def index(programs: dict[str, ast.Program]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """(INDEX, TRANSLATORS, TYPES) as `dlib/__init__.py` should have them for these files."""
    names: dict[str, str] = {}
    translators: dict[str, str] = {}
    types: list[str] = []
    for file, program in programs.items():
        for item in program.items:
            if isinstance(item, ast.Declaration):
                for name in declared_names(item) + variables(item):
                    names[name] = file
                if item.spec.storage == "typedef":
                    types += [d.name for d in item.declarators]
            elif isinstance(item, ast.Inline):
                names[item.decl.declarators[0].name] = file
            elif isinstance(item, ast.Translator):
                key = type_key(item.output.spec)
                known = translators.get(key, "").split()
                if file not in known:
                    translators[key] = " ".join([*known, file])
    return names, translators, types
