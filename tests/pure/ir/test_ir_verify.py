"""The verifier takes what is right and refuses each broken form."""

from __future__ import annotations

import genfunctions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.ir.ops import HELPERS, NO_REG, Block, Bounded, Function, Instr, MapRef, Reg
from dsight.ir.text import parse
from dsight.ir.verify import HELPER_ARGS, IRError, verify


@given(st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_random_functions_are_right(rng: genfunctions.Random) -> None:
    verify(genfunctions.random_function(rng))


def test_every_helper_has_its_arguments_counted() -> None:
    assert HELPER_ARGS.keys() == HELPERS.keys()


BODY = """function f(slots s:8, regs 9) {
entry:
  %%0 = ctx
  %%1 = load %%0+0, 8
  %s
  br eq %%1, 0 -> a, b
a:
  %%2 = mov 1
  jmp c
b:
  jmp c
c:
  ret 0
}"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%3 = add %2, 1", "%2 may not have been set"),
        ("%3 = add %3, 1", "%3 may not have been set"),
        ("%3 = add 1, %9", "no register %9"),
        ("%9 = add 1, 1", "no register %9 for the result"),
        ("%3 = add 1, 18446744073709551616", "the operand 18446744073709551616 where a register or a 64-bit"),
        ("%3 = mov -9223372036854775809", "where a register or a 64-bit integer belongs"),
        ("%3 = sdiv %1, 0", "a division by 0"),
        ("%3 = umod %1, 0", "a division by 0"),
        ("%3 = load %0+0, 3", "the operand 3 where an access size belongs"),
        ("xadd %0+0, 2, 1", "an atomic operation on 2 bytes"),
        ("zero %0+0, 0", "where a number of bytes belongs"),
        ("%3 = zext %1, 64", "64 bits"),
        ("%3 = sext %1, 12", "the operand 12 where a number of bits belongs"),
        ("%3 = bswap %1, 8", "8 bits"),
        ("%3 = set lt %1, 1", "the operand 'lt' where a condition belongs"),
        ("%3 = slot t", "the operand 't' where a stack slot belongs"),
        ("%3 = value m-8", "an address before the map's value"),
        ("%3 = call no_such_helper, 1, 2, 3", "the operand 'no_such_helper' where a helper belongs"),
        ("%3 = call ktime_get_ns, 1", "1 arguments, ktime_get_ns takes 0"),
        ("%3 = call ringbuf_submit, %0", "1 arguments, ringbuf_submit takes 2"),
        ("%3 = call get_current_comm, %0, %2<=16", "%2 may not have been set"),
        ("%3 = call get_current_comm, %0, %1<=0", "the bounded argument"),
        ("ret 0", "a terminator inside a block"),
    ],
)
def test_broken_instructions(line: str, message: str) -> None:
    verify(parse(BODY % "%3 = mov 1"))
    with pytest.raises(IRError) as caught:
        verify(parse(BODY % line))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"f, entry: {line}: ")


@pytest.mark.parametrize(
    ("instr", "message"),
    [
        (Instr("frob", Reg(1), ()), "no such operation"),
        (Instr("add", Reg(1), (1,)), "1 operands, not 2"),
        (Instr("add", Reg(1), (1, 2, 3)), "3 operands, not 2"),
        (Instr("call", Reg(1), ()), "0 operands"),
        (Instr("add", NO_REG, (1, 2)), "no register %-1 for the result"),
        (Instr("add", 1, (1, 2)), "no register 1 for the result"),  # type: ignore[arg-type]
        (Instr("store", Reg(1), (Reg(0), 0, 8, 1)), "there is no result to keep"),
        (Instr("load", Reg(1), (0, 0, 8)), "the operand 0 where a register belongs"),
        (Instr("zero", NO_REG, (Reg(0), Reg(0), 8)), "the operand %0 where an offset belongs"),
        (Instr("mov", Reg(1), (True,)), "the operand True"),
        (Instr("mov", Reg(1), ("x",)), "the operand 'x'"),
        (Instr("mov", Reg(1), (MapRef("m"),)), "the operand MapRef"),
        (Instr("value", Reg(1), (MapRef("m"), 0)), "where a map's name belongs"),
        (Instr("call", Reg(1), ("get_stack", Reg(0), Reg(0), "x", 0)), "the argument 'x'"),
        (Instr("call", Reg(1), ("get_stack", Reg(0), Reg(0), Bounded(3, 8), 0)), "the bounded"),  # type: ignore[arg-type]
    ],
)
def test_instructions_that_text_cannot_say(instr: Instr, message: str) -> None:
    ctx, ret = Instr("ctx", Reg(0), ()), Instr("ret", NO_REG, (0,))
    with pytest.raises(IRError, match=message):
        verify(Function("f", (), (Block("a", (ctx, instr, ret)),), 2))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(slots, regs 0) {\n}", "f: no blocks"),
        ("(slots, regs 0) {\na:\n}", "block a has no terminator"),
        ("(slots, regs 1) {\na:\n%0 = ctx\n}", "block a has no terminator"),
        ("(slots, regs 0) {\na:\njmp b\n}", "a: jmp b: there is no block b"),
        ("(slots, regs 0) {\na:\njmp a\n}", "does not go forward"),
        ("(slots, regs 0) {\na:\njmp b\nb:\nbr eq 1, 1 -> c, a\nc:\nret 0\n}", "the jump to a does not go forward"),
        ("(slots, regs 0) {\na:\nret 0\nb:\nret 0\n}", "block b cannot be reached"),
        ("(slots, regs 0) {\na:\njmp a\na:\nret 0\n}", "two blocks with one label"),
        ("(slots s:8 s:8, regs 0) {\na:\nret 0\n}", "two slots with one name"),
        ("(slots s:0, regs 0) {\na:\nret 0\n}", "a slot without bytes"),
        ("(slots s:505 t:1, regs 0) {\na:\nret 0\n}", "520 bytes of stack slots, 512 are allowed"),
        ("(slots, regs 1) {\na:\nbr eq 1, 2 -> b, c\nb:\n%0 = ctx\njmp c\nc:\nret %0\n}", "%0 may not have been set"),
    ],
)
def test_broken_functions(source: str, message: str) -> None:
    with pytest.raises(IRError) as caught:
        verify(parse("function f" + source))
    assert message in str(caught.value)


def test_names_must_be_writable() -> None:
    block = Block("a b", (Instr("ret", NO_REG, (0,)),))
    with pytest.raises(IRError, match="the name 'a b'"):
        verify(Function("f", (), (block,), 0))


def test_what_both_ways_set_may_be_read() -> None:
    verify(
        parse("""function f(slots s:504 t:8, regs 1) {
a:
  br eq 1, 2 -> b, c
b:
  %0 = mov 1
  jmp d
c:
  %0 = mov 2
  jmp d
d:
  ret %0
}""")
    )
