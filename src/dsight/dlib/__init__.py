"""D source shipped with the package, and which file defines which name.

The tables let the checker open a file only for a script that uses it.  They are
checked against the files by tests/pure/dlib/test_index.py, which prints what they
should be (`lang.library.index` makes them).
"""

from __future__ import annotations

# typedef, "struct tag", enumerator or inline: the file
INDEX: dict[str, str] = {
    "cpuinfo_t": "cpuinfo.d",
    "struct cpuinfo": "cpuinfo.d",
}

# output type of translators: the files, separated by spaces
TRANSLATORS: dict[str, str] = {
    "cpuinfo_t": "cpuinfo.d",
}

# those names of INDEX that are types
TYPES = frozenset({"cpuinfo_t"})


def read(name: str) -> str:
    """The text of a library file."""
    with open(f"{__path__[0]}/{name}", encoding="utf-8") as f:
        return f.read()
