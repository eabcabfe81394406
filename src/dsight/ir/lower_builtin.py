"""Built-in variables and the probe's raw arguments, each worked out once on a path."""

from __future__ import annotations

from dsight.ir import lower_expr, lower_memory, lower_stack
from dsight.ir.maps import WALL_OFFSET
from dsight.ir.ops import Reg
from dsight.ir.storage import int_size
from dsight.lang import typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering


def cpu(low: Lowering) -> int:
    return builtin(low, "cpu")


def builtin(low: Lowering, name: str) -> int:
    """The value of a scalar built-in variable, worked out once where that holds."""
    if low.error_args is not None and name in ("probeprov", "probemod", "probefunc", "probename"):
        return low.probe
    value = low.known.get(name)
    if value is not None:
        return value
    if name in _CALLS or name in _HALVES:
        value = _simple(low, name)
    else:
        value = low.known[name] = _compute(low, name)
    if name == "curthread":
        lower_memory.readable(low, value)
    return value


# What goes on from clause to clause; within one it stands still.
CLOCKS = ("timestamp", "walltimestamp")

# What a helper returns, and half of that.
_CALLS = {
    "pid_tgid": "get_current_pid_tgid",
    "uid_gid": "get_current_uid_gid",
    "cpu": "get_smp_processor_id",
    "timestamp": "ktime_get_ns",
    "curthread": "get_current_task",
}
_HALVES: dict[str, tuple[str, str]] = {
    "pid": ("shr", "pid_tgid"),
    "tid": ("zext", "pid_tgid"),
    "uid": ("zext", "uid_gid"),
    "gid": ("shr", "uid_gid"),
}


def _simple(low: Lowering, name: str) -> Reg:
    """One of these two tables."""
    b, value = low.b, low.b.reg()
    if name in _CALLS:
        needs: tuple[int, ...] = ()

        def work_out() -> None:
            b.set(value, "call", _CALLS[name])
    else:
        op, whole = _HALVES[name]
        needs = (builtin(low, whole),)

        def work_out() -> None:
            b.set(value, op, *needs, 32)

    work_out()
    low.remember(name, value, needs, work_out)
    return value


def _compute(low: Lowering, name: str) -> int:
    b = low.b
    if name == "walltimestamp":
        offset = b.load(low.globals_at(WALL_OFFSET), 0, 8)
        return b.emit("add", builtin(low, "timestamp"), offset)
    if name == "id":
        return low.probe
    if name == "epid":
        assert low.clause is not None
        return low.clause.index + 1
    if name == "ipl":
        return 0
    if name == "uregs":  # the address of the user's registers (lang.registers)
        return lower_expr.number(low, b.call("task_pt_regs", b.call("get_current_task_btf")), True)
    if name == "errno":
        return _errno(low)
    if name in lower_stack.FRAMES:
        return lower_stack.frames(low, name)
    raise low.unsupported(f"the built-in variable {name}", low.b.span)


def _errno(low: Lowering) -> int:
    """The errno of the system call that returns: its result in -4095..-1, negated; else 0."""
    b = low.b
    if low.unit.entry.errno_arg < 0:
        return 0
    result = b.reg()
    value = argument(low, low.unit.entry.errno_arg)
    failed, done = b.label("failed"), b.label("errno")
    b.set(result, "mov", 0)
    b.br("ugt", value, -4096, failed, done)
    b.start(failed)
    b.set(result, "neg", value)
    b.jmp(done)
    b.start(done)
    return result


def arg_value(low: Lowering, e: typed.Arg) -> int:
    value = argument(low, e.index)
    return value if int_size(e.type) >= 8 else lower_expr.normalise(low, value, e.type)


def argument(low: Lowering, index: int) -> int:
    """Raw argument of the probe, 64 bits."""
    if low.error_args is not None:
        return low.error_args[index] if index < len(low.error_args) else 0
    value = low.known.get(("arg", index))
    if value is None:
        value = low.known["arg", index] = _load_argument(low, index)
    return value


def _load_argument(low: Lowering, index: int) -> int:
    b, entry = low.b, low.unit.entry
    if entry.args == "pc":
        return _program_counter(low, index)
    if index >= len(entry.offsets):
        behind = index - len(entry.offsets)
        return _derived(low, behind) if entry.stack is None else _stack_argument(low, entry.stack, behind)
    if entry.offsets[index] < 0:
        return 0
    if entry.args == "consts":
        return entry.offsets[index]
    base = b.emit("ctx")
    if entry.args == "regs":
        base = b.load(base, entry.base, 8)
    return b.load(base, entry.offsets[index], 8)


def _derived(low: Lowering, index: int) -> int:
    """A raw argument that the provider says how to work out; its temporaries are not those of the script."""
    if index >= len(low.unit.derived):
        return 0
    outer, low.temps = low.temps, {}
    value = lower_expr.scalar(low, low.unit.derived[index])
    low.temps = outer
    return value


def _stack_argument(low: Lowering, stack: tuple[int, int, int], number: int) -> int:
    """An argument the caller left on the stack; 0 where it cannot be read."""
    b = low.b
    pointer, first, size = stack
    if len(low.unit.entry.offsets) + number > 9:
        return 0
    address = b.emit("add", b.load(b.emit("ctx"), pointer, 8), first + number * size)
    slot = b.slot_addr(b.shared_slot("read", 8))
    result = b.reg()
    there, done = b.label("argument"), b.label("argument_known")
    b.set(result, "mov", 0)
    b.br("eq", b.call("probe_read_user", slot, size, address), 0, there, done)
    b.start(there)
    b.set(result, "load", slot, 0, size)
    b.jmp(done)
    b.start(done)
    return result


def _program_counter(low: Lowering, index: int) -> int:
    """profile: arg0 the kernel's program counter or 0, arg1 the user's or 0."""
    b, entry = low.b, low.unit.entry
    if index > 1:
        return 0
    ctx = b.emit("ctx")
    ip, mode = b.load(ctx, entry.offsets[0], 8), b.load(ctx, entry.offsets[1], 8)
    result = b.reg()
    keep, done = b.label("pc"), b.label("pc_known")
    b.set(result, "mov", 0)
    user = b.emit("and", mode, entry.base)
    b.br("ne" if index else "eq", user, 0, keep, done)
    b.start(keep)
    b.set(result, "mov", ip)
    b.jmp(done)
    b.start(done)
    return result


def look_up_probe(low: Lowering) -> int:
    """The probe's id from the unit's table, or the attach cookie; leaves the program where it is not enabled."""
    b, entry = low.b, low.unit.entry
    base = b.emit("ctx")
    if entry.cookie:
        return b.call("get_attach_cookie", base)
    if entry.number_in_regs:
        base = b.load(base, entry.base, 8)
    number = b.load(base, entry.number, 8)
    small = b.label("number")
    b.br("ult", number, entry.table_size, small, low.out)
    b.start(small)
    index = b.emit("shl", b.emit("and", number, entry.table_size - 1), 2)
    probe = b.load(b.emit("add", b.emit("value", entry.table, 0), index), 0, 4)
    enabled = b.label("enabled")
    b.br("ne", probe, 0, enabled, low.out)
    b.start(enabled)
    return probe
