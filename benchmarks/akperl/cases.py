"""What the AKPERL study runs: the trials of ``sweeps/akperl_small.yml``, and changes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report import ROOT
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.files import parse_spec, read_yaml, set_path

__all__ = ["BASELINES", "BETA", "CASES", "METHODS", "SWEEP", "Case", "trial"]

SWEEP = ROOT / "sweeps" / "akperl_small.yml"
BASELINES = ("magnitude", "l1", "uniform", "knapsack")
METHODS = ("none", "akperl", *BASELINES)
#: As the sweep's search space says.
_BY_METHOD: dict[str, dict[str, Any]] = {
    "magnitude": {"prune.normalize": "layer_mean"},
    "l1": {"prune.normalize": "layer_mean", "prune.regularizer.weight": 1e-4},
}
#: Weight of power beside an accuracy of weight 1, and the layers of the network.
BETA, _LAYERS = 0.5, 5


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        about: what it is, for the page.
        changes: of the sweep's trial, by dotted path.
        methods: that are run.
        compared: whether methods are compared in it; else it is a variant of AKPERL.
    """

    about: str
    changes: Mapping[str, Any]
    methods: tuple[str, ...] = ("akperl",)
    compared: bool = False


def _reward(alpha: Any, beta: Any) -> dict[str, Any]:
    return {"prune.agent.reward": {"alpha": alpha, "beta": beta}}


def _last(value: float) -> list[float]:
    return [0.0] * (_LAYERS - 1) + [value * _LAYERS]


CASES: dict[str, Case] = {
    "15 % energy": Case("matched power", {}, METHODS, compared=True),
    "30 % energy": Case(
        "matched power", {"prune.budget": {"energy_mj": 0.3}}, METHODS, compared=True
    ),
    "40 % kernels": Case(
        "matched sparsity", {"prune.budget": {"kernels": 0.4}}, METHODS, compared=True
    ),
    "no monitor": Case(
        "accuracy and power are not in the state", {"prune.agent.observe_monitor": False}
    ),
    "no input statistics": Case(
        "statistics of the input are not in the state", {"prune.agent.observe_statistics": False}
    ),
    "no shortlist": Case(
        "the best measurement decides, without a short fine-tuning of the eight best networks",
        {"prune.agent.shortlist": 1},
    ),
    "accuracy as measure": Case(
        "the agent measures top-1 accuracy, not the probability of the right class",
        {"edge.agent_measure": "accuracy"},
    ),
    "norms not settled": Case(
        "and batch norms keep the dense network's statistics meanwhile",
        {"edge.agent_measure": "accuracy", "edge.settling_rows": 0},
    ),
    "coefficients per layer": Case(
        f"no budget; alpha {_last(1.0)}, beta {_last(BETA)}: the finished network counts",
        _reward(_last(1.0), _last(BETA)),
    ),
    "one coefficient": Case(
        f"no budget; alpha 1 and beta {BETA} for all layers: every intermediate network counts",
        _reward(1.0, BETA),
    ),
}


def trial(case: str, method: str, seed: int) -> TrialSpec:
    """Return one trial; those of the first case are the sweep's own."""
    values = parse_spec(SweepSpec, read_yaml(SWEEP), str(SWEEP)).canonical()
    values = {name: value for name, value in values.items() if name in TrialSpec.model_fields}
    changes = {"prune.method": method, "seed": seed}
    for path, value in {**changes, **_BY_METHOD.get(method, {}), **CASES[case].changes}.items():
        set_path(values, path, value)
    return TrialSpec.model_validate(values)
