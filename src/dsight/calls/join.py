"""Records -> events: calls put together of their beginning, their end and the memory copied for them.

A state machine without I/O: `feed` takes a record's kind (calls.script.Program.records) and values, in the
order the clause traces them; `tick` the time.  What comes out:

    Call       it has returned, or never will (exit); its `result` says which
    Unfinished it has not returned: it takes long, its thread has ended, or its child is next to speak
    Signal, Exit, Fork, Exec, Foreign (a 32-bit process)

Calls come out as they return.  Each thread has at most one that has not.  Everything kept is bounded.
"""

from __future__ import annotations

import struct

from dsight.calls import addresses
from dsight.calls.call import NOTHING, Call, Memory
from dsight.calls.specs import EXECS, FORKS, NO_RETURN, Spec, guess
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

SLOW = 100_000_000  # ns after which a call is shown as unfinished
OTHER = 0x10000  # numbers from here on are of calls that no table has, their low 16 bits
MOST_FILES = 16384  # open files whose names are kept
MOST_THREADS = 65536

_SIGKILL = 9

# Calls whose registers are new ones when they return.
_SIGRETURNS = frozenset({"rt_sigreturn", "sigreturn"})
_CHANGED = EXECS | _SIGRETURNS


class Unfinished(Value):
    """A call that has not returned.  `ended`: its thread has, so it never will."""

    call: Call
    ended: bool = False


class Signal(Value):
    """A signal reached a thread.  `handler`: 0 default, 1 ignored, else an address; `sender`: -1 where the kernel
    does not tell who sent it."""

    time: int
    tid: int
    pid: int
    comm: str
    number: int
    handler: int
    code: int
    sender: int
    uid: int
    status: int
    address: int


class Exit(Value):
    """A thread has ended; `last`: with it its process.  `status` as of wait(2)."""

    time: int
    tid: int
    pid: int
    comm: str
    last: bool
    status: int


class Fork(Value):
    """A thread has made a thread or (another pid) a process."""

    time: int
    tid: int
    pid: int
    comm: str
    child: int
    child_pid: int


class Exec(Value):
    """A process has become another program."""

    time: int
    tid: int
    pid: int
    comm: str


class Foreign(Value):
    """A 32-bit program, whose calls are not seen."""

    time: int
    tid: int
    pid: int
    comm: str


