"""Which Optuna sampler draws the points, by name or chosen for the sweep.

Samplers are seeded from the sweep's seed and the number of trials in the study, so a continued
sweep does not draw its first points again. With one trial at a time the same seed gives the same
sweep; with several, the points also depend on which trial ends first.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rfprune.errors import SpecError
from rfprune.spec import SweepSpec
from rfprune.spec.networks import SEARCHED
from rfprune.spec.sweep import SamplerSpec
from rfprune.study.own_samplers import is_own, make_own
from rfprune.study.parameters import Parameter, Scalar
from rfprune.study.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = [
    "CURVES",
    "SamplerChoice",
    "choose_sampler",
    "derived_seed",
    "first_points",
    "make_sampler",
]

#: Proposes points by itself; see `rfprune.study.curves`.
CURVES = "curves"
#: TPE with several objectives sorts all trials by non-domination for each draw (137 ms of CPU at
#: 600 trials); above this number a sampler whose cost does not grow takes over.
_TPE_TRIALS = 400
_STARTUP_TRIALS = 10
_POPULATION = 32


class SamplerChoice(NamedTuple):
    """A sampler's name and why it was taken."""

    name: str
    reason: str


def choose_sampler(spec: SweepSpec, space: Space) -> SamplerChoice:
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
        return SamplerChoice(name, "as the sweep file says")
    n_objectives = len(spec.objectives)
    scores = sum(name.startswith("val_") for name in spec.objectives)
    # Before the grid: where all points fit, those that promise most come first.
    if _walks(spec, space) and 0 < scores < n_objectives and spec.trials <= _TPE_TRIALS:
        return SamplerChoice(CURVES, "each trial walks its budgets, and costs are known before it")
    if size is not None and size <= spec.trials:
        return SamplerChoice(
            "grid", f"all {size} points of the space fit into {spec.trials} trials"
        )
    if spec.trials <= _TPE_TRIALS:
        kind = "one objective" if n_objectives == 1 else f"{n_objectives} objectives"
        shape = "a conditional space" if space.conditional else "an unconditional space"
        return SamplerChoice("tpe", f"{kind}, {shape} and at most {_TPE_TRIALS} trials")
    if n_objectives > 3:
        return SamplerChoice("nsga3", f"more than 3 objectives and more than {_TPE_TRIALS} trials")
    return SamplerChoice("nsga2", f"more than {_TPE_TRIALS} trials, where the cost of TPE grows")


def _walks(spec: SweepSpec, space: Space) -> bool:
    """Return whether trials walk their budgets, in a space where all paths are always searched."""
    everywhere = not space.conditional and not space.networks
    return bool(spec.prune.walked) and everywhere


def first_points(spec: SweepSpec, space: Space, choice: SamplerChoice) -> list[dict[str, Scalar]]:
    """Return the points that are tried first: those of the sweep file, then `auto`'s own.

    ``auto`` begins with the extremes of what trades accuracy for cost: smallest and largest reuse
    factors with smallest and largest budgets, all else in the middle. They span the front, and a
    sampler needs dozens of trials to find them by itself (docs/results/search_quality.md); curves
    find their first point from the costs.
    """
    points = [dict(point) for point in space.starts]
    if spec.sampler.name == "auto" and choice.name not in ("grid", CURVES):
        # The corners span the front; between them the sampler has something to interpolate.
        networks: list[dict[str, Scalar]] = [{SEARCHED: label} for label in space.networks]
        # Of several networks the two that lie farthest apart: most accurate, and cheapest.
        ends = [(0, -1), (-1, 0)] if networks else list(product((0, -1), repeat=2))
        for chosen, (reuse, budget) in product(networks or [{}], ends):
            point = _corner(space, chosen, reuse, budget)
            # Values that break a rule together are no reason to refuse the sweep: it may never draw
            # them.
            with contextlib.suppress(SpecError):
                space.resolve(spec, point)
                if point not in points:
                    points.append(point)
    return points


def _corner(
    space: Space, chosen: Mapping[str, Scalar], reuse: int, budget: int
) -> dict[str, Scalar]:
    def value(parameter: Parameter) -> Scalar:
        if parameter.path.endswith(".reuse_factor"):
            return parameter.samples()[reuse]
        if parameter.path.startswith("prune.budget."):
            return parameter.samples()[budget]
        return parameter.middle()

    return space.point(value, chosen)


def derived_seed(*numbers: int) -> int:
    """Return a seed that the numbers decide, and that differs where any of them differs."""
    import numpy as np

    state = np.random.SeedSequence([number % 2**64 for number in numbers]).generate_state(1)
    return int(state[0])


def make_sampler(
    name: str, spec: SamplerSpec, n_trials: int, space: Space, base_dir: Path = Path()
) -> BaseSampler:
    """Return a sampler for a study that holds `n_trials` trials already.

    Args:
        name: what was chosen.
        spec: seed, and arguments of a sampler of the user's own.
        n_trials: in the study.
        space: that points are drawn from.
        base_dir: folder of the sweep file, where a sampler of the user's own is looked for.

    Raises:
        SpecError: a sampler of the user's own cannot be found or made.
    """
    from optuna.exceptions import ExperimentalWarning

    seed = spec.seed
    # Another seed for each continuation: with the old one it would draw its first points again.
    fresh = derived_seed(seed, n_trials)
    with warnings.catch_warnings():
        # Multivariate TPE and some other samplers are experimental by Optuna's label.
        warnings.simplefilter("ignore", ExperimentalWarning)
        if is_own(name):
            return make_own(name, spec.args, fresh, base_dir)
        return _make(name, seed, fresh, space)


def _make(name: str, seed: int, fresh: int, space: Space) -> BaseSampler:
    from optuna import samplers

    from rfprune.study.genetic import NSGA2, NSGA3

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
    # random; and grid and curves, whose points the driver itself puts into the study, one by one.
    return samplers.RandomSampler(seed=fresh)
