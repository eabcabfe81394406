"""The back end on the real kernel: the verifier takes what it makes, and what it makes does
what ir.interp says.  Programs are raw tracepoints run by BPF_PROG_TEST_RUN; results are left in
the map `out`."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from dsight.bpf import insn as bpf
from dsight.bpf.compile import REACH, compile_function
from dsight.bpf.spec import MapSpec
from dsight.ir.build import Builder
from dsight.ir.interp import Machine, run
from dsight.ir.ops import CONDITIONS, Bounded, Function, MapRef, Reg
from dsight.ir.passes import optimise
from dsight.ir.verify import verify
from dsight.kernel import maps, programs

sys.path.insert(0, str(Path(__file__).parents[1] / "pure" / "ir"))
import genfunctions

pytestmark = pytest.mark.kernel

OUT_SIZE = 4096
SPECS = (
    MapSpec("in", "array", 4, 1024, 1),
    MapSpec("out", "array", 4, OUT_SIZE, 1),
    MapSpec("table", "hash", 8, 16, 3),
    MapSpec("ring", "ringbuf", 0, 0, 4096),
)
CTX = struct.pack("=12q", *range(100, 112))
EDGES = [0, 1, -1, 7, -7, 255, -256, 0x7FFFFFFF, -0x80000000, 0x80000000, 1 << 32, (1 << 63) - 1, -(1 << 63)]


class Outcome:
    """What a run returned and left in `out` and `table`; instructions the verifier walked."""

    def __init__(self, result: int, out: bytes, table: dict[bytes, bytes], walked: int = 0) -> None:
        self.result = result
        self.out = out
        self.table = table
        self.walked = walked

    def word(self, n: int) -> int:
        """The 64-bit number at out[8 * n], signed."""
        value: int = struct.unpack_from("=q", self.out, 8 * n)[0]
        return value


def in_kernel(function: Function, given: bytes = b"", specs: tuple[MapSpec, ...] = SPECS, ctx: bytes = CTX) -> Outcome:
    spec = compile_function(function, "raw_tp")
    made: dict[str, maps.Map] = {}
    program = None
    try:
        for each in specs:
            made[each.name] = maps.create(each.replace(initial=given) if each.name == "in" else each)
        program = programs.load(spec, made)
        result = program.test_run(ctx)
        out = made["out"].lookup(bytes(4))
        assert out is not None
        return Outcome(result, out, dict(made["table"].items()), program.info().verified_insns)
    finally:
        for each_map in made.values():
            each_map.close()
        if program:
            program.close()


def interpreted(function: Function, given: bytes = b"", specs: tuple[MapSpec, ...] = SPECS) -> Outcome:
    machine = Machine(CTX)
    for each in specs:
        sizes = (each.key_size, each.value_size, each.max_entries)
        machine.add_map(each.name, each.kind, *sizes, initial=given if each.name == "in" else b"")
    result = run(function, machine) & 0xFFFFFFFF
    return Outcome(result, bytes(machine.maps["out"].only_value().data), dict(machine.maps["table"].items()))


def same(function: Function, given: bytes = b"", specs: tuple[MapSpec, ...] = SPECS) -> Outcome:
    """Runs it both ways and compares; the kernel's outcome."""
    verify(function)
    got, want = in_kernel(function, given, specs), interpreted(function, given, specs)
    assert got.result == want.result
    words = range(len(want.out) // 8)
    assert [(n, got.word(n)) for n in words] == [(n, want.word(n)) for n in words]
    assert got.table == want.table
    return got


class Writer(Builder):
    """Stores results one after another into `out`."""

    def __init__(self) -> None:
        super().__init__("backend")
        self.input, self.out, self.count = self.emit("value", "in", 0), self.emit("value", "out", 0), 0

    def keep(self, value: Reg | int) -> None:
        self.store(self.out, 8 * self.count, 8, value)
        self.count += 1

    def number(self, n: int) -> Reg:
        """The n-th number of `in`: nothing known before the program runs."""
        return self.load(self.input, 8 * n, 8)

    def done(self) -> Function:
        self.ret(self.count)
        return self.finish()


GIVEN = struct.pack(f"={len(EDGES)}q", *EDGES)


def groups(seeds: int, size: int) -> Iterator[range]:
    for start in range(0, seeds, size):
        yield range(start, start + size)


@pytest.mark.parametrize("seeds", list(groups(200, 20)), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_random_functions(seeds: range) -> None:
    specs = tuple([MapSpec(**each) for each in genfunctions.MAPS])
    for seed in seeds:
        rng = Random(seed)
        function = genfunctions.random_function(rng, rng.choice((5, 30, 80, 150)))
        same(optimise(function) if seed % 2 else function, genfunctions.random_inputs(rng), specs)


BINARY = ("add", "sub", "mul", "udiv", "umod", "sdiv", "smod", "and", "or", "xor", "shl", "shr", "sar")


@pytest.mark.parametrize("op", BINARY)
def test_binary_operations(op: str) -> None:
    """Every pair of edge values: both in registers, one constant, and the result over an operand."""
    divides = op in ("udiv", "umod", "sdiv", "smod")
    for n in range(len(EDGES)):
        b = Writer()
        for m, constant in enumerate(EDGES):
            if divides and not constant:
                continue
            x, y = b.number(n), b.number(m)
            b.keep(b.emit(op, x, y))
            b.keep(b.emit(op, x, constant))
            if not divides or EDGES[n]:
                b.keep(b.emit(op, constant, b.number(n)))
            b.set(y, op, x, y)
            b.keep(y)
            z = b.number(m)
            b.set(x, op, x, z)
            b.keep(x)
        same(b.done(), GIVEN)


def test_unary_operations() -> None:
    for op, bits in [
        ("mov", ()), ("neg", ()), ("not", ()), *[("zext", (n,)) for n in (8, 16, 32)],
        *[("sext", (n,)) for n in (8, 16, 32)], *[("bswap", (n,)) for n in (16, 32, 64)],
    ]:  # fmt: skip
        b = Writer()
        for n, constant in enumerate(EDGES):
            x = b.number(n)
            b.keep(b.emit(op, x, *bits))
            b.keep(b.emit(op, constant, *bits))
            b.set(x, op, x, *bits)
            b.keep(x)
        same(b.done(), GIVEN)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions(condition: str) -> None:
    """set and br, on every pair of edge values."""
    for n in range(len(EDGES)):
        b = Writer()
        for m, constant in enumerate(EDGES):
            x, y = b.number(n), b.number(m)
            b.keep(b.emit("set", condition, x, y))
            b.keep(b.emit("set", condition, x, constant))
            b.keep(b.emit("set", condition, constant, y))
            yes, no, on = b.label("yes"), b.label("no"), b.label("on")
            b.br(condition, x, y, yes, no)
            for label, value in ((yes, 1), (no, 2)):
                b.start(label)
                b.store(b.out, 8 * b.count, 8, value)
                b.jmp(on)
            b.start(on)
            b.count += 1
            b.set(x, "set", condition, x, y)
            b.keep(x)
        same(b.done(), GIVEN)


def test_context() -> None:
    b = Writer()
    for n in range(6):
        b.keep(b.load(b.emit("ctx"), 8 * n, 8))
        b.call("ktime_get_ns")
        b.keep(b.load(b.emit("ctx"), 8 * n, 4))
    same(b.done())


def test_memory() -> None:
    """Loads and stores of each size, constant and not; atomic addition; on the stack and in a map."""
    b = Writer()
    slot = b.slot_addr(b.slot("s", 64))
    b.emit("zero", slot, 0, 64)
    x, far = b.number(11), b.emit("add", b.out, 2048)
    for pointer in (slot, far):
        for size in (1, 2, 4, 8):
            for value in (x, -2, 0xFEDCBA9876543210):
                b.store(pointer, 8, size, value)
                b.keep(b.load(pointer, 8, 8))
                b.keep(b.load(pointer, 8, size))
        for size in (4, 8):
            for value in (x, 5, 1 << 40):
                b.emit("xadd", pointer, 16, size, value)
                b.keep(b.load(pointer, 16, 8))
    same(b.done(), GIVEN)


SIZES = (1, 3, 7, 8, 9, 16, 31, 128, 129, 136, 200, 256, 257, 300)


def where(b: Writer, kind: str, size: int) -> Reg:
    """A pointer to memory of a kind, zeroed; a record is submitted by `give_back`."""
    if kind == "stack":
        pointer = b.slot_addr(b.slot("s", size))
        b.emit("zero", pointer, 0, size)
        return pointer
    if kind == "map":
        return b.emit("value", "out", 2048)
    record = b.call("ringbuf_reserve", MapRef("ring"), size + 7 & ~7, 0)
    no, yes = b.label("full"), b.label("got")
    b.br("eq", record, 0, no, yes)
    b.start(no)
    b.ret(-1)
    b.start(yes)
    b.emit("zero", record, 0, size)
    return record


@pytest.mark.parametrize("to_offset, from_offset", [(0, 0), (8, 16), (4, 0), (2, 6), (3, 3), (0, 5)])
@pytest.mark.parametrize("kind", ["stack", "map", "record"])
def test_copy_and_zero(kind: str, to_offset: int, from_offset: int) -> None:
    given = bytes([n % 251 + 1 for n in range(1024)])
    for size in SIZES:
        b = Writer()
        room = (size + to_offset + 16) // 8 * 8
        pointer = where(b, kind, room)
        b.emit("copy", pointer, to_offset, b.input, from_offset, size)
        b.emit("zero", pointer, to_offset + size // 3, size // 3 or 1)
        for n in range(room // 8):
            b.keep(b.load(pointer, 8 * n, 8))
        if kind == "record":
            b.call("ringbuf_discard", pointer, 0)
        got = in_kernel(b.done(), given)
        want = bytearray(room)
        want[to_offset : to_offset + size] = given[from_offset : from_offset + size]
        at = to_offset + size // 3
        want[at : at + (size // 3 or 1)] = bytes(size // 3 or 1)
        assert got.out[:room] == bytes(want), f"{size} bytes"


STRINGS = [b"", b"a", b"ab", b"abc", b"abd", b"\xff", b"a" * 7, b"a" * 8, b"aaaaaaab", b"aaaaaaa\x80"]
STRINGS += [b"a" * 15, b"a" * 16, b"a" * 255, b"a" * 256]


@pytest.mark.parametrize("kind", ["stack", "map", "record"])
def test_strcmp(kind: str) -> None:
    for a in STRINGS:
        for other in STRINGS[STRINGS.index(a) // 2 :: 2]:
            size = 256 if len(a) > 16 or len(other) > 16 else 16
            b = Writer()
            pointer = where(b, kind, size)
            b.emit("copy", pointer, 0, b.input, 0, size)
            other_pointer = b.emit("value", "in", 512)
            b.keep(b.emit("strcmp", pointer, other_pointer, size))
            b.keep(b.emit("strcmp", other_pointer, pointer, size))
            b.keep(b.emit("strcmp", pointer, pointer, 1))
            if kind == "record":
                b.call("ringbuf_submit", pointer, 0)
            # What lies behind the NULs does not count
            given = (a + b"\0").ljust(512, b"\x80") + (other + b"\0").ljust(512, b"\x01")
            got = in_kernel(b.done(), given)
            x, y = a[:size], other[:size]
            assert [got.word(0), got.word(1), got.word(2)] == [(x > y) - (x < y), (y > x) - (y < x), 0]


def test_bounded_argument() -> None:
    """Clamped as an unsigned number, also where the register is spilled or constant."""
    for size in (0, 3, 16, 17, -1):
        b = Writer()
        n = b.number(0)
        slot = b.slot_addr(b.slot("s", 16))
        b.emit("zero", slot, 0, 16)
        held = [b.call("ktime_get_ns") for _ in range(6)]
        address = b.emit("value", "in", 8)
        b.keep(b.call("probe_read_kernel", slot, Bounded(n, 16), address))
        b.keep(b.load(slot, 0, 8))
        b.keep(b.load(slot, 8, 8))
        b.keep(b.call("probe_read_kernel_str", slot, Bounded(b.const(40), 16), address))
        b.keep(b.load(slot, 0, 8))
        for value in held:
            b.keep(b.emit("set", "eq", value, 0))
        same(b.done(), struct.pack("=q", size) + b"0123456789abcdefgh")


# -- what the verifier might mind


def test_many_values_across_calls() -> None:
    b = Writer()
    held = []
    for n in range(40):
        held.append(b.emit("add", b.number(n % len(EDGES)), n))
        b.call("ktime_get_ns")
    for value in held:
        b.keep(value)
        b.call("ktime_get_ns")
    for value in reversed(held):
        b.keep(b.emit("mul", value, held[0]))
    same(b.done(), GIVEN)


def test_pointers_across_calls() -> None:
    """Pointers to the values of a map, not yet checked and checked, stay pointers when spilled."""
    b = Writer()
    key, value = b.slot_addr(b.slot("key", 8)), b.slot_addr(b.slot("value", 16))
    b.emit("zero", value, 0, 16)
    found = []
    for n in range(3):
        b.store(key, 0, 8, n)
        b.store(value, 0, 8, 1000 + n)
        b.call("map_update_elem", MapRef("table"), key, value, 0)
        found += [b.call("map_lookup_elem", MapRef("table"), key) for _ in range(3)]
    missing = b.label("missing")
    for pointer in found:
        b.call("ktime_get_ns")
        there = b.label("there")
        b.br("eq", pointer, 0, missing, there)
        b.start(there)
    for pointer in found + found[::-1]:
        b.call("ktime_get_ns")
        b.keep(b.load(pointer, 0, 8))
        b.emit("xadd", pointer, 8, 8, 1)
    context = b.emit("ctx")
    b.keep(b.load(context, 16, 8))
    function = b
    b.ret(b.count)
    b.start(missing)
    b.ret(-1)
    same(function.finish())


@pytest.mark.parametrize("records", [1, 4, 7])
def test_records_across_calls(records: int) -> None:
    """Several at once, more than there are registers for."""
    b = Writer()
    made: list[Reg] = []
    for n in range(records):
        record = b.call("ringbuf_reserve", MapRef("ring"), 64, 0)
        full, got = b.label("full"), b.label("got")
        b.br("eq", record, 0, full, got)
        b.start(full)
        for other in made:
            b.call("ringbuf_discard", other, 0)
        b.ret(-1)
        b.start(got)
        made.append(record)
        b.store(record, 0, 8, n)
    for record in made:
        b.call("get_current_comm", b.emit("add", record, 16), 16)
        b.store(record, 8, 8, b.call("ktime_get_ns"))
    for record in made:
        b.keep(b.load(record, 0, 8))
        b.call("ringbuf_submit", record, 0)
    assert [in_kernel(b.done()).word(n) for n in range(records)] == list(range(records))


def diamonds(count: int, each: Callable[[Writer, int, Reg], None], spread: int = 1) -> Function:
    """So many ifs in a row, on numbers the verifier does not know."""
    b = Writer()
    for n in range(count):
        then, other, on = b.label("then"), b.label("else"), b.label("on")
        x = b.number(n % len(EDGES))
        b.br("sgt", x, n % spread, then, other)
        for label in (then, other):
            b.start(label)
            each(b, n, x)
            b.jmp(on)
        b.start(on)
    return b.done()


def test_diamonds_in_sequence() -> None:
    """The verifier joins the paths: its work grows with the number of ifs, not with that of paths."""

    def store(b: Writer, n: int, x: Reg) -> None:
        b.store(b.out, 8 * n, 8, x)

    walked = {count: same(diamonds(count, store), GIVEN).walked for count in (75, 300)}
    assert walked[300] < 300 * 40
    assert walked[300] < 5 * walked[75]


def test_diamonds_with_values_that_live_on() -> None:
    """Each if sets a variable one way or the other; all are read in the end."""
    b = Writer()
    variables = [b.reg() for _ in range(30)]
    for n, variable in enumerate(variables):
        then, other, on = b.label("then"), b.label("else"), b.label("on")
        b.br("slt", b.number(n % len(EDGES)), 0, then, other)
        for label, value in ((then, n), (other, -n)):
            b.start(label)
            b.set(variable, "mov", value)
            b.jmp(on)
        b.start(on)
        b.call("ktime_get_ns")
    for variable in variables:
        b.keep(variable)
    assert same(b.done(), GIVEN).walked < 10_000


def test_truth_values_in_sequence() -> None:
    """`set` forks the verifier's path; the result is tested later."""
    b = Writer()
    for n in range(150):
        truth = b.emit("set", "ult", b.number(n % len(EDGES)), b.number((n + 3) % len(EDGES)))
        both = b.emit("and", truth, b.emit("set", "ne", b.number((n + 5) % len(EDGES)), 0))
        then, on = b.label("then"), b.label("on")
        b.br("ne", both, 0, then, on)
        b.start(then)
        b.emit("xadd", b.out, 0, 8, 1 + n)
        b.start(on)
    assert same(b.done(), GIVEN).walked < 150 * 100


def test_string_comparisons_in_sequence() -> None:
    """40 of 256 bytes, each guarding a clause, as in a script with many predicates."""
    b = Writer()
    for _ in range(40):
        b.emit("strcmp", b.input, b.emit("value", "in", 512), 256)
        result = b.emit("strcmp", b.input, b.emit("value", "in", 256), 256)
        then, on = b.label("then"), b.label("on")
        b.br("eq", result, 0, then, on)
        b.start(then)
        b.emit("xadd", b.out, 0, 8, 1)
        b.start(on)
    got = in_kernel(b.done(), b"the same".ljust(256, b"\0") + b"the same")
    assert got.word(0) == 40
    assert got.walked < 600_000


def test_the_tail_of_a_large_program() -> None:
    """30,000 IR instructions: jumps to the end are relayed; what stands at the end still runs."""
    b = Writer()
    end = b.label("end")
    pointer = b.emit("add", b.out, 8)
    for n in range(3000):
        x = b.number(n % len(EDGES))
        go = b.label("go")
        b.br("eq", x, 12345, end, go)
        b.start(go)
        y = b.emit("add", x, n)
        b.store(pointer, 0, 8, b.emit("xor", y, b.load(pointer, 0, 8)))
        b.call("ktime_get_ns")
        b.store(pointer, 8, 8, b.emit("sub", y, b.load(pointer, 8, 8)))
        b.store(pointer, 16, 8, b.emit("mul", x, n))
    b.jmp(end)
    b.start(end)
    b.store(b.out, 0, 8, 77)
    b.ret(3)
    function = b.finish()
    assert sum(len(block.instrs) for block in function.blocks) >= 30_000
    insns = compile_function(function, "raw_tp").insns
    assert sum(map(bpf.slots, insns)) > REACH
    assert same(function, GIVEN).word(0) == 77
    early = struct.pack("=q", 12345)
    assert same(function, early).word(0) == 77
