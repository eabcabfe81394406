"""What a random D program is made of (random_d): expressions with their meaning, and the state they work on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from crules import Int

STRING = "string"
STRSIZE = 256


@dataclass
class World:
    """The state while a program runs."""

    probe: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    aggregations: dict[str, dict[tuple[Any, ...], list[int]]] = field(default_factory=dict)
    fault: int = 0
    record: list[Any] = field(default_factory=list)


@dataclass
class Expr:
    text: str
    type: Int | str
    eval: Callable[[World], Any]
    const: bool = False


@dataclass
class Expected:
    records: tuple[tuple[int, tuple[Any, ...]], ...]
    faults: tuple[str, ...]
    aggregations: dict[str, dict[tuple[Any, ...], Any]]


LENGTHS = [0, 1, 2, 6, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 128, 254, 255]


@dataclass
class Variable:
    text: str  # how it is used
    declaration: str
    type: Int | str
    keys: tuple[Int | str, ...] | None = None


class Base:
    """What the parts of the generator see of it."""

    r: Random
    size: int
    variables: list[Variable]

    def integer(self, depth: int, pure: bool = False) -> Expr:
        raise NotImplementedError

    def string(self, depth: int, pure: bool = False) -> Expr:
        raise NotImplementedError

    def place(self, v: Variable, depth: int) -> tuple[Expr, Callable[[World, Any], None]]:
        raise NotImplementedError

    def cast(self, t: Int, a: Expr) -> Expr:
        return Expr(f"(({t.name}){a.text})", t, lambda w: t.wrap(a.eval(w)), const=a.const)
