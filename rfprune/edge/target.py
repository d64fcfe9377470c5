"""A CNN on a processor as a target: whole kernels go; time and energy are estimated or measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rfprune.core.arrays import IntArray
from rfprune.core.named import InputShape, one_input
from rfprune.core.paths import find_named
from rfprune.core.registry import nearest
from rfprune.core.tables import Column
from rfprune.edge.bundle import export_network
from rfprune.edge.costs import EDGE_RESOURCES, EdgeCosts
from rfprune.edge.kernels import KernelMap, shrink, trace_kernels
from rfprune.edge.kernels import Masks as KernelMasks
from rfprune.edge.kernels.saving import KEPT, load_shrunk
from rfprune.edge.metering import find_counter
from rfprune.edge.monitor import DeviceProfile, find_device, measure_inference
from rfprune.edge.prunable import KernelPrunable
from rfprune.errors import SpecError, UnknownNameError
from rfprune.methods import Method
from rfprune.methods.akperl import Policy, make_reward
from rfprune.models import Checkpoint
from rfprune.pruning import Masks, Session
from rfprune.spec import TARGETS, TrialSpec
from rfprune.tasks import make_task
from rfprune.trial.target import (
    Bundle,
    Deployment,
    ExportedParts,
    LayerTable,
    Measured,
    Target,
)

__all__ = ["EDGE", "EdgeDeployment", "EdgeTarget"]


@dataclass(frozen=True)
class KernelRow:
    """One set of coupled convolutions, as ``rfprune check`` shows it.

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


class EdgeDeployment(Deployment):
    """A CNN on its device: the kernels of its convolutions and what they cost there."""

    prunable: KernelPrunable

    def __init__(
        self,
        spec: TrialSpec,
        model: nn.Module,
        costs: EdgeCosts,
        floor: IntArray,
        learns: bool,
        policy: Policy | None = None,
    ) -> None:
        """Take a network whose kernels have been found; see `KernelPrunable`."""
        self.spec, self.costs = spec, costs
        self.device = costs.device.name
        self.prunable = KernelPrunable(model, costs, floor, learns, policy)

    def notes(self) -> list[str]:
        """Return which layers are not pruned and why, and whether images come too fast."""
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
                f"{seconds * 1e3:.3g} ms per image on {self.device}."
            )
        notes.append(
            f"scores are measured in floats, in which {self.device} computes the exported network; "
            "`rfprune quantize` measures it in 8-bit integers."
        )
        return notes

    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return what the dense network takes, by the device's profile."""
        kept = self.costs.kernels.n_kernels
        found = self.costs.readings(kept)
        return {
            **self.prunable.dense,
            "parameters": float(self.costs.counts(kept).total_parameters),
            "inference_ms": found.time.value * 1e3,
            "power_mw": found.power.value,
        }

    def layer_table(self) -> LayerTable:
        """Return the sets of coupled convolutions."""
        rows = [
            KernelRow(
                layer.name,
                len(layer.convs) - 1,
                layer.n_kernels,
                layer.macs_per_kernel,
                layer.removable,
                layer.kept_because,
            )
            for layer in self.costs.kernels.layers
        ]
        prunable = [
            "no" if row.kept_because else "yes, all of them" if row.removable else "yes"
            for row in rows
        ]
        columns = [
            Column("layer", [row.name for row in rows], left=True, needed=True),
            Column("kernels", [str(row.kernels) for row in rows], needed=True),
            Column("coupled", [str(row.coupled or "") for row in rows]),
            Column("macs per kernel", [f"{row.macs_per_kernel:,}" for row in rows]),
            Column("prunable", prunable, left=True, needed=True),
        ]
        caption = "coupled: further convolutions that lose the same kernels"
        return LayerTable("kernels", [asdict(row) for row in rows], "Kernels", caption, columns)

    def measure(self, session: Session, scratch: Path) -> Measured:
        """Return counts, time, energy and power of what is left."""
        costs, kernels = self.costs, self.costs.kernels
        everything = KernelMasks(kernels, session.masks or {})
        kept = everything.kept
        found = costs.readings(kept)
        if costs.spec.time == "measured":
            # This machine is the device: its clock and its counter are asked, where it has one.
            rows = session.data.x_test[: costs.spec.batch_size]
            smaller = shrink(session.model, everything)
            counter = find_counter(costs.spec, rows.is_cuda)
            rate = costs.spec.images_per_second
            found = measure_inference(smaller, rows, found, rate, counter=counter)
        resources = dict(zip(EDGE_RESOURCES, costs.resources(kept).tolist(), strict=True))
        parameters = float(costs.counts(kept).total_parameters)
        dense_parameters = float(costs.counts(kernels.n_kernels).total_parameters)
        return Measured(
            quantities={
                "sparsity": 1 - parameters / dense_parameters,
                "power_mw": found.power.value,
                **resources,
                "kernel_sparsity": float(1 - kept.sum() / kernels.n_kernels.sum()),
                "parameters": parameters,
                "inference_ms": found.time.value * 1e3,
                "energy_mj": found.energy.value,
            },
            live=dict(zip(self.prunable.layers, map(int, kept), strict=True)),
            groups=dict(zip(self.prunable.layers, map(int, kernels.n_kernels), strict=True)),
            costs={
                "device": self.device,
                "readings": {name: vars(reading) for name, reading in vars(found).items()},
                "layers": _by_layer(costs, kept),
            },
        )

    def final(self, model: nn.Module, masks: Masks) -> nn.Module:
        """Return the physically smaller network."""
        return shrink(model, KernelMasks(self.costs.kernels, masks))

    def export(self, bundle: Bundle) -> ExportedParts:
        """Compare the smaller network with the masked one, and add the agent's policy."""
        return export_network(self.costs.kernels, bundle)


