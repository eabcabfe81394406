#!/usr/bin/env python3
"""Measure connect tracers against each other, in alternation, on loopback.

    bench.py [--peers-only] [--peer NAME=CMD]... [--exit NAME=CMD]... [--armed-exit NAME=CMD]...
             [--calm NAME=SECONDS]... [--only NAME,...] [--full] [--flood N] [--rounds 5] [--json FILE] [--build DIR]

Ours is this clone's .venv/bin/dtrace, in three scripts: `ours` prints process name and pid,
`ours-ip` is examples/connect.d, `ours-agg` counts by process name.  A --peer's CMD traces
connect() system-wide until SIGINT and prints one line per call that has the process name and
either the pid or the port ("%s: %d\\n"); it is split as the shell would, and never run by one.
--exit: what to time for "start and leave, nothing traced" (BEGIN { exit(0); }); --armed-exit:
the same with the connect probe armed first.  --calm: how long a tracer that looks only now and
then (dtrace: switchrate) must be idle to have caught up.  In CMD, {here} is this folder and
{build} the build folder.  --only picks by name; --full adds the slower and the odder tracers;
--flood adds a load on every CPU at once.

Needs root, gcc, clang and libbpf-dev; tracers that are not installed are left out.  The peers
want tracefs mounted: where it is not, all runs in a mount namespace of its own that has it.
See README.md for what each column is.
"""

import argparse
import collections
import json
import os
import py_compile
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
DTRACE = ROOT + "/.venv/bin/dtrace"
PRINT = 'tracepoint:syscalls:sys_enter_connect { printf("%s: %d\\n", comm, pid); }'
NTOP = (
    "struct sin { uint16_t family; uint16_t port; uint32_t addr; } "
    "tracepoint:syscalls:sys_enter_connect { $s = (struct sin *)args->uservaddr; "
    'printf("%s: %s:%d\\n", comm, ntop($s->addr), ($s->port >> 8) | (($s->port & 255) << 8)); }'
)
AGG = "tracepoint:syscalls:sys_enter_connect { @[comm] = count(); }"
BEGIN = "BEGIN { exit(); }"
OURS_PRINT = 'syscall::connect:entry { printf("%s: %d\\n", execname, pid); }'
OURS_AGG = "syscall::connect:entry { @[execname] = count(); }"
OURS_BEGIN = "BEGIN { exit(0); }"
CANARY_RATE, PACED = 5000, 100_000
LADDER = (100_000, 200_000, 400_000, 800_000)
TRIES = 3  # short runs of a load, of which the least disturbed counts
LOST = re.compile(rb"(?i)\blost (\d+)(?: events?)?|(\d+) (?:[a-z]+ )?drops?\b")

METRICS = [  # key, heading, unit's divisor, digits, is more better
    ("begin_exit", "exit ms", 1e6, 1, False),
    ("armed_exit", "arm+exit ms", 1e6, 1, False),
    ("armed", "armed ms", 1e6, 1, False),
    ("rss", "RSS MB", 1024, 1, False),
    ("idle", "idle ms/s", 1e6, 2, False),
    ("over_paced", "ns/ev 100k/s", 1, 0, False),
    ("over_flat", "ns/ev flat", 1, 0, False),
    ("unrelated", "ns/getppid", 1, 1, False),
    ("lossless", "lossless k/s", 1e3, 0, True),
    ("flat_rate", "flat k/s", 1e3, 0, True),
    ("flat_lost", "flat lost %", 0.01, 1, False),
    ("flood_lost", "flood lost %", 0.01, 1, False),
    ("cpu_paced", "cpu s/M 100k", 1, 2, False),
    ("cpu_flat", "cpu s/M flat", 1, 2, False),
]


# What design asks of ours: of which script, the metric, and its limit from the medians of all.
BUDGETS = [
    ("ours", "begin_exit", lambda m: 0.15 * m["bpftrace"]["begin_exit"]),
    ("ours-ip", "armed", lambda m: 0.5 * m["bpftrace"]["armed"]),
    ("ours-ip", "rss", lambda m: 0.25 * m["bpftrace"]["rss"]),
    ("ours", "over_flat", lambda m: 1.3 * m["libbpf-poll"]["over_flat"]),
    ("ours", "unrelated", lambda m: 45),
    ("ours-ip", "lossless", lambda m: max(600e3, 5 * m["bpftrace"]["lossless"])),
    ("ours-ip", "cpu_flat", lambda m: min(1.0, 0.25 * m["bpftrace"]["cpu_flat"])),
    ("ours-agg", "over_flat", lambda m: 400),
    ("ours", "idle", lambda m: 0.2e6),
]


