"""Golden cases: a D script, what a stage makes of it, what it prints.  One file a case:

    # asserts: a false predicate leaves the aggregation untouched
    # needs: root
    --- d
    syscall::read:entry /execname == "read_loop" && arg2 > 4096/ { @ = count(); }
    --- ir
    ...
    --- run  trigger: read_loop --large 3 --small 2
    3

The first lines may also say `# interpreter: yes`, where the script's BEGIN and END are all of it: the
run is the same on the IR's interpreter (tests/golden/interpreted.py); or `no, WHY`.

Sections, each optional but `d`, in any order:

    d         the script
    STAGE     what `dtrace --dump STAGE -e` prints: tokens ast types ir asm spec records
    run       what running it prints.  `trigger:` a command given with -c, which ends the run;
              `options:` what else goes on the command line, in front (`options: -q -x strsize=32`),
              `arguments:` what follows the script: its macro variables $1, $2, ...
    err       what it prints on the standard error, where that is the point
    status    its exit status, where it is not 0

Without `run`, `err` and `status` belong to `dtrace -e`.  Blanks at line ends are not compared;
what differs from run to run is masked (see `mask`).

    python -m dsight.testing.golden [--write] PATH...

runs the cases of files and folders (*.golden), prints a diff of each that differs, exit status 1
if any does.  With --write it writes what came out into the files: read the diff of that.
Triggers are looked for in the folder `triggers` beside the case, then on PATH.
"""

from __future__ import annotations

import os
import re
import sys

from dsight.errors import Error
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Runner = Callable[[list[str], dict[str, str]], tuple[bytes, bytes, int]]

STAGES = ("tokens", "ast", "types", "ir", "asm", "spec", "records")
RESULTS = (*STAGES, "run", "err", "status")
TIMEOUT = 60  # seconds for one command of one case

_HEADER = re.compile(r"#\s*(\w+):\s*(.*)")
_SECTION = re.compile(r"--- (\w+)\s*(.*)")
_OPTION = re.compile(r"(\w+): (.*?)\s*(?=\b\w+: |$)")
_ROW = re.compile(r"^ {0,2}\d+ +\d+ (?= )", re.MULTILINE)  # the CPU and ID columns of default output
_FLOW = re.compile(r"^ {0,2}\d+(?=  )", re.MULTILINE)  # the CPU column of -F


class Section(Value):
    """`--- name  option: value ...` and the lines below it."""

    name: str
    options: tuple[tuple[str, str], ...]
    text: str

    def option(self, name: str) -> str:
        return dict(self.options).get(name, "")


class Case(Value):
    """One file.  `header` is its first lines as they stand; `needs` what the machine must offer;
    `interpreter` is yes, no and why, or "" where probes have to fire."""

    path: str
    header: str
    asserts: str
    needs: tuple[str, ...]
    sections: tuple[Section, ...]
    interpreter: str = ""

    def section(self, name: str) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)


def parse(path: str, text: str) -> Case:
    """A case from its file's text; Error where the file is not one."""
    header: list[str] = []
    facts: dict[str, str] = {}
    heads: list[tuple[str, str]] = []
    bodies: list[list[str]] = []
    for line in text.splitlines():
        head = _SECTION.fullmatch(line)
        if head:
            heads.append((head[1], head[2]))
            bodies.append([])
        elif bodies:
            bodies[-1].append(line)
        else:
            header.append(line)
            fact = _HEADER.fullmatch(line)
            if fact:
                facts[fact[1]] = fact[2]
    names = [name for name, _ in heads]
    if "asserts" not in facts:
        raise Error(f"{path}: the first lines must say what it asserts: '# asserts: ...'")
    if "d" not in names or len(set(names)) != len(names) or set(names) - {"d", *RESULTS}:
        raise Error(f"{path}: wants one '--- d', and at most one each of {', '.join(RESULTS)}")
    sections = tuple(
        Section(name, tuple(_OPTION.findall(options)), "".join(line + "\n" for line in body))
        for (name, options), body in zip(heads, bodies)
    )
    needs = tuple(facts.get("needs", "").split())
    return Case(path, "\n".join(header), facts["asserts"], needs, sections, facts.get("interpreter", ""))


def render(case: Case) -> str:
    """The file of a case; `parse` of it gives the case again."""
    lines = [case.header] if case.header else []
    for section in case.sections:
        options = "".join(f"  {name}: {value}" for name, value in section.options)
        lines.append(f"--- {section.name}{options}")
        if section.text:
            lines.append(section.text.removesuffix("\n"))
    return "\n".join(lines) + "\n"


