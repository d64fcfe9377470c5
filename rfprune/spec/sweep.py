"""The sweep file: a trial file with a search space, objectives and a budget of trials."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from rfprune.quantities import DIRECTIONS, EDGE, FPGA
from rfprune.registry import nearest
from rfprune.spec.base import StrictSpec
from rfprune.spec.space import Entry
from rfprune.spec.trial import TrialSpec

__all__ = [
    "Condition",
    "EarlyStopSpec",
    "SamplerSpec",
    "SweepSpec",
    "TrialResources",
    "parse_condition",
]

_CONDITION = re.compile(r"^\s*([a-z_0-9]+)\s*(<=|>=|==|!=|<|>)\s*([-+0-9.eE]+)\s*$")
#: Names that a condition may use besides the measured quantities.
_FLAGS = ("feasible", "fits", "trial", "step")


class Condition(StrictSpec):
    """One condition on a measured quantity, e.g. ``dsp <= 60``."""

    name: str
    operator: Literal["<=", ">=", "<", ">", "==", "!="]
    bound: float

    def excess(self, value: float | None) -> float:
        """Return by how much `value` breaks the condition; <= 0 where it holds, inf if unknown."""
        if value is None:
            return float("inf")
        over = value - self.bound
        if self.operator in ("<=", "<"):
            return over if over != 0 else (0.0 if self.operator == "<=" else 1e-12)
        if self.operator in (">=", ">"):
            return -over if over != 0 else (0.0 if self.operator == ">=" else 1e-12)
        return abs(over) if self.operator == "==" else (1.0 if over == 0 else 0.0)

    def holds(self, value: float | None) -> bool:
        """Return whether `value` meets the condition; an unknown value does not."""
        return self.excess(value) <= 0

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.bound:g}"


def parse_condition(text: str) -> Condition:
    """Read ``dsp<=60`` or ``val_accuracy >= 0.9``.

    Raises:
        ValueError: the text is no condition, or names an unknown quantity.
    """
    match = _CONDITION.match(text)
    if match is None:
        raise ValueError(
            f"'{text}' is no condition. Allowed: NAME OPERATOR NUMBER with one of "
            "<= >= < > == !=, e.g. 'dsp<=60'"
        )
    name, operator, number = match.groups()
    allowed = (*DIRECTIONS, *_FLAGS)
    if name not in allowed:
        raise ValueError(
            f"'{text}' names the unknown quantity '{name}'.{nearest(name, allowed)} "
            f"Allowed: {', '.join(allowed)}"
        )
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"'{text}': '{number}' is no number") from None
    return Condition.model_validate({"name": name, "operator": operator, "bound": bound})


class SamplerSpec(StrictSpec):
    """How the next point of the search space is chosen."""

    name: Literal["auto", "tpe", "nsga2", "nsga3", "gp", "qmc", "random", "grid"] = "auto"
    seed: int = 0


class EarlyStopSpec(StrictSpec):
    """When a trial ends early because others are ahead of it at the same pruning step."""

    first_step: PositiveInt = Field(2, description="pruning step at which trials are compared")
    factor: Annotated[int, Field(ge=2)] = Field(
        2, description="one in so many goes on in any case; the next comparison is so many times on"
    )
    margin: NonNegativeFloat = Field(
        0.05, description="how far ahead another trial must be, as a part of each objective's range"
    )


class TrialResources(StrictSpec):
    """What one trial occupies while it runs."""

    cpus: PositiveFloat = 1
    gpus: NonNegativeFloat = 0
    memory_gb: PositiveFloat | None = None


class SweepSpec(TrialSpec):
    """A search over trials. Every key of a trial file holds here too and is the starting point."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    search: dict[str, Entry] = Field(min_length=1, description="search space by dotted path")
    objectives: dict[str, Literal["max", "min"]] = Field(
        {"val_accuracy": "max", "dsp": "min"}, min_length=1
    )
    constraints: list[str] = Field(default_factory=list, description="e.g. 'dsp <= 500'")
    reference_point: dict[str, float] | None = Field(
        None, description="of the hypervolume; fixed from the dense networks if not set"
    )
    sampler: SamplerSpec = SamplerSpec()
    trials: PositiveInt = 24
    early_stop: EarlyStopSpec | None = Field(
        None, description="end trials that others dominate at the same step; off if not set"
    )
    start: list[dict[str, bool | int | float | str]] = Field(
        default_factory=list, description="points that are tried first"
    )
    resources: TrialResources = TrialResources()
    retries: Annotated[int, Field(ge=0)] = Field(
        1, description="further attempts after a trial's process has died"
    )
    storage: str | None = Field(None, description="URL of the study; a journal file if not set")

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, objectives: dict[str, str]) -> dict[str, str]:
        for name, direction in objectives.items():
            if name == "accuracy":
                raise ValueError(
                    "'accuracy' is the test accuracy, which is only reported; the search may look "
                    "at 'val_accuracy'"
                )
            if name not in DIRECTIONS:
                raise ValueError(
                    f"unknown objective '{name}'.{nearest(name, DIRECTIONS)} "
                    f"Allowed: {', '.join(DIRECTIONS)}"
                )
            if direction != DIRECTIONS[name]:
                raise ValueError(f"'{name}' is better when {DIRECTIONS[name]}, not {direction}")
        return objectives

    @field_validator("constraints")
    @classmethod
    def _readable_constraints(cls, constraints: list[str]) -> list[str]:
        conditions = [parse_condition(text) for text in constraints]
        for condition in conditions:
            if condition.name == "accuracy":
                raise ValueError(
                    f"'{condition}': test accuracy is only reported; a constraint may look at "
                    "'val_accuracy'"
                )
        return [str(condition) for condition in conditions]

    @model_validator(mode="before")
    @classmethod
    def _objectives_of_the_device(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("edge") is None or "objectives" in values:
            return values
        return {**values, "objectives": {"val_accuracy": "max", "energy_mj": "min"}}

    @model_validator(mode="after")
    def _measured_on_the_device(self) -> SweepSpec:
        absent, device = (EDGE, "an FPGA") if self.edge is None else (FPGA, "an edge device")
        asked = [*self.objectives, *(condition.name for condition in self.conditions)]
        for name in (name for name in asked if name in absent):
            allowed = [known for known in DIRECTIONS if known not in (*absent, "accuracy")]
            raise ValueError(
                f"'{name}' is not measured in a trial for {device}. Allowed: {', '.join(allowed)}"
            )
        return self

    @model_validator(mode="after")
    def _reference_covers_objectives(self) -> SweepSpec:
        missing = [name for name in self.objectives if name not in (self.reference_point or {})]
        if self.reference_point is not None and missing:
            raise ValueError(
                f"reference_point has no value for the objective '{missing[0]}'. "
                f"Needed: {', '.join(self.objectives)}"
            )
        return self

    @field_validator("storage")
    @classmethod
    def _an_address(cls, storage: str | None) -> str | None:
        if storage is not None and "://" not in storage:
            raise ValueError(
                "must be an address: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME or "
                "mysql://USER:PASSWORD@HOST/NAME; leave it out for a journal file in the sweep's "
                "folder"
            )
        return storage

    @property
    def conditions(self) -> list[Condition]:
        """The constraints, parsed."""
        return [parse_condition(text) for text in self.constraints]
