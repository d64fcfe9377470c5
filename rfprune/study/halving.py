"""Early ends by comparison: successive halving on non-domination rank, at equal pruning steps.

Asynchronous, as in ASHA (Li et al. 2020, "A system for massively parallel hyperparameter tuning"):
a trial is judged when it reaches a rung, among those that have been there. The single metric of
ASHA is replaced by the rank of non-dominated sorting (Deb et al. 2002) over all objectives.
Everything is derived from accepted steps, so the next driver judges as this one would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.results.dominance import pareto_mask
from rfprune.results.points import losses
from rfprune.spec import EarlyStopSpec

__all__ = ["Halving"]


class Halving:
    """The rungs of one sweep: at some steps, the objectives of all trials that got there.

    Args:
        spec: how sharp the rule is.
        objectives: ``"max"`` or ``"min"`` by quantity.
    """

    def __init__(self, spec: EarlyStopSpec, objectives: Mapping[str, str]) -> None:
        self._spec = spec
        self._objectives = objectives
        self._rungs: dict[int, dict[int, FloatArray]] = {}

    def add(self, trial: int, step: int, metrics: Mapping[str, float | None]) -> None:
        """Take in an accepted step; one that is not on a rung or lacks an objective is ignored."""
        if self._is_rung(step):
            # All objectives become losses, so that smaller is better in every column.
            values = losses([metrics], self._objectives)[0]
            if np.isfinite(values).all():
                self._rungs.setdefault(step, {})[trial] = values

    def verdict(self, trial: int, step: int) -> str:
        """Return why `trial` need not go on after `step`, or nothing.

        It ends if it is not among the best ``1 / factor`` of its rung by rank, and another trial is
        better in every objective by more than ``margin`` times the objective's range on the rung.
        """
        rung = self._rungs.get(step, {})
        # With fewer than two trials per survivor the ranks are mostly luck.
        if trial not in rung or len(rung) < 2 * self._spec.factor:
            return ""
        values, own = np.array(list(rung.values())), rung[trial]
        ranks = _ranks(values)
        ahead = int((ranks < ranks[list(rung).index(trial)]).sum())
        if ahead < math.ceil(len(rung) / self._spec.factor):
            return ""
        lead = own - self._spec.margin * (values.max(axis=0) - values.min(axis=0))
        # The second part keeps a trial from beating itself where the range, and so the lead, is 0.
        beaten_by = (values <= lead).all(axis=1) & (values < own).any(axis=1)
        if not beaten_by.any():
            return ""
        other = list(rung)[int(np.flatnonzero(beaten_by)[0])]
        return (
            f"at step {step} trial {other} is better in every objective, and {ahead} of "
            f"{len(rung)} trials rank ahead of it"
        )

    @property
    def pauses(self) -> bool:
        """Whether trials wait at a rung until they are promoted, instead of being ended there."""
        return self._spec.promote

    def holds(self, trial: int, step: int) -> bool:
        """Return whether `trial` has been at the rung `step`."""
        return trial in self._rungs.get(step, {})

    def advances(self, trial: int, step: int) -> bool:
        """Return whether `trial` is among the best ``1 / factor`` of the rung `step`.

        By rank, and among equals of the last rank that goes on by their distance from those before
        them, so that a front is thinned and not cut off (the epsilon net of MO-ASHA, Schmucker et
        al. 2021, arXiv 2106.12639).
        """
        rung = self._rungs.get(step, {})
        n_best = len(rung) // self._spec.factor
        if trial not in rung or not n_best:
            return False
        values, place = np.array(list(rung.values())), list(rung).index(trial)
        ranks = _ranks(values)
        if (ranks < ranks[place]).sum() >= n_best:
            return False
        span = np.ptp(values, axis=0)
        scaled = values / np.where(span > 0, span, 1.0)
        before = np.flatnonzero(ranks < ranks[place])
        equals = np.flatnonzero(ranks == ranks[place])
        return place in _spread(scaled, before, equals, n_best - len(before))

    def _is_rung(self, step: int) -> bool:
        """Return whether `step` is ``first_step * factor ** k``."""
        rest = step / self._spec.first_step
        while rest > 1:
            rest /= self._spec.factor
        return rest == 1


def _spread(values: FloatArray, before: IntArray, equals: IntArray, n: int) -> list[int]:
    """Return `n` of the rows `equals`, each the farthest from those `before` it and those chosen.

    Without any before it the first one is that of the least first loss.
    """
    chosen: list[int] = []
    known, left = list(before), list(equals)
    while left and len(chosen) < n:
        if known:
            gaps = values[left][:, None, :] - values[known][None, :, :]
            best = int(np.argmax(np.linalg.norm(gaps, axis=2).min(axis=1)))
        else:
            best = int(np.argmin(values[left][:, 0]))
        known.append(left[best])
        chosen.append(left.pop(best))
    return chosen


def _ranks(values: FloatArray) -> IntArray:
    """Return the front that each row of losses (N, M) belongs to; equal rows share theirs."""
    points, member = np.unique(values, axis=0, return_inverse=True)
    ranks = np.full(len(points), -1)
    rank = 0
    while (open_ := np.flatnonzero(ranks < 0)).size:
        ranks[open_[pareto_mask(points[open_])]] = rank
        rank += 1
    found: IntArray = ranks[member.reshape(-1)]
    return found
