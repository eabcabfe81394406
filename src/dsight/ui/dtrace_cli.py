"""dtrace(1).

Options as dtrace(1) documents them; beyond it, --dump STAGES shows every stage of the
compiler, --timings where the time went.  Exit status: 0, 1 (error), 2 (usage), or the
value given to exit().
"""

from __future__ import annotations

import gc
import os
import sys

from dsight.errors import CompileError, Error, OptionError, UsageError, VerifierError, fail
from dsight.source import printable
from dsight.ui.dtrace_command import USAGE, Command, libraries, parse_command, read_sources, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.compile import Compiled
    from dsight.consumer.output import Printer
    from dsight.image import Image
    from dsight.machine import Machine
    from dsight.session import Session
    from dsight.source import Source
    from dsight.ui.target import Target
    from dsight.ui.timings import Timings


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        command = parse_command(argv)
        if "?" in command.flags or (not argv):
            sys.stderr.write(USAGE)
            return 0 if argv else 2
        if "V" in command.flags:
            from dsight import __version__

            print(f"dtrace: dsight {__version__}")
            return 0
        return run(command)
    except OptionError as e:
        _complain(e.message, e.hint)
        return 2
    except UsageError as e:
        _complain(e.message, e.hint)
        sys.stderr.write(USAGE.split("\n\n")[0] + "\n")
        return 2
    except Error as e:
        _complain(e.message, e.hint)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as e:
        return _internal_error(e)


def _internal_error(error: Exception) -> int:
    """A bug in dsight: one line and what to do, the traceback only where it is asked for."""
    if os.environ.get("DSIGHT_DEBUG"):
        raise error
    _complain(
        f"internal error: {type(error).__name__}: {printable(str(error))}",
        "this is a bug in dsight: please report it with the script and what DSIGHT_DEBUG=1 shows",
    )
    return 1


def _complain(message: str, hint: str | None = None) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"dtrace: {message}\n" + (f"  hint: {hint}\n" if hint else ""))


def run(command: Command) -> int:
    """What a command line asks for."""
    gc.disable()  # little of what is made becomes garbage: looking for it would take a tenth of the compiler's time
    settle(command)
    if "l" in command.flags:
        from dsight.ui.listing import list_probes

        return list_probes(command)
    if not command.programs:
        raise UsageError("no probes specified")
    from dsight.kernel import sys as kernel
    from dsight.ui.timings import Timings

    timings = Timings()
    if "e" not in command.flags and not command.dump and not kernel.privileged():
        from dsight.kernel import features

        features.require()
    from dsight.machine import Machine

    here = Machine()
    timings.mark("kernel types")
    targets: list[Target] = []
    try:
        for letter, text in command.targets:
            targets.append(_target(letter, text))
        return _trace(command, here, targets, timings)
    finally:
        for target in targets:
            target.close()


def _target(letter: str, text: str) -> Target:
    """The process of a -c or -p."""
    from dsight.ui import target

    if letter == "c":
        import shlex

        try:
            return target.start(shlex.split(text))
        except ValueError as e:
            raise UsageError(f"-c: {e}") from None
    if not text.isdigit() or not text.isascii():
        raise UsageError(f"-p: '{printable(text)}' is not a process id")
    return target.grab(int(text))


