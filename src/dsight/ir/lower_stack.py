"""Stacks and addresses of code into a record or a key (record.Field kinds kstack, ustack, ksym, usym).

bpf_get_stack() follows frame pointers in user memory: a function compiled without one
(-fomit-frame-pointer) hides its caller, or what its caller keeps in that register is taken
for a frame.  Kernel stacks are exact.  The helper writes every byte of its buffer, zeroes
behind the last frame (kernel/bpf/stackmap.c), so equal stacks are equal memory; where there
is no stack, of a kernel thread for instance, all of it is zero.
"""

from __future__ import annotations

from dsight.ir import lower_builtin, lower_expr
from dsight.ir.ops import MapRef, Reg
from dsight.lang import typed
from dsight.lang.types import MOST_FRAMES
from dsight.record import SEEN, SEEN_SIZE, Field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

USER_STACK = 1 << 8  # BPF_F_USER_STACK; the bits below: how many frames to leave out (BPF_F_SKIP_FIELD_MASK)

# A raw tracepoint's stack starts with the BPF program and bpf_trace_runN() (kernel/trace/bpf_trace.c).
# What else belongs to tracing depends on the kernel: the consumer leaves it out by name.
SKIPPED = {"raw_tp": 2, "tp_btf": 2}
FRAMES = {"caller": 0, "stackdepth": 0, "ucaller": USER_STACK, "ustackdepth": USER_STACK}


def write(low: Lowering, pointer: Reg, offset: int, f: Field, value: typed.TExpr) -> None:
    """Write what stack(), usym() and their like record at `pointer + offset`."""
    assert isinstance(value, typed.Call)
    b = low.b
    user = f.kind in ("ustack", "usym")
    if user:
        b.store(pointer, offset, 8, lower_builtin.builtin(low, "pid"))
        offset += 8
    if f.kind in ("ksym", "usym"):
        b.store(pointer, offset, 8, lower_expr.scalar(low, value.args[0]))
        return
    size = f.size - 8 if user else f.size
    flags = USER_STACK if user else _skipped(low)
    b.call("get_stack", b.emit("ctx"), lower_expr.plus_reg(low, pointer, offset), size, flags)


def tell(low: Lowering, fields: tuple[Field, ...]) -> None:
    """Tell the consumer of a process whose addresses have become a key (record.SEEN).  Where the ring is
    full its addresses may stay numbers: nothing of the user's is lost."""
    if not any(f.kind in ("ustack", "usym") for f in fields):
        return
    b = low.b
    pid = lower_builtin.builtin(low, "pid")
    rec = b.call("ringbuf_reserve", MapRef("ring"), SEEN_SIZE, 0)
    go, done = b.label("seen"), b.label("told")
    b.br("eq", rec, 0, done, go)
    b.start(go)
    b.store(rec, 0, 4, SEEN << 16)
    b.store(rec, 4, 4, 0)
    b.store(rec, 8, 8, pid)
    b.call("ringbuf_submit", rec, 0)
    b.jmp(done)
    b.start(done)


def _skipped(low: Lowering) -> int:
    return SKIPPED.get(low.unit.kind, 0)


def frames(low: Lowering, name: str) -> int:
    """How deep the kernel's or the user's stack is, or the second frame of it; 0 where there is none."""
    b = low.b
    most = 2 if name.endswith("caller") else MOST_FRAMES
    offset = low.scratch_temporary(8 * most)
    flags = FRAMES[name] or _skipped(low)
    length = b.call("get_stack", b.emit("ctx"), lower_expr.plus_reg(low, low.scratch, offset), 8 * most, flags)
    least = 16 if name.endswith("caller") else 1
    result = b.reg()
    some, done = b.label("frames"), b.label("frames_done")
    b.set(result, "mov", 0)
    b.br("sge", length, least, some, done)
    b.start(some)
    if name.endswith("caller"):
        b.set(result, "load", low.scratch, offset + 8, 8)
    else:
        b.set(result, "shr", length, 3)
    b.jmp(done)
    b.start(done)
    return result
