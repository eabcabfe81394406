#!/usr/bin/env python3
"""A connect tracer with nothing but the standard library: how fast can it go?

    pyring.py [--how naive|batch|cache|numpy] [--ip] [--poll-ms N | --linger-ms N] [--exit]

Loads the same program as conn.c's `print` (`print_ip` with --ip) through bpf(),
hand-assembled below, and reads the ring buffer in one of four ways:

  naive  record by record: unpack_from, decode, format, append
  batch  equal-size records: one iter_unpack over all that is there
  cache  as batch, but a line already made for the same bytes is not made again
  numpy  as batch, through a structured array

With --poll-ms the kernel never wakes the reader, which looks that often.  With
--linger-ms it wakes it, but the reader sleeps that long before it reads: until
then the kernel sees unread records and wakes nobody, so a wake-up is paid once
a batch, and never while idle.
Until SIGINT or SIGTERM; says on stderr what was delivered and lost.
"""

import ctypes
import gc
import mmap
import os
import select
import signal
import struct
import sys
import time

NR_BPF, NR_PERF_EVENT_OPEN = 321, 298  # x86-64
MAP_CREATE, MAP_LOOKUP, PROG_LOAD = 0, 1, 5
PERCPU_ARRAY, RINGBUF, TRACEPOINT = 6, 27, 5
SET_BPF, ENABLE = 0x40042408, 0x2400
LOOKUP, PID_TGID, COMM, READ_USER, RESERVE, SUBMIT = 1, 14, 16, 112, 131, 132
RING, PAGE, HDR = 1 << 20, mmap.PAGESIZE, 8
BUSY = 1 << 31
libc = ctypes.CDLL(None, use_errno=True)


def syscall(*args):
    r = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return r


def bpf(cmd, fmt, *values):
    attr = ctypes.create_string_buffer(struct.pack(fmt, *values), 128)
    return syscall(NR_BPF, cmd, attr, 128)


