"""dsight truss: system calls of a command and of what it starts, as they were."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("clean")]


def truss(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dsight.ui.cli", "truss", *args]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120, check=False)


def test_calls_with_arguments_results_and_files(tmp_path) -> None:
    path = tmp_path / "text"
    path.write_text("some words\n")
    done = truss("cat", str(path), "/nonexistent")
    assert done.returncode == 1 and done.stdout == "some words\n"
    lines = [line for line in done.stderr.splitlines() if not line.startswith("cat: ")]
    assert lines[0].startswith('execve("/') and '"/nonexistent"]' in lines[0] and lines[0].endswith("= 0")
    assert f'openat(AT_FDCWD, "{path}", O_RDONLY) = 3<{path}>' in lines
    assert f'read(3<{path}>, "some words\\n", 131072) = 11' in lines
    assert any(line.startswith("write(1<") and line.endswith('"some words\\n", 11) = 11') for line in lines)
    assert 'openat(AT_FDCWD, "/nonexistent", O_RDONLY) = -1 ENOENT (No such file or directory)' in lines
    assert lines[-1] == "+++ exited with 1 +++"


def test_a_refused_connection_is_told_as_the_program_saw_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # a port on which nobody listens
        port = held.getsockname()[1]
        code = f"import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', {port}))"
        done = truss("-e", "connect,getsockopt", sys.executable, "-ISc", code)
    wanted = f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("127.0.0.1")}}, 16)'
    assert f"{wanted} = -1 ECONNREFUSED (Connection refused)" in done.stderr


def test_sockets_in_memory_that_is_used_again_are_told_apart() -> None:
    """Without close(2) among the calls that are shown, too."""
    program = "import socket\nfor i in range(3): socket.socket().connect_ex(('127.0.0.1', 1))"
    done = truss("-e", "connect", sys.executable, "-Sc", program)
    assert len(set(re.findall(r"connect\(3<TCP:\[(\d+)\]>", done.stderr + done.stdout))) == 3


def test_what_it_starts_and_how_each_ended() -> None:
    done = truss("-e", "execve,kill", "sh", "-c", "cat /dev/null; kill -TERM $$")
    assert done.returncode == 128 + 15
    assert "cat[" in done.stderr and "+++ exited with 0 +++" in done.stderr
    assert done.stderr.rstrip().endswith("+++ killed by SIGTERM +++")
    # the kernel ends a process's threads by SIGKILL: told is the signal that was sent, and who sent it
    (kill,) = [line for line in done.stderr.splitlines() if "] kill(" in line]
    who = kill.partition("kill(")[2].partition(",")[0]
    assert f"--- SIGTERM {{si_signo=SIGTERM, si_code=SI_USER, si_pid={who}, si_uid=0}} ---" in done.stderr
    assert "SIGKILL" not in done.stderr


def test_data_in_several_pieces_and_descriptors_on_their_way() -> None:
    code = """if True:
        import array, os, socket
        r, w = os.pipe()
        os.writev(w, [b"hello", b"world"])
        os.readv(r, [bytearray(5), bytearray(50)])
        a, b = socket.socketpair()
        a.sendmsg([b"one", b"two"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        b.recvmsg(100, 100)
        """
    done = truss("-e", "writev,readv,sendmsg,recvmsg", sys.executable, "-ISc", code)
    write, read, send, receive, end = done.stderr.splitlines()
    assert '[{iov_base="hello", iov_len=5}, {iov_base="world", iov_len=5}], 2) = 10' in write
    assert '[{iov_base="hello", iov_len=5}, {iov_base="world", iov_len=50}], 2) = 10' in read
    assert 'msg_iov=[{iov_base="one", iov_len=3}, {iov_base="two", iov_len=3}]' in send and "cmsg_data=[0]" in send
    assert 'msg_iov=[{iov_base="onetwo", iov_len=100}]' in receive and "cmsg_type=SCM_RIGHTS" in receive
    assert end == "+++ exited with 0 +++"


def test_failed_summary_and_json() -> None:
    only = truss("--failed", "-e", "openat", "cat", "/nonexistent").stderr.splitlines()
    assert only and all("= -1 E" in line or line.startswith(("+++", "cat:")) for line in only)
    table = truss("--summary", "cat", "/dev/null").stderr.splitlines()
    assert table[0].split()[:2] == ["%", "time"] and any(row.endswith(" execve") for row in table)
    lines = truss("--json", "-e", "openat", "-o", "/dev/stdout", "cat", "/nonexistent").stdout.splitlines()
    calls = [json.loads(line) for line in lines]
    (one,) = [c for c in calls if c["event"] == "call" and c["args"][1]["text"] == '"/nonexistent"']
    assert one["call"] == "openat" and one["error"] == "ENOENT" and one["comm"] == "cat"


def test_a_running_process_and_nobody_else() -> None:
    code = "import os, time\nwhile True: os.getppid(); time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-ISc", code]) as child:
        command = [sys.executable, "-m", "dsight.ui.cli", "truss", "-e", "getppid", "-p", str(child.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            lines = [tracer.stderr.readline() for _ in range(3)]
            child.terminate()
            tracer.wait(60)
    assert [line.split() for line in lines] == [["getppid()", "=", str(os.getpid())]] * 3


FAMILY = """if True:
    import os, threading
    def spawn():
        for n in range(8):
            os.waitpid(os.posix_spawn("/bin/true", ["true", str(n)], {}), 0)
    threads = [threading.Thread(target=spawn) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    for n in range(6):
        pid = os.fork()
        if pid == 0:
            for m in range(50): os.getpgid(0)
            os.execv("/bin/sh", ["sh", "-c", f"exit {n}"])
        os.waitpid(pid, 0)
    """


def test_everything_that_threads_spawn_and_forks_become() -> None:
    done = truss("--json", "-e", "execve,getpgid", "-o", "/dev/stdout", sys.executable, "-ISc", FAMILY)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.stderr == ""
    ends = sorted((e["comm"], e["status"]) for e in events if e["event"] == "exit")
    (program,) = {comm for comm, _ in ends} - {"true", "sh"}
    assert ends == sorted([("true", 0)] * 24 + [("sh", n) for n in range(6)] + [(program, 0)])
    calls = [(e["comm"], e["call"], e["args"][1]["text"] if e["call"] == "execve" else "") for e in events
             if e["event"] == "call"]  # fmt: skip
    assert calls.count((program, "getpgid", "")) == 300
    assert sorted(text for _, call, text in calls if call == "execve" and text.startswith('["true"')) == sorted(
        f'["true", "{n}"]' for n in range(8) for _ in range(3)
    )
    children = {e["child_pid"] for e in events if e["event"] == "fork" and e["child_pid"] != e["pid"]}
    assert children | {events[0]["pid"]} == {e["pid"] for e in events if e["event"] == "exit"}


def test_what_outlives_its_parent_is_followed_to_its_end() -> None:
    done = truss("-e", "kill", "sh", "-c", "sh -c 'sleep 0.4; kill -USR1 $$' & exit 3")
    lines = done.stderr.splitlines()
    ends = [line.partition("] ")[2] for line in lines if "+++" in line]
    assert done.returncode == 3 and ends[0] == "+++ exited with 3 +++", lines
    assert ends[-1] == "+++ killed by SIGUSR1 +++" and "+++ exited with 0 +++" in ends


def test_calls_that_no_table_has_are_shown_by_number() -> None:
    done = truss(sys.executable, "-ISc", "import ctypes; ctypes.CDLL(None).syscall(9999, 77)")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("syscall_")]
    assert line.startswith("syscall_0x270f(0x4d, ") and line.endswith("= -1 ENOSYS (Function not implemented)")


def elf32(path: Path, program: str, *words: str) -> None:
    """A 32-bit program for Intel that becomes another: execve(2) by int 0x80, and exit(2) with 9 where that fails."""
    base, code_at = 0x8048000, 0x54
    texts = [program, *words]
    code_size = 34
    at = base + code_at + code_size
    places, data = [], b""
    for text in texts:
        places.append(at + len(data))
        data += text.encode() + b"\0"
    argv = at + len(data)
    data += struct.pack(f"<{len(words) + 1}I", *places[1:], 0)
    code = b"\xb8" + struct.pack("<I", 11)  # mov eax, execve
    code += b"\xbb" + struct.pack("<I", places[0]) + b"\xb9" + struct.pack("<I", argv)  # mov ebx, path; mov ecx, argv
    code += b"\xba\0\0\0\0\xcd\x80"  # mov edx, 0; int 0x80
    code += b"\xb8\1\0\0\0\xbb\x09\0\0\0\xcd\x80"  # mov eax, exit; mov ebx, 9; int 0x80
    assert len(code) == code_size
    body = code + data
    size = code_at + len(body)
    header = b"\x7fELF\1\1\1".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + code_at, 0x34, 0, 0, 0x34, 0x20, 1, 0, 0, 0)
    header += struct.pack("<8I", 1, 0, base, base, size, size, 5, 0x1000)
    path.write_bytes(header + body)
    path.chmod(0o755)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an Intel processor: a 32-bit program for it")
def test_a_32_bit_program_and_what_it_becomes(tmp_path: Path) -> None:
    program = tmp_path / "narrow"
    elf32(program, "/bin/sh", "sh", "-c", "exit 7")
    done = truss("-e", "execve,exit_group", str(program))
    lines = done.stderr.splitlines()
    assert done.returncode == 7, lines
    assert [re.sub("], .*=", "] =", line) for line in lines[:2]] == [
        f'execve("{program}", ["{program}"] = 0',
        'execve("/bin/sh", ["sh", "-c", "exit 7"] = 0',
    ]
    assert lines[-2].startswith("exit_group(7)") and lines[-1] == "+++ exited with 7 +++"


def test_the_process_that_started_it_is_traced_without_itself(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f"{sys.executable} -m dsight.ui.cli truss -e write,execve -o {out} -p $$"
    # the shell's own calls end the wait: the tracer has begun when it has told of one
    script = f"{command} & while [ ! -s {out} ]; do echo again >/dev/null; done; kill -INT $!; wait $!"
    subprocess.run(["sh", "-c", script], timeout=60, check=True)
    lines = out.read_text().splitlines()
    assert lines and not [line for line in lines if "write(1</dev/null>" not in line], lines


WAITING = """if True:
    import os, select, socket, sys, threading
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    r, w = os.pipe()
    poll = select.poll()
    poll.register(r, select.POLLIN)
    threading.Thread(target=poll.poll, daemon=True).start()
    epoll = select.epoll()
    epoll.register(r, select.EPOLLIN)
    epoll.register(client, select.EPOLLOUT | select.EPOLLET)
    epoll.poll()
    threading.Thread(target=epoll.poll, daemon=True).start()
    threading.Thread(target=client.recv, args=(10,), daemon=True).start()
    print(client.getsockname()[1], server.getsockname()[1], r, w, client.fileno(), flush=True)
    sys.stdin.readline()
    os.write(w, b"x")
    server.accept()[0].send(b"abc")
    sys.stdin.readline()
    """


def test_calls_in_progress_as_it_begins_and_as_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-ISc", WAITING], stdin=-1, stdout=-1, bufsize=0) as child:
        assert child.stdin is not None and child.stdout is not None
        here, there, r, w, fd = child.stdout.readline().split()
        command = [
            sys.executable,
            "-m",
            "dsight.ui.cli",
            "truss",
            "-e",
            "poll,recvfrom,read,write,epoll_*wait",
            "-p",
            str(child.pid),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            seen = [tracer.stderr.readline() for _ in range(4)]  # each thread's; told as soon as it takes 100 ms
            child.stdin.write(b"\n")
            while not (seen[-1].rstrip().endswith("= 3") and "recvfrom" in seen[-1]):
                seen.append(tracer.stderr.readline())
            tracer.send_signal(signal.SIGINT)
            rest = tracer.stderr.read().splitlines()
        child.stdin.write(b"\n")
    begun = {line.partition("] ")[2].rstrip() for line in seen[:4]}
    ends = f"TCP:[127.0.0.1:{here.decode()}->127.0.0.1:{there.decode()}]"
    polled = f"poll([{{fd={r.decode()}<pipe:["
    assert any(
        line.startswith(polled) and line.endswith("]>, events=POLLIN}], 1, -1 <in progress at start ...>")
        for line in begun
    )
    assert f"recvfrom({fd.decode()}<{ends}>, <in progress at start ...>" in begun
    watched = f"<anon_inode:[eventpoll]: {fd.decode()}<{ends}>, {r.decode()}<pipe:["
    assert any(watched in line and "]>>, <in progress" in line for line in begun), begun
    assert any(line.startswith("read(0<pipe:[") and line.endswith("<in progress at start ...>") for line in begun)
    later = [line.partition("] ")[2].rstrip() for line in seen[4:] + rest]  # in what order they run is open
    assert any(line.startswith("<... poll resumed>)") and line.endswith("= 1") for line in later)
    assert any(line.startswith('<... recvfrom resumed>"abc", 10') for line in later)
    assert any(line.startswith(f"write({w.decode()}<pipe:[") for line in later)
    assert [line for line in rest if "read(0<pipe:[" in line and line.endswith("<unfinished ...>")], rest


@pytest.mark.parametrize(
    "args, said",
    [
        ((), "there is no command"),
        (("-e", "nonesuch", "true"), "no system call 'nonesuch'"),
        (("/nonexistent/program",), "No such file"),
        (("-p", "999999999"), "999999999"),
    ],
)
def test_mistakes_are_one_message(args: tuple[str, ...], said: str) -> None:
    done = truss(*args)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr
