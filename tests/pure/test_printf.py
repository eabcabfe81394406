"""Format strings of printf and printa."""

import pytest

from dsight.printf import LETTERS, STAR, FormatError, parse


def spec(text):
    (conversion,) = parse(text)
    c = conversion
    return c.letter, c.flags, c.width, c.precision, c.prefix, c.aggregation


def test_literals_and_conversions_in_order():
    parts = parse("%s: %d%%\n")
    assert [p if isinstance(p, str) else p.letter for p in parts] == ["s", ": ", "d", "%\n"]
    assert [(p.start, p.end) for p in parts if not isinstance(p, str)] == [(0, 2), (4, 6)]


@pytest.mark.parametrize("text", ["", "plain\n", "100%%"])
def test_no_conversion(text):
    assert "".join(parse(text)) == text.replace("%%", "%")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("%d", ("d", "", None, None, "", False)),
        ("%-20.10s", ("s", "-", 20, 10, "", False)),
        ("%#018llx", ("x", "#0", 18, None, "ll", False)),
        ("%*.*hhd", ("d", "", STAR, STAR, "hh", False)),
        ("%@8u", ("u", "", 8, None, "", True)),
        ("%-@8u", ("u", "-", 8, None, "", True)),
        ("%'wd", ("d", "'", None, None, "w", False)),
        ("%+ d", ("d", "+ ", None, None, "", False)),
        ("%5.d", ("d", "", 5, 0, "", False)),
        ("%Lu", ("u", "", None, None, "L", False)),
        ("%00d", ("d", "0", None, None, "", False)),
    ],
)
def test_parts_of_a_conversion(text, expected):
    assert spec(text) == expected


@pytest.mark.parametrize("letter", sorted(LETTERS))
def test_every_letter(letter):
    (conversion,) = parse("%" + letter)
    assert conversion.accepts == (LETTERS[letter],)


def test_stars_take_ints_first():
    (conversion,) = parse("%*.*s")
    assert conversion.accepts == ("int", "int", "string")


@pytest.mark.parametrize(
    "text, position",
    [
        ("%", 0),
        ("ab%", 2),
        ("%d %", 3),
        ("%-5", 0),
        ("%q", 0),
        ("x%5.3z", 1),
        ("%n", 0),
        ("%999999999d", 1),
        ("%ll", 0),
    ],
)
def test_bad_formats_say_where(text, position):
    with pytest.raises(FormatError) as e:
        parse(text)
    assert e.value.position == position and e.value.message
