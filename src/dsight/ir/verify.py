"""The IR's rules, checked: run after lowering and, in tests, after every pass.

A function that passes has, besides what ops.py says,
- blocks that can all be reached, in an order in which every jump goes forward;
- no register read on a path that has not set it;
- operands of the kinds in ops.OPS, sizes and offsets that an eBPF instruction can carry,
  and stack slots that fit the 512 bytes a program has (spills come on top: bpf.regs).
"""

from __future__ import annotations

from dsight.ir.ops import CONDITIONS, HELPERS, NO_REG, OPS, TERMINATORS, Bounded, MapRef, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Block, Function, Instr, Operand


class IRError(Exception):
    """The IR is wrong: a bug in dsight, never the user's doing."""


STACK = 512  # bytes; MAX_BPF_STACK, include/linux/filter.h

# helper: number of arguments.  include/uapi/linux/bpf.h, the comment above enum bpf_func_id;
# of the ring buffer's and the map's the kernel's verifier asks every one.
HELPER_ARGS = {
    "map_lookup_elem": 2,
    "map_update_elem": 4,
    "map_delete_elem": 2,
    "map_push_elem": 3,
    "map_pop_elem": 2,
    "ktime_get_ns": 0,
    "get_prandom_u32": 0,
    "get_smp_processor_id": 0,
    "tail_call": 3,
    "get_current_pid_tgid": 0,
    "get_current_uid_gid": 0,
    "get_current_comm": 2,
    "perf_event_output": 5,
    "get_stackid": 3,
    "get_current_task": 0,
    "get_socket_cookie": 1,
    "probe_write_user": 3,
    "get_stack": 4,
    "get_current_cgroup_id": 0,
    "send_signal": 1,
    "probe_read_user": 3,
    "probe_read_kernel": 3,
    "probe_read_user_str": 3,
    "probe_read_kernel_str": 3,
    "ktime_get_boot_ns": 0,
    "ringbuf_output": 4,
    "ringbuf_reserve": 3,
    "ringbuf_submit": 2,
    "ringbuf_discard": 2,
    "ktime_get_tai_ns": 0,
    "get_attach_cookie": 1,
    "get_current_task_btf": 0,
    "task_pt_regs": 1,
}


def verify(function: Function) -> None:
    """Raises IRError, with the offending instruction, where the function breaks a rule."""
    _Verifier(function).run()
    if len({body.name for body in function.bodies}) != len(function.bodies):
        raise IRError(f"{function.name}: two bodies with one name")
    for body in function.bodies:
        if body.bodies:
            raise IRError(f"{function.name}: the body {body.name} has bodies itself")
        _Verifier(body).run()


