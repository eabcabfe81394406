"""`dsight truss`: the system calls of a command or a process, decoded, without stopping it.

    dsight truss [options] [-p PID]... | -c CMD | COMMAND ARGUMENT...

Exit status: the command's own; 0 with -p; 1 for an error; 2 for a wrong command line.
"""

from __future__ import annotations

import os
import sys

from dsight.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any, TextIO

    from dsight.calls.feed import Feed
    from dsight.machine import Machine
    from dsight.ui.target import Target
    from dsight.ui.truss_text import JsonLines, Lines

EXAMPLES = """\
examples:
  dsight truss curl http://db1:9300/             what a command asks of the kernel, and what it starts
  dsight truss -e %network -p 4711               the network calls of a running process
  dsight truss -e openat,stat --failed CMD       files that a command looks for in vain
  dsight truss --summary CMD                     how often each call, its errors and times
"""
PAUSE = 0.1  # s between looks at calls that take long


def main(argv: list[str]) -> int:
    """The subcommand; argv without its name."""
    arguments = _arguments(argv)
    words = _words(arguments)
    if not words and not arguments.pids:
        raise UsageError("truss: there is no command and no process", "try: dsight truss --help")
    if words and arguments.pids:
        raise UsageError("truss: a command and -p do not go together")
    from dsight.machine import Machine
    from dsight.ui import target

    machine = Machine()
    targets: list[Target] = []
    out = _output(arguments.output)
    try:
        targets += [target.start(words)] if words else [target.grab(pid) for pid in arguments.pids]
        lost = _trace(arguments, machine, targets, out)
        if lost:
            sys.stderr.write(f"dsight: truss: {lost} records were lost; -e with fewer calls, or -b with more memory\n")
        return targets[0].exit_code() if words and targets[0].status is not None else 0
    finally:
        for one in targets:
            one.close()
        machine.close()
        if out is not sys.stderr:
            out.close()


