"""Random D programs that know what they must leave: a third witness beside kernel and interpreter.

    program = random_program(random.Random(7))
    program.text                  the script
    program.run()                 Expected(records, faults, aggregations), worked out with Python's
                                  integers by the rules of C11 6.3.1 and 6.5

An expression is its text, its type and a function that evaluates it in a World.  Operands are
evaluated from left to right, an assignment's value before its place; keys have no side effects.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from crules import COMPARE, EDGES, INT, INTS, LONG, UINT, ULONG, DivideByZero, Int, arithmetic, divide, promote, usual

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


class Generator:
    def __init__(self, random: Random, size: int) -> None:
        self.r = random
        self.size = size
        self.variables: list[Variable] = []
        self.aggs: list[tuple[str, str, tuple[Int | str, ...], Int, tuple[int, ...]]] = []
        self.actions = 0  # under an if, of the clause at hand
        for n in range(random.randint(3, 9)):
            t = random.choice([*INTS, STRING, STRING])
            name = t if isinstance(t, str) else t.name
            scope = random.choice(["", "", "this ", "self ", "array", "self array"])
            prefix = {"t": "this->", "s": "self->"}.get(scope[:1], "")
            keys = None
            keytext = ""
            if "array" in scope:
                keys = tuple([random.choice([LONG, STRING]) for _ in range(random.randint(1, 3))])
                keytext = "[" + ", ".join([k if isinstance(k, str) else k.name for k in keys]) + "]"
                scope = scope.removesuffix("array")
            self.variables.append(Variable(f"{prefix}v{n}", f"{scope}{name} v{n}{keytext};", t, keys))
        functions = "count sum min max avg stddev quantize lquantize llquantize".split()
        for n, func in enumerate(random.sample(functions, 3)):
            keys = tuple([random.choice([*INTS, STRING]) for _ in range(random.choice([0, 0, 1, 2]))])
            params = random.choice([(0, 100, 10), (-5, 5, 1), (-100, 1000, 7)]) if func == "lquantize" else ()
            if func == "llquantize":
                params = random.choice([(10, 0, 3, 10), (2, 0, 9, 2), (10, 2, 5, 5)])
            self.aggs.append((f"a{n}", func, keys, random.choice([LONG, ULONG]), params))

    # -- integers

    def int_literal(self) -> Expr:
        n = self.r.choice([self.r.choice(EDGES), self.r.randrange(300), self.r.getrandbits(self.r.randint(1, 64))])
        hexadecimal = self.r.random() < 0.3
        suffix = self.r.choice(["", "", "", "u", "l", "ul", "ULL"])
        unsigned, long = "u" in suffix.lower(), "l" in suffix.lower()
        types = [INT, UINT, LONG, ULONG]
        if unsigned:
            types = [UINT, ULONG]
        elif not hexadecimal:
            types = [INT, LONG, ULONG]
        t = next(t for t in types if not (long and t.bits < 64) and t.wrap(n) == n)
        return Expr(f"{n:#x}{suffix}" if hexadecimal else f"{n}{suffix}", t, lambda w: n, const=True)

    def integer(self, depth: int, pure: bool = False) -> Expr:
        if depth <= 0:
            return self.int_leaf(depth)
        kind = self.r.choice(
            "binary binary binary binary compare logic unary cast cond leaf text".split()
            + ([] if pure else "assign assign incdec comma".split())
        )
        return getattr(self, "int_" + kind)(depth - 1, pure)

    def int_leaf(self, depth: int = 0, pure: bool = False) -> Expr:
        places = [v for v in self.variables if isinstance(v.type, Int) and (depth >= 0 or not v.keys)]
        if places and self.r.random() < 0.6:
            return self.place(self.r.choice(places), -1)[0]
        if self.r.random() < 0.15:
            text, t, value = self.r.choice(
                [
                    ("pid", INT, os.getpid()),
                    ("tid", INT, threading.get_native_id()),
                    ("uid", UINT, os.getuid()),
                    ("gid", UINT, os.getgid()),
                    ("arg0", LONG, 0),
                    ("ipl", UINT, 0),
                ]
            )
            return Expr(text, t, lambda w: value)
        return self.int_literal()

    def int_binary(self, depth: int, pure: bool) -> Expr:
        op = self.r.choice("+ - * / % & | ^ << >>".split())
        a, b = self.integer(depth, pure), self.integer(depth, pure)
        if op in "/%" and self.r.random() < 0.7:
            b = self.or_one(b)
        return self.binary(op, a, b)

    def or_one(self, b: Expr) -> Expr:
        return self.binary("|", b, Expr("1", INT, lambda w: 1, const=True))

    def binary(self, op: str, a: Expr, b: Expr) -> Expr:
        if op in ("<<", ">>"):
            t, count = promote(a.type), promote(b.type)
        else:
            t = count = usual(a.type, b.type)

        def run(w: World) -> int:
            left, right = t.wrap(a.eval(w)), count.wrap(b.eval(w))
            return arithmetic(op, t, left, right)

        return Expr(f"({a.text} {op} {b.text})", t, run, const=a.const and b.const)

    def int_compare(self, depth: int, pure: bool) -> Expr:
        a, b = self.integer(depth, pure), self.integer(depth, pure)
        op = self.r.choice(list(COMPARE))
        t = usual(a.type, b.type)
        return Expr(f"({a.text} {op} {b.text})", INT, lambda w: int(COMPARE[op](t.wrap(a.eval(w)), t.wrap(b.eval(w)))))

    def int_logic(self, depth: int, pure: bool) -> Expr:
        a, b = self.integer(depth, pure), self.integer(depth, pure)
        op = self.r.choice(["&&", "||", "^^"])

        def run(w: World) -> int:
            left = a.eval(w) != 0
            if op == "&&":
                return int(left and b.eval(w) != 0)
            if op == "||":
                return int(left or b.eval(w) != 0)
            return int(left != (b.eval(w) != 0))

        return Expr(f"({a.text} {op} {b.text})", INT, run)

    def int_unary(self, depth: int, pure: bool) -> Expr:
        a = self.integer(depth, pure)
        op = self.r.choice("-~!+")
        if op == "!":
            return Expr(f"(!{a.text})", INT, lambda w: int(not a.eval(w)))
        t = promote(a.type)
        sign = {"-": lambda n: -n, "~": lambda n: ~n, "+": lambda n: n}[op]
        return Expr(f"({op} {a.text})", t, lambda w: t.wrap(sign(t.wrap(a.eval(w)))), const=a.const)

    def int_cast(self, depth: int, pure: bool) -> Expr:
        t = self.r.choice(INTS)
        return self.cast(t, self.integer(depth, pure))

    def cast(self, t: Int, a: Expr) -> Expr:
        return Expr(f"(({t.name}){a.text})", t, lambda w: t.wrap(a.eval(w)), const=a.const)

    def int_cond(self, depth: int, pure: bool) -> Expr:
        c, a, b = self.integer(depth, pure), self.integer(depth, pure), self.integer(depth, pure)
        t = usual(a.type, b.type)
        return Expr(f"({c.text} ? {a.text} : {b.text})", t, lambda w: t.wrap(a.eval(w) if c.eval(w) else b.eval(w)))

    def int_comma(self, depth: int, pure: bool) -> Expr:
        a, b = self.integer(depth), self.integer(depth)
        return Expr(f"({a.text}, {b.text})", b.type, lambda w: (a.eval(w), b.eval(w))[1])

    def int_text(self, depth: int, pure: bool) -> Expr:
        a = self.string(depth, pure)
        if self.r.random() < 0.3:
            return Expr(f"strlen({a.text})", ULONG, lambda w: len(a.eval(w)))
        b = self.string(depth, pure)
        if self.r.random() < 0.15:
            last = self.r.choice(["", "r"])
            find = (lambda s, t: s.rfind(t)) if last else (lambda s, t: s.find(t))
            return Expr(f"{last}index({a.text}, {b.text})", INT, lambda w: find(a.eval(w), b.eval(w)))
        if self.r.random() < 0.3:
            b = a if pure or depth <= 0 else b
        op = self.r.choice(list(COMPARE))
        return Expr(f"({a.text} {op} {b.text})", INT, lambda w: int(COMPARE[op](a.eval(w), b.eval(w))))

    def int_assign(self, depth: int, pure: bool) -> Expr:
        places = [v for v in self.variables if isinstance(v.type, Int)]
        if not places:
            return self.int_leaf()
        op = self.r.choice(["", "", "", *"+ - * / % & | ^ << >>".split()])
        return self.assign(self.r.choice(places), op, self.integer(depth))

    def assign(self, v: Variable, op: str, value: Expr) -> Expr:
        place, put = self.place(v, 1)
        t = v.type
        assert isinstance(t, Int)
        if op and op in "/%" and self.r.random() < 0.7:
            value = self.or_one(value)

        def run(w: World) -> int:
            n = value.eval(w)
            if op:
                old = Expr("", t, lambda w: place.eval(w))
                n = self.binary(op, old, Expr("", value.type, lambda w: n)).eval(w)
            put(w, t.wrap(n))
            return t.wrap(n)

        return Expr(f"({place.text} {op}= {value.text})", t, run)

    def int_incdec(self, depth: int, pure: bool) -> Expr:
        places = [v for v in self.variables if isinstance(v.type, Int)]
        if not places:
            return self.int_leaf()
        place, put = self.place(self.r.choice(places), 1)
        op, post = self.r.choice(["++", "--"]), self.r.random() < 0.5
        t = place.type

        def run(w: World) -> int:
            old = place.eval(w)
            new = t.wrap(old + (1 if op == "++" else -1))
            put(w, new)
            return old if post else new

        return Expr(f"({place.text}{op})" if post else f"({op}{place.text})", t, run)

    # -- places

    def place(self, v: Variable, depth: int) -> tuple[Expr, Callable[[World, Any], None]]:
        """A variable or element: what reads it, what writes it."""
        nothing: Any = b"" if v.type == STRING else 0
        if v.keys is None:
            read = lambda w: w.variables.get(v.text, nothing)
            write = lambda w, value: w.variables.__setitem__(v.text, value)
            return Expr(v.text, v.type, read), write
        keys = [self.string(depth, True) if k == STRING else self.integer(depth, True) for k in v.keys]

        def key(w: World) -> tuple[Any, ...]:
            values = [k.eval(w) for k in keys]
            return (v.text, *[LONG.wrap(n) if isinstance(n, int) else n for n in values])

        read = lambda w: w.variables.get(key(w), nothing)
        write = lambda w, value: w.variables.__setitem__(key(w), value)
        return Expr(f"{v.text}[{', '.join([k.text for k in keys])}]", v.type, read), write

    # -- strings

    def string(self, depth: int, pure: bool = False) -> Expr:
        kind = self.r.random()
        places = [v for v in self.variables if v.type == STRING and (depth >= 0 or not v.keys)]
        if depth > 0 and kind < 0.25:
            c, a, b = self.integer(depth - 1, pure), self.string(depth - 1, pure), self.string(depth - 1, pure)
            return Expr(f"({c.text} ? {a.text} : {b.text})", STRING, lambda w: a.eval(w) if c.eval(w) else b.eval(w))
        if depth > 0 and kind < 0.33:
            return self.string_call(depth - 1, pure)
        if places and kind < 0.6:
            return self.place(self.r.choice(places), -1)[0]
        if kind < 0.66:
            with open("/proc/thread-self/comm", "rb") as f:
                comm = f.read().rstrip(b"\n")
            return Expr("execname", STRING, lambda w: comm)
        if kind < 0.7:
            return Expr("probename", STRING, lambda w: w.probe.encode())
        n = self.r.choice(LENGTHS)
        text = "".join(self.r.choices("ab", k=n)) if self.r.random() < 0.5 else "a" * n
        return Expr(f'"{text}"', STRING, lambda w: text.encode())

    def string_call(self, depth: int, pure: bool) -> Expr:
        a = self.string(depth, pure)
        kind = self.r.choice(["strjoin", "substr", "substr", "toupper", "lltostr", "strchr"])
        if kind == "strjoin":
            b = self.string(depth, pure)
            return Expr(f"strjoin({a.text}, {b.text})", STRING, lambda w: (a.eval(w) + b.eval(w))[: STRSIZE - 1])
        if kind == "substr":
            n = self.cast(INTS[1], self.integer(depth, pure))  # not negative
            if self.r.random() < 0.4:
                return Expr(f"substr({a.text}, {n.text})", STRING, lambda w: a.eval(w)[n.eval(w) :])
            m = self.cast(INTS[1], self.integer(depth, pure))

            def cut(w: World) -> bytes:
                text, start, count = a.eval(w), n.eval(w), m.eval(w)
                return text[start : start + count]

            return Expr(f"substr({a.text}, {n.text}, {m.text})", STRING, cut)
        if kind == "toupper":
            return Expr(f"toupper({a.text})", STRING, lambda w: a.eval(w).upper())
        if kind == "lltostr":
            n = self.cast(LONG, self.integer(depth, pure))
            return Expr(f"lltostr({n.text})", STRING, lambda w: str(n.eval(w)).encode())
        c = self.r.choice("ab")
        return Expr(f"strchr({a.text}, '{c}')", STRING, lambda w: b"".join(a.eval(w).partition(c.encode())[1:]))

    # -- statements: each is its text and what runs it

    def statements(self, depth: int) -> tuple[str, Callable[[World], None]]:
        made = [self.statement(depth) for _ in range(self.r.randint(1, self.size))]
        return " ".join([text for text, _ in made]), lambda w: [run(w) for _, run in made] and None

    def statement(self, depth: int) -> tuple[str, Callable[[World], None]]:
        kind = self.r.choice(
            ["assign", "assign", "trace", "trace", "text", "agg", "if" if depth else "trace", "printf"]
        )
        if kind == "if":
            test = self.integer(2)
            first = self.actions
            then_text, then = self.statements(depth - 1)
            middle = self.actions
            if self.r.random() < 0.6:
                other_text, other = self.statements(depth - 1)
                text = f"if ({test.text}) {{ {then_text} }} else {{ {other_text} }}"
            else:
                text, other = f"if ({test.text}) {{ {then_text} }}", lambda w: None
            last = self.actions

            def run(w: World) -> None:
                at = len(w.record)
                if test.eval(w):
                    then(w)
                    w.record += [None] * (last - middle)
                else:
                    w.record += [None] * (middle - first)
                    other(w)
                assert len(w.record) - at == last - first

            return text, run
        if kind == "trace":
            return self.recorded("trace(%s);", [self.any(self.r.randint(0, self.size))])
        if kind == "printf":
            values = [self.any(2) for _ in range(self.r.randint(1, 3))]
            format = " ".join(["%s" if v.type == STRING else "%d" for v in values])
            return self.recorded(f'printf("{format}", %s);', values)
        if kind == "agg":
            return self.aggregate()
        strings = [v for v in self.variables if v.type == STRING]
        if kind == "text" and strings:
            place, put = self.place(self.r.choice(strings), 1)
            value = self.string(2)
            return f"{place.text} = {value.text};", lambda w: put(w, value.eval(w)[: STRSIZE - 1])
        e = self.int_assign(self.size, False)
        return f"{e.text};", lambda w: e.eval(w)

    def any(self, depth: int) -> Expr:
        return self.string(depth) if self.r.random() < 0.3 else self.integer(depth)

    def recorded(self, form: str, values: list[Expr]) -> tuple[str, Callable[[World], None]]:
        self.actions += len(values)

        def run(w: World) -> None:
            for v in values:
                n = v.eval(w)
                w.record.append(n.decode() if isinstance(n, bytes) else n)

        return form.replace("%s);", ", ".join([v.text for v in values]) + ");", 1), run

    def aggregate(self) -> tuple[str, Callable[[World], None]]:
        name, func, key_types, t, params = self.r.choice(self.aggs)
        keys = [self.string(1) if k == STRING else self.cast(k, self.integer(1)) for k in key_types]
        value = self.cast(t, self.integer(2))
        args = ", ".join([value.text, *map(str, params)]) if func != "count" else ""
        subscript = f"[{', '.join([k.text for k in keys])}]" if keys else ""

        def run(w: World) -> None:
            n = value.eval(w) if func != "count" else 1
            key = tuple([k.eval(w) for k in keys])
            key = tuple([k.decode() if isinstance(k, bytes) else k for k in key])
            w.aggregations.setdefault(name, {}).setdefault(key, []).append(n)

        return f"@{name}{subscript} = {func}({args});", run

    def result(self, name: str, values: list[int]) -> Any:
        _, func, _, t, params = next(a for a in self.aggs if a[0] == name)
        if func == "count":
            return len(values)
        if func == "sum":
            return t.wrap(sum(values))
        if func in ("min", "max"):
            return (min if func == "min" else max)(values)
        if func == "avg":
            return divide(t.wrap(sum(values)), len(values))
        if func == "stddev":
            n, total, squares = len(values), t.wrap(sum(values)), sum([v * v for v in values]) & (1 << 128) - 1
            return isqrt(max(0, n * squares - total * total) // (n * n))
        if func == "quantize":
            labels = [-(1 << k) for k in reversed(range(64 if t.signed else 63))]
            labels += [0] + [1 << k for k in range(63 if t.signed else 64)]
            bucket = [0 if not n else (1 if n > 0 else -1) * (1 << abs(n).bit_length() - 1) for n in values]
            return tuple([bucket.count(label) for label in labels])
        if func == "lquantize":
            base, limit, step = params
            bounds = [base + step * n for n in range((limit - base) // step + 1)]
        else:  # each magnitude in equal steps, of at least 1 (Guide, Aggregations)
            factor, low, high, steps = params
            bounds = [factor ** (high + 1)]
            for magnitude in range(low, high + 1):
                start, width = factor**magnitude, max(1, factor ** (magnitude + 1) // steps)
                bounds += {start, *[n for n in range(0, factor * start, width) if n > start]}
        places = [sum([n >= bound for bound in bounds]) for n in values]
        return tuple([places.count(n) for n in range(len(bounds) + 1)])


@dataclass
class Clause:
    probe: str
    predicate: Expr | None
    text: str
    run: Callable[[World], None]


@dataclass
class Program:
    generator: Generator
    clauses: list[Clause]

    @property
    def text(self) -> str:
        return self.on({})

    def on(self, probes: dict[str, str]) -> str:
        """The script with other probes in the place of these."""
        lines = [v.declaration for v in self.generator.variables]
        for c in self.clauses:
            predicate = f" /{c.predicate.text}/" if c.predicate else ""
            lines.append(f"{probes.get(c.probe, c.probe)}{predicate} {{ {c.text} }}")
        return "\n".join(lines) + "\n"

    def run(self) -> Expected:
        w = World()
        records: list[tuple[int, tuple[Any, ...]]] = []
        faults: list[str] = []

        def clause(n: int, c: Clause) -> bool:
            w.record = []
            try:
                if c.predicate is None or c.predicate.eval(w):
                    c.run(w)
                    if w.record:
                        records.append((n, tuple(w.record)))
            except DivideByZero:
                return False
            return True

        for probe in ("BEGIN", "END"):
            for name in [k for k in w.variables if str(k).startswith("this->")]:
                del w.variables[name]
            for n, c in enumerate(self.clauses):
                w.probe = probe
                if c.probe == probe and not clause(n, c):
                    faults.append(f"divide-by-zero (0x0) in clause {n}")
                    for m, error in enumerate(self.clauses):
                        w.probe = "ERROR"
                        if error.probe == "ERROR" and not clause(m, error):
                            faults.append(f"divide-by-zero (0x0) in clause {m}")
        used = {
            name: {key: self.generator.result(name, values) for key, values in found.items()}
            for name, found in w.aggregations.items()
        }
        return Expected(tuple(records), tuple(faults), used)


def random_program(random: Random, size: int = 4) -> Program:
    """`size`: how deep expressions and how long clauses are."""
    g = Generator(random, random.randint(1, size))
    clauses = []
    probes = [random.choice(["BEGIN", "BEGIN", "BEGIN", "END"]) for _ in range(random.randint(1, 5))]
    if random.random() < 0.3:
        probes.append("ERROR")
    for probe in probes:
        predicate = g.integer(2) if random.random() < 0.3 else None
        g.actions = 0
        text, run = g.statements(2)
        clauses.append(Clause(probe, predicate, text, run))
    return Program(g, clauses)
