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

    from dsight.calls.decode import Call
    from dsight.calls.feed import Feed
    from dsight.machine import Machine
    from dsight.ui.target import Target

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
                        help="a process and what it starts; end when it ends")  # fmt: skip
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
    words: list[str] = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.line is None:
        return words
    if words:
        raise UsageError(f"-c: there is a command already, and '{words[0]}'")
    from shlex import split

    try:
        return split(arguments.line)
    except ValueError as error:
        raise UsageError(f"-c: {str(error).lower()}") from None


def _output(path: str | None) -> TextIO:
    """Like strace, beside what the command prints: standard error."""
    if path is None:
        return sys.stderr
    try:
        return open(path, "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Error(f"-o: cannot write {path}: {os.strerror(error.errno or 0)}") from None


def _trace(arguments: Namespace, machine: Machine, targets: list[Target], out: TextIO) -> int:
    """Trace until the last target has ended, or a signal comes; how many records were lost."""
    from time import monotonic_ns, time_ns

    from dsight import options
    from dsight.calls.feed import Feed, chosen
    from dsight.ui.interrupt import Interrupts

    specs = chosen([word for text in arguments.calls for word in text.split(",") if word], machine)
    buffer = 1 << (max(options.size("bufsize", arguments.buffer), 1 << 16) - 1).bit_length()
    comms = {one.pid: _comm(one.pid) for one in targets if not one.is_child}
    feed = Feed(machine, specs, strings=arguments.size, buffer=buffer, summary=arguments.summary, comms=comms)
    shown = _Lines(arguments, feed, out, time_ns() - monotonic_ns())
    running = list(targets)

    def ended(one: Target) -> None:
        feed.session.unwatch(one.pidfd)
        one.wait()
        running.remove(one)
        if not running:
            feed.session.request_stop()

    with feed:
        interrupts = Interrupts(feed.session)
        try:
            for one in targets:
                feed.adopt(one.pid)
                feed.session.watch(one.pidfd, lambda one=one: ended(one))  # type: ignore[misc]
            for one in targets:
                one.release()
            while feed.session.running:
                shown.show(feed.read(PAUSE if feed.joiner.waiting else 1.0))
                shown.show(feed.joiner.tick(monotonic_ns()))
            shown.show(feed.stop())
            if arguments.summary:
                shown.summary()
        finally:
            interrupts.close()
    return feed.lost


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"


class _Lines:
    """Events as lines; a process's name and number stand in front as soon as there are several."""

    def __init__(self, arguments: Namespace, feed: Feed, out: TextIO, wall_offset: int) -> None:
        self._arguments = arguments
        self._feed = feed
        self._out = out
        self._wall_offset = wall_offset
        self._several = len(arguments.pids) > 1
        self._held = not arguments.pids  # the command's process is still ours, until its execve(2)

    def show(self, events: list[Any]) -> None:
        """Write what there is to see of some events."""
        if self._arguments.summary or not events:
            return
        if self._held:
            from dsight.calls.decode import Call
            from dsight.calls.join import Exec

            at = next((i for i, e in enumerate(events) if isinstance(e, Call) and e.name.startswith("execve")), None)
            at = next((i for i, e in enumerate(events) if isinstance(e, Exec)), None) if at is None else at
            if at is None:
                return
            events = events[at:]
            self._held = False
        line = self._json if self._arguments.json else self._line
        lines = [text for event in events if (text := line(event))]
        if lines:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()

    def _line(self, event: Any) -> str:
        from dsight.calls import join
        from dsight.calls.decode import Call, result
        from dsight.source import printable

        if isinstance(event, join.Fork):
            self._several = True
            return ""
        failed = self._arguments.failed
        if isinstance(event, Call):
            if failed and not event.error:
                return ""
            spent = f" <{(event.end - event.time) / 1e9:.6f}>" if self._arguments.spent else ""
            call = f"<... {event.name} resumed>" if event.shown else f"{event.name}({self._given(event)})"
            return self._head(event.end if event.shown else event.time, event.pid, event.tid) + printable(
                f"{call} = {result(event)}{spent}"
            )
        if isinstance(event, join.Unfinished):
            call_ = event.call
            state = "= ?" if event.ended else "<unfinished ...>"
            if failed:
                return ""
            return self._head(call_.time, call_.pid, call_.tid) + printable(
                f"{call_.name}({self._given(call_)}{')' if event.ended else ''} {state}"
            )
        if isinstance(event, join.Signal):
            from dsight.calls.names import signal

            by = f", from process {event.sender}" if event.code <= 0 and event.sender else ""
            return self._head(event.time, event.pid, event.tid) + f"--- {signal(event.number)}{by} ---"
        if isinstance(event, join.Exit) and event.last:
            head = self._head(event.time, event.pid, event.tid)
            self._feed.joiner.gone(event.pid)
            return head + _ending(event.status)
        if isinstance(event, join.Foreign):
            return self._head(event.time, event.pid, event.pid) + "+++ a 32-bit program: its calls are not seen +++"
        return ""

    def _given(self, call: Call) -> str:
        from dsight.calls.decode import arguments

        return ", ".join(arguments(call, self._arguments.size))

    def _head(self, time: int, pid: int, tid: int) -> str:
        from dsight.source import printable

        head = ""
        if self._several:
            name = printable(self._feed.joiner.comms.get(pid, "?"))
            head = f"{name}[{pid}{'' if tid == pid else f'/{tid}'}] "
        if self._arguments.times:
            from time import localtime, strftime

            wall = time + self._wall_offset
            clock = strftime("%H:%M:%S", localtime(wall // 10**9))
            head = f"{clock}.{wall // 1000 % 10**6:06d} {head}"
        return head

    def _json(self, event: Any) -> str:
        from json import dumps

        from dsight.calls import join
        from dsight.calls.decode import Call, named_arguments, result
        from dsight.connections.model import error_name, rfc3339

        body: dict[str, Any]
        if isinstance(event, Call):
            if self._arguments.failed and not event.error:
                return ""
            spent = None if event.result is None else event.end - event.time
            body = {
                "event": "call", "call": event.name, "arguments": dict(named_arguments(event, self._arguments.size)),
                "result": event.result, "result_text": result(event), "error": error_name(event.error),
                "duration_ns": spent,
            }  # fmt: skip
        elif isinstance(event, join.Unfinished) and event.ended:
            given = dict(named_arguments(event.call, self._arguments.size))
            event = event.call
            body = {"event": "call", "call": event.name, "arguments": given, "result": None}
        elif isinstance(event, join.Signal):
            from dsight.calls.names import signal

            body = {"event": "signal", "signal": signal(event.number), "sender": event.sender or None}
        elif isinstance(event, join.Exit) and event.last:
            body = {"event": "exit", "status": event.status}
        elif isinstance(event, join.Fork):
            body = {"event": "fork", "child": event.child, "child_process": event.child_pid}
        elif isinstance(event, join.Exec):
            body = {"event": "exec", "comm": event.comm}
        else:
            return ""
        who = {"pid": event.pid, "tid": event.tid, "comm": self._feed.joiner.comms.get(event.pid)}
        return dumps({"time": rfc3339(event.time + self._wall_offset), **who, **body})

    def summary(self) -> None:
        """One line for each call that was made: the ones that took longest first."""
        feed = self._feed
        counts, total = feed.counts("calls"), feed.counts("total")
        errors, slowest = feed.counts("errors"), feed.counts("slowest")
        specs = feed.joiner.specs
        rows = sorted(counts, key=lambda number: (-total.get(number, 0), number))
        if self._arguments.json:
            from json import dumps

            for n in rows:
                row = {"event": "summary", "call": specs[n].name, "count": counts[n], "errors": errors.get(n, 0)}
                self._out.write(dumps(row | {"total_ns": total.get(n, 0), "slowest_ns": slowest.get(n, 0)}) + "\n")
            return
        lines = [f"{'CALL':22} {'COUNT':>9} {'ERRORS':>7} {'SECONDS':>11} {'MEAN us':>9} {'MOST us':>10}"]
        for n in rows:
            count, time = counts[n], total.get(n, 0)
            lines.append(
                f"{specs[n].name:22} {count:9} {errors.get(n, 0) or '':>7} {time / 1e9:11.6f} "
                f"{time / count / 1000:9.1f} {slowest.get(n, 0) / 1000:10.1f}"
            )
        self._out.write("\n".join(lines) + "\n")


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        from dsight.calls.names import signal

        core = " (core dumped)" if os.WCOREDUMP(status) else ""
        return f"+++ killed by {signal(os.WTERMSIG(status))}{core} +++"
    return f"+++ exited with {os.WEXITSTATUS(status)} +++"
