"""Random IR functions for differential tests: text round trip, passes, code generation.

    function = random_function(random.Random(7))
    machine = machine_for(inputs)
    run(function, machine)
    results(machine)              # to be compared with another run, or with the kernel's

Every function verifies, runs to its end in the interpreter, and is one the kernel accepts for a
program kind that may call probe_read_kernel (a raw tracepoint, run by BPF_PROG_TEST_RUN); it reads no
context.  No address reaches a result, so two machines agree.  The maps are MAPS (arguments of
bpf.spec.MapSpec): `in` is filled with `inputs`, `out` collects results, `table` is written and read.

`rng` is anything like random.Random; with hypothesis, st.randoms(use_true_random=False), which shrinks.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from dsight.ir.build import Builder
from dsight.ir.interp import Machine
from dsight.ir.ops import CONDITIONS, Bounded, Function, MapRef, Reg

IN_SIZE, OUT_SIZE, SLOT_SIZE = 128, 512, 16
MAPS: tuple[dict[str, Any], ...] = (
    {"name": "in", "kind": "array", "key_size": 4, "value_size": IN_SIZE, "max_entries": 1},
    {"name": "out", "kind": "array", "key_size": 4, "value_size": OUT_SIZE, "max_entries": 1},
    {"name": "table", "kind": "hash", "key_size": 8, "value_size": SLOT_SIZE, "max_entries": 3},
)

EDGES = [
    0, 1, -1, 2, 3, 7, 8, 10, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF,
    0x7FFFFFFF, 0x80000000, -0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, -(1 << 63), 0x0123456789ABCDEF,
]  # fmt: skip
ARITHMETIC = ("add", "sub", "mul", "and", "or", "xor", "shl", "shr", "sar")
DIVISIONS = ("udiv", "umod", "sdiv", "smod")


def random_inputs(rng: Random) -> bytes:
    """Contents for the map `in`: edge values, random ones and a few strings' bytes."""
    words = [rng.choice(EDGES) if rng.random() < 0.7 else rng.getrandbits(64) for _ in range(IN_SIZE // 8 - 2)]
    packed = b"".join([struct.pack("=Q", word & (1 << 64) - 1) for word in words])
    return packed + bytes([rng.choice(b"\0ab\xff") for _ in range(16)])


def machine_for(inputs: bytes) -> Machine:
    machine = Machine()
    for each in MAPS:
        machine.add_map(**each, initial=inputs if each["name"] == "in" else b"")
    return machine


def results(machine: Machine) -> tuple[bytes, dict[bytes, bytes]]:
    """What the function left: `out` and `table`."""
    return bytes(machine.maps["out"].only_value().data), machine.maps["table"].items()


def random_function(rng: Random, length: int = 30) -> Function:
    """A function of about `length` steps; a step is one to ten instructions."""
    return _Generator(rng).make(length)


class _Generator:
    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.b = Builder("random")
        self.values: list[Reg] = []  # registers with scalars, set on every path to here
        self.variables: list[Reg] = []  # those of them that are set again and again
        self.fault = self.b.label("fault")
        self.forks = 5  # more would take the kernel's verifier too long

    def make(self, length: int) -> Function:
        b = self.b
        self.input, self.out = b.emit("value", "in", 0), b.emit("value", "out", 0)
        self.slots = [b.slot(hint, SLOT_SIZE) for hint in ("key", "buf", "buf")]
        self.pointers = [b.slot_addr(slot) for slot in self.slots]
        for pointer in self.pointers:
            b.emit("zero", pointer, 0, SLOT_SIZE)
        for n in range(3):
            self.values.append(b.load(self.input, n * 8, 8))
        for _ in range(3):
            variable = b.reg()
            b.set(variable, "mov", self.value())
            self.variables.append(variable)
        self.values += self.variables
        self.steps(length)
        for n, register in enumerate(self.values[-40:]):
            b.store(self.out, OUT_SIZE - 8 * (n + 1), 8, register)
        b.ret(self.value())
        b.start(self.fault)
        for n, register in enumerate(self.variables):
            b.store(self.out, 128 + 8 * n, 8, register)
        b.ret(1)
        return b.finish()

    def steps(self, count: int) -> None:
        weights = dict(STEPS)
        for _ in range(count):
            self.rng.choices(list(weights), list(weights.values()))[0](self)

    # -- operands

    def register(self) -> Reg:
        return self.rng.choice(self.values[-12:] + self.variables)

    def value(self) -> Reg | int:
        roll = self.rng.random()
        if self.values and roll < 0.7:
            return self.register()
        return self.rng.choice(EDGES) if roll < 0.97 else self.rng.getrandbits(64)

    def place(self, size: int, write: bool) -> tuple[Reg, int]:
        """A pointer and an offset at which `size` bytes may be accessed."""
        if self.rng.random() < 0.6:
            return self.rng.choice(self.pointers), self.aligned(SLOT_SIZE, size)
        return (self.out, self.aligned(64, size)) if write else (self.input, self.aligned(IN_SIZE, size))

    def aligned(self, room: int, size: int) -> int:
        return self.rng.randrange(0, room - size + 1, size)

    # -- steps

    def arithmetic(self) -> None:
        self.keep(self.rng.choice(ARITHMETIC), self.value(), self.value())

    def keep(self, op: str, *args: Any) -> None:
        """Into a new register, or over a variable."""
        if self.rng.random() < 0.3:
            self.b.set(self.rng.choice(self.variables), op, *args)
        else:
            self.values.append(self.b.emit(op, *args))

    def unary(self) -> None:
        op = self.rng.choice(("mov", "neg", "not", "zext", "sext", "bswap"))
        widths = {"zext": (8, 16, 32), "sext": (8, 16, 32), "bswap": (16, 32, 64)}
        self.keep(op, self.value(), *([self.rng.choice(widths[op])] if op in widths else []))

    def division(self) -> None:
        op = self.rng.choice(DIVISIONS)
        if self.rng.random() < 0.5:
            self.keep(op, self.value(), self.rng.choice([edge for edge in EDGES if edge]))
        else:
            self.keep(op, self.value(), self.b.emit("or", self.value(), 1))

    def comparison(self) -> None:
        self.keep("set", self.rng.choice(list(CONDITIONS)), self.value(), self.value())

    def load(self) -> None:
        size = self.rng.choice((1, 2, 4, 8))
        self.keep("load", *self.place(size, write=False), size)

    def at(self) -> None:
        size = self.rng.choice((1, 2, 4, 8))
        pointer = self.b.emit("at", self.input, self.value(), IN_SIZE - size)
        self.keep("load", pointer, 0, size)

    def store(self) -> None:
        size = self.rng.choice((1, 2, 4, 8))
        self.b.store(*self.place(size, write=True), size, self.value())

    def xadd(self) -> None:
        size = self.rng.choice((4, 8))
        self.b.emit("xadd", *self.place(size, write=True), size, self.value())

    def zero(self) -> None:
        size = self.rng.randrange(1, SLOT_SIZE + 1)
        self.b.emit("zero", self.rng.choice(self.pointers), self.aligned(SLOT_SIZE, size), size)

    def copy(self) -> None:
        size = self.rng.randrange(1, SLOT_SIZE // 2 + 1)
        to = self.rng.choice(self.pointers)
        source = self.rng.choice([p for p in self.pointers if p is not to])
        if self.rng.random() < 0.5:
            self.b.emit("copy", to, self.aligned(SLOT_SIZE, size), self.input, self.aligned(IN_SIZE, size), size)
        else:
            self.b.emit("copy", to, self.aligned(SLOT_SIZE, size), source, self.aligned(SLOT_SIZE, size), size)

    def strcmp(self) -> None:
        if self.rng.random() < 0.5:
            a = self.b.emit("value", "in", IN_SIZE - SLOT_SIZE)
        else:
            a = self.rng.choice(self.pointers)
        self.keep("strcmp", a, self.rng.choice(self.pointers), self.rng.choice((1, 5, 8, SLOT_SIZE)))

    def probe_read(self) -> None:
        b, rng = self.b, self.rng
        address: Reg | int = rng.choice((b.emit("value", "in", rng.randrange(IN_SIZE - SLOT_SIZE)), 0, 16))
        helper = rng.choice(("probe_read_kernel", "probe_read_kernel_str"))
        size = rng.choice((1, 7, SLOT_SIZE, Bounded(self.register(), rng.choice((4, SLOT_SIZE)))))
        self.values.append(b.call(helper, rng.choice(self.pointers), size, address))

    def table(self) -> None:
        b, rng = self.b, self.rng
        key, value = self.pointers[0], rng.choice(self.pointers)
        what = rng.randrange(3)
        if what == 0:
            self.values.append(b.call("map_update_elem", MapRef("table"), key, value, rng.randrange(3)))
        elif what == 1:
            self.values.append(b.call("map_delete_elem", MapRef("table"), key))
        elif self.forks:
            self.forks -= 1
            found = b.call("map_lookup_elem", MapRef("table"), key)
            hit, on = b.label("hit"), b.label("on")
            b.br("eq", found, 0, rng.choice((on, self.fault)), hit)
            b.start(hit)
            b.set(rng.choice(self.variables), "load", found, 8, 4)
            b.store(found, 4, 4, self.value())
            b.start(on)

    def diamond(self) -> None:
        """Two ways, one maybe without code, one maybe to the fault block."""
        if not self.forks:
            return
        self.forks -= 1
        b, rng = self.b, self.rng
        then, other, on = b.label("then"), b.label("else"), b.label("on")
        b.br(rng.choice(list(CONDITIONS)), self.value(), self.value(), then, other)
        before = list(self.values)
        for label in (then, other):
            b.start(label)
            self.values = list(before)
            self.steps(rng.randrange(4))
            b.set(rng.choice(self.variables), "mov", self.value())
            b.jmp(on)
        self.values = before
        b.start(on)

    def guard(self) -> None:
        if self.forks:
            self.forks -= 1
            go = self.b.label("go")
            self.b.br(self.rng.choice(("eq", "slt")), self.value(), self.value(), self.fault, go)
            self.b.start(go)


STEPS = (
    (_Generator.arithmetic, 8), (_Generator.unary, 4), (_Generator.division, 3), (_Generator.comparison, 3),
    (_Generator.load, 3), (_Generator.at, 2), (_Generator.store, 3), (_Generator.xadd, 1), (_Generator.zero, 1),
    (_Generator.copy, 2), (_Generator.strcmp, 1), (_Generator.probe_read, 1), (_Generator.table, 3),
    (_Generator.diamond, 2), (_Generator.guard, 1),
)  # fmt: skip
