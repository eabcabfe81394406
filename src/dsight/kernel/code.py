"""What is at an address, of the kernel or of a process: the session's answer to consumer.symbolise.Symbols."""

from __future__ import annotations

from dsight.consumer.symbolise import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.kernel.processes import Processes
    from dsight.kernel.symbols import KernelSymbols


class Code:
    """Symbols of this machine; `close` lets go of files."""

    def __init__(self, kernel: KernelSymbols) -> None:
        self._kernel = kernel
        self._seen: Processes | None = None

    def _processes(self) -> Processes:
        if self._seen is None:
            from dsight.kernel.processes import Processes

            self._seen = Processes()
        return self._seen

    def kernel(self, address: int) -> Place | None:
        found = self._kernel.at(address)
        return None if found is None else Place(found[2], found[0], found[1])

    def user(self, pid: int, address: int) -> Place | None:
        return self._processes().at(pid, address)

    def seen(self, pid: int) -> None:
        self._processes().seen(pid)

    def watch(self) -> list[int]:
        """Before tracing user addresses: hear of processes that may end before they are looked at.
        The descriptors on which `hear` is to be called when they are readable."""
        return self._processes().watch()

    def hear(self) -> None:
        self._processes().hear()

    def close(self) -> None:
        """Twice is once."""
        if self._seen is not None:
            self._seen.close()
            self._seen = None
