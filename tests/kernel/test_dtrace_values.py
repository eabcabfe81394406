"""What variables and expressions are worth, against Python's own arithmetic."""

from __future__ import annotations

import ctypes
import os
import random
import re
import struct
import sys

import pytest
from dtrace_run import dtrace, evaluate, python, values

pytestmark = pytest.mark.kernel

INTEGERS = {
    "int8_t": ctypes.c_int8, "uint8_t": ctypes.c_uint8, "int16_t": ctypes.c_int16, "uint16_t": ctypes.c_uint16,
    "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
    "signed char": ctypes.c_int8, "unsigned char": ctypes.c_uint8, "short": ctypes.c_int16,
    "unsigned short": ctypes.c_uint16, "int": ctypes.c_int32, "unsigned int": ctypes.c_uint32,
    "long": ctypes.c_int64, "unsigned long": ctypes.c_uint64, "long long": ctypes.c_int64,
    "uchar_t": ctypes.c_uint8, "ushort_t": ctypes.c_uint16, "uint_t": ctypes.c_uint32, "ulong_t": ctypes.c_uint64,
    "pid_t": ctypes.c_int32, "uid_t": ctypes.c_uint32, "size_t": ctypes.c_uint64, "hrtime_t": ctypes.c_int64,
}  # fmt: skip
SAMPLES = [0, 1, -1, 127, 128, 200, 255, 256, -128, -129, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1,
           2**32, -(2**31), 2**63 - 1, -(2**63) + 1, 0x8899AABBCCDDEEFF - 2**64]  # fmt: skip


def narrowed(kind: str, value: int) -> int:
    """The value as C has it in a variable of that type."""
    return INTEGERS[kind](value).value


def spec(kind: str) -> str:
    return "%d" if narrowed(kind, -1) < 0 else "%u"


@pytest.mark.parametrize("scope", ["", "this->", "self->"])
def test_integer_variables_hold_what_their_type_can(scope: str) -> None:
    """Declared variables of each type and scope, assigned 64-bit values: C's narrowing."""
    where = {"": "", "this->": "this ", "self->": "self "}[scope]
    declarations = "".join(f"{where}{kind} v{n};\n" for n, kind in enumerate(INTEGERS))
    for some in (SAMPLES[:11], SAMPLES[11:]):
        statements, wanted = [], []
        for n, kind in enumerate(INTEGERS):
            for sample in some:
                statements.append(f"{scope}v{n} = (int64_t){sample};")
                statements.append(f'printf("{spec(kind)}\\n", {scope}v{n});')
                wanted.append(str(narrowed(kind, sample)))
        assert evaluate(*statements, declarations=declarations) == wanted


def test_first_assignment_gives_the_type() -> None:
    lines = evaluate(
        "a = (int8_t)-1; a = 300;",
        "b = (uint8_t)1; b = -1;",
        "c = (uint64_t)1; c = -1;",
        "d = 1; d = 0x1ffffffff;",
        "e = 5000000000;",
        'f = "text"; f = "longer text";',
        "g = (unsigned short)65535; ++g;",
        'printf("%d %d %u %d %d %s %d\\n", a, b, c, d, e, f, g);',
    )
    assert lines == [f"44 255 {2**64 - 1} -1 5000000000 longer text 0"]


def test_assignment_operators_and_increments() -> None:
    """Each of op= and ++, --, before and after, on signed and unsigned variables of each width."""
    random.seed(7)
    declarations, statements, wanted = "", [], []
    for n, kind in enumerate(["int8_t", "uint8_t", "int16_t", "uint16_t", "int", "uint32_t", "int64_t", "uint64_t"]):
        declarations += f"{kind} v{n};\n"
        value = 100
        statements.append(f"v{n} = 100;")
        for operator, operand in [("+=", 77), ("-=", 250), ("*=", 3), ("^=", 0x55), ("|=", 0x81), ("&=", 0xF7),
                                  ("<<=", 1), (">>=", 2)]:  # fmt: skip
            statements.append(f'v{n} {operator} {operand}; printf("{spec(kind)}\\n", v{n});')
            python_operator = operator[:-1]
            value = narrowed(kind, eval(f"value {python_operator} operand"))
            wanted.append(str(value))
        for text, before, after in ((f"v{n}++", 0, 1), (f"++v{n}", 1, 1), (f"v{n}--", 0, -1), (f"--v{n}", -1, -1)):
            statements.append(f'printf("{spec(kind)} {spec(kind)}\\n", {text}, v{n});')
            wanted.append(f"{narrowed(kind, value + before)} {narrowed(kind, value + after)}")
            value = narrowed(kind, value + after)
    assert evaluate(*statements, declarations=declarations) == wanted


