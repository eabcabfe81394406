"""dtrace -l: the probes there are."""

from __future__ import annotations

import os
import sys

from dsight.errors import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.lang.catalog import Probe
    from dsight.machine import Machine
    from dsight.ui.dtrace_command import Command

_LINE = "%5s %10s %17s %33s %s\n"


def list_probes(command: Command) -> int:
    """List the probes that -n, -P, ... match (all without any); with -v their arguments too.

    Only tracefs and BTF are read: no program is loaded.
    """
    from dsight.errors import CompileError
    from dsight.machine import Machine

    here = Machine()
    try:
        probes = _probes(command, here)
    except CompileError as e:
        from dsight.ui.dtrace_cli import report

        report(command, e)
        return 1
    lines = [_LINE % ("ID", "PROVIDER", "MODULE", "FUNCTION", "NAME")]
    for p in probes:
        lines.append(_LINE % (p.id, p.provider, p.module, p.function, p.name))
        if "v" in command.flags:
            lines += _arguments(here, p)
    sys.stdout.flush()
    left = "".join(lines).encode()
    while left:
        left = left[os.write(1, left) :]
    return 0


def _probes(command: Command, here: Machine) -> list[Probe]:
    from dsight.compile import parse_script
    from dsight.lang import ast
    from dsight.lang.macros import Macros
    from dsight.ui.dtrace_command import read_sources

    if not command.programs:
        return here.registry.probes(None)
    macros = Macros.of_process(tuple(command.args))
    found: dict[int, Probe] = {}
    for source in read_sources(command):
        for item in parse_script(source, here.registry, macros).items:
            if not isinstance(item, ast.Clause):
                continue
            for desc in item.probes:
                matched = here.registry.probes(desc)
                if not matched and "Z" not in command.flags:
                    what = f"probe description {desc} does not match any probes"
                    if desc.id >= 0:
                        what = f"no probe has the id {desc.id}"
                    raise fail("D_PDESC_ZERO", what, desc.span, "dtrace -l without more lists all there are")
                found.update((p.id, p) for p in matched)
    return [found[i] for i in sorted(found)]


def _arguments(here: Machine, probe: Probe) -> list[str]:
    types = here.registry.args(probe)
    if not types:
        return ["\n\tArgument Types\n\t\tNone\n\n"]
    rows = [f"\t\targs[{i}]: {t.translated or t.native}\n" for i, t in enumerate(types)]
    return ["\n\tArgument Types\n", *rows, "\n"]
