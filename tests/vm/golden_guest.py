"""Runs golden cases in the guest: one process that imports dsight once, and forks for each run of dtrace.

    python golden_guest.py CASE...      (as root; works on any machine)

Starting Python and importing dsight takes seconds under emulation; a forked child does what the
command does from its main() on.  Prints `=== NAME SECONDS` for each case, below it the difference.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import time

from dsight.testing import golden
from dsight.ui import dtrace_cli

golden.TIMEOUT = 90


def forked(arguments: list[str], environment: dict[str, str]) -> tuple[bytes, bytes, int]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become_dtrace(arguments, environment, out.fileno(), err.fileno())
        status = _wait(child)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
        return texts[0], texts[1], status


def _become_dtrace(arguments: list[str], environment: dict[str, str], out: int, err: int) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(out, 1)
    os.dup2(err, 2)
    status = 1
    try:
        status = dtrace_cli.main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _wait(child: int) -> int:
    fd = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([fd], [], [], golden.TIMEOUT)
        if not ended:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(fd)
    if not ended:
        raise TimeoutError
    return status


def main() -> None:
    dtrace_cli.main(["-qen", 'BEGIN, tick-1s, syscall::read:entry { @[execname] = count(); printf("%d", pid); }'])
    for path in sys.argv[1:]:
        began = time.monotonic()
        try:
            difference = golden.check(golden.load(path), forked)
        except golden.Error as e:
            difference = f"{e}\n"
        print(f"=== {path} {time.monotonic() - began:.1f}\n{difference}", end="", flush=True)


main()
