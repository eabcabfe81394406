"""Pointers followed from the running thread on, read as the kernel's verifier knows them: without casts.

    function = walk(function, struct, number)     # struct("task_struct"): a btf Struct, or None; number(...): its id

bpf_get_current_task_btf() gives a pointer of which the verifier knows the struct, and so it does of what is read where
that struct has a pointer to another (btf_struct_walk() in kernel/bpf/btf.c).  Such a pointer is no number: a function
that does more with one than to compare it with 0, to keep it or to read behind it stays as it is.

Where what was read is read again by the helper (ir.lower_memory) it is a number, which is cast.
"""

from __future__ import annotations

from dsight.btf.types import Array, Enum, Int, Pointer, Struct, unqualified
from dsight.ir.arith import MASK
from dsight.ir.ops import Block, Bounded, Function, Instr, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.btf.types import Type
    from dsight.ir.ops import Operand

    Uses = dict[Operand, list[Instr]]

_TASK = "task_struct"


def walk(function: Function, struct: Callable[[str], Type | None], number: Callable[[str], int | None]) -> Function:
    calls = [i for block in function.blocks for i in block.instrs if i.op == "call" and i.args[0] == "get_current_task"]
    task = unqualified(found) if calls and (found := struct(_TASK)) is not None else None
    if not isinstance(task, Struct):
        return function
    walker = _Walker(function, number)
    walker.start(calls, task)
    return walker.written() if walker.names else function


