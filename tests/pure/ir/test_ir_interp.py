"""The interpreter: what each operation means, what each helper gives, what is forbidden."""

from __future__ import annotations

import errno
import sys

import pytest

from dsight.ir.interp import Machine, run
from dsight.ir.ops import CONDITIONS, HELPERS, OPS
from dsight.ir.text import parse
from dsight.ir.verify import IRError, verify

MIN, MAX, ALL = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


def execute(body: str, machine: Machine | None = None, slots: str = "", values: tuple[int, ...] = ()) -> int:
    """The signed result of a body whose first registers, %0 on, hold `values`."""
    sets = "".join([f"%{n} = mov {value}\n" for n, value in enumerate(values)])
    function = parse(f"function f(slots{slots}, regs 40) {{\nentry:\n{sets}{body}\n}}")
    verify(function)
    result = run(function, machine or Machine())
    assert 0 <= result <= ALL
    return result - (1 << 64) if result >> 63 else result


BINARY = [
    ("add", 2, 3, 5), ("add", MAX, 1, MIN), ("add", -1, 1, 0),
    ("sub", 2, 3, -1), ("sub", MIN, 1, MAX), ("sub", 0, MIN, MIN),
    ("mul", -3, 5, -15), ("mul", MIN, -1, MIN), ("mul", 1 << 32, 1 << 32, 0), ("mul", MAX, 2, -2),
    ("udiv", 7, 2, 3), ("udiv", -1, 2, MAX), ("udiv", MIN, -1, 0), ("udiv", 1, MIN, 0),
    ("umod", 7, 2, 1), ("umod", -1, 10, 5), ("umod", MIN, -1, MIN),
    ("sdiv", -7, 2, -3), ("sdiv", 7, -2, -3), ("sdiv", -7, -2, 3), ("sdiv", MIN, -1, MIN), ("sdiv", MIN, 1, MIN),
    ("sdiv", 5, MIN, 0), ("sdiv", MIN, 10, -922337203685477580),
    ("smod", -7, 2, -1), ("smod", 7, -2, 1), ("smod", -7, -2, -1), ("smod", MIN, -1, 0), ("smod", MIN, 10, -8),
    ("smod", 5, MIN, 5),
    ("and", -1, 0xF0, 0xF0), ("and", MIN, MAX, 0),
    ("or", MIN, MAX, -1), ("or", 5, 2, 7),
    ("xor", -1, 5, -6), ("xor", MIN, MIN, 0),
    ("shl", 1, 63, MIN), ("shl", 1, 64, 1), ("shl", 1, 65, 2), ("shl", 1, -1, MIN), ("shl", -1, 32, -(1 << 32)),
    ("shr", -1, 63, 1), ("shr", -1, 64, -1), ("shr", MIN, 1, 1 << 62), ("shr", 8, 67, 1),
    ("sar", -1, 63, -1), ("sar", MIN, 63, -1), ("sar", MAX, 62, 1), ("sar", -8, 65, -4), ("sar", -8, 64, -8),
    ("zext", -1, 8, 0xFF), ("zext", 0x1FFFF, 16, 0xFFFF), ("zext", MIN, 32, 0), ("zext", -1, 32, 0xFFFFFFFF),
    ("sext", 0x80, 8, -128), ("sext", 0x17F, 8, 127), ("sext", 0x8000, 16, -32768), ("sext", 1 << 31, 32, -1 << 31),
    ("sext", 0x7FFFFFFF, 32, 0x7FFFFFFF), ("sext", 0xFF00000000, 32, 0),
    ("bswap", 0x1234, 16, 0x3412), ("bswap", 0xFFFF1234, 16, 0x3412), ("bswap", 0x12345678, 32, 0x78563412),
    ("bswap", 0xFF00000080, 32, 0x80000000), ("bswap", 0x80, 64, MIN),
    ("bswap", 0x0102030405060708, 64, 0x0807060504030201),
]  # fmt: skip


@pytest.mark.parametrize(("op", "a", "b", "result"), BINARY)
def test_binary(op: str, a: int, b: int, result: int) -> None:
    second = b if OPS[op][1] == "vb" else "%1"
    assert execute(f"%2 = {op} %0, {second}\nret %2", values=(a, b)) == result


