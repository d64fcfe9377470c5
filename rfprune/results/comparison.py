"""Sweeps side by side: their fronts in one table, hypervolumes with a common reference point.

Knows run folders only, so that sweeps of other parts, samplers and versions can be compared as long
as they have an objective in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.core.files import write_atomic
from rfprune.core.notebooks import for_notebooks
from rfprune.core.quantities import Quantity
from rfprune.errors import RunsError
from rfprune.results.dominance import pareto_mask
from rfprune.results.folders import folder_of
from rfprune.results.front import Front, read_front
from rfprune.results.hypervolume import hypervolume, point_behind
from rfprune.results.points import Candidate, losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ComparedPoint", "ComparedSweep", "SweepComparison", "compare"]


@dataclass(frozen=True)
class ComparedPoint:
    """A point of the front of one sweep.

    Attributes:
        sweep: place of the sweep among those compared.
        point: of its front.
        on_common_front: whether no point of any sweep beats it.
    """

    sweep: int
    point: Candidate
    on_common_front: bool


@dataclass(frozen=True)
class ComparedSweep:
    """One of the sweeps.

    Attributes:
        label: its name, with the folder where two have the same.
        front: as ``rfprune pareto`` shows it.
        hypervolume: with the common reference point, of its feasible steps.
        alone: the part of the common hypervolume that only this sweep dominates.
        points: how many points of its front are on the common one.
    """

    label: str
    front: Front
    hypervolume: float
    alone: float
    points: int


@dataclass(frozen=True)
class SweepComparison:
    """Sweeps beside each other.

    Example::

        found = rfprune.compare("runs/mine", "runs/other")
        [(point.trial, point.step) for point in found.missing(here=1, there=0)]
        found.plot().savefig("fronts.png")
        found.html("compared.html")

    Attributes:
        objectives: ``"max"`` or ``"min"`` by quantity: what all sweeps search for.
        others: objectives that some sweep has and not all; they are not compared.
        reference_point: the worst of the sweeps' own, by objective.
        hypervolume: of all sweeps together, in the product of the objectives' units.
        sweeps: in the order they were given.
        points: of all fronts, best first objective first; equal points by the order of the sweeps.
        quantities: by name, of every sweep.
    """

    objectives: Mapping[str, str]
    others: tuple[str, ...]
    reference_point: Mapping[str, float]
    hypervolume: float
    sweeps: tuple[ComparedSweep, ...]
    points: tuple[ComparedPoint, ...]
    quantities: Mapping[str, Quantity]

    def missing(self, here: int, there: int) -> tuple[Candidate, ...]:
        """Return the front points of sweep `here` that sweep `there` neither beats nor equals.

        Args:
            here: number of a sweep, in the order they were given, from 0.
            there: number of another one.
        """
        theirs = self._values([c.point for c in self.points if c.sweep == there])
        ours = [c.point for c in self.points if c.sweep == here]
        covered = [(theirs <= row).all(axis=1).any() for row in self._values(ours)]
        return tuple(p for p, beaten in zip(ours, covered, strict=True) if not beaten)

    def plot(self) -> Figure:
        """Return the fronts as a matplotlib figure; what another sweep beats is pale."""
        # What draws and writes reads this class.
        from rfprune.results.comparison_text import comparison_figure

        return for_notebooks(comparison_figure(self))

    def html(self, path: str | Path) -> Path:
        """Write picture and tables as a page that works offline, to `path`; return it.

        Raises:
            WorkError: the file cannot be written.
        """
        from rfprune.results.comparison_text import comparison_html

        write_atomic(Path(path), comparison_html(self))
        return Path(path)

    def _values(self, points: Sequence[Candidate]) -> FloatArray:
        return losses([point.metrics for point in points], self.objectives)


def compare(*sweeps: Any) -> SweepComparison:
    """Return sweeps beside each other.

    Example::

        found = rfprune.compare("runs/mine", "runs/other")
        [(each.label, each.hypervolume) for each in found.sweeps]

    Args:
        sweeps: two or more: folders of runs (paths), `SweepFolder`, `Front`, or what
            ``rfprune.sweep`` and ``rfprune.open`` return.

    Raises:
        RunsError: fewer than two, one that is not a sweep or has no front, or no common objective.
    """
    if len(sweeps) < 2:
        raise RunsError(f"compare: needs two sweeps or more, not {len(sweeps)}.")
    fronts = [_front(sweep) for sweep in sweeps]
    for front in fronts:
        if not front.points:
            raise RunsError(
                f"{front.view.folder.path}: has no front yet: no pruning step is finished."
            )
    objectives, others = _common(fronts)
    every = [_feasible(front, objectives) for front in fronts]
    reference = _reference(fronts, objectives, np.vstack(every))
    total = hypervolume(np.vstack(every), reference)
    labels = _labels(fronts)
    points = _points(fronts, objectives)
    found = []
    for index, front in enumerate(fronts):
        rest = np.vstack([values for other, values in enumerate(every) if other != index])
        found.append(
            ComparedSweep(
                labels[index],
                front,
                hypervolume(every[index], reference),
                total - hypervolume(rest, reference),
                sum(p.on_common_front for p in points if p.sweep == index),
            )
        )
    signs = np.array([-1.0 if way == "max" else 1.0 for way in objectives.values()])
    named = dict(zip(objectives, (signs * reference).tolist(), strict=True))
    quantities = {name: q for front in fronts for name, q in front.view.quantities.items()}
    return SweepComparison(objectives, others, named, total, tuple(found), points, quantities)


def _front(sweep: Any) -> Front:
    if isinstance(sweep, Front):
        return sweep
    return read_front(folder_of(sweep))


def _common(fronts: Sequence[Front]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the objectives that all have, and those that only some have."""
    first, *rest = (dict(front.view.objectives) for front in fronts)
    common = {name: way for name, way in first.items() if all(o.get(name) == way for o in rest)}
    if not common:
        listed = "; ".join(
            f"{front.view.name}: {', '.join(front.view.objectives)}" for front in fronts
        )
        raise RunsError(f"compare: the sweeps have no objective in common ({listed}).")
    names = dict.fromkeys(name for front in fronts for name in front.view.objectives)
    return common, tuple(name for name in names if name not in common)


