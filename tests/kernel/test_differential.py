"""D on the kernel, in the IR interpreter, and worked out by hand or with Python's integers: all three agree."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import socket
import sys
from pathlib import Path

import pytest

from dsight.machine import Machine
from dsight.testing.differential import compare

sys.path.insert(0, str(Path(__file__).parents[1]))
from crules import COMPARE, EDGES, INT, INTS, LONG, UINT, ULONG, Int, binary, promote

pytestmark = pytest.mark.kernel

I8, U8, I16, U16 = INTS[:4]
DECLARED = "".join(f"{t.name} a{n}, b{n};\n" for n, t in enumerate(INTS))
FULL = (1 << 64) - 1
KINDS = ["", "self ", "this ", "[]"]  # global, thread-local, clause-local, associative


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    assert made.registry.btf  # opened once, before any test looks at what is held
    yield made
    made.close()


def values(script: str, on: Machine, **more) -> list:
    """What the clauses recorded, one after the other; nothing else may have happened."""
    left = compare(script, on=on, **more)
    assert left.faults == () and left.lost == 0
    return [value for _, recorded in left.records for value in recorded]


def literal(t: Int, n: int) -> str:
    """A constant of that type."""
    suffix = "" if t.wrap(n) < 1 << 31 else "ULL"
    if n == -(1 << 63):
        return f"(({t.name})(-{(1 << 63) - 1}LL - 1))"
    return f"(({t.name}){n}{suffix})" if n >= 0 else f"(({t.name})-{-n}LL)"


def edges(t: Int) -> list[int]:
    return sorted({t.wrap(n) for n in EDGES} | {t.wrap(-n) for n in EDGES})


# ---- integers


@pytest.mark.parametrize("op", [*"+ - * / % & | ^ << >>".split(), *COMPARE])
def test_operators(op: str, machine: Machine) -> None:
    """Every pair of types, with variables (the program computes) and with constants (the checker folds)."""
    rng = random.Random(op)
    clauses, expected = [], []
    for n, ta in enumerate(INTS):
        for m, tb in enumerate(INTS):
            a, b = rng.choice(edges(ta)), rng.choice(edges(tb))
            if op in "/%" and not b:
                b = tb.wrap(-3)
            if op in "/%" and rng.random() < 0.3:
                a, b = ta.wrap(1 << ta.bits - 1), tb.wrap(-1)
            value = binary(op, ta, a, tb, b)[1]
            clauses.append(
                f"BEGIN {{ a{n} = {literal(ta, a)}; b{m} = {literal(tb, b)}; }}\n"
                f"BEGIN {{ trace(a{n} {op} b{m}); trace({literal(ta, a)} {op} {literal(tb, b)});"
                f" trace(a{n} {op} {literal(tb, b)}); }}"
            )
            expected += [value] * 3
    assert values(DECLARED + "\n".join(clauses), machine) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", "+ - * / % & | ^ << >>".split())
def test_assignment_operators(op: str, kind: str, machine: Machine) -> None:
    """The result narrows to the variable's type, and is the expression's value."""
    rng = random.Random(op + kind)
    name, declaration = place(kind)
    clauses, expected = [], []
    for n, t in enumerate(INTS):
        for _ in range(3):
            tb = rng.choice(INTS)
            a, b = rng.choice(edges(t)), rng.choice(edges(tb)) or 7
            value = t.wrap(binary(op, t, a, tb, b)[1])
            v = name.format(f"v{n}")
            clauses.append(f"BEGIN {{ {v} = {literal(t, a)}; trace({v} {op}= {literal(tb, b)}); trace({v}); }}")
            expected += [value, value]
    declared = "".join(declaration.format(t.name, f"v{n}") for n, t in enumerate(INTS))
    assert values(declared + "\n".join(clauses), machine) == expected


def place(kind: str) -> tuple[str, str]:
    """How a variable of that kind is used, and declared (type, name)."""
    if kind == "[]":
        return '{}["k", 1]', "{} {}[string, int];\n"
    return {"": "{}", "self ": "self->{}", "this ": "this->{}"}[kind], kind + "{} {};\n"


@pytest.mark.parametrize("kind", KINDS)
def test_increment_and_decrement(kind: str, machine: Machine) -> None:
    name, declaration = place(kind)
    clauses, expected = [], []
    for n, t in enumerate(INTS):
        v = name.format(f"v{n}")
        for a in (t.wrap(1 << t.bits - 1), t.wrap((1 << t.bits - 1) - 1), 0, t.wrap(-1)):
            clauses.append(f"BEGIN {{ {v} = {literal(t, a)}; trace({v}++); trace({v}); trace(++{v}); }}")
            clauses.append(f"BEGIN {{ {v} = {literal(t, a)}; trace({v}--); trace({v}); trace(--{v}); trace({v}); }}")
            expected += [a, t.wrap(a + 1), t.wrap(a + 2)]
            expected += [a, t.wrap(a - 1), t.wrap(a - 2), t.wrap(a - 2)]
    declared = "".join(declaration.format(t.name, f"v{n}") for n, t in enumerate(INTS))
    assert values(declared + "\n".join(clauses), machine) == expected


def test_conversions(machine: Machine) -> None:
    """Casts, assignment and recording, from every type to every type."""
    clauses, expected = [], []
    for n, ta in enumerate(INTS):
        for m, tb in enumerate(INTS):
            for a in (ta.wrap(-1), ta.wrap(1 << ta.bits - 1), ta.wrap(0xA5A5A5A5A5A5A5A5), 200):
                a = ta.wrap(a)
                clauses.append(f"BEGIN {{ a{n} = {literal(ta, a)}; }}")
                clauses.append(f"BEGIN {{ trace(({tb.name})a{n}); b{m} = a{n}; trace(b{m}); trace(b{m} = a{n}); }}")
                expected += [tb.wrap(a)] * 3
    assert values(DECLARED + "\n".join(clauses), machine) == expected


def test_unary_operators(machine: Machine) -> None:
    clauses, expected = [], []
    for n, t in enumerate(INTS):
        p = promote(t)
        for a in edges(t)[:4] + edges(t)[-4:]:
            clauses.append(f"BEGIN {{ a{n} = {literal(t, a)}; }}")
            clauses.append(f"BEGIN {{ trace(-a{n}); trace(~a{n}); trace(+a{n}); trace(!a{n}); trace(!!a{n}); }}")
            expected += [p.wrap(-a), p.wrap(~a), p.wrap(a), int(not a), int(a != 0)]
    assert values(DECLARED + "\n".join(clauses), machine) == expected


def test_literals_have_the_types_of_c(machine: Machine) -> None:
    cases = [
        ("2147483647 + 1", INT.wrap(1 << 31)),
        ("2147483648 + 1", (1 << 31) + 1),
        ("0x7fffffff + 1", INT.wrap(1 << 31)),
        ("0xffffffff + 1", 0),
        ("4294967295 + 1", 1 << 32),
        ("1u - 2", (1 << 32) - 1),
        ("1ul - 2", (1 << 64) - 1),
        ("9223372036854775807 + 1", -(1 << 63)),
        ("18446744073709551615 + 1", 0),
        ("-1 < 1u", 0),
        ("-1l < 1u", 1),
        ("-1l < 1ul", 0),
        ("'a' + 1", 98),
        ("010 + 0x10", 24),
        ("sizeof(int)", 4),
        ("sizeof(char) + sizeof(short) + sizeof(long) + sizeof(void *)", 1 + 2 + 8 + 8),
        ("sizeof(a0) + sizeof(a6)", 9),
        ("sizeof(1 ? a0 : a1)", 4),
        ("sizeof(struct sockaddr_in)", 16),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("-7 >> 1", -4),
        ("-7u >> 28", 15),
        ("1 << 31", -(1 << 31)),
        ("1 << 33", 0),
        ("1l << 33", 1 << 33),
    ]
    script = DECLARED + "BEGIN { " + " ".join(f"trace({text});" for text, _ in cases) + " }"
    assert values(script, machine) == [value for _, value in cases]


# ---- order, side effects, branches

EFFECTS = [
    # statements; what they record
    ("x = 1; trace(x && x++); trace(x);", [1, 2]),
    ("x = 0; trace(x && x++); trace(x);", [0, 0]),
    ("x = 0; trace(x++ || x++); trace(x);", [1, 2]),
    ("x = 1; trace(x || x++); trace(x);", [1, 1]),
    ("x = 2; trace(x++ ^^ x--); trace(x);", [0, 2]),
    ("x = 0; trace(!(x = 5)); trace(x);", [0, 5]),
    ("x = 1; y = pid ? (x = 2) : 3; trace(x); trace(y);", [2, 2]),
    ("x = 1; y = !pid ? (x = 2) : (x += 10); trace(x); trace(y);", [11, 11]),
    ("x = 1; y = pid ? 7 : (x = 2); trace(x); trace(y);", [1, 7]),
    ("x = 1; trace((x = 5, x + 1)); trace(x);", [6, 5]),
    ("x = 3; trace(x + (x = 5)); trace(x + x++ + x);", [8, 5 + 5 + 6]),
    ("x = 3; y = x; x = 4; trace(y);", [3]),
    ("x = y = 300; trace(x); trace(y);", [300, 300]),
    ("c = 200; x = c = 300; trace(x); trace(c);", [44, 44]),
    ("x = 5; x += x; trace(x); x -= x; trace(x);", [10, 0]),
    ("x = -1; trace(x >> 63); trace((uint64_t)x >> 63); trace((unsigned)x >> 1);", [-1, 1, (1 << 31) - 1]),
    ("x = 0; a[x++] += 5; trace(x); trace(a[0]); trace(a[1]);", [1, 5, 0]),
    ("x = 0; a[x++]++; trace(x); trace(a[0]);", [1, 1]),
    ("a[1] = 7; a[1] = 0; trace(a[1]); a[1] |= 8; trace(a[1]);", [0, 8]),
    ("a[1] = 7; trace(a[1] ? a[1] - 7 ? 1 : 2 : 3);", [2]),
    ("p = (int *)alloca(16); *p++ += 4; *p = 9; trace(p[-1]); trace(*p);", [4, 9]),
    ("f = 1; f += 5; trace(f); f = 0; f--; trace(f); f = 256; trace(f);", [1, 1, 1]),
    ("x = 2; if (x == 2) { x = 3; } else { x = 4; } trace(x);", [3]),
    ("x = 2; if (x != 2) { x = 3; } trace(x); if (x == 2) { x++; if (x == 3) { x = 9; } } trace(x);", [2, 9]),
    ("x = 1; if (x) { trace(1); } else { trace(2); trace(3); } trace(4);", [1, None, None, 4]),
    ("x = 0; if (x++) { trace(1); } else if (x) { trace(x); } else { trace(3); }", [None, 1, None]),
    ("if (1) { trace(1); if (0) { trace(2); } trace(3); }", [1, None, 3]),
    ('s = pid ? "yes" : "no"; trace(s); trace(!pid ? "yes" : s); trace((x = 1, s));', ["yes", "yes", "yes"]),
    ('x = 0; s = (x = 3) ? (x++, "a") : (x--, "b"); trace(s); trace(x);', ["a", 4]),
    ('s = "a"; t = s; s = "b"; trace(t); s = t; trace(s); s = s; trace(s);', ["a", "a", "a"]),
    ('s = "abc"; s = 0; trace(s); trace(s == "");', ["", 1]),
]


@pytest.mark.parametrize(("body", "expected"), EFFECTS)
def test_effects(body: str, expected: list, machine: Machine) -> None:
    declared = "int64_t x, y; uint8_t c; bool f; int64_t a[int64_t]; string s, t;\n"
    assert values(f"{declared}BEGIN {{ {body} }}", machine) == expected
    if "alloca" not in body:  # each statement in a clause of its own: nothing is remembered but the variables
        apart = "\n".join(f"BEGIN {{ {part}; }}" for part in body.split(";") if part.strip())
        if "if" not in body:
            assert values(declared + apart, machine) == expected


def test_clause_locals_live_for_one_firing(machine: Machine) -> None:
    script = """
    this int8_t n; this string s;
    BEGIN { trace(this->n); trace(this->s); this->n = 300; this->s = "text"; }
    BEGIN /this->n == 44/ { trace(this->n++); trace(this->s); this->s = this->s == "text" ? "other" : ""; }
    BEGIN { trace(this->n); trace(this->s); }
    END { trace(this->n); trace(this->s); }
    """
    assert values(script, machine) == [0, "", 44, "text", 45, "other", 0, ""]


def test_thread_locals_and_globals_live_on(machine: Machine) -> None:
    script = """
    self int16_t n; self string s; string g;
    BEGIN { self->n = -2; self->s = "thread"; g = "all"; self->k[pid, "x"] = 5; }
    END { trace(self->n); trace(self->s); trace(g); trace(self->k[pid, "x"]); trace(self->k[pid, "y"]); self->n = 0; }
    END { trace(self->n); trace(pid); trace(execname == "" ? 1 : 0); trace(probename); }
    """
    assert values(script, machine) == [-2, "thread", "all", 5, 0, 0, os.getpid(), 0, "END"]


# ---- strings

LENGTHS = [0, 1, 2, 6, 7, 8, 9, 15, 16, 17, 31, 32, 62, 63, 64, 65, 127, 128, 254, 255]


@pytest.mark.parametrize("length", LENGTHS)
def test_strings_of_every_length(length: int, machine: Machine) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(length))
    longer, other = text + "z", text[:-1] + "~"
    body = f'''
    string g, h; self string t; this string c;
    BEGIN {{ g = "{text}"; self->t = g; this->c = self->t; m[1] = this->c; n[m[1], 2] = m[1]; h = "{other}"; }}
    BEGIN {{
        trace(g); trace(self->t); trace(this->c); trace(m[1]); trace(n[g, 2]); trace("{text}");
        trace(strlen(g)); trace(strlen(self->t)); trace(strlen("{text}"));
        trace(g == self->t); trace(this->c == m[1]); trace(g == "{text}"); trace("{text}" != m[1]);
        trace("{text}" == "{text}"); trace(g != h); trace(g < h); trace("{other}" > g); trace(h <= g); trace(g >= g);
        trace(g == "{longer}"); trace("{longer}" > g); trace(g < "{longer}"); @[g] = sum(2); @[m[1]] = sum(3);
        @[n[g, 2]] = sum(-1); printf("%s|%s", g, this->c);
    }}'''
    differs = int(text != other)
    whole = 255  # with its NUL, a string takes at most 256 bytes: the longer one does not fit where it is stored
    expected = [text] * 6 + [length] * 3 + [1, 1, 1, 0, 1, differs, differs, differs, 1 - differs, 1]
    left = compare(body, on=machine)
    assert left.faults == ()
    recorded = [value for _, found in left.records for value in found]
    assert recorded == [*expected, int(length > whole), 1, 1, text, text]
    assert left.aggregations == {"": {(text,): 4}}


def test_strings_are_cut_to_strsize(machine: Machine) -> None:
    script = 'BEGIN { s = "0123456789"; trace(s); trace(strlen(s)); k[s] = 1; trace(k["01234567"]); trace(execname); }'
    name = Path("/proc/thread-self/comm").read_text().rstrip("\n")
    assert values(script, machine, options={"strsize": "8"}) == ["0123456", 7, 1, name[:7]]


def test_bytes_are_compared_unsigned(machine: Machine) -> None:
    script = (
        r'BEGIN { s = "\xff"; trace(s > "a"); trace(s == "\xff"); trace("\x80" < "\xff"); t = "\177"; trace(t < s); }'
    )
    assert values(script, machine) == [1, 1, 1, 1]


def test_strings_of_user_memory(machine: Machine) -> None:
    text = b"seven!!" + b"x" * 300
    buffer = ctypes.create_string_buffer(text + b"\0" + bytes(range(64)))
    at = ctypes.addressof(buffer)
    contents = bytes(buffer)
    script = f"""
    BEGIN {{
        trace(copyinstr({at}ULL)); trace(copyinstr({at}ULL, 3)); trace(copyinstr({at + len(text)}ULL));
        trace(strlen(copyinstr({at + 7}ULL))); trace(copyinstr({at}ULL) == copyinstr({at}ULL));
        this->p = (uint32_t *)copyin({at + len(text) + 1}ULL, 64); trace(this->p[0]); trace(this->p[15]);
        this->q = (int8_t *)copyin({at}ULL, 4); trace(this->q[3]); trace(stringof(this->q) == "seve");
    }}"""
    cut = text[:255].decode()
    assert values(script, machine, memory=((at, contents),))[:8] == [
        cut, "sev", "", 255, 1, 0x03020100, 0x3F3E3D3C, ord("e"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reads", "longer", "shorter"),
    [
        ("trace(P[0]); trace(P[2]); trace(P[11]);", [FULL, FULL, FULL], [FULL, 0xFFFFFF, 0]),
        ("trace(P[z]); trace(P[z + 11]);", [FULL, FULL], [FULL, 0]),
        ("trace(strlen(stringof(P)));", [96], [19]),
        ("trace(((struct big *)P)->b[2]);", [FULL], [0]),
        ("this->t = *(struct big *)P; trace(this->t.b[2]);", [FULL], [0]),
        ("this->p = P; trace(this->p[1]); trace(this->p[11]);", [FULL, FULL], [FULL, 0]),
        ("this->p = P; trace(this->p[z + 1]); trace(this->p[11]);", [FULL, FULL], [FULL, 0]),
        ("kept = P; trace(kept[1]); trace(kept[11]);", [FULL, FULL], [FULL, 0]),
        ("k[0] = P; trace(k[0][1]); trace(k[0][11]);", [FULL, FULL], [FULL, 0]),
    ],
)
def test_what_copyin_does_not_fill_is_zero(machine: Machine, reads: str, longer: list, shorter: list) -> None:
    """A size known only when it runs (z is 0); the memory held more before."""
    buffer = ctypes.create_string_buffer(b"\xff" * 100)
    at = ctypes.addressof(buffer)
    copies = ["BEGIN { " + reads.replace("P", f"((uint64_t *)copyin({at}ULL, z + {n}))") + " }" for n in (96, 19)]
    script = "struct big { char a[16]; uint64_t b[8]; }; uint64_t *kept; uint64_t *k[int]; int z;\n" + "\n".join(copies)
    assert values(script, machine, memory=((at, bytes(buffer)),)) == longer + shorter


def test_copyin_of_any_size(machine: Machine) -> None:
    """Up to the end of what can be read, and beyond; more than there is room for."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    memory[:page] = b"\xff" * page
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(at + page), page, 0)
    sizes = [0, 8, 11, 12, 32, 33, 60, 61, 256, 257]
    start = at + page - 60
    reads = [f"BEGIN {{ this->p = (uint8_t *)copyin({start}ULL, z + {n}); trace(this->p[11]); }}" for n in sizes]
    left = compare("int z;" + "\n".join(reads), on=machine, memory=((at, bytes(memory[:page])),))
    assert [value for _, (value,) in left.records] == [255 * (n > 11) for n in sizes if n <= 60]
    bad = f"invalid address ({start:#x})"
    assert [fault.partition(" in ")[0] for fault in left.faults] == [bad, bad, "out of scratch space (0x0)"]


