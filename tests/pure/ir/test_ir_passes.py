"""Passes keep the meaning; each rule of ir.algebra does what it says; time grows with the size."""

from __future__ import annotations

import genfunctions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.ir.build import Builder
from dsight.ir.interp import Machine, run
from dsight.ir.ops import Function
from dsight.ir.passes import PASSES, drop_dead, optimise, share, simplify, straighten
from dsight.ir.text import parse, show
from dsight.ir.verify import verify
from dsight.testing.work import lines_run


def function(body: str, head: str = "") -> Function:
    """%0 is the context, %1 and %2 are unknown values from it."""
    start = "%0 = ctx\n%1 = load %0+0, 8\n%2 = load %0+8, 8\n"
    made = parse(f"function f(slots{head}, regs 40) {{\nentry:\n{start}{body}\n}}")
    verify(made)
    return made


def body_of(made: Function) -> str:
    verify(made)
    return "\n".join([line.strip() for line in show(made).split("\n")[2:-2]])


def tidy(body: str) -> str:
    return "\n".join([line.strip() for line in body.strip().split("\n")])


def ran(made: Function, inputs: bytes) -> tuple[object, ...]:
    machine = genfunctions.machine_for(inputs)
    return run(made, machine), *genfunctions.results(machine)


@given(st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_every_pass_keeps_the_meaning(rng: genfunctions.Random) -> None:
    before = genfunctions.random_function(rng)
    inputs = [genfunctions.random_inputs(rng) for _ in range(2)]
    expected = [ran(before, each) for each in inputs]
    for one in PASSES:
        after = one(before)
        verify(after)
        assert [ran(after, each) for each in inputs] == expected, f"{one.__name__}\n{show(before)}\n{show(after)}"
        before = after


@given(st.randoms(use_true_random=False), st.permutations([simplify, drop_dead, share, straighten]))
@settings(max_examples=40, deadline=None)
def test_passes_in_any_order(rng: genfunctions.Random, order: list[object]) -> None:
    before = after = genfunctions.random_function(rng, 15)
    for one in order:
        after = one(after)  # type: ignore[operator]
        verify(after)
    inputs = genfunctions.random_inputs(rng)
    assert ran(after, inputs) == ran(before, inputs)


def count(made: Function) -> int:
    return sum([len(block.instrs) for block in made.blocks])


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_optimise_never_adds(rng: genfunctions.Random) -> None:
    before = genfunctions.random_function(rng)
    after = optimise(before)
    assert count(after) <= count(before)
    assert count(optimise(after)) <= count(after)


# An operation on %1 (any 64 bits), %5 (a byte) and %6 (a 32-bit value, sign-extended), and what becomes of it.
RULES = [
    ("mov 7", "7"), ("add 7, -9", "-2"), ("sdiv -9223372036854775808, -1", "-9223372036854775808"),
    ("zext -1, 16", "65535"), ("bswap 4660, 16", "13330"), ("neg -9223372036854775808", "-9223372036854775808"),
    ("set ult 1, -1", "1"),
    ("add %1, 0", "%1"), ("add 0, %1", "%1"), ("sub %1, 0", "%1"), ("sub %1, %1", "0"), ("sub 0, %1", "sub 0, %1"),
    ("sub %1, 5", "add %1, -5"), ("sub %1, -9223372036854775808", "add %1, -9223372036854775808"),
    ("mul %1, 0", "0"), ("mul 1, %1", "%1"), ("mul %1, -1", "neg %1"), ("mul 8, %1", "shl %1, 3"),
    ("mul %1, -9223372036854775808", "shl %1, 63"), ("mul %1, 6", "mul %1, 6"),
    ("udiv %1, 1", "%1"), ("udiv %1, 16", "shr %1, 4"), ("udiv %1, -9223372036854775808", "shr %1, 63"),
    ("udiv %1, -1", "udiv %1, -1"), ("umod %1, 1", "0"), ("umod %1, 16", "and %1, 15"),
    ("umod %1, -1", "umod %1, -1"), ("umod %5, 256", "%5"),
    ("sdiv %1, 1", "%1"), ("sdiv %1, -1", "neg %1"), ("sdiv %1, 16", "sdiv %1, 16"),
    ("smod %1, 1", "0"), ("smod %1, -1", "0"), ("smod %1, 16", "smod %1, 16"),
    ("and %1, 0", "0"), ("and %1, -1", "%1"), ("and %1, %1", "%1"), ("and 255, %5", "%5"),
    ("and %5, 127", "and %5, 127"),
    ("or %1, 0", "%1"), ("or %1, -1", "-1"), ("or %1, %1", "%1"),
    ("xor %1, 0", "%1"), ("xor %1, -1", "not %1"), ("xor %1, %1", "0"),
    ("shl %1, 64", "%1"), ("shl %1, 65", "shl %1, 1"), ("shr %1, 0", "%1"), ("shr %5, 8", "0"),
    ("shr %5, 7", "shr %5, 7"),
    ("sar %5, 2", "shr %5, 2"), ("sar %1, 2", "sar %1, 2"), ("sar %1, -1", "sar %1, 63"),
    ("zext %5, 8", "%5"), ("sext %5, 16", "%5"), ("sext %5, 8", "sext %5, 8"), ("zext %6, 32", "zext %1, 32"),
    ("zext %6, 8", "zext %1, 8"), ("sext %6, 16", "sext %1, 16"), ("zext %7, 8", "zext %1, 8"),
    ("sext %7, 16", "sext %1, 16"), ("zext %7, 16", "%7"), ("sext %6, 32", "sext %1, 32"),
    ("add %8, 3", "add %1, 8"), ("sub %8, 5", "%1"), ("and %7, 15", "and %1, 15"), ("neg %9", "%1"),
    ("not %9", "not %9"), ("add %11, 5", "%1"), ("xor %1, 0", "%1"),
    ("zext %12, 16", "%12"), ("zext %13, 16", "zext %13, 16"), ("sext %13, 32", "%13"), ("zext %14, 16", "%14"),
    ("sext %14, 16", "sext %14, 16"), ("zext %8, 32", "zext %8, 32"),
    ("zext %15, 32", "zext %15, 32"),
    ("set eq %1, %1", "1"), ("set ult %1, %1", "0"), ("set ugt 5, %1", "set ult %1, 5"),
    ("set sle 5, %1", "set sge %1, 5"),
    ("set eq %10, 0", "set sge %1, %2"), ("set ne %10, 0", "set slt %1, %2"), ("set eq %10, 1", "set slt %1, %2"),
    ("set ne 1, %10", "set sge %1, %2"), ("set ugt %10, 0", "set ugt %10, 0"),
]  # fmt: skip
PREPARED = """%5 = load %0+3, 1
%6 = sext %1, 32
%7 = and %1, 65535
%8 = add %1, 5
%9 = neg %1
%10 = set slt %1, %2
%11 = sub %1, 5
%12 = shl %5, 8
%13 = add %5, %12
%14 = mul %5, %5
%15 = sext %1, 16
"""


@pytest.mark.parametrize(("operation", "result"), RULES)
def test_rules(operation: str, result: str) -> None:
    before = function(f"{PREPARED}%20 = {operation}\nstore %0+0, 8, %20\nret %20")
    after = simplify(before)
    verify(after)
    *_, made, _, _ = after.blocks[0].instrs
    plain = result[0] in "%-0123456789"
    assert show(after).split("\n")[-5].strip() == f"%20 = {'mov ' if plain else ''}{result}", made
    if plain:
        assert show(after).split("\n")[-3].strip() == f"ret {result}"


@pytest.mark.parametrize(("operation", "result"), RULES)
def test_rules_are_true(operation: str, result: str) -> None:
    before = function(f"{PREPARED}%20 = {operation}\nret %20")
    after = simplify(before)
    for a in genfunctions.EDGES:
        for b in (a, 0, -1):
            ctx = (a % (1 << 64)).to_bytes(8, "little") + (b % (1 << 64)).to_bytes(8, "little")
            assert run(after, Machine(ctx)) == run(before, Machine(ctx)), (a, b)


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("%3 = mov %1\n%4 = mov %3\nret %4", "ret %1"),
        ("%3 = mov 300\n%4 = call get_current_comm, %0, %3<=16\nret %4", "%4 = call get_current_comm, %0, 16\nret %4"),
        (
            "%3 = mov %1\n%4 = call get_current_comm, %0, %3<=16\nret 0",
            "%4 = call get_current_comm, %0, %1<=16\nret 0",
        ),
        # A register set twice stands for something only until it, or that, is set again.
        ("%3 = mov 1\n%4 = mov %3\n%3 = mov 2\n%5 = add %4, %3\nret %5", "ret 3"),
        (
            "%3 = mov %1\n%4 = mov %3\n%3 = mov %2\n%5 = add %4, %3\nret %5",
            "%5 = add %1, %2\nret %5",
        ),
        ("%3 = load %0+0, 4\n%4 = mov %3\n%3 = load %0+4, 4\nret %4", "%3 = load %0+0, 4\n%4 = mov %3\nret %4"),
        # Pointers: constants go into offsets that have room for them.
        ("%3 = add %0, 8\n%4 = load %3+8, 2\nret %4", "%4 = load %0+16, 2\nret %4"),
        ("%3 = add %1, 32767\n%4 = load %3+1, 2\nret %4", "%3 = add %1, 32767\n%4 = load %3+1, 2\nret %4"),
        ("%3 = add %0, 8\ncopy %3+0, %3+8, 8\nret 0", "copy %0+8, %0+16, 8\nret 0"),
        # Only what is stored counts.
        ("%3 = zext %1, 32\nstore %0+0, 4, %3\nret 0", "store %0+0, 4, %1\nret 0"),
        ("%3 = zext %1, 16\nstore %0+0, 4, %3\nret 0", "%3 = zext %1, 16\nstore %0+0, 4, %3\nret 0"),
    ],
)
def test_values(body: str, result: str) -> None:
    lines = body_of(drop_dead(simplify(function(body)))).split("\n")
    kept = [line for line in lines if line not in ("%0 = ctx", "%1 = load %0+0, 8", "%2 = load %0+8, 8")]
    assert kept == result.split("\n")


