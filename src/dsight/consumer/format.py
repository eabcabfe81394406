"""Values to text: safe strings, addresses, and formats compiled into one `%` operation.

What traced processes hand over is untrusted: control characters, bidirectional
overrides and bytes that are not UTF-8 are escaped (source.printable), newlines and
tabs too, so that no data can forge a line or drive a terminal.  Newlines and tabs
of the script's own format stay.

A format becomes a `Template`: a Python format string and, for each argument, the
column it comes from and its converter (None: as it is; a dict: looked up, made once;
a function: called).  `Template.batch` and `Template.single` turn it into one function.
"""

from __future__ import annotations

from dsight.errors import fail
from dsight.printf import FLOATS, STAR, WIDTH_LIMIT, Conversion, parse
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from dsight.consumer.symbolise import Texts
    from dsight.record import Field

    Converter = dict[Any, str] | Callable[..., object] | None

AF_INET, AF_INET6 = 2, 10


class Cache(dict["Any", str]):
    """A value -> its text, made once; emptied when it grows past `limit`."""

    __slots__ = ("make", "limit")

    def __init__(self, make: Callable[[Any], str], limit: int = 65536) -> None:
        super().__init__()
        self.make = make
        self.limit = limit

    def __missing__(self, key: Any) -> str:
        if len(self) >= self.limit:
            self.clear()
        text = self[key] = self.make(key)
        return text


def string_text(raw: bytes) -> str:
    """A NUL-ended string of a traced process, safe to print."""
    return printable(raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")).replace("\t", "\\x09")


def script_text(raw: bytes) -> str:
    """Likewise a literal of the script: its line ends and tabs stay, as those of a format do."""
    text = raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return "\n".join([printable(line) for line in text.split("\n")])


def inet_text(raw: bytes) -> str:
    """An inet field (record.INET_SIZE) as an address; "" for other families."""
    import sys
    from _socket import inet_ntop

    family = int.from_bytes(raw[:4], sys.byteorder)
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[4:8])
    if family == AF_INET6:
        return inet_ntop(AF_INET6, raw[4:20])
    return ""


# Each event looks here first: process names and addresses repeat.
STRINGS = Cache(string_text)
LITERALS = Cache(script_text)
# Width of a traced integer by its size in bytes, after one space.
INTEGER_WIDTHS = {1: 3, 2: 5, 4: 8, 8: 16}
ADDRESSES = Cache(inet_text)


# ---- the Dynamic Tracing Guide's table of character escape sequences
ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 92: "\\\\"}


def escaped_string(raw: bytes) -> str:
    """%S: every character that is not printable ASCII, and the double quote, as an escape sequence."""
    return "".join([escaped_char(c) for c in raw.split(b"\0", 1)[0]]).replace('"', '\\"')


def escaped_char(value: int) -> str:
    """%C: printable ASCII as it is, else its escape sequence."""
    value &= 0xFF
    return ESCAPES.get(value) or safe_char(value)


def safe_char(value: int) -> str:
    """%c: the character where it is printable ASCII, else \\xNN."""
    value &= 0xFF
    return chr(value) if 32 <= value < 127 else f"\\x{value:02x}"


# ---- other conversions

_services: dict[int, str] | None = None


def service(port: int) -> str:
    """%P: the name /etc/services gives to a TCP or UDP port, else the number."""
    global _services
    if _services is None:
        _services = {}
        try:
            with open("/etc/services", encoding="utf-8", errors="replace") as f:
                for line in f:
                    words = line.split("#", 1)[0].split()
                    if len(words) >= 2 and words[1].split("/")[0].isdigit():
                        _services.setdefault(int(words[1].split("/")[0]), printable(words[0]))
        except OSError:
            pass
    return _services.get(port) or str(port)


def ipv4(value: int) -> str:
    """%I of an integer: an IPv4 address as it lies in memory (network order)."""
    import sys
    from _socket import inet_ntop

    return inet_ntop(AF_INET, (value & 0xFFFFFFFF).to_bytes(4, sys.byteorder))


def wall_time(ns: int) -> str:
    """%Y: nanoseconds since 1970 as local time, `2026 Nov 23 06:20:57`."""
    import time

    try:
        t = time.localtime(ns // 1_000_000_000)
    except (OverflowError, ValueError, OSError):
        return str(ns)
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * t.tm_mon - 3 : 3 * t.tm_mon]  # the same in every locale
    return f"{t.tm_year} {month} {t.tm_mday:2d} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"


