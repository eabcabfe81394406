"""The dtrace command as its users run it: a process of its own, bounded in time.

Commands run with -c may `unshare -n`: a network namespace of their own, in which they can
connect anywhere without a packet leaving the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]
DTRACE = [sys.executable, "-m", "dsight.ui.dtrace_cli"]
SECONDS = 60  # a bound, not an expectation

BIRTH_CONNECT = """\
syscall::connect:entry
{
        socks = (struct sockaddr*) copyin(arg1, arg2);
        hport = (uint_t) socks->sa_data[0];
        lport = (uint_t) socks->sa_data[1];
        hport <<= 8;
        port = hport + lport;

        printf("%s: %d.%d.%d.%d:%d\\n", execname, socks->sa_data[2], socks->sa_data[3], socks->sa_data[4], socks->sa_data[5], port);
}
"""  # noqa: E501
BIRTH_TCP = """\
tcp:::connect-request
{
        printf("%s: %s:%d\\n", execname, args[2]->ip_daddr, args[4]->tcp_dport);
}
"""


class Ran(NamedTuple):
    status: int
    out: str
    err: str


def dtrace(*arguments: object, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
    """Run the command to its end."""
    done = run_bytes(*arguments, stdin=stdin.encode(), env=env)
    return Ran(done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode())


def run_bytes(
    *arguments: object, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The same, with what it printed as bytes."""
    return subprocess.run(
        [*DTRACE, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        env={**os.environ, **(env or {})},
        check=False,
    )


def evaluate(*statements: str, declarations: str = "", options: tuple[str, ...] = ()) -> list[str]:
    """Run statements in BEGIN, then exit; the lines they print."""
    body = "\n".join(statements)
    done = dtrace("-q", *options, "-n", f"{declarations}\nBEGIN {{ {body}\nexit(0); }}")
    assert done.status == 0 and done.err == "", done.err
    return done.out.splitlines()


def values(*expressions: tuple[str, str]) -> list[str]:
    """The values of expressions, printed with the given formats: one run for all."""
    return evaluate(*(f'printf("{form}\\n", {text});' for form, text in expressions))


class Running:
    """A dtrace that runs until it is stopped; leaving the block ends it."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [*DTRACE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self._out = b""
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, text: str) -> str:
        """Until standard output has the text; all of it so far."""
        assert self.process.stdout is not None
        end = time.monotonic() + SECONDS
        while text.encode() not in self._out:
            assert time.monotonic() < end, f"{text!r} never came: {self._out!r}"
            more = self.process.stdout.read()
            if more == b"":
                raise AssertionError(f"ended without {text!r}: {self._out!r} {self.process.stderr.read()!r}")
            self._out += more or b""
            time.sleep(0.01)
        return self._out.decode()

    def signal(self, number: int = signal.SIGINT) -> tuple[Ran, float]:
        """Send a signal and wait for the end: what it printed, and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), True)
        out, err = self.process.communicate(timeout=SECONDS)
        return Ran(self.process.returncode, (self._out + out).decode(), err.decode()), time.monotonic() - began


def python(code: str, *arguments: object, namespace: bool = False) -> str:
    """A -c command line: Python code, in a network namespace of its own where asked for."""
    import shlex

    words = ["unshare", "-n"] if namespace else []
    return shlex.join([*words, sys.executable, "-c", code, *map(str, arguments)])
