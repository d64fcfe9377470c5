"""A Gaussian process of one quantity, small enough to be fitted anew for each draw.

Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5; the kernel
is Matern 5/2 (equation 4.17) with a length for each column. The variance of the process is the one
of largest likelihood given the rest. Lengths and noise are moved one at a time, a few steps up or
down for each fit, so that they follow the data over the draws at the price of some factorizations.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from rfprune.core.arrays import FloatArray

__all__ = ["GaussianProcess"]

#: A step of a length; the noise, a variance, takes its square.
_STEP = 1.6
#: Most steps of each in one fit.
_PASSES = 4
#: Allowed lengths (columns run from 0 to 1), and noise as a part of the process' variance.
_LENGTHS, _NOISE = (0.1, 20.0), (1e-4, 1.0)


class GaussianProcess:
    """Values over points with `n_columns` coordinates of about 0 to 1."""

    def __init__(self, n_columns: int) -> None:
        self._lengths = np.ones(n_columns)
        self._noise = 0.1

    def fit(self, points: FloatArray, values: FloatArray) -> None:
        """Take the values (N,) at points (N, D) in the place of what was known."""
        self._points, self._mean = points, float(values.mean())
        self._unit = float(values.std()) or 1.0
        self._values: FloatArray = (values - self._mean) / self._unit
        best = self._loss(self._lengths, self._noise)
        for _ in range(_PASSES):
            before, best = best, self._improve(best)
            if best == before:
                break
        self._factor, self._weights, self._variance = self._solve(self._lengths, self._noise)

    def _improve(self, best: float) -> float:
        """Move each length and the noise by a step where that helps; return the loss."""
        for column in range(len(self._lengths) + 1):
            for factor in (_STEP, 1 / _STEP):
                lengths = self._lengths.copy()
                noise = self._noise
                if column < len(lengths):
                    lengths[column] = float(np.clip(lengths[column] * factor, *_LENGTHS))
                else:
                    noise = float(np.clip(noise * factor**2, *_NOISE))
                if (loss := self._loss(lengths, noise)) < best:
                    best, self._noise = loss, noise
                    self._lengths = lengths
                    break
        return best

    def predict(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation (K,), without the noise, at points (K, D)."""
        near = _matern(points, self._points, self._lengths)
        inside = solve_triangular(self._factor, near.T, lower=True, check_finite=False)
        variance = self._variance * np.maximum(1 - (inside**2).sum(axis=0), 0)
        mean: FloatArray = self._mean + self._unit * (near @ self._weights)
        return mean, self._unit * np.sqrt(variance)

    def _solve(self, lengths: FloatArray, noise: float) -> tuple[FloatArray, FloatArray, float]:
        """Return the factor of the covariance, its inverse times the values, and the variance."""
        covariance = _matern(self._points, self._points, lengths)
        covariance.flat[:: len(covariance) + 1] += noise
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        weights: FloatArray = cho_solve((factor, True), self._values, check_finite=False)
        return factor, weights, max(float(self._values @ weights) / len(self._values), 1e-12)

    def _loss(self, lengths: FloatArray, noise: float) -> float:
        """Return the negative logarithm of the likelihood, and of a wide prior on the lengths."""
        factor, _, variance = self._solve(lengths, noise)
        fit = 0.5 * len(self._values) * np.log(variance) + np.log(np.diag(factor)).sum()
        return float(fit + 0.5 * (np.log(lengths) ** 2).sum())


def _matern(a: FloatArray, b: FloatArray, lengths: FloatArray) -> FloatArray:
    """Return the correlations (N, K) of points (N, D) and (K, D)."""
    a, b = a / lengths, b / lengths
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    distance = np.sqrt(5 * np.maximum(square, 0))
    near: FloatArray = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return near
