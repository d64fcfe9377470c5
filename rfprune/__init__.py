"""FPGA-resource-aware pruning of PyTorch networks, and distributed sweeps over it.

The names below are loaded when they are first used, so that ``import rfprune`` costs nothing::

    import rfprune

    runs = rfprune.sweep(model=net, data=(x, y), hardware={"part": "pynq-z2"},
                         search={"prune.budget.dsp": {"low": 0.1, "high": 0.5}})
    runs.best(where="dsp<=60", max="val_accuracy").export("out")
    model = rfprune.load("out")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfprune.api.adapting import adapt
    from rfprune.api.calibrating import calibrate, calibrate_device
    from rfprune.api.checking import check
    from rfprune.api.estimating import estimate
    from rfprune.api.exports import certify, quantize
    from rfprune.api.federating import federate
    from rfprune.api.jobs import job, submit
    from rfprune.api.listing import names, schema
    from rfprune.api.points import Point
    from rfprune.api.sweeps import Sweep, pareto, prune, retarget, sweep
    from rfprune.api.sweeps import open_run as open
    from rfprune.api.upkeep import clean, track, ui
    from rfprune.edge.adaptive import load_adaptive
    from rfprune.exporting import export, load
    from rfprune.fpga.groups import build_groups
    from rfprune.fpga.layers import plan, trace
    from rfprune.knapsack import solve
    from rfprune.pruning import steps
    from rfprune.results import compare, compare_trials
    from rfprune.spec import SweepSpec, TrialSpec
    from rfprune.trial.run import run_trial

__version__ = "0.2.0"

__all__ = [
    "Point",
    "Sweep",
    "SweepSpec",
    "TrialSpec",
    "__version__",
    "adapt",
    "build_groups",
    "calibrate",
    "calibrate_device",
    "certify",
    "check",
    "clean",
    "compare",
    "compare_trials",
    "estimate",
    "export",
    "federate",
    "job",
    "load",
    "load_adaptive",
    "names",
    "open",
    "pareto",
    "plan",
    "prune",
    "quantize",
    "retarget",
    "run_trial",
    "schema",
    "solve",
    "steps",
    "submit",
    "sweep",
    "trace",
    "track",
    "ui",
]

_HOMES = {
    "Point": "rfprune.api.points",
    "Sweep": "rfprune.api.sweeps",
    "SweepSpec": "rfprune.spec",
    "TrialSpec": "rfprune.spec",
    "certify": "rfprune.api.exports",
    "check": "rfprune.api.checking",
    "estimate": "rfprune.api.estimating",
    "federate": "rfprune.api.federating",
    "open": "rfprune.api.sweeps:open_run",
    "pareto": "rfprune.api.sweeps",
    "prune": "rfprune.api.sweeps",
    "quantize": "rfprune.api.exports",
    "retarget": "rfprune.api.sweeps",
    "sweep": "rfprune.api.sweeps",
    "ui": "rfprune.api.upkeep",
    "track": "rfprune.api.upkeep",
    "submit": "rfprune.api.jobs",
    "schema": "rfprune.api.listing",
    "names": "rfprune.api.listing",
    "job": "rfprune.api.jobs",
    "clean": "rfprune.api.upkeep",
    "calibrate_device": "rfprune.api.calibrating",
    "calibrate": "rfprune.api.calibrating",
    "adapt": "rfprune.api.adapting",
    "build_groups": "rfprune.fpga.groups",
    "compare": "rfprune.results",
    "compare_trials": "rfprune.results",
    "export": "rfprune.exporting",
    "load": "rfprune.exporting",
    "load_adaptive": "rfprune.edge.adaptive",
    "plan": "rfprune.fpga.layers",
    "run_trial": "rfprune.trial",
    "solve": "rfprune.knapsack",
    "steps": "rfprune.pruning",
    "trace": "rfprune.fpga.layers",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home, _, other = _HOMES[name].partition(":")
        value = getattr(importlib.import_module(home), other or name)
        # `rfprune.exporting` is a room and a function; the function is what users call.
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rfprune' has no attribute '{name}'")
