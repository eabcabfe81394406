"""-C: the C preprocessor, by pcpp (docs/decisions/0003)."""

from __future__ import annotations

from dsight.errors import Error, UsageError
from dsight.source import Source, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# -X: what __STDC__ is (dtrace(1)).
STDC = {"a": "0", "c": "1", "t": "0", "s": ""}


def preprocess(source: Source, given: list[tuple[str, str]], stdc: str = "a", named: bool = False) -> Source:
    """A source through cpp; `given`: -D, -U and -I with their values; `stdc`: a letter of STDC; `named`:
    the paths of the files included go to standard error.  Line directives keep the places."""
    try:
        import pcpp  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise Error("-C needs the package pcpp", "pip install pcpp") from None
    import io
    import sys

    class Quiet(pcpp.Preprocessor):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def on_error(self, file: str, line: int, message: str) -> None:
            self.errors.append(f"{file}:{line}: {message}")

        def on_file_open(self, is_system_include: bool, includepath: str) -> Any:
            file = super().on_file_open(is_system_include, includepath)
            if named:
                sys.stderr.write(printable(includepath) + "\n")
            return file

        def on_directive_unknown(self, directive: Any, toks: list[Any], ifpassthru: bool, before: list[Any]) -> Any:
            if directive.value not in ("error", "warning"):
                return super().on_directive_unknown(directive, toks, ifpassthru, before)
            message = f"#{directive.value} {''.join(t.value for t in toks).strip()}"
            if directive.value == "error":
                self.on_error(directive.source, directive.lineno, message)
            else:
                sys.stderr.write(f"dtrace: {printable(f'{directive.source}:{directive.lineno}: {message}')}\n")
            return True

    cpp = Quiet()
    for name, value in (("__linux__", "1"), ("__SUNW_D", "1"), ("__SUNW_D_VERSION", "0x010d0000")):
        cpp.define(f"{name} {value}")
    cpp.undef("__STDC__")
    if STDC[stdc]:
        cpp.define(f"__STDC__ {STDC[stdc]}")
    for letter, text in given:
        if letter == "D":
            name, equals, value = text.partition("=")
            if not name.isidentifier():
                raise UsageError(f"-D: '{printable(text)}' is not name[=value]")
            cpp.define(f"{name} {value if equals else '1'}")
        elif letter == "U":
            cpp.undef(text)
        elif letter == "I":
            cpp.add_path(text)
    text, first = source.text, ""
    if text.startswith("#!"):
        first, _, text = text.partition("\n")
    out = io.StringIO()
    try:
        cpp.parse(("\n" if first else "") + text, source.name)
        cpp.write(out)
    except Exception as e:  # pcpp lets go of some malformed directives this way
        cpp.errors.append(f"{source.name}: malformed directive ({type(e).__name__}: {e})")
    if cpp.errors:
        raise Error(f"the C preprocessor: {printable(cpp.errors[0])}")
    return Source(source.name, out.getvalue())