def _trace(command: Command, here: Machine, targets: list[Target], timings: Timings) -> int:
    from dsight import options as opts
    from dsight.lang.macros import Macros

    sources = read_sources(command)
    if any(_asks_for(source, "verbose") for source in sources):
        command.flags.add("v")
    pid = targets[0].pid if targets else None
    name = sources[0].name if command.programs[0][0] == "s" else "dtrace"
    macros = Macros.of_process(tuple(command.args), name, pid, opts.is_set(command.options, "defaultargs"))
    compiled: Compiled | None = None
    loaded: Callable[[], None] | None = None
    try:
        if command.dump or command.flags & {"e", "S", "v"}:
            compiled, options = here.compile(sources, macros, command.options, libraries(command))
            image = compiled.image(sources, options)
        else:
            image, loaded = here.image(sources, macros, command.options, libraries(command))
        if compiled is not None or loaded is not None:
            if not image.layouts and not opts.is_set(image.options, "empty"):
                hint = "a clause is a probe description and { actions }"
                raise fail("D_EMPTY", "the script has no clauses", None, hint)
            if not opts.is_set(image.options, "argref"):
                macros.check_unused()
    except CompileError as e:
        report(command, e)
        return 1
    timings.mark("compile" if compiled is not None or loaded is not None else "find what was compiled before")
    if compiled is not None:
        from dsight.ui import dumps

        if command.dump or "S" in command.flags:
            dumps.show(command.dump or ["ir", "asm"], sources, here, macros, compiled, sys.stderr)
        if "e" in command.flags or command.dump:
            return 0
        if "v" in command.flags:
            dumps.stands_on(compiled, sys.stderr)
    if not opts.is_set(image.options, "quiet"):
        _matched(command, image)
    return _session(command, here, image, targets, timings, loaded)


def _session(
    command: Command,
    here: Machine,
    image: Image,
    targets: list[Target],
    timings: Timings,
    loaded: Callable[[], None] | None,
) -> int:
    """`loaded` is called once all is in the kernel."""
    from dsight import options as opts
    from dsight.consumer.output import Printer
    from dsight.session import STATUS, Session
    from dsight.ui.interrupt import Interrupts

    status = 0

    def on_exit(value: int) -> None:
        nonlocal status
        status = value & 0xFF

    options, texts = image.options, here.texts(image)
    out = _open_output(command.output)
    display = opts.display_of(options, utf8=speaks_utf8())
    sink = _Deferred()
    resized = None
    if options.get("bufresize") != "manual":

        def resized(size: int) -> None:
            if not opts.is_set(options, "quietresize"):
                printer.error(f"buffer size lowered to {opts.size_text(size)}")

    status_rate = opts.rate("statusrate", options["statusrate"]) / 1e9 if "statusrate" in options else STATUS
    session = Session(image, here.registry, sink, status=status_rate, resized=resized)
    aggregations = None
    if image.aggs:
        from dsight.consumer.aggregate import Aggregations

        aggregations = Aggregations(image.aggs, session.aggregation_entries, session.erase, texts)
    printer = Printer(
        image.layouts,
        image.probes,
        out,
        sys.stderr.buffer,
        aggregations=aggregations,
        on_exit=on_exit,
        texts=texts,
        display=display,
        setopt=lambda name, value: opts.set_display(display, name, value),
        droptags=opts.is_set(options, "droptags"),
    )
    sink.printer = printer
    sink.take = printer.records
    hold = None
    if options.get("bufpolicy", "switch") != "switch":
        from dsight.consumer.hold import Hold

        limit = opts.lowering(options).bufsize
        extent = printer.decoder.split
        hold = Hold(options["bufpolicy"], limit, printer.records, lambda v: extent(v)[1], session.request_stop)
        sink.take = hold.records
    here.listen(session)
    try:
        interrupts = Interrupts(session)
        try:
            session.start()
            timings.mark("load and attach")
            if loaded is not None:
                loaded()
            if command.timings:
                timings.show(sys.stderr)
            running = list(targets)
            for target in targets:
                session.watch(target.pidfd, lambda target=target: _ended(session, target, running, printer))  # type: ignore[misc]
            for target in targets:
                target.release()
            look = max(min(status_rate, STATUS), 0.001)
            idle = look if "statusrate" in options else 2 * look  # waking costs a quarter of a millisecond
            taken = -1
            while session.running:
                nothing, taken = session.taken == taken, session.taken
                session.wait(idle if nothing else look)
            if hold is not None:
                session.drain()
                hold.release()
            session.stop()
            printer.finish()
        finally:
            interrupts.close()
    except VerifierError as e:
        _refused(command, e)
        return 1
    finally:
        session.close()
    return status


class _Deferred:
    """The session's sink before there is a printer, which needs the session."""

    printer: Printer
    take: Callable[[memoryview], int]

    def records(self, view: memoryview) -> int:
        return self.take(view)

    def drops(self, count: int, cpu: int | None = None, what: str = "drop") -> None:
        self.printer.drops(count, cpu, what)


