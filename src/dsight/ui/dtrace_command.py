"""The command line of dtrace(1): its options, and the D sources it names."""

from __future__ import annotations

import os
import sys

from dsight.errors import Error, UsageError
from dsight.source import Source, printable

USAGE = """\
usage: dtrace [-CeFHlqSvVwZ] [-b bufsz] [-c cmd] [-D name[=def]] [-I path] [-o output] [-p pid]
              [-L path] [-s script] [-U name] [-X a|c|s|t] [-x opt[=val]] [-P provider] [-m [provider:]module]
              [-f [[provider:]module:]func] [-n [[[provider:]module:]func:]name] [-i probe-id]
              [--dump stage,...] [--timings] [args ...]

  -n, -P, -m, -f, -i   enable probes by name, provider, module, function, id; a predicate and
                       an action may follow in the same argument
  -s script            run a script; a file with a first line #!/usr/sbin/dtrace -s runs itself
  -l                   list the probes matched instead of enabling them
  -c cmd, -p pid       run cmd, or take pid; $target is its pid, and tracing ends with it; of
                       several, $target is the first, and tracing ends with the last
  -q                   quiet: only what the script prints
  -F                   indent by function entry and return
  -o output            append the output to a file
  -x opt[=val]         set an option
  -w                   allow destructive actions
  -Z                   let descriptions match no probe
  -e, -S, --dump       compile only; show IR and bytecode; show stages:
                       tokens,ast,types,ir,asm,spec,records
  -C, -D, -U, -I       run the C preprocessor first, with these definitions and folders
  -H, -X a|c|s|t       with -C: name the files included; what __STDC__ is
  -L path              read the D library files of a folder too
  -v, -V               say what each program stands on; the version

examples:
  dtrace -n 'syscall::connect:entry { @[execname] = count(); }'
  dtrace -n 'tcp:::connect-request { printf("%s: %s:%d\\n", execname, args[2]->ip_daddr, args[4]->tcp_dport); }'
"""

_WITH_VALUE = "bcDIoLpsUxXPmfni"
_FLAGS = "aACeFGhHlqSvVwZ"
_REFUSED = {
    "a": ("there is no anonymous tracing on Linux", "start dtrace early, from a service that nothing else waits for"),
    "A": ("there is no anonymous tracing on Linux", "start dtrace early, from a service that nothing else waits for"),
    "G": ("USDT objects are not supported yet", None),
    "h": ("USDT headers are not supported yet", None),
    "32": ("the data model is that of the kernel, 64 bits", None),
}
_CPP = {"define": "D", "undef": "U", "incdir": "I"}  # options that may be given several times
DUMPS = ("tokens", "ast", "types", "ir", "asm", "spec", "records")


class Command:
    """A parsed command line.  `programs`: (option, text) of -n, -s and their like, in order."""

    def __init__(self) -> None:
        self.programs: list[tuple[str, str]] = []
        self.flags: set[str] = set()
        self.options: dict[str, str] = {}
        self.args: list[str] = []
        self.targets: list[tuple[str, str]] = []  # (c or p, text), in order
        self.libraries: list[str] = []
        self.output = ""
        self.cpp: list[tuple[str, str]] = []
        self.dump: list[str] = []
        self.timings = False


def parse_command(argv: list[str]) -> Command:
    """The command line.  Raises UsageError."""
    c = Command()
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--dump" or word.startswith("--dump="):
            value, at = _long_value(word, argv, at)
            c.dump += [d.strip() for d in value.split(",")]
            wrong = [d for d in c.dump if d not in DUMPS]
            if wrong:
                raise UsageError(f"--dump: no stage '{wrong[0]}'", "one or more of " + ",".join(DUMPS))
        elif word == "--timings":
            c.timings = True
        elif word == "--version":
            c.flags.add("V")
        elif word in ("--help", "-?"):
            c.flags.add("?")
        elif word == "--":
            c.args += argv[at:]
            break
        elif word in ("-32", "-64"):
            if word == "-32":
                raise _refusal("32")
        elif word.startswith("-") and len(word) > 1:
            at = _cluster(c, word, argv, at)
        else:
            c.args.append(word)
    return c


def _long_value(word: str, argv: list[str], at: int) -> tuple[str, int]:
    if "=" in word:
        return word.partition("=")[2], at
    if at >= len(argv):
        raise UsageError(f"option requires an argument -- {word}")
    return argv[at], at + 1


