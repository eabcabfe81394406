"""A virtual machine with Debian's kernel: kprobes, fentry/fexit, no lockdown, another BTF.

One boot a session, by virtme-ng under software emulation, over this machine's own file system
(read-only).  The guest runs an agent that takes shell commands from a shared folder, one at a
time, as root:

    def test_kprobes(vm):
        assert vm.run("grep -c tcp_connect /proc/kallsyms").stdout.strip() == "1"
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsight" / "vm"
BOOT_SECONDS = 150

# The root that virtme mounts is not cached: each start of Python would read its files page by page
# from this machine (14 s).  So the same files are mounted once more, with a cache, and commands run
# there; what is changed on this machine while the guest runs may not be seen.
#
# Requests are N.cmd, answers N.out, N.err and last N.rc.  The host's files are read-only in the
# guest, so what wants to write gets memory.  The seconds are a bound for a forgotten guest.
AGENT = """
export TMPDIR=/run/tmp XDG_CACHE_HOME=/run/cache HOME=/run/home PYTHONDONTWRITEBYTECODE=1
mkdir -p $TMPDIR $XDG_CACHE_HOME $HOME /run/cached
mount -t 9p -o ro,trans=virtio,version=9p2000.L,access=any,msize=524288,cache=loose cached /run/cached || exit 1
for part in proc sys dev tmp run {folder}; do mount --rbind /$part /run/cached/$part || exit 1; done
cd {folder} || exit 1
touch ready
i=0
while [ ! -e stop ] && [ "$(cut -d. -f1 /proc/uptime)" -lt 1800 ]; do
    if [ -e $i.cmd ]; then
        chroot /run/cached sh {folder}/$i.cmd >$i.out 2>$i.err </dev/null
        echo $? >$i.tmp
        mv $i.tmp $i.rc
        i=$((i + 1))
    else
        sleep 0.05
    fi
done
"""


class Machine:
    """A running guest."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.count = 0

    def wait(self, name: str, seconds: float) -> None:
        """Until the guest has made the file `name`; fails with the console's last lines."""
        deadline = time.monotonic() + seconds
        while not (self.folder / name).exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the virtual machine ended before {name}:\n{self.console()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {name} from the virtual machine in {seconds} s:\n{self.console()}")
            time.sleep(0.02)

    def console(self) -> str:
        """The end of what the guest's kernel and init printed."""
        return (self.folder / "console").read_text(errors="replace")[-3000:]

    def run(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a shell command in the guest, from the clone's folder, as root.

        Emulation is 10-30 times slower than this machine: `timeout` is in seconds of the host.
        After a TimeoutError the guest is busy and no good for more.
        """
        n, self.count = self.count, self.count + 1
        request = self.folder / f"{n}.new"
        request.write_text(f"cd {shlex.quote(str(REPO))}\n{command}\n")
        request.rename(self.folder / f"{n}.cmd")
        self.wait(f"{n}.rc", timeout)
        answer = [(self.folder / f"{n}.{part}").read_text(errors="replace") for part in ("rc", "out", "err")]
        return subprocess.CompletedProcess(command, int(answer[0]), answer[1], answer[2])


def missing() -> str | None:
    """Why no machine can be started here, or None."""
    if os.uname().machine != "x86_64":
        return "the VM tests need x86-64"
    if not (CACHE / "kernel" / "complete").exists():
        return "no kernel for the VM tests: run tools/vm-kernel"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for command, package in {
        "qemu-system-x86_64": "qemu-system-x86",
        "depmod": "kmod",
        "busybox": "busybox-static",
        "file": "file",
    }.items():
        if not shutil.which(command, path=path):
            return f"the VM tests need {command}: apt-get install {package}"
    if not virtme_run().exists():
        return "the VM tests need virtme-ng: run tools/setup test"
    return None


def virtme_run() -> Path:
    return Path(sys.executable).with_name("virtme-run")


@pytest.fixture(scope="session")
def vm() -> Iterator[Machine]:
    why = missing()
    if why:
        pytest.skip(why)
    with booted() as machine:
        yield machine


@contextlib.contextmanager
def booted() -> Iterator[Machine]:
    """A guest; it is gone afterwards."""
    image = next((CACHE / "kernel" / "boot").glob("vmlinuz-*"))
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    (folder / "agent").write_text(AGENT.format(folder=shlex.quote(str(folder))))
    command = [str(virtme_run()), "--kimg", str(image), "--mods", "auto", "--force-9p", "--disable-kvm"]
    command += ["--user", "root", "--cpus", "2", "--memory", "1G", "--rwdir", str(folder)]
    cached = "local,id=cached,path=/,security_model=none,readonly=on,multidevs=remap"
    command += ["--show-boot-console", "--script-sh", f"sh {shlex.quote(str(folder / 'agent'))}"]
    # On one thread of the host: with one for each CPU, qemu (7.2, Debian 12) may go on executing the int3 of a
    # tracepoint's jump label after another CPU has patched it away, for ever (a soft lockup in asm_exc_int3).
    command += ["--qemu-opts", "-accel", "tcg,thread=single", "-fsdev", cached]
    command += ["-device", "virtio-9p-pci,fsdev=cached,mount_tag=cached"]
    environment = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    with open(folder / "console", "wb") as console:
        # Through a pipe: qemu opens a plain file anew for each of its ports, each at offset 0.
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=console)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=cat.stdin,
            stderr=cat.stdin,
            env=environment,
            start_new_session=True,
        )
        assert cat.stdin is not None
        cat.stdin.close()
    machine = Machine(folder, process)
    try:
        machine.wait("ready", BOOT_SECONDS)
        yield machine
    finally:
        (folder / "stop").touch()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # virtme-run and its child, qemu
            process.wait()
        cat.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
