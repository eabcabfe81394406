"""The golden runner: reading, writing and masking cases; running needs the dtrace command."""

from __future__ import annotations

import pytest

from dsight.errors import Error
from dsight.testing import golden

CASE = """\
# asserts: a false predicate leaves the aggregation untouched
# needs: root tracepoints
--- d
syscall::read:entry /execname == "read_loop" && arg2 > 4096/
{ @ = count(); }
--- ir
block 0:
--- run  trigger: read_loop --large 3 --small 2  options: -q -x strsize=32

                3
"""


def test_a_case_is_read_into_its_parts():
    case = golden.parse("x.golden", CASE)
    assert case.asserts == "a false predicate leaves the aggregation untouched"
    assert case.needs == ("root", "tracepoints")
    assert [s.name for s in case.sections] == ["d", "ir", "run"]
    run = case.section("run")
    assert run.option("trigger") == "read_loop --large 3 --small 2"
    assert run.option("options") == "-q -x strsize=32"
    assert run.text == "\n                3\n"


def test_a_case_is_written_as_it_was_read():
    assert golden.render(golden.parse("x.golden", CASE)) == CASE


@pytest.mark.parametrize(
    "text",
    [
        "--- d\nBEGIN { }\n",  # asserts nothing
        "# asserts: x\n--- run\n",  # no script
        "# asserts: x\n--- d\n--- d\n",
        "# asserts: x\n--- d\n--- shape\n",  # no such stage
    ],
)
def test_what_is_no_case_is_refused(text):
    with pytest.raises(Error, match=r"x\.golden"):
        golden.parse("x.golden", text)


def test_what_differs_between_runs_is_masked():
    text = (
        "CPU     ID                    FUNCTION:NAME\n"
        "  1  40211" + " " * 28 + ":BEGIN   \n"
        "ffff888100a3c400 0x7ffd12345678 1732345678123456789 4096 0x1f\n"
        "/tmp/golden-a1/x.d:1:2: error\n"
    )
    assert golden.mask(text, "/tmp/golden-a1/x.d") == (
        "CPU     ID                    FUNCTION:NAME\n"
        "  CPU     ID" + " " * 27 + ":BEGIN\n"
        "ADDR ADDR TIME 4096 0x1f\n"
        "SCRIPT:1:2: error\n"
    )


def test_quiet_output_that_starts_with_numbers_is_left_alone():
    assert golden.mask("  1  2  3\n") == "  1  2  3\n"


@pytest.fixture
def dtrace(monkeypatch):
    """Stands in for the command: `dtrace.answers` maps a stage or "run" to (stdout, stderr, status)."""

    class Fake:
        answers: dict = {}
        asked: list = []

        def __call__(self, run_dtrace, case, script, options, arguments=()):
            self.asked.append(options)
            what = options[options.index("--dump") + 1] if "--dump" in options else "run"
            return self.answers[what]

    fake = Fake()
    monkeypatch.setattr(golden, "_dtrace", fake)
    return fake


def test_check_compares_each_section_and_the_exit_status(dtrace):
    case = golden.parse("x.golden", CASE)
    dtrace.answers = {"ir": ("block 0:\n", "", 0), "run": ("\n                3\n", "", 0)}
    assert golden.check(case) == ""
    assert dtrace.asked[-1] == ["-q", "-x", "strsize=32", "-c", "read_loop --large 3 --small 2"]
    dtrace.answers["run"] = ("\n                4\n", "", 0)
    assert "+                4" in golden.check(case)
    dtrace.answers["run"] = ("\n                3\n", "dtrace: refused\n", 1)
    diff = golden.check(case)
    assert "-0\n+1\n" in diff and "dtrace: refused" in diff


def test_writing_puts_in_what_came_out(dtrace, tmp_path, capsys):
    path = tmp_path / "x.golden"
    path.write_text(CASE)
    dtrace.answers = {"ir": ("block 0:\n  ret\n", "", 0), "run": ("7\n", "", 0)}
    assert golden.main(["--write", str(tmp_path)]) == 0
    assert path.read_text() == CASE.replace("block 0:\n", "block 0:\n  ret\n").replace("\n                3\n", "7\n")
    assert "written" in capsys.readouterr().out
    assert golden.main([str(path)]) == 0