def relative_time(ns: int) -> str:
    """%T: nanoseconds as hours:minutes:seconds.nanoseconds, `0:00:01.000000250`."""
    sign = "-" if ns < 0 else ""
    seconds, ns = divmod(abs(ns), 1_000_000_000)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ns:09d}"


def is_text(raw: bytes) -> bool:
    """Whether trace() shows raw bytes as a string: printable characters, then NULs only."""
    head, _, tail = raw.partition(b"\0")
    if not head or tail.strip(b"\0"):
        return False
    return all(32 <= c < 127 or 9 <= c <= 13 for c in head)


def raw_text(raw: bytes) -> str:
    """trace() of something that is no integer: a string, or a dump where it is not printable."""
    return string_text(raw) if is_text(raw) else hexdump(raw)


def hexdump(raw: bytes) -> str:
    """tracemem(): a line break, the head line, then 16 bytes a line (Guide, "Actions and Subroutines")."""
    lines = ["", " " * 11 + "".join([f"  {i:x}" for i in range(16)]) + "  0123456789abcdef"]
    for at in range(0, len(raw), 16):
        row = raw[at : at + 16]
        text = "".join([chr(c) if 32 <= c < 127 else "." for c in row])
        lines.append(f"{at:10x}:{''.join([f' {c:02x}' for c in row]):48s}  {text}")
    return "\n".join(lines) + "\n"


# ---- templates


class Template:
    """Text with arguments: `format` is a Python format string, `args` its arguments as
    (column name, converter); several names: the converter is a function of as many values."""

    __slots__ = ("format", "args")

    def __init__(self, format: str = "", args: Iterable[tuple[str | tuple[str, ...], Converter]] = ()) -> None:
        self.format = format
        self.args = tuple(args)

    def __add__(self, other: Template) -> Template:
        return Template(self.format + other.format, self.args + other.args)

    def columns(self) -> set[str]:
        """The columns it needs."""
        return {name for names, _ in self.args for name in ((names,) if isinstance(names, str) else names)}

    def _code(self, body: str, columns: Sequence[str]) -> Any:
        """The function `body` says, where {line} is the text of one row with `columns` bound."""
        space: dict[str, Any] = {"fmt": self.format}
        values = []
        for i, (names_of, converter) in enumerate(self.args):
            name = names_of if isinstance(names_of, str) else ", ".join(names_of)
            if converter is None:
                values.append(name)
            else:
                space[f"c{i}"] = converter
                values.append(f"c{i}[{name}]" if isinstance(converter, dict) else f"c{i}({name})")
        line = f"fmt % ({', '.join(values)}{',' if values else ''})"
        names = "".join([f"{name}, " for name in columns])
        # Only names made here get into the code: column names and c0, c1, ...
        return eval(body.format(line=line, names=names), space)

    def batch(self, columns: Sequence[str]) -> Callable[[Iterable[tuple[Any, ...]]], list[str]]:
        """A function: rows (tuples of `columns`) -> the text of each."""
        code: Callable[[Iterable[tuple[Any, ...]]], list[str]]
        code = self._code("lambda rows: [{line} for " + ("{names}" if columns else "_") + " in rows]", columns)
        return code

    def single(self, columns: Sequence[str]) -> Callable[..., str]:
        """A function: the values of `columns` -> the text."""
        code: Callable[..., str] = self._code("lambda {names}*_: {line}", columns)
        return code


def literal(text: str) -> Template:
    return Template(text.replace("%", "%%"))


