"""eBPF instructions: opcode numbers, and one small function for each form.

Source: the kernel's Documentation/bpf/standardization/instruction-set.rst.  Only what Linux 5.8
runs (cpu v3: 64- and 32-bit arithmetic and jumps, atomic add): no sdiv, movsx, bswap or gotol.

An opcode byte is class | source | operation for arithmetic and jumps,
class | size | mode for memory.  Offsets of jumps count 8-byte slots from the next instruction.
"""

from __future__ import annotations

from dsight.bpf.spec import Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    Ref = tuple[str, str] | tuple[str, str, int]

# Classes
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
# Source of the second operand
K, X = 0x00, 0x08
# Arithmetic
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = range(0x00, 0xE0, 0x10)
# Jumps
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, CALL, EXIT, JLT, JLE, JSLT, JSLE = range(0x00, 0xE0, 0x10)
# Access size in bytes: size bits
SIZES = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
# Modes of memory classes
MEM, ATOMIC = 0x60, 0xC0

LD_IMM64 = 0x18  # two slots
LOOP = 181  # the helper bpf_loop, which `loop` alone calls; enum bpf_func_id
FP = 10  # the frame pointer, read-only

_CALL, _EXIT, _JA = JMP | CALL, JMP | EXIT, JMP | JA
_LE_TO_BE = ALU | X | END

# Insn has a general constructor; at this rate (every instruction of every program) filling its
# slots directly is worth it: 0.6 us in place of 1.8 us.
_new = Insn.__new__
_set_code, _set_dst, _set_src, _set_off, _set_imm, _set_ref, set_span = [
    getattr(Insn, name).__set__ for name in Insn._fields
]


def insn(code: int, dst: int, src: int, off: int, imm: int, ref: Ref | None = None) -> Insn:
    """Any instruction, without a span; `set_span` gives it one while it is being made."""
    i = _new(Insn)
    _set_code(i, code)
    _set_dst(i, dst)
    _set_src(i, src)
    _set_off(i, off)
    _set_imm(i, imm)
    _set_ref(i, ref)
    set_span(i, None)
    return i


def alu(op: int, dst: int, src: int) -> Insn:
    """dst OP= src (64 bits); also mov."""
    return insn(ALU64 | X | op, dst, src, 0, 0)


def alu_imm(op: int, dst: int, imm: int) -> Insn:
    """dst OP= imm, sign-extended to 64 bits; also mov."""
    return insn(ALU64 | op, dst, 0, 0, imm)


def alu32(op: int, dst: int, src: int) -> Insn:
    """The low 32 bits; clears the high ones."""
    return insn(ALU | X | op, dst, src, 0, 0)


def alu32_imm(op: int, dst: int, imm: int) -> Insn:
    return insn(ALU | op, dst, 0, 0, imm)


def neg(dst: int) -> Insn:
    return insn(ALU64 | NEG, dst, 0, 0, 0)


def neg32(dst: int) -> Insn:
    return insn(ALU | NEG, dst, 0, 0, 0)


def be(dst: int, bits: int) -> Insn:
    """To big-endian: on the little-endian machines we know, reverses the low 16, 32 or 64 bits
    and clears the rest."""
    return insn(_LE_TO_BE, dst, 0, 0, bits)


def le(dst: int, bits: int) -> Insn:
    """To little-endian: clears all but the low 16, 32 or 64 bits."""
    return insn(ALU | K | END, dst, 0, 0, bits)


def jump(op: int, dst: int, src: int, off: int = 0) -> Insn:
    """if dst OP src goto off (64 bits)."""
    return insn(JMP | X | op, dst, src, off, 0)


def jump_imm(op: int, dst: int, imm: int, off: int = 0) -> Insn:
    """if dst OP imm goto off; imm is sign-extended, for unsigned comparisons too."""
    return insn(JMP | op, dst, 0, off, imm)


def jump32(op: int, dst: int, src: int, off: int = 0) -> Insn:
    return insn(JMP32 | X | op, dst, src, off, 0)


def jump32_imm(op: int, dst: int, imm: int, off: int = 0) -> Insn:
    return insn(JMP32 | op, dst, 0, off, imm)


def ja(off: int = 0) -> Insn:
    """goto off"""
    return insn(_JA, 0, 0, off, 0)


def load(size: int, dst: int, src: int, off: int) -> Insn:
    """dst = *(size)(src + off), zero-extended"""
    return insn(LDX | MEM | SIZES[size], dst, src, off, 0)


def store(size: int, dst: int, off: int, src: int) -> Insn:
    """*(size)(dst + off) = src"""
    return insn(STX | MEM | SIZES[size], dst, src, off, 0)


def store_imm(size: int, dst: int, off: int, imm: int) -> Insn:
    """*(size)(dst + off) = imm, sign-extended"""
    return insn(ST | MEM | SIZES[size], dst, 0, off, imm)


def xadd(size: int, dst: int, off: int, src: int) -> Insn:
    """atomically *(size)(dst + off) += src; size 4 or 8"""
    return insn(STX | ATOMIC | SIZES[size], dst, src, off, 0)


def ld_imm64(dst: int, imm: int) -> Insn:
    """dst = imm, any 64 bits (signed)"""
    return insn(LD_IMM64, dst, 0, 0, imm)


def ld_map(dst: int, name: str) -> Insn:
    """dst = the map"""
    return insn(LD_IMM64, dst, 0, 0, 0, ("map", name))


def ld_value(dst: int, name: str, offset: int) -> Insn:
    """dst = the address `offset` bytes into the array map's first value"""
    return insn(LD_IMM64, dst, 0, 0, 0, ("value", name, offset))


def call(helper: int) -> Insn:
    """r0 = helper(r1, ..., r5); r1-r5 are lost"""
    return insn(_CALL, 0, 0, 0, helper)


def call_body(name: str) -> Insn:
    """r0 = body(r1, ..., r5), a function of this program; r1-r5 are lost"""
    return insn(_CALL, 0, 1, 0, 0, ("body", name))


def call_kernel(function: int) -> Insn:
    """r0 = function(r1, ..., r5), one of the kernel's that BTF has an id of; r1-r5 are lost"""
    return insn(_CALL, 0, 2, 0, function)


def ld_body(dst: int, name: str) -> Insn:
    """dst = the address of a function of this program, for helpers that call it"""
    return insn(LD_IMM64, dst, 4, 0, 0, ("body", name))


def exit_() -> Insn:
    return insn(_EXIT, 0, 0, 0, 0)


def slots(i: Insn) -> int:
    """8-byte slots the instruction takes."""
    return 2 if i.code == LD_IMM64 else 1


def signed64(n: int) -> int:
    """An integer's low 64 bits as a signed number."""
    return (n + (1 << 63) & 0xFFFFFFFFFFFFFFFF) - (1 << 63)


def fits(n: int) -> bool:
    """Whether a signed number can be an immediate."""
    return -0x80000000 <= n <= 0x7FFFFFFF
