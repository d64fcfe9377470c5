"""How a width for every weight and activation is learned by gradient (method ``ebops``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from rfprune.spec.base import StrictSpec

__all__ = ["EbopsSpec"]


class EbopsSpec(StrictSpec):
    """Settings of the method ebops; its ladder and schedule are those of `WidthsSpec`."""

    rate: PositiveFloat = Field(0.03, description="learning rate of the bits behind each point")
    gain: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1,
        description="of the price per bit operation, per update: by how much it grows while more "
        "is used than the budget says, relative to that",
    )
    first_bits: Annotated[int, Field(ge=1, le=12)] = Field(
        6, description="bits behind the point of weights and activations where a ladder begins"
    )