@pytest.mark.parametrize(
    ("op", "a", "result"),
    [
        ("mov", -1, -1), ("mov", ALL, -1), ("neg", 5, -5), ("neg", MIN, MIN), ("neg", 0, 0), ("not", 0, -1),
        ("not", MIN, MAX),
    ],
)  # fmt: skip
def test_unary(op: str, a: int, result: int) -> None:
    assert execute(f"%1 = {op} %0\nret %1", values=(a,)) == result


CONDITION_TABLE = [  # a, b, those that hold
    (1, 1, "eq ule uge sle sge any"),
    (1, 2, "ne ult ule slt sle none"),
    (-1, 1, "ne ugt uge slt sle any"),
    (MIN, MAX, "ne ugt uge slt sle none"),
    (MAX, MIN, "ne ult ule sgt sge none"),
    (MIN, MIN, "eq ule uge sle sge any"),
]
TABLE32 = [
    (1, 1, "eq ule uge sle sge"),
    (1 | 7 << 32, 1, "eq ule uge sle sge"),
    (1 | 7 << 32, 2, "ne ult ule slt sle"),
    (1 << 31, 1 | 7 << 40, "ne ugt uge slt sle"),
    (-1, 0xFFFFFFFF, "eq ule uge sle sge"),
    (-1, 5 << 31, "ne ugt uge sgt sge"),
]


@pytest.mark.parametrize(
    ("condition", "a", "b", "holding"),
    [(c, *row) for c in CONDITIONS if not c.endswith("32") for row in CONDITION_TABLE]
    + [
        (c, a, b, holding.replace(" ", "32 ") + "32")
        for c in CONDITIONS
        if c.endswith("32")
        for a, b, holding in TABLE32
    ],
)
def test_conditions(condition: str, a: int, b: int, holding: str) -> None:
    expected = int(condition in holding.split())
    assert execute(f"%2 = set {condition} %0, %1\nret %2", values=(a, b)) == expected
    assert execute(f"br {condition} %0, %1 -> y, n\ny:\nret 1\nn:\nret 0", values=(a, b)) == expected
    negated = execute(f"%2 = set {CONDITIONS[condition]} %0, %1\nret %2", values=(a, b))
    assert negated == 1 - expected


def test_every_pure_operation_is_tested() -> None:
    assert {row[0] for row in BINARY} == {op for op, (_, kinds, _) in OPS.items() if kinds in ("vv", "vb")}


def test_memory_operations() -> None:
    machine = Machine(bytes(range(16)))
    machine.add_map("m", "array", 4, 16, 1, b"\xff" * 16)
    text = """%0 = ctx
%1 = slot s
%2 = value m+4
store %1+0, 8, -1
store %1+0, 4, 4886718345
store %1+4, 2, %0
store %1+4, 1, 7
store %1+5, 1, 8
xadd %1+0, 4, -1
xadd %2+4, 8, 2
zero %2+0, 3
copy %1+6, %0+8, 2
%3 = load %1+0, 8
ret %3"""
    data = b"\x88\x67\x45\x23\x07\x08\x08\x09"
    assert execute(text, machine, " s:8") == int.from_bytes(data, sys.byteorder)
    contents = bytes(machine.maps["m"].only_value().data)
    assert contents == b"\xff" * 4 + bytes(3) + b"\xff" + b"\x01" + bytes(7)


@pytest.mark.parametrize(
    ("size", "value"), [(1, 0x80), (2, 0x8180), (4, 0x83828180), (8, 0x8786858483828180 - (1 << 64))]
)
def test_loads_are_zero_extended_and_in_host_order(size: int, value: int) -> None:
    machine = Machine(b"\0" + bytes(range(0x80, 0x88)))
    assert execute(f"%0 = ctx\n%1 = add %0, 2\n%2 = load %1-1, {size}\nret %2", machine) == (
        value if sys.byteorder == "little" else int.from_bytes(bytes(range(0x80, 0x80 + size)), "big", signed=size == 8)
    )


