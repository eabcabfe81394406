"""The self-test: every kind of failure made for real, in network namespaces of its own, and watched.

CASES -> run() -> a Result for each
means()        -> what of the kernel the watcher stands on, and what stands in for what is missing
"""

from __future__ import annotations

import os

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dsight.machine import Machine

CONNECTIONS, DATAGRAMS, NAMES = "connection_lab.py", "datagram_lab.py", "names_lab.py"
OPTIONS = ("--unix",)  # of the watcher
UPROBES = "/sys/bus/event_source/devices/uprobe/type"
IO_URING_SETUP, ENOSYS, EPERM = 425, 38, 1


class Case(Value):
    """One thing that happens in a lab, and how its last report must read."""

    lab: str
    name: str
    title: str
    outcome: str  # or "reset": an end that is a failure; "lookup": a name looked up
    error: str | None
    code: str | None  # of the diagnosis
    needs: str = ""  # what missing() knows


class Result(Value):
    """`state`: passed, failed, skipped; `seen`: what was said, or why it was skipped."""

    case: Case
    state: str
    seen: str


class Mean(Value):
    """Something of the kernel: whether it is there, and what that is good for, or what stands in for it."""

    name: str
    there: bool
    text: str


_HERE = ("refused", "ECONNREFUSED", "nothing-listens-here")
_THERE = ("refused", "ECONNREFUSED", "refused-by-peer")
_NO_ROUTE = ("unreachable", "ENETUNREACH", "no-route")
_FAR = ("unreachable", "EHOSTUNREACH", "host-unreachable")
_DENIED = ("denied", "EACCES", "denied-locally")
_TCP = (
    ("connected", "a listener of this host", "connected", None, "itself"),
    ("refused", "nothing listens", *_HERE),
    ("refused-nb", "nothing listens, non-blocking", *_HERE),
    ("rst", "another host refuses", *_THERE),
    ("noroute", "no route", *_NO_ROUTE),
    ("unreach", "a route that says unreachable", "unreachable", "EHOSTUNREACH", "no-route"),
    ("prohibit", "a route that says prohibited", *_DENIED),
    ("blackhole", "a blackhole route", "invalid", "EINVAL", "no-route"),
    ("filter", "the packet filter of this host drops", "aborted", None, "denied-locally", "nft"),
    ("arp", "no answer to ARP", *_FAR),
    ("icmp", "ICMP from a router", *_FAR),
    ("timeout", "silence, until the kernel gives up", "timed-out", "ETIMEDOUT", "no-answer"),
    ("silent", "silence, until the program gives up", "aborted", None, "gave-up"),
    ("killed", "silence, until the process is killed", "aborted", None, "gave-up"),
    ("full", "a listener whose queue is full", "aborted", None, "listener-full"),
    ("ports", "no local port is left", "no-address", "EADDRNOTAVAIL", "ports-exhausted"),
    ("self", "a socket connects to itself", "connected", None, "tcp-self-connect"),
    ("reset", "reset at once after connecting", "reset", None, "reset-after-connect"),
    ("refused6", "IPv6, nothing listens", *_HERE, "ipv6"),
    ("family6", "IPv6, where only IPv4 is listened to", *_HERE[:2], "wrong-family", "ipv6"),
    ("efault", "a bad address in memory", "invalid", "EFAULT", None),
    ("fastopen", "TCP fast open", *_HERE),
    ("mptcp", "Multipath TCP", *_HERE, "mptcp"),
    ("uring", "io_uring", *_HERE, "io_uring"),
)
_DATAGRAMS = (
    ("u-refused", "UDP, connected socket", *_HERE),
    ("u-send", "UDP, sendto", *_HERE, "datagrams"),
    ("u-peer-send", "UDP, another host refuses", *_THERE, "datagrams"),
    ("u-icmp", "UDP, ICMP from a router", *_FAR, "datagrams"),
    ("u-noroute", "UDP, no route", *_NO_ROUTE, "datagrams"),
    ("u-dns", "UDP, a query that nobody answers", "aborted", None, "gave-up", "datagrams"),
    ("u-reply", "UDP, a query that is answered", "connected", None, None, "datagrams"),
    ("x-stream", "UNIX socket, somebody listens", "connected", None, None),
    ("x-missing", "UNIX socket, no such file", "invalid", "ENOENT", "nothing-listens-here"),
    ("x-dead", "UNIX socket, its listener is gone", *_HERE),
    ("x-type", "UNIX socket of another type", "invalid", "EPROTOTYPE", "wrong-type"),
    ("x-denied", "UNIX socket, no permission", *_DENIED),
    ("x-full", "UNIX socket, its queue is full", "refused", "EAGAIN", "listener-full"),
)
_LOOKUPS = (
    ("ok", "a name that is found", "lookup", None, None, "names"),
    ("nx", "a name that does not exist", "lookup", "EAI_NONAME", "name-not-found", "names"),
    ("servfail", "a name server that fails", "lookup", "EAI_AGAIN", "lookup-failed", "names"),
    ("slow", "a name server that takes its time", "lookup", None, "slow-lookup", "names"),
    ("connect", "a name that /etc/hosts leads here", "lookup", None, "name-points-here", "names"),
    ("own-nx", "DNS of a program's own, no such name", "lookup", "NXDOMAIN", "name-not-found", "dns"),
    ("own-silent", "DNS of a program's own, no answer", "lookup", "aborted", "slow-lookup", "dns"),
)
CASES = (
    *(Case(CONNECTIONS, *row) for row in _TCP),
    *(Case(DATAGRAMS, *row) for row in _DATAGRAMS),
    *(Case(NAMES, *row) for row in _LOOKUPS),
)


