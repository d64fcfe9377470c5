"""Training that lets the levels of a slimmable network share their weights well.

The sandwich rule with inplace distillation (J. Yu, T. Huang, *Universally Slimmable Networks and
Improved Training Techniques*, arXiv 1903.05134): every update is the gradient of the whole network
on the labels, and of the smallest and some levels in between on what the whole network says.
Afterwards the statistics of every level's norms are taken anew.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.data import Rows
from rfprune.edge.adaptive.slimmable import SlimmableNetwork
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training import Fit, fit, settle_norms

__all__ = ["fit_levels", "recalibrate", "sandwich_loss"]

#: As published: the largest, the smallest and two in between.
LEVELS_PER_STEP = 4


def fit_levels(
    network: SlimmableNetwork, x: Rows, y: Any, how: Fit, levels_per_step: int = LEVELS_PER_STEP
) -> float:
    """Train all levels together, in place, and return the mean loss of the last epoch.

    Args:
        network: on the device of `x`.
        x: (N, ...) training rows.
        y: (N,) classes.
        how: epochs, optimizer, seed; its `loss` is the sandwich rule's whatever it was.
        levels_per_step: levels that each update sees, the largest and the smallest among them.

    Raises:
        TrialError: the loss is not finite.
    """
    task = how.task or make_task(TaskSpec())
    sandwich = partial(sandwich_loss, levels_per_step=levels_per_step, task=task)
    loss = fit(network, x, y, replace(how, loss=sandwich))
    recalibrate(network, x, how.train.batch_size, how.seed)
    return loss


def sandwich_loss(
    network: nn.Module,
    x: Tensor,
    y: Any,
    weight: Any = None,
    *,
    levels_per_step: int,
    task: Task,
) -> Tensor:
    """Return the summed loss of the levels that this update sees.

    Levels in between are drawn from torch's global generator, which `fit` seeds.

    Args:
        network: a slimmable network in training mode.
        x: (B, ...) rows.
        y: targets, as the task makes them.
        weight: (B,) of the rows, or None.
        levels_per_step: at least 2.
        task: whose loss it is, and what the whole network teaches the smaller levels.
    """
    assert isinstance(network, SlimmableNetwork)
    assert levels_per_step >= 2
    smallest = len(network.levels) - 1
    # Drawn from torch's generator, which `fit` seeds: equal seeds see equal levels.
    between = torch.randperm(smallest - 1)[: levels_per_step - 2] + 1
    output = task.judged(network(x), x)
    loss = task.loss(output, y, weight)
    # Detached: the whole network must not be drawn toward its smaller selves.
    taught = task.taught(y, task.teaching(output.detach()), 1.0)
    for level in (*between.tolist(), smallest):
        loss = loss + task.loss(task.judged(network(x, level), x), taught, weight)
    return loss


def recalibrate(network: SlimmableNetwork, x: Rows, batch_size: int, seed: int = 0) -> None:
    """Set the statistics of every level's norms to their means over the training rows.

    While training they trail behind weights that all levels change. Without any training this is
    what makes a pruned level usable at all.

    Args:
        network: in evaluation mode, on the device of `x`.
        x: (N, ...) training rows.
        batch_size: rows per pass.
        seed: of the order of the rows, which may be sorted by class.
    """
    for level in range(len(network.levels)):
        settle_norms(network.at(level), x, batch_size, seed)
