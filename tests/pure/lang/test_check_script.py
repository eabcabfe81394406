"""Whole scripts: the birth scripts, variables, declarations and layout, args[], translators, inlines, clauses,
aggregations, actions."""

from __future__ import annotations

import ctypes
import re

import pytest
from fakecatalog import FakeCatalog, checked, kernel

from dsight.errors import CompileError
from dsight.lang import typed
from dsight.lang.catalog import ArgType
from dsight.lang.check import is_type_name
from dsight.lang.scope import Translated
from dsight.lang.typedump import dump
from dsight.lang.types import Inet, Struct, unqualified
from dsight.testing.work import lines_run
from dsight.value import Value

CONNECT = r"""
syscall::connect:entry
{
        socks = (struct sockaddr*) copyin(arg1, arg2);
        hport = (uint_t) socks->sa_data[0];
        lport = (uint_t) socks->sa_data[1];
        hport <<= 8;
        port = hport + lport;

        printf("%s: %d.%d.%d.%d:%d\n", execname, socks->sa_data[2], socks->sa_data[3], socks->sa_data[4], socks->sa_data[5], port);
}
"""  # noqa: E501

LIBRARY = {
    "conn.d": """
typedef struct { string ip_daddr; uint32_t ip_plength; struct task_struct *task; uint16_t flag : 3; } conn_t;
inline int mapped[struct sock *s] = s->__sk_common.skc_family == AF_INET6;
translator conn_t < struct sock *s > {
    ip_daddr = mapped(s) ? inet_ntoa6(&s->__sk_common.skc_v6_daddr) : inet_ntoa(&s->__sk_common.skc_daddr);
    ip_plength = ntohs(s->__sk_common.skc_dport);
    task = curthread;
    flag = 9;
};
typedef struct { string pr_fname; int pr_pid; conn_t *pr_conn; } proc_t;
translator proc_t < struct task_struct *t > { pr_fname = t->comm; pr_pid = t->pid; };
enum { CONN_OLD = 3, CONN_NEW };
inline string conn_name[int n] = n == CONN_NEW ? "new" : "old";
"""
}


def lines(text: str, **options: object) -> list[str]:
    text = dump(checked(text, **options))  # type: ignore[arg-type]
    for number, temp in enumerate(dict.fromkeys(re.findall(r"\$\d+", text)), 1):
        text = text.replace(temp, f"${number}")
    return [x.strip() for x in text.splitlines()]


def walk(node: object) -> list[object]:
    """All values below a typed node, types left out."""
    found: list[object] = [node]
    if isinstance(node, tuple):
        for part in node:
            found += walk(part)
    elif isinstance(node, (typed.TExpr, typed.TStmt, typed.Clause, typed.Script)):
        for field in node._fields:
            if field not in ("type", "span", "arith"):
                found += walk(getattr(node, field))
    return found


# ---- the birth scripts


def test_connect_script() -> None:
    assert lines(CONNECT) == [
        "variable socks: struct sockaddr *",
        "variable hport: uint_t",
        "variable lport: uint_t",
        "variable port: unsigned int",
        "clause 0: syscall:vmlinux:connect:entry",
        "(= socks (struct sockaddr *) (copyin (uintptr_t) arg1 (size_t) arg2))",
        "(= hport (uint_t) (mem char socks + 2))",
        "(= lport (uint_t) (mem char socks + 3))",
        "(<<= in unsigned int hport 8)",
        "(= port (+:unsigned int hport lport))",
        r"(printf '%s: %d.%d.%d.%d:%d\n' execname (mem char socks + 4) (mem char socks + 5) (mem char socks + 6) "
        "(mem char socks + 7) port)",
    ]


def test_connect_script_with_this() -> None:
    text = CONNECT
    for name in ("socks", "hport", "lport", "port"):
        text = text.replace(f" {name}", f" this->{name}").replace(f"({name}", f"(this->{name}")
    assert "variable this->socks: struct sockaddr *" in lines(text)


