from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsight.errors import FeatureError, KernelError
from dsight.kernel import btf, features
from dsight.kernel import sys as ksys
from dsight.kernel.symbols import KernelSymbols

pytestmark = pytest.mark.kernel


def test_symbols_agree_with_the_list() -> None:
    symbols = KernelSymbols()
    wanted = {}
    for line in Path("/proc/kallsyms").read_text().splitlines():
        parts = line.split()
        if parts[2] in ("tcp_v4_connect", "do_exit", "init_task"):
            wanted[parts[2]] = int(parts[0], 16)
    assert wanted
    for name, address in wanted.items():
        assert symbols.address(name) == symbols.address(name, "vmlinux") == address
    assert symbols.address("tcp_v4_connect", "nonesuch") is None
    assert symbols.at(wanted["tcp_v4_connect"] + 5) == ("tcp_v4_connect", 5, "vmlinux")


def test_every_feature_of_this_kernel_is_where_it_is_believed_to_be() -> None:
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    for name, (since, _) in features.PROBES.items():
        if release >= tuple(int(n) for n in since.split(".")):
            assert features.why_not(name) is None, name
        else:
            assert not features.has(name), name
    features.require()
    features.require("tp_btf", "sample")


def test_no_btf_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btf, "VMLINUX", "/nonexistent")
    monkeypatch.setattr(features, "_tried", {})
    with pytest.raises(FeatureError, match="does not describe its types") as e:
        features.require()
    assert e.value.feature == "BTF" and "CONFIG_DEBUG_INFO_BTF" in (e.value.hint or "")


def test_no_bpf_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(ksys, "syscall", absent)
    monkeypatch.setattr(features, "_tried", {})
    with pytest.raises(FeatureError, match="no such system call") as e:
        features.require()
    assert "CONFIG_BPF_SYSCALL" in (e.value.hint or "")


def test_without_privileges_it_is_said_so() -> None:
    code = """
# Imported before the drop: the source tree may be root's alone.
import os, resource
from dsight.kernel import features, maps
from dsight.bpf.spec import MapSpec
from dsight import errors

os.setgroups([]); os.setgid(65534); os.setuid(65534)
for attempt in (features.require, lambda: maps.create(MapSpec("m", "hash", 4, 8, 1))):
    try:
        attempt()
    except errors.PrivilegeError as e:
        print(e, "|", e.hint)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    lines = run.stdout.splitlines()
    assert run.stderr == "" and len(lines) == 2
    assert all("root" in line and "sudo" in line for line in lines)
    assert "create map m" in lines[1]


def test_refusals_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(number: int) -> KernelError:
        return ksys.refused("do it", OSError(number, os.strerror(number)))

    assert "ulimit" in (told(24).hint or "")
    assert "memory" in told(12).message
    assert "(EINVAL)" in told(22).message
    assert "ENOTSUPP" in told(524).message
    monkeypatch.setattr(ksys, "lockdown", lambda: "confidentiality")
    assert "lockdown" in (told(1).hint or "")
