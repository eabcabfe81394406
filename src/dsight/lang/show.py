"""Tokens and trees as text, for --dump; and a tree as D source again.

`parse(unparse(tree)) == tree` but for the spans (tests/pure/lang/test_show.py).
"""

from __future__ import annotations

from dsight.lang import ast
from dsight.lang.lexer import Token
from dsight.source import Span
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def tokens(toks: list[Token]) -> str:
    """One line each: line:column, kind, text where the kind is not the text."""
    lines = []
    for tok in toks:
        line, column = tok.source.line_col(tok.start)
        lines.append(f"{line}:{column}\t{tok.kind}" + (f"\t{tok.text}" if tok.text not in (tok.kind, "") else ""))
    return "\n".join(lines) + "\n"


def tree(program: ast.Program) -> str:
    """The tree, two spaces a level: node, its own words, line:column; a child behind its field's name."""
    lines: list[str] = []
    for item in program.items:
        _node(lines, 0, "", item)
    return "\n".join(lines) + "\n" if lines else ""


def _node(lines: list[str], depth: int, label: str, node: Any) -> None:
    pad = "  " * depth + label
    if isinstance(node, ast.TypeName):
        lines.append(f"{pad}{type_text(node)}{_place(node.span)}")
        return
    if isinstance(node, ast.ProbeDesc):
        lines.append(f"{pad}{node}{_place(node.span)}")
        return
    if not isinstance(node, Value):
        lines.append(pad + str(node))
        return
    head = pad + type(node).__name__
    children: list[tuple[str, Any]] = []
    for field in node._fields:
        value = getattr(node, field)
        if isinstance(node, ast.IntLit) and field == "value":
            head += f" {value}" if str(value) != node.text else ""
        elif isinstance(value, str):
            head += f" {value}" if value else ""
        elif isinstance(value, bytes):
            head += " " + _string(value)
        elif isinstance(value, bool):
            head += f" {field}" if value else ""
        elif isinstance(value, int):
            head += f" {value}"
        elif isinstance(value, tuple) and value and isinstance(value[0], str):
            head += " " + " ".join(value)
        elif isinstance(value, tuple):
            children += [(f"{field}: ", child) for child in value]
            if not value and field in ("body", "params"):  # elsewhere () and None mean the same
                children.append((f"{field}: ", "(none)"))
        elif value is not None and not isinstance(value, Span):
            children.append((f"{field}: ", value))
    lines.append(head + _place(getattr(node, "span", None)))
    for name, child in children:
        if isinstance(child, tuple):  # an enumerator: name, value, span
            lines.append("  " * (depth + 1) + name + child[0] + _place(child[2]))
            if child[1] is not None:
                _node(lines, depth + 2, "", child[1])
        else:
            _node(lines, depth + 1, name, child)


def _place(span: Span | None) -> str:
    if span is None:
        return ""
    line, column = span.source.line_col(span.start)
    return f"  <{line}:{column}>"


# ---- back to D source


def unparse(program: ast.Program) -> str:
    """D source of the same meaning; names and constants as written."""
    return "".join([_item(item) for item in program.items])


def _item(item: Any) -> str:
    if isinstance(item, ast.Clause):
        text = ",\n".join([str(p) for p in item.probes])
        if item.predicate is not None:
            inside = expression(item.predicate)
            text += f"\n/ ({inside}) /" if "/" in inside else f"\n/ {inside} /"
        return text + (";\n" if item.body is None else "\n" + _block(item.body, 0) + "\n")
    if isinstance(item, ast.Declaration):
        return _declaration(item) + ";\n"
    if isinstance(item, ast.Inline):
        params = "" if item.params is None else "[" + ", ".join([_declaration(p) for p in item.params]) + "]"
        return f"inline {_declaration(item.decl)}{params} = {_operand(item.value, 1)};\n"
    if isinstance(item, ast.Translator):
        given = _declared(item.input.spec, item.input.declarator.replace(name=item.name))
        members = "".join([f"\t{m.name} = {_operand(m.value, 1)};\n" for m in item.members])
        return f"translator {type_text(item.output)} < {given} > {{\n{members}}};\n"
    if isinstance(item, ast.ProviderDecl):
        return f"provider {item.name} {{\n" + "".join([_probe(p) for p in item.probes]) + "};\n"
    assert isinstance(item, ast.Pragma)
    return " ".join(["#pragma D", *[_pragma_word(w) for w in (item.name, *item.words)]]) + "\n"


def _probe(probe: ast.ProbeDecl) -> str:
    args = ", ".join([_declaration(p) for p in probe.native])
    if probe.translated is not None:
        args += " : " + ", ".join([_declaration(p) for p in probe.translated])
    return f"\tprobe {probe.name}({args});\n"