class _Walker:
    def __init__(self, function: Function, number: Callable[[str], int | None]) -> None:
        self.function = function
        self.number = number
        self.sets: Uses = {}
        self.uses: Uses = {}
        for block in function.blocks:
            for instr in block.instrs:
                if instr.dst >= 0:
                    self.sets.setdefault(instr.dst, []).append(instr)
                for arg in instr.args:
                    reg = arg.reg if type(arg) is Bounded else arg
                    if type(reg) is Reg:
                        self.uses.setdefault(reg, []).append(instr)
        self.names: dict[Operand, Reg] = {}  # what is read instead of the result of a cast
        self.typed: dict[Operand, int] = {}  # what such casts were of, if read again by the helper: its struct's BTF id
        self.roots: set[Operand] = set()  # what has the address of the thread, to be read at
        self.calls: set[int] = set()  # id() of the calls that are to give a pointer

    def start(self, calls: list[Instr], task: Struct) -> None:
        results = {call.dst for call in calls}
        casts: dict[Operand, Reg] = {}  # what is cast to be read: of which call's result
        for result in results:
            uses = self.uses.get(result, [])
            if not all(one.op == "call" and one.args == calls[0].args for one in self.sets[result]):
                return
            if not all(self.is_cast(use, result) for use in uses):
                return
            casts.update({use.dst: result for use in uses})
        self.roots = set(casts)
        todo = list(casts)
        while todo:
            for use in self.uses.get(todo.pop(), []):
                if use.op == "mov" and use.dst not in self.roots:
                    if not all(one.op == "mov" and one.args[0] in self.roots for one in self.sets[use.dst]):
                        return
                    self.roots.add(use.dst)
                    todo.append(use.dst)
        if all(self.may_read(root, task) for root in self.roots):
            self.calls.update(map(id, calls))
            self.names.update(casts)
            for root in self.roots:
                self.follow(root, task)

    def is_cast(self, use: Instr, reg: Reg) -> bool:
        if use.op != "cast" or use.args[0] != reg or use.args[2] != 0:
            return False
        return all(one.args == use.args for one in self.sets[use.dst])

    def may_read(self, base: Operand, struct: Struct) -> bool:
        """Whether all that is read behind a pointer is something the verifier lets it read, and no pointer that then
        is taken for a number."""
        for use in self.uses.get(base, []):
            if use.op == "mov" and use.dst in self.roots:
                continue
            if use.op != "peek":
                return False
            member = _member(struct, *use.args[1:])  # type: ignore[arg-type]
            if member is None or (isinstance(member, Struct) and not self.harmless(use.dst, set())):
                return False
        return True

    def follow(self, base: Operand, struct: Struct) -> None:
        """The pointers read behind one: no casts of those either, where this may be."""
        for use in self.uses.get(base, []):
            if use.op == "mov":
                continue
            member, read = _member(struct, *use.args[1:]), use.dst  # type: ignore[arg-type]
            if not isinstance(member, Struct):
                continue
            ops = sorted([instr.op for instr in self.sets[read]])
            if ops != ["load", "peek"] and (ops != ["peek"] or struct.name != _TASK):
                continue  # the verifier may ask for a comparison with 0, of which there is none
            number = self.number(member.name) if member.name else None
            for cast in self.uses.get(read, []) if number else ():
                if self.is_cast(cast, read) and self.may_read(cast.dst, member):
                    self.names[cast.dst] = read
                    self.typed[read] = number or 0
                    self.follow(cast.dst, member)

    def harmless(self, reg: Reg, seen: set[Reg]) -> bool:
        """Whether nothing is done with a register that the verifier refuses for a pointer."""
        if reg in seen:
            return True
        seen.add(reg)
        for use in self.uses.get(reg, []):
            op, args = use.op, use.args
            if op == "cast" or (op == "store" and args[2] == 8 and args[0] != reg):
                continue
            if op in ("br", "set") and type(args[2]) is int and args[0] in ("eq", "ne", "any"):
                continue
            if op == "mov" or (op == "add" and type(args[1]) is int):
                if self.harmless(use.dst, seen):
                    continue
            if op == "call" and args[0] in ("probe_read_kernel", "probe_read_kernel_str") and reg not in args[1:3]:
                continue
            return False
        return True

    def written(self) -> Function:
        blocks = []
        for block in self.function.blocks:
            out = []
            for instr in block.instrs:
                if instr.dst in self.names:
                    continue
                op, args = instr.op, instr.args
                if id(instr) in self.calls:
                    args = ("get_current_task_btf",)
                elif op == "br" and args[0] == "any" and args[1] in self.typed and _everything(args[2]):
                    args = ("ne", args[1], 0, *args[3:])  # which is how the verifier learns that it is not 0
                elif not self.names.keys().isdisjoint(args):
                    args = tuple([self.name(arg) for arg in args])
                out.append(instr if args is instr.args else Instr(op, instr.dst, args, instr.span))
                if instr.dst in self.typed and op == "load":
                    cast = next(use for use in self.uses[instr.dst] if use.op == "cast")
                    args = instr.dst, cast.args[1], self.typed[instr.dst]
                    out.append(Instr("cast", instr.dst, args, instr.span))
            blocks.append(Block(block.label, tuple(out)))
        return self.function.replace(blocks=tuple(blocks))

    def name(self, arg: Operand) -> Operand:
        while type(arg) is Reg and arg in self.names:
            arg = self.names[arg]
        return arg


def _everything(mask: Operand) -> bool:
    return type(mask) is int and mask & MASK == MASK


def _member(struct: Struct, offset: int, size: int) -> Struct | bool | None:
    """What is read there: a pointer to a struct gives that; a number True; None: nothing that the verifier lets a
    program read, as far as this knows."""
    if struct.kind != "struct":
        return None
    for m in struct.members:
        at = offset - m.bit_offset // 8
        inner = unqualified(m.type)
        if m.bits or not 0 <= at < inner.size:
            continue
        if isinstance(inner, Struct):
            return _member(inner, at, size)
        if isinstance(inner, Array) and isinstance(unqualified(inner.of), Int):
            return True if at % size == 0 and at + size <= inner.size else None
        if at or size != inner.size:
            return None
        if isinstance(inner, Pointer):
            to = unqualified(inner.to)
            return to if isinstance(to, Struct) else True
        return True if isinstance(inner, (Int, Enum)) else None
    return None
