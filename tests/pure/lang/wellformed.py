"""Is a typed tree what lang.typed promises to lowering?  `problems` lists what is not."""

from __future__ import annotations

from dsight.lang import typed
from dsight.lang.check_convert import wrap
from dsight.lang.types import Array, Enum, Func, Inet, Int, Pointer, String, Struct, Type, Void, unqualified

COMPARE = ("==", "!=", "<", "<=", ">", ">=")
NODES = {
    typed.Const, typed.Str, typed.Builtin, typed.Arg, typed.Var, typed.Assoc, typed.Mem, typed.AddrOf, typed.Unary,
    typed.Binary, typed.StrCompare, typed.Cond, typed.Comma, typed.Convert, typed.ToString, typed.Assign, typed.IncDec,
    typed.Call, typed.Let, typed.Temp,
}  # fmt: skip


def kind(t: Type) -> str:
    u = unqualified(t)
    if isinstance(u, (Int, Enum, Pointer)):
        return "scalar" if u.size <= 8 else "wide"
    if isinstance(u, String):
        return "string"
    return "void" if isinstance(u, Void) else "memory" if isinstance(u, (Struct, Array, Func)) else "other"


def rep(t: Type) -> tuple[int, bool]:
    u = unqualified(t)
    return u.size, isinstance(u, (Int, Enum)) and u.signed


def problems(script: typed.Script) -> list[str]:
    found: list[str] = []
    variables = set(script.variables)

    def bad(e: object, why: str) -> None:
        found.append(f"{why}: {e!r}")

    def value(e: typed.TExpr, want: str = "") -> None:
        k = kind(e.type)
        if want and k != want:
            bad(e, f"is {k}, not {want}")
        if k in ("memory", "wide", "other"):
            bad(e, f"{k} used as a value")
        node(e)

    def object_(e: typed.TExpr) -> None:
        """A struct or union: in memory, a variable, or a choice, assignment, ... of some."""
        if kind(e.type) != "memory":
            bad(e, "not an object")
        node(e)

    def place(e: typed.TExpr) -> None:
        if isinstance(e, typed.Mem):
            value(e.base, "scalar")
        elif kind(e.type) == "memory":
            object_(e)
        elif isinstance(e, (typed.Var, typed.Assoc)):
            node(e)
        else:
            bad(e, "not a place")

    def node(e: typed.TExpr) -> None:
        if type(e) not in NODES:
            bad(e, "not of the typed tree")
        elif isinstance(e, typed.Const):
            if kind(e.type) == "scalar" and wrap(e.value, e.type) != e.value:
                bad(e, "out of range")
        elif isinstance(e, (typed.Var, typed.Assoc)):
            if e.var not in variables:
                bad(e, "unknown variable")
            keys = e.keys if isinstance(e, typed.Assoc) else ()
            if isinstance(e, typed.Assoc):
                tuple_(e.var.keys or (), keys)
        elif isinstance(e, typed.Mem):
            value(e.base, "scalar")
        elif isinstance(e, typed.AddrOf):
            place(e.place)
        elif isinstance(e, typed.Unary):
            value(e.operand, "scalar")
            if e.op != "!" and rep(e.operand.type) != rep(e.type):
                bad(e, "operand not converted")
        elif isinstance(e, typed.Binary):
            value(e.left, "scalar")
            value(e.right, "scalar")
            a, b = rep(e.left.type), rep(e.right.type)
            if e.op in COMPARE and a != b:
                bad(e, "compares different types")
            elif e.op in ("<<", ">>") and a != rep(e.type):
                bad(e, "shifted operand not converted")
            elif e.op in "+-*/%&|^" and not (a[0] == b[0] == e.type.size):
                bad(e, "operands not converted")
        elif isinstance(e, typed.StrCompare):
            value(e.left, "string")
            value(e.right, "string")
        elif isinstance(e, typed.Cond):
            value(e.test, "scalar")
            for side in (e.then, e.other):
                if kind(e.type) == "memory":
                    object_(side)
                    continue
                value(side, kind(e.type))
                if kind(e.type) == "scalar" and rep(side.type) != rep(e.type):
                    bad(e, "sides not converted")
        elif isinstance(e, typed.Comma):
            node(e.left)
            node(e.right)
        elif isinstance(e, typed.Convert):
            if kind(e.type) == "scalar":
                value(e.operand, "scalar")
            else:
                node(e.operand)
        elif isinstance(e, typed.ToString):
            if isinstance(e.operand, typed.Mem) and isinstance(unqualified(e.operand.type), Array):
                value(e.operand.base, "scalar")
            else:
                value(e.operand, "scalar")
        elif isinstance(e, typed.Assign):
            place(e.place)
            if kind(e.type) == "memory":
                object_(e.value)
            else:
                value(e.value)
            if not e.op and kind(e.type) == "scalar" and rep(e.value.type) != rep(e.type):
                bad(e, "value not converted")
            if e.op and e.arith is None:
                bad(e, "no type to compute in")
        elif isinstance(e, typed.IncDec):
            place(e.place)
        elif isinstance(e, typed.Call):
            for a in e.args:
                value(a)
        elif isinstance(e, typed.Let):
            node(e.value)
            node(e.body)

    def tuple_(types: tuple[Type, ...], keys: tuple[typed.TExpr, ...]) -> None:
        if len(types) != len(keys):
            bad(keys, "wrong number of keys")
        for t, k in zip(types, keys):
            value(k, kind(t))
            if kind(t) == "scalar" and rep(t)[0] != rep(k.type)[0]:
                bad(k, "key not converted")
            if isinstance(unqualified(t), String) and isinstance(unqualified(t), Inet) != isinstance(
                unqualified(k.type), Inet
            ):
                bad(k, "address mixed with text")

    def body(stmts: tuple[typed.TStmt, ...]) -> None:
        for s in stmts:
            if isinstance(s, typed.ExprStmt):
                node(s.expr)
            elif isinstance(s, typed.If):
                value(s.test, "scalar")
                body(s.then)
                body(s.other)
            elif isinstance(s, typed.AggStmt):
                if script.aggregations[s.agg.id] != s.agg:
                    bad(s, "stale aggregation")
                tuple_(s.agg.keys, s.keys)
                if s.value is not None:
                    value(s.value, "scalar")
                    if rep(s.value.type) != (8, s.agg.signed):
                        bad(s, "aggregated value not converted")
                if s.weight is not None:
                    value(s.weight, "scalar")
                    if s.weight.type.size != 8:
                        bad(s, "increment not converted")
            elif isinstance(s, typed.ActionStmt):
                for a in s.args:
                    if s.name in ("trace", "print") and kind(a.type) == "memory":
                        object_(a)
                    else:
                        value(a)

    for clause in script.clauses:
        if clause.predicate is not None:
            value(clause.predicate, "scalar")
        body(clause.body)
    return found