@pytest.mark.parametrize(
    ("a", "b", "n", "result"),
    [
        (b"abc\0xxxx", b"abc\0yyyy", 8, 0), (b"abd\0", b"abc\0", 4, 1), (b"abc\0", b"abd\0", 4, -1),
        (b"ab\0\0", b"abc\0", 4, -1), (b"\xff\0", b"\x01\0", 2, 1), (b"\0", b"\0", 1, 0), (b"abcd", b"abce", 3, 0),
        (b"\0z", b"\0a", 2, 0), (b"a\0", b"\0a", 2, 1),
    ],
)  # fmt: skip
def test_strcmp(a: bytes, b: bytes, n: int, result: int) -> None:
    machine = Machine(a)
    machine.add_map("m", "array", 4, len(b), 1, b)
    assert execute(f"%0 = ctx\n%1 = value m+0\n%2 = strcmp %0, %1, {n}\nret %2", machine) == result


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%0 = load %9+0, 8", "8 bytes at 0x0 are read: no object of the program's"),
        ("%0 = ctx\n%0 = load %0+1, 8", "no object of the program's"),
        ("%0 = ctx\n%0 = load %0-1, 1", "no object of the program's"),
        ("%0 = ctx\nstore %0+0, 1, 1", "ctx may not be"),
        ("%0 = slot s\n%0 = load %0+0, 8", "bytes 0 to 8 of slot s are read but not all were written"),
        ("%0 = slot s\nstore %0+0, 8, 1\n%0 = load %0+4, 8", "bytes 4 to 12 of slot s are read but not all"),
        ("%0 = slot s\nstore %0+9, 8, 1", "no object of the program's"),
        ("%0 = slot s\nxadd %0+0, 8, 1", "not all were written"),
        ("%0 = value two+0", "two is not an array of one value"),
        ("%0 = value hash+0", "hash is not an array of one value"),
        ("%0 = value none+0", "the machine has no map none"),
        ("%0 = value frozen+0\nstore %0+0, 8, 1", "a value of frozen may not be"),
        ("%0 = udiv 1, %9", "division by 0"),
        ("%0 = call get_stackid, 1, 2, 3", "the interpreter has no such helper"),
        ("%0 = call map_lookup_elem, map(hash), %9", "no object of the program's"),
        ("%0 = slot s\nstore %0+0, 4, 1\n%0 = call map_lookup_elem, map(hash), %0", "not all were written"),
        ("%0 = call ringbuf_reserve, map(ring), 8, 1", "flags must be 0"),
        ("%0 = call ringbuf_reserve, map(hash), 8, 0", "is no ring buffer"),
        ("%0 = call ringbuf_reserve, map(ring), 8, 0", "neither submitted nor discarded"),
        ("%0 = call ringbuf_submit, 5, 0", "0x5 is submitted but is no reserved record"),
        ("%0 = call ringbuf_reserve, map(ring), 8, 0\n%1 = call ringbuf_discard, %0, 0\nstore %0+0, 8, 1", "no object"),
        ("%0 = slot s\n%1 = call get_current_comm, %0, 0", "a size of 0"),
        ("%0 = slot s\n%1 = call get_current_comm, %0, 17", "no object of the program's"),
        ("%0 = slot s\n%1 = call probe_read_user, %0, 536870912, 0", "a size of 536870912"),
        ("%0 = slot s\n%1 = call probe_read_user, %0, %9<=16, 0", "not all were written"),
        ("%0 = slot s\nzero %0+0, 16\n%1 = call probe_read_user, %0, %9<=17, 0", "less than the 17 bytes its"),
        ("%0 = call get_attach_cookie, 5", "the argument is not the context"),
    ],
)  # fmt: skip
def test_forbidden(body: str, message: str) -> None:
    machine = Machine(bytes(8))
    machine.add_map("two", "array", 4, 8, 2)
    machine.add_map("hash", "hash", 8, 8, 1)
    machine.add_map("frozen", "array", 4, 8, 1, b"x", readonly=True)
    machine.add_map("ring", "ringbuf", 0, 0, 64)
    with pytest.raises(IRError) as caught:
        execute(f"%9 = mov 0\n{body}\nret 0", machine, " s:16")
    assert message in str(caught.value)


def test_slots_are_fresh_in_each_run() -> None:
    machine = Machine()
    execute("%0 = slot s\nstore %0+0, 8, 1\nret 0", machine, " s:8")
    with pytest.raises(IRError, match="not all were written"):
        execute("%0 = slot s\n%0 = load %0+0, 8\nret 0", machine, " s:8")


# -- helpers


