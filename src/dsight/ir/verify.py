"""The IR's rules, checked."""

from __future__ import annotations


class IRError(Exception):
    """The IR is wrong: a bug in dsight, never the user's doing."""
