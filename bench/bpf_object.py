"""What clang -target bpf -g makes of a C file, for dsight.kernel to load: programs, maps, and where they attach.

    compiled(...), read(path, btf)  ->  Object  ->  Attached: loaded, and running until it is left

Of libbpf's conventions only what bench/*.bpf.c use: SEC("tracepoint/..."), "raw_tp/...", "tp_btf/..."; maps as structs
in .maps of __uint and __type; globals in .rodata, .data, .bss; calls of the kernel's
functions (kfuncs).  All functions inline, no CO-RE relocations: vmlinux.h is of the running kernel.
"""

from __future__ import annotations

import os
import struct
import subprocess
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from dsight.bpf.spec import Insn, MapSpec, ProgramSpec
from dsight.btf.index import build, open_index
from dsight.btf.reader import Btf
from dsight.btf.types import Array, Struct, unqualified
from dsight.kernel import links, maps, programs
from dsight.value import Value

_KINDS = {number: name for name, number in maps.KINDS.items()}
_DATA = (".rodata", ".data", ".bss")
_ARCH = {"x86_64": "x86", "aarch64": "arm64"}.get(os.uname().machine, "x86")
_CALL, _LD_IMM64, _KFUNC = 0x85, 0x18, 2


class Object(Value):
    """`targets`: of each program, what it attaches to."""

    programs: tuple[ProgramSpec, ...]
    targets: tuple[str, ...]
    maps: tuple[MapSpec, ...]


def compiled(name: str, folder: str, kernel: Any, *flags: str) -> Object:
    """A C file beside this one, with the running kernel's vmlinux.h: clang -O2.  `folder`: for what is made."""
    header = f"{folder}/vmlinux.h"
    if not os.path.exists(header):
        with open(header, "w") as out:
            subprocess.run(
                ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"], stdout=out, check=True
            )
    target = f"{folder}/{name.removesuffix('.c')}.o"
    options = ["-O2", "-g", "-Wall", "-target", "bpf", "-mcpu=v3", f"-D__TARGET_ARCH_{_ARCH}", f"-I{folder}"]
    options += ["-DBPF_NO_PRESERVE_ACCESS_INDEX", *flags]  # the offsets are those of this kernel as it is
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    subprocess.run(["clang", *options, "-c", source, "-o", target], check=True)
    return read(target, kernel)


class Section(Value):
    """Of an ELF file (elf(5), Elf64_Shdr)."""

    name: str
    kind: int
    info: int
    size: int
    data: bytes


class Symbol(Value):
    """Elf64_Sym; `section`: its number, 0 for what the object does not define."""

    name: str
    kind: int
    section: int
    value: int
    size: int


_SECTION, _SYMBOL, _REL = struct.Struct("<II16xQQ4xI16x"), struct.Struct("<IBxHQQ"), struct.Struct("<QQ")
_SYMTAB, _NOBITS, _RELS, _FUNC = 2, 8, 9, 2  # SHT_SYMTAB, SHT_NOBITS, SHT_REL; STT_FUNC


def _sections(raw: bytes) -> list[Section]:
    (start,) = struct.unpack_from("<Q", raw, 0x28)
    count, names_in = struct.unpack_from("<HH", raw, 0x3C)
    heads = [_SECTION.unpack_from(raw, start + _SECTION.size * n) for n in range(count)]
    names = raw[heads[names_in][2] :]
    return [
        Section(_text(names, name), kind, info, size, b"" if kind == _NOBITS else raw[at : at + size])
        for name, kind, at, size, info in heads
    ]


def _symbols(sections: list[Section]) -> list[Symbol]:
    (table,) = [s.data for s in sections if s.kind == _SYMTAB]
    (names,) = [s.data for s in sections if s.name == ".strtab"]
    return [
        Symbol(_text(names, name), info & 15, section, value, size)
        for name, info, section, value, size in _SYMBOL.iter_unpack(table)
    ]


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(0, at)].decode()


