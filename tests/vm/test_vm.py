"""The virtual machine itself, and what it is there for: things this machine's kernel may lack."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.vm


def test_another_kernel_runs_as_root_over_the_same_files(vm):
    answer = vm.run(f"uname -r; id -u; ls {os.path.abspath(__file__)}")
    release, uid, path = answer.stdout.split()
    assert release != os.uname().release
    assert (uid, path) == ("0", os.path.abspath(__file__))


def test_the_status_and_both_streams_come_back(vm):
    answer = vm.run("echo to-stdout; echo to-stderr >&2; exit 7")
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, "to-stdout\n", "to-stderr\n")


def test_it_offers_kprobes_btf_and_no_lockdown(vm):
    answer = vm.run(
        "test -r /sys/kernel/btf/vmlinux && echo btf;"
        "test -e /sys/bus/event_source/devices/kprobe/type && echo kprobe;"
        "grep -q '\\[none\\]' /sys/kernel/security/lockdown && echo unlocked;"
        "grep -cw tcp_v4_connect /proc/kallsyms"
    )
    assert answer.stdout.split() == ["btf", "kprobe", "unlocked", "1"]


def test_what_it_changes_stays_inside(vm):
    assert vm.run("touch /etc/dsight-was-here").returncode != 0
    assert vm.run("touch $TMPDIR/x && ls $TMPDIR/x").returncode == 0
    assert not os.path.exists("/run/tmp/x")
