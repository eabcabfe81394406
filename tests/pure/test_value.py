"""Frozen values, made few times and often."""

from __future__ import annotations

import pytest

from dsight.value import OFTEN, Brief, Value


class Point(Value):
    x: int
    y: int = 0


class Named(Point):
    name: str = ""


class Odd(Point):
    last: int  # behind one with a default


@pytest.mark.parametrize("made_before", [0, OFTEN + 1])
def test_construction(made_before: int) -> None:
    class P(Value):
        x: int
        y: int = 7

    for i in range(made_before):
        P(i)
    assert (P(1).x, P(1).y) == (1, 7)
    assert P(x=1, y=2) == P(1, 2) == P(1, y=2)
    assert P(1) != P(2)
    assert hash(P(1)) == hash(P(1))
    assert repr(P(1)).endswith("P(x=1, y=7)")
    assert P(1, 2).replace(y=3) == P(1, 3)
    for wrong in (lambda: P(), lambda: P(1, 2, 3), lambda: P(1, z=2), lambda: P(y=1)):  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError):
        P(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del P(1).x
    with pytest.raises(AttributeError):
        P(1).other = 2  # type: ignore[attr-defined]


def test_subclasses_have_their_own_fields() -> None:
    for i in range(2 * OFTEN):
        assert Point(i).x == i
        named = Named(i, 2, "n")
        assert (named.x, named.y, named.name) == (i, 2, "n")
        odd = Odd(i, 1, 2)
        assert (odd.x, odd.y, odd.last) == (i, 1, 2)
        assert Odd(i, last=5).y == 0
    assert Named(1, 2) != Point(1, 2)


def test_brief_ones() -> None:
    class B(Brief):
        x: int
        y: int = 7

    for i in range(2 * OFTEN):
        made = B(i)
        assert (made.x, made.y, B(i, y=3).y) == (i, 7, 3)
        assert made == B(x=i) != B(i + 1) and hash(made) == hash(B(i)) and made.replace(y=1) == B(i, 1)
    with pytest.raises(TypeError):
        B()  # type: ignore[call-arg]
