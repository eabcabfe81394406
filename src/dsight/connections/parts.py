"""What is watched besides TCP: the D and the trackers of each kind.

kinds(...) -> Kinds.parts for script.script, Kinds.trackers for watch.Watcher
"""

from __future__ import annotations

from dsight.connections.script import Part, read
from dsight.errors import UsageError
from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.connections.events import Who
    from dsight.connections.watch import Tracks

# AF_*, include/linux/socket.h: UNIX, KEY, NETLINK, PACKET, ALG and XDP.  But for the first, what
# connect(2) does to them reaches nobody.
_UNIX = 1
_NO_PEERS = (15, 16, 17, 38, 44)
_FAMILY = "this->sk->__sk_common.skc_family"
# Whether a descriptor is the last one of its file, in udp_all.d: file_ref_t counts from 0, before it
# (Linux 6.13) f_count from 1.
_LAST, _LAST_BEFORE = "f_ref.refcnt.counter == 0", "f_count.counter == 1"


class Kinds(Value):
    """Besides TCP."""

    parts: tuple[Part, ...]
    trackers: tuple[Callable[[Callable[[int], Who | None]], Tracks], ...]


def kinds(
    has_probe: Callable[[str, int], bool],
    has_type: Callable[[str], bool],
    udp: bool = False,
    unix: bool = False,
    others: bool = True,
) -> Kinds:
    """`has_probe`: as for script.script; `has_type`: whether the kernel has a typedef of this name.

    `others`: UDP sockets that are connected, and every family but UNIX; `udp`: all datagrams, `unix`:
    UNIX sockets.  Raises UsageError where this kernel cannot say what is asked for."""
    parts: list[Part] = []
    trackers: list[Callable[[Callable[[int], Who | None]], Tracks]] = []
    if udp or others:
        parts += _udp(has_probe, has_type, udp)
        trackers.append(_datagrams(udp))
    if udp or others or unix:
        trackers.append(_calls)
    if unix:
        parts.append(Part(("unix.d",), ("unix_peer.d",), (), f"this->sk != 0 && {_FAMILY} == {_UNIX}"))
    return Kinds(tuple(parts), tuple(trackers))


def _udp(has_probe: Callable[[str, int], bool], has_type: Callable[[str], bool], every: bool) -> list[Part]:
    none = " && ".join(f"{_FAMILY} != {family}" for family in (_UNIX, *_NO_PEERS))
    wanted = f"this->sk != 0 && {none}"
    if not every:
        # Without the probe (before Linux 6.3) only errors tell that something was sent.
        first = ("udp_first.d",) if has_probe("sock_send_length", 0) else ()
        return [Part(("udp.d", *first), (), (), wanted)]
    if not (has_probe("sock_send_length", 0) and has_probe("sk_data_ready", 0)):
        raise UsageError("--udp: this kernel does not say which datagrams are sent", "it takes Linux 6.3 or newer")
    text = read("udp_all.d") if has_type("file_ref_t") else read("udp_all.d").replace(_LAST, _LAST_BEFORE)
    return [Part(("udp.d",), ("udp_ask.d",), ("rawtp:::sock_send_length",), wanted, text)]


def _datagrams(answers: bool) -> Callable[[Callable[[int], Who | None]], Tracks]:
    def make(caller: Callable[[int], Who | None]) -> Tracks:
        from dsight.connections.datagrams import Datagrams

        return Datagrams(caller, answers)

    return make


def _calls(caller: Callable[[int], Who | None]) -> Tracks:
    from dsight.connections.calls import Calls

    return Calls(caller)
