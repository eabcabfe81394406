"""Tokens to types and declarations: C's grammar, with D's additions.

D adds `string`, the storage classes `self` and `this`, types of a module's own
(``struct ext4`ext4_inode``), and associative arrays (`int a[int, string]`).  What a
combination of words means ("unsigned long", "long float") is for the checker;
only what the tree could not hold is refused here.
"""

from __future__ import annotations

from dsight.lang import ast
from dsight.lang.lexer import Token
from dsight.lang.parse_expr import ExprParser
from dsight.source import Span

STORAGE = frozenset(("typedef", "extern", "static", "register", "auto", "self", "this"))
QUALIFIERS = frozenset(("const", "volatile", "restrict"))
TYPE_WORDS = frozenset(
    ("void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool", "string")
)
TAGGED = frozenset(("struct", "union", "enum"))
_STARTS_TYPE = QUALIFIERS | TYPE_WORDS | TAGGED
MAX_LEVELS = 40
"""Pointers and arrays on one declarator."""
# D's own words may name a member: the kernel's types know nothing of D
_MAY_NAME_MEMBER = frozenset(
    ("self", "this", "string", "counter", "import", "probe", "provider", "translator", "xlate", "stringof", "offsetof")
)


class DeclParser(ExprParser):
    __slots__ = ("size_height",)

    size_height: int  # greatest height of the array sizes in the type being parsed

    def at_type(self, ahead: int = 0) -> bool:
        """Whether a type starts at the next token, or so many after it."""
        tok = self.peek(ahead) if ahead else self.tok
        kind = tok.kind
        if kind == "IDENT":
            return self.known_type(tok.text)
        return kind in _STARTS_TYPE or (kind == "SYMBOL" and self.known_type(tok.text))

    def need_type(self, where: str) -> None:
        """Fail unless a type starts here."""
        if self.at_type():
            return
        if self.tok.kind == "IDENT":
            self.fail(f"unknown type `{self.tok.text}`", tag="D_TYPE_ERR", found=False)
        self.fail(f"expected a type {where}")

    def type_name(self) -> ast.TypeName:
        """type-name: specifiers abstract-declarator"""
        outer = self.size_height
        self.size_height = 0
        start = self.tok.start
        spec = self.specifiers("")
        declarator = self.declarator(named=False)
        self.height = self.size_height
        self.size_height = outer
        return ast.TypeName(spec, declarator, self.span_from(start))

    def specifiers(self, storage: str) -> ast.Specifiers:
        """specifiers: (storage-class | qualifier | type-word | tagged | typedef-name)+

        `storage`: what to say where a storage class stands wrongly; "" where none may."""
        start = self.tok.start
        stored = tag_kind = tag = ""
        body: ast.StructBody | ast.EnumBody | None = None
        words: list[str] = []
        typed = False
        while True:
            tok = self.tok
            kind = tok.kind
            if kind in STORAGE:
                if not storage:
                    self.fail(f"`{kind}` cannot stand here", tag="D_DECL_BADCLASS", found=False)
                if stored:
                    self.fail(
                        f"`{kind}` after `{stored}`: a declaration has one storage class",
                        tag="D_DECL_CLASS",
                        found=False,
                    )
                stored = kind
                self.advance()
            elif kind in QUALIFIERS:
                words.append(kind)
                self.advance()
            elif kind in TYPE_WORDS:
                if kind == "string" and typed:
                    break  # a member of that name
                if tag_kind:
                    self._two_types(tag_kind, kind)
                words.append(kind)
                typed = True
                self.advance()
            elif kind in TAGGED:
                if typed:
                    self._two_types(" ".join(words), kind)
                tag_kind = kind
                typed = True
                tag, body = self._tagged()
            elif (kind == "IDENT" or kind == "SYMBOL") and not typed and self.known_type(tok.text):
                words.append(tok.text)
                typed = True
                self.advance()
            else:
                break
        if not typed:
            self._no_type(stored)
        return ast.Specifiers(stored, tuple(words), tag_kind, tag, body, self.span_from(start))

    def _two_types(self, first: str, second: str) -> None:
        self.fail(f"`{second}` after `{first}`: a declaration has one type", tag="D_DECL_COMBO", found=False)

    def _no_type(self, stored: str) -> None:
        tok = self.tok
        if tok.kind == "->" and stored in ("self", "this"):
            self.fail("a statement outside a clause", found=False, hint="statements stand in a clause: BEGIN { ... }")
        if tok.kind == "IDENT":
            after = self.peek()
            if stored and after.kind in (";", "[", "=", ","):
                self.fail(f"expected a type before `{tok.text}`", found=False, hint=f"{stored} int {tok.text};")
            hint = None
            if after.kind == "IDENT" and self.peek(2).kind == "(":
                hint = "if it is a probe, its statements stand in braces: PROBE { ... }"
            self.fail(f"unknown type `{tok.text}`", tag="D_TYPE_ERR", hint=hint, found=False)
        self.fail("expected a type")

    # ---- struct, union, enum

    def _tagged(self) -> tuple[str, ast.StructBody | ast.EnumBody | None]:
        """tagged: ("struct" | "union" | "enum") [name] ["{" body "}"]"""
        kind = self.advance().kind
        tag = ""
        if self.tok.kind in ("IDENT", "SYMBOL") or self.tok.kind in _MAY_NAME_MEMBER:
            tag = self.advance().text
        if self.tok.kind != "{":
            if not tag:
                self.fail(f"expected a name or `{{` after `{kind}`")
            return tag, None
        self.enter()
        opening = self.advance()
        body = self._enumerators(opening) if kind == "enum" else self._members(opening, kind)
        self.nesting -= 1
        return tag, body

    def _members(self, opening: Token, kind: str) -> ast.StructBody:
        """members: (specifiers [declarator ("," declarator)*] ";")*"""
        members = []
        while self.tok.kind != "}":
            start = self.tok.start
            if not self.at_type() and self.tok.kind not in STORAGE and self.tok.kind != "IDENT":
                self.close(opening, "}", f"or a member of the {kind}")
            spec = self.specifiers("")
            declarators = []
            if self.tok.kind != ";":
                declarators.append(self._member_declarator())
                while self.accept(","):
                    declarators.append(self._member_declarator())
            self.expect(";", f"after the member of the {kind}")
            members.append(ast.Declaration(spec, tuple(declarators), self.span_from(start)))
        self.advance()
        return ast.StructBody(tuple(members))

    def _member_declarator(self) -> ast.Declarator:
        """declarator [":" constant] | ":" constant"""
        start = self.tok.start
        declarator = self.declarator(named=self.tok.kind != ":", member=True)
        if not self.accept(":"):
            return declarator
        bits = self.conditional()
        self.size_height = max(self.size_height, self.height)
        return declarator.replace(bits=bits, span=self.span_from(start))

    def _enumerators(self, opening: Token) -> ast.EnumBody:
        """enumerators: name ["=" constant] ("," name ["=" constant])* [","]"""
        items: list[tuple[str, ast.Expr | None, Span]] = []
        while self.tok.kind != "}":
            if self.tok.kind != "IDENT":
                self.close(opening, "}", "or the name of an enumerator")
            name = self.advance()
            value = None
            if self.accept("="):
                value = self.conditional()
                self.size_height = max(self.size_height, self.height)
            items.append((name.text, value, self.span_from(name.start)))
            if not self.accept(","):
                break
        self.close(opening, "}", "after the enumerators")
        return ast.EnumBody(tuple(items))

    # ---- declarators

    def declarator(self, named: bool | None, member: bool = False) -> ast.Declarator:
        """declarator: ("*" qualifier*)* (name | "(" declarator ")" | ) suffix*

        `named`: a name is needed (True), may not be there (False), may be (None)."""
        self.enter()
        start = self.tok.start
        pointers = []
        while self.accept("*"):
            qualifiers = []
            while self.tok.kind in QUALIFIERS:
                qualifiers.append(self.advance().kind)
            pointers.append(ast.Pointers(tuple(qualifiers)))
        if len(pointers) > MAX_LEVELS:
            self.too_deep()
        name = ""
        levels: list[ast.Pointers | ast.ArrayOf | ast.FuncOf] = []
        if named is not False and (self.tok.kind == "IDENT" or (member and self.tok.kind in _MAY_NAME_MEMBER)):
            name = self.advance().text
        elif self.tok.kind == "(" and (named or self._grouping()):
            opening = self.advance()
            inner = self.declarator(named, member)
            self.close(opening, ")", "in the declaration")
            name = inner.name
            levels.extend(inner.levels)
        elif named:
            if self.tok.kind == "SYMBOL":
                self.fail(
                    f"a declaration cannot name the kernel's `{self.tok.text}`", tag="D_DECL_SCOPE", found=False,
                    hint="its variables exist already: write `name where you use one",
                )  # fmt: skip
            self.fail("expected a name in the declaration", tag="D_DECL_IDENT")
        while self.tok.kind in ("[", "("):
            levels.append(self._array() if self.tok.kind == "[" else self._parameters())
            if len(levels) > MAX_LEVELS:
                self.too_deep()
        levels.extend(reversed(pointers))
        self.nesting -= 1
        end = self.tokens[self.pos - 1].end
        return ast.Declarator(name, tuple(levels), None, Span(self.source, min(start, end), end))

    def _grouping(self) -> bool:
        """Whether the `(` here groups an abstract declarator: (*)..., (name)...; or starts parameters."""
        after = self.peek()
        return after.kind in ("*", "(", "[") or (after.kind == "IDENT" and not self.known_type(after.text))

    def _array(self) -> ast.ArrayOf:
        """array: "[" [constant] "]" | "[" type-name ("," type-name)* "]" """
        opening = self.advance()
        size: ast.Expr | None = None
        keys: list[ast.TypeName] | None = None
        if self.at_type():
            keys = [self.type_name()]
            while self.accept(","):
                self.need_type("for the key")
                keys.append(self.type_name())
        elif self.tok.kind != "]":
            size = self.conditional()
            self.size_height = max(self.size_height, self.height)
            if self.tok.kind == ",":
                self.fail(
                    "expected `]` after the size of the array", hint="keys are declared by type: int a[int, string];"
                )
        self.close(opening, "]", "after the size or the types of the keys")
        return ast.ArrayOf(size, None if keys is None else tuple(keys), self.span_from(opening.start))

    def _parameters(self) -> ast.FuncOf:
        """parameters: "(" ["void" | parameter ("," parameter)* ["," "..."]] ")" """
        opening = self.advance()
        if self.tok.kind == "void" and self.peek().kind == ")":
            self.advance()
        params: list[ast.Declaration] = []
        variadic = False
        while self.tok.kind != ")":
            if self.tok.kind == "...":
                if not params:
                    self.fail("... must follow a parameter", tag="D_DECL_PROTO_VARARGS", found=False)
                self.advance()
                variadic = True
                break
            params.append(self.parameter())
            if not self.accept(","):
                break
            if self.tok.kind == ")":
                self.fail("expected a parameter after `,`")
        self.close(opening, ")", "after the parameters")
        return ast.FuncOf(tuple(params), variadic)

    def parameter(self) -> ast.Declaration:
        """parameter: specifiers [declarator]"""
        start = self.tok.start
        spec = self.specifiers("in a parameter")
        declarator = self.declarator(named=None)
        return ast.Declaration(spec, (declarator,), self.span_from(start))

    # ---- declarations of the program

    def declaration(self) -> ast.Declaration:
        """declaration: specifiers [declarator ("," declarator)*] ";" """
        start = self.tok.start
        spec = self.specifiers("declaration")
        declarators = []
        if self.tok.kind != ";":
            while True:
                declarator = self.declarator(named=True)
                declarators.append(declarator)
                if spec.storage == "typedef":
                    self.typedefs.add(declarator.name)
                else:
                    self.shadowed.add(declarator.name)
                    self.typedefs.discard(declarator.name)
                if not self.accept(","):
                    break
        self.end_of_declaration()
        return ast.Declaration(spec, tuple(declarators), self.span_from(start))

    def end_of_declaration(self) -> None:
        if self.tok.kind == ";":
            self.advance()
            return
        previous = self.tokens[self.pos - 1]
        if self.tok.kind == "=":
            self.fail(
                "a declaration gives no value",
                hint="assign it in a clause, BEGIN { x = 1; }, or define a constant: inline int X = 1;",
                found=False,
            )
        if self.tok.kind == "{":
            self.fail("expected `;` after the declaration", hint="D has no functions: use inline, or clauses")
        if self.tok.kind == ":" and previous.kind == "IDENT":
            self.fail("expected `;` after the declaration", hint="only members of a struct have a width in bits")
        self.fail("expected `;` after the declaration", self.after_previous(), found=False)

    def after_previous(self) -> Token:
        """Where a missing `;` belongs: the next token, if it is on the line of the one before,
        else the end of that."""
        previous = self.tokens[self.pos - 1]
        if "\n" not in self.source.text[previous.end : self.tok.start] and self.tok.kind != "EOF":
            return self.tok
        return Token(self.tok.kind, self.tok.text, None, self.source, previous.end - 1, previous.end)
