"""Outcome and evidence to a cause: codes, and what the texts must name."""

from __future__ import annotations

import errno

from dsight.connections.attempts import SECOND, Change, Evidence
from dsight.connections.diagnose import diagnose, place, remote, seconds, serves
from dsight.connections.events import Drop, Who
from dsight.connections.host import Listening, Owner
from dsight.connections.model import Diagnosis, Listener

HERE, THERE = "10.0.0.5", "10.0.0.9"


class FakeHost:
    """10.0.0.5 is ours; routes and listeners as told."""

    def __init__(self, *listening: Listening, route: str | None = "unicast", known: bool = True) -> None:
        self._listening = listening if known else None
        self._route = route

    def route(self, address: str, netns: int | None, pid: int) -> str | None:
        return "local" if address == HERE else self._route

    def listening(self, netns: int | None, pid: int) -> tuple[Listening, ...] | None:
        return self._listening

    def overflows(self, netns: int | None, pid: int) -> int | None:
        return 0

    def owner(self, inode: int) -> Owner | None:
        return {1: Owner(70, "shop"), 2: Owner(9, "sshd"), 3: Owner(8, "nginx")}.get(inode)


SHOP = Listening("0.0.0.0", 8080, 1)
SSH = Listening("::", 22, 2)
HTTP = Listening("127.0.0.1", 80, 3)


def change(
    outcome: str | None,
    error: int = 0,
    address: str = THERE,
    port: int = 9300,
    local: tuple[str | None, int | None] = ("10.0.0.5", 40000),
    waited: int = 1500,
    syns: int = 1,
    **evidence: object,
) -> Change:
    who = Who(0, 71, 70, "shop", 0, 0, 1, ((8, "nginx"), (1, "init")))
    if outcome not in ("aborted", "pending", None):
        evidence.setdefault("by", "kernel")
    facts = Evidence(**{"on_wire": True} | evidence)
    event = "outcome" if outcome else "hanging"
    return Change(
        event,
        0,
        "x",
        who,
        1,
        "tcp",
        "inet",
        "connect",
        local,
        (address, port),
        True,
        syns,
        waited,
        outcome,
        error,
        facts,
    )


def why(c: Change, host: FakeHost) -> tuple[str, str]:
    found = diagnose(c, place(c, host), host)
    assert isinstance(found, Diagnosis)
    return found.code, found.text


def refused(address: str = HERE, port: int = 9300, **evidence: object) -> Change:
    local = (address, 40000) if address in (HERE, "127.0.0.1") else (HERE, 40000)
    return change("refused", errno.ECONNREFUSED, address, port, local, **evidence)


def test_the_story() -> None:
    code, text = why(refused(reset=True), FakeHost(SHOP, SSH, HTTP))
    assert code == "nothing-listens-here"
    assert "10.0.0.5 is this very host, and nothing listens on port 9300" in text
    # The process's own port first, then its parents', then the others'.
    assert "8080 (shop[70], this very process); 80 (nginx[8]); 22 (sshd[9])" in text


def test_nothing_listens_at_all() -> None:
    assert "no port is listened on at all" in why(refused("127.0.0.1"), FakeHost())[1]


def test_listens_at_another_address() -> None:
    code, text = why(refused(port=80), FakeHost(HTTP))
    assert code == "nothing-listens-here" and "only at 127.0.0.1" in text and "nginx[8]" in text


def test_wrong_family() -> None:
    c = change("refused", errno.ECONNREFUSED, "::1", 8080, ("::1", 5))
    assert why(c, FakeHost(SHOP))[0] == "wrong-family"
    code, text = why(refused(port=22), FakeHost(SSH.replace(v6only=True)))
    assert code == "wrong-family" and "IPv6 only" in text


def test_unknown_is_said() -> None:
    code, text = why(refused("127.0.0.1"), FakeHost(known=False))
    assert code == "nothing-listens-here" and "unknown" in text
    c = refused(THERE, reset=True)
    assert place(c, FakeHost(route=None)).self_ is None
    code, text = why(c, FakeHost(route=None))
    assert code == "refused-by-peer" and "unknown" in text


def test_refused_although_somebody_listens_now() -> None:
    code, text = why(refused(port=8080), FakeHost(SHOP))
    assert code == "itself" and "later" in text


def test_refused_by_peer() -> None:
    code, text = why(refused(THERE, reset=True), FakeHost(SHOP))
    assert code == "refused-by-peer" and "10.0.0.9 answered with a reset" in text
    assert "ICMP" in why(refused(THERE), FakeHost())[1]


def test_no_answer_while_and_after() -> None:
    code, text = why(change(None, waited=4 * SECOND, syns=3), FakeHost())
    assert code == "no-answer" and "3 SYNs sent, no reply for 4.0 s" in text
    assert why(change("timed-out", errno.ETIMEDOUT, waited=127 * SECOND, syns=7), FakeHost())[0] == "no-answer"
    assert why(change("pending"), FakeHost())[0] == "no-answer"


