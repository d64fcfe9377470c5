"""Which Optuna sampler draws the points, by name or chosen for the sweep.

Samplers are seeded from the sweep's seed and the number of trials in the study, so a continued
sweep does not draw its first points again. With one trial at a time the same seed gives the same
sweep; with several, the points also depend on which trial ends first.
"""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from rfprune.errors import SpecError
from rfprune.search.parameters import Scalar
from rfprune.search.space import Space
from rfprune.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["Choice", "choose_sampler", "derived_seed", "first_points", "make_sampler"]

#: TPE with several objectives sorts all trials by non-domination for each draw (137 ms of CPU at
#: 600 trials); above this number a sampler whose cost does not grow takes over.
_TPE_TRIALS = 400
_STARTUP_TRIALS = 10
_POPULATION = 32


class Choice(NamedTuple):
    """A sampler's name and why it was taken."""

    name: str
    reason: str


def choose_sampler(spec: SweepSpec, space: Space) -> Choice:
    """Return the sampler of `spec`; ``auto`` decides by space, objectives and trials.

    Raises:
        SpecError: ``grid`` over a range without steps.
    """
    name, size = spec.sampler.name, space.size()
    if name == "grid" and size is None:
        endless = next(p for p in space.parameters if p.count is None)
        raise SpecError(
            f"{spec.name}: sampler.name: grid needs a finite space, but {endless.path} "
            f"({endless.text()}) has no step. Give it a step or choices, or take another sampler."
        )
    if name != "auto":
        return Choice(name, "as the sweep file says")
    if size is not None and size <= spec.trials:
        return Choice("grid", f"all {size} points of the space fit into {spec.trials} trials")
    n_objectives = len(spec.objectives)
    if spec.trials <= _TPE_TRIALS:
        kind = "one objective" if n_objectives == 1 else f"{n_objectives} objectives"
        shape = "a conditional space" if space.conditional else "an unconditional space"
        return Choice("tpe", f"{kind}, {shape} and at most {_TPE_TRIALS} trials")
    if n_objectives > 3:
        return Choice("nsga3", f"more than 3 objectives and more than {_TPE_TRIALS} trials")
    return Choice("nsga2", f"more than {_TPE_TRIALS} trials, where the cost of TPE grows")


def first_points(spec: SweepSpec, space: Space, choice: Choice) -> list[dict[str, Scalar]]:
    """Return the points that are tried first: those of the sweep file, then `auto`'s own.

    ``auto`` begins with the ends of what trades accuracy for cost: least and largest reuse factors
    with least and largest budgets, all else in the middle. They span the front; a sampler that has
    to come upon them takes dozens of trials (docs/results/search_quality.md).
    """
    points = [dict(point) for point in space.starts]
    if spec.sampler.name == "auto" and choice.name != "grid":
        for reuse, budget in product((0, -1), repeat=2):
            point = _corner(space, reuse, budget)
            if point not in points and _is_valid(spec, space, point):
                points.append(point)
    return points


def _corner(space: Space, reuse: int, budget: int) -> dict[str, Scalar]:
    point: dict[str, Scalar] = {}
    for parameter in space.parameters:
        if not space.active(parameter, point):
            continue
        if parameter.path.endswith(".reuse_factor"):
            point[parameter.path] = parameter.samples()[reuse]
        elif parameter.path.startswith("prune.budget."):
            point[parameter.path] = parameter.samples()[budget]
        else:
            point[parameter.path] = parameter.middle()
    return point


def _is_valid(spec: SweepSpec, space: Space, point: dict[str, Scalar]) -> bool:
    try:
        space.resolve(spec, point)
    except SpecError:
        return False
    return True


def derived_seed(*numbers: int) -> int:
    """Return a seed that the numbers decide, and that differs where any of them differs."""
    import numpy as np

    state = np.random.SeedSequence([number % 2**64 for number in numbers]).generate_state(1)
    return int(state[0])


def make_sampler(name: str, seed: int, n_trials: int, space: Space) -> BaseSampler:
    """Return the Optuna sampler `name` for a study that holds `n_trials` trials already."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _make(name, seed, derived_seed(seed, n_trials), space)


def _make(name: str, seed: int, fresh: int, space: Space) -> BaseSampler:
    from optuna import samplers

    from rfprune.search.genetic import NSGA2, NSGA3

    if name == "tpe":
        return samplers.TPESampler(
            n_startup_trials=_STARTUP_TRIALS,
            seed=fresh,
            multivariate=True,
            # Grouped: parameters that are always drawn together are modelled together.
            group=space.conditional,
        )
    if name == "nsga2":
        return NSGA2(population_size=_POPULATION, seed=fresh)
    if name == "nsga3":
        return NSGA3(population_size=_POPULATION, seed=fresh)
    if name == "gp":
        return samplers.GPSampler(n_startup_trials=_STARTUP_TRIALS, seed=fresh)
    if name == "qmc":
        # The place in the sequence is kept in the study under this very seed.
        return samplers.QMCSampler(
            seed=derived_seed(seed), scramble=True, warn_independent_sampling=False
        )
    # random; and grid, whose points the driver itself puts into the study, one by one.
    return samplers.RandomSampler(seed=fresh)