class Tracer:
    def __init__(self, name, cmd, exit=None, armed_exit=None, kind="print", per_pid=False, scale=1.0, calm=0.03):
        self.name, self.cmd, self.exit, self.armed_exit = name, cmd, exit, armed_exit
        self.kind, self.per_pid, self.scale, self.calm = kind, per_pid, scale, calm


def tracers(build, full):
    bt = lambda name, script, *opts, **kw: Tracer(
        name,
        ["bpftrace", *opts, "-e", script],
        None if opts or kw else ["bpftrace", "-e", BEGIN],
        None if opts else ["bpftrace", "-e", script + " " + BEGIN],
        **kw,
    )
    conn = lambda name, prog, poll="0", **kw: Tracer(
        name,
        [build + "/conn", build + "/conn.bpf.o", prog, poll],
        None,
        [build + "/conn", build + "/conn.bpf.o", prog, poll, "exit"],
        **kw,
    )

    def py(name, *opts, python=(sys.executable, "-I", "-S")):
        cmd = [*python, build + "/pyring.pyc", *opts]
        return Tracer(name, cmd, [*python, "-c", "pass"], [*cmd, "--exit"])

    out = [
        conn("count", "count", kind="count"),
        conn("libbpf", "print"),
        conn("libbpf-poll", "print", "10"),
        py("pyring-poll", "--how", "batch", "--poll-ms", "10"),
        bt("bpftrace", PRINT),
        bt("bpftrace-agg", AGG, kind="agg"),
        Tracer(
            "perf-trace",
            ["perf", "trace", "-a", "-e", "connect"],
            None,
            ["perf", "trace", "-e", "connect", "true"],
            scale=0.25,
        ),
        Tracer(
            "strace",
            ["strace", "-A", "-f", "-qq", "-e", "trace=connect"],
            None,
            ["strace", "-f", "-qq", "-e", "trace=connect", "true"],
            per_pid=True,
            scale=0.02,
        ),
    ]
    if full:
        out += [
            conn("count-rawtp", "count_rawtp", kind="count"),
            conn("count-tpbtf", "count_btf", kind="count"),
            conn("count-cgroup", "count_cgroup", kind="count"),
            conn("libbpf-ip", "print_ip"),
            conn("libbpf-agg", "agg", kind="agg"),
            bt("bpftrace-Bfull", PRINT, "-B", "full"),
            bt("bpftrace-ntop", NTOP),
            py("pyring-wake", "--how", "batch"),
            py("pyring-linger", "--how", "batch", "--linger-ms", "5"),
            py("pyring-naive", "--how", "naive", "--poll-ms", "10"),
            py("pyring-cache", "--how", "cache", "--poll-ms", "10"),
            py("pyring-numpy", "--how", "numpy", "--poll-ms", "10", python=(sys.executable, "-I")),
            py("pyring-ip", "--how", "batch", "--poll-ms", "10", "--ip"),
        ]
    return [t for t in out if shutil.which(t.cmd[0])]


def ours():
    """The tracers of this clone."""
    return [
        Tracer(
            "ours",
            [DTRACE, "-qn", OURS_PRINT],
            [DTRACE, "-n", OURS_BEGIN],
            [DTRACE, "-qn", OURS_BEGIN + " " + OURS_PRINT],
        ),
        Tracer("ours-ip", [DTRACE, "-qs", ROOT + "/examples/connect.d"]),
        Tracer("ours-agg", [DTRACE, "-qn", OURS_AGG], kind="agg"),
    ]


def lacking():
    """What a fresh machine must be given first, or ""."""
    packages = {"gcc": "gcc", "clang": "clang"}
    names = [package for command, package in packages.items() if not shutil.which(command)]
    names += [] if os.path.exists("/usr/include/bpf/libbpf.h") else ["libbpf-dev"]
    if names:
        return "bench: apt-get install %s libc6-dev (and bpftrace, linux-perf, strace as peers)" % " ".join(names)
    return "" if os.geteuid() == 0 else "bench: needs root"