class _Verifier:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.slots = dict(function.slots)
        self.bodies = {body.name for body in function.bodies}
        self.number = {block.label: n for n, block in enumerate(function.blocks)}

    def run(self) -> None:
        blocks = self.function.blocks
        self.frame()
        # Of each block, the registers set on every path to it, as a bit set; None: no path seen yet.
        known: list[int | None] = [None] * len(blocks)
        known[0] = 0
        for n, block in enumerate(blocks):
            known_here = known[n]
            if known_here is None:
                raise IRError(f"{self.function.name}: block {block.label} cannot be reached")
            known_after = self.block(block, known_here)
            last = block.instrs[-1]
            for label in last.args[3:] if last.op == "br" else last.args if last.op == "jmp" else ():
                target = self.number.get(label, -1) if type(label) is str else -1
                if target < 0:
                    raise self.wrong(block, last, f"there is no block {label}")
                if target <= n:
                    raise self.wrong(block, last, f"the jump to {label} does not go forward")
                before = known[target]
                known[target] = known_after if before is None else before & known_after

    def frame(self) -> None:
        """What is said of the function as a whole."""
        from dsight.ir.text import NAME

        function = self.function
        if not function.blocks:
            raise IRError(f"{function.name}: no blocks")
        if len(self.number) != len(function.blocks):
            raise IRError(f"{function.name}: two blocks with one label")
        if len(self.slots) != len(function.slots):
            raise IRError(f"{function.name}: two slots with one name")
        for name in (*self.number, *self.slots):
            if not NAME.fullmatch(name):
                raise IRError(f"{function.name}: the name {name!r}")
        if any(size <= 0 for size in self.slots.values()):
            raise IRError(f"{function.name}: a slot without bytes")
        used = sum((size + 7) & ~7 for size in self.slots.values())
        if used > STACK:
            raise IRError(f"{function.name}: {used} bytes of stack slots, {STACK} are allowed")

    def block(self, block: Block, known: int) -> int:
        """Checks the instructions, given the registers set before; returns those set after."""
        if not block.instrs or block.instrs[-1].op not in TERMINATORS:
            raise IRError(f"{self.function.name}: block {block.label} has no terminator")
        regs = self.function.regs
        last = len(block.instrs) - 1
        fresh: set[Reg] = set()  # set in this block: spares most looks at the long bit set
        for n, instr in enumerate(block.instrs):
            op, dst, args = instr.op, instr.dst, instr.args
            if op not in OPS:
                raise self.wrong(block, instr, "there is no such operation")
            has_result, kinds, _ = OPS[op]
            if op in TERMINATORS and n < last:
                raise self.wrong(block, instr, "a terminator inside a block")
            if len(args) < len(kinds) - 1 or (len(args) != len(kinds) and kinds != "h*"):
                raise self.wrong(block, instr, f"{len(args)} operands, not {len(kinds)}")
            for kind, arg in zip(kinds, args):
                if not self.fits(kind, arg):
                    raise self.wrong(block, instr, f"the operand {arg!r} where {KINDS[kind]} belongs")
            if problem := self.problem(op, args):
                raise self.wrong(block, instr, problem)
            for arg in args:
                reg = arg.reg if type(arg) is Bounded else arg
                if type(reg) is Reg and reg not in fresh:
                    if not 0 <= reg < regs:
                        raise self.wrong(block, instr, f"the function has no register {reg}")
                    if not known >> reg & 1:
                        raise self.wrong(block, instr, f"{reg} may not have been set")
            if not has_result:
                if dst != NO_REG:
                    raise self.wrong(block, instr, "there is no result to keep")
            elif type(dst) is not Reg or not 0 <= dst < regs:
                raise self.wrong(block, instr, f"the function has no register {dst} for the result")
            else:
                fresh.add(dst)
        for reg in fresh:
            known |= 1 << reg
        return known

    def fits(self, kind: str, arg: Operand) -> bool:
        """Whether the operand is of its kind."""
        if kind == "v":
            return type(arg) is Reg or (type(arg) is int and -(1 << 63) <= arg < 1 << 64)
        if kind == "r":
            return type(arg) is Reg
        if kind == "o":
            return type(arg) is int and -(1 << 29) < arg < 1 << 29
        if kind == "n":
            return type(arg) is int and 0 < arg < 1 << 20
        if kind == "k":
            return type(arg) is int and 0 <= arg < 1 << 29
        if kind == "i":
            return type(arg) is int and 0 <= arg < 1 << 31
        if kind == "z":
            return arg in (1, 2, 4, 8) and type(arg) is int
        if kind == "b":
            return arg in (8, 16, 32, 64) and type(arg) is int
        if kind == "s":
            return type(arg) is str and arg in self.slots
        if kind == "h":
            return type(arg) is str and arg in HELPERS
        if kind == "c":
            return type(arg) is str and arg in CONDITIONS
        return kind == "*" or type(arg) is str  # m; l is looked up with the jumps; * is call_problem's

    def problem(self, op: str, args: tuple[Operand, ...]) -> str:
        """What one operation asks beyond the kinds of its operands; "" where all is well."""
        if op == "call":
            return self.call_problem(args)
        if op == "loop":
            return "" if args[0] in self.bodies else f"there is no body {args[0]}"
        if op in ("udiv", "umod", "sdiv", "smod") and args[1] == 0 and type(args[1]) is int:
            return "a division by 0"
        if op in ("zext", "sext", "bswap") and args[1] == (8 if op == "bswap" else 64):
            return f"{args[1]} bits"
        if op == "xadd" and args[2] not in (4, 8):
            return f"an atomic operation on {args[2]} bytes"
        if op == "value":
            return "" if args[1] >= 0 else "an address before the map's value"  # type: ignore[operator]
        return ""

    def call_problem(self, args: tuple[Operand, ...]) -> str:
        if len(args) - 1 != HELPER_ARGS[args[0]]:  # type: ignore[index]
            return f"{len(args) - 1} arguments, {args[0]} takes {HELPER_ARGS[args[0]]}"  # type: ignore[index]
        for arg in args[1:]:
            if type(arg) is Bounded:
                if type(arg.reg) is not Reg or not 0 < arg.limit < 1 << 29:
                    return f"the bounded argument {arg!r}"
            elif type(arg) is not MapRef and not self.fits("v", arg):
                return f"the argument {arg!r}"
        return ""

    def wrong(self, block: Block, instr: Instr, what: str) -> IRError:
        from dsight.ir.text import show_instr

        return IRError(f"{self.function.name}, {block.label}: {show_instr(instr)}: {what}")


# What messages call the operand kinds of ops.OPS.
KINDS = {
    "v": "a register or a 64-bit integer",
    "r": "a register",
    "n": "a number of bytes",
    "o": "an offset",
    "k": "a greatest index",
    "i": "a BTF id",
    "z": "an access size",
    "b": "a number of bits",
    "s": "a stack slot",
    "m": "a map's name",
    "h": "a helper",
    "c": "a condition",
    "l": "a label",
    "j": "the name of a body",
}