def test_a_variable_only_written_here_is_read_there(machine: Machine) -> None:
    script = """BEGIN { x = 3; y = 5; s = "five"; this->z = x; trace(this->z); }
    BEGIN / x == 3 / { x++; trace(s); } END { trace(x + y); }"""
    assert values(script, machine) == [3, "five", 9]


# ---- associative arrays and aggregations


def test_keys_are_told_apart(machine: Machine) -> None:
    """By value, not by what they were computed from; negative, unsigned, short and long text."""
    script = """
    int64_t a[int64_t, string]; uint8_t c;
    BEGIN { c = 255; a[-1, ""] = 1; a[255, ""] = 2; a[4294967295, ""] = 3; a[1, "x"] = 4; a[1, "xy"] = 5; }
    BEGIN { trace(a[-1, ""]); trace(a[c, ""]); trace(a[(int8_t)c, ""]); trace(a[(unsigned)-1, ""]); trace(a[1, "x"]); }
    BEGIN { this->s = "xyz"; this->s = "x"; trace(a[1, this->s]); this->s = "xy"; trace(a[1, this->s]); }
    BEGIN { trace(a[2, ""]); }
    BEGIN { a[1, "x"] = 0; trace(a[1, "x"]); trace(a[1, "xy"]); a[1, this->s] += 10; trace(a[1, "xy"]); }
    """
    assert values(script, machine) == [1, 2, 1, 3, 4, 4, 5, 0, 0, 5, 15]


