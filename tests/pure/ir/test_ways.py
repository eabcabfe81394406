"""Each way for itself, and the passes after that: the meaning stays, questions are asked once, size is bounded."""

from __future__ import annotations

import genfunctions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.btf.types import Array, Int, Member, Pointer, Struct
from dsight.ir.delay import delay
from dsight.ir.interp import Machine, run
from dsight.ir.often import weights
from dsight.ir.ops import Function
from dsight.ir.passes import optimise
from dsight.ir.sink import sink
from dsight.ir.text import parse, show
from dsight.ir.verify import verify
from dsight.ir.walk import walk
from dsight.ir.ways import follow
from dsight.ir.webs import split

ALL = (follow, split, optimise, sink, delay)


def function(body: str, slots: str = "") -> Function:
    """%0 is the context, %1 and %2 are unknown values from it."""
    start = "%0 = ctx\n%1 = load %0+0, 8\n%2 = load %0+8, 8\n"
    made = parse(f"function f(slots{slots}, regs 60) {{\nentry:\n{start}{body}\n}}")
    verify(made)
    return made


def ran(made: Function, inputs: bytes) -> tuple[object, ...]:
    machine = genfunctions.machine_for(inputs)
    machine.add_map("globals", "array", 4, 24, 1)
    return run(made, machine), *genfunctions.results(machine)


def through(made: Function) -> Function:
    for one in ALL:
        made = one(made)
        verify(made)
    return made


def branches(made: Function) -> int:
    return sum([block.instrs[-1].op == "br" for block in made.blocks])