def test_branches_on_constants_and_what_they_guard() -> None:
    text = "%3 = mov 0\nbr eq %3, 0 -> fault, go\ngo:\n%4 = udiv %1, %3\nret %4\nfault:\nret 1"
    assert body_of(straighten(drop_dead(simplify(function(text))))) == "ret 1"
    assert body_of(optimise(function("br ne %1, %2 -> a, a\na:\nret 2"))) == "ret 2"


def test_comparisons_move_into_branches() -> None:
    text = "%3 = set slt %1, %2\n%4 = set eq %3, 0\nbr ne %4, 0 -> a, b\na:\nret 1\nb:\nret 0"
    assert "br sge %1, %2 -> a, b" in show(optimise(function(text)))


def test_a_comparison_of_what_has_changed_stays() -> None:
    text = "%3 = mov 7\n%4 = set eq %3, %1\n%3 = mov %2\nbr ne %4, 0 -> a, b\na:\nret %3\nb:\nret 0"
    assert "br eq %1, 7 -> a, b" in show(optimise(function(text)))
    text = "%3 = load %0+0, 4\n%4 = set eq %3, %1\n%3 = mov %2\nbr ne %4, 0 -> a, b\na:\nret %3\nb:\nret 0"
    assert "br ne %4, 0 -> a, b" in show(optimise(function(text)))


