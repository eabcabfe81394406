"""Which D and which trackers each option asks for; TCP alone asks for nothing."""

from __future__ import annotations

import pathlib
import re

import pytest

from dsight.connections import calls, datagram_events, parts
from dsight.connections.parts import kinds
from dsight.connections.script import script
from dsight.errors import UsageError

FOLDER = pathlib.Path(parts.__file__).parent


def always(*_: object) -> bool:
    return True


def never(*_: object) -> bool:
    return False


def program(*, probe: object = always, kind: object = always, **options: bool) -> str:
    return script(False, probe, kinds(probe, kind, **options).parts)  # type: ignore[arg-type]


def test_tcp_alone_is_no_dearer() -> None:
    assert program(others=False) == script(False, always)
    assert kinds(always, always, others=False).trackers == ()


def test_what_each_asks_for() -> None:
    default, udp, unix = program(), program(udp=True), program(unix=True)
    assert "udp_new" in default and "udp_to" not in default and "skc_family != 1 " in default
    assert "udp_to" in udp and "udp_new" not in udp and "netif_receive_skb" in udp
    assert "netif_receive_skb" not in default + unix and "UnixPeer" in unix and "UnixPeer" not in default + udp
    assert unix.index("UnixPeer") < unix.index("/* 5 Leave */")  # which lets the socket go
    assert udp.index("this->who = this->u_new") < udp.index("/* 1 Who */") < udp.index("this->u_count)")


def test_older_kernels() -> None:
    assert "f_ref" in program(udp=True) and "f_ref" not in program(udp=True, kind=never).replace("f_ref,", "")
    assert "sock_send_length" not in program(probe=never) and "UdpError" in program(probe=never)
    with pytest.raises(UsageError, match="--udp"):
        kinds(never, always, udp=True)


def test_scripts_and_decoders_know_the_same_tags() -> None:
    for names, decoders in (
        (("udp.d", "udp_first.d", "udp_ask.d", "udp_all.d"), datagram_events.DECODERS),
        (("unix.d", "unix_peer.d"), calls.DECODERS),
    ):
        text = "".join((FOLDER / name).read_text() for name in names)
        assert {int(n) for n in re.findall(r"trace\((\d+)\); trace\((?:timestamp|tid)\)", text)} == set(decoders)
