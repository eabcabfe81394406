"""Script to specs: the arrows of the flow up to what the kernel is given.

    parse -> check -> plan -> lower -> optimise -> drop_unread, widen, narrow -> compile_function

Everything here is a value in, a value out; session loads and runs the result.
"""

from __future__ import annotations

from dsight import image
from dsight.bpf.spec import ProgramSpec
from dsight.errors import CompileError
from dsight.ir.maps import MapSpec
from dsight.ir.ops import Function
from dsight.ir.storage import Options, Storage
from dsight.ir.unit import Unit, parts_map
from dsight.lang import ast, typed
from dsight.lang.catalog import ArgType, Probe
from dsight.lang.check import check, is_type_name
from dsight.lang.library import Library
from dsight.lang.parser import parse
from dsight.providers.base import AttachPlan
from dsight.record import AggLayout, RecordLayout
from dsight.source import Source
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsight.btf.types import Type
    from dsight.ir.unread import Read
    from dsight.lang.macros import Macros
    from dsight.providers.registry import Registry

# Operations of a script's programs.  Those of a longer one are compiled sooner instead: ir.ways takes a quarter more.
LONG = 8000

# What loads a program of each means.
_KINDS = {
    "tracepoint": "tracepoint",
    "raw_tp": "raw_tp",
    "tp_btf": "tp_btf",
    "sample": "perf_event",
    "uprobe": "uprobe",
    "run": "raw_tp",
}


class Program(Value):
    """One program: how it is attached, and itself at each stage; and the parts it was too long for."""

    plan: AttachPlan
    unit: Unit
    function: Function
    spec: ProgramSpec
    parts: tuple[tuple[Function, ProgramSpec], ...] = ()  # what tail calls go on with, from number 1 on

    def loadable(self) -> image.Program:
        """What a session needs of it."""
        plan = self.plan
        return image.Program(
            plan.means,
            plan.target,
            self.spec,
            tuple(p.id for p in plan.probes),
            plan.period,
            plan.places,
            plan.entry.cookie,
            tuple(spec for _, spec in self.parts),
            parts_map(self.unit) if self.parts else "",
        )

    @property
    def functions(self) -> list[Function]:
        return [self.function, *[function for function, _ in self.parts]]

    @property
    def specs(self) -> list[ProgramSpec]:
        return [self.spec, *[spec for _, spec in self.parts]]


class Compiled(Value):
    """A script, ready to be loaded.  `probes`: id -> probe, of all that may fire.
    `names`: id -> (provider, module, function, name) for programs that look names up themselves."""

    script: typed.Script
    programs: tuple[Program, ...]
    maps: tuple[MapSpec, ...]
    layouts: tuple[RecordLayout, ...]
    aggs: tuple[AggLayout, ...]
    probes: dict[int, Probe]
    looks_up_names: bool

    def image(self, sources: Sequence[Source] = (), options: dict[str, str] | None = None) -> image.Image:
        """What a session and the consumer need of it, made of `sources` with `options` in force."""
        # Each clause's probes count, also where another clause has them too: countdown.d of the
        # Dynamic Tracing Guide, with two clauses on one tick, "matched 3 probes".
        return image.Image(
            tuple(program.loadable() for program in self.programs),
            self.maps,
            self.layouts,
            self.aggs,
            self.probes,
            self.looks_up_names,
            options or {},
            tuple(sum(len(c.probes) for c in self.script.clauses if c.span.source is source) for source in sources),
        )


def parse_script(source: Source, registry: Registry, macros: Macros, library: Library | None = None) -> ast.Program:
    """Text to syntax tree; `library`: more than the shipped one.  Raises CompileError."""

    def known(name: str) -> bool:
        return is_type_name(name, registry) or (library is not None and library.declares_type(name))

    return parse(source, macros, known)


def check_script(
    program: ast.Program, registry: Registry, options: dict[str, str], library: Library | None = None
) -> typed.Script:
    """Syntax tree to typed tree; `options` as -x and -Z gave them.  Raises CompileError."""
    script = check(program, registry, options=options, library=library)
    if registry.refine(script.clauses):  # the arguments of some probes are others now
        script = check(program, registry, options=options, library=library)
    return script


