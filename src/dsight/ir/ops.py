"""The IR: what a clause does, one small typed operation at a time.

A Function is a list of basic blocks over virtual registers.  Registers are
mutable (no phi): a register may be set in several blocks, but never read on a
path that has not set it.  Blocks stand in an order in which every jump goes
forward: D has no loops; composite operations (marked *) keep theirs inside, and `loop`
runs a body, a small function of its own, again and again.

All values are 64 bits wide.  `docs/ir.md` gives each operation a line, made
from OPS; `ir.interp` is their living definition.
"""

from __future__ import annotations

from dsight.source import Span
from dsight.value import Value


class Reg(int):
    """A virtual register; prints as %N."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"%{int(self)}"

    __str__ = __repr__


class MapRef(Value):
    """A map as a helper's argument; prints as map(NAME)."""

    name: str


class Bounded(Value):
    """A helper's size argument that the verifier must see bounded: the register's unsigned
    value, at most `limit` (larger values are clamped right before the call); prints as %N<=LIMIT."""

    reg: Reg
    limit: int


TYPE_CHECKING = False
if TYPE_CHECKING:
    Operand = Reg | int | str | MapRef | Bounded

# op: (has a result, operands, meaning).  Operand kinds: v value (register or integer),
# r register, n integer, k greatest index, o constant offset, z access size 1 2 4 8, b bits 8 16 32, s slot name,
# m map name, i BTF id, h helper name, c condition, l label, j body name, * any number of helper arguments
OPS: dict[str, tuple[bool, str, str]] = {
    "mov": (True, "v", "the value"),
    "add": (True, "vv", "a + b"),
    "sub": (True, "vv", "a - b"),
    "mul": (True, "vv", "a * b"),
    "udiv": (True, "vv", "a / b, unsigned; b is not 0"),
    "umod": (True, "vv", "a % b, unsigned; b is not 0"),
    "sdiv": (True, "vv", "a / b, signed, towards zero; b is not 0; INT64_MIN / -1 is INT64_MIN"),
    "smod": (True, "vv", "a - (a / b) * b, signed; b is not 0; INT64_MIN % -1 is 0"),
    "and": (True, "vv", "a & b"),
    "or": (True, "vv", "a | b"),
    "xor": (True, "vv", "a ^ b"),
    "shl": (True, "vv", "a << (b & 63)"),
    "shr": (True, "vv", "a >> (b & 63), unsigned"),
    "sar": (True, "vv", "a >> (b & 63), signed"),
    "neg": (True, "v", "-a"),
    "not": (True, "v", "~a"),
    "zext": (True, "vb", "the low bits of a, zero-extended"),
    "sext": (True, "vb", "the low bits of a, sign-extended"),
    "bswap": (True, "vb", "the low 16, 32 or 64 bits of a with their bytes reversed, zero-extended"),
    "set": (True, "cvv", "1 if a CONDITION b else 0"),
    "ctx": (True, "", "the context pointer"),
    "slot": (True, "s", "address of a stack slot"),
    "value": (True, "mo", "address o bytes into the only value of an array map (globals, constants, scratch memory)"),
    "at": (
        True,
        "rvk",
        "a + b, or a + k where b, unsigned, is greater: the verifier sees the bound",
    ),
    "load": (True, "roz", "z bytes at a + o, zero-extended; the verifier must know the pointer"),
    "cast": (
        True,
        "vii",
        "the address a of kernel memory, to `peek` at; the ids are bpf_rdonly_cast's and that of a struct whose "
        "first members are numbers, 0 where the kernel lets any memory be peeked at",
    ),
    "peek": (True, "roz", "z bytes at a + o, zero-extended, 0 where there are none; a is of `cast`"),
    "store": (False, "rozv", "the low z bytes of the value to a + o"),
    "xadd": (False, "rozv", "atomically add to the z (4, 8) bytes at a + o"),
    "call": (True, "h*", "call a helper"),
    "zero": (False, "ron", "n zero bytes from a + o on"),
    "copy": (False, "roron", "* n bytes from the second pointer + o to the first + o"),
    "strcmp": (
        True,
        "rrn",
        "* compare two NUL-ended strings of at most n bytes, as unsigned bytes: -1, 0 or 1 (64-bit signed)",
    ),
    "loop": (
        False,
        "jnr",
        "run the body at most n times, its context the stack slot a, until it returns anything but 0; "
        "the first 8 bytes of the slot are the loop's own",
    ),
    "jmp": (False, "l", "go to the block"),
    "br": (False, "cvvll", "go to the first block if a CONDITION b, else to the second"),
    "ret": (False, "v", "end the program with this value"),
}

