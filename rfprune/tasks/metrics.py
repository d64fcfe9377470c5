"""Metrics: numbers that say how good the outputs of a network are, over all rows at once.

A metric is a function ``f(output, target, weight=None, **arguments) -> float`` of numpy arrays and
a row of `METRICS`. `output` is what the task makes of the network's output: logits (N, C) of
classes with targets (N,), probabilities (N,) of label 1, probabilities (N, K) of several labels
with targets (N, K), scores (N,) of an anomaly, or values (N, K).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfprune.core.quantities import Direction

__all__ = ["METRICS", "MetricRow"]

Array = NDArray[Any]
Weights = Array | None


def _mean(values: Array, weight: Weights) -> float:
    return float(np.average(values, weights=weight))


def _labels(output: Array) -> Array:
    """Return (N,) the label that is answered: the largest logit, or the side of one half."""
    return output.argmax(axis=1) if output.ndim == 2 else (output >= 0.5).astype(np.int64)


def _by_label(metric: Callable[..., float]) -> Callable[..., float]:
    """Return the metric that of several labels (N, K) is the mean over the labels."""

    @wraps(metric)
    def of_all(output: Array, target: Array, weight: Weights = None, **arguments: Any) -> float:
        if target.ndim == 1:
            return metric(output, target, weight, **arguments)
        columns = zip(output.T, target.T, strict=True)
        return float(np.mean([metric(o, t, weight, **arguments) for o, t in columns]))

    return of_all


def _probabilities(output: Array) -> Array:
    """Return (N, C) the probability of each class."""
    if output.ndim == 1:
        return np.column_stack([1 - output, output])
    shifted = np.exp(output - output.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def accuracy(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the fraction of rows that get their label; of several, all of their labels."""
    if target.ndim == 2:
        return _mean(((output >= 0.5) == target).all(axis=1), weight)
    return _mean(_labels(output) == target, weight)


@_by_label
def balanced_accuracy(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the mean over the classes that occur of the fraction of their rows that get it."""
    right = (_labels(output) == target).astype(float)
    weight = np.ones(len(target)) if weight is None else weight
    # Classes without rows are left out below: their share of right answers is not defined.
    total = np.bincount(target, weights=weight)
    hits = np.bincount(target, weights=weight * right, minlength=len(total))
    return float((hits[total > 0] / total[total > 0]).mean())


def top_k(output: Array, target: Array, weight: Weights = None, *, k: int = 2) -> float:
    """Return the fraction of rows whose label is among the k largest logits."""
    own = output[np.arange(len(target)), target]
    # Equal logits count as larger, so that a constant network gets no credit for ties.
    ahead = (output >= own[:, None]).sum(axis=1)
    return _mean(ahead <= k, weight)


@_by_label
def auc(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the area under the ROC curve; of several classes the mean of each against the rest."""
    if output.ndim == 1:
        return _area(output, target == 1, weight)
    parts = [_area(p, target == c, weight) for c, p in enumerate(_probabilities(output).T)]
    return float(np.mean(parts))


def _area(score: Array, positive: Array, weight: Weights) -> float:
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=float)
    values, place = np.unique(score, return_inverse=True)
    ups = np.bincount(place, weights=weight * positive, minlength=len(values))
    downs = np.bincount(place, weights=weight * ~positive, minlength=len(values))
    below = np.cumsum(downs) - downs
    whole = ups.sum() * downs.sum()
    # A tie of a positive and a negative row counts half.
    return float((ups * (below + downs / 2)).sum() / whole) if whole > 0 else float("nan")


@_by_label
def tpr(output: Array, target: Array, weight: Weights = None, *, fpr: float) -> float:
    """Return the largest true-positive rate of a threshold whose false-positive rate is <= fpr."""
    positive = target == 1
    weight = np.ones(len(target)) if weight is None else np.asarray(weight, dtype=float)
    order = np.argsort(-output, kind="stable")
    last_of_ties = np.append(np.diff(output[order]) != 0, True)
    up = np.cumsum((weight * positive)[order])
    down = np.cumsum((weight * ~positive)[order])
    if up[-1] <= 0 or down[-1] <= 0:
        return float("nan")
    # A threshold cannot lie between equal scores. The tolerance is for rounding in the product.
    allowed = last_of_ties & (down <= fpr * down[-1] * (1 + 1e-12))
    return float(up[allowed].max(initial=0.0) / up[-1])