def compile_script(script: typed.Script, registry: Registry, options: Options) -> Compiled:
    """Typed tree to specs.  Raises CompileError for what is not supported yet."""
    from dsight.ir.lower import lower
    from dsight.ir.passes import FIRST, optimise
    from dsight.ir.unread import globals_read
    from dsight.ir.words import used

    storage = Storage(script, options, registry.direct)
    errors = tuple(c for c in script.clauses if any(p.name == "ERROR" and p.provider == "dtrace" for p in c.probes))
    lowered = []
    for plan, unit in plan_units(script, registry):
        functions = [_calls(plan.helper, unit)] if plan.helper else lower(unit, storage, errors)
        lowered.append((plan, unit, [optimise(f, FIRST) for f in functions]))
    read = globals_read([f for *_, functions in lowered for f in functions])
    total = sum([len(block.instrs) for *_, functions in lowered for f in functions for block in f.blocks])
    programs = []
    for plan, unit, functions in lowered:
        made = [_program(f, read, unit, registry, storage, total <= LONG) for f in functions]
        if size := max([used(f) for f, _ in made]):
            storage.maps[words_map(unit)] = MapSpec(words_map(unit), "percpu_array", 4, size, 1)
        programs.append(Program(plan, unit, *made[0], tuple(made[1:])))
    return Compiled(
        script,
        tuple(programs),
        storage.specs(),
        tuple(layout or RecordLayout(i, 8, (), ()) for i, layout in enumerate(storage.layouts)),
        storage.aggs,
        {p.id: p for clause in script.clauses for p in clause.probes},
        storage.uses_probe_names,
    )


def _calls(helper: str, unit: Unit) -> Function:
    """A program that calls a helper with its first argument, and nothing else."""
    from dsight.ir.build import Builder

    b = Builder(unit.name)
    b.call(helper, b.load(b.emit("ctx"), unit.entry.offsets[0], 8))
    b.ret(0)
    return b.finish()


def words_map(unit: Unit) -> str:
    """The map with the numbers for which a unit's programs have no other room (ir.words)."""
    return f"words_{unit.name}"


def _program(
    function: Function, read: Read, unit: Unit, registry: Registry, storage: Storage, follow_ways: bool
) -> tuple[Function, ProgramSpec]:
    """One program of a unit, of a function that has been through the FIRST passes; each of its ways for itself where
    this can be done, and is wanted."""
    from dsight.ir.delay import delay
    from dsight.ir.narrow import narrow
    from dsight.ir.passes import REST, optimise
    from dsight.ir.sink import sink
    from dsight.ir.unread import drop_unread
    from dsight.ir.walk import walk
    from dsight.ir.ways import follow
    from dsight.ir.webs import split
    from dsight.ir.widen import widen

    def finished(function: Function) -> Function:
        return narrow(widen(drop_unread(function, read)))

    direct = storage.direct(unit.kind)
    if follow_ways and direct is not None and direct[1] == 0:
        followed = follow(function)
        if followed.followed:
            followed = delay(sink(finished(optimise(split(followed)))))
            try:
                return _part(walk(followed, *registry.structs()), unit, registry, storage)
            except CompileError:
                pass  # it takes too much of the stack
    return _part(finished(optimise(function, REST)), unit, registry, storage)


def _part(function: Function, unit: Unit, registry: Registry, storage: Storage) -> tuple[Function, ProgramSpec]:
    """One program of a unit, optimised.  Where the stack is too small, what is kept longest goes to memory."""
    from dsight.bpf.compile import compile_function
    from dsight.ir.paths import join_paths
    from dsight.ir.words import spill

    passed = f"passed_{function.name}"
    # Of a uprobe's program another thread may run one on this CPU before it has ended, where the kernel is
    # preemptible (bpf_prog_run_array_uprobe in include/linux/trace_events.h): it keeps nothing there.
    cpus = 0 if unit.kind == "uprobe" else storage.options.cpus
    function, size = join_paths(function, words_map(unit), passed, cpus)
    if size:
        storage.maps[passed] = MapSpec(passed, "array", 4, size, 1)
    bpf_loop = _has_loop(function, registry)
    try:
        return function, compile_function(function, unit.kind, unit.attach, bpf_loop)
    except CompileError as e:
        if function.followed:
            raise
        error = e
    for length in (400, 100, 25, 6):
        spilled = spill(function, words_map(unit), length)
        try:
            return spilled, compile_function(spilled, unit.kind, unit.attach, bpf_loop)
        except CompileError:
            pass
    raise error


