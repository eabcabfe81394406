"""The D program: what a filter puts in, and that names from the command line cannot."""

from __future__ import annotations

import ipaddress

import pytest

from dsight.errors import UsageError
from dsight.packets.script import Filter, script


def test_each_clause_s_record_is_known() -> None:
    program = script(Filter(comms=("x*",), pids=frozenset({7})), 512)
    assert program.records.count("Packet") == 3
    assert program.records.count("Name") == 4
    assert len(program.records) == sum(line == "{" for line in program.text.split("\n"))


def test_what_is_not_asked_for_costs_nothing() -> None:
    text = script(Filter(), 512, udp_table=False).text
    for word in ("snoop_tree[", "snoop_called[", "this->zone", "udp_receiver_of", "snoop_among"):
        assert word not in text.replace("int snoop_tree[pid_t]", "").replace("int snoop_called[pid_t]", "")


def test_a_kernel_that_does_not_tell_of_calls() -> None:
    assert "sock_send_length" not in script(Filter(), 512, calls=False).text


def test_a_command_s_program_is_the_same_each_time() -> None:
    one, two = (script(Filter(pids=frozenset({pid}), started=True), 512).text for pid in (1234567, 1234568))
    assert one == two and "1234567" not in one
    assert "snoop_tree[1234567] = 1;" in script(Filter(pids=frozenset({1234567})), 512).text


def test_networks_word_by_word() -> None:
    text = script(Filter(hosts=(ipaddress.ip_network("2001:db8::/32"),)), 512).text
    assert text.count("*(uint32_t *)(this->ip + 8) &") == text.count("*(uint32_t *)(this->ip + 24) &") == 1
    assert "*(uint32_t *)(this->ip + 12)" not in text.split("/* ---- packets */")[1].split("this->proto =")[0]


@pytest.mark.parametrize("name", ['x"', "a\\", "", "a" * 16, "a b", "ä", "a\n"])
def test_a_device_is_a_name(name: str) -> None:
    with pytest.raises(UsageError):
        script(Filter(devices=(name,)), 512)
