"""Format strings of printf() and printa(): text to literal parts and conversions.

Source: Dynamic Tracing Guide, chapter "Output Formatting", and the reference
checklist.  The checker reads `LETTERS` to know what each conversion accepts; the
consumer turns the parts into one `%` operation (consumer.format).
"""

from __future__ import annotations

from dsight.value import Value

# Conversion letter -> what its argument must be.
LETTERS = {
    "a": "address",  # kernel symbol
    "A": "address",  # user symbol
    "c": "char",
    "C": "char",
    "d": "int",
    "e": "float",
    "E": "float",
    "f": "float",
    "g": "float",
    "G": "float",
    "i": "int",
    "I": "inet",  # network address
    "k": "stack",
    "o": "int",
    "p": "address",
    "P": "port",
    "s": "string",
    "S": "string",
    "T": "time",  # nanoseconds
    "u": "int",
    "x": "int",
    "X": "int",
    "Y": "time",  # nanoseconds since 1970
}
# Parsed so that the message is about the type, not about the format: D has no such values.
FLOATS = "eEfgG"

FLAGS = "#0-+ '@"
PREFIXES = ("hh", "h", "ll", "l", "L", "w")
STAR = -1  # width or precision taken from an int argument before the value


class FormatError(ValueError):
    """The format is wrong at `position` (offset into its text)."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


class Conversion(Value):
    """One %-conversion of a format: text[start:end].

    `width` and `precision` are None where not given and STAR where an argument
    gives them; `aggregation`: %@, the value of an aggregation (printa only).
    """

    start: int
    end: int
    letter: str
    flags: str = ""  # of "#0-+ '", each at most once
    width: int | None = None
    precision: int | None = None
    prefix: str = ""
    aggregation: bool = False

    @property
    def accepts(self) -> tuple[str, ...]:
        """What the arguments it takes must be, in order: "int" for each `*`, then its LETTERS entry."""
        stars = (self.width == STAR) + (self.precision == STAR)
        return ("int",) * stars + (LETTERS[self.letter],)


def parse(text: str) -> tuple[str | Conversion, ...]:
    """Literal parts (%% is a literal percent sign) and conversions, in order.  Raises FormatError."""
    parts: list[str | Conversion] = []
    literal = ""
    at = 0
    while True:
        percent = text.find("%", at)
        if percent < 0:
            literal += text[at:]
            break
        literal += text[at:percent]
        if text.startswith("%%", percent):
            literal += "%"
            at = percent + 2
            continue
        conversion = _conversion(text, percent)
        if literal:
            parts.append(literal)
            literal = ""
        parts.append(conversion)
        at = conversion.end
    if literal:
        parts.append(literal)
    return tuple(parts)


def _conversion(text: str, start: int) -> Conversion:
    at = start + 1
    flags = ""
    while at < len(text) and text[at] in FLAGS:
        if text[at] not in flags:
            flags += text[at]
        at += 1
    width, at = _number(text, at)
    precision = None
    if text.startswith(".", at):
        precision, at = _number(text, at + 1)
        if precision is None:
            precision = 0
    prefix = next((p for p in PREFIXES if text.startswith(p, at)), "")
    at += len(prefix)
    letter = text[at : at + 1]
    if not letter:
        raise FormatError(start, f'conversion "{text[start:]}" is not complete')
    if letter not in LETTERS:
        raise FormatError(start, f'"{text[start : at + 1]}" is not a conversion: there is no %{letter}')
    return Conversion(start, at + 1, letter, flags.replace("@", ""), width, precision, prefix, "@" in flags)


# A width no terminal has: keeps "%999999999d" from eating the machine.
WIDTH_LIMIT = 65536


def _number(text: str, at: int) -> tuple[int | None, int]:
    """A width or precision at `at`, and the offset behind it."""
    if text.startswith("*", at):
        return STAR, at + 1
    end = at
    while end < len(text) and text[end] in "0123456789":
        end += 1
    if end == at:
        return None, at
    if end - at > 6 or int(text[at:end]) > WIDTH_LIMIT:
        raise FormatError(at, f"{text[at:end]} is too wide: at most {WIDTH_LIMIT}")
    return int(text[at:end]), end