def test_who_and_when() -> None:
    machine = Machine(bytes(8))
    machine.clock, machine.cpu, machine.prandom, machine.task, machine.cookie, machine.cgroup_id = (
        5,
        2,
        1 << 40 | 7,
        9,
        11,
        13,
    )
    machine.pid_tgid, machine.uid_gid = 3 << 32 | 4, 6 << 32 | 8
    expected = {
        "ktime_get_ns": 5, "ktime_get_boot_ns": 5, "ktime_get_tai_ns": 5, "get_smp_processor_id": 2,
        "get_prandom_u32": 7,
        "get_current_task": 9, "get_current_task_btf": 9, "get_current_cgroup_id": 13,
        "get_current_pid_tgid": 3 << 32 | 4, "get_current_uid_gid": 6 << 32 | 8,
    }  # fmt: skip
    for helper, value in expected.items():
        assert execute(f"%0 = call {helper}\nret %0", machine) == value
    assert execute("%0 = ctx\n%0 = call get_attach_cookie, %0\nret %0", machine) == 11
    execute("%0 = call send_signal, 9\nret 0", machine)
    assert machine.signals == [9]


def through_slot(machine: Machine, call: str, size: int = 8) -> tuple[int, bytes]:
    """Result of a helper called with %0 as its buffer, and what the buffer then holds (before: 'zzzz...')."""
    machine.add_map("out", "array", 4, size, 1)
    fill = "".join([f"store %0+{n}, 1, 122\n" for n in range(size)])
    result = execute(
        f"%0 = slot s\n{fill}{call}\n%2 = value out+0\ncopy %2+0, %0+0, {size}\nret %1", machine, f" s:{size}"
    )
    return result, bytes(machine.maps["out"].only_value().data)


@pytest.mark.parametrize(
    ("comm", "size", "buffer"),
    [
        (b"ab", 4, b"ab\0\0zzzz"),
        (b"abcdef", 4, b"abc\0zzzz"),
        (b"a" * 20, 16, b"a" * 15 + b"\0"),
        (b"", 2, b"\0\0zzzzzz"),
    ],
)
def test_comm(comm: bytes, size: int, buffer: bytes) -> None:
    machine = Machine()
    machine.comm = comm
    assert through_slot(machine, f"%1 = call get_current_comm, %0, {size}", len(buffer)) == (0, buffer)


@pytest.mark.parametrize("which", ["user", "kernel"])
@pytest.mark.parametrize(
    ("size", "offset", "result", "buffer"),
    [
        ("8", 0, 0, b"abcdef\0h"), ("3", 5, 0, b"f\0hzzzzz"), ("0", 0, 0, b"zzzzzzzz"),
        ("4", 6, -errno.EFAULT, b"\0\0\0\0zzzz"),
        ("4", -1, -errno.EFAULT, b"\0\0\0\0zzzz"),
    ],
)  # fmt: skip
def test_probe_read(which: str, size: str, offset: int, result: int, buffer: bytes) -> None:
    machine = Machine()
    address = machine.add_memory(which, b"abcdef\0h")
    assert through_slot(machine, f"%1 = call probe_read_{which}, %0, {size}, {address + offset}") == (result, buffer)


def test_probe_read_asks_for_the_right_half() -> None:
    machine = Machine()
    user, kernel = machine.add_memory("user", bytes(8)), machine.add_memory("kernel", bytes(8))
    assert through_slot(machine, f"%1 = call probe_read_kernel, %0, 8, {user}") == (-errno.ERANGE, bytes(8))
    assert through_slot(machine, f"%1 = call probe_read_user, %0, 8, {kernel}") == (-errno.EFAULT, bytes(8))
    assert through_slot(machine, "%1 = call probe_read_kernel_str, %0, 8, 0") == (-errno.ERANGE, bytes(8))
    assert through_slot(machine, "%1 = call probe_read_user, %0, 8, 0") == (-errno.EFAULT, bytes(8))