def c_divide(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def test_arithmetic_of_64_bits() -> None:
    """Run-time operands (variables, so nothing is folded), signed and unsigned, C's division."""
    numbers = [0, 1, -1, 7, -7, 255, -256, 2**31, -(2**31), 2**62 + 12345, -(2**62) - 999]
    statements, wanted = [], []
    for a in numbers:
        for b in numbers:
            ua, ub = a % 2**64, b % 2**64
            statements.append(
                f"a = (int64_t){a}; b = (int64_t){b}; c = (uint64_t){ua}; d = (uint64_t){ub};"
                'printf("%d %d %d %d %d %d|%d%d%d%d|%d%d%d%d\\n", a + b, a - b, a * b, a & b, a | b, a ^ b,'
                " a < b, a <= b, a == b, a > b, c < d, c <= d, c != d, c > d);"
            )
            signed = [ctypes.c_int64(v).value for v in (a + b, a - b, a * b, a & b, a | b, a ^ b)]
            compared = [a < b, a <= b, a == b, a > b]
            unsigned = [ua < ub, ua <= ub, ua != ub, ua > ub]
            wanted.append("|".join([" ".join(map(str, signed)), *("".join(str(int(t)) for t in c)
                                                                  for c in (compared, unsigned))]))  # fmt: skip
    half = len(statements) // 2
    declarations = "int64_t a, b; uint64_t c, d;"
    assert (
        evaluate(*statements[:half], declarations=declarations)
        + evaluate(*statements[half:], declarations=declarations)
        == wanted
    )


def test_division_and_remainder_have_cs_sign() -> None:
    pairs = [(7, 2), (-7, 2), (7, -2), (-7, -2), (-(2**31), 3), (2**63 - 1, -5), (-1, 2**40), (0, -9), (-(2**62), -1)]
    statements, wanted = [], []
    for a, b in pairs:
        ua, ub = a % 2**64, b % 2**64
        statements.append(f"a = (int64_t){a}; b = (int64_t){b}; c = (uint64_t){ua}; d = (uint64_t){ub};")
        statements.append('printf("%d %d %u %u\\n", a / b, a % b, c / d, c % d);')
        wanted.append(f"{c_divide(a, b)} {a - c_divide(a, b) * b} {ua // ub} {ua % ub}")
    assert evaluate(*statements, declarations="int64_t a, b; uint64_t c, d;") == wanted


def test_shifts_keep_the_sign_and_the_width() -> None:
    statements, wanted = ["n = 0;"], []
    for shift in (0, 1, 7, 8, 31):
        statements.append(f"n = {shift}; i = -1000; u = 4000000000; l = -(int64_t)0x123456789abcdef; h = (uint64_t)-1;")
        statements.append('printf("%d %d %u %u %d %d %u\\n", i >> n, i << n, u >> n, u << n, l >> n, l << n, h >> n);')
        i, u, line, h = -1000, 4000000000, -0x123456789ABCDEF, 2**64 - 1
        wanted.append(
            f"{i >> shift} {narrowed('int', i << shift)} {u >> shift} {narrowed('uint32_t', u << shift)}"
            f" {line >> shift} {narrowed('int64_t', line << shift)} {h >> shift}"
        )
    assert evaluate(*statements, declarations="int n, i; uint32_t u; int64_t l; uint64_t h;") == wanted


def test_signedness_of_conversions() -> None:
    """C's usual arithmetic conversions, where a mistake is most often made."""
    assert values(
        ("%d", "(unsigned char)200 + 100"),
        ("%d", "(int8_t)200"),
        ("%d", "(int8_t)-1 == (uint8_t)255"),  # both become int: -1 is not 255
        ("%d", "-1 < (unsigned int)1"),  # unsigned: 4294967295
        ("%d", "(int64_t)-1 < (unsigned int)1"),  # the unsigned int fits into 64 bits
        ("%d", "(uint16_t)65535 * 2"),
        ("%d", "(int)(char)65"),
        ("%u", "(uint32_t)(int8_t)-2"),
        ("%d", "(int64_t)(uint32_t)-2"),
        ("%u", "(uint64_t)(int32_t)-2"),
        ("%d", "~(uint8_t)0"),
        ("%d", "!5 + !0"),
        ("%d", "-(-5)"),
        ("%d", "5 ? 6 : 7"),
        ("%d", "(1, 2, 3)"),
        ("%d", "1 ^^ 1 || 1 ^^ 0"),
        ("%x", "(short)0x8000"),
        ("%d", "'A' + '\\n'"),
        ("%d", "sizeof (int) + sizeof (struct sockaddr_in) + sizeof (char [7])"),
    ) == [
        "300", "-56", "0", "0", "1", "131070", "65", str(2**32 - 2), str(2**32 - 2), str(2**64 - 2), "-1", "1", "5",
        "6", "3", "1", "8000", "75", "27",
    ]  # fmt: skip


def test_bit_fields() -> None:
    """Written and read, signed and not; the layout is that of the compiler (here: by hand)."""
    declarations = """
        struct bits { unsigned int a : 3; int b : 5; unsigned int c : 24; uint64_t d : 33; int64_t e : 31; };
        union both { struct bits bits; uint64_t word[2]; };
        union both *p;
    """
    lines = evaluate(
        "p = (union both *) alloca(16);",
        "p->word[0] = 0; p->word[1] = 0;",
        "p->bits.a = 13; p->bits.b = -3; p->bits.c = 0xabcdef; p->bits.d = 0x1deadbeef; p->bits.e = -7;",
        'printf("%d %d %x %x %d\\n", p->bits.a, p->bits.b, p->bits.c, p->bits.d, p->bits.e);',
        'printf("%x %x\\n", p->word[0], p->word[1]);',
        "p->bits.b += 20;",
        'printf("%d %d %x\\n", p->bits.a, p->bits.b, p->bits.c);',
        declarations=declarations,
    )
    first = 5 | (-3 & 31) << 3 | 0xABCDEF << 8
    second = 0x1DEADBEEF | (-7 & (1 << 31) - 1) << 33
    assert lines == ["5 -3 abcdef 1deadbeef -7", f"{first:x} {second:x}", "5 -15 abcdef"]


def test_strings_compare_as_strings() -> None:
    words = ["", "a", "ab", "b", "abc", "A", "\\377", "x" * 250]
    statements, wanted = [], []

    def key(word: str) -> bytes:
        return word.replace("\\377", "\xff").encode("latin-1")

    for one in words:
        for other in words:
            statements.append(f's = "{one}"; t = "{other}";')
            statements.append('printf("%d%d%d%d%d%d\\n", s < t, s <= t, s == t, s != t, s >= t, s > t);')
            a, b = key(one), key(other)
            wanted.append("".join(str(int(r)) for r in (a < b, a <= b, a == b, a != b, a >= b, a > b)))
    got: list[str] = []
    for at in range(0, len(statements), 32):
        got += evaluate(*statements[at : at + 32], declarations="string s, t;")
    assert got == wanted


def test_associative_arrays() -> None:
    """Keys of integers, strings, both; 0 frees; what was never assigned is 0; values of each kind."""
    lines = evaluate(
        'a[1] = 10; a[-1] = 20; s["one"] = 1; s["one "] = 2; m["k", 1, -2] = 300; m["k", 2, -2] = 400;',
        'w[1] = "text"; w[2] = "other"; a[1] += 5; m["k", 1, -2]++; --s["one "];',
        'printf("%d %d %d %d %d %d %s %s\\n", a[1], a[-1], s["one"], s["one "], m["k", 1, -2], m["k", 2, -2],'
        " w[1], w[2]);",
        'printf("%d %d %d [%s]\\n", a[2], s["none"], m["k", 1, 2], w[3]);',
        'a[1] = 0; m["k", 1, -2] = 0; w[1] = 0;',
        'printf("%d %d %d [%s] %s\\n", a[1], a[-1], m["k", 1, -2], w[1], w[2]);',
    )
    assert lines == ["15 20 1 1 301 400 text other", "0 0 0 []", "0 20 0 [] other"]


def test_zero_gives_storage_back() -> None:
    """A small dynvarsize holds for ever where each element is freed, and overflows where none is."""
    code = "import os\nfor i in range(3000): os.getppid()"
    freed = dtrace(
        "-qx", "dynvarsize=4k", "-n",
        "syscall::getppid:entry /pid == $target/ { n++; a[n] = n; a[n - 20] = 0; }"
        'END { printf("%d %d\\n", n, a[n]); }',
        "-c", python(code),
    )  # fmt: skip
    assert (freed.out, freed.err) == ("3000 3000\n", "")
    kept = dtrace(
        "-qx", "dynvarsize=4k", "-n", "syscall::getppid:entry /pid == $target/ { n++; a[n] = n; }", "-c", python(code)
    )
    lost = sum(int(m) for m in re.findall(r"dtrace: (\d+) dynamic variable drops? on CPU", kept.err))
    assert 0 < lost < 3000, kept.err


THREADS = """
import os, threading
def work(n):
    for i in range(n):
        try: os.getpgid(n)
        except OSError: pass
threads = [threading.Thread(target=work, args=(n,)) for n in (11, 22, 33)]
for t in threads: t.start()
for t in threads: t.join()
"""


def test_thread_locals_are_one_for_each_thread() -> None:
    done = dtrace(
        "-qn",
        """
        syscall::getpgid:entry /pid == $target/ { self->calls++; self->last = arg0; self->text = "t"; }
        syscall::getpgid:return /self->calls && self->calls == self->last/
        { printf("%d %d %s\\n", tid != pid, self->calls, self->text); self->calls = 0; self->text = 0; }
        """,
        "-c",
        python(THREADS),
    )
    assert sorted(done.out.split("\n")) == ["", "1 11 t", "1 22 t", "1 33 t"]


def test_thread_locals_match_entry_to_return() -> None:
    """Three threads in the same system call at once: each return sees its own entry's argument."""
    code = """
import select, threading
def work(ms):
    for i in range(5): select.select([], [], [], ms / 1000)
threads = [threading.Thread(target=work, args=(n,)) for n in (3, 5, 7)]
for t in threads: t.start()
for t in threads: t.join()
"""
    done = dtrace(
        "-qn",
        """
        syscall::select:entry,syscall::pselect6:entry /pid == $target/ { self->to = arg4; self->in = 1; }
        syscall::select:return,syscall::pselect6:return /self->in/
        { @[tid, arg0] = count(); self->in = 0; self->to = 0; }
        """,
        "-c",
        python(code),
    )
    rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert [(result, count) for _, result, count in rows] == [("0", "5")] * 3


def test_what_the_process_is() -> None:
    """Scalar built-in variables and curthread's members, against what the process says of itself."""
    code = (
        "import os, sys\nopen('/proc/self/comm', 'w').write('what-am-i')\nos.setgid(7); os.setuid(4242)\n"
        "os.getpgid(0)\nprint(os.getpid(), os.getppid())"
    )
    done = dtrace(
        "-qn",
        """
        syscall::getpgid:entry /pid == $target/
        {
            printf("%d %d %d %s %d %d ", pid, tid, ppid, execname, uid, gid);
            printf("%d %d %s %d %d\\n", curthread->pid, curthread->tgid, stringof(curthread->comm),
                curthread->cred->uid.val, curthread->real_parent->tgid);
            printf("%s %s %s %s %d\\n", probeprov, probemod, probefunc, probename, cpu < 1024);
            printf("%d %d %d\\n", $target == pid, timestamp > 0, walltimestamp / 1000000000);
        }
        """,
        "-c",
        python(code),
    )
    lines = sorted(done.out.splitlines(), key=len)
    pid, parent = next(line for line in lines if re.fullmatch(r"\d+ \d+", line)).split()
    assert f"{pid} {pid} {parent} what-am-i 4242 7 {pid} {pid} what-am-i 4242 {parent}" in lines
    assert "syscall vmlinux getpgid entry 1" in lines
    import time

    wall = next(int(line.split()[2]) for line in lines if line.startswith("1 1 "))
    assert abs(wall - time.time()) < 60


def test_copyin_and_copyinstr() -> None:
    """Memory and strings of the traced process, exact bytes, every byte value."""
    content = bytes(range(1, 256))
    code = f"import os\nos.write(os.open('/dev/null', os.O_WRONLY), bytes({list(content)}) + b'tail')\n" \
           "os.access('/a/path/with \\u00e9', 0)"  # fmt: skip
    done = dtrace(
        "-qx",
        "scratchsize=2k",
        "-n",
        """
        syscall::write:entry /pid == $target && arg2 == 259/
        {
            this->p = (unsigned char *) copyin(arg1, arg2);
            this->w = (uint32_t *) copyin(arg1 + 251, 4);
            printf("%d %d %d %d %x %d\\n", this->p[0], this->p[127], this->p[128], this->p[254], *this->w, arg2);
            printf("%s\\n", copyinstr(arg1 + 200, 4));
            printf("%s\\n", stringof((char *) copyin(arg1 + 64, 26)));
        }
        syscall::access:entry, syscall::faccessat*:entry
        /pid == $target/
        { printf("%s\\n", copyinstr(probefunc == "access" ? arg0 : arg1)); }
        """,
        "-c",
        python(code),
    )
    assert done.err == ""
    word = struct.unpack("=I", content[251:] + b"")[0]
    lines = done.out.splitlines()
    assert f"1 128 129 255 {word:x} 259" in lines
    assert "/a/path/with \u00e9" in lines
    assert sys.byteorder == "little" or word  # read as this machine reads it
    assert any(line.startswith("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for line in lines), lines


def test_strsize_bounds_strings() -> None:
    long = "".join(chr(97 + i % 26) for i in range(300))
    for size in (16, 100, 256):
        done = dtrace(
            "-qx", f"strsize={size}", "-n",
            "syscall::access:entry, syscall::faccessat*:entry /pid == $target/"
            '{ printf("%s\\n", copyinstr(probefunc == "access" ? arg0 : arg1)); }',
            "-c", python(f"import os\nos.access('/{long}', 0)"),
        )  # fmt: skip
        shown = [line for line in done.out.splitlines() if line.startswith("/abc")]
        assert shown == [("/" + long)[: size - 1]]


def test_faulting_memory_discards_the_clause_and_says_so() -> None:
    done = dtrace(
        "-qn",
        """
        syscall::getpgid:entry /pid == $target/ { printf("before"); trace(*(int *)copyin(16, 4)); printf("never"); }
        syscall::getpgid:entry /pid == $target/ { printf("the next clause runs\\n"); }
        ERROR { printf("ERROR of %d, fault %d at %x\\n", arg1, arg4, arg5); }
        """,
        "-c",
        python("import os\nos.getpgid(0)"),
    )
    assert done.out.split("\n")[:3] == ["ERROR of 1, fault 1 at 10", "the next clause runs", ""], done.out
    assert re.search(
        r"^dtrace: error on enabled probe ID 1 \(ID \d+: syscall:vmlinux:getpgid:entry\): "
        r"invalid address \(0x10\) in action #2$",
        done.err,
        re.M,
    ), done.err


def test_own_pid_variable_is_dtraces_at_begin() -> None:
    lines = evaluate('printf("%d %d\\n", $pid == pid, $ppid);', 'printf("%d\\n", $uid);')
    assert lines == [f"1 {os.getpid()}", str(os.getuid())]
