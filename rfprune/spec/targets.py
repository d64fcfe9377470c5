"""What a network can run on, by the section of the file that names it.

One row per target: what files may say of it and what it measures. The target itself, with all that
it imports, is found by name when it is needed (`rfprune.trial.target`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rfprune.core.quantities import RESOURCES, Quantity
from rfprune.hardware.parts import find_part

__all__ = ["TARGETS", "TargetFacts"]


def _no_limit(section: Mapping[str, Any]) -> dict[str, float]:
    return {}


def _of_the_part(section: Mapping[str, Any]) -> dict[str, float]:
    part = find_part(str(section["part"]))
    return {name: float(getattr(part, name)) for name in RESOURCES}


@dataclass(frozen=True)
class TargetFacts:
    """One kind of target.

    Attributes:
        section: key of a trial file that describes it.
        title: with its article, for messages.
        target: ``module:attribute`` of the `rfprune.trial.target.Target`.
        resources: what a budget may limit, in the order of the resource axis.
        quantities: what is measured of a network on it.
        cost: the quantity that stands for all costs where none is asked for.
        shown: quantities in the order in which tables show them; those of the task come first.
        budget: of a trial that names none; None = as `PruneSpec` says.
        own_keys: dotted keys outside of its section that only it has.
        ends: the low and high ends of intervals, which conditions may name.
        in_floats: whether it computes in floats; otherwise scores are those of its own numbers, and
            the float ones are kept beside them.
        outside: dotted keys that change neither what is built of a network nor its numbers, only
            what it costs.
        capacity: returns, given its section of a trial as plain values, how much it has of each
            resource that limits what fits.
    """

    section: str
    title: str
    target: str
    resources: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    cost: str
    shown: tuple[str, ...]
    budget: Mapping[str, float] | None = None
    own_keys: tuple[str, ...] = ()
    ends: tuple[Quantity, ...] = ()
    in_floats: bool = True
    outside: tuple[str, ...] = ()
    capacity: Callable[[Mapping[str, Any]], dict[str, float]] = _no_limit


#: What an estimate on an FPGA gives an interval for.
_BETWEEN = (*RESOURCES, "latency_cycles", "ii_cycles", "reachable_ns")

_FPGA = TargetFacts(
    section="hardware",
    title="an FPGA",
    target="rfprune.fpga.target:FPGA",
    resources=RESOURCES,
    quantities=(
        Quantity("dsp", "min", "DSP blocks"),
        Quantity("bram18", "min", "block RAM (18 Kb blocks)"),
        Quantity("lut", "min", "look-up tables"),
        Quantity("ff", "min", "flip-flops"),
        Quantity("latency_cycles", "min", "latency (clock cycles)"),
        Quantity("ii_cycles", "min", "initiation interval (clock cycles)"),
        Quantity("latency_ns", "min", "latency (ns)"),
        Quantity("reachable_ns", "min", "clock period that can be reached (ns)"),
        Quantity("fits", "max", "fits the part (1 = yes)"),
    ),
    cost="dsp",
    shown=("dsp", "fits", "latency_cycles", "bram18", "lut", "ff", "ii_cycles", "sparsity"),
    in_floats=False,
    outside=("hardware.part", "hardware.clock_ns", "estimator"),
    capacity=_of_the_part,
    own_keys=(
        "estimator",
        "prune.structure",
        "prune.block",
        "prune.sort_neurons",
        "prune.fixed_point",
        "prune.regularizer.priced",
    ),
    ends=tuple(
        Quantity(f"{name}.{end}", "min", f"{name}, {end} end of the 90 % interval")
        for name in _BETWEEN
        for end in ("low", "high")
    ),
)

_EDGE = TargetFacts(
    section="edge",
    title="an edge device",
    target="rfprune.edge.target:EDGE",
    # Kernels (filters) that are left, multiply-accumulates and energy of one image.
    resources=("kernels", "macs", "energy_mj"),
    quantities=(
        Quantity("kernels", "min", "kernels that are left"),
        Quantity("kernel_sparsity", "max", "fraction of pruned kernels", "fraction"),
        Quantity("macs", "min", "multiply-accumulates per image"),
        Quantity("parameters", "min", "parameters"),
        Quantity("inference_ms", "min", "inference time per image (ms)"),
        Quantity("energy_mj", "min", "energy per image (mJ)"),
    ),
    cost="energy_mj",
    shown=(
        *("energy_mj", "inference_ms", "power_mw", "macs", "parameters"),
        *("kernel_sparsity", "sparsity"),
    ),
    # `PruneSpec` would ask for DSPs.
    budget={"energy_mj": 0.5},
)

#: By section. The first one is what a file means that names none.
TARGETS: dict[str, TargetFacts] = {facts.section: facts for facts in (_FPGA, _EDGE)}
