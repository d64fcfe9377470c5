"""The trial file: one network, one data set, one FPGA, one way to prune.

`TrialSpec.key` names a trial by its content; `TrialSpec.dense_key` names the part of it that
decides the dense network, so that trials which differ only in pruning share one dense training.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from rfprune.data.spec import DataSpec
from rfprune.hardware.parts import find_part
from rfprune.hardware.precision import FixedType
from rfprune.models.spec import ModelSpec
from rfprune.quantities import EDGE_RESOURCES, RESOURCES
from rfprune.registry import nearest
from rfprune.spec.agent import AgentSpec
from rfprune.spec.base import StrictSpec
from rfprune.spec.edge import EdgeSpec

__all__ = [
    "AugmentSpec",
    "HardwareSpec",
    "LayerHardware",
    "LayerPruning",
    "PruneSpec",
    "RegularizerSpec",
    "TrainSpec",
    "TrialSpec",
]

Strategy = Literal["auto", "latency", "resource", "resource_unrolled"]
Structure = Literal["auto", "weight", "dsp", "bram", "filter", "block"]
# A file has lists, and strict models take no list for a tuple.
Block = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


#: What hls4ml 1.3 makes of zero weights elsewhere (``backends/*/*_backend.py``, ``init_dense``).
_KEEPING = {
    "Quartus": "it builds strategy resource for whatever is asked, which reads every weight",
    "oneAPI": "it builds strategy resource for whatever is asked, which reads every weight",
    "Catapult": "it knows no resource_unrolled and silently builds latency in its place",
    "VivadoAccelerator": "it stops at resource_unrolled with 'Unexpected backend'",
    "Libero": "it has no resource_unrolled, and converts only with Microchip's tools installed",
    "SymbolicExpression": "it builds formulas, no layers",
}


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

    @field_validator("backend", mode="before")
    @classmethod
    def _backend_that_prunes(cls, name: Any) -> Any:
        found = next((known for known in _KEEPING if known.lower() == str(name).lower()), None)
        if found is None:
            return name
        raise ValueError(
            f"'{found}' cannot drop pruned groups: {_KEEPING[found]}. Of hls4ml's backends only "
            "Vitis and Vivado generate code that leaves the multipliers of zero weights out. "
            "Allowed: Vitis, or Vivado (Vivado HLS, before 2021)"
        )

    @field_validator("part")
    @classmethod
    def _known_part(cls, name: str) -> str:
        find_part(name)
        return name


class AugmentSpec(StrictSpec):
    """Random changes of training images, drawn anew for every minibatch."""

    crop_padding: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="pixels by which an image is shifted at most in each direction"
    )
    flip: bool = Field(False, description="mirror half of the images left to right")


class TrainSpec(StrictSpec):
    """Training of the dense network; fine-tuning uses the same batch size and optimizer."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 256
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 3e-3
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: NonNegative = 0.0
    augment: AugmentSpec | None = Field(
        None, description="random changes of training images; none if not set"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"


class RegularizerSpec(StrictSpec):
    """Group lasso: weight * sum over groups of sqrt(size of the group) * its L2 norm."""

    weight: NonNegative = 1e-3
    form: Literal["gradient", "proximal"] = "gradient"
    release_epochs: Annotated[int, Field(ge=0)] = Field(
        3, description="last epochs of each step without the regularizer, which undo its bias"
    )
    release_rate: PositiveFloat = Field(
        2.0,
        description="learning rate at the start of the released epochs, as a multiple of that of "
        "fine-tuning; it falls to 0 until the step ends",
    )
    priced: bool = Field(False, description="scale each group by what the knapsack's prices ask")


class LayerPruning(StrictSpec):
    """Pruning settings of one layer; what is not set here is taken from `PruneSpec`."""

    prune: bool = True
    structure: Structure | None = None
    block: Block | None = None
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
    block: Block | None = Field(
        None,
        description="outputs and inputs of a group of structure block, e.g. [4, 8]; made as large "
        "as holds whole multipliers",
    )
    budget: dict[str, NonNegative] = Field(
        default_factory=lambda: {"dsp": 0.3},
        description="per resource: up to 1 a fraction of the dense network's, above 1 an amount; "
        "on an edge device of kernels, macs or energy_mj",
    )
    schedule: Literal["constant", "cubic", "binary"] = "cubic"
    steps: PositiveInt = 8
    epochs_per_step: PositiveInt = 5
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(
        2, description="epochs with the regularizer before the first step (none if its weight is 0)"
    )
    regrow_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="unmasked epochs after each step, in which pruned groups may come back"
    )
    learning_rate: PositiveFloat | None = Field(
        None, description="of fine-tuning; train.learning_rate if not set"
    )
    sort_neurons: bool = Field(
        True, description="first put strong hidden neurons side by side, into the same groups"
    )
    distillation: Fraction = Field(
        0.5, description="weight of the dense network's probabilities against the labels"
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
    agent: AgentSpec = Field(AgentSpec(), description="of the method akperl")
    layers: dict[str, LayerPruning] = Field(default_factory=dict)

    @field_validator("budget")
    @classmethod
    def _known_resources(cls, budget: dict[str, float]) -> dict[str, float]:
        known = (*RESOURCES, *EDGE_RESOURCES)
        unknown = [name for name in budget if name not in known]
        if unknown:
            raise ValueError(
                f"unknown resource '{unknown[0]}'.{nearest(unknown[0], known)} Allowed: "
                f"{', '.join(RESOURCES)}; on an edge device {', '.join(EDGE_RESOURCES)}"
            )
        if not budget:
            raise ValueError(f"names no resource. Allowed: {', '.join(RESOURCES)}")
        return budget


#: Budget of an edge trial that names none.
_EDGE_BUDGET = {"energy_mj": 0.5}
#: Keys of `PruneSpec` about multipliers, memory words and hls4ml types.
_FPGA_PRUNING = ("structure", "block", "sort_neurons", "fixed_point")


class TrialSpec(StrictSpec):
    """One trial: everything that decides its result."""

    model: ModelSpec
    data: DataSpec
    hardware: HardwareSpec = HardwareSpec()
    edge: EdgeSpec | None = Field(None, description="an edge device, in place of `hardware`")
    train: TrainSpec = TrainSpec()
    prune: PruneSpec = PruneSpec()
    estimator: str = Field("analytic", description="see `rfprune list estimators`")
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _budget_of_the_device(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("edge") is None:
            return values
        prune = values.get("prune", {})
        if not isinstance(prune, dict) or "budget" in prune:
            return values
        return {**values, "prune": {**prune, "budget": _EDGE_BUDGET}}

    @model_validator(mode="after")
    def _one_device(self) -> TrialSpec:
        allowed = RESOURCES if self.edge is None else EDGE_RESOURCES
        for name in self.prune.budget:
            if name not in allowed:
                device = "an FPGA" if self.edge is None else "an edge device"
                raise ValueError(
                    f"prune.budget: '{name}' is no resource of {device}. Allowed: "
                    f"{', '.join(allowed)}"
                )
        if self.edge is not None:
            self._refuse_keys_of_an_fpga()
        return self

    def _refuse_keys_of_an_fpga(self) -> None:
        if "hardware" in self.model_fields_set:
            raise ValueError("give either 'hardware' (an FPGA) or 'edge'; here both are given")
        if self.estimator != type(self).model_fields["estimator"].default:
            raise ValueError(
                f"estimator: '{self.estimator}' is for an FPGA; beside 'edge' leave it out"
            )
        fields = PruneSpec.model_fields
        for name in _FPGA_PRUNING:
            if getattr(self.prune, name) != fields[name].default:
                raise ValueError(f"prune.{name}: is for an FPGA; beside 'edge' leave it out")
        if self.prune.regularizer.priced:
            raise ValueError("prune.regularizer.priced: is for an FPGA; beside 'edge' leave it out")

    def canonical(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, every default of its device written out."""
        absent = {"edge"} if self.edge is None else {"hardware", "estimator"}
        return self.model_dump(mode="json", exclude=absent)

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
