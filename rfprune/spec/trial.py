"""The trial file: one network, one data set, one task, one target, one way to prune.

`TrialSpec.key` names a trial by its content; `TrialSpec.dense_key` names the part of it that
decides the dense network, so that trials which differ only in pruning share one dense training.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from rfprune.core.added_keys import added
from rfprune.core.digests import key_of
from rfprune.core.quantities import COMMON, RESERVED, Quantity
from rfprune.data.spec import DataSpec
from rfprune.models.spec import ModelSpec
from rfprune.spec.base import StrictSpec
from rfprune.spec.edge import EdgeSpec
from rfprune.spec.hardware import HardwareSpec
from rfprune.spec.pruning import PruneSpec
from rfprune.spec.targets import TARGETS, TargetFacts
from rfprune.spec.training import TrainSpec
from rfprune.spec.yaml_files import get_path
from rfprune.tasks.spec import TaskSpec

__all__ = ["TrialSpec"]


class TrialSpec(StrictSpec):
    """One trial: everything that decides its result.

    Example::

        spec = rfprune.TrialSpec(
            model={"name": "mlp"},
            data={"name": "digits"},
            hardware={"part": "pynq-z2"},
            prune={"budget": {"dsp": 0.5}},
        )
        spec.hardware.reuse_factor, spec.key
    """

    model: ModelSpec
    data: DataSpec
    task: TaskSpec = Field(TaskSpec(), description="what the training is for")
    hardware: HardwareSpec = HardwareSpec()
    edge: EdgeSpec | None = Field(None, description="an edge device, in place of `hardware`")
    train: TrainSpec = TrainSpec()
    prune: PruneSpec = PruneSpec()
    estimator: str = Field("analytic", description="see `rfprune list estimators`")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    repeats: PositiveInt = added(
        1, description="run the trial with so many seeds, from `seed` on; scores are their means"
    )

    @model_validator(mode="before")
    @classmethod
    def _budget_of_the_target(cls, values: Any) -> Any:
        """Give a file without a budget that of its target, before `PruneSpec` fills in its own."""
        given = values if isinstance(values, dict) else {}
        first, *others = TARGETS.values()
        target = next((facts for facts in others if given.get(facts.section) is not None), first)
        usual = target.budget
        if usual is None:
            return values
        prune = values.get("prune", {})
        if not isinstance(prune, dict) or "budget" in prune:
            return values
        return {**values, "prune": {**prune, "budget": dict(usual)}}

    @model_validator(mode="after")
    def _one_target(self) -> TrialSpec:
        target = self.target
        defaults = {"estimator": "analytic", "prune": PruneSpec().model_dump()}
        given = {"estimator": self.estimator, "prune": self.prune.model_dump()}
        for name in self.prune.budget:
            if name not in target.resources:
                raise ValueError(
                    f"prune.budget: '{name}' is not a resource of {target.title}. Allowed: "
                    f"{', '.join(target.resources)}"
                )
        for other in TARGETS.values():
            if other is target:
                continue
            if other.section in self.model_fields_set and getattr(self, other.section) is not None:
                raise ValueError(
                    f"give either '{other.section}' ({other.title}) or '{target.section}'; here "
                    "both are given"
                )
            # A default is accepted: the canonical form of a trial writes defaults out.
            for key in other.own_keys:
                value = get_path(given, key)
                if value != get_path(defaults, key):
                    raise ValueError(
                        f"{key}: {value!r} is for {other.title}; leave it out beside "
                        f"'{target.section}'"
                    )
        return self

    @model_validator(mode="after")
    def _names_of_their_own(self) -> TrialSpec:
        """Refuse metrics that would have the name of something else that is recorded."""
        others = [*self.target.quantities, *self.target.ends, *COMMON]
        taken = {*RESERVED, *(quantity.name for quantity in others)}
        for alias in self.task.measured:
            if alias in taken or alias.startswith("float_val_"):
                raise ValueError(
                    f"task.metrics: '{alias}' is the name of something else that a trial records; "
                    "give the metric another alias"
                )
        return self

    @property
    def target(self) -> TargetFacts:
        """What the network will run on: the target whose section the file has."""
        usual, *others = TARGETS.values()
        given = (facts for facts in others if getattr(self, facts.section) is not None)
        return next(given, usual)

    def quantities(self) -> dict[str, Quantity]:
        """Return what a trial measures, by name: of its task, its target, and of every trial.

        A metric of the user's own is missing here; see `rfprune.tasks.TaskSpec.quantities`.
        """
        scores = self.task.quantities()
        # The search looks at what the hardware will compute; these say what rounding costs.
        floats = [
            quantity._replace(name=f"float_{quantity.name}", label=f"{quantity.label} in floats")
            for quantity in scores
            if quantity.name.startswith("val_") and not self.target.in_floats
        ]
        found = (*scores, *floats, *self.target.quantities, *COMMON, *self.target.ends)
        return {quantity.name: quantity for quantity in found}

    def canonical(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, every default of its target written out."""
        others = [facts for facts in TARGETS.values() if facts is not self.target]
        absent = {facts.section for facts in others}
        absent |= {key for facts in others for key in facts.own_keys if "." not in key}
        # Like `rfprune.core.added_keys`, whose keys leave themselves out.
        absent |= {"task"} if self.task == TaskSpec() else set()
        return self.model_dump(mode="json", exclude=absent)

    @property
    def key(self) -> str:
        """Twelve hex digits that name this trial by its content."""
        return key_of(self.canonical())

    @property
    def dense_key(self) -> str:
        """Twelve hex digits that name the dense network: equal keys, equal dense training."""
        whole = self.canonical()
        # The hardware is not among them: all targets share one dense network.
        parts = {name: whole[name] for name in ("model", "data", "train", "seed")}
        if goal := self.task.training():
            parts["task"] = goal
        if self.train.watches_the_score:
            parts["score"] = {
                "name": self.task.score_name,
                "task": self.task.model_dump(mode="json"),
            }
        return key_of(parts)