AGGREGATED = [0, 1, -1, 2, -2, 3, 7, 8, 9, -8, -9, 1023, 1024, (1 << 31), (1 << 62), (1 << 63) - 1, -(1 << 63), 5]


@pytest.mark.parametrize("t", [I8, U8, INT, UINT, LONG, ULONG], ids=lambda t: t.name)
def test_aggregating_functions(t: Int, machine: Machine) -> None:
    given = [t.wrap(n) for n in AGGREGATED]
    wide = LONG if t.signed else ULONG
    names = ["sum", "min", "max", "avg"]
    clauses = []
    for n, value in enumerate(given):
        updates = "".join(f"@{f}{k} = {f}(v); " for f in names for k in ("", f"k[{n % 3}]"))
        clauses.append(
            f"BEGIN {{ v = {literal(t, value)}; @c = count(); @ck[v, v % 2] = count(); {updates}"
            "@quantize = quantize(v); @q[execname] = quantize(v); @l = lquantize(v, -8, 9, 2); }"
        )
    left = compare(f"{t.name} v;\n" + "\n".join(clauses), on=machine)
    assert left.faults == () and left.lost == 0
    found = left.aggregations
    assert found["c"] == {(): len(given)}
    assert sum(found["ck"].values()) == len(given) and len(found["ck"]) == len(set(given))
    groups = {(n,): given[n::3] for n in range(3)}

    def average(some: list[int]) -> int:
        total = wide.wrap(sum(some))
        return total // len(some) if total >= 0 else -(-total // len(some))

    rules = {"sum": lambda some: wide.wrap(sum(some)), "min": min, "max": max, "avg": average}
    for name, rule in rules.items():
        assert found[name] == {(): rule(given)}, name
        assert found[name + "k"] == {key: rule(some) for key, some in groups.items()}, name

    def bucket(n: int) -> int:
        return 0 if not n else (1 if n > 0 else -1) * (1 << abs(n).bit_length() - 1)

    labels = sorted(
        {-(1 << k) for k in range(64 if t.signed else 63)} | {0} | {1 << k for k in range(63 + (not t.signed))}
    )
    counts = tuple(sum(bucket(n) == label for n in given) for label in labels)
    assert found["quantize"] == {(): counts}
    assert list(found["q"].values()) == [counts]
    bounds = list(range(-8, 9, 2))
    places = [sum(n >= bound for bound in bounds) for n in given]
    assert found["l"] == {(): tuple(places.count(n) for n in range(len(bounds) + 1))}


