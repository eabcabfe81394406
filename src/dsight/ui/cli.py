"""The `dsight` command: watch who connects where, and what comes of it.

    dsight [watch] [options]
    dsight COMMAND ...       one of COMMANDS, each a module of its own

Exit status: 0; 1 for an error; 2 for a wrong command line; with -c, the command's own;
with --expect, 0 if all is met, 3 if not.
"""

from __future__ import annotations

import os
import sys

from dsight.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any

    from dsight.api import Trace
    from dsight.connections.expect import Expectations
    from dsight.connections.losses import Losses
    from dsight.connections.model import LookupReport, Lost, Report
    from dsight.connections.names import LookupWatch
    from dsight.connections.recorder import Recorder
    from dsight.connections.watch import Selection
    from dsight.ui.target import Target

EXAMPLES = """\
examples:
  dsight                                 every connection on this machine, live
  dsight -c 'curl http://db1:9300/'      what one command (and what it starts) connects to
  dsight --failed                        only what fails, or gets no answer
  dsight --comm 'java*' --port 5432      by process name and port
  dsight --to 10.0.0.0/8 --json          by destination, one JSON object a line
  dsight --unix --to '/run/*'            who connects to which UNIX socket, and who listens there
  dsight --udp --port 53                 queries to name servers, answered or not
  dsight -p 4711                         one process and its descendants
  dsight --record night.rec              to be looked at later: dsight replay night.rec --failed
  dsight --expect 'web->db1:5432' --for 30   exit status 0 as soon as web reaches it, else 3
"""

# Besides `watch`: the module of dsight.ui whose main(arguments) it is, and what --help says of it.
COMMANDS = {
    "replay": ("replay_cli", "show what --record has written, in any face; without root, anywhere"),
    "selftest": ("selftest_cli", "make each kind of failure, and say whether it is seen and told rightly"),
    "snoop": ("snoop_cli", "packets, each with the process it belongs to; text or pcapng"),
    "truss": ("truss_cli", "system calls of a command or process, decoded, without stopping it"),
}

PAUSE = 0.2  # s between looks at open attempts
IDLE = 1.0  # s, where there are none
EXPECTATIONS_FAILED = 3  # exit status


def main(argv: list[str] | None = None) -> int:
    """The console script; argv without the command's name."""
    argv = sys.argv[1:] if argv is None else argv
    if argv in (["--version"], ["-V"]):
        from dsight import __version__

        print(f"dsight {__version__}")
        return 0
    try:
        if argv and argv[0] in COMMANDS:
            return _command(argv[0], argv[1:])
        return _watch(_arguments(argv))
    except UsageError as error:
        _complain(error)
        return 2
    except Error as error:
        _complain(error)
        return 1
    except BrokenPipeError:  # the reader has gone: nothing is wrong, and nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:  # before the probes were armed
        return 130
    except Exception as error:
        if os.environ.get("DSIGHT_DEBUG"):
            raise
        hint = "this is a bug in dsight: please report it with what DSIGHT_DEBUG=1 shows"
        _complain(Error(f"internal error: {type(error).__name__}: {error}", hint))
        return 1


def _command(name: str, argv: list[str]) -> int:
    """Run one of COMMANDS."""
    from importlib import import_module

    run: Callable[[list[str]], int] = import_module(f"dsight.ui.{COMMANDS[name][0]}").main
    return run(argv)


def _complain(error: Error) -> None:
    from dsight.source import printable

    lines = "\n".join(printable(line) for line in str(error).split("\n"))
    sys.stderr.write(f"dsight: {lines}\n" + (f"        {error.hint}\n" if error.hint else ""))


