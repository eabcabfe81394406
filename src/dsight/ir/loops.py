"""Loops of IR: bodies written once a program, and run where they are wanted.

    def scan(body: Body) -> None:                 # words: 0 the index
        text = body.pointer(1)
        i = body.get(0)
        with body.when("eq", body.byte(text, i, 255), 0):
            body.stop()
        body.put(0, body.b.emit("add", i, 1))

    run(low, "scan_256", 256, scan, (words, text))

What a body knows is in memory: its pointers, of which the first leads to its words, 64-bit numbers.
Memory and not registers, so that every round looks the same to the kernel's verifier.  All pointers
lead to scratch memory or to map values.
"""

from __future__ import annotations

from dsight.ir.build import Builder
from dsight.ir.ops import Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering


class When:
    """`with When(builder, condition, a, c):` writes what is done where a CONDITION c."""

    def __init__(self, b: Builder, condition: str, a: Reg | int, c: Reg | int) -> None:
        self.b = b
        self.after = b.label("after")
        then = b.label("when")
        b.br(condition, a, c, then, self.after)
        b.start(then)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.b.start(self.after)


def pick(b: Builder, condition: str, a: Reg | int, c: Reg | int, yes: Reg | int, no: Reg | int) -> Reg:
    """`yes` where a CONDITION c, else `no`."""
    result = b.reg()
    b.set(result, "mov", no)
    with When(b, condition, a, c):
        b.set(result, "mov", yes)
    return result


class Body:
    """Writes one body.  The text ends with `again`; `stop` ends the loop."""

    def __init__(self, name: str) -> None:
        self.b = Builder(name)
        self._context = self.b.emit("ctx")
        self._words = self.pointer(0)

    def pointer(self, n: int) -> Reg:
        return self.b.load(self._context, 8 * (n + 1), 8)

    def get(self, word: int) -> Reg:
        return self.b.load(self._words, 8 * word, 8)

    def put(self, word: int, value: Reg | int) -> None:
        self.b.store(self._words, 8 * word, 8, value)

    def add(self, word: int, value: Reg | int) -> Reg:
        """Add to a word; the sum."""
        total = self.b.emit("add", self.get(word), value)
        self.put(word, total)
        return total

    def byte(self, pointer: Reg, index: Reg | int, most: int) -> Reg:
        """Byte `index` of an object of most + 1 bytes."""
        return self.b.load(self.b.emit("at", pointer, index, most), 0, 1)

    def set_byte(self, pointer: Reg, index: Reg | int, most: int, value: Reg | int) -> None:
        self.b.store(self.b.emit("at", pointer, index, most), 0, 1, value)

    def append(self, pointer: Reg, word: int, most: int, value: Reg | int) -> None:
        """Write a byte where a word says, which then says one more."""
        at = self.get(word)
        self.set_byte(pointer, at, most, value)
        self.put(word, self.b.emit("add", at, 1))

    def when(self, condition: str, a: Reg | int, c: Reg | int) -> When:
        return When(self.b, condition, a, c)

    def pick(self, condition: str, a: Reg | int, c: Reg | int, yes: Reg | int, no: Reg | int) -> Reg:
        return pick(self.b, condition, a, c, yes, no)

    def again(self) -> None:
        self.b.ret(0)

    def stop(self) -> None:
        self.b.ret(1)


def run(low: Lowering, name: str, rounds: int, write: Callable[[Body], None], pointers: tuple[Reg, ...]) -> None:
    """Run a body at most `rounds` times.  `name` says all that its code depends on."""
    b = low.b
    if name not in b.bodies:
        body = Body(name)
        write(body)
        body.again()
        b.bodies[name] = body.b.finish()
    slot = b.slot_addr(b.shared_slot("loop", 8 * (1 + len(pointers))))
    for n, pointer in enumerate(pointers):
        b.store(slot, 8 * (n + 1), 8, pointer)
    b.emit("loop", name, rounds, slot)


def words(low: Lowering, *values: Reg | int) -> Reg:
    """Words with these values, in scratch memory until the statement ends."""
    pointer = low.scratch_at(low.scratch_temporary(8 * len(values)))
    for n, value in enumerate(values):
        low.b.store(pointer, 8 * n, 8, value)
    return pointer
