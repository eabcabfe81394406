"""Subroutines on strings, on the kernel and in the interpreter, against what Python says."""

from __future__ import annotations

import ctypes
import os
import posixpath
import random
import socket

import pytest

from dsight.errors import CompileError
from dsight.testing.differential import compare

pytestmark = pytest.mark.kernel


def d(text: str) -> str:
    """A D string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def values(expressions: list[str], strsize: int = 256, before: str = "") -> list[object]:
    """What trace() of each records."""
    script = "BEGIN {" + before + " ".join(f"trace({e});" for e in expressions) + "}"
    outcome = compare(script, options={"strsize": str(strsize)})
    assert not outcome.faults
    return list(outcome.records[0][1])


def check(rows: list[tuple[str, object]], strsize: int = 256) -> None:
    found = values([e for e, _ in rows], strsize)
    assert [(e, v) for (e, _), v in zip(rows, found)] == rows


# ---- tables


def test_joining_and_cutting() -> None:
    check([
        ('strjoin("ab", "cd")', "abcd"), ('strjoin("", "")', ""), ('strjoin("a", "")', "a"), ('strjoin("", "b")', "b"),
        ('substr("hello", 0)', "hello"), ('substr("hello", 2)', "llo"), ('substr("hello", 5)', ""),
        ('substr("hello", 6)', ""), ('substr("hello", -2)', "lo"), ('substr("hello", -9)', "hello"),
        ('substr("hello", 1, 3)', "ell"), ('substr("hello", 1, 0)', ""), ('substr("hello", 3, 99)', "lo"),
        ('substr("hello", 1, -1)', "ell"), ('substr("hello", 1, -9)', ""), ('substr("hello", -3, 2)', "ll"),
        ('substr("hello", -9, 5)', "h"), ('substr("", 0)', ""), ('strlen("")', 0), ('strlen("hello")', 5),
    ])  # fmt: skip


def test_finding() -> None:
    check([
        ("strchr(\"hello\", 'l')", "llo"), ("strrchr(\"hello\", 'l')", "lo"), ("strchr(\"hello\", 'z')", ""),
        ("strrchr(\"hello\", 'z')", ""), ("strchr(\"\", 'a')", ""), ('strstr("abcabd", "abd")', "abd"),
        ('strstr("abc", "")', "abc"), ('strstr("abc", "abcd")', ""), ('strstr("aab", "ab")', "ab"),
        ('strstr("abc", "x") == NULL', 1), ('strstr("abc", "c") != NULL', 1),
        ('index("hello", "l")', 2), ('index("hello", "l", 3)', 3), ('index("hello", "l", 4)', -1),
        ('index("hello", "", 2)', 2), ('index("hello", "", 9)', 5), ('index("hello", "h", -3)', 0),
        ('index("", "")', 0), ('index("", "a")', -1), ('index("hello", "o", 99)', -1),
        ('rindex("hello", "l")', 3), ('rindex("hello", "l", 2)', 2), ('rindex("hello", "l", 1)', -1),
        ('rindex("hello", "")', 5), ('rindex("hello", "", 2)', 2), ('rindex("hello", "h", -3)', 0),
        ('rindex("aaaa", "aa")', 2), ('index("aaaa", "aa")', 0),
    ])  # fmt: skip


def test_tokens() -> None:
    check([
        ('strtok(",a,,bc,", ",")', "a"), ("strtok(NULL, \",\")", "bc"), ("strtok(NULL, \",\")", ""),
        ("strtok(NULL, \",\") == NULL", 1), ('strtok("a b;c", ";")', "a b"), ('strtok(NULL, " ;")', "c"),
        ('strtok("", ",")', ""), ('strtok("abc", "")', "abc"),
    ])  # fmt: skip


def test_tokens_are_kept_over_the_clauses_of_one_firing_only() -> None:
    outcome = compare(
        'BEGIN { trace(strtok("a b c", " ")); } BEGIN { this->d = " "; trace(strtok(NULL, this->d)); }'
        'END { trace(strtok(NULL, " ")); }'
    )
    assert [v for _, v in outcome.records] == [("a",), ("b",), ("",)]


def test_paths() -> None:
    names = ["/foo/bar", "/foo/bar/", "foo", "/", "//", "", ".", "a//b//", "/a", "a/b/c", "//x"]
    libc = ctypes.CDLL(None)
    libc.dirname.restype = libc.__xpg_basename.restype = ctypes.c_char_p
    rows: list[tuple[str, object]] = []
    for name in names:
        for call, function in (("dirname", libc.dirname), ("basename", libc.__xpg_basename)):
            given = ctypes.create_string_buffer(name.encode())
            rows.append((f"{call}({d(name)})", function(given).decode().replace("//", "/")))
    check(rows)


def test_cleanpath() -> None:
    paths = [
        "/a/./b", "/a/../b", "/..", "/../a", "a/../..", "../..", "../../a/..", "/a//b/", "./a", "a/.", "a/..", "/.",
        "/", "..a/..", "/...", "/a/b/../../c", ".a/../b..", "a/b/../c/..", "/x/.y/..z/",
    ]  # fmt: skip
    check([(f"cleanpath({d(p)})", posixpath.normpath(p)) for p in paths] + [('cleanpath("")', "")])


def in_base(n: int, base: int) -> str:
    digits, rest = "", abs(n)
    while rest or not digits:
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest % base] + digits
        rest //= base
    return ("-" if n < 0 else "") + {8: "0", 16: "0x"}.get(base, "") + digits


def test_numbers() -> None:
    rows: list[tuple[str, object]] = []
    for n in (0, 1, -1, 9, 10, 255, -255, 2**63 - 1, -(2**63)):
        spelled = str(n) if n > -(2**63) else "(-9223372036854775807 - 1)"
        rows.append((f"lltostr({spelled})", str(n)))
        rows += [(f"lltostr({spelled}, {base})", in_base(n, base)) for base in (2, 8, 16, 24, 36)]
    check(rows)
    check([
        ('strtoll("")', 0), ('strtoll("-")', 0), ('strtoll("12x")', 12), ('strtoll(" \\t\\n-12")', -12),
        ('strtoll("+7")', 7), ('strtoll("x")', 0), ('strtoll("--1")', 0), ('strtoll("0x1F", 16)', 31),
        ('strtoll("1f", 16)', 31),
        ('strtoll("0x", 16)', 0), ('strtoll("zZ", 36)', 35 * 37), ('strtoll("102", 2)', 2), ('strtoll("0x1f")', 0),
        ('strtoll("9223372036854775807")', 2**63 - 1), ('strtoll("-9223372036854775808")', -(2**63)),
        ('strtoll("1 2")', 1), ("strtoll(lltostr(-42, 7), 7)", -42),
    ])  # fmt: skip


def test_case_and_indexing() -> None:
    check([
        ('tolower("ABCxyz@[`{09")', "abcxyz@[`{09"), ('toupper("ABCxyz@[`{09")', "ABCXYZ@[`{09"), ('tolower("")', ""),
        ('("abc")[0]', 97), ('("abc")[3]', 0), ('("abc")[200]', 0), ('("\\xe9")[0]', -23),
    ])  # fmt: skip


@pytest.mark.parametrize("clause", ['trace(("abc")[256])', 'i = -1; trace(("abc")[i])'])
def test_an_index_beyond_any_string_is_a_fault(clause: str) -> None:
    outcome = compare("BEGIN {" + clause + ";}")
    assert not outcome.records and "invalid address" in outcome.faults[0]


def test_a_base_out_of_range_is_a_fault() -> None:
    assert compare("BEGIN { i = 37; trace(lltostr(1, i)); }").faults == ("illegal operation (0x0) in clause 0",)


def test_json() -> None:
    text = '{"a": 1, "b": {"c": [10, "x\\"y", {"d": null}], "e": true}, "s":"t}", '
    text += '"r":[[1,2],[3,[4,5]]], "n": -1.5e3,"z":[]}'
    wanted = {
        "a": "1", "b.c[0]": "10", "b.c[1]": 'x\\"y', "b.c[2].d": "null", "b.c[2]": '{"d": null}', "b.e": "true",
        "s": "t}", "r[1][1][0]": "4", "r[1]": "[3,[4,5]]", "n": "-1.5e3", "z": "[]", "z[0]": "", "q": "",
        "b.c[3]": "", "s.x": "",
        "a[0]": "", "b.c.x": "", "": text,
    }  # fmt: skip
    check([(f"json({d(text)}, {d(path)})", value) for path, value in wanted.items()])
    found = values(["json(this->t, this->p)"], before=f'this->t = {d(text)}; this->p = "b.c[2].d";')
    assert found == ["null"]
    check([(f'json({d(broken)}, "a")', "") for broken in ("", "{", '{"a"', '{"a":', '{"a": [1', "[", '{"a": "x', "a")])


# ---- addresses


def test_addresses_as_text() -> None:
    rng = random.Random(4)
    packed = [socket.inet_pton(socket.AF_INET6, a) for a in (
        "::", "::1", "1::", "1:0:0:2::3", "::ffff:1.2.3.4", "::1.2.3.4", "1:0:2:0:3:0:4:0", "1:2:3:4:5:6::",
        "::2:3:4:5:6:7",
    )]  # fmt: skip
    packed += [bytes(rng.choice((0, 0, 0, 255, rng.randrange(256))) for _ in range(16)) for _ in range(8)]
    for raw in packed:
        low, high = (int.from_bytes(part, "little") for part in (raw[:8], raw[8:]))
        put = f"this->p = (uint64_t *)alloca(16); this->p[0] = {low}ULL; this->p[1] = {high}ULL;"
        wanted = socket.inet_ntop(socket.AF_INET6, raw)
        wanted4 = socket.inet_ntop(socket.AF_INET, raw[:4])
        keep = "s = inet_ntop(AF_INET6, this->p);"
        found = values(
            ["s", "strlen(s)", 'strjoin(inet_ntop(AF_INET6, this->p), "%")', 'strjoin("", inet_ntop(AF_INET, this->p))',
             "s == inet_ntop(AF_INET6, this->p)", 'inet_ntop(AF_INET6, this->p) < "5"'],
            before=put + keep,
        )  # fmt: skip
        assert found == [wanted, len(wanted), wanted + "%", wanted4, 1, int(wanted < "5")]


def test_addresses_and_other_text_in_one_variable_and_array() -> None:
    check([
        ('(s = inet_ntop(AF_INET, this->p = (uint32_t *)alloca(4)), s = "x", s)', "x"),
        ("(a[inet_ntop(AF_INET, this->p)] = 3, a[\"0.0.0.0\"])", 3),
        ("(this->m = (uint64_t *)alloca(8), *this->m = 0x665544332211, link_ntop(1, this->m))", "11:22:33:44:55:66"),
    ])  # fmt: skip


# ---- memory

BUFFER = ctypes.create_string_buffer(b"hello world")
AT = ctypes.addressof(BUFFER)


@pytest.mark.parametrize(
    ("statements", "value"),
    [
        ("p = (char *)alloca(16); bcopy(copyin(AT, 8), p, 8); p[i] = 0; trace(stringof(p))", "hello"),
        ("p = (char *)alloca(16); bcopy(copyin(AT, 8), p, i); p[i] = 0; trace(stringof(p))", "hello"),
        ("this->d = (char *)alloca(16); copyinto(AT, i, this->d); this->d[i] = 0; trace(stringof(this->d))", "hello"),
        ("p = (char *)alloca(16); q = p + 2; copyinto(AT, i, q); q[i] = 0; trace(stringof(q))", "hello"),
        ("trace(copyinstr(AT, i))", "hello"), ("trace(copyinstr(AT, i - 5))", ""),
        ("trace(copyinstr(AT, i * 99))", "hello world"),
    ],
)  # fmt: skip
def test_copies_of_a_size_known_only_then(statements: str, value: object) -> None:
    script = "BEGIN { i = 5; " + statements.replace("AT", str(AT)) + "; }"
    assert compare(script, memory=((AT, BUFFER.raw),)).records[0][1] == (value,)


@pytest.mark.parametrize("size", ["17", "300", "i + 12", "i * 60"])
def test_a_copy_larger_than_what_is_allocated_is_a_fault(size: str) -> None:
    script = f"BEGIN {{ i = pid ? 5 : 0; copyinto({AT}, {size}, alloca(16)); }}"
    assert compare(script, memory=((AT, BUFFER.raw),)).faults == ("out of scratch space (0x0) in clause 0",)


# ---- at random, of any size


def random_text(rng: random.Random, longest: int, of: str = "ab/.") -> str:
    return "".join(rng.choice(of) for _ in range(rng.randrange(longest + 1)))


@pytest.mark.parametrize("strsize", [8, 16, 100, 256, 4096, 65536])
def test_random_strings(strsize: int) -> None:
    rng = random.Random(strsize)
    longest = min(strsize - 1, 40)
    rows: list[tuple[str, object]] = []
    for _ in range(4):
        a, b = random_text(rng, longest), random_text(rng, min(3, longest))
        n = rng.randrange(-3, 45)
        room = strsize - 1
        rows += [
            (f"strjoin({d(a)}, {d(b)})", (a + b)[:room]),
            (f"index({d(a)}, {d(b)})", a.find(b)),
            (f"rindex({d(a)}, {d(b)})", a.rfind(b)),
            (f"strstr({d(a)}, {d(b)})", a[a.find(b) :] if b in a else ""),
            (f"strchr({d(a)}, 'b')", a[a.find("b") :] if "b" in a else ""),
            (f"strrchr({d(a)}, 'b')", a[a.rfind("b") :] if "b" in a else ""),
            (f"substr({d(a)}, {n})", a[max(n, -len(a)) :] if n < 0 else a[n:]),
            (f"toupper({d(a)})", a.upper()),
            (f"strlen({d(a)})", len(a)),
            (f"{d(a)} < {d(b)}", int(a < b)),
        ]
    check(rows, strsize)


def test_long_strings_keep_all_their_bytes() -> None:
    doubling = 's = "0123456789abcdef"; ' + "s = strjoin(s, s); " * 10 + "t = s;"
    wanted = ["strlen(s)", 'index(s, "f0", 16000)', "s[16383]", "substr(s, -3)", "strlen(toupper(s))", "s == t"]
    assert values(wanted, 65536, doubling) == [16384, 16015, ord("f"), "def", 16384, 1]


def test_a_variable_made_of_itself() -> None:
    check([
        ('(s = "ab", s = strjoin("x", s), s = strjoin(s, s), s)', "xabxab"), ("(s = substr(s, 2), s)", "bxab"),
        ("(s = toupper(s), s)", "BXAB"), ('(self->s = s, self->s = strjoin(self->s, "!"), self->s)', "BXAB!"),
    ])  # fmt: skip


# ---- without bpf_loop, before Linux 5.17


@pytest.fixture
def no_bpf_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsight.providers.registry import Registry

    known = Registry.enumerator
    monkeypatch.setattr(
        Registry, "enumerator", lambda self, name: None if name == "BPF_FUNC_loop" else known(self, name)
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('index(s, ".")', 3), ('strtok(s, "/")', "a"), ("toupper(s)", "/A/../B.C"), ("lltostr(-5)", "-5"),
        ("strtoll(s)", 0), ("dirname(s)", "/a/.."), ("strlen(inet_ntop(AF_INET, this->p))", 7),
        ("strchr(s, 'b')", "b.c"),
    ],
)  # fmt: skip
def test_loops_of_calls_load_too(no_bpf_loop: None, expression: str, value: object) -> None:
    before = 's = "/a/../b.c"; this->p = (uint32_t *)alloca(4); *this->p = 0;'
    assert values([expression], before=before) == [value]


def test_what_is_too_much_for_them_is_said(no_bpf_loop: None) -> None:
    for script, options in (
        ("BEGIN { s = execname; trace(cleanpath(s)); }", {}),
        ("BEGIN { s = execname; trace(toupper(s)); }", {"strsize": "8192"}),
    ):
        with pytest.raises(CompileError, match="needs Linux 5"):
            compare(script, options=options)


# ---- this process


def kernel_only(expressions: list[str]) -> list[object]:
    """What trace() records where the interpreter knows no task."""
    import dsight

    with dsight.trace("BEGIN {" + " ".join(f"trace({e});" for e in expressions) + "}") as trace:
        records = [*trace.read(), *trace.stop()]
        assert not trace.faults
    return list(records[0].values)


def test_what_follows_the_kernels_structures() -> None:
    with open("/proc/self/cmdline", "rb") as f:
        arguments = f.read().rstrip(b"\0").replace(b"\0", b" ").decode()[:255]
    parent = os.getppid()
    found = kernel_only([
        "cwd", "root", "execargs", "progenyof(pid)", f"progenyof({parent})", "progenyof(1)", "progenyof(99999999)",
        "d_path(&curthread->fs->pwd)", "getmajor(0x800001)", "getminor(0x800001)",
    ])  # fmt: skip
    assert found == [os.getcwd(), "/", arguments, 1, 1, 1, 0, os.getcwd(), 8, 1]


def test_paths_over_mount_points() -> None:
    """/proc is mounted: the climb passes from its root to where it is mounted."""
    here = os.getcwd()
    try:
        os.chdir("/proc/sys/kernel")
        assert kernel_only(["cwd"]) == ["/proc/sys/kernel"]
        os.chdir("/")
        assert kernel_only(["cwd"]) == ["/"]
    finally:
        os.chdir(here)


def test_locks_of_this_process() -> None:
    """Nobody holds the mmap_lock of a task that stands in BEGIN; its semaphore is one nonetheless."""
    lock = "(struct rw_semaphore *)&curthread->mm->mmap_lock"
    found = kernel_only([f"rw_read_held({lock})", f"rw_write_held({lock})", f"rw_iswriter({lock})",
                         "mutex_owned(&curthread->signal->cred_guard_mutex)",
                         "(uint64_t)mutex_owner(&curthread->signal->cred_guard_mutex)",
                         "mutex_type_adaptive(&curthread->signal->cred_guard_mutex)",
                         "mutex_type_spin(&curthread->signal->cred_guard_mutex)"])  # fmt: skip
    assert found == [0, 0, 0, 0, 0, 1, 0]
