"""Both scripts the project was born from, as they stand: any address, any port, any client."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from dtrace_run import BIRTH_CONNECT, BIRTH_TCP, REPO, dtrace, python

pytestmark = pytest.mark.kernel

# Every octet value in every position, and every value of either byte of the port.
ADDRESSES = [
    (".".join(str(value if i == place else 10 + i) for i in range(4)), 9300)
    for place in range(4)
    for value in range(256)
]
PORTS = [("10.1.2.3", value << 8 | 0x11) for value in range(256)] + [
    ("10.1.2.3", 0x1100 | value) for value in range(256)
]
EDGES = [("255.255.255.255", 65535), ("192.168.128.255", 443), ("0.0.0.0", 0x8080), ("127.0.0.1", 0xFF80)]

# Connects UDP sockets, which sends nothing, in a network namespace with a route to everywhere.
UDP_CLIENT = """
import fcntl, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
request = struct.pack('16sh', b'lo', 1)
fcntl.ioctl(s, 0x8914, request)  # SIOCSIFFLAGS: up
for line in open(sys.argv[1]):
    address, port = line.split()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    try:
        s.connect((address, int(port)))
    except OSError:
        pass
"""

C_CLIENT = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
        char address[64]; int port;
        FILE *f = fopen(argv[1], "r");
        while (fscanf(f, "%63s %d", address, &port) == 2) {
                int s = socket(AF_INET, SOCK_DGRAM, 0);
                struct sockaddr_in to;
                memset(&to, 0, sizeof to);
                to.sin_family = AF_INET;
                to.sin_port = htons(port);
                inet_pton(AF_INET, address, &to.sin_addr);
                connect(s, (struct sockaddr *)&to, sizeof to);
        }
        return 0;
}
"""


@pytest.fixture(scope="session")
def c_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled client, named "birth-client", that connects as each line of a file says."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("client")
    (folder / "client.c").write_text(C_CLIENT)
    subprocess.run(["cc", "-o", folder / "birth-client", folder / "client.c"], check=True, timeout=60)
    return folder / "birth-client"


def destinations(path: Path, pairs: list[tuple[str, int]]) -> Path:
    path.write_text("".join(f"{a} {p}\n" for a, p in pairs))
    return path


def lines_of(out: str, comm: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith(comm + ":")]


def test_first_script_every_octet_and_port_from_python(tmp_path: Path) -> None:
    wanted = ADDRESSES + PORTS + EDGES
    script = tmp_path / "connect.d"
    script.write_text("#!/usr/sbin/dtrace -qs\n" + BIRTH_CONNECT)
    code = "open('/proc/self/comm', 'w').write('birth-python')\n" + UDP_CLIENT
    done = dtrace("-qs", script, "-c", python(code, destinations(tmp_path / "to", wanted), namespace=True))
    assert done.status == 0 and done.err == ""
    assert lines_of(done.out, "birth-python") == [f"birth-python: {a}:{p}" for a, p in wanted]


def test_first_script_every_octet_and_port_from_c(tmp_path: Path, c_client: Path) -> None:
    wanted = ADDRESSES + PORTS + EDGES
    path = destinations(tmp_path / "to", wanted)
    done = dtrace("-qn", BIRTH_CONNECT, "-c", f"unshare -n {c_client} {path}")
    assert done.status == 0 and done.err == ""
    assert lines_of(done.out, "birth-client") == [f"birth-client: {a}:{p}" for a, p in wanted]


def test_the_example_files_are_the_scripts() -> None:
    for name, text in (("connect.d", BIRTH_CONNECT), ("tcp-connect.d", BIRTH_TCP)):
        first, _, rest = (REPO / "examples" / name).read_text().partition("\n")
        assert first == "#!/usr/sbin/dtrace -qs"
        assert rest == text


@pytest.fixture
def listeners():
    """Sockets that listen on the loopback addresses: (IPv4, IPv6)."""
    four = socket.create_server(("127.0.0.1", 0))
    six = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with four, six:
        yield four, six


TCP_CLIENT = """
import socket, sys
open('/proc/self/comm', 'w').write('birth-tcp')
for family, address, port in zip(*[iter(sys.argv[1:])] * 3):
    s = socket.socket(getattr(socket, family), socket.SOCK_STREAM)
    try:
        s.connect((address, int(port)))
    except OSError:
        pass
    s.close()
"""