def _parser() -> ArgumentParser:
    from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter

    parser = ArgumentParser(
        prog="dsight truss",
        usage="dsight truss [options] (-p PID | -c CMD | COMMAND ARGUMENT...)",
        description="Show the system calls of a command or a process and of what they start, without stopping them.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-p", metavar="PID", dest="pids", type=int, action="append", default=[],
                        help="a process and what it starts, until all have ended")  # fmt: skip
    parser.add_argument("-c", metavar="CMD", dest="line", help="a command as one text")
    parser.add_argument("-e", metavar="CALL,...", dest="calls", action="append", default=[],
                        help="only these: names with * and ?, or %%network %%file %%process %%desc %%memory %%signal; "
                        "with ! in front, all but these")  # fmt: skip
    parser.add_argument("--failed", action="store_true", help="only calls that fail")
    parser.add_argument("--summary", action="store_true", help="counts, errors and times instead of the calls")
    parser.add_argument("-t", dest="times", action="store_true", help="time of day in front")
    parser.add_argument("-T", dest="spent", action="store_true", help="time spent in each call behind it")
    parser.add_argument("-s", metavar="BYTES", dest="size", type=int, default=32, help="of data shown (32)")
    parser.add_argument("-o", metavar="FILE", dest="output", help="write to a file instead of standard error")
    parser.add_argument("-b", metavar="SIZE", dest="buffer", default="32m", help="buffer in the kernel (32m)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("command", nargs=REMAINDER, help="a command and its arguments")
    return parser


def _arguments(argv: list[str]) -> Namespace:
    arguments = _parser().parse_args(argv)
    if not 0 <= arguments.size <= 4096:
        raise UsageError("-s: between 0 and 4096 bytes can be shown")
    return arguments


def _words(arguments: Namespace) -> list[str]:
    """The command's words."""
    from dsight.ui import places

    words: list[str] = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.line is None:
        return words
    if words:
        raise UsageError(f"-c: there is a command already, and '{words[0]}'")
    return places.words(arguments.line)


def _output(path: str | None) -> TextIO:
    """Like strace, beside what the command prints: standard error."""
    if path is None:
        return sys.stderr
    try:
        return open(path, "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Error(f"-o: cannot write {path}: {os.strerror(error.errno or 0)}") from None


def _trace(arguments: Namespace, machine: Machine, targets: list[Target], out: TextIO) -> int:
    """Trace until the targets and all they started have ended, or a signal comes; how many records were lost."""
    from time import monotonic_ns, time_ns

    from dsight import options
    from dsight.calls.feed import Feed, chosen
    from dsight.ui import truss_text
    from dsight.ui.interrupt import Interrupts

    specs = chosen([word for text in arguments.calls for word in text.split(",") if word], machine)
    buffer = 1 << (max(options.size("bufsize", arguments.buffer), 1 << 16) - 1).bit_length()
    feed = Feed(
        machine, specs, strings=arguments.size, buffer=buffer, summary=arguments.summary, other=not arguments.calls
    )
    held = [one.pid for one in targets if one.is_child]
    face = _face(arguments, out, time_ns() - monotonic_ns(), _are_several(targets))
    running = list(targets)

    def ended(one: Target) -> None:
        feed.session.unwatch(one.pidfd)
        one.wait()
        running.remove(one)

    def show(events: list[Any]) -> None:
        if held:
            events = _from_exec(events, held)
        if not arguments.summary:
            face.show(events)

    with feed:
        interrupts = Interrupts(feed.session)
        try:
            for one in targets:
                feed.session.watch(one.pidfd, lambda one=one: ended(one))  # type: ignore[misc]
            show(_adopt(feed, targets, not arguments.summary))
            for one in targets:
                one.release()
            while feed.session.running:
                show(feed.read(PAUSE if feed.joiner.waiting else 1.0))
                now = monotonic_ns()
                if not feed.session.pending():  # else it may have returned
                    show(feed.joiner.tick(now))
                if not running and not any(map(_runs, list(feed.joiner.comms))):
                    feed.session.request_stop()
            show(feed.stop())
            if arguments.summary:
                rows = truss_text.summary(feed)
                out.write(truss_text.summary_json(rows) if arguments.json else truss_text.summary_text(rows))
        finally:
            interrupts.close()
    return feed.lost


def _runs(pid: int) -> bool:
    """Whether a process has not ended.  Its record should have told, but may have been lost."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
        return state not in "ZX" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (OSError, IndexError):
        return False


def _are_several(targets: list[Target]) -> bool:
    """Whether there are several processes or threads to begin with."""
    from dsight.connections.processes import descendants

    if targets[0].is_child:
        return False
    pids = descendants(frozenset(one.pid for one in targets))
    try:
        return len(pids) > 1 or any(len(os.listdir(f"/proc/{pid}/task")) > 1 for pid in pids)
    except FileNotFoundError:  # one has ended
        return True


def _face(arguments: Namespace, out: TextIO, wall_offset: int, several: bool) -> Lines | JsonLines:
    from dsight.ui.truss_text import JsonLines, Lines

    if arguments.json:
        return JsonLines(out, wall_offset, size=arguments.size, failed=arguments.failed)
    return Lines(
        out, wall_offset, size=arguments.size, failed=arguments.failed, times=arguments.times,
        spent=arguments.spent, several=several,
    )  # fmt: skip


def _from_exec(events: list[Any], held: list[int]) -> list[Any]:
    """The command's process is still ours until it calls execve(2): what it does before is not shown."""
    from dsight.calls.join import Exec, Exit
    from dsight.calls.specs import EXECS

    for i, event in enumerate(events):
        if isinstance(event, (Exec, Exit)) or getattr(event, "name", "") in EXECS:
            held.clear()
            return events[i:]
    return []


def _adopt(feed: Feed, targets: list[Target], calls: bool) -> list[Any]:
    """Trace the targets and, of processes that ran before, what descends from them: looked for until nothing is new,
    for they may have forked before they were traced.  `calls`: those that they are in are wanted too."""
    from time import monotonic_ns

    from dsight.calls.attach import in_progress, is_32_bit
    from dsight.connections.processes import descendants

    events: list[Any] = []
    known = {os.getpid()}  # to trace ourselves would never end: what we write makes records
    roots = frozenset(one.pid for one in targets)
    while new := (descendants(roots) if not targets[0].is_child else roots) - known:
        known |= new
        for pid in sorted(new):
            now, foreign = monotonic_ns(), is_32_bit(pid)
            wanted = calls and not targets[0].is_child
            found = in_progress(pid, feed.joiner.specs, now) if wanted else []
            events += feed.joiner.begin(now, pid, _comm(pid), found, foreign)
            feed.adopt(pid)
    return events


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"
