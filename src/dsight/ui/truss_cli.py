"""`dsight truss`: the system calls of a command or a process, decoded, without stopping it."""

from __future__ import annotations

from dsight.errors import UsageError


def main(argv: list[str]) -> int:
    """The subcommand; argv without its name."""
    raise UsageError("truss: there is no command and no process", "try: dsight truss --help")