def read(path: str, kernel: Any, initial: dict[str, bytes] | None = None) -> Object:
    """`kernel`: the kernel's BTF, for kfuncs.  `initial`: of a data section, what it holds instead."""
    with open(path, "rb") as file:
        sections = _sections(file.read())
    symbols = _symbols(sections)
    (raw,) = [s.data for s in sections if s.name == ".BTF"]
    index = open_index(build(raw, bytes(32)), bytes(32), len(raw))
    assert index is not None
    btf = Btf(raw, index)
    places = [sections[s.section].name if s.section < len(sections) else "" for s in symbols]
    found = [_map(s.name, btf) for s, where in zip(symbols, places) if where == ".maps" and s.name]
    for section in sections:
        if section.name in _DATA and section.size:
            text = (initial or {}).get(section.name, section.data or bytes(section.size))
            readonly = section.name == ".rodata"
            found.append(MapSpec(section.name, "array", 4, section.size, 1, readonly=readonly, initial=text))
    relocations = {
        s.info: {at: symbols[info >> 32] for at, info in _REL.iter_unpack(s.data)} for s in sections if s.kind == _RELS
    }
    specs, targets = [], []
    for s, where in zip(symbols, places):
        kind, _, target = where.partition("/")
        if s.kind != _FUNC or kind not in programs.KINDS:
            continue
        code = sections[s.section].data[s.value : s.value + s.size]
        moved = {at - s.value: symbol for at, symbol in relocations.get(s.section, {}).items()}
        insns = _insns(code, moved, sections, kernel)
        specs.append(ProgramSpec(s.name, kind, insns, target if kind == "tp_btf" else ""))
        targets.append(target)
    return Object(tuple(specs), tuple(targets), tuple(found))


def _map(name: str, btf: Btf) -> MapSpec:
    """From its struct: `int (*type)[N]` is a number, `T *value` a type."""
    t = btf.type("var", name)
    assert isinstance(t, Struct)
    found = {"key_size": 0, "value_size": 0, "max_entries": 0}
    for member in t.members:
        to = unqualified(member.type).to  # type: ignore[attr-defined]
        if member.name in ("key", "value"):
            found[member.name + "_size"] = to.size
        else:
            assert isinstance(to, Array)
            found[member.name] = to.count
    flags = found.get("map_flags", 0)
    sizes = (found["key_size"], found["value_size"], found["max_entries"])
    return MapSpec(name, _KINDS[found["type"]], *sizes, prealloc=not flags & 1)


def _insns(code: bytes, moved: dict[int, Symbol], sections: list[Section], kernel: Any) -> tuple[Insn, ...]:
    out, at = [], 0
    while at < len(code):
        op, registers, off, imm = struct.unpack_from("<BBhi", code, at)
        dst, src, ref = registers & 15, registers >> 4, None
        symbol = moved.get(at)
        if op == _LD_IMM64:
            high = struct.unpack_from("<4xi", code, at + 8)[0]
            if symbol is None:
                imm = high << 32 | imm & 0xFFFFFFFF
            else:
                section = sections[symbol.section].name
                ref = ("map", symbol.name) if section == ".maps" else ("value", section, imm + symbol.value)
                imm = 0
            at += 8
        elif symbol is not None:
            number = None if symbol.section else kernel.id("func", symbol.name)
            if op != _CALL or number is None:
                raise ValueError(f"cannot relocate to {symbol.name or 'a function that is not inline'}")
            src, imm = _KFUNC, number
        out.append(Insn(op, dst, src, off, imm, ref))
        at += 8
    return tuple(out)


class Attached:
    """Programs of an object, loaded and attached while this is entered."""

    def __init__(self, made: Object, registry: Any, names: tuple[str, ...] = ()) -> None:
        """`names`: these only, () for all."""
        self._made, self._registry, self._names = made, registry, names
        self._undo = ExitStack()
        self.maps: dict[str, maps.Map] = {}
        self.programs: list[programs.Program] = []

    def __enter__(self) -> Attached:
        with ExitStack() as undo:
            for spec in self._made.maps:
                self.maps[spec.name] = maps.create(spec)
                undo.callback(self.maps[spec.name].close)
            made = zip(self._made.programs, self._made.targets)
            wanted = [pair for pair in made if not self._names or pair[0].name in self._names]
            for spec, _ in wanted:
                self.programs.append(programs.load(spec, self.maps, self._registry.btf))
                undo.callback(self.programs[-1].close)
            for program, (spec, target) in zip(self.programs, wanted):
                if spec.kind == "tracepoint":
                    system, _, event = target.partition("/")
                    link = links.tracepoint(program, self._registry.tracefs().id(system, event))
                else:
                    link = links.raw_tracepoint(program, target)
                undo.callback(link.close)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._undo.close()
