"""Tokens to the syntax tree: programs, clauses, statements; `parse` is the way in.

Expressions are in parse_expr, declarations in parse_decl.  Nothing is looked up here but
whether a name is a type: the parser knows the script's own typedefs, and asks
`is_type` about others.  A name the script assigns to is a variable, whatever
type of that name the kernel may have.
"""

from __future__ import annotations

from dsight.errors import fail
from dsight.lang import ast
from dsight.lang.lexer import Token, scan
from dsight.lang.macros import Macros
from dsight.lang.parse_decl import DeclParser
from dsight.lang.parse_expr import MAX_NESTING, describe
from dsight.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Item = ast.Clause | ast.Declaration | ast.Inline | ast.Translator | ast.ProviderDecl | ast.Pragma

_ASSIGNS = frozenset(["=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "^=", "|=", "++", "--"])


def parse(source: Source, macros: Macros | None, is_type: Callable[[str], bool]) -> ast.Program:
    """One source's program.  CompileError, mostly D_SYNTAX, at the first thing that is not D.

    An empty program is no error here: several sources make one script (D_EMPTY is the session's).
    """
    tokens = scan(source, macros, is_type)
    try:
        return Parser(source, tokens, is_type).program()
    except RecursionError:
        end = len(source.text)
        raise fail("D_SYNTAX", f"nested more than {MAX_NESTING} levels deep", Span(source, end, end)) from None


class Parser(DeclParser):
    __slots__ = ("pragmas",)

    def __init__(self, source: Source, tokens: list[Token], is_type: Callable[[str], bool]) -> None:
        code = [t for t in tokens if t.kind != "PRAGMA"]
        super().__init__(source, code, is_type)
        self.size_height = 0
        self.pragmas = [t for t in tokens if t.kind == "PRAGMA"] if len(code) < len(tokens) else []
        before = Token("EOF", "", None, source, 0, 0)
        last = before
        for tok in code:
            if tok.kind in _ASSIGNS and last.kind == "IDENT" and before.kind not in ("->", "."):
                self.shadowed.add(last.text)
            before, last = last, tok

    # ---- program

    def program(self) -> ast.Program:
        """program: (clause | declaration | inline | translator | provider | ";")*

        Pragmas stand before the item they precede; within one there can only be what is no setting."""
        items: list[Item] = []
        while self.tok.kind != "EOF":
            self._pragmas_until(self.tok.start, items)
            item = self.item()
            if item is not None:
                items.append(item)
                if self.pragmas:
                    self._pragmas_within(item, items)
        self._pragmas_until(len(self.source.text) + 1, items)
        return ast.Program(tuple(items))

    def _pragmas_until(self, offset: int, items: list[Item]) -> None:
        while self.pragmas and self.pragmas[0].start < offset:
            tok = self.pragmas.pop(0)
            name, *words = tok.value
            items.append(ast.Pragma(name, tuple(words), tok.span))

    def _pragmas_within(self, item: Item, items: list[Item]) -> None:
        """Those inside an item: D_PRAGMA_SCOPE for what holds for the whole script."""
        for tok in self.pragmas:
            if tok.start >= item.span.end:
                break
            name = tok.value[0]
            if name not in ("error", "line"):
                what = "clause" if isinstance(item, ast.Clause) else "declaration"
                hint = f"put it before the {what}"
                if name == "option":
                    hint += "; setopt() changes an option while tracing"
                raise fail(
                    "D_PRAGMA_SCOPE", f"#pragma D {name} inside a {what}: it is the whole script's", tok.span, hint
                )
        self._pragmas_until(item.span.end, items)

    def item(self) -> Item | None:
        kind = self.tok.kind
        if kind == "PROBE":
            return self.clause()
        if kind == ";":
            self.advance()
            return None
        if kind == "inline":
            return self.inline()
        if kind == "translator":
            return self.translator()
        if kind == "provider":
            return self.provider()
        if kind == "}":
            self.fail("`}` without its `{`", found=False, hint="there is one `}` too many above, or a `{` is missing")
        if kind in ("if", "else", "AGG", "(", "++", "--", "SYMBOL", "INT", "STR", "sizeof", "xlate", "stringof"):
            self._statement_outside()
        if kind == "{":
            self.fail("expected a probe description before `{`", found=False, hint="for example: BEGIN { ... }")
        if kind == "/":
            self.fail("expected a probe description before the predicate", found=False)
        if (
            self.at_type()
            or kind == "IDENT"
            or kind in ("typedef", "extern", "static", "register", "auto", "self", "this")
        ):
            return self.declaration()
        self.fail("expected a probe description or a declaration")

    def _statement_outside(self, tok: Token | None = None) -> NoReturn:
        self.fail("a statement outside a clause", tok, found=False, hint="statements stand in a clause: BEGIN { ... }")

    # ---- clauses

    def clause(self) -> ast.Clause:
        """clause: probe ("," probe)* ["/" expression "/"] ["{" statement* "}" | ";"]"""
        start = self.tok.start
        first = self.tok
        if first.text.endswith(("++", "--")) and ":" not in first.text:
            self._statement_outside()
        probes = [self.probe()]
        while self.accept(","):
            if self.tok.kind != "PROBE":
                self.fail("expected another probe description after `,`")
            probes.append(self.probe())
        predicate = None
        if self.tok.kind == "PRED":
            predicate = self.predicate()
        body: tuple[ast.Stmt, ...] | None = None
        if self.tok.kind == "{":
            body = self.body()
        elif self.tok.kind == ";":
            self.advance()
        elif self.tok.kind != "EOF" and predicate is None:
            self._after_description(first)
        return ast.Clause(tuple(probes), predicate, body, self.span_from(start))

    def _after_description(self, first: Token) -> NoReturn:
        tok = self.tok
        if ":" not in first.text and (tok.kind == "(" or tok.kind == "=" or tok.kind in _ASSIGNS or tok.kind == "->"):
            self._statement_outside(first)
        hint = None
        if tok.kind == "IDENT" and self.peek().kind == "(":
            hint = "the statements of a clause stand in braces: { ... }"
        elif tok.kind == "IDENT":
            hint = "several descriptions of one clause are separated by commas"
        elif tok.kind in (":", "::"):
            hint = "no spaces inside a probe description"
        self.fail("expected `{` or a predicate after the probe description", hint=hint)

    def probe(self) -> ast.ProbeDesc:
        """probe: [[[provider ":"] module ":"] function ":"] name | id"""
        tok = self.advance()
        text = tok.text
        if text.isdigit():
            return ast.ProbeDesc("", "", "", "", int(text) if len(text) < 19 else 1 << 62, tok.span)
        fields = text.split(":")
        if len(fields) > 4:
            raise fail(
                "D_PDESC_INVAL",
                f"probe description of {len(fields)} parts: {text}",
                tok.span,
                "at most four: provider:module:function:name",
            )
        provider, module, function, name = ([""] * 3 + fields)[-4:]
        return ast.ProbeDesc(provider, module, function, name, -1, tok.span)

    def predicate(self) -> ast.Expr:
        """ "/" expression "/";  the lexer has found the closing slash"""
        opening = self.advance()
        expr = self.expression()
        if self.tok.kind == "EPRED":
            self.advance()
            return expr
        if self.tok.kind in ("{", ";", "EOF"):
            self.fail(
                "predicate without its closing `/`", opening if self.tok.kind == "EOF" else None, found=False,
                hint="a predicate is /expression/",
            )  # fmt: skip
        self.fail("expected an operator or the closing `/` of the predicate")

    def body(self) -> tuple[ast.Stmt, ...]:
        """body: "{" statement* "}" """
        opening = self.advance()
        self.enter()
        statements: list[ast.Stmt] = []
        while self.tok.kind != "}":
            if self.tok.kind == "EOF":
                self.fail("`{` without its `}`", opening, found=False)
            self.statement(statements)
        self.advance()
        self.nesting -= 1
        return tuple(statements)

    # ---- statements

    def statement(self, into: list[ast.Stmt]) -> None:
        """statement: ";" | "{" statement* "}" | if | aggregate | expression ";"

        A block adds its statements: D knows no scopes.  The last `;` before a `}` may be left out."""
        tok = self.tok
        kind = tok.kind
        if kind == ";":
            self.advance()
            return
        if kind == "{":
            into.extend(self.body())
            return
        if kind == "if":
            into.append(self.if_statement())
            return
        if kind == "else":
            self.fail(
                "`else` without its `if`", found=False, hint="nothing may stand between: if (a) { ... } else { ... }"
            )
        if kind == "AGG":
            stmt = self.aggregate()
        else:
            if self._starts_declaration():
                self.fail(
                    "a declaration inside a clause",
                    found=False,
                    hint="variables need no declaration; one may stand outside the clauses: this int x;",
                )
            stmt = ast.ExprStmt(tok.span, self.expression())
        self._end_of_statement()
        into.append(stmt.replace(span=self.span_from(tok.start)))

    def _starts_declaration(self) -> bool:
        kind = self.tok.kind
        if kind == "self" or kind == "this":
            return self.peek().kind != "->" and self.at_type(1)
        if kind == "IDENT":
            if self.peek().kind not in ("IDENT", "*") or not self.at_type():
                return False
            ahead = 1
            while self.peek(ahead).kind == "*":
                ahead += 1
            return self.peek(ahead).kind == "IDENT" and self.peek(ahead + 1).kind in ("=", ";", ",", "[")
        return kind in ("typedef", "extern", "static", "register", "auto", "inline") or self.at_type()

    def _end_of_statement(self) -> None:
        """ ";", or nothing before `}`"""
        tok = self.tok
        if tok.kind == ";":
            self.advance()
            return
        if tok.kind == "}":
            return
        if tok.kind == ":" and self.peek().kind == ":":
            self.fail(
                "a probe description inside a clause", found=False, hint="is the `}` of the clause before it missing?"
            )
        if tok.kind == ")" or tok.kind == "]":
            self.fail(f"`{tok.kind}` without its `{'(' if tok.kind == ')' else '['}`", found=False)
        if tok.kind == "EOF":
            self.fail("expected `;` or `}` after the statement")
        if tok.kind == "{":
            self.fail("expected `;` before `{`", found=False, hint="is the `}` of the clause before it missing?")
        previous = self.tokens[self.pos - 1]
        if previous.kind == "IDENT" and tok.kind in ("IDENT", "STR", "INT", "self", "this"):
            self.fail(f"expected `;` or an operator after {describe(previous)}")
        self.fail(f"expected `;` before {describe(tok)}", self.after_previous(), found=False)

    def if_statement(self) -> ast.If:
        """if: "if" "(" expression ")" statement ["else" statement]"""
        start = self.advance().start
        if self.tok.kind != "(":
            self.fail("expected `(` after `if`", hint="if (condition) { ... }")
        opening = self.advance()
        test = self.expression()
        self.close(opening, ")", "after the condition of `if`")
        then = self._branch()
        other: tuple[ast.Stmt, ...] = ()
        if self.accept("else"):
            other = self._branch()
        return ast.If(self.span_from(start), test, then, other)

    def _branch(self) -> tuple[ast.Stmt, ...]:
        if self.tok.kind == "EOF":
            self.fail("expected a statement after `if` or `else`")
        self.enter()
        statements: list[ast.Stmt] = []
        self.statement(statements)
        self.nesting -= 1
        return tuple(statements)

    def aggregate(self) -> ast.Stmt:
        """aggregate: aggregation "=" name "(" arguments ")" | aggregation"""
        start = self.tok.start
        target = self.aggregation()
        tok = self.tok
        if tok.kind in ("++", "--") or (tok.kind in _ASSIGNS and tok.kind != "="):
            self._not_a_value(target, tok)
        if tok.kind != "=":
            return ast.ExprStmt(target.span, target)
        self.advance()
        if self.tok.kind != "IDENT" or self.peek().kind != "(":
            self.fail(
                "expected an aggregating function after `=`",
                hint="count(), sum(n), avg(n), min(n), max(n), quantize(n), ...",
            )
        call = self.call(self.advance())
        return ast.AggStmt(self.span_from(start), target, call)

    # ---- inline, translator, provider

    def inline(self) -> ast.Inline:
        """inline: "inline" specifiers declarator ["[" parameter ("," parameter)* "]"] "=" assignment ";" """
        start = self.advance().start
        decl_start = self.tok.start
        spec = self.specifiers("")
        declarator = self._inline_declarator()
        params: list[ast.Declaration] | None = None
        if self.tok.kind == "[":
            opening = self.advance()
            params = [self.parameter()]
            while self.accept(","):
                params.append(self.parameter())
            self.close(opening, "]", "after the parameters of the inline")
        decl = ast.Declaration(spec, (declarator,), self.span_from(decl_start))
        self.expect("=", "and a value in the inline", "inline int name = value;")
        self.shadowed.add(declarator.name)
        value = self.assignment()
        self.end_of_declaration()
        return ast.Inline(decl, None if params is None else tuple(params), value, self.span_from(start))

    def _inline_declarator(self) -> ast.Declarator:
        """("*" qualifier*)* name: an inline is no array, and its parameters are not a size"""
        at = self.pos
        while self.peek(at - self.pos).kind in ("*", "const", "volatile", "restrict"):
            at += 1
        name = at - self.pos
        if self.peek(name).kind == "IDENT" and self.peek(name + 1).kind == "[":
            start = self.tok.start
            pointers: list[ast.Pointers] = []
            while self.accept("*"):
                qualifiers = []
                while self.tok.kind in ("const", "volatile", "restrict"):
                    qualifiers.append(self.advance().kind)
                pointers.append(ast.Pointers(tuple(qualifiers)))
            text = self.expect("IDENT", "as the inline's name").text
            return ast.Declarator(text, tuple(reversed(pointers)), None, self.span_from(start))
        return self.declarator(named=True)

    def translator(self) -> ast.Translator:
        """translator: "translator" type-name "<" specifiers declarator ">" "{" (name "=" assignment ";")* "}" ";" """
        start = self.advance().start
        output = self.type_name()
        form = "translator OUTPUT < INPUT *name > { member = expression; ... };"
        self.expect("<", "after the translator's output type", form)
        input_start = self.tok.start
        spec = self.specifiers("")
        declarator = self.declarator(named=True)
        input_type = ast.TypeName(spec, declarator.replace(name=""), self.span_from(input_start))
        self.expect(">", "after the translator's input", form)
        opening = self.expect("{", "and the translator's members", form)
        members = []
        while self.tok.kind != "}":
            if self.tok.kind == "EOF":
                self.close(opening, "}", "")
            at = self.tok.start
            name = self.member_name("of the translator's output")
            self.expect("=", f"after the member `{name}`")
            value = self.assignment()
            self._end_of_statement()
            members.append(ast.TranslatorMember(name, value, self.span_from(at)))
        self.advance()
        self.end_of_declaration()
        return ast.Translator(output, input_type, declarator.name, tuple(members), self.span_from(start))

    def provider(self) -> ast.ProviderDecl:
        """provider: "provider" name "{" probe-declaration* "}" ";" """
        start = self.advance().start
        name = self._dashed("the provider's name")
        opening = self.expect("{", "after the provider's name")
        probes = []
        while self.tok.kind != "}":
            if self.tok.kind != "probe":
                self.close(opening, "}", "or a probe of the provider")
            probes.append(self._probe_declaration())
        self.advance()
        self.end_of_declaration()
        return ast.ProviderDecl(name, tuple(probes), self.span_from(start))

    def _probe_declaration(self) -> ast.ProbeDecl:
        """probe-declaration: "probe" name ["(" [parameters] [":" [parameters]] ")" [":" "(" parameters ")"]] ";" """
        start = self.advance().start
        name = self._dashed("the probe's name")
        native: tuple[ast.Declaration, ...] = ()
        translated: tuple[ast.Declaration, ...] | None = None
        if self.tok.kind == "(":
            opening = self.advance()
            native = self._probe_arguments()
            if self.accept(":"):
                translated = self._probe_arguments()
            self.close(opening, ")", "after the probe's arguments")
            if translated is None and self.accept(":"):
                opening = self.expect("(", "and the translated arguments after `:`")
                translated = self._probe_arguments()
                self.close(opening, ")", "after the probe's translated arguments")
        self.end_of_declaration()
        return ast.ProbeDecl(name, native, translated, self.span_from(start))

    def _probe_arguments(self) -> tuple[ast.Declaration, ...]:
        """[parameter ("," parameter)*]; `void` alone for none"""
        if self.tok.kind == "void" and self.peek().kind in (")", ":"):
            self.advance()
            return ()
        params: list[ast.Declaration] = []
        if self.tok.kind not in (")", ":"):
            params.append(self.parameter())
            while self.accept(","):
                params.append(self.parameter())
        return tuple(params)

    def _dashed(self, what: str) -> str:
        """A name that may hold dashes: function-entry"""
        if self.tok.kind != "IDENT":
            self.fail(f"expected {what}")
        name = self.advance()
        text, end = name.text, name.end
        while self.tok.kind in ("-", "--") and self.tok.start == end and self.peek().start == self.tok.end:
            if self.peek().kind != "IDENT":
                break
            text += self.advance().text + self.tok.text
            end = self.advance().end
        return text