def test_blocks_are_joined_and_jumps_led_on() -> None:
    text = """br eq %1, 0 -> a, b
a:
jmp c
b:
%3 = call ktime_get_ns
jmp d
c:
jmp e
d:
jmp e
e:
ret 1"""
    assert body_of(straighten(function(text))) == tidy("""%0 = ctx
%1 = load %0+0, 8
%2 = load %0+8, 8
br eq %1, 0 -> e, b
b:
%3 = call ktime_get_ns
jmp e
e:
ret 1""")


def test_and_leaves_only_its_branches() -> None:
    text = """br ne %1, 0 -> more, no
more:
%3 = set ne %2, 0
%4 = mov %3
jmp join
no:
%4 = mov 0
jmp join
join:
br ne %4, 0 -> yes, out
yes:
ret 1
out:
ret 0"""
    shown = show(optimise(function(text)))
    assert "br ne %1, 0 -> more, out" in shown
    assert "br ne %2, 0 -> yes, out" in shown


@pytest.mark.parametrize("last", ["load %0+0, 4", "sub 5, %1", "mov %1"])
def test_a_jump_is_not_led_on_by_a_constant_set_over(last: str) -> None:
    text = f"br eq %1, 5 -> w, x\nw:\n%3 = mov 0\n%3 = {last}\njmp j\nx:\n%3 = mov 1\njmp j\n"
    text += "j:\nbr ne %3, 0 -> yes, no\nyes:\nret 1\nno:\nret 0"
    assert "br ne %3, 0 -> yes, no" in show(straighten(function(text)))


