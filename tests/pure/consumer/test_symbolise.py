"""Stacks and symbols as text: one fake table of symbols, every place text of code can stand."""

import struct

import pytest

from dsight.consumer.aggregate import Aggregations
from dsight.consumer.decode import Decoder
from dsight.consumer.format import compile_format
from dsight.consumer.symbolise import NoSymbols, Place, Texts, place_text
from dsight.record import SEEN, Action, AggLayout, Field, RecordLayout

KSTACK = Field("kstack", 8, 8 * 4)  # two frames and KSTACK_EXTRA
USTACK = Field("ustack", 8, 8 * 4)  # three frames
KSYM = Field("ksym", 8, 8, show="sym")
USYM = Field("usym", 8, 16, show="addr")


class Fake:
    """Kernel functions of 0x100 bytes from 0x1000 on; processes have libx from 0x5000 to 0x6000."""

    names = ("k_one", "k_two", "bpf_trace_run2", "__traceiter_x")

    def __init__(self):
        self.looked_at = []

    def kernel(self, address):
        n, offset = divmod(address - 0x1000, 0x100)
        return Place("vmlinux", self.names[n], offset) if 0 <= n < len(self.names) else None

    def user(self, pid, address):
        if not 0x5000 <= address < 0x6000:
            return Place("", "Ljit;", address - 0x9000) if 0x9000 <= address < 0x9100 else None
        return Place(f"lib{pid}.so", "fn" if address < 0x5100 else "", address - 0x5000)

    def seen(self, pid):
        self.looked_at.append(pid)


def words(*values):
    return struct.pack(f"={len(values)}Q", *values)


@pytest.mark.parametrize(
    ("place", "show", "text"),
    [
        (Place("libc.so.6", "__connect", 0x1B), "addr", "libc.so.6`__connect+0x1b"),
        (Place("libc.so.6", "__connect", 0), "addr", "libc.so.6`__connect"),
        (Place("libc.so.6", "__connect", 0x1B), "sym", "libc.so.6`__connect"),
        (Place("libc.so.6", "__connect", 0x1B), "mod", "libc.so.6"),
        (Place("libc.so.6", "", 0), "addr", "libc.so.6`0xabc"),
        (Place("libc.so.6", "", 0), "mod", "libc.so.6"),
        (Place("", "Ljit;", 3), "addr", "Ljit;+0x3"),
        (Place("", "", 0), "mod", "0xabc"),
        (None, "addr", "0xabc"),
        (None, "mod", "0xabc"),
    ],
)
def test_place(place, show, text):
    assert place_text(place, 0xABC, show) == text


def test_names_are_untrusted():
    hostile = Place("lib\x1b]0;x\x07", "f\nroot`evil\t\u202e\udcff" + "y" * 5000, 1)
    text = place_text(hostile, 0)
    assert text.startswith("lib\\x1b]0;x\\x07`f\\x0aroot`evil\\x09\\u202e\\xffyyy") and text.endswith("...+0x1")
    assert text.isprintable() and len(text) < 1200


def texts(**options):
    return Texts(Fake(), **options)


def test_a_stack_is_a_frame_a_line():
    assert texts().of(USTACK)[words(7, 0x5010, 0x5100, 0x42)] == (
        "\n"
        "              lib7.so`fn+0x10\n"
        "              lib7.so`fn+0x100\n"  # a return address: the call before it is in fn
        "              0x42\n"
    )
    assert texts(indent=2).of(USTACK)[words(7, 0x9001, 0, 0)] == "\n  Ljit;+0x1\n"
    assert texts().of(USTACK)[words(7, 0, 0, 0)] == "\n"


def test_a_kernel_stack_starts_behind_frames_of_tracing():
    t = texts(indent=0)
    assert t.of(KSTACK)[words(0x1205, 0x1305, 0x1001, 0x1101)] == "\nvmlinux`k_one+0x1\nvmlinux`k_two+0x1\n"
    assert t.of(KSTACK)[words(0x1001, 0x1101, 0x1102, 0x1103)] == "\nvmlinux`k_one+0x1\nvmlinux`k_two+0x1\n"
    assert t.of(KSTACK)[words(0x1001, 0x1205, 0, 0)] == "\nvmlinux`k_one+0x1\nvmlinux`bpf_trace_run2+0x5\n"
    assert t.of(KSTACK)[words(0, 0, 0, 0)] == "\n"


def test_without_symbols_addresses_stay_numbers():
    assert Texts(NoSymbols(), 0).of(KSTACK)[words(0x1001, 0x1101, 0, 0)] == "\n0x1001\n0x1101\n"
    assert Texts().of(KSYM)[0x1001] == "0x1001"


def test_a_process_is_looked_at_before_its_addresses_are_asked_for():
    t = texts()
    t.of(USTACK)[words(7, 0x5010, 0, 0)]
    t.of(USYM)[words(9, 0x5010)]
    assert t.symbols.looked_at == [7, 9]


