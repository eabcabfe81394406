"""The typed tree: what the checker hands to ir.lower.

Everything implicit in D is explicit here: conversions are Convert nodes, pointer
arithmetic is scaled, members are offsets, inlines and translators are expanded,
`args[n]` is a raw argument with a type, every variable is resolved.  Nothing
here can be wrong any more: lowering raises no user errors but "not supported yet".
"""

from __future__ import annotations

from dsight.btf.types import Type
from dsight.lang.catalog import Probe
from dsight.source import Span
from dsight.value import Value


class Variable(Value):
    """A D variable.  scope: "global", "self" or "this".  `keys`: the types of an
    associative array's tuple, None for a plain variable."""

    scope: str
    name: str
    type: Type
    keys: tuple[Type, ...] | None = None


class Aggregation(Value):
    """@name.  `keys`: types of the tuple (() for none); `params`: literal arguments of
    lquantize and llquantize; `signed`: whether the aggregated value is signed."""

    id: int
    name: str
    func: str
    keys: tuple[Type, ...]
    params: tuple[int, ...] = ()
    signed: bool = True


# ---- expressions: each has its type


class TExpr(Value):
    type: Type
    span: Span


class Const(TExpr):
    """An integer; already in range of its type"""

    value: int


class Str(TExpr):
    """A string literal, without its NUL; type String(limit)"""

    value: bytes


class Builtin(TExpr):
    """A built-in variable by name: pid tid execname timestamp ... (not args)"""

    name: str


class Arg(TExpr):
    """Raw argument `index` of the probe: arg0..arg9 (type int64_t) and untranslated args[n]"""

    index: int


class Var(TExpr):
    """A plain variable.  Place."""

    var: Variable


class Assoc(TExpr):
    """An element of an associative array; keys converted to the array's tuple types.  Place."""

    var: Variable
    keys: tuple[TExpr, ...]


class Mem(TExpr):
    """The object of `type` at address `base + offset` (kernel memory or scratch).  Place.
    A scalar is loaded.  A Struct, Array or String-like object is never loaded as such: it
    appears only under AddrOf, ToString, Convert-free record arguments (tracemem, print) or
    as a struct assignment.  A variable of such a type
    is a Mem whose base is its AddrOf.  `bits` > 0: a bit-field, `bit` its first bit counted from
    `base + offset`."""

    base: TExpr
    offset: int
    bit: int = 0
    bits: int = 0


class AddrOf(TExpr):
    """The address of a Mem place, of a variable of struct, union or array type (Var, Assoc), or of what
    a Cond, Comma, Let or Assign of such a type gives"""

    place: TExpr


class Unary(TExpr):
    """op: - ~ (integers; operand converted) or ! (scalar; int result)"""

    op: str
    operand: TExpr


class Binary(TExpr):
    """op: + - * / % & | ^ << >> on integers of `type` (signedness from it; shifts: from the left
    operand); == != < <= > >= on operands of one common type (result int); && || ^^ on scalars.
    Pointer arithmetic arrives as integer arithmetic already scaled."""

    op: str
    left: TExpr
    right: TExpr


class StrCompare(TExpr):
    """op: == != < <= > >= on two strings; result int"""

    op: str
    left: TExpr
    right: TExpr


class Cond(TExpr):
    test: TExpr
    then: TExpr
    other: TExpr


class Comma(TExpr):
    left: TExpr
    right: TExpr


class Convert(TExpr):
    """Scalar to scalar: truncate or extend to `type`"""

    operand: TExpr


class ToString(TExpr):
    """The string at a kernel address: operand is a pointer or char-array Mem; type String"""

    operand: TExpr


class Assign(TExpr):
    """op "" for plain =, else an arithmetic operator; the place is evaluated once.  `value` has the
    place's type (for op: `arith` is the type to compute in, value converted to it)."""

    op: str
    place: TExpr
    value: TExpr
    arith: Type | None = None


class IncDec(TExpr):
    """delta is already scaled for pointers; `post`: the result is the old value"""

    place: TExpr
    delta: int
    post: bool


class Call(TExpr):
    """A subroutine by name, arguments converted to its parameter types"""

    name: str
    args: tuple[TExpr, ...]


class Let(TExpr):
    """Evaluate `value` once, then `body`, in which Temp(id) stands for it"""

    id: int
    value: TExpr
    body: TExpr


class Temp(TExpr):
    id: int


# ---- statements


class TStmt(Value):
    span: Span


class ExprStmt(TStmt):
    expr: TExpr


class If(TStmt):
    test: TExpr
    then: tuple[TStmt, ...]
    other: tuple[TStmt, ...]


class ActionStmt(TStmt):
    """An action by name with its value arguments (printf: those of the format; trace: one).
    `text`: the format (printf, printa) or name (emit, freopen); `aggs`: ids of named aggregations."""

    name: str
    args: tuple[TExpr, ...]
    text: str = ""
    aggs: tuple[int, ...] = ()


class AggStmt(TStmt):
    """Aggregate `value` (None for count) under `keys` (converted to the aggregation's key types).
    `weight`: what a distribution's bucket grows by, of 64 bits; None: one"""

    agg: Aggregation
    keys: tuple[TExpr, ...]
    value: TExpr | None
    weight: TExpr | None = None


class Clause(Value):
    """`index`: position in the script, from 0.  `default`: no body was written, or an empty one: the
    default action (a record with the probe alone) applies.  `members`: what is used of translated
    structs, (struct, member).  `kept`: it is the library's, and keeps what the script uses."""

    index: int
    probes: tuple[Probe, ...]
    predicate: TExpr | None
    body: tuple[TStmt, ...]
    default: bool
    span: Span
    members: tuple[tuple[str, str], ...] = ()
    kept: bool = False


class Script(Value):
    """A checked script: `options` as #pragma D option gave them, in order: name, value, where."""

    clauses: tuple[Clause, ...]
    variables: tuple[Variable, ...]
    aggregations: tuple[Aggregation, ...]
    options: tuple[tuple[str, str, Span], ...]