def with_tracefs():
    """Starts this program again where tracefs is mounted; the machine's own mounts stay."""
    if not os.path.exists("/sys/kernel/tracing/events") and "BENCH_MOUNTED" not in os.environ:
        mounts = "mount -t tracefs tracefs /sys/kernel/tracing; mount -t debugfs debugfs /sys/kernel/debug; "
        os.environ["BENCH_MOUNTED"] = "1"
        command = ["unshare", "--mount", "sh", "-c", mounts + 'exec "$@"', "sh", sys.executable, *sys.argv]
        os.execvp(command[0], command)


def compile_all(build):
    def make(target, *cmd):
        subprocess.run([*cmd, "-o", os.path.join(build, target)], check=True, cwd=HERE)

    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    make("cxload", "gcc", "-O2", "-Wall", "-pthread", "load.c")
    make("conn", "gcc", "-O2", "-Wall", "conn.c", "-lbpf", "-lelf", "-lz")
    py_compile.compile(HERE + "/pyring.py", build + "/pyring.pyc", doraise=True)
    make("conn.bpf.o", "clang", "-O2", "-g", "-Wall", "-target", "bpf", "-mcpu=v3", include, "-c", "conn.bpf.c")


def pinned(cpu):
    cpus = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cpus[cpu % len(cpus)]})


