"""What a condition has worked out is used again where the way leads past it, and only there."""

from __future__ import annotations

import pytest
from dtrace_run import dtrace, evaluate

pytestmark = pytest.mark.kernel


def test_an_argument_is_loaded_once() -> None:
    """In the predicate, and on the way to the body."""
    script = "rawtp:::net_dev_queue /arg0 != 0 && arg0 != 1 && (arg0 > 2 || arg0 < 9)/ { trace(arg0); }"
    shown = dtrace("-e", "--dump", "ir", "-n", script)
    assert shown.status == 0
    assert (shown.out + shown.err).count(" ctx") == 1


def test_what_was_not_worked_out_is() -> None:
    """The right side of && did not run, so its built-in variable is still to be had."""
    assert evaluate(
        'z = 1; printf("%d\\n", (z == 0 && timestamp > 0) ? 1 : timestamp > 0 ? 2 : 3);',
        'printf("%d\\n", (z == 0 || (z == 2 && pid > 0)) ? 1 : pid == $pid ? 2 : 3);',
        'printf("%d\\n", !(z == 0 && uid >= 0 && gid >= 0) && uid >= 0 && gid >= 0);',
        'printf("%d\\n", (z == 0 && tid > 0 && cpu >= 0) + (tid > 0 && cpu >= 0));',
    ) == ["2", "2", "1", "1"]
