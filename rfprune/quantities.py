"""Names of quantities: the same in files, JSON, MLflow metrics, tables and Python.

`Resources` fixes the order of every resource axis in the project (the R of ``cost (G, R)``).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DIRECTIONS", "RESOURCES", "Resources", "direction_of"]


class Resources(NamedTuple):
    """FPGA resources: DSP blocks, 18 Kb block RAMs, look-up tables, flip-flops.

    A quantity that is not known is ``None``, never 0.
    """

    dsp: float | None = None
    bram18: float | None = None
    lut: float | None = None
    ff: float | None = None


RESOURCES: tuple[str, ...] = Resources._fields

#: Which way each measured quantity is better. Everything that can be an objective is here.
DIRECTIONS: dict[str, str] = {
    "accuracy": "max",
    "val_accuracy": "max",
    "sparsity": "max",
    "dsp": "min",
    "bram18": "min",
    "lut": "min",
    "ff": "min",
    "latency_cycles": "min",
    "ii_cycles": "min",
    "latency_ns": "min",
    "power_mw": "min",
    "seconds": "min",
}


def direction_of(name: str) -> str:
    """Return ``"max"`` or ``"min"``, the way in which quantity `name` is better."""
    return DIRECTIONS[name]
