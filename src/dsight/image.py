"""An image: what a session and the consumer need of a compiled script, and nothing of how it was made.

    compile_script() -> Compiled (every stage) -> image() -> Image -> Session

It is plain data: `packed` and `unpacked` turn it into tuples that marshal can write and back (see
image_cache).  The D source of an instruction is left out there: only a refusal by the verifier
asks for it, and a script whose image is kept has been loaded before.
"""

from __future__ import annotations

from dsight.bpf.spec import Insn, ProgramSpec
from dsight.ir.maps import MapSpec
from dsight.lang.catalog import Probe
from dsight.record import Action, AggLayout, Field, RecordLayout, Shape
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any


class Place(Value):
    """A place in user space: a byte of a file that processes map, and of which process (0: all).
    `file`: device, inode, size, time of change (ns) of the file the offset holds for; a breakpoint at
    that offset of another would break the programs that run it."""

    path: str
    offset: int
    pid: int = 0
    file: tuple[int, ...] = ()


def identity(stat: os.stat_result) -> tuple[int, ...]:
    """What Place.file says of a file."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class Program(Value):
    """One program and how it is attached: `means`, `target`, `period` and `places` as in AttachPlan."""

    means: str
    target: str
    spec: ProgramSpec
    probes: tuple[int, ...]  # ids
    period: int = 0
    places: tuple[Place, ...] = ()  # of the probes, one by one
    cookie: bool = False  # whether each place is attached with its probe's id
    parts: tuple[ProgramSpec, ...] = ()  # what tail calls go on with, from number 1 on
    parts_map: str = ""  # where they go


class Image(Value):
    """A script, ready to be loaded.  `probes`: id -> probe, of all that may fire.
    `looks_up_names`: programs want the map probe_names filled."""

    programs: tuple[Program, ...]
    maps: tuple[MapSpec, ...]
    layouts: tuple[RecordLayout, ...]
    aggs: tuple[AggLayout, ...]
    probes: dict[int, Probe]
    looks_up_names: bool
    options: dict[str, str] = {}  # in force, the script's own included
    matched: tuple[int, ...] = ()  # by source: how many probes its descriptions matched


_CLASSES: dict[str, type[Value]] = {
    c.__name__: c
    for c in (Action, AggLayout, Field, Image, MapSpec, Place, Probe, Program, ProgramSpec, RecordLayout, Shape)
}


def packed(value: Any) -> Any:
    """A value as tuples, lists, dicts, numbers and text: a Value is [its class's name, field, ...]."""
    if isinstance(value, Insn):
        return value.code, value.dst, value.src, value.off, value.imm, value.ref
    if isinstance(value, Value):
        return [type(value).__name__, *[packed(getattr(value, name)) for name in value._fields]]
    if isinstance(value, tuple):
        return tuple([packed(item) for item in value])
    if isinstance(value, dict):
        return {key: packed(item) for key, item in value.items()}
    return value


def unpacked(value: Any) -> Any:
    """What `packed` was given.  Raises ValueError, TypeError, KeyError, IndexError for anything else."""
    if isinstance(value, list):
        cls = _CLASSES[value[0]]
        if cls is ProgramSpec:
            name, kind, insns, attach, functions = value[1:]
            return ProgramSpec(name, kind, tuple([Insn(*insn) for insn in insns]), attach, functions)
        return cls(*[unpacked(item) for item in value[1:]])
    if isinstance(value, tuple):
        return tuple([unpacked(item) for item in value])
    if isinstance(value, dict):
        return {key: unpacked(item) for key, item in value.items()}
    return value