class Joiner:
    """One trace.  `specs`: the calls that may come, by number, those of 32-bit programs from calls.narrow.FIRST on;
    `comms`: names of the first processes."""

    def __init__(self, specs: Mapping[int, Spec], comms: Mapping[int, str] | None = None) -> None:
        self.comms: dict[int, str] = dict(comms or {})  # by pid
        self.specs = specs
        self._blind = not any(spec.narrow for spec in specs.values())  # to 32-bit programs
        self._open: dict[int, Call] = {}  # by tid
        self._memory: dict[int, tuple[int, Memory]] = {}  # by tid: when, what
        self._files: dict[int, str] = {}  # by the address of struct file
        self._makers: dict[int, int] = {}  # child's tid -> parent's, while its call is open
        self._fatal: dict[int, tuple[int, int, int, int]] = {}  # by pid: signal, code, sender, its uid
        self._handlers: dict[str, Callable[..., list[Any]]] = {
            "Call": self._call, "Return": self._return, "Text": self._text, "Memory": self._block,
            "File": self._file, "Socket": self._socket, "Fork": self._fork, "Exec": self._exec, "Args": self._args,
            "Exit": self._exit, "Fatal": self._fatal_signal, "Signal": self._signal,
        }  # fmt: skip

    def feed(self, kind: str, values: tuple[Any, ...]) -> list[Any]:
        """The events that one record brings about."""
        return self._handlers[kind](*values)

    def begin(self, time: int, pid: int, comm: str, calls: Iterable[Call], foreign: bool) -> list[Any]:
        """A process that runs already is traced from now on; `calls`: those it is in (calls.attach)."""
        comm = self.comms.setdefault(pid, comm)
        for call in calls:
            call.comm = comm
            self._open.setdefault(call.tid, call)
        return [Foreign(time, pid, pid, comm)] if foreign and self._blind else []

    def spec(self, number: int) -> Spec:
        """The call of a number; of one without a name, what can be said."""
        return self.specs.get(number) or guess(
            f"syscall_{number & 0xFFFF:#x}", [("unsigned long", f"arg{n}_flags") for n in range(6)]
        )

    def tick(self, now: int) -> list[Any]:
        """Calls that take long."""
        late = [c for c in self._open.values() if not c.shown and now - c.time > SLOW]
        for call in late:
            call.shown = True
        return [Unfinished(call) for call in late]

    @property
    def waiting(self) -> bool:
        """Whether tick() may have something to say."""
        return any(not call.shown for call in self._open.values())

    def stop(self) -> list[Any]:
        """The calls that have not returned."""
        return [Unfinished(call) for call in self._open.values() if not call.shown]

    # -- calls

    def _call(
        self, time: int, tid: int, pid: int, number: int, a: int, b: int, c: int, d: int, e: int, f: int,
        file: int, other: int,
    ) -> list[Any]:  # fmt: skip
        spec = self.spec(number)
        call = Call(time, tid, pid, spec, (a, b, c, d, e, f))
        call.comm = self._comm(pid)
        call.seen = self._taken(tid, time)
        if file or other:
            call.files = (self._files.get(file, ""), self._files.get(other, ""))
        events: list[Any] = [] if not self._makers else self._parents_first(tid)
        lost = self._open.pop(tid, None)
        if lost is not None and not lost.shown and not lost.before:  # its return was dropped
            events.append(Unfinished(lost, True))
        if spec.name in NO_RETURN:
            events.append(call)
            return events
        if len(self._open) >= MOST_THREADS:
            del self._open[next(iter(self._open))]
        self._open[tid] = call
        return events

    def _return(
        self, time: int, tid: int, pid: int, number: int, result: int, a: int, b: int, c: int, file: int
    ) -> list[Any]:
        back = self._taken(tid, time)
        call = self._open.get(tid)
        if number < 0:  # rt_sigreturn(2) leaves the number of none
            if call is None or call.name not in _SIGRETURNS:
                return []
        elif call is None or not self._is_of(call, number, (a, b, c)):
            spec = self.spec(number)
            if spec.name in FORKS and result == 0:  # as the child sees it
                return []
            events: list[Any] = []
            if call is not None:
                del self._open[tid]
                if not call.shown and not call.before:
                    events.append(Unfinished(call, True))
            call = Call(time, tid, pid, spec, (a, b, c)[: len(spec.args)])
            call.comm = self._comm(pid)
            call.shown = True  # its beginning was not seen
            call.result, call.back = result, back
            return [*events, call]
        del self._open[tid]
        call.end = time
        call.result = result
        if back.texts or back.blocks:
            if call.back is NOTHING:
                call.back = back
            else:
                call.back.texts.update(back.texts)
                call.back.blocks.update(back.blocks)
        if file:
            call.made = self._files.get(file, "")
        if call.name == "prctl" and call.args[0] == 15 and tid == pid and not call.error:
            block = call.seen.blocks.get(call.args[1])
            if block is not None:
                self.comms[pid] = block[1][:15].split(b"\0")[0].decode("utf-8", "surrogateescape")
        return [call]

    def _is_of(self, call: Call, number: int, args: tuple[int, int, int]) -> bool:
        """Whether a return belongs to the call that its thread began last: else records between were dropped."""
        spec = self.spec(number)
        if spec.name != call.name:
            return False
        return call.name in _CHANGED or (spec == call.spec and call.args[1:3] == args[1:3])

    def _parents_first(self, tid: int) -> list[Any]:
        """A child speaks: the call that made it is shown before, if it has not returned."""
        parent = self._makers.pop(tid, 0)
        call = self._open.get(parent)
        if call is None or call.shown or call.name not in FORKS:
            return []
        call.shown = True
        return [Unfinished(call)]

    # -- memory and files

    def _taken(self, tid: int, time: int) -> Memory:
        """The memory copied in this firing."""
        found = self._memory.pop(tid, None)
        return found[1] if found is not None and found[0] == time else NOTHING

    def _at(self, time: int, tid: int) -> Memory:
        found = self._memory.get(tid)
        if found is None or found[0] != time:
            if len(self._memory) >= MOST_THREADS:
                del self._memory[next(iter(self._memory))]
            found = self._memory[tid] = (time, Memory())
        return found[1]

    def _text(self, time: int, tid: int, address: int, text: bytes) -> list[Any]:
        self._at(time, tid).texts[address] = text.split(b"\0", 1)[0]
        return []

    def _block(self, time: int, tid: int, address: int, size: int, data: bytes) -> list[Any]:
        self._at(time, tid).blocks[address] = (size, data[:size])
        return []

    def _file(self, file: int, mode: int, inode: int, has_path: int, name: bytes) -> list[Any]:
        text = name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        if not has_path:
            text = f"pipe:[{inode}]" if mode >> 12 == 1 else f"anon_inode:{text}"
        return self._name(file, text)

    def _socket(
        self, file: int, inode: int, family: int, kind: int, protocol: int, state: int, port: int, other: int,
        local4: int, remote4: int, local6: bytes, remote6: bytes,
    ) -> list[Any]:  # fmt: skip
        local, remote = local6, remote6
        if family == addresses.AF_INET:
            local, remote = struct.pack("I", local4), struct.pack("I", remote4)
        ports = (port, int.from_bytes(struct.pack("H", other), "big"))
        return self._name(file, addresses.socket(inode, family, kind, protocol, state, ports, local, remote))

    def _name(self, file: int, text: str) -> list[Any]:
        self._files.pop(file, None)
        if len(self._files) >= MOST_FILES:
            del self._files[next(iter(self._files))]
        self._files[file] = text
        return []

    # -- processes

    def _fork(self, time: int, tid: int, pid: int, child: int, child_pid: int, comm: bytes) -> list[Any]:
        if child_pid != pid:
            if len(self.comms) >= MOST_THREADS:
                del self.comms[next(iter(self.comms))]
            self.comms[child_pid] = _name_of(comm)
        self._makers[child] = tid
        if len(self._makers) >= MOST_THREADS:
            del self._makers[next(iter(self._makers))]
        return [Fork(time, tid, pid, self._comm(pid), child, child_pid)]

    def _exec(self, time: int, tid: int, pid: int, before: int, comm: bytes, foreign: int) -> list[Any]:
        call = self._open.pop(before, None)
        if call is not None:
            self._open[tid] = call
        self.comms[pid] = _name_of(comm)
        events: list[Any] = [Exec(time, tid, pid, self.comms[pid])]
        if foreign and self._blind:
            events.append(Foreign(time, tid, pid, self.comms[pid]))
        return events

    def _args(self, tid: int, size: int, data: bytes) -> list[Any]:
        call = self._open.get(tid)
        if call is not None and call.name in EXECS:
            call.back = Memory()
            call.back.blocks[0] = (size, data[:size])
        return []

    def _exit(self, time: int, tid: int, pid: int, last: int, status: int) -> list[Any]:
        events: list[Any] = [] if not self._makers else self._parents_first(tid)
        call = self._open.pop(tid, None)
        if call is not None and not call.shown:
            events.append(Unfinished(call, True))
        self._memory.pop(tid, None)
        self._makers.pop(tid, None)
        events.append(Exit(time, tid, pid, self._comm(pid), bool(last), status))
        if last:
            self.comms.pop(pid, None)
            self._fatal.pop(pid, None)
        return events

    def _fatal_signal(self, pid: int, number: int, code: int, sender: int, uid: int) -> list[Any]:
        if len(self._fatal) >= MOST_THREADS:
            del self._fatal[next(iter(self._fatal))]
        self._fatal.setdefault(pid, (number, code, sender, uid))
        return []

    def _signal(self, time: int, tid: int, pid: int, number: int, handler: int, code: int, *values: int) -> list[Any]:
        if number == _SIGKILL:  # how the kernel ends each thread: by the signal that was sent, or exit_group, or execve
            sent = self._fatal.pop(pid, None)
            if sent is None:
                return []
            return [Signal(time, tid, pid, self._comm(pid), sent[0], 0, *sent[1:], 0, 0)]
        return [Signal(time, tid, pid, self._comm(pid), number, handler, code, *values)]

    def _comm(self, pid: int) -> str:
        """The process's name as far as the records have come; "?" where none told it."""
        return self.comms.get(pid, "?")


def _name_of(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
