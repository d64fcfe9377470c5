"""The ``task:`` section of a sweep or trial file: what the training is for.

::

    task: regression
    task: {name: binary, metrics: [auc, {eff: {name: tpr, fpr: 0.001}}], score: auc}
    task: {heads: {label: {name: classification}, pt: {name: regression, weight: 0.5}},
           score: label.accuracy}
"""

from __future__ import annotations

import inspect
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from rfprune.core.added_keys import added
from rfprune.core.quantities import Quantity
from rfprune.core.registry import nearest
from rfprune.tasks.metrics import METRICS
from rfprune.tasks.named_tasks import TASKS, TaskFacts

__all__ = ["ClassWeights", "GoalSpec", "HeadSpec", "MetricSpec", "TaskSpec"]


def _class_weights(value: Any) -> Any:
    """Check the weights of classes, of which pydantic would name only one of the two forms."""
    if value is None or value == "balanced":
        return value
    plain = isinstance(value, list | tuple) and len(value) >= 2
    numbers = plain and all(isinstance(w, int | float) and not isinstance(w, bool) for w in value)
    if not numbers or not all(math.isfinite(weight) and weight >= 0 for weight in value):
        raise ValueError(
            "must be balanced, or a list of one weight per class, each a number of at least 0"
        )
    return tuple(float(weight) for weight in value)


ClassWeights = Literal["balanced"] | tuple[float, ...]


def _or_a_list(schema: dict[str, Any]) -> None:
    """Tell editors that metrics may also be listed."""
    item = {"anyOf": [{"type": "string"}, {"type": "object"}]}
    schema["anyOf"] = [*schema["anyOf"], {"type": "array", "items": item, "minItems": 1}]


class MetricSpec(BaseModel):
    """One metric: a name of `METRICS`, or a function of the user's, with its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    args: dict[str, float | int | bool | str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "args" not in value:
            rest = {key: inner for key, inner in value.items() if key != "name"}
            return {"name": value.get("name"), "args": rest}
        return value

    @model_validator(mode="after")
    def _known(self) -> MetricSpec:
        # Reading a file imports nothing of the user's; whether it exists is asked by the task.
        if ":" in self.name:
            return self
        if self.name not in METRICS:
            raise ValueError(
                f"unknown metric '{self.name}'.{nearest(self.name, METRICS)} "
                f"Known: {', '.join(METRICS)}, or package.module:function"
            )
        parameters = inspect.signature(METRICS[self.name].function).parameters.values()
        # What follows the arrays, by name alone, are the arguments that a file may give.
        taken = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
        for key, value in self.args.items():
            if key not in taken:
                raise ValueError(
                    f"metric '{self.name}' has no argument '{key}'.{nearest(key, taken)} "
                    f"It takes: {', '.join(taken) or 'none'}"
                )
            # All arguments so far are counts or rates; another kind needs a check of its own.
            is_count = taken[key].annotation in ("int", int)
            number = 0.0 if isinstance(value, bool | str) else float(value)
            if number <= 0 or (not number.is_integer() if is_count else number > 1):
                allowed = "a whole number above 0" if is_count else "a number above 0, at most 1"
                raise ValueError(f"metric '{self.name}': {key} must be {allowed} (value: {value})")
        for key, parameter in taken.items():
            if parameter.default is parameter.empty and key not in self.args:
                raise ValueError(f"metric '{self.name}' needs the argument '{key}'")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """Tell editors that a name alone will do, and that arguments go beside the name."""
        return {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}

    @property
    def is_function(self) -> bool:
        """Whether it is a function of the user's."""
        return ":" in self.name


