"""What nobody reads is not written; what somebody may read is, and cleared."""

from __future__ import annotations

import pytest

from dsight.ir.ops import Function
from dsight.ir.text import parse, show
from dsight.ir.unread import drop_unread, globals_read
from dsight.ir.verify import verify

# Both ways to this CPU's scratch memory
LOOKED_UP = """
%1 = slot zero
store %1+0, 8, 0
%2 = call map_lookup_elem, map(scratch_f), %1
br eq %2, 0 -> out, there
there:"""
INDEXED = """
%1 = call get_smp_processor_id
%3 = and %1, 3
%4 = value scratch_f+0
%5 = shl %3, 8
%2 = add %4, %5"""
SIZE = "%8 = ctx\n%9 = load %8+0, 8\n%10 = load %8+8, 8"


def function(body: str) -> Function:
    made = parse(f"function f(slots zero:8 key:16, regs 40) {{\nentry:\n{body}\njmp out\nout:\nret 0\n}}")
    verify(made)
    return made


def left(made: Function, *others: Function) -> str:
    """The operations that write, once those nobody needs are gone."""
    made = drop_unread(made, globals_read([made, *others]))
    verify(made)
    lines = [line.strip() for line in show(made).split("\n")]
    return "\n".join([line for line in lines if line.startswith(("store %20", "store %21", "zero"))])


def test_only_what_some_program_reads_is_stored() -> None:
    here = function("%20 = value globals+24\nstore %20+0, 8, 5\n%21 = value globals+32\nstore %21+4, 4, 6")
    assert left(here) == ""
    assert "value" not in show(drop_unread(here, globals_read([here])))
    assert left(here, function("%1 = value globals+36\n%2 = load %1+0, 1")) == "store %21+4, 4, 6"
    assert left(here, function("%1 = value globals+24\n%2 = load %1+8, 4")) == "store %21+4, 4, 6"
    assert left(here, function("%1 = value globals+24\n%2 = load %1+0, 8")) == "store %20+0, 8, 5"
    assert left(here, function("%1 = value globals+40\n%2 = load %1+0, 8")) == ""


@pytest.mark.parametrize(
    ("use", "kept"),
    [
        ("%2 = call probe_read_kernel, %1, 8, 0", True),  # a helper may do with it what it likes
        ("%2 = slot key\ncopy %2+0, %1+0, 8", True),
        ("%2 = slot key\n%3 = call map_update_elem, map(m), %2, %1, 0", True),
        ("%2 = slot key\nstore %2+0, 8, %1", True),  # its address may go anywhere
        ("%2 = add %1, 8", True),
        ("%2 = ctx\nstore %1+0, 8, %2", False),
    ],
)
def test_a_variable_whose_address_is_used_is_kept(use: str, kept: bool) -> None:
    here = function("%20 = value globals+32\nstore %20+0, 8, 5")
    assert (left(here, function(f"%1 = value globals+32\n{use}")) != "") == kept
    behind = function(f"%1 = value globals+40\n{use}")
    whole = use.startswith("%2 = slot key\nstore") or "add" in use
    assert (left(here, behind) != "") == whole  # only a known address leads to no other variable


def test_what_the_session_reads_is_stored() -> None:
    here = function("%20 = value globals+0\nstore %20+0, 8, 2")
    assert left(here) == "store %20+0, 8, 2"


def test_a_loops_body_reads_too() -> None:
    here = function("%20 = value globals+24\nstore %20+0, 8, 5\nstore %20+8, 8, 5")
    other = parse(
        "function g(slots w:16, regs 2) {\nentry:\n%0 = slot w\nzero %0+0, 16\nloop g_1, 4, %0\nret 0\n}\n"
        "function g_1(slots, regs 2) {\nentry:\n%0 = value globals+24\n%1 = load %0+0, 8\nret 1\n}"
    )
    verify(other)
    assert left(here, other) == "store %20+0, 8, 5"


