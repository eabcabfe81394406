"""-c, --user, --to, --port, --cgroup, --unit, --container, --netns and --outcome: what their words mean."""

from __future__ import annotations

import os

from dsight.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Network, IPv6Network

_HEX = frozenset("0123456789abcdef")


def cgroups(paths: list[str], units: list[str], containers: list[str]) -> tuple[tuple[int, int], ...]:
    """Level and id of each cgroup meant; UsageError for one that is not there."""
    from dsight.kernel.cgroups import cgroup, named

    found = []
    try:
        for path in paths:
            try:
                found.append(cgroup(path))
            except OSError as error:
                raise UsageError(f"--cgroup: {path}: {error.strerror}", "cgroups of version 2 are meant") from None
        for unit in units:
            name = unit if "." in unit else f"{unit}.service"
            found += [cgroup(p) for p in _some(named(name.__eq__), f"--unit: {name} is not running")]
        for container in containers:
            matches = _matcher(_container(container))
            found += [cgroup(p) for p in _some(named(matches), f"--container: '{container}' has no cgroup")]
    except OSError as error:
        raise UsageError(f"cgroups: {error.strerror}") from None
    return tuple(found)


def _some(found: list[str], complaint: str) -> list[str]:
    if not found:
        raise UsageError(complaint, "cgroups of version 2 are looked through, as they are now")
    return found


def _container(text: str) -> list[str]:
    """What the names of its cgroups hold: the id, or its beginning; Docker's and Podman's containers are
    found by name in their own files, those of LXC and systemd-nspawn carry it in the cgroup's."""
    if len(text) >= 8 and set(text) <= _HEX:
        return [text]
    found = [f"lxc.payload.{text}", f"machine-{text}.scope", f"systemd-nspawn@{text}.service"]
    import json

    home = "/var/lib/docker/containers"
    for name in os.listdir(home) if os.path.isdir(home) else []:
        try:
            with open(f"{home}/{name}/config.v2.json") as file:
                if json.load(file).get("Name") == f"/{text}":
                    found.append(name)
        except (OSError, ValueError):
            continue
    try:
        with open("/var/lib/containers/storage/overlay-containers/containers.json") as file:
            found += [c["id"] for c in json.load(file) if text in c.get("names", ())]
    except (OSError, ValueError):
        pass
    return found


def namespace(text: str) -> int:
    """The inode number of a network namespace: by its name (ip-netns(8)), a pid, or that number."""
    digits = text.isascii() and text.isdigit()
    for path in (f"/run/netns/{text}", *([f"/proc/{text}/ns/net"] if digits else [])):
        try:
            if "/" not in text:
                return os.stat(path).st_ino
        except OSError:
            continue
    if digits and int(text) >= 1 << 31:  # no pid; include/linux/proc_ns.h: they begin at 0xf0000000
        return int(text)
    raise UsageError(f"--netns: there is no network namespace '{text}'")


def is_path(text: str) -> bool:
    """Whether --to means UNIX sockets: a path, or an abstract name."""
    return text.startswith(("/", "@", "*/"))


def port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise UsageError(f"--port: '{text}' is not a port (0 to 65535)")


def network(text: str, option: str = "--to", more: str = " or /run/x.sock") -> IPv4Network | IPv6Network:
    """An address or a network; `more`: what else the option takes, for the hint."""
    from ipaddress import ip_network

    try:
        return ip_network(text.strip("[]"), strict=False)
    except ValueError:
        raise UsageError(
            f"{option}: '{text}' is not an address or a network",
            f"such as 10.1.2.3, 10.0.0.0/8, 2001:db8::/32{more}",
        ) from None


def uid(text: str) -> int:
    """A user by number or name."""
    import pwd

    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise UsageError(f"--user: there is no user '{text}'") from None


def words(line: str) -> list[str]:
    """The words of -c's command."""
    from shlex import split

    try:
        found = split(line)
    except ValueError as error:
        raise UsageError(f"-c: {str(error).lower()}") from None
    if not found:
        raise UsageError("-c: there is no command")
    return found


def outcome(text: str) -> str:
    """One of the outcomes there are."""
    from dsight.connections.model import OUTCOMES

    if text in OUTCOMES:
        return text
    raise UsageError(f"--outcome: '{text}' is none", f"there are: {', '.join(OUTCOMES)}")


def _matcher(ids: list[str]) -> Callable[[str], bool]:
    return lambda name: any(one in name for one in ids)