def test_tcp_script_reaches_through_the_translator() -> None:
    text = r'tcp:::connect-request { printf("%s: %s:%d\n", execname, args[2]->ip_daddr, args[2]->ip_plength); }'
    script = checked(text, library=LIBRARY)
    (action,) = script.clauses[0].body
    assert isinstance(action, typed.ActionStmt)
    _, address, port = action.args
    assert isinstance(unqualified(address.type), Inet)
    assert str(port.type) == "uint32_t"
    assert not [x for x in walk(script) if isinstance(x, Translated)]


# ---- variables


def test_first_assignment_gives_the_type() -> None:
    found = lines(
        """BEGIN { a = 1; b = 1ul; c = execname; d = curthread; e = curthread->comm; f = curthread->in_execve;
        g = (pid_t)1; self->h = timestamp; this->i = 'x'; j++; k += 2; l[pid, execname] = "x"; m = "literal";
        n = TCP_SYN_SENT; self->o[1]++; q = inet_ntoa((ipaddr_t *)arg0); }"""
    )
    assert [x for x in found if x.startswith("variable")] == [
        "variable a: int", "variable b: unsigned long", "variable c: string", "variable d: struct task_struct *",
        "variable e: char *", "variable f: unsigned int", "variable g: pid_t", "variable self->h: uint64_t",
        "variable this->i: int", "variable j: long", "variable k: long", "variable l[long, string]: string",
        "variable m: string", "variable n: int", "variable self->o[long]: long", "variable q: string",
    ]  # fmt: skip


def test_declared_variables() -> None:
    found = lines(
        "int x; self string s; this struct sock *p; uint64_t a[int, string]; int x;\n"
        'BEGIN { x = 300ul; self->s = "a"; this->p = 0; a[1, "k"] = pid; self->s = 0; a[1, "k"] = 0; }'
    )
    assert found[:4] == [
        "variable x: int", "variable self->s: string", "variable this->p: struct sock *",
        "variable a[int, string]: uint64_t",
    ]  # fmt: skip
    assert found[5:] == [
        "(= x 300)",
        "(= self->s 'a')",
        "(= this->p 0:struct sock *)",
        "(= a[1, 'k'] (uint64_t) pid)",
        "(= self->s 0:string)",
        "(= a[1, 'k'] 0:uint64_t)",
    ]


def test_a_name_exists_from_where_it_is_assigned() -> None:
    with pytest.raises(CompileError) as caught:
        checked("syscall::open:return /self->ts/ { }\nsyscall::open:entry { self->ts = timestamp; }")
    first = caught.value.diagnostics[0]
    assert first.tag == "D_VAR_UNDEF"
    assert "line 2" in (first.hint or "")


def test_several_errors_are_told_at_once_without_their_consequences() -> None:
    with pytest.raises(CompileError) as caught:
        checked("BEGIN { x = foo; }\nEND { trace(x); }\nEND { y = 1 / 0; }")
    assert [d.tag for d in caught.value.diagnostics] == ["D_IDENT_UNDEF", "D_DIV_ZERO"]


# ---- declarations


class _Natural(ctypes.Structure):
    _fields_ = [("a", ctypes.c_char), ("b", ctypes.c_long), ("c", ctypes.c_short), ("d", ctypes.c_int)]


class _Union(ctypes.Union):
    _fields_ = [("a", ctypes.c_char * 5), ("b", ctypes.c_int)]


class _Outer(ctypes.Structure):
    _fields_ = [("u", _Union), ("n", _Natural), ("p", ctypes.c_void_p), ("t", ctypes.c_char * 3)]


@pytest.mark.parametrize(
    ("text", "tag", "witness"),
    [
        ("struct t { char a; long b; short c; int d; };", "struct t", _Natural),
        ("union t { char a[5]; int b; };", "union t", _Union),
        (
            "union u { char a[5]; int b; }; struct n { char a; long b; short c; int d; };"
            "struct t { union u u; struct n n; void *p; char t[3]; };",
            "struct t",
            _Outer,
        ),
    ],
)
def test_layout_is_the_c_compilers(text: str, tag: str, witness: type[ctypes.Structure]) -> None:
    names = [f[0] for f in witness._fields_]
    whole = [n for n in names if getattr(witness, n).size < 1 << 16]
    script = checked(
        f"{text} BEGIN {{ trace(sizeof ({tag})); {' '.join(f'trace(offsetof({tag}, {n}));' for n in whole)} }}"
    )
    values = [s.args[0].value for s in script.clauses[0].body]  # type: ignore[attr-defined,union-attr]
    assert values == [ctypes.sizeof(witness), *(getattr(witness, n).offset for n in whole)]


