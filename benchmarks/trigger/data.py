"""Simulated rows for the networks of the trigger: learnable, and no detector's.

Each function takes random numbers and a count, and returns the arrays of a data file.
"""

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]
#: Part of the rows that is kept for testing.
_TESTED = 0.2

__all__ = ["calorimeter", "events", "jets", "muons", "score"]


def _parted(rows: int, **columns: NDArray[np.generic]) -> Arrays:
    """Return each array as two: ``x`` as ``x_train`` and ``x_test``, ``y_pt`` as ``y_train_pt``."""
    cut = round(rows * (1 - _TESTED))
    found: Arrays = {}
    for name, values in columns.items():
        kind, _, rest = name.partition("_")
        tail = f"_{rest}" if rest else ""
        found[f"{kind}_train{tail}"], found[f"{kind}_test{tail}"] = values[:cut], values[cut:]
    return found


def events(rng: np.random.Generator, rows: int) -> Arrays:
    """One event in five is signal: shifted, and correlated in another way."""
    signal = rng.random(rows) < 0.2
    hidden = rng.normal(size=(rows, 5))
    x = hidden @ rng.normal(scale=0.5, size=(5, 20)) + rng.normal(size=(rows, 20))
    x += signal[:, None] * (rng.normal(scale=0.4, size=20) + 0.5 * np.roll(x, 3, axis=1))
    return _parted(rows, x=x.astype(np.float32), y=signal.astype(np.int64))


def jets(rng: np.random.Generator, rows: int) -> Arrays:
    """Eight kinds of jets, whose particles have other means; rare kinds weigh more."""
    kind = rng.integers(0, 8, rows)
    there = np.arange(16) < rng.integers(4, 17, rows)[:, None]
    x = rng.normal(size=(rows, 20, 16)) + rng.normal(scale=0.6, size=(8, 20))[kind][:, :, None]
    x[:, 0] = rng.exponential(1.0, (rows, 16)) * np.exp(rng.normal(scale=0.4, size=(rows, 1)))
    x *= there[:, None, :]
    momentum = x[:, 0].sum(axis=1) * (1 + 0.02 * kind) + rng.normal(scale=0.3, size=rows)
    weight = np.where(kind > 5, 2.0, 1.0)
    return _parted(
        rows,
        x=x.astype(np.float32),
        y_label=kind,
        y_pt=(momentum[:, None] / 10).astype(np.float32),
        w=weight.astype(np.float32),
    )


def muons(rng: np.random.Generator, rows: int) -> Arrays:
    """Curvature and displacement of a track, seen by 29 variables of very unlike size."""
    curvature, displaced = rng.uniform(0.01, 0.5, rows), rng.exponential(0.3, rows)
    seen = np.stack([curvature, displaced, curvature * displaced, curvature**2], axis=1)
    x = seen @ rng.normal(size=(4, 29)) + rng.normal(scale=0.1, size=(rows, 29))
    x *= 2.0 ** rng.integers(-2, 4, 29)
    y = np.stack([-np.log2(curvature), displaced], axis=1)
    return _parted(rows, x=x.astype(np.float32), y=y.astype(np.float32))


def calorimeter(rng: np.random.Generator, rows: int) -> Arrays:
    """Noise in 18 x 14 towers, in one event of eight a cluster; the score of a known formula."""
    grid = rng.exponential(0.3, (rows, 18, 14))
    for row in np.flatnonzero(rng.random(rows) < 0.125):
        i, j = rng.integers(0, 16), rng.integers(0, 12)
        grid[row, i : i + 3, j : j + 3] += rng.exponential(3.0, (3, 3))
    blocks = (grid**2).reshape(rows, 9, 2, 7, 2).sum(axis=(2, 4)).reshape(rows, -1)
    wanted = np.log1p(np.sqrt(blocks).max(axis=1)) + rng.normal(scale=0.05, size=rows)
    x, y = grid[:, None].astype(np.float32), wanted.clip(0)[:, None].astype(np.float32)
    return _parted(rows, x=x, y=y)


def score(rng: np.random.Generator, rows: int) -> Arrays:
    """Ordinary events lie near a surface of four dimensions; unusual ones only outside training."""
    cut = round(rows * (1 - _TESTED))
    unusual = (np.arange(rows) >= cut) & (rng.random(rows) < 0.3)
    surface = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, 57))
    away = 0.2 * rng.normal(size=(rows, 8)) @ rng.normal(size=(8, 57))
    x = np.tanh(surface + unusual[:, None] * away) + rng.normal(scale=0.2, size=(rows, 57))
    found = _parted(rows, x=x.astype(np.float32), y=unusual.astype(np.int64))
    half = (rows - cut) // 2
    for part in ("x", "y"):
        rest = found[f"{part}_test"]
        found[f"{part}_val"], found[f"{part}_test"] = rest[:half], rest[half:]
    return found
