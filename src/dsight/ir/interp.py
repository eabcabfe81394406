"""The IR's living definition: run(function, machine) does what the kernel would.

A Machine stands for everything outside the function: the context, kernel and user
memory, maps, the clock, the current process.  Memory is a set of regions at made-up
addresses with gaps between them, so that whatever leaves its object is noticed.

What would be a bug in dsight raises IRError: a load or store outside the regions a
program may touch directly, a stack byte read before it is written, a record not given
back, a helper called as the kernel's verifier does not allow.  What may happen to a
correct program (an unmapped address, a full map, no room in the ring buffer) comes back
from the helper as in the kernel.
"""

from __future__ import annotations

import errno
import sys
from bisect import bisect_right, insort

from dsight.ir.arith import BINARY, MASK, UNARY, holds
from dsight.ir.maps import EACH_CPU
from dsight.ir.ops import Bounded, MapRef, Reg
from dsight.ir.verify import IRError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Function, Instr, Operand

ORDER = sys.byteorder
GARBAGE = 0xA5  # what memory holds that nobody has written
MAX_SIZE = 1 << 29  # BPF_MAX_VAR_SIZ, include/linux/bpf_verifier.h: no size argument may reach it


class Region:
    """One object in memory.

    kind      what                            load   store
    stack     a slot of the running function  yes    yes   (written bytes only)
    ctx       the context                     yes    no
    map       a map's value                   yes    yes
    frozen    a read-only map's value         yes    no
    record    a reserved ring-buffer record   yes    yes
    kernel    what probe_read_kernel reads    no     no
    trusted   a kernel object of known type   yes    no
    user      what probe_read_user reads      no     no

    probe_read_kernel and `peek` read all but the last.
    """

    __slots__ = ("base", "kind", "data", "written", "name")

    def __init__(self, base: int, kind: str, data: bytearray, name: str) -> None:
        self.base = base
        self.kind = kind
        self.data = data
        self.name = name
        self.written = bytearray(len(data)) if kind == "stack" else None


LOADS = frozenset({"stack", "ctx", "map", "frozen", "record", "trusted"})
STORES = frozenset({"stack", "map", "record"})


