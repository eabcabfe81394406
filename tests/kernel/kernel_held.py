"""What a process holds of the kernel's; conftest's fixture `clean` compares it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def holdings() -> dict[str, Any]:
    """What this process has open and mapped, and the mounts it sees."""
    fds = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
            if "bpf" in target or "perf_event" in target:
                info = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
                target += " " + " ".join(line.replace("\t", " ") for line in info if "_id" in line)
        except OSError:  # the descriptor of the listing itself
            continue
        fds[int(fd)] = target
    tracing = (" - tracefs ", " - bpf ", " - debugfs ")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = sorted(line.split()[4] for line in lines if any(kind in line for kind in tracing))
    mapped = sorted(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "bpf-map" in line)
    return {"descriptors": fds, "mounts": mounts, "mapped rings and arrays": mapped}