def _ended(session: Session, target: Target, running: list[Target], printer: Printer) -> None:
    """A target is gone; with the last one, the trace is."""
    session.unwatch(target.pidfd)
    target.wait()
    session.drain()
    if not printer.display.quiet:
        printer.error(f"pid {target.pid} has exited")
    running.remove(target)
    if not running:
        session.request_stop()


class _Out:
    """Standard output, or the file of -o: whole writes, straight to the descriptor."""

    def __init__(self, fd: int, name: str = "standard output") -> None:
        self._fd = fd
        self._name = name

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except BrokenPipeError:
            raise
        except OSError as e:
            raise Error(f"failed to write to {printable(self._name)}: {os.strerror(e.errno or 0)}") from None
        return len(data)

    def fileno(self) -> int:
        return self._fd


def speaks_utf8() -> bool:
    """Whether the terminal's character set is UTF-8, as the environment has it (locale(7))."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = os.environ.get(name)
        if value:
            return value.upper().replace("-", "").endswith("UTF8")
    return False


def _open_output(path: str) -> _Out:
    if not path:
        sys.stdout.flush()
        return _Out(1)
    try:
        return _Out(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666), path)
    except OSError as e:
        raise Error(f"failed to open output file '{printable(path)}': {os.strerror(e.errno or 0)}") from None


# ---- messages


def _matched(command: Command, image: Image) -> None:
    """dtrace: description '...' matched N probes"""
    for (letter, text), count in zip(command.programs, image.matched):
        if letter == "s":
            what = f"script '{printable(text)}'"
        else:
            end = next((i for i, c in enumerate(text) if c in "/{"), len(text))
            what = f"description '{printable(text[:end].strip())}'"
        sys.stderr.write(f"dtrace: {what} matched {count} probe{'' if count == 1 else 's'}\n")
    sys.stderr.flush()


def report(command: Command, error: CompileError) -> None:
    """dtrace: failed to compile script FILE: [D_TAG] line N: message, with the place shown."""
    from dsight import options as opts

    sys.stdout.flush()
    for d in error.diagnostics:
        tagged = opts.is_set(command.options, "errtags") or (d.span is not None and _asks_for(d.span.source, "errtags"))
        tag = f"[{d.tag}] " if tagged and d.tag else ""
        if d.span is None:
            sys.stderr.write(f"dtrace: failed to compile script: {tag}{d.message}\n")
            if d.hint:
                sys.stderr.write(f"  hint: {d.hint}\n")
            continue
        name = d.span.source.name
        what = f"script {printable(name)}" if not name.startswith("-") else "program"
        shown = d.render().partition("\n")[2]
        there = d.span.source.presumed(d.span.source.line_col(d.span.start)[0])[0]
        place = f"{printable(there)}:{d.span.line}:{d.span.column}"
        sys.stderr.write(
            f"dtrace: failed to compile {what}: {tag}line {d.span.line}: {printable(d.message)}\n"
            f"  --> {place}\n{shown}\n"
        )


def _asks_for(source: Source, option: str) -> bool:
    """#pragma D option NAME where it must be known before the script is compiled, or though it cannot be."""
    if option not in source.text:
        return False
    import re

    return re.search(rf"(?m)^[ \t]*#[ \t]*pragma[ \t]+D[ \t]+option[ \t]+{option}\b", source.text) is not None


def _refused(command: Command, error: VerifierError) -> None:
    """The verifier said no: at the D source line, with the end of its log (all of it with -v)."""
    _complain(error.message, error.hint)
    if error.span is not None:
        from dsight.source import Diagnostic

        sys.stderr.write(Diagnostic("D_UNKNOWN", "refused here", error.span).render() + "\n")
    lines = error.log.splitlines()
    shown = lines if "v" in command.flags else lines[-12:]
    sys.stderr.write("".join(f"    {printable(line)}\n" for line in shown))


if __name__ == "__main__":
    sys.exit(main())