def cpu_ns(pid):
    """Time on CPU of all the threads of a process, to the nanosecond."""
    total = 0
    try:
        for tid in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, tid)) as f:
                total += int(f.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def quiet(pid, calm, limit=8):
    """Wait until the process has used under 5 % of a CPU for a while; when that began."""
    t, cpu = time.monotonic_ns(), cpu_ns(pid)
    since, end = t, t + limit * 1e9
    while t < end and t - since < calm * 1e9:
        time.sleep(0.01)
        was, cpu, before, t = cpu, cpu_ns(pid), t, time.monotonic_ns()
        if cpu - was > 0.05 * (t - before):
            since = t
    return since


def figures(line):
    pairs = [w.split("=") for w in line.decode().split()]
    return {k: v if k == "mode" else float(v) for k, v in pairs}


class Session:
    """One tracer, running, and the loads it is shown."""

    def __init__(self, tracer, build, tmp):
        self.t, self.build, self.tmp = tracer, build, tmp
        self.out = os.path.join(tmp, "out")
        self.loads, self.proc, self.port, self.rss = {}, None, 2000, 0

    def start(self, *extra):
        cmd = [*self.t.cmd, *extra]
        if cmd[:2] == ["perf", "trace"] or cmd[0] == "strace":
            cmd[(2 if cmd[0] == "perf" else 1) : 0] = ["-o", self.out + ".o"]
        self.began = time.monotonic_ns()
        with open(self.out, "ab") as o, open(self.out + ".err", "ab") as e:
            self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=o, stderr=e, preexec_fn=pinned(1))

    def has_line(self):
        word = b"connect" if self.t.per_pid else b"cxload"
        return any(os.path.exists(f) and word in open(f, "rb").read() for f in (self.out, self.out + ".o"))

    def peak(self):
        try:
            with open("/proc/%d/status" % self.proc.pid) as f:
                self.rss = max(self.rss, int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)))
        except (OSError, AttributeError):
            pass

    def stop(self):
        self.peak()
        self.proc.send_signal(signal.SIGINT)
        try:
            self.proc.wait(15)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()

    def load(self, what, mode, n, rate=0, burst=32, threads=1):
        """Run one load to its end; its figures, and the tracer's CPU time over it."""
        self.port += 2
        cmd = [
            self.build + "/cxload",
            mode,
            "-n",
            str(max(1, int(n))),
            "-p",
            str(self.port),
            "-w",
            "-r",
            str(int(rate)),
            "-b",
            str(burst),
            "-t",
            str(threads),
        ]
        p = subprocess.Popen(
            cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=pinned(0) if threads == 1 else None
        )
        if self.t and self.t.per_pid:
            self.start("-p", str(p.pid))
            time.sleep(0.15)
        pid = self.proc.pid if self.proc else 0
        cpu = cpu_ns(pid)
        p.stdin.write(b"\n")
        p.stdin.flush()
        r = figures(p.stdout.readline())
        if pid:
            r["drained"] = quiet(pid, self.t.calm)
            r["cpu"] = cpu_ns(pid) - cpu
            self.peak()
        p.communicate()
        if self.t and self.t.per_pid:
            self.proc.wait(15)  # it ends with what it watched
        r["pid"], r["port"] = p.pid, self.port
        self.loads[what] = r
        return r

    def least(self, what, *args):
        return min((self.load((what, i), *args) for i in range(TRIES)), key=lambda r: r["ns_per_op"])

    def arm(self):
        """Start the tracer under a canary load of known pace."""
        p = subprocess.Popen(
            [self.build + "/cxload", "udp", "-r", str(CANARY_RATE), "-b", "1", "-n", "250000"],
            stdout=subprocess.PIPE,
            preexec_fn=pinned(0),
        )
        time.sleep(0.05)
        self.start(*(["-p", str(p.pid)] if self.t.per_pid else []))
        end = time.monotonic() + 15
        if self.t.kind == "print":
            while not self.has_line() and time.monotonic() < end and self.proc.poll() is None:
                time.sleep(0.02)
            time.sleep(0.1)
        else:
            quiet(self.proc.pid, max(0.3, self.t.calm))
        p.send_signal(signal.SIGTERM)
        r = figures(p.communicate()[0])
        r["pid"], r["port"], r["began"] = p.pid, 9, self.began
        self.loads["canary"] = r
        if self.proc.poll() is not None and not self.t.per_pid:
            raise RuntimeError(open(self.out + ".err", errors="replace").read()[-300:] or "it ended by itself")
        if self.t.per_pid:
            self.proc.wait(15)
        else:
            quiet(self.proc.pid, self.t.calm)

    def idle(self, seconds=2):
        """CPU time of the tracer in ns a second while nothing happens."""
        if self.t.per_pid:
            return None
        began, cpu = time.monotonic(), cpu_ns(self.proc.pid)
        time.sleep(seconds)
        return (cpu_ns(self.proc.pid) - cpu) / (time.monotonic() - began)

    def count(self):
        """How many events of each load came out; what the tracer says it lost."""
        data = b"".join(open(f, "rb").read() for f in (self.out, self.out + ".o") if os.path.exists(f))
        said = data + open(self.out + ".err", "rb").read()
        if self.t.kind != "print":
            m = re.findall(rb"cxload\]?:?\s+(\d+)" if self.t.kind == "agg" else rb"\bseen (\d+)", said)
            others = sum(r["ops"] for r in self.loads.values() if r["mode"] == "udp" and r is not self.loads["canary"])
            for k, r in self.loads.items():
                r["got"] = int(m[-1]) - others if k == "canary" and m else r["ops"]
        else:
            who = {}
            for r in self.loads.values():
                r["got"] = 0
                who[b"pid", r["pid"]] = who[b"port", r["port"]] = who[b"port", r["port"] + 1] = r
            for line, n in collections.Counter(data.split(b"\n")).items():
                m, key = re.search(rb"(?:cxload|python[\d.]*)\W{1,3}(\d+)(?![.\d])", line), b"pid"  # perf: name at fork
                if not m:
                    m, key = re.search(rb"(?:127\.0\.0\.1\D{1,3}|htons\()(\d+)", line), b"port"
                r = who.get((key, int(m.group(1)))) if m else None
                if r:
                    r["got"] += n
        return sum(int(a or b) for a, b in LOST.findall(said))


