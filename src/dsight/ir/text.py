"""IR as text: show() and parse(), equal after a round trip (spans aside: text has none).

    function probe_1(slots key:16 buf:16, regs 7) {
    entry:
      %0 = ctx
      %1 = load %0+16, 8
      br ugt %1, 256 -> fault, next
    next:
      %2 = slot key
      zero %2+0, 16
      %3 = value globals+24
      %4 = load %3+0, 8
      %5 = call map_lookup_elem, map(counts), %2
      %6 = call probe_read_user, %2, %1<=16, %4
      ret 0
    fault:
      ret 0
    }

The bodies of its loops follow in the same form.  A `#` starts a comment.
Operands stand in the order of ops.OPS with commas between
them, except that an offset is joined to its pointer or map, a condition has no comma
after it, and labels follow an arrow.
"""

from __future__ import annotations

import re

from dsight.errors import fail
from dsight.ir.ops import NO_REG, OPS, Block, Bounded, Function, Instr, MapRef, Reg
from dsight.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.errors import CompileError
    from dsight.ir.ops import Operand


def show(function: Function) -> str:
    """The function as text, with a newline at its end."""
    slots = "".join(f" {name}:{size}" for name, size in function.slots)
    lines = [f"function {function.name}(slots{slots}, regs {function.regs}) {{"]
    for block in function.blocks:
        lines.append(f"{block.label}:")
        lines += ["  " + show_instr(instr) for instr in block.instrs]
    lines.append("}\n")
    return "\n".join(lines) + "".join(map(show, function.bodies))


def show_instr(instr: Instr) -> str:
    """One instruction as text, also when it is not a legal one."""
    text = instr.op if instr.dst == NO_REG else f"{instr.dst} = {instr.op}"
    kinds = OPS[instr.op][1] if instr.op in OPS else ""
    previous = ""
    for n, arg in enumerate(instr.args):
        kind = kinds[n] if n < len(kinds) else "*"
        if kind == "o" and type(arg) is int:
            text += f"{arg:+d}"
        elif previous == "" or previous == "c":
            text += " " + show_operand(arg)
        elif kind == "l" and previous != "l":
            text += " -> " + show_operand(arg)
        else:
            text += ", " + show_operand(arg)
        previous = kind
    return text


def show_operand(arg: Operand) -> str:
    if isinstance(arg, MapRef):
        return f"map({arg.name})"
    if isinstance(arg, Bounded):
        return f"{arg.reg}<={arg.limit}"
    return str(arg)


# What a name may be made of; also what ir.verify asks of labels and slots.
NAME = re.compile(r"[\w.$@]+")
_INTEGER = re.compile(r"-?(?:0x[0-9a-f]{1,16}|[0-9]{1,20})(?!\w)")
_OFFSET = re.compile(r"[+-][0-9]{1,10}(?!\w)")
_REG = re.compile(r"%([0-9]{1,9})(?!\w)")
_MAP = re.compile(r"map\(([\w.$@]+)\)")
_HEAD = re.compile(r"function (\S+)\(slots((?: [\w.$@]+:[0-9]{1,9})*), regs ([0-9]{1,9})\) \{")
_LABEL = re.compile(r"([\w.$@]+):")
_SPACE = re.compile(r"[ \t]*")


def parse(text: str, name: str = "ir") -> Function:
    """The function that `text` (a function and the bodies of its loops) describes; not verified.

    `name` is what messages call the text.  Raises CompileError, tag D_UNKNOWN, at the place.
    """
    source = Source(name, text)
    head: re.Match[str] | None = None
    instrs: list[Instr] = []
    bodies: list[tuple[str, list[Instr]]] = []
    functions: list[Function] = []
    start = 0
    for line in text.split("\n"):
        at = _Line(source, start, line)
        start += len(line) + 1
        if at.done():
            continue
        if head is None:
            head = at.take(_HEAD, "function NAME(slots NAME:SIZE ..., regs N) {")
            bodies = []
        elif at.skip("}"):
            functions.append(_function(head, bodies))
            head = None
        elif found := at.match(_LABEL):
            instrs = []
            bodies.append((found[1], instrs))
        elif bodies:
            instrs.append(at.instr())
        else:
            raise at.wrong("a label is expected before the first instruction")
        if not at.done():
            raise at.wrong("the line should end here")
    if head is not None or not functions:
        raise at.wrong("the text ends before the function does")
    return functions[0].replace(bodies=tuple(functions[1:]))


def _function(head: re.Match[str], bodies: list[tuple[str, list[Instr]]]) -> Function:
    slots = tuple([(slot.partition(":")[0], int(slot.partition(":")[2])) for slot in head[2].split()])
    blocks = tuple([Block(label, tuple(body)) for label, body in bodies])
    return Function(head[1], slots, blocks, int(head[3]))


class _Line:
    """A place in one line of text."""

    __slots__ = ("source", "start", "text", "at")

    def __init__(self, source: Source, start: int, line: str) -> None:
        self.source = source
        self.start = start
        self.text = line.partition("#")[0].rstrip()
        self.at = 0

    def done(self) -> bool:
        """Passes spaces; whether nothing more stands in the line."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.at >= len(self.text)

    def wrong(self, message: str) -> CompileError:
        place = self.start + min(self.at, len(self.text))
        return fail("D_UNKNOWN", message, Span(self.source, place, self.start + len(self.text)))

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.done()
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def take(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = self.match(pattern)
        if not found:
            raise self.wrong(f"{what} is expected here")
        return found

    def skip(self, mark: str) -> bool:
        if self.done() or not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def expect(self, mark: str) -> None:
        if not self.skip(mark):
            raise self.wrong(f"'{mark}' is expected here")

    def reg(self) -> Reg:
        return Reg(self.take(_REG, "a register")[1])

    def integer(self) -> int:
        digits = self.take(_INTEGER, "an integer")[0]
        return int(digits, 16 if "x" in digits else 10)

    def instr(self) -> Instr:
        dst = NO_REG
        if self.text.startswith("%", self.at):
            dst = self.reg()
            self.expect("=")
        self.done()
        place = self.at
        op = self.take(NAME, "an operation")[0]
        if op not in OPS or OPS[op][0] == (dst == NO_REG):
            self.at = place
            problem = "has no result" if dst != NO_REG else "needs a register for its result"
            raise self.wrong(f"{op} {problem}" if op in OPS else f"there is no operation {op}")
        args: list[Operand] = []
        previous = ""
        for kind in OPS[op][1]:
            if kind == "*":
                while self.skip(","):
                    args.append(self.helper_arg())
                continue
            if kind == "l" and previous not in ("", "l"):
                self.expect("->")
            elif previous not in ("", "c") and kind != "o":
                self.expect(",")
            args.append(self.operand(kind))
            previous = kind
        return Instr(op, dst, tuple(args))

    def operand(self, kind: str) -> Operand:
        if kind == "r" or (kind == "v" and self.at_reg()):
            return self.reg()
        if kind in "vnzbki":
            return self.integer()
        if kind == "o":
            return int(self.take(_OFFSET, "an offset, +N or -N,")[0])
        return self.take(NAME, "a name")[0]

    def helper_arg(self) -> Operand:
        found = self.match(_MAP)
        if found:
            return MapRef(found[1])
        if not self.at_reg():
            return self.integer()
        reg = self.reg()
        return Bounded(reg, self.integer()) if self.skip("<=") else reg

    def at_reg(self) -> bool:
        return not self.done() and self.text[self.at] == "%"
