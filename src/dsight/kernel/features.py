"""What this kernel can do, found by trying, never by its version.

    features.require()                  before anything else: privileges, bpf(2), BTF, ring buffer
    features.has("tp_btf")              whether a means is there, to choose another where not

A probe returns where the thing works and raises the KernelError that says why it does
not; the release it came in stands beside it, and a test checks that belief.
"""

from __future__ import annotations

import os

from dsight.bpf import insn
from dsight.bpf.spec import Insn, MapSpec, ProgramSpec
from dsight.errors import FeatureError, KernelError, PrivilegeError
from dsight.kernel import btf, links, maps, programs, sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# return 0
_RETURN = (Insn(0xB7), Insn(0x95))


def _bpf() -> None:
    maps.create(MapSpec("probe", "array", 4, 8, 1)).close()


def _ring_buffer() -> None:
    maps.create(MapSpec("probe", "ringbuf", 0, 0, 1)).close()


def _mmap() -> None:
    maps.create(MapSpec("probe", "array", 4, 8, 1, mmap=True)).close()


def _btf() -> None:
    if not os.path.exists(btf.VMLINUX):
        btf.KernelBtf.open().close()  # says so


def _program(kind: str) -> None:
    programs.load(ProgramSpec("probe", kind, _RETURN), {}).close()


def _test_run() -> None:
    program = programs.load(ProgramSpec("probe", "raw_tp", _RETURN), {})
    try:
        program.test_run()
    finally:
        program.close()


def _tp_btf() -> None:
    kernel = btf.KernelBtf.open()
    try:
        programs.load(ProgramSpec("probe", "tp_btf", _RETURN, "sched_switch"), {}, kernel).close()
    finally:
        kernel.close()


def _sample(cookie: int) -> None:
    program = programs.load(ProgramSpec("probe", "perf_event", _RETURN), {})
    try:
        links.sample(program, 1_000_000_000, links.online_cpus()[0], cookie).close()
    finally:
        program.close()


# name: (the release it came with, probe)
PROBES: dict[str, tuple[str, Callable[[], None]]] = {
    "bpf": ("3.18", _bpf),
    "btf": ("5.2", _btf),
    "mmap": ("5.5", _mmap),
    "ringbuf": ("5.8", _ring_buffer),
    "tracepoint": ("4.7", lambda: _program("tracepoint")),
    "raw_tp": ("4.17", lambda: _program("raw_tp")),
    "tp_btf": ("5.5", _tp_btf),
    "test_run": ("5.10", _test_run),
    "sample": ("4.9", lambda: _sample(0)),
    "perf_cookie": ("5.15", lambda: _sample(1)),
}

# kind of program: what cast() found
_casts: dict[str, tuple[int, int] | None] = {}


def cast(kind: str, kernel: btf.KernelBtf) -> tuple[int, int] | None:
    """How programs of a kind may load from kernel memory: the BTF ids of the function bpf_rdonly_cast
    (Linux 6.2) and of the type to cast an address to, 0 for whatever memory (6.17), else a struct of
    16 bytes of numbers.  None: they may not.  Tried once a process."""
    if kind not in _casts:
        _casts[kind] = None
        function = kernel.id("func", "bpf_rdonly_cast") if sys.privileged() else None
        struct_id = kernel.id("struct", "timespec64")  # include/linux/time64.h
        attach = "sched_switch" if kind == "tp_btf" else ""
        for type_id in (0, struct_id):
            if function is None or type_id is None:
                break
            of_null = insn.alu_imm(insn.MOV, 1, 0), insn.alu_imm(insn.MOV, 2, type_id), insn.call_kernel(function)
            code = (*of_null, insn.load(8, 0, 0, 8), *_RETURN)
            try:
                programs.load(ProgramSpec("probe", kind, code, attach), {}, kernel).close()
                _casts[kind] = function, type_id
                break
            except KernelError:
                continue
    return _casts[kind]


_tried: dict[str, KernelError | None] = {}


def why_not(name: str) -> KernelError | None:
    """What keeps a feature of PROBES from working; None where it works.  Tried once a process."""
    if name not in _tried:
        try:
            PROBES[name][1]()
            _tried[name] = None
        except KernelError as e:
            _tried[name] = e
    return _tried[name]


def has(name: str) -> bool:
    return why_not(name) is None


def require(*names: str) -> None:
    """Raise what the user should know first, if anything is amiss: that dsight does not know this
    machine, that it lacks privileges, or the first of the named features (what every script
    needs, where none is named) that does not work."""
    sys.machine()
    if not sys.privileged():
        raise PrivilegeError(
            "tracing takes root, or the capabilities CAP_BPF and CAP_PERFMON",
            hint="run it as root, for instance with sudo",
        )
    for name in names or ("bpf", "btf", "ringbuf"):
        error = why_not(name)
        if error is not None:
            if type(error) is KernelError:  # say which feature it is about
                raise FeatureError(name, error.message, error.errno, error.hint)
            raise error