def _pragma_word(word: str) -> str:
    if word and not any(c.isspace() or c in '"$\\/' for c in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _block(body: tuple[ast.Stmt, ...], depth: int) -> str:
    return "{\n" + "".join([_statement(s, depth + 1) for s in body]) + "\t" * depth + "}"


def _statement(stmt: ast.Stmt, depth: int) -> str:
    pad = "\t" * depth
    if isinstance(stmt, ast.ExprStmt):
        return f"{pad}{expression(stmt.expr)};\n"
    if isinstance(stmt, ast.AggStmt):
        return f"{pad}{expression(stmt.target)} = {expression(stmt.call)};\n"
    assert isinstance(stmt, ast.If)
    text = f"{pad}if ({expression(stmt.test)}) {_block(stmt.then, depth)}"
    return text + (f" else {_block(stmt.other, depth)}\n" if stmt.other else "\n")


def type_text(name: ast.TypeName) -> str:
    return _declared(name.spec, name.declarator)


def _declaration(decl: ast.Declaration) -> str:
    text = _specifiers(decl.spec)
    names = ", ".join([_declarator(d) for d in decl.declarators])
    return f"{text} {names}" if names else text


def _declared(spec: ast.Specifiers, declarator: ast.Declarator) -> str:
    return " ".join([t for t in (_specifiers(spec), _declarator(declarator)) if t])


def _specifiers(spec: ast.Specifiers) -> str:
    words = [spec.storage, *spec.words, spec.tag_kind, spec.tag]
    if isinstance(spec.body, ast.StructBody):
        words.append("{ " + "".join([_declaration(m) + "; " for m in spec.body.members]) + "}")
    elif spec.body is not None:
        items = [n if e is None else f"{n} = {_operand(e, 2)}" for n, e, _ in spec.body.items]
        words.append("{ " + ", ".join(items) + " }")
    return " ".join([w for w in words if w])


def _declarator(declarator: ast.Declarator) -> str:
    text = declarator.name
    pointer = False
    for level in declarator.levels:
        if isinstance(level, ast.Pointers):
            text = " ".join(["*", *level.qualifiers, text]) if level.qualifiers else "*" + text
            pointer = True
            continue
        if pointer:
            text = f"({text})"
            pointer = False
        if isinstance(level, ast.ArrayOf):
            keys = [type_text(k) for k in level.keys or ()]
            text += "[" + (", ".join(keys) if level.size is None else _operand(level.size, 2)) + "]"
        else:
            params = [_declaration(p) for p in level.params] + ["..."] * level.variadic
            text += "(" + ", ".join(params) + ")"
    return text if declarator.bits is None else f"{text} : {_operand(declarator.bits, 2)}"


# ---- expressions: precedence as in the parser, 0 comma, 1 assignment, 2 ?:, 3-13 binary, 14 unary, 15 postfix

_BINARY = {
    op: level
    for level, ops in enumerate(
        ("||", "^^", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"),
        3,
    )
    for op in ops.split()
}


def expression(expr: ast.Expr) -> str:
    return _operand(expr, 0)


def _operand(expr: ast.Expr | ast.TypeName, lowest: int) -> str:
    """The text, in parentheses if the expression binds less tightly than `lowest`."""
    if isinstance(expr, ast.TypeName):
        return type_text(expr)
    level, text = _WRITE[type(expr)](expr)
    return text if level >= lowest else f"({text})"


def _list(items: tuple[Any, ...]) -> str:
    return ", ".join([_operand(i, 1) for i in items])


def _binary(e: ast.Binary) -> tuple[int, str]:
    level = _BINARY[e.op]
    return level, f"{_operand(e.left, level)} {e.op} {_operand(e.right, level + 1)}"


def _unary(e: ast.Unary) -> tuple[int, str]:
    text = _operand(e.operand, 14)
    return 14, f"{e.op} {text}" if text[0] == e.op else e.op + text  # not `--x` for -(-x)


def _incdec(e: ast.IncDec) -> tuple[int, str]:
    return (14, e.op + _operand(e.operand, 14)) if e.prefix else (15, _operand(e.operand, 15) + e.op)


def _aggregation(e: ast.AggRef) -> tuple[int, str]:
    return 15, f"@{e.name}" + ("" if e.keys is None else f"[{_list(e.keys)}]")


def _string(value: bytes) -> str:
    out = []
    for byte in value:
        char = chr(byte)
        if char in '"\\':
            out.append("\\" + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append({10: "\\n", 9: "\\t"}.get(byte) or f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


_WRITE: dict[type, Callable[[Any], tuple[int, str]]] = {
    ast.IntLit: lambda e: (15, e.text),
    ast.StrLit: lambda e: (15, _string(e.value)),
    ast.Ident: lambda e: (15, e.name),
    ast.ScopedVar: lambda e: (15, f"{e.scope}->{e.name}"),
    ast.Symbol: lambda e: (15, f"{e.module}`{e.name}"),
    ast.AggRef: _aggregation,
    ast.Unary: _unary,
    ast.IncDec: _incdec,
    ast.Binary: _binary,
    ast.Assign: lambda e: (1, f"{_operand(e.target, 14)} {e.op}= {_operand(e.value, 1)}"),
    ast.Cond: lambda e: (2, f"{_operand(e.test, 3)} ? {_operand(e.then, 0)} : {_operand(e.other, 2)}"),
    ast.Comma: lambda e: (0, f"{_operand(e.left, 0)}, {_operand(e.right, 1)}"),
    ast.Cast: lambda e: (14, f"({type_text(e.type)}){_operand(e.operand, 14)}"),
    ast.SizeofType: lambda e: (14, f"sizeof({type_text(e.type)})"),
    ast.SizeofExpr: lambda e: (14, f"sizeof ({_operand(e.operand, 0)})"),
    ast.Offsetof: lambda e: (15, f"offsetof({type_text(e.type)}, {'.'.join(e.member)})"),
    ast.Stringof: lambda e: (14, f"stringof ({_operand(e.operand, 0)})"),
    ast.Xlate: lambda e: (15, f"xlate <{type_text(e.type)}> ({_operand(e.operand, 0)})"),
    ast.Index: lambda e: (15, f"{_operand(e.base, 15)}[{_list(e.keys)}]"),
    ast.Member: lambda e: (15, f"{_operand(e.base, 15)}{'->' if e.arrow else '.'}{e.name}"),
    ast.Call: lambda e: (15, f"{e.name}({_list(e.args)})"),
}
