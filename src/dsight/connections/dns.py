"""DNS messages, as far as a watcher wants them (RFC 1035; RFC 3596 for AAAA; RFC 6891 for EDNS).

    parse(bytes)  ->  Message, or None for what is none

The bytes come from traced processes and from anybody on the network: whatever they hold, the answer
is one of the two, in bounded time.  A message may be cut off: what came before the cut counts.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from struct import unpack_from

from dsight.value import Value

A, CNAME, AAAA, DNAME = 1, 5, 28, 39
_IN = 1
_MOST_RECORDS = 256  # looked at
_MOST_LABELS = 128  # of a name, 255 bytes
_JUMPS = 32  # from pointer to pointer within one name

# RFC 1035, RFC 2136 and RFC 6895; the lower four bits, EDNS's upper ones are not looked at
RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH"}


class Message(Value):
    """One query or answer with its one question.

    `name`: lower case, without the last dot; bytes that are no printable ASCII as \\DDD (RFC 1035, 5.1).
    `addresses`: of A and AAAA records.  `whole`: nothing was cut off, and it can be relied upon that
    there is no address where none is listed.
    """

    id: int
    answer: bool
    rcode: int
    truncated: bool  # the sender had more to say than UDP takes: it will be asked again over TCP
    name: str
    type: int
    addresses: tuple[str, ...] = ()
    canonical: str | None = None  # where the name's aliases end
    whole: bool = True


def parse(data: bytes) -> Message | None:
    """The message; None if it is none, has not exactly one question, or is no standard query."""
    if len(data) < 12:
        return None
    number, flags, questions, answers = unpack_from("!HHHH", data)
    if questions != 1 or flags & 0x7800:
        return None
    found = _name(data, 12)
    if found is None or found[1] + 4 > len(data):
        return None
    name, at = found
    kind, clas = unpack_from("!HH", data, at)
    if clas != _IN or (flags & 0x8000 == 0 and answers):
        return None
    addresses: list[str] = []
    aliases: dict[str, str] = {}
    whole = _records(data, at + 4, answers, addresses, aliases)
    canonical = name
    for _ in aliases:
        canonical = aliases.get(canonical, canonical)
    return Message(
        number, bool(flags & 0x8000), flags & 15, bool(flags & 0x0200), name, kind, tuple(addresses),
        canonical if canonical != name else None, whole,
    )  # fmt: skip


def _records(data: bytes, at: int, count: int, addresses: list[str], aliases: dict[str, str]) -> bool:
    """Reads the answers; whether all were there."""
    for _ in range(min(count, _MOST_RECORDS)):
        found = _name(data, at)
        if found is None or found[1] + 10 > len(data):
            return False
        owner, at = found
        kind, clas, _, size = unpack_from("!HHIH", data, at)
        at += 10
        if at + size > len(data):
            return False
        if clas == _IN and kind == A and size == 4:
            addresses.append(inet_ntop(AF_INET, data[at : at + 4]))
        elif clas == _IN and kind == AAAA and size == 16:
            addresses.append(inet_ntop(AF_INET6, data[at : at + 16]))
        elif clas == _IN and kind == CNAME:
            target = _name(data, at)
            if target is not None:
                aliases[owner] = target[0]
        at += size
    return count <= _MOST_RECORDS


def _name(data: bytes, at: int) -> tuple[str, int] | None:
    """A name and where it ends; None if there is none.  A pointer leads backwards only."""
    labels: list[str] = []
    end = -1
    limit = at
    jumps = 0
    while True:
        if at >= len(data):
            return None
        size = data[at]
        if size & 0xC0 == 0xC0:
            if at + 2 > len(data) or jumps == _JUMPS:
                return None
            jumps += 1
            target = (size & 0x3F) << 8 | data[at + 1]
            if end < 0:
                end = at + 2
            if target >= limit:
                return None
            at = limit = target
            continue
        if size & 0xC0 or len(labels) == _MOST_LABELS:
            return None
        at += 1
        if size == 0:
            return ".".join(labels), end if end >= 0 else at
        if at + size > len(data):
            return None
        labels.append(_label(data[at : at + size]))
        at += size


def _label(raw: bytes) -> str:
    text = raw.decode("latin-1")
    if text.isascii() and text.isprintable() and "." not in text and "\\" not in text and " " not in text:
        return text.lower()
    return "".join([c if 0x21 <= ord(c) < 0x7F and c not in ".\\" else f"\\{ord(c):03d}" for c in text]).lower()


class Stream:
    """DNS over TCP: messages with their length before them (RFC 1035, 4.2.2), of which only the
    beginning of each piece may have been seen."""

    LIMIT = 4096  # bytes kept of one message

    def __init__(self) -> None:
        self._kept = b""
        self._lost = 0  # bytes behind `_kept` that were not seen

    def __bool__(self) -> bool:
        """Whether a message has begun."""
        return bool(self._kept)

    def feed(self, data: bytes, size: int) -> list[bytes]:
        """A piece of `size` bytes that begins with `data`: the messages it completes."""
        if not self._lost:
            self._kept += data
            self._lost = size - len(data)
        else:
            self._lost += size
        out: list[bytes] = []
        while len(self._kept) >= 2:
            length = unpack_from("!H", self._kept)[0] + 2
            have = len(self._kept) + self._lost
            if have < length:
                self._trim(length)
                break
            out.append(self._kept[2:length])
            if length >= len(self._kept):
                self._lost -= length - len(self._kept)
                self._kept = b""
                if self._lost:  # where the next message begins was not seen: nothing can be made of the rest
                    self._lost = 0
                    break
            else:
                self._kept = self._kept[length:]
        return out

    def _trim(self, length: int) -> None:
        keep = min(length, self.LIMIT)
        if len(self._kept) > keep:
            self._lost += len(self._kept) - keep
            self._kept = self._kept[:keep]
