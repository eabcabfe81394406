"""string json(string text, string element): a value in JSON text (RFC 8259).

`element` is a path: `menu.items[2].id`.  The value is given as it stands in the text: a string without
its quotes, its escapes as they are; numbers, true, false, null, objects and arrays whole; "" where the
text has no such element.  One pass, a byte a round, by a machine with the modes below.
"""

from __future__ import annotations

from dsight.ir import lower_strings
from dsight.ir.loops import Body, run, words
from dsight.ir.ops import Reg
from dsight.lang import typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering

# Words.
_AT = 0  # index into the text
_MODE = 1
_PATH = 2  # where in the path the step stands that is being looked for
_COMPARED = 3  # how far in the path the key at hand has been compared, or the number been read
_SAME = 4  # whether it has been the same so far
_DEPTH = 5  # of what is skipped or taken
_INDEX = 6  # how many elements of the array at hand are still to be skipped
_ARRAY = 7  # whether an array is at hand, not an object
_START = 8  # of what is taken; -1: nothing
_END = 9
_WORDS = (0, 0, 0, 0, 0, 0, 0, 0, -1, 0)

# Modes.
_VALUE = 0  # a value is to come that leads to the element, or is it
_KEY = 1  # the next key of an object
_IN_KEY = 2
_COLON = 3  # what follows a key
_SKIP = 4  # a value that is not wanted
_SKIP_STRING = 5
_TAKE_STRING = 6
_TAKE = 7  # an object or array
_TAKE_INNER = 8  # a string in it
_TAKE_ATOM = 9  # a number, true, false or null
_NUMBER = 10  # the index in the path is being read

_STEP = 1  # the byte between the steps of a path made simple
_QUOTE, _BACKSLASH = ord('"'), ord("\\")


def simple(path: bytes) -> bytes:
    """A path as the machine reads it: steps with the byte _STEP between them, NUL at the end."""
    for mark in b".[]":
        path = path.replace(bytes([mark]), bytes([_STEP]))
    return bytes([_STEP]).join([step for step in path.split(bytes([_STEP])) if step]) + b"\0"


def _simplify(size: int) -> Callable[[Body], None]:
    """The same for a path known when it runs.  Words: index, length of the result, whether a mark is
    due.  Pointers: words, path, result."""

    def write(body: Body) -> None:
        b, out = body.b, body.pointer(2)
        byte = body.byte(body.pointer(1), body.get(0), size - 1)
        body.add(0, 1)
        with body.when("eq", byte, 0):
            body.set_byte(out, body.get(1), size - 1, 0)
            body.stop()
        marks = [b.emit("set", "eq", byte, mark) for mark in b".[]"]
        with body.when("ne", b.emit("or", b.emit("or", marks[0], marks[1]), marks[2]), 0):
            body.put(2, 1)
            body.again()
        due = b.emit("and", body.get(2), b.emit("set", "ne", body.get(1), 0))
        with body.when("ne", due, 0):
            body.append(out, 1, size - 1, _STEP)
        body.put(2, 0)
        body.append(out, 1, size - 1, byte)

    return write


