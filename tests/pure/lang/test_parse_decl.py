"""Types and declarations."""

from __future__ import annotations

from typing import Any

import pytest
from parsing import expr, item, parse, refused

from dsight.lang import ast, show


def levels(text: str) -> list[str]:
    """Each level of the only declarator, closest to the name first."""
    words = []
    for level in item(text).declarators[0].levels:
        match level:
            case ast.Pointers(qualifiers=q):
                words.append(" ".join(("pointer", *q)))
            case ast.ArrayOf(size=size, keys=None):
                words.append(f"array {'' if size is None else show.expression(size)}".strip())
            case ast.ArrayOf(keys=keys):
                words.append("keys " + ", ".join(show.type_text(k) for k in keys))
            case ast.FuncOf(params=params, variadic=variadic):
                words.append(f"function {len(params)}" + " variadic" * variadic)
    return words


@pytest.mark.parametrize(
    "text, expected",
    [
        ("int x;", []),
        ("int *x;", ["pointer"]),
        ("int **const x;", ["pointer const", "pointer"]),
        ("int x[3];", ["array 3"]),
        ("int x[2][3];", ["array 2", "array 3"]),
        ("int x[];", ["array"]),
        ("int x[N + 1];", ["array N + 1"]),
        ("int *x[3];", ["array 3", "pointer"]),
        ("int (*x)[3];", ["pointer", "array 3"]),
        ("int x(void);", ["function 0"]),
        ("int x();", ["function 0"]),
        ("int x(int, char *, ...);", ["function 2 variadic"]),
        ("int (*x)(int a);", ["pointer", "function 1"]),
        ("int (*(*x[2])(void))(int);", ["array 2", "pointer", "function 0", "pointer", "function 1"]),
        ("int x[int, string];", ["keys int, string"]),
        ("int x[pid_t];", ["keys pid_t"]),
        ("string x[struct s *, int];", ["keys struct s *, int"]),
        ("void x(int (*)(int), pid_t, int (*cb)(pid_t));", ["function 3"]),
    ],
)
def test_declarators(text: str, expected: list[str]) -> None:
    assert levels(text) == expected


@pytest.mark.parametrize(
    "text, storage, words",
    [
        ("int x;", "", ("int",)),
        ("self int x;", "self", ("int",)),
        ("this string x;", "this", ("string",)),
        ("extern unsigned long long x;", "extern", ("unsigned", "long", "long")),
        ("static const volatile char x;", "static", ("const", "volatile", "char")),
        ("long const unsigned x;", "", ("long", "const", "unsigned")),
        ("const pid_t x;", "", ("const", "pid_t")),
        ("pid_t const x;", "", ("pid_t", "const")),
        ("unsigned pid_t;", "", ("unsigned",)),
        ("self pid_t x;", "self", ("pid_t",)),
    ],
)
def test_specifiers(text: str, storage: str, words: tuple[str, ...]) -> None:
    spec = item(text).spec
    assert (spec.storage, spec.words, spec.tag_kind) == (storage, words, "")


def members(text: str) -> list[Any]:
    return list(item(text).spec.body.members)


def test_structs() -> None:
    decl = item("struct s { int a, *b; char c[2]; } x, *y;")
    assert (decl.spec.tag_kind, decl.spec.tag, [d.name for d in decl.declarators]) == ("struct", "s", ["x", "y"])
    assert [[d.name for d in m.declarators] for m in decl.spec.body.members] == [["a", "b"], ["c"]]
    assert item("struct s;").spec.body is None
    assert item("union u {};").spec.body == ast.StructBody(())
    assert item("const struct s *x;").spec.words == ("const",)


def test_bit_fields() -> None:
    (fields, gap) = members("struct s { unsigned a : 3, b : N + 1; int : 0; };")
    assert [show.expression(d.bits) for d in fields.declarators] == ["3", "N + 1"]
    assert [d.name for d in gap.declarators] == [""]


def test_anonymous_members() -> None:
    (union, last) = members("struct s { union { int a; struct { int b; }; }; int c; };")
    assert union.declarators == () and union.spec.tag_kind == "union"
    assert last.declarators[0].name == "c"


def test_members_may_have_ds_own_words_for_names() -> None:
    names = [
        m.declarators[0].name for m in members("struct s { int counter; char *string; int probe, self; int *this; };")
    ]
    assert names == ["counter", "string", "probe", "this"]


def test_enums() -> None:
    decl = item("enum e { A, B = 1 << 3, C, };")
    assert [(n, None if v is None else show.expression(v)) for n, v, _ in decl.spec.body.items] == [
        ("A", None), ("B", "1 << 3"), ("C", None)
    ]  # fmt: skip
    assert decl.declarators == () and decl.spec.tag == "e"


def test_typedefs_are_types_from_then_on() -> None:
    program = parse("typedef struct s { int a; } *sp_t, s_t; sp_t x; BEGIN { trace((sp_t)y); trace(sizeof(s_t)); }")
    typedef, variable, clause = program.items
    assert isinstance(typedef, ast.Declaration) and typedef.spec.storage == "typedef"
    assert isinstance(variable, ast.Declaration) and variable.spec.words == ("sp_t",)
    assert isinstance(clause, ast.Clause) and clause.body is not None
    assert isinstance(clause.body[0].expr.args[0], ast.Cast)  # type: ignore[attr-defined]
    assert isinstance(clause.body[1].expr.args[0], ast.SizeofType)  # type: ignore[attr-defined]


