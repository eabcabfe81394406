"""dsight: DTrace for Linux, in Python.

import dsight
with dsight.trace('tcp:::connect-request { trace(execname); trace(args[2]->ip_daddr); }') as t:
    for record in t:
        print(record.values)
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["Error", "Machine", "Trace", "TraceRecord", "trace"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dsight.api import Machine, Trace, TraceRecord
    from dsight.errors import Error

    trace = Trace


def __getattr__(name: str) -> Any:
    """The API, imported when first asked for: `import dsight` alone costs next to nothing."""
    if name in ("trace", "Trace"):
        from dsight.api import Trace

        return Trace
    if name in ("Machine", "TraceRecord"):
        from dsight import api

        return getattr(api, name)
    if name == "Error":
        from dsight.errors import Error

        return Error
    raise AttributeError(f"module 'dsight' has no attribute {name!r}")
