"""Whoever listens hears what is said within, and nobody else."""

from __future__ import annotations

import pytest

from rfprune.core.progress import say, saying


def test_the_innermost_listener_hears() -> None:
    outer: list[str] = []
    inner: list[str] = []
    say("to nobody")
    with saying(outer.append):
        say("one")
        with pytest.raises(ValueError, match="x"), saying(inner.append):
            say("two")
            raise ValueError("x")
        say("three")
    say("to nobody")
    assert (outer, inner) == (["one", "three"], ["two"])
