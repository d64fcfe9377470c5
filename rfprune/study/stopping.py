"""When a sweep ends before its last trial: nothing gained for a while, or no time left.

Everything but the clock is derived from trials that have ended, so the next driver judges as this
one would have.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.results.hypervolume import GrowingFront
from rfprune.spec import SweepSpec
from rfprune.study.representative import Metrics, Representative

__all__ = ["Stopping", "expected_gain"]

#: So many of the last trials say how long the next one takes.
_RECENT = 10
_HOUR = 3600.0


class Stopping:
    """Takes in the trials of a sweep as they end, and says when to begin no more.

    Args:
        spec: of the sweep.
        usable: what decides which steps count; of the same sweep.
        reference: (M,) losses of the reference point; None where none is fixed, and then nothing
            stagnates.
        clock: seconds, of which only differences matter.
    """

    def __init__(
        self,
        spec: SweepSpec,
        usable: Representative,
        reference: FloatArray | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rule = spec.stop
        # Trials that share their CPUs are busy with them by turns.
        self._cpus = spec.resources.cpus / spec.resources.together
        self._usable = usable
        self._front = None if reference is None else GrowingFront(reference)
        self._clock = clock
        self._began = clock()
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._new: list[FloatArray] = []
        self._volumes: list[float] = []
        self.cpu_seconds = 0.0

    def add(self, steps: Sequence[Metrics], seconds: float) -> None:
        """Take in the accepted steps of a trial that has ended, and how long it took."""
        self.cpu_seconds += seconds * self._cpus
        self._recent.append(seconds)
        if self._front is not None:
            self._new.append(self._usable.losses_of(steps))

    @property
    def volumes(self) -> list[float]:
        """The hypervolume after each trial; worked out when it is asked for."""
        if self._front is not None:
            self._volumes += [self._front.add(values) for values in self._new]
            self._new = []
        return self._volumes

    @property
    def why(self) -> str:
        """Why no further trial should begin; empty while one may."""
        rule = self._rule
        if rule is None:
            return ""
        if rule.hours is not None:
            left = self.seconds_left
            if left <= 0:
                return f"stop.hours: {rule.hours:g} h are over"
            usual = float(np.median(self._recent)) if self._recent else 0.0
            if len(self._recent) == _RECENT:
                # Single points are judged by then; see `Record`.
                usual = min(self._recent)
            if usual > left:
                return f"{self.left}, and a trial takes {usual:.0f} s"
        if rule.cpu_seconds is not None and self.cpu_seconds >= rule.cpu_seconds:
            return (
                f"stop.cpu_seconds: the trials have taken {self.cpu_seconds:.0f} CPU seconds of "
                f"{rule.cpu_seconds:g}"
            )
        return self._stagnation()

    @property
    def seconds_left(self) -> float:
        """Of the hours of this driver; infinite without such a rule."""
        if self._rule is None or self._rule.hours is None:
            return math.inf
        return self._rule.hours * _HOUR - (self._clock() - self._began)

    @property
    def left(self) -> str:
        """The same in words."""
        hours = 0.0 if self._rule is None else self._rule.hours or 0.0
        return f"stop.hours: {self.seconds_left:.0f} s are left of {hours:g} h"

    def _stagnation(self) -> str:
        rule = self._rule
        if rule is None or rule.stagnation is None or len(self.volumes) <= rule.stagnation:
            return ""
        volumes = self._volumes
        before, now = volumes[-1 - rule.stagnation], volumes[-1]
        # Before anything is feasible there is nothing that could grow.
        if before <= 0 or now > before * (1 + rule.growth):
            return ""
        return (
            f"stop.stagnation: the hypervolume has grown by {_percent(now / before - 1)} over the "
            f"last {rule.stagnation} trials"
        )

    def outlook(self, seconds: float, n_trials: int) -> str:
        """Return what one more hour would probably bring, in one sentence; empty if not known.

        Args:
            seconds: that this driver has taken.
            n_trials: that ended in them.
        """
        if n_trials < _RECENT or len(self.volumes) < 2 * _RECENT or self.volumes[-1] <= 0:
            return ""
        more = max(1, round(n_trials * _HOUR / max(seconds, 1e-9)))
        gain = expected_gain(self.volumes, more)
        return (
            f"One more hour (about {more:,} trials) would probably raise the hypervolume by "
            f"{_percent(gain)}."
        )


def _percent(part: float) -> str:
    """Return a part of something as a percentage that does not pretend to be exact."""
    return "less than 0.01 %" if 0 < part < 1e-4 else f"{100 * part:.2g} %"


def expected_gain(volumes: Sequence[float], more: int) -> float:
    """Return by which part a hypervolume will probably grow with `more` further trials.

    Each doubling of the number of trials brings about half of what the last one did: the volume
    approaches its end as ``1 / trials`` (docs/results/search_memory.md).

    Args:
        volumes: after each trial so far.
        more: further trials.
    """
    n = len(volumes)
    last_doubling = volumes[-1] - volumes[n // 2 - 1]
    return last_doubling * more / (n + more) / volumes[-1]
