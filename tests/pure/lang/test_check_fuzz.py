"""Random scripts: each is refused with a message, or its typed tree is what lang.typed promises."""

from __future__ import annotations

import random

import pytest
from fakecatalog import checked
from test_check_script import LIBRARY
from wellformed import problems

from dsight.errors import CompileError
from dsight.lang.typedump import dump

ATOMS = [
    "1", "0", "-1", "2147483648", "1u", '"x"', '""', "execname", "pid", "timestamp", "curthread", "curthread->comm",
    "curthread->in_execve", "arg0", "args[0]", "args[2]", "args[2]->ip_daddr", "x", "s", "self->y", "this->z", "a[1]",
    'a["x", pid]', "@g", "NULL", "probefunc", "(struct sock *)arg0", "((struct sock *)arg0)->sk_ports",
    "((struct sock *)arg0)->__sk_common", "((struct sock *)arg0)->sk_state", "((struct sock *)arg0)->sk_wide",
    "((struct sock *)arg0)->sk_hook", "inet_ntoa((ipaddr_t *)arg0)", "copyinstr(arg0)", "copyin(arg0, 4)", "curcpu",
    "curcpu->cpu_id", "`jiffies", "`_text", "vmlinux`init_task", "AF_INET", "f[1]", "k", "conn_name[2]",
    "xlate<proc_t>(curthread)", "xlate<proc_t *>(curthread)->pr_fname", "copyinto(0, 1, curthread)", "sizeof (int)",
    "(void *)arg1", "*((struct sock *)arg0)->sk_name", "&curthread->pid", "&((struct sock *)arg0)->sk_ports", "errno",
    "TCP_SYN_SENT",
]  # fmt: skip
OPERATORS = "+ - * / % << >> & | ^ == != < <= > >= && || ^^".split()
TYPES = ["int", "char", "uint64_t", "string", "char *", "struct sock *", "void *", "uint8_t", "struct sock", "void"]
PLACES = ["x", "s", "q", "w", "self->y", "this->z", "a[1]", "b[pid]", "c[execname, 1]", "curthread->pid"]
CALLS = ["strlen", "strjoin", "substr", "htons", "inet_ntop", "strstr", "lltostr", "alloca", "index", "rand", "f"]


def expression(r: random.Random, depth: int = 0) -> str:
    def inner() -> str:
        return expression(r, depth + 1)

    if depth > 3 or r.random() < 0.35:
        return r.choice(ATOMS)
    return r.choice(
        [
            lambda: f"{inner()} {r.choice(OPERATORS)} {inner()}",
            lambda: f"{inner()} {r.choice(OPERATORS)} {inner()}",
            lambda: f"{r.choice('+-~!*&')}({inner()})",
            lambda: f"({inner()} ? {inner()} : {inner()})",
            lambda: f"({r.choice(TYPES)})({inner()})",
            lambda: f"({inner()})[{inner()}]",
            lambda: f"({inner()})->{r.choice(['pid', 'comm', 'sk_state', 'ip_daddr'])}",
            lambda: f"sizeof ({inner()})",
            lambda: f"stringof({inner()})",
            lambda: f"({inner()}, {inner()})",
            lambda: f"({r.choice(PLACES)} {r.choice(['=', '+=', '<<=', '/='])} {inner()})",
            lambda: f"{r.choice(['x', 's', 'n', 'self->m'])}{r.choice(['++', '--'])}",
            lambda: f"{r.choice(CALLS)}({', '.join(inner() for _ in range(r.randrange(4)))})",
        ]
    )()


def statement(r: random.Random) -> str:
    return r.choice(
        [
            lambda: f"{r.choice(PLACES)} = {expression(r)};",
            lambda: f"{r.choice(PLACES)} = {expression(r)};",
            lambda: f"trace({expression(r)});",
            lambda: f'printf("{r.choice(["%d", "%s", "%p", "%c", "%*d", "%Y", "%I"])}", {expression(r)});',
            lambda: f"@{r.choice('ghi')}[{expression(r)}] = {r.choice(['sum', 'quantize', 'max'])}({expression(r)});",
            lambda: f"@c[{expression(r)}, {expression(r)}] = count();",
            lambda: f"if ({expression(r)}) {{ {statement(r)} }}",
            lambda: f"{expression(r)};",
        ]
    )()


def script(seed: int) -> str:
    r = random.Random(seed)
    probe = r.choice(["BEGIN", "tcp:::connect-request", "syscall::connect:entry"])
    predicate = f"/{expression(r)}/" if r.random() < 0.3 else ""
    return (
        "inline int f[int v] = v * 2; inline string k = execname;\n"
        f"{probe} {predicate} {{ {' '.join(statement(r) for _ in range(r.randrange(1, 3)))} }}"
    )


@pytest.mark.parametrize("block", range(4))
def test_random_scripts(block: int) -> None:
    accepted = 0
    for seed in range(150 * block, 150 * (block + 1)):
        text = script(seed)
        try:
            typed = checked(text, library=LIBRARY)
        except CompileError as error:
            assert all(d.message and d.render() for d in error.diagnostics)
            continue
        accepted += 1
        assert problems(typed) == [], text
        assert dump(typed)
    assert accepted >= 5  # else this tests the error paths alone