class GoalSpec(BaseModel):
    """What one output of a network, or one of its heads, is trained for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "classification", description="see `rfprune list tasks`, or package.module:Task"
    )
    loss: str | None = Field(
        None, description="a name, or package.module:function; the task's own if not set"
    )
    loss_args: dict[str, float | int | bool | str] = Field(
        default_factory=dict, description="keyword arguments of the loss"
    )
    metrics: dict[str, MetricSpec] | None = Field(
        None,
        description="names, or alias: {name: tpr, fpr: 0.001}; the task's own if not set",
        json_schema_extra=_or_a_list,
    )
    score: str | None = Field(
        None,
        description="the metric that decides (acceptance, search, front); the first if not set",
    )

    class_weights: Annotated[ClassWeights | None, BeforeValidator(_class_weights)] = added(
        None,
        description="weight of each class in the loss, in the order of the classes (multilabel: of "
        "each label); balanced: as many rows of each (multilabel: of 0 and 1 for each label)",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = added(
        0.0, description="share of a label that is spread evenly over all classes in training"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """Tell editors that a name alone will do."""
        whole = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"type": "string"}, dict(whole)]}

    @field_validator("name")
    @classmethod
    def _known_task(cls, name: str) -> str:
        if ":" not in name and name not in TASKS:
            raise ValueError(
                f"unknown task '{name}'.{nearest(name, TASKS)} "
                f"Known: {', '.join(TASKS)}, or package.module:name"
            )
        return name

    @field_validator("metrics", mode="before")
    @classmethod
    def _by_alias(cls, value: Any) -> Any:
        """Return a mapping of aliases, whichever way they are listed."""
        if not isinstance(value, list):
            return value
        found: dict[str, Any] = {}
        for item in value:
            # A function without an alias is called by its own name, without its module.
            entries = item if isinstance(item, dict) else {str(item).rpartition(":")[2]: item}
            for alias, metric in entries.items():
                if alias in found:
                    raise ValueError(f"the metric '{alias}' appears twice; give one an alias")
                found[alias] = metric
        if not found:
            raise ValueError("must name at least one metric")
        return found

    @field_validator("metrics")
    @classmethod
    def _plain_aliases(cls, metrics: dict[str, MetricSpec] | None) -> dict[str, MetricSpec] | None:
        for alias in metrics or {}:
            # Aliases become names of quantities, in conditions and columns; val_ tells validation
            # from test.
            if not alias.replace("_", "a").isalnum() or alias.startswith("val_"):
                raise ValueError(
                    f"'{alias}' cannot name a metric. Allowed: letters, digits and _, not val_ at "
                    "the beginning"
                )
        return metrics

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        facts = self.facts
        # A task of the user's own knows itself what it takes.
        if facts is None:
            return self
        for key in ("class_weights", "label_smoothing"):
            if getattr(self, key) and key not in facts.keys:
                able = [name for name, other in TASKS.items() if key in other.keys]
                raise ValueError(
                    f"{key}: a {self.name} task has no such thing. Allowed: for {', '.join(able)}"
                )
        if self.class_weights and self.name == "multilabel" and ":" in (self.loss or ""):
            raise ValueError(
                f"class_weights: weigh single labels, which {self.loss} is not handed; weigh them "
                "there. Allowed: with loss: bce"
            )
        for alias, metric in self.measured.items():
            if not metric.is_function and metric.name not in facts.metrics:
                raise ValueError(
                    f"metrics.{alias}: '{metric.name}' is not defined for {self.name}. Allowed: "
                    f"{', '.join(facts.metrics)}, or package.module:function"
                )
        if self.loss is not None and ":" not in self.loss and self.loss not in facts.losses:
            raise ValueError(
                f"loss: '{self.loss}' is not defined for {self.name}."
                f"{nearest(self.loss, facts.losses)} Allowed: {', '.join(facts.losses)}, or "
                "package.module:function"
            )
        if self.score is not None and self.score not in self.measured:
            raise ValueError(
                f"score: '{self.score}' is not among the metrics."
                f"{nearest(self.score, self.measured)} Metrics: {', '.join(self.measured)}"
            )
        return self

    @property
    def facts(self) -> TaskFacts | None:
        """The row of the task, None for one of the user's own."""
        return TASKS.get(self.name)

    @property
    def measured(self) -> dict[str, MetricSpec]:
        """The metrics by alias, those of the task if the file names none."""
        if self.metrics is not None:
            return self.metrics
        names = self.facts.metrics[: self.facts.n_default] if self.facts else ()
        return {name: MetricSpec(name=name) for name in names}

    @property
    def decides(self) -> str:
        """Alias of the metric that decides."""
        return self.score or next(iter(self.measured), "score")

    @property
    def score_name(self) -> str:
        """The quantity that decides, as it is called on validation rows."""
        return f"val_{self.decides}"

    @property
    def title(self) -> str:
        """What the task is called in messages and tables."""
        return self.name

    def quantities(self) -> tuple[Quantity, ...]:
        """Return what is measured: every metric on validation and on test rows, the score first.

        The direction of a user's function is known only after it has been imported, which reading
        a file must not do; such metrics are added by the task itself (`Task.quantities`).
        """
        found = []
        # Sorting by a truth value keeps the order of the file behind the score.
        for alias in sorted(self.measured, key=lambda name: name != self.decides):
            metric = self.measured[alias]
            if not metric.is_function:
                row = METRICS[metric.name]
                named = row.label if alias == metric.name else f"{row.label} ({alias})"
                kind: Literal["fraction", "metric"] = "fraction" if row.fraction else "metric"
                found += [
                    Quantity(f"val_{alias}", row.direction, f"validation {named}", kind),
                    Quantity(alias, row.direction, f"test {named}", kind),
                ]
        return tuple(found)


