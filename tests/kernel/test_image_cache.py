"""A script that has run before starts from its image: the same output, without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

FOUND = "find what was compiled before"
RUN = "import sys; from dsight.ui.dtrace_cli import main; code = main(sys.argv[1:]); " + (
    "sys.stderr.write('\\nlang.check ' + str('dsight.lang.check' in sys.modules)); sys.exit(code)"
)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def dtrace(*args: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
        command = [sys.executable, "-c", RUN, "--timings", *args]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    return dtrace


def files(folder: Path) -> list[Path]:
    return sorted((folder / "dsight" / "scripts").glob("*"))


SCRIPT = """
struct pair { int a; char b[4]; };
string name[int];
BEGIN { this->p = (struct pair *)alloca(sizeof (struct pair)); this->p->a = 7; print(*this->p); name[1] = "x"; }
BEGIN { printf("%s %d", name[1], strlen($$1)); @["a", 1] = quantize(3); @b = lquantize(5, 0, 10, 2); stack(2); }
BEGIN { trace(*(int *)0); }
ERROR { printf("fault %d of clause", arg4); }
tick-50ms { exit(3); }
END { printa("%s %d %@d\\n", @); }
"""


def test_the_second_run_needs_no_compiler_and_says_the_same(run: Run, tmp_path: Path) -> None:
    first = run("-qn", SCRIPT, "word")
    second = run("-qn", SCRIPT, "word")
    assert first.returncode == second.returncode == 3, first.stderr
    assert "x 4" in first.stdout and "a = 0x7" in first.stdout and "fault 1" in first.stdout
    assert first.stdout == second.stdout
    assert FOUND not in first.stderr and "lang.check True" in first.stderr
    assert FOUND in second.stderr and "lang.check False" in second.stderr
    assert len(files(tmp_path)) == 1
    assert "matched" not in first.stderr


def test_the_matched_message_is_there_the_second_time_too(run: Run) -> None:
    for _ in range(2):
        done = run("-n", "BEGIN { exit(0); }", "-n", "END { trace(1); }")
        assert "description 'BEGIN' matched 1 probe" in done.stderr and "description 'END' matched 1" in done.stderr


@pytest.mark.parametrize(
    "one, other",
    [
        (("-n", "BEGIN { exit(0); }"), ("-n", "BEGIN { exit(1); }")),
        (("-n", "BEGIN { exit(0); }"), ("-x", "strsize=64", "-n", "BEGIN { exit(0); }")),
        (("-n", "BEGIN { exit($1); }", "4"), ("-n", "BEGIN { exit($1); }", "5")),
    ],
)
def test_other_inputs_are_another_script(run: Run, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    run(*one)
    assert FOUND not in run(*other).stderr
    assert FOUND in run(*one).stderr


def test_what_differs_from_run_to_run_is_not_kept(run: Run, tmp_path: Path) -> None:
    assert (
        run("-qn", "BEGIN { trace($pid == pid); exit(0); }").stdout
        == run("-qn", "BEGIN { trace($pid == pid); exit(0); }").stdout
    )
    assert run("-qn", "BEGIN { trace(&`schedule != 0); exit(0); }").returncode == 0
    assert files(tmp_path) == []


def test_an_error_is_an_error_each_time(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        done = run("-n", "BEGIN { trace(nonesuch); }")
        assert done.returncode == 1 and "nonesuch" in done.stderr
        assert "extraneous argument" in run("-n", "BEGIN { exit(0); }", "a", "b").stderr
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "writable"])
def test_a_file_that_is_not_right_means_compiling(run: Run, tmp_path: Path, damage: str) -> None:
    run("-qn", "BEGIN { trace(5); exit(0); }")
    (file,) = files(tmp_path)
    data = file.read_bytes()
    if damage == "writable":
        file.chmod(0o666)
    else:
        file.write_bytes(
            {"cut": data[:-9], "flip": data[:99] + bytes([data[99] ^ 1]) + data[100:], "empty": b""}[damage]
        )
    done = run("-qn", "BEGIN { trace(5); exit(0); }")
    assert done.stdout == "5" and FOUND not in done.stderr
    assert FOUND in run("-qn", "BEGIN { trace(5); exit(0); }").stderr or damage == "writable"


def test_no_folder_is_no_error(tmp_path: Path, run: Run) -> None:
    (tmp_path / "dsight").write_text("in the way")
    assert run("-qn", "BEGIN { trace(5); exit(0); }").stdout == "5"


def test_another_dsight_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dsight import image_cache

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pure"))
    try:
        from test_image import image
    finally:
        del sys.path[0]
    inputs = image_cache.Inputs((("x", "BEGIN {}"),), (), (), ())
    image_cache.keep(inputs, image())
    assert image_cache.find(inputs) == image()
    monkeypatch.setattr(image_cache, "_dsight", lambda: (("a.py", 1, 2),))
    assert image_cache.find(inputs) is None


def test_the_folder_does_not_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dsight import image_cache
    from dsight.image import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(image_cache, "_MOST", 5)
    for n in range(12):
        image_cache.keep(image_cache.Inputs((("x", str(n)),), (), (), ()), Image((), (), (), (), {}, False))
    assert len(files(tmp_path)) == 5
    assert image_cache.find(image_cache.Inputs((("x", "11"),), (), (), ())) is not None
