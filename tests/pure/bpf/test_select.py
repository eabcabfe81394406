"""Each row: an IR operation among registers %1, %2 (scalars) and %3 (a map value's address), all
three in machine registers and needed afterwards, and the instructions it becomes."""

from __future__ import annotations

import pytest

from dsight.bpf import asm
from dsight.bpf.compile import compile_function
from dsight.bpf.select import RULES
from dsight.ir.ops import OPS
from dsight.ir.text import parse
from dsight.source import Source, Span

HERE = Span(Source("here", "here"), 0, 4)


def selected(ir: str) -> str:
    """The instructions `ir`, one IR instruction, becomes; of a terminator what stands before the labels."""
    setting = """function f(slots s:16 t:256, regs 20) {
        entry:
          %0 = ctx
          %1 = load %0+0, 8
          %2 = load %0+8, 8
          %3 = value globals+0
          %4 = slot s
          %5 = slot t
          WHAT
        next:
          store %3+0, 8, %1
          store %3+8, 8, %2
          USE
          ret 0
        far:
          ret 1
        }
        function step(slots, regs 0) {
        entry:
          ret 0
        }"""
    if not ir.startswith(("jmp", "br", "ret")):
        ir += "\n jmp next"
    elif "next" not in ir:
        setting = setting.replace("store %3+0, 8, %1", "br eq 1, 1 -> next_1, far\nnext_1:")
    use = "store %3+16, 8, %9" if "%9 =" in ir else ""
    function = parse(setting.replace("WHAT", ir).replace("USE", use))
    first, *rest = function.blocks
    n = next(n for n, i in enumerate(first.instrs) if n > 5)
    instrs = list(first.instrs)
    instrs[n] = instrs[n].replace(span=HERE)
    function = function.replace(blocks=(first.replace(instrs=tuple(instrs)), *rest))
    return "\n".join(
        [asm.show_insn(i) for i in compile_function(function.replace(followed=True), "raw_tp").insns if i.span is HERE]
    )