def measure(tracer, build, base, flood=0):
    """One session; {metric: value}.  base: the same loads with no tracer."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as tmp:
        s = Session(tracer, build, tmp)
        scale = tracer.scale if tracer else 1
        if tracer:
            s.arm()
            idle = s.idle()
        get = s.least("getppid", "getppid", 150_000 * scale)
        paced = s.least("paced", "udp", PACED * 0.1 * scale, PACED)
        flat = s.least("flat", "udp", 60_000 * scale)
        if not tracer:
            return {"getppid": get["ns_per_op"], "paced": paced["ns_per_op"], "flat": flat["ns_per_op"]}
        if tracer.kind == "print" and not tracer.per_pid:
            for rate in LADDER:
                x = s.load(rate, "udp", rate * max(0.1, 2 * tracer.calm), rate)
                if x["ops_per_s"] < 0.7 * rate or x["drained"] - x["last_ns"] > 2e8 + tracer.calm * 1e9:
                    break  # it slows the load, or fell behind: no use asking for more
            else:
                s.load("top", "udp", 200_000)
            if flood:  # every CPU busy with it, the tracer's too
                s.load("flood", "udp", flood * scale, threads=len(os.sched_getaffinity(0)))
        if not tracer.per_pid:
            s.stop()
        lost = s.count()
    canary = s.loads["canary"]
    pace = canary["ops"] / (canary["last_ns"] - canary["first_ns"])
    r = {
        "armed": canary["last_ns"] - canary["got"] / pace - canary["began"],
        "rss": s.rss or None,
        "idle": idle,
        "over_paced": paced["ns_per_op"] - base["paced"],
        "over_flat": flat["ns_per_op"] - base["flat"],
        "unrelated": get["ns_per_op"] - base["getppid"],
        "said_lost": lost,
        "really_lost": sum(
            max(0, x["ops"] - x["got"])
            for k, x in s.loads.items()
            if x["mode"] == "udp" and x is not canary and (x["got"] or k != "flood")
        ),  # perf trace names threads: not countable
    }
    if tracer.kind == "print":
        ok = 0
        for rate in (*LADDER, "top"):
            x = s.loads.get(rate)
            if not x or x["got"] < x["ops"]:
                break
            ok = x["ops_per_s"]
        flats, paceds = ([s.loads[k, i] for i in range(TRIES)] for k in ("flat", "paced"))
        total = lambda runs, key: sum(x[key] for x in runs)
        took = sum(max(x["drained"], x["last_ns"]) - x["first_ns"] for x in flats)
        if s.loads.get("flood", {}).get("got"):
            r["flood_lost"] = 1 - s.loads["flood"]["got"] / s.loads["flood"]["ops"]
        r.update(
            lossless=ok if not tracer.per_pid else None,
            flat_rate=total(flats, "got") * 1e9 / took,
            flat_lost=1 - total(flats, "got") / total(flats, "ops"),
            cpu_paced=total(paceds, "cpu") / 1e3 / max(1, total(paceds, "got")),
            cpu_flat=total(flats, "cpu") / 1e3 / max(1, total(flats, "got")),
        )
    return r


def timed(cmd):
    t, null = time.monotonic_ns(), subprocess.DEVNULL
    p = subprocess.Popen(cmd, stdin=null, stdout=null, stderr=null, preexec_fn=pinned(1))
    late = threading.Timer(60, p.kill)
    late.start()
    p.wait()  # not with a timeout: that one polls, and steps by 50 ms
    t = time.monotonic_ns() - t
    late.cancel()
    return t


def median(rows, key):
    v = [r[key] for r in rows if r.get(key) is not None]
    return statistics.median(v) if v else None


def table(names, cell):
    wide = max(map(len, names)) + 1
    print(" " * wide + " ".join("%12s" % h for _, h, *_ in METRICS))
    for n in names:
        print(n.ljust(wide) + " ".join("%12s" % cell(n, m) for m in METRICS))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--peers-only", action="store_true", help="leave this clone's dtrace out")
    for o in ("--peer", "--exit", "--armed-exit"):
        ap.add_argument(o, action="append", default=[], metavar="NAME=CMD")
    ap.add_argument("--calm", action="append", default=[], metavar="NAME=S")
    ap.add_argument("--only", default="")
    ap.add_argument("--full", action="store_true")
    ap.add_argument("--flood", type=int, default=0, metavar="N", help="also N events from every CPU at once")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--json", metavar="FILE", help="keep what was measured")
    ap.add_argument("--against", metavar="FILE", help="a --json of another run, to compare with")
    ap.add_argument("--build", help="keep what is compiled here")
    a = ap.parse_args()
    if lacking():
        sys.exit(lacking())
    with_tracefs()
    began = time.monotonic()
    keep = a.build or tempfile.mkdtemp(prefix="bench-")
    os.makedirs(keep, exist_ok=True)
    compile_all(keep)
    words = lambda cmd: [w.replace("{here}", HERE).replace("{build}", keep) for w in shlex.split(cmd)] if cmd else None
    pairs = lambda given: dict(x.split("=", 1) for x in given)

    todo = tracers(keep, a.full)
    exits, armed = pairs(a.exit), pairs(a.armed_exit)
    todo += [
        Tracer(n, words(c), words(exits.get(n)), words(armed.get(n)), "agg" if n.endswith("agg") else "print")
        for n, c in pairs(a.peer).items()
    ]
    if not a.peers_only:
        todo = ours() + todo
    if a.only:
        todo = [t for t in todo if t.name in a.only.split(",")]

    for t in todo:
        t.calm = float(pairs(a.calm).get(t.name, t.calm))

    rows, bases, failed = {t.name: [] for t in todo}, [], {}
    for round_ in range(a.rounds):
        for t in todo[round_ % len(todo) :] + todo[: round_ % len(todo)]:  # not always in one order
            if t.name in failed:
                continue
            base = measure(None, keep, None)
            bases.append(base)
            try:
                r = measure(t, keep, base, a.flood)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
                failed[t.name] = str(e).strip()
                print(f"{t.name}: left out: {failed[t.name]}", file=sys.stderr)
                continue
            finally:
                if os.environ.get("BENCH_TIMES"):
                    print(t.name, round(time.monotonic() - began, 1), file=sys.stderr)
            if t.exit:
                r["begin_exit"] = timed(t.exit)
            if t.armed_exit:
                r["armed_exit"] = timed(t.armed_exit)
            rows[t.name].append(r)
    names = [t.name for t in todo if rows[t.name]]
    med = {n: {k: median(rows[n], k) for k in {k for r in rows[n] for k in r}} for n in names}
    if not names:
        return 1
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"rounds": rows, "bases": bases, "medians": med, "failed": failed}, f, indent=1)
    if not a.build:
        shutil.rmtree(keep)

    print(
        "no tracer: udp connect %.0f ns (paced %.0f), getppid %.1f ns; medians of %d rounds"
        % (median(bases, "flat"), median(bases, "paced"), median(bases, "getppid"), a.rounds)
    )

    def cell(n, m):
        v = med[n].get(m[0])
        return "-" if v is None else "%.*f" % (m[3], v / m[2])

    table(names, cell)
    for n in names:
        if med[n]["really_lost"] or med[n]["said_lost"]:
            print(
                "{}: lost {:.0f} events a session, itself says {:.0f}".format(
                    n, med[n]["really_lost"], med[n]["said_lost"]
                )
            )
    if a.against:
        with open(a.against) as f:
            compare(names, med, json.load(f)["medians"])
    took = "%d tracers, %d rounds, %.0f s" % (len(names), a.rounds, time.monotonic() - began)
    if "ours" not in names:
        print("bench: peers only: " + took)
        return 1 if failed else 0
    ahead, of, worst = 0, 0, (0, "nothing")

    def ratio(n, m):
        nonlocal ahead, of, worst
        x, y = med["ours"].get(m[0]), med[n].get(m[0])
        if x is None or y is None or n.startswith("ours") or m[0] in ("flat_lost", "flood_lost"):
            return "-"
        x, y = max(x, 0.1), max(y, 0.1)  # a difference of noise is no ratio
        of, bad = of + 1, (y / x if m[4] else x / y)
        ahead += bad < 1
        if n != "count":
            worst = max(worst, (bad, f"{m[1]} against {n}"))
        return "%.2f" % (x / y)

    print("\nours / peer (k/s: more is better; all else: less is)")
    table([n for n in names if not n.startswith("ours")], ratio)
    budgets(med)
    print("bench: ours ahead in %d of %d comparisons, furthest behind %.2fx in %s; %s" % (ahead, of, *worst, took))
    return 1 if failed else 0


def compare(names, med, then):
    """This run's medians over those of another; the machine may have been another too."""

    def ratio(n, m):
        x, y = med[n].get(m[0]), then.get(n, {}).get(m[0])
        return "-" if x is None or y is None else "%.2f" % (max(x, 0.1) / max(y, 0.1))

    print("\nthis run / that of --against (k/s: more is better; all else: less is)")
    table(names, ratio)


def budgets(med):
    """What ours came to beside what design asks of it."""
    print("\nbudgets")
    facts = {key: (heading, unit, digits, more) for key, heading, unit, digits, more in METRICS}
    for name, key, limit in BUDGETS:
        heading, unit, digits, more = facts[key]
        try:
            came, most = med[name][key], limit(med)
        except (KeyError, TypeError):  # that tracer, or the peer the limit comes from, was not measured
            print(f"{name:9} {heading:13} not measured")
            continue
        met = came >= most if more else came <= most
        sign, word = (">=" if more else "<="), ("met" if met else "MISSED")
        print(f"{name:9} {heading:13} {came / unit:9.{digits}f} {sign} {most / unit:.{digits}f}  {word}")


if __name__ == "__main__":
    sys.exit(main())
