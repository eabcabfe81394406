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
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from random import Random
from typing import Any

from random_base import STRING, STRSIZE, Expected, Expr, Variable, World
from random_objects import Object, Objects
from random_strings import Strings

from crules import COMPARE, EDGES, INT, INTS, LONG, UINT, ULONG, DivideByZero, Int, arithmetic, divide, promote, usual

Put = Callable[[World, Any], None]


class Generator(Strings, Objects):
    def __init__(self, random: Random, size: int) -> None:
        self.r = random
        self.size = size
        self.variables: list[Variable] = []
        self.aggs: list[tuple[str, str, tuple[Int | str, ...], Int, tuple[int, ...]]] = []
        self.actions = 0  # under an if, of the clause at hand
        self.speculative = False  # whether that speculates, and may not aggregate
        for n in range(random.randint(3, 9)):
            t = random.choice([*INTS, STRING, STRING])
            name = t if isinstance(t, str) else t.name
            scope = random.choice(["", "", "this ", "self ", "array", "self array"])
            prefix = {"t": "this->", "s": "self->"}.get(scope[:1], "")
            keys = None
            keytext = ""
            if "array" in scope:
                keys = tuple([random.choice([LONG, STRING, *INTS]) for _ in range(random.randint(1, 3))])
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
        self.declare_objects()
        self.declare_inlines()

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
            "leaf binary binary binary binary compare logic unary cast cond text inline".split()
            + ([] if pure else "assign assign incdec comma".split())
        )
        return getattr(self, "int_" + kind)(depth - 1, pure)

    def int_leaf(self, depth: int = 0, pure: bool = False) -> Expr:
        places = [v for v in self.variables if isinstance(v.type, Int) and (depth >= 0 or not v.keys)]
        if places and self.r.random() < 0.6:
            return self.place(self.r.choice(places), -1)[0]
        objects = [o for o in self.objects if depth >= 0 or not o.variable.keys]
        if objects and depth > -2 and self.r.random() < 0.4:
            return self.member(self.r.choice(objects), -2)[0]
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
        return self.binary(op, a, self.divisor(a, b) if op in "/%" else b)

    def divisor(self, a: Expr, b: Expr) -> Expr:
        """Mostly not 0, and never if that is known: a script with such a division is refused."""
        if b.const and usual(a.type, b.type).wrap(b.eval(World())) == 0:
            return self.or_one(b)
        return self.or_one(b) if self.r.random() < 0.7 else b

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

    def int_cond(self, depth: int, pure: bool) -> Expr:
        c, a, b = self.integer(depth, pure), self.integer(depth, pure), self.integer(depth, pure)
        t = usual(a.type, b.type)
        return Expr(f"({c.text} ? {a.text} : {b.text})", t, lambda w: t.wrap(a.eval(w) if c.eval(w) else b.eval(w)))

    def int_comma(self, depth: int, pure: bool) -> Expr:
        a, b = self.integer(depth), self.integer(depth)
        return Expr(f"({a.text}, {b.text})", b.type, lambda w: (a.eval(w), b.eval(w))[1])

    def int_place(self) -> tuple[Expr, Put] | None:
        """Something a number is assigned to."""
        places: list[Variable | Object] = [v for v in self.variables if isinstance(v.type, Int)]
        places += self.objects
        if not places:
            return None
        chosen = self.r.choice(places)
        return self.member(chosen, 1) if isinstance(chosen, Object) else self.place(chosen, 1)

    def int_assign(self, depth: int, pure: bool) -> Expr:
        found = self.int_place()
        if found is None:
            return self.int_leaf()
        place, put = found
        op = self.r.choice(["", "", "", *"+ - * / % & | ^ << >>".split()])
        value = self.integer(depth)
        t = place.type
        assert isinstance(t, Int)
        if op and op in "/%":
            value = self.divisor(place, value)

        def run(w: World) -> int:
            n = value.eval(w)
            if op:
                old = Expr("", t, lambda w: place.eval(w))
                n = self.binary(op, old, Expr("", value.type, lambda w: n)).eval(w)
            put(w, t.wrap(n))
            return t.wrap(n)

        return Expr(f"({place.text} {op}= {value.text})", t, run)

    def int_incdec(self, depth: int, pure: bool) -> Expr:
        found = self.int_place()
        if found is None:
            return self.int_leaf()
        place, put = found
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

        types = v.keys

        def key(w: World) -> tuple[Any, ...]:
            values = [k.eval(w) for k in keys]
            return (v.text, *[t.wrap(n) if isinstance(t, Int) else n for t, n in zip(types, values)])

        read = lambda w: w.variables.get(key(w), nothing)
        write = lambda w, value: w.variables.__setitem__(key(w), value)
        return Expr(f"{v.text}[{', '.join([k.text for k in keys])}]", v.type, read), write

    # -- statements: each is its text and what runs it

    def statements(self, depth: int) -> tuple[str, Callable[[World], None]]:
        made = [self.statement(depth) for _ in range(self.r.randint(1, self.size))]
        return " ".join([text for text, _ in made]), lambda w: [run(w) for _, run in made] and None

    def statement(self, depth: int) -> tuple[str, Callable[[World], None]]:
        kind = self.r.choice(
            ["assign", "assign", "trace", "trace", "text", "agg", "if" if depth else "trace", "printf", "copy"]
        )
        if kind == "copy" and (made := self.copy()) is not None:
            return made
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
        if kind == "agg" and not self.speculative:
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
    known: bool = True  # whether run() knows all of what it does

    @property
    def text(self) -> str:
        return self.on({})

    def on(self, probes: dict[str, str]) -> str:
        """The script with other probes in the place of these."""
        lines = [v.declaration for v in self.generator.variables] + self.generator.declarations
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
            for name in [k for k in w.variables if (k if isinstance(k, str) else k[0]).startswith("this->")]:
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
    if random.random() > 0.7:
        probes.append("ERROR")
    speculating = random.random() > 0.9
    if speculating:
        clauses.append(Clause("BEGIN", None, "this->s = speculation();", lambda w: None))
    for probe in probes:
        predicate = g.integer(2) if random.random() > 0.7 else None
        g.actions, objects = 0, len(g.objects)
        begin = g.point() if random.random() > 0.7 else None
        g.speculative = speculating and probe == "BEGIN" and random.random() > 0.4
        text, run = g.statements(2)
        if begin is not None:
            text, run = begin[0] + text, in_order(begin[1], run)
        if g.speculative:
            text, g.speculative = "speculate(this->s); " + text, False
        del g.objects[objects:]
        clauses.append(Clause(probe, predicate, text, run))
    if speculating:
        end = random.choice(["commit", "discard"])
        clauses.append(Clause("BEGIN", None, f"{end}(this->s);", lambda w: None))
    return Program(g, clauses, not speculating)


def in_order(first: Callable[[World], None], then: Callable[[World], None]) -> Callable[[World], None]:
    def run(w: World) -> None:
        first(w)
        then(w)

    return run
