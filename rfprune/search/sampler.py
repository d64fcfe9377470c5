"""Which Optuna sampler draws the points, by name or chosen for the sweep.

Samplers are seeded from the sweep's seed and the number of trials in the study, so a continued
sweep does not draw its first points again. With one trial at a time the same seed gives the same
sweep; with several, the points also depend on which trial ends first.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from rfprune.errors import SpecError
from rfprune.search.space import Space
from rfprune.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["Choice", "choose_sampler", "derived_seed", "make_sampler"]

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

    if name == "tpe":
        options: dict[str, Any] = {"n_startup_trials": _STARTUP_TRIALS, "seed": fresh}
        if space.conditional:
            # Grouped: parameters that are always drawn together are modelled together.
            options.update(multivariate=True, group=True)
        return samplers.TPESampler(**options)
    if name == "nsga2":
        return samplers.NSGAIISampler(population_size=_POPULATION, seed=fresh)
    if name == "nsga3":
        return samplers.NSGAIIISampler(population_size=_POPULATION, seed=fresh)
    if name == "gp":
        return samplers.GPSampler(n_startup_trials=_STARTUP_TRIALS, seed=fresh)
    if name == "qmc":
        # The place in the sequence is kept in the study under this very seed.
        return samplers.QMCSampler(
            seed=derived_seed(seed), scramble=True, warn_independent_sampling=False
        )
    # random; and grid, whose points the driver itself puts into the study, one by one.
    return samplers.RandomSampler(seed=fresh)