def mask(text: str, script: str = "") -> str:
    """What differs from run to run, made equal: addresses ADDR, times TIME, dates of this century
    DATE, the pid of a trigger that ended PID, the IDs of probes in messages ID, the CPU and ID
    columns of output that is not quiet, the script's own path SCRIPT; no blanks at line ends.
    """
    if script:
        text = text.replace(script, "SCRIPT")
    text = re.sub(r"\b0x[0-9a-f]{7,16}\b", "ADDR", text)
    text = re.sub(r"\b(?!0123456789abcdef)[0-9a-f]{16}\b", "ADDR", text)  # that one heads tracemem()'s columns
    text = re.sub(r"\b\d{12,20}\b", "TIME", text)
    text = re.sub(r"\bpid \d+ has exited", "pid PID has exited", text)
    text = re.sub(r"\b20\d\d [A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"\(ID \d+: (?!dtrace:)", "(ID ID: ", text)
    if text.startswith("CPU FUNCTION"):
        text = _FLOW.sub("CPU", text)
    if re.search(r"^ *CPU +ID ", text, re.MULTILINE):
        text = _ROW.sub("  CPU     ID", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def as_process(arguments: list[str], environment: dict[str, str]) -> tuple[bytes, bytes, int]:
    """What the dtrace command prints on standard output and error, and its exit status.

    TimeoutError when it has not ended after TIMEOUT seconds.
    """
    import subprocess

    command = [sys.executable, "-m", "dsight.ui.dtrace_cli", *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return done.stdout, done.stderr, done.returncode


def outcome(case: Case, run_dtrace: Runner = as_process) -> dict[str, str]:
    """What this tree makes of the script, masked: section name -> text, for the sections the case
    has; with `run` also `err` and `status`.  `run_dtrace` is how the command is run."""
    import tempfile

    script = case.section("d")
    assert script is not None
    run = case.section("run")
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        path = os.path.join(folder, os.path.basename(case.path).removesuffix(".golden") + ".d")
        with open(path, "w") as f:
            f.write(script.text)
        options = run.option("options").split() if run else []
        for stage in STAGES:
            if case.section(stage):
                found[stage] = _dtrace(run_dtrace, case, path, [*options, "--dump", stage, "-e"])[0]
        if run or case.section("err") or case.section("status"):
            trigger = run.option("trigger") if run else ""
            ending = ["-c", trigger] if trigger else []
            arguments = run.option("arguments").split() if run else []
            out, err, status = _dtrace(run_dtrace, case, path, [*options, *(ending if run else ["-e"])], arguments)
            found |= {"run": out, "err": err, "status": f"{status}\n"}
    return found


def _with(case: Case, found: dict[str, str]) -> Case:
    return case.replace(sections=tuple(s if s.name == "d" else s.replace(text=found[s.name]) for s in case.sections))


def actual(case: Case) -> Case:
    """The case with what came out in place of what the file says."""
    return _with(case, outcome(case))


def _dtrace(
    run_dtrace: Runner, case: Case, script: str, options: list[str], arguments: Sequence[str] = ()
) -> tuple[str, str, int]:
    """The masked output and errors, and the exit status, of `dtrace OPTIONS -s SCRIPT ARGUMENTS`."""
    triggers = os.path.join(os.path.dirname(os.path.abspath(case.path)), "triggers")
    environment = os.environ | {"PATH": triggers + ":" + os.environ.get("PATH", os.defpath)}
    try:
        out, err, status = run_dtrace([*options, "-s", script, *arguments], environment)
    except TimeoutError:
        raise Error(f"{case.path}: no end after {TIMEOUT} s: dtrace {' '.join(options)}") from None
    texts = [mask(raw.decode(errors="backslashreplace"), script) for raw in (out, err)]
    return texts[0], texts[1], status


def check(case: Case, run_dtrace: Runner = as_process) -> str:
    """Runs a case; a unified diff from the file to what came out, "" if equal.

    A run must end with exit status 0 if the case has no `status`; where it does not, what it
    printed on the standard error follows the diff.
    """
    import difflib

    if case.section("run") and not case.section("status"):
        case = case.replace(sections=(*case.sections, Section("status", (), "0\n")))
    found = outcome(case, run_dtrace)
    old, new = render(_stripped(case)), render(_stripped(_with(case, found)))
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), case.path, "what came out", lineterm=""))
    if lines and not case.section("err"):
        lines += ["standard error:", *found.get("err", "").splitlines()]
    return "".join(line + "\n" for line in lines)


def _stripped(case: Case) -> Case:
    """With no blanks at line ends, as `mask` leaves what came out."""
    return case.replace(
        sections=tuple(
            s.replace(text="".join(line.rstrip() + "\n" for line in s.text.splitlines())) for s in case.sections
        )
    )


def load(path: str) -> Case:
    with open(path) as f:
        return parse(path, f.read())


def find(path: str) -> list[str]:
    """A file, or the *.golden files in a folder and below, sorted."""
    if not os.path.isdir(path):
        return [path]
    return sorted(
        os.path.join(top, name) for top, _, names in os.walk(path) for name in names if name.endswith(".golden")
    )


def main(argv: list[str] | None = None) -> int:
    args = list(sys.argv[1:] if argv is None else argv)
    write = "--write" in args
    paths = [found for arg in args if arg != "--write" for found in find(arg)]
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    differ = 0
    for path in paths:
        try:
            case = load(path)
            if write:
                found = outcome(case)
                if case.section("run") and not case.section("status") and found["status"] != "0\n":
                    raise Error(f"{path}: exit status {found['status'].strip()}:\n{found['err'].rstrip()}")
                new = render(_with(case, found))
                with open(path) as f:
                    changed = f.read() != new
                if changed:
                    with open(path, "w") as f:
                        f.write(new)
                    print(f"{path}: written")
            else:
                diff = check(case)
                differ += bool(diff)
                sys.stdout.write(diff)
        except Error as e:
            print(e, file=sys.stderr)
            differ += 1
    print(f"{len(paths)} golden cases, {differ} {'failed' if write else 'differ'}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