ROWS: list[tuple[str, str, list[str]]] = [
    ("mov", "%9 = mov %1", ["r4 = r0"]),
    ("mov", "%9 = mov 7", []),
    ("add", "%9 = add %1, %2", ["r3 = r0", "r3 += r5"]),
    ("add", "%9 = add %1, 5", ["r4 = r0", "r4 += 5"]),
    ("add", "%9 = add 5, %1", ["r4 = r0", "r4 += 5"]),
    ("add", "%9 = add %1, 4294967296", ["r4 = 4294967296 ll", "r4 += r0"]),
    ("add", "%9 = add %4, 8", ["r5 = r10", "r5 += -16", "r5 += 8"]),
    ("sub", "%9 = sub %1, 5", ["r4 = r0", "r4 -= 5"]),
    ("sub", "%9 = sub 5, %1", ["r4 = 5", "r4 -= r0"]),
    ("mul", "%9 = mul %1, %2", ["r3 = r0", "r3 *= r5"]),
    ("udiv", "%9 = udiv %1, 10", ["r4 = r0", "r4 /= 10"]),
    ("umod", "%9 = umod %1, %2", ["r3 = r0", "r3 %= r5"]),
    (
        "sdiv",
        "%9 = sdiv %1, 10",
        [
            "r4 = r0", "if r4 s>= 0 goto +1", "r4 = -r4", "r4 /= 10", "if r0 s>= 0 goto +1", "r4 = -r4",
        ],
    ),
    (
        "sdiv",
        "%9 = sdiv %1, -10",
        [
            "r4 = r0", "if r4 s>= 0 goto +1", "r4 = -r4", "r4 /= 10", "if r0 s>= 0 goto +1", "r4 = -r4",
            "r4 = -r4",
        ],
    ),
    (
        "sdiv",
        "%9 = sdiv %1, %2",
        [
            "r3 = r0", "if r3 s>= 0 goto +1", "r3 = -r3", "r2 = r5", "if r2 s>= 0 goto +1", "r2 = -r2",
            "r3 /= r2", "if r0 s>= 0 goto +1", "r3 = -r3", "if r5 s>= 0 goto +1", "r3 = -r3",
        ],
    ),
    (
        "smod",
        "%9 = smod %1, -10",
        [
            "r4 = r0", "if r4 s>= 0 goto +1", "r4 = -r4", "r4 %= 10", "if r0 s>= 0 goto +1", "r4 = -r4",
        ],
    ),
    ("and", "%9 = and %1, 255", ["r4 = r0", "r4 &= 255"]),
    ("or", "%9 = or %1, %2", ["r3 = r0", "r3 |= r5"]),
    ("xor", "%9 = xor %1, -1", ["r4 = r0", "r4 ^= -1"]),
    ("shl", "%9 = shl %1, 65", ["r4 = r0", "r4 <<= 1"]),
    ("shr", "%9 = shr %1, %2", ["r3 = r0", "r3 >>= r5"]),
    ("sar", "%9 = sar %1, 3", ["r4 = r0", "r4 s>>= 3"]),
    ("neg", "%9 = neg %1", ["r4 = r0", "r4 = -r4"]),
    ("not", "%9 = not %1", ["r4 = r0", "r4 ^= -1"]),
    ("zext", "%9 = zext %1, 8", ["r4 = r0", "r4 &= 255"]),
    ("zext", "%9 = zext %1, 16", ["r4 = r0", "r4 &= 65535"]),
    ("zext", "%9 = zext %1, 32", ["w4 = w0"]),
    ("sext", "%9 = sext %1, 8", ["r4 = r0", "r4 <<= 56", "r4 s>>= 56"]),
    ("bswap", "%9 = bswap %1, 16", ["r4 = r0", "r4 = be16 r4"]),
    ("set", "%9 = set ult %1, %2", ["r3 = 1", "if r0 < r5 goto +1", "r3 = 0"]),
    ("set", "%9 = set sgt 3, %1", ["r4 = 1", "if r0 s< 3 goto +1", "r4 = 0"]),
    ("set", "%9 = set slt %1, 0", ["r4 = r0", "r4 >>= 63"]),
    ("ctx", "%9 = ctx", []),
    ("slot", "%9 = slot s", []),
    ("value", "%9 = value globals+24", []),  # made where it is used; used twice: test_compile
    ("at", "%9 = at %3, %1, 24", ["r4 = r0", "if r4 <= 24 goto +1", "r4 = 24", "r4 += r5"]),
    ("at", "%9 = at %3, 40, 24", ["r5 = 24", "r5 += r0"]),
    ("load", "%9 = load %3+4, 4", ["r5 = *(u32 *)(r0 + 4)"]),
    ("load", "%9 = load %4+4, 2", ["r5 = *(u16 *)(r10 - 12)"]),
    ("cast", "%9 = cast %1, 4711, 0", ["r1 = r6", "r2 = 0", "call kernel(4711)"]),
    ("peek", "%9 = peek %3+4, 4", ["r5 = *(u32 *)(r0 + 4)"]),
    ("store", "store %3+4, 4, 4294967295", ["*(u32 *)(r0 + 4) = -1"]),
    ("store", "store %4+8, 8, %1", ["*(u64 *)(r10 - 8) = r0"]),
    ("store", "store %3+8, 8, 4294967296", ["r2 = 4294967296 ll", "*(u64 *)(r0 + 8) = r2"]),
    ("xadd", "xadd %3+0, 8, %1", ["lock *(u64 *)(r5 + 0) += r0"]),
    ("xadd", "xadd %3+0, 8, 1", ["r2 = 1", "lock *(u64 *)(r0 + 0) += r2"]),
    ("call", "%9 = call ktime_get_ns", ["call 5"]),
    (
        "call",
        "%9 = call map_update_elem, map(table), %4, %3, 0",
        [
            "r1 = map(table)", "r2 = r10", "r2 += -16", "r3 = value(globals + 0)", "r4 = 0", "call 2",
        ],
    ),
    (
        "call",
        "%9 = call probe_read_user, %4, %1<=16, %2",
        [
            "r2 = r6", "r3 = r7", "r1 = r10", "r1 += -16", "if r2 <= 16 goto +1", "r2 = 16", "call 112",
        ],
    ),
    ("zero", "zero %4+3, 13", ["*(u8 *)(r10 - 13) = 0", "*(u32 *)(r10 - 12) = 0", "*(u64 *)(r10 - 8) = 0"]),
    (
        "zero",
        "zero %5+0, 200",
        [
            "r1 = r10", "r1 += -256", "r2 = 3", "*(u64 *)(r1 + 0) = 0", "*(u64 *)(r1 + 8) = 0",
            "*(u64 *)(r1 + 16) = 0", "*(u64 *)(r1 + 24) = 0", "*(u64 *)(r1 + 32) = 0", "*(u64 *)(r1 + 40) = 0",
            "*(u64 *)(r1 + 48) = 0", "*(u64 *)(r1 + 56) = 0", "r1 += 64", "r2 -= 1", "if r2 != 0 goto -11",
            "*(u64 *)(r1 + 0) = 0",
        ],
    ),
    (
        "copy",
        "copy %4+0, %3+2, 8",
        [
            "r1 = value(globals + 0)", "r2 = *(u16 *)(r1 + 2)", "*(u16 *)(r10 - 16) = r2", "r2 = *(u16 *)(r1 + 4)",
            "*(u16 *)(r10 - 14) = r2", "r2 = *(u16 *)(r1 + 6)", "*(u16 *)(r10 - 12) = r2", "r2 = *(u16 *)(r1 + 8)",
            "*(u16 *)(r10 - 10) = r2",
        ],
    ),
    (
        "copy",
        "copy %5+0, %3+0, 203",
        [
            "r1 = r10", "r1 += -256", "r2 = value(globals + 0)", "r3 = 3", "r0 = *(u64 *)(r2 + 0)",
            "*(u64 *)(r1 + 0) = r0", "r0 = *(u64 *)(r2 + 8)", "*(u64 *)(r1 + 8) = r0", "r0 = *(u64 *)(r2 + 16)",
            "*(u64 *)(r1 + 16) = r0", "r0 = *(u64 *)(r2 + 24)", "*(u64 *)(r1 + 24) = r0", "r0 = *(u64 *)(r2 + 32)",
            "*(u64 *)(r1 + 32) = r0", "r0 = *(u64 *)(r2 + 40)", "*(u64 *)(r1 + 40) = r0", "r0 = *(u64 *)(r2 + 48)",
            "*(u64 *)(r1 + 48) = r0", "r0 = *(u64 *)(r2 + 56)", "*(u64 *)(r1 + 56) = r0", "r1 += 64", "r2 += 64",
            "r3 -= 1", "if r3 != 0 goto -20", "r0 = *(u64 *)(r2 + 0)", "*(u64 *)(r1 + 0) = r0",
            "r0 = *(u16 *)(r2 + 8)", "*(u16 *)(r1 + 8) = r0", "r0 = *(u8 *)(r2 + 10)", "*(u8 *)(r1 + 10) = r0",
        ],
    ),
    (
        "strcmp",
        "%9 = strcmp %4, %3, 9",
        [
            "r1 = r10", "r1 += -16", "r2 = value(globals + 0)", "r3 = 1", "r4 = *(u64 *)(r1 + 0)",
            "r5 = *(u64 *)(r2 + 0)", "if r4 == r5 goto +26", "r1 = r5", "r5 = r4", "r5 ^= -1",
            "r0 = -72340172838076673 ll", "r0 += r4", "r0 &= r5", "r5 = -9187201950435737472 ll", "r0 &= r5",
            "r2 = r0", "r2 -= 1", "r2 ^= r0", "r3 = r4", "r3 ^= r1", "r5 = r3", "r5 = -r5", "r3 &= r5", "r0 = 0",
            "if r3 > r2 goto +38", "r4 = be64 r4", "r1 = be64 r1", "r0 = 1", "if r4 > r1 goto +34", "r0 = -1",
            "goto +32", "r5 = r4", "r5 ^= -1", "r0 = -72340172838076673 ll", "r0 += r4", "r0 &= r5",
            "r5 = -9187201950435737472 ll", "r0 &= r5", "if r0 == 0 goto +2", "r0 = 0", "goto +20", "r1 += 8",
            "r2 += 8", "r3 -= 1", "if r3 != 0 goto -45", "r3 = 1", "r4 = *(u8 *)(r1 + 0)", "r5 = *(u8 *)(r2 + 0)",
            "if r4 == r5 goto +4", "r0 = 1", "if r4 > r5 goto +10", "r0 = -1", "goto +8", "r0 = 0",
            "if r4 != 0 goto +1", "goto +5", "r1 += 1", "r2 += 1", "r3 -= 1", "if r3 != 0 goto -14", "r0 = 0",
        ],
    ),
    (
        "loop",
        "loop step, 300, %4",
        ["r1 = 300", "r2 = 0", "r3 = r10", "r3 += -16", "r4 = 0", "r2 = body(+10)", "call 181"],
    ),
    ("jmp", "jmp next", []),
    ("br", "br slt %1, 3 -> next, far", ["if r0 s>= 3 goto +4"]),
    ("br", "br slt %1, 3 -> far, next", ["if r0 s>= 3 goto +2"]),
    ("br", "br ult 3, %1 -> far, next", ["if r0 <= 3 goto +2"]),
    ("br", "br slt32 %1, 3 -> next, far", ["if w0 s>= 3 goto +4"]),
    ("br", "br ult32 4294967295, %1 -> far, next", ["if w0 <= -1 goto +2"]),
    ("br", "br eq32 %1, %2 -> far, next", ["if w0 != w5 goto +2"]),
    ("ret", "ret 3", ["r0 = 3", "exit"]),
    ("ret", "ret %2", ["exit"]),
]  # fmt: skip


@pytest.mark.parametrize("op, ir, expected", ROWS, ids=[row[1] for row in ROWS])
def test_rule(op: str, ir: str, expected: list[str]) -> None:
    assert f" {op} " in f" {ir} "
    assert selected(ir).split("\n") == (expected or [""])


def test_every_operation_has_a_rule_and_a_row_in_order() -> None:
    assert list(RULES) == list(OPS)
    assert list(dict.fromkeys(op for op, _, _ in ROWS)) == list(OPS)
