"""Options: -x name[=value], #pragma D option name=value, DTRACE_OPT_NAME, setopt().

Tables of the names dtrace(1) documents: what kind of value each takes, and whether dsight acts on
it, lets it be, or refuses it.  Sizes in bytes, rates in nanoseconds.
"""

from __future__ import annotations

from dsight.errors import OptionError, UsageError, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from dsight.consumer.display import Display
    from dsight.ir.storage import Options
    from dsight.lang import typed
    from dsight.source import Span

# Options that do something: name -> kind.
KINDS = {
    "aggsize": "size", "argref": "flag", "bufpolicy": "ring fill switch", "bufresize": "auto manual",
    "bufsize": "size", "cpp": "flag", "cpphdrs": "flag", "cpu": "count", "defaultargs": "flag", "define": "text",
    "destructive": "flag", "droptags": "flag", "dynvarsize": "size", "empty": "flag", "errtags": "flag",
    "incdir": "text", "jstackframes": "count", "jstackstrsize": "size", "libdir": "text", "nspec": "count",
    "pcapsize": "size", "printsize": "size", "quietresize": "flag", "scratchsize": "size", "specsize": "size",
    "stackframes": "count",
    "stackindent": "count", "statusrate": "rate", "stdc": "a c s t", "strsize": "size", "undef": "text",
    "ustackframes": "count", "verbose": "flag", "zdefs": "flag",
}  # fmt: skip

# Options of display.Display, which setopt() may change while tracing.
DYNAMIC = {
    "agghist": "flag", "aggpack": "flag", "aggsortkey": "flag", "aggsortkeypos": "count", "aggsortpos": "count",
    "aggsortrev": "flag", "aggzoom": "flag", "flowindent": "flag", "quiet": "flag", "rawbytes": "flag",
}  # fmt: skip

# Options that are accepted and change nothing here, each with the reason.
WITHOUT_EFFECT = {
    "aggrate": "aggregations are read when they are printed",
    "amin": "there are no stability attributes",
    "cleanrate": "a speculation is free as soon as it is committed or discarded",
    "core": "types come from the running kernel",
    "cpppath": "the preprocessor is part of dsight",
    "debug": "DSIGHT_DEBUG=1 in the environment shows tracebacks",
    "evaltime": "-c holds the command before its first instruction",
    "iregs": "registers are the eBPF machine's",
    "kdefs": "symbols are looked up when they are used",
    "late": "there is no dynamic linking",
    "lazyload": "there is no dynamic linking",
    "ldpath": "there is no link step",
    "linkmode": "there is no link step",
    "linktype": "there is no link step",
    "maxframes": "the kernel says how deep a stack may be (kernel.perf_event_max_stack)",
    "nolibs": "libraries are read only when used",
    "noresolve": "nothing is resolved at start-up",
    "nusdtprobes": "USDT probes are not limited",
    "pgmax": "processes are not held",
    "preallocate": "buffers are made when the script starts",
    "procfspath": "/proc is where Linux has it",
    "pspec": "a description says itself what it is",
    "strip": "there is no link step",
    "switchrate": "records are shown as they come",
    "syslibdir": "the library is part of dsight",
    "sysslice": "there is no link step",
    "temporal": "records are always in the order of time",
    "tregs": "registers are the eBPF machine's",
    "udefs": "symbols are looked up when they are used",
    "unodefs": "symbols are looked up when they are used",
    "useruid": "privileges are the kernel's to give",
    "version": "D is D as dsight knows it",
}

# Options that are refused, each with the reason.
REFUSED = {
    "aggpercpu": "aggregations are shown for all CPUs together; make cpu a key: @[cpu] = count()",
    "ctypes": "dsight writes no type files",
    "dtypes": "dsight writes no type files",
    "grabanon": "there is no anonymous tracing on Linux",
    "knodefs": "a script cannot run without the symbols it names",
    "tree": "write --dump ast, --dump types or --dump ir",
}

_YES = {"", "yes", "enable", "enabled", "true", "on", "set", "1"}
_NO = {"no", "disable", "disabled", "false", "off", "unset", "0"}
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}
_TIMES = {
    "ns": 1, "nsec": 1, "us": 10**3, "usec": 10**3, "ms": 10**6, "msec": 10**6, "s": 10**9, "sec": 10**9,
    "m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "hour": 3600 * 10**9, "d": 86400 * 10**9,
    "day": 86400 * 10**9,
}  # fmt: skip


def check(name: str, value: str) -> None:
    """Whether an option may be given so.  Raises UsageError."""
    if name in WITHOUT_EFFECT:
        return
    if name in REFUSED:
        raise OptionError(f"failed to set -x {name}: {REFUSED[name]}")
    kind = KINDS.get(name) or DYNAMIC.get(name)
    if kind is None:
        raise OptionError(f"failed to set -x {name}: there is no such option", _near(name))
    if kind == "size":
        size(name, value)
    elif kind == "flag":
        flag(name, value)
    elif kind == "count":
        count(name, value)
    elif kind == "rate":
        rate(name, value)
    elif kind != "text" and value not in kind.split():
        raise OptionError(f"failed to set -x {name}: '{value}' is not one of {', '.join(kind.split())}")


def _near(name: str) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(name, [*KINDS, *DYNAMIC, *WITHOUT_EFFECT], 1)
    return f"did you mean {near[0]}?" if near else f"the options are {', '.join(sorted({*KINDS, *DYNAMIC}))}"


def flag(name: str, value: str) -> bool:
    """A boolean option's value."""
    low = value.lower()
    if low in _YES or low in _NO:
        return low in _YES
    raise OptionError(f"failed to set -x {name}: '{value}' is neither yes nor no")


