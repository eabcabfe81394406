"""The machine scripts run on: its kernel's types and probes, and the compiler over them.

compile(sources, macros, options)   every stage, as values
image(sources, macros, options)     what a session needs; from the cache where the script has run before
"""

from __future__ import annotations

from dsight import options as opts
from dsight.lang.macros import LASTING, Macros
from dsight.providers.registry import Registry
from dsight.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsight.compile import Compiled
    from dsight.consumer.symbolise import Texts
    from dsight.image import Image
    from dsight.kernel.code import Code
    from dsight.session import Session


class Machine:
    """This kernel's types and probes; share one between scripts."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._code: Code | None = None

    def close(self) -> None:
        """Let go of files and memory; twice is once."""
        if self._code is not None:
            self._code.close()
        self.registry.close()

    def listen(self, session: Session) -> None:
        """Have the session take note of the processes that may leave user addresses."""
        if self._code is not None and session.reads_users:
            for fd in self._code.watch():
                session.watch(fd, self._code.hear)

    def texts(self, image: Image) -> Texts | None:
        """How a script's stacks and symbols are shown; None: it has none."""
        fields = [f for layout in image.layouts for f in layout.fields] + [f for a in image.aggs for f in a.keys]
        formats = [a.text for layout in image.layouts for a in layout.actions if a.kind == "printa"]
        if not any(f.is_code for f in fields) and not any(formats):  # %a shows keys that are numbers
            return None
        from dsight.consumer.symbolise import Texts
        from dsight.kernel.code import Code

        if self._code is None:
            self._code = Code(self.registry.kernel_symbols())
        return Texts(self._code, opts.count("stackindent", image.options.get("stackindent", "14")))

    def compile(
        self,
        sources: Sequence[Source],
        macros: Macros,
        options: dict[str, str] | None = None,
        libraries: dict[str, str] | None = None,
    ) -> tuple[Compiled, dict[str, str]]:
        """Sources to specs, as one script; with the options in force, #pragma D option included.
        `libraries`: D library files besides the shipped ones, path to text.

        Raises CompileError, UsageError.
        """
        from dsight.compile import check_script, compile_script, parse_script
        from dsight.kernel import maps
        from dsight.lang import ast, check_act
        from dsight.lang.library import Library

        given = dict(options or {})
        library = Library(self.registry, libraries) if libraries else None
        items: list[object] = []
        for source in sources:
            items += parse_script(source, self.registry, macros, library).items
        script = check_script(ast.Program(tuple(items)), self.registry, given, library)  # type: ignore[arg-type]
        in_force = {name: value for name, value, _ in script.options} | given
        opts.check_pragmas(script.options)
        opts.check_setopts(script)
        check_act.permit(script.clauses, opts.is_set(in_force, "destructive"))
        numbers = opts.lowering(in_force)
        numbers.cpus = maps.cpu_numbers()
        return compile_script(script, self.registry, numbers), in_force

    def image(
        self,
        sources: Sequence[Source],
        macros: Macros,
        options: dict[str, str] | None = None,
        libraries: dict[str, str] | None = None,
    ) -> tuple[Image, Callable[[], None] | None]:
        """What a session needs; and, where it was compiled just now and not found in the cache, what
        to call once it has been loaded, so that it is found there the next time.

        Raises CompileError, UsageError.
        """
        from dsight import image_cache

        inputs = image_cache.Inputs(
            tuple((source.name, source.text) for source in sources),
            tuple(sorted((options or {}).items())),
            tuple(sorted((libraries or {}).items())),
            (*macros.args, str(macros.default_args), *[f"{n}={macros.values[n]}" for n in sorted(LASTING)]),
        )
        found = image_cache.find(inputs)
        if found is not None:
            return found, None
        compiled, in_force = self.compile(sources, macros, options, libraries)
        image = compiled.image(sources, in_force)
        # Addresses of modules may change without anything here changing; so may files that probes lie in, but
        # of these image_cache sees it.
        lasting = macros.lasting and not self.registry.symbols_used
        return image, (lambda: image_cache.keep(inputs, image)) if lasting else _nothing


def _nothing() -> None:
    """Of a script that would not be found: it must be compiled each time."""
