"""Data that a call reads and writes, as text: buffers, iovecs, messages, the words of execve(2)."""

from __future__ import annotations

from dsight.calls import names, structs
from dsight.calls.call import Call
from dsight.calls.structs import pointer, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SOL_SOCKET = 1


def path(data: bytes) -> str:
    """A string that was copied; "..." behind one that fills all there was room for."""
    from dsight.calls.script import TEXT_SIZE

    return quoted(data, len(data) >= TEXT_SIZE - 1)


def _data(call: Call, address: int, length: int, limit: int, back: bool) -> str:
    """`length` bytes of data, the first `limit` of them shown."""
    if not address:
        return "NULL"
    found = call.block(address, back)
    if found is None:
        return '""' if length == 0 and (not back or call.result == 0) else pointer(address)
    data = found[1][: min(length, limit)]
    if call.files[0].startswith("NETLINK:[") and len(data) >= 16:
        from dsight.calls.addresses import netlink

        return netlink(data, call.files[0][9:].partition(":")[0], lambda rest: quoted(rest, length > len(data)))
    return quoted(data, length > len(data))


def _buffer_in(call: Call, i: int, value: int, limit: int) -> str:
    return _data(call, value, call.args[i + 1], limit, False)


def _buffer_out(call: Call, i: int, value: int, limit: int) -> str:
    if call.result is None or call.error:
        return pointer(value)
    if call.name.startswith("readlink"):
        limit = max(limit, call.result)
    return _data(call, value, call.result, limit, True)


def _cwd(call: Call, i: int, value: int, limit: int) -> str:
    found = call.block(value, True)
    return pointer(value) if found is None or call.error else quoted(found[1][: found[0]].split(b"\0")[0])


