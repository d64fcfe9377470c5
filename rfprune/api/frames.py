"""Points and trials as pandas tables: one row each, one column for each value and quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfprune.results import Candidate, Front

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["points_frame", "trials_frame"]


def points_frame(
    front: Front, points: Sequence[Candidate], run_ids: Mapping[int, str] | None = None
) -> DataFrame:
    """Return points as a table; the names of columns are those of every file of rfprune.

    Columns: ``trial``, ``step``, ``dense``, ``on_front``, ``feasible``, ``fits``, the searched
    paths, every quantity, and ``SCORE_error``, the standard error of the score. What is not known
    is NaN. ``run_id`` is that of MLflow where it is known.
    """
    from pandas import DataFrame

    score = front.view.score
    rows = [
        {
            "trial": point.trial,
            "step": point.step,
            "dense": point.dense,
            "on_front": point in front.points,
            "feasible": point.feasible,
            **({"run_id": run_ids.get(point.trial)} if run_ids else {}),
            **point.params,
            **{name: point.metrics.get(name) for name in front.view.quantities},
            "fits": point.fits,
            f"{score}_error": point.errors.get(score),
        }
        for point in points
    ]
    frame: DataFrame = DataFrame(rows)
    if rows:
        frame = frame.dropna(axis="columns", how="all")
    return frame


def trials_frame(front: Front, run_ids: Mapping[int, str] | None = None) -> DataFrame:
    """Return all trials as a table, each at its last accepted step; see `points_frame`.

    Columns beside those of points: ``state`` and ``steps``, how many were accepted.
    """
    from pandas import DataFrame

    last = {t.number: t.candidates[-1] for t in front.view.trials if t.candidates}
    points = points_frame(front, list(last.values()), run_ids)
    known: dict[int, dict[str, Any]] = {}
    if len(points):
        known = {int(row["trial"]): row for row in points.to_dict("records")}
    on_front = {point.trial for point in front.points}
    rows = [
        {
            "trial": trial.number,
            "state": trial.state,
            "steps": len(trial.candidates),
            **dict(trial.params),
            **{k: v for k, v in known.get(trial.number, {}).items() if k != "trial"},
            "on_front": trial.number in on_front,
        }
        for trial in front.view.trials
    ]
    frame: DataFrame = DataFrame(rows)
    return frame.drop(columns=["dense"], errors="ignore")
