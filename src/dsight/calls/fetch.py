"""What the kernel side must copy for a call, as words for the D program's tables (calls.script).

A word of a table of memory (`truss_in0` ...; 0: nothing):

    bits 0-2   the argument with the address, from 1
    bits 3-4   how many: 0 one, 1 the next argument, 2 the result, 3 the uint32_t the next argument points to
    bit  5     into the large record
    bits 8-23  bytes of one

A word of `truss_what`, of arguments (from 1) and marks: see WHAT.
"""

from __future__ import annotations

from dsight.calls.specs import EXECS, Spec
from dsight.calls.structs import SIZES
from dsight.value import Value

ON, MAKES_FD, CLOSES, VECTOR_IN, VECTOR_OUT, MESSAGE_IN, MESSAGE_OUT, ARGV = (1 << n for n in range(8))
# Where in the word each argument's number is.
WHAT = {"fd0": 8, "fd1": 11, "str0": 14, "str1": 17, "str2": 20, "vector": 23}
SLOTS = 3  # pieces of memory of one call, at entry and at return each
SMALL = 32  # bytes in a small record, unless strings are to be longer
LARGE = 256

_ONE, _NEXT, _RESULT, _POINTED = range(4)


class Fetch(Value):
    """The words of one call, at entry and at return; a word's place is its slot."""

    what: int
    entry: tuple[int, ...] = ()
    back: tuple[int, ...] = ()


def fetch(spec: Spec) -> Fetch:
    """What to copy for a call."""
    what = ON
    fds, texts = 0, 0
    entry: list[int] = []
    back: list[int] = []
    for number, arg in enumerate(spec.args, 1):
        kind = arg.kind
        if kind in ("fd", "dirfd"):
            if fds < 2:
                what |= number << WHAT[f"fd{fds}"]
            fds += 1
        elif kind == "s":
            if texts < 3:
                what |= number << WHAT[f"str{texts}"]
            texts += 1
        elif kind == "buf<":
            entry.append(_word(number, _NEXT, 1))
        elif kind in ("buf>", "cwd>"):
            back.append(_word(number, _RESULT, 1, large=kind == "cwd>" or spec.name.startswith("readlink")))
        elif kind == "argv":
            if spec.narrow:
                continue  # pointers of 32 bits
            what |= ARGV | number << WHAT["vector"]
            entry.append(_word(number, _ONE, 64, large=True))
        elif kind in ("iov<", "iov>"):
            what |= (VECTOR_IN if kind == "iov<" else VECTOR_OUT) | number << WHAT["vector"]
            (entry if kind == "iov<" else back).append(_word(number, _NEXT, 16, large=True))
        elif kind in ("msg<", "msg>", "mmsg<", "mmsg>"):
            what |= (MESSAGE_IN if kind[-1] == "<" else MESSAGE_OUT) | number << WHAT["vector"]
            size = 64 if kind.startswith("mm") else 56
            (entry if kind[-1] == "<" else back).append(_word(number, _ONE, size, large=True))
        elif kind in ("ioctlarg", "futexarg", "prctlarg", "fcntlarg"):
            entry.append(_word(number, _ONE, 32))
            if kind in ("ioctlarg", "prctlarg"):
                back.append(_word(number, _ONE, 32))
        elif kind[0] in "<>":
            word = _of_struct(number, kind.lstrip("<>"))
            if kind.startswith("<>") or kind[0] == "<":
                entry.append(word)
            if kind.startswith("<>") or kind[0] == ">":
                back.append(_pointed(word) if kind in (">sockaddr", ">opt") else word)
    if spec.result == "fd":
        what |= MAKES_FD
    if spec.name == "close":
        what |= CLOSES
    if spec.name in EXECS:
        back = []
    # From the last slot on: memory that was not there at entry is tried again at return, in the slots that are free.
    free = (0,) * (SLOTS - len(back[:SLOTS]))
    return Fetch(what, tuple(entry[:SLOTS]), free + tuple(back[SLOTS - 1 :: -1] if back else ()))


def _word(number: int, how: int, size: int, large: bool = False) -> int:
    return number | how << 3 | (1 << 5 if large else 0) | size << 8


def _pointed(word: int) -> int:
    return word & ~(3 << 3) | _POINTED << 3


def _of_struct(number: int, kind: str) -> int:
    """One struct, or an array: t, t[], t[ret]."""
    name, bracket, count = kind.partition("[")
    if name in ("sockaddr", "opt"):  # of any length: the next argument says how many bytes
        return _word(number, _NEXT, 1, large=name == "sockaddr")
    how = _ONE if not bracket else _NEXT if count == "]" else _RESULT
    return _word(number, how, SIZES[name], large=how != _ONE or SIZES[name] > SMALL)