# ---- faults

FAULTS = [
    # statements after trace(1); the fault
    ("trace(7 / z);", "divide-by-zero (0x0)"),
    ("trace(7 % z);", "divide-by-zero (0x0)"),
    ("x /= z;", "divide-by-zero (0x0)"),
    ("x %= z;", "divide-by-zero (0x0)"),
    ("trace(z && 1 / z); if (z == 0) { trace(1u / z); }", "divide-by-zero (0x0)"),
    ("@ = sum(1 / z);", "divide-by-zero (0x0)"),
    ("@[1 / z] = count();", "divide-by-zero (0x0)"),
    ("a[1 / z] = 3;", "divide-by-zero (0x0)"),
    ("trace(*(int *)0);", "invalid address (0x0)"),
    ("trace(*(int *)16);", "invalid address (0x10)"),
    ("trace(((struct task_struct *)0)->pid);", None),
    ("trace(*(char *)copyin(1, 4));", "invalid address (0x1)"),
    ("s = copyinstr(8);", "invalid address (0x8)"),
    ("trace(stringof((char *)24));", "invalid address (0x18)"),
    ("this->p = (char *)copyin(1, z + 5000);", "out of scratch space (0x0)"),
]


@pytest.mark.parametrize(("body", "fault"), FAULTS)
def test_faults_end_the_clause_alone(body: str, fault: str | None, machine: Machine) -> None:
    script = f"""
    int64_t x, z; string s; int a[int64_t];
    BEGIN {{ x = 5; s = "kept"; }}
    BEGIN {{ trace(1); x++; {body} x = 100; trace(2); }}
    BEGIN {{ trace(x); trace(s); }}
    ERROR {{ trace(arg2); trace(arg4); y += 10; }}
    BEGIN {{ trace(y); }}
    """
    left = compare(script, on=machine)
    assert len(left.faults) == 1 and left.faults[0].endswith(" in clause 1")
    assert fault is None or left.faults[0].startswith(fault)
    number = {"d": 4, "i": 1, "o": 5}[left.faults[0][0]]
    assert [clause for clause, _ in left.records] == [3, 2, 4]
    assert left.records[0][1][1] == number
    assert left.records[1:] == ((2, (6, "kept")), (4, (10,)))
    assert not any(left.aggregations.values())


