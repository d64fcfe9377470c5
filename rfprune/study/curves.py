"""Points that promise the most hypervolume, from the curves of trials and from known costs.

Two things are known of a trial that has not run: what its dense network costs, from shapes alone,
and what part of each cost the trials so far have left at each pruning step. Its scores have to be
guessed, by a Gaussian process over point and step from all accepted steps of all trials, and what
part of its steps will be accepted at all, by another one over points. The point is proposed whose
whole curve is expected to add most to the front.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.results.hypervolume import point_behind
from rfprune.results.points import losses
from rfprune.spec import SweepSpec
from rfprune.study.durations import coordinates
from rfprune.study.gaussian import GaussianProcess
from rfprune.study.parameters import Parameter, Scalar
from rfprune.study.representative import Metrics, Representative
from rfprune.study.space import Space

if TYPE_CHECKING:
    from rfprune.study.known_costs import Costs

__all__ = ["Curves"]

Values = dict[str, Scalar]
Point = tuple[tuple[str, Scalar], ...]

#: Points among which one is chosen.
_CANDIDATES = 128
#: Up to this size all points of a finite space may be candidates; of a larger one some are drawn.
_LISTED = 4096
#: Points for whose hardware no costs are known yet, among the candidates of one draw.
_NEW_COSTS = 6
#: Steps of trials that the process is fitted to.
_ROWS = 200
#: Points by which volumes are measured: of the whole box, and of what the front leaves open of it.
_CLOUD, _OPEN = 8192, 512
#: Least part of a trial's steps that is expected to be accepted.
_LEAST = 0.05
#: How far beyond the best values so far the box goes, as a part of it.
_BEYOND = 0.02
#: Middles of eight parts of the normal distribution that are as likely.
_DRAWS = (-1.53, -0.89, -0.49, -0.16, 0.16, 0.49, 0.89, 1.53)


@dataclass(frozen=True)
class _Trial:
    place: FloatArray
    steps: Sequence[Metrics]
    whole: bool


class Curves:
    """Proposes points of one sweep.

    Args:
        spec: the sweep.
        space: `spec` expanded.
        costs: what dense networks cost.
        representative: knows the front and its reference point.
    """

    def __init__(
        self, spec: SweepSpec, space: Space, costs: Costs, representative: Representative
    ) -> None:
        self._spec = spec
        self._space = space
        self._costs = costs
        self._representative = representative
        self._by_name: dict[int | str, _Trial] = {}
        self._dense: dict[Point, Mapping[str, float | None]] = {}
        # What is not known at the middle of the space is guessed, as scores are.
        middle = self._cost(space.middle())
        named = dict.fromkeys([*spec.objectives, *(c.name for c in spec.conditions)])
        self._known = [name for name in named if middle.get(name) is not None]
        self._scores = [name for name in spec.objectives if name not in self._known]
        size = len(coordinates(space, {})) + 1
        self._processes = [GaussianProcess(size) for _ in self._scores]
        self._shares = GaussianProcess(size - 1)
        self._differ = False
        listed = space.size() or _LISTED + 1
        self._every = list(space.points()) if listed <= _LISTED else None

    @property
    def useful(self) -> bool:
        """Whether there is a cost that is known and a score that is not."""
        known = any(name in self._known for name in self._spec.objectives)
        return known and bool(self._scores)

    def add(
        self,
        name: int | str,
        values: Mapping[str, Scalar],
        steps: Sequence[Metrics],
        whole: bool = True,
    ) -> None:
        """Take in the accepted steps of a trial that has ended, the dense network's first.

        Args:
            name: its run folder, or its origin in another sweep; what was taken in under the same
                one before is replaced.
            values: its point.
            steps: with every measured quantity, and their number as ``step``.
            whole: whether it came to an end of its own, so that what it accepted is all that its
                point can give.
        """
        usable = [step for step in steps if self._representative.usable(step)]
        if usable:
            self._by_name[name] = _Trial(coordinates(self._space, values), usable, whole)

    def refuse(self, values: Mapping[str, Scalar]) -> None:
        """Propose nothing more that costs what a point costs: no pruning can reach its budgets."""
        if not any(p.path.startswith("prune.budget.") for p in self._space.parameters):
            self._dense[self._costs.key(values)] = {}

    def forget_earlier(self) -> None:
        """Forget the trials of other sweeps."""
        self._by_name = {n: trial for n, trial in self._by_name.items() if isinstance(n, int)}

    @property
    def _trials(self) -> list[_Trial]:
        return list(self._by_name.values())

    def propose(
        self, taken: Collection[Point], running: Sequence[Values], seed: int
    ) -> Values | None:
        """Return the most promising point; None if none is left whose costs are known.

        Before the first trial has ended, it is the one whose dense network costs least.

        Args:
            taken: points that are not proposed, sorted by path.
            running: points of trials that run: their curves are taken to come as expected.
            seed: of this draw.
        """
        rng = np.random.default_rng(seed)
        candidates = self._candidates(rng, taken)
        if not candidates:
            return None
        if self._by_name:
            self._fit(rng)
        else:
            candidates = self._plain(candidates, taken)
            self._assume()
        front = self._representative.front
        if others := [values for values in running if self._priced(values)]:
            curves, _, allowed = self._predict(others)
            front = np.vstack([front, curves[allowed]])
        expected, spread, allowed = self._predict(candidates)
        open_ = self._open(rng, front, expected)
        gains = np.zeros(len(candidates))
        for draw in range(len(_DRAWS)):
            moved = expected + spread * np.roll(_DRAWS, draw)[: spread.shape[-1]]
            covered = np.ones((*moved.shape[:2], len(open_)), dtype=bool)
            for objective in range(moved.shape[-1]):
                covered &= moved[:, :, objective, None] <= open_[:, objective]
            gains += (covered & allowed[:, :, None]).any(axis=1).sum(axis=1)
        gains *= self._accepted(candidates)
        # Among equals any, and not the first of the space.
        return candidates[int(np.argmax(gains + 1e-3 * rng.random(len(gains))))]

    def _plain(self, candidates: Sequence[Values], taken: Collection[Point]) -> list[Values]:
        """Return points with everything in the middle that costs do not depend on, if some are."""
        middle = self._space.middle()
        found = []
        for values in candidates:
            deciding = dict(self._costs.key(values))
            plain = {p: v if p in deciding else middle.get(p, v) for p, v in values.items()}
            if tuple(sorted(plain.items())) not in taken:
                found.append(plain)
        return found or list(candidates)

    def _assume(self) -> None:
        """Take the scores of all points to be the same, and dense networks for what is pruned."""
        self._last, self._left = 0, {name: np.ones(1) for name in self._known}

    def _candidates(self, rng: np.random.Generator, taken: Collection[Point]) -> list[Values]:
        """Return points that are not `taken` and whose costs are known, a few of them from now."""

        def at_random(parameter: Parameter) -> Scalar:
            return parameter.at(float(rng.random()))

        drawn = (
            (self._every[i] for i in rng.permutation(len(self._every)))
            if self._every is not None
            else (self._space.point(at_random) for _ in range(2 * _CANDIDATES))
        )
        found: list[Values] = []
        left = _NEW_COSTS
        for values in drawn:
            if tuple(sorted(values.items())) in taken:
                continue
            if self._costs.key(values) not in self._dense:
                if not left:
                    continue
                left -= 1
            if self._priced(values):
                found.append(values)
            if len(found) == _CANDIDATES:
                break
        return found

    def _priced(self, values: Mapping[str, Scalar]) -> bool:
        cost = self._cost(values)
        return all(cost.get(name) is not None for name in self._known)

    def _cost(self, values: Mapping[str, Scalar]) -> Mapping[str, float | None]:
        key = self._costs.key(values)
        if key not in self._dense:
            self._dense[key] = self._costs.of(values)
        return self._dense[key]

    def _fit(self, rng: np.random.Generator) -> None:
        """Fit the processes to the steps so far, and take what the steps leave of the costs."""
        numbers = [[int(s["step"] or 0) for s in trial.steps] for trial in self._trials]
        self._last = max(1, *(max(n) for n in numbers))
        rows = np.vstack(
            [
                np.append(trial.place, number / self._last)
                for trial, of_trial in zip(self._trials, numbers, strict=True)
                for number in of_trial
            ]
        )
        kept = np.sort(rng.permutation(len(rows))[:_ROWS])
        steps = [step for trial in self._trials for step in trial.steps]
        for name, process in zip(self._scores, self._processes, strict=True):
            way = {name: self._spec.objectives[name]}
            process.fit(rows[kept], losses(steps, way)[kept, 0])
        self._left = {name: self._parts(name, numbers) for name in self._known}
        whole = [trial.whole for trial in self._trials]
        shares = (
            np.array([sum(n > 0 for n in of_trial) for of_trial in numbers])[whole] / self._last
        )
        # Where all are alike nothing is to be learnt.
        self._differ = len(shares) > 1 and bool(np.ptp(shares) > 0)
        if self._differ:
            places = np.array([trial.place for trial in self._trials])
            self._shares.fit(places[whole], shares)

    def _accepted(self, points: Sequence[Values]) -> FloatArray:
        """Return what part of the steps of some points will be accepted, (K,)."""
        if not self._differ:
            return np.ones(len(points))
        places = np.array([coordinates(self._space, values) for values in points])
        return np.clip(self._shares.predict(places)[0], _LEAST, 1.0)

    def _parts(self, name: str, numbers: Sequence[Sequence[int]]) -> FloatArray:
        """Return what part of a dense cost each step leaves, the mean over the trials, (steps,)."""
        found: list[list[float]] = [[] for _ in range(self._last + 1)]
        for trial, of_trial in zip(self._trials, numbers, strict=True):
            dense = trial.steps[0].get(name) or 0.0
            for step, number in zip(trial.steps, of_trial, strict=True):
                if dense > 0 and of_trial[0] == 0:
                    found[number].append((step.get(name) or 0.0) / dense)
        parts = [1.0]
        for of_step in found[1:]:
            # A step that no trial has passed leaves what the one before it does.
            parts.append(float(np.mean(of_step)) if of_step else parts[-1])
        return np.array(parts)

    def _predict(self, points: Sequence[Values]) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return what is expected of the steps of some points.

        Returns:
            Losses (K, steps, M); the standard deviation of those that are scores, 0 of the others;
            and (K, steps) which steps meet the constraints, as far as they are on what is known.
        """
        steps = np.arange(self._last + 1) / max(1, self._last)
        shape = (len(points), len(steps))
        places = np.repeat([coordinates(self._space, values) for values in points], len(steps), 0)
        rows = np.column_stack([places, np.tile(steps, len(points))])
        named: dict[str, FloatArray] = {}
        for name in self._known:
            dense = np.array([self._cost(values).get(name) or 0.0 for values in points])
            named[name] = dense[:, None] * self._left[name]
        spread = np.zeros((*shape, len(self._spec.objectives)))
        for name, process in zip(self._scores, self._processes, strict=True):
            column = list(self._spec.objectives).index(name)
            mean, deviation = self._guess(process, column, rows)
            sign = -1.0 if self._spec.objectives[name] == "max" else 1.0
            named[name] = sign * mean.reshape(shape)
            spread[:, :, column] = deviation.reshape(shape)
        expected = np.stack(
            [-named[n] if w == "max" else named[n] for n, w in self._spec.objectives.items()], -1
        )
        allowed = np.ones(shape, dtype=bool)
        for condition in self._spec.conditions:
            if condition.name in named:
                holds = np.vectorize(condition.holds, otypes=[bool])
                allowed &= holds(named[condition.name])
        return expected, spread, allowed

    def _guess(
        self, process: GaussianProcess, column: int, rows: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the losses (N,) of a score and their deviation; before any trial all are equal."""
        if self._by_name:
            return process.predict(rows)
        reference = self._representative.reference
        # Anything that is better than the reference point.
        equal = 0.0 if reference is None else float(reference[column]) - 1
        return np.full(len(rows), equal), np.zeros(len(rows))

    def _open(
        self, rng: np.random.Generator, front: FloatArray, expected: FloatArray
    ) -> FloatArray:
        """Return points (N, M) that no point of the front dominates, as dense as the volume is."""
        every = np.vstack([front, expected.reshape(-1, expected.shape[-1])])
        reference = self._representative.reference
        if reference is None:
            reference = point_behind(every)
        best = every.min(axis=0)
        best = best - _BEYOND * (reference - best)
        cloud = best + rng.random((_CLOUD, len(reference))) * (reference - best)
        dominated = np.zeros(len(cloud), dtype=bool)
        for point in front:
            dominated |= (point <= cloud).all(axis=1)
        found: FloatArray = cloud[~dominated][:_OPEN]
        return found
