"""How often the blocks of a function run, as far as that can be told from it."""

from __future__ import annotations

from dsight.ir.build import targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.ir.ops import Block

# What the labels of blocks begin with that run when something is wrong or lacking (ir.lower) ...
LACKING = ("fault", "bad", "full", "agg_full")
# ... and where what was read as 0 is read again by the helper (ir.lower_memory).
RARE = (*LACKING, "zero")
NEVER = 1e-9  # how often those run


def weights(blocks: tuple[Block, ...]) -> list[float]:
    """How often each block runs when the function does: a branch goes either way as often, but to RARE blocks never."""
    found = []
    coming: dict[str, float] = {blocks[0].label: 1.0}
    for block in blocks:
        weight = max(coming[block.label], NEVER)
        found.append(weight)
        labels = targets(block.instrs[-1])
        often = [label for label in labels if not label.startswith(RARE)]
        for label in labels:
            share = weight / len(often) if label in often else NEVER
            coming[label] = coming.get(label, 0.0) + share if share > NEVER else coming.get(label, NEVER)
    return found