def insn(op, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", op, src << 4 | dst, off, imm)


def ld_map(dst, fd):
    return insn(0x18, dst, 1, 0, fd) + insn(0)


def program(ring, lost, nowake, ip):
    """r6 = record, r7 = context."""
    call = lambda n: insn(0x85, imm=n)
    mov = lambda d, s: insn(0xBF, d, s)
    movi = lambda d, i: insn(0xB7, d, imm=i)
    addi = lambda d, i: insn(0x07, d, imm=i)
    size, comm_at = (48, 32) if ip else (24, 8)
    miss = (
        insn(0x62, 10, 0, -4, 0)
        + mov(2, 10)
        + addi(2, -4)
        + ld_map(1, lost)
        + call(LOOKUP)
        + insn(0x15, 0, 0, 3)
        + insn(0x79, 1, 0)
        + addi(1, 1)
        + insn(0x7B, 0, 1)
        + movi(0, 0)
        + insn(0x95)
    )
    head = mov(7, 1) + ld_map(1, ring) + movi(2, size) + movi(3, 0) + call(RESERVE) + mov(6, 0)
    body = (
        call(PID_TGID)
        + insn(0x77, 0, imm=32)
        + insn(0x63, 6, 0, 0)
        + mov(1, 6)
        + addi(1, comm_at)
        + movi(2, 16)
        + call(COMM)
    )
    if ip:  # 28 bytes of sockaddr to record + 4 (16 where no more were given)
        body += (
            mov(1, 6)
            + addi(1, 4)
            + movi(2, 28)
            + insn(0x79, 3, 7, 32)
            + insn(0x35, 3, 0, 1, 28)
            + movi(2, 16)
            + insn(0x79, 3, 7, 24)
            + call(READ_USER)
        )
    body += mov(1, 6) + movi(2, 1 if nowake else 0) + call(SUBMIT) + movi(0, 0) + insn(0x95)
    return head + insn(0x55, 6, 0, len(miss) // 8, 0) + miss + body


def load(nowake, ip):
    ring = bpf(MAP_CREATE, "<5I", RINGBUF, 0, 0, RING, 0)
    lost = bpf(MAP_CREATE, "<5I", PERCPU_ARRAY, 4, 8, 1, 0)
    code = ctypes.create_string_buffer(program(ring, lost, nowake, ip))
    gpl, log = ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(65536)
    args = (TRACEPOINT, (len(code) - 1) // 8, ctypes.addressof(code), ctypes.addressof(gpl))
    try:
        prog = bpf(PROG_LOAD, "<IIQQIIQ", *args, 0, 0, 0)
    except OSError:
        try:
            prog = bpf(PROG_LOAD, "<IIQQIIQ", *args, 1, len(log), ctypes.addressof(log))
        except OSError as e:
            sys.exit(f"pyring: {e}\n{log.value.decode()}")
    return ring, lost, prog


def attach(prog, group="syscalls", name="sys_enter_connect"):
    for root in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        try:
            with open(f"{root}/events/{group}/{name}/id") as f:
                tp = int(f.read())
            break
        except FileNotFoundError:
            pass
    else:
        sys.exit("pyring: no tracefs")
    attr = ctypes.create_string_buffer(struct.pack("<IIQQQQQI", 2, 112, tp, 1, 0, 0, 0, 1), 112)
    fd = syscall(NR_PERF_EVENT_OPEN, attr, -1, 0, -1, 8)
    syscall(16, fd, SET_BPF, prog)
    syscall(16, fd, ENABLE, 0)
    return fd


class Names(dict):
    """bytes of a comm or an address -> its text, worked out once."""

    def __init__(self, make):
        self.make = make

    def __missing__(self, key):
        if len(self) > 65536:
            self.clear()
        text = self[key] = self.make(key)
        return text


def comm_text(raw):
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def addr_text(raw):  # family, port, sockaddr rest
    import socket

    family, port = struct.unpack_from("=H", raw)[0], struct.unpack_from(">H", raw, 2)[0]
    host = (
        socket.inet_ntop(family, raw[4:8])
        if family == socket.AF_INET
        else socket.inet_ntop(family, raw[8:24])
        if family == socket.AF_INET6
        else "-"
    )
    return "%s:%d" % (host, port)


class Reader:
    def __init__(self, ring, ip):
        self.ip = ip
        self.size = 48 if ip else 24
        self.stride = HDR + self.size
        self.fmt = "%s: %s\n" if ip else "%s: %d\n"
        self.rec = struct.Struct("<4x28s16s" if ip else "<I4x16s")
        self.rec_hdr = struct.Struct("<8x" + self.rec.format[1:])
        self.raw = struct.Struct("<8x%ds" % self.size)
        cons = mmap.mmap(ring, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        rest = mmap.mmap(ring, PAGE + 2 * RING, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        self.cons = memoryview(cons).cast("Q")
        self.prod = memoryview(rest)[:PAGE].cast("Q")
        self.data = memoryview(rest)[PAGE:]
        self.names, self.addrs = Names(comm_text), Names(addr_text)
        self.lines = Names(lambda t: self.line(*self.rec.unpack(t[0])))

    def line(self, first, comm):
        return self.fmt % (comm_text(comm), addr_text(first) if self.ip else first)

    def naive(self):
        pos, end, out = self.cons[0], self.prod[0], []
        data, rec, ip = self.data, self.rec, self.ip
        while pos < end:
            at = pos & (RING - 1)
            (length,) = struct.unpack_from("<I", data, at)
            if length & BUSY:
                break
            a, comm = rec.unpack_from(data, at + HDR)
            if ip:
                a = addr_text(a)
            out.append(self.fmt % (comm_text(comm), a))
            pos += HDR + (length + 7 & ~7)
        self.cons[0] = pos
        return out

    def ready(self):
        """The committed records there are, as one view, and how many."""
        pos, stride = self.cons[0], self.stride
        n = (self.prod[0] - pos) // stride
        at = pos & (RING - 1)
        flags = bytes(self.data[at + 3 : at + n * stride : stride])  # top byte of each length
        n -= len(flags.lstrip(b"\0"))
        return self.data[at : at + n * stride], n

    def done(self, n):
        self.cons[0] += n * self.stride

    def batch(self):
        view, n = self.ready()
        names, addrs, fmt = self.names, self.addrs, self.fmt
        if self.ip:
            out = [fmt % (names[c], addrs[a]) for a, c in self.rec_hdr.iter_unpack(view)]
        else:
            out = [fmt % (names[c], pid) for pid, c in self.rec_hdr.iter_unpack(view)]
        self.done(n)
        return out

    def cache(self):
        view, n = self.ready()
        out = list(map(self.lines.__getitem__, self.raw.iter_unpack(view)))
        self.done(n)
        return out

    def numpy(self):
        import numpy as np

        view, n = self.ready()
        kind = [("h", "V8"), ("pid", "<u4"), ("a", "V28" if self.ip else "V4"), ("comm", "S16")]
        a = np.frombuffer(view, dtype=kind, count=n)
        comm = [c.decode("utf-8", "replace") for c in a["comm"].tolist()]
        second = [self.addrs[x] for x in a["a"].tolist()] if self.ip else a["pid"].tolist()
        out = [self.fmt % p for p in zip(comm, second)]
        self.done(n)
        return out


def main(argv):
    how, poll_ms, linger_ms, ip = "batch", 0.0, 0.0, "--ip" in argv
    for i, a in enumerate(argv):
        if a == "--how":
            how = argv[i + 1]
        elif a == "--poll-ms":
            poll_ms = float(argv[i + 1])
        elif a == "--linger-ms":
            linger_ms = float(argv[i + 1])
        elif a in ("-h", "--help"):
            return print(__doc__)
    if how == "numpy":
        import numpy  # noqa: F401 (start-up, not run time)
    ring, lost, prog = load(poll_ms > 0, ip)
    attach(prog)
    if "--exit" in argv:
        return
    gc.freeze()
    gc.disable()
    stopping = []
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda *_: stopping.append(1))
    reader = Reader(ring, ip)
    drain, total = getattr(reader, how), 0
    ep = select.epoll()
    ep.register(ring, select.EPOLLIN)
    while True:
        last = bool(stopping)
        while out := drain():
            total += len(out)
            text = memoryview("".join(out).encode())
            while text:
                text = text[os.write(1, text) :]
        if last:
            break
        if poll_ms:
            time.sleep(poll_ms / 1e3)
        else:
            if ep.poll(1) and linger_ms and not stopping:
                time.sleep(linger_ms / 1e3)
    with open("/sys/devices/system/cpu/possible") as f:
        cpus = 1 + int(f.read().replace(",", "-").split("-")[-1])
    key, values = ctypes.c_uint32(0), (ctypes.c_uint64 * cpus)()
    bpf(MAP_LOOKUP, "<I4xQQQ", lost, ctypes.addressof(key), ctypes.addressof(values), 0)
    print("delivered %d lost %d" % (total, sum(values)), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
