"""udp, ip, icmp and mib on Linux 6.1: no table of UDP sockets by namespace, fewer tracepoints."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.vm

SCRIPT = """
udp:::send, udp:::receive
{
    @udp[probename, args[4]->udp_dport, args[1]->cs_pid == pid, args[3]->udps_lport] = count();
}
ip:::send, ip:::receive /args[4] != NULL/ { @ip[probename, args[3]->if_name, args[4]->ipv4_protostr] = count(); }
icmp:::send, icmp:::receive { @icmp[probename, args[3]->icmp_type] = count(); }
mib:::udp*, mib:::ip*, mib:::icmp*Msgs { @mib[probename] = sum(args[0]); }
END
{
    printa("%s %d %d %d %@d\\n", @udp); printa("%s %s %s %@d\\n", @ip); printa("%s %d %@d\\n", @icmp);
    printa("%s %@d\\n", @mib);
}
"""
TRAFFIC = """
import socket
here, there = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
here.bind(("127.0.0.1", 7001)); there.bind(("127.0.0.1", 7002))
for _ in range(3):
    here.sendto(b"x", ("127.0.0.1", 7002)); there.recv(9)
here.sendto(b"x", ("127.0.0.1", 7003))
"""


def test_counts(vm):
    (vm.folder / "network.d").write_text(SCRIPT)
    (vm.folder / "traffic.py").write_text(TRAFFIC)
    vm.run("ip link set lo up")
    done = vm.run(
        f'P={sys.executable} F={vm.folder}; $P -m dsight.ui.dtrace_cli -qs $F/network.d -c "$P $F/traffic.py"',
        timeout=120,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    # Nobody is known to receive, and the one to port 7003 is for this host.
    assert set(done.stdout.split("\n")) - {""} == {
        "send 7002 1 7001 3", "send 7003 1 7001 1", "receive 7002 0 0 3", "receive 7003 0 0 1",
        "send lo UDP 4", "receive lo UDP 4", "send lo ICMP 1", "receive lo ICMP 1",
        "send 3 1", "receive 3 1",
        "udpOutDatagrams 4", "udpNoPorts 1", "ipInReceives 5", "icmpInMsgs 1", "icmpOutMsgs 1",
    }  # fmt: skip