@pytest.mark.parametrize(
    ("text", "size", "fields"),
    [
        (
            "struct t { int a:3; int b:30; uint8_t c; ushort_t d:9, e:9; long f:40; };",
            24,
            {"a": (0, 3), "b": (32, 30), "d": (80, 9), "e": (96, 9), "f": (128, 40)},
        ),
        (
            "struct t { char a; int :0; char b; int c:5; int :4; unsigned d:7; char e; };",
            8,
            {"b": (32, 8), "c": (40, 5), "d": (49, 7), "e": (56, 8)},
        ),
    ],
)
def test_bit_fields_lie_where_gcc_puts_them(text: str, size: int, fields: dict[str, tuple[int, int]]) -> None:
    """First bit and width of each, found by setting it to -1 in a C program."""
    script = checked(
        f"{text} BEGIN {{ trace(sizeof (struct t)); {' '.join(f'trace(((struct t *)arg0)->{n});' for n in fields)} }}"
    )
    first, *rest = [s.args[0] for s in script.clauses[0].body if isinstance(s, typed.ActionStmt)]
    assert isinstance(first, typed.Const) and first.value == size
    found = {}
    for name, mem in zip(fields, rest):
        assert isinstance(mem, typed.Mem)
        found[name] = (mem.offset * 8 + mem.bit, mem.bits or 8 * mem.type.size)
    assert found == fields


def test_anonymous_members_and_self_reference() -> None:
    found = lines(
        "struct t { int a; union { long b; struct { char c; char d; }; }; struct t *next; };\n"
        "BEGIN { x = ((struct t *)arg0)->next->d; }"
    )
    assert found[-1] == "(= x (mem char (mem struct t * (struct t *) arg0 + 16) + 9))"


def test_forward_declaration_is_completed() -> None:
    found = lines("struct b; struct a { struct b *b; }; struct b { int n; };\nBEGIN { x = ((struct a *)arg0)->b->n; }")
    assert found[-1] == "(= x (mem int (mem struct b * (struct a *) arg0)))"


def test_enumerators_and_typedefs() -> None:
    found = lines("enum e { A, B = 7, C }; typedef int (*fn)(int, char *);\nBEGIN { x = C; y = (fn)arg0; }")
    assert found[:2] == ["variable x: int", "variable y: fn"]
    assert found[-2] == "(= x 8)"


def test_type_names() -> None:
    catalog = kernel()
    assert all(is_type_name(n, catalog) for n in ("uint_t", "pid_t", "u64", "cpuinfo_t", "in6_addr_t"))
    assert not any(is_type_name(n, catalog) for n in ("execname", "socks", "sockaddr", "tcp_state_string"))


# ---- args[], translators, inlines


def test_args_are_typed_for_each_description() -> None:
    """DTrace types a clause for each description; probes that agree share one."""
    script = checked("syscall::connect:entry, syscall::open:entry, syscall::conn*:entry { trace(args[1]); }")
    shown = [([p.function for p in c.probes], str(c.body[0].args[0].type)) for c in script.clauses]  # type: ignore[attr-defined]
    assert shown == [(["connect"], "struct sockaddr *"), (["open"], "int")]
    assert [c.index for c in script.clauses] == [0, 1]
    assert len(checked("syscall:::return { trace(args[0]); }").clauses) == 1
    assert len(checked("syscall::connect:entry, syscall::read:entry { trace(args[0]); }").clauses) == 1


def test_an_expensive_input_is_evaluated_once() -> None:
    text = "BEGIN { trace(xlate<proc_t *>(curthread->real_parent->real_parent)->pr_pid); }"
    assert lines(text, library=LIBRARY)[-1] == (
        "(trace (let $1 (mem struct task_struct * (mem struct task_struct * curthread + 8) + 8) (int) (mem pid_t $1)))"
    ).replace("(int) (mem pid_t $1)", "(mem pid_t $1)")


