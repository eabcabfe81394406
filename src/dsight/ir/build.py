"""Builder: how `ir.lower` and the providers write IR.

    b = Builder("probe_1")
    ctx = b.emit("ctx")
    size = b.load(ctx, 16, 8)
    fault, go = b.label("fault"), b.label("go")
    b.br("ugt", size, 256, fault, go)
    b.start(go)
    ...
    b.ret(0)
    b.start(fault)              # sinks may be written whenever it suits
    b.ret(0)
    function = b.finish()

A new Builder stands in the block `entry`.  Code written after a terminator and
before the next `start` cannot be reached and is dropped, so the lowerer need not ask
whether what it has just written falls through (`b.open` says).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from dsight.ir.ops import NO_REG, OPS, TERMINATORS, Block, Bounded, Function, Instr, MapRef, Reg
from dsight.ir.verify import IRError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.ops import Operand
    from dsight.source import Span


class Builder:
    """Collects blocks, registers and stack slots of one Function.

    `span` is attached to every instruction written from then on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.span: Span | None = None
        self.written = 0  # instructions so far
        self.maps: set[str] = set()  # the names of those the instructions so far refer to
        self._regs = 0
        self._slots: dict[str, int] = {}
        self._taken: dict[str, int] = {}  # label or slot name: how often it was asked for
        self._blocks: dict[str, list[Instr]] = {}
        self._current: list[Instr] | None = None
        self.bodies: dict[str, Function] = {}
        self.start(self.label("entry"))

    @property
    def open(self) -> bool:
        """Whether what is written next can follow what was written last."""
        return self._current is not None

    # -- names

    def reg(self) -> Reg:
        """A new register, not yet set."""
        self._regs += 1
        return Reg(self._regs - 1)

    def label(self, hint: str) -> str:
        """A new label: the hint, with a number where it is taken."""
        return self._unique(hint)

    def slot(self, hint: str, size: int) -> str:
        """A new stack slot of `size` bytes; returns its name (`slot_addr` for its address)."""
        name = self._unique(hint)
        self._slots[name] = size
        return name

    def shared_slot(self, name: str, size: int) -> str:
        """The function's one slot of that name, for what is read again before the next such use
        writes: the stack has 512 bytes, and a clause may read memory a hundred times."""
        self._slots[name] = max(size, self._slots.get(name, 0))
        self._taken.setdefault(name, 1)
        return name

    def _unique(self, hint: str) -> str:
        name = hint
        while name in self._taken:
            self._taken[hint] += 1
            name = f"{hint}_{self._taken[hint]}"
        self._taken[name] = 0
        return name

    # -- instructions

    def emit(self, op: str, *args: Operand) -> Reg:
        """Add an operation; returns its new register, NO_REG where it has no result."""
        dst = self.reg() if OPS[op][0] else NO_REG
        self._add(Instr(op, dst, args, self.span))
        return dst

    def set(self, reg: Reg, op: str, *args: Operand) -> None:
        """Add an operation whose result goes into an existing register."""
        self._add(Instr(op, reg, args, self.span))

    def _add(self, instr: Instr) -> None:
        if self._current is None:
            self._current = []  # unreachable: in no block, never seen again
        self._current.append(instr)
        self.written += 1
        op = instr.op
        if op == "call":
            self.maps.update([arg.name for arg in instr.args if type(arg) is MapRef])
        elif op == "value":
            self.maps.add(str(instr.args[0]))
        elif op in TERMINATORS:
            self._current = None

    def const(self, value: int) -> Reg:
        return self.emit("mov", value)

    def load(self, pointer: Reg, offset: int, size: int) -> Reg:
        return self.emit("load", pointer, offset, size)

    def store(self, pointer: Reg, offset: int, size: int, value: Reg | int) -> None:
        self.emit("store", pointer, offset, size, value)

    def slot_addr(self, slot: str) -> Reg:
        return self.emit("slot", slot)

    def call(self, helper: str, *args: Reg | int | MapRef | Bounded) -> Reg:
        return self.emit("call", helper, *args)

    def br(self, condition: str, a: Reg | int, b: Reg | int, then: str, other: str) -> None:
        self.emit("br", condition, a, b, then, other)

    def jmp(self, label: str) -> None:
        self.emit("jmp", label)

    def ret(self, value: Reg | int) -> None:
        self.emit("ret", value)

    # -- blocks

    def start(self, label: str) -> None:
        """Begin the block of `label`; an open block before it goes on into it."""
        if label in self._blocks:
            raise IRError(f"{self.name}: block {label} is started twice")
        if self._current is not None:
            self.jmp(label)
        self._current = self._blocks[label] = []

    def finish(self) -> Function:
        """The Function: blocks that can be reached, every jump forward, otherwise as they were started."""
        blocks = [Block(label, tuple(self._blocks[label])) for label in forward_order(self.name, self._blocks)]
        return Function(self.name, tuple(self._slots.items()), tuple(blocks), self._regs, tuple(self.bodies.values()))


def of_cpu(emit: Callable[..., Reg], name: str, each: int, cpus: int, offset: int = 0) -> Reg:
    """This CPU's part of the only value of an array map that has `each` bytes for each of `cpus`, a power of two;
    `offset` bytes from its start.  No lookup, and nothing to ask."""
    number = emit("and", emit("call", "get_smp_processor_id"), cpus - 1)
    return emit("add", emit("value", name, offset), emit("mul", number, each))


def targets(terminator: Instr) -> tuple[str, ...]:
    """The labels a terminator may go to."""
    if terminator.op == "jmp":
        return terminator.args  # type: ignore[return-value]
    if terminator.op == "br":
        return terminator.args[3:]  # type: ignore[return-value]
    return ()


def forward_order(name: str, blocks: dict[str, list[Instr]]) -> list[str]:
    """The labels that can be reached from the first, in an order in which every jump goes forward;
    of the blocks that may come next always the one that comes first in `blocks`."""
    labels = list(blocks)
    number = {label: n for n, label in enumerate(labels)}
    after: dict[str, tuple[str, ...]] = {}
    todo = labels[:1]
    incoming = {labels[0]: 0}
    while todo:
        label = todo.pop()
        instrs = blocks[label]
        if not instrs or instrs[-1].op not in TERMINATORS:
            raise IRError(f"{name}: block {label} has no terminator")
        after[label] = targets(instrs[-1])
        for target in after[label]:
            if target not in number:
                raise IRError(f"{name}: no block {target}, where {label} goes")
            if target not in incoming:
                incoming[target] = 0
                todo.append(target)
            incoming[target] += 1
    ready = [number[label] for label, count in incoming.items() if not count]
    heapify(ready)
    order = []
    while ready:
        label = labels[heappop(ready)]
        order.append(label)
        for target in after[label]:
            incoming[target] -= 1
            if not incoming[target]:
                heappush(ready, number[target])
    if len(order) < len(incoming):
        raise IRError(f"{name}: a loop through {next(label for label, count in incoming.items() if count)}")
    return order
