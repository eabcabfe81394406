"""Bytecode as text: show() and parse(), equal after a round trip (spans aside).

       0: r6 = r1                          ; connect.d:3: port = hport + lport
       1: r2 = *(u64 *)(r6 + 16)
       2: if r2 > 256 goto +7              # to 10
       3: *(u32 *)(r10 - 8) = 1
       4: r1 = map(counts)
       6: r3 = value(globals + 24)
       8: call map_lookup_elem
       9: exit

Offsets of jumps count slots from the next instruction.  w1 is the low half of r1.
A `;` or `#` starts a comment, and the number before the colon is one too.
"""

from __future__ import annotations

import re

from dsight.bpf import insn as bpf
from dsight.bpf.insn import LD_IMM64
from dsight.errors import fail
from dsight.ir.ops import HELPERS
from dsight.source import Source, Span, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.bpf.spec import Insn

_ALU = {
    bpf.ADD: "+=", bpf.SUB: "-=", bpf.MUL: "*=", bpf.DIV: "/=", bpf.OR: "|=", bpf.AND: "&=", bpf.LSH: "<<=",
    bpf.RSH: ">>=", bpf.MOD: "%=", bpf.XOR: "^=", bpf.MOV: "=", bpf.ARSH: "s>>=",
}  # fmt: skip
_JUMP = {
    bpf.JEQ: "==", bpf.JGT: ">", bpf.JGE: ">=", bpf.JSET: "&", bpf.JNE: "!=", bpf.JSGT: "s>", bpf.JSGE: "s>=",
    bpf.JLT: "<", bpf.JLE: "<=", bpf.JSLT: "s<", bpf.JSLE: "s<=",
}  # fmt: skip
_SIZE = {0x18: "u64", 0x00: "u32", 0x08: "u16", 0x10: "u8"}


def show(insns: tuple[Insn, ...] | list[Insn]) -> str:
    """The instructions as text, one a line, each group with the D source it came from."""
    names = {number: name for name, number in HELPERS.items()} | {bpf.LOOP: "loop"}
    lines, at, previous = [], 0, None
    for i in insns:
        text = f"{at:4}: {show_insn(i, names)}"
        at += bpf.slots(i)
        note = ""
        if i.span is not None and i.span != previous:
            source = " ".join(i.span.text.split())
            source = source if len(source) <= 60 else source[:57] + "..."
            note = f"; {i.span.source.name}:{i.span.line}: {printable(source)}"
        elif "goto " in text:
            note = f"# to {at + i.off}"
        previous = i.span
        lines.append(f"{text:<40} {note}".rstrip() + "\n")
    return "".join(lines)


def show_insn(i: Insn, names: dict[int, str] | None = None) -> str:
    """One instruction; `names`: of helpers, by number."""
    code, kind = i.code, i.code & 7
    if code == LD_IMM64:
        if i.src == 4:
            return f"r{i.dst} = body({i.imm:+d})"
        if i.ref is None:
            return f"r{i.dst} = {i.imm} ll"
        return f"r{i.dst} = map({i.ref[1]})" if i.ref[0] == "map" else f"r{i.dst} = value({i.ref[1]} + {i.ref[-1]})"
    size = _SIZE[code & 0x18]
    if kind == bpf.LDX and code & 0xE0 == bpf.MEM:
        return f"r{i.dst} = *({size} *)({_address(i.src, i.off)})"
    if kind == bpf.ST and code & 0xE0 == bpf.MEM:
        return f"*({size} *)({_address(i.dst, i.off)}) = {i.imm}"
    if kind == bpf.STX and code & 0xE0 == bpf.MEM:
        return f"*({size} *)({_address(i.dst, i.off)}) = r{i.src}"
    if kind == bpf.STX and code & 0xE0 == bpf.ATOMIC and i.imm == bpf.ADD:
        return f"lock *({size} *)({_address(i.dst, i.off)}) += r{i.src}"
    op = code & 0xF0
    if kind in (bpf.ALU, bpf.ALU64):
        r = "w" if kind == bpf.ALU else "r"
        if op == bpf.NEG:
            return f"{r}{i.dst} = -{r}{i.dst}"
        if op == bpf.END and kind == bpf.ALU:
            return f"r{i.dst} = {'be' if code & bpf.X else 'le'}{i.imm} r{i.dst}"
        if op in _ALU:
            return f"{r}{i.dst} {_ALU[op]} " + (f"{r}{i.src}" if code & bpf.X else str(i.imm))
    if kind == bpf.JMP and op == bpf.CALL:
        if i.src == 2:
            return f"call kernel({i.imm})"
        if i.src:
            return f"call body({i.imm:+d})"
        return "call " + (names or {}).get(i.imm, str(i.imm))
    if kind == bpf.JMP and op == bpf.EXIT:
        return "exit"
    if kind == bpf.JMP and op == bpf.JA:
        return f"goto {i.off:+d}"
    if kind in (bpf.JMP, bpf.JMP32) and op in _JUMP:
        r = "w" if kind == bpf.JMP32 else "r"
        return f"if {r}{i.dst} {_JUMP[op]} " + (f"{r}{i.src}" if code & bpf.X else str(i.imm)) + f" goto {i.off:+d}"
    raise ValueError(f"no text for opcode {code:#04x}")


