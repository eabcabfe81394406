"""bench/compare.py reads other tools' output: what counts as seen, and what as told."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from dsight.testing.selftest import CASES

PATH = Path(__file__).resolve().parents[2] / "bench" / "compare.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INET = 'connect(3, {sa_family=AF_INET, sin_port=htons(7001), sin_addr=inet_addr("127.0.0.1")}, 16'


@pytest.mark.parametrize(
    ("lines", "words", "where", "error"),
    [
        ([f"7 {INET}) = -1 ECONNREFUSED (Connection refused)"], "connect() = ECONNREFUSED", "127.0.0.1 7001",
         "ECONNREFUSED"),
        ([f"7 {INET}) = -1 EINPROGRESS (...)"], "connect() = EINPROGRESS", "127.0.0.1 7001", None),
        ([f"7 {INET} <unfinished ...>", "8 close(3) = 0", "7 <... connect resumed>) = 0"], "connect() = 0",
         "127.0.0.1 7001", None),
        ([f"7 {INET} <unfinished ...>", "7 +++ killed by SIGKILL +++"], "connect() = did not return", "127.0.0.1 7001",
         None),
        (['7 connect(3, {sa_family=AF_UNIX, sun_path=@"x"}, 4) = -1 EAGAIN (...)'], "connect() = EAGAIN", "@x",
         "EAGAIN"),
        (["7 connect(3, 0x8, 16) = -1 EFAULT (Bad address)"], "connect() = EFAULT", None, "EFAULT"),
    ],
)  # fmt: skip
def test_strace(compare: ModuleType, lines: list[str], words: str, where: str | None, error: str | None) -> None:
    (sight,) = compare.read_strace("\n".join(lines)).values()
    assert (sight.words, set(sight.destinations), sight.error) == (words, {where} - {None}, error)


def test_ss(compare: ModuleType) -> None:
    line = 'tcp SYN-SENT 0 1 10.9.0.1:4711 10.9.0.77:9300 users:(("w-silent",pid=7,fd=3))'
    inherited = 'tcp ESTAB 0 1 10.9.0.1:4712 10.9.0.77:9300 users:(("w-silent",pid=7,fd=4),("python",pid=6,fd=4))'
    (sight,) = compare.read_ss("\n".join([line, inherited])).values()
    assert (sight.words, sight.destinations, sight.outcome) == ("SYN-SENT", {"10.9.0.77 9300"}, None)


def test_an_outcome_is_told_by_the_errno_or_the_success(compare: ModuleType) -> None:
    refused, silent, connected = (next(c for c in CASES if c.name == n) for n in ("refused", "silent", "connected"))
    assert compare.tells_outcome(refused, compare.Sight("", error="ECONNREFUSED"))
    assert not compare.tells_outcome(refused, compare.Sight("", outcome="ok"))
    assert not compare.tells_outcome(silent, compare.Sight("", outcome="ok"))
    assert compare.tells_outcome(connected, compare.Sight("", outcome="ok"))
