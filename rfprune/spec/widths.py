"""How a value is chosen for every weight and a width for every activation (method ``widths``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from rfprune.spec.base import StrictSpec

__all__ = ["WidthsSpec"]

Fraction = Annotated[float, Field(gt=0, lt=1)]


class WidthsSpec(StrictSpec):
    """Settings of the method widths; a step is one rung of a ladder of budgets."""

    ladder: Fraction = Field(
        0.6, description="budget of a step as a fraction of that of the step before it"
    )
    early: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25,
        description="part of prune.epochs_per_step that the first step trains; it rises to all of "
        "them at the middle step",
    )
    digits: Annotated[int, Field(ge=1, le=8)] = Field(
        4, description="most signed digits of a weight"
    )
    fraction_bits: Annotated[int, Field(ge=0, le=12)] = Field(
        7,
        description="bits of a weight behind the point; with strategy latency the most, since each "
        "layer's are chosen with the values",
    )
    l1: Annotated[float, Field(ge=0)] = Field(
        3e-4, description="L1 on weights, by what a digit of each costs, while they are chosen"
    )
    reselect_every: PositiveInt = Field(20, description="updates between two choices")
    falling: Fraction = Field(0.4, description="part of a step in which the budget falls")
    choosing: Fraction = Field(
        0.8, description="part of a step in which it is chosen; then the choice stays"
    )
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="of the weights over the last quarter of a step; 0 = the last weights"
    )
    decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="of a weight that is zero now, per update; it can come back"
    )
    descent: Annotated[int, Field(ge=0)] = Field(
        500,
        description="most weights that are not zero at which the end of a step tries the "
        "neighbours of every value on the training rows, and keeps what lowers the loss; 0 = never "
        "(strategy distributed_arithmetic without a backend)",
    )
    activation_weight: PositiveFloat = Field(
        4.0, description="by how much more the rounding of an activation counts"
    )
    activations: bool = Field(
        True, description="choose the width of every activation; else all have fraction_bits"
    )