@pytest.mark.parametrize("which", ["user", "kernel"])
@pytest.mark.parametrize(
    ("size", "offset", "result", "buffer"),
    [
        ("8", 0, 4, b"abc\0zzzz"), ("4", 0, 4, b"abc\0zzzz"), ("3", 0, 3, b"ab\0zzzzz"), ("1", 0, 1, b"\0zzzzzzz"),
        ("8", 3, 1, b"\0zzzzzzz"), ("0", 0, 0, b"zzzzzzzz"),
        ("8", 4, -errno.EFAULT, bytes(8)), ("2", 4, 2, b"d\0zzzzzz"),
        ("3", 4, -errno.EFAULT, b"\0\0\0zzzzz"),  # reads the byte that its NUL would replace
    ],
)  # fmt: skip
def test_probe_read_str(which: str, size: str, offset: int, result: int, buffer: bytes) -> None:
    machine = Machine()
    address = machine.add_memory(which, b"abc\0de")
    assert through_slot(machine, f"%1 = call probe_read_{which}_str, %0, {size}, {address + offset}") == (
        result,
        buffer,
    )


def test_bounded_sizes_are_clamped() -> None:
    machine = Machine()
    address = machine.add_memory("user", b"abcdefghij")
    for size, buffer in ((-1, b"abcdzzzz"), (4, b"abcdzzzz"), (3, b"abczzzzz"), (0, b"zzzzzzzz")):
        call = f"%5 = mov {size}\n%1 = call probe_read_user, %0, %5<=4, {address}"
        assert through_slot(machine, call) == (0, buffer)


def test_direct_reads_of_kernel_objects() -> None:
    machine = Machine()
    trusted, plain = machine.add_memory("trusted", b"\1" + bytes(7)), machine.add_memory("kernel", bytes(8))
    assert execute(f"%0 = mov {trusted}\n%0 = load %0+0, 8\nret %0", machine) == 1
    with pytest.raises(IRError, match="kernel may not be"):
        execute(f"%0 = mov {plain}\n%0 = load %0+0, 8\nret %0", machine)


def test_stacks() -> None:
    machine = Machine(bytes(8))
    machine.kernel_stack, machine.user_stack = (1, 2, 3), (4,)
    call = "%5 = ctx\n%1 = call get_stack, %5, %0, {}, {}"
    assert through_slot(machine, call.format(16, 1), 16) == (16, b"\2" + bytes(7) + b"\3" + bytes(7))
    assert through_slot(machine, call.format(16, 256), 16) == (8, b"\4" + bytes(15))


def table(kind: str, entries: int = 2) -> Machine:
    machine = Machine()
    machine.add_map("t", kind, 4, 4, entries)
    return machine


def update(machine: Machine, key: int, value: int, flags: int = 0) -> int:
    call = f"%2 = call map_update_elem, map(t), %0, %1, {flags}"
    text = f"%0 = slot k\n%1 = slot v\nstore %0+0, 4, {key}\nstore %1+0, 4, {value}\n{call}\nret %2"
    return execute(text, machine, " k:4 v:4")


def lookup(machine: Machine, key: int) -> int | None:
    text = f"""%0 = slot k
store %0+0, 4, {key}
%1 = call map_lookup_elem, map(t), %0
br eq %1, 0 -> none, some
some:
%2 = load %1+0, 4
store %1+0, 4, %2
ret %2
none:
ret -1"""
    found = execute(text, machine, " k:4")
    return None if found == -1 else found


def delete(machine: Machine, key: int) -> int:
    text = f"%0 = slot k\nstore %0+0, 4, {key}\n%1 = call map_delete_elem, map(t), %0\nret %1"
    return execute(text, machine, " k:4")


@pytest.mark.parametrize("kind", ["hash", "percpu_hash", "lru_hash"])
def test_hash_maps(kind: str) -> None:
    machine = table(kind)
    assert lookup(machine, 1) is None
    assert update(machine, 1, 10, 2) == -errno.ENOENT
    assert update(machine, 1, 10) == 0
    assert update(machine, 1, 11, 1) == -errno.EEXIST
    assert update(machine, 1, 12, 2) == 0
    assert lookup(machine, 1) == 12
    assert update(machine, 1, 12, 3) == -errno.EINVAL
    assert update(machine, 2, 20) == 0
    assert update(machine, 3, 30) == (0 if kind == "lru_hash" else -errno.E2BIG)
    assert lookup(machine, 1) == (None if kind == "lru_hash" else 12)
    assert delete(machine, 2) == 0
    assert delete(machine, 2) == -errno.ENOENT