def missing(need: str, has_probe: Callable[[str, int], bool]) -> str | None:
    """Why a case cannot be made or seen on this machine; None where it can.  `has_probe`: as for watch.script."""
    from shutil import which

    if need == "nft":
        if not has_probe("kfree_skb", 2):
            return "this kernel does not say why it drops packets: that takes Linux 5.17"
        return None if which("nft") else "nft is not installed"
    if need == "datagrams":
        there = has_probe("sock_send_length", 0) and has_probe("sk_data_ready", 0)
        return None if there else "this kernel does not say which datagrams are sent: that takes Linux 6.3"
    if need in ("names", "dns"):
        return _no_names(need, has_probe)
    if need == "ipv6":
        return None if os.path.exists("/proc/net/if_inet6") else "this kernel runs without IPv6"
    if need == "mptcp":
        return None if _says("/proc/sys/net/mptcp/enabled") == "1" else "MPTCP is not enabled (net.mptcp.enabled)"
    if need == "io_uring":
        return _no_uring()
    return None


def _no_names(need: str, has_probe: Callable[[str, int], bool]) -> str | None:
    for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"):  # the lab has others mounted there
        if not os.path.exists(path):
            return f"there is no {path}"
    if need == "dns":
        there = has_probe("sock_send_length", 0)
        return None if there else "this kernel does not say which datagrams are sent: that takes Linux 6.3"
    if not os.path.exists(UPROBES):
        return "this kernel has no uprobes"
    return "nscd answers in place of the name server" if os.path.exists("/run/nscd/socket") else None


def _no_uring() -> str | None:
    import ctypes

    if _says("/proc/sys/kernel/io_uring_disabled") == "2":
        return "io_uring is disabled (kernel.io_uring_disabled)"
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
        return None
    return {ENOSYS: "this kernel has no io_uring", EPERM: "io_uring is not permitted here"}.get(
        ctypes.get_errno(), f"io_uring_setup fails: {os.strerror(ctypes.get_errno())}"
    )


