"""The typed tree as text: `--dump types`.

One line a statement, operators first as in Lisp, every leaf with its type where
that says something; places read as D writes them.
"""

from __future__ import annotations

from dsight.lang import typed
from dsight.lang.types import Type


def dump(script: typed.Script) -> str:
    """The script, its variables and aggregations first."""
    lines = [f"option {name}{'=' + value if value else ''}" for name, value, _ in script.options]
    lines += [f"variable {_variable(v)}" for v in script.variables]
    lines += [f"aggregation {_aggregation(a)}" for a in script.aggregations]
    for c in script.clauses:
        lines.append(f"clause {c.index}: {_probes(c)}")
        if c.predicate is not None:
            lines.append(f"  if {expr(c.predicate)}")
        if c.default:
            lines.append("  (default action)")
        _body(c.body, "  ", lines)
    return "\n".join(lines) + "\n"


def _probes(c: typed.Clause) -> str:
    shown = ", ".join(str(p) for p in c.probes[:4])
    return f"{shown}, ... ({len(c.probes)} probes)" if len(c.probes) > 4 else shown or "(no probe)"


def _variable(v: typed.Variable) -> str:
    name = v.name if v.scope == "global" else f"{v.scope}->{v.name}"
    keys = "" if v.keys is None else f"[{', '.join(_type(t) for t in v.keys)}]"
    return f"{name}{keys}: {_type(v.type)}"


def _aggregation(a: typed.Aggregation) -> str:
    keys = f"[{', '.join(_type(t) for t in a.keys)}]" if a.keys else ""
    params = "".join(f", {p}" for p in a.params)
    return f"{a.id} @{a.name}{keys} = {a.func}({'signed' if a.signed else 'unsigned'}{params})"


def _type(t: Type) -> str:
    limit = getattr(t, "limit", 0)
    return f"{t}({limit})" if limit else str(t)


def _body(body: tuple[typed.TStmt, ...], indent: str, lines: list[str]) -> None:
    for s in body:
        if isinstance(s, typed.ExprStmt):
            lines.append(indent + expr(s.expr))
        elif isinstance(s, typed.AggStmt):
            keys = f"[{', '.join(expr(k) for k in s.keys)}]" if s.keys else ""
            value = "" if s.value is None else " " + expr(s.value)
            lines.append(f"{indent}({s.agg.func} @{s.agg.name}{keys}{value})")
        elif isinstance(s, typed.ActionStmt):
            parts = [s.name]
            parts += [repr(s.text)] if s.text else []
            parts += [f"@{n}" for n in s.aggs]
            parts += [expr(a) for a in s.args]
            lines.append(f"{indent}({' '.join(parts)})")
        elif isinstance(s, typed.If):
            lines.append(f"{indent}if {expr(s.test)}")
            _body(s.then, indent + "  ", lines)
            if s.other:
                lines.append(f"{indent}else")
                _body(s.other, indent + "  ", lines)


def expr(e: typed.TExpr) -> str:
    """One expression."""
    if isinstance(e, typed.Const):
        return f"{e.value}" if str(e.type) == "int" else f"{e.value}:{e.type}"
    if isinstance(e, typed.Str):
        return repr(e.value)[1:]
    if isinstance(e, typed.Builtin):
        return e.name
    if isinstance(e, typed.Arg):
        return f"arg{e.index}" if str(e.type) == "int64_t" else f"arg{e.index}:{e.type}"
    if isinstance(e, typed.Temp):
        return f"${e.id}"
    if isinstance(e, typed.Var):
        return _place(e.var)
    if isinstance(e, typed.Assoc):
        return f"{_place(e.var)}[{', '.join(expr(k) for k in e.keys)}]"
    if isinstance(e, typed.Mem):
        bits = f" bits {e.bit}..{e.bit + e.bits - 1}" if e.bits else ""
        return f"(mem {e.type} {expr(e.base)}{f' + {e.offset}' if e.offset else ''}{bits})"
    if isinstance(e, typed.AddrOf):
        return f"(& {expr(e.place)})"
    if isinstance(e, typed.Unary):
        return f"({e.op} {expr(e.operand)})"
    if isinstance(e, (typed.Binary, typed.StrCompare)):
        op = "str" + e.op if isinstance(e, typed.StrCompare) else e.op
        return f"({op}{_suffix(e)} {expr(e.left)} {expr(e.right)})"
    if isinstance(e, typed.Cond):
        return f"(? {expr(e.test)} {expr(e.then)} {expr(e.other)})"
    if isinstance(e, typed.Comma):
        return f"(, {expr(e.left)} {expr(e.right)})"
    if isinstance(e, typed.Convert):
        return f"({e.type}) {expr(e.operand)}"
    if isinstance(e, typed.ToString):
        return f"(stringof {expr(e.operand)})"
    if isinstance(e, typed.Assign):
        arith = f" in {e.arith}" if e.arith is not None else ""
        return f"({e.op}={arith} {expr(e.place)} {expr(e.value)})"
    if isinstance(e, typed.IncDec):
        return f"({'post' if e.post else 'pre'} {e.delta:+d} {expr(e.place)})"
    if isinstance(e, typed.Call):
        return f"({e.name}{''.join(' ' + expr(a) for a in e.args)})"
    assert isinstance(e, typed.Let), e
    return f"(let ${e.id} {expr(e.value)} {expr(e.body)})"


def _suffix(e: typed.TExpr) -> str:
    """The type arithmetic is done in, where it is not int."""
    return "" if str(e.type) == "int" else f":{e.type}"


def _place(v: typed.Variable) -> str:
    return v.name if v.scope == "global" else f"{v.scope}->{v.name}"
