"""The process of -c or -p: started held before its first instruction, or found; watched until it ends."""

from __future__ import annotations

import os

from dsight.errors import TargetError


class Target:
    """A process to trace.  `pid`; `pidfd` can be waited on: readable when the process has ended.

    A child of ours waits in front of its exec(2) until `release`; `status` is then its wait
    status once it has ended.
    """

    def __init__(self, pid: int, gate: int = -1, report: int = -1) -> None:
        self.pid = pid
        self.is_child = gate >= 0
        self.status: int | None = None
        self._gate = gate
        self._report = report
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError as e:
            raise TargetError(f"failed to grab process {pid}: {os.strerror(e.errno or 0).lower()}") from None

    def release(self) -> None:
        """Let the child go on into the command.  Raises TargetError where it cannot be run."""
        if self._gate < 0:
            return
        os.write(self._gate, b"g")
        os.close(self._gate)
        self._gate = -1
        with os.fdopen(self._report, "rb") as report:
            failed = report.read()
        self._report = -1
        if failed:
            self.wait()
            raise TargetError(f"failed to run the command: {failed.decode(errors='replace')}")

    def wait(self) -> None:
        """Take the status of a child that has ended."""
        if self.is_child and self.status is None:
            _, self.status = os.waitpid(self.pid, 0)

    def exit_code(self) -> int:
        """The child's exit status as a shell reports it: 128 + signal where one ended it."""
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Let go; a child that was never released is ended (it has run nothing yet)."""
        if self._gate >= 0:
            os.close(self._gate)  # it reads the end of file and leaves
            os.close(self._report)
            self._gate = -1
            self.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def grab(pid: int) -> Target:
    """An existing process.  Raises TargetError."""
    return Target(pid)


def start(command: list[str]) -> Target:
    """A child held before exec(2) of the command (its words).  Raises TargetError."""
    if not command:
        raise TargetError("failed to run the command: it is empty")
    gate_in, gate_out = os.pipe()
    report_in, report_out = os.pipe()  # closed by exec: nothing is read where it succeeded
    pid = os.fork()
    if pid:
        os.close(gate_in)
        os.close(report_out)
        return Target(pid, gate_out, report_in)
    try:
        os.close(gate_out)
        os.close(report_in)
        import signal

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):  # Python changes these
            signal.signal(number, signal.SIG_DFL)
        program = _found(command[0])  # before the gate: looking along PATH is not the command's doing
        if os.read(gate_in, 1) == b"g":
            os.execv(program, command)
    except OSError as e:
        os.write(report_out, f"{command[0]}: {os.strerror(e.errno or 0)}".encode())
    finally:
        os._exit(127)


def _found(name: str) -> str:
    """The file a command's name stands for, as execvp(3) finds it; "" where there is none."""
    if "/" in name:
        return name
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return ""
