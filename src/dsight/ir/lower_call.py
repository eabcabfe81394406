"""Subroutines.  A new one is a row here, one in lang.builtins, and a test."""

from __future__ import annotations

from dsight.ir import lower_destructive, lower_expr, lower_object, lower_spec, lower_text
from dsight.ir.ops import Bounded, Reg
from dsight.lang import typed
from dsight.record import BADADDR, NOSCRATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering


def call(low: Lowering, e: typed.Call) -> int:
    """A subroutine whose result is a scalar."""
    rule = _SCALARS.get(e.name)
    if rule is None:
        from dsight.ir.lower_subroutines import SCALARS

        rule = SCALARS.get(e.name)
    if rule is None:
        raise low.unsupported(f"the subroutine {e.name}()", e.span)
    return rule(low, e)


def string_to(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """A subroutine whose result is a string, written where it is wanted."""
    rule = _STRINGS.get(e.name)
    if rule is None:
        from dsight.ir.lower_subroutines import STRINGS

        rule = STRINGS.get(e.name)
    if rule is None:
        raise low.unsupported(f"the subroutine {e.name}()", e.span)
    rule(low, e, pointer, offset, size)


# ---- user memory


def _copyin(low: Lowering, e: typed.Call) -> int:
    """void *copyin(uintptr_t addr, size_t size): into new scratch memory."""
    b = low.b
    source, size = lower_expr.scalar(low, e.args[0]), lower_expr.scalar(low, e.args[1])
    pointer, limit = _scratch_for(low, size)
    length = Bounded(size, limit) if isinstance(size, Reg) else size
    result = b.call("probe_read_user", pointer, length, source)
    low.fault_if("ne", result, 0, BADADDR, source)
    return pointer


def _scratch_for(low: Lowering, size: int) -> tuple[Reg, int]:
    """New scratch memory for `size` bytes; a size known only when it runs is limited by the option
    scratchsize, and what is not filled is zero."""
    b = low.b
    if isinstance(size, Reg):
        limit = low.options.scratchsize
        low.fault_if("ugt", size, limit, NOSCRATCH)
    else:
        limit = size
        if not 0 <= limit <= low.options.scratchsize:
            low.fault_if("eq", b.const(0), 0, NOSCRATCH)
            limit = 8
    offset = low.scratch_for_clause(max(8, limit))
    if isinstance(size, Reg):
        lower_text.zero(low, low.scratch, offset, max(8, limit))
    pointer = low.scratch_at(offset)
    low.origins[int(pointer)] = lower_object.Origin(offset, limit)
    return pointer, limit


def _copyinto(low: Lowering, e: typed.Call) -> int:
    """void copyinto(uintptr_t addr, size_t size, void *dest)"""
    source, size = lower_expr.scalar(low, e.args[0]), lower_expr.scalar(low, e.args[1])
    _fill(low, "probe_read_user", source, e.args[2], size)
    return 0


def _bcopy(low: Lowering, e: typed.Call) -> int:
    """void bcopy(void *src, void *dest, size_t size)"""
    base, at, _ = lower_expr.place(low, e.args[0])
    source = lower_expr.plus(low, base, at)
    _fill(low, "probe_read_kernel", source, e.args[1], lower_expr.scalar(low, e.args[2]))
    return 0


def _fill(low: Lowering, helper: str, source: int, destination: typed.TExpr, size: int) -> None:
    """Read memory to where a script may write; a size known only when it runs is at most scratchsize."""
    b = low.b
    base, at, origin = lower_expr.place(low, destination, True)
    length: int | Bounded = size
    if isinstance(size, Reg):
        most = low.options.scratchsize
        if origin is not None and 0 <= at < origin.size:
            most = min(most, origin.size - at)
        else:
            low.scratch_alloc(most)  # so that `most` bytes can lie behind any pointer a script has
        low.fault_if("ugt", size, most, NOSCRATCH)
        length, room = Bounded(size, most), most
    elif size == 0:
        return
    else:
        room = size
    if origin is not None and origin.holds(at, room):
        target = lower_expr.plus_reg(low, *origin.reach(low, at))
    elif room > low.options.scratchsize or origin is not None:  # more than was allocated
        low.fault_if("eq", b.const(0), 0, NOSCRATCH)
        return
    else:
        target = lower_object.writable(low, base, at, room, origin)
    result = b.call(helper, target, length, source)
    low.fault_if("ne", result, 0, BADADDR, source)


def _alloca(low: Lowering, e: typed.Call) -> int:
    """void *alloca(size_t size)"""
    return _scratch_for(low, lower_expr.scalar(low, e.args[0]))[0]


def _copyinstr(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string copyinstr(uintptr_t addr [, size_t maxlength])"""
    source = lower_expr.scalar(low, e.args[0])
    if len(e.args) > 1:
        limit = lower_expr.scalar(low, e.args[1])
        if isinstance(limit, Reg):
            whole = low.scratch_temporary(size)
            target = low.scratch_at(whole)
            room = low.b.emit("add", limit, 1)
            length = low.b.call("probe_read_user_str", target, Bounded(room, size), source)
            low.fault_if("slt", length, 0, BADADDR, source)
            low.b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), size, target)
            return
        size = max(1, min(size, limit + 1))
    lower_text.read_string(low, "probe_read_user_str", pointer, offset, size, source)


# ---- byte order (network order is big-endian, every machine here little-endian)


def _swap(bits: int) -> Callable[[Lowering, typed.Call], int]:
    def rule(low: Lowering, e: typed.Call) -> int:
        value = lower_expr.scalar(low, e.args[0])
        if not isinstance(value, Reg):
            size = bits // 8
            swapped = int.from_bytes((value & ((1 << bits) - 1)).to_bytes(size, "little"), "big")
            return lower_expr.signed64(swapped)
        return low.b.emit("bswap", value, bits)

    return rule


# ---- strings


def _strlen(low: Lowering, e: typed.Call) -> int:
    """size_t strlen(string): the helper that copies a string says how long it is."""
    b = low.b
    pointer, offset, size = lower_text.address(low, e.args[0])
    target, target_at = low.buffer("length", size)
    length = b.call(
        "probe_read_kernel_str",
        lower_expr.plus_reg(low, target, target_at),
        size,
        lower_expr.plus_reg(low, pointer, offset),
    )
    return b.emit("sub", length, 1)


def _rand(low: Lowering, e: typed.Call) -> int:
    """int rand(void)"""
    return low.b.emit("zext", low.b.call("get_prandom_u32"), 16)


_SCALARS: dict[str, Callable[[Lowering, typed.Call], int]] = {
    "speculation": lower_spec.speculation,
    "copyin": _copyin,
    "bcopy": _bcopy,
    "copyinto": _copyinto,
    "copyout": lower_destructive.copyout,
    "copyoutstr": lower_destructive.copyoutstr,
    "alloca": _alloca,
    "ntohs": _swap(16),
    "htons": _swap(16),
    "ntohl": _swap(32),
    "htonl": _swap(32),
    "ntohll": _swap(64),
    "htonll": _swap(64),
    "strlen": _strlen,
    "rand": _rand,
}

_STRINGS: dict[str, Callable[[Lowering, typed.Call, Reg, int, int], None]] = {
    "copyinstr": _copyinstr,
}
