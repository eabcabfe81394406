"""The index over BTF: damaged ones are not opened."""

from __future__ import annotations

import random
import struct

from dsight.btf.index import build, open_index

KEY = bytes(range(20))

# One int, "int".
DATA = (
    struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 16, 16, 5)
    + struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    + b"\0int\0"
)


def test_it_opens_for_its_kernel_only() -> None:
    raw = build(DATA, KEY)
    index = open_index(raw, KEY, len(DATA))
    assert index and index.n_types == 1 and index.offset(0) == 24 and index.ids(1, "int") == [1]
    assert index.ids(4, "int") == [] and index.ids(1, "long") == []
    assert open_index(raw, KEY[:-1], len(DATA)) is None
    assert open_index(raw, KEY, len(DATA) + 1) is None


def test_the_empty_kernel() -> None:
    data = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"
    index = open_index(build(data, KEY), KEY, len(data))
    assert index and index.n_types == 0 and index.ids(1, "int") == []


def test_any_change_is_noticed() -> None:
    raw = build(DATA, KEY)
    rng = random.Random(1)
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(8)
        assert open_index(bytes(changed), KEY, len(DATA)) is None, at
    for end in range(len(raw)):
        assert open_index(raw[:end], KEY, len(DATA)) is None
    assert open_index(raw + b"\0" * 8, KEY, len(DATA)) is None
