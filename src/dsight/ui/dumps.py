"""--dump and -S: every stage of the compiler, as text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from dsight.compile import Compiled
    from dsight.lang.macros import Macros
    from dsight.machine import Machine
    from dsight.source import Source


def show(
    stages: list[str], sources: list[Source], here: Machine, macros: Macros, compiled: Compiled, out: TextIO
) -> None:
    """Write the stages asked for, in the order of the flow."""
    for stage, make in _STAGES.items():
        if stage in stages:
            out.write(f"--- {stage}\n{make(sources, here, macros, compiled).rstrip()}\n")


def _tokens(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    from dsight.lang import show as text
    from dsight.lang.lexer import tokenize

    return "\n".join(text.tokens(tokenize(source, macros)) for source in sources)


def _ast(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    from dsight.compile import parse_script
    from dsight.lang import show as text

    return "\n".join(text.tree(parse_script(source, here.registry, macros)) for source in sources)


def _types(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    from dsight.lang.typedump import dump

    return dump(compiled.script)


def _ir(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    from dsight.ir.text import show as text

    return "\n".join(text(f) for p in compiled.programs for f in p.functions)


def _asm(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    from dsight.bpf.asm import show as text

    return "\n".join(f"; {s.name} ({s.kind})\n{text(s.insns)}" for p in compiled.programs for s in p.specs)


def _spec(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    lines = [
        f"map {m.name}: {m.kind}, key {m.key_size}, value {m.value_size}, entries {m.max_entries}"
        for m in compiled.maps
    ]
    return "\n".join(lines) + "\n" + _stands_on(compiled)


def _records(sources: list[Source], here: Machine, macros: Macros, compiled: Compiled) -> str:
    lines = []
    for layout in compiled.layouts:
        lines.append(f"clause {layout.clause}: {layout.size} bytes")
        lines += [f"  {f.offset:4d}  {f.kind}{f.size}" for f in layout.fields]
        lines += [f"  {a.kind} {list(a.fields)} {a.text!r}" for a in layout.actions]
    for agg in compiled.aggs:
        keys = " ".join(f"{f.kind}{f.size}@{f.offset}" for f in agg.keys)
        lines.append(f"@{agg.name}: {agg.func}, key {agg.key_size} [{keys}], value {agg.value_size}")
    return "\n".join(lines)


_FIRED_BY = {
    "tracepoint": "the kernel's tracepoint {}",
    "raw_tp": "the kernel's tracepoint {}, raw",
    "tp_btf": "the kernel's tracepoint {}, raw, with the kernel's types",
    "sample": "a timer on {}",
    "run": "dtrace itself",
}
_SAMPLED = {"one": "one CPU", "each": "each CPU"}


def _stands_on(compiled: Compiled) -> str:
    lines = []
    for p in compiled.programs:
        plan = p.plan
        which = (
            str(plan.probes[0]) if len(plan.probes) == 1 else f"{len(plan.probes)} probes of {plan.probes[0].provider}"
        )
        by = _FIRED_BY.get(plan.means, f"{plan.means} {{}}").format(_SAMPLED.get(plan.target, plan.target))
        every = f", every {plan.period} ns" if plan.period else ""
        count = sum([len(spec.insns) for spec in p.specs])
        parts = f" in {len(p.specs)} parts" if p.parts else ""
        lines.append(f"{which}: fired by {by}{every}; eBPF program {p.spec.name}, {count} instructions{parts}")
    return "\n".join(lines)


def stands_on(compiled: Compiled, out: TextIO) -> None:
    """-v: by which means of the kernel each probe fires."""
    for line in _stands_on(compiled).splitlines():
        out.write(f"dtrace: {line}\n")


_STAGES = {
    "tokens": _tokens,
    "ast": _ast,
    "types": _types,
    "ir": _ir,
    "asm": _asm,
    "spec": _spec,
    "records": _records,
}
