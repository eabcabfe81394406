"""printf conversions to text."""

import os
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsight.consumer.format import Cache, compile_format, hexdump, inet_text, raw_text, relative_time, string_text
from dsight.errors import CompileError
from dsight.record import Field

I1, I4, I8 = Field("i", 0, 1), Field("i", 0, 4), Field("i", 0, 8)
U1, U2, U4, U8 = Field("u", 0, 1), Field("u", 0, 2), Field("u", 0, 4), Field("u", 0, 8)
S = Field("s", 0, 16)
INET = Field("inet", 0, 20)


def show(text, *pairs):
    """The text of printf(text, value...), pairs being (field, value)."""
    columns = [(f"f{i}", field) for i, (field, _) in enumerate(pairs)]
    return compile_format(text, columns).single([n for n, _ in columns])(*[v for _, v in pairs])


@pytest.mark.parametrize(
    "text, pairs, expected",
    [
        ("%d %i", [(I4, -5), (U8, 2**64 - 1)], "-5 18446744073709551615"),
        ("%u", [(I4, -1)], "4294967295"),
        ("%x %X", [(I4, -1), (I1, -1)], "ffffffff FF"),
        ("%o", [(I1, -1)], "377"),
        ("%llx", [(I8, -2)], "fffffffffffffffe"),
        ("%#x %#X %#o", [(I4, 255), (I4, 255), (I4, 8)], "0xff 0XFF 010"),
        ("%#x %#o", [(I4, 0), (I4, 0)], "0 0"),
        ("%#06x|%#-8x|%#8x", [(I4, 255), (I4, 255), (I4, 255)], "0x00ff|0xff    |    0xff"),
        ("%p", [(U8, 0xFFFFFFFF81000000)], "ffffffff81000000"),
        ("0x%p", [(I8, -1)], "0xffffffffffffffff"),
        ("%5d|%-5d|%05d", [(I4, 42), (I4, 42), (I4, -42)], "   42|42   |-0042"),
        ("%+d % d %+u", [(I4, 1), (I4, 1), (U4, 1)], "+1  1 1"),
        ("%.5d|%8.3d|%08.3d", [(I4, 42), (I4, 7), (I4, 7)], "00042|     007|     007"),
        ("[%.0d]", [(I4, 0)], "[]"),
        ("%'d %'u", [(I8, -1234567), (U4, 999)], "-1,234,567 999"),
        ("%'10d|%'-10d|", [(I4, 12345), (I4, 12345)], "    12,345|12,345    |"),
        ("%*d|%-*d|%*d", [(I4, 5), (I4, 42), (I4, 5), (I4, 42), (I4, -5), (I4, 42)], "   42|42   |42   "),
        ("%s|%10s|%-10s|%.2s", [(S, b"abc\0x")] * 4, "abc|       abc|abc       |ab"),
        ("%.*s|%.*s", [(I4, 2), (S, b"abc"), (I4, -1), (S, b"abc")], "ab|abc"),
        ("100%% %s\n", [(S, b"a%d")], "100% a%d\n"),
        ("%c%c%c", [(I4, 65), (I1, 10), (I4, 0x11B)], "A\\x0a\\x1b"),
        ("%C%C%C", [(I4, 65), (I1, 10), (I4, 92)], "A\\n\\\\"),
        ("%S", [(S, b'a"b\t\xc3\xa9\\')], 'a\\"b\\t\\xc3\\xa9\\\\'),
        ("%a %A %k", [(U8, 0xFFFFFFFF81000000), (U8, 16), (U8, 1)], "0xffffffff81000000 0x10 0x1"),
        ("%T", [(U8, 3723_000000004)], "1:02:03.000000004"),
        ("%s:%d", [(INET, struct.pack("=I4s12x", 2, b"\x7f\0\0\1")), (U2, 65535)], "127.0.0.1:65535"),
        ("%I %I", [(INET, b"\0" * 20), (U4, int.from_bytes(b"\x0a\0\0\1", "little"))], " 10.0.0.1"),
        ("%P", [(U2, 64999)], "64999"),
        ("%d.%d.%d.%d", [(U1, 192), (U1, 168), (U1, 0), (U1, 255)], "192.168.0.255"),
    ],
)
def test_conversions(text, pairs, expected):
    assert show(text, *pairs) == expected