def _feasible(front: Front, objectives: Mapping[str, str]) -> FloatArray:
    steps = [c.metrics for c in front.view.candidates if c.feasible]
    values = losses(steps, objectives)
    known: FloatArray = values[np.isfinite(values).all(axis=1)]
    return known


def _reference(
    fronts: Sequence[Front], objectives: Mapping[str, str], values: FloatArray
) -> FloatArray:
    """Return the worst of all reference points (M,), or one behind the worst of the values."""
    own = [f.view.reference_point for f in fronts if f.view.reference_point is not None]
    if len(own) == len(fronts):
        return np.asarray(losses(own, objectives).max(axis=0))
    if not len(values):
        return np.zeros(len(objectives))
    return point_behind(values)


def _labels(fronts: Sequence[Front]) -> list[str]:
    names = [front.view.folder.path.name for front in fronts]
    paths = [str(front.view.folder.path) for front in fronts]
    return [p if names.count(n) > 1 else n for n, p in zip(names, paths, strict=True)]


def _points(fronts: Sequence[Front], objectives: Mapping[str, str]) -> tuple[ComparedPoint, ...]:
    """Return the points of all fronts that are on their own in the common objectives."""
    rows: list[tuple[int, Candidate]] = []
    for index, front in enumerate(fronts):
        own = losses([point.metrics for point in front.points], objectives)
        rows += [(index, front.points[row]) for row in np.flatnonzero(pareto_mask(own))]
    values = losses([point.metrics for _, point in rows], objectives)
    unbeaten = values[pareto_mask(values)]
    # Points that are equal are all on it, whichever sweep found them.
    best: BoolArray = (values[:, None] == unbeaten[None]).all(axis=2).any(axis=1)
    order = np.lexsort((np.array([index for index, _ in rows]), *values.T[::-1]))
    return tuple(ComparedPoint(rows[k][0], rows[k][1], bool(best[k])) for k in order)
