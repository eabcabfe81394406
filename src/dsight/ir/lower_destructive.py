"""Destructive actions: what they do to the process that fired the probe, or to the CPU it is on."""

from __future__ import annotations

from dsight.ir import loops, lower_expr, lower_text
from dsight.ir.maps import MapSpec
from dsight.ir.ops import Bounded, MapRef, Reg
from dsight.lang import typed
from dsight.record import BADADDR, ILLOP, NOSCRATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.loops import Body
    from dsight.ir.lower import Lowering

SIGSTOP = 19  # signal(7), on all architectures dsight knows

# chill(): at most so long in one second of a CPU (Dynamic Tracing Guide, "Destructive Actions").
CHILL_MOST, CHILL_SECOND = 500_000_000, 1_000_000_000  # ns
_ROUNDS = 1 << 23  # of one loop: BPF_MAX_LOOPS, include/linux/bpf.h; a round takes 20 ns or more


# ---- user memory


def copyout(low: Lowering, e: typed.Call) -> int:
    """void copyout(void *buf, uintptr_t addr, size_t nbytes)"""
    base, at, _ = lower_expr.place(low, e.args[0])
    source = lower_expr.plus(low, base, at)
    addr, size = lower_expr.scalar(low, e.args[1]), lower_expr.scalar(low, e.args[2])
    limit = low.options.scratchsize if isinstance(size, Reg) else size
    if isinstance(size, Reg):
        low.fault_if("ugt", size, limit, NOSCRATCH)
    elif not 0 <= limit <= low.options.scratchsize:
        low.fault_if("eq", low.b.const(0), 0, NOSCRATCH)
        return 0
    if not limit:
        return 0
    buffer = low.scratch_at(low.scratch_temporary(limit))
    length = Bounded(size, limit) if isinstance(size, Reg) else size
    low.fault_if("ne", low.b.call("probe_read_kernel", buffer, length, source), 0, BADADDR, source)
    _write(low, buffer, size, limit, addr)
    return 0


def copyoutstr(low: Lowering, e: typed.Call) -> int:
    """void copyoutstr(string str, uintptr_t addr [, size_t maxlen]): the string with its NUL, cut to
    maxlen bytes."""
    b = low.b
    pointer, offset, room = lower_text.address(low, e.args[0])
    addr = lower_expr.scalar(low, e.args[1])
    buffer = low.scratch_at(low.scratch_temporary(room))
    length = b.reg()
    b.set(length, "call", "probe_read_kernel_str", buffer, room, lower_expr.plus_reg(low, pointer, offset))
    if len(e.args) > 2:
        most = lower_expr.scalar(low, e.args[2])
        with loops.When(b, "ugt", length, most):
            b.set(length, "mov", most)
    _write(low, buffer, length, room, addr)
    return 0


def _write(low: Lowering, buffer: Reg, size: int, limit: int, addr: int) -> None:
    """To user memory, `size` of at most `limit` bytes; nothing where it is 0, which the kernel does not take."""
    b = low.b
    if not isinstance(size, Reg):
        low.fault_if("ne", b.call("probe_write_user", addr, buffer, size), 0, BADADDR, addr)
        return
    with loops.When(b, "ugt", size, 0):  # not "ne", of which a verifier before 6.4 learns nothing
        low.fault_if("ne", b.call("probe_write_user", addr, buffer, Bounded(size, limit)), 0, BADADDR, addr)


# ---- signals


def _raise(low: Lowering, stmt: typed.ActionStmt) -> None:
    low.b.call("send_signal", lower_expr.scalar(low, stmt.args[0]))


def _stop(low: Lowering, stmt: typed.ActionStmt) -> None:
    low.b.call("send_signal", SIGSTOP)


# ---- time


def _chill(low: Lowering, stmt: typed.ActionStmt) -> None:
    """Keep the CPU busy for so many nanoseconds; what goes beyond the limit is an illegal operation."""
    b = low.b
    wanted = lower_expr.scalar(low, stmt.args[0])
    low.fault_if("ugt", wanted, CHILL_MOST, ILLOP)
    low.storage.maps["chill"] = MapSpec("chill", "percpu_array", 4, 16, 1)  # when the second began, ns spent in it
    key = b.slot_addr(b.shared_slot("zero", 8))
    b.store(key, 0, 8, 0)
    found = b.call("map_lookup_elem", MapRef("chill"), key)
    with loops.When(b, "ne", found, 0):
        now = b.call("ktime_get_ns")
        with loops.When(b, "ugt", b.emit("sub", now, b.load(found, 0, 8)), CHILL_SECOND):
            b.store(found, 0, 8, now)
            b.store(found, 8, 8, 0)
        spent = b.emit("add", b.load(found, 8, 8), wanted)
        low.fault_if("ugt", spent, CHILL_MOST, ILLOP)
        b.store(found, 8, 8, spent)
        end = loops.words(low, b.emit("add", now, wanted))
        for _ in range(3):  # a loop may be over before the time is
            loops.run(low, "chill", _ROUNDS, _wait, (end,))


def _wait(body: Body) -> None:
    with body.when("uge", body.b.call("ktime_get_ns"), body.get(0)):
        body.stop()


RULES = {"raise": _raise, "stop": _stop, "chill": _chill}