def compile_format(
    text: str, columns: Sequence[tuple[str, Field]], aggregations: Sequence[str] = (), texts: Texts | None = None
) -> Template:
    """A printf or printa format as a Template.

    `columns` are the names and fields of its arguments, in order; `aggregations` the names of the
    columns that hold aggregated values (printa), each a text already where it is a distribution;
    `texts` says how code is shown.
    Raises CompileError where a conversion cannot show its argument (the checker has refused what
    is the user's fault) or is not supported yet.
    """
    result = Template()
    at = aggregated = 0
    for part in parse(text):
        if isinstance(part, str):
            result += literal(part)
            continue
        stars = []
        for star in (part.width, part.precision):
            if star == STAR:
                name, field = _next(text, columns, at)
                at += 1
                if field.kind not in ("i", "u"):
                    raise _mismatch(text, "takes a width or precision that is no integer")
                stars.append(name)
        if part.aggregation:
            if not aggregations:
                raise fail("D_PRINTF_AGG_CONV", f'%@ conversion used outside printa(): "{text}"')
            name = aggregations[aggregated % len(aggregations)]
            aggregated += 1
            format, converter = _aggregated(part)
        else:
            name, field = _next(text, columns, at)
            at += 1
            if stars:
                result += Template("%s", [((*stars, name), _starred(text, part, field, texts))])
                continue
            format, converter = _conversion(text, part, field, texts)
        result += Template(format, [(name, converter)])
    return result


def _starred(text: str, part: Conversion, field: Field, texts: Texts | None) -> Callable[..., str]:
    """A conversion whose width or precision, or both, come before the value: as if they stood in the format."""

    def make(given: tuple[int, ...]) -> tuple[str, Converter]:
        numbers = list(given)
        flags, width, precision = part.flags, part.width, part.precision
        if width == STAR:
            width = _star_width(numbers.pop(0))
            if width < 0:
                flags, width = flags + "-", -width
        if precision == STAR:
            precision = numbers.pop(0)
            precision = None if precision < 0 else min(precision, WIDTH_LIMIT)  # as in C
        return _conversion(text, part.replace(flags=flags, width=width, precision=precision), field, texts)

    made: dict[tuple[int, ...], tuple[str, Converter]] = {}

    def show(*values: Any) -> str:
        given = values[:-1]
        if given not in made:
            if len(made) >= 1024:
                made.clear()
            made[given] = make(given)
        format, converter = made[given]
        value = values[-1]
        if isinstance(converter, dict):
            value = converter[value]
        elif converter is not None:
            value = converter(value)
        return format % (value,)

    return show


def _next(text: str, columns: Sequence[tuple[str, Field]], at: int) -> tuple[str, Field]:
    if at >= len(columns):
        raise _mismatch(text, "has more conversions than arguments")
    return columns[at]


def _mismatch(text: str, what: str) -> Exception:
    return fail("D_PRINTF_ARG_PROTO", f'format "{text}" {what}')


def _star_width(value: int) -> int:
    """A width out of traced data: bounded."""
    return max(-WIDTH_LIMIT, min(value, WIDTH_LIMIT))


def _spec(conversion: Conversion, flags: str, letter: str) -> str:
    """The Python conversion: those of `flags` that were given, width and precision."""
    width, precision = conversion.width, conversion.precision
    given = "".join([f for f in flags if f in conversion.flags])
    before = "" if width is None else "*" if width == STAR else str(width)
    after = "" if precision is None else ".*" if precision == STAR else f".{precision}"
    return f"%{given}{before}{after}{letter}"


def _text_spec(conversion: Conversion) -> str:
    """The Python conversion of an argument made into text first: width only."""
    if conversion.precision == STAR:
        raise fail("D_UNKNOWN", f".* in a %{conversion.letter} conversion with these flags is not supported yet")
    return _spec(conversion.replace(precision=None), "-", "s")


def plain_texts() -> Texts:
    """Code shown without symbols."""
    from dsight.consumer.symbolise import Texts

    return Texts()


def named(field: Field) -> Cache:
    """What shows a field of kind n."""
    names = field.names or {}
    return Cache(lambda value: printable(names.get(value, "?")))


def text_of(field: Field) -> Cache:
    """What shows a field of kind n, inet, s or b as text."""
    if field.kind == "n":
        return named(field)
    return ADDRESSES if field.kind == "inet" else LITERALS if field.show == "script" else STRINGS


TEXT_LETTERS = {"c": safe_char, "C": escaped_char, "T": relative_time, "Y": wall_time, "P": service, "I": ipv4}