def _address(r: int, off: int) -> str:
    return f"r{r} {'-' if off < 0 else '+'} {abs(off)}"


# What one line may be: a pattern, whose groups dst, src, off (with sign), imm name the fields they
# fill, and the opcode without what _opcode adds for its groups w (half), size, op.  (?P=w): the same again.
_IMM = r"(?P<imm>-?\d+)"
_SECOND = rf"(?:(?P=w)(?P<src>\d+)|{_IMM})"
_REG = r"(?P<w>[rw])(?P<dst>\d+)"
_TO = r"goto (?P<off>[+-]\d+)"


def _memory(r: str) -> str:
    return rf"\*\((?P<size>u\d+) \*\)\(r(?P<{r}>\d+) (?P<off>[+-] \d+)\)"


_FORMS = (
    (rf"r(?P<dst>\d+) = {_IMM} ll", LD_IMM64),
    (r"r(?P<dst>\d+) = body\((?P<far>[+-]\d+)\)", LD_IMM64),
    (r"call body\((?P<near>[+-]\d+)\)", bpf.JMP | bpf.CALL),
    (r"call kernel\((?P<kernel>\d+)\)", bpf.JMP | bpf.CALL),
    (r"r(?P<dst>\d+) = map\((?P<map>[^)]+)\)", LD_IMM64),
    (r"r(?P<dst>\d+) = value\((?P<value>[^)]+) \+ (?P<at>\d+)\)", LD_IMM64),
    (rf"r(?P<dst>\d+) = {_memory('src')}", bpf.LDX | bpf.MEM),
    (rf"{_memory('dst')} = {_IMM}", bpf.ST | bpf.MEM),
    (rf"{_memory('dst')} = r(?P<src>\d+)", bpf.STX | bpf.MEM),
    (rf"lock {_memory('dst')} \+= r(?P<src>\d+)", bpf.STX | bpf.ATOMIC),
    (rf"{_REG} = -(?P=w)(?P=dst)", bpf.ALU64 | bpf.NEG),
    (r"r(?P<dst>\d+) = be(?P<imm>16|32|64) r(?P=dst)", bpf.ALU | bpf.X | bpf.END),
    (r"r(?P<dst>\d+) = le(?P<imm>16|32|64) r(?P=dst)", bpf.ALU | bpf.END),
    (rf"{_REG} (?P<alu>\S*=) {_SECOND}", bpf.ALU64),
    (rf"if {_REG} (?P<jump>\S+) {_SECOND} {_TO}", bpf.JMP),
    (_TO, bpf.JMP | bpf.JA),
    (r"call (?P<helper>\w+)", bpf.JMP | bpf.CALL),
    (r"exit", bpf.JMP | bpf.EXIT),
)


def parse(text: str, name: str = "asm") -> tuple[Insn, ...]:
    """The instructions `text` describes, without spans.  Raises CompileError, tag D_UNKNOWN, at the line."""
    forms = [(re.compile(pattern), opcode) for pattern, opcode in _FORMS]
    source, start, out = Source(name, text), 0, []
    for line in text.split("\n"):
        body = re.sub(r"^\s*\d+:", "", re.split("[;#]", line)[0]).strip()
        if body:
            matches = [(m.groupdict(), opcode) for pattern, opcode in forms if (m := pattern.fullmatch(body))]
            made = _insn(*matches[0]) if matches else None
            if made is None:
                span = Span(source, start, start + len(line))
                raise fail("D_UNKNOWN", f"this is no instruction: {printable(body)}", span)
            out.append(made)
        start += len(line) + 1
    return tuple(out)


def _insn(groups: dict[str, str | None], code: int) -> Insn | None:
    """The instruction of a matched form; None where a name in it is unknown."""
    get = groups.get
    try:
        if size := get("size"):
            code |= _number(_SIZE, size)
        for table, op in ((_ALU, get("alu")), (_JUMP, get("jump"))):
            if op:
                code |= _number(table, op) | (bpf.X if get("src") else 0)
        imm = int(get("imm") or 0)
        if helper := get("helper"):
            imm = int(helper) if helper.isdigit() else bpf.LOOP if helper == "loop" else HELPERS[helper]
    except KeyError:
        return None
    if get("w") == "w":  # class ALU64 becomes ALU, JMP becomes JMP32
        code ^= 3
    ref: tuple[str, str] | tuple[str, str, int] | None = None
    if name := get("map"):
        ref = ("map", name)
    elif name := get("value"):
        ref = ("value", name, int(get("at") or 0))
    body = get("far") or get("near")
    if body:
        return bpf.insn(code, int(get("dst") or 0), 4 if get("far") else 1, 0, int(body))
    if function := get("kernel"):
        return bpf.call_kernel(int(function))
    off = int((get("off") or "0").replace(" ", ""))
    return bpf.insn(code, int(get("dst") or 0), int(get("src") or 0), off, imm, ref)


def _number(table: dict[int, str], text: str) -> int:
    """The key of `text`; KeyError where there is none."""
    for number, known in table.items():
        if known == text:
            return number
    raise KeyError(text)