@given(st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_the_meaning_stays(rng: genfunctions.Random) -> None:
    before = genfunctions.random_function(rng)
    inputs = [genfunctions.random_inputs(rng) for _ in range(3)]
    expected = [ran(before, each) for each in inputs]
    for one in ALL:
        after = one(before)
        verify(after)
        assert [ran(after, each) for each in inputs] == expected, f"{one.__name__}\n{show(before)}\n{show(after)}"
        before = after


def test_a_predicate_is_tested_once() -> None:
    """Three clauses of one predicate, with something between that is asked on either way."""
    body = "%3 = mov 0\n"
    for n in range(3):
        body += f"br eq %1, 7 -> hit_{n}, after_{n}\nhit_{n}:\n%3 = add %3, {n + 1}\njmp after_{n}\nafter_{n}:\n"
    after = through(function(body + "ret %3"))
    assert branches(after) == 1 and "add" not in show(after) and "mov 6" in show(after)


def test_what_makes_a_truth_is_followed() -> None:
    """`this->near = a && b` and later `/this->near/`: no 0 or 1 in between."""
    text = """%3 = mov 0
        br eq %1, 1 -> and, made
        and:
        br ult %2, 5 -> both, made
        both:
        %3 = mov 1
        jmp made
        made:
        %4 = and %3, 255
        br ne %4, 0 -> hit, out
        hit:
        ret 10
        out:
        ret 20"""
    after = through(function(text))
    assert branches(after) == 2 and "mov" not in show(after)


def test_a_comparison_asked_for_is_a_branch() -> None:
    text = """%3 = set ult %1, %2
        br ne %3, 0 -> first, second
        first:
        jmp on
        second:
        jmp on
        on:
        br ne %3, 0 -> yes, no
        yes:
        ret 1
        no:
        ret 2"""
    after = through(function(text))
    assert branches(after) == 1 and "set" not in show(after)


PEEK = """br any %4, -1 -> there, zero
        zero:
        %5 = call probe_read_kernel, %3, 8, %1
        br ne %5, 0 -> bad, good
        bad:
        ret 99
        good:
        %4 = load %3+0, 8
        jmp there
        there:
"""


def test_what_was_read_is_not_read_again() -> None:
    again = PEEK.replace("%4", "%14")
    for label in ("there", "zero", "bad", "good"):
        again = again.replace(label, f"{label}_2")
    before = function(
        f"""%3 = slot buffer
        %10 = cast %1, 5, 0
        %4 = peek %10+16, 8
        {PEEK} br eq %4, 3 -> three, on
        three:
        jmp on
        on:
        %11 = load %0+0, 8
        %12 = cast %11, 5, 0
        %14 = peek %12+16, 8
        {again} br eq %14, 3 -> yes, no
        yes:
        ret 1
        no:
        ret %14""",
        " buffer:8",
    )
    shown = show(through(before))
    assert shown.count("cast") == shown.count("peek") == shown.count("probe_read_kernel") == 1
    assert shown.count("br eq") == 1


@pytest.mark.parametrize("helper, times", [("ktime_get_ns", 1), ("send_signal", 2)])
def test_what_may_change_kernel_memory(helper: str, times: int) -> None:
    """Of a helper that may, what was read before is read again."""
    call = f"%5 = call {helper}" + (", 9" if helper == "send_signal" else "")
    text = f"""%3 = cast %1, 5, 0
        %4 = peek %3+0, 8
        %20 = mov %4
        br eq %2, 1 -> a, b
        a:
        {call}
        %6 = peek %3+0, 8
        br eq %2, 1 -> again, b
        again:
        br eq %6, %5 -> b, c
        b:
        ret %20
        c:
        ret 2"""
    assert show(through(function(text))).count("peek") == times


def many(n: int) -> Function:
    """n truths, each asked for only when all are known."""
    body = "".join(
        f"%{10 + k} = mov 0\n%{30 + k} = load %0+{8 * k}, 8\nbr eq %{30 + k}, 5 -> yes_{k}, on_{k}\n"
        f"yes_{k}:\n%{10 + k} = mov 1\njmp on_{k}\non_{k}:\n"
        for k in range(n)
    )
    body += "%50 = mov 0\n" + "".join(
        f"br ne %{10 + k}, 0 -> add_{k}, next_{k}\nadd_{k}:\n%50 = add %50, {1 << k}\njmp next_{k}\nnext_{k}:\n"
        for k in range(n)
    )
    return function(body + "ret %50")


def test_size_is_bounded() -> None:
    """Of n questions there are 2**n ways; they meet before there are too many, and what is lost then is hidden."""
    sizes = [sum([len(block.instrs) for block in follow(many(n)).blocks]) for n in (6, 12, 18)]
    assert sizes[2] < 4 * sizes[1] and sizes[2] < 5000
    shown = show(follow(many(18)))
    assert "globals+16" in shown and "xor" in shown
    made = through(many(18))
    for wanted in (0, 1, 0x2A5A5, (1 << 18) - 1):
        inputs = b"".join([(5 * (wanted >> n & 1)).to_bytes(8, "little") for n in range(18)])
        machine = Machine(inputs)
        machine.add_map("globals", "array", 4, 24, 1)
        assert run(made, machine) == wanted


def test_few_answers_are_not_hidden() -> None:
    assert "xor" not in show(follow(many(5)))


def test_webs() -> None:
    """A register with two lives is two; one set on two ways and read where they meet is one."""
    text = """%3 = add %1, 1
        store %0+0, 8, %3
        br eq %1, 1 -> a, b
        a:
        %3 = add %2, 2
        jmp c
        b:
        %3 = add %2, 3
        jmp c
        c:
        ret %3"""
    after = split(function(text))
    verify(after)
    first, *others = [instr.dst for block in after.blocks for instr in block.instrs if instr.op == "add"]
    assert first not in others and others[0] == others[1]


def test_sink() -> None:
    """The address of a CPU's part is worked out where it is wanted; where all ways want it, once and early."""
    start = "%3 = call get_smp_processor_id\n%4 = and %3, 1\n%5 = mul %4, 64\n%6 = value scratch+0\n%7 = add %5, %6\n"
    used = "store %7+0, 8, 1\n"
    some = sink(function(f"{start}br eq %1, 1 -> a, b\na:\n{used}ret 1\nb:\nret 2"))
    verify(some)
    labels = [block.label for block in some.blocks for instr in block.instrs if instr.op == "call"]
    assert labels == ["a"]
    text = f"{start}br eq %1, 1 -> a, b\na:\n{used}jmp b\nb:\n{used}ret 2"
    both = sink(function(text))
    assert [block.label for block in both.blocks for instr in block.instrs if instr.op == "call"] == ["entry"]


def test_weights() -> None:
    made = function("br eq %1, 1 -> bad, a\nbad:\nret 1\na:\nbr eq %2, 1 -> b, c\nb:\njmp c\nc:\nret 0")
    found = dict(zip([block.label for block in made.blocks], weights(made.blocks)))
    assert found["bad"] < 0.01 and found["a"] == 1 and found["b"] == 0.5 and found["c"] == 1


def test_delay() -> None:
    """A constant is set where it is read, not where it is set again first; and before ways meet with another."""
    text = """%3 = mov 0
        br eq %1, 1 -> a, b
        a:
        %3 = add %2, 1
        jmp c
        b:
        jmp c
        c:
        ret %3"""
    after = delay(function(text))
    verify(after)
    where = [block.label for block in after.blocks for instr in block.instrs if instr.op == "mov"]
    assert where == ["b"]


INT = Int("int", 4, True)
LONG = Int("unsigned long", 8, False)
NODE = Struct("struct", "node", 24, (Member("id", LONG, 0), Member("name", Array(Int("char", 1, True), 16), 64)))
TASK = Struct(
    "struct",
    "task_struct",
    32,
    (
        Member("pid", INT, 0),
        Member("node", Pointer(NODE), 64),
        Member("any", Pointer(LONG), 128),
        Member("t", LONG, 192),
    ),
)


def walked(body: str) -> str:
    made = function(f"%3 = call get_current_task\n%4 = cast %3, 5, 0\n{body}")
    after = walk(made, {"task_struct": TASK, "node": NODE}.get, {"task_struct": 1, "node": 2}.get)
    verify(after)
    return show(after)


def test_walk() -> None:
    shown = walked(
        "%5 = peek %4+8, 8\n%6 = cast %5, 5, 0\n%7 = peek %6+0, 8\n%8 = peek %6+8, 8\n%9 = add %7, %8\nret %9"
    )
    assert "get_current_task_btf" in shown and "cast" not in shown


def test_walk_where_the_helper_reads_again() -> None:
    """What it gives is a number: cast, to what the other way has; and 0 is told from the rest."""
    checked = PEEK.replace("%4", "%20").replace("%3", "%21").replace("%5", "%22")
    body = f"%5 = peek %4+8, 8\n%6 = cast %5, 5, 0\n%21 = slot buffer\n%20 = peek %6+0, 8\n{checked}ret %20"
    made = function(f"%3 = call get_current_task\n%4 = cast %3, 5, 0\n{body}", " buffer:8")
    deep = Struct("struct", "node", 24, (Member("next", Pointer(NODE), 0),))
    task = Struct("struct", "task_struct", 32, (Member("node", Pointer(deep), 64),))
    made = parse(show(made).replace("ret %20", "%30 = cast %20, 5, 0\n%31 = peek %30+0, 8\nret %31"))
    shown = show(walk(made, {"task_struct": task}.get, {"node": 2}.get))
    assert "%20 = cast %20, 5, 2" in shown and shown.count("cast") == 1
    assert "br ne %20, 0" in shown and "%31 = peek %20+0, 8" in shown


@pytest.mark.parametrize(
    "body",
    [
        "%5 = peek %4+8, 8\n%6 = mul %5, 3\nret %6",  # a pointer taken for a number
        "%5 = peek %4+8, 4\nret %5",  # half of one
        "%5 = peek %4+100, 8\nret %5",  # behind the struct
        "%5 = add %4, 8\n%6 = load %5+0, 8\nret %6",
    ],
)
def test_walk_leaves_alone(body: str) -> None:
    assert "get_current_task\n" in walked(body)


def test_pointers_to_no_struct_are_numbers() -> None:
    shown = walked("%5 = peek %4+16, 8\n%6 = mul %5, 3\n%7 = peek %4+24, 8\n%8 = add %6, %7\nret %8")
    assert "get_current_task_btf" in shown


def test_what_is_not_there_is_asked_for_again() -> None:
    """After a fault the next clause faults for itself."""
    first = PEEK.replace("ret 99", "jmp on")
    again = PEEK.replace("%4", "%14")
    for label in ("there", "zero", "bad", "good"):
        again = again.replace(label, f"{label}_2")
    text = f"""%3 = slot buffer
        %10 = cast %1, 5, 0
        br eq %2, 9 -> ask, on
        ask:
        %4 = peek %10+16, 8
        {first}jmp on
        on:
        %12 = cast %1, 5, 0
        br eq %2, 9 -> more, out
        more:
        %14 = peek %12+16, 8
        {again}ret %14
        out:
        ret 7"""
    after = follow(function(text, " buffer:8"))
    verify(after)
    bad = [block.label for block in after.blocks if block.label.startswith("bad")]
    assert len(bad) == 2 and show(after).count("= peek") == 2
