"""mib: its probes add up to what /proc/net/snmp counts."""

from __future__ import annotations

import re
from pathlib import Path

import packet_run
import pytest
from dtrace_run import dtrace

from dsight.providers.mib import _COUNTERS

pytestmark = pytest.mark.kernel

# Where the kernel has the same counter: probe, (group, name) of those it is the sum of.
SAME = {
    "tcpActiveOpens": [("Tcp", "ActiveOpens")],
    "tcpPassiveOpens": [("Tcp", "PassiveOpens")],
    "tcpAttemptFails": [("Tcp", "AttemptFails")],
    "tcpEstabResets": [("Tcp", "EstabResets")],
    "tcpInSegs": [("Tcp", "InSegs")],
    "tcpRetransSegs": [("Tcp", "RetransSegs")],
    "tcpOutRsts": [("Tcp", "OutRsts")],
    "udpInDatagrams": [("Udp", "InDatagrams"), ("Udp6", "InDatagrams")],
    "udpOutDatagrams": [("Udp", "OutDatagrams"), ("Udp6", "OutDatagrams")],
    "udpNoPorts": [("Udp", "NoPorts"), ("Udp6", "NoPorts")],
    "udpInErrors": [("Udp", "InErrors"), ("Udp6", "InErrors")],
    "udpInOverflows": [("Udp", "RcvbufErrors"), ("Udp6", "RcvbufErrors")],
    "udpInCksumErrs": [("Udp", "InCsumErrors"), ("Udp6", "InCsumErrors")],
    "ipInReceives": [("Ip", "InReceives")],
    "ipInUnknownProtos": [("Ip", "InUnknownProtos")],
    "ipReasmReqds": [("Ip", "ReasmReqds")],
    "icmpInMsgs": [("Icmp", "InMsgs")],
    "icmpInEchoReps": [("Icmp", "InEchoReps")],
    "icmpInEchos": [("Icmp", "InEchos")],
    "icmpInDestUnreachs": [("Icmp", "InDestUnreachs")],
    "icmpOutMsgs": [("Icmp", "OutMsgs")],
    "icmpOutEchos": [("Icmp", "OutEchos")],
    "icmpOutEchoReps": [("Icmp", "OutEchoReps")],
    "icmpOutDestUnreachs": [("Icmp", "OutDestUnreachs")],
}
NEVER = {"icmpInEchos", "icmpOutEchoReps"}  # in no case


@pytest.mark.parametrize("case", packet_run.CASES)
def test_as_the_kernel_counts(case: str) -> None:
    ran = packet_run.results()[case]
    counted = {probe: ran.mib.get(probe, 0) for probe in SAME}
    assert counted == {probe: sum(ran.snmp[group][name] for group, name in names) for probe, names in SAME.items()}


def test_each_is_counted_in_a_case() -> None:
    """The comparison means nothing where nothing is counted."""
    seen = {name for ran in packet_run.results().values() for name, n in ran.mib.items() if n}
    assert set(SAME) - NEVER <= seen


def test_ipv6() -> None:
    for ran in (packet_run.results()[case] for case in ("plain", "fragments", "marked")):
        assert ran.mib["ipv6InReceives"] == ran.snmp["Ip6"]["InReceives"]


def test_tells_its_arguments() -> None:
    out = dtrace("-lvn", "mib:::tcpActiveOpens").out
    assert "args[0]: uint64_t" in out and "args[1]: zoneid_t" in out


def test_the_page_lists_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "network-providers.md").read_text()
    offered, _, others = page.partition("## mib")[2].partition("Not offered")
    assert others
    rows = [line.split("|")[1] for line in offered.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(_COUNTERS)
