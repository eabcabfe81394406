"""Randomness that is written down, so that what was made of it can be made again, shorter.

draws = Draws(7); program = random_program(draws)
shrink(draws.drawn, fails, seconds)      # the shortest, smallest draws found for which `fails` is true
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any


class Draws(Random):
    """`drawn`: the numbers so far.  With `again`, gives those once more, and 0 where they end."""

    def __init__(self, seed: int, again: list[int] | None = None) -> None:
        super().__init__(seed)
        self.drawn: list[int] = []
        self.again = iter(again) if again is not None else None

    def getrandbits(self, k: int, /) -> int:
        n = super().getrandbits(k) if self.again is None else next(self.again, 0) & (1 << k) - 1
        self.drawn.append(n)
        return n

    def random(self) -> float:
        return self.getrandbits(53) / (1 << 53)

    def _randbelow(self, n: int) -> int:
        """Random's own asks until a number is below n."""
        return self.getrandbits(n.bit_length() + 16) * n >> n.bit_length() + 16

    def __reduce__(self) -> Any:
        raise TypeError("draws are not to be copied")


def shrink(drawn: list[int], fails: Callable[[list[int]], bool], seconds: float) -> list[int]:
    """Leave out stretches of draws, then make single ones 0, for as long as that goes on to fail."""
    end = time.monotonic() + seconds
    best = list(drawn)

    def better(values: list[int]) -> bool:
        nonlocal best
        if time.monotonic() < end and fails(values):
            best = values
            return True
        return False

    before = None
    while before != best and time.monotonic() < end:
        before = best
        width = max(1, len(best) // 2)
        while width:
            at = 0
            while at < len(best) and time.monotonic() < end:
                if not better(best[:at] + best[at + width :]):
                    zeroed = best[:at] + [0] * len(best[at : at + width]) + best[at + width :]
                    if zeroed == best or not better(zeroed):
                        at += width
                        continue
                    at += width
            width //= 2
    return best
