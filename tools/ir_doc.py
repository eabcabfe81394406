"""Renews the tables of docs/ir.md from dsight.ir.ops:  .venv/bin/python tools/ir_doc.py

The prose around them is written by hand, there.  tests/pure/test_docs.py fails where the
tables are not what this makes of them.
"""

from pathlib import Path

from dsight.ir.ops import CONDITIONS, HELPERS, OPS
from dsight.ir.verify import HELPER_ARGS, KINDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ir.md"


def form(op: str) -> str:
    """How the operation looks in text, its operands named as its meaning names them."""
    has_result, kinds, _ = OPS[op]
    names = {
        "c": "CONDITION",
        "s": "NAME",
        "m": "MAP",
        "h": "HELPER",
        "*": "ARGUMENT...",
        "b": "bits",
        "z": "z",
        "n": "n",
        "k": "k",
        "j": "BODY",
        "i": "id",
    }
    values = iter("ab")
    labels = iter(("then", "else") if kinds.count("l") > 1 else ("label",))
    text, previous = op, ""
    for kind in kinds:
        if kind == "o":
            text += "+o"
        else:
            name = next(values) if kind in "vr" else next(labels) if kind == "l" else names[kind]
            mark = " -> " if kind == "l" and previous not in ("", "l") else " " if previous in ("", "c") else ", "
            text += mark + name
        previous = kind
    return "%r = " + text if has_result else text


def operations() -> str:
    rows = ["| operation | meaning |", "|---|---|"]
    for op, (_, _, meaning) in OPS.items():
        rows.append(f"| `{form(op)}` | {meaning.replace('|', chr(92) + '|').replace('*', chr(92) + '*')} |")
    return "\n".join(rows)


def conditions() -> str:
    rows = ["| condition | its negation |", "|---|---|"]
    return "\n".join([*rows, *[f"| `{condition}` | `{negation}` |" for condition, negation in CONDITIONS.items()]])


def kinds() -> str:
    rows = ["| kind | operand |", "|---|---|"]
    return "\n".join([*rows, *[f"| {kind} | {meaning} |" for kind, meaning in KINDS.items()]])


def helpers() -> str:
    rows = ["| helper | number | arguments |", "|---|---|---|"]
    by_number = sorted(HELPERS.items(), key=lambda item: item[1])
    return "\n".join([*rows, *[f"| `{name}` | {number} | {HELPER_ARGS[name]} |" for name, number in by_number]])


TABLES = {"operations": operations, "conditions": conditions, "kinds": kinds, "helpers": helpers}


def page() -> str:
    """The page with its tables, which stand between `<!-- NAME -->` and `<!-- end -->`, made anew."""
    text = PAGE.read_text()
    for name, table in TABLES.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not start or not end:
            raise SystemExit(f"{PAGE} has no place for the table of {name}")
        text = before + start + table() + "\n" + end + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
