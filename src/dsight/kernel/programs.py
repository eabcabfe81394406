"""Programs: a ProgramSpec and its maps become a loaded Program.

References to maps become descriptors here, and a refusal by the verifier becomes
a VerifierError at the D source the refused instruction came from.
"""

from __future__ import annotations

import errno
import os
import struct

from dsight.bpf.spec import Insn, ProgramSpec
from dsight.errors import FeatureError, KernelError, VerifierError
from dsight.kernel import sys
from dsight.kernel.maps import Map, object_name
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.kernel.btf import KernelBtf
    from dsight.source import Span

# kind: (program type, expected attach type).  include/uapi/linux/bpf.h, enum bpf_prog_type, bpf_attach_type
KINDS = {
    "kprobe": (2, 0),
    "uprobe": (2, 48),  # BPF_TRACE_UPROBE_MULTI; kernels before 6.6 do not look at it
    "tracepoint": (5, 0),
    "perf_event": (7, 0),
    "raw_tp": (17, 0),
    "tp_btf": (26, 23),  # BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP
}

LD_IMM64 = 0x18
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2  # src of LD_IMM64

# The helpers dsight uses are for GPL-compatible programs only: this is the licence of the
# generated program, as given to the kernel.
_LICENSE = b"GPL\0"

_INSN = struct.Struct("<BBhi")
# BPF_PROG_LOAD: type, count, insns, license, log level, log size, log, kernel version, flags,
# name, ifindex, attach type; BTF, size of a func info, func infos, their number; line info (none);
# BTF id of what it attaches to
_LOAD = struct.Struct("<IIQQIIQII16sIIIIQI16xI")
# BPF_PROG_TEST_RUN: program, retval, data sizes, data, repeat, duration, context size in, out, context in, out, ...
_TEST_RUN = struct.Struct("<II8x16xIIIIQQIII4x")
_INFO_BY_FD = struct.Struct("<IIQ")

_LOG_SIZE, _LOG_LIMIT = 1 << 18, 1 << 24


class ProgramInfo(Value):
    """What the kernel says of a program; lengths in bytes.

    `run_time_ns` and `runs` stay 0 unless kernel.bpf_stats_enabled is set.  `recursion_misses`:
    how often it was left out because it, or another, was running on that CPU.
    """

    id: int
    xlated_len: int
    jited_len: int
    run_time_ns: int
    runs: int
    recursion_misses: int
    verified_insns: int