def test_faulting_predicates(machine: Machine) -> None:
    left = compare("int z; BEGIN /1 \x2f z/ { trace(1); } BEGIN /z || 1/ { trace(2); }", on=machine)
    assert left.faults == ("divide-by-zero (0x0) in clause 0",)
    assert left.records == ((1, (2,)),)


# ---- subroutines


def test_byte_order(machine: Machine) -> None:
    numbers = [0, 1, 0x1234, 0xFFFE, 0x12345678, 0xFFFFFFFE, 0x0102030405060708, 0xFEDCBA9876543210]
    clauses, expected = [], []
    for n in numbers:
        parts = []
        for name, size in (("s", 2), ("l", 4), ("ll", 8)):
            swapped = int.from_bytes((n & (1 << 8 * size) - 1).to_bytes(size, "little"), "big")
            for f in ("ntoh", "hton"):
                parts += [f"trace({f}{name}(x));", f"trace({f}{name}({n}ULL));"]
                expected += [swapped, swapped]
        clauses.append(f"BEGIN {{ x = {n}ULL; {' '.join(parts)} }}")
    assert values("uint64_t x;\n" + "\n".join(clauses), machine) == expected


def test_arguments_are_worked_out_from_left_to_right(machine: Machine) -> None:
    script = """
        int v; string s;
        BEGIN {
            v = 5;
            trace(substr((v += 1) ? "abcdefgh" : "", v -= 4, v += 1)); trace(v);
            trace(index((v -= 3) ? "" : "abab", "b", v += 2)); trace(v);
            trace(rindex((v *= 3) ? "abab" : "x", "a", v -= 5)); trace(v);
            trace(strchr((v += 96) ? "xab" : "", v)); trace(lltostr(v = 8, v));
        }"""
    assert values(script, machine) == ["cde", 3, 3, 2, 0, 1, "ab", "010"]


