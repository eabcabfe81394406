"""Speculations (docs/decisions/0011-speculations.md).

The maps: `spec_free`, a queue of the ids nobody has; `spec_serial`, how often each id was given
out; `spec_live`, the speculations in use by key, which is serial << 32 | id.  Taking from the
queue and deleting from the hash are atomic: of several CPUs one gets the id, one ends it.
"""

from __future__ import annotations

from dsight.ir import lower_expr
from dsight.ir.maps import SPEC_DROPS, SPEC_FAILED, MapSpec
from dsight.ir.ops import MapRef, Reg
from dsight.lang import typed
from dsight.record import RecordLayout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering

LOST = -1  # in a record's field `spec`: it is to be thrown away


def _maps(low: Lowering) -> None:
    """The session's maps, added where a script first speaks of speculations."""
    n = low.options.nspec
    if "spec_free" in low.storage.maps:
        return
    ids = b"".join([i.to_bytes(8, "little") for i in range(1, n + 1)])
    for spec in (
        MapSpec("spec_free", "queue", 0, 8, n, initial=ids),
        MapSpec("spec_serial", "array", 4, 8 * (n + 1), 1),
        MapSpec("spec_live", "hash", 8, 8, n),
    ):
        low.storage.maps[spec.name] = spec


def speculation(low: Lowering, e: typed.Call) -> int:
    """int speculation(void): an id, 0 where all are in use."""
    b = low.b
    _maps(low)
    result, serial = b.reg(), b.reg()
    given, value = b.slot_addr(b.shared_slot("spec_id", 8)), b.slot_addr(b.shared_slot("spec_key", 8))
    b.store(given, 0, 8, 0)
    b.set(result, "mov", 0)
    got, back, failed, done = (b.label(n) for n in ("spec_got", "spec_back", "spec_failed", "spec_done"))
    b.br("eq32", b.call("map_pop_elem", MapRef("spec_free"), given), 0, got, failed)
    b.start(got)
    b.set(result, "mov", b.load(given, 0, 8))
    at = _serial_at(low, result)
    b.set(serial, "add", b.load(at, 0, 8), 1)
    b.store(at, 0, 8, serial)
    b.store(value, 0, 8, b.emit("or", b.emit("shl", serial, 32), result))
    zero = b.slot_addr(b.shared_slot("zero", 8))
    b.store(zero, 0, 8, 0)
    b.br("eq32", b.call("map_update_elem", MapRef("spec_live"), value, zero, 1), 0, done, back)  # BPF_NOEXIST
    b.start(back)
    b.call("map_push_elem", MapRef("spec_free"), given, 0)
    b.set(result, "mov", 0)
    b.jmp(failed)
    b.start(failed)
    low.count(SPEC_FAILED)
    b.jmp(done)
    b.start(done)
    return result


def _serial_at(low: Lowering, number: Reg) -> Reg:
    """Address of an id's serial number; an id out of range has that of 0, which stays 0."""
    b = low.b
    return b.emit("at", b.emit("value", "spec_serial", 0), b.emit("shl", number, 3), 8 * low.options.nspec)


def _key(low: Lowering, given: typed.TExpr, valid: str, invalid: str) -> Reg:
    """Goes on at `valid` with the key of the id in the slot spec_key, which the result points to."""
    b = low.b
    _maps(low)
    number = b.reg()
    b.set(number, "mov", lower_expr.scalar(low, given))
    b.set(number, "zext", number, 32)
    some = b.label("spec_id")
    b.br("eq", number, 0, invalid, some)
    b.start(some)
    b.br("ugt", number, low.options.nspec, invalid, valid)
    b.start(valid)
    key = b.slot_addr(b.shared_slot("spec_key", 8))
    b.store(key, 0, 8, b.emit("or", b.emit("shl", b.load(_serial_at(low, number), 0, 8), 32), number))
    return key


def _speculate(low: Lowering, stmt: typed.ActionStmt) -> None:
    """The record becomes the speculation's; one that is full, or not in use, takes none."""
    b, rec = low.b, low.record
    layout = low.storage.layouts[low.clause.index] if low.clause else None
    assert rec is not None and layout is not None
    valid, lost, full, done = (b.label(n) for n in ("spec_valid", "spec_lost", "spec_full", "speculated"))
    live, room = b.label("spec_live"), b.label("spec_room")
    key = _key(low, stmt.args[0], valid, lost)
    used = b.call("map_lookup_elem", MapRef("spec_live"), key)
    b.br("eq", used, 0, lost, live)
    b.start(live)
    size = layout.size + 8  # with the ring buffer's own header
    b.br("ugt", b.emit("add", b.load(used, 0, 8), size), low.options.specsize, full, room)
    b.start(full)
    low.count(SPEC_DROPS)
    b.jmp(lost)
    b.start(room)
    b.emit("xadd", used, 0, 8, size)
    b.store(rec, layout.spec, 8, b.load(key, 0, 8))
    b.jmp(done)
    b.start(lost)
    b.store(rec, layout.spec, 8, LOST)
    b.jmp(done)
    b.start(done)


def _end(low: Lowering, stmt: typed.ActionStmt) -> None:
    """commit, discard: who deletes it from the live ones has ended it.  The record that says so was
    reserved before, so that the consumer finds it in front of whatever uses the id next."""
    b, rec = low.b, low.record
    layout = low.storage.layouts[low.clause.index] if low.clause else None
    assert rec is not None and layout is not None
    _, offset = layout.ends[low.next_end]
    low.next_end += 1
    valid, mine, done = b.label("spec_valid"), b.label("spec_end"), b.label("spec_ended")
    key = _key(low, stmt.args[0], valid, done)
    b.br("eq32", b.call("map_delete_elem", MapRef("spec_live"), key), 0, mine, done)
    b.start(mine)
    value = b.load(key, 0, 8)
    b.store(rec, offset, 8, value)
    given = b.slot_addr(b.shared_slot("spec_id", 8))
    b.store(given, 0, 8, b.emit("zext", value, 32))
    b.call("map_push_elem", MapRef("spec_free"), given, 0)
    b.jmp(done)
    b.start(done)


def start(low: Lowering, rec: Reg, layout: RecordLayout) -> None:
    """A new record is no speculation's, and ends none."""
    for offset in ([layout.spec] if layout.spec >= 0 else []) + [at for _, at in layout.ends]:
        low.b.store(rec, offset, 8, 0)


def submit(low: Lowering, rec: Reg, layout: RecordLayout) -> None:
    """The record is done: on its way, or thrown away where speculate() found no room for it."""
    b = low.b
    if layout.spec < 0:
        b.call("ringbuf_submit", rec, 0)
        return
    lost, kept, done = b.label("spec_lost"), b.label("spec_kept"), b.label("submitted")
    b.br("eq", b.load(rec, layout.spec, 8), LOST, lost, kept)
    b.start(lost)
    b.call("ringbuf_discard", rec, 0)
    b.jmp(done)
    b.start(kept)
    b.call("ringbuf_submit", rec, 0)
    b.jmp(done)
    b.start(done)


RULES = {"speculate": _speculate, "commit": _end, "discard": _end}
