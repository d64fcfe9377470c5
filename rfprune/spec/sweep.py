"""The sweep file: a trial file with a search space, objectives and a budget of trials."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from rfprune.core.added_keys import added
from rfprune.core.quantities import Direction
from rfprune.core.registry import nearest
from rfprune.models.spec import ModelSpec
from rfprune.spec.base import StrictSpec
from rfprune.spec.networks import SEARCHED, OneOrSeveral, several_networks
from rfprune.spec.search import Choices, Entry
from rfprune.spec.targets import TARGETS
from rfprune.spec.trial import TrialSpec
from rfprune.tasks.spec import TaskSpec

__all__ = [
    "FLAGS",
    "Condition",
    "EarlyStopSpec",
    "RunsSpec",
    "SamplerSpec",
    "StopSpec",
    "SweepSpec",
    "TrialResources",
    "parse_condition",
]

_CONDITION = re.compile(
    r"^\s*([A-Za-z_0-9]+(?:\.[A-Za-z_0-9]+)*)\s*(<=|>=|==|!=|<|>)\s*([-+0-9.eE]+)\s*$"
)
_SAMPLERS = ("auto", "curves", "tpe", "nsga2", "nsga3", "gp", "qmc", "random", "grid")
#: Names that a condition may use besides the measured quantities.
FLAGS = ("dense", "feasible", "trial", "step")


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
            # A strict condition is broken by equality; the excess has to be positive, if barely.
            return over if over != 0 else (0.0 if self.operator == "<=" else 1e-12)
        if self.operator in (">=", ">"):
            return -over if over != 0 else (0.0 if self.operator == ">=" else 1e-12)
        # How far a value is from being unequal has no measure, so every case of it is the same.
        return abs(over) if self.operator == "==" else (1.0 if over == 0 else 0.0)

    def holds(self, value: float | None) -> bool:
        """Return whether `value` meets the condition; an unknown value does not."""
        return self.excess(value) <= 0

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.bound:g}"


def parse_condition(text: str, known: Collection[str] | None = None) -> Condition:
    """Read ``dsp<=60`` or ``val_accuracy >= 0.9``.

    Args:
        text: the condition.
        known: names of measured quantities; any name is taken if not given.

    Raises:
        ValueError: the text is not a condition, or names an unknown quantity.
    """
    match = _CONDITION.match(text)
    if match is None:
        raise ValueError(
            f"'{text}' is not a condition. Allowed: NAME OPERATOR NUMBER with one of "
            "<= >= < > == !=, e.g. 'dsp<=60'"
        )
    name, operator, number = match.groups()
    allowed = (*(known or ()), *FLAGS)
    if known is not None and name not in allowed:
        raise ValueError(
            f"'{text}' names the unknown quantity '{name}'.{nearest(name, allowed)} "
            f"Allowed: {', '.join(allowed)}"
        )
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"'{text}': '{number}' is not a number") from None
    return Condition.model_validate({"name": name, "operator": operator, "bound": bound})


class SamplerSpec(StrictSpec):
    """How the next point of the search space is chosen."""

    name: str = Field(
        "auto",
        description="auto, curves, tpe, nsga2, nsga3, gp, qmc, random or grid; hub:PACKAGE of "
        "OptunaHub; or package.module:Sampler",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    args: dict[str, Any] = added({}, description="keyword arguments of a sampler of your own")

    @field_validator("name")
    @classmethod
    def _known_or_own(cls, name: str) -> str:
        if name not in _SAMPLERS and ":" not in name:
            raise ValueError(
                f"'{name}' is none of {', '.join(_SAMPLERS)}, hub:PACKAGE, package.module:Sampler."
                f"{nearest(name, _SAMPLERS)}"
            )
        return name

    @model_validator(mode="after")
    def _args_of_own(self) -> SamplerSpec:
        if self.args and ":" not in self.name:
            raise ValueError(
                f"args: are for hub:PACKAGE and package.module:Sampler, not for '{self.name}'"
            )
        return self


class EarlyStopSpec(StrictSpec):
    """When a trial ends early because others are ahead of it at the same pruning step."""

    first_step: PositiveInt = Field(
        2, description="first pruning step at which trials are compared"
    )
    factor: Annotated[int, Field(ge=2)] = Field(
        2,
        description="keep the best 1/factor at each rung; rungs are at first_step * factor^k",
    )
    margin: NonNegativeFloat = Field(
        0.05, description="how far ahead another trial must be, as a part of each objective's range"
    )
    promote: bool = added(
        False,
        description="let every trial pause at each rung, and the best 1/factor of it continue from "
        "their checkpoints; margin has no part in it",
    )


class StopSpec(StrictSpec):
    """When no further trial begins, although more are wanted; those that run come to their end."""

    stagnation: PositiveInt | None = Field(
        None, description="trials over which the hypervolume has to grow"
    )
    growth: NonNegativeFloat = Field(
        0.001, description="growth over `stagnation` trials that is enough, as a part"
    )
    hours: PositiveFloat | None = Field(
        None,
        description="wall time of one run of the command; a trial that would not end in it, by "
        "those most like it, does not begin",
    )
    cpu_seconds: PositiveFloat | None = Field(
        None, description="seconds of all trials of the sweep, times the CPUs that each holds"
    )

    @model_validator(mode="after")
    def _says_something(self) -> StopSpec:
        if self.stagnation is None and self.hours is None and self.cpu_seconds is None:
            raise ValueError("says nothing. Allowed: stagnation, hours, cpu_seconds")
        return self


class TrialResources(StrictSpec):
    """What one trial occupies while it runs, or several that share it."""

    cpus: PositiveFloat = 1
    gpus: NonNegativeFloat = 0
    memory_gb: PositiveFloat | None = None
    together: Annotated[int, Field(ge=1, le=1024)] = added(
        1,
        description="trials that share what one would occupy; networks of one architecture on the "
        "same rows are trained as one batched network",
    )


class RunsSpec(StrictSpec):
    """What a sweep's folder keeps."""

    keep: Literal["front", "last", "all"] = Field(
        "all",
        description="checkpoints that stay when the sweep ends: the front's; the last one of every "
        "trial as well; all",
    )


