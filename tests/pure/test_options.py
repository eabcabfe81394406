"""-x, #pragma D option, DTRACE_OPT_NAME: values, and that every documented name is known."""

import re
from pathlib import Path

import pytest

from dsight import options
from dsight.consumer.display import Display
from dsight.errors import CompileError, OptionError, UsageError
from dsight.source import Source, Span

# dtrace(1), "Options": compile time, run time, dynamic.
NAMES = """
aggpercpu amin argref core cpp cpphdrs cpppath ctypes debug define defaultargs droptags dtypes empty errtags evaltime
incdir iregs kdefs knodefs late lazyload ldpath libdir linkmode linktype maxframes nolibs noresolve nusdtprobes
pcapsize pgmax preallocate printsize procfspath pspec quietresize scratchsize stdc strip syslibdir sysslice tree
tregs udefs undef unodefs useruid verbose version zdefs
aggsize bufpolicy bufresize bufsize cleanrate cpu destructive dynvarsize grabanon jstackframes jstackstrsize nspec
specsize stackframes statusrate strsize ustackframes
aggrate agghist aggpack aggzoom aggsortkey aggsortkeypos aggsortpos aggsortrev flowindent quiet rawbytes stackindent
switchrate temporal
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_every_documented_option_acts_or_is_let_be_or_is_refused(name):
    tables = (options.KINDS, options.DYNAMIC, options.WITHOUT_EFFECT, options.REFUSED)
    assert sum(name in table for table in tables) == 1


def test_no_option_is_made_up():
    known = set(options.KINDS) | set(options.DYNAMIC) | set(options.WITHOUT_EFFECT) | set(options.REFUSED)
    assert known == set(NAMES)


def test_every_option_that_acts_is_read_somewhere():
    source = "".join(p.read_text() for p in Path(options.__file__).parent.rglob("*.py"))
    for name in options.KINDS:
        if not name.startswith("jstack"):
            assert len(re.findall(rf'["\']{name}["\']', source)) > 1, name


@pytest.mark.parametrize(
    ("text", "ns"),
    [("10hz", 10**8), ("10", 10**8), ("5ms", 5 * 10**6), ("1s", 10**9), ("2m", 120 * 10**9), ("1day", 86400 * 10**9)],
)
def test_rates(text, ns):
    assert options.rate("statusrate", text) == ns


@pytest.mark.parametrize("text", ["", "0", "0hz", "hz", "10parsec", "-1s", "1.5s", "١s"])
def test_what_is_no_rate(text):
    with pytest.raises(UsageError):
        options.rate("statusrate", text)


@pytest.mark.parametrize(("n", "text"), [(1, "1"), (4096, "4k"), (4 << 20, "4m"), (1 << 30, "1g"), (1000, "1000")])
def test_sizes_are_spelled_as_they_are_read(n, text):
    assert options.size_text(n) == text
    assert options.size("bufsize", text) == n


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quiet", "maybe"),
        ("bufpolicy", "drain"),
        ("aggsortpos", "x"),
        ("bufsize", "4q"),
        ("nonesuch", ""),
        ("tree", ""),
    ],
)
def test_what_cannot_be_set(name, value):
    with pytest.raises(OptionError):
        options.check(name, value)
    span = Span(Source("x.d", "#pragma D option x"), 0, 18)
    with pytest.raises(CompileError) as e:
        options.check_pragmas(((name, value, span),))
    assert e.value.tag == "D_PRAGMA_OPTSET"
    assert e.value.diagnostics[0].span == span


@pytest.mark.parametrize("yes", ["", "yes", "enable", "enabled", "true", "on", "set", "YES"])
@pytest.mark.parametrize("name", [n for n, kind in options.DYNAMIC.items() if kind == "flag"])
def test_display_follows_its_options(name, yes):
    display = Display()
    options.set_display(display, name, yes)
    assert getattr(display, name) is True
    options.set_display(display, name, "off")
    assert getattr(display, name) is False


def test_setopt_cannot_change_what_the_programs_were_made_with():
    with pytest.raises(UsageError):
        options.set_display(Display(), "strsize", "8")
    options.set_display(Display(), "switchrate", "10hz")  # without effect, so it may be set


@pytest.mark.parametrize("name", options.REFUSED)
def test_refused_options_say_why(name):
    with pytest.raises(OptionError) as e:
        options.check(name, "")
    assert options.REFUSED[name] in e.value.message
