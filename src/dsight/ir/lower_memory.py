"""Kernel memory: read in place where the kernel lets a program do so, else by probe_read_kernel.

The kernel function bpf_rdonly_cast (Linux 6.2) makes an address one that a program may load from; where
there is nothing such a load gives 0 (BPF_PROBE_MEM in kernel/bpf/verifier.c).  A 0 from a pointer
that nothing else was read through is read again by the helper, which says whether there is something.
"""

from __future__ import annotations

from dsight.ir import lower_expr
from dsight.ir.ops import Reg
from dsight.record import BADADDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

_FAR = 0x7000  # an instruction's offset has 16 bits
_COPIED = 32  # bytes; more are copied by the helper


def load(low: Lowering, base: int, offset: int, size: int) -> Reg:
    """`size` bytes (1, 2, 4, 8) from `base + offset`, zero-extended; a fault where there are none."""
    b = low.b
    direct = low.direct
    if direct is None:
        return _read(low, lower_expr.plus(low, base, offset), size, b.reg())
    pointer, at = _cast(low, base, offset, *direct)
    if _readable(base) in low.known:
        return b.emit("peek", pointer, at, size)
    result = b.reg()
    nothing, there = b.label("zero"), b.label("there")
    b.set(result, "peek", pointer, at, size)
    b.br("any", result, -1, there, nothing)  # of which the verifier learns nothing, unlike of "ne 0"
    b.start(nothing)
    _read(low, lower_expr.plus(low, base, offset), size, result)
    b.jmp(there)
    b.start(there)
    readable(low, base)
    return result


def copy(low: Lowering, base: int, offset: int, size: int, to: Reg, to_offset: int) -> None:
    """`size` bytes from `base + offset` to `to + to_offset`; a fault where there are none."""
    b = low.b
    if low.direct is None or size > _COPIED:
        address = lower_expr.plus(low, base, offset)
        result = b.call("probe_read_kernel", lower_expr.plus_reg(low, to, to_offset), size, address)
        low.fault_if("ne", result, 0, BADADDR, address)
        return
    at = 0
    while at < size:
        # The stack may be accessed aligned only.
        whole = 8 if to == low.record else (to_offset + at) & -(to_offset + at) or 8
        piece = next(n for n in (8, 4, 2, 1) if n <= size - at and n <= whole)
        b.store(to, to_offset + at, piece, load(low, base, offset + at, piece))
        at += piece


def readable(low: Lowering, base: int) -> None:
    """From here on there is memory where `base` points."""
    low.known[_readable(base)] = 1


def _readable(base: int) -> tuple[object, ...]:
    return "readable", type(base), int(base)  # Reg(3) == 3


def _cast(low: Lowering, base: int, offset: int, function: int, type_id: int) -> tuple[Reg, int]:
    """Register and offset to peek `offset` bytes behind a base at."""
    near = type_id or not -_FAR <= offset <= _FAR  # a struct's first members only; or too far
    key = ("cast", type(base), int(base), offset if near else 0)
    pointer = low.known.get(key)
    if pointer is None:
        address = lower_expr.plus(low, base, offset) if near else base
        pointer = low.known[key] = low.b.emit("cast", address, function, type_id)
    assert isinstance(pointer, Reg)
    return pointer, 0 if near else offset


def _read(low: Lowering, address: int, size: int, value: Reg) -> Reg:
    b = low.b
    slot = b.slot_addr(b.shared_slot("read", 8))
    result = b.call("probe_read_kernel", slot, size, address)
    low.fault_if("ne", result, 0, BADADDR, address)
    b.set(value, "load", slot, 0, size)
    return value
