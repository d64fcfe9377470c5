"""Training: minibatches from tensors in memory, penalties on groups, fixed-point arithmetic.

Knows nothing of budgets or of hls4ml; masks and groups are given to it.
"""

from rfprune.training.fit import (
    Fit,
    batches,
    evaluate,
    fit,
    probabilities,
    seed_everything,
    select_device,
)
from rfprune.training.fixed_point import fixed_point
from rfprune.training.penalty import Penalty, group_penalty, weight_penalty

__all__ = [
    "Fit",
    "Penalty",
    "batches",
    "evaluate",
    "fit",
    "fixed_point",
    "group_penalty",
    "probabilities",
    "seed_everything",
    "select_device",
    "weight_penalty",
]
