"""The syntax tree: what the parser hands to the checker.

Names as in C and D.  Types are syntax here (TypeName: specifiers and a
declarator); the checker makes lang.types of them.  Every node has its `span`.
"""

from __future__ import annotations

from dsight.source import Span
from dsight.value import Value

# ---- types as written


class EnumBody(Value):
    items: tuple[tuple[str, Expr | None, Span], ...]


class StructBody(Value):
    members: tuple[Declaration, ...]


class Specifiers(Value):
    """`words`: the type words in order ("unsigned", "long", "const", ...); or `tag_kind`
    ("struct", "union", "enum") with `tag` and/or `body`; or one typedef `name` (in words too:
    words == ("const", "pid_t") for `const pid_t`).  `storage`: "", "typedef", "extern", "static",
    "register", "auto", "self", "this"."""

    storage: str
    words: tuple[str, ...]
    tag_kind: str
    tag: str
    body: StructBody | EnumBody | None
    span: Span


class Pointers(Value):
    """A declarator level: pointer, with its qualifiers."""

    qualifiers: tuple[str, ...]


class ArrayOf(Value):
    """A declarator level: `[size]`; size None for `[]`; `keys` for an associative array
    declaration `name[int, string]`."""

    size: Expr | None
    keys: tuple[TypeName, ...] | None
    span: Span


class FuncOf(Value):
    """A declarator level: `(params)`."""

    params: tuple[Declaration, ...]
    variadic: bool


class Declarator(Value):
    """`name` ("" if abstract) with its levels, innermost (closest to the name) first:
    `*a[3]` is ArrayOf(3), Pointers()."""

    name: str
    levels: tuple[Pointers | ArrayOf | FuncOf, ...]
    bits: Expr | None  # width of a bit-field
    span: Span


class TypeName(Value):
    """As in a cast or sizeof."""

    spec: Specifiers
    declarator: Declarator
    span: Span


class Declaration(Value):
    """`spec d1, d2;`: at top level, in a struct, or one parameter."""

    spec: Specifiers
    declarators: tuple[Declarator, ...]
    span: Span


# ---- expressions


class Expr(Value):
    span: Span


class IntLit(Expr):
    value: int
    suffix: str  # "", "u", "l", "ul", "ll", "ull" (lower case)
    text: str  # as written: decimal or not matters for its type; character constants keep their quotes


class StrLit(Expr):
    value: bytes


class Ident(Expr):
    name: str


class ScopedVar(Expr):
    """self->name, this->name"""

    scope: str
    name: str


class Symbol(Expr):
    """module`name and `name (module "")"""

    module: str
    name: str


class AggRef(Expr):
    """@name or @name[keys]; name "" for the anonymous one; keys None without brackets"""

    name: str
    keys: tuple[Expr, ...] | None


class Unary(Expr):
    """op: + - ~ ! * & ; `stringof` as an operator is Stringof"""

    op: str
    operand: Expr


class IncDec(Expr):
    op: str  # "++" or "--"
    prefix: bool
    operand: Expr


class Binary(Expr):
    """op: || ^^ && | ^ & == != < <= > >= << >> + - * / %"""

    op: str
    left: Expr
    right: Expr


class Assign(Expr):
    """op: "" for =, else the operator of op="""

    op: str
    target: Expr
    value: Expr


class Cond(Expr):
    test: Expr
    then: Expr
    other: Expr


class Comma(Expr):
    left: Expr
    right: Expr


class Cast(Expr):
    type: TypeName
    operand: Expr


class SizeofType(Expr):
    type: TypeName


class SizeofExpr(Expr):
    operand: Expr


class Offsetof(Expr):
    type: TypeName
    member: tuple[str, ...]


class Stringof(Expr):
    operand: Expr


class Xlate(Expr):
    type: TypeName
    operand: Expr


class Index(Expr):
    """base[i] of an array or pointer, base[k1, k2] of an associative array"""

    base: Expr
    keys: tuple[Expr, ...]


class Member(Expr):
    base: Expr
    name: str
    arrow: bool


class Call(Expr):
    """Function, subroutine or action call"""

    name: str
    args: tuple[Expr | TypeName, ...]


# ---- statements


class Stmt(Value):
    span: Span


class ExprStmt(Stmt):
    expr: Expr


class AggStmt(Stmt):
    """@a[k] = count();"""

    target: AggRef
    call: Call


class If(Stmt):
    test: Expr
    then: tuple[Stmt, ...]
    other: tuple[Stmt, ...]


# ---- the program


class ProbeDesc(Value):
    """One probe description; "" for an empty field.  `id` instead for a probe id (else -1)."""

    provider: str
    module: str
    function: str
    name: str
    id: int
    span: Span

    def __str__(self) -> str:
        return str(self.id) if self.id >= 0 else f"{self.provider}:{self.module}:{self.function}:{self.name}"


class Clause(Value):
    """`body` None for a clause without braces, () for an empty body `{}`: both mean the default action."""

    probes: tuple[ProbeDesc, ...]
    predicate: Expr | None
    body: tuple[Stmt, ...] | None
    span: Span


class Inline(Value):
    """inline T name = e; inline T name[T1 a, ...] = e (params None without brackets)"""

    decl: Declaration
    params: tuple[Declaration, ...] | None
    value: Expr
    span: Span


class TranslatorMember(Value):
    name: str
    value: Expr
    span: Span


class Translator(Value):
    """translator OUT < IN *name > { members };"""

    output: TypeName
    input: TypeName
    name: str
    members: tuple[TranslatorMember, ...]
    span: Span


class ProbeDecl(Value):
    """In a provider declaration: probe name(native : translated, ...);"""

    name: str
    native: tuple[Declaration, ...]
    translated: tuple[Declaration, ...] | None
    span: Span


class ProviderDecl(Value):
    name: str
    probes: tuple[ProbeDecl, ...]
    span: Span


class Pragma(Value):
    """#pragma D NAME args: name "option", "attributes", "binding", "depends_on", "error", "line"...;
    words are what follows."""

    name: str
    words: tuple[str, ...]
    span: Span


class Program(Value):
    """Top-level items in source order."""

    items: tuple[Clause | Declaration | Inline | Translator | ProviderDecl | Pragma, ...]