def size(name: str, value: str) -> int:
    """A size with an optional k, m, g or t."""
    digits, suffix = (value[:-1], value[-1:].lower()) if value[-1:].lower() in _SUFFIXES else (value, "")
    if not digits.isdigit() or not digits.isascii():
        raise OptionError(f"failed to set -x {name}: '{value}' is not a size", "a number with k, m, g or t: 4m")
    return int(digits) << _SUFFIXES.get(suffix, 0)


_COUNTS = {
    "stackindent": (0, 128),
    "cpu": (0, 1 << 16),
    "aggsortpos": (0, 1 << 16),
    "aggsortkeypos": (0, 1 << 16),
}  # range of each; frames: 1 to what bpf_get_stack() can give


def count(name: str, value: str) -> int:
    """A plain number in its range.  More frames than there can be are as many as there can be."""
    least, most = _COUNTS.get(name, (1, 1 << 16))
    if not value.isdigit() or not value.isascii() or not least <= int(value) <= most:
        raise OptionError(f"failed to set -x {name}: '{value}' is not a number from {least} to {most}")
    return int(value)


def rate(name: str, value: str) -> int:
    """A time between two events in ns: a number with ns ... day, or with hz (no suffix: hz) times a second."""
    digits = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = value[len(digits) :].lower()
    if not digits.isdigit() or not digits.isascii() or len(digits) > 18 or not int(digits):
        raise OptionError(f"failed to set -x {name}: '{value}' is not a rate", "a number with ns ... day or hz: 10hz")
    if suffix in ("", "hz"):
        return max(1, 10**9 // int(digits))
    if suffix not in _TIMES:
        raise OptionError(f"failed to set -x {name}: '{suffix}' is not a unit of time", "ns us ms s m h d, or hz")
    return int(digits) * _TIMES[suffix]


def is_set(options: Mapping[str, str], name: str) -> bool:
    """Whether a boolean option is on."""
    return name in options and flag(name, options[name])


def size_text(n: int) -> str:
    """A size as options spell it: 4m."""
    for suffix, shift in reversed(_SUFFIXES.items()):
        if n >> shift and not n & (1 << shift) - 1:
            return f"{n >> shift}{suffix}"
    return str(n)


def lowering(options: Mapping[str, str]) -> Options:
    """The numbers lowering needs.  Raises UsageError for one out of range."""
    from dsight.ir.storage import Options
    from dsight.lang.types import MOST_FRAMES

    out = Options()
    for name, least, most in (
        ("strsize", 8, 1 << 16),
        ("scratchsize", 8, 1 << 15),
        ("bufsize", 4096, 1 << 40),
        ("aggsize", 1024, 1 << 34),
        ("dynvarsize", 1024, 1 << 34),
        ("specsize", 0, 1 << 30),
        ("pcapsize", 0, 1 << 30),
        ("printsize", 8, 1 << 16),
    ):
        if name in options:
            value = size(name, options[name])
            if not least <= value <= most:
                raise OptionError(f"failed to set -x {name}: {value} is outside {least} to {most}")
            if name == "bufsize":  # a ring buffer's size is a power of two of pages
                value = 1 << (value - 1).bit_length()
            setattr(out, name, value)
    for name in ("nspec", "cpu"):
        if name in options:
            setattr(out, name, count(name, options[name]))
    for name in ("stackframes", "ustackframes", "jstackframes"):
        if name in options:
            setattr(out, name, min(count(name, options[name]), MOST_FRAMES))
    return out


# ---- display and setopt()


def check_dynamic(name: str, value: str) -> None:
    """Whether an option may change so while tracing.  Raises UsageError."""
    check(name, value)
    if name in KINDS:
        raise OptionError(f"failed to set {name}: it cannot change while tracing")


def set_display(display: Display, name: str, value: str) -> None:
    """Change an option while tracing.  Raises UsageError."""
    check_dynamic(name, value)
    if name in DYNAMIC:
        setattr(display, name, (flag if DYNAMIC[name] == "flag" else count)(name, value))


def display_of(options: Mapping[str, str], *, utf8: bool = False) -> Display:
    """The display options in force."""
    from dsight.consumer.display import Display

    made = Display(utf8=utf8)
    for name in DYNAMIC:
        if name in options:
            set_display(made, name, options[name])
    return made


def check_setopts(script: typed.Script) -> None:
    """Whether setopt() may set what a script has it set, as far as that stands in the script.

    Raises CompileError (D_PRAGMA_OPTSET)."""
    from dsight.lang.typed import ActionStmt, If, Str

    def walk(body: tuple[typed.TStmt, ...]) -> None:
        for s in body:
            if isinstance(s, If):
                walk(s.then)
                walk(s.other)
            elif isinstance(s, ActionStmt) and s.name == "setopt":
                given = [a.value.decode("utf-8", "surrogateescape") if isinstance(a, Str) else None for a in s.args]
                name, value = given[0], given[1] if len(given) > 1 else ""
                if name is not None and value is not None:
                    try:
                        check_dynamic(name, value)
                    except UsageError as e:
                        raise fail("D_PRAGMA_OPTSET", e.message.replace("-x ", ""), s.span, e.hint) from None

    for clause in script.clauses:
        walk(clause.body)


def check_pragmas(options: tuple[tuple[str, str, Span], ...]) -> None:
    """The options of #pragma D option.  Raises CompileError."""
    for name, value, span in options:
        try:
            check(name, value)
        except UsageError as e:
            raise fail("D_PRAGMA_OPTSET", e.message.replace("-x ", ""), span, e.hint) from None
