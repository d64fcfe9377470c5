"""What `benchmarks.pruning` runs: networks, data sets, training, hardware and budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["TASKS", "Task", "settings"]


@dataclass(frozen=True)
class Task:
    """One network and data set with its training, and how it is pruned.

    Attributes:
        spec: the trial, without what the cases say.
        cases: what each case changes in the trial, by name.
        further_epochs: of the dense network, until it has converged.
        methods: that are compared.
        resource: whose reduction the points are ordered by: multipliers, dsp or bram18.
        refines: whether the steps after the first that misses the bar go back and halve.
    """

    spec: dict[str, Any]
    cases: dict[str, dict[str, Any]]
    further_epochs: int
    methods: tuple[str, ...] = ("knapsack", "greedy", "uniform", "random", "magnitude", "l1")
    resource: str = "multipliers"
    refines: bool = True


def settings(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with nested changes."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = settings(old, value) if both else value
    return merged


_JETS: dict[str, Any] = {
    "model": {"name": "mlp", "args": {"hidden": [64, 32, 32]}},
    "data": {"file": "lhc_jets_regen/lhc_jets_regen.npz", "train_rows": 100_000},
    "train": {"epochs": 30, "batch_size": 1024, "learning_rate": 3e-3, "device": "cpu"},
    "prune": {
        "budget": {"dsp": 0.035},
        "schedule": "cubic",
        "steps": 19,
        "epochs_per_step": 5,
        # Far below the bar, so that the curves show what happens there; see `pruning.refined`.
        "tolerance": 0.1,
        "patience": 19,
    },
}

_LENET: dict[str, Any] = {
    "model": {"name": "lenet"},
    "data": {"name": "fashion_mnist"},
    "train": {
        "epochs": 12,
        "batch_size": 256,
        "learning_rate": 3e-3,
        "learning_rate_schedule": "cosine",
        "device": "cpu",
    },
    "hardware": {"io_type": "io_stream"},
    "prune": {
        "budget": {"dsp": 0.05},
        "schedule": "cubic",
        "steps": 10,
        "epochs_per_step": 3,
        "learning_rate": 5e-3,
        "tolerance": 0.1,
        "patience": 10,
        "floor": 2,
        "regularizer": {"weight": 3e-4, "release_epochs": 2},
    },
}

#: 25 and 12 on the dense layers, 1 elsewhere, as in the paper (arXiv 2308.05170).
_PAPER = {"fc1": {"reuse_factor": 25}, "fc2": {"reuse_factor": 12}}

#: Budgets at which all methods are compared, whatever their accuracy. Values have to add up over
#: layers here, which the Fisher saliency does and norms do not.
_LEVELS: dict[str, Any] = {
    "budget": {"dsp": 0.1, "bram18": 0.1, "lut": 0.1},
    "score": "fisher",
    "steps": 8,
    "epochs_per_step": 3,
    "tolerance": 1.0,
    "regularizer": {"release_epochs": 2},
}
_NARROW_WEIGHTS = {"weight_precision": "fixed<8,3>"}
#: Its result, the data of the next layer, has 8 bits; its own weights have 16.
_NARROW_RESULT = {"precision": "fixed<8,3>", "weight_precision": "fixed<16,6>"}

#: Layers that differ in what a group costs, under budgets for DSP, BRAM and LUT at once: constants
#: need a DSP each and no memory, products of 8 by 8 bits memory and look-up tables but no DSP, and
#: all others need all three.
_MIXED: dict[str, dict[str, Any]] = {
    "reuse factors": {
        "fc1": {"reuse_factor": 1},
        "fc2": {"reuse_factor": 8},
        "fc3": {"reuse_factor": 4},
        "output": {"reuse_factor": 1},
    },
    "8 and 16 bits": {
        "fc1": {"reuse_factor": 4},
        "fc2": {"reuse_factor": 4, **_NARROW_RESULT},
        "fc3": {"reuse_factor": 4, **_NARROW_WEIGHTS},
        "output": {"reuse_factor": 4},
    },
    "both": {
        "fc1": {"reuse_factor": 1},
        "fc2": {"reuse_factor": 8, **_NARROW_RESULT},
        "fc3": {"reuse_factor": 8, **_NARROW_WEIGHTS},
        "output": {"reuse_factor": 1},
    },
}

#: What each part of the method is worth: the settings of `jets` with one of them changed.
_LEVERS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "neurons not sorted": {"sort_neurons": False},
    "released at the plain rate": {"regularizer": {"release_rate": 1.0}},
    "released for 2 epochs": {"regularizer": {"release_epochs": 2}},
    "no regularizer": {"regularizer": {"weight": 0.0}},
    "regularizer priced": {"regularizer": {"priced": True}},
    "no distillation": {"distillation": 0.0},
    "score fisher": {"score": "fisher"},
    "one regrown epoch": {"epochs_per_step": 4, "regrow_epochs": 1},
    "proximal 3e-3": {"regularizer": {"weight": 3e-3, "form": "proximal"}},
    "proximal 1e-2": {"regularizer": {"weight": 1e-2, "form": "proximal"}},
    "proximal 3e-2": {"regularizer": {"weight": 3e-2, "form": "proximal"}},
}

TASKS: dict[str, Task] = {
    "jets": Task(
        spec=_JETS,
        cases={str(rf): {"hardware": {"reuse_factor": rf}} for rf in (1, 2, 4, 8, 16, 32)},
        further_epochs=95,
    ),
    "jets_mixed": Task(
        spec=settings(_JETS, {"prune": _LEVELS}),
        cases={name: {"hardware": {"layers": layers}} for name, layers in _MIXED.items()},
        further_epochs=15,
        methods=("knapsack", "greedy", "hls4ml_greedy", "uniform", "magnitude"),
        refines=False,
    ),
    "jets_levers": Task(
        spec=_JETS,
        cases={
            name: {"hardware": {"reuse_factor": 32}, "prune": changes}
            for name, changes in _LEVERS.items()
        },
        further_epochs=95,
        methods=("knapsack",),
    ),
    "fashion_mnist": Task(
        spec=_LENET, cases={"DSP": {"hardware": {"layers": _PAPER}}}, further_epochs=9
    ),
    "fashion_mnist_bram": Task(
        spec=_LENET,
        cases={
            "BRAM at 18 bits": {
                "hardware": {"layers": _PAPER, "precision": "fixed<18,8>"},
                "prune": {"budget": {"bram18": 0.05}},
            }
        },
        further_epochs=9,
        resource="bram18",
    ),
}
