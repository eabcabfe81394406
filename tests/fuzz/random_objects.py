"""Structs, arrays and inlines of a random D program (random_d).

An object's members are in World.variables by (variable, keys, member, index); one that is not there is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from random_base import STRING, Base, Expr, Variable, World

from crules import INTS, LONG, Int

Put = Callable[[World, Any], None]


@dataclass
class Member:
    name: str
    type: Int  # of a bit-field: as many bits as it has
    declaration: str
    count: int = 0  # elements of an array


@dataclass
class Shape:
    """A struct, or an array: with a single member "" of so many elements."""

    name: str
    members: list[Member]


@dataclass
class Object:
    """A variable of such a type."""

    variable: Variable
    shape: Shape


class Objects(Base):
    objects: list[Object]
    inlines: list[tuple[str, Int, list[Variable], Expr]]
    declarations: list[str]

    def declare_objects(self) -> None:
        self.objects, self.inlines, self.declarations = [], [], []
        shapes = [self.shape(n) for n in range(self.r.choice([0, 1, 1, 2]))]
        for n in range(self.r.randint(0, 4) if shapes else 0):
            shape = self.r.choice(shapes)
            scope = self.r.choice(["", "", "this ", "self ", "array", "self array"])
            keys = None
            if "array" in scope:
                keys = tuple([self.r.choice([LONG, STRING, *INTS]) for _ in range(self.r.randint(1, 2))])
            self.add_object(f"o{n}", f"struct {shape.name}", scope.removesuffix("array"), keys, shape)
        for n in range(self.r.choice([0, 0, 1, 2])):
            t, count = self.r.choice(INTS), self.r.choice([1, 3, 8])
            shape = Shape("", [Member("", t, "", count)])
            self.add_object(f"x{n}", t.name, self.r.choice(["", "this "]), None, shape, f"[{count}]")

    def add_object(
        self, name: str, type_name: str, scope: str, keys: tuple[Any, ...] | None, shape: Shape, behind: str = ""
    ) -> None:
        prefix = {"t": "this->", "s": "self->"}.get(scope[:1], "")
        if keys:
            behind = "[" + ", ".join([k if isinstance(k, str) else k.name for k in keys]) + "]"
        v = Variable(prefix + name, f"{scope}{type_name} {name}{behind};", "object", keys)
        self.objects.append(Object(v, shape))
        self.declarations.append(v.declaration)

    def shape(self, n: int) -> Shape:
        members = []
        for m in range(self.r.randint(1, 5)):
            t, name = self.r.choice(INTS), f"m{m}"
            kind = self.r.random()
            if kind > 0.6 and t.bits <= 32:
                bits = self.r.randint(1, t.bits)
                members.append(Member(name, Int(t.name, bits, t.signed), f"{t.name} {name}:{bits};"))
            elif kind > 0.45:
                count = self.r.randint(1, 4)
                members.append(Member(name, t, f"{t.name} {name}[{count}];", count))
            else:
                members.append(Member(name, t, f"{t.name} {name};"))
        self.declarations.append(f"struct st{n} {{ {' '.join([m.declaration for m in members])} }};")
        return Shape(f"st{n}", members)

    def declare_inlines(self) -> None:
        for n in range(self.r.choice([0, 0, 1, 2])):
            t = self.r.choice(INTS)
            names = [Variable(f"p{i}", "", self.r.choice(INTS)) for i in range(self.r.choice([0, 1, 2]))]
            outer, self.variables = self.variables, [*[v for v in self.variables if not v.keys], *names]
            objects, self.objects = self.objects, []
            body = self.integer(2, True)
            self.variables, self.objects = outer, objects
            parameters = ", ".join([f"{v.type.name} {v.text}" for v in names if isinstance(v.type, Int)])
            head = f"i{n}[{parameters}]" if names else f"i{n}"
            self.declarations.append(f"inline {t.name} {head} = {body.text};")
            self.inlines.append((f"i{n}", t, names, body))

    # -- expressions and places

    def int_inline(self, depth: int, pure: bool) -> Expr:
        if not self.inlines:
            return self.integer(depth, pure)
        name, t, names, body = self.r.choice(self.inlines)
        # Leaves: whether an argument is worked out where the body does not use it is not ours to say
        values = [self.cast(v.type, self.integer(0, True)) for v in names if isinstance(v.type, Int)]

        def run(w: World) -> int:
            found = [value.eval(w) for value in values]
            outer = {v.text: w.variables.get(v.text, 0) for v in names}
            w.variables.update({v.text: n for v, n in zip(names, found)})
            result = t.wrap(body.eval(w))
            w.variables.update(outer)
            return result

        arguments = f"[{', '.join([value.text for value in values])}]" if names else ""
        return Expr(name + arguments, t, run)

    def root(self, o: Object, depth: int) -> tuple[str, Callable[[World], tuple[Any, ...]]]:
        """How an object is written, and where its members are."""
        v = o.variable
        if v.keys is None:
            return v.text, lambda w: (v.text,)
        keys = [self.string(depth, True) if k == STRING else self.integer(depth, True) for k in v.keys]
        types = v.keys

        def where(w: World) -> tuple[Any, ...]:
            values = [k.eval(w) for k in keys]
            return (v.text, *[t.wrap(n) if isinstance(t, Int) else n for t, n in zip(types, values)])

        return f"{v.text}[{', '.join([k.text for k in keys])}]", where

    def member(self, o: Object, depth: int) -> tuple[Expr, Put]:
        """A scalar in an object: what reads it, what writes it."""
        text, where = self.root(o, depth)
        m = self.r.choice(o.shape.members)
        if m.name:
            text = f"{text}.{m.name}"
        index = Expr("", LONG, lambda w: 0)
        if m.count:
            index = self.integer(depth, True)
            index = Expr(f"((uint8_t){index.text} % {m.count})", LONG, self.modulo(index, m.count))
            text += f"[{index.text}]"
        at = lambda w: (*where(w), m.name, index.eval(w))
        t = m.type
        return Expr(text, t, lambda w: w.variables.get(at(w), 0)), lambda w, n: w.variables.__setitem__(
            at(w), t.wrap(n)
        )

    @staticmethod
    def modulo(index: Expr, count: int) -> Callable[[World], int]:
        return lambda w: (index.eval(w) & 255) % count

    def copy(self) -> tuple[str, Callable[[World], None]] | None:
        """One struct assigned to another."""
        structs = [o for o in self.objects if o.shape.name]
        if not structs:
            return None
        to = self.r.choice(structs)
        return self.assign_object(to, self.r.choice([o for o in structs if o.shape is to.shape]))

    def assign_object(self, to: Object, source: Object) -> tuple[str, Callable[[World], None]]:
        from_text, from_where = self.root(source, 1)
        to_text, to_where = self.root(to, 1)
        places = [(m.name, n) for m in to.shape.members for n in range(m.count or 1)]

        def run(w: World) -> None:
            a = from_where(w)
            values = [w.variables.get((*a, *p), 0) for p in places]
            b = to_where(w)
            w.variables.update({(*b, *p): n for p, n in zip(places, values)})

        return f"{to_text} = {from_text};", run

    def point(self) -> tuple[str, Callable[[World], None]] | None:
        """Make an object that a pointer leads to, for the clause at hand: what begins the clause."""
        structs = [o for o in self.objects if o.shape.name]
        if not structs:
            return None
        source = self.r.choice(structs)
        name = source.shape.name
        made = Object(Variable(f"(*this->q{name})", "", "object"), source.shape)
        text, run = self.assign_object(made, source)
        self.objects.append(made)
        return f"this->q{name} = (struct {name} *)alloca(sizeof (struct {name})); {text} ", run
