"""Words in memory for one program: what neither registers nor the 512 bytes of stack have room for.

    words = Words(function, "words_dtrace_0")     # that per-CPU array: one value, of words
    function = words.finish(blocks, regs)         # its address is words.pointer, from the first block on

A word holds a number, never a pointer: the kernel's verifier forgets what it is.  Nor does it know of a number
that comes from there where that came from (ir.paths): word 0 is for this.
"""

from __future__ import annotations

from dsight.ir.ops import NO_REG, Block, Bounded, Function, Instr, MapRef, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Operand

MOST = 4000  # words: a value of a per-CPU map, and an instruction's offset, end at 32768 bytes

# What gives a pointer.
POINTER_HELPERS = frozenset({"map_lookup_elem", "ringbuf_reserve", "get_current_task_btf", "task_pt_regs"})
_MOVES = frozenset({"mov", "add", "sub"})


def pointers(function: Function) -> set[Reg]:
    """The registers that may hold a pointer the verifier knows; all others hold numbers."""
    found: set[Reg] = set()
    from_context: set[Reg] = set()
    for block in function.blocks:
        for instr in block.instrs:
            op, dst, args = instr.op, instr.dst, instr.args
            if op == "load":
                if args[0] in from_context:  # a pointer, if something is read behind it
                    found.add(args[0])  # type: ignore[arg-type]
                    from_context.add(dst)
            elif op == "ctx":
                found.add(dst)
                from_context.add(dst)
            elif (
                op in ("slot", "value", "at", "cast")
                or (op == "call" and args[0] in POINTER_HELPERS)
                or (op in _MOVES and any(type(arg) is Reg and arg in found for arg in args))
            ):
                found.add(dst)
    return found


class Words:
    """The words of one function."""

    def __init__(self, function: Function, name: str) -> None:
        self.name = name
        self.function = function
        self.there = function.blocks[0].label == "words"
        self.pointer = function.blocks[0].instrs[2].dst if self.there else Reg(function.regs)
        self.regs = function.regs + (not self.there)

    def finish(self, blocks: list[Block], regs: int) -> Function:
        """The function with these blocks, behind those that find the memory."""
        if self.there:
            return self.function.replace(blocks=tuple(blocks), regs=regs)
        key, span = Reg(regs), blocks[0].instrs[0].span
        find = (
            Instr("slot", key, ("words_key",), span),
            Instr("store", NO_REG, (key, 0, 8, 0), span),
            Instr("call", self.pointer, ("map_lookup_elem", MapRef(self.name), key), span),
            Instr("br", NO_REG, ("eq", self.pointer, 0, "no_words", blocks[0].label), span),
        )
        none = Block("no_words", (Instr("ret", NO_REG, (0,), span),))
        return self.function.replace(
            slots=(*self.function.slots, ("words_key", 8)),
            blocks=(Block("words", find), none, *blocks),
            regs=regs + 1,
        )


def used(function: Function) -> int:
    """How many bytes of words a function uses."""
    if function.blocks[0].label != "words":
        return 0
    pointer, most = function.blocks[0].instrs[2].dst, 0
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in ("load", "store") and instr.args[0] == pointer and type(instr.args[0]) is Reg:
                most = max(most, instr.args[1])  # type: ignore[type-var,assignment]
    return most + 8


def spill(function: Function, name: str, length: int) -> Function:
    """The same function, with the numbers in words that are kept for more than `length` instructions."""
    words = Words(function, name)
    first: dict[Reg, int] = {}
    last: dict[Reg, int] = {}
    at = 0
    for block in function.blocks:
        for instr in block.instrs:
            at += 1
            for reg in (*_registers(instr.args), instr.dst):
                first.setdefault(reg, at)
                last[reg] = at
    start = used(function) or 8
    casts = {i.dst: i for block in function.blocks for i in block.instrs if i.op == "cast"}
    known = pointers(function) - casts.keys()  # a cast is made again of the number
    kept = [reg for reg in first if reg >= 0 and reg not in known and last[reg] - first[reg] > length]
    kept.sort(key=lambda reg: first[reg] - last[reg])
    place = {reg: start + 8 * n for n, reg in enumerate(kept[: MOST - start // 8])}
    regs = words.regs
    blocks = []
    for block in function.blocks:
        out: list[Instr] = []
        for instr in block.instrs:
            args, dst = instr.args, instr.dst
            loaded: dict[Operand, Reg] = {}
            for reg in _registers(args):
                if reg in place and reg not in loaded:
                    loaded[reg] = Reg(regs)
                    regs += 1
                    out.append(Instr("load", loaded[reg], (words.pointer, place[reg], 8), instr.span))
                    if reg in casts:
                        out.append(Instr("cast", Reg(regs), (loaded[reg], *casts[reg].args[1:]), instr.span))
                        loaded[reg] = Reg(regs)
                        regs += 1
            if loaded:
                args = tuple([_instead(arg, loaded) for arg in args])
            if dst in place and dst in casts:
                out.append(Instr("store", NO_REG, (words.pointer, place[dst], 8, args[0]), instr.span))
            elif dst in place:
                made = Reg(regs)
                regs += 1
                out.append(Instr(instr.op, made, args, instr.span))
                out.append(Instr("store", NO_REG, (words.pointer, place[dst], 8, made), instr.span))
            else:
                out.append(Instr(instr.op, dst, args, instr.span) if loaded else instr)
        blocks.append(Block(block.label, tuple(out)))
    return words.finish(blocks, regs)


def _registers(args: tuple[Operand, ...]) -> list[Reg]:
    return [arg.reg if type(arg) is Bounded else arg for arg in args if type(arg) is Reg or type(arg) is Bounded]  # type: ignore[misc]


def _instead(arg: Operand, loaded: dict[Operand, Reg]) -> Operand:
    if type(arg) is Reg:
        return loaded.get(arg, arg)
    if type(arg) is Bounded and arg.reg in loaded:
        return Bounded(loaded[arg.reg], arg.limit)
    return arg
