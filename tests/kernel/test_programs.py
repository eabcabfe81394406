from __future__ import annotations

import struct

import pytest
from kernel_asm import DISCARD, EXIT, RING, addi, call, emit, jnei, ld_imm64, ld_map, ld_value, ldx, movi, stx

from dsight.bpf.spec import Insn, MapSpec, ProgramSpec
from dsight.errors import FeatureError, KernelError, VerifierError
from dsight.kernel import maps, programs, ringbuf
from dsight.kernel.ringbuf import HEADER_SIZE, RingBuffer
from dsight.source import Source, Span

pytestmark = pytest.mark.kernel

SOURCE = Source("t.d", "BEGIN { trace(1); exit(0); }")
SPAN_A, SPAN_B = Span(SOURCE, 8, 16), Span(SOURCE, 18, 25)


def load(*insns: Insn, kind: str = "raw_tp") -> programs.Program:
    return programs.load(ProgramSpec("t", kind, insns), {})


@pytest.mark.parametrize("value", [0, 1, -1, 1 << 40, -(1 << 63), (1 << 64) - 1, 0x80000000, 0xFFFFFFFF00000000])
def test_wide_immediates_arrive_whole(value: int) -> None:
    m = maps.create(MapSpec("v", "array", 4, 16, 1, mmap=True))
    code = (ld_imm64(1, value), ld_value(2, "v", 8), stx(2, 0, 1), movi(0, 7), EXIT)
    p = programs.load(ProgramSpec("t", "raw_tp", code), {"v": m})
    assert p.test_run() == 7
    assert bytes(m.memory()) == bytes(8) + struct.pack("<Q", value & (1 << 64) - 1)
    p.close()
    m.close()


@pytest.mark.parametrize("step", [ringbuf.STEP, 4096])
def test_records_go_round_the_ring_and_stay_contiguous(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ringbuf, "STEP", step)  # 4096: a window of half the ring
    ring = maps.create(RING)
    kept = programs.load(ProgramSpec("keep", "raw_tp", emit((ldx(3, 9, 0),))), {"ring": ring})
    dropped = programs.load(ProgramSpec("drop", "raw_tp", emit((movi(3, 1),), DISCARD)), {"ring": ring})
    reader = RingBuffer(ring)
    assert reader.pending() == 0 and len(reader.view()) == 0
    for n in range(3000):  # 16 bytes each: round the ring of 16 KiB almost three times
        kept.test_run(struct.pack("<Q", n))
        if n % (700 if step > 4096 else 200) == 0 or n == 2999:
            view = reader.view()
            assert len(view) == reader.pending()
            # length 8, neither BUSY nor DISCARD; the kernel's own; the data
            records = list(struct.iter_unpack("<IIQ", view))
            assert {r[0] for r in records} == {8}
            assert [r[2] for r in records] == list(range(n - len(records) + 1, n + 1))
            reader.consume(len(view))
            del view
    dropped.test_run()
    assert struct.unpack_from("<I", reader.view())[0] == 8 | 1 << 30
    assert HEADER_SIZE == 8
    for thing in (reader, reader, kept, dropped, ring):
        thing.close()


def test_a_context_shorter_than_read_is_refused() -> None:
    p = load(ldx(0, 1, 16), EXIT)
    assert p.test_run(struct.pack("<3Q", 0, 0, 42)) == 42
    with pytest.raises(KernelError, match="run program t"):
        p.test_run(bytes(8))
    p.close()


def test_a_refusal_is_shown_at_its_d_source() -> None:
    # LD_IMM64 takes two slots: the verifier counts slots, and so the third Insn is at 3.
    ring = maps.create(RING)
    code = (ld_map(1, "ring", SPAN_A), movi(0, 0, SPAN_A), ldx(2, 3, 0, SPAN_B), movi(0, 0, SPAN_A), EXIT)
    with pytest.raises(VerifierError) as e:
        programs.load(ProgramSpec("t", "raw_tp", code), {"ring": ring})
    assert e.value.span == SPAN_B
    assert "R3 !read_ok" in e.value.message and "R3 !read_ok" in e.value.log
    ring.close()


def test_a_refusal_before_the_walk_has_its_source_too() -> None:
    with pytest.raises(VerifierError) as e:
        load(movi(0, 0, SPAN_A), EXIT, movi(0, 1, SPAN_B), EXIT)
    assert "unreachable insn 2" in e.value.message and e.value.span == SPAN_B


def test_an_instruction_without_source_belongs_to_the_one_before() -> None:
    with pytest.raises(VerifierError) as e:
        load(movi(0, 0, SPAN_A), movi(1, 0, SPAN_B), ldx(2, 3, 0), EXIT)
    assert e.value.span == SPAN_B


def test_a_log_larger_than_the_buffer_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_LOG_SIZE", 256)
    with pytest.raises(VerifierError) as e:
        load(*[movi(0, n) for n in range(300)], ldx(2, 3, 0, SPAN_B), EXIT)
    assert e.value.span == SPAN_B and "299: (b7)" in e.value.log


# A number no kernel has; redirect_map, which is not for tracing (include/uapi/linux/bpf.h).
@pytest.mark.parametrize("number", [9999, 51])
def test_a_helper_this_kernel_lacks_is_a_missing_feature(number: int) -> None:
    with pytest.raises(FeatureError, match="does not offer the helper") as e:
        load(call(number), EXIT)
    assert f"#{number}" in e.value.feature


def test_a_branch_both_ways() -> None:
    p = load(ldx(0, 1, 0), jnei(0, 5, 1), movi(0, 50), EXIT)
    assert p.test_run(struct.pack("<Q", 5)) == 50
    assert p.test_run(struct.pack("<Q", 6)) == 6
    p.close()


def test_info() -> None:
    p = load(movi(0, 0), EXIT)
    info = p.info()
    assert info.id > 0 and info.xlated_len >= 16 and info.recursion_misses == 0
    p.close()
    p.close()


def test_too_much_for_the_verifier_is_not_called_a_bug() -> None:
    back = Insn(0x55, 6, 0, -2, 0)  # if r6 != 0 goto the subtraction
    with pytest.raises(KernelError, match="too many ways") as raised:
        load(movi(6, 510_000), addi(6, -1), back, movi(0, 0), EXIT)
    assert not isinstance(raised.value, VerifierError)
    assert "fewer ifs" in str(raised.value.hint)
