"""What can be known of a sweep before its first trial: layers, dense costs, reach of the budgets.

The corners of the space are the points with every searched value at its first, and at its last.
They also fix the reference point of the hypervolume, once and for all, before anything is measured.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rfprune.data import Dataset, load
from rfprune.errors import BudgetError
from rfprune.estimate import Estimate, estimate
from rfprune.estimate.network import design_of
from rfprune.hardware.reuse import LayerSize, valid_reuse_factors
from rfprune.methods import find_method
from rfprune.network import fold_batch_norm, trace
from rfprune.pruning import least_use
from rfprune.quantities import DIRECTIONS, RESOURCES
from rfprune.search.expand import expand
from rfprune.search.outlook_edge import (
    EdgeCorner,
    KernelRow,
    check_paths,
    checked,
    corner_quantities,
    kernel_rows,
)
from rfprune.search.record import check_constraints
from rfprune.search.sampler import choose_sampler
from rfprune.search.space import ParameterRow, Space
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.trial import prepare
from rfprune.trial.dense import new_model
from rfprune.trial.fpga import check_name

__all__ = ["CostRow", "LayerRow", "Outlook", "ToolRow", "outlook"]

#: The reference point lies this much beyond the worst corner, so that corner points count too.
_MARGIN = 1.1
_TOOLS = {
    "g++": "C++ simulation of exported networks",
    "vitis_hls": "estimator csynth",
    "vivado_hls": "estimator csynth",
    "vivado": "logic synthesis",
}
_EXTRAS = {"rule4ml": "estimator rule4ml", "da4ml": "estimator da4ml"}


@dataclass(frozen=True)
class LayerRow:
    """One layer that holds weights."""

    name: str
    type: str
    n_in: int
    n_out: int
    n_weights: int
    valid_reuse_factors: list[int]
    largest_reuse_factor: int | None


@dataclass(frozen=True)
class CostRow:
    """What the dense network costs at the corners of the space.

    Attributes:
        name: of the quantity.
        low: at the cheapest corner.
        high: at the dearest corner.
        share: of the part, at the dearest corner; None for cycles.
        least: what the floors leave at the cheapest corner, for resources of the groups.
    """

    name: str
    low: float | None
    high: float | None
    share: float | None
    least: float | None


@dataclass(frozen=True)
class ToolRow:
    """An optional tool: where it was found, or None."""

    name: str
    found: str | None
    purpose: str


@dataclass(frozen=True)
class Outlook:
    """Everything that ``rfprune check`` shows.

    Attributes:
        part: the FPGA, or the edge device.
        layers: on an FPGA.
        kernels: on an edge device.
    """

    sweep: str
    part: str
    layers: list[LayerRow]
    kernels: list[KernelRow]
    space: list[ParameterRow]
    space_size: int | None
    sampler: str
    early_stop: str
    costs: list[CostRow]
    reference_point: dict[str, float]
    notes: list[str]
    tools: list[ToolRow]

    @property
    def sizes(self) -> dict[str, LayerSize]:
        """What decides the valid reuse factors, by layer."""
        return {
            row.name: LayerSize(row.n_in, row.n_out, row.largest_reuse_factor)
            for row in self.layers
        }

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(self)
        plain["space"] = [row._asdict() for row in self.space]
        return plain


def outlook(spec: SweepSpec, base_dir: Path) -> Outlook:
    """Check a sweep and return what it can reach.

    Args:
        spec: the sweep.
        base_dir: folder that relative paths in it refer to.

    Raises:
        InputError: data, network, hardware, space or budgets are wrong; nothing is written.
    """
    check_constraints(spec)
    data = load(spec.data, base_dir)
    if spec.edge is not None:
        return _outlook_edge(spec, data, base_dir)
    network = trace(new_model(spec, data, base_dir), data.input_shape)
    # Where both are searched, every point has to be valid in io_parallel as well.
    io_type = "io_parallel" if "hardware.io_type" in spec.search else spec.hardware.io_type
    sizes = network.sizes(io_type)
    space = expand(spec, sizes)
    _check_choices(space, base_dir)
    corners = [_Corner(trial, data, base_dir) for trial in _corner_trials(spec, space)]
    _check_budgets(spec, corners)
    layers = [
        LayerRow(
            layer.name,
            layer.kind.name,
            layer.n_in,
            layer.n_out,
            layer.n_weights,
            valid_reuse_factors(layer.n_in, layer.n_out, largest=sizes[layer.name].largest),
            sizes[layer.name].largest,
        )
        for layer in network.layers
    ]
    return Outlook(
        sweep=spec.name,
        part=corners[0].prepared.plan.part.name,
        layers=layers,
        kernels=[],
        space=space.describe(),
        space_size=space.size(),
        sampler="{} ({})".format(*choose_sampler(spec, space)),
        early_stop=_early_stop(spec),
        costs=list(_costs(corners)),
        reference_point=spec.reference_point
        or _reference(spec, [c.estimate.quantities() for c in corners], data.n_classes),
        notes=list(dict.fromkeys(note for corner in corners for note in corner.notes)),
        tools=_tools(),
    )


def _outlook_edge(spec: SweepSpec, data: Dataset, base_dir: Path) -> Outlook:
    check_paths(spec)
    space = expand(spec, {})
    corners = [EdgeCorner(trial, data, base_dir) for trial in _corner_trials(spec, space)]
    for name in _values_of(space, "prune.method", spec.prune.method):
        find_method(name).check_installed()
    _check_budgets(spec, corners)
    costs = [
        CostRow(name, min(values), max(values), None, least)
        for name, values, least in corner_quantities(corners)
    ]
    first = corners[0].costs
    return Outlook(
        sweep=spec.name,
        part=first.device.name,
        layers=[],
        kernels=list(kernel_rows(first)),
        space=space.describe(),
        space_size=space.size(),
        sampler="{} ({})".format(*choose_sampler(spec, space)),
        early_stop=_early_stop(spec),
        costs=costs,
        reference_point=spec.reference_point
        or _reference(spec, [corner.quantities for corner in corners], data.n_classes),
        notes=list(dict.fromkeys(note for corner in corners for note in corner.notes)),
        tools=[],
    )


def _values_of(space: Space, path: str, fixed: str) -> list[str]:
    """Return what a searched path can be, or the fixed value."""
    found = [list(p.samples()) for p in space.parameters if p.path == path]
    return [str(value) for value in found[0]] if found else [fixed]


class _Corner:
    """One corner of the space: the dense network there, checked and estimated."""

    def __init__(self, trial: TrialSpec, data: Dataset, base_dir: Path) -> None:
        self.prepared, self.fault = checked(prepare, trial, data, base_dir)
        model = fold_batch_norm(new_model(trial, data, base_dir))
        self.estimate: Estimate = estimate(design_of(self.prepared.plan, model))
        self.least = dict(zip(RESOURCES, least_use(self.prepared.groups), strict=True))

    @property
    def notes(self) -> list[str]:
        return [*self.prepared.notes(), *([str(self.fault)] if self.fault else [])]


def _corner_trials(spec: SweepSpec, space: Space) -> Iterator[TrialSpec]:
    for pick in (0, -1):
        values: dict[str, Any] = {}
        for parameter in space.parameters:
            if space.active(parameter, values):
                values[parameter.path] = parameter.samples()[pick]
        yield space.resolve(spec, values)


def _check_choices(space: Space, base_dir: Path) -> None:
    """Refuse names that would fail in the middle of the sweep only."""
    for parameter in space.parameters:
        if parameter.path in ("estimator", "prune.method"):
            for value in parameter.samples():
                check_name(parameter.path, str(value), base_dir)


def _early_stop(spec: SweepSpec) -> str:
    """Return when trials end before their budgets are met, in words."""
    rule = spec.early_stop
    if rule is None:
        return "off"
    later = ", ".join(str(rule.first_step * rule.factor**k) for k in range(3))
    return (
        f"at step {later}, ... the best 1 in {rule.factor} by non-domination rank go on, and those "
        f"that no trial leads by {rule.margin:.0%} of every objective's range"
    )


def _check_budgets(spec: SweepSpec, corners: Sequence[_Corner | EdgeCorner]) -> None:
    faults = [corner.fault for corner in corners if corner.fault]
    if len(faults) == len(corners):
        raise BudgetError(f"{spec.name}: {faults[-1]}")


def _costs(corners: list[_Corner]) -> Iterator[CostRow]:
    part = corners[0].prepared.plan.part
    for name in (*RESOURCES, "latency_cycles", "ii_cycles"):
        values = [v for c in corners if (v := c.estimate.quantities()[name]) is not None]
        if not values:
            yield CostRow(name, None, None, None, None)
            continue
        available = getattr(part, name, None)
        share = max(values) / available if available else None
        countable = name in ("dsp", "bram18")
        least = min(float(c.least[name]) for c in corners) if countable else None
        yield CostRow(name, min(values), max(values), share, least)


def _reference(
    spec: SweepSpec, dense: Sequence[Mapping[str, float | None]], n_classes: int
) -> dict[str, float]:
    """Return the worst value of each objective: chance, or a bit beyond the dearest corner."""
    reference: dict[str, float] = {}
    for name in spec.objectives:
        if DIRECTIONS[name] == "max":
            reference[name] = 1.0 / n_classes if name == "val_accuracy" else 0.0
            continue
        values = [v for corner in dense if (v := corner.get(name)) is not None]
        reference[name] = _MARGIN * max(values, default=1.0)
    return reference


def _tools() -> list[ToolRow]:
    programs = [ToolRow(name, shutil.which(name), why) for name, why in _TOOLS.items()]
    packages = [
        ToolRow(name, "installed" if importlib.util.find_spec(name) else None, why)
        for name, why in _EXTRAS.items()
    ]
    return programs + packages
