"""FPGA-resource-aware pruning of PyTorch networks, and distributed sweeps over it.

The names below are loaded when they are first used, so that ``import rfprune`` costs nothing::

    import rfprune
    model = rfprune.load("export/best")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfprune.export import export, load
    from rfprune.groups import build_groups
    from rfprune.knapsack import solve
    from rfprune.network import plan, trace
    from rfprune.pruning import steps
    from rfprune.spec import SweepSpec, TrialSpec
    from rfprune.trial import run_trial

__version__ = "0.1.0"

__all__ = [
    "SweepSpec",
    "TrialSpec",
    "__version__",
    "build_groups",
    "export",
    "load",
    "plan",
    "run_trial",
    "solve",
    "steps",
    "trace",
]

_HOMES = {
    "SweepSpec": "rfprune.spec",
    "TrialSpec": "rfprune.spec",
    "build_groups": "rfprune.groups",
    "export": "rfprune.export",
    "load": "rfprune.export",
    "plan": "rfprune.network",
    "run_trial": "rfprune.trial",
    "solve": "rfprune.knapsack",
    "steps": "rfprune.pruning",
    "trace": "rfprune.network",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        # `rfprune.export` is a room and a function; the function is what users call.
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rfprune' has no attribute '{name}'")
