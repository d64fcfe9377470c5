"""What a run folder says about a trial: one record per pruning step, one result at the end."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

__all__ = ["Provenance", "StepRecord", "TrialResult"]


class _Record(BaseModel):
    """Written by one version and read by a later one: unknown keys are kept out, not refused."""

    # A value that is not a number is a fault to be told, so it must not become "not known".
    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="constants")


class StepRecord(_Record):
    """One pruning step; step 0 is the dense network on the same target.

    In files the measured quantities are keys beside the others, not a mapping of their own.

    Attributes:
        step: 0 for the dense network, then 1, 2, ...
        accepted: whether the tolerance held; only accepted steps have a checkpoint.
        fraction: part of the dense cost that this step aimed at (1 = dense), by resource.
        values: every measured quantity by its name, None where it is not known: the metrics of the
            task (``val_...`` on the validation rows, which decide), the quantities of the target,
            and ``sparsity``, the fraction of zero weights.
        errors: standard error of the score on the validation rows, by the name of the score; empty
            in folders of version 0.1.
        constant: whether the network gave all validation rows one and the same answer.
        own: where `values` are means over several seeds, those of the first one, whose network is
            kept.
        spread: standard deviation over the seeds, by quantity.
        repeats: seeds that `values` are the mean of.
        live: multipliers that are left (kernels, on a processor), by layer.
        groups: those of the dense network, by layer.
        reuse_factor: by layer, on an FPGA.
        strategy: by layer, as hls4ml built it.
        prices: what one unit of each resource is worth in kept value, from the knapsack's dual.
        gaps: where values were chosen while the network was trained, the proven gap of every such
            choice: by which part it could have lost less at most.
        seconds: wall time of this step.
    """

    step: int
    accepted: bool
    fraction: dict[str, float] = {}
    values: dict[str, float | None] = {}
    errors: dict[str, float] = {}
    constant: bool = False
    own: dict[str, float | None] = {}
    spread: dict[str, float] = {}
    repeats: int = 1
    live: dict[str, int] = {}
    groups: dict[str, int] = {}
    reuse_factor: dict[str, int] = {}
    strategy: dict[str, str] = {}
    prices: dict[str, float] = {}
    gaps: list[float] = []
    seconds: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Take every number that is not a key of the record for a measured quantity."""
        if not isinstance(given, dict) or "values" in given:
            return given
        own = {key: value for key, value in given.items() if key in cls.model_fields}
        rest = {
            key: value
            for key, value in given.items()
            # Text and lists of another version are not quantities.
            if key not in own and (value is None or isinstance(value, int | float))
        }
        return {**own, "values": rest}

    @model_serializer(mode="wrap")
    def _spread(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        whole: dict[str, Any] = plain(self)
        values = whole.pop("values")
        if not self.gaps:
            del whole["gaps"]
        lead = {name: whole.pop(name) for name in ("step", "accepted", "fraction")}
        return {**lead, **values, **whole}

    def metrics(self) -> dict[str, float | None]:
        """Return every measured quantity by its name, None where unknown."""
        return {**self.values, "seconds": self.seconds}

    def of_its_network(self) -> StepRecord:
        """Return the record of the network that is kept, where the values are means over seeds."""
        return self.model_copy(update={"values": self.own}) if self.own else self

    def facts(self) -> dict[str, float | None]:
        """Return every measured quantity by its name, and the step's number as ``step``."""
        return {**self.metrics(), "step": float(self.step)}


class Provenance(_Record):
    """What is needed to repeat a trial: versions, machine, data, commit, seeds."""

    rfprune: str
    python: str
    packages: dict[str, str]
    machine: str
    git_commit: str | None = None
    data_sha256: str | None = None
    seed: int
    threads: int


class TrialResult(_Record):
    """Written last and atomically: a folder that has it is finished.

    Example::

        from rfprune.results import TrialFolder

        found = TrialFolder(rfprune.open("mine").best().folder).result()
        found.state, found.dense["val_accuracy"], found.as_json()["seconds"]

    Attributes:
        trial: its number in the sweep.
        attempt: 0, or how often the trial had been tried before.
        state: complete; failed, with `error` set; or stopped early because the trial could not
            matter, with the rule in `stopped` and its case in `error`. Its accepted steps count.
        stopped: why pruning ended: ``budgets met``, ``tolerance broken``, ``nothing to prune``, or
            for an early end ``dominated``, ``paused`` or ``budget unreachable``.
        budgets_met: whether an accepted step is within the final budgets.
        final_step: the last accepted step; its quantities are the trial's.
        dense: metrics of the dense network, in float; the tolerance refers to its score.
        directions: which way metrics are better that are functions of the user's.
        rows: how many rows were measured on, by part: ``val`` and ``test``.
        seconds: wall time of the whole trial.
        error: what happened, in one sentence; None if nothing did.
        notes: what a reader must know, one sentence each.
        provenance: versions, machine, data, commit, seeds: what is needed to repeat it.
    """

    trial: int
    attempt: int = 0
    state: Literal["complete", "failed", "stopped"]
    stopped: str = ""
    budgets_met: bool = False
    final_step: int | None = None
    dense: dict[str, float] = {}
    directions: dict[str, Literal["max", "min"]] = {}
    rows: dict[str, int] = {}
    seconds: float = 0.0
    error: str | None = None
    notes: list[str] = []
    provenance: Provenance | None = None

    @model_validator(mode="before")
    @classmethod
    def _earlier(cls, given: Any) -> Any:
        """Read the two accuracies that version 0.1 kept in place of `dense`."""
        if not isinstance(given, dict) or given.get("dense_val_accuracy") is None:
            return given
        old = {"val_accuracy": given["dense_val_accuracy"], "accuracy": given.get("dense_accuracy")}
        return {**given, "dense": {name: v for name, v in old.items() if v is not None}}

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")