def json(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    b = low.b
    text, text_size = lower_strings.own(low, e.args[0])
    if isinstance(e.args[1], typed.Str):
        known = simple(e.args[1].value.split(b"\0", 1)[0][: low.options.strsize - 1])
        path, path_size = low.constant_at(known), len(known)
    else:
        given, path_size = lower_strings.own(low, e.args[1])
        path = low.scratch_at(low.scratch_temporary(path_size))
        run(low, f"json_path_{path_size}", path_size, _simplify(path_size), (words(low, 0, 0, 0), given, path))
    state = words(low, *_WORDS)
    rounds = text_size + 2 * path_size + 8
    run(low, f"json_{text_size}_{path_size}", rounds, _machine(text_size, path_size), (state, text, path))
    start, end = b.load(state, 8 * _START, 8), b.load(state, 8 * _END, 8)
    base = lower_strings.number(low, text)
    lower_strings.either(
        low, "ult", start, end,
        lambda: lower_strings.part(low, base, start, b.emit("sub", end, start), pointer, offset, size),
        lambda: b.store(pointer, offset, 1, 0),
    )  # fmt: skip


def _machine(size: int, path_size: int) -> Callable[[Body], None]:
    def write(body: Body) -> None:
        one = _Machine(body, size, path_size)
        for mode, rule in _RULES:
            with body.when("eq", one.mode, mode):
                rule(one)
        body.stop()

    return write


class _Machine:
    """What the rules of all modes need: `byte`, the next of the text, and how to go on."""

    def __init__(self, body: Body, size: int, path_size: int) -> None:
        self.body = body
        self.size = size
        self.path_size = path_size
        self.path = body.pointer(2)
        self.mode = body.get(_MODE)
        self.at = body.get(_AT)
        self.byte = body.byte(body.pointer(1), self.at, size - 1)
        self.space = self.any(b" \t\r\n")
        with body.when("eq", self.byte, 0):
            with body.when("ne", self.mode, _TAKE_ATOM):
                with body.when("ne", self.mode, _NUMBER):
                    self.none()

    def any(self, of: bytes) -> Reg:
        """Whether the byte is one of these."""
        found = self.body.b.emit("set", "eq", self.byte, of[0])
        for byte in of[1:]:
            found = self.body.b.emit("or", found, self.body.b.emit("set", "eq", self.byte, byte))
        return found

    def step(self, at: Reg) -> Reg:
        return self.body.byte(self.path, at, self.path_size - 1)

    def go(self, mode: int | None = None, by: int = 1) -> None:
        """On to the next round, in a mode, `by` bytes further."""
        if by:
            self.body.put(_AT, self.body.b.emit("add", self.at, by))
        if mode is not None:
            self.body.put(_MODE, mode)
        self.body.again()

    def none(self) -> None:
        self.body.put(_START, -1)
        self.body.put(_END, 0)
        self.body.stop()

    def done(self, end: Reg) -> None:
        self.body.put(_END, end)
        self.body.stop()

    def escape(self) -> None:
        """Inside a string: passes a backslash and what follows it."""
        with self.body.when("eq", self.byte, _BACKSLASH):
            following = self.body.byte(self.body.pointer(1), self.body.b.emit("add", self.at, 1), self.size - 1)
            with self.body.when("ne", following, 0):
                self.go(by=2)
            self.none()

    def found(self, compared: Reg) -> None:
        """A step has been taken: the next one."""
        more = self.body.b.emit("set", "eq", self.step(compared), _STEP)
        self.body.put(_PATH, self.body.b.emit("add", compared, more))


def _value(m: _Machine) -> None:
    body = m.body
    with body.when("ne", m.space, 0):
        m.go()
    with body.when("ne", m.any(b",:]}"), 0):
        m.none()
    nested = m.any(b"{[")
    array = body.b.emit("set", "eq", m.byte, ord("["))
    with body.when("eq", m.step(body.get(_PATH)), 0):
        body.put(_START, m.at)
        with body.when("eq", m.byte, _QUOTE):
            body.put(_START, body.b.emit("add", m.at, 1))
            m.go(_TAKE_STRING)
        with body.when("ne", nested, 0):
            body.put(_DEPTH, 1)
            m.go(_TAKE)
        m.go(_TAKE_ATOM)
    with body.when("eq", nested, 0):
        m.none()
    body.put(_ARRAY, array)
    with body.when("ne", array, 0):
        body.put(_COMPARED, body.get(_PATH))
        body.put(_INDEX, 0)
        m.go(_NUMBER)
    m.go(_KEY)


def _number(m: _Machine) -> None:
    """Reads the path, not the text."""
    body = m.body
    compared = body.get(_COMPARED)
    byte = m.step(compared)
    with body.when("ule", byte, _STEP):
        with body.when("ne", body.get(_INDEX), 0):
            body.put(_DEPTH, 0)
            m.go(_SKIP, 0)
        m.found(compared)
        m.go(_VALUE, 0)
    digit = body.b.emit("sub", byte, ord("0"))
    with body.when("ugt", digit, 9):
        m.none()
    body.put(_INDEX, body.b.emit("add", body.b.emit("mul", body.get(_INDEX), 10), digit))
    body.put(_COMPARED, body.b.emit("add", compared, 1))
    m.go(by=0)


def _key(m: _Machine) -> None:
    body = m.body
    with body.when("eq", m.byte, _QUOTE):
        body.put(_COMPARED, body.get(_PATH))
        body.put(_SAME, 1)
        m.go(_IN_KEY)
    with body.when("ne", body.b.emit("or", m.space, m.any(b",")), 0):
        m.go()
    m.none()


def _in_key(m: _Machine) -> None:
    body = m.body
    compared = body.get(_COMPARED)
    step = m.step(compared)
    with body.when("eq", m.byte, _QUOTE):
        body.put(_SAME, body.b.emit("and", body.get(_SAME), body.b.emit("set", "ule", step, _STEP)))
        m.go(_COLON)
    same = body.b.emit("and", body.b.emit("set", "eq", step, m.byte), body.b.emit("set", "ne", step, _STEP))
    body.put(_SAME, body.b.emit("and", body.get(_SAME), same))
    body.put(_COMPARED, body.b.emit("add", compared, body.get(_SAME)))
    m.escape()
    m.go()


def _colon(m: _Machine) -> None:
    body = m.body
    with body.when("ne", m.space, 0):
        m.go()
    with body.when("ne", m.byte, ord(":")):
        m.none()
    with body.when("ne", body.get(_SAME), 0):
        m.found(body.get(_COMPARED))
        m.go(_VALUE)
    body.put(_DEPTH, 0)
    m.go(_SKIP)


def _skip(m: _Machine) -> None:
    body = m.body
    depth = body.get(_DEPTH)
    with body.when("eq", m.byte, _QUOTE):
        m.go(_SKIP_STRING)
    with body.when("ne", m.any(b"{["), 0):
        body.put(_DEPTH, body.b.emit("add", depth, 1))
    with body.when("ne", m.any(b"]}"), 0):
        with body.when("eq", depth, 0):
            m.none()
        body.put(_DEPTH, body.b.emit("sub", depth, 1))
    comma = body.b.emit("and", m.any(b","), body.b.emit("set", "eq", depth, 0))
    with body.when("ne", comma, 0):
        with body.when("eq", body.get(_ARRAY), 0):
            m.go(_KEY)
        left = body.add(_INDEX, -1)
        with body.when("eq", left, 0):
            m.found(body.get(_COMPARED))
            m.go(_VALUE)
    m.go()


def _in_string(then: int) -> Callable[[_Machine], None]:
    """Inside a string in what is skipped or taken; `then`: the mode after it."""

    def rule(m: _Machine) -> None:
        m.escape()
        with m.body.when("eq", m.byte, _QUOTE):
            m.go(then)
        m.go()

    return rule


def _take_string(m: _Machine) -> None:
    m.escape()
    with m.body.when("eq", m.byte, _QUOTE):
        m.done(m.at)
    m.go()


def _take(m: _Machine) -> None:
    body = m.body
    with body.when("eq", m.byte, _QUOTE):
        m.go(_TAKE_INNER)
    with body.when("ne", m.any(b"{["), 0):
        body.add(_DEPTH, 1)
    with body.when("ne", m.any(b"]}"), 0):
        left = body.add(_DEPTH, -1)
        with body.when("eq", left, 0):
            m.done(body.b.emit("add", m.at, 1))
    m.go()


def _take_atom(m: _Machine) -> None:
    ends = m.body.b.emit("or", m.space, m.any(b",]}\0"))
    with m.body.when("ne", ends, 0):
        m.done(m.at)
    m.go()


_RULES: tuple[tuple[int, Callable[[_Machine], None]], ...] = (
    (_VALUE, _value),
    (_KEY, _key),
    (_IN_KEY, _in_key),
    (_COLON, _colon),
    (_SKIP, _skip),
    (_SKIP_STRING, _in_string(_SKIP)),
    (_TAKE_STRING, _take_string),
    (_TAKE, _take),
    (_TAKE_INNER, _in_string(_TAKE)),
    (_TAKE_ATOM, _take_atom),
    (_NUMBER, _number),
)
