"""Expressions: what binds to what, and each form's node."""

from __future__ import annotations

import pytest
from parsing import expr, grouped, refused, statements

from dsight.lang import ast, show


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a + b * c", "(a + (b * c))"),
        ("a * b + c", "((a * b) + c)"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b % c", "((a / b) % c)"),
        ("a << b + c", "(a << (b + c))"),
        ("a < b << c", "(a < (b << c))"),
        ("a == b < c", "(a == (b < c))"),
        ("a & b == c", "(a & (b == c))"),
        ("a ^ b & c", "(a ^ (b & c))"),
        ("a | b ^ c", "(a | (b ^ c))"),
        ("a && b | c", "(a && (b | c))"),
        ("a ^^ b && c", "(a ^^ (b && c))"),
        ("a || b ^^ c", "(a || (b ^^ c))"),
        ("a || b && c || d", "((a || (b && c)) || d)"),
        ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
        ("a ? b, c : d", "(a ? (b, c) : d)"),
        ("a || b ? c : d", "((a || b) ? c : d)"),
        ("a = b = c", "(a = (b = c))"),
        ("a += b ? c : d", "(a += (b ? c : d))"),
        ("a <<= b | c", "(a <<= (b | c))"),
        ("a = b, c = d", "((a = b), (c = d))"),
        ("(a, b)", "(a, b)"),
        ("-a * b", "((-a) * b)"),
        ("!a == b", "((!a) == b)"),
        ("- -a", "(-(-a))"),
        ("*p++", "(*(p++))"),
        ("++*p", "(++(*p))"),
        ("&a->b.c[1]", "(&(((a->b).c)[1]))"),
        ("*a->b", "(*(a->b))"),
        ("a[1][2]", "((a[1])[2])"),
        ("a[1, b + 2]", "(a[1, (b + 2)])"),
        ("(int)a + b", "(((int) a) + b)"),
        ("(int)-a", "((int) (-a))"),
        ("(int)a->b", "((int) (a->b))"),
        ("(struct s *)a->b", "((struct s *) (a->b))"),
        ("(uint_t)(pid_t)a", "((uint_t) ((pid_t) a))"),
        ("(other)- a", "(other - a)"),
        ("(string)a == b", "(((string) a) == b)"),
        ("stringof a == b", "((stringof a) == b)"),
        ("stringof(a) == b", "((stringof a) == b)"),
        ("stringof (p)->name", "(stringof (p->name))"),
        ("sizeof a + b", "((sizeof a) + b)"),
        ("sizeof (a)->b", "(sizeof (a->b))"),
        ("sizeof (int) + b", "(sizeof(int) + b)"),
        ("self->a + this->b", "(self->a + this->b)"),
        ("self->a->b", "(self->a->b)"),
        ("a - -1", "(a - (-1))"),
        ("a-- - --b", "((a--) - (--b))"),
        ("`a + b`c", "(`a + b`c)"),
        ("~a & b", "((~a) & b)"),
    ],
)
def test_precedence(text: str, expected: str) -> None:
    assert grouped(text) == expected


def test_args_of_a_probe() -> None:
    e = expr("args[0]->x.y[2]")
    assert isinstance(e, ast.Index) and isinstance(e.base, ast.Member) and not e.base.arrow
    assert isinstance(e.base.base, ast.Member) and e.base.base.arrow
    assert show.expression(e) == "args[0]->x.y[2]"
    assert e.span.text == "args[0]->x.y[2]"


def test_members_may_have_ds_own_words_for_names() -> None:
    for word in ("counter", "self", "string", "probe", "default", "int", "provider"):
        e = expr(f"p->{word}")
        assert isinstance(e, ast.Member) and e.name == word


def test_strings_next_to_each_other_are_one() -> None:
    e = expr('"a" /* and */ "b"\n"c"')
    assert isinstance(e, ast.StrLit) and e.value == b"abc"


