"""Options: -x name[=value], #pragma D option name=value, DTRACE_OPT_NAME.

A table of the names dtrace(1) documents: what kind of value each takes, and whether
dsight acts on it.  Sizes in bytes, rates in nanoseconds.
"""

from __future__ import annotations

from dsight.errors import UsageError
from dsight.ir.storage import Options
from dsight.lang.types import MOST_FRAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Options that do something: name -> kind.
KINDS = {
    "aggsize": "size", "argref": "flag", "bufsize": "size", "cpp": "flag", "defaultargs": "flag",
    "define": "text", "destructive": "flag", "dynvarsize": "size", "empty": "flag", "errtags": "flag", "incdir": "text",
    "jstackframes": "count", "jstackstrsize": "size", "nspec": "count", "quiet": "flag", "scratchsize": "size",
    "specsize": "size", "stackframes": "count", "stackindent": "count", "strsize": "size", "undef": "text",
    "ustackframes": "count",
    "zdefs": "flag",
}  # fmt: skip

# Options that are accepted and change nothing here, each with the reason.
WITHOUT_EFFECT = {
    "aggrate": "aggregations are read when they are printed",
    "amin": "there are no stability attributes",
    "bufresize": "the ring buffer is made in its size or not at all",
    "cleanrate": "a speculation is free as soon as it is committed or discarded",
    "evaltime": "-c holds the command before its first instruction",
    "linkmode": "there is no link step",
    "nolibs": "libraries are read only when used",
    "noresolve": "nothing is resolved at start-up",
    "preallocate": "buffers are made when the script starts",
    "statusrate": "drops are looked at every second",
    "stdc": "-C is the C preprocessor as it is",
    "switchrate": "records are shown as they come",
    "verbose": "-v",
}

_YES = {"", "yes", "enable", "enabled", "true", "on", "set", "1"}
_NO = {"no", "disable", "disabled", "false", "off", "unset", "0"}
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}


def check(name: str, value: str) -> None:
    """Whether an option may be given so.  Raises UsageError."""
    if name in WITHOUT_EFFECT:
        return
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"failed to set -x {name}: there is no such option, or it is not supported yet", _near(name))
    if kind == "size":
        size(name, value)
    elif kind == "count":
        count(name, value)
    elif kind == "flag":
        flag(name, value)


def _near(name: str) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(name, [*KINDS, *WITHOUT_EFFECT], 1)
    return f"did you mean {near[0]}?" if near else None


def flag(name: str, value: str) -> bool:
    """A boolean option's value."""
    low = value.lower()
    if low in _YES or low in _NO:
        return low in _YES
    raise UsageError(f"failed to set -x {name}: '{value}' is neither yes nor no")


def size(name: str, value: str) -> int:
    """A size with an optional k, m, g or t."""
    digits, suffix = (value[:-1], value[-1:].lower()) if value[-1:].lower() in _SUFFIXES else (value, "")
    if not digits.isdigit() or not digits.isascii():
        raise UsageError(f"failed to set -x {name}: '{value}' is not a size", "a number with k, m, g or t: 4m")
    return int(digits) << _SUFFIXES.get(suffix, 0)


_COUNTS = {"stackindent": (0, 128)}  # range of each; frames: 1 to what bpf_get_stack() can give


def count(name: str, value: str) -> int:
    """A plain number in its range.  More frames than there can be are as many as there can be."""
    least, most = _COUNTS.get(name, (1, 1 << 16))
    if not value.isdigit() or not value.isascii() or not least <= int(value) <= most:
        raise UsageError(f"failed to set -x {name}: '{value}' is not a number from {least} to {most}")
    return int(value)


def is_set(options: Mapping[str, str], name: str) -> bool:
    """Whether a boolean option is on."""
    return name in options and flag(name, options[name])


def lowering(options: Mapping[str, str]) -> Options:
    """The numbers lowering needs.  Raises UsageError for one out of range."""
    out = Options()
    for name, least, most in (
        ("strsize", 8, 1 << 16),
        ("scratchsize", 8, 1 << 15),
        ("bufsize", 4096, 1 << 30),
        ("aggsize", 1024, 1 << 34),
        ("dynvarsize", 1024, 1 << 34),
        ("specsize", 0, 1 << 30),
    ):
        if name in options:
            value = size(name, options[name])
            if not least <= value <= most:
                raise UsageError(f"failed to set -x {name}: {value} is outside {least} to {most}")
            if name == "bufsize":  # a ring buffer's size is a power of two of pages
                value = 1 << (value - 1).bit_length()
            setattr(out, name, value)
    if "nspec" in options:
        out.nspec = count("nspec", options["nspec"])
    for name in ("stackframes", "ustackframes"):
        if name in options:
            setattr(out, name, min(count(name, options[name]), MOST_FRAMES))
    return out
