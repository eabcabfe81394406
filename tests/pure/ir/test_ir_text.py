"""The text form: round trip and errors."""

from __future__ import annotations

import genfunctions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.errors import CompileError
from dsight.ir import text
from dsight.ir.ops import OPS, Block, Bounded, Function, Instr, MapRef, Reg
from dsight.ir.text import parse, show
from dsight.ir.verify import verify

EVERY_OP = """\
function every.op$1(slots key:16 b_2:3, regs 40) {
entry:
  %0 = mov -9223372036854775808
  %1 = add %0, 18446744073709551615
  %2 = zext %1, 32
  %3 = bswap 5, 64
  %4 = neg %3
  %5 = set sle %1, -1
  %6 = ctx
  %7 = slot key
  %8 = value globals+24
  %9 = load %6-8, 8
  store %8+0, 4, 7
  store %8+4, 4, %5
  xadd %8+8, 8, 1
  zero %7+0, 16
  copy %7+0, %8+8, 8
  %10 = strcmp %7, %8, 16
  %11 = call ktime_get_ns
  %12 = call map_update_elem, map(m.1), %7, %8, 0
  %13 = call probe_read_user, %7, %9<=16, %9
  %14 = at %8, %9, 64
  %15 = cast %9, 65486, 0
  %16 = peek %15-8, 4
  loop step, 300, %7
  br ugt %9, 256 -> fault, on
on:
  jmp fault
fault:
  ret 0
}
function step(slots, regs 1) {
entry:
  %0 = ctx
  ret %0
}
"""


def same(a: Function, b: Function) -> bool:
    """Equal, and registers are registers: Reg(3) == 3."""
    return a == b and repr(a.replace(blocks=())) == repr(b.replace(blocks=())) and show(a) == show(b)


def test_every_operation() -> None:
    function = parse(EVERY_OP)
    verify(function)
    assert show(function) == EVERY_OP
    assert function.slots == (("key", 16), ("b_2", 3))
    copy = function.blocks[0].instrs[14]
    assert copy == Instr("copy", Reg(-1), (Reg(7), 0, Reg(8), 8, 8))
    assert [type(arg) for arg in copy.args] == [Reg, int, Reg, int, int]
    call = function.blocks[0].instrs[18]
    assert call.args == ("probe_read_user", Reg(7), Bounded(Reg(9), 16), Reg(9))
    assert function.blocks[0].instrs[17].args[1] == MapRef("m.1")


def test_the_modules_example_parses() -> None:
    assert text.__doc__
    example = "\n".join([line[4:] for line in text.__doc__.split("\n") if line.startswith("    ")]) + "\n"
    assert show(parse(example)) == example
    verify(parse(example))


def test_spaces_comments_and_hexadecimal() -> None:
    function = parse(
        "# a comment\n\nfunction f(slots, regs 1) {  # more\na:\n%0=and 0xff , -0x10\n ret\t%0 # end\n}\n\n"
    )
    assert show(function) == "function f(slots, regs 1) {\na:\n  %0 = and 255, -16\n  ret %0\n}\n"


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_round_trip(rng: genfunctions.Random) -> None:
    function = genfunctions.random_function(rng)
    assert same(parse(show(function)), function)


LINE = "function f(slots s:8, regs 9) {\na:\n  %s\n}"


@pytest.mark.parametrize(
    ("line", "message", "column"),
    [
        ("frob 1", "there is no operation frob", 3),
        ("%1 = frob 1", "there is no operation frob", 8),
        ("add 1, 2", "add needs a register for its result", 3),
        ("%1 = ret 1", "ret has no result", 8),
        ("%1 = add 1", "',' is expected here", 13),
        ("%1 = add 1 2", "',' is expected here", 14),
        ("%1 = add 1, 2, 3", "the line should end here", 16),
        ("%1 = add 1, x", "an integer is expected here", 15),
        ("%1 = add 1, 2x", "an integer is expected here", 15),
        ("%1 = add 1, 099999999999999999999", "an integer is expected here", 15),
        ("%1 = load 5+0, 8", "a register is expected here", 13),
        ("%1 = load %5, 8", "an offset, +N or -N, is expected here", 15),
        ("br eq 1, 2, a, b", "'->' is expected here", 13),
        ("br eq, 1, 2 -> a, b", "an integer is expected here", 8),
        ("% = ctx", "a register is expected here", 3),
        ("%99999999999 = ctx", "a register is expected here", 3),
        ("%1 ctx", "'=' is expected here", 6),
        ("b: ret 0", "the line should end here", 6),
        ("%1 = call ktime_get_ns, map(", "an integer is expected here", 27),
        ("%1 = call ktime_get_ns, %2<=x", "an integer is expected here", 31),
        ("%1 = slot", "a name is expected here", 12),
    ],
)
def test_errors_in_a_line(line: str, message: str, column: int) -> None:
    with pytest.raises(CompileError) as caught:
        parse(LINE % line, "some.ir")
    assert caught.value.message == message
    assert caught.value.tag == "D_UNKNOWN"
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert (span.source.name, span.line, span.column) == ("some.ir", 3, column)


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("", "the text ends before the function does", 1),
        ("func f", "function NAME(slots NAME:SIZE ..., regs N) { is expected here", 1),
        ("function f(slots, regs 1) {\n", "the text ends before the function does", 2),
        ("function f(slots, regs 1) {\nret 0\n}", "a label is expected before the first instruction", 2),
        ("function f(slots, regs 1) {\n}\n\nmore", "function NAME(slots NAME:SIZE ..., regs N) { is expected here", 4),
        ("function f(slots s:-1, regs 1) {\n}", "function NAME(slots NAME:SIZE ..., regs N) { is expected here", 1),
    ],
)
def test_errors_in_the_frame(source: str, message: str, line: int) -> None:
    with pytest.raises(CompileError) as caught:
        parse(source)
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert (caught.value.message, span.line) == (message, line)


@given(st.text(alphabet="%=+-<>,:(){}# \n0129xabeflnrstm", max_size=60), st.integers(0, 400), st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_function_or_an_error(junk: str, at: int, cut: int) -> None:
    source = EVERY_OP[:at] + junk + EVERY_OP[at + cut :]
    try:
        function = parse(source)
    except CompileError:
        return
    assert same(parse(show(function)), function)


def test_illegal_instructions_can_be_shown() -> None:
    assert text.show_instr(Instr("frob", Reg(2), (Reg(1), 3, MapRef("m")))) == "%2 = frob %1, 3, map(m)"
    assert text.show_instr(Instr("br", Reg(-1), (1,))) == "br 1"
    assert text.show_instr(Instr("load", Reg(1), (Reg(0), Reg(2), 8, 9))) == "%1 = load %0, %2, 8, 9"


def test_every_operation_is_in_the_example() -> None:
    shown = {instr.op for block in parse(EVERY_OP).blocks for instr in block.instrs}
    kinds = {OPS[op][1] for op in shown}
    assert {kinds_ for _, kinds_, _ in OPS.values()} <= kinds


def test_an_empty_block_survives() -> None:
    function = Function("f", (), (Block("a", ()), Block("b", ())), 0)
    assert parse(show(function)) == function
