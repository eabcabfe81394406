"""What lowering is given: one Unit for each program to be made.

A unit is a set of clauses that fire together: on one probe, or on any number of
probes told apart by a table (syscall globs).
"""

from __future__ import annotations

from dsight.ir.maps import MapSpec
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang import typed


class Entry(Value):
    """How a program is entered and where its raw arguments are.

    args      raw argument n is
    none      0
    ctx       the 8-byte value at context offset `offsets[n]`; 0 where that is negative
    regs      the 8-byte value at `offsets[n]` behind the pointer at context offset `base`,
              which the verifier knows (tp_btf: struct pt_regs *)
    pc        arg0 the kernel's, arg1 the user's program counter: context is bpf_perf_event_data,
              `offsets` = (ip, cs or pstate); `base` = the mask that says user mode
    consts    `offsets[n]` itself

    The probe: `probe` is its id; or -1, and `table` an array map of u32 probe ids (0: not
    enabled) indexed by the number found like an argument at `number` (ctx offset, or behind
    the pointer for regs_number); or -1 and `cookie`: it is what the probe was attached with.

    `stack` has the raw arguments behind those of `offsets`, up to arg9, of a function just called:
    (context offset of the stack pointer, bytes from there to the first of them, size of each).
    """

    args: str
    offsets: tuple[int, ...] = ()
    base: int = 0
    probe: int = -1
    table: str = ""
    table_size: int = 0
    number: int = 0
    number_in_regs: bool = False
    cookie: bool = False
    stack: tuple[int, int, int] | None = None
    errno_arg: int = -1  # the raw argument whose negated value is `errno` (a syscall's result)


class Unit(Value):
    """One program to be.

    `kind`, `attach`: as in ProgramSpec.  `guard`: what must hold before any clause is looked at.
    `always`: runs whatever the session's state is (BEGIN, END).  `names`: (provider, module,
    function, name) of the one probe, None with a table.  `derived`: raw arguments behind those of the entry.
    """

    name: str
    kind: str
    entry: Entry
    clauses: tuple[typed.Clause, ...]
    guard: typed.TExpr | None = None
    attach: str = ""
    always: bool = False
    names: tuple[str, str, str, str] | None = None
    maps: tuple[MapSpec, ...] = ()
    derived: tuple[typed.TExpr, ...] = ()


def parts_map(unit: Unit) -> str:
    """The map with the unit's parts, by number; the first (0), which is attached, is not in it."""
    return f"parts_{unit.name}"