class HeadSpec(GoalSpec):
    """One head of a network."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1.0, description="of this head's loss in the sum over all heads"
    )


class TaskSpec(GoalSpec):
    """What the training is for; left out, classification by cross entropy and accuracy."""

    heads: dict[str, HeadSpec] | None = added(
        None,
        description="of a network of several outputs, in the order of its tuple or by the keys of "
        "its dict; each takes the keys of a task, and a weight",
    )

    @model_validator(mode="before")
    @classmethod
    def _heads_or_one(cls, value: Any) -> Any:
        """Refuse keys of a single task beside heads, before their defaults are filled in."""
        if not isinstance(value, dict) or value.get("heads") is None:
            return value
        known = {"heads", "score"}
        foreign = [key for key in value if key not in known and key in cls.model_fields]
        # The canonical form of a task writes defaults out.
        foreign = [
            key
            for key in foreign
            if value[key] != cls.model_fields[key].get_default(call_default_factory=True)
        ]
        if foreign:
            raise ValueError(
                f"{foreign[0]}: belongs to one head; write it under heads.HEAD. Allowed beside "
                "'heads': score"
            )
        return value

    @field_validator("heads")
    @classmethod
    def _named_heads(cls, heads: dict[str, HeadSpec] | None) -> dict[str, HeadSpec] | None:
        if heads is None:
            return None
        if not heads:
            raise ValueError("must name at least one head")
        for name in heads:
            # Prefixes of quantities: a head of that name would be taken for one.
            if not name.isidentifier() or name == "val" or name.startswith(("val_", "float_")):
                raise ValueError(
                    f"'{name}' cannot name a head. Allowed: letters, digits and _, not a digit, "
                    "val or float_ at the beginning"
                )
        if not any(head.weight for head in heads.values()):
            raise ValueError("at least one head must have a weight above 0")
        return heads

    @model_validator(mode="after")
    def _plain_names(self) -> Self:
        """Refuse two heads whose metrics would have one name."""
        seen: dict[str, str] = {}
        for name, head in (self.heads or {}).items():
            for alias in head.measured:
                whole = f"{name}_{alias}"
                if whole in seen:
                    raise ValueError(
                        f"heads: '{whole}' would be a metric of both '{seen[whole]}' and '{name}'; "
                        "give one of them an alias"
                    )
                seen[whole] = name
        return self

    @property
    def facts(self) -> TaskFacts | None:
        """The row of the task, None for heads or one of the user's own."""
        return None if self.heads is not None else super().facts

    @property
    def title(self) -> str:
        """What the task is called in messages and tables."""
        if self.heads is None:
            return self.name
        return " + ".join(f"{name} ({head.name})" for name, head in self.heads.items())

    @property
    def measured(self) -> dict[str, MetricSpec]:
        """The metrics by alias; of a head called ``HEAD_METRIC``."""
        if self.heads is None:
            return super().measured
        return {
            f"{name}_{alias}": metric
            for name, head in self.heads.items()
            for alias, metric in head.measured.items()
        }

    @property
    def decides(self) -> str:
        """Alias of the metric that decides: with heads that of the first, if none is named."""
        if self.heads is None:
            return super().decides
        name, _, alias = (self.score or "").partition(".")
        if not name:
            name = next(iter(self.heads))
        return f"{name}_{alias or self.heads[name].decides}"

    @model_validator(mode="after")
    def _score_of_a_head(self) -> Self:
        if self.heads is None or self.score is None:
            return self
        name, dot, alias = self.score.partition(".")
        own = [f"{h}.{m}" for h, head in self.heads.items() for m in head.measured]
        if not dot or name not in self.heads or alias not in self.heads[name].measured:
            raise ValueError(
                f"score: '{self.score}' is not a metric of a head.{nearest(self.score, own)} "
                f"Allowed: {', '.join(own)}"
            )
        return self

    def quantities(self) -> tuple[Quantity, ...]:
        """Return what is measured, the score first; see `GoalSpec.quantities`."""
        if self.heads is None:
            return super().quantities()
        found = [
            Quantity(
                f"{prefix}{name}_{quantity.name.removeprefix('val_')}",
                quantity.direction,
                f"{name}: {quantity.label}",
                quantity.kind,
            )
            for name, head in self.heads.items()
            for quantity in head.quantities()
            for prefix in ["val_" if quantity.name.startswith("val_") else ""]
        ]
        decides = (self.score_name, self.decides)
        return tuple(sorted(found, key=lambda quantity: quantity.name not in decides))

    def training(self) -> dict[str, Any]:
        """Return what decides the training, as plain JSON values; empty for the usual task.

        What is measured of a network does not change it.
        """
        # What is measured does not change the weights: a dense network serves every choice of
        # metrics.
        measured = {"metrics": None, "score": None}
        goal = self.model_copy(update=measured)
        if self.heads is not None:
            heads = {n: head.model_copy(update=measured) for n, head in self.heads.items()}
            goal = goal.model_copy(update={"heads": heads})
        return {} if goal == TaskSpec() else goal.model_dump(mode="json")
