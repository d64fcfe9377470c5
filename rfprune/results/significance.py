"""Groups of trials beside each other: is one better, how sure is that, and what could be seen.

The values are those of finished trials, so that a study is an ordinary sweep: seeds and methods are
searched as a grid, and what is asked about them is asked afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.core.registry import nearest
from rfprune.errors import RunsError, SpecError, UnknownNameError
from rfprune.results.folders import folder_of
from rfprune.results.points import Candidate, SweepView, TrialView, losses, read_sweep
from rfprune.results.statistics import Contrast, Variance, analysis_of_variance, contrast, holm
from rfprune.spec import Condition, parse_condition

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Difference", "TrialComparison", "compare_trials"]

#: Parts of the smaller group that must have a partner, or trials are not taken as pairs.
_PAIRED_PART = 0.5
Key = tuple[Any, ...]
#: By group: what a trial is paired by, and its value.
Groups = Mapping[str, Sequence[tuple[Key, float]]]


@dataclass(frozen=True)
class Difference:
    """One group of trials less another.

    Attributes:
        first: name of a group.
        second: name of the other one.
        found: what the test says.
        p_holm: its p-value, corrected for the number of comparisons (Holm).
    """

    first: str
    second: str
    found: Contrast
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class TrialComparison:
    """Groups of trials beside each other.

    Example::

        found = rfprune.compare_trials("runs/mine", "runs/other", metric="val_accuracy")
        found.table[["mean", "low", "high", "p_holm"]]

    Attributes:
        metric: what is compared.
        direction: ``"max"`` or ``"min"``.
        by: the searched key whose values are the groups; None = the sweeps are.
        paired_by: searched keys by which trials of two groups are pairs; empty = they are not.
        groups: (N,) values of the trials of each group, in the metric's unit.
        differences: in the order of the groups.
        variance: over all groups, if there are more than two.
        notes: what was left out.
    """

    metric: str
    direction: str
    by: str | None
    paired_by: tuple[str, ...]
    groups: Mapping[str, FloatArray]
    differences: tuple[Difference, ...]
    variance: Variance | None
    notes: tuple[str, ...]

    @property
    def table(self) -> DataFrame:
        """The differences as a pandas table, one row each."""
        from pandas import DataFrame

        rows = []
        for each in self.differences:
            values = dict(vars(each.found))
            n, m = values.pop("n")
            row = {"first": each.first, "second": each.second, "n": n, "n_second": m, **values}
            rows.append(row | {"p_holm": each.p_holm, "significant": each.significant})
        return DataFrame(rows)


def compare_trials(
    *sweeps: Any,
    metric: str,
    by: str | None = None,
    against: str | None = None,
    where: Sequence[str] | str = (),
    paired: bool | None = None,
) -> TrialComparison:
    """Return how groups of trials differ in a metric, with tests, effect sizes and power.

    A trial stands for its accepted, pruned step of the best validation score that meets `where`;
    without `where`, for its last one. So nothing is chosen by test rows, whatever `metric` is.
    Example::

        found = rfprune.compare_trials("runs/mine", "runs/other", metric="val_accuracy")
        found.table[["first", "second", "p_holm"]]

    Args:
        sweeps: folders of runs (paths), `SweepFolder`, or what ``rfprune.sweep`` and
            ``rfprune.open`` return.
        metric: a quantity, e.g. ``accuracy``.
        by: a searched key, e.g. ``prune.method``, whose values are the groups; None = every sweep
            is one.
        against: the group that all others are compared with; None = all pairs.
        where: conditions such as ``dsp<=60``.
        paired: whether trials of two groups that agree in every other searched key are pairs;
            None = where at least half of a group has a partner.

    Raises:
        RunsError: fewer than two groups of two trials, or pairs are asked for and there are none.
        UnknownNameError: no such quantity, key or group.
        SpecError: a condition that cannot be read.
    """
    views = [_view(sweep) for sweep in sweeps]
    known = {name: q for view in views for name, q in view.quantities.items()}
    if metric not in known:
        raise UnknownNameError(
            f"unknown quantity '{metric}'.{nearest(metric, known)} Known: {', '.join(known)}."
        )
    values, notes = _values(views, metric, by, _conditions(where, known))
    groups = _large_enough(values, metric, against)
    notes += [f"{name}: left out, {len(v)} trial." for name, v in values.items() if len(v) < 2]
    pairs = [pair for pair in combinations(groups, 2) if against is None or against in pair]
    # The others less what they are compared with.
    pairs = [(b, a) if a == against else (a, b) for a, b in pairs]
    aligned = _are_pairs(groups, pairs, paired)
    found = [contrast(*_aligned(groups, a, b, aligned), paired=aligned) for a, b in pairs]
    corrected = holm([each.p for each in found])
    return TrialComparison(
        metric=metric,
        direction=known[metric].direction or "max",
        by=by,
        paired_by=_pairing_keys(views, by) if aligned else (),
        groups={name: np.array([v for _, v in rows]) for name, rows in groups.items()},
        differences=tuple(
            Difference(*pair, each, p)
            for pair, each, p in zip(pairs, found, corrected, strict=True)
        ),
        variance=_variance(groups, aligned) if len(groups) > 2 else None,
        notes=tuple(notes),
    )


def _conditions(where: Sequence[str] | str, known: Mapping[str, Any]) -> list[Condition]:
    texts = [where] if isinstance(where, str) else where
    try:
        return [parse_condition(text, known) for text in texts]
    except ValueError as error:
        raise SpecError(f"where: {error}.") from None


def _large_enough(values: Groups, metric: str, against: str | None) -> Groups:
    """Return the groups of at least two trials, of which there have to be two."""
    groups = {name: found for name, found in values.items() if len(found) >= 2}
    if len(groups) < 2:
        there = ", ".join(f"{name} ({len(found)})" for name, found in values.items()) or "none"
        raise RunsError(
            f"compare: needs two groups of at least two trials with a known '{metric}'. "
            f"There are: {there}."
        )
    if against is not None and against not in groups:
        raise UnknownNameError(
            f"compare: no group '{against}'.{nearest(against, groups)} Known: {', '.join(groups)}."
        )
    return groups


def _view(sweep: Any) -> SweepView:
    return read_sweep(folder_of(sweep))


def _pairing_keys(views: Sequence[SweepView], by: str | None) -> tuple[str, ...]:
    """Return the searched keys, but for `by`, that every finished trial has a value of."""
    trials = [trial for view in views for trial in view.trials if trial.state == "complete"]
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return tuple(
        name
        for name in names
        if name != by and all(trial.params.get(name) is not None for trial in trials)
    )


def _values(
    views: Sequence[SweepView], metric: str, by: str | None, conditions: Sequence[Condition]
) -> tuple[dict[str, list[tuple[Key, float]]], list[str]]:
    """Return key and value of every finished trial, by group, and what was left out."""
    keys, labels = _pairing_keys(views, by), _labels(views)
    searched = {name for view in views for trial in view.trials for name in trial.params}
    if by is not None and by not in searched:
        raise UnknownNameError(
            f"compare: '{by}' was not searched.{nearest(by, searched)} "
            f"Searched: {', '.join(sorted(searched)) or 'nothing'}."
        )
    groups: dict[str, list[tuple[Key, float]]] = {}
    unfinished = without = 0
    for view, label in zip(views, labels, strict=True):
        for trial in view.trials:
            if trial.state != "complete":
                unfinished += 1
                continue
            chosen = _representative(view, trial, conditions)
            value = None if chosen is None else chosen.metrics.get(metric)
            if value is None:
                without += 1
                continue
            name = label if by is None else str(trial.params.get(by))
            key = tuple(trial.params[k] for k in keys)
            # Where the groups are keys of the file, trials of two sweeps are no pairs.
            groups.setdefault(name, []).append((key if by is None else (label, *key), value))
    left = ((unfinished, "not finished"), (without, "without a value that meets the conditions"))
    return groups, [f"{n} trials left out: {why}." for n, why in left if n]


def _labels(views: Sequence[SweepView]) -> list[str]:
    names = [view.folder.path.name for view in views]
    paths = [str(view.folder.path) for view in views]
    return [p if names.count(n) > 1 else n for n, p in zip(names, paths, strict=True)]


def _representative(
    view: SweepView, trial: TrialView, conditions: Sequence[Condition]
) -> Candidate | None:
    """Return the step that a trial stands for; see `compare_trials`."""
    met = [
        candidate
        for candidate in trial.candidates
        if candidate.feasible
        and all(c.holds(candidate.metrics.get(view.selecting(c.name))) for c in conditions)
    ]
    # A trial that prunes nothing is its dense network.
    met = [candidate for candidate in met if not candidate.dense] or met
    if not met:
        return None
    if not conditions:
        return max(met, key=lambda candidate: candidate.step)
    way = view.quantities[view.score].direction or "max"
    scores = losses([candidate.metrics for candidate in met], {view.score: way})[:, 0]
    return met[int(np.argmin(scores))]


def _are_pairs(
    groups: Groups,
    pairs: Sequence[tuple[str, str]],
    wanted: bool | None,
) -> bool:
    """Return whether trials of every two groups are pairs.

    Raises:
        RunsError: they have to be, and are not.
    """
    if wanted is False:
        return False
    counts = {name: len({key for key, _ in rows}) for name, rows in groups.items()}
    unique = all(counts[name] == len(rows) for name, rows in groups.items())
    shared = {pair: len(_shared(groups, *pair)) for pair in pairs}
    enough = all(
        n >= 2 and n >= _PAIRED_PART * min(counts[a], counts[b]) for (a, b), n in shared.items()
    )
    if wanted and not (unique and min(shared.values()) >= 2):
        raise RunsError(
            "compare: trials are not pairs: in every two groups at least two trials have to agree "
            "in all other searched keys, such as seed, and each of them once."
        )
    return unique and (enough or wanted is True)


def _shared(groups: Groups, a: str, b: str) -> list[Key]:
    theirs = dict(groups[b])
    return [key for key, _ in groups[a] if key in theirs]


def _aligned(groups: Groups, a: str, b: str, paired: bool) -> tuple[FloatArray, FloatArray]:
    if not paired:
        first, second = (np.array([value for _, value in groups[name]]) for name in (a, b))
        return first, second
    keys, ours, theirs = _shared(groups, a, b), dict(groups[a]), dict(groups[b])
    return np.array([ours[key] for key in keys]), np.array([theirs[key] for key in keys])


def _variance(groups: Groups, paired: bool) -> Variance | None:
    """Return the analysis of variance; of pairs, over the blocks that all groups have."""
    if not paired:
        return analysis_of_variance({n: [v for _, v in rows] for n, rows in groups.items()})
    known = [dict(rows) for rows in groups.values()]
    blocks = [key for key in known[0] if all(key in other for other in known)]
    if len(blocks) < 2:
        return None
    values = {n: [rows[k] for k in blocks] for n, rows in zip(groups, known, strict=True)}
    return analysis_of_variance(values, paired=True)
