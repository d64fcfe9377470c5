"""Training: minibatches from tensors in memory, penalties on groups, fixed-point arithmetic.

Knows nothing of budgets or of hls4ml; masks and groups are given to it.
"""

from rfprune.training.fit import (
    Fit,
    batches,
    cross_entropy,
    evaluate,
    fit,
    probabilities,
    seed_everything,
    select_device,
)
from rfprune.training.fixed_point import fixed_point, fixed_point_graph
from rfprune.training.norms import norms_of, settle_norms
from rfprune.training.penalty import Penalty, group_penalty, weight_penalty

__all__ = [
    "Fit",
    "Penalty",
    "batches",
    "cross_entropy",
    "evaluate",
    "fit",
    "fixed_point",
    "fixed_point_graph",
    "group_penalty",
    "norms_of",
    "probabilities",
    "seed_everything",
    "select_device",
    "settle_norms",
    "weight_penalty",
]
