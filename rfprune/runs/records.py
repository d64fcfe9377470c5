"""What a run folder says about a trial: one record per pruning step, one result at the end."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rfprune.quantities import DIRECTIONS

__all__ = ["Provenance", "StepRecord", "TrialResult"]


class _Record(BaseModel):
    """Written by one version and read by a later one: unknown keys are kept out, not refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StepRecord(_Record):
    """One pruning step; step 0 is the dense network on the same hardware.

    Attributes:
        step: 0 for the dense network, then 1, 2, ...
        accepted: whether the accuracy tolerance held; only accepted steps have a checkpoint.
        fraction: part of the dense cost that this step aimed at (1 = dense), by resource.
        val_accuracy: decides; measured on the validation rows with float arithmetic.
        accuracy: test accuracy, only reported.
        sparsity: fraction of zero weights.
        dsp: and the further quantities are the estimator's; None where it does not know, and all of
            them for an edge device.
        kernels: and the further quantities are those of an edge device; None for an FPGA.
        kernel_sparsity: fraction of the kernels that are pruned, of those that may be.
        live: multipliers that are left (kernels, for an edge device), by layer.
        groups: those of the dense network, by layer.
        reuse_factor: by layer.
        strategy: by layer, as hls4ml built it.
        prices: what one unit of each resource is worth in kept value, from the knapsack's dual.
        seconds: wall time of this step.
    """

    step: int
    accepted: bool
    fraction: dict[str, float] = {}
    val_accuracy: float
    accuracy: float
    sparsity: float
    dsp: float | None = None
    bram18: float | None = None
    lut: float | None = None
    ff: float | None = None
    latency_cycles: float | None = None
    ii_cycles: float | None = None
    latency_ns: float | None = None
    power_mw: float | None = None
    kernels: float | None = None
    kernel_sparsity: float | None = None
    macs: float | None = None
    parameters: float | None = None
    inference_ms: float | None = None
    energy_mj: float | None = None
    live: dict[str, int] = {}
    groups: dict[str, int] = {}
    reuse_factor: dict[str, int] = {}
    strategy: dict[str, str] = {}
    prices: dict[str, float] = {}
    seconds: float = 0.0

    def metrics(self) -> dict[str, float | None]:
        """Return every measured quantity by its name, None where unknown."""
        return {name: getattr(self, name) for name in DIRECTIONS}


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

    Attributes:
        state: complete; failed, with `error` set; or stopped early because the trial could not
            matter, with the rule in `stopped` and its case in `error`. Its accepted steps count.
        stopped: why pruning ended: ``budgets met``, ``tolerance broken``, ``nothing to prune``, or
            for an early end ``dominated`` or ``budget unreachable``.
        final_step: the last accepted step; its quantities are the trial's.
        dense_val_accuracy: of the dense network, in float; the tolerance refers to it.
        seconds: wall time of the whole trial.
    """

    trial: int
    attempt: int = 0
    state: Literal["complete", "failed", "stopped"]
    stopped: str = ""
    budgets_met: bool = False
    final_step: int | None = None
    dense_val_accuracy: float | None = None
    dense_accuracy: float | None = None
    seconds: float = 0.0
    error: str | None = None
    notes: list[str] = []
    provenance: Provenance | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")