class Program:
    """A loaded program.  It lives in the kernel until it and all its links are closed."""

    def __init__(self, spec: ProgramSpec, fd: int) -> None:
        self.spec = spec
        self.fd = fd

    def test_run(self, ctx: bytes = b"") -> int:
        """Run it once, here and now (BPF_PROG_TEST_RUN; "raw_tp" only): what it returned.

        `ctx`: up to 12 arguments as u64s; the program must not read more than it is given.
        """
        given = sys.buffer(ctx) if ctx else None
        at = sys.address(given) if given is not None else 0
        attr = sys.buffer(_TEST_RUN.pack(self.fd, 0, 0, 0, len(ctx), 0, at, 0, 0, 0, 0))
        while True:
            try:
                sys.bpf(sys.PROG_TEST_RUN, attr)
            except InterruptedError:
                continue
            except OSError as e:
                if e.errno in (sys.ENOTSUPP, errno.EOPNOTSUPP):
                    message = f"this kernel cannot run program {self.spec.name} by itself (BPF_PROG_TEST_RUN)"
                    raise FeatureError("test run", message, e.errno, "dsight needs Linux 5.10 or later here") from None
                raise sys.refused(f"run program {self.spec.name}", e) from None
            return int.from_bytes(attr.raw[4:8], "little")

    def info(self) -> ProgramInfo:
        """struct bpf_prog_info; fields this kernel does not have are 0."""
        info = sys.buffer(232)
        try:
            sys.bpf(sys.OBJ_GET_INFO_BY_FD, sys.buffer(_INFO_BY_FD.pack(self.fd, len(info), sys.address(info))))
        except OSError as e:
            raise sys.refused(f"ask about program {self.spec.name}", e) from None
        number, jited, xlated = struct.unpack_from("<I8xII", info, 4)
        run_time, runs, misses, verified = struct.unpack_from("<QQQI", info, 192)
        return ProgramInfo(number, xlated, jited, run_time, runs, misses, verified)

    def close(self) -> None:
        """Twice is once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def encode(insns: tuple[Insn, ...], maps: dict[str, Map]) -> bytes:
    """The program as the kernel takes it, 8 bytes a slot; LD_IMM64 takes two."""
    out: list[bytes] = []
    pack = _INSN.pack
    for i in insns:
        if i.code != LD_IMM64:
            out.append(pack(i.code, i.src << 4 | i.dst, i.off, i.imm))
        elif i.ref is None:
            low, high = i.imm & 0xFFFFFFFF, i.imm >> 32 & 0xFFFFFFFF
            out.append(struct.pack("<BBhIIi", i.code, i.src << 4 | i.dst, 0, low, 0, _signed(high)))
        else:
            fd = maps[i.ref[1]].fd
            if i.ref[0] == "map":
                out.append(struct.pack("<BBhiii", i.code, _PSEUDO_MAP_FD << 4 | i.dst, 0, fd, 0, 0))
            else:
                offset = i.ref[2] if len(i.ref) == 3 else 0
                out.append(struct.pack("<BBhiii", i.code, _PSEUDO_MAP_VALUE << 4 | i.dst, 0, fd, 0, offset))
    return b"".join(out)


def _signed(n: int) -> int:
    return n - (1 << 32) if n >> 31 else n


def load(spec: ProgramSpec, maps: dict[str, Map], btf: KernelBtf | None = None) -> Program:
    """Load a program.  `btf` is asked for the type of a tp_btf program's tracepoint.

    Raises VerifierError where the verifier refuses it, FeatureError where this kernel lacks
    the helper or tracepoint it uses, PrivilegeError, KernelError.
    """
    kind, attach_type = KINDS[spec.kind]
    attach_id = _attach_id(spec, btf) if spec.kind == "tp_btf" else 0
    code = encode(spec.insns, maps)
    insns, license = sys.buffer(code), sys.buffer(_LICENSE)
    head = (kind, len(code) // 8, sys.address(insns), sys.address(license))
    functions = sys.buffer(b"".join([_FUNC_INFO.pack(slot, _FUNC) for slot in spec.functions]) or b"\0")
    btf_fd = _function_btf() if spec.functions else -1
    info = (btf_fd, _FUNC_INFO.size, sys.address(functions), len(spec.functions)) if spec.functions else (0, 0, 0, 0)
    tail = (0, 0, object_name(spec.name), 0, attach_type, *info, attach_id)
    try:
        return _load(spec, head, tail)
    finally:
        if btf_fd >= 0:
            os.close(btf_fd)


def _load(spec: ProgramSpec, head: tuple[int, ...], tail: tuple[int | bytes, ...]) -> Program:
    try:
        return Program(spec, sys.bpf_create(sys.PROG_LOAD, sys.buffer(_LOAD.pack(*head, 0, 0, 0, *tail))))
    except OSError as e:
        first = e
    # Again, now with the verifier's log: keeping one costs time, so it is not done at first.  Of a program
    # that is too large its last words are enough (BPF_LOG_STATS): what it did would be millions of lines.
    level = 4 if first.errno == errno.E2BIG else 1
    size = _LOG_SIZE
    while True:
        log = sys.buffer(size)
        try:
            attr = sys.buffer(_LOAD.pack(*head, level, size, sys.address(log), *tail))
            return Program(spec, sys.bpf_create(sys.PROG_LOAD, attr))
        except OSError as e:
            if e.errno == errno.ENOSPC and size < _LOG_LIMIT:
                size *= 4
                continue
            raise _not_loaded(spec, e if e.errno != errno.ENOSPC else first, _text(log)) from None


# Functions that helpers call must have a type (kernel/bpf/verifier.c, check_ld_imm): "int f()" does for all.
_FUNC_INFO = struct.Struct("<II")  # struct bpf_func_info: slot, type id
_FUNC = 3  # in _function_btf
_BTF_LOAD = struct.Struct("<QQIII")  # BTF, log, size, log size, log level


def _function_btf() -> int:
    """A descriptor of BTF (Documentation/bpf/btf.rst) with `int f()`, linkage static, as type _FUNC."""
    strings = b"\0int\0f\0"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)  # BTF_KIND_INT, signed, 32 bits
    types += struct.pack("<III", 0, 13 << 24, 1)  # BTF_KIND_FUNC_PROTO
    types += struct.pack("<III", 5, 12 << 24, 2)  # BTF_KIND_FUNC
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    data = sys.buffer(header + types + strings)
    size = len(header) + len(types) + len(strings)
    try:
        return sys.bpf_create(sys.BTF_LOAD, sys.buffer(_BTF_LOAD.pack(sys.address(data), 0, size, 0, 0)))
    except OSError as e:
        raise sys.refused("load the type of a program's functions", e) from None


def _text(log: Any) -> str:
    """The log up to its NUL."""
    raw = bytes(log.value)
    return raw.decode("utf-8", "replace")


def _attach_id(spec: ProgramSpec, btf: KernelBtf | None) -> int:
    found = btf.id("typedef", f"btf_trace_{spec.attach}") if btf else None
    if found is None:
        raise FeatureError("tracepoint", f"this kernel has no tracepoint {spec.attach} with BTF", errno.ENOENT)
    return found


def _not_loaded(spec: ProgramSpec, error: OSError, log: str) -> KernelError:
    import re  # here and below: only a refusal needs it

    number = error.errno or 0
    if not log.strip():
        return sys.refused(f"load program {spec.name}", error)
    # kernel/bpf/verifier.c, check_helper_call; the name is "unknown" for a number it does not know
    helper = re.search(r"^(?:program of this type cannot use helper|(?:unknown|invalid) func) (\w+)#(\d+)", log, re.M)
    if helper:
        from dsight.ir.ops import HELPERS

        mode = sys.lockdown()
        hint = f"kernel lockdown is in force ({mode})" if mode == "confidentiality" else None
        if int(helper[2]) == HELPERS["probe_write_user"]:
            hint = "a kernel in lockdown lets nobody write to processes: copyout() and copyoutstr() cannot work here"
        name = next((n for n, i in HELPERS.items() if i == int(helper[2])), f"{helper[1]}#{helper[2]}")
        message = f"this kernel does not offer the helper {name} to {spec.kind} programs"
        return FeatureError(name, message, number, hint)
    if "BPF program is too large. Processed" in log:  # more than BPF_COMPLEXITY_LIMIT_INSNS on all paths
        message = "the kernel's verifier gives up: there are too many ways through these clauses"
        return KernelError(message, number, "use fewer ifs, ?: and && in one clause; keep results in variables")
    return VerifierError(
        f"the kernel's verifier refused program {spec.name}: {reason(log)}", number, log, at(spec, log)
    )


def reason(log: str) -> str:
    """The verifier's last word: its last line that is not a statistic."""
    import re

    for line in reversed(log.splitlines()):
        if line.strip() and not re.match(r"processed \d+ insns|verification time|stack depth|mark_precise", line):
            return line.strip()
    return "it gave no reason"


def at(spec: ProgramSpec, log: str) -> Span | None:
    """The D source of the refused instruction: the last the log numbers ("12: (85) call ..."),
    or, for what is found before it walks the program, the one it names ("unreachable insn 7")."""
    import re

    numbered = re.findall(r"^(\d+): \(", log, re.M) or re.findall(r"\binsn (\d+)", log)
    if not numbered:
        return None
    wanted, slot, span = int(numbered[-1]), 0, None
    for insn in spec.insns:
        span = insn.span or span  # one made for no D source belongs to what stands before it
        slot += 2 if insn.code == LD_IMM64 else 1
        if slot > wanted:
            break
    return span
