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


def test_a_rejected_step_is_halved() -> None:
    verdicts = [False, False, True, True, False]
    assert walk("binary", 9, verdicts) == [1.0, 0.5, 0.25, 0.5, 0.75]
    assert walk("constant", 9, [True, False, True, True])[2:] == pytest.approx([1 / 6, 2 / 9])


def test_what_was_rejected_may_be_tried_again() -> None:
    seen = walk("constant", 10, [True, False, True, True])
    assert seen == pytest.approx([0.1, 0.2, 0.15, 0.2])


def test_a_schedule_ends_when_its_steps_get_short() -> None:
    seen = walk("cubic", 100, [True, *[False] * 99])
    assert 1 < len(seen) < 10
    assert all(later > seen[0] for later in seen[1:])


def test_binary_ends_at_once_when_the_budget_holds() -> None:
    assert walk("binary", 9, [True] * 9) == [1.0]


@given(st.sampled_from(["constant", "cubic"]), st.integers(1, 30))
def test_progress_rises_to_one(kind: str, steps: int) -> None:
    seen = walk(kind, steps, [True] * (steps + 5))
    assert len(seen) == steps
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


@given(
    st.sampled_from(["constant", "cubic", "binary"]),
    st.lists(st.booleans(), min_size=1, max_size=60),
)
def test_every_step_goes_beyond_what_was_accepted(kind: str, verdicts: list[bool]) -> None:
    schedule: Schedule = first(kind, 40)
    for accepted in verdicts:
        progress = schedule.progress()
        if progress is None:
            break
        assert schedule.good < progress <= 1.0 + 1e-12
        after = following(schedule, progress, accepted)
        assert after.good == (progress if accepted else schedule.good)
        assert after.step == schedule.step + 1 <= 40
        schedule = after
