"""dtrace beside programs nobody here wrote: curl, nginx, redis, Python's own HTTP client."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from dtrace_run import BIRTH_CONNECT, BIRTH_TCP, REPO, SECONDS, Running, dtrace, python

pytestmark = pytest.mark.kernel


def needs(program: str) -> str:
    path = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        pytest.skip(f"needs {program} (apt-get install {program})")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def answers(port: int) -> None:
    """Until somebody listens there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture
def nginx(tmp_path: Path):
    """An nginx of our own that answers "hello"; its port."""
    program = needs("nginx")
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr crit;\n"
        "events { worker_connections 64; }\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;\n"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }} }}\n'
    )
    server = subprocess.Popen([program, "-c", tmp_path / "nginx.conf", "-p", tmp_path], stdin=subprocess.DEVNULL)
    try:
        answers(port)
        yield port, server.pid
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def redis(tmp_path: Path):
    """A redis-server of our own; its port and pid."""
    program = needs("redis-server")
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path, "--daemonize", "no"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        answers(port)
        yield port, server.pid
    finally:
        server.kill()
        server.wait()


def test_curl_and_nginx(nginx) -> None:
    """Both birth scripts say that curl connects there; the server's side is seen too."""
    curl = needs("curl")
    port, server = nginx
    command = f"{curl} -s http://127.0.0.1:{port}/"
    for script in (BIRTH_CONNECT, BIRTH_TCP):
        done = dtrace("-qn", script, "-c", command)
        assert f"curl: 127.0.0.1:{port}\n" in done.out and "hello" in done.out
    done = dtrace(
        "-qn",
        """
        tcp:::accept-established /args[3]->tcps_lport == $1/ { @["accepted"] = count(); }
        syscall::accept4:return /pid == $2 && (int)arg0 >= 0/ { @["accept"] = count(); }
        syscall::writev:entry, syscall::sendto:entry, syscall::write:entry /pid == $2/ { @["answered"] = count(); }
        """,
        port,
        server,
        "-c",
        command + f" http://127.0.0.1:{port}/again",
    )
    rows = {
        line.split()[0]: int(line.split()[1]) for line in done.out.splitlines() if re.fullmatch(r" +\w+ +\d+", line)
    }
    assert rows == {"accepted": 1, "accept": 1, "answered": 2}, done.out


def test_curl_refused(tmp_path: Path) -> None:
    curl = needs("curl")
    port = free_port()
    done = dtrace("-qs", REPO / "examples" / "connect-target.d", "-c", f"{curl} -s http://127.0.0.1:{port}/")
    assert re.search(r"^curl: connect\(\d+\) = -115, errno 115, \d+ us$", done.out, re.M), done.out
    done = dtrace("-qs", REPO / "examples" / "outcomes.d", "-c", f"{curl} -s http://127.0.0.1:{port}/")
    assert f"refused    127.0.0.1:{port}\n" in done.out
    assert re.search(rf"^turned away 127\.0\.0\.1: nothing listens on port {port}$", done.out, re.M)


