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

    from dsight.api import Trace, TraceRecord
    from dsight.errors import Error
    from dsight.machine import Machine

    trace = Trace


def __getattr__(name: str) -> Any:
    """The API, imported when first asked for: `import dsight` alone costs next to nothing."""
    if name in ("trace", "Trace"):
        from dsight.api import Trace

        return Trace
    if name == "TraceRecord":
        from dsight.api import TraceRecord

        return TraceRecord
    if name == "Machine":
        from dsight.machine import Machine

        return Machine
    if name == "Error":
        from dsight.errors import Error

        return Error
    raise AttributeError(f"module 'dsight' has no attribute {name!r}")
