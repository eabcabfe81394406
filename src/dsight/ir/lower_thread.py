"""Thread-local variables that are numbers: one element of the map `thread` for each thread that has any.

A variable that was never assigned is 0.  The element is made when one becomes anything else, and given back at
the end of a clause that has set one to 0, if all are then (Dynamic Tracing Guide, Thread-Local Variables).

`Lowering.known` has, where they have been worked out, FOUND: the thread's element, or 0; WORDS: the
same, but zeroes for 0; KEY: a pointer to its key.
"""

from __future__ import annotations

from dsight.ir import lower_builtin
from dsight.ir.maps import DYN_DROPS
from dsight.ir.ops import MapRef, Reg
from dsight.ir.storage import THREAD, int_signed, int_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.lower import Lowering
    from dsight.lang import typed

FOUND, WORDS, KEY = "thread found", "thread words", "thread key"


def value(low: Lowering, var: typed.Variable) -> Reg:
    """What the variable holds."""
    held = low.b.reg()
    _load(low, var, held, _words(low))
    _remember(low, var, held)
    return held


def _load(low: Lowering, var: typed.Variable, held: Reg, words: Reg) -> None:
    b, size = low.b, int_size(var.type)
    if int_signed(var.type) and size < 8:
        b.set(held, "sext", b.load(words, low.storage.thread[var], size), size * 8)
    else:
        b.set(held, "load", words, low.storage.thread[var], size)


def _remember(low: Lowering, var: typed.Variable, held: Reg) -> None:
    """What the variable holds is in the register."""
    words = low.known.get(WORDS)
    if isinstance(words, Reg):
        low.remember(var, held, (words,), lambda: _load(low, var, held, words))
    else:
        low.known[var] = held


def store(low: Lowering, var: typed.Variable, value: int) -> int:
    """Assigns a number; what the variable holds then: 0 where there is no room for the thread."""
    b = low.b
    at, size = low.storage.thread[var], int_size(var.type)
    if not isinstance(value, Reg) and value == 0:
        found = _found(low)
        there, done = b.label("thread"), b.label("assigned")
        b.br("eq", found, 0, done, there)
        b.start(there)
        b.store(found, at, size, 0)
        b.jmp(done)
        b.start(done)
        low.zeroed = True
        return 0
    held = b.reg()
    b.set(held, "mov", value)
    if FOUND not in low.known:
        _make_and_store(low, at, size, value, held)
    else:
        _store(low, at, size, value, held)
    _remember(low, var, held)
    return held


def _store(low: Lowering, at: int, size: int, value: int, held: Reg) -> None:
    """Where the thread's element has been looked up."""
    b, found = low.b, _found(low)
    all_words = low.known.get(WORDS)
    there, done = b.label("thread"), b.label("assigned")
    missing, make = b.label("no_thread"), b.label("new_thread")
    b.br("eq", found, 0, missing, there)
    b.start(there)
    b.store(found, at, size, value)
    b.jmp(done)
    b.start(missing)
    b.br("eq", value, 0, done, make)
    b.start(make)
    full, made = b.label("full"), b.label("made")
    b.call("map_update_elem", MapRef(THREAD), _key(low), _zeroes(low, b.reg()), 0)
    _look_up(low, found)
    b.br("eq", found, 0, full, made)
    b.start(full)
    low.count(DYN_DROPS)
    b.set(held, "mov", 0)
    b.jmp(done)
    b.start(made)
    b.store(found, at, size, value)
    if isinstance(all_words, Reg):
        b.set(all_words, "mov", found)
    b.jmp(done)
    b.start(done)


def _make_and_store(low: Lowering, at: int, size: int, value: int, held: Reg) -> None:
    """Where nobody has asked yet whether the thread has an element: mostly it has none.  To make one that may be there
    already costs a call less than to look first."""
    b, key = low.b, _key(low)  # known on both ways
    found = b.reg()
    look, make = b.label("look"), b.label("new_thread")
    there, full, done = b.label("thread"), b.label("full"), b.label("assigned")
    b.br("eq", value, 0, look, make)
    b.start(make)
    b.call("map_update_elem", MapRef(THREAD), key, _zeroes(low, b.reg()), 1)  # BPF_NOEXIST
    b.jmp(look)
    b.start(look)
    _look_up(low, found)
    none = b.label("no_thread")
    b.br("ne", found, 0, there, none)
    b.start(there)
    b.store(found, at, size, value)
    b.jmp(done)
    b.start(none)
    b.br("eq", value, 0, done, full)
    b.start(full)
    low.count(DYN_DROPS)
    b.set(held, "mov", 0)
    b.jmp(done)
    b.start(done)
    _remember_found(low, found)


def give_back(low: Lowering) -> None:
    """At the end of a clause that has set variables to 0."""
    b = low.b
    low.zeroed = False
    found = _found(low)
    look, gone, done = b.label("all_zero"), b.label("give_back"), b.label("given_back")
    b.br("eq", found, 0, done, look)
    b.start(look)
    left = b.load(found, 0, 8)
    for at in range(8, low.storage.thread_size, 8):
        left = b.emit("or", left, b.load(found, at, 8))
    b.br("eq", left, 0, gone, done)
    b.start(gone)
    b.call("map_delete_elem", MapRef(THREAD), _key(low))
    b.set(found, "mov", 0)
    all_words = low.known.get(WORDS)
    if isinstance(all_words, Reg):
        _zeroes(low, all_words)
    b.jmp(done)
    b.start(done)


def _key(low: Lowering) -> Reg:
    """Pointer to the key of the thread's element."""
    b = low.b
    key = b.slot_addr(b.shared_slot("thread_key", 8))
    if KEY not in low.known:
        thread = lower_builtin.builtin(low, "pid_tgid")
        b.store(key, 0, 8, thread)
        low.known[KEY] = 1
    return key


def _found(low: Lowering) -> Reg:
    found = low.known.get(FOUND)
    if found is None:
        found = low.b.reg()
        _look_up(low, found)
        _remember_found(low, found)
    assert isinstance(found, Reg)
    return found


def _look_up(low: Lowering, found: Reg) -> None:
    low.b.set(found, "call", "map_lookup_elem", MapRef(THREAD), _key(low))


def _remember_found(low: Lowering, found: Reg) -> None:
    def again() -> None:
        low.known.pop(KEY, None)
        _look_up(low, found)

    low.remember(FOUND, found, (lower_builtin.builtin(low, "pid_tgid"),), again)


def _words(low: Lowering) -> Reg:
    words = low.known.get(WORDS)
    if words is None:
        b, found, made = low.b, _found(low), low.b.reg()

        def choose() -> None:
            none, there = b.label("no_thread"), b.label("thread")
            b.set(made, "mov", found)
            b.br("eq", made, 0, none, there)
            b.start(none)
            _zeroes(low, made)
            b.jmp(there)
            b.start(there)

        choose()
        low.remember(WORDS, made, (found,), choose)
        return made
    assert isinstance(words, Reg)
    return words


def _zeroes(low: Lowering, words: Reg) -> Reg:
    """Has the register point to an element of zeroes."""
    low.b.set(words, "value", "constants", low.storage.zeroes(low.storage.thread_size))
    return words
