"""What the language asks of the machine: probes, their arguments, kernel types and symbols.

`lang` stays pure: it gets a Catalog as an argument.  `session` gives it the real
one (providers over kernel), tests a small dict-backed one.
"""

from __future__ import annotations

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from dsight.btf.types import Type
    from dsight.lang.ast import ProbeDesc
else:
    Protocol = object


class Probe(Value):
    """One probe.  `id` is what `dtrace -l` shows; stable within a session."""

    id: int
    provider: str
    module: str
    function: str
    name: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.module}:{self.function}:{self.name}"


class ArgType(Value):
    """args[n] of a probe.

    `native` is the type of the value the provider hands over as raw argument `source`
    (arg0.. of the probe's own context), spelled in D ("struct sock *"); `translated`, where
    not empty, is what the script sees ("ipinfo_t *"), reached through the translator
    `translated < native >` of the D library.  `through`, where not empty: a library inline that the
    raw argument is put through first; the translator is from its type.
    """

    native: str
    source: int
    translated: str = ""
    through: str = ""


class Catalog(Protocol):
    def probes(self, desc: ProbeDesc) -> list[Probe]:
        """The probes a description matches, in listing order; [] for none."""

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        """Types of args[]; None where the provider knows none."""

    def type(self, kind: str, name: str) -> Type | None:
        """A kernel type by name: kind "struct", "union", "enum", "typedef" or "int"."""

    def enumerator(self, name: str) -> int | None:
        """The value of a name in any enum of the kernel."""

    def symbol(self, module: str, name: str) -> tuple[int, Type | None] | None:
        """Address and type (None if unknown) of a kernel symbol."""

    def symbols_hint(self, name: str) -> str:
        """Where to look for a symbol that is not there."""
