"""Whoever listens hears what is said within, and nobody else."""

from __future__ import annotations

from rfprune.core.progress import say, saying


def test_the_innermost_listener_hears() -> None:
    outer: list[str] = []
    inner: list[str] = []
    say("to nobody")
    with saying(outer.append):
        say("one")
        with saying(inner.append):
            say("two")
        say("three")
    say("to nobody")
    assert (outer, inner) == (["one", "three"], ["two"])
