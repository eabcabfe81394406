"""The rules of `passes.simplify`: one walk over a function, forward.

A rule may look at how an operand was made where that operand is set once (see
`ir.passes`) and so still has the value it had then.
"""

from __future__ import annotations

from operator import is_

from dsight.ir.arith import BINARY, MASK, UNARY, holds, signed
from dsight.ir.ops import CONDITIONS, NO_REG, OPS, Bounded, Instr, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Function, Operand

_COMMUTE = frozenset({"add", "mul", "and", "or", "xor"})
_DIVIDE = frozenset({"udiv", "umod", "sdiv", "smod"})
_EXTEND = frozenset({"zext", "sext"})
# condition: the same with its operands exchanged
_MIRROR = {
    "eq": "eq", "ne": "ne", "ult": "ugt", "ugt": "ult", "ule": "uge", "uge": "ule",
    "slt": "sgt", "sgt": "slt", "sle": "sge", "sge": "sle", "any": "any", "none": "none",
}  # fmt: skip
_MIRROR |= {f"{c}32": f"{_MIRROR[c]}32" for c in CONDITIONS if f"{c}32" in CONDITIONS}
# Conditions that hold for equal operands.
_REFLEXIVE = frozenset({f"{c}{bits}" for c in ("eq", "ule", "uge", "sle", "sge") for bits in ("", "32")})


def set_counts(function: Function) -> list[int]:
    """For every register, how many instructions set it."""
    counts = [0] * function.regs
    for block in function.blocks:
        for instr in block.instrs:
            if instr.dst != NO_REG:
                counts[instr.dst] += 1
    return counts


class Made:
    """Of each register of a function how often it is set and read, and what sets it (last)."""

    def __init__(self, function: Function) -> None:
        self.sets = set_counts(function)
        self.reads = [0] * function.regs
        self.by: dict[Operand, Instr] = {}
        for block in function.blocks:
            for instr in block.instrs:
                if instr.dst >= 0:
                    self.by[instr.dst] = instr
                for arg in instr.args:
                    reg = arg.reg if type(arg) is Bounded else arg
                    if type(reg) is Reg:
                        self.reads[reg] += 1


# Operations that `Simplifier.rules` has something to say of.
_RULED = frozenset({*BINARY, *UNARY, "set", "br", "store"}) - {"mov"}
# Operations of whose results result_width may know something.
_WIDTHS = frozenset("load peek bswap zext set and or xor shr shl add mul".split())
# operation: indexes of its pointer operands that an offset follows
POINTERS = {op: tuple([n for n in range(len(k)) if k[n : n + 2] == "ro"]) for op, (_, k, _) in OPS.items()}


