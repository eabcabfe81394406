"""Items of docs/d-checklist.md that no other test uses."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

import pytest
from dtrace_run import DTRACE

from dsight.api import Trace
from dsight.testing.differential import compare

pytestmark = pytest.mark.kernel


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DTRACE, *args], capture_output=True, text=True, timeout=60)


def test_epid_counts_clauses_from_1() -> None:
    found = compare("BEGIN { trace(epid); } BEGIN { trace(epid); }")
    assert [v for _, v in found.records] == [(1,), (2,)]


def test_ipl_is_a_number() -> None:
    assert run("-qn", "BEGIN { trace(ipl); exit(0); }").stdout.isdigit()


def test_depths_of_stacks() -> None:
    with Trace("syscall::getpgid:entry { trace(stackdepth); trace(ustackdepth); }") as trace:
        os.getpgid(0)
        record, *_ = trace.stop()
    kernel, user = record.values
    assert isinstance(kernel, int)
    assert isinstance(user, int)
    assert 0 < kernel < 128
    assert 0 < user < 128


def test_64_bit_numbers_in_network_order() -> None:
    found = compare("BEGIN { trace(htonll(0x0102030405060708)); trace(ntohll(0x0807060504030201)); }")
    assert found.records[0][1] == (0x0807060504030201, 0x0102030405060708)


def test_what_fds_says_of_a_file() -> None:
    with tempfile.NamedTemporaryFile() as file:
        os.lseek(file.fileno(), 0, 0)
        file.write(b"x" * 100)
        file.flush()
        n = file.fileno()
        script = f"""syscall::getpgid:entry /pid == {os.getpid()}/ {{
            trace(fds[{n}].fi_name); trace(fds[{n}].fi_dirname);
            trace(fds[{n}].fi_pathname); trace(fds[{n}].fi_offset); trace(fds[{n}].fi_fs); trace(fds[{n}].fi_mount);
            trace(fds[{n}].fi_oflags); }}"""
        with Trace(script) as trace:
            os.getpgid(0)
            (record,) = trace.stop()
    name, folder, path, offset, system, mount, flags = record.values
    assert isinstance(path, str)
    assert isinstance(flags, int)
    assert (name, folder) == (os.path.basename(file.name), os.path.dirname(file.name))
    assert path.endswith(os.path.basename(file.name))
    assert offset == 100
    assert system
    assert isinstance(mount, str)
    assert flags & os.O_ACCMODE == os.O_RDWR


@pytest.mark.parametrize("conversion", ["%e", "%E", "%f", "%g", "%G"])
def test_there_is_no_floating_point_to_print(conversion: str) -> None:
    done = run("-en", f'BEGIN {{ printf("{conversion}", pid); }}')
    assert done.returncode == 1
    assert f"{conversion} takes a floating-point number, and D has none" in done.stderr


@pytest.mark.parametrize("call", ["msgdsize((void *)arg0)", "msgsize((void *)arg0)", "ddi_pathname((void *)arg0, 0)"])
def test_subroutines_of_other_systems_say_why_they_cannot_work(call: str) -> None:
    done = run("-en", f"BEGIN {{ trace({call}); }}")
    assert done.returncode == 1
    assert re.search(r"cannot work: Linux has no \w+", done.stderr)


def test_the_data_model_is_64_bits() -> None:
    assert run("-64", "-qn", "BEGIN { trace(sizeof(long)); exit(0); }").stdout == "8"


def test_types_of_io_are_there_before_their_provider() -> None:
    done = run("-qn", "BEGIN { trace(sizeof(bufinfo_t) > 0 && sizeof(devinfo_t) > 0); trace(B_READ != 0); exit(0); }")
    assert done.stdout == "11", done.stderr
