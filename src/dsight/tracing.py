"""A script under way: what api.Trace, truss and snoop have in common.

Tracing   owns a session: entered it is armed, left it has ended, and nothing is left in the kernel
Feed      of a D text of our own, whose clauses say in the comment before them what their records are
"""

from __future__ import annotations

from dsight.consumer.decode import Decoder
from dsight.lang.macros import Macros
from dsight.record import FAULT
from dsight.session import Session
from dsight.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Self

    from dsight.image import Image
    from dsight.machine import Machine


class Tracing:
    """The session's sink, and a context manager.  `lost` counts records (and aggregation or variable updates)
    that were dropped; `loaded` is called once all is in the kernel."""

    def __init__(self, here: Machine, image: Image, loaded: Callable[[], None] | None = None) -> None:
        self.image = image
        self.lost = 0
        self.session = Session(image, here.registry, self)
        self._loaded = loaded

    def records(self, view: memoryview) -> int:
        """Take the records in the view; how many bytes were taken."""
        raise NotImplementedError

    def drops(self, count: int, cpu: int | None = None, what: str = "drop") -> None:
        self.lost += count

    def __enter__(self) -> Self:
        self.session.start()
        if self._loaded is not None:
            self._loaded()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.session.stop()
        finally:
            self.session.close()


class Feed(Tracing):
    """`text`: a D program; `kinds`: of its clauses' records, as clause_kinds() gives them."""

    def __init__(self, here: Machine, name: str, text: str, kinds: tuple[str, ...]) -> None:
        image, loaded = here.image([Source(name, text)], Macros.of_process((), name, None))
        super().__init__(here, image, loaded)
        self._kinds = [kinds[layout.clause] if layout.clause < len(kinds) else "" for layout in image.layouts]
        self._decoder = Decoder(image.layouts)

    def records(self, view: memoryview) -> int:
        runs, taken = self._decoder.split(view)
        for run in runs:
            if run[0] == FAULT:
                self._fault()
            else:
                self._recorded(self._kinds[run[0]], self._decoder.rows(view, run))
        return taken

    def _fault(self) -> None:
        """A clause found memory that was not there."""

    def _recorded(self, kind: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Records of one kind: probe, CPU, then what the clause traced."""
        raise NotImplementedError


def clause_kinds(text: str, kinds: frozenset[str]) -> tuple[str, ...]:
    """Of each clause the kind of its record: the first word of the last comment before it, if that is one of
    these; "" for what records nothing."""
    found, comment = [], ""
    for line in text.split("\n"):
        if line.startswith("/* "):
            word = line[3:].split(" ")[0].rstrip(":")
            comment = word if word in kinds else ""
        elif line == "{":
            found.append(comment)
            comment = ""
    return tuple(found)