def _parser() -> ArgumentParser:
    from argparse import ArgumentParser, BooleanOptionalAction, RawDescriptionHelpFormatter

    from dsight.ui import faces

    parser = ArgumentParser(
        prog="dsight",
        usage="dsight [watch] [options]\n       dsight COMMAND ...",
        description="Watch connections: which process connects where, what comes of it, and why.",
        epilog=EXAMPLES + _commands(),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whom = parser.add_argument_group("whom to watch (all by default)")
    whom.add_argument(
        "-c", metavar="CMD", dest="command", help="run a command; watch it and what it starts; end with it"
    )
    whom.add_argument("-p", metavar="PID", dest="pids", type=int, action="append", default=[],
                      help="a process and its descendants; end when it ends")  # fmt: skip
    whom.add_argument(
        "--comm", metavar="NAME", action="append", default=[], help="processes of this name; * and ? match"
    )
    whom.add_argument("--user", metavar="USER", action="append", default=[], help="processes of this user, name or uid")
    whom.add_argument("--cgroup", metavar="PATH", action="append", default=[], help="a cgroup and all below it")
    whom.add_argument("--unit", metavar="NAME", action="append", default=[], help="a systemd unit: web, web.service")
    whom.add_argument("--container", metavar="ID|NAME", action="append", default=[], help="a container")
    whom.add_argument("--netns", metavar="NAME|PID|INODE", action="append", default=[],
                      help="a network namespace: of ip-netns, of a process, by number")  # fmt: skip
    what = parser.add_argument_group("what to show")
    what.add_argument(
        "--port", metavar="PORT", action="append", default=[], help="connections to this port (or: 80,443)"
    )
    what.add_argument(
        "--to", metavar="CIDR|PATH", action="append", default=[],
        help="connections to this address or network; or to a UNIX socket: /path or @name, * and ? match",
    )  # fmt: skip
    what.add_argument("--udp", action="store_true", help="every UDP exchange, also on sockets that are not connected")
    what.add_argument("--unix", action="store_true", help="UNIX sockets too")
    what.add_argument("--tcp", action="store_true", help="TCP (and what --udp or --unix say), no other protocol")
    what.add_argument(
        "--names", action=BooleanOptionalAction, default=None,
        help="every host name looked up (by default those that fail or are slow); or none at all",
    )  # fmt: skip
    what.add_argument("--failed", action="store_true", help="only what fails or hangs")
    what.add_argument("--outcome", metavar="OUTCOME", action="append", default=[],
                      help="only what comes to this (or: refused,timed-out), or hangs")  # fmt: skip
    what.add_argument("--accepted", action="store_true", help="also TCP connections that are accepted")
    what.add_argument(
        "--closed", action="store_true", help="also how TCP connections end: time, bytes, round trips, by whom"
    )
    what.add_argument(
        "--expect", metavar="[PROCESS->]HOST:PORT", action="append", default=[],
        help="a connection that should be made; exit status 3 if it is not",
    )  # fmt: skip
    what.add_argument("--for", metavar="SECONDS", dest="seconds", type=float, help="end after so long")
    how = parser.add_argument_group("how to show it")
    faces.options(how, "; Ctrl-\\ or SIGUSR1 shows one at any time")
    how.add_argument("--record", metavar="FILE", help="also write what is seen to a file, for dsight replay")
    how.add_argument(
        "--buffer", metavar="SIZE", help="memory for what is not read yet, as 64m (default: 8m to 32m, by the machine)"
    )
    parser.add_argument("-V", "--version", action="store_true", help="show the version and end")
    return parser


def _commands() -> str:
    """The commands there are, for --help."""
    lines = [f"  dsight {name:<9} {text}\n" for name, (_, text) in COMMANDS.items()]
    return "\nother commands (dsight COMMAND --help):\n" + "".join(lines)


def _arguments(argv: list[str]) -> Namespace:
    """The command line; argparse itself ends the process with status 2 for what it does not know."""
    if argv[:1] == ["watch"]:
        argv = argv[1:]
    elif argv[:1] and not argv[0].startswith("-"):
        raise UsageError(f"there is no command '{argv[0]}'", "try: dsight --help")
    arguments = _parser().parse_args(argv)
    if arguments.command is not None and arguments.pids:
        raise UsageError("-c and -p do not go together")
    return arguments


def _selection(arguments: Namespace) -> Selection:
    from dsight.connections.watch import Selection
    from dsight.ui import places

    return Selection(
        tuple(arguments.comm),
        frozenset(places.port(text) for option in arguments.port for text in option.split(",")),
        tuple(places.network(text) for text in arguments.to if not places.is_path(text)),
        frozenset(places.uid(text) for text in arguments.user),
        arguments.failed,
        tuple(text for text in arguments.to if places.is_path(text)),
        accepted=arguments.accepted,
        closed=arguments.closed,
        netns=frozenset(places.namespace(text) for text in arguments.netns),
        outcomes=frozenset(places.outcome(text) for option in arguments.outcome for text in option.split(",")),
        cgroups=places.cgroups(arguments.cgroup, arguments.unit, arguments.container),
    )


def _watch(arguments: Namespace) -> int:
    from dsight.ui import places, target

    if arguments.version:
        return main(["--version"])
    selection = _selection(arguments)
    expectations = _expectations(arguments)
    command = None if arguments.command is None else target.start(places.words(arguments.command))
    targets = [command] if command is not None else []
    try:
        targets += [target.grab(pid) for pid in arguments.pids]
        run = _Run(arguments, selection, expectations, targets)
        run.run()
        code = 0
        if command is not None and not run.seen and not arguments.json:
            sys.stderr.write(f"dsight: {_nothing(arguments)}\n")
        if command is not None and command.status is not None:
            code = command.exit_code()
            sys.stderr.write(f"dsight: {_ending(arguments.command, code, command.status)}\n")
        return code if expectations is None else EXPECTATIONS_FAILED * (not expectations.all_met)
    finally:
        for one in targets:
            one.close()


def _expectations(arguments: Namespace) -> Expectations | None:
    if not arguments.expect:
        return None
    from dsight.connections.expect import Expectations, addresses, parse

    return Expectations([parse(text, addresses) for text in arguments.expect])


def _nothing(arguments: Namespace) -> str:
    """What is said where there was nothing to show of a command; many speak to their server by a UNIX socket."""
    narrow = arguments.failed or arguments.outcome or arguments.port or arguments.to or arguments.comm
    text = f"no connection {'of this kind ' if narrow else ''}was seen"
    return text if arguments.unix else f"{text}; UNIX sockets are shown with --unix"


def _ending(line: str, code: int, status: int) -> str:
    """How the command ended, in words."""
    from dsight.source import printable
    from dsight.ui.places import words

    name = printable(words(line)[0])
    if os.WIFSIGNALED(status):
        import signal

        return f"{name} was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"{name} ended with status {code}"


class _Run:
    """One run: the engine's records into the watcher, its reports into a face, until the end."""

    def __init__(
        self, arguments: Namespace, selection: Selection, expectations: Expectations | None, targets: list[Target]
    ) -> None:
        from time import monotonic_ns, time_ns

        from dsight.connections.host import KernelHost
        from dsight.connections.parts import kinds
        from dsight.connections.processes import Processes
        from dsight.connections.watch import Watcher
        from dsight.machine import Machine
        from dsight.ui import faces

        self.seen = False  # whether there was anything to show
        self._now = monotonic_ns
        self._targets = targets
        self._expectations = expectations
        self._end = None if arguments.seconds is None else monotonic_ns() + int(arguments.seconds * 1e9)
        self._running = len(targets)
        self._roots = frozenset(t.pid for t in targets)
        self._selection = selection
        self._machine = Machine()
        unix = arguments.unix or bool(selection.paths)
        self._kinds = kinds(self._has_probe, self._has_type, arguments.udp, unix, not arguments.tcp)
        self._exits = arguments.udp  # the end of a process ends its exchanges
        pids = self._roots
        if pids and not any(t.is_child for t in targets):
            from dsight.connections.processes import descendants

            pids = frozenset(descendants(pids))
        self._kernel = selection.kernel(pids)
        self._buffer = arguments.buffer
        self._names = None if arguments.names is False else self._lookups()
        trackers = self._kinds.trackers if self._names is None else (*self._kinds.trackers, self._names.tracker)
        names = None if self._names is None else self._names.names
        wall_offset = time_ns() - monotonic_ns()
        self._recorder = None if arguments.record is None else self._record(arguments.record)
        if self._recorder is None:
            self._watcher = Watcher(KernelHost(), Processes(), selection, self._roots or None, trackers, names)
        else:
            self._watcher = self._recorder.watcher(KernelHost(), selection, self._roots or None, trackers, names)
            self._recorder.begin(self._header(arguments, wall_offset), self._watcher)
        self._face = faces.make(arguments, wall_offset, arguments.command is None)

    def run(self) -> None:
        """Arm, watch, end."""
        import gc

        from dsight.api import Trace
        from dsight.connections.losses import Losses, buffer_size
        from dsight.connections.script import accepted, script
        from dsight.connections.tracker import LIMIT
        from dsight.ui.interrupt import Interrupts

        shown = self._selection
        btf = self._machine.registry.btf
        mptcp = btf.type("struct", "mptcp_sock") is not None
        parts = [*self._kinds.parts]
        if shown.accepted or shown.closed:
            parts.append(accepted(self._has_probe, mptcp))
        if self._names is not None:
            parts.append(self._names.part)
        text = script(
            bool(self._roots), self._has_probe, parts, shown.closed, btf.enumerator, mptcp, self._kernel, self._exits
        )  # fmt: skip
        buffer = {"bufsize": self._buffer or str(buffer_size())}
        entries = {"watched": LIMIT}
        with Trace(text, name="connections", on=self._machine, options=buffer, entries=entries, plain=True) as trace:
            losses = Losses(trace, self._watcher)
            gc.freeze()  # what there is by now stays; and what comes makes few cycles
            gc.set_threshold(50_000, 20, 50)
            interrupts = Interrupts(trace.session, lambda: self._face.sum_up(self._now()))
            try:
                self._begin(trace)
                while trace.session.running:
                    waits = self._watcher.open or self._end or (self._names is not None and self._names.open)
                    self._take(trace.rows(PAUSE if waits else IDLE), trace, losses)
                    if self._done():
                        break
                for batch in trace.rest():
                    self._take(batch, trace, losses)
                self._take([], trace, losses, last=True)
            finally:
                interrupts.close()
                if self._recorder is not None:
                    self._recorder.close()

    def _record(self, path: str) -> Recorder:
        """The file of --record, which is told from now on what is asked of this host."""
        from dsight.connections.recorder import Recorder

        recorder = Recorder(path, lambda text: _complain(Error(text)))
        if self._names is not None:
            recorder.lookups(self._names)
        return recorder

    def _header(self, arguments: Namespace, wall_offset: int) -> dict[str, Any]:
        from dsight import __version__
        from dsight.connections.recorder import header

        options = {name: getattr(arguments, name) for name in ("udp", "tcp", "names", "expect")}
        options["unix"] = arguments.unix or bool(self._selection.paths)
        options["hosts"] = {} if self._expectations is None else self._expectations.hosts
        return header(__version__, wall_offset, self._selection, self._roots, options)

    def _has_probe(self, name: str, argument: int) -> bool:
        from dsight.lang.catalog import Probe

        types = self._machine.registry.args(Probe(0, "rawtp", "", "", name))
        return types is not None and len(types) > argument

    def _lookups(self) -> LookupWatch:
        from dsight.connections.names import LookupWatch

        return LookupWatch(os.uname().machine, self._has_probe, self._kernel)

    def _has_type(self, name: str) -> bool:
        return self._machine.registry.type("typedef", name) is not None

    def _done(self) -> bool:
        """Whether --for is over, or everything expected has happened and no command is waited for."""
        if self._end is not None and self._now() >= self._end:
            return True
        return self._expectations is not None and self._expectations.all_met and not self._targets

    def _begin(self, trace: Trace) -> None:
        """The probes are armed: let the command go, take in the processes there are."""
        if self._names is not None:
            self._names.attach(trace)
            for missing in self._names.missing:
                sys.stderr.write(f"dsight: {missing}\n")
        for target in self._targets:
            trace.session.watch(target.pidfd, lambda target=target: self._ended(trace, target))  # type: ignore[misc]
            target.release()
        if any(t.is_child for t in self._targets):
            return
        if self._roots:
            from dsight.connections.processes import descendants

            self._watcher.adopt(descendants(self._roots))
        sys.stderr.write("dsight: watching connections; Ctrl-C ends, Ctrl-\\ sums up\n")

    def _take(self, rows: list[tuple[Any, ...]], trace: Trace, losses: Losses, last: bool = False) -> None:
        """One batch."""
        from dsight.connections.model import Lost

        reports: list[Report | LookupReport | Lost] = [*self._watcher.feed(*rows)]
        now = self._now()
        if self._names is not None and not last:
            self._names.renew(trace, now)
        reports += losses.look(now)
        reports += self._watcher.stop(now) if last else self._watcher.tick(now)
        if last:
            reports += losses.total(now)
        if self._expectations is not None:
            for report in reports:
                if not isinstance(report, Lost):
                    self._expectations.see(report)
        if self._recorder is not None:
            for report in reports:
                if isinstance(report, Lost):
                    self._recorder.lost(report)
        self.seen = self.seen or bool(reports)
        self._face.show(reports)
        if last:
            self._face.finish(now, self._expectations.verdicts() if self._expectations is not None else [])
        else:
            self._face.refresh(now)

    def _ended(self, trace: Trace, target: Target) -> None:
        """A process of -c or -p has ended; with the last one, so do we."""
        trace.session.unwatch(target.pidfd)
        target.wait()
        self._running -= 1
        if not self._running:
            trace.session.request_stop()


if __name__ == "__main__":
    sys.exit(main())
