"""Schedules: their formulas, and their ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.pruning.schedule import Schedule, first, following


def walk(kind: str, steps: int, verdicts: list[bool]) -> list[float]:
    """Return the progress of each step when steps are accepted as in `verdicts`."""
    schedule, seen = first(kind, steps), []
    for accepted in verdicts:
        progress = schedule.progress()
        if progress is None:
            break
        seen.append(progress)
        schedule = following(schedule, progress, accepted)
    return seen


def test_constant_and_cubic() -> None:
    assert walk("constant", 4, [True] * 9) == [0.25, 0.5, 0.75, 1.0]
    assert walk("cubic", 4, [True] * 9) == pytest.approx(
        [1 - 0.75**3, 1 - 0.5**3, 1 - 0.25**3, 1.0]
    )


def test_binary_halves_between_good_and_bad() -> None:
    verdicts = [False, False, True, True, False]
    assert walk("binary", 9, verdicts) == [1.0, 0.5, 0.25, 0.375, 0.4375]


def test_binary_ends_at_once_when_the_budget_holds() -> None:
    assert walk("binary", 9, [True] * 9) == [1.0]


@given(st.sampled_from(["constant", "cubic"]), st.integers(1, 30))
def test_progress_rises_to_one(kind: str, steps: int) -> None:
    seen = walk(kind, steps, [True] * (steps + 5))
    assert len(seen) == steps
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_binary_always_ends_between_good_and_bad(verdicts: list[bool]) -> None:
    schedule: Schedule = first("binary", 40)
    for accepted in verdicts:
        progress = schedule.progress()
        if progress is None:
            break
        assert schedule.good <= progress <= min(schedule.bad, 1.0)
        schedule = following(schedule, progress, accepted)