def test_translated_values() -> None:
    found = lines(
        "BEGIN { trace(xlate<proc_t>(curthread).pr_fname); trace(conn_name[CONN_NEW]); trace(conn_name[pid]); }\n"
        "tcp:::connect-request /args[2] != NULL && args[2]/ { trace(args[2]->task->pid); trace(args[2]->flag); }",
        library=LIBRARY,
    )
    assert found[1] == "(trace (stringof (mem char [16] curthread + 16)))"
    assert found[2] == "(trace 'new')"
    assert found[3] == "(trace (? (== pid 4) 'new' 'old'))"
    assert found[5] == "if (&& (!= (unsigned long) arg0:struct sock * 0:unsigned long) arg0:struct sock *)"
    assert found[6] == "(trace (mem pid_t curthread))"


def test_an_error_in_a_translator_is_shown_at_its_use_first() -> None:
    library = {"t.d": "typedef struct { int a; } o_t; translator o_t < int i > { a = nonsense; };"}
    with pytest.raises(CompileError) as caught:
        checked("BEGIN { trace(xlate<o_t>(pid).a); }", library=library)
    first, second = caught.value.diagnostics
    assert first.span is not None and first.span.source.name == "test.d"
    assert second.span is not None and second.span.text == "nonsense"


def test_library_files_stay_closed_until_a_name_is_used() -> None:
    catalog = kernel()
    checked(CONNECT, catalog)
    assert not [x for x in catalog.asked if "psinfo" in x or "pktinfo" in x]
    assert "cpuinfo_t" not in checked("BEGIN { x = 1; }").variables


def test_inlines() -> None:
    found = lines(
        "inline int limit = 10 * 2; inline string f[int a, string b] = a > limit ? b : execname;\n"
        'BEGIN { trace(limit); trace(f[pid, "x"]); trace(f[rand(), probename]); }'
    )
    assert found[1:] == [
        "(trace 20)",
        "(trace (? (> pid 20) 'x' execname))",
        "(trace (let $1 (rand) (? (> $1 20) probename execname)))",
    ]


def test_kernel_symbols() -> None:
    found = lines("BEGIN { trace(`jiffies); trace(vmlinux`init_task.pid); trace(&`_text); }")
    assert found[1:] == [
        "(trace (mem long unsigned int 4294901760:long unsigned int *))",
        "(trace (mem pid_t 4294909952:struct task_struct *))",
        "(trace 4294905856:void *)",
    ]


# ---- clauses


def test_probes_are_listed_once() -> None:
    script = checked("BEGIN, dtrace:::BEGIN, dtrace::: {}")
    assert [p.name for p in script.clauses[0].probes] == ["BEGIN", "END", "ERROR"]


def test_a_clause_without_a_body_or_with_an_empty_one_has_the_default_action() -> None:
    c, a, b = checked("ERROR { x = 1; }\nBEGIN\n{}\nEND").clauses
    assert (a.default, b.default, c.default) == (True, True, False)


def test_unmatched_descriptions_are_fine_with_z() -> None:
    script = checked("nfs:::op { trace(pid); }", unmatched_ok=True)
    assert script.clauses[0].probes == ()


def test_options_and_other_pragmas() -> None:
    text = "#pragma D option quiet\n#pragma D option strsize=512\n#pragma D depends_on library tcp.d\nBEGIN {}"
    assert [(name, value, span.line) for name, value, span in checked(text).options] == [
        ("quiet", "", 1),
        ("strsize", "512", 2),
    ]


# ---- aggregations and actions


def test_aggregation_keys_hold_every_use() -> None:
    text = "@a[%s] = count();"
    for first, then, widened in [
        ("execname", '"a longer text than a name"', "string(26)"),
        ("execname", "probename", "string"),
        ("pid", "timestamp", "uint64_t"),
        ("pid", "uid", "long"),
        ("pid", "curthread->exit_state", "pid_t"),
        ("timestamp", "pid", "uint64_t"),
    ]:
        script = checked(f"BEGIN {{ {text % first} }} END {{ {text % then} }}")
        (agg,) = script.aggregations
        shown = f"{agg.keys[0]}" + (f"({agg.keys[0].limit})" if getattr(agg.keys[0], "limit", 0) else "")  # type: ignore[attr-defined]
        assert shown == widened, (first, then)
        assert {s.agg for c in script.clauses for s in c.body} == {agg}  # type: ignore[attr-defined]


