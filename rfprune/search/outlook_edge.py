"""What can be known of a sweep for an edge device before its first trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from rfprune.data import Dataset
from rfprune.edge import EdgeCosts
from rfprune.errors import BudgetError, SpecError
from rfprune.quantities import EDGE_RESOURCES
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.trial import prepare_edge

__all__ = [
    "EdgeCorner",
    "KernelRow",
    "check_paths",
    "checked",
    "corner_quantities",
    "kernel_rows",
]

P = TypeVar("P")


@dataclass(frozen=True)
class KernelRow:
    """One set of coupled convolutions.

    Attributes:
        name: path of its first convolution.
        coupled: how many further convolutions lose the same kernels.
        kernels: of each of them.
        macs_per_kernel: multiply-accumulates that go with one kernel.
        removable: all kernels may go.
        kept_because: why none may go, or None.
    """

    name: str
    coupled: int
    kernels: int
    macs_per_kernel: int
    removable: bool
    kept_because: str | None


def checked(
    prepare: Callable[[TrialSpec, Path, Dataset | None], P],
    trial: TrialSpec,
    data: Dataset,
    base_dir: Path,
) -> tuple[P, BudgetError | None]:
    """Return a corner's checked trial; where a budget is out of reach, without it, and the fault.

    One corner out of reach is no fault of the sweep as long as another one is within it.

    Raises:
        InputError: anything else is wrong.
    """
    try:
        return prepare(trial, base_dir, data), None
    except BudgetError as error:
        free = dict.fromkeys(trial.prune.budget, 1.0)
        prune = trial.prune.model_copy(update={"budget": free})
        return prepare(trial.model_copy(update={"prune": prune}), base_dir, data), error


class EdgeCorner:
    """One corner of the space: the dense network on its device."""

    def __init__(self, trial: TrialSpec, data: Dataset, base_dir: Path) -> None:
        self.prepared, self.fault = checked(prepare_edge, trial, data, base_dir)

    @property
    def costs(self) -> EdgeCosts:
        """Of the network on its device."""
        return self.prepared.costs

    @property
    def quantities(self) -> dict[str, float]:
        """What the dense network takes."""
        kept = self.costs.kernels.n_kernels
        found = self.costs.readings(kept)
        return {
            **dict(zip(EDGE_RESOURCES, self.costs.dense.tolist(), strict=True)),
            "parameters": float(self.costs.counts(kept).total_parameters),
            "inference_ms": found.time.value * 1e3,
            "power_mw": found.power.value,
        }

    @property
    def least(self) -> dict[str, float]:
        """What the floors leave."""
        least = self.costs.resources(np.asarray(self.prepared.floor))
        return dict(zip(EDGE_RESOURCES, least.tolist(), strict=True))

    @property
    def notes(self) -> list[str]:
        """What the user should know, one sentence each."""
        return [*self.prepared.notes(), *([str(self.fault)] if self.fault else [])]


def kernel_rows(costs: EdgeCosts) -> Iterator[KernelRow]:
    """Yield the rows of a network, in order of execution."""
    for layer in costs.kernels.layers:
        yield KernelRow(
            layer.name,
            len(layer.convs) - 1,
            layer.n_kernels,
            layer.macs_per_kernel,
            layer.removable,
            layer.kept_because,
        )


def check_paths(spec: SweepSpec) -> None:
    """Refuse searched paths of an FPGA, and of single layers, whose names hold dots themselves.

    Raises:
        SpecError: names the path.
    """
    for path in spec.search:
        if path.startswith("hardware.") or path == "estimator":
            raise SpecError(
                f"{spec.name}: search.{path}: is for an FPGA, and the sweep is for an edge device."
            )
        if path.startswith("prune.layers."):
            raise SpecError(
                f"{spec.name}: search.{path}: single layers cannot be searched beside 'edge'; the "
                "agent (prune.method: akperl) decides about layers."
            )


def corner_quantities(corners: list[EdgeCorner]) -> Iterator[tuple[str, list[float], float | None]]:
    """Yield name, values at the corners, and the least that pruning can leave."""
    for name in corners[0].quantities:
        values = [corner.quantities[name] for corner in corners]
        known = [corner.least[name] for corner in corners if name in corner.least]
        yield name, values, min(known, default=None)