def test_a_variable_hides_a_type_of_its_name() -> None:
    _, clause = parse("int size_t; BEGIN { x = (size_t) - 1; }").items
    assert isinstance(clause.body[0].expr.value, ast.Binary)  # type: ignore[union-attr, index]


def test_types_in_expressions() -> None:
    for text in ("int", "unsigned char *", "struct s **", "int (*)(int, char *)", "int *[3]", "char [4]", "int (*)[2]"):
        e = expr(f"sizeof({text})")
        assert isinstance(e, ast.SizeofType)
        assert show.type_text(e.type).replace(" ", "") == text.replace(" ", "")


def test_types_of_a_module() -> None:
    e = expr("(struct ext4`inode *)x")
    assert isinstance(e, ast.Cast) and e.type.spec.tag == "ext4`inode"
    e = expr("(mod`thing_t *)x")
    assert isinstance(e, ast.Cast) and e.type.spec.words == ("mod`thing_t",)


def test_inline() -> None:
    inline = item("inline int X = 1 + 2;")
    assert inline.decl.declarators[0].name == "X" and inline.params is None
    inline = item('inline const char *s[int a, pid_t b] = a ? "x" : "y";')
    assert [p.declarators[0].name for p in inline.params] == ["a", "b"]
    assert inline.decl.declarators[0].levels == (ast.Pointers(()),)
    assert isinstance(inline.value, ast.Cond)
    assert item("inline uint_t f[int a] = a;").decl.spec.words == ("uint_t",)


def test_translator() -> None:
    t = item("translator psinfo_t < struct task_struct *T > { pr_pid = T->tgid; pr_fname = stringof(T->comm) };")
    assert show.type_text(t.output) == "psinfo_t"
    assert show.type_text(t.input) == "struct task_struct *"
    assert t.name == "T"
    assert [m.name for m in t.members] == ["pr_pid", "pr_fname"]
    assert item("translator struct a < int x > {};").members == ()


def test_provider() -> None:
    p = item("""
        provider my_prov {
            probe query__start(string, int);
            probe done(void);
            probe none();
            probe bare;
            probe connect-request(struct sock *s : conninfo_t *c, int n);
            probe other(int a) : (int b);
        };
    """)
    assert p.name == "my_prov"
    assert [q.name for q in p.probes] == ["query__start", "done", "none", "bare", "connect-request", "other"]
    assert [len(q.native) for q in p.probes] == [2, 0, 0, 0, 1, 1]
    assert [None if q.translated is None else len(q.translated) for q in p.probes] == [None] * 4 + [2, 1]
    assert p.probes[4].translated[0].declarators[0].name == "c"


@pytest.mark.parametrize(
    "text, err",
    [
        ("self static int x;", "D_DECL_CLASS"),
        ("struct s { static int x; };", "D_DECL_BADCLASS"),
        ("inline self int X = 1;", "D_DECL_BADCLASS"),
        ("int struct s x;", "D_DECL_COMBO"),
        ("struct s int x;", "D_DECL_COMBO"),
        ("nothing_t x;", "D_TYPE_ERR"),
        ("self x;", "D_SYNTAX"),
        ("struct;", "D_SYNTAX"),
        ("struct s { int x };", "D_SYNTAX"),
        ("struct s { int x;", "D_SYNTAX"),
        ("enum e { 1 };", "D_SYNTAX"),
        ("int x[3;", "D_SYNTAX"),
        ("int x[3, 4];", "D_SYNTAX"),
        ("int x[int, 4];", "D_SYNTAX"),
        ("int x(int,);", "D_SYNTAX"),
        ("int 3;", "D_DECL_IDENT"),
        ("int x:3;", "D_SYNTAX"),
        ("int x y;", "D_SYNTAX"),
        ("int (((x);", "D_SYNTAX"),
        ("inline int X;", "D_SYNTAX"),
        ("inline int f[int a = 1;", "D_SYNTAX"),
        ("translator a b;", "D_TYPE_ERR"),
        ("translator psinfo_t { };", "D_SYNTAX"),
        ("translator psinfo_t < int x > { a };", "D_SYNTAX"),
        ("translator psinfo_t < int x > { a = 1;", "D_SYNTAX"),
        ("provider { };", "D_SYNTAX"),
        ("provider p { int x; };", "D_SYNTAX"),
        ("provider p { probe a(; };", "D_SYNTAX"),
        ("provider p { probe a(int) };", "D_SYNTAX"),
        ("int " + "(" * 3000 + "x" + ")" * 3000 + ";", "D_SYNTAX"),
        ("int " + "*" * 3000 + "x;", "D_SYNTAX"),
        ("int x" + "[1]" * 3000 + ";", "D_SYNTAX"),
        ("struct {" * 3000, "D_SYNTAX"),
        ("int x(int (" * 3000, "D_SYNTAX"),
    ],
)
def test_bad_declarations(text: str, err: str) -> None:
    assert refused(text).tag == err
