"""printf and printa formats against their arguments, in DTrace's manner: an integer conversion takes
integers of any size (h, l, ll are not needed), %s takes what is text."""

from __future__ import annotations

from dsight import printf
from dsight.errors import CompileError, fail
from dsight.lang import check_stack
from dsight.lang.check_convert import is_int, is_ptr, is_string, quoted, string_hint, to_string
from dsight.lang.scope import Scope
from dsight.lang.typed import Const, TExpr
from dsight.lang.types import Int, Stack, Symaddr, Type, is_stringlike, unqualified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsight.lang import ast


# What a LETTERS entry accepts, for messages.
_WANTS = {
    "int": "an integer",
    "char": "an integer",
    "string": "a string",
    "address": "an address",
    "port": "an integer",
    "time": "an integer",
    "inet": "a string or an integer",
    "float": "a floating-point number",
    "stack": "stack(), ustack() or jstack()",
}


def parse(lit: ast.StrLit, what: str) -> tuple[str | printf.Conversion, ...]:
    """The parts of a format literal; a bad format becomes D_PRINTF_ARG_FMT or D_PRINTF_FMT_EMPTY."""
    if not lit.value:
        raise fail("D_PRINTF_FMT_EMPTY", f"the format of {what}() is empty", lit.span)
    text = lit.value.decode("utf-8", "surrogateescape")
    try:
        return printf.parse(text)
    except printf.FormatError as error:
        span, at = lit.span, error.position + 1
        if "\\" not in span.text and span.start + at < span.end:
            span = span.replace(start=span.start + at)
        raise fail("D_PRINTF_ARG_FMT", error.message, span, "a percent sign itself is written %%") from None


def arguments(cx: Scope, lit: ast.StrLit, given: list[TExpr], what: str = "printf") -> tuple[TExpr, ...]:
    """The arguments of printf, checked against its format, as they are recorded."""
    parts = parse(lit, what)
    wanted: list[tuple[str, printf.Conversion, bool]] = []
    for part in parts:
        if isinstance(part, str):
            continue
        if part.aggregation:
            raise fail(
                "D_PRINTF_AGG_CONV", f"{_said(part)} prints an aggregation: that is for printa()", lit.span,
                "printf() prints values, printa() aggregations",
            )  # fmt: skip
        if part.letter in printf.FLOATS:
            raise fail(
                "D_PRINTF_ARG_TYPE", f"{_said(part)} takes a floating-point number, and D has none", lit.span,
                "D values are integers and strings: write %d",
            )  # fmt: skip
        accepts = part.accepts
        wanted += [(kind, part, n < len(accepts) - 1) for n, kind in enumerate(accepts)]
    result = []
    for n, (kind, part, star) in enumerate(wanted):
        if n >= len(given):
            if star:
                raise fail(
                    "D_PRINTF_DYN_PROTO", f"the * of {_said(part)} takes an argument of its own, which is missing",
                    lit.span,
                )  # fmt: skip
            raise fail(
                "D_PRINTF_ARG_PROTO",
                f"the format has {_conversions(wanted)}, but {_count(len(given))} given: nothing for {_said(part)}",
                lit.span,
            )
        result.append(argument(given[n], kind, part, star, n + 2))
    if len(given) > len(wanted):
        raise fail(
            "D_PRINTF_ARG_EXTRA", f"the format has {_conversions(wanted)}, but {_count(len(given))} given",
            given[len(wanted)].span, "remove the argument or add a conversion for it",
        )  # fmt: skip
    return tuple(result)


def _count(n: int) -> str:
    return f"{n} argument{' is' if n == 1 else 's are'}"


def _conversions(wanted: Sequence[object]) -> str:
    return f"{len(wanted)} conversion{'' if len(wanted) == 1 else 's'}"


def _said(part: printf.Conversion) -> str:
    return f"%{'@' if part.aggregation else ''}{part.letter}"


def argument(v: TExpr, kind: str, part: printf.Conversion, star: bool, n: int) -> TExpr:
    """One argument as the conversion takes it; strings in memory are read."""
    if star:
        if not is_int(v.type):
            raise fail(
                "D_PRINTF_DYN_TYPE", f'the * of {_said(part)} takes an integer, argument {n} is "{v.type}"', v.span
            )
        return v
    if fits(v.type, kind):
        if part.letter in "aA" and not isinstance(v.type, Symaddr):  # %p shows the number
            return check_stack.symbol_of(v, "addr" if part.letter == "a" else "uaddr")
        return to_string(v) if kind == "string" or (kind == "inet" and is_stringlike(v.type)) else v
    hint = None
    if kind == "string":
        hint = string_hint(v)
        if is_int(v.type) and unqualified(v.type).size < 8 and not isinstance(v, Const):
            hint = "for a number write %d or %x"
    elif kind in ("int", "char"):
        if is_ptr(v.type):
            hint = f"write %p, or cast it: (uintptr_t){quoted(v.span)}" if kind == "int" else None
            if is_stringlike(v.type):
                hint = "write %s"
        elif is_string(v.type):
            hint = "write %s"
    raise _wrong(v, kind, part, n, hint)


def fits(t: Type, kind: str) -> bool:
    """Whether a type may stand for a conversion kind (a value of printf.LETTERS)."""
    u = unqualified(t)
    if isinstance(u, Int) and u.size > 8:
        return False
    if kind in ("int", "char", "port", "time"):
        return is_int(u)
    if kind == "string":
        return is_stringlike(u)
    if kind == "address":
        return is_int(u) or is_ptr(u) or isinstance(u, Symaddr)
    if kind == "stack":
        return isinstance(u, Stack)
    if kind == "inet":
        return is_int(u) or is_stringlike(u)
    return False


def _wrong(v: TExpr, kind: str, part: printf.Conversion, n: int, hint: str | None) -> CompileError:
    return fail("D_PRINTF_ARG_TYPE", f'{_said(part)} takes {_WANTS[kind]}, argument {n} is "{v.type}"', v.span, hint)


def keys(lit: ast.StrLit, aggs: list[tuple[str, tuple[Type, ...]]]) -> None:
    """A printa format: its conversions take the keys in order, %@ the values."""
    parts = parse(lit, "printa")
    types = aggs[0][1]
    at = values = 0
    for part in parts:
        if isinstance(part, str):
            continue
        if part.aggregation:
            values += 1
            if values > len(aggs):
                raise fail(
                    "D_PRINTA_AGGPROTO",
                    f"the format prints {values} aggregations or more, {len(aggs)} given",
                    lit.span,
                )
            continue
        if part.width == printf.STAR or part.precision == printf.STAR:
            raise fail("D_PRINTF_DYN_PROTO", "a * has no argument in printa()", lit.span, "write the number")
        if at >= len(types):
            raise fail(
                "D_PRINTF_ARG_PROTO",
                f"{_said(part)} has no key: @{aggs[0][0]} has {len(types)} key{'' if len(types) == 1 else 's'}",
                lit.span, "the aggregated value itself is %@d",
            )  # fmt: skip
        kind = printf.LETTERS[part.letter]
        if not fits(types[at], kind):
            raise fail(
                "D_PRINTF_ARG_TYPE",
                f'{_said(part)} takes {_WANTS[kind]}, key {at + 1} of @{aggs[0][0]} is "{types[at]}"', lit.span,
            )  # fmt: skip
        at += 1


def format_text(lit: ast.StrLit) -> str:
    return lit.value.decode("utf-8", "surrogateescape")