def test_second_script_ipv4_ipv6_and_mapped(listeners) -> None:
    four, six = (s.getsockname()[1] for s in listeners)
    done = dtrace(
        "-qn",
        BIRTH_TCP,
        "-c",
        python(
            TCP_CLIENT,
            *("AF_INET", "127.0.0.1", four),
            *("AF_INET6", "::1", six),
            *("AF_INET6", "::ffff:127.0.0.1", four),
            *("AF_INET", "127.0.0.1", 1),  # refused
            *("AF_INET6", "::1", 1),
            *("AF_INET", "0.0.0.0", four),  # the kernel makes it 127.0.0.1
            *("AF_INET", "127.255.254.253", 0xFFFE),
        ),
    )
    assert done.status == 0 and done.err == ""
    assert lines_of(done.out, "birth-tcp") == [
        f"birth-tcp: {to}"
        for to in (
            f"127.0.0.1:{four}",
            f"::1:{six}",
            f"127.0.0.1:{four}",
            "127.0.0.1:1",
            "::1:1",
            f"127.0.0.1:{four}",
            "127.255.254.253:65534",
        )
    ]


def test_variant_clause_locals(tmp_path: Path) -> None:
    script = re.sub(r"\b(socks|hport|lport|port)\b(?!->)", r"this->\1", BIRTH_CONNECT)
    script = script.replace("socks->", "this->socks->").replace("this->this->", "this->")
    assert script.count("this->") == 14
    wanted = EDGES + PORTS[100:140]
    code = "open('/proc/self/comm', 'w').write('birth-this')\n" + UDP_CLIENT
    done = dtrace("-qn", script, "-c", python(code, destinations(tmp_path / "to", wanted), namespace=True))
    assert lines_of(done.out, "birth-this") == [f"birth-this: {a}:{p}" for a, p in wanted]


def test_variant_predicate_and_target(tmp_path: Path) -> None:
    """One of two clients: the other process connects as often, and is not shown."""
    script = BIRTH_CONNECT.replace("entry\n", "entry\n/pid == $target && arg2 == 16/\n")
    code = """
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if not (child := os.fork()):
    s.connect(("127.0.0.1", 1111))
    os._exit(0)
os.waitpid(child, 0)
s.connect(("127.0.0.1", 40000))
u = socket.socket(socket.AF_UNIX)
try:
    u.connect("/nowhere/at/all")
except OSError:
    pass
"""
    done = dtrace("-qn", script, "-c", python(code))
    assert re.fullmatch(r"\n?python[^:\n]*: 127\.0\.0\.1:40000\n\n?", done.out), done.out


def test_variant_aggregation_by_destination(tmp_path: Path) -> None:
    script = """
        syscall::connect:entry
        /execname == "birth-agg"/
        {
                this->to = (struct sockaddr_in *) copyin(arg1, arg2);
                @[execname, inet_ntoa(&this->to->sin_addr.s_addr), ntohs(this->to->sin_port)] = count();
        }
    """
    wanted = [("192.168.200.255", 443)] * 3 + [("10.0.0.129", 65535)] * 5 + [("8.8.8.8", 53)]
    code = "open('/proc/self/comm', 'w').write('birth-agg')\n" + UDP_CLIENT
    done = dtrace("-qn", script, "-c", python(code, destinations(tmp_path / "to", wanted), namespace=True))
    rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert rows == [
        ["birth-agg", "8.8.8.8", "53", "1"],
        ["birth-agg", "192.168.200.255", "443", "3"],
        ["birth-agg", "10.0.0.129", "65535", "5"],
    ]


def installed_dtrace() -> Path:
    path = Path(sys.executable).with_name("dtrace")
    if not path.exists():
        pytest.skip("needs the dtrace command installed beside this Python")
    return path


def test_shebang_script_runs_directly_with_arguments(tmp_path: Path) -> None:
    script = tmp_path / "args.d"
    script.write_text(
        f"#!{installed_dtrace()} -qs\n"
        'BEGIN { printf("%d %s %s %d\\n", $1 + 1, $$1, $$2, $3); trace($$0); exit($3); }\n'
    )
    script.chmod(0o755)
    done = subprocess.run([script, "41", "two words", "0x7"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"42 41 two words 7\n{script}"


def test_birth_scripts_run_directly(tmp_path: Path, listeners) -> None:
    """As programs of their own, with $target's -c on the command line."""
    port = listeners[0].getsockname()[1]
    for name, text in (("one.d", BIRTH_CONNECT), ("two.d", BIRTH_TCP)):
        script = tmp_path / name
        script.write_text(f"#!{installed_dtrace()} -qs\n{text}")
        script.chmod(0o755)
        done = subprocess.run(
            [script, "-c", python(TCP_CLIENT, "AF_INET", "127.0.0.1", port)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "SHELL": "/bin/false"},
        )
        assert (done.returncode, done.stderr) == (0, ""), shlex.quote(done.stdout)
        assert lines_of(done.stdout, "birth-tcp") == [f"birth-tcp: 127.0.0.1:{port}"]
