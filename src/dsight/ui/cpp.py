"""-C: the C preprocessor, by pcpp (docs/decisions/0003)."""

from __future__ import annotations

from dsight.errors import Error, UsageError
from dsight.source import Source, printable


def preprocess(source: Source, given: list[tuple[str, str]]) -> Source:
    """A source through cpp; `given`: -D, -U and -I with their values.  Line directives keep the places."""
    try:
        import pcpp  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise Error("-C needs the package pcpp", "pip install pcpp") from None
    import io

    class Quiet(pcpp.Preprocessor):  # type: ignore[misc,unused-ignore]
        errors: list[str] = []

        def on_error(self, file: str, line: int, message: str) -> None:
            self.errors.append(f"{file}:{line}: {message}")

    cpp = Quiet()
    for name, value in (("__linux__", "1"), ("__SUNW_D", "1"), ("__SUNW_D_VERSION", "0x010d0000")):
        cpp.define(f"{name} {value}")
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
    cpp.parse(("\n" if first else "") + text, source.name)
    out = io.StringIO()
    cpp.write(out)
    if cpp.errors:
        raise Error(f"the C preprocessor: {printable(cpp.errors[0])}")
    return Source(source.name, out.getvalue())
