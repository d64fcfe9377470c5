"""AKPERL at run time: one adaptive network beside its static levels on a drifting stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.adaptive.data import images
from benchmarks.adaptive.measure import (
    DEVICE,
    TOLERANCE,
    Setting,
    adaptive,
    conditioned,
    dense_network,
    drift,
    fitted,
)
from rfprune.adaptive import level_power, measure_levels

__all__ = ["SETTING", "streamed"]

#: Smaller than that of `benchmarks.adaptive`, since it is run for several seeds.
SETTING = Setting(channels=(8, 16, 32), dense_epochs=12, epochs=8)


def streamed(seed: int, setting: Setting = SETTING) -> dict[str, Any]:
    """Return accuracy and power over the stream, adaptive and static at the same mean power.

    The static network at a power is a mixture of the two levels of which one draws more and the
    other one less; it knows neither the input nor the budget.
    """
    data = images(setting.n_classes, setting.image_size)
    dense, spec = dense_network(data, setting, seed)
    network = fitted(dense, data, setting, seed)
    period = float(network.levels.counts.total_macs[0]) / DEVICE.fp32_macs_per_second
    power = level_power(network.levels, DEVICE, period)
    x_val, y_val = data.val
    table = measure_levels(network, conditioned(x_val, 1), y_val, power)
    model = adaptive(network, table, float(table.accuracy[0, 0]) - TOLERANCE, spec)
    return {"seed": seed, **summary(drift(model, data, setting, seed), table.power_mw)}


def summary(rows: list[dict[str, Any]], level_mw: Any) -> dict[str, float]:
    """Return means over the stream; `level_mw` is (A,), falling."""
    power = np.array([row["power_mw"] for row in rows])
    budget = np.array([row["budget_mw"] for row in rows]) * (1 + 1e-9)
    of_levels = np.mean([row["accuracy_of_levels"] for row in rows], axis=0)
    level_mw = np.asarray(level_mw)
    mean = float(power.mean())
    # The share of batches on the level above, so that the mean power is the same.
    above = int(np.clip(np.sum(level_mw >= mean) - 1, 0, len(level_mw) - 2))
    share = (mean - level_mw[above + 1]) / (level_mw[above] - level_mw[above + 1])
    weights = np.array([share, 1 - share])
    pair = slice(above, above + 2)
    over = [(drawn > budget).mean() for drawn in level_mw[pair]]
    return {
        "accuracy": float(np.mean([row["accuracy"] for row in rows])),
        "power_mw": mean,
        "over": float((power > budget).mean()),
        "static_accuracy": float(weights @ of_levels[pair]),
        "static_over": float(weights @ np.array(over)),
    }
