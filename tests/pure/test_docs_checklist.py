"""docs/d-checklist.md: every row names a test that exists and uses the item; every option, subroutine and
action has a row."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from dsight import options
from dsight.lang import builtins

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))

from checklist import text_of  # noqa: E402

PAGE = (REPO / "docs" / "d-checklist.md").read_text()

# What to look for where the item is not a word of a script: a pattern, or one for each of several.
SIGNS = {
    "globs `* ? [...]` in descriptions": (r"\w\*\w*:::", r"\w\?\w", r":\[.+\]"),
    "empty fields": r":::BEGIN",
    "comma lists of descriptions": r"\w, \w*:::",
    "probe ids": r"^1 \{",
    "predicates": r"^[\w:]+ /.*/",
    "several clauses on one probe, in order": r"^(\S+) [^\n]*\}\n\1 ",
    "declarations of structs, unions, enums, typedefs": (r"\benum \w+ \{", r"\bunion \w+ \{", r"\btypedef\b"),
    "bit-fields": r"\w:\d+[,;]",
    "arrays": r"\w\[\d+\](\[\d+\])?;",
    "function pointers": r"\(\*\w+\)\(",
    "inline, with and without parameters": (r"inline \w+ \w+ =", r"inline \w+ \w+\["),
    "translator and xlate": (r"\btranslator\b", r"\bxlate\b"),
    "casts": r"\(int8_t\) 300",
    "associative arrays keyed by tuples": r'\w\["\w+", \d\] =',
    "@name[keys] and @": (r"@\w+\[.+\] =", r"@ ="),
    "`symbol": r"`\w+",
    "?: ^^ , ++ --": (r"\?.*:", r"\^\^", r"\(x, 9\)", r"\+\+x", r"x--"),
    "string comparison": r'== "\w+"',
    "if and else": (r"\bif \(", r"\belse\b"),
    "#pragma D attributes, binding": (r"#pragma D attributes", r"#pragma D binding"),
    "line directives": r'^# \d+ "',
    "#! first lines": r"^#!/",
    "-C": r"-\w*C\b",
    "a literal 0 gives storage back": r"= 0;",
    "SIG*": r"\bSIG\w+",
    "E* (errno names)": r"\bENOENT\b",
    "fi_name fi_dirname fi_pathname fi_offset fi_fs fi_mount fi_oflags": tuple(
        f"fi_{part}" for part in "name dirname pathname offset fs mount oflags".split()
    ),
    "flags # 0 - + space '": ("%#", "%0", r"%\+", "% d", "%'"),
    "* for width and precision": (r"%-?\*", r"\.\*"),
    "exit status 0, 1, 2, or that of exit()": r"\], [12], \[",
    "jstackstrsize": r"-x jstackstrsize=",
    "psinfo_t": r"\bcurpsinfo\b",
    "lwpsinfo_t": r"\bcurlwpsinfo\b",
    "cpuinfo_t": r"\bcurcpu\b",
    "fileinfo_t": r"\bfds\[",
    "ifinfo_t": r"\bif_name\b",
    "ipv4info_t": r"\bipv4_ttl\b",
    "ipv6info_t": r"\bipv6_\w+",
    "udpinfo_t": r"\budp_length\b",
    "udpsinfo_t": r"\budps_\w+",
    "tcplsinfo_t": r"\btcps_state\b",
    "integer types of other systems (uint_t ... int64_t)": (r"\buint_t\b", r"\bint64_t\b", r"\bhrtime_t\b"),
}


def rows() -> list[tuple[str, str, str, str]]:
    """Section, item, state, test."""
    found, section = [], ""
    for line in PAGE.splitlines():
        section = line[3:] if line.startswith("## ") else section
        if line.startswith("| `"):
            row = re.fullmatch(r"\| `(.+)` \| (.+) \| (\S+) \|", line)
            assert row is not None, line
            found.append((section, *row.groups()))
    return found


ROWS = rows()


def signs(section: str, item: str) -> tuple[str, ...]:
    """Patterns that the text of the item's test must have."""
    if item in SIGNS:
        found = SIGNS[item]
        return (found,) if isinstance(found, str) else found
    if section == "printf conversions":
        letter = re.escape(item[1:])
        sized = letter in ("h", "l", "w")
        return (rf"%[-+#0 ']*[\d*.]*{letter}\w" if sized else rf"%[-+#0 'w]*[\d*.]*(hh|h|ll|l)?{letter}|\"{letter}\"",)
    if section == "Command line":
        return (rf"(?<![\w-])-\w*{item[1:]}\w*|\"-{item[1:]}\w*\"",)
    if section == "Options" and item in (*options.WITHOUT_EFFECT, *options.REFUSED):
        return (rf"\b{item}\b|WITHOUT_EFFECT|REFUSED",)
    word = item.split("(")[0].strip()
    if word.endswith("*"):
        return (rf"\b{re.escape(word[:-1])}\w+",)
    before, after = r"\b" if word[0].isalnum() else "", r"\b" if word[-1].isalnum() else ""
    return (before + re.escape(word.removesuffix("]")) + after,)


@pytest.mark.parametrize(("section", "item", "state", "test"), ROWS, ids=[f"{r[0]}-{r[1]}" for r in ROWS])
def test_the_test_named_uses_the_item(section: str, item: str, state: str, test: str) -> None:
    if test == "-":
        assert state.startswith("later"), item
        return
    text = text_of(test)
    assert text is not None, f"there is no {test}"
    for sign in signs(section, item):
        assert re.search(sign, text, re.MULTILINE), f"{test} has no {sign}"


def test_nothing_is_left_out() -> None:
    items = {item for _, item, _, _ in ROWS}
    known = {*builtins.SUBROUTINES, *builtins.ACTIONS, *builtins.AGGREGATING, *options.KINDS, *options.DYNAMIC}
    known |= {*options.WITHOUT_EFFECT, *options.REFUSED}
    assert known - items == {"d_mountpoint"}  # of dlib/io.d only


def test_what_an_option_does_is_told_as_it_is() -> None:
    states = {item: state for _, item, state, _ in ROWS}
    for name, why in options.WITHOUT_EFFECT.items():
        assert states[name] == f"accepted, changes nothing: {why}", name
    for name, why in options.REFUSED.items():
        assert states[name] == f"refused: {why}", name


def test_the_page_of_types_names_tests_that_exist() -> None:
    page = (REPO / "docs" / "checklist-types.md").read_text()
    for path, function in re.findall(r"`tests/([\w/.]+\.py)(?:::(\w+))?`", page):
        assert text_of(f"{path}::{function}") is not None if function else (REPO / "tests" / path).is_file(), path
    for names in re.findall(r"\bG: ((?:`[\w-]+`(?:, )?)+)", page):
        for name in re.findall(r"`([\w-]+)`", names):
            assert text_of(f"golden/{name}.golden") is not None, name
    for names in re.findall(r"\bB: ((?:`\w+`(?:, )?)+)", page):
        for name in re.findall(r"`(\w+)`", names):
            assert text_of(f"kernel/test_types_builtins.py::{name}") is not None, name
