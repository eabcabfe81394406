"""`dsight snoop`: packets, each with the process it belongs to.

    dsight snoop [options] [-p PID]... | -c CMD

Exit status: 0; with -c, the command's own; 1 for an error; 2 for a wrong command line.
"""

from __future__ import annotations

import os
import sys
from errno import EDQUOT, EFBIG, EIO, ENOSPC

from dsight.errors import Error, UsageError
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import BinaryIO

    from dsight.packets.feed import Feed
    from dsight.packets.script import Filter
    from dsight.ui.snoop_text import File, JsonLines, Lines
    from dsight.ui.target import Target

EXAMPLES = """\
examples:
  dsight snoop                                every packet of this machine, with its process
  dsight snoop -c 'curl http://db1:9300/'     those of a command and what it starts
  dsight snoop --comm 'java*' --port 5432     by process and port
  dsight snoop --proto icmp                   pings, and what could not be reached
  dsight snoop -w - | wireshark -k -i -       the process stands in each packet's comment
"""
_FULL = (ENOSPC, EDQUOT, EFBIG, EIO)


def main(argv: list[str]) -> int:
    """The subcommand; argv without its name."""
    from contextlib import suppress

    from dsight.ui import places, target

    arguments = _parser().parse_args(argv)
    _check(arguments)
    _remark(arguments)
    words = [] if arguments.line is None else places.words(arguments.line)
    targets: list[Target] = []
    output = _output(arguments.write)
    try:
        targets += [target.start(words)] if words else [target.grab(pid) for pid in arguments.pids]
        _trace(arguments, _filter(arguments, targets), targets, output)
        return targets[0].exit_code() if words and targets[0].status is not None else 0
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Error(f"cannot write: {os.strerror(error.errno)}") from None
    finally:
        for one in targets:
            one.close()
        if output is not None:
            with suppress(OSError):  # what could not be written has been said
                output.close()


