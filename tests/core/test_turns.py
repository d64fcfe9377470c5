"""Threads that take turns: one at a time, meetings of all, and nobody waits in vain."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rfprune.core.locks import locked
from rfprune.core.turns import Turns, current, waiting


class Served(list[list[Any]]):
    """Keeps the jobs of every meeting."""

    def __call__(self, jobs: Any) -> None:
        self.append(sorted(jobs))


def test_all_meet_each_time_and_one_works_at_a_time() -> None:
    served, at_work, seen = Served(), [], []
    turns = Turns(served)

    def work(name: str, meetings: int) -> None:
        for i in range(meetings):
            at_work.append(name)
            time.sleep(0.002)  # long enough for another thread to come in, if it could
            seen.append(list(at_work))
            at_work.remove(name)
            assert current() is turns
            turns.meet(f"{name}{i}")

    works = [lambda: work("a", 1), lambda: work("b", 3), lambda: work("c", 2)]
    assert turns.run(works) == [None] * 3
    assert [len(names) for names in seen] == [1] * 6
    assert list(served) == [["a0", "b0", "c0"], ["b1", "c1"], ["b2"]]
    assert current() is None


def test_one_that_waits_for_something_outside_holds_up_nobody() -> None:
    served = Served()
    turns, released = Turns(served), threading.Event()

    def waits() -> None:
        with waiting():
            assert released.wait(20)
        turns.meet("late")

    def meets() -> None:
        turns.meet("early")
        released.set()
        turns.meet("again")

    assert turns.run([waits, meets]) == [None, None]
    assert served[0] == ["early"]
    assert sorted(job for jobs in served[1:] for job in jobs) == ["again", "late"]


def test_a_lock_that_another_holds_at_a_meeting_is_waited_for(tmp_path: Path) -> None:
    """As of dense networks: one trains it and holds its lock, the others wait for it."""
    served = Served()
    turns, held = Turns(served), []

    def work(name: str) -> None:
        with locked(tmp_path / "lock"):
            held.append(name)
            turns.meet(name)

    assert turns.run([lambda: work("a"), lambda: work("b"), lambda: work("c")]) == [None] * 3
    assert [[name] for name in held] == list(served)


def test_what_goes_wrong_in_a_meeting_reaches_all_who_met_and_the_rest_goes_on() -> None:
    def serve(jobs: Any) -> None:
        if "bad" in jobs:
            raise ValueError("bad")

    turns, reached = Turns(serve), []

    def work(job: str) -> None:
        with pytest.raises(ValueError, match="bad"):
            turns.meet(job)
        reached.append(job)

    def ends() -> None:
        raise KeyError("of its own")

    raised = turns.run([lambda: work("bad"), lambda: work("good"), ends])
    assert raised[:2] == [None, None]
    assert isinstance(raised[2], KeyError)
    assert sorted(reached) == ["bad", "good"]


def test_alone_nothing_waits_for_a_turn() -> None:
    with waiting():
        assert current() is None
