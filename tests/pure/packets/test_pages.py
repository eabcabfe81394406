"""Which constant counts."""

from __future__ import annotations

from dsight.packets.pages import agreed


def test_three_that_agree_and_no_two_others() -> None:
    assert agreed([0, 5, 0, 5, 5]) == 5
    assert agreed([5, 7, 5, 5, 9]) == 5
    assert agreed([5, 5, 0]) is None
    assert agreed([5, 5, 5, 7, 7]) is None
    assert agreed([]) is None