def _vectors(call: Call, address: int, count: int, limit: int, back: bool) -> str:
    """[{iov_base="...", iov_len=5}, ...]; `back`: as far as the result says there is data."""
    if not address:
        return "NULL"
    found = call.block(address, back) or call.block(address, False)
    if found is None:
        return pointer(address)
    left = call.result if back and call.result is not None and not call.error else None
    parts: list[str] = []
    there = min(count, len(found[1]) // 16, structs.MOST)
    for n in range(there):
        base = int.from_bytes(found[1][16 * n : 16 * n + 8], "little")
        size = int.from_bytes(found[1][16 * n + 8 : 16 * n + 16], "little")
        known = size if left is None else min(size, left)
        unknown = back and left is None
        parts.append(
            f"{{iov_base={pointer(base) if unknown else _data(call, base, known, limit, back)}, iov_len={size}}}"
        )
        left = None if left is None else left - known
    return "[" + ", ".join(parts + ["..."] * (count > there)) + "]"


def _vector_in(call: Call, i: int, value: int, limit: int) -> str:
    return _vectors(call, value, call.args[i + 1], limit, False)


def _vector_out(call: Call, i: int, value: int, limit: int) -> str:
    return _vectors(call, value, call.args[i + 1], limit, True)


def _message(call: Call, address: int, limit: int, back: bool) -> str:
    """struct msghdr: name 0, length 8, iovecs 16, their number 24, control 32, length 40, flags 48."""
    found = call.block(address, back)
    if found is None or len(found[1]) < 56:
        return pointer(address)
    words = [int.from_bytes(found[1][at : at + 8], "little") for at in range(0, 56, 8)]
    name, length = words[0], words[1] & 0xFFFFFFFF
    shown = "NULL"
    if name:
        block = call.block(name, back)
        shown = pointer(name) if block is None else structs.sockaddr(block[1][: block[0]])
    text = f"{{msg_name={shown}, msg_namelen={length}, "
    text += f"msg_iov={_vectors(call, words[2], words[3], limit, back)}, msg_iovlen={words[3]}"
    if words[4] and words[5]:
        block = call.block(words[4], back)
        text += f", msg_control={pointer(words[4]) if block is None else _control(block[1][: block[0]])}"
    text += f", msg_controllen={words[5]}"
    return f"{text}, msg_flags={names.flags(words[6] & 0xFFFFFFFF, 'msg')}}}"


def _control(data: bytes) -> str:
    """Control messages: struct cmsghdr, u64 length with itself, int level, int type; padded to 8."""
    parts: list[str] = []
    at = 0
    while at + 16 <= len(data) and len(parts) < structs.MOST:
        length = int.from_bytes(data[at : at + 8], "little")
        if length < 16:
            break
        level, kind = (int.from_bytes(data[n : n + 4], "little", signed=True) for n in (at + 8, at + 12))
        body = data[at + 16 : at + length]
        words = [int.from_bytes(body[n : n + 4], "little", signed=True) for n in range(0, len(body) - 3, 4)]
        label = names.enum(kind, "cmsg") if level == _SOL_SOCKET else str(kind)
        if level == _SOL_SOCKET and kind == 1:
            shown = str(words)
        elif level == _SOL_SOCKET and kind == 2 and len(words) == 3:
            shown = "{{pid={}, uid={}, gid={}}}".format(*words)
        else:
            shown = quoted(body[:32], len(body) > 32)
        parts.append(
            f"{{cmsg_len={length}, cmsg_level={names.enum(level, 'sol')}, cmsg_type={label}, cmsg_data={shown}}}"
        )
        at += length + 7 & ~7
    return "[" + ", ".join(parts) + "]"


def _message_in(call: Call, i: int, value: int, limit: int) -> str:
    return _message(call, value, limit, False)


def _message_out(call: Call, i: int, value: int, limit: int) -> str:
    return pointer(value) if call.error or call.result is None else _message(call, value, limit, True)


def _messages_in(call: Call, i: int, value: int, limit: int) -> str:
    return _messages(call, value, call.args[i + 1], limit, False)


def _messages_out(call: Call, i: int, value: int, limit: int) -> str:
    if call.error or not call.result:
        return pointer(value)
    return _messages(call, value, call.result, limit, True)


def _messages(call: Call, address: int, count: int, limit: int, back: bool) -> str:
    """The first of an array of struct mmsghdr."""
    return "[{msg_hdr=" + _message(call, address, limit, back) + "}" + (", ...]" if count > 1 else "]")


def _argv(call: Call, i: int, value: int, limit: int) -> str:
    """Pointers to strings, ended by NULL.  `call.seen` has the first; those of execve(2) that succeeded are whole in
    `call.back` at address 0, but of a script's only behind those of its interpreter."""
    found = call.block(value, False)
    asked, complete = ([], False) if found is None else _asked(call, found[1])
    block = call.back.blocks.get(0)
    if block is not None and not complete:
        size, data = block
        words = data.split(b"\0")[:-1] if size <= len(data) else data.split(b"\0")
        rest = asked[1:]
        at = next((n for n in range(1, len(words)) if words[n : n + len(rest)] == rest), 1) if rest else 0
        shown = [quoted(word) for word in (asked[:1] + words[at:] if rest else words)]
        return "[" + ", ".join(shown + ["..."] * (size > len(data))) + "]"
    if found is None:
        return pointer(value)
    return "[" + ", ".join([path(word) for word in asked] + ["..."] * (not complete)) + "]"


def _asked(call: Call, pointers: bytes) -> tuple[list[bytes], bool]:
    """The strings that were copied when the call began, and whether they are all."""
    out: list[bytes] = []
    for at in range(0, len(pointers) - 7, 8):
        address = int.from_bytes(pointers[at : at + 8], "little")
        if not address:
            return out, True
        text = call.seen.texts.get(address)
        if text is None:
            break
        out.append(text)
    return out, False


# By the kind of the argument (calls.specs): the call, the argument's number and value, bytes of data shown.
SHOW: dict[str, Callable[[Call, int, int, int], str]] = {
    "buf<": _buffer_in, "buf>": _buffer_out, "cwd>": _cwd, "iov<": _vector_in, "iov>": _vector_out,
    "msg<": _message_in, "msg>": _message_out, "mmsg<": _messages_in, "mmsg>": _messages_out, "argv": _argv,
}  # fmt: skip
