"""A case of packet_lab.py with everything counted by probes; each is run once for all tests."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import dsight

CASES = "plain fragments loopback segments multicast pings marked late below forwarded errors connections".split()
LAB = Path(__file__).parent / "packet_lab.py"
COUNTS = """
udp:::send, udp:::receive /args[1]->cs_zoneid == $1/ { @udp[probename, args[2]->ip_ver] = count(); }
ip:::send, ip:::receive /args[1]->cs_zoneid == $1 && args[4] != NULL/
{
    @ip[args[3]->if_name, probename, args[2]->ip_ver, args[4]->ipv4_protocol] = count();
}
ip:::send, ip:::receive /args[1]->cs_zoneid == $1 && args[5] != NULL/
{
    @ip[args[3]->if_name, probename, args[2]->ip_ver, args[5]->ipv6_nexthdr] = count();
}
icmp:::send, icmp:::receive /args[1]->cs_zoneid == $1/
{
    @icmp[probename, args[2]->ip_ver, args[3]->icmp_type, args[3]->icmp_code] = count();
}
mib::: /args[1] == $1/ { @mib[probename] = sum(args[0]); }
"""


class Result(NamedTuple):
    """What the probes counted, what the capture did, by how much the kernel's counters grew; printed records."""

    udp: dict[Any, int]
    ip: dict[Any, int]
    icmp: dict[Any, int]
    mib: dict[str, int]
    captured: dict[tuple[str, str, int, int], int]
    snmp: dict[str, dict[str, int]]


@functools.cache
def results() -> dict[str, Result]:
    """Each case's packets as counted on all sides."""
    found = {}
    with Lab() as lab, dsight.trace(COUNTS, args=(lab.zone,)) as t:
        before = counted(t)
        for case in CASES:
            said = lab.run(case)
            now = counted(t)
            udp, ip, icmp, mib = (
                {key: n - old.get(key, 0) for key, n in new.items() if n != old.get(key)}
                for new, old in zip(now, before)
            )
            captured = {tuple(key): count for *key, count in said["captured"]}
            found[case] = Result(udp, ip, icmp, {name: n for (name,), n in mib.items()}, captured, said["snmp"])
            before = now
        t.stop()
        assert not t.lost and not t.faults, t.faults
    return found


def counted(t: dsight.Trace) -> list[dict[Any, int]]:
    return [t.aggregation(name) for name in ("udp", "ip", "icmp", "mib")]  # type: ignore[misc]


def records(case: str, script: str) -> list[tuple[Any, ...]]:
    """The values a script records of a case; $1 is the lab's network namespace, $2 its process."""
    with Lab() as lab, dsight.trace(script, args=(lab.zone, str(lab.pid))) as t:
        lab.run(case)
        found = [r.values for r in [*t.read(), *t.stop()]]
        assert not t.lost and not t.faults, t.faults
    return found


class Lab:
    """The lab's process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, LAB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.zone = self._line()

    def __enter__(self) -> Lab:
        return self

    def run(self, case: str) -> dict[str, Any]:
        """Have the packets made; what the lab saw of them."""
        assert self._process.stdin
        print(case, file=self._process.stdin, flush=True)
        said: dict[str, Any] = json.loads(self._line())
        return said

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
