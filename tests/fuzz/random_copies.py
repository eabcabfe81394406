"""Random D programs that copy from this process's memory, look at the copies, keep, change and print them.

    random_copies(random.Random(7), address)     # what can be read: from there on, READABLE bytes

All they read is defined: a copy of a size known when it is compiled within that size, another within the option
scratchsize, where what was not copied is zero.
"""

from __future__ import annotations

from random import Random

READABLE = 4096
ROOM = 256  # the option scratchsize
TYPES = {"uint8_t": 1, "int8_t": 1, "uint16_t": 2, "int32_t": 4, "uint32_t": 4, "uint64_t": 8}
VARIABLES = {
    "this->p": "uint8_t", "this->q": "uint16_t", "gp": "uint8_t", "gq": "uint32_t", "kept[1]": "uint64_t",
    "self->p": "uint8_t",
}  # fmt: skip
DECLARED = """int z; uint64_t g0, g1; uint8_t *gp; uint32_t *gq; uint64_t *kept[int]; string text;
struct mixed { char a[8]; uint64_t b[3]; };
"""


def random_copies(rng: Random, address: int) -> str:
    return _Script(rng, address).text()


class _Script:
    def __init__(self, rng: Random, address: int) -> None:
        self.rng = rng
        self.address = address
        self.rooms: dict[str, int] = {}  # variables that point to a copy: bytes defined there

    def text(self) -> str:
        rng = self.rng
        clauses = []
        for _ in range(rng.choice([1, 1, 2, 2, 3])):
            self.rooms.clear()
            predicate = f"/ {self.number()} != 3 /" if rng.random() < 0.3 else ""
            body = " ".join([self.statement() for _ in range(rng.randint(1, 6))])
            clauses.append(f"{rng.choice(['BEGIN', 'BEGIN', 'END'])} {predicate} {{ {body} }}")
        return DECLARED + "\n".join(clauses)

    def source(self) -> str:
        end = READABLE - self.rng.choice([8, 16, 30, 40])
        return f"{self.address + (self.rng.choice([0, 8, 40, 100, 1000]) if self.rng.random() < 0.9 else end)}ULL"

    def copy(self) -> tuple[str, int]:
        size = self.rng.choice([0, 1, 4, 8, 8, 16, 16, 16, 24, 28, 32, 33, 40, 48, 64, 100, ROOM])
        if self.rng.random() < 0.6:  # z is 0, which only shows when it runs
            return f"copyin({self.source()}, z + {size})", ROOM
        size = max(8, size)
        return f"copyin({self.source()}, {size})", size

    def pointer(self) -> tuple[str, int]:
        if self.rooms and self.rng.random() < 0.7:
            return self.rng.choice(list(self.rooms.items()))
        return self.copy()

    def number(self) -> str:
        rng = self.rng
        how = rng.random()
        pointer, room = self.pointer()
        if how < 0.75:
            name = rng.choice(list(TYPES))
            index = min(rng.choice([0, 0, 1, 1, 2, 3, 3, 5, 7, 9, 11, 15, 20, 30]), room // TYPES[name] - 1)
            return f"((({name} *){pointer})[{'z + ' if rng.random() < 0.15 else ''}{index}])"
        if how < 0.85 and room >= 32:
            return f"((struct mixed *){pointer})->b[{rng.randrange(3)}]"
        if how < 0.9:
            return "g0 + g1"
        return f"(z ? {self.number()} : {self.number()})"

    def statement(self, nested: bool = False) -> str:
        rng = self.rng
        how = rng.random()
        if how < 0.3:
            return self.keep(nested)
        if how < 0.7:
            return f"trace({self.number()});"
        if how < 0.76:
            return f"g{rng.randrange(2)} = {self.number()};"
        if how < 0.85 and self.rooms:
            name = rng.choice(list(self.rooms))
            if how < 0.8:
                return f"copyinto({self.source()}, {rng.choice(['z + ', ''])}{rng.choice([1, 4, 8])}, {name});"
            return f"*((uint8_t *){name} + {rng.randrange(8)}) = {self.number()};"
        if how < 0.88:
            pointer, room = self.pointer()
            return f"text = stringof((char *){pointer}); trace(text);" if room == ROOM else ";"
        if how < 0.93:
            return f"@[{self.number()}] = sum({self.number()});"
        if nested:
            return f"trace({self.number()});"
        sides = [" ".join([self.statement(True) for _ in range(n)]) for n in (2, 1)]
        return f"if ({self.number()} > 5) {{ {sides[0]} }} else {{ {sides[1]} }}"

    def keep(self, nested: bool) -> str:
        """A variable that may or may not have been assigned points to the smaller of two copies."""
        name = self.rng.choice(list(VARIABLES))
        if nested and name not in self.rooms:
            return f"trace({self.number()});"
        pointer, room = self.copy()
        self.rooms[name] = min(room, self.rooms[name]) if nested else room
        return f"{name} = ({VARIABLES[name]} *){pointer};"