def test_aggregating_functions() -> None:
    found = lines(
        """BEGIN { @ = count(); @s = sum(pid); @m = max(uid); @q[pid, execname] = quantize(timestamp);
        @l = lquantize(pid, -10, 10, 5); @ll = llquantize(pid, 10, 0, 6, 20);
        printa(@q); printa("%d %s %@d\\n", @q); trunc(@q, 5); trunc(@q); clear(@s); normalize(@m, 1000); }"""
    )
    assert found[:6] == [
        "aggregation 0 @ = count(unsigned)",
        "aggregation 1 @s = sum(signed)",
        "aggregation 2 @m = max(unsigned)",
        "aggregation 3 @q[pid_t, string(16)] = quantize(unsigned)",
        "aggregation 4 @l = lquantize(signed, -10, 10, 5)",
        "aggregation 5 @ll = llquantize(signed, 10, 0, 6, 20)",
    ]
    assert found[8:10] == ["(sum @s (long) pid)", "(max @m (unsigned long) uid)"]
    assert found[13:] == [
        "(printa @3)",
        r"(printa '%d %s %@d\n' @3)",
        "(trunc @3 5:long)",
        "(trunc @3)",
        "(clear @1)",
        "(normalize @2 1000:long)",
    ]


def test_printf_reads_strings_in_kernel_memory() -> None:
    found = lines('BEGIN { printf("%s %s %p %x %*d %%", curthread->comm, ((struct sock *)arg0)->sk_name, curthread, '
                  "timestamp, 5, pid); }")  # fmt: skip
    assert found[-1] == (
        "(printf '%s %s %p %x %*d %%' (stringof (mem char [16] curthread + 16)) "
        "(stringof (mem char * (struct sock *) arg0 + 72)) curthread timestamp 5 pid)"
    )


def test_actions() -> None:
    found = lines(
        "BEGIN { trace(curthread->comm); trace(curthread); tracemem(curthread, 64); exit(pid); if (pid) { exit(1); } }"
    )
    assert found[1:] == [
        "(trace (stringof (mem char [16] curthread + 16)))",
        "(trace curthread)",
        "(tracemem curthread 64:unsigned long)",
        "(exit pid)",
        "if pid",
        "(exit 1)",
    ]


# ---- the tree is finished


def test_nothing_of_the_checker_is_left_in_the_tree() -> None:
    script = checked("tcp:::connect-request { x = args[2]; trace(args[2]->ip_daddr); }", library=LIBRARY)
    for node in walk(script):
        assert isinstance(node, (Value, tuple, str, int, bytes, type(None))), node
        assert not isinstance(node, Translated)
    assert str(script.variables[0].type) == "struct sock *"


def test_work_grows_linearly_with_clauses() -> None:
    def script(n: int) -> str:
        return "".join(
            f'syscall::open:entry /execname == "sh" && pid != {i}/ {{ self->t{i} = timestamp;\n'
            f"@c{i}[execname] = count(); }}\n"
            f"syscall::open:return /self->t{i}/ {{ @q{i}[probefunc] = quantize((timestamp - self->t{i}) / 1000);\n"
            f'printf("%s %d\\n", execname, curthread->real_parent->pid + {i} * 3); self->t{i} = 0; }}\n'
            for i in range(n)
        )

    few, many = (lines_run(lambda n=n: checked(script(n))) for n in (25, 100))
    assert 3 * few < many < 4.5 * few


def test_catalog_is_not_asked_for_what_a_script_does_not_use() -> None:
    catalog = FakeCatalog({"dtrace:::BEGIN": (ArgType("struct missing *", 0),)})
    checked('BEGIN { x = pid; printf("%d", x); }', catalog)
    assert catalog.asked == []


def test_an_argument_of_a_type_the_kernel_lacks_can_be_printed() -> None:
    catalog = FakeCatalog({"dtrace:::BEGIN": (ArgType("struct missing *", 0),)})
    (clause,) = checked('BEGIN { printf("%p", args[0]); }', catalog).clauses
    (action,) = clause.body
    assert isinstance(action, typed.ActionStmt)
    to = unqualified(action.args[0].type.to)  # type: ignore[attr-defined]
    assert isinstance(to, Struct) and to.incomplete
