"""Where output goes: the standard output, the file of freopen(), and commands of system() beside it."""

from __future__ import annotations

import os

from dsight.consumer.capture import Capture
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.consumer.output import Writer


class Outlet:
    """What is written goes to `base`, or after reopen() to a file."""

    def __init__(self, base: Writer) -> None:
        self._base = base
        self._fd = -1
        self._path = ""
        self.captured = Capture()

    def write(self, data: bytes) -> None:
        if self._fd < 0:
            self._base.write(data)
            return
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def fileno(self) -> int:
        """The descriptor written to; -1 where there is none (a program's own writer)."""
        if self._fd >= 0:
            return self._fd
        fileno = getattr(self._base, "fileno", None)
        return fileno() if fileno is not None else -1

    def reopen(self, path: str) -> str | None:
        """freopen(): write to this file from now on; it is emptied first, unless it holds packets of ours.
        "": back to where it was.  What went wrong, None if nothing: then output stays where it was."""
        if not path:
            self.close()
            return None
        new = os.O_APPEND if self.captured.knows(path) else os.O_TRUNC
        try:
            fd = os.open(os.fsencode(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | new, 0o666)
        except (OSError, ValueError) as e:
            reason = os.strerror(e.errno or 0) if isinstance(e, OSError) else str(e)
            return f"couldn't open '{printable(path)}': {reason}"
        self.close()
        self._fd, self._path = fd, path
        return None

    @property
    def path(self) -> str:
        """The file of freopen() that is written to; "" for none."""
        return self._path if self._fd >= 0 else ""

    def truncate(self) -> None:
        """ftruncate(): empty the file written to; where it is none (a terminal, a pipe), nothing happens."""
        fd = self.fileno()
        if fd >= 0:
            try:
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, os.SEEK_SET)
            except OSError:
                pass

    def run(self, command: str) -> None:
        """system(): /bin/sh -c command, to its end; what it prints goes where output goes.

        The shell sees what was traced as it is: who can name a process or a file can put a command
        there.  A script that hands strings to system() trusts them."""
        fd = self.fileno()
        actions = [(os.POSIX_SPAWN_DUP2, fd, 1)] if fd >= 0 else []
        words = [b"sh", b"-c", os.fsencode(command.replace("\0", ""))]
        os.waitpid(os.posix_spawn("/bin/sh", words, os.environ, file_actions=actions), 0)

    def close(self) -> None:
        """Back to `base`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