@_by_label
def log_loss(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the mean negative logarithm of the probability that the right label is given."""
    if output.ndim == 2:
        shifted = output - output.max(axis=1, keepdims=True)
        norm = np.log(np.exp(shifted).sum(axis=1))
        return _mean(norm - shifted[np.arange(len(target)), target], weight)
    given = _probabilities(output)[np.arange(len(target)), target]
    # As scikit-learn: the smallest step of the type keeps a certain wrong answer finite.
    return _mean(-np.log(np.clip(given, np.finfo(output.dtype).eps, 1.0)), weight)


def rmse(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the root of the mean squared residual, over all outputs together."""
    return math.sqrt(_mean(((output - target) ** 2).mean(axis=1), weight))


def mae(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the mean absolute residual, over all outputs together."""
    return _mean(np.abs(output - target).mean(axis=1), weight)


def r2(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the coefficient of determination, the mean of those of the outputs."""
    mean = np.average(target, axis=0, weights=weight)
    left = np.average((target - output) ** 2, axis=0, weights=weight)
    spread = np.average((target - mean) ** 2, axis=0, weights=weight)
    # A constant target: 1 if it is met exactly and 0 otherwise, as in scikit-learn.
    constant = np.where(left == 0, 1.0, 0.0)
    return float(np.where(spread > 0, 1 - left / np.where(spread > 0, spread, 1), constant).mean())


def _quantiles(values: Array, weight: Weights, at: tuple[float, ...]) -> Array:
    if weight is None:
        return np.asarray(np.quantile(values, at))
    # Rows of weight 0 are no rows; they must not be the ends of the scale.
    values, weight = values[weight > 0], weight[weight > 0]
    order = np.argsort(values)
    # The middle of each row's own weight, from 0 for the first row to 1 for the last: for equal
    # weights the positions of numpy's (unweighted) linear quantile.
    middle = np.cumsum(weight[order]) - weight[order] / 2
    share = (middle - middle[0]) / max(middle[-1] - middle[0], np.finfo(float).tiny)
    return np.interp(at, share, values[order])


def resolution(output: Array, target: Array, weight: Weights = None) -> float:
    """Return half the width of the central 68 % of the residuals, the mean over the outputs."""
    residual = output - target
    ends = [_quantiles(column, weight, (0.16, 0.84)) for column in residual.T]
    return float(np.mean([(high - low) / 2 for low, high in ends]))


def bias(output: Array, target: Array, weight: Weights = None) -> float:
    """Return the absolute value of the mean residual, the mean over the outputs."""
    return float(np.abs(np.average(output - target, axis=0, weights=weight)).mean())


class MetricRow(NamedTuple):
    """One metric.

    Attributes:
        function: see the module's docstring.
        direction: which way it is better.
        label: in words.
        fraction: whether it lies between 0 and 1.
        needs_both: whether it is defined only where rows of both labels, 0 and 1, occur.
    """

    function: Callable[..., float]
    direction: Direction
    label: str
    fraction: bool = False
    needs_both: bool = False


#: A new metric is a function above and its row here; tasks name those that they can take.
METRICS: dict[str, MetricRow] = {
    "accuracy": MetricRow(accuracy, "max", "accuracy", True),
    "balanced_accuracy": MetricRow(balanced_accuracy, "max", "balanced accuracy", True),
    "top_k": MetricRow(top_k, "max", "accuracy among the k best", True),
    "auc": MetricRow(auc, "max", "area under the ROC curve", True, needs_both=True),
    "tpr": MetricRow(tpr, "max", "true-positive rate", True, needs_both=True),
    "log_loss": MetricRow(log_loss, "min", "log loss"),
    "rmse": MetricRow(rmse, "min", "root mean squared error"),
    "mae": MetricRow(mae, "min", "mean absolute error"),
    "r2": MetricRow(r2, "max", "R²"),
    "resolution": MetricRow(resolution, "min", "resolution (half width of 68 %)"),
    "bias": MetricRow(bias, "min", "bias (absolute mean residual)"),
}
