"""Aggregating functions: one update of a value in an aggregation's map (record.AggLayout).

Without a key the value is this CPU's part of the map's only one: there is nothing to look up.

A probe may fire in an interrupt while another on the same CPU is here, and large distributions
are shared by all CPUs: additions are atomic.  min, max and the carry of stddev's squares are not.
"""

from __future__ import annotations

from dsight.ir import lower_expr, lower_stack, lower_text
from dsight.ir.build import of_cpu
from dsight.ir.maps import AGG_DROPS
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import QUANTIZE_ZERO
from dsight.lang import typed
from dsight.record import AggLayout, bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering


def aggregate(low: Lowering, stmt: typed.AggStmt) -> None:
    """Update the value under the key, made first if need be."""
    b = low.b
    layout = low.storage.aggs[stmt.agg.id]
    value: int = lower_expr.scalar(low, stmt.value) if stmt.value is not None else 1
    weight: int = lower_expr.scalar(low, stmt.weight) if stmt.weight is not None else 1
    if layout.each:
        _update(low, layout, of_cpu(b.emit, layout.map, layout.each, low.options.cpus), value, weight)
        return
    result = b.reg()
    if layout.key_size:
        pointer, offset = low.buffer("key", layout.key_size)
        lower_text.write_tuple(low, pointer, offset, layout.keys, stmt.keys, layout.key_size)
        key = lower_expr.plus_reg(low, pointer, offset)
    else:
        key = b.slot_addr(b.shared_slot("zero", 8))
        b.store(key, 0, 8, 0)
    there, done = b.label("agg"), b.label("aggregated")
    b.set(result, "call", "map_lookup_elem", MapRef(layout.map), key)
    if layout.key_size:
        new = b.label("agg_new")
        b.br("ne", result, 0, there, new)
        b.start(new)
        zeroes = b.emit("value", "constants", low.storage.zeroes(layout.value_size))
        b.call("map_update_elem", MapRef(layout.map), key, zeroes, 1)  # BPF_NOEXIST
        lower_stack.tell(low, layout.keys)
        b.set(result, "call", "map_lookup_elem", MapRef(layout.map), key)
    full = b.label("agg_full")
    b.br("ne", result, 0, there, full)
    b.start(full)
    low.count(AGG_DROPS)
    b.jmp(done)
    b.start(there)
    _update(low, layout, result, value, weight)
    b.jmp(done)
    b.start(done)


