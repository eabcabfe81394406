"""Lookups, put together: the D that tells of them, the C libraries it is attached to, their tracker,
and what a process's own files say of names.
"""

from __future__ import annotations

import os
import re

from dsight.connections.host import LARGEST, read_text
from dsight.connections.kernel_filter import Kernel
from dsight.connections.libcs import CALLS, FILES, Libcs
from dsight.connections.lookups import Lookups
from dsight.connections.naming import Names
from dsight.connections.script import Part, read, who
from dsight.kernel import syscalls
from dsight.lang.registers import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.api import Trace
    from dsight.connections.events import Who
    from dsight.connections.libcs import Libc

RENEWAL = 1_000_000_000  # ns between looks for new C libraries
LIST = 12  # entries of getaddrinfo's list that are read

# machine: the register with a system call's number, those with its arguments 1 (from 0), 2 and 4; as in uregs[].
_REGISTERS = {"x86_64": ("R_ERR", "R_RSI", "R_RDX", "R_R8"), "aarch64": ("R_X8", "R_X1", "R_X2", "R_X4")}
_ADDRESS = """
RETURNS
/self->next != 0/
{
        this->n_info = (uint64_t *)copyin(self->next, 48);
        self->next = this->n_info[5];
        trace(55); trace(tid); tracemem(copyin(this->n_info[3], (int)(this->n_info[0] >> 32) == 10 ? 28 : 16), 28);
}
"""


class LookupWatch:
    """What a session is to be told of lookups, and by which means.

    `part`: for script.script; `tracker`, `names`: for watch.Watcher.  `missing`: what cannot be seen
    on this kernel, in words.
    """

    def __init__(self, machine: str, has_probe: Callable[[str, int], bool], kernel: Kernel | None = None) -> None:
        self.names = Names()
        self.search = search_domains  # what the tracker asks
        self.in_hosts = stands_in_hosts
        self._tracker: Lookups | None = None
        self._libcs = Libcs(machine)
        self._next = 0
        self.missing: list[str] = []
        self._found = self._libcs.find() if _has_uprobes() else []
        kernel = Kernel() if kernel is None else kernel
        text = []
        if self._found:
            text.append(_calls(self._found, kernel))
        else:
            self.missing.append("getaddrinfo() is not seen: there is no C library, or the kernel has no uprobes")
        if has_probe("sock_send_length", 0) and machine in _REGISTERS:
            text.append(_wire(machine, kernel))
        else:
            self.missing.append("DNS that programs speak themselves is not seen: that takes Linux 6.3")
        self.part = Part(text="\n".join(text))

    @property
    def open(self) -> int:
        """How many lookups are under way."""
        return 0 if self._tracker is None else self._tracker.open

    def tracker(self, caller: Callable[[int], Who | None]) -> Lookups:
        self._tracker = Lookups(caller, self.names, self.search, self.in_hosts, os.uname().nodename)
        return self._tracker

    def attach(self, trace: Trace) -> None:
        """Have the running program's probes fire in the C libraries that are not the first."""
        if self._found:
            first, *others = self._found
            self._found = [first]
            self._attach(trace, others)

    def renew(self, trace: Trace, now: int) -> None:
        """The same for those that have come since; looked for once in a while."""
        if self._found and now >= self._next:
            self._next = now + RENEWAL
            self._attach(trace, self._libcs.find())

    def _attach(self, trace: Trace, files: list[Libc]) -> None:
        from dsight.errors import KernelError

        probes = {(p.function, p.name): p for p in trace.image.probes.values() if p.provider == "uprobe"}
        for libc in files:
            places = [(p, libc.functions[f]) for (f, _), p in probes.items() if f in libc.functions]
            try:
                trace.session.attach_also(places)
            except KernelError:  # its file system, or its process, is gone again
                continue


def _has_uprobes() -> bool:
    return os.path.exists("/sys/bus/event_source/devices/uprobe/type")


def search_domains(who: Who) -> tuple[str, ...]:
    """Of the process's resolv.conf(5), of this host's where it is gone; lower case, without the last dot."""
    text = read_text(f"/proc/{who.pid}/root/etc/resolv.conf") or read_text("/etc/resolv.conf") or ""
    found: tuple[str, ...] = ()
    for line in text[:LARGEST].splitlines():
        words = line.split()
        if words[:1] in (["search"], ["domain"]):  # the last one counts
            found = tuple(word.lower().rstrip(".") for word in words[1:33])
    return found


def stands_in_hosts(who: Who, mounts: int, name: str, addresses: tuple[str, ...]) -> bool:
    """Whether the process's hosts(5) has the name with one of the addresses; this host's, where it is gone
    and was in this mount namespace."""
    text = read_text(f"/proc/{who.pid}/root/etc/hosts")
    if text is None and mounts == os.stat("/proc/self/ns/mnt").st_ino:
        text = read_text("/etc/hosts")
    text = text or ""
    plain = name.lower().rstrip(".")
    for line in text[:LARGEST].splitlines():
        words = line.partition("#")[0].lower().split()
        if plain in words[1:] and words[0] in addresses:
            return True
    return False


def _calls(found: list[Libc], kernel: Kernel) -> str:
    """names_calls.d for a C library, and names_files.d if one of them has glibc's module."""
    found.sort(key=lambda libc: -len(libc.functions))
    path, functions = found[0].path, found[0].functions
    entries = ", ".join(f"uprobe:LIBC:{name}:entry" for name in CALLS)
    returns = ", ".join(f"uprobe:LIBC:{name}:return" for name in CALLS)
    text = read("names_calls.d").replace("ADDRESSES\n", _ADDRESS * LIST)
    files = [name for name in FILES if name in functions]
    if files:
        probes = ", ".join(f"uprobe:LIBC:{name}:return" for name in files)
        text += read("names_files.d").replace("\nFILES\n", f"\n{probes}\n")
    text = text.replace("\nENTRIES\n", f"\n{entries}\n").replace("\nRETURNS\n", f"\n{returns}\n")
    not_ours = kernel.who(entries, "this->n_who", " self->node = 0; self->api = 0;")
    return text.replace("\nWHO\n", "\n" + not_ours + who(entries, "this->n_who")).replace("LIBC", path)


def _wire(machine: str, kernel: Kernel) -> str:
    """names_wire.d for this architecture."""
    numbers = syscalls.numbers(machine)
    registers = dict(zip(("REG_CALL", "REG_1", "REG_2", "REG_4"), _REGISTERS[machine]))
    probe = "rawtp:::sock_send_length"
    not_ours = kernel.who(probe, "this->w_who", " this->w_dns = 0; self->w_asks = 0;")
    text = read("names_wire.d").replace("\nWHO\n", "\n" + not_ours + who(probe, "this->w_who"))
    text = re.sub(r"SYS_(\w+)", lambda m: str(numbers[m[1]]), text)
    return re.sub(r"REG_\w+", lambda m: str(table(machine)[registers[m[0]]]), text)