ADDRESSES = ["0.0.0.0", "127.0.0.1", "192.168.255.1", "255.255.255.255", "::", "::1", "2001:db8::ff00:42:8329",
             "fe80::1", "::ffff:10.0.0.1", "ff02::1:ff00:0"]  # fmt: skip


def test_addresses(machine: Machine) -> None:
    clauses = []
    for text in ADDRESSES:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        packed = socket.inet_pton(family, text)
        stores = " ".join(f"this->p[{n}] = {byte};" for n, byte in enumerate(packed))
        name = "inet_ntoa" if family == socket.AF_INET else "inet_ntoa6"
        kind = "ipaddr_t" if family == socket.AF_INET else "struct in6_addr"
        clauses.append(
            f"BEGIN {{ this->p = (uint8_t *)alloca(16); {stores} trace(inet_ntop({int(family)}, this->p)); "
            f'printf("%s", {name}(({kind} *)this->p)); trace(inet_ntop(f = {int(family)}, this->p) == "{text}"); '
            f'trace(inet_ntop({int(family)}, this->p) == "1.2.3.4"); '
            f"trace(inet_ntop({int(family)}, this->p) == {name}(({kind} *)this->p)); this->p[3]++; "
            f"trace({name}(({kind} *)this->p) == inet_ntoa((ipaddr_t *)this->p)); this->p[3]--; "
            f"@[inet_ntop({int(family)}, this->p)] = count(); }}"
        )
    left = compare("int f;\n" + "\n".join(clauses), on=machine)
    assert [found for _, found in left.records] == [(text, text, 1, 0, 1, int(":" not in text)) for text in ADDRESSES]
    assert left.aggregations == {"": {(text,): 1 for text in ADDRESSES}}


