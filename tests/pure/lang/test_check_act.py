"""Speculations, destructive actions, and what may follow what in a clause (what may not: test_check_errors.py)."""

from __future__ import annotations

import pytest
from fakecatalog import checked

from dsight.errors import CompileError
from dsight.lang import check_act


@pytest.mark.parametrize(
    "text",
    [
        "speculate(1); trace(1);",
        "speculate(1);",
        "commit(1); commit(2); discard(3);",
        "commit(1); exit(0);",
        "trace(1); discard(1);",
        "@ = count(); speculate(1); trace(1);",
        "stop(); speculate(1);",
        "x = speculation(); speculate(x); trace(x);",
    ],
)
def test_actions_that_may(text: str) -> None:
    checked(f"syscall::connect:entry {{ {text} }}")


@pytest.mark.parametrize(
    ("tag", "text", "says"),
    [
        ("D_PROTO_LEN", "speculate();", "speculation id"),
        ("D_PROTO_LEN", "commit(1, 2);", "2 are given"),
        ("D_PROTO_LEN", "stop(1);", "no arguments"),
        ("D_PROTO_LEN", "raise();", "a signal"),
        ("D_PROTO_ARG", "discard(execname);", "integer"),
        ("D_PROTO_ARG", "speculate(int);", "a type"),
        ("D_PROTO_ARG", "raise(0);", "no signal 0"),
        ("D_PROTO_ARG", "raise(65);", "no signal 65"),
        ("D_OP_ACT", "x = commit(1);", "an action"),
        ("D_UNKNOWN", "panic();", "cannot be had on Linux"),
        ("D_UNKNOWN", "breakpoint();", "cannot be had on Linux"),
    ],
)
def test_arguments(tag: str, text: str, says: str) -> None:
    with pytest.raises(CompileError) as caught:
        checked(f"syscall::connect:entry {{ {text} }}")
    assert caught.value.tag == tag
    assert says in caught.value.message


def test_destructive_actions_need_permission() -> None:
    script = checked("syscall::connect:entry { x = 1; if (pid) { stop(); } }")
    check_act.permit(script.clauses, True)
    with pytest.raises(CompileError, match=r"destructive actions not allowed: stop\(\)") as caught:
        check_act.permit(script.clauses, False)
    assert caught.value.tag == ""  # the script is right
    check_act.permit(checked("syscall::connect:entry { x = speculation(); commit(x); }").clauses, False)