@pytest.mark.parametrize("scratch", [LOOKED_UP, INDEXED])
@pytest.mark.parametrize(
    ("use", "cleared"),
    [
        ("", ""),
        ("%11 = load %2+18, 1", "zero %2+16, 8"),
        ("%11 = load %2+18, 1\n%12 = add %2, 40\n%13 = load %12+4, 4", "zero %2+16, 32"),
        ("%11 = load %2+0, 8", ""),  # in front of what is cleared
        ("%11 = load %2+4, 8", "zero %2+8, 8"),
        ("%11 = load %2+76, 8", "zero %2+72, 8"),
        ("%11 = load %2+80, 8", ""),
        ("%11 = add %2, 24\n%12 = slot key\n%13 = call probe_read_kernel, %12, 16, %11", "zero %2+24, 16"),
        ("%12 = slot key\n%13 = call probe_read_kernel, %12, %10<=16, %2", "zero %2+8, 8"),
        ("%11 = call probe_read_kernel_str, %2, 64, %9", ""),  # only written
        ("%12 = slot key\ncopy %12+0, %2+20, 4\ncopy %2+30, %12+0, 4", "zero %2+16, 8"),
        ("%11 = add %2, 32\n%12 = slot key\n%13 = strcmp %12, %11, 12", "zero %2+32, 16"),
        ("%11 = add %2, 60\n%12 = call map_lookup_elem, map(m), %11", "zero %2+56, 24"),  # up to who knows where
        # Pointers that lead on: all of it
        ("%11 = slot key\nstore %11+0, 8, %2", "zero %2+8, 72"),
        ("%11 = at %2, %9, 32\n%12 = load %11+0, 8", "zero %2+8, 72"),
        ("%11 = add %2, %9\n%12 = load %11+0, 8", "zero %2+8, 72"),
        ("%11 = ctx\n%12 = call tail_call, %11, map(parts), 1", "zero %2+8, 72"),
        ("%11 = mov 0\n%11 = mov %2\n%12 = load %11+16, 1", "zero %2+8, 72"),
        ("%11 = add %9, %2", "zero %2+8, 72"),
    ],
)
def test_only_what_may_be_read_is_cleared(scratch: str, use: str, cleared: str) -> None:
    clear = "zero %2+8, 72\n%14 = add %2, 8\n%15 = call probe_read_user, %14, %10<=72, %9"
    made = function(f"{SIZE}{scratch}\n{clear}\n{use}")
    assert left(made) == cleared


def test_other_memory_is_cleared() -> None:
    record = "%20 = call ringbuf_reserve, map(ring), 64, 0\nbr eq %20, 0 -> out, go\ngo:\nzero %20+0, 64"
    made = function(f"{SIZE}{INDEXED}\n{record}\n%11 = call ringbuf_submit, %20, 0")
    assert left(made) == "zero %20+0, 64"


def test_registers_are_not_taken_for_numbers() -> None:
    """%2 points there, 2 does not."""
    made = function(f"{SIZE}{INDEXED}\nzero %2+8, 72\n%11 = add %9, 2\n%12 = slot key\nstore %12+2, 1, 2")
    assert left(made) == ""


@pytest.mark.parametrize("scratch", [LOOKED_UP, INDEXED])
def test_a_pointer_there_that_nobody_reads_leads_nowhere(scratch: str) -> None:
    store = f"{SIZE}{scratch}\nzero %2+0, 64\n%20 = add %2, 64\nstore %20+0, 8, %2\n%11 = load %2+3, 1"
    assert left(function(store)) == "zero %2+0, 8"
    assert left(function(f"{store}\n%12 = load %20+7, 1")) == "zero %2+0, 64\nstore %20+0, 8, %2"
    assert left(function(f"{store}\n%12 = load %20+8, 1")) == "zero %2+0, 8"


def test_what_is_stored_there_and_read_is_kept() -> None:
    made = function(f"{SIZE}{INDEXED}\n%20 = add %2, 64\nstore %20+0, 4, 1\nstore %20+4, 4, 2\n%12 = load %20+4, 4")
    assert left(made) == "store %20+4, 4, 2"
