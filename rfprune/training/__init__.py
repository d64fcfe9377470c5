"""Training: minibatches from tensors in memory, under masks and regularizers.

Knows nothing of budgets, groups or hls4ml; masks and penalties are given to it.
"""

from rfprune.training.fit import (
    Fit,
    Validation,
    aims,
    evaluate,
    fit,
    measure,
    outputs_of,
    seed_everything,
    select_device,
    teacher_of,
)
from rfprune.training.norms import norms_of, settle_norms
from rfprune.training.order import batches
from rfprune.training.own import (
    Hook,
    Settings,
    Trainer,
    TrainingRows,
    rehearse,
    train,
    trainer_of,
)
from rfprune.training.penalty import Penalty
from rfprune.training.together import in_turns, no_gain, noted_alone, why_alone

__all__ = [
    "Fit",
    "Hook",
    "Penalty",
    "Settings",
    "Trainer",
    "TrainingRows",
    "Validation",
    "aims",
    "batches",
    "evaluate",
    "fit",
    "in_turns",
    "measure",
    "no_gain",
    "norms_of",
    "noted_alone",
    "outputs_of",
    "rehearse",
    "seed_everything",
    "select_device",
    "settle_norms",
    "teacher_of",
    "train",
    "trainer_of",
    "why_alone",
]
