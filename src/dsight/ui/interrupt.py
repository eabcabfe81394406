"""Signals as something a session can wait on: SIGINT and SIGTERM, and those that ask for a summary."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from dsight.session import Session
else:
    import _signal as signal  # the C half: `signal` brings enum, functools and collections, 5 ms


class Interrupts:
    """While active, SIGINT and SIGTERM end the session as exit() does; a second one ends the process.

    `number`: the signal that came, 0 for none.  `asked`: called from the session's wait() after SIGUSR1 or
    SIGQUIT (Ctrl-\\ on a terminal); without it these are left alone.
    """

    def __init__(self, session: Session, asked: Callable[[], None] | None = None) -> None:
        self.number = 0
        self._session = session
        self._asked = asked
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {n: signal.signal(n, self._caught) for n in (signal.SIGINT, signal.SIGTERM)}
        if asked is not None:
            for n in (signal.SIGUSR1, signal.SIGQUIT):
                self._before[n] = signal.signal(n, _nothing)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        session.watch(self._read, self._came)

    def _came(self) -> None:
        """The numbers of signals can be read (set_wakeup_fd)."""
        numbers = os.read(self._read, 4096)
        if signal.SIGINT in numbers or signal.SIGTERM in numbers:
            self._session.request_stop()
        elif self._asked is not None:
            self._asked()

    def _caught(self, number: int, frame: object) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        self._session.request_stop()

    def close(self) -> None:
        """Back to what was before."""
        self._session.unwatch(self._read)
        signal.set_wakeup_fd(self._wakeup)
        for n, handler in self._before.items():
            signal.signal(n, handler)
        os.close(self._read)
        os.close(self._write)


def _nothing(number: int, frame: object) -> None:
    """A handler, so that the number arrives at the descriptor."""