def test_calls() -> None:
    e = expr('f(1, "a", b = 2, (c, d))')
    assert isinstance(e, ast.Call) and (e.name, len(e.args)) == ("f", 4)
    e = expr("f(struct s *, int, pid_t *, pid_t)")
    assert isinstance(e, ast.Call)
    assert [type(a).__name__ for a in e.args] == ["TypeName", "TypeName", "TypeName", "Ident"]


def test_sizeof_offsetof_xlate() -> None:
    e = expr("sizeof (struct s)")
    assert isinstance(e, ast.SizeofType) and e.type.spec.tag == "s"
    e = expr("offsetof(struct s, a.b.c)")
    assert isinstance(e, ast.Offsetof) and e.member == ("a", "b", "c")
    e = expr("xlate <psinfo_t *> (curthread)->pr_pid")
    assert isinstance(e, ast.Member) and isinstance(e.base, ast.Xlate)
    assert show.type_text(e.base.type) == "psinfo_t *"
    e = expr("xlate<psinfo_t>(a, b)")
    assert isinstance(e, ast.Xlate) and isinstance(e.operand, ast.Comma)


def test_aggregations() -> None:
    printa, count, anonymous, keyed = statements('printa("%@d", @a); @ = count(); @[1] = sum(2); @a[1, "b"] = avg(c);')
    assert printa.expr.args[1] == ast.AggRef(printa.expr.args[1].span, "a", None)
    assert isinstance(count, ast.AggStmt) and (count.target.name, count.target.keys) == ("", None)
    assert anonymous.target.name == "" and len(anonymous.target.keys) == 1
    assert len(keyed.target.keys) == 2 and keyed.call.name == "avg"
    (alone,) = statements("@a;")
    assert isinstance(alone, ast.ExprStmt) and isinstance(alone.expr, ast.AggRef)


def test_symbols() -> None:
    e = expr("`max_pfn")
    assert isinstance(e, ast.Symbol) and (e.module, e.name) == ("", "max_pfn")
    e = expr("ext4`foo")
    assert isinstance(e, ast.Symbol) and (e.module, e.name) == ("ext4", "foo")


def test_a_name_the_script_assigns_is_no_type() -> None:
    """The kernel has some 10,000 typedefs; (size) - 1 must not become a cast for one of them."""
    _, second = statements("size_t = 5; x = (size_t) - 1;")
    assert isinstance(second.expr.value, ast.Binary)
    (cast,) = statements("x = (size_t) - 1;")
    assert isinstance(cast.expr.value, ast.Cast)
    (member,) = statements("x = p->size_t++ + (size_t) - 1;")  # a member's name says nothing of it
    assert isinstance(member.expr.value.right, ast.Cast)


def test_spans_cover_their_text() -> None:
    (stmt,) = statements("x = (a + b) * (int) c[1]->d;")
    assert stmt.span.text == "x = (a + b) * (int) c[1]->d;"
    assert stmt.expr.value.span.text == "(a + b) * (int) c[1]->d"
    assert stmt.expr.value.left.span.text == "a + b"
    assert stmt.expr.value.right.span.text == "(int) c[1]->d"
    (stmt,) = statements("(a)->b, (c) ? 1 : (2)")
    assert [e.span.text for e in (stmt.expr, stmt.expr.left, stmt.expr.right)] == [
        "(a)->b, (c) ? 1 : (2)", "(a)->b", "(c) ? 1 : (2)"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000, "-" * 1 + "!" * 5000 + "1", "1" + " + 1" * 5000,
                                  "a" + ".b" * 5000, "a" + "[1]" * 5000, "f(" * 5000, "a = " * 5000 + "1",
                                  "a ? " * 5000, "a ? b : " * 5000 + "1", "(int)" * 5000 + "1", "a, " * 5000 + "a",
                                  "@" + "[@" * 5000, "sizeof(int[" * 5000, "a" + "++" * 5000])  # fmt: skip
def test_depth_is_bounded(text: str) -> None:
    assert refused("BEGIN { x = " + text + "; }").tag == "D_SYNTAX"


def test_sensible_depth_is_not_refused() -> None:
    expr("(" * 60 + "1" + ")" * 60)
    expr(" || ".join(f"a == {i}" for i in range(150)))