class Simplifier:
    """What is known while walking over one function."""

    def __init__(self, function: Function) -> None:
        self.once = [count == 1 for count in set_counts(function)]
        # What stands for a register: for good (set once, and so is what stands for it), or in this block.
        self.known: dict[Reg, Reg | int] = {}
        self.local: dict[Reg, Reg | int] = {}
        self.local_users: dict[Reg, list[Reg]] = {}  # register: those that `local` says it stands for
        # How registers that are set once were made: for good, or until another register is set again.
        self.made: dict[Reg, Instr] = {}
        self.made_here: dict[Reg, Instr] = {}
        self.width: dict[Reg, int] = {}  # the register's value is below 2 ** width; else 64

    def block(self, instrs: tuple[Instr, ...]) -> tuple[Instr, ...]:
        self.local.clear()
        self.local_users.clear()
        self.made_here.clear()
        out = []
        for instr in instrs:
            op, dst, old = instr.op, instr.dst, instr.args
            args = self.operands(op, old)
            if op in _RULED:
                op, args = self.rules(op, args)
            if args is not old and (len(args) != len(old) or not all(map(is_, args, old))) or op != instr.op:
                instr = Instr(op, dst, args, instr.span)
            out.append(instr)
            if dst >= 0:
                self.note(instr)
        return tuple(out)

    # -- what is known

    def note(self, instr: Instr) -> None:
        """Remembers what an instruction with a result says of its register."""
        dst, op, args = instr.dst, instr.op, instr.args
        once = self.once[dst]
        if not once:
            self.local.pop(dst, None)
            for user in self.local_users.pop(dst, ()):
                if self.local.get(user) == dst and type(self.local[user]) is Reg:
                    del self.local[user]
            self.made_here.clear()
        if op == "mov":
            value = args[0]
            if type(value) is int:
                if once:
                    self.known[dst] = value
                    self.width[dst] = (value & MASK).bit_length()
                else:
                    self.local[dst] = value
            elif type(value) is Reg and value != dst:
                if once and self.once[value]:
                    self.known[dst] = value
                else:
                    self.local[dst] = value
                    self.local_users.setdefault(value, []).append(dst)
            return
        if once:
            made = self.made
            for arg in args:
                if type(arg) is Reg and not self.once[arg]:
                    made = self.made_here
                    break
            made[dst] = instr
            if op in _WIDTHS and (width := self.result_width(op, args)) < 64:
                self.width[dst] = width

    def how(self, operand: Operand) -> Instr | None:
        """The instruction that made an operand, if its own operands still have their values."""
        if type(operand) is not Reg:
            return None
        return self.made.get(operand) or self.made_here.get(operand)

    def width_of(self, operand: Operand) -> int:
        if type(operand) is Reg:
            return self.width.get(operand, 64)
        return (operand & MASK).bit_length()  # type: ignore[operator]

    def result_width(self, op: str, args: tuple[Operand, ...]) -> int:
        """A bound of the result's width; more than 63 where there is none."""
        if op == "load" or op == "peek":
            return 8 * args[2]  # type: ignore[operator,return-value]
        if op == "bswap":
            return args[1]  # type: ignore[return-value]
        if op == "zext":
            return min(args[1], self.width_of(args[0]))  # type: ignore[type-var,return-value]
        if op == "set":
            return 1
        if op == "and":
            return min(self.width_of(args[0]), self.width_of(args[1]))
        if op == "or" or op == "xor":
            return max(self.width_of(args[0]), self.width_of(args[1]))
        if op == "shr" and type(args[1]) is int:
            return max(0, self.width_of(args[0]) - args[1])
        if op == "shl" and type(args[1]) is int:
            return self.width_of(args[0]) + args[1]
        if op == "add":
            return max(self.width_of(args[0]), self.width_of(args[1])) + 1
        if op == "mul":
            return self.width_of(args[0]) + self.width_of(args[1])
        return 64

    # -- operands

    def operands(self, op: str, args: tuple[Operand, ...]) -> tuple[Operand, ...]:
        """The operands, with what stands for registers in their place."""
        changed: list[Operand] | None = None
        known, local = self.known, self.local
        n = -1
        if op != "call" and known.keys().isdisjoint(args) and local.keys().isdisjoint(args):
            if not POINTERS[op]:
                return args
            looked_at: tuple[Operand, ...] = ()
        else:
            looked_at = args
        for arg in looked_at:
            n += 1
            if type(arg) is Reg:
                if arg in known:
                    value: Operand = known[arg]
                elif arg in local:
                    value = local[arg]
                else:
                    continue
                if type(value) is not Reg:
                    kinds = OPS[op][1]
                    if kinds[min(n, len(kinds) - 1)] not in "v*":
                        continue
            elif type(arg) is Bounded:
                value = self.bounded(arg)
            else:
                continue
            if changed is None:
                changed = list(args)
            changed[n] = value
        if op in _DIVIDE and changed is not None and type(changed[1]) is int and changed[1] & MASK == 0:
            changed[1] = args[1]  # behind the branch that asks: it goes with it
        for n in POINTERS[op]:
            how = self.how(args[n] if changed is None else changed[n])
            if how is not None and how.op == "add" and type(how.args[0]) is Reg and type(how.args[1]) is int:
                if changed is None:
                    changed = list(args)
                offset = changed[n + 1] + how.args[1]  # type: ignore[operator]
                if -(1 << 15) <= offset < 1 << 15:
                    changed[n], changed[n + 1] = how.args[0], offset
        return args if changed is None else tuple(changed)

    def bounded(self, arg: Bounded) -> Operand:
        value = self.known.get(arg.reg)
        if value is None:
            value = self.local.get(arg.reg)
        if value is None:
            return arg
        if type(value) is Reg:
            return Bounded(value, arg.limit)
        return min(value & MASK, arg.limit)

    # -- rules: each takes and gives (operation, operands)

    def rules(self, op: str, args: tuple[Operand, ...]) -> tuple[str, tuple[Operand, ...]]:
        if op in BINARY:
            return self.binary(op, args[0], args[1])
        if op in UNARY:
            value = args[0]
            if type(value) is int:
                return "mov", (signed(UNARY[op](value & MASK)),)
            how = self.how(value)
            if op != "mov" and how is not None and how.op == op:  # -(-a), ~~a
                return "mov", how.args
        elif op == "set":
            return self.set(args)
        elif op == "br":
            return self.branch(args)
        elif op == "store":
            how = self.how(args[3])
            if how is not None and how.op in _EXTEND and how.args[1] >= 8 * args[2]:  # type: ignore[operator]
                return op, (*args[:3], how.args[0])
        return op, args

    def binary(self, op: str, a: Operand, b: Operand) -> tuple[str, tuple[Operand, ...]]:
        if type(a) is int:
            if type(b) is int:
                return "mov", (signed(BINARY[op](a & MASK, b if op in _EXTEND or op == "bswap" else b & MASK)),)
            if op in _COMMUTE:
                a, b = b, a
        if op in _EXTEND:
            return self.extend(op, a, b)  # type: ignore[arg-type]
        if type(b) is int and op != "bswap":
            return self.with_constant(op, a, b & MASK)
        if type(b) is Reg and a == b and type(a) is Reg:
            if op in ("sub", "xor"):
                return "mov", (0,)
            if op in ("and", "or"):
                return "mov", (a,)
        return op, (a, b)

    def extend(self, op: str, a: Operand, bits: int) -> tuple[str, tuple[Operand, ...]]:
        if self.width_of(a) <= bits - (op == "sext"):
            return "mov", (a,)
        how = self.how(a)
        if how is not None and how.op in _EXTEND and how.args[1] >= bits:  # type: ignore[operator]
            return op, (how.args[0], bits)
        if how is not None and how.op == "and" and type(how.args[1]) is int:
            if ~how.args[1] & (1 << bits) - 1 == 0:  # masks off only what does not count
                return op, (how.args[0], bits)
        return op, (a, bits)

    def with_constant(self, op: str, a: Operand, b: int) -> tuple[str, tuple[Operand, ...]]:
        """b is unsigned, and not 0 in a division."""
        width = self.width_of(a)
        if op in ("shl", "shr", "sar"):
            b &= 63
            if op == "sar" and width < 64:
                op = "shr"
            if op == "shr" and b >= width:
                return "mov", (0,)
        if op == "sub":
            op, b = "add", -b & MASK
        if b == 0:
            if op in ("mul", "and"):
                return "mov", (0,)
            return "mov", (a,)  # add or xor shl shr sar
        if b == 1:
            if op in ("umod", "smod"):
                return "mov", (0,)
            if op in ("mul", "udiv", "sdiv"):
                return "mov", (a,)
        if b == MASK:
            if op == "smod":
                return "mov", (0,)
            if op == "or":
                return "mov", (-1,)
            if op == "xor":
                return "not", (a,)
            if op in ("mul", "sdiv"):
                return "neg", (a,)
        if b & b - 1 == 0:
            power = b.bit_length() - 1
            if op == "mul":
                return "shl", (a, power)
            if op == "udiv":
                return "shr", (a, power)
            if op == "umod":
                op, b = "and", b - 1
        if op == "and" and b & (1 << width) - 1 == (1 << width) - 1:
            return "mov", (a,)
        how = self.how(a)
        if how is not None and how.op == op and type(how.args[1]) is int and op in ("add", "and", "or", "xor"):
            return self.with_constant(op, how.args[0], BINARY[op](how.args[1] & MASK, b))
        return op, (a, signed(b))

    def set(self, args: tuple[Operand, ...]) -> tuple[str, tuple[Operand, ...]]:
        condition, a, b = self.compare(*args)
        if condition in ("always", "never"):
            return "mov", (int(condition == "always"),)
        if condition == "ne" and type(b) is int and b & MASK == 0 and self.width_of(a) <= 1:
            return "mov", (a,)
        return "set", (condition, a, b)

    def branch(self, args: tuple[Operand, ...]) -> tuple[str, tuple[Operand, ...]]:
        condition, a, b = self.compare(*args[:3])
        then, other = args[3:]
        if condition == "always" or then == other:
            return "jmp", (then,)
        if condition == "never":
            return "jmp", (other,)
        return "br", (condition, a, b, then, other)

    def compare(self, condition: Operand, a: Operand, b: Operand) -> tuple[str, Operand, Operand]:
        """The comparison made simpler; the condition may become "always" or "never"."""
        assert type(condition) is str
        while True:
            if type(a) is int:
                if type(b) is int:
                    return ("always" if holds(condition, a & MASK, b & MASK) else "never"), a, b
                condition, a, b = _MIRROR[condition], b, a
            if a == b and type(b) is Reg and condition in ("any", "none"):
                condition, b = "ne" if condition == "any" else "eq", 0
            if a == b and type(b) is Reg:
                return ("always" if condition in _REFLEXIVE else "never"), a, b
            if type(b) is not int:
                return condition, a, b
            b = signed(b)
            how = self.how(a)
            if how is None or how.op != "set" or condition not in ("eq", "ne") or b not in (0, 1):
                return condition, a, b
            # `set` compared with 0 or 1: the comparison it made, or its negation
            condition_made, a, made_b = how.args
            condition = str(condition_made) if (condition == "ne") == (b == 0) else CONDITIONS[str(condition_made)]
            b = made_b
