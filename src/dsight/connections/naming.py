"""Names: what the watcher says of a lookup, and which name a process got an address from.

Plain values and a bounded table; lookups.py makes them of what the kernel tells.
"""

from __future__ import annotations

from dsight.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from dsight.connections.events import Who

PROCESSES = 4096  # whose names are remembered
ADDRESSES = 256  # of each
# Errors that say that there is no such name, or address of it.
NOT_FOUND = frozenset({"EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY", "HOST_NOT_FOUND", "NO_DATA", "NXDOMAIN", "NODATA"})


class Query(Value):
    """One DNS query, and its answer if one came."""

    name: str
    type: str | None  # A, AAAA; None where there was no way to ask the server at all
    server: str | None
    sent: int = 1  # how often
    result: str | None = None  # NOERROR, NODATA, an rcode, the errno of the socket; None: no answer
    addresses: tuple[str, ...] = ()


class Named(Value):
    """The name a process got an address for; `local`: it may well lead to this host (is_local)."""

    name: str
    source: str | None
    local: bool = False


class Lookup(Value):
    """A lookup, so far (`looking-up`) or in the end (`lookup`)."""

    event: str
    time: int
    id: str
    who: Who
    netns: int | None
    api: str  # getaddrinfo, gethostbyname, dns
    name: str
    service: str | None
    family: str | None  # asked for; None: any, or unknown
    waited: int  # ns
    answers: tuple[str, ...] = ()
    error: str | None = None
    source: str | None = None
    queries: tuple[Query, ...] = ()
    nodename: str | None = None  # the host's name for itself, where the process runs
    excused: bool = False  # it found nothing in one family, and the process has an address of the other


class Names:
    """Which name a process got an address from: the last one."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], dict[str, Named]] = {}

    def remember(self, who: Who, named: Named, addresses: Iterable[str]) -> None:
        key = (who.pid, who.start)
        mine = self._of.pop(key, None)
        if mine is None:
            mine = {}
            if len(self._of) >= PROCESSES:
                del self._of[next(iter(self._of))]
        self._of[key] = mine  # the newest last
        for address in addresses:
            if mine.pop(address, None) is None and len(mine) >= ADDRESSES:
                del mine[next(iter(mine))]
            mine[address] = named

    def of(self, who: Who, address: str | None) -> Named | None:
        """The name, and where the answer came from."""
        mine = self._of.get((who.pid, who.start))
        return None if mine is None or address is None else mine.get(address)

    def addresses(self, who: Who, name: str) -> list[str]:
        """What the process got for a name."""
        return [a for a, named in self._of.get((who.pid, who.start), {}).items() if named.name == name]


def is_local(name: str, nodename: str | None) -> bool:
    """Whether a name may well lead to this host: localhost and its kin (RFC 6761), the host's own name."""
    plain = name.lower().rstrip(".")
    if plain in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "localhost4", "localhost6"):
        return True
    if plain.endswith((".localhost", ".localdomain")):
        return True
    own = (nodename or "").lower().partition(".")[0]
    return bool(own) and plain.partition(".")[0] == own


def is_numeric(name: str) -> bool:
    """Whether a name is an address as inet_aton(3) and inet_pton(3) take it."""
    from _socket import AF_INET6, inet_aton, inet_pton

    try:
        if ":" in name:
            inet_pton(AF_INET6, name.partition("%")[0])
        else:
            if not name[:1].isdigit():
                return False
            inet_aton(name)
    except (OSError, ValueError):
        return False
    return True