def _by_layer(costs: EdgeCosts, kept: IntArray) -> list[dict[str, Any]]:
    counts = costs.counts(kept)
    columns = (counts.layers, counts.macs, counts.parameters, counts.activation_bytes)
    return [
        {"name": name, "macs": int(macs), "parameters": int(size), "activation_bytes": int(out)}
        for name, macs, size, out in zip(*columns, strict=True)
    ]


class EdgeTarget(Target):
    """A device with a processor; whole kernels of convolutions are pruned for it."""

    facts = TARGETS["edge"]

    def check(self, spec: TrialSpec, base_dir: Path) -> None:
        """Refuse an unknown device or meter, several heads, and a measure the task has not."""
        _device(spec, base_dir)
        assert spec.edge is not None
        if spec.edge.meter != "auto":
            find_counter(spec.edge, spec.train.device == "cuda")
        if spec.task.heads is not None:
            raise SpecError(
                "task.heads: rfprune takes networks of one output alone for an edge device; leave "
                "out the key, or give hardware in place of edge."
            )
        if spec.edge.agent_measure == "probability" and not make_task(spec.task).has_confidence:
            raise SpecError(
                f"edge.agent_measure: 'probability' needs labels, and the task is "
                f"{spec.task.name}. Allowed: accuracy (the score of the task)."
            )

    def deploy(
        self,
        spec: TrialSpec,
        method: Method,
        model: nn.Module,
        input_shape: InputShape,
        base_dir: Path,
    ) -> EdgeDeployment:
        """Find the kernels of the network.

        Raises:
            NetworkError: the network cannot be traced.
            InputError: layers or rewards name what is not there.
        """
        assert spec.edge is not None
        kernels = _kernels(spec, model, one_input(input_shape, "an edge device"))
        costs = EdgeCosts(kernels, _device(spec, base_dir), spec.edge)
        if method.learns:
            make_reward(spec.prune.agent.reward, tuple(layer.name for layer in kernels.prunable))
        policy = _policy(spec, base_dir) if method.learns else None
        return EdgeDeployment(spec, model, costs, _floors(spec, kernels), method.learns, policy)

    def check_searched(self, spec: TrialSpec, searched: Mapping[str, Sequence[Any]]) -> None:
        """Refuse single layers, whose names hold dots themselves."""
        for path in searched:
            if path.startswith("prune.layers."):
                raise SpecError(
                    f"search.{path}: single layers cannot be searched beside 'edge'; the agent "
                    "(prune.method: akperl) decides about layers."
                )

    def load(self, saved: Checkpoint, path: Path, base_dir: Path) -> nn.Module | None:
        """Return the smaller network of an exported file; None if no kernels were removed."""
        if KEPT not in saved.extra:
            return None
        return load_shrunk(path, saved.spec, base_dir)


def _device(spec: TrialSpec, base_dir: Path) -> DeviceProfile:
    assert spec.edge is not None
    try:
        device = find_device(spec.edge.device, base_dir)
    except UnknownNameError as error:
        raise UnknownNameError(f"edge.device: {error}") from None
    return device


def _policy(spec: TrialSpec, base_dir: Path) -> Policy | None:
    """Return the policy that the file names.

    Raises:
        SpecError: there is no such file.
        RunsError: it holds no policy.
    """
    assert spec.edge is not None
    name = spec.edge.agent_policy
    if name is None:
        return None
    path = find_named(name, base_dir)
    if path is None:
        raise SpecError(
            f"edge.agent_policy: no file '{name}'. Allowed: the policy.pt that an agent left in "
            "its trial's folder agent/001, or in an export."
        )
    return Policy.load(path)


def _kernels(spec: TrialSpec, model: nn.Module, shape: tuple[int, ...]) -> KernelMap:
    """Return the kernels of the network; those of layers that the trial leaves out stay."""
    assert spec.edge is not None
    kernels = trace_kernels(model, shape, spec.edge.layers)
    left_out = [name for name, own in spec.prune.layers.items() if not own.prune]
    if not left_out:
        return kernels
    # Traced anew, since what stays whole also decides which layers may go entirely.
    others = [layer.name for layer in kernels.prunable if layer.name not in left_out]
    return trace_kernels(model, shape, others)


def _floors(spec: TrialSpec, kernels: KernelMap) -> IntArray:
    """Return (L,) floors: at least 1 where nothing goes around the layer.

    Raises:
        UnknownNameError: ``prune.layers`` names something that is not a layer of kernels.
        SpecError: it sets what only groups of weights have.
    """
    known = [layer.name for layer in kernels.layers]
    for name, own in spec.prune.layers.items():
        if name not in known:
            raise UnknownNameError(
                f"prune.layers: no layer '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
            )
        for key in ("structure", "block", "regularizer_weight"):
            if getattr(own, key) is not None:
                raise SpecError(
                    f"prune.layers.{name}.{key}: is not for an edge device; leave it out."
                )
    floors = []
    for layer in kernels.prunable:
        floor = spec.prune.layer(layer.name).floor
        assert floor is not None
        floors.append(min(max(floor, 0 if layer.removable else 1), layer.n_kernels))
    return np.array(floors, dtype=np.int64)


EDGE = EdgeTarget()
