"""A golden case on the IR's interpreter: what its BEGIN and END leave there, printed as dtrace prints it.

No program is loaded.  The script is compiled and its records and aggregations are shown by the code that
shows the kernel's; only who computed the values differs.
"""

from __future__ import annotations

import io
import os
import tempfile

from dsight import options as opts
from dsight.compile import Compiled
from dsight.consumer.aggregate import Aggregations
from dsight.consumer.output import Printer
from dsight.consumer.speculate import Speculations
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.testing import differential, golden
from dsight.ui.dtrace_cli import speaks_utf8
from dsight.ui.dtrace_command import parse_command, read_sources, settle


def compile_case(case: golden.Case, here: Machine) -> tuple[Compiled, dict[str, str]]:
    """The case's script as its command line has it, and the options in force.  Raises CompileError."""
    section, script = case.section("run"), case.section("d")
    assert section is not None and script is not None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "script.d")
        with open(path, "w") as f:
            f.write(script.text)
        words = [*section.option("options").split(), "-s", path, *section.option("arguments").split()]
        command = parse_command(words)
        settle(command)
        sources = read_sources(command)
    macros = Macros.of_process(tuple(command.args), path, 1, opts.is_set(command.options, "defaultargs"))
    return here.compile(sources, macros, command.options)


def run(case: golden.Case, here: Machine) -> tuple[str, str, int]:
    """What the case's script prints on the standard output and error, masked, and its exit status."""
    compiled, options = compile_case(case, here)
    machine = differential.this_process()
    status = 0

    def on_exit(value: int) -> None:
        nonlocal status
        status = value & 0xFF

    def erase(layout, keys: list[bytes]) -> None:
        made = machine.maps[layout.map]
        for key in keys:
            if layout.keys:
                made.delete(key)
            else:
                made.update(bytes(4), bytes(made.value_size), 0)

    out, errors = tempfile.TemporaryFile(buffering=0), io.BytesIO()  # noqa: SIM115
    display = opts.display_of(options, utf8=speaks_utf8())
    aggregations = Aggregations(compiled.aggs, differential.entries_of(machine), erase) if compiled.aggs else None
    printer = Printer(
        compiled.layouts,
        compiled.probes,
        out,
        errors,
        aggregations=aggregations,
        on_exit=on_exit,
        display=display,
        setopt=lambda name, value="": opts.set_display(display, name, value),
    )
    take = printer.records
    if Speculations.wanted(compiled.layouts):
        take = Speculations(compiled.layouts, printer.records).records
    for ring in differential.phases(compiled, machine):
        take(memoryview(ring))
    printer.finish()
    with out:
        out.seek(0)
        texts = [golden.mask(raw.decode(errors="backslashreplace")) for raw in (out.read(), errors.getvalue())]
    return texts[0], texts[1], status