def _cluster(c: Command, word: str, argv: list[str], at: int) -> int:
    """-qs script: flags, then perhaps one option with its value; the next argument's index."""
    for i, letter in enumerate(word[1:], 2):
        if letter in _REFUSED:
            raise _refusal(letter)
        if letter in _FLAGS:
            c.flags.add(letter)
            continue
        if letter not in _WITH_VALUE:
            raise UsageError(f"invalid option -- {printable(letter)}")
        value = word[i:]
        if not value:
            if at >= len(argv):
                raise UsageError(f"option requires an argument -- {letter}")
            value = argv[at]
            at += 1
        _take(c, letter, value)
        break
    return at


def _refusal(letter: str) -> Error:
    message, hint = _REFUSED[letter]
    return Error(f"-{letter}: {message}", hint)


def _take(c: Command, letter: str, value: str) -> None:
    if letter in "nsPmfi":
        c.programs.append((letter, value))
    elif letter in "cp":
        c.targets.append((letter, value))
    elif letter == "L":
        c.libraries.append(value)
    elif letter == "X":
        c.options["stdc"] = value
    elif letter == "o":
        c.output = value
    elif letter == "b":
        c.options["bufsize"] = value
    elif letter in "DUI":
        c.cpp.append((letter, value))
    elif letter == "x":
        name, _, text = value.partition("=")
        if name in _CPP:
            c.cpp.append((_CPP[name], text))
        if name == "libdir":
            c.libraries.append(text)
        c.options[name] = text


def settle(command: Command) -> None:
    """Flags that are options, and DTRACE_OPT_NAME of the environment, become options.  Raises OptionError."""
    from dsight import options as opts

    for name, value in os.environ.items():
        if name.startswith("DTRACE_OPT_"):
            command.options.setdefault(name[len("DTRACE_OPT_") :].lower(), value)
    for flag, name in (("Z", "zdefs"), ("w", "destructive"), ("q", "quiet"), ("F", "flowindent")):
        if flag in command.flags:
            command.options[name] = ""
    if opts.is_set(command.options, "verbose"):
        command.flags.add("v")
    for name, value in command.options.items():
        opts.check(name, value)


# ---- sources


def read_sources(command: Command) -> list[Source]:
    """The D sources of -n, -s and their like, through the C preprocessor with -C."""
    return [_source(command, letter, text) for letter, text in command.programs]


def _source(command: Command, letter: str, text: str) -> Source:
    if letter == "s":
        try:
            if text == "-":
                return _preprocessed(command, Source("<stdin>", sys.stdin.read()))
            with open(text, encoding="utf-8", errors="surrogateescape") as f:
                return _preprocessed(command, Source(text, f.read()))
        except OSError as e:
            raise Error(f"failed to open {printable(text)}: {os.strerror(e.errno or 0)}") from None
    return _preprocessed(command, Source(f"-{letter}", specifier(letter, text)))


def specifier(letter: str, text: str) -> str:
    """-P provider, -m [provider:]module, -f [[provider:]module:]func as D: the fields to the
    right are left open.  A predicate or an action may follow."""
    missing = {"P": 3, "m": 2, "f": 1}.get(letter, 0)
    if not missing:
        return text
    end = next((i for i, c in enumerate(text) if c.isspace() or c in "/{"), len(text))
    return text[:end] + ":" * missing + text[end:]


def _preprocessed(command: Command, source: Source) -> Source:
    from dsight import options as opts

    if "C" not in command.flags and not opts.is_set(command.options, "cpp"):
        return source
    from dsight.ui.cpp import preprocess

    named = "H" in command.flags or opts.is_set(command.options, "cpphdrs")
    return preprocess(source, command.cpp, command.options.get("stdc", "a"), named)


def libraries(command: Command) -> dict[str, str]:
    """The D files of the folders of -L and libdir, by path."""
    files: dict[str, str] = {}
    for folder in command.libraries:
        try:
            for name in sorted(os.listdir(folder)):
                if name.endswith(".d"):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8", errors="surrogateescape") as f:
                        files[path] = f.read()
        except OSError as e:
            said = os.strerror(e.errno or 0)
            raise Error(f"failed to open the library folder {printable(folder)}: {said}") from None
    return files
