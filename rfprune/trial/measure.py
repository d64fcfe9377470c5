"""What a step is worth on the FPGA: conversion, counts, estimate; one record per step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rfprune.errors import ConversionError
from rfprune.estimate import NEEDS_PROJECT, Estimate, estimate
from rfprune.estimate.network import design_of
from rfprune.groups import Groups
from rfprune.hls import convert
from rfprune.pruning import Session, Step
from rfprune.runs import StepRecord

__all__ = ["Measurement", "measure", "step_record"]


@dataclass(frozen=True)
class Measurement:
    """The hardware side of one step.

    Attributes:
        estimate: resources and cycles.
        live: multipliers that hls4ml generates, by layer.
    """

    estimate: Estimate
    live: dict[str, int]

    def as_json(self, groups: Groups) -> dict[str, Any]:
        """Return the estimate by layer as plain JSON values."""
        return self.estimate.to_json(groups.plan.part)


def measure(session: Session, folder: Path) -> Measurement:
    """Convert the network as it is now, check that pruned groups are gone, and estimate it.

    Args:
        session: the pruning run.
        folder: scratch folder for conversions that must be written to disk.

    Raises:
        ConversionError: hls4ml generates other multipliers than the masks leave.
    """
    model, groups = session.model, session.groups
    live = groups.live(model)
    conversion = convert(model, groups.plan, folder)
    for name, generated in conversion.live_multipliers().items():
        if generated != live[name]:
            raise ConversionError(
                f"{name}: {live[name]} multipliers are live, but hls4ml generated {generated}."
            )
    by = session.spec.estimator
    project = conversion.write() if by in NEEDS_PROJECT else None
    found = estimate(design_of(groups.plan, conversion.network), by, project)
    return Measurement(found, live)


def step_record(session: Session, step: Step, measured: Measurement, seconds: float) -> StepRecord:
    """Return the record of one step."""
    groups = session.groups
    zeros = sum(_zeros(session.model, layer.layer.path) for layer in groups.plan.layers)
    total = sum(layer.layer.n_weights for layer in groups.plan.layers)
    return StepRecord(
        step=step.index,
        accepted=step.accepted,
        fraction=session.budget_fractions(step.progress),
        val_accuracy=step.val_accuracy,
        accuracy=step.accuracy,
        sparsity=zeros / max(total, 1),
        live=measured.live,
        groups={layer.name: layer.n_multipliers for layer in groups.plan.layers},
        reuse_factor={layer.name: layer.reuse_factor for layer in groups.plan.layers},
        strategy={layer.name: layer.strategy for layer in groups.plan.layers},
        prices=session.price_table(step.choice.prices if step.choice else None),
        seconds=round(seconds, 3),
        **measured.estimate.quantities(),
    )


def _zeros(model: nn.Module, path: str) -> int:
    weight = model.get_submodule(path).weight
    assert isinstance(weight, Tensor)
    return int((weight == 0).sum())
