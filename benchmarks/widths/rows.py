"""Rows of the further tasks of `benchmarks.widths`."""

import numpy as np
import torch

from benchmarks.trigger.data import Arrays
from benchmarks.trigger.data import muons as simulated
from rfprune.data import load
from rfprune.data.spec import DataSpec

__all__ = ["fashion", "muons"]


def fashion() -> Arrays:
    """Fashion-MNIST, each four pixels one, as rows of 14 x 14 numbers."""
    data = load(DataSpec.model_validate({"name": "fashion_mnist", "standardize": False}))
    found: Arrays = {}
    for part, x, y in (
        ("train", torch.cat([data.x_train, data.x_val]), torch.cat([data.y_train, data.y_val])),
        ("test", data.x_test, data.y_test),
    ):
        small = torch.nn.functional.avg_pool2d(x.reshape(-1, 1, 28, 28), 2)
        found |= {f"x_{part}": small.flatten(1).numpy(), f"y_{part}": y.numpy()}
    return found


def muons(rows: int) -> Arrays:
    """Tracks of muons: 29 variables -> the momentum's logarithm and the displacement."""
    return simulated(np.random.default_rng(0), rows)
