"""Dumps; and that a tree survives being printed as D."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from parsing import TYPES, parse, stripped

from dsight.lang import ast, parser, show
from dsight.lang.lexer import tokenize
from dsight.source import Source, Span

EVERYTHING = r"""
#pragma D option quiet
#pragma D attributes Stable/Stable/Common provider tcp
#pragma D error "a \"quoted\" word"
int x; self pid_t *y; this string z[4]; uint_t (*fp)(int, char *, ...), v; int a[int, string];
extern const volatile unsigned long long q;
typedef struct s { unsigned a : 3, : 2; union { int b; struct { char c[2][3]; }; }; int (*f[2])(void); } s_t, *sp_t;
enum e { A, B = 1 << 3, C }; struct fwd; union u { int counter; } w;
inline int X = (1, 2); inline string f[int a, pid_t b] = a ? "x" : "y"; inline char *const P = 0;
translator psinfo_t < struct task_struct *T > { pr_pid = T->tgid; pr_x = 1 };
provider p { probe a-b(int a : pid_t b); probe c(int, char *); probe d(); };
BEGIN;
syscall::open*:entry, 12, tick-1s /a / b == 2 || (c, d)/ {
    self->x = this->y += @z ? -1 : - -2; @ = count(); @a[1, "b"] = quantize((int)x - 1); @b;
    if (a) b; else if (c) { d } else { e; f(int, struct s *, pid_t *, g) }
    x = xlate <s_t *> (p)->a.b[1, 2][3]; *p++; ++*p; - --x; -(-x); &(a & b); !(a == b)++;
    y = sizeof (int[3]) + sizeof (a)[1] + offsetof(struct s, a.b) + stringof p->q + 'a' + 0x1fUL + '\'';
    z = "a\"\\\n\t\001\377é" "b"; `sym + mod`sym; (a, b) ? (c = d) : (e ? f : g); (a ? b : c) ? d : e;
    (a = b) = c; (a + b) = c; a = b = c; a - (b - c) * (d + e); (sp_t)-a[1]; ((sp_t)a)->b; (struct { int x; } *)a;
    a ^^ b && c || d ^ e & f | g; a << b >> (c << d); a < b == (c < d); a++ + ++b; (f)->g; (*p).q;
}
END /x/;
io:::start
"""


def again(text: str) -> ast.Program:
    return parser.parse(Source("again.d", text), None, TYPES.__contains__)


def test_everything_survives() -> None:
    program = parse(EVERYTHING)
    text = show.unparse(program)
    assert stripped(again(text)) == stripped(program)
    assert show.unparse(again(text)) == text


def test_tokens() -> None:
    text = show.tokens(tokenize(Source("t.d", "BEGIN /x/\n{ trace(1u); }")))
    assert text.splitlines() == [
        "1:1\tPROBE\tBEGIN", "1:7\tPRED\t/", "1:8\tIDENT\tx", "1:9\tEPRED\t/", "2:1\t{", "2:3\tIDENT\ttrace",
        "2:8\t(", "2:9\tINT\t1u", "2:11\t)", "2:12\t;", "2:14\t}", "2:15\tEOF",
    ]  # fmt: skip


def test_tree() -> None:
    text = show.tree(
        parse("syscall::read:entry,\nEND /pid == 'a'/ { @a[1] = count(); x = (uint_t *)y; }\nBEGIN {} enum { A = 1 };")
    )
    assert text == (
        "Clause  <1:1>\n"
        "  probes: syscall::read:entry  <1:1>\n"
        "  probes: :::END  <2:1>\n"
        "  predicate: Binary ==  <2:6>\n"
        "    left: Ident pid  <2:6>\n"
        "    right: IntLit 97 'a'  <2:13>\n"
        "  body: AggStmt  <2:20>\n"
        "    target: AggRef a  <2:20>\n"
        "      keys: IntLit 1  <2:23>\n"
        "    call: Call count  <2:28>\n"
        "  body: ExprStmt  <2:37>\n"
        "    expr: Assign  <2:37>\n"
        "      target: Ident x  <2:37>\n"
        "      value: Cast  <2:41>\n"
        "        type: uint_t *  <2:42>\n"
        "        operand: Ident y  <2:51>\n"
        "Clause  <3:1>\n"
        "  probes: :::BEGIN  <3:1>\n"
        "  body: (none)\n"
        "Declaration  <3:10>\n"
        "  spec: Specifiers enum  <3:10>\n"
        "    body: EnumBody\n"
        "      items: A  <3:17>\n"
        "        IntLit 1  <3:21>\n"
    )
    assert show.tree(parse("")) == ""
    show.tree(parse(EVERYTHING))  # every kind of node


# ---- any tree the grammar can make

_AT = Span(Source("made", ""), 0, 0)
_NAMES = st.sampled_from(["a", "b", "execname", "arg0", "args", "_x1"])
_ATOMS = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda n: ast.IntLit(_AT, n, "", str(n))),
    st.integers(0, 2**64 - 1).map(lambda n: ast.IntLit(_AT, n, "ull", hex(n) + "ull")),
    st.binary(max_size=8).map(lambda b: ast.StrLit(_AT, b)),
    _NAMES.map(lambda n: ast.Ident(_AT, n)),
    st.builds(lambda s, n: ast.ScopedVar(_AT, s, n), st.sampled_from(["self", "this"]), _NAMES),
    st.builds(lambda m, n: ast.Symbol(_AT, m, n), st.sampled_from(["", "mod"]), _NAMES),
)


def _grow(inner: st.SearchStrategy[ast.Expr]) -> st.SearchStrategy[ast.Expr]:
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    types = st.sampled_from(["int", "struct s *", "pid_t", "char (*)[3]"]).map(
        lambda text: parse("BEGIN { sizeof(" + text + "); }").items[0].body[0].expr.type  # type: ignore[union-attr, index, attr-defined]
    )
    return st.one_of(
        st.builds(lambda op, a, b: ast.Binary(_AT, op, a, b), st.sampled_from(sorted(show._BINARY)), inner, inner),
        st.builds(lambda op, a: ast.Unary(_AT, op, a), st.sampled_from("+-~!*&"), inner),
        st.builds(lambda op, p, a: ast.IncDec(_AT, op, p, a), st.sampled_from(["++", "--"]), st.booleans(), inner),
        st.builds(lambda op, a, b: ast.Assign(_AT, op, a, b), st.sampled_from(["", "+", "<<", "|"]), inner, inner),
        st.builds(lambda a, b, c: ast.Cond(_AT, a, b, c), inner, inner, inner),
        st.builds(lambda a, b: ast.Comma(_AT, a, b), inner, inner),
        st.builds(lambda t, a: ast.Cast(_AT, t, a), types, inner),
        st.builds(lambda t: ast.SizeofType(_AT, t), types),
        st.builds(lambda a: ast.SizeofExpr(_AT, a), inner),
        st.builds(lambda t, m: ast.Offsetof(_AT, t, tuple(m)), types, st.lists(_NAMES, min_size=1, max_size=2)),
        st.builds(lambda a: ast.Stringof(_AT, a), inner),
        st.builds(lambda t, a: ast.Xlate(_AT, t, a), types, inner),
        st.builds(lambda a, k: ast.Index(_AT, a, k), inner, some),
        st.builds(lambda a, n, w: ast.Member(_AT, a, n, w), inner, _NAMES, st.booleans()),
        st.builds(lambda n, a: ast.Call(_AT, n, a), _NAMES, some),
        st.builds(lambda n, k: ast.Call(_AT, "printa", (ast.AggRef(_AT, n, k),)), st.just("agg"), st.none() | some),
    )


EXPRESSIONS = st.recursive(_ATOMS, _grow, max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS)
def test_any_expression_survives(predicate: ast.Expr, value: ast.Expr) -> None:
    clause = ast.Clause(
        (ast.ProbeDesc("", "", "", "BEGIN", -1, _AT),), predicate, (ast.ExprStmt(_AT, value),), _AT
    )  # fmt: skip
    program = ast.Program((clause,))
    assert stripped(again(show.unparse(program))) == stripped(program)
