"""What `dsight truss` writes: events of calls.join as lines like strace's, or as JSON objects; the summary."""

from __future__ import annotations

import os

from dsight.calls import names, structs
from dsight.calls.call import Call
from dsight.calls.decode import arguments, given_first, named_arguments, result
from dsight.calls.join import Exec, Exit, Foreign, Fork, Signal, Unfinished
from dsight.record import bounds
from dsight.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from dsight.calls.feed import Feed

COLUMN = 39  # where results stand, at least
TIMES = (10, 2, 10, 20)  # llquantize() of the summary, as calls.script has it


class Lines:
    """Events as lines; a process's name and number stand in front as soon as there are several."""

    def __init__(
        self, out: TextIO, wall_offset: int, *, size: int = 32, failed: bool = False,
        times: bool = False, spent: bool = False, several: bool = False,
    ) -> None:  # fmt: skip
        """`size`: bytes of data shown; `failed`: only calls that fail; `times`: time of day in front; `spent`: how
        long each call took behind it."""
        self._out = out
        self._wall_offset = wall_offset
        self._size = size
        self._failed = failed
        self._times = times
        self._spent = spent
        self._several = several
        self._second = (-1, "")  # the last second that was written, and its text

    def show(self, events: Iterable[Any]) -> None:
        """Write what there is to see of some events."""
        lines = [text for event in events if (text := self.line(event))]
        if lines:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()

    def line(self, event: Any) -> str:
        """One event; "" for what is not shown."""
        if type(event) is Call:
            return "" if self._failed and not event.failed else self._call(event)
        if isinstance(event, Unfinished):
            return "" if self._failed else self._unfinished(event)
        if isinstance(event, Fork):
            self._several = True
            return ""
        if isinstance(event, Signal):
            info = structs.siginfo(event.number, event.code, event.sender, event.uid, event.status, event.address)
            return f"{self._head(event.time, event)}--- {names.signal(event.number)} {info} ---"
        if isinstance(event, Exit):
            head = self._head(event.time, event)
            return head + ending(event.status) if event.last else f"{head}+++ thread exited +++"
        if isinstance(event, Foreign):
            return self._head(event.time, event) + "+++ a 32-bit program: its calls are not seen +++"
        return ""

    def _call(self, call: Call) -> str:
        shown = arguments(call, self._size)
        if call.shown:
            text = f"<... {call.name} resumed>{', '.join(shown[given_first(call) :])})"
        else:
            text = f"{call.name}({', '.join(shown)})"
        text = f"{printable(text):{COLUMN}} = {printable(result(call))}"
        if call.before and not call.shown:
            text += " <in progress at start>"
        elif self._spent and call.result is not None and call.end > call.time:
            text += f" <{(call.end - call.time) / 1e9:.6f}>"
        return self._head(call.end if call.shown else call.time, call) + text

    def _unfinished(self, event: Unfinished) -> str:
        call = event.call
        shown = arguments(call, self._size)
        if event.ended:
            text = printable(f"{call.name}({', '.join(shown)})")
            text = f"{text:{COLUMN}} = ?" + (" <in progress at start>" if call.before else "")
        else:
            first = given_first(call)
            comma = "," if first < len(shown) and first else ""
            state = "in progress at start" if call.before else "unfinished"
            text = printable(f"{call.name}({', '.join(shown[:first])}{comma} <{state} ...>")
        return self._head(call.time, call) + text

    def _head(self, time: int, event: Any) -> str:
        head = ""
        if self._times:
            wall = time + self._wall_offset
            second = wall // 10**9
            if second != self._second[0]:
                from time import localtime, strftime

                self._second = (second, strftime("%H:%M:%S", localtime(second)))
            head = f"{self._second[1]}.{wall // 1000 % 10**6:06d} "
        if self._several:
            thread = "" if event.tid == event.pid else f"/{event.tid}"
            head += f"{printable(event.comm)}[{event.pid}{thread}] "
        return head


