"""`dsight replay`: what `dsight --record FILE` has written, in any face, without root, on any machine.

Exit status: 0; 1 if the recording breaks off, or cannot be read to its end; 2 for a wrong command line, or
a file that is no recording; 3 if not all is met that was expected.
"""

from __future__ import annotations

import os
import sys

from dsight.connections.model import Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from dsight.connections.expect import Expectations
    from dsight.connections.model import LookupReport, Process, Report
    from dsight.connections.replay import Recording, Step
    from dsight.connections.watch import Selection
    from dsight.ui.jsonl import JsonFace
    from dsight.ui.text import TextFace

DESCRIPTION = """\
Show what 'dsight --record FILE' has written: the reports of that watch, as it showed them or in another
face, of all that was selected then or of a part of it. Times are those of then.
"""
EXPECTATIONS_FAILED = 3


def main(argv: list[str]) -> int:
    """The subcommand; argv without its name."""
    from dsight.connections.replay import Recording
    from dsight.ui import faces

    arguments = _parser().parse_args(argv)
    recording = Recording(arguments.file)
    try:
        options = recording.options
        arguments.udp = options["udp"]
        arguments.names = options["names"] if arguments.names is None else arguments.names
        expectations = _expectations(arguments.expect or options["expect"], options["hosts"])
        face = faces.make(arguments, recording.wall_offset)
        _play(recording, arguments, face, expectations)
    finally:
        recording.close()
    if recording.trouble is not None:
        from dsight.source import printable

        sys.stderr.write(printable(f"dsight: {arguments.file} breaks off: {recording.trouble}") + "\n")
        return 1
    return EXPECTATIONS_FAILED if expectations is not None and not expectations.all_met else 0


def _parser() -> ArgumentParser:
    from argparse import ArgumentParser, BooleanOptionalAction

    from dsight.ui import faces

    parser = ArgumentParser(prog="dsight replay", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="what --record has written; - for standard input")
    parser.add_argument("--speed", metavar="N", type=float, help="1: as fast as it was; 10: ten times; else at once")
    what = parser.add_argument_group("which part of it")
    what.add_argument("-p", metavar="PID", dest="pids", type=int, action="append", default=[],
                      help="a process and its descendants")  # fmt: skip
    what.add_argument(
        "--comm", metavar="NAME", action="append", default=[], help="processes of this name; * and ? match"
    )
    what.add_argument("--user", metavar="USER", action="append", default=[], help="of this user then, name or uid")
    what.add_argument("--unit", metavar="NAME", action="append", default=[], help="of a systemd unit: web, web.service")
    what.add_argument("--container", metavar="ID", action="append", default=[], help="of a container")
    what.add_argument("--netns", metavar="INODE", type=int, action="append", default=[], help="of a network namespace")
    what.add_argument("--port", metavar="PORT", action="append", default=[], help="to this port (or: 80,443)")
    what.add_argument("--to", metavar="CIDR|PATH", action="append", default=[], help="to this address, network, socket")
    what.add_argument("--failed", action="store_true", help="only what fails or hangs")
    what.add_argument("--outcome", metavar="OUTCOME", action="append", default=[],
                      help="only what comes to this (or: refused,timed-out), or hangs")  # fmt: skip
    what.add_argument(
        "--all", action="store_true", help="all that was recorded, also where --failed or --outcome hid it"
    )
    what.add_argument("--names", action=BooleanOptionalAction, default=None, help="every host name looked up; or none")
    what.add_argument("--expect", metavar="[PROCESS->]HOST:PORT", action="append", default=[],
                      help="a connection that should have been made; exit status 3 if it was not")  # fmt: skip
    faces.options(parser.add_argument_group("how to show it"), "")
    return parser


def _selection(arguments: Namespace, then: Selection) -> Selection:
    """What was selected then, with what is said now in its place."""
    from dsight.ui import places

    if arguments.all:
        then = then.replace(failed=False, outcomes=frozenset())
    ports = frozenset(places.port(text) for option in arguments.port for text in option.split(","))
    outcomes = frozenset(places.outcome(text) for option in arguments.outcome for text in option.split(","))
    if arguments.to:
        networks = tuple(places.network(text) for text in arguments.to if not places.is_path(text))
        then = then.replace(networks=networks, paths=tuple(text for text in arguments.to if places.is_path(text)))
    return then.replace(
        comms=tuple(arguments.comm) or then.comms,
        ports=ports or then.ports,
        netns=frozenset(arguments.netns) or then.netns,
        outcomes=outcomes or then.outcomes,
        failed=arguments.failed or then.failed,
    )


def _expectations(texts: list[str], hosts: dict[str, list[str]]) -> Expectations | None:
    """Of this command line, or of that time.  Which addresses a host has, the recording says, if anything: this
    machine's resolver may well say something else."""
    if not texts:
        return None
    from dsight.connections.expect import Expectations, addresses, parse
    from dsight.connections.naming import is_numeric

    def resolve(host: str) -> frozenset[str]:
        return frozenset(hosts[host]) if host in hosts else addresses(host) if is_numeric(host) else frozenset()

    return Expectations([parse(text, resolve) for text in texts])


def _takes(arguments: Namespace, process: Process) -> bool:
    """Whether a process is meant by the options of which the recording's events say nothing."""
    if arguments.user and not {str(process.uid), process.user} & set(arguments.user):
        return False
    units = [unit if "." in unit else f"{unit}.service" for unit in arguments.unit]
    if units and process.unit not in units:
        return False
    containers = arguments.container
    return not containers or any((process.container or "-").startswith(text[:12]) for text in containers)


def _play(
    recording: Recording, arguments: Namespace, face: TextFace | JsonFace, expectations: Expectations | None
) -> None:
    from dsight.connections.replay import DAMAGE

    selection = _selection(arguments, recording.selection)
    watcher = recording.watcher(selection, frozenset(arguments.pids) or recording.roots or None)
    before: int | None = None
    now = 0
    try:
        for step in recording.play(watcher):
            if arguments.speed and before is not None:
                _wait((step.now - before) / 1e9 / arguments.speed)
            before = now = step.now
            if not step.last or step.reports:
                _show(step, arguments, face, expectations)
            if not step.last:
                face.refresh(now)
    except KeyboardInterrupt:  # enough of it
        pass
    except BrokenPipeError:
        raise
    except (*DAMAGE, OSError):
        if os.environ.get("DSIGHT_DEBUG"):
            raise
        recording.trouble = recording.trouble or "there are values in it that no watch has seen"
    face.finish(now, expectations.verdicts() if expectations is not None else [])


def _show(step: Step, arguments: Namespace, face: TextFace | JsonFace, expectations: Expectations | None) -> None:
    reports: list[Report | LookupReport | Lost] = []
    for report in step.reports:
        if isinstance(report, Lost) or _takes(arguments, report.process):
            reports.append(report)
            if expectations is not None and not isinstance(report, Lost):
                expectations.see(report)
    face.show(reports)


def _wait(seconds: float) -> None:
    from time import sleep

    if seconds > 0:
        sleep(seconds)
