"""The edge device of a trial, in place of an FPGA: what runs the network, and what may be pruned.

Names of devices are looked up in `rfprune.monitor`, names of layers in the network.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from rfprune.spec.base import StrictSpec

__all__ = ["ConditionsSpec", "EdgeSpec"]

Fraction = Annotated[float, Field(ge=0, le=1)]


class ConditionsSpec(StrictSpec):
    """Conditions of the input that the agent learns for, beside the clean one; 0 leaves one out."""

    noise: Annotated[float, Field(ge=0)] = Field(
        0.0, description="standard deviation of white noise, in units of the network's input"
    )
    dark: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="part of the brightness that is missing"
    )


class EdgeSpec(StrictSpec):
    """A device with a processor; whole kernels of convolutions are pruned for it."""

    device: str = Field(
        "raspberry_pi_4", description="see `rfprune list devices`, or the YAML file of a profile"
    )
    batch_size: PositiveInt = Field(
        1, description="images that are computed together; they share one reading of the weights"
    )
    images_per_second: PositiveFloat | None = Field(
        None, description="rate at which images come; one after the other if not set"
    )
    precision: Literal["fp32", "int8"] = Field(
        "fp32", description="arithmetic that time and energy are computed for"
    )
    time: Literal["estimated", "measured"] = Field(
        "estimated",
        description="estimated: bound of the device's profile, the same everywhere; measured: on "
        "the machine that runs the trial, where that is the device",
    )
    layers: list[str] | None = Field(
        None,
        description="convolutions that may be pruned, also patterns as features.*; all if not set",
    )
    levels: list[Fraction] = Field(
        [0.0, 0.25, 0.5, 0.75, 1.0], description="fractions that the agent prunes of a layer"
    )
    conditions: ConditionsSpec = Field(
        ConditionsSpec(), description="of the input, for the agent; only the clean one if not set"
    )
    agent_rows: PositiveInt = Field(
        512, description="validation rows on which the agent measures accuracy"
    )
    agent_measure: Literal["accuracy", "probability"] = Field(
        "accuracy",
        description="what the agent takes for accuracy; probability: the mean that the right class "
        "is given, which tells networks apart that are not fine-tuned yet",
    )
    settling_rows: Annotated[int, Field(ge=0)] = Field(
        512,
        description="training rows on which batch norms are settled before the agent measures; "
        "0: they keep the dense network's statistics",
    )

    @field_validator("levels")
    @classmethod
    def _rising_from_zero(cls, levels: list[float]) -> list[float]:
        rising = all(a < b for a, b in itertools.pairwise(levels))
        if len(levels) < 2 or levels[0] != 0 or not rising:
            raise ValueError(f"{levels} do not rise from 0. Allowed: e.g. [0, 0.5, 1]")
        return levels

    @field_validator("layers")
    @classmethod
    def _names_a_layer(cls, layers: list[str] | None) -> list[str] | None:
        if layers == []:
            raise ValueError("names no layer. Allowed: paths of convolutions, or leave it out")
        return layers
