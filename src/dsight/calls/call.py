"""A system call as it was seen: registers, memory, what came of it."""

from __future__ import annotations

from dsight.calls.specs import Spec


class Memory:
    """What was copied of a process's memory: strings and other bytes, by address."""

    __slots__ = ("blocks", "texts")

    def __init__(self) -> None:
        self.texts: dict[int, bytes] = {}  # up to the NUL, or as much as was copied
        self.blocks: dict[int, tuple[int, bytes]] = {}  # its size there, the bytes there are

    def __bool__(self) -> bool:
        return bool(self.texts or self.blocks)


NOTHING = Memory()


class Call:
    """One system call of one thread.  Times in ns of CLOCK_MONOTONIC; `result` None: it has not returned."""

    __slots__ = (
        "args",
        "back",
        "before",
        "comm",
        "end",
        "files",
        "inner",
        "made",
        "name",
        "pid",
        "result",
        "seen",
        "shown",
        "spec",
        "tid",
        "time",
    )

    def __init__(self, time: int, tid: int, pid: int, spec: Spec, args: tuple[int, ...]) -> None:
        self.time = time
        self.end = time
        self.tid = tid
        self.pid = pid
        self.comm = "?"  # its process's name when it began
        self.spec = spec
        self.name = spec.name
        self.args = args  # as registers hold them, unsigned
        self.files: tuple[str, str] = ("", "")  # what the first two descriptors are open on
        self.inner: dict[int, str] = {}  # the same of descriptors in its memory, where that is known (calls.attach)
        self.seen = NOTHING  # memory when it began
        self.back = NOTHING  # memory when it ended
        self.result: int | None = None
        self.made = ""  # what the descriptor that it returned is open on
        self.shown = False  # as unfinished
        self.before = False  # it was in progress when the trace of its process began: `time` is that

    @property
    def error(self) -> int:
        """The error number that its result means; 0 for none."""
        return -self.result if self.result is not None and -4096 < self.result < 0 else 0

    @property
    def failed(self) -> bool:
        """Whether it gave an error to its program: a call that a signal restarts gives none, and what rt_sigreturn(2)
        leaves is the result of the call that the signal came upon."""
        return 0 < self.error < 512 and not self.name.endswith("sigreturn")  # from 512 on: calls.names.RESTARTS

    def block(self, address: int, back: bool) -> tuple[int, bytes] | None:
        """A copy of memory, from the end of the call (`back`) or its beginning: its size there, the bytes there are."""
        found = (self.back if back else self.seen).blocks.get(address)
        if found is None and not back:
            found = self.back.blocks.get(address)  # it was not there yet
        return found


def signed(value: int) -> int:
    """The low 32 bits as an int."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