class SweepSpec(TrialSpec):
    """A search over trials. It has every key of a trial file; they are the starting point.

    Example::

        spec = rfprune.SweepSpec(
            name="digits",
            model={"name": "mlp"},
            data={"name": "digits"},
            hardware={"part": "pynq-z2"},
            search={"prune.budget.dsp": {"low": 0.1, "high": 0.5}},
            objectives={"val_accuracy": "max", "dsp": "min"},
            trials=20,
        )
        spec.conditions, spec.model_copy(update={"trials": 40}).trials
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    model: Annotated[ModelSpec, OneOrSeveral()] = Field(
        description="the network, or choices: several, of which each trial trains one"
    )
    models: dict[str, ModelSpec] = added(
        {}, description="the networks by label, as made of model.choices"
    )
    search: dict[str, Entry] = Field(min_length=1, description="search space by dotted path")
    objectives: dict[str, Direction] = Field(
        {"val_accuracy": "max", "dsp": "min"},
        min_length=1,
        description="max or min, by quantity; the score and the target's main cost if not set",
    )
    constraints: list[str] = Field(default_factory=list, description="e.g. 'dsp <= 500'")
    reference_point: dict[str, float] | None = Field(
        None, description="of the hypervolume, by objective; from the dense networks if not set"
    )
    sampler: SamplerSpec = SamplerSpec()
    trials: Annotated[int, Field(gt=0, le=1_000_000)] = 24
    early_stop: EarlyStopSpec | None = Field(
        None, description="end trials that others dominate at the same step; off if not set"
    )
    stop: StopSpec | None = added(
        None, description="when the sweep ends before its last trial; off if not set"
    )
    warm_start: list[str] = added(
        [], description="earlier sweeps whose trials the sampler learns from: names or folders"
    )
    start: list[dict[str, bool | int | float | str]] = Field(
        default_factory=list, description="points that are tried first"
    )
    resources: TrialResources = TrialResources()
    retries: Annotated[int, Field(ge=0)] = Field(
        1, description="further attempts after a trial's process died"
    )
    runs: RunsSpec = RunsSpec()
    storage: str | None = Field(None, description="URL of the study; a journal file if not set")

    @model_validator(mode="after")
    def _sharing_is_possible(self) -> SweepSpec:
        if self.early_stop is not None and self.resources.together > 1:
            raise ValueError(
                f"resources.together: {self.resources.together} cannot be combined with "
                "early_stop, which ends a trial by taking its process from it; remove one of them"
            )
        if self.retries == 0 and self.resources.together > 1:
            raise ValueError(
                f"resources.together: {self.resources.together} needs retries of at least 1: "
                "trials that share a process die with it, whichever of them is at fault"
            )
        return self

    @field_validator("constraints")
    @classmethod
    def _readable_constraints(cls, constraints: list[str]) -> list[str]:
        return [str(parse_condition(text)) for text in constraints]

    @model_validator(mode="before")
    @classmethod
    def _several_networks(cls, values: Any) -> Any:
        return several_networks(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _networks_by_label(self) -> SweepSpec:
        entry = self.search.get(SEARCHED)
        if bool(self.models) != (entry is not None):
            raise ValueError(
                "search.model: several networks are named in model: {choices: [...]}, and nowhere "
                "else"
            )
        for label in entry.choices if isinstance(entry, Choices) else ():
            if label not in self.models:
                raise ValueError(
                    f"search.model: there is no network '{label}'."
                    f"{nearest(str(label), self.models)} Allowed: {', '.join(self.models)}"
                )
        return self

    @model_validator(mode="before")
    @classmethod
    def _usual_objectives(cls, values: Any) -> Any:
        """Fill in the score and the main cost, where task and target say what they are."""
        if not isinstance(values, dict) or "objectives" in values:
            return values
        usual, *others = TARGETS.values()
        target = next((t for t in others if values.get(t.section) is not None), usual)
        try:
            task = TaskSpec.model_validate(values.get("task", {}))
        except ValueError:
            return values  # said about the section itself
        directions = {quantity.name: quantity.direction for quantity in task.quantities()}
        if task.score_name not in directions:
            raise ValueError(
                f"objectives: must be given, because whether '{task.score_name}' should be large "
                "or small is known only once its function is imported. Example: "
                f"{{{task.score_name}: max, {target.cost}: min}}"
            )
        score = {task.score_name: directions[task.score_name]}
        return {**values, "objectives": {**score, target.cost: "min"}}

    @model_validator(mode="after")
    def _measured(self) -> SweepSpec:
        """Refuse objectives and constraints on what a trial does not measure."""
        known = self.quantities()
        self._refuse_what_is_not_measured(list(self.objectives), "objective")
        for name, direction in self.objectives.items():
            if name in known and known[name].direction != direction:
                raise ValueError(
                    f"objectives: '{name}' cannot be {direction}. Allowed: {name}: "
                    f"{known[name].direction}"
                )
        for condition in self.conditions:
            if condition.name not in FLAGS:
                self._refuse_what_is_not_measured([condition.name], f"constraint '{condition}'")
        return self

    def _refuse_what_is_not_measured(self, names: list[str], what: str) -> None:
        tested = set(self.task.measured)
        searched = [f"val_{alias}" for alias in self.task.measured]
        kept = [name for name in self.quantities() if not name.startswith("float_val_")]
        allowed = [name for name in (*searched, *kept) if name not in tested]
        allowed = list(dict.fromkeys(allowed))
        key = "objectives" if what == "objective" else "constraints"
        for name in names:
            if name in tested:
                raise ValueError(
                    f"{key}: '{name}' is measured on the test rows, which are only reported; the "
                    f"search may look at 'val_{name}'"
                )
            if name in allowed:
                continue
            if name.removeprefix("float_") in searched:
                raise ValueError(
                    f"{key}: '{name}' is in floats and only reported; the search looks at what the "
                    f"hardware computes: '{name.removeprefix('float_')}'"
                )
            # A quantity of the other target is no typing error: the nearest name would mislead.
            for other in TARGETS.values():
                if any(name == quantity.name for quantity in other.quantities):
                    raise ValueError(
                        f"{key}: '{name}' is not measured in a trial for {self.target.title}. "
                        f"Allowed: {', '.join(allowed)}"
                    )
            raise ValueError(
                f"{key}: unknown {what} '{name}'.{nearest(name, allowed)} "
                f"Allowed: {', '.join(allowed)}"
            )

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
                "must be an address: sqlite:///FILE, postgresql://USER@HOST/NAME or "
                "mysql://USER:${VARIABLE}@HOST/NAME; leave it out for a journal file in the "
                "sweep's folder"
            )
        return storage

    def label_of(self, model: Any) -> str | None:
        """Return the label of a trial's section ``model``; None if it is none of the networks."""
        for label, network in self.models.items():
            if network.model_dump(mode="json") == model:
                return label
        return None

    @property
    def conditions(self) -> list[Condition]:
        """The constraints, parsed."""
        return [parse_condition(text) for text in self.constraints]