@pytest.mark.parametrize("kind", ["array", "percpu_array"])
def test_arrays(kind: str) -> None:
    machine = table(kind)
    assert lookup(machine, 1) == 0
    assert lookup(machine, 2) is None
    assert update(machine, 1, 10) == 0
    assert lookup(machine, 1) == 10
    assert update(machine, 1, 10, 1) == -errno.EEXIST
    assert update(machine, 2, 10) == -errno.E2BIG
    assert delete(machine, 1) == -errno.EINVAL
    assert machine.maps["t"].items() == {b"\1\0\0\0": b"\n\0\0\0"}


def test_a_pointer_into_a_hash_sees_the_old_value_after_an_update() -> None:
    text = """%0 = slot k
store %0+0, 4, 1
%1 = call map_update_elem, map(t), %0, %0, 0
%2 = call map_lookup_elem, map(t), %0
store %0+4, 4, 9
%3 = add %0, 4
%1 = call map_update_elem, map(t), %0, %3, 0
%4 = load %2+0, 4
ret %4"""
    assert execute(text, table("hash"), " k:8") == 1
    assert execute(text, table("percpu_hash"), " k:8") == 9


RECORD = """%0 = call ringbuf_reserve, map(r), 16, 0
br eq %0, 0 -> full, some
some:
store %0+0, 8, {}
zero %0+8, 8
%1 = call ringbuf_{}, %0, 0
ret 1
full:
ret 0"""


def test_ring_buffer() -> None:
    machine = Machine()
    machine.add_map("r", "ringbuf", 0, 0, 128)
    ring = machine.rings["r"]
    for n in range(5):  # 24 bytes each; the last byte of the buffer cannot be used
        assert execute(RECORD.format(n, "discard" if n == 1 else "submit"), machine) == 1
    assert execute(RECORD.format(9, "submit"), machine) == 0
    assert ring.read() == [bytes([n]) + bytes(15) for n in (0, 2, 3, 4)]
    assert ring.read() == []
    assert execute(RECORD.format(9, "submit"), machine) == 1


def test_ring_buffer_output() -> None:
    machine = Machine(b"abcdefgh")
    machine.add_map("r", "ringbuf", 0, 0, 32)
    call = "%0 = ctx\n%1 = call ringbuf_output, map(r), %0, 7, 0\nret %1"
    assert execute(call, machine) == 0
    assert execute(call, machine) == -errno.EAGAIN
    assert machine.rings["r"].read() == [b"abcdefg"]


def test_what_nobody_wrote_in_a_record_is_no_zero() -> None:
    machine = Machine()
    machine.add_map("r", "ringbuf", 0, 0, 64)
    reserve = "%0 = call ringbuf_reserve, map(r), 8, 0\n"
    execute(f"{reserve}br eq %0, 0 -> out, on\non:\n%1 = call ringbuf_submit, %0, 0\nret 0\nout:\nret 0", machine)
    assert machine.rings["r"].read() == [b"\xa5" * 8]


def test_helpers_it_does_not_have() -> None:
    from dsight.ir.interp import _Run

    missing = {h for h in HELPERS if not hasattr(_Run, "h_" + h)}
    assert missing == {"get_stackid", "get_socket_cookie", "perf_event_output"}


LOOP = """function f(slots words:16, regs 3) {
entry:
  %0 = slot words
  %1 = value m+0
  store %0+8, 8, %1
  loop step, 5, %0
  %2 = load %1+0, 8
  ret %2
}
function step(slots, regs 4) {
entry:
  %0 = ctx
  %1 = load %0+8, 8
  %2 = load %1+0, 8
  %2 = add %2, 1
  store %1+0, 8, %2
  %3 = set RETURNS
  ret %3
}
"""


@pytest.mark.parametrize(("returns", "rounds"), [("eq %2, 3", 3), ("eq 0, 1", 5), ("ne %2, 0", 1)])
def test_a_loop_ends_with_its_count_or_when_the_body_says_so(returns: str, rounds: int) -> None:
    machine = Machine()
    machine.add_map("m", "array", 4, 8, 1)
    function = parse(LOOP.replace("RETURNS", returns))
    verify(function)
    assert run(function, machine) == rounds


def test_a_loop_of_no_body() -> None:
    with pytest.raises(IRError, match="there is no body other"):
        verify(parse(LOOP.replace("RETURNS", "eq %2, 3").replace("loop step", "loop other")))