def test_redis_and_its_client(redis) -> None:
    """What a server does for its commands: reads and writes on its sockets, by process id."""
    client = needs("redis-cli")
    port, server = redis
    done = dtrace(
        "-qn",
        """
        tcp:::connect-established /args[3]->tcps_rport == $1/ { @[execname, args[3]->tcps_raddr] = count(); }
        syscall::read:return /pid == $2 && (int)arg0 > 0/ { @bytes["read"] = sum(arg0); }
        """,
        port,
        server,
        "-c",
        f"{client} -p {port} SET key value",
    )
    assert "OK" in done.out
    assert re.search(r"^ +redis-cli +127\.0\.0\.1 +1$", done.out, re.M), done.out
    sent = len(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n")
    got = re.search(r"^ +read +(\d+)$", done.out, re.M)
    assert got and int(got.group(1)) >= sent


def test_pythons_http_client(nginx) -> None:
    port, _ = nginx
    code = "import sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1]).read())"
    done = dtrace("-qn", BIRTH_TCP, "-c", python(code, f"http://127.0.0.1:{port}/"))
    assert re.search(rf"^python\S*: 127\.0\.0\.1:{port}$", done.out, re.M)
    assert "b'hello\\n'" in done.out


def test_requests(nginx) -> None:
    pytest.importorskip("requests")
    port, _ = nginx
    code = "import sys, requests\nprint(requests.get(sys.argv[1]).text)"
    done = dtrace("-qn", BIRTH_TCP, "-c", python(code, f"http://127.0.0.1:{port}/"))
    assert re.search(rf"^python\S*: 127\.0\.0\.1:{port}$", done.out, re.M)
    assert "hello" in done.out


def test_a_name_is_asked_for_first(nginx) -> None:
    """curl http://localhost: tries ::1 or 127.0.0.1; each attempt is one line with its address."""
    curl = needs("curl")
    port, _ = nginx
    done = dtrace("-qn", BIRTH_TCP, "-c", f"{curl} -s http://localhost:{port}/")
    attempts = re.findall(rf"^curl: (::1|127\.0\.0\.1):{port}$", done.out, re.M)
    assert attempts and attempts[-1] == "127.0.0.1" and "hello" in done.out


def test_a_shell_pipeline_and_its_children(tmp_path: Path) -> None:
    """Every execve of a pipeline, by any process; the pids are those the shell started."""
    done = dtrace(
        "-qn",
        'syscall::execve:entry { printf("%d runs %s\\n", ppid, copyinstr(arg0)); }',
        "-c",
        shlex.join(["sh", "-c", "echo shell $$; /bin/true; /bin/cat /dev/null | /usr/bin/wc -l"]),
    )
    shell = re.search(r"^shell (\d+)$", done.out, re.M)
    assert shell
    for program in ("/bin/true", "/bin/cat", "/usr/bin/wc"):
        assert f"{shell.group(1)} runs {program}\n" in done.out


@pytest.mark.parametrize(
    ("example", "line"),
    [
        ("connect", r"^curl: 127\.0\.0\.1:{port}$"),
        ("connect-this", r"^curl\[\d+\]: 127\.0\.0\.1:{port}$"),
        ("tcp-connect", r"^curl: 127\.0\.0\.1:{port}$"),
        ("by-destination", r"^curl +127\.0\.0\.1 +{port} +1$"),
        ("outcomes", r"^accepted   127\.0\.0\.1:\d+ on port {port}$"),
        ("states", r"^curl +\d+ -> 127\.0\.0\.1 +{port} +state-closed -> state-syn-sent$"),
        ("connect-latency", r"^ +curl +$"),
        ("first-port", r"^curl, process \d+ of \d+, user 0, connects to 127\.0\.0\.1:{port}$"),
        ("syscall-count", r"^ +connect +curl +[1-9]$"),
        ("connect-target", r"^curl: connect\(\d+\) = -115, errno 115, \d+ us$"),
    ],
)
def test_examples_say_what_curl_did(nginx, example: str, line: str) -> None:
    curl = needs("curl")
    port, _ = nginx
    script = REPO / "examples" / f"{example}.d"
    arguments = [port] if example == "first-port" else []
    done = dtrace("-qs", script, *arguments, "-c", f"{curl} -s http://127.0.0.1:{port}/")
    assert done.status == 0 and done.err == ""
    assert re.search(line.format(port=port), done.out, re.M), done.out


def test_every_example_has_a_test_here() -> None:
    here = Path(__file__).read_text()
    for path in (REPO / "examples").glob("*.d"):
        assert f'("{path.stem}", ' in here, f"{path.name}: say above what it prints of curl"


def test_a_busy_server_is_counted_right(nginx) -> None:
    """200 requests over connections of their own: the aggregation and nginx's accepts agree."""
    port, server = nginx
    with Running("-qn", """
        BEGIN { printf("armed\\n"); }
        tcp:::connect-request /args[4]->tcp_dport == $1/ { @["asked"] = count(); }
        syscall::accept4:return /pid == $2 && (int)arg0 >= 0/ { @["accepted"] = count(); }
        """, port, server) as running:  # fmt: skip
        running.wait_for("armed")
        time.sleep(0.3)  # BEGIN comes before the probes are armed
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", port), SECONDS) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while s.recv(4096):
                    pass
        ran, _ = running.signal()
    assert dict(line.split() for line in ran.out.splitlines()[1:] if line) == {"asked": "200", "accepted": "200"}
