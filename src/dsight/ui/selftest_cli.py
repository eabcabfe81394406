"""`dsight selftest`: whether the watcher sees what it should on this kernel.

Exit status: 0 if every case that could be made was told rightly; 1 if not, or if it cannot run.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.testing.selftest import Mean, Result

DESCRIPTION = """\
Make each kind of failure for real, in network namespaces of its own, watch it, and say whether it was
seen and classified rightly; and on what of this kernel the watcher stands. Takes a few seconds, as root.
"""
_COLOURS = {"passed": "32", "failed": "1;31", "skipped": "33"}


def main(argv: list[str]) -> int:
    """The subcommand; argv without its name."""
    from argparse import ArgumentParser

    parser = ArgumentParser(prog="dsight selftest", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(argv)
    from dsight.kernel import features
    from dsight.machine import Machine
    from dsight.testing import selftest

    features.require()
    machine = Machine()
    try:
        means = selftest.means(machine)
        results, lost = selftest.run(machine)
    finally:
        machine.close()
    passed = not lost and all(result.state != "failed" for result in results)
    if arguments.json:
        _write_json(results, means, lost, passed)
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        sys.stdout.write("\n".join(lines(results, means, lost, colour)) + "\n")
    sys.stdout.flush()
    return 0 if passed else 1


def lines(results: list[Result], means: list[Mean], lost: int, colour: bool = False) -> list[str]:
    """The report for people."""
    from dsight.source import printable

    def paint(state: str, text: str) -> str:
        return f"\x1b[{_COLOURS[state]}m{text}\x1b[0m" if colour else text

    out = [f"Linux {os.uname().release} {os.uname().machine}", ""]
    for mean in means:
        word = paint("passed", "yes") if mean.there else paint("skipped", "no ")
        out.append(f"{word}  {mean.name:20}  {printable(mean.text)}")
    out.append("")
    for result in results:
        case = result.case
        seen = printable(result.seen)
        if result.state == "failed":
            wanted = ", ".join(word for word in (case.outcome, case.error, case.code) if word is not None)
            seen = f"{seen}; it should be: {wanted}"
        out.append(f"{paint(result.state, f'{result.state:7}')}  {case.title:37}  {seen}")
    count = {state: sum(result.state == state for result in results) for state in _COLOURS}
    out += ["", ", ".join(f"{number} {state}" for state, number in count.items())]
    if lost:
        out.append(paint("failed", f"{lost} events were lost before they could be read"))
    return out


def _write_json(results: list[Result], means: list[Mean], lost: int, passed: bool) -> None:
    from json import dumps

    cases = [
        {
            "case": result.case.name,
            "title": result.case.title,
            "result": result.state,
            "seen": result.seen,
            "expected": {"outcome": result.case.outcome, "error": result.case.error, "diagnosis": result.case.code},
        }
        for result in results
    ]
    kernel = {"release": os.uname().release, "machine": os.uname().machine}
    there = [{"name": mean.name, "there": mean.there, "text": mean.text} for mean in means]
    sys.stdout.write(dumps({"passed": passed, "kernel": kernel, "means": there, "cases": cases, "lost": lost}) + "\n")
