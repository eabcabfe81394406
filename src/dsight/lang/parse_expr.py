"""Tokens to expressions: the cursor all parsers share, and D's expression grammar.

The three parser classes are one parser in three files: ExprParser, DeclParser (types and
declarations), parser.Parser (clauses and the program).  Casts and sizeof need types, so
this file calls `at_type` and `type_name`, which DeclParser defines.
"""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast
from dsight.lang.lexer import KEYWORDS, Token
from dsight.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MAX_NESTING = 100
"""Levels of parentheses, braces, operands; bounds the recursion here."""
MAX_HEIGHT = 200
"""Of an expression's tree, which a chain like a + b + c ... makes high without nesting; bounds
the recursion of the stages after."""

# precedence of binary operators, loosest first; all associate to the left
_BINARY: dict[str, int] = {
    op: level
    for level, ops in enumerate(
        ("||", "^^", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"),
        3,
    )
    for op in ops.split()
}
_COND, _ASSIGN = 2, 1
_ASSIGN_OPS = {op + "=": op for op in ("", "+", "-", "*", "/", "%", "<<", ">>", "&", "^", "|")}
_INFIX: dict[str, int] = {**_BINARY, "?": _COND, **dict.fromkeys(_ASSIGN_OPS, _ASSIGN)}
_PREFIX = frozenset("+-~!*&")

# what to say of C's words and operators that D has not
_NOT_IN_D = {
    **dict.fromkeys(
        ("for", "while", "do"), "D has no loops: an aggregation or a tick-... probe often does what a loop would"
    ),
    **dict.fromkeys(("switch", "case", "default"), "D has no switch: use if/else, ?: or several clauses"),
    **dict.fromkeys(("break", "continue"), "D has no loops to leave: use if/else or a predicate"),
    "goto": "D has no jumps: use if/else or several clauses",
}
_NO_NAMES = frozenset(
    ("counter", "import", "probe", "provider", "translator", "inline", "auto", "register", "restrict")
)


class Cursor:
    """A place in the token list; `tok` is the next token.  PRAGMA tokens are not in the list."""

    __slots__ = ("height", "is_outer_type", "nesting", "pos", "shadowed", "source", "tok", "tokens", "typedefs")

    def __init__(self, source: Source, tokens: list[Token], is_type: Callable[[str], bool]) -> None:
        self.source = source
        self.tokens = tokens
        self.pos = 0
        self.tok = tokens[0]
        self.is_outer_type = is_type
        self.typedefs: set[str] = set()  # by this script
        self.shadowed: set[str] = set()  # names this script uses as variables, whatever the kernel calls a type
        self.nesting = 0
        self.height = 0  # of the expression parsed last

    def advance(self) -> Token:
        """Take the next token (never EOF)."""
        tok = self.tok
        self.pos += 1
        self.tok = self.tokens[self.pos]
        return tok

    def peek(self, ahead: int = 1) -> Token:
        """The token after the next one."""
        at = self.pos + ahead
        return self.tokens[at] if at < len(self.tokens) else self.tokens[-1]

    def accept(self, kind: str) -> bool:
        if self.tok.kind == kind:
            self.advance()
            return True
        return False

    def expect(self, kind: str, where: str, hint: str | None = None) -> Token:
        """Take a token of this kind, else say that it was expected `where`."""
        if self.tok.kind == kind:
            return self.advance()
        self.fail(f"expected `{kind}` {where}", hint=hint)

    def close(self, opening: Token, kind: str, what: str) -> Token:
        """Take the bracket that closes `opening`."""
        if self.tok.kind == kind:
            return self.advance()
        hint = f"the `{opening.text}` is in line {opening.span.line}"
        if self.tok.kind == "EOF":
            self.fail(f"`{opening.text}` without its `{kind}`", opening, found=False)
        self.fail(f"expected `{kind}` {what}", hint=hint)

    def fail(
        self, message: str, tok: Token | None = None, hint: str | None = None, tag: str = "D_SYNTAX", found: bool = True
    ) -> NoReturn:
        """Raise `message` at a token (the next one); `found` adds what stands there instead."""
        at = self.tok if tok is None else tok
        if self.tok.kind == "ERROR" and isinstance(self.tok.value, CompileError):
            raise self.tok.value
        if found:
            message += f", found {describe(at)}"
        if hint is None and at.kind in _NOT_IN_D:
            hint = _NOT_IN_D[at.kind]
        elif hint is None and at.kind in _NO_NAMES:
            hint = f"`{at.kind}` is a reserved word: choose another name"
        raise fail(tag, message, at.span, hint)

    def enter(self) -> None:
        """One level deeper; the caller leaves it by `self.nesting -= 1`."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            self.too_deep()

    def too_deep(self) -> NoReturn:
        self.fail(f"nested more than {MAX_NESTING} levels deep", hint="use several statements or clauses", found=False)

    def span_from(self, start: int) -> Span:
        """From an offset to the end of the token taken last."""
        return Span(self.source, start, self.tokens[self.pos - 1].end)

    def known_type(self, name: str) -> bool:
        return name in self.typedefs or (name not in self.shadowed and self.is_outer_type(name))


def describe(tok: Token) -> str:
    if tok.kind == "EOF":
        return "the end of the script"
    text = tok.text.split("\n")[0]
    if len(text) > 40:
        text = text[:37] + "..."
    return text if text[:1] == '"' else f"`{text}`"


class ExprParser(Cursor):
    """Each method takes what its grammar rule says and leaves `self.height` at the tree's height."""

    __slots__ = ()

    if TYPE_CHECKING:

        def at_type(self, ahead: int = 0) -> bool: ...
        def need_type(self, where: str) -> None: ...
        def type_name(self) -> ast.TypeName: ...  # leaves self.height at that of the sizes inside

    def expression(self) -> ast.Expr:
        """expression: assignment ("," assignment)*"""
        start = self.tok.start
        left = self.assignment()
        while self.tok.kind == ",":
            height = self.height
            self.advance()
            right = self.assignment()
            left = ast.Comma(self.span_from(start), left, right)
            self._grow(height)
        return left

    def assignment(self) -> ast.Expr:
        """assignment: unary ("=" | "+=" | ...) assignment | conditional"""
        return self._operators(_ASSIGN)

    def conditional(self) -> ast.Expr:
        """conditional: binary ["?" expression ":" conditional];  as in constants"""
        return self._operators(_COND)

    def _operators(self, lowest: int) -> ast.Expr:
        """binary: unary (operator binary)*, by precedence, from `lowest` up"""
        self.enter()
        start = self.tok.start
        left = self.unary()
        infix = _INFIX.get
        while True:
            op = self.tok.kind
            level = infix(op, 0)
            if level < lowest or not level:
                break
            height = self.height
            self.advance()
            if level > _COND:
                right = self._operators(level + 1)
                left = ast.Binary(self.span_from(start), op, left, right)
            elif level == _COND:
                then = self.expression()
                height = max(height, self.height)
                self.expect(":", "between the two values of `?`")
                other = self._operators(_COND)
                left = ast.Cond(self.span_from(start), left, then, other)
            else:
                value = self._operators(_ASSIGN)
                left = ast.Assign(self.span_from(start), _ASSIGN_OPS[op], left, value)
            self._grow(height)
        self.nesting -= 1
        return left

    def _grow(self, other: int = 0) -> None:
        """A node over the expression parsed last and one of height `other`."""
        self.height = 1 + (self.height if self.height > other else other)
        if self.height > MAX_HEIGHT:
            self.fail(
                f"an expression of more than {MAX_HEIGHT} operators in a row",
                hint="use several statements",
                found=False,
            )

    def unary(self) -> ast.Expr:
        """unary: ("+" | "-" | "~" | "!" | "*" | "&" | "++" | "--" | "stringof" | "sizeof") unary
        | "sizeof" "(" type-name ")" | "(" type-name ")" unary | postfix"""
        tok = self.tok
        kind = tok.kind
        expr: ast.Expr
        if kind == "(" and self.at_type(1):
            self.advance()
            to = self.type_name()
            height = self.height
            self.close(tok, ")", "after the type of a cast")
            operand = self._operand()
            self.height = max(height, self.height)
            expr = ast.Cast(self.span_from(tok.start), to, operand)
        elif kind in _PREFIX:
            self.advance()
            operand = self._operand()
            expr = ast.Unary(self.span_from(tok.start), kind, operand)
        elif kind == "++" or kind == "--":
            self.advance()
            operand = self._operand()
            expr = ast.IncDec(self.span_from(tok.start), kind, True, operand)
        elif kind == "stringof":
            self.advance()
            operand = self._operand()
            expr = ast.Stringof(self.span_from(tok.start), operand)
        elif kind == "sizeof":
            self.advance()
            if self.tok.kind == "(" and self.at_type(1):
                opening = self.advance()
                of = self.type_name()
                self.close(opening, ")", "after the type of sizeof")
                expr = ast.SizeofType(self.span_from(tok.start), of)
            else:
                operand = self._operand()
                expr = ast.SizeofExpr(self.span_from(tok.start), operand)
        else:
            return self.postfix()
        self._grow()
        return expr

    def _operand(self) -> ast.Expr:
        self.enter()
        expr = self.unary()
        self.nesting -= 1
        return expr

    def postfix(self) -> ast.Expr:
        """postfix: primary ("[" assignment ("," assignment)* "]" | "." name | "->" name | "++" | "--")*"""
        start = self.tok.start
        expr = self.primary()
        while True:
            tok = self.tok
            kind = tok.kind
            height = self.height
            if kind == "->" or kind == ".":
                self.advance()
                name = self.member_name(f"after `{kind}`")
                expr = ast.Member(self.span_from(start), expr, name, kind == "->")
            elif kind == "[":
                keys = self.keys()
                expr = ast.Index(self.span_from(start), expr, keys)
            elif kind == "++" or kind == "--":
                if isinstance(expr, ast.AggRef):
                    self._not_a_value(expr, tok)
                self.advance()
                expr = ast.IncDec(self.span_from(start), kind, False, expr)
            elif kind == "(":
                self.fail("only a name can be called", tag="D_FUNC_IDENT", found=False)
            else:
                return expr
            self._grow(height)

    def member_name(self, where: str) -> str:
        """A member's name, which may be one of D's own words (atomic_t has a `counter`)."""
        if self.tok.kind == "IDENT" or self.tok.kind in KEYWORDS:
            return self.advance().text
        self.fail(
            f"expected the name of a member {where}",
            tag="D_OP_IDENT" if self.tok.kind in ("INT", "STR") else "D_SYNTAX",
        )

    def keys(self) -> tuple[ast.Expr, ...]:
        """keys: "[" assignment ("," assignment)* "]";  leaves the greatest height"""
        opening = self.advance()
        if self.tok.kind == "]":
            self.fail("expected an index or key between `[` and `]`")
        keys = [self.assignment()]
        height = self.height
        while self.accept(","):
            keys.append(self.assignment())
            height = max(height, self.height)
        self.height = height
        self.close(opening, "]", "after the index or keys")
        return tuple(keys)

    def primary(self) -> ast.Expr:
        """primary: name ["(" arguments ")"] | integer | string+ | "(" expression ")"
        | ("self" | "this") "->" name | aggregation | symbol | offsetof | xlate"""
        tok = self.tok
        kind = tok.kind
        self.height = 1
        if kind == "IDENT":
            self.advance()
            if self.tok.kind == "(":
                return self.call(tok)
            return ast.Ident(tok.span, tok.text)
        if kind == "INT":
            self.advance()
            value, suffix = tok.value
            return ast.IntLit(tok.span, value, suffix, tok.text)
        if kind == "STR":
            return self.string()
        if kind == "(":
            return self._parenthesised()
        if kind == "self" or kind == "this":
            self.advance()
            if self.tok.kind != "->":
                self.fail(f"expected `->` and a variable's name after `{kind}`")
            self.advance()
            name = self.member_name(f"after `{kind}->`")
            return ast.ScopedVar(self.span_from(tok.start), kind, name)
        if kind == "AGG":
            return self.aggregation()
        if kind == "SYMBOL":
            self.advance()
            module, name = tok.value
            return ast.Symbol(tok.span, module, name)
        if kind == "offsetof":
            return self.offsetof()
        if kind == "xlate":
            return self.xlate()
        if kind in _NOT_IN_D:
            self.fail(f"`{kind}` is not in D", found=False)
        if self.at_type():
            self.fail("expected an expression", hint=f"a cast needs parentheses: ({tok.text}) ...")
        hint = None
        if kind == "EPRED":
            hint = "a predicate is /expression/"
        elif kind == "/":
            hint = "a clause has one predicate, /expression/: join conditions with &&"
        elif kind == "=":
            hint = "equality is `==`"
        self.fail("expected an expression", hint=hint)

    def _parenthesised(self) -> ast.Expr:
        opening = self.advance()
        name = self.tok
        if name.kind == "IDENT" and self.peek().kind == "*":
            ahead = 2
            while self.peek(ahead).kind == "*":
                ahead += 1
            if self.peek(ahead).kind == ")":
                self.fail(f"unknown type `{name.text}`", name, tag="D_TYPE_ERR", found=False)
        expr = self.expression()
        self.close(opening, ")", "after the expression")
        if isinstance(expr, ast.Ident) and self.tok.kind in ("IDENT", "INT", "STR", "self", "this", "SYMBOL", "("):
            self.fail(f"unknown type `{expr.name}` in a cast", name, tag="D_TYPE_ERR", found=False)
        return expr

    def string(self) -> ast.StrLit:
        """string: STR+;  neighbours are one string, as in C"""
        start = self.tok.start
        value = b""
        while self.tok.kind == "STR":
            part = self.advance().value
            assert isinstance(part, bytes)
            value += part
        return ast.StrLit(self.span_from(start), value)

    def call(self, name: Token) -> ast.Call:
        """arguments: [argument ("," argument)*];  argument: assignment | type-name"""
        opening = self.advance()
        args: list[ast.Expr | ast.TypeName] = []
        height = 0
        if self.tok.kind != ")":
            while True:
                if self._at_type_argument():
                    args.append(self.type_name())
                else:
                    args.append(self.assignment())
                height = max(height, self.height)
                if not self.accept(","):
                    break
        self.close(opening, ")", f"after the arguments of {name.text}()")
        self.height = height
        self._grow()
        return ast.Call(self.span_from(name.start), name.text, tuple(args))

    def _at_type_argument(self) -> bool:
        """A type's keyword; or a type's name and stars.  A name alone is an expression: the checker knows."""
        if self.tok.kind != "IDENT":
            return self.tok.kind not in ("self", "this") and self.at_type()
        if self.peek().kind != "*" or not self.at_type():
            return False
        ahead = 2
        while self.peek(ahead).kind == "*":
            ahead += 1
        return self.peek(ahead).kind in (",", ")")

    def aggregation(self) -> ast.AggRef:
        """aggregation: "@" [name] ["[" keys "]"]"""
        tok = self.advance()
        keys = None
        self.height = 0
        if self.tok.kind == "[":
            keys = self.keys()
        self._grow()
        return ast.AggRef(self.span_from(tok.start), str(tok.value), keys)

    def _not_a_value(self, agg: ast.AggRef, tok: Token) -> NoReturn:
        text = agg.span.text if "\n" not in agg.span.text else "@" + agg.name
        self.fail(
            f"`{tok.text}` cannot be applied to an aggregation",
            tok,
            hint=f"{text} = count(); counts, {text} = sum(n); adds up",
            found=False,
        )

    def offsetof(self) -> ast.Offsetof:
        """offsetof: "offsetof" "(" type-name "," name ("." name)* ")" """
        start = self.advance().start
        opening = self.expect("(", "after offsetof")
        self.need_type("as the first argument of offsetof")
        of = self.type_name()
        self.expect(",", "after the type of offsetof")
        members = [self.member_name("in offsetof")]
        while self.accept("."):
            members.append(self.member_name("after `.`"))
        self.close(opening, ")", "after the member of offsetof")
        self._grow()
        return ast.Offsetof(self.span_from(start), of, tuple(members))

    def xlate(self) -> ast.Xlate:
        """xlate: "xlate" "<" type-name ">" "(" expression ")" """
        start = self.advance().start
        self.expect("<", "after xlate", "xlate<type>(expression)")
        self.need_type("between `<` and `>` of xlate")
        to = self.type_name()
        height = self.height
        self.expect(">", "after the type of xlate", "xlate<type>(expression)")
        opening = self.expect("(", "after xlate<...>", "xlate<type>(expression)")
        operand = self.expression()
        self.close(opening, ")", "after the operand of xlate")
        self._grow(height)
        return ast.Xlate(self.span_from(start), to, operand)