def _says(path: str) -> str | None:
    """A file's text; None where there is none."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def run(machine: Machine) -> tuple[list[Result], int]:
    """Make all that can be made, a few seconds; the results in the order of CASES, and how many events were
    lost.  Error: the watcher could not be armed, or the labs not made."""
    from shutil import which

    from dsight.errors import Error
    from dsight.testing import labs
    from dsight.testing.watch_run import watched

    if which("ip") is None:
        raise Error("there is no ip command", "the self-test makes its network with it: install iproute2")
    has_probe = probes_of(machine)
    why = {case.name: missing(case.needs, has_probe) for case in CASES}
    folder = labs.__path__[0]
    wanted = [
        (f"{folder}/{lab}", cases)
        for lab in (CONNECTIONS, DATAGRAMS, NAMES)
        if (cases := [case.name for case in CASES if case.lab == lab and why[case.name] is None])
    ]
    udp = () if missing("datagrams", has_probe) else ("--udp",)
    found = watched(wanted, (*OPTIONS, *udp))[0]
    lost = sum(report["count"] for report in found["lost"])
    return [_judged(case, why[case.name], found.get(case.name, [])) for case in CASES], lost


def _judged(case: Case, why: str | None, reports: list[dict[str, Any]]) -> Result:
    if why is not None:
        return Result(case, "skipped", why)
    wanted = ("lookup",) if case.outcome == "lookup" else ("outcome", "closed")
    ends = [report for report in reports if report["event"] in wanted]
    if not ends:
        return Result(case, "failed", "it was not seen" if not reports else "no outcome was seen")
    outcome, error, code = told(ends[-1])
    seen = ", ".join(word for word in (outcome, error, code) if word is not None)
    # Whether somebody of this host is at the other end is extra.
    same = (outcome, error) == (case.outcome, case.error) and code in (case.code, *(["itself"] * (case.code is None)))
    return Result(case, "passed" if same else "failed", seen)


def told(end: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Outcome, errno and code of the diagnosis of an attempt's last report, as in Case."""
    code = (end["diagnosis"] or {"code": None})["code"]
    if end["event"] == "lookup":
        return "lookup", end["error"], code
    return ("reset", None, code) if end["event"] == "closed" else (end["outcome"], end["error"], code)


_NOTHING = "nothing: the watcher cannot run"
# Raw tracepoints: name, the argument that must be there, what for, what stands in where it is not.
_PROBES = (
    ("inet_sock_set_state", 2, "states of TCP sockets", _NOTHING),
    ("inet_sk_error_report", 0, "errors of sockets", _NOTHING),
    ("tcp_retransmit_skb", 0, "SYNs that are sent again", _NOTHING),
    ("tcp_receive_reset", 0, "resets of the peer", _NOTHING),
    ("tcp_retransmit_skb", 2, "whether sending them again succeeded", "it is taken as sent"),
    ("icmp_send", 0, "ICMP errors made by this host", "nothing: this host's own are not told from a router's"),
    ("kfree_skb", 2, "packets this host drops, and why", "nothing: what is dropped looks like silence"),
    (
        "io_uring_submit_req",
        0,
        "connections made by io_uring",
        "the states of their sockets, without failures before a SYN",
    ),
    ("sock_send_length", 0, "datagrams sent", "errors that come back; --udp cannot be had"),
    ("sk_data_ready", 0, "datagrams that arrive", "nothing: --udp cannot be had"),
)


def probes_of(machine: Machine) -> Callable[[str, int], bool]:
    """Whether the kernel has a raw tracepoint with more than so many arguments."""
    from dsight.lang.catalog import Probe

    def has_probe(name: str, argument: int) -> bool:
        types = machine.registry.args(Probe(0, "rawtp", "", "", name))
        return types is not None and len(types) > argument

    return has_probe


def means(machine: Machine) -> list[Mean]:
    """What the watcher stands on."""
    from dsight.kernel import features, sys

    has_probe = probes_of(machine)
    found = []
    for name, text in (("btf", "types of the kernel"), ("ringbuf", "ring buffer"), ("raw_tp", "raw tracepoints"),
                       ("tp_btf", "typed tracepoints"), ("mmap", "maps in memory")):  # fmt: skip
        why = features.why_not(name)
        found.append(Mean(name, why is None, text if why is None else str(why)))
    for name, argument, text, instead in _PROBES:
        there = has_probe(name, argument)
        found.append(Mean(name, there, text if there else f"{text}; instead: {instead}"))
    uprobes = os.path.exists(UPROBES)
    calls = "calls of getaddrinfo(3)"
    found.append(Mean("uprobes", uprobes, calls if uprobes else f"{calls}; instead: DNS as it goes over the wire"))
    mode = sys.lockdown()
    found.append(Mean("lockdown", mode != "confidentiality", mode or "not known (no securityfs, or not built in)"))
    return found