def _update(low: Lowering, layout: AggLayout, at: Reg, value: int, weight: int) -> None:
    if layout.func in _BUCKETS:
        _bump(low, at, _BUCKETS[layout.func](low, layout, value), layout.value_size // 8, weight)
    else:
        _UPDATES[layout.func](low, layout, at, value)


def _count(low: Lowering, layout: AggLayout, at: Reg, value: int) -> None:
    low.b.emit("xadd", at, 0, 8, value)


def _sum(low: Lowering, layout: AggLayout, at: Reg, value: int) -> None:
    low.b.emit("xadd", at, 0, 8, value)
    if layout.value_size > 8:
        low.b.store(at, 8, 8, 1)


def _avg(low: Lowering, layout: AggLayout, at: Reg, value: int) -> None:
    low.b.emit("xadd", at, 0, 8, 1)
    low.b.emit("xadd", at, 8, 8, value)


def _stddev(low: Lowering, layout: AggLayout, at: Reg, value: int) -> None:
    """n, total, and the square of 128 bits, in halves of 32 bits: (h * 2**32 + l)**2 is
    h*h * 2**64 + h*l * 2**33 + l*l."""
    b = low.b
    _avg(low, layout, at, value)
    magnitude = b.reg()
    b.set(magnitude, "mov", value)
    if layout.signed:
        negative, positive = b.label("negative"), b.label("magnitude")
        b.br("slt", magnitude, 0, negative, positive)
        b.start(negative)
        b.set(magnitude, "neg", magnitude)
        b.jmp(positive)
        b.start(positive)
    low_half, high_half = b.emit("zext", magnitude, 32), b.emit("shr", magnitude, 32)
    cross = b.emit("mul", high_half, low_half)
    square = b.emit("mul", low_half, low_half)
    bottom = b.emit("add", square, b.emit("shl", cross, 33))
    top = b.emit("add", b.emit("mul", high_half, high_half), b.emit("shr", cross, 31))
    top = b.emit("add", top, b.emit("set", "ult", bottom, square))
    total = b.emit("add", b.load(at, 16, 8), bottom)
    b.emit("xadd", at, 16, 8, bottom)
    b.emit("xadd", at, 24, 8, b.emit("add", top, b.emit("set", "ult", total, bottom)))


def _extreme(low: Lowering, layout: AggLayout, at: Reg, value: int) -> None:
    """min, max: the first value counts whatever it is."""
    b = low.b
    better = ("sgt" if layout.signed else "ugt") if layout.func == "max" else ("slt" if layout.signed else "ult")
    take, old, keep = b.label("take"), b.label("compare"), b.label("keep")
    b.br("eq", b.load(at, 8, 8), 0, take, old)
    b.start(old)
    b.br(better, value, b.load(at, 0, 8), take, keep)
    b.start(take)
    b.store(at, 0, 8, value)
    b.store(at, 8, 8, 1)
    b.jmp(keep)
    b.start(keep)


_UPDATES = {"count": _count, "sum": _sum, "avg": _avg, "stddev": _stddev, "min": _extreme, "max": _extreme}


# ---- distributions: which bucket counts the value


def _quantize(low: Lowering, layout: AggLayout, value: int) -> Reg:
    """The bucket of the value's highest bit.  Without a branch: the verifier would walk all that
    follows once for each way through."""
    b = low.b
    rest, sign = b.emit("mov", value), 0
    if layout.signed:
        sign = b.emit("sar", rest, 63)  # 0 or -1
        rest = _signed_as(low, rest, sign)
    log = b.const(0)  # the highest bit's number, from 1; 0 for 0
    for power in (5, 4, 3, 2, 1, 0):
        step = 1 << power
        upper = b.emit("shr", rest, step)  # below 2 ** step
        any_bit = b.emit("shr", b.emit("add", upper, (1 << step) - 1), step)
        shift = b.emit("shl", any_bit, power)
        rest = b.emit("shr", rest, shift)
        log = b.emit("add", log, shift)
    log = b.emit("add", log, rest)
    return b.emit("add", _signed_as(low, log, sign), QUANTIZE_ZERO)


def _signed_as(low: Lowering, value: Reg, sign: int) -> Reg:
    """The value, negated where `sign` is -1 and not 0."""
    return low.b.emit("sub", low.b.emit("xor", value, sign), sign)


def _lquantize(low: Lowering, layout: AggLayout, value: int) -> Reg:
    """Underflow, one bucket a level, overflow."""
    b = low.b
    base, limit, step = layout.params
    levels = (limit - base) // step
    index = b.reg()
    under, check, over, within, done = (b.label(n) for n in ("under", "check", "over", "within", "bucket"))
    if not layout.signed:  # from 2**63 on
        positive = b.label("positive")
        b.br("slt", value, 0, over, positive)
        b.start(positive)
    b.br("slt", value, base, under, check)
    b.start(under)
    b.set(index, "mov", 0)
    b.jmp(done)
    b.start(check)
    b.br("sge", value, limit, over, within)
    b.start(over)
    b.set(index, "mov", levels + 1)
    b.jmp(done)
    b.start(within)
    b.set(index, "add", b.emit("udiv", b.emit("sub", value, base), step), 1)
    b.jmp(done)
    b.start(done)
    return index


def _llquantize(low: Lowering, layout: AggLayout, value: int) -> Reg:
    """Underflow, each magnitude's buckets, overflow (record.bounds)."""
    b = low.b
    factor, lowest, highest, steps = layout.params
    index = b.reg()
    done = b.label("bucket")
    within = b.label("within")
    b.set(index, "mov", 0)
    b.br("slt" if layout.signed else "ult", value, factor**lowest, done, within)
    b.start(within)
    first = 1  # bucket of the magnitude's first value
    for magnitude in range(lowest, highest + 1):
        start, end = factor**magnitude, factor ** (magnitude + 1)
        width = max(1, end // steps)
        here, above = b.label("magnitude"), b.label("above")
        b.br("ult", value, end, here, above)
        b.start(here)
        b.set(index, "add", b.emit("udiv", value, width), first - start // width)
        b.jmp(done)
        b.start(above)
        first += 1 + len(range((start // width + 1) * width, end, width))
    b.set(index, "mov", len(bounds(layout.func, layout.params)))
    b.jmp(done)
    b.start(done)
    return index


_BUCKETS = {"quantize": _quantize, "lquantize": _lquantize, "llquantize": _llquantize}


def _bump(low: Lowering, at: Reg, index: Reg, words: int, weight: int) -> None:
    """Add to one of so many buckets."""
    b = low.b
    b.emit("xadd", b.emit("at", at, b.emit("shl", index, 3), 8 * (words - 1)), 0, 8, weight)