def test_dead_code_and_slots() -> None:
    text = """%3 = add %1, 1
%4 = add %3, 1
%5 = load %0+0, 1
%6 = slot gone
%7 = call ktime_get_ns
%8 = call map_lookup_elem, map(m), %0
%9 = slot kept
store %9+0, 8, 1
%10 = call map_delete_elem, map(m), %9
%11 = mov %1
%12 = call get_current_comm, %0, %11<=4
ret 0"""
    assert body_of(drop_dead(function(text, " gone:8 kept:8"))) == tidy("""%0 = ctx
%1 = load %0+0, 8
%9 = slot kept
store %9+0, 8, 1
%10 = call map_delete_elem, map(m), %9
%11 = mov %1
%12 = call get_current_comm, %0, %11<=4
ret 0""")
    assert drop_dead(function(text, " gone:8 kept:8")).slots == (("kept", 8),)


@pytest.mark.parametrize(
    ("first", "between", "second", "shared"),
    [
        ("add %1, %2", "", "add %1, %2", True),
        ("add %1, 3", "", "add %1, 3", True),
        ("add %1, %2", "", "add %1, 2", False),  # a register is no integer
        ("add %1, %2", "", "add %2, %1", False),
        ("set ult %1, %2", "", "set ule %1, %2", False),
        ("load %6+0, 8", "", "load %6+0, 8", True),
        ("load %6+0, 8", "", "load %6+0, 4", False),
        ("load %6+0, 8", "store %7+0, 8, 1", "load %6+0, 8", False),
        ("load %6+0, 8", "zero %7+0, 8", "load %6+0, 8", False),
        ("load %6+0, 8", "xadd %7+0, 8, 1", "load %6+0, 8", False),
        ("load %6+0, 8", "copy %7+0, %6+0, 8", "load %6+0, 8", False),
        ("load %6+0, 8", "%9 = call get_current_comm, %7, 4", "load %6+0, 8", False),
        ("load %6+0, 8", "%9 = call get_current_pid_tgid", "load %6+0, 8", True),
        ("load %0+0, 2", "store %7+0, 8, 1", "load %0+0, 2", True),
        ("load %0+0, 2", "store %7+0, 8, 1\n%0 = ctx", "load %0+0, 2", False),  # %0 is set twice now
        ("load %0+0, 2", "store %7+0, 8, 1\n%9 = ctx", "load %9+0, 2", True),
        ("add %8, 1", "%8 = mov 3", "add %8, 1", False),
        ("add %8, 1", "", "add %8, 1", True),
        ("strcmp %6, %7, 8", "", "strcmp %6, %7, 8", True),
        ("strcmp %6, %7, 8", "store %7+0, 8, 1", "strcmp %6, %7, 8", False),
        ("call get_current_pid_tgid", "store %7+0, 8, 1", "call get_current_pid_tgid", True),
        ("call get_current_pid_tgid", "jmp next\nnext:", "call get_current_pid_tgid", True),
        ("call get_current_uid_gid", "", "call get_current_pid_tgid", False),
        ("call ktime_get_ns", "", "call ktime_get_ns", False),
        ("call get_prandom_u32", "", "call get_prandom_u32", False),
        ("add %1, %2", "jmp next\nnext:", "add %1, %2", False),
        ("value m+8", "", "value m+8", False),
    ],
)
def test_share(first: str, between: str, second: str, shared: bool) -> None:
    head = "%6 = slot s\n%7 = slot t\nzero %6+0, 8\n%8 = mov 1\n%8 = mov 2\n"
    text = f"{head}%20 = {first}\n{between}\n%21 = {second}\nret %21"
    line = show(share(function(text, " s:8 t:8"))).split("\n")[-4].strip()
    assert line == ("%21 = mov %20" if shared else f"%21 = {second}")


