"""A trial for an edge device: what is checked before training, and how a step is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfprune.agent import make_reward
from rfprune.arrays import IntArray
from rfprune.data import Dataset, load
from rfprune.edge import EdgeCosts, KernelSession
from rfprune.edge.task import fewest_kernels
from rfprune.edge.values import check_score
from rfprune.errors import BudgetError, SpecError, UnknownNameError
from rfprune.kernels import KernelMap, shrink, trace_kernels
from rfprune.kernels import Masks as KernelMasks
from rfprune.methods import Method, find_method
from rfprune.monitor import DeviceProfile, find_device, measure_time
from rfprune.pruning import Step, final_fractions
from rfprune.quantities import EDGE_RESOURCES
from rfprune.registry import importable, nearest
from rfprune.runs import StepRecord
from rfprune.spec import TrialSpec
from rfprune.training import probabilities
from rfprune.trial.dense import Dense, new_model

__all__ = ["EdgeBench", "PreparedEdge", "prepare_edge"]


@dataclass(frozen=True)
class PreparedEdge:
    """A trial for an edge device whose input has been checked in full.

    Attributes:
        spec: the trial.
        data: the rows.
        costs: of what is kept, on the device; holds the kernels.
        method: how it is pruned.
        fractions: final budgets, as fractions of the dense network; empty where the agent's own
            reward decides.
        floor: (L,) kernels that each layer keeps at least.
    """

    spec: TrialSpec
    data: Dataset
    costs: EdgeCosts
    method: Method
    fractions: dict[str, float]
    floor: IntArray

    def notes(self) -> list[str]:
        """Return what the user should know before training, one sentence each."""
        kept: dict[str, list[str]] = {}
        for layer in self.costs.kernels.layers:
            if layer.kept_because is not None:
                kept.setdefault(layer.kept_because, []).append(layer.name)
        notes = [f"{', '.join(names)}: not pruned, {reason}." for reason, names in kept.items()]
        rate = self.costs.spec.images_per_second
        seconds = self.costs.readings(self.costs.kernels.n_kernels).time.value
        if rate is not None and seconds * rate > 1:
            notes.append(
                f"edge.images_per_second: {rate:g}, but the dense network needs at least "
                f"{seconds * 1e3:.3g} ms per image on {self.costs.device.name}."
            )
        return notes

    def bench(self, dense: Dense, data: Dataset, folder: Path) -> EdgeBench:
        """Return the pruning run at its start.

        Args:
            dense: its dense network, which pruning changes in place.
            data: the rows, on the network's device.
            folder: of the trial.
        """
        distills = self.spec.prune.distillation > 0
        teacher = probabilities(dense.model, data.x_train) if distills else None
        session = KernelSession(
            spec=_stepped(self.spec, self.fractions),
            model=dense.model,
            data=data,
            costs=self.costs,
            method=self.method,
            fractions=self.fractions,
            floor=self.floor,
            dense_val_accuracy=dense.val_accuracy,
            teacher=teacher,
            agent_dir=folder / "agent",
        )
        return EdgeBench(session)


def prepare_edge(spec: TrialSpec, base_dir: Path, data: Dataset | None = None) -> PreparedEdge:
    """Check everything of a trial for an edge device that can be known before training.

    Args:
        spec: the trial, with its section `edge`.
        base_dir: folder that relative paths refer to.
        data: the rows, if they are loaded already.

    Raises:
        InputError: data, network, device, layers or budget are wrong, in one sentence.
        MissingExtraError: the method needs a package that is not installed.
    """
    assert spec.edge is not None
    try:
        with importable(base_dir):
            method = find_method(spec.prune.method)
    except UnknownNameError as error:
        raise UnknownNameError(f"prune.method: {error}") from None
    method.check_installed()
    check_score(spec.prune.score)
    try:
        device = find_device(spec.edge.device, base_dir)
    except UnknownNameError as error:
        raise UnknownNameError(f"edge.device: {error}") from None
    assert isinstance(device, DeviceProfile), "the FPGA's profile asks for a power"
    rows = load(spec.data, base_dir) if data is None else data
    model = new_model(spec, rows, base_dir)
    kernels = _kernels(spec, model, rows.input_shape)
    costs = EdgeCosts(kernels, device, spec.edge)
    if method.learns:
        make_reward(spec.prune.agent.reward, tuple(layer.name for layer in kernels.prunable))
    floor = _floors(spec, kernels)
    fractions = {} if _reward_decides(spec, method) else _fractions(spec, costs)
    if method.prunes:
        fewest = fewest_kernels(kernels, spec.edge.levels) if method.learns else floor
        _check_reachable(costs, fractions, fewest)
    return PreparedEdge(spec, rows, costs, method, fractions, floor)


def _reward_decides(spec: TrialSpec, method: Method) -> bool:
    return method.learns and spec.prune.agent.reward is not None


def _stepped(spec: TrialSpec, fractions: dict[str, float]) -> TrialSpec:
    """Return the trial with a single step where no budget is to be approached."""
    if fractions:
        return spec
    prune = spec.prune.model_copy(update={"steps": 1, "schedule": "binary"})
    return spec.model_copy(update={"prune": prune})


def _kernels(spec: TrialSpec, model: torch.nn.Module, shape: tuple[int, ...]) -> KernelMap:
    """Return the kernels of the network; those of layers that the trial leaves out stay."""
    assert spec.edge is not None
    kernels = trace_kernels(model, shape, spec.edge.layers)
    left_out = [name for name, own in spec.prune.layers.items() if not own.prune]
    if not left_out:
        return kernels
    others = [layer for layer in kernels.prunable if layer.name not in left_out]
    return trace_kernels(model, shape, [path for layer in others for path in layer.convs])


def _floors(spec: TrialSpec, kernels: KernelMap) -> IntArray:
    """Return (L,) floors: at least 1 where nothing goes around the layer.

    Raises:
        UnknownNameError: ``prune.layers`` names something that is no layer of kernels.
        SpecError: it sets what only an FPGA has.
    """
    known = [layer.name for layer in kernels.layers]
    for name, own in spec.prune.layers.items():
        if name not in known:
            raise UnknownNameError(
                f"prune.layers: no layer '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
            )
        for key in ("structure", "block", "regularizer_weight"):
            if getattr(own, key) is not None:
                raise SpecError(f"prune.layers.{name}.{key}: is for an FPGA; leave it out.")
    floors = []
    for layer in kernels.prunable:
        named = spec.prune.layers.get(layer.name)
        floor = spec.prune.floor if named is None or named.floor is None else named.floor
        floors.append(min(max(floor, 0 if layer.removable else 1), layer.n_kernels))
    return np.array(floors, dtype=np.int64)


def _fractions(spec: TrialSpec, costs: EdgeCosts) -> dict[str, float]:
    dense = dict(zip(EDGE_RESOURCES, costs.dense.tolist(), strict=True))
    return final_fractions(dense, spec.prune.budget)


def _check_reachable(costs: EdgeCosts, fractions: dict[str, float], fewest: IntArray) -> None:
    least = dict(zip(EDGE_RESOURCES, costs.resources(fewest), strict=True))
    dense = dict(zip(EDGE_RESOURCES, costs.dense, strict=True))
    for name, fraction in fractions.items():
        if least[name] > fraction * dense[name] * (1 + 1e-9):
            raise BudgetError(
                f"prune.budget.{name}: {fraction * dense[name]:g} of {dense[name]:g} {name} cannot "
                f"be reached: floors or levels leave {int(fewest.sum())} kernels, and the least is "
                f"{least[name]:g} ({least[name] / dense[name]:.4g} of the dense network)."
            )


@dataclass(frozen=True)
class EdgeBench:
    """A pruning run on kernels, and how a step of it is measured."""

    subject: KernelSession

    def record(
        self, step: Step, seconds: float, scratch: Path
    ) -> tuple[StepRecord, dict[str, Any]]:
        """Return the record of one step, and its costs by layer as plain JSON values."""
        session, costs = self.subject, self.subject.costs
        kept = session.kept
        found = costs.readings(kept, self._seconds())
        resources = dict(zip(EDGE_RESOURCES, costs.resources(kept).tolist(), strict=True))
        parameters = float(costs.counts(kept).total_parameters)
        dense_parameters = float(costs.counts(costs.kernels.n_kernels).total_parameters)
        names = [layer.name for layer in costs.kernels.prunable]
        sizes = costs.kernels.n_kernels
        record = StepRecord(
            step=step.index,
            accepted=step.accepted,
            fraction=session.budget_fractions(step.progress),
            val_accuracy=step.val_accuracy,
            accuracy=step.accuracy,
            sparsity=1 - parameters / dense_parameters,
            power_mw=found.power.value,
            kernels=resources["kernels"],
            kernel_sparsity=float(1 - kept.sum() / sizes.sum()),
            macs=resources["macs"],
            parameters=parameters,
            inference_ms=found.time.value * 1e3,
            energy_mj=found.energy.value,
            live=dict(zip(names, map(int, kept), strict=True)),
            groups=dict(zip(names, map(int, sizes), strict=True)),
            seconds=round(seconds, 3),
        )
        readings = {"time": found.time, "energy": found.energy, "power": found.power}
        return record, {
            "device": costs.device.name,
            "readings": {name: vars(reading) for name, reading in readings.items()},
            "layers": self._by_layer(kept),
        }

    def _seconds(self) -> float | None:
        """Return the measured time of one image, or None where it is to be estimated."""
        session = self.subject
        if session.edge.time == "estimated":
            return None
        everything = KernelMasks(session.kernels, {}) if session.left is None else session.left
        smaller = shrink(session.model, everything)
        rows = session.data.x_test[: session.edge.batch_size]
        seconds = measure_time(smaller, rows).image_ms / 1e3
        assert math.isfinite(seconds)
        return seconds

    def _by_layer(self, kept: IntArray) -> list[dict[str, Any]]:
        counts = self.subject.costs.counts(kept)
        return [
            {"name": name, "macs": int(macs), "parameters": int(size), "activation_bytes": int(out)}
            for name, macs, size, out in zip(
                counts.layers, counts.macs, counts.parameters, counts.activation_bytes, strict=True
            )
        ]
