"""Types and expressions on the kernel and in the IR interpreter alike, against what C makes of them.

Expected values were worked out by hand, by ctypes (layout, bit-fields) or by Python's integers.
"""

from __future__ import annotations

import ctypes
import random

import pytest

from dsight.api import Trace
from dsight.machine import Machine
from dsight.testing.differential import compare

pytestmark = pytest.mark.kernel

S = """struct s { int a; char b; long c; unsigned f1:3, f2:12; int f3:5; short arr[6]; struct { int x, y; } in[3]; };
struct pair { int x; int y; };
"""


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    assert made.registry.btf  # opened once, before any test looks at what is held
    yield made
    made.close()


def left(text: str, machine: Machine) -> tuple[object, ...]:
    """What a script traces: the same both ways, with no fault."""
    outcome = compare(text, on=machine)
    assert outcome.faults == ()
    assert outcome.lost == 0
    return tuple(value for _, values in outcome.records for value in values)


CASES: dict[str, tuple[str, tuple[object, ...]]] = {
    # structs by value
    "members of a global": (
        "struct s g; BEGIN { g.a = -5; g.b = 200; g.c = 1234567890123; trace(g.a); trace(g.b); trace(g.c); }",
        (-5, -56, 1234567890123),
    ),
    "bit-fields truncate": (
        "struct s g; BEGIN { g.f1 = 9; g.f2 = 4095; g.f3 = 17; trace(g.f1); trace(g.f2); trace(g.f3); }",
        (1, 4095, -15),
    ),
    "bit-fields count on": (
        "struct s g; BEGIN { g.f1 = 7; trace(g.f1++); trace(g.f1); g.f3 = 15; trace(++g.f3); g.f2 -= 1; trace(g.f2); }",
        (7, 0, -16, 4095),
    ),
    "the value of an assignment is the bit-field's": ("struct s g; BEGIN { trace(g.f3 = 31); }", (-1,)),
    "wide bit-fields": (
        """struct w { unsigned long a:40, b:24; _Bool c:1; int d:31; }; struct w x;
        BEGIN { x.a = 0x123456789a; x.b = 0xabcdef; x.c = 4; x.d = -1; x.b += 2;
        trace(x.a); trace(x.b); trace(x.c); trace(x.d); trace(x.d = 0x7fffffff); }""",
        (0x123456789A, 0xABCDEF + 2, 1, -1, -1),
    ),
    "clause-local": (
        """this struct s t; BEGIN { this->t.a = 7; this->t.arr[3] = 99; this->t.in[2].y = 12; trace(this->t.a);
        trace(this->t.arr[3]); trace(this->t.in[2].y); trace(this->t.in[1].x); }""",
        (7, 99, 12, 0),
    ),
    "clause-local is shared by the clauses of one firing": (
        "this struct s t; BEGIN { this->t.a = 7; } BEGIN { trace(this->t.a); }",
        (7,),
    ),
    "clause-local is zero when the probe fires": ("this struct s t; BEGIN { trace(this->t.in[2].y); }", (0,)),
    "thread-local": (
        "self struct s t; BEGIN { self->t.a = 7; trace(self->t.c); } END { trace(self->t.a); }",
        (0, 7),
    ),
    "associative": (
        """struct s a[int, string]; BEGIN { a[1, "x"].a = 7; a[1, "x"].f2 = 77; a[2, "y"] = a[1, "x"]; a[2, "y"].a++;
        trace(a[2, "y"].a); trace(a[2, "y"].f2); trace(a[1, "x"].a); trace(a[3, "z"].a); }""",
        (8, 77, 7, 0),
    ),
    "by first assignment, in every scope": (
        """BEGIN { this->p = (struct s *)alloca(sizeof (struct s)); this->p->a = 4; this->p->arr[2] = 6;
        this->s = *this->p; g = this->s; self->s = g; h[1] = self->s; this->p->a = 0;
        trace(h[1].a + self->s.a + g.a + this->s.a); trace(h[1].arr[2]); }""",
        (16, 6),
    ),
    "a choice, an assignment, a comma are structs": (
        """this struct s t; self struct s u; struct s v; BEGIN { this->t.a = 3; this->i = 1;
        v = this->i ? this->t : self->u; trace(v.a); trace((this->i ? this->t : self->u).a);
        trace((self->u = v).a); trace((this->i = 0, v).a); self->u = v = this->t; trace(self->u.a); }""",
        (3, 3, 3, 3, 3),
    ),
    "large": (
        """struct big { char x[4000]; int y; }; struct big g; this struct big t;
        BEGIN { g.y = 5; g.x[3999] = 1; this->t = g; self->b = this->t; trace(self->b.y + self->b.x[3999]); }""",
        (6,),
    ),
    "from copied-in memory": (
        """struct sin { uint16_t family; uint16_t port; uint8_t a[4]; uint8_t zero[8]; };
        BEGIN { self->sa = *(struct sin *)alloca(16); self->sa.port = htons(80); self->sa.a[0] = 127; self->sa.a[3] = 1;
        trace(ntohs(self->sa.port)); trace(inet_ntoa((ipaddr_t *)self->sa.a)); trace(inet_ntoa(&self->sa.a)); }""",
        (80, "127.0.0.1", "127.0.0.1"),
    ),
    "of unions": (
        """union u { int i; unsigned char c[4]; }; this union u u; union u v;
        BEGIN { this->u.i = 0x01020304; trace(this->u.c[0]); this->u.c[3] = 0xff; v = this->u; trace(v.i); }""",
        (4, -16645372),
    ),
    "0 clears, and gives storage back": (
        """struct s g; struct s a[int]; self int v[4]; BEGIN { g.a = 1; g = 0; a[1].a = 2; a[1] = 0; self->v[1] = 3;
        self->v = 0; trace(g.a); trace(a[1].a); trace(self->v[1]); }""",
        (0, 0, 0),
    ),
    # arrays
    "a run-time index": (
        """int a[10]; BEGIN { this->i = 3; a[this->i] = 5; a[this->i + 1] = a[this->i] * 2; trace(a[3]); trace(a[4]);
        trace(a[this->i + 2]); }""",
        (5, 10, 0),
    ),
    "arrays of arrays": (
        """this char a[4][5]; BEGIN { this->i = 2; this->j = 3; this->a[this->i][this->j] = 9; trace(this->a[2][3]);
        trace(this->a[this->j][this->i]); trace(sizeof (this->a)); trace(sizeof (this->a[0])); }""",
        (9, 0, 20, 5),
    ),
    "thread-local arrays": (
        """self long a[8]; BEGIN { this->i = 2; self->a[this->i] = 9; self->a[this->i] <<= 3; trace(self->a[2]);
        trace(self->a[this->i + 5]); }""",
        (72, 0),
    ),
    "an index is evaluated once": (
        """self int a[4]; BEGIN { i = 0; self->a[i++] = 1; self->a[i++] += 2; self->a[i++]++;
        trace(self->a[0] + 10 * self->a[1] + 100 * self->a[2]); trace(i); }""",
        (121, 3),
    ),
    "arrays of structs with arrays": (
        "struct s a[3]; BEGIN { this->i = 1; a[this->i].in[this->i + 1].y = 4; trace(a[1].in[2].y); a[2] = a[this->i]; "
        "trace(a[2].in[this->i + 1].y); }",
        (4, 4),
    ),
    "an array decays to a pointer": (
        """char a[8]; BEGIN { p = a; *p = 65; p[1] = 66; q = &a[1]; trace(stringof(p)); trace(*a); trace(sizeof (a));
        trace(sizeof (p)); trace(q - p); trace(q > p); trace(*(a + 1)); }""",
        ("AB", 65, 8, 8, 1, 1, 66),
    ),
    "an array of char is a string": (
        'char a[8]; BEGIN { a[0] = 65; trace(a); trace(a == "A"); trace(strlen(a)); x[a] = 3; trace(x["A"]); }',
        ("A", 1, 1, 3),
    ),
    # pointers
    "into a global": (
        """struct s g; BEGIN { q = &g.in[1].y; *q = 5; trace(g.in[1].y); } BEGIN { *q += 2; trace(g.in[1].y); }""",
        (5, 7),
    ),
    "into scratch, with run-time offsets": (
        """BEGIN { p = (int *)alloca(40); this->i = 3; *(p + this->i) = 5; p[this->i - 1] = 4; q = p + this->i;
        *(q - 1) += 3; trace(*q); trace(q[-1]); trace(q - p); trace(q > p); trace(p == q - 3); }""",
        (5, 7, 3, 1, 1),
    ),
    "in a later clause": ("BEGIN { p = (int *)alloca(8); } BEGIN { *p = 4; *p += 5; trace(*p); }", (9,)),
    "as numbers": (
        """BEGIN { p = (long)alloca(16); trace(p % 8); trace((int)(p & 7)); x[p] = 1; self->p = p; trace(self->p - p);
        trace(-p + p); trace(x[p]); trace(!p); trace(p ? 1 : 2); }""",
        (0, 0, 0, 0, 1, 0, 1),
    ),
    "lists": (
        """struct n { int a; struct n *next; }; struct n x; BEGIN { x.next = (struct n *)alloca(16); x.next->a = 3;
        x.next->a += 4; trace(x.next->a); (*x.next).a = 1; trace(x.next->a--); trace(x.next->a);
        trace(x.next->next == NULL); }""",
        (7, 1, 0, 1),
    ),
    "to structs move by their size": (
        """BEGIN { this->p = (struct pair *)alloca(32); this->q = this->p + 1; trace((long)this->q - (long)this->p);
        this->q++; trace(this->q - this->p); this->q -= 2; trace(this->q == this->p);
        trace(&this->p[1] > this->p); }""",
        (8, 2, 1, 1),
    ),
    "to functions": (
        """typedef int (*fn)(int); fn f; struct ops { fn open; }; struct ops o; BEGIN { f = (fn)0x1234; o.open = f;
        trace((uintptr_t)f); trace(o.open == (fn)0x1234); trace(f != NULL); }""",
        (0x1234, 1, 1),
    ),
    # enums
    "enums print as integers": (
        """enum color { RED, GREEN = 5, BLUE }; enum color c; BEGIN { c = BLUE; trace(c); trace(GREEN + 1);
        trace(sizeof (c)); this->c = (enum color)5; trace(this->c == GREEN); trace(-GREEN < RED); }""",
        (6, 6, 4, 1, 1),
    ),
    # sizes
    "sizeof": (
        """BEGIN { trace(sizeof (int[3])); trace(sizeof (struct { char a; int b; })); trace(sizeof "abc");
        trace(sizeof (1L + 1)); trace(sizeof (((struct s *)0)->arr)); trace(sizeof (char)); trace(sizeof 'a'); }""",
        (12, 8, 4, 8, 12, 1, 4),
    ),
    "offsetof": ("BEGIN { trace(offsetof(struct s, in)); trace(offsetof(struct s, arr)); }", (32, 20)),
    "offsetof a member's member": (
        "struct o { int a; struct { char b; int c[4]; } d; }; BEGIN { trace(offsetof(struct o, d.c)); }",
        (8,),
    ),
    # casts and conversions
    "casts between scalars": (
        """BEGIN { trace((char)300); trace((unsigned char)300); trace((short)70000); trace((unsigned short)-1);
        trace((int)5000000000); trace((unsigned)-1); trace((unsigned long)(unsigned)-1); trace((_Bool)7);
        trace((uint8_t)-1 + 1); trace((char)(short)(int)-129); trace((int)(void *)0x1ffffffff); }""",
        (44, 44, 4464, 65535, 705032704, 4294967295, 4294967295, 1, 256, 127, -1),
    ),
    "comparison of mixed signedness": (
        """BEGIN { this->m = -1; this->u = 1u; this->l = -1L; this->ul = 1ul; trace(this->m < this->u);
        trace(this->l < this->u); trace(this->m < this->ul); trace((char)this->m < (unsigned char)this->u); }""",
        (0, 1, 0, 1),
    ),
    "bit-fields are promoted to int where it holds them": (
        """struct b { unsigned a:3; int b:3; unsigned d:32; unsigned long c:33; }; struct b x;
        BEGIN { x.a = 7; x.b = -1; x.c = 1; trace(x.a - 8); trace(x.b < 0); trace(x.a > -1);
        trace(x.d - 1 > 0); trace(sizeof (x.a + 0)); }""",
        (-1, 1, 1, 1, 4),
    ),
    "so are those just assigned": (
        """struct b { unsigned a:3; unsigned d:32; }; struct b x; BEGIN { trace(-1 < (x.a = 5)); trace(-1 < (x.a %= 3));
        trace(-1 < ++x.a); trace(-1 < x.a++); trace(-1 < (0, x.a)); trace(-1 < (x.d = 5)); }""",
        (1, 1, 1, 1, 1, 0),
    ),
    "a choice has the common type": (
        "BEGIN { this->i = 1; trace(this->i ? -1 : 1u); trace(this->i ? -1 : 1ul); trace(this->i ? (char)-1 : 'a'); }",
        (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, -1),
    ),
    "a choice of pointers": (
        """BEGIN { p = (int *)alloca(4); *p = 3; this->i = 1; trace(*(this->i ? p : 0)); trace(*(this->i ? p : NULL));
        this->v = this->i ? (void *)p : p; trace(*(int *)this->v); trace(*(!this->i ? 0 : p)); }""",
        (3, 3, 3, 3),
    ),
    "comma": ("BEGIN { x = (1, 2, 3); y = (x++, x); trace(y); trace((x = 5, x + 1)); }", (4, 6)),
    "assignments have values": (
        "BEGIN { this->y = this->x = 7; a = b = c = 3; a <<= b; trace(this->y); trace(a); "
        "a ^= 0xff; a %= 10; trace(a); }",
        (7, 24, 1),
    ),
    "narrowing on assignment": (
        "unsigned char c; BEGIN { c = 250; c += 10; trace(c); c = -1; trace(c++); trace(c); trace(--c); }",
        (4, 255, 0, 255),
    ),
    # declarations
    "typedefs, in every scope": (
        "typedef struct pair pair_t; pair_t p; self pair_t q; this pair_t r; "
        "BEGIN { p.x = 1; self->q = p; this->r = self->q; trace(this->r.x); }",
        (1,),
    ),
    "extern": ("extern int g; int g; BEGIN { g = 4; trace(g); }", (4,)),
    "associative declarations": (
        """int t[int, string]; self long u[char];
        BEGIN { t[1, "a"] = 5; self->u['x'] = t[1, "a"]; trace(self->u['x']); }""",
        (5,),
    ),
    "inlines": (
        'inline int K = 3 * 4; inline string S = "abc"; inline int SQ[int x] = x * x; '
        "BEGIN { trace(K); trace(S); trace(SQ[K]); trace(SQ[K + 1]); }",
        (12, "abc", 144, 169),
    ),
    # translators
    "members of a translation": (
        """struct out { int a; string s; long b; }; translator struct out < struct pair *I > { a = I->x + 1; s = "hi";
        b = I->y; }; BEGIN { this->i = (struct pair *)alloca(8); this->i->x = 4; this->i->y = 6;
        trace(xlate < struct out > (this->i).a); trace(xlate < struct out * > (this->i)->b);
        trace(xlate < struct out * > (this->i)->s); }""",
        (5, 6, "hi"),
    ),
    "a translation of a value": (
        """struct out { int a; }; translator struct out < struct pair I > { a = I.x + 1; }; struct pair g;
        typedef struct o { int v; } o_t; translator o_t < int N > { v = N * 2; };
        BEGIN { g.x = 41; trace(xlate < struct out > (g).a); trace(xlate < o_t > (21).v); }""",
        (42, 42),
    ),
    "a translated struct is assigned member by member": (
        """struct out { int a; string s; }; translator struct out < struct pair *I > { a = I->x + 1; s = "hi"; };
        BEGIN { this->i = (struct pair *)alloca(8); this->i->x = 4; this->o = xlate < struct out > (this->i);
        self->o = this->o; this->i->x = 0; trace(self->o.a); trace(self->o.s); }""",
        (5, "hi"),
    ),
    "a variable keeps a translated pointer": (
        """struct out { int a; }; translator struct out < struct pair *I > { a = I->x + 1; };
        BEGIN { this->i = (struct pair *)alloca(8); self->o = xlate < struct out * > (this->i); this->i->x = 4;
        trace(self->o->a); trace(self->o != NULL); self->o = NULL; trace(self->o == NULL); }""",
        (5, 1, 1),
    ),
    "stability and dependencies are accepted": (
        """#pragma D depends_on provider dtrace
        #pragma D depends_on library tcp.d
        #pragma D attributes Stable/Stable/Common provider syscall provider
        #pragma D binding "1.0" foo
        inline int foo = 1; BEGIN { trace(foo); }""",
        (1,),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_value(name: str, machine: Machine) -> None:
    text, expected = CASES[name]
    assert left(text if text.startswith("#") else S + text, machine) == expected


FAULTS = {
    "behind an array": "int a[10]; BEGIN { this->i = 10; a[this->i] = 5; trace(1); }",
    "before an array": "int a[10]; BEGIN { this->i = -1; trace(a[this->i]); }",
    "behind a dimension": "this char a[4][5]; BEGIN { this->i = 5; this->a[2][this->i] = 1; trace(1); }",
    "behind a thread-local array": "self long a[8]; BEGIN { this->i = 8; trace(self->a[this->i]); }",
    "behind a member": "struct m { int a[2]; int b; }; this struct m m; BEGIN { this->i = 2; this->m.a[this->i] = 1; }",
    "behind scratch memory": "BEGIN { p = (int *)alloca(40); this->i = 9000; p[this->i] = 1; }",
    "behind the globals": "struct pair g; BEGIN { q = &g.y; } BEGIN { *(q + 1000000) = 4; }",
    "of the kernel": "BEGIN { curthread->pid = 1; }",
    "at NULL": "BEGIN { this->p = (int *)NULL; *this->p = 1; }",
    "a struct at NULL": "BEGIN { this->p = (struct pair *)NULL; g = *this->p; }",
    "a register there is none of": "BEGIN { this->i = 1000; trace(uregs[this->i]); }",
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_the_scripts_is_a_fault(name: str, machine: Machine) -> None:
    """And the rest of the script goes on."""
    with Trace(S + FAULTS[name] + " END { trace(7); }", on=machine) as trace:
        assert [r.values for r in (*trace.read(), *trace.stop())] == [(7,)]
    assert len(trace.faults) == 1
    assert "invalid address" in trace.faults[0]


# ---- random structs against ctypes

INTS = {
    "char": ctypes.c_int8, "unsigned char": ctypes.c_uint8, "short": ctypes.c_int16, "unsigned short": ctypes.c_uint16,
    "int": ctypes.c_int32, "unsigned int": ctypes.c_uint32, "long": ctypes.c_int64, "unsigned long": ctypes.c_uint64,
}  # fmt: skip


def random_struct(rng: random.Random) -> tuple[str, type[ctypes.Structure], list[tuple[str, ...]]]:
    """(D declaration, the same for ctypes, places: how D and how Python reaches each scalar).
    What a place holds, not where it is: ctypes (before 3.14) lays out bit-fields in its own way, and those
    of several sizes wrongly.  tests/pure/lang has layouts as GCC makes them."""
    declared, fields, places = [], [], []
    family = rng.choice([["int", "unsigned int"], ["long", "unsigned long"], ["short", "unsigned short"]])
    for n in range(rng.randint(2, 7)):
        name, kind = f"m{n}", rng.choice(list(INTS))
        c = INTS[kind]
        what = rng.random()
        if what < 0.4:
            kind = rng.choice(family)
            c = INTS[kind]
            bits = rng.randint(1, ctypes.sizeof(c) * 8)
            declared.append(f"{kind} {name}:{bits};")
            fields.append((name, c, bits))
            places.append((f".{name}",))
        elif what < 0.6:
            declared.append(f"{kind} {name}[3];")
            fields.append((name, c * 3))
            places += [(f".{name}[{i}]",) for i in range(3)]
        elif what < 0.75:
            inner = type(f"inner{n}", (ctypes.Structure,), {"_fields_": [("p", c), ("q", ctypes.c_int8)]})
            declared.append(f"struct {{ {kind} p; char q; }} {name};")
            fields.append((name, inner))
            places += [(f".{name}.p",), (f".{name}.q",)]
        else:
            declared.append(f"{kind} {name};")
            fields.append((name, c))
            places.append((f".{name}",))
    made = type("made", (ctypes.Structure,), {"_fields_": fields})
    return f"struct r {{ {' '.join(declared)} }};\n", made, places


HOLDERS = {
    "global": ("struct r v;", "v"),
    "clause-local": ("this struct r v;", "this->v"),
    "thread-local": ("self struct r v;", "self->v"),
    "element": ("struct r v[int];", "v[5]"),
    "array": ("struct r v[3];", "v[2]"),
    "run-time": ("int n; struct r v[3];", "v[n + 1]"),
    "pointer": ("struct r *v;", "(*v)"),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("seed", range(4))
def test_random_structs(holder: str, seed: int, machine: Machine) -> None:
    """Assigned in random order, copied, read back: as ctypes has them."""
    rng = random.Random(f"{holder}{seed}")
    declaration, c_type, places = random_struct(rng)
    variable, place = HOLDERS[holder]
    value = c_type()
    body = ["v = (struct r *)alloca(sizeof (struct r));"] if holder == "pointer" else []
    for (at,) in rng.sample(places * 2, len(places) * 2):
        number = rng.choice([rng.getrandbits(64) - (1 << 63), rng.randint(-9, 9), rng.getrandbits(16)])
        exec(f"value{at} = number", {"value": value, "number": number})
        body.append(f"{place}{at} = {number}L;" if number >= 0 else f"{place}{at} = -{-number}L;")
    body.append(f"copied = {place};")
    expected = [eval(f"value{at}", {"value": value}) for (at,) in places]
    body += [f"trace({place}{at});" for (at,) in places] + [f"trace(copied{at});" for (at,) in places]
    script = f"{declaration}{variable}\nBEGIN {{ {' '.join(body)} }}"
    assert left(script, machine) == (*expected, *expected)
