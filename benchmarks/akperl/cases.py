"""What the AKPERL study runs: the trials of ``sweeps/akperl_small.yml``, and changes of them."""

from typing import Any

from pydantic import BaseModel, Field

from benchmarks.report import ROOT, read_cases
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec, read_yaml, set_path

SWEEP = ROOT / "sweeps" / "akperl_small.yml"
BASELINES = ("magnitude", "l1", "uniform", "knapsack")
METHODS = ("none", "akperl", *BASELINES)
#: Methods of the small cases beside these, by what trials call them.
RIVALS = {
    "random search": "benchmarks.akperl.rivals:RANDOM_SEARCH",
    "evolution": "benchmarks.akperl.rivals:EVOLUTION",
    "Torch-Pruning": "benchmarks.akperl.rivals:GROUP_NORM",
}
#: As the sweep's search space says.
_BY_METHOD: dict[str, dict[str, Any]] = {
    "magnitude": {"prune.normalize": "layer_mean"},
    "l1": {"prune.normalize": "layer_mean", "prune.regularizer.weight": 1e-4},
}
#: Weight of power beside an accuracy of weight 1, as the rewards of the last two cases have it.
BETA = 0.5


class Case(BaseModel):
    """One comparison; the keys are explained in ``cases.yml``."""

    about: str
    changes: dict[str, Any] = Field({})
    compared: bool = False
    small: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are run in it."""
        if self.small:
            return (*METHODS, *RIVALS)
        return METHODS if self.compared else ("akperl",)


CASES = {name: Case(**case) for name, case in read_cases("akperl").items()}
FIRST = next(iter(CASES))
COMPARED = [name for name, case in CASES.items() if case.compared]
SMALL = [name for name, case in CASES.items() if case.small]


def trial(case: str, method: str, seed: int) -> TrialSpec:
    """Return one trial; those of the first case are the sweep's own."""
    values = parse_spec(SweepSpec, read_yaml(SWEEP), str(SWEEP)).canonical()
    values = {name: value for name, value in values.items() if name in TrialSpec.model_fields}
    changes = {"prune.method": RIVALS.get(method, method), "seed": seed}
    for path, value in {**changes, **_BY_METHOD.get(method, {}), **CASES[case].changes}.items():
        set_path(values, path, value)
    return TrialSpec.model_validate(values)