def test_exit_ends_with_its_clause(machine: Machine) -> None:
    script = "BEGIN { trace(1); exit(3); trace(2); } BEGIN { trace(4); } END { trace(5); }"
    assert values(script, machine) == [1, 3, 2, 4, 5]


# ---- what has been read is not read again


ADDRESS = "trace(*(int *)8);"  # aborts its clause


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("BEGIN { x[1] = 5; this->i = 1; x[this->i] = 6; trace(x[1]); x[this->i] = 0; trace(x[1]); }", [6, 0]),
        ("BEGIN { x[2]++; trace(x[2]); trace(x[2]++); trace(x[2]); }", [1, 1, 2]),
        ("BEGIN { self->x[1] = 3; this->k = 1; self->x[this->k] += self->x[1]; trace(self->x[1]); }", [6]),
        (
            "BEGIN { self->a = 3; x[1] = 5; } BEGIN /self->a == 3/ { self->a = 4; x[1]++; }"
            "BEGIN /self->a == 3/ { trace(1); }"
            "BEGIN { trace(self->a); if (x[1] == 6) { x[1] = 9; self->a = 0; } trace(x[1]); trace(self->a); }",
            [4, 9, 0],
        ),
        (
            f"BEGIN {{ self->a = 3; }} BEGIN {{ trace(self->a); self->a = 7; {ADDRESS} }} BEGIN {{ trace(self->a); }}",
            [7],
        ),
        (
            f"BEGIN {{ self->a = 3; x[1] = 2; y = 1; }} BEGIN {{ trace(self->a); trace(x[1]); trace(y); {ADDRESS} }}"
            "BEGIN { trace(self->a); trace(x[1]); trace(y); } ERROR { self->a = 55; x[1] = 66; y = 77; }",
            [55, 66, 77],
        ),
        (
            "BEGIN /(self->a = 4) && *(int *)8 == 3 && (self->b = 7)/ { trace(1); }"
            "BEGIN { trace(self->a); trace(self->b); }",
            [4, 0],
        ),
    ],
)
def test_what_is_known_of_variables(script: str, expected: list[int], machine: Machine) -> None:
    """... unless it was assigned meanwhile, under another name, on another way, or by ERROR."""
    left = compare(script, on=machine)
    assert [value for _, recorded in left.records for value in recorded] == expected
    assert len(left.faults) == ("(int *)8" in script)