def test_listener_full() -> None:
    full = SHOP.replace(queued=5, limit=4)
    c = change(None, address=HERE, port=8080, waited=SECOND)
    assert why(c, FakeHost(full))[0] == "listener-full"
    assert why(c, FakeHost(full.replace(queued=4)))[0] == "no-answer"
    assert "this very host" in why(c, FakeHost(SHOP))[1]


def test_gave_up() -> None:
    code, text = why(change("aborted", waited=2_500_000_000, syns=2, by="caller"), FakeHost())
    assert code == "gave-up" and "2.5 s" in text and "2 SYNs sent" in text and "sent again" not in text
    hasty = why(change("aborted", waited=250_000_000, syns=1, by="caller"), FakeHost())[1]
    assert hasty.endswith("; a SYN that is lost is sent again after 1 s")
    code, text = why(change("unreachable", 113, by="caller", soft_error=113), FakeHost())
    assert code == "host-unreachable" and "ICMP" in text and "closed" in text


def test_unreachable() -> None:
    assert why(change("unreachable", 101, on_wire=False), FakeHost(route="none"))[0] == "no-route"
    code, text = why(change("unreachable", 113, on_wire=False), FakeHost(route="unreachable"))
    assert code == "no-route" and "type unreachable" in text
    code, text = why(change("unreachable", 113, icmp=(3, 1)), FakeHost())
    assert code == "host-unreachable" and "ARP" in text
    assert why(change("unreachable", 113), FakeHost())[0] == "host-unreachable"


def test_denied_and_ports_and_blackhole() -> None:
    assert why(change("denied", 13, on_wire=False), FakeHost(route="prohibit"))[1].endswith("type prohibit")
    assert why(change("denied", 1, on_wire=False), FakeHost())[0] == "denied-locally"
    assert why(change(None, filtered=True), FakeHost())[0] == "denied-locally"
    assert why(change("no-address", 99, on_wire=False, no_port=True), FakeHost())[0] == "ports-exhausted"
    assert why(change("no-address", 99, on_wire=False), FakeHost())[0] == "no-route"
    assert why(change("invalid", 22, on_wire=False), FakeHost(route="blackhole"))[0] == "no-route"
    c = change("invalid", 22, on_wire=False)
    assert diagnose(c, place(c, FakeHost()), FakeHost()) is None


def test_connected() -> None:
    c = change("connected")
    assert diagnose(c, place(c, FakeHost()), FakeHost()) is None
    c = change("connected", address=HERE, port=8080)
    code, text = why(c, FakeHost(SHOP))
    assert code == "itself" and "this very process" in text
    end = remote(c, place(c, FakeHost(SHOP)), FakeHost(SHOP))
    assert end.self_ is True and end.listener == Listener(70, "shop")
    same = change("connected", address="127.0.0.1", local=("127.0.0.1", 9300))
    assert why(same, FakeHost())[0] == "tcp-self-connect"


def test_serves() -> None:
    assert serves(SHOP, HERE) and not serves(SHOP, "::1") and serves(SSH, HERE) and serves(SSH, "::1")
    assert not serves(SSH.replace(v6only=True), HERE) and not serves(HTTP, HERE) and serves(HTTP, "127.0.0.1")


def test_seconds() -> None:
    assert [seconds(n) for n in (340_500, 12_000_000, 2_500_000_000, 127_400_000_000)] == [
        "340 µs",
        "12 ms",
        "2.5 s",
        "127 s",
    ]


def dropped(reason: str = "filter", answer: bool = False, netns: int = 1) -> Drop:
    return Drop(0, 0, reason, answer, (HERE, 40000), (THERE, 9300), netns)


def test_dropped_by_this_host() -> None:
    for event in (None, "pending", "aborted", "timed-out"):
        code, text = why(change(event, drop=dropped()), FakeHost())
        assert code == "denied-locally" and "nftables" in text and "drops the SYN" in text
    assert "drops the answer (SYN-ACK) of 10.0.0.9" in why(change(None, drop=dropped(answer=True)), FakeHost())[1]
    assert "namespace 77" in why(change(None, drop=dropped(netns=77)), FakeHost())[1]
    assert "cgroup" in why(change(None, drop=dropped("cgroup")), FakeHost())[1]
    code, text = why(change("aborted", drop=dropped("neighbour"), by="caller"), FakeHost())
    assert code == "host-unreachable" and "ARP or ND" in text and "closed" in text


def test_rejected_by_this_host() -> None:
    for outcome, error in (("refused", 111), ("unreachable", 113)):
        code, text = why(change(outcome, error, drop=dropped(), all_dropped=True, reset=True), FakeHost())
        assert code == "denied-locally" and "rejects the SYN" in text
        # One SYN was dropped, a later one was not: the answer is the peer's.
        assert why(change(outcome, error, drop=dropped(), reset=True), FakeHost())[0] != "denied-locally"
    # Kernels that tell no reasons.
    assert why(change("refused", 111, icmp=(3, 3)), FakeHost())[0] == "denied-locally"
    assert why(change("unreachable", 113, icmp=(3, 13)), FakeHost())[0] == "denied-locally"


def test_what_connected_in_the_end_is_not_denied() -> None:
    c = change("connected", drop=dropped())
    assert diagnose(c, place(c, FakeHost()), FakeHost()) is None
