"""The watcher's D program, put together of connections/*.d as this kernel can run it.

has_probe, parts (parts.py, names.py), filters (kernel_filter.py)  ->  script()  ->  text for api.Trace
"""

from __future__ import annotations

import os

from dsight.connections.drops import reasons
from dsight.connections.kernel_filter import Kernel
from dsight.source import beside
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What the files say that is filled in here.
# who.d: the probes that may ask who it is
_WHERE = "syscall::connect:entry, syscall::connect:return, rawtp:::inet_sock_set_state"
# who.d: whether the thread is in a 32-bit system call, asm/thread_info.h: TS_COMPAT, TIF_32BIT.
_COMPAT = {
    "x86_64": "(curthread->thread_info.status & 2) != 0",
    "aarch64": "(curthread->thread_info.flags & (1 << 22)) != 0",
}
# tcp.d: the registers with the second and third argument of a system call, syscall(2).
_ARGUMENTS = {"x86_64": ("R_RSI", "R_RDX"), "aarch64": ("R_X1", "R_X2")}


class Part(Value):
    """D of one more thing to watch, besides TCP's connections."""

    files: tuple[str, ...] = ()  # clauses
    asks: tuple[str, ...] = ()  # files with clauses that set this->who, which come before who.d
    probes: tuple[str, ...] = ()  # theirs
    wanted: str = ""  # which other sockets' connect(2) is told, as a D expression over `this`
    text: str = ""  # clauses that had to be put together


# What script() adds.
_URING = Part(("uring.d",), ("uring_ask.d",), ("rawtp:::io_uring_submit_req",))  # since Linux 6.4
_ENDS = {True: ("end_all.d", "rawtp:::inet_sock_set_state"), False: ("end_reset.d", "rawtp:::tcp_receive_reset")}


def accepted(has_probe: Callable[[str, int], bool], mptcp: bool) -> Part:
    """Connections that processes accept.  `mptcp`: this kernel has MPTCP."""
    asks, probes = ["accept_ask.d"], ["syscall::accept:return", "syscall::accept4:return"]
    # io_uring_complete has three arguments since Linux 6.10; before, nothing says enough.
    if (
        has_probe("io_uring_submit_req", 0)
        and has_probe("io_uring_complete", 2)
        and not has_probe("io_uring_complete", 3)
    ):
        asks.append("accept_uring_ask.d")
        probes.append("rawtp:::io_uring_complete")
    first = "(uint64_t)((struct mptcp_sock *)this->sk)->first" if mptcp else "0"
    text = read("accept.d").replace("ACCEPTS", ", ".join(probes)).replace("FIRST", first)
    return Part(asks=tuple(asks), probes=tuple(probes), text=text)


def script(
    tree: bool,
    has_probe: Callable[[str, int], bool],
    parts: Iterable[Part] = (),
    closed: bool = False,
    enumerator: Callable[[str], int | None] = lambda name: None,
    mptcp: bool = False,
    kernel: Kernel | None = None,
    exits: bool = False,
) -> str:
    """The D program: connections/*.d as this kernel can run it.

    `tree`: with forks and exits, to know descendants.  `has_probe(name, n)`: whether the raw
    tracepoint exists and has more than n arguments.  `closed`: with all ends of connections, not
    only those that are failures.  `enumerator(name)`: the value of an enumerator of this kernel.
    `mptcp`: it has MPTCP.  `kernel`: what it filters; with `tree`, it has the roots.  `exits`: with the
    ends of all processes.
    """
    kernel = Kernel(pids=frozenset({0} if tree else ())) if kernel is None else kernel
    parts = (*parts, *([_URING] if has_probe("io_uring_submit_req", 0) else []))
    connect = read("connect.d").replace(
        "WANTED ?", " || ".join(["this->tcp", *(p.wanted for p in parts if p.wanted)]) + " ?"
    )
    asks = ", ".join(dict.fromkeys([_WHERE, *(n for p in parts for n in p.probes)]))
    asking = kernel.clauses(asks, any("accept_ask.d" in p.asks for p in parts)) + read("call.d")
    asking += who(asks, "this->who")
    tcp = kernel.fill(read("tcp.d")).replace("MPTCP", "((struct tcp_sock *)args[0])->is_mptcp" if mptcp else "0")
    for name, register in zip(("REG_1", "REG_2"), _ARGUMENTS.get(os.uname().machine, _ARGUMENTS["x86_64"])):
        tcp = tcp.replace(f"uregs[{name}]", f"uregs[{register}]")
    # tcp_retransmit_skb says since 6.15 whether sending succeeded.
    tcp = tcp.replace("trace(RESULT)", "trace(args[2])" if has_probe("tcp_retransmit_skb", 2) else "trace(0)")
    text = [connect, kernel.begin(), *(read(f) for p in parts for f in p.asks), asking, tcp]
    if has_probe("icmp_send", 0):
        text.append(read("icmp.d"))
    reason = reasons(enumerator) if has_probe("kfree_skb", 2) else ""
    if reason:
        text.append(read("drop.d").replace("REASON", reason).replace(f"of {reason} (", "of REASON ("))
    text += [read(f) for p in parts for f in p.files] + [p.text for p in parts]
    end, probe = _ENDS[closed]
    text += [read(end), read("end.d").replace("rawtp:::END", probe)]
    text.append(kernel.ends())
    if tree:
        text.append(read("tree.d"))
    elif exits:
        text.append(read("exits.d"))
    return "".join(text)


def who(probes: str, flag: str) -> str:
    """Clauses that record who is running, at `probes`, where the D variable `flag` is not 0."""
    compat = _COMPAT.get(os.uname().machine, "0")
    return read("who.d").replace(_WHERE, probes).replace("this->who", flag).replace("COMPAT", compat)


def read(name: str) -> str:
    """A D file of this package."""
    return beside(__file__, name)