class Memory:
    """Regions by address."""

    def __init__(self) -> None:
        self._bases: list[int] = []
        self._regions: dict[int, Region] = {}
        self._next = {"user": 0x5500_0000_0000, "": 0xFFFF_8880_0000_0000}

    def add(self, kind: str, data: bytes, name: str = "", at: int | None = None) -> Region:
        """A new region with these bytes; `at` chooses its address."""
        half = "user" if kind == "user" else ""
        base = self._next[half] if at is None else at
        if at is None:
            self._next[half] += (len(data) + 0x1FFF) & ~0xFFF
        region = Region(base, kind, bytearray(data), name or kind)
        self._regions[base] = region
        insort(self._bases, base)
        return region

    def remove(self, region: Region) -> None:
        del self._regions[region.base]
        self._bases.remove(region.base)

    def find(self, address: int, size: int) -> tuple[Region, int] | None:
        """The region that holds all these bytes, and the offset in it."""
        n = bisect_right(self._bases, address)
        if not n:
            return None
        region = self._regions[self._bases[n - 1]]
        offset = address - region.base
        return (region, offset) if offset + size <= len(region.data) else None

    def read(self, address: int, size: int) -> bytes:
        """What a load, or the kernel for a helper's argument, reads."""
        region, offset = self._direct(address, size, LOADS, "read")
        if region.written is not None and not all(region.written[offset : offset + size]):
            raise IRError(f"bytes {offset} to {offset + size} of {region.name} are read but not all were written")
        return bytes(region.data[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        region, offset = self._direct(address, len(data), STORES, "written")
        region.data[offset : offset + len(data)] = data
        if region.written is not None:
            region.written[offset : offset + len(data)] = b"\1" * len(data)

    def _direct(self, address: int, size: int, kinds: frozenset[str], what: str) -> tuple[Region, int]:
        found = self.find(address, size)
        if not found:
            raise IRError(f"{size} bytes at {address:#x} are {what}: no object of the program's")
        if found[0].kind not in kinds:
            raise IRError(f"{size} bytes at {address:#x} are {what}: {found[0].name} may not be")
        return found

    def foreign(self, user: bool, address: int, size: int) -> bytes | int:
        """What the probe_read helpers read, or their error: mm/maccess.c."""
        if not user and address < 1 << 63:  # copy_from_kernel_nofault_allowed
            return -errno.ERANGE
        found = self.find(address, size) if size else None
        if not found:
            return -errno.EFAULT if size else b""
        region, offset = found
        if (region.kind == "user") != user:
            return -errno.EFAULT
        return bytes(region.data[offset : offset + size])


class Map:
    """A map of any kind but ringbuf.  With one CPU, per-CPU kinds hold one value for each key."""

    def __init__(self, memory: Memory, name: str, kind: str, key_size: int, value_size: int, max_entries: int) -> None:
        self.memory = memory
        self.name = name
        self.kind = kind
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.is_array = kind in ("array", "percpu_array")
        self.values: dict[bytes, Region] = {}  # an array's are made when first used
        self.queue: list[bytes] = []  # of a queue, first in first

    def lookup(self, key: bytes) -> Region | None:
        if self.is_array and key not in self.values and int.from_bytes(key, ORDER) < self.max_entries:
            self.values[key] = self._region(bytes(self.value_size))
        return self.values.get(key)

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """kernel/bpf/arraymap.c array_map_update_elem, hashtab.c htab_map_update_elem."""
        if flags > 2:
            return -errno.EINVAL
        old = self.lookup(key)
        if self.is_array and old is None:
            return -errno.E2BIG
        if flags == 1 and old is not None:  # BPF_NOEXIST
            return -errno.EEXIST
        if flags == 2 and old is None:  # BPF_EXIST
            return -errno.ENOENT
        if old is not None and self.kind not in ("hash", "lru_hash"):
            old.data[:] = value
            return 0
        if old is None and len(self.values) >= self.max_entries:
            if self.kind != "lru_hash":
                return -errno.E2BIG
            del self.values[next(iter(self.values))]
        self.values[key] = self._region(value)  # pointers to the old value keep the old value
        return 0

    def delete(self, key: bytes) -> int:
        if self.is_array:
            return -errno.EINVAL
        return 0 if self.values.pop(key, None) else -errno.ENOENT

    def push(self, value: bytes) -> int:
        """kernel/bpf/queue_stack_maps.c"""
        if len(self.queue) >= self.max_entries:
            return -errno.E2BIG
        self.queue.append(value)
        return 0

    def items(self) -> dict[bytes, bytes]:
        """Key to value; of an array, what was used."""
        return {key: bytes(region.data) for key, region in self.values.items()}

    def only_value(self) -> Region:
        """The value of an array of one."""
        region = self.lookup(bytes(4)) if self.is_array and self.max_entries == 1 else None
        if region is None:
            raise IRError(f"{self.name} is not an array of one value")
        return region

    def _region(self, value: bytes) -> Region:
        return self.memory.add("map", value, f"a value of {self.name}")


class Record:
    """state: "reserved", "submitted" or "discarded"."""

    __slots__ = ("region", "state")

    def __init__(self, region: Region) -> None:
        self.region = region
        self.state = "reserved"


class RingBuffer:
    """A ring buffer whose reader reads when the test calls `read`.  kernel/bpf/ringbuf.c"""

    def __init__(self, memory: Memory, name: str, size: int) -> None:
        self.memory = memory
        self.name = name
        self.size = size
        self.used = 0
        self.records: list[Record] = []
        self.reserved: dict[int, Record] = {}  # by address

    def reserve(self, size: int) -> int:
        space = (size + 8 + 7) & ~7
        if self.used + space > self.size - 1:
            return 0
        self.used += space
        region = self.memory.add("record", bytes([GARBAGE]) * size, f"a record of {self.name}")
        self.records.append(Record(region))
        self.reserved[region.base] = self.records[-1]
        return region.base

    def end(self, address: int, state: str) -> None:
        """Submit or discard; the program may not touch the record afterwards."""
        record = self.reserved.pop(address, None)
        if record is None:
            raise IRError(f"{address:#x} is {state} but is no reserved record")
        record.state = state
        self.memory.remove(record.region)

    def read(self) -> list[bytes]:
        """The submitted records so far, oldest first; makes their room free."""
        done = [bytes(record.region.data) for record in self.records if record.state == "submitted"]
        self.records = []
        self.used = 0
        return done


class Machine:
    """The world around a function; tests set the attributes they care about.

    ctx             the context's bytes
    clock           what the ktime helpers return, nanoseconds
    pid_tgid ...    what the helpers of these names return
    comm            at most 15 bytes
    task            address of the current task_struct (a region added with `add_memory`)
    user_regs       likewise of the user's struct pt_regs
    kernel_stack, user_stack    return addresses, innermost first
    parts           what tail_call goes on with: (map, index) to function
    signals         what send_signal was called with, in order
    """

    def __init__(self, ctx: bytes = b"") -> None:
        self.memory = Memory()
        self.ctx = self.memory.add("ctx", ctx)
        self.maps: dict[str, Map] = {}
        self.rings: dict[str, RingBuffer] = {}
        self.clock = 1_000_000_000
        self.pid_tgid = 1234 << 32 | 1235
        self.uid_gid = 100 << 32 | 1000
        self.cgroup_id = 1
        self.comm = b"interp"
        self.task = 0
        self.user_regs = 0
        self.cpu = 0
        self.prandom = 0x12345678
        self.cookie = 0
        self.kernel_stack: tuple[int, ...] = ()
        self.user_stack: tuple[int, ...] = ()
        self.signals: list[int] = []
        self.parts: dict[tuple[str, int], Function] = {}

    def add_memory(self, kind: str, data: bytes, at: int | None = None) -> int:
        """Kernel, trusted or user memory (see Region); returns its address."""
        return self.memory.add(kind, data, at=at).base

    def add_map(
        self, name: str, kind: str, key_size: int, value_size: int, max_entries: int, initial: bytes = b"",
        readonly: bool = False,
    ) -> None:  # fmt: skip
        """A map; arguments as in bpf.spec.MapSpec."""
        if kind == "ringbuf":
            self.rings[name] = RingBuffer(self.memory, name, max_entries)
            return
        if max_entries == EACH_CPU:
            max_entries = self.cpu + 1
        self.maps[name] = made = Map(self.memory, name, kind, key_size, value_size, max_entries)
        if kind == "queue":
            made.queue = [initial[at : at + value_size] for at in range(0, len(initial), value_size)]
        elif initial:
            made.only_value().data[: len(initial)] = initial
        if readonly:
            made.only_value().kind = "frozen"


def run(function: Function, machine: Machine) -> int:
    """Runs a verified function; what it, or the last one a tail call went on with, returned, unsigned."""
    while True:
        try:
            return _Run(function, machine).run()
        except _TailCall as call:
            function = call.function


class _TailCall(Exception):
    """The function ends, and this one begins."""

    def __init__(self, function: Function) -> None:
        self.function = function


class _Run:
    def __init__(self, function: Function, machine: Machine, ctx: int | None = None) -> None:
        self.function = function
        self.machine = machine
        self.memory = machine.memory
        self.is_body = ctx is not None
        self.ctx = machine.ctx.base if ctx is None else ctx
        self.regs: dict[Reg, int] = {}
        self.slots: dict[str, Region] = {}

    def run(self) -> int:
        blocks = {block.label: block for block in self.function.blocks}
        block = self.function.blocks[0]
        for name, size in self.function.slots:
            self.slots[name] = self.memory.add("stack", bytes([GARBAGE]) * size, f"slot {name}")
        try:
            while True:
                for instr in block.instrs[:-1]:
                    self.step(instr)
                last = block.instrs[-1]
                if last.op == "ret":
                    if not self.is_body:
                        self.check_records()
                    return self.value(last.args[0])
                block = blocks[self.target(last)]
        finally:
            for region in self.slots.values():
                self.memory.remove(region)

    def target(self, terminator: Instr) -> str:
        args = terminator.args
        if terminator.op == "br":
            condition, a, b, then, other = args
            taken = holds(str(condition), self.value(a), self.value(b))
            return str(then if taken else other)
        return str(args[0])

    def check_records(self) -> None:
        for ring in self.machine.rings.values():
            if ring.reserved:
                raise IRError(f"{self.function.name} ends with a record of {ring.name} neither submitted nor discarded")

    def value(self, operand: Operand) -> int:
        """The operand as an unsigned 64-bit value."""
        if isinstance(operand, Reg):
            if operand not in self.regs:
                raise IRError(f"{self.function.name}: {operand} is read before it is set")
            return self.regs[operand]
        return operand & MASK  # type: ignore[operator]

    def step(self, instr: Instr) -> None:
        try:
            result = self.execute(instr.op, instr.args)
        except IRError as error:
            from dsight.ir.text import show_instr

            raise IRError(f"{self.function.name}: {show_instr(instr)}: {error}")
        if result is not None:
            self.regs[instr.dst] = result

    def execute(self, op: str, args: tuple[Operand, ...]) -> int | None:
        """Does one operation; its result, unsigned."""
        if op in BINARY:
            a, b = self.value(args[0]), self.value(args[1])
            if op in ("udiv", "umod", "sdiv", "smod") and not b:
                raise IRError("division by 0")
            return BINARY[op](a, b)
        if op in UNARY:
            return UNARY[op](self.value(args[0]))
        if op == "set":
            return int(holds(str(args[0]), self.value(args[1]), self.value(args[2])))
        if op == "ctx":
            return self.ctx
        if op == "slot":
            return self.slots[str(args[0])].base
        if op == "value":
            return self.map(args[0]).only_value().base + self.value(args[1])
        if op == "at":
            return self.value(args[0]) + min(self.value(args[1]), self.value(args[2])) & MASK
        if op == "load":
            return int.from_bytes(self.memory.read(self.address(args), self.value(args[2])), ORDER)
        if op == "cast":
            return self.value(args[0])
        if op == "peek":
            found = self.memory.foreign(False, self.address(args), self.value(args[2]))
            return 0 if isinstance(found, int) else int.from_bytes(found, ORDER)
        if op == "store":
            size = self.value(args[2])
            self.memory.write(self.address(args), self.bytes_of(self.value(args[3]), size))
        elif op == "xadd":
            size = self.value(args[2])
            old = int.from_bytes(self.memory.read(self.address(args), size), ORDER)
            self.memory.write(self.address(args), self.bytes_of(old + self.value(args[3]), size))
        elif op == "zero":
            self.memory.write(self.address(args), bytes(self.value(args[2])))
        elif op == "copy":
            self.memory.write(self.address(args), self.memory.read(self.address(args[2:]), self.value(args[4])))
        elif op == "strcmp":
            left, right = self.string(args[0], args[2]), self.string(args[1], args[2])
            return ((left > right) - (left < right)) & MASK
        elif op == "loop":
            self.loop(str(args[0]), self.value(args[1]), self.value(args[2]))
        elif op == "call":
            return self.call(str(args[0]), args[1:])
        else:
            raise IRError("there is no such operation")
        return None

    def loop(self, name: str, times: int, ctx: int) -> None:
        self.memory.write(ctx, bytes([GARBAGE]) * 8)  # the loop's own word
        body = next(body for body in self.function.bodies if body.name == name)
        for _ in range(times):
            if _Run(body, self.machine, ctx).run():
                break

    def address(self, args: tuple[Operand, ...]) -> int:
        """Of a pointer and the offset after it."""
        return self.value(args[0]) + args[1] & MASK  # type: ignore[operator]

    @staticmethod
    def bytes_of(value: int, size: int) -> bytes:
        return (value & (1 << size * 8) - 1).to_bytes(size, ORDER)

    def string(self, pointer: Operand, size: Operand) -> bytes:
        return self.memory.read(self.value(pointer), self.value(size)).partition(b"\0")[0]

    def map(self, arg: Operand) -> Map:
        name = arg.name if isinstance(arg, MapRef) else arg
        if name not in self.machine.maps:
            raise IRError(f"the machine has no map {name}")
        return self.machine.maps[name]  # type: ignore[index]

    def ring(self, arg: Operand) -> RingBuffer:
        if not isinstance(arg, MapRef) or arg.name not in self.machine.rings:
            raise IRError(f"{arg} is no ring buffer of the machine")
        return self.machine.rings[arg.name]

    # -- helpers: include/uapi/linux/bpf.h, the comment above enum bpf_func_id

    def call(self, helper: str, args: tuple[Operand, ...]) -> int:
        method = getattr(self, "h_" + helper, None)
        if method is None:
            raise IRError("the interpreter has no such helper")
        return method(*args) & MASK  # type: ignore[no-any-return]

    def size(self, arg: Operand, buffer: Operand | None = None) -> int:
        """A size argument.  Where it is bounded and no constant, the kernel (before 6.3) wants all the
        stack bytes it may mean written beforehand, those of a buffer to be filled too."""
        if not isinstance(arg, Bounded):
            size = self.value(arg)
            if size >= MAX_SIZE:
                raise IRError(f"a size of {size}")
            return size
        if buffer is not None:
            found = self.memory.find(self.value(buffer), arg.limit)
            if not found:
                raise IRError(f"a buffer of less than the {arg.limit} bytes its size may be")
            if found[0].kind == "stack":
                self.memory.read(self.value(buffer), arg.limit)
        return min(self.value(arg.reg), arg.limit)

    def h_map_lookup_elem(self, map_: Operand, key: Operand) -> int:
        region = self.map(map_).lookup(self.memory.read(self.value(key), self.map(map_).key_size))
        return region.base if region else 0

    def h_map_update_elem(self, map_: Operand, key: Operand, value: Operand, flags: Operand) -> int:
        target = self.map(map_)
        key_bytes = self.memory.read(self.value(key), target.key_size)
        return target.update(key_bytes, self.memory.read(self.value(value), target.value_size), self.value(flags))

    def h_map_delete_elem(self, map_: Operand, key: Operand) -> int:
        return self.map(map_).delete(self.memory.read(self.value(key), self.map(map_).key_size))

    def h_tail_call(self, ctx: Operand, map_: Operand, index: Operand) -> int:
        if self.value(ctx) != self.machine.ctx.base:
            raise IRError("the argument is not the context")
        if self.is_body:
            raise IRError("a loop's body makes no tail calls")
        part = self.machine.parts.get((self.map(map_).name, self.value(index)))
        if part is None:
            return -errno.ENOENT
        self.check_records()
        raise _TailCall(part)

    def h_map_push_elem(self, map_: Operand, value: Operand, flags: Operand) -> int:
        if self.value(flags):
            raise IRError("flags must be 0: nothing else is needed")
        return self.map(map_).push(self.memory.read(self.value(value), self.map(map_).value_size))

    def h_map_pop_elem(self, map_: Operand, value: Operand) -> int:
        """Where there is nothing to pop the value becomes 0 (kernel/bpf/queue_stack_maps.c)."""
        queue = self.map(map_)
        found = queue.queue.pop(0) if queue.queue else b""
        self.memory.write(self.value(value), found or bytes(queue.value_size))
        return 0 if found else -errno.ENOENT

    def h_ktime_get_ns(self) -> int:
        return self.machine.clock

    h_ktime_get_boot_ns = h_ktime_get_tai_ns = h_ktime_get_ns

    def h_get_prandom_u32(self) -> int:
        return self.machine.prandom & 0xFFFFFFFF

    def h_get_smp_processor_id(self) -> int:
        return self.machine.cpu

    def h_get_current_pid_tgid(self) -> int:
        return self.machine.pid_tgid

    def h_get_current_uid_gid(self) -> int:
        return self.machine.uid_gid

    def h_get_current_cgroup_id(self) -> int:
        return self.machine.cgroup_id

    def h_get_current_task(self) -> int:
        return self.machine.task

    h_get_current_task_btf = h_get_current_task

    def h_task_pt_regs(self, task: Operand) -> int:
        if self.value(task) != self.machine.task:
            raise IRError("the argument is not the current task")
        return self.machine.user_regs

    def h_get_attach_cookie(self, ctx: Operand) -> int:
        if self.value(ctx) != self.machine.ctx.base:
            raise IRError("the argument is not the context")
        return self.machine.cookie

    def h_get_current_comm(self, buffer: Operand, size: Operand) -> int:
        n = self.size(size, buffer)
        if not n:
            raise IRError("a size of 0")
        self.memory.write(self.value(buffer), (self.machine.comm[:15][: n - 1]).ljust(n, b"\0"))
        return 0

    def h_send_signal(self, number: Operand) -> int:
        self.machine.signals.append(self.value(number))
        return 0

    def h_get_stack(self, ctx: Operand, buffer: Operand, size: Operand, flags: Operand) -> int:
        """Bytes written: whole addresses, those that fit; the rest of the buffer becomes 0."""
        n, flag_bits = self.size(size, buffer), self.value(flags)
        stack = self.machine.user_stack if flag_bits & 0x100 else self.machine.kernel_stack  # BPF_F_USER_STACK
        skip = flag_bits & 0xFF
        data = b"".join([self.bytes_of(address, 8) for address in stack[skip : skip + n // 8]])
        self.memory.write(self.value(buffer), data.ljust(n, b"\0"))
        return len(data)

    def h_probe_read_kernel(self, buffer: Operand, size: Operand, address: Operand) -> int:
        return self.probe_read(False, buffer, size, address)

    def h_probe_read_user(self, buffer: Operand, size: Operand, address: Operand) -> int:
        return self.probe_read(True, buffer, size, address)

    def probe_read(self, user: bool, buffer: Operand, size: Operand, address: Operand) -> int:
        """Where the memory cannot be read the buffer becomes 0 (kernel/trace/bpf_trace.c)."""
        n = self.size(size, buffer)
        data = self.memory.foreign(user, self.value(address), n)
        self.memory.write(self.value(buffer), bytes(n) if isinstance(data, int) else data)
        return data if isinstance(data, int) else 0

    def h_probe_write_user(self, address: Operand, source: Operand, size: Operand) -> int:
        n, at = self.size(size), self.value(address)
        if not n:
            raise IRError("a size of 0")
        data = self.memory.read(self.value(source), n)
        found = self.memory.find(at, n)
        if not found or found[0].kind != "user":
            return -errno.EPERM
        found[0].data[found[1] : found[1] + n] = data
        return 0

    def h_probe_read_kernel_str(self, buffer: Operand, size: Operand, address: Operand) -> int:
        return self.probe_read_str(False, buffer, size, address)

    def h_probe_read_user_str(self, buffer: Operand, size: Operand, address: Operand) -> int:
        """Since 6.13; before, an empty string gave 0 instead of 1 (mm/maccess.c)."""
        return self.probe_read_str(True, buffer, size, address)

    def probe_read_str(self, user: bool, buffer: Operand, size: Operand, address: Operand) -> int:
        """The string's length with its NUL, cut to the size; bytes after the NUL stay as they were."""
        n, at = self.size(size, buffer), self.value(address)
        if not n:
            return 0
        data = b""
        while len(data) < n:  # it reads the byte, too, that its NUL then replaces
            byte = self.memory.foreign(user, at + len(data), 1)
            if isinstance(byte, int):
                self.memory.write(self.value(buffer), bytes(n))
                return byte
            if byte == b"\0":
                break
            data += byte
        data = data[: n - 1]
        self.memory.write(self.value(buffer), data + b"\0")
        return len(data) + 1

    def h_ringbuf_reserve(self, ring: Operand, size: Operand, flags: Operand) -> int:
        if self.value(flags):
            raise IRError("flags must be 0")
        return self.ring(ring).reserve(self.size(size))

    def h_ringbuf_submit(self, record: Operand, flags: Operand) -> int:
        return self.end_record(record, "submitted")

    def h_ringbuf_discard(self, record: Operand, flags: Operand) -> int:
        return self.end_record(record, "discarded")

    def end_record(self, record: Operand, state: str) -> int:
        address = self.value(record)
        for ring in self.machine.rings.values():
            if address in ring.reserved:
                ring.end(address, state)
                return 0
        raise IRError(f"{address:#x} is {state} but is no reserved record")

    def h_ringbuf_output(self, ring: Operand, data: Operand, size: Operand, flags: Operand) -> int:
        payload = self.memory.read(self.value(data), self.size(size, data))
        address = self.ring(ring).reserve(len(payload))
        if not address:
            return -errno.EAGAIN
        self.memory.write(address, payload)
        self.ring(ring).end(address, "submitted")
        return 0
