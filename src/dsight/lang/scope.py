"""What the checker knows while it walks a script: names, types, the clause at hand.

One Scope per script.  It owns the tables; the rules live in `declare` and `check_*`,
which are functions over a Scope.  `Scope.expr` sends a syntax node to its rule, so
that those modules need not import each other.
"""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast
from dsight.lang.library import Library
from dsight.lang.typed import Aggregation, Const, TExpr, Variable
from dsight.lang.types import Struct, Type
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dsight.lang.catalog import ArgType, Catalog, Probe
    from dsight.source import Span


class Translator(Value):
    """A translator with its types resolved: output struct, input type, what `members` call the input."""

    output: Struct
    input: Type
    name: str
    members: tuple[ast.TranslatorMember, ...]
    span: Span


class Translated(TExpr):
    """Inside the checker only: a pointer to (or an object of) the translator's output type,
    not yet a value; members of it are."""

    translator: Translator
    input: TExpr


class Clause:
    """The clause being checked; args[] types are asked for when first used."""

    def __init__(self, desc: str, probes: tuple[Probe, ...]) -> None:
        self.desc = desc
        self.probes = probes
        self.args: dict[tuple[ArgType, ...], Probe] | None = None  # each set of args[] types, and a probe with it
        self.members: set[tuple[str, str]] = set()  # used of translated structs: the struct, the member


class Scope:
    def __init__(
        self, catalog: Catalog, library: Library, table: dict[type, Callable[[Scope, ast.Expr], TExpr]]
    ) -> None:
        self.catalog = catalog
        self.library = library
        self._table = table
        self.typedefs: dict[str, Type] = {}
        self.tags: dict[tuple[str, str], Type] = {}
        self.enumerators: dict[str, tuple[int, Type]] = {}
        self.in_script: set[str] = set()  # types and enumerators the script itself declares
        self.inlines: dict[str, ast.Inline] = {}
        self.translators: list[Translator] = []
        self.variables: dict[tuple[str, str], Variable] = {}
        self.translated: dict[Variable, Translated] = {}  # those that keep what a translator takes; what they show
        self.aggs: dict[str, Aggregation] = {}
        self.widened: set[int] = set()  # aggregations whose keys grew after their first use
        self.clause: Clause | None = None
        self.params: dict[str, TExpr] = {}  # of the inline or translator being expanded
        self.expanding: list[str] = []
        self.expansions = 0  # of inlines and translators, so far
        self.spelled: dict[str, Type] = {}
        self.program: ast.Program | None = None
        self.kept: list[ast.Clause] = []  # of the library's files whose variables are used
        self._temps = 0

    def expr(self, e: ast.Expr) -> TExpr:
        """The typed expression; arrays are not yet decayed and translated values not yet refused."""
        return self._table[type(e)](self, e)

    def constant(self, e: ast.Expr) -> Const | None:
        """The expression as an integer constant; None if it is none."""
        found = self.expr(e)
        return found if isinstance(found, Const) else None

    def temp(self) -> int:
        self._temps += 1
        return self._temps


def suggest(name: str, among: Iterable[str], what: str = "did you mean") -> str | None:
    """A hint with near names, if there are any."""
    import difflib

    near = difflib.get_close_matches(name, sorted(set(among)), n=3, cutoff=0.65)
    return f"{what} {' or '.join(near)}?" if near else None


def unsupported(what: str, span: Span, hint: str | None = None) -> CompileError:
    return fail("D_UNKNOWN", f"{what} not supported yet", span, hint)
