from __future__ import annotations

import os
import stat
import struct
import threading
from pathlib import Path

import pytest
from kernel_asm import EXIT, addi, call, mov, movi

from dsight.bpf.spec import Insn, ProgramSpec
from dsight.btf.index import build
from dsight.btf.types import Enum, Int, Pointer, Struct, Type
from dsight.errors import FeatureError
from dsight.kernel import btf as kbtf
from dsight.kernel import cache as kcache
from dsight.kernel import programs
from dsight.kernel.btf import FileBytes, KernelBtf

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache folder with the index in it."""
    folder = str(tmp_path_factory.mktemp("cache") / "dsight")
    KernelBtf.open(folder).close()
    return folder


@pytest.fixture
def btf(cache: str):
    opened = KernelBtf.open(cache)
    yield opened
    opened.close()


def struct_(t: Type | None) -> Struct:
    assert isinstance(t, Struct)
    return t


def index_file(folder: str) -> Path:
    (found,) = Path(folder).iterdir()
    return found


def test_offsets_agree_with_the_running_kernel(btf: KernelBtf) -> None:
    """A second witness: a program reads the current task's thread group id where BTF says it is."""
    at = struct_(btf.type("struct", "task_struct")).member("tgid")
    assert at and at.type.size == 4
    code = (
        call(35),  # get_current_task
        mov(3, 0),
        addi(3, at.bit_offset // 8),
        mov(1, 10),
        addi(1, -8),
        movi(2, 4),
        call(113),  # probe_read_kernel
        Insn(0x61, 0, 10, -8),
        EXIT,
    )
    p = programs.load(ProgramSpec("t", "raw_tp", code), {})
    assert p.test_run() == os.getpid()
    p.close()


def test_what_dsight_stands_on_is_there(btf: KernelBtf) -> None:
    sock = struct_(btf.type("struct", "sock"))
    assert sock is btf.type("struct", "sock") and sock.size > 400
    common = struct_(sock.members[0].type)
    family = common.member("skc_family")
    assert family and (family.bit_offset, family.type.size) == (128, 2)
    data = struct_(btf.type("struct", "sockaddr")).member("sa_data")
    assert data and data.bit_offset == 16
    char = btf.type("int", "char")
    assert isinstance(char, Int) and char.bytes == 1
    assert btf.enumerator("TCP_ESTABLISHED") == 1 and btf.enumerator("BPF_MAP_TYPE_RINGBUF") == 27
    assert btf.enumerator("nonesuch") is None and btf.type("struct", "nonesuch") is None
    map_type = btf.type("enum", "bpf_map_type")
    assert isinstance(map_type, Enum) and map_type.values["BPF_MAP_TYPE_ARRAY"] == 2
    args = btf.tracepoint("inet_sock_set_state")
    assert args and [n for n, _ in args.params] == ["sk", "oldstate", "newstate"]
    assert isinstance(args.params[0][1], Pointer) and str(args.params[0][1]) == "const struct sock *"


def test_all_types_can_be_read(btf: KernelBtf) -> None:
    names = 0
    for n in range(1, btf.end_id, 17):
        if btf._record(n)[1] >> 24 & 31 == 15:  # a section, no type
            continue
        t = btf.by_id(n)
        assert str(t)
        if isinstance(t, Struct):
            for m in t.members:
                assert m.bit_offset >= 0 and (m.bits or m.bit_offset // 8 + m.type.size <= t.size or t.kind == "union")
                names += bool(m.name and t.member(m.name))
    assert names > 1000


def test_without_mmap_it_reads_the_file(cache: str, monkeypatch: pytest.MonkeyPatch, btf: KernelBtf) -> None:
    real = kbtf.mmap

    def old(fd: int, *args: int) -> object:
        if os.readlink(f"/proc/self/fd/{fd}") == kbtf.VMLINUX:
            raise OSError(19, "No such device")
        return real(fd, *args)

    monkeypatch.setattr(kbtf, "mmap", old)
    monkeypatch.setattr(kbtf.KernelBtf, "close", lambda self: (self._index.close(), self._data.close()))
    other = KernelBtf.open(cache)
    assert isinstance(other._data, FileBytes)
    mine, theirs = struct_(other.type("struct", "task_struct")), struct_(btf.type("struct", "task_struct"))
    assert [(m.name, m.bit_offset, str(m.type)) for m in mine.members] == [
        (m.name, m.bit_offset, str(m.type)) for m in theirs.members
    ]
    assert other._data[0 : len(other._data)] == Path(kbtf.VMLINUX).read_bytes()
    other.close()


def test_the_cache_is_ours_alone(cache: str) -> None:
    file = index_file(cache)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(Path(cache).stat().st_mode) == 0o700
    assert kcache.build_id().hex() in file.name and len(kcache.build_id()) >= 16


def was_built(folder: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Open with that folder; whether the index had to be built."""
    built = []

    def counted(data: bytes, key: bytes, first_string: int = 0) -> bytes:
        built.append(1)
        return build(data, key, first_string)

    monkeypatch.setattr(kbtf, "build", counted)
    opened = KernelBtf.open(folder)
    assert struct_(opened.type("struct", "sock")).size > 400
    opened.close()
    return bool(built)


def test_a_warm_cache_is_used(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not was_built(cache, monkeypatch)


@pytest.mark.parametrize("how", ["torn", "flipped", "empty", "foreign", "writable by others", "a link", "a folder"])
def test_a_bad_file_is_made_anew(how: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dsight"
    folder.mkdir()
    good = index_file(cache).read_bytes()
    file = folder / index_file(cache).name
    file.write_bytes({"torn": good[: len(good) // 2], "empty": b""}.get(how, good))
    file.chmod(0o666 if how == "writable by others" else 0o600)
    if how == "flipped":
        with file.open("r+b") as f:
            f.seek(600_000)
            byte = f.read(1)[0]
            f.seek(600_000)
            f.write(bytes([byte ^ 1]))
    elif how == "foreign":
        os.chown(file, 65534, 65534)
    elif how == "a link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    assert was_built(str(folder), monkeypatch)
    assert was_built(str(folder), monkeypatch) == (how == "a folder")  # which cannot be replaced
    assert [p.name for p in folder.iterdir()] == [file.name]  # no part of a file is left


def test_an_unwritable_cache_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert was_built(str(tmp_path / "file" / "dsight"), monkeypatch)
    monkeypatch.setattr(kcache, "folder", lambda: None)
    assert was_built("", monkeypatch)


def test_several_at_once(tmp_path: Path) -> None:
    folder = str(tmp_path / "dsight")
    failed = []

    def one() -> None:
        opened = KernelBtf.open(folder)
        if opened.id("struct", "sock") is None:
            failed.append(1)
        opened.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    index_file(folder)


def test_cache_folder_is_never_another_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    os.chown(theirs, 65534, 65534)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(ours))
    assert kcache.folder() == f"{ours}/.cache/dsight"
    monkeypatch.setenv("HOME", str(theirs))  # sudo -E
    assert kcache.folder() == f"{kcache._home()}/.cache/dsight"
    monkeypatch.setenv("XDG_CACHE_HOME", str(ours))
    assert kcache.folder() == f"{ours}/dsight"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG specification has it ignored
    assert kcache.folder() == f"{kcache._home()}/.cache/dsight"


def test_a_kernel_without_build_id_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes"
    notes.write_bytes(struct.pack("=III", 4, 4, 1) + b"GNU\0abcd" + b"\xff" * 7)
    monkeypatch.setattr(kcache, "_NOTES", str(notes))
    assert kcache.build_id() == b""
    assert was_built(str(tmp_path / "dsight"), monkeypatch)
    assert not (tmp_path / "dsight").exists()


def test_no_btf_is_a_missing_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kbtf, "VMLINUX", "/nonexistent")
    with pytest.raises(FeatureError, match="BTF") as e:
        KernelBtf.open()
    assert e.value.feature == "BTF" and "CONFIG_DEBUG_INFO_BTF" in (e.value.hint or "")
