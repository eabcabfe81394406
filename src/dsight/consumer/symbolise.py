"""Addresses and stacks to text: `libc.so.6`__connect+0x1b`, a frame a line.

Where symbols come from is none of this module's business: `Symbols` is asked, and the session
gives one that knows kernel and processes (kernel.processes).  Names out of traced programs are
untrusted text: made safe here.

A place in the code reads module`symbol+0xoffset, without the offset where it is 0;
module`0xaddress where no symbol covers it; 0xaddress where not even the module is known; and
without a module what a perf map names (kernel.processes).
"""

from __future__ import annotations

import struct

from dsight.consumer.format import Cache
from dsight.record import KSTACK_EXTRA
from dsight.source import printable
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from dsight.record import Field

    class Symbols(Protocol):
        """Who knows what is at an address; None: nothing known."""

        def kernel(self, address: int) -> Place | None: ...

        def user(self, pid: int, address: int) -> Place | None: ...

        def seen(self, pid: int) -> None:
            """A process whose addresses will be asked for: look at it while it lives."""


class Place(Value):
    """What is at an address: `offset` bytes into `symbol` ("": none covers it) of `module` ("": none)."""

    module: str
    symbol: str
    offset: int


class NoSymbols:
    """Knows nothing: addresses stay numbers."""

    def kernel(self, address: int) -> Place | None:
        return None

    def user(self, pid: int, address: int) -> Place | None:
        return None

    def seen(self, pid: int) -> None:
        pass


LONGEST = 1024  # characters of a name: a hostile symbol table has longer ones
_STACKS = 4096  # texts of stacks kept, each some kilobytes
# Functions between a probe's function and the program that runs at the probe.
_TRACING = (
    "bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "perf_trace_", "perf_syscall_e", "perf_call_bpf_",
    "trace_call_bpf",
)  # fmt: skip
_PAIR = struct.Struct("=QQ")


def place_text(place: Place | None, address: int, show: str = "addr") -> str:
    """A place as text; `show` as in record.Field."""
    if place is None:
        return f"{address:#x}"
    module, symbol = _safe(place.module), _safe(place.symbol)
    if show == "mod" and module:
        return module
    if not symbol:
        return f"{module}`{address:#x}" if module else f"{address:#x}"
    text = f"{module}`{symbol}" if module else symbol
    return f"{text}+{place.offset:#x}" if show == "addr" and place.offset else text


def _safe(name: str) -> str:
    if len(name) > LONGEST:
        name = name[:LONGEST] + "..."
    return printable(name).replace("\t", "\\x09").replace("\n", "\\x0a")


class Texts:
    """Makes the text of fields that need symbols; `indent` is the option stackindent."""

    def __init__(self, symbols: Symbols | None = None, indent: int = 14) -> None:
        self.symbols: Symbols = symbols or NoSymbols()
        self.indent = indent
        self._caches: dict[tuple[str, str], Cache] = {}

    def of(self, field: Field) -> Cache:
        """The text of each raw value of a field of code: for a stack a line break, then a line a frame."""
        how = (field.kind, field.show)
        cache = self._caches.get(how)
        if cache is None:
            stack = field.kind in ("kstack", "ustack")
            made = self._lines if stack else self._symbol
            cache = self._caches[how] = Cache(lambda raw: made(field, raw), _STACKS)
        return cache

    def _lines(self, field: Field, raw: bytes) -> str:
        margin = " " * self.indent
        return "\n" + "".join([f"{margin}{frame}\n" for frame in self.frames(field, raw)])

    def _symbol(self, field: Field, raw: Any) -> str:
        """The text of a ksym or usym."""
        if field.kind == "ksym":
            return place_text(self.symbols.kernel(raw), raw, field.show)
        pid, address = _PAIR.unpack(raw)
        self.symbols.seen(pid)
        return place_text(self.symbols.user(pid, address), address, field.show)

    def frames(self, field: Field, raw: bytes) -> tuple[str, ...]:
        """The text of each frame, innermost first.

        All but the first are return addresses: what is shown is the code of the call before them,
        which may be the last of its function.
        """
        words = struct.unpack(f"={len(raw) // 8}Q", raw)
        if field.kind == "ustack":
            self.symbols.seen(words[0])
            return self._frames(words[1:], lambda at: self.symbols.user(words[0], at))
        return self._frames(self._without_tracing(words), self.symbols.kernel)

    def _without_tracing(self, words: tuple[int, ...]) -> tuple[int, ...]:
        """A kernel stack as D counts frames: from the function that has the probe."""
        first = 0
        while first < KSTACK_EXTRA and words[first]:
            place = self.symbols.kernel(words[first] - 1)
            if place is None or not place.symbol.startswith(_TRACING):
                break
            first += 1
        return words[first : first + len(words) - KSTACK_EXTRA]

    @staticmethod
    def _frames(words: tuple[int, ...], at_address: Callable[[int], Place | None]) -> tuple[str, ...]:
        out: list[str] = []
        for address in words:
            if not address:
                break
            back = 1 if out else 0
            place = at_address(address - back)
            if place is not None and back:
                place = place.replace(offset=place.offset + back)
            out.append(place_text(place, address))
        return tuple(out)

    def value(self, field: Field) -> Callable[[Any], tuple[str, ...] | str]:
        """What a field of code is to Python programs: a stack is a tuple of frames, a symbol a str."""
        if field.kind not in ("kstack", "ustack"):
            return self.of(field).__getitem__
        known: dict[bytes, tuple[str, ...]] = {}

        def value(raw: bytes) -> tuple[str, ...]:
            found = known.get(raw)
            if found is None:
                if len(known) >= _STACKS:
                    known.clear()
                found = known[raw] = self.frames(field, raw)
            return found

        return value
