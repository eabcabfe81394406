"""IR to bytecode: the back end's one entry.

    compile_function(function, "raw_tp")  ->  ProgramSpec

regs.py says where values live, select.py writes the instructions of each IR operation; here the
blocks are strung together and the jumps to labels are filled in.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right

from dsight.bpf import insn as bpf
from dsight.bpf.insn import LD_IMM64, set_span
from dsight.bpf.regs import STACK, allocate
from dsight.bpf.select import RULES, Emitter
from dsight.bpf.spec import ProgramSpec
from dsight.errors import fail
from dsight.ir.build import targets
from dsight.ir.often import weights
from dsight.ir.ops import CLOBBERS, Block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.bpf.spec import Insn
    from dsight.ir.ops import Function

WALKED = 50_000  # operations in all rounds of all loops, where there is no bpf_loop
REACH = 32767  # slots; a jump's offset has 16 bits
# A place to put relay jumps is kept at least every so many instructions; two of these and what
# an operation takes are well within reach even where each instruction takes two slots.
ISLAND = 6000
# Operations in a program that surely needs no relays: they take 3 slots or so, composite ones many more.
SHORT = 5000


def compile_function(function: Function, kind: str, attach: str = "", bpf_loop: bool = True) -> ProgramSpec:
    """A legal Function (ir.verify) as a program; `kind` and `attach` as in ProgramSpec.
    `bpf_loop`: whether the kernel has that helper.

    Raises CompileError where the stack does not hold what the function needs, or a loop is too long.
    """
    if function.bodies and not bpf_loop:
        _refuse_long_loops(function)
    # The stacks of a program and of what it calls are one, in steps of 32 bytes (check_max_stack_depth).
    used = {i.args[0] for block in reachable(function) for i in block.instrs if i.op == "loop"}
    wanted = [body for body in function.bodies if body.name in used]
    bodies = [_compile(body, STACK // 2, 2, bpf_loop) for body in wanted]
    deepest = max([depth for _, depth in bodies], default=0)
    code, _ = _compile(function, STACK - (deepest + 31 & -32), 1, bpf_loop)
    functions: tuple[int, ...] = ()
    if bodies:
        starts = {}
        for body, (more, _) in zip(wanted, bodies):
            starts[body.name] = len(code)
            code += more
        slots = _slots(code)
        for index, i in enumerate(code):
            if i.ref is not None and i.ref[0] == "body":
                distance = slots[starts[i.ref[1]]] - slots[index] - 1
                made = bpf.insn(i.code, i.dst, i.src, i.off, distance)
                set_span(made, i.span)
                code[index] = made
        functions = (0, *[slots[start] for start in starts.values()])
    return ProgramSpec(function.name, kind, tuple(code), attach, functions)


def _refuse_long_loops(function: Function) -> None:
    """The verifier walks every round, most of them on several paths, and a million instructions in all."""
    sizes = {body.name: sum([len(block.instrs) for block in body.blocks]) for body in function.bodies}
    walked = 0
    for block in function.blocks:
        for i in block.instrs:
            if i.op == "loop":
                walked += i.args[1] * sizes[str(i.args[0])]  # type: ignore[operator]
                if walked > WALKED:
                    message = "so much work on strings, or on such long ones, needs Linux 5.17"
                    raise fail("D_UNKNOWN", message, i.span, "make strings shorter: -x strsize=64")


def _compile(function: Function, stack: int, comes_in: int, bpf_loop: bool) -> tuple[list[Insn], int]:
    """One function's code, and how many bytes of stack it uses; its context comes in that register."""
    blocks = reachable(_returning(function))
    allocation = allocate(function, blocks, stack)
    e = Emitter(allocation, bpf_loop)
    places, code = e.places, e.code
    context = places[-1]
    if type(context) is int and context != comes_in:
        code.append(bpf.alu(bpf.MOV, context, comes_in) if context >= 0 else bpf.store(8, bpf.FP, context, comes_in))
    labels: dict[str, int] = {}
    islands: list[int] = []
    next_island = ISLAND
    arriving: dict[str, dict[int, int]] = {blocks[0].label: {}}  # label: Emitter.holds on all ways to it
    order = _layout(blocks) if function.followed else list(range(len(blocks)))
    following = {blocks[n].label: blocks[m].label for n, m in itertools.pairwise(order)}
    for block in blocks:
        labels[block.label] = len(code)
        e.next = following.get(block.label, "")
        e.holds = dict(arriving[block.label])
        for instr in block.instrs:
            e.at += 1
            dst = instr.dst
            if dst >= 0:
                place = places[dst]
                if type(place) is not int and (place is not None or instr.op != "call"):
                    continue  # made where it is used, or not used at all
            start = len(code)
            if start >= next_island:
                islands.append(start)
                next_island = start + ISLAND
            saved = allocation.saved.get(e.at) if instr.op in CLOBBERS else None
            if saved is not None:
                e.touched = True
                for r, slot in saved:
                    code.append(bpf.store(8, bpf.FP, slot, r))
            RULES[instr.op](e, instr)
            if saved is not None:
                for r, slot in saved:
                    code.append(bpf.load(8, r, bpf.FP, slot))
            if e.holds or e.touched:
                e.note()
            e.noted, e.forked, e.touched = len(code), False, False
            span = instr.span
            if span is not None:
                for i in code[start:]:
                    set_span(i, span)
        holds = e.holds
        for label in targets(block.instrs[-1]):
            there = arriving.get(label, holds)
            same = there is holds or not there
            arriving[label] = there if same else {r: slot for r, slot in there.items() if holds.get(r) == slot}
    code, jumps, labels = _laid_out(code, e.jumps, labels, [blocks[n].label for n in order])
    return link(code, jumps, labels, islands), max(allocation.depth, 1)