# What loses all that is in registers a call may change (r0-r5).
CLOBBERS = frozenset({"call", "cast", "copy", "strcmp", "loop"})

TERMINATORS = frozenset({"jmp", "br", "ret"})

# condition: its negation; any: a & b is not 0; those that end with 32 compare the low 32 bits
_CONDITIONS = {
    "eq": "ne", "ne": "eq", "ult": "uge", "uge": "ult", "ule": "ugt", "ugt": "ule",
    "slt": "sge", "sge": "slt", "sle": "sgt", "sgt": "sle", "any": "none", "none": "any",
}  # fmt: skip
CONDITIONS = _CONDITIONS | {f"{c}32": f"{_CONDITIONS[c]}32" for c in _CONDITIONS if c not in ("any", "none")}

# helper: its number.  include/uapi/linux/bpf.h, enum bpf_func_id.  Of what map_update_elem, _delete_elem, _push_elem
# and _pop_elem return the low 32 bits count: calls of the map's own functions, which they become, returned
# int before 6.4 (d7ba4cc900bf, "bpf: return long from bpf_map_ops funcs").
HELPERS: dict[str, int] = {
    "map_lookup_elem": 1,
    "map_update_elem": 2,
    "map_delete_elem": 3,
    "map_push_elem": 87,
    "map_pop_elem": 88,
    "ktime_get_ns": 5,
    "get_prandom_u32": 7,
    "get_smp_processor_id": 8,
    "tail_call": 12,
    "get_current_pid_tgid": 14,
    "get_current_uid_gid": 15,
    "get_current_comm": 16,
    "perf_event_output": 25,
    "get_stackid": 27,
    "get_current_task": 35,
    "get_socket_cookie": 46,
    "probe_write_user": 36,
    "get_stack": 67,
    "get_current_cgroup_id": 80,
    "send_signal": 109,
    "probe_read_user": 112,
    "probe_read_kernel": 113,
    "probe_read_user_str": 114,
    "probe_read_kernel_str": 115,
    "ktime_get_boot_ns": 125,
    "ringbuf_output": 130,
    "ringbuf_reserve": 131,
    "ringbuf_submit": 132,
    "ringbuf_discard": 133,
    "ktime_get_tai_ns": 208,
    "get_attach_cookie": 174,
    "get_current_task_btf": 158,
    "task_pt_regs": 175,
}


def integer(operand: Operand) -> int:
    """An operand that is one."""
    assert type(operand) is int
    return operand


class Instr(Value):
    """dst is -1 where the operation has no result."""

    op: str
    dst: Reg
    args: tuple[Operand, ...]
    span: Span | None = None


NO_REG = Reg(-1)


class Block(Value):
    """The last instruction is the only terminator."""

    label: str
    instrs: tuple[Instr, ...]


class Function(Value):
    """One program, or a body of its loops.  `slots`: stack slots (name, size in bytes), each
    8-aligned; the first block is the entry; registers are numbered below `regs`.  `bodies`: what its
    `loop` operations name; a body has none itself.  What a body and its program tell each other is
    in memory: the slot that is the body's context holds 8-byte words, numbers and pointers.  `followed`: no
    branch asks what is known on some way to it (ir.ways)."""

    name: str
    slots: tuple[tuple[str, int], ...]
    blocks: tuple[Block, ...]
    regs: int
    bodies: tuple[Function, ...] = ()
    followed: bool = False