def _has_loop(function: Function, registry: Registry) -> bool:
    """Whether the kernel has the helper that a function with loops wants (enum bpf_func_id)."""
    return not function.bodies or registry.enumerator("BPF_FUNC_loop") is not None


def plan_units(script: typed.Script, registry: Registry) -> list[tuple[AttachPlan, Unit]]:
    """Which programs a script needs: probes of one provider with the same clauses go together.  Those of the
    library stand first: what they keep is there when the script's own run on the same event."""
    clauses_of: dict[Probe, list[typed.Clause]] = {}
    for clause in sorted(script.clauses, key=lambda c: not c.kept):
        for probe in clause.probes:
            clauses_of.setdefault(probe, []).append(clause)
    groups: dict[tuple[str, tuple[int, ...]], list[Probe]] = {}
    for probe, clauses in clauses_of.items():
        groups.setdefault((probe.provider, tuple(c.index for c in clauses)), []).append(probe)
    units: list[tuple[AttachPlan, Unit]] = []
    library = Library(registry)  # one for all expressions of providers: each file of it is parsed once
    for (_, indexes), probes in groups.items():
        clauses = [script.clauses[i] for i in indexes]
        for plan in registry.plan(tuple(probes)):
            if plan.target != "ERROR":
                units.append((plan, _unit(len(units), plan, tuple(clauses), registry, library)))
    return units


def _unit(
    number: int, plan: AttachPlan, clauses: tuple[typed.Clause, ...], registry: Registry, library: Library
) -> Unit:
    entry, names = plan.entry, None
    maps: tuple[MapSpec, ...] = ()
    if entry.probe < 0 and not entry.cookie:
        entry = entry.replace(table=f"probes_{number}")
        table = bytearray(4 * entry.table_size)
        for n, probe in zip(plan.numbers, plan.probes):
            table[4 * n : 4 * n + 4] = probe.id.to_bytes(4, "little")
        maps = (MapSpec(entry.table, "array", 4, len(table), 1, readonly=True, initial=bytes(table)),)
    elif entry.probe >= 0:
        p = plan.probes[0]
        names = (p.provider, p.module, p.function, p.name)
    return Unit(
        f"{plan.probes[0].provider}_{number}",
        _KINDS[plan.means],
        entry,
        clauses,
        guard=_expression(plan, plan.guard, registry, library) if plan.guard else None,
        attach=plan.target if plan.means == "tp_btf" else "",
        always=plan.means == "run",
        names=names,
        maps=maps,
        derived=tuple(filter(None, (_expression(plan, text, registry, library) for text in plan.derived))),
    )


class _GuardCatalog:
    """The machine as a provider's expressions see it: one probe, whose args[] are the raw ones."""

    def __init__(self, plan: AttachPlan, registry: Registry) -> None:
        self._plan = plan
        self._registry = registry

    def probes(self, desc: ast.ProbeDesc) -> list[Probe]:
        return [self._plan.probes[0]]

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return tuple(ArgType(t, i) for i, t in enumerate(self._plan.natives))

    def type(self, kind: str, name: str) -> Type | None:
        return self._registry.type(kind, name)

    def enumerator(self, name: str) -> int | None:
        return self._registry.enumerator(name)

    def symbol(self, module: str, name: str) -> tuple[int, Type | None] | None:
        return self._registry.symbol(module, name)

    def symbols_hint(self, name: str) -> str:
        return self._registry.symbols_hint(name)


def _expression(plan: AttachPlan, text: str, registry: Registry, library: Library) -> typed.TExpr | None:
    """A provider's condition or argument, compiled like a predicate."""
    source = Source(f"<guard of {plan.probes[0]}>", f"BEGIN /{text}/ {{}}")
    catalog = _GuardCatalog(plan, registry)
    script = check(parse(source, None, lambda name: is_type_name(name, catalog)), catalog, library=library)
    return script.clauses[0].predicate