class JsonLines:
    """Events as JSON objects, one a line; numbers as registers hold them beside their texts."""

    def __init__(self, out: TextIO, wall_offset: int, *, size: int = 32, failed: bool = False):
        from json import JSONEncoder

        from dsight.connections.model import rfc3339

        self._encode = JSONEncoder().encode
        self._time = rfc3339
        self._out = out
        self._wall_offset = wall_offset
        self._size = size
        self._failed = failed

    def show(self, events: Iterable[Any]) -> None:
        """Write what there is to see of some events."""
        lines = [self._encode(body) for event in events if (body := self.body(event))]
        if lines:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()

    def body(self, event: Any) -> dict[str, Any]:
        """One event; {} for what is not shown."""
        if isinstance(event, Call):
            return {} if self._failed and not event.failed else self._call(event, "call")
        if isinstance(event, Unfinished):
            kind = "unreturned" if event.ended else "unfinished"
            return {} if self._failed else self._call(event.call, kind)
        if isinstance(event, Signal):
            sender = event.sender if event.code <= 0 else None
            return self._body(event, "signal", signal=names.signal(event.number), code=event.code, sender=sender)
        if isinstance(event, Exit):
            name = names.signal(event.status & 0x7F) if event.status & 0x7F else None
            status = None if name else event.status >> 8 & 0xFF
            return self._body(event, "exit" if event.last else "thread-exit", status=status, signal=name)
        if isinstance(event, Fork):
            return self._body(event, "fork", child_pid=event.child_pid, child_tid=event.child)
        if isinstance(event, Exec):
            return self._body(event, "exec")
        if isinstance(event, Foreign):
            return {
                "event": "32-bit",
                "time": self._time(event.time + self._wall_offset),
                "pid": event.pid,
                "comm": event.comm,
            }
        return {}

    def _body(self, event: Any, kind: str, **more: Any) -> dict[str, Any]:
        time = self._time(event.time + self._wall_offset)
        who = {"pid": event.pid, "tid": event.tid, "comm": printable(event.comm)}
        return {"event": kind, "time": time, **who, **more}

    def _call(self, call: Call, kind: str) -> dict[str, Any]:
        given = [
            {"name": name, "value": value, "text": printable(text)}
            for name, text, value in named_arguments(call, self._size)
        ]
        more: dict[str, Any] = {"call": call.name, "args": given}
        if kind == "call":
            more["result"] = call.result
            more["result_text"] = printable(result(call))
            more["error"] = names.error(call.error)[0] if call.error else None
            timed = call.result is not None and call.end > call.time and not call.before
            more["duration_ns"] = call.end - call.time if timed else None
        if call.before:
            more["in_progress_at_start"] = True
        return self._body(call, kind, **more)


class Row:
    """One call's line of the summary; times in ns."""

    __slots__ = ("count", "errors", "median", "name", "slow", "slowest", "total")

    def __init__(self, name: str, count: int, errors: int, total: int, slowest: int, times: tuple[int, ...]) -> None:
        self.name, self.count, self.errors, self.total, self.slowest = name, count, errors, total, slowest
        self.median = min(percentile(times, 50), slowest)
        self.slow = min(percentile(times, 99), slowest)


def percentile(times: tuple[int, ...], percent: int) -> int:
    """The upper end of the bucket of llquantize(TIMES) that so many percent of all lie in or below."""
    ends = bounds("llquantize", TIMES)
    wanted = -(-sum(times) * percent // 100)
    seen = 0
    for i, count in enumerate(times):
        seen += count
        if seen >= wanted > 0:
            return ends[min(i, len(ends) - 1)]
    return 0


def summary(feed: Feed) -> list[Row]:
    """The calls that were made: those that took longest in all first."""
    counts, total, errors = feed.counts("calls"), feed.counts("total"), feed.counts("errors")
    slowest, times = feed.counts("slowest"), feed.counts("times")
    rows = [
        Row(feed.joiner.spec(n).name, counts[n], errors.get(n, 0), total.get(n, 0), slowest.get(n, 0), times.get(n, ()))
        for n in counts
    ]
    return sorted(rows, key=lambda row: (-row.total, row.name))


def summary_text(rows: list[Row]) -> str:
    """The summary as a table; times of one call in microseconds."""
    lines = [f"{'% time':>6} {'seconds':>11} {'calls':>9} {'errors':>8} {'usecs/call':>10} {'median':>9} {'99%':>9} "
             f"{'slowest':>10}  call"]  # fmt: skip
    whole = sum(row.total for row in rows) or 1
    for row in rows:
        lines.append(
            f"{100 * row.total / whole:6.2f} {row.total / 1e9:11.6f} {row.count:9} {row.errors or '':>8} "
            f"{row.total / row.count / 1000:10.1f} {row.median / 1000:9.1f} {row.slow / 1000:9.1f} "
            f"{row.slowest / 1000:10.1f}  {row.name}"
        )
    count, failed = sum(row.count for row in rows), sum(row.errors for row in rows)
    lines.append(f"{'100.00':>6} {whole / 1e9:11.6f} {count:9} {failed or '':>8}{'':42}  total")
    return "\n".join(lines) + "\n"


def summary_json(rows: list[Row]) -> str:
    """The summary as JSON, one call a line; times in ns."""
    from json import dumps

    lines = [
        {"event": "summary", "call": row.name, "count": row.count, "errors": row.errors, "total_ns": row.total,
         "median_ns": row.median, "p99_ns": row.slow, "slowest_ns": row.slowest} for row in rows
    ]  # fmt: skip
    return "".join([dumps(line) + "\n" for line in lines])


def ending(status: int) -> str:
    """How a process ended, of its status as wait(2) gives it."""
    if os.WIFSIGNALED(status):
        core = " (core dumped)" if os.WCOREDUMP(status) else ""
        return f"+++ killed by {names.signal(os.WTERMSIG(status))}{core} +++"
    return f"+++ exited with {os.WEXITSTATUS(status)} +++"