def _parser() -> ArgumentParser:
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    parser = ArgumentParser(
        prog="dsight snoop",
        usage="dsight snoop [options] [-p PID | -c CMD]",
        description="Show packets, in all network namespaces, as IP sends and receives them, each with its process.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    which = parser.add_argument_group("which packets (all by default)")
    which.add_argument("-c", metavar="CMD", dest="line", help="of a command and what it starts; end with it")
    which.add_argument("-p", metavar="PID", dest="pids", type=int, action="append", default=[],
                       help="of a process and its descendants; end when it ends")  # fmt: skip
    which.add_argument("--comm", metavar="NAME", action="append", default=[],
                       help="of processes of this name; * and ? match")  # fmt: skip
    which.add_argument("--user", metavar="USER", action="append", default=[], help="of processes of this user")
    which.add_argument("--cgroup", metavar="PATH", action="append", default=[], help="of a cgroup and all below it")
    which.add_argument("--unit", metavar="NAME", action="append", default=[], help="of a systemd unit")
    which.add_argument("--container", metavar="ID|NAME", action="append", default=[], help="of a container")
    which.add_argument("-i", metavar="DEVICE", dest="devices", action="append", default=[], help="by this device")
    which.add_argument("-Q", choices=("in", "out"), dest="direction", default="", help="received, or sent, ones only")
    which.add_argument("--netns", metavar="NAME|PID|INODE", action="append", default=[],
                       help="in this network namespace")  # fmt: skip
    which.add_argument("--port", metavar="PORT", action="append", default=[], help="from or to this port (or: 80,443)")
    which.add_argument("--host", metavar="CIDR", action="append", default=[],
                       help="from or to this address or network")  # fmt: skip
    which.add_argument("--proto", metavar="PROTOCOL", action="append", default=[],
                       help="tcp, udp, icmp (of either version), sctp, ... or a number")  # fmt: skip
    which.add_argument("--count", metavar="N", type=int, help="end after so many")
    which.add_argument("--for", metavar="SECONDS", dest="seconds", type=float, help="end after so long")
    how = parser.add_argument_group("how to show them")
    how.add_argument("-v", dest="verbose", action="store_true", help="ttl, tos, id, and every segment's options")
    how.add_argument("-x", dest="dump", action="store_true", help="the bytes of each")
    how.add_argument("-s", metavar="BYTES", dest="size", type=int,
                     help="of each packet, from the IP header on (512; with -w 65536)")  # fmt: skip
    how.add_argument("-w", metavar="FILE", dest="write", help="write a pcapng file (-: to standard output)")
    how.add_argument("--json", action="store_true", help="one JSON object a line")
    how.add_argument("-b", metavar="SIZE", dest="buffer", default="32m", help="buffer in the kernel (32m)")
    return parser


def _check(arguments: Namespace) -> None:
    from dsight.packets.script import MOST

    if arguments.line is not None and arguments.pids:
        raise UsageError("-c and -p do not go together")
    if arguments.size is not None and not 40 <= arguments.size <= MOST:
        raise UsageError(f"-s: between 40 and {MOST} bytes of a packet can be kept")
    if arguments.count is not None and arguments.count < 1:
        raise UsageError("--count: at least 1")
    if arguments.json and (arguments.write is not None or arguments.dump):
        raise UsageError("--json goes neither with -w nor with -x")
    if arguments.write == "-" and sys.stdout.isatty():
        raise UsageError("-w -: a file of packets is nothing for a terminal", "dsight snoop -w - | wireshark -k -i -")


def _remark(arguments: Namespace) -> None:
    """Of a device that is not here: another namespace may have it, or it may come."""
    if arguments.netns:
        return
    for name in arguments.devices:
        if not os.path.exists(f"/sys/class/net/{name}"):
            here = ", ".join(sorted(os.listdir("/sys/class/net")))
            sys.stderr.write(f"dsight: snoop: there is no device {printable(name)} here by now; there are: {here}\n")


def _filter(arguments: Namespace, targets: list[Target]) -> Filter:
    from dsight.connections.processes import descendants
    from dsight.packets.script import Filter
    from dsight.ui import places

    pids = frozenset(one.pid for one in targets)
    started = any(one.is_child for one in targets)
    return Filter(
        pids=pids if started or not pids else frozenset(descendants(pids)),
        started=started,
        comms=tuple(arguments.comm),
        uids=frozenset(places.uid(text) for text in arguments.user),
        cgroups=places.cgroups(arguments.cgroup, arguments.unit, arguments.container),
        devices=tuple(arguments.devices),
        direction=arguments.direction,
        ports=frozenset(places.port(text) for option in arguments.port for text in option.split(",")),
        hosts=tuple(places.network(text, "--host", "") for text in arguments.host),
        protocols=frozenset(number for option in arguments.proto for text in option.split(",")
                            for number in _protocol(text)),
        netns=frozenset(places.namespace(text) for text in arguments.netns),
    )  # fmt: skip


def _protocol(text: str) -> tuple[int, ...]:
    from dsight.packets.script import PROTOCOLS

    if text.isascii() and text.isdigit() and int(text) < 256:
        return (int(text),)
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    raise UsageError(f"--proto: there is no protocol '{text}'", f"a number, or: {', '.join(sorted(PROTOCOLS))}")


def _output(path: str | None) -> BinaryIO | None:
    if path is None:
        return None
    if path == "-":  # and what a command prints goes elsewhere
        fd = os.dup(1)
        os.dup2(2, 1)
        return open(fd, "wb")
    try:
        return open(path, "wb")
    except OSError as error:
        raise Error(f"-w: cannot write {path}: {os.strerror(error.errno or 0)}") from None


def _trace(arguments: Namespace, wanted: Filter, targets: list[Target], output: BinaryIO | None) -> None:
    """Trace until a target is the last to end, or enough was seen, or a signal comes."""
    from time import monotonic, monotonic_ns, time_ns

    from dsight import options
    from dsight.connections.host import KernelHost
    from dsight.machine import Machine
    from dsight.packets.feed import Feed
    from dsight.packets.script import MOST
    from dsight.ui.interrupt import Interrupts

    size = arguments.size or (512 if output is None else MOST)
    buffer = 1 << (max(options.size("bufsize", arguments.buffer), 1 << 20) - 1).bit_length()
    machine = Machine()
    try:
        payload = output is not None or arguments.dump
        feed = Feed(machine, wanted, KernelHost(), snap=size, buffer=buffer, payload=payload)
        face = _face(arguments, output, time_ns() - monotonic_ns(), size)
        left: int | None = arguments.count
        shown = 0
        with feed:
            interrupts = Interrupts(feed.session)
            try:
                _release(feed, targets)
                end = None if arguments.seconds is None else monotonic() + arguments.seconds
                while feed.session.running and left != 0 and (end is None or monotonic() < end):
                    packets = feed.read(1.0 if end is None else max(min(1.0, end - monotonic()), 0))[:left]
                    face.show(packets)
                    shown += len(packets)
                    left = None if left is None else left - len(packets)
                packets = feed.stop()[:left]
                face.show(packets)
                shown += len(packets)
            finally:
                interrupts.close()
        _account(feed, shown, output is not None)
    finally:
        machine.close()


def _face(arguments: Namespace, output: BinaryIO | None, wall: int, size: int) -> File | JsonLines | Lines:
    from dsight import __version__
    from dsight.ui.snoop_text import File, JsonLines, Lines

    if output is not None:
        from dsight.packets.pcapng import Writer

        return File(output, wall, Writer(f"dsight {__version__}", size))
    here = os.stat("/proc/self/ns/net").st_ino
    # Not sys.stdout: with PYTHONUNBUFFERED it forgets what a write left over that a signal cut short.
    out = open(1, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if arguments.json:
        return JsonLines(out, wall)
    return Lines(out, wall, here, verbose=arguments.verbose, dump=arguments.dump)


def _release(feed: Feed, targets: list[Target]) -> None:
    """Let the command go; or say that we watch."""
    running = list(targets)

    def ended(one: Target) -> None:
        feed.session.unwatch(one.pidfd)
        one.wait()
        running.remove(one)
        if not running:
            feed.session.request_stop()

    for one in targets:
        feed.session.watch(one.pidfd, lambda one=one: ended(one))  # type: ignore[misc]
        one.release()
    if not any(one.is_child for one in targets):
        sys.stderr.write("dsight: snoop: watching packets; Ctrl-C ends\n")


def _account(feed: Feed, shown: int, written: bool) -> None:
    if written:
        sys.stderr.write(f"dsight: snoop: {shown} packets were written\n")
    if feed.lost:
        sys.stderr.write(
            f"dsight: snoop: {feed.lost} packets (or what tells whose they are) were lost;"
            " a narrower filter, -s with fewer bytes, or -b with more memory\n"
        )
    if feed.unread:
        sys.stderr.write(f"dsight: snoop: {feed.unread} packets could not be read\n")