def test_a_register_set_again_holds_nothing_to_share() -> None:
    text = "%8 = add %1, %2\n%8 = mov 3\n%9 = add %1, %2\nret %9"
    assert "%9 = add %1, %2" in show(share(function(text)))


@pytest.mark.parametrize("once", [True, False])
def test_a_call_is_shared_only_where_every_path_has_made_it(once: bool) -> None:
    call = "%20 = call get_current_pid_tgid\n"
    text = f"{call if once else ''}br eq %1, 0 -> a, b\na:\n{'' if once else call}jmp c\nb:\njmp c\nc:\n"
    shown = show(share(function(text + "%21 = call get_current_pid_tgid\nret %21")))
    assert ("%21 = mov %20" in shown) == once


def test_spans_stay() -> None:
    from dsight.source import Source, Span

    b = Builder("f")
    value = b.load(b.emit("ctx"), 0, 8)
    b.span = Span(Source("-n", "a + 0"), 0, 5)
    b.store(b.emit("ctx"), 8, 8, b.emit("mul", b.emit("add", value, 0), 8))
    b.ret(0)
    spans = {instr.op: instr.span for instr in optimise(b.finish()).blocks[0].instrs}
    assert spans["shl"] == spans["store"] == b.span
    assert spans["load"] is None


def big(clauses: int) -> Function:
    """Much like many clauses: loads, tests, calls, a block to end each of them."""
    b = Builder("big")
    total = b.reg()
    b.set(total, "mov", 0)
    ctx = b.emit("ctx")
    for _ in range(clauses):
        go, end = b.label("go"), b.label("end")
        pid = b.emit("shr", b.call("get_current_pid_tgid"), 32)
        flag = b.emit("set", "eq", b.emit("zext", pid, 32), b.load(ctx, 8, 4))
        b.br("ne", flag, 0, go, end)
        b.start(go)
        pointer = b.emit("value", "out", 0)
        for n in range(8):
            b.store(b.emit("add", pointer, 8 * n), 0, 8, b.emit("mul", b.load(ctx, 8 * n, 8), b.const(n)))
        b.set(total, "add", total, 1)
        b.start(end)
    b.ret(total)
    return b.finish()


def test_work_grows_with_the_instructions() -> None:
    def work(made: Function) -> int:
        return lines_run(lambda: verify(optimise(made)))

    small, large = big(45), big(450)
    assert 20_000 < count(large) < 25_000
    assert work(large) < 15 * work(small)
