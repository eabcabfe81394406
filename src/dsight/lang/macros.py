"""What `$1`, `$$1`, `$target`, `$pid` ... of a script stand for."""

from __future__ import annotations

import os

from dsight.errors import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.source import Span

_NAMES = "$target $pid $ppid $uid $euid $gid $egid $pgid $sid $projid $taskid $0 $1 ..."

LASTING = frozenset({"uid", "euid", "gid", "egid", "projid", "taskid"})  # the others differ from run to run


class Macros:
    """Macro variables, and which script arguments were asked for so far.

    `values`: the named ones ("pid", "target", ...).  `args[0]` is the script's name ($0), then
    its arguments.  Shared by all sources of one command line, so that `check_unused` can
    tell at the end which arguments no script used.  `default_args` and `unused_allowed`
    are the options defaultargs and argref; a pragma in the script sets them too.
    """

    __slots__ = ("args", "asked", "default_args", "quoted", "unused_allowed", "used", "values")

    def __init__(self, values: dict[str, int], args: tuple[str, ...] = (), default_args: bool = False) -> None:
        self.values = values
        self.args = args
        self.default_args = default_args
        self.unused_allowed = False
        self.used: set[int] = {0}
        self.asked: set[str] = set()  # named ones
        self.quoted: set[int] = set()  # N of each "$N" seen inside a string, where it means itself

    @classmethod
    def of_process(
        cls,
        args: tuple[str, ...] = (),
        script_name: str = "dtrace",
        target: int | None = None,
        default_args: bool = False,
    ) -> Macros:
        """Of this process.  Linux has neither projects nor tasks: $projid and $taskid are 0."""
        values = {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "uid": os.getuid(),
            "euid": os.geteuid(),
            "gid": os.getgid(),
            "egid": os.getegid(),
            "pgid": os.getpgrp(),
            "sid": os.getsid(0),
            "projid": 0,
            "taskid": 0,
        }
        if target is not None:
            values["target"] = target
        return cls(values, (script_name, *args), default_args)

    def text(self, name: str, span: Span, as_string: bool = False) -> str:
        """What `$name` stands for; CompileError D_MACRO_UNDEF."""
        if name.isdigit():
            number = int(name) if len(name) < 10 else 1 << 30
            self.used.add(number)
            if number < len(self.args):
                return self.args[number]
            if self.default_args:
                return "" if as_string else "0"
            given = len(self.args) - 1
            raise fail(
                "D_MACRO_UNDEF",
                f"macro argument ${name} is not defined",
                span,
                ("no argument was" if given <= 0 else "1 argument was" if given == 1 else f"{given} arguments were")
                + " given after the script; `-x defaultargs` makes missing ones 0 or an empty string",
            )
        self.asked.add(name)
        if name in self.values:
            return str(self.values[name])
        if name == "target":
            if self.default_args:
                return "" if as_string else "0"
            raise fail(
                "D_MACRO_UNDEF",
                "macro variable $target is not defined",
                span,
                "name the process to trace with -p PID, or start one with -c COMMAND",
            )
        raise fail("D_MACRO_UNDEF", f"macro variable ${name} is not defined", span, f"there are {_NAMES}")

    @property
    def lasting(self) -> bool:
        """Whether another run with the same arguments, by the same user, would have been told the same."""
        return self.asked <= LASTING

    def check_unused(self) -> None:
        """CompileError D_MACRO_UNUSED when arguments at the end were never asked for."""
        last = len(self.args) - 1
        if last < 1 or self.unused_allowed or self.default_args or max(self.used) >= last:
            return
        first = max(self.used) + 1
        hint = "the scripts use no such argument; `-x argref` allows it"
        if first in self.quoted:
            hint = (
                f"${first} inside quotes is plain text; write $${first}, without quotes, for the argument as a string"
            )
        raise fail("D_MACRO_UNUSED", f"extraneous argument '{self.args[first]}' (${first} is not used)", None, hint)