def _returning(function: Function) -> Function:
    """The same, with what ends the program in place of jumps to where this is all that is done."""
    ends = {
        b.label: b.instrs[0] for b in function.blocks if b.instrs[0].op == "ret" and type(b.instrs[0].args[0]) is int
    }
    blocks = []
    for block in function.blocks:
        last = block.instrs[-1]
        if last.op == "jmp" and last.args[0] in ends:
            block = Block(block.label, (*block.instrs[:-1], ends[str(last.args[0])]))
        blocks.append(block)
    return function.replace(blocks=tuple(blocks))


def _layout(blocks: tuple[Block, ...]) -> list[int]:
    """The order of the blocks in the code: each is followed by the one that most often comes next, if that may be.
    Long programs stay as they are: relays count on it that jumps go forward.  Those that are not `followed` do, too: a
    verifier before 6.8 is in trouble where it comes first to the way on which a variable is a known 0."""
    count = len(blocks)
    if sum([len(block.instrs) for block in blocks]) > SHORT:
        return list(range(count))
    weight = weights(blocks)
    number = {block.label: n for n, block in enumerate(blocks)}
    order: list[int] = []
    placed = [False] * count
    for n in range(count):
        while not placed[n]:
            placed[n] = True
            order.append(n)
            after = [number[label] for label in targets(blocks[n].instrs[-1])]
            n = max([m for m in after if not placed[m]], key=weight.__getitem__, default=n)
    return order


def _laid_out(
    code: list[Insn], jumps: list[tuple[int, str]], labels: dict[str, int], order: list[str]
) -> tuple[list[Insn], list[tuple[int, str]], dict[str, int]]:
    """The code with its blocks in this order; they start at `labels`."""
    if list(labels) == order:
        return code, jumps, labels
    starts = list(labels.values())
    ends = dict(zip(labels, [*starts[1:], len(code)]))
    out, moved = code[: starts[0]], {}  # the context is put in its place before
    for label in order:
        moved[label] = len(out)
        out += code[labels[label] : ends[label]]
    shifts = [moved[label] - start for label, start in labels.items()]
    return out, [(index + shifts[bisect_right(starts, index) - 1], label) for index, label in jumps], moved


def reachable(function: Function) -> tuple[Block, ...]:
    """The blocks some path leads to: the verifier refuses a program with others."""
    seen = {function.blocks[0].label}
    blocks = []
    for block in function.blocks:
        if block.label in seen:
            blocks.append(block)
            last = block.instrs[-1]
            if last.op == "jmp":
                seen.add(last.args[0])  # type: ignore[arg-type]
            elif last.op == "br":
                seen.update(last.args[3:])  # type: ignore[arg-type]
    return tuple(blocks)


def link(code: list[Insn], jumps: list[tuple[int, str]], labels: dict[str, int], islands: list[int]) -> list[Insn]:
    """Fills in the offsets of `jumps` (index into code, label).

    `islands` are indexes where nothing jumps across by a fixed offset: a jump out of reach
    goes to a relay jump there, maybe over several islands.
    """
    at = _slots(code)
    if at[-1] > REACH:
        code, jumps, labels = _relay(code, jumps, labels, islands)
        at = _slots(code)
    for index, label in jumps:
        i = code[index]
        jump = bpf.insn(i.code, i.dst, i.src, at[labels[label]] - at[index] - 1, i.imm)
        set_span(jump, i.span)
        code[index] = jump
    return code


def _slots(code: list[Insn]) -> list[int]:
    """The slot each instruction starts at, and where the program ends."""
    slots, at = [], 0
    for i in code:
        slots.append(at)
        at += 2 if i.code == LD_IMM64 else 1
    slots.append(at)
    return slots


def _relay(
    code: list[Insn], jumps: list[tuple[int, str]], labels: dict[str, int], islands: list[int]
) -> tuple[list[Insn], list[tuple[int, str]], dict[str, int]]:
    """The same program, its islands filled: `goto over; goto A; goto B; ...; over:`.

    Islands part the code into segments.  A jump reaches its own segment and the next; to go
    further it takes the relay at the end of its own, which is as good as a jump from the next.
    """

    def segment(index: int) -> int:
        return bisect_right(islands, index)

    def relay(label: str, island: int) -> str:
        return f"{label} @{island}"  # no label has a space

    relays: list[dict[str, None]] = [{} for _ in islands]
    hops: list[tuple[int, str]] = []
    for index, label in jumps:
        here, there = segment(index), segment(labels[label])
        for island in range(here, there - 1):
            relays[island][label] = None
        hops.append((index, relay(label, here) if there > here + 1 else label))

    out: list[Insn] = []
    out_labels: dict[str, int] = {}
    out_jumps: list[tuple[int, str]] = []
    shifts: list[int] = []
    for island, (start, end) in enumerate(zip([0, *islands], [*islands, len(code)])):
        shifts.append(len(out) - start)
        out += code[start:end]
        wanted = relays[island] if island < len(islands) else {}
        if wanted and out[-1].code not in (bpf.ja().code, bpf.exit_().code):
            out.append(bpf.insn(bpf.ja().code, 0, 0, len(wanted), 0))
        for label in wanted:
            out_labels[relay(label, island)] = len(out)
            near = segment(labels[label]) <= island + 2
            out_jumps.append((len(out), label if near else relay(label, island + 1)))
            out.append(bpf.ja())
    out_jumps += [(index + shifts[segment(index)], label) for index, label in hops]
    out_labels.update({label: index + shifts[segment(index)] for label, index in labels.items()})
    return out, out_jumps, out_labels
