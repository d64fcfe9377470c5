"""How the dense network is pruned toward its budgets."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from rfprune.core.added_keys import added
from rfprune.core.registry import nearest
from rfprune.spec.agent import AgentSpec
from rfprune.spec.base import StrictSpec
from rfprune.spec.ebops import EbopsSpec
from rfprune.spec.targets import TARGETS
from rfprune.spec.widths import WidthsSpec

__all__ = ["Budget", "LayerPruning", "PruneSpec", "RegularizerSpec", "budget_amount"]

Structure = Literal["auto", "weight", "dsp", "bram", "filter", "block"]
# A file has lists, and strict models take no list for a tuple.
Block = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

_BUDGET_TEXT = re.compile(r"^\s*([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)\s*(%?)\s*$")


def _budget(value: Any) -> Budget:
    """Check one budget, or both ends of a range of them."""
    if not isinstance(value, dict):
        return _amount(value)
    if set(value) != set(_ENDS):
        raise ValueError(
            f"a range has {' and '.join(_ENDS)} and nothing else (given: {', '.join(value)})"
        )
    low, high = ends = [_amount(value[end]) for end in _ENDS]
    amounts = [_in_words(end) for end in ends]
    # Of a fraction and an amount the network decides which is larger.
    if amounts[0][1] == amounts[1][1] and amounts[0][0] >= amounts[1][0]:
        raise ValueError(
            f"low {low} is not below high {high}; a range is walked from high to low, so that "
            f"they may be swapped: {{low: {high}, high: {low}}}"
        )
    if amounts[0][0] <= 0:
        raise ValueError(f"low {low} must be above 0, since each step takes the same part away")
    return dict(zip(_ENDS, ends, strict=True))


def _in_words(value: float | str) -> tuple[float, str]:
    """Return the number of a budget, and whether it is an amount or a fraction."""
    if isinstance(value, str):
        match = _BUDGET_TEXT.match(value)
        assert match is not None
        return float(match[1]) / (100 if match[2] else 1), "fraction" if match[2] else "amount"
    return value, "fraction" if value <= 1 else "amount"


def _amount(value: Any) -> float | str:
    """Check one budget; whether the text is too much or too little is seen with the network."""
    if isinstance(value, str):
        match = _BUDGET_TEXT.match(value)
        if match is None or (match[2] and float(match[1]) > 100):
            raise ValueError(
                f"'{value}' is not a budget. Allowed: a number (up to 1 a fraction of the dense "
                'network\'s, above 1 an amount), or text: "1" for one unit, "30 %" for a fraction'
            )
        return value
    # bool is a subclass of int, and `dsp: true` must not become a budget of 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    if value < 0:
        raise ValueError("must be at least 0")
    return float(value)


#: One budget, or a range by its ends.
Budget = float | str | dict[str, float | str]
_ENDS = ("low", "high")
_ONE: list[Any] = [{"type": "number", "minimum": 0}, {"type": "string"}]

Amount = Annotated[
    Budget,
    PlainValidator(_budget),
    WithJsonSchema(
        {
            "anyOf": [
                *_ONE,
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": list(_ENDS),
                    "properties": {end: {"anyOf": _ONE} for end in _ENDS},
                },
            ],
            "title": "Budget",
        }
    ),
]


def budget_amount(value: Budget, dense: float, end: Literal["low", "high"] = "low") -> float:
    """Return a budget as an amount, given what the dense network uses; never more than that.

    A number up to 1 is a fraction of the dense network's use and a larger one an amount. Text says
    which of the two is meant: ``"1"`` is one unit, ``"30 %"`` a fraction.

    Args:
        value: as the file says it; text has been checked by `PruneSpec`.
        dense: use of the dense network, in units of the resource.
        end: which one of a range.
    """
    if isinstance(value, dict):
        value = value[end]
    if isinstance(value, str):
        match = _BUDGET_TEXT.match(value)
        assert match is not None
        number = float(match[1])
        wanted = number / 100 * dense if match[2] else number
    else:
        # 1 is all of it, not one unit; one unit has to be written as text.
        wanted = value * dense if value <= 1 else value
    # Not an error: another reuse factor of the same sweep may use more.
    return min(wanted, dense)


class RegularizerSpec(StrictSpec):
    """Group lasso: weight * sum over groups of sqrt(size of the group) * its L2 norm."""

    weight: NonNegative = 1e-3
    form: Literal["gradient", "proximal"] = "gradient"
    release_epochs: Annotated[int, Field(ge=0)] = Field(
        3, description="last epochs of each step, without the regularizer, to undo its bias"
    )
    release_rate: PositiveFloat = Field(
        2.0,
        description="learning rate at the start of the released epochs, as a multiple of that of "
        "fine-tuning; it falls to 0 until the step ends",
    )
    priced: bool = Field(
        False, description="scale each group's penalty by its cost at the knapsack's prices"
    )


class LayerPruning(StrictSpec):
    """Pruning settings of one layer; keys that are not set are taken from `PruneSpec`."""

    prune: bool = True
    structure: Structure | None = None
    block: Block | None = None
    floor: Annotated[int, Field(ge=0)] | None = Field(
        None, description="least number of groups that are kept"
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
        description="outputs and inputs of a group of structure block, e.g. [4, 8]; enlarged until "
        "it holds whole multipliers",
    )
    budget: dict[str, Amount] = Field(
        {"dsp": 0.3},
        description="by resource: a number up to 1 is a fraction of the dense network's use, a "
        'larger one an amount; as text, "1" is one unit and "30 %" a fraction; {low: 0.03, '
        "high: 0.4} is walked from high to low by one trial, each step by the same factor; for an "
        "edge device the resources are kernels, macs and energy_mj",
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
        None, description="learning rate of fine-tuning; train.learning_rate if not set"
    )
    sort_neurons: bool = Field(
        True, description="first put strong hidden neurons side by side, into the same groups"
    )
    distillation: Fraction = Field(
        0.5, description="weight of the dense network's answers relative to the targets"
    )
    learning_rate_schedule: Literal["constant", "cosine"] | None = Field(
        None, description="within each step; train.learning_rate_schedule if not set"
    )
    fixed_point: bool = Field(
        False, description="fine-tune through the rounding of the layers' hls4ml types"
    )
    tolerance: Fraction = Field(
        0.05,
        description="how much worse than the dense network's score an accepted step may be, as a "
        "fraction of that score",
    )
    tolerance_absolute: NonNegative | None = added(
        None, description="the same in units of the score, in place of `tolerance`"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        1, description="number of rejected steps in a row that pruning tolerates before it stops"
    )
    floor: Annotated[int, Field(ge=0)] = Field(
        1, description="least number of groups that every layer keeps"
    )
    regularizer: RegularizerSpec = RegularizerSpec()
    agent: AgentSpec = Field(AgentSpec(), description="settings of the method akperl")
    widths: WidthsSpec = added(WidthsSpec(), description="settings of the method widths")
    ebops: EbopsSpec = added(EbopsSpec(), description="settings of the method ebops")
    layers: dict[str, LayerPruning] = Field(default_factory=dict)

    @field_validator("budget")
    @classmethod
    def _known_resources(cls, budget: dict[str, Budget]) -> dict[str, Budget]:
        # Of all targets: which one it is, only the whole file says.
        known = [name for facts in TARGETS.values() for name in facts.resources]
        fpga, *others = TARGETS.values()
        unknown = [name for name in budget if name not in known]
        if unknown:
            elsewhere = "; ".join(f"on {o.title} {', '.join(o.resources)}" for o in others)
            raise ValueError(
                f"unknown resource '{unknown[0]}'.{nearest(unknown[0], known)} Allowed: "
                f"{', '.join(fpga.resources)}; {elsewhere}"
            )
        if not budget:
            raise ValueError(f"must not be empty. Allowed: {', '.join(fpga.resources)}")
        return budget

    @model_validator(mode="after")
    def _can_be_walked(self) -> Self:
        if self.walked and self.steps < 2:
            raise ValueError(
                f"budget.{self.walked[0]}: is a range, and {self.steps} step is not a walk. "
                "Allowed: steps of at least 2, or one budget"
            )
        if self.walked and self.method == "widths":
            raise ValueError(
                f"budget.{self.walked[0]}: is a range, and method widths walks a ladder of its own "
                "(widths.ladder). Allowed: the last budget"
            )
        return self

    @property
    def walked(self) -> list[str]:
        """Resources whose budget is a range, which a trial walks from its high to its low end."""
        return [name for name, value in self.budget.items() if isinstance(value, dict)]

    def layer(self, name: str) -> LayerPruning:
        """Return the settings of a layer; what it does not set itself is taken from here.

        That includes ``regularizer_weight``, which comes from `regularizer`.
        """
        own = self.layers.get(name, LayerPruning())
        usual = {
            "structure": self.structure,
            "block": self.block,
            "floor": self.floor,
            "regularizer_weight": self.regularizer.weight,
        }
        missing = {key: value for key, value in usual.items() if getattr(own, key) is None}
        return own.model_copy(update=missing)