# ---- actions


def layout(*fields_and_kinds):
    fields, actions, at = [], [], 8
    for n, (field, kind, text) in enumerate(fields_and_kinds):
        fields.append(field.replace(offset=at))
        at += field.size
        actions.append(Action(kind, (n,), text))
    return RecordLayout(0, at, tuple(fields), tuple(actions))


def test_actions_in_default_output(session, record):
    plain = layout((KSYM, "func", ""), (USTACK, "ustack", ""), (USYM, "uaddr", ""))
    s = session([plain], texts=texts())
    out = s.run(record(plain, 0, (0x1007, words(3, 0x5001, 0, 0), words(3, 0x5002))))
    head = "  0      8                       open:entry "
    assert out.splitlines()[1:] == [
        head + f"  {'vmlinux`k_one':50s}", " " * 14 + "lib3.so`fn+0x1", f"  {'lib3.so`fn+0x2':50s}",
    ]  # fmt: skip


def test_actions_in_quiet_output(session, record):
    plain = layout((KSYM, "func", ""), (KSTACK, "stack", ""), (USYM, "uaddr", ""))
    s = session([plain], texts=texts(), quiet=True)
    out = s.run(record(plain, 0, (0x1007, words(0x1001, 0, 0, 0), words(3, 0x5002))))
    assert out == "vmlinux`k_one\n              vmlinux`k_one+0x1\nlib3.so`fn+0x2"


@pytest.mark.parametrize(
    ("text", "field", "value", "shown"),
    [
        ("%a|", KSYM.replace(show="addr"), 0x1001, "vmlinux`k_one+0x1|"),
        ("%a|", KSYM, 0x1001, "vmlinux`k_one|"),
        ("%20A|", USYM, words(1, 0x5000), "          lib1.so`fn|"),
        ("%-20A|", USYM, words(1, 0x5000), "lib1.so`fn          |"),
        ("%k|", USTACK, words(1, 0x5000, 0, 0), "\n              lib1.so`fn\n|"),
        ("%a|", Field("u", 8, 8), 0x1001, "vmlinux`k_one+0x1|"),  # a key
        ("%A|", Field("i", 8, 8), -1, "0xffffffffffffffff|"),
    ],
)
def test_formats(text, field, value, shown):
    assert compile_format(text, [("x", field)], (), texts()).single(["x"])(value) == shown


def test_values_for_python(ring, record):
    plain = layout((KSYM, "func", ""), (USTACK, "ustack", ""))
    s = record(plain, 0, (0x1007, words(3, 0x5001, 0x42, 0)))
    (got,), _ = Decoder([plain], texts()).records(memoryview(ring(s)))
    assert got.values == ("vmlinux`k_one", ("lib3.so`fn+0x1", "0x42"))


def test_told_of_a_process_the_decoder_has_it_looked_at(ring, record):
    plain = layout((KSYM, "func", ""))
    t = texts()
    data = ring(words(SEEN << 16, 77)) + ring(record(plain, 0, (0x1007,))) + ring(words(SEEN << 16, 78))
    records, taken = Decoder([plain], t).records(memoryview(data))
    assert (len(records), taken, t.symbols.looked_at) == (1, len(data), [77, 78])


# ---- keys


def aggregations(field, entries, **options):
    keys = (field.replace(offset=0),)
    agg = AggLayout(0, "", "count", keys, field.size, 8, "agg_0")
    return Aggregations([agg], lambda _: [(k, [words(v)]) for k, v in entries], lambda *_: None, texts(**options))


def test_addresses_of_one_function_are_one_key():
    a = aggregations(
        KSYM, [(words(0x1001), 2), (words(0x1002), 3), (words(0x1101), 1), (words(0x99), 1), (words(0x98), 1)]
    )
    assert a.values(0) == {("vmlinux`k_one",): 5, ("vmlinux`k_two",): 1, ("0x99",): 1, ("0x98",): 1}


def test_with_offsets_each_address_is_a_key():
    a = aggregations(USYM, [(words(1, 0x5001), 2), (words(1, 0x5002), 3)])
    assert a.values(0) == {("lib1.so`fn+0x1",): 2, ("lib1.so`fn+0x2",): 3}


def test_listing():
    from dsight.consumer.listing import default

    a = aggregations(USTACK, [(words(1, 0x5001, 0, 0), 2), (words(1, 0x5002, 0x42, 0), 3)])
    assert default([a.layouts[0]], [a.snapshot(0)], texts()) == (
        "\n"
        "\n              lib1.so`fn+0x1\n                2\n"
        "\n              lib1.so`fn+0x2\n              0x42\n                3\n"
    )
    a = aggregations(KSYM, [(words(0x1001), 2)])
    assert default([a.layouts[0]], [a.snapshot(0)], texts()) == "\n" + f"  {'vmlinux`k_one':50s} {2:16d}\n"
