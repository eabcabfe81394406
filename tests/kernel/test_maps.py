from __future__ import annotations

import os
import struct

import pytest

from dsight.bpf.spec import MapSpec
from dsight.errors import KernelError
from dsight.kernel import maps

pytestmark = pytest.mark.kernel


def u32(n: int) -> bytes:
    return struct.pack("=I", n)


def test_one_cpu_value_for_each_possible_cpu() -> None:
    # A second witness: the C library reads the same folder its own way.
    assert maps.possible_cpus() >= os.sysconf("SC_NPROCESSORS_CONF")
    assert maps.cpu_numbers() >= maps.possible_cpus() > maps.cpu_numbers() // 2  # their numbers have no gaps here
    m = maps.create(MapSpec("m", "percpu_array", 4, 12, 1))
    assert m.value_bytes == 16 * maps.possible_cpus()
    m.close()


def test_cpu_lists() -> None:
    assert maps.cpu_list("0-3,8\n") == [0, 1, 2, 3, 8]
    assert maps.cpu_list("0") == [0]
    assert maps.cpu_list("\n") == []


@pytest.mark.parametrize("kind", ["hash", "lru_hash", "percpu_hash"])
def test_hash_elements_come_and_go(kind: str) -> None:
    m = maps.create(MapSpec(f"a {kind}@", kind, 4, 12, 100, prealloc=kind != "hash"))
    value = bytes(range(12)).ljust(m.value_bytes, b"\0") if m.per_cpu else bytes(range(12))
    assert m.lookup(u32(7)) is None
    m.update(u32(7), value)
    assert m.lookup(u32(7)) == value
    assert m.delete(u32(7)) and not m.delete(u32(7))
    assert m.items() == []
    m.close()


@pytest.mark.parametrize("kind", ["hash", "percpu_hash"])
@pytest.mark.parametrize("batch", [True, False])
def test_all_elements_are_read(kind: str, batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_BATCH_SIZE", 7)  # several batches, and buckets fuller than one
    m = maps.create(MapSpec("m", kind, 8, 8, 500))
    wanted = {}
    for n in range(400):
        wanted[struct.pack("=Q", n)] = value = struct.pack("=Q", n * n) * (m.value_bytes // 8)
        m.update(struct.pack("=Q", n), value)
    if batch:
        found = m.items()
    else:
        keys, values = m._read_each()
        found = [(keys[i * 8 : i * 8 + 8], values[i * m.value_bytes : (i + 1) * m.value_bytes]) for i in range(400)]
    assert len(found) == 400
    assert dict(found) == wanted
    m.close()


@pytest.mark.parametrize("kind", ["array", "percpu_array"])
def test_arrays_are_read_in_order(kind: str) -> None:
    m = maps.create(MapSpec("m", kind, 4, 8, 3))
    m.update(u32(1), struct.pack("=Q", 5) * (m.value_bytes // 8))
    assert [k for k, _ in m.items()] == [u32(0), u32(1), u32(2)]
    assert dict(m.items())[u32(1)] == struct.pack("=Q", 5) * (m.value_bytes // 8)
    assert m._read_each() == m.read()
    m.close()


def test_memory_is_the_maps_own() -> None:
    m = maps.create(MapSpec("globals", "array", 4, 5000, 1, mmap=True, initial=b"begin"))
    memory = m.memory()
    assert len(memory) == 5000 and bytes(memory[:6]) == b"begin\0"
    memory[4992:5000] = b"12345678"
    assert (m.lookup(u32(0)) or b"")[4992:] == b"12345678"
    m.update(u32(0), b"x" * 5000)
    assert bytes(memory) == b"x" * 5000
    assert m.memory() is memory
    m.close()
    m.close()


def test_readonly_is_frozen_with_its_contents() -> None:
    m = maps.create(MapSpec("consts", "array", 4, 16, 1, readonly=True, initial=b"hello"))
    assert m.lookup(u32(0)) == b"hello".ljust(16, b"\0")
    with pytest.raises(KernelError, match="consts"):
        m.update(u32(0), bytes(16))
    m.close()


def test_a_ring_buffer_is_as_large_as_asked_for() -> None:
    m = maps.create(MapSpec("ring", "ringbuf", 0, 0, 5000))
    assert m.spec.max_entries == 8192
    m.close()


def test_what_cannot_be_created_is_named() -> None:
    with pytest.raises(KernelError, match=r"create map big .*too large"):
        maps.create(MapSpec("big", "percpu_array", 4, 1 << 20, 1))
    with pytest.raises(KernelError, match="stack_trace is not supported yet"):
        maps.create(MapSpec("s", "stack_trace", 4, 8, 1))


def test_wrong_sizes_do_not_reach_the_kernel() -> None:
    m = maps.create(MapSpec("m", "hash", 4, 8, 1))
    with pytest.raises(ValueError, match="key"):
        m.lookup(b"x")
    with pytest.raises(ValueError, match="value"):
        m.update(u32(0), b"x")
    m.close()