def _conversion(text: str, conversion: Conversion, field: Field, texts: Texts | None) -> tuple[str, Converter]:
    """Python conversion and converter for one argument."""
    letter = conversion.letter
    if letter in FLOATS:
        raise fail("D_PRINTF_ARG_TYPE", f'%{letter} takes a floating-point number, and D has none: "{text}"')
    kind = field.kind
    if field.is_code and letter in "aAk":
        return _spec(conversion.replace(precision=None), "-", "s"), (texts or plain_texts()).of(field)
    if letter in "sS" and kind == "n":
        return _spec(conversion, "-", "s"), named(field)
    if letter in "sSI" and kind in ("s", "b", "inet"):
        return _spec(conversion, "-", "s"), Cache(escaped_string) if letter == "S" and kind != "inet" else text_of(
            field
        )
    if kind not in ("i", "u"):
        raise fail("D_PRINTF_ARG_TYPE", f'%{letter} cannot show this argument: "{text}"')
    if letter in TEXT_LETTERS:
        return _text_spec(conversion), TEXT_LETTERS[letter]
    if letter in "sS":
        raise fail("D_PRINTF_ARG_TYPE", f'%{letter} needs a string: "{text}"')
    if letter in "aAk":  # a key that is a number: whose address it is is known only of the kernel's
        if letter == "a":
            field = field.replace(kind="ksym", show="addr")
            return _text_spec(conversion), (texts or plain_texts()).of(field)
        return _text_spec(conversion), _hex_address
    return _integer(conversion, field.size, kind == "i")


def _hex_address(value: int) -> str:
    return f"{value & 0xFFFFFFFFFFFFFFFF:#x}"


def _integer(conversion: Conversion, size: int, signed: bool) -> tuple[str, Converter]:
    """%d %i as the field's type says; %u %o %x %X %p as unsigned of its size."""
    letter = {"i": "d", "u": "d", "p": "x"}.get(conversion.letter, conversion.letter)
    as_signed = conversion.letter in "di"
    mask = (1 << 8 * size) - 1
    grouped = "'" in conversion.flags and letter == "d"
    prefixed = "#" in conversion.flags and letter != "d"
    if grouped or prefixed or conversion.precision == 0:
        return _rendered(conversion, letter, as_signed, mask)
    flags = "-+ 0" if as_signed else "-0"
    if conversion.precision is not None:
        flags = flags.replace("0", "")
    converter = mask.__and__ if signed and not as_signed else None
    return _spec(conversion, flags, letter), converter


def _rendered(conversion: Conversion, letter: str, as_signed: bool, mask: int) -> tuple[str, Converter]:
    """Integers Python's `%` has no flag for (grouping, C's alternate forms): made into text first."""
    flags, width, precision = conversion.flags, conversion.width, conversion.precision
    zeros = width if "0" in flags and "-" not in flags and precision is None and width not in (None, STAR) else 0
    prefix = {"x": "0x", "X": "0X"}.get(letter, "") if "#" in flags else ""
    group = "'" in flags and letter == "d"

    def make(value: int) -> str:
        if not as_signed:
            value &= mask
        number = abs(value)
        digits = format(number, letter)
        if precision not in (None, STAR):
            digits = digits.rjust(precision or 0, "0") if number or precision else ""  # C: no digit for %.0d of 0
        if "#" in flags and letter == "o" and not digits.startswith("0"):
            digits = "0" + digits
        if group:
            head = len(digits) % 3
            parts = [digits[:head]] if head else []
            digits = ",".join(parts + [digits[i : i + 3] for i in range(head, len(digits), 3)])
        sign = "-" if value < 0 else "+" if as_signed and "+" in flags else " " if as_signed and " " in flags else ""
        front = sign + (prefix if number else "")
        return front + digits.rjust((zeros or 0) - len(front), "0")

    return _text_spec(conversion), make


def _aggregated(conversion: Conversion) -> tuple[str, Converter]:
    """%@: an aggregated value: a 64-bit integer, or the text of a distribution."""
    letter = conversion.letter if conversion.letter in "diouxX" else "d"
    number = Conversion(0, 0, letter, conversion.flags, conversion.width, conversion.precision)
    if STAR in (conversion.width, conversion.precision):
        raise fail("D_UNKNOWN", "* in a %@ conversion is not supported yet")
    format, converter = _integer(number, 8, True)

    def make(value: int | str) -> str:
        if isinstance(value, str):
            return value
        return format % (converter(value) if callable(converter) else value)

    return "%s", make
