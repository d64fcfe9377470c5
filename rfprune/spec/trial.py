"""The trial file: one network, one data set, one FPGA, one way to prune.

`TrialSpec.key` names a trial by its content; `TrialSpec.dense_key` names the part of it that
decides the dense network, so that trials which differ only in pruning share one dense training.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from rfprune.data.spec import DataSpec
from rfprune.hardware.parts import find_part
from rfprune.hardware.precision import FixedType
from rfprune.models.spec import ModelSpec
from rfprune.quantities import RESOURCES
from rfprune.registry import nearest
from rfprune.spec.base import StrictSpec

__all__ = [
    "HardwareSpec",
    "LayerHardware",
    "LayerPruning",
    "PruneSpec",
    "RegularizerSpec",
    "TrainSpec",
    "TrialSpec",
]

Strategy = Literal["auto", "latency", "resource", "resource_unrolled"]
Structure = Literal["auto", "weight", "dsp", "bram", "filter"]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


def _fixed(text: str | None) -> str | None:
    return None if text is None else str(FixedType.parse(text))


class LayerHardware(StrictSpec):
    """Hardware settings of one layer; what is not set here is taken from `HardwareSpec`."""

    reuse_factor: PositiveInt | None = None
    strategy: Strategy | None = None
    precision: str | None = Field(None, description="type of weights, bias and result")
    weight_precision: str | None = Field(None, description="type of the weights alone")

    _check_precision = field_validator("precision", "weight_precision")(_fixed)


class HardwareSpec(StrictSpec):
    """The FPGA, and how hls4ml maps the network onto it."""

    part: str = Field("xcvu13p-flga2577-2-e", description="part number or board name")
    clock_ns: PositiveFloat = Field(5.0, description="clock period in ns")
    backend: Literal["Vitis", "Vivado"] = "Vitis"
    io_type: Literal["io_parallel", "io_stream"] = "io_parallel"
    strategy: Strategy = Field(
        "auto",
        description="auto: latency at reuse factor 1, resource_unrolled above "
        "(the two strategies in which pruned groups vanish)",
    )
    precision: str = Field("fixed<16,6>", description="every type that is not set otherwise")
    weight_precision: str | None = None
    reuse_factor: PositiveInt = 1
    layers: dict[str, LayerHardware] = Field(
        default_factory=dict, description="settings by layer name"
    )

    _check_precision = field_validator("precision", "weight_precision")(_fixed)

    @field_validator("part")
    @classmethod
    def _known_part(cls, name: str) -> str:
        find_part(name)
        return name


class TrainSpec(StrictSpec):
    """Training of the dense network; fine-tuning uses the same batch size and optimizer."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 256
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 3e-3
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: NonNegative = 0.0
    device: Literal["auto", "cpu", "cuda"] = "auto"


class RegularizerSpec(StrictSpec):
    """Group lasso: weight * sum over groups of sqrt(size of the group) * its L2 norm."""

    weight: NonNegative = 0.0
    form: Literal["gradient", "proximal"] = "gradient"
    release_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="last epochs of each step without the regularizer, which undo its bias"
    )
    priced: bool = Field(False, description="scale each group by what the knapsack's prices ask")


class LayerPruning(StrictSpec):
    """Pruning settings of one layer; what is not set here is taken from `PruneSpec`."""

    prune: bool = True
    structure: Structure | None = None
    floor: Annotated[int, Field(ge=0)] | None = Field(
        None, description="groups that are kept at least"
    )
    regularizer_weight: NonNegative | None = None


class PruneSpec(StrictSpec):
    """How the dense network is pruned toward its budgets."""

    method: str = Field("knapsack", description="see `rfprune list methods`")
    score: Literal["l1", "l2", "taylor", "fisher", "random"] = "l2"
    normalize: Literal["none", "layer_max", "layer_mean", "size"] = Field(
        "none", description="how scores are made comparable over layers"
    )
    structure: Structure = "auto"
    budget: dict[str, NonNegative] = Field(
        default_factory=lambda: {"dsp": 0.3},
        description="per resource: up to 1 a fraction of the dense network's, above 1 a count",
    )
    schedule: Literal["constant", "cubic", "binary"] = "cubic"
    steps: PositiveInt = 8
    epochs_per_step: PositiveInt = 3
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(
        2, description="epochs with the regularizer before the first step (none if its weight is 0)"
    )
    regrow_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="unmasked epochs after each step, in which pruned groups may come back"
    )
    learning_rate: PositiveFloat | None = Field(
        None, description="of fine-tuning; train.learning_rate if not set"
    )
    distillation: Fraction = Field(
        0.0, description="weight of the dense network's probabilities against the labels"
    )
    learning_rate_schedule: Literal["constant", "cosine"] | None = Field(
        None, description="within each step; train.learning_rate_schedule if not set"
    )
    fixed_point: bool = Field(
        False, description="fine-tune through the rounding of the layers' hls4ml types"
    )
    tolerance: Fraction = Field(
        0.05, description="a step is accepted while val_accuracy >= (1 - tolerance) * dense"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        1, description="failed steps in a row after which pruning stops"
    )
    floor: Annotated[int, Field(ge=0)] = Field(
        1, description="groups that every layer keeps at least"
    )
    regularizer: RegularizerSpec = RegularizerSpec()
    layers: dict[str, LayerPruning] = Field(default_factory=dict)

    @field_validator("budget")
    @classmethod
    def _known_resources(cls, budget: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in budget if name not in RESOURCES]
        if unknown:
            near = nearest(unknown[0], RESOURCES)
            raise ValueError(
                f"unknown resource '{unknown[0]}'.{near} Allowed: {', '.join(RESOURCES)}"
            )
        if not budget:
            raise ValueError(f"names no resource. Allowed: {', '.join(RESOURCES)}")
        return budget


class TrialSpec(StrictSpec):
    """One trial: everything that decides its result."""

    model: ModelSpec
    data: DataSpec
    hardware: HardwareSpec = HardwareSpec()
    train: TrainSpec = TrainSpec()
    prune: PruneSpec = PruneSpec()
    estimator: str = Field("analytic", description="see `rfprune list estimators`")
    seed: int = 0

    def canonical(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, every default written out."""
        return self.model_dump(mode="json")

    @property
    def key(self) -> str:
        """Twelve hex digits that name this trial by its content."""
        return _digest(self.canonical())

    @property
    def dense_key(self) -> str:
        """Twelve hex digits that name the dense network: equal keys, equal dense training."""
        whole = self.canonical()
        return _digest({name: whole[name] for name in ("model", "data", "train", "seed")})


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