@given(st.integers(-(2**63), 2**63 - 1), st.text("0-+ ", max_size=3), st.none() | st.integers(0, 30))
def test_plain_integers_as_python_has_them(value, flags, width):
    spec = f"%{flags}{'' if width in (None, 0) else width}d"
    assert show(spec, (I8, value)) == spec % value


def test_wall_time(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert show("%Y", (U8, 1795414857_123456789)) == "2026 Nov 23 06:20:57"
        assert show("%Y", (U8, 5_000_000_000)) == "1970 Jan  1 00:00:05"
        assert show("%Y", (U8, 2**64 - 1))  # far away, but a year
    finally:
        monkeypatch.undo()
        time.tzset()


def test_relative_time_of_a_negative_value():
    assert relative_time(-1) == "-0:00:00.000000001"


@pytest.mark.skipif(not os.path.exists("/etc/services"), reason="no service names here")
def test_service_names():
    assert show("%P", (U2, 22)) == "ssh"


@pytest.mark.parametrize(
    "text, pairs, tag",
    [
        ("%f", [(I4, 1)], "D_PRINTF_ARG_TYPE"),
        ("%d", [(S, b"x")], "D_PRINTF_ARG_TYPE"),
        ("%s", [(I4, 1)], "D_PRINTF_ARG_TYPE"),
        ("%d %d", [(I4, 1)], "D_PRINTF_ARG_PROTO"),
        ("%@d", [(I4, 1)], "D_PRINTF_AGG_CONV"),
        ("%*d", [(S, b"x"), (I4, 1)], "D_PRINTF_ARG_PROTO"),
        ("%.*x", [(I4, 2)], "D_PRINTF_ARG_PROTO"),
    ],
)
def test_what_cannot_be_shown_is_an_error(text, pairs, tag):
    with pytest.raises(CompileError) as e:
        show(text, *pairs)
    assert e.value.tag == tag


def test_a_width_out_of_traced_data_is_bounded():
    assert len(show("%*d", (I8, 2**62), (I4, 1))) == 65536
    assert len(show("%.*s", (I8, 2**62), (S, b"abc"))) == 3


HOSTILE = [
    (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    (b"a\nforged line\r\t", "a\\x0aforged line\\x0d\\x09"),
    (b"\xff\xfe\xc3", "\\xff\\xfe\\xc3"),
    ("naïve 漢字".encode(), "naïve 漢字"),
    ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
    ("\x9b31m\u2028".encode(), "\\x9b31m\\u2028"),
    (b"\xed\xb2\x80", "\\xed\\xb2\\x80"),  # a surrogate in UTF-8
    (b"%s%n{0}", "%s%n{0}"),
    (b"", ""),
]


@pytest.mark.parametrize("raw, expected", HOSTILE)
def test_hostile_strings(raw, expected):
    assert show("<%s>", (S, raw)) == f"<{expected}>"


@given(st.binary(max_size=40))
def test_any_string_is_harmless_and_can_be_written(raw):
    for text in (string_text(raw), show("%S", (S, raw)), show("%s", (Field("b", 0, 40), raw))):
        assert text.isprintable()
        text.encode()


@given(st.binary(min_size=20, max_size=20))
def test_any_address_is_text(raw):
    assert inet_text(raw).isprintable()


def test_hexdump():
    assert hexdump(bytes(range(0x30, 0x42))) == (
        "\n             0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f  0123456789abcdef\n"
        "         0: 30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  0123456789:;<=>?\n"
        "        10: 40 41                                            @A\n"
    )


def test_traced_bytes_are_a_string_only_when_printable():
    assert raw_text(b"hello\0\0\0") == "hello"
    assert raw_text(b"hel\0lo\0\0").startswith("\n   ")
    assert raw_text(b"\0\0\0").startswith("\n   ")
    assert raw_text(b"\x1b[m").startswith("\n   ")


def test_the_cache_is_bounded():
    cache = Cache(str, limit=3)
    assert [cache[i] for i in range(10)] == [str(i) for i in range(10)]
    assert len(cache) <= 3
