"""The edge device of a trial, in place of an FPGA: what runs the network, and what may be pruned.

Names of devices are looked up in `rfprune.edge.monitor`, names of layers in the network.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from rfprune.core.added_keys import added
from rfprune.core.paths import NamesFile
from rfprune.spec.base import StrictSpec

__all__ = ["ConditionsSpec", "EdgeSpec", "MeterSpec"]

Fraction = Annotated[float, Field(ge=0, le=1)]


class ConditionsSpec(StrictSpec):
    """Input conditions that the agent learns for, besides the clean one; 0 leaves one out."""

    noise: Annotated[float, Field(ge=0)] = Field(
        0.0, description="standard deviation of white noise, in units of the network's input"
    )
    dark: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="fraction of the brightness that is missing"
    )


class MeterSpec(StrictSpec):
    """A meter of your own: a file or command that says power or energy, or a powercap tree."""

    file: str | None = Field(
        None, description="file whose first word is the value now, e.g. of a sensor's driver"
    )
    command: str | None = Field(
        None, description="shell command that prints the value; run again and again while measuring"
    )
    powercap: str | None = Field(
        None, description="folder with RAPL counters as in /sys/class/powercap, e.g. in a container"
    )
    unit: Literal["uw", "mw", "w", "uj", "mj", "j"] = Field(
        "w", description="of a power (uw, mw, w), or of an energy that is counted up (uj, mj, j)"
    )
    every: PositiveFloat | None = Field(
        None, description="seconds between two readings; 0.1 for a file, 0.5 for a command"
    )

    @model_validator(mode="after")
    def _one_source(self) -> MeterSpec:
        given = [n for n in ("file", "command", "powercap") if getattr(self, n) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise ValueError(f"{said} given. Allowed: one of file, command, powercap")
        # Counters of powercap say their unit themselves.
        if given == ["powercap"] and self.model_fields_set & {"unit", "every"}:
            raise ValueError("unit and every are for file and command; a powercap tree has its own")
        return self


class EdgeSpec(StrictSpec):
    """A device with a processor; whole kernels of convolutions are pruned for it."""

    device: Annotated[str, NamesFile((".yml", ".yaml"))] = Field(
        "raspberry_pi_4", description="see `rfprune list devices`, or the YAML file of a profile"
    )
    batch_size: PositiveInt = Field(
        1, description="images processed together; the weights are read once for all of them"
    )
    images_per_second: PositiveFloat | None = Field(
        None, description="rate at which images arrive; back to back if not set"
    )
    precision: Literal["fp32", "int8"] = Field(
        "fp32", description="arithmetic for which time and energy are computed"
    )
    time: Literal["estimated", "measured"] = Field(
        "estimated",
        description="estimated: computed from the device's profile, the same on every machine; "
        "measured: on the machine that runs the trial, which must be the device",
    )
    meter: Literal["auto", "rapl", "nvml", "ina", "none"] | MeterSpec = added(
        "auto",
        description="what energy is read from with time: measured. auto: RAPL or NVML, else INA "
        "sensors, else energy is estimated; a name or a meter of your own: must be there",
    )
    layers: list[str] | None = Field(
        None,
        description="convolutions and dense layers to prune, or patterns such as features.*; all "
        "if not set",
    )
    levels: list[Fraction] = Field(
        [0.0, 0.25, 0.5, 0.75, 1.0], description="fractions of a layer that the agent may prune"
    )
    conditions: ConditionsSpec = Field(
        ConditionsSpec(),
        description="input conditions for the agent; only the clean one if not set",
    )
    agent_rows: PositiveInt = Field(
        512, description="validation rows on which the agent measures accuracy"
    )
    agent_measure: Literal["accuracy", "probability"] = Field(
        "accuracy",
        description="what the agent uses as accuracy; probability: the mean probability of the "
        "right class, which distinguishes networks that are not fine-tuned yet",
    )
    settling_rows: Annotated[int, Field(ge=0)] = Field(
        512,
        description="training rows from which batch norm statistics are recomputed before the "
        "agent measures; 0: keep the dense network's statistics",
    )

    agent_network: Literal["dense", "shared"] = added(
        "dense",
        description="the network of which the agent measures smaller ones; shared: a copy of the "
        "dense one that was trained while kernels came and went, which tells better what "
        "fine-tuning makes of them",
    )
    shared_epochs: PositiveInt = added(4, description="epochs of that training")
    agent_budgets: list[Annotated[float, Field(gt=0, le=1)]] = added(
        [],
        description="further budgets, parts of what the dense network uses, that the agent learns "
        "for in the same episodes; its policy then answers others between them at once",
    )
    agent_policy: Annotated[str | None, NamesFile((".pt",))] = added(
        None,
        description="policy.pt of an earlier trial, which answers in place of learning",
    )

    @model_validator(mode="after")
    def _settles_what_is_shared(self) -> EdgeSpec:
        if self.agent_network == "shared" and self.settling_rows == 0:
            raise ValueError(
                "agent_network: shared needs settling_rows above 0, since the norms of a shared "
                "network are those of no network in particular"
            )
        return self

    @model_validator(mode="after")
    def _meters_what_is_measured(self) -> EdgeSpec:
        # A meter that is named and not read would be believed in.
        if self.time != "measured" and self.meter not in ("auto", "none"):
            raise ValueError(
                "meter is read only with time: measured; set that too, or leave it out"
            )
        return self

    @field_validator("levels")
    @classmethod
    def _rising_from_zero(cls, levels: list[float]) -> list[float]:
        rising = all(a < b for a, b in itertools.pairwise(levels))
        if len(levels) < 2 or levels[0] != 0 or not rising:
            raise ValueError(f"{levels} does not ascend from 0. Allowed: e.g. [0, 0.5, 1]")
        return levels

    @field_validator("layers")
    @classmethod
    def _names_a_layer(cls, layers: list[str] | None) -> list[str] | None:
        if layers == []:
            raise ValueError(
                "must not be empty. Allowed: paths of convolutions; leave the key out for all"
            )
        return layers
