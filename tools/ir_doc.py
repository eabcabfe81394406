"""Writes docs/ir.md from the tables of dsight.ir.ops:  .venv/bin/python tools/ir_doc.py

tests/pure/test_docs.py fails when the page is not what this makes of the tables.
"""

from pathlib import Path

from dsight.ir.ops import CONDITIONS, HELPERS, OPS, TERMINATORS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ir.md"

KINDS = {
    "v": "value", "r": "reg", "n": "n", "o": "offset", "z": "size", "b": "bits", "s": "slot", "m": "map",
    "h": "helper", "c": "CONDITION", "l": "block", "*": "...",
}  # fmt: skip

HEAD = """\
# The IR

<!-- made by tools/ir_doc.py from src/dsight/ir/ops.py: edit there -->

What stands between the typed tree and eBPF. A function is a list of basic blocks over virtual
registers `%0`, `%1`, ..., in an order in which every jump goes forward: D has no loops. A register
may be set in several blocks, and is never read on a path that has not set it. All values are 64
bits wide. `dtrace --dump ir -e` prints it, `ir.text.parse` reads it back equal, `ir.verify` checks
the rules, and `ir.interp` is its living definition.

A *value* is a register or an integer; a *reg* is a register; the size of a memory access is 1, 2, 4 or 8 bytes;
*bits* are 8, 16, 32 (or 64). Operations marked \\* become several instructions, with loops of their
own where they need some.

| operation | operands | meaning |
|---|---|---|
"""


def page() -> str:
    rows = []
    for name, (result, operands, meaning) in OPS.items():
        star = "\\*" if meaning.startswith("* ") else ""
        written = " ".join(KINDS[kind] for kind in operands)
        shown = ("%d = " if result else "") + name
        meaning = meaning.removeprefix("* ").replace("|", "\\|")
        rows.append(f"| `{shown}`{star} | {written} | {meaning} |\n")
    ends = ", ".join(f"`{name}`" for name in sorted(TERMINATORS))
    conditions = ", ".join(f"`{name}`" for name in CONDITIONS)
    helpers = ", ".join(f"`{name}`" for name in HELPERS)
    return (
        HEAD
        + "".join(rows)
        + f"\nA block ends with one of {ends}.\n"
        + f"\nConditions: {conditions}; `u` unsigned, `s` signed.\n"
        + f"\nHelpers that `call` may name: {helpers}.\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
