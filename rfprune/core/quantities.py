"""Names of quantities: the same in files, JSON, MLflow metrics, tables and Python.

A trial measures three kinds: those that every trial has (`COMMON`), those of its task (its metrics,
`rfprune.tasks`) and those of its target (`rfprune.spec.targets`). `Resources` fixes the order of
every resource axis of an FPGA (the R of ``cost (G, R)``).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["COMMON", "RESERVED", "RESOURCES", "Direction", "Quantity", "Resources"]

Direction = Literal["max", "min"]


class Quantity(NamedTuple):
    """Something that is measured of a network, and may be an objective.

    Attributes:
        name: in files, tables and MLflow.
        direction: which way it is better.
        label: title of an axis, with the unit; counts have none.
        kind: how its values are written: ``fraction`` (of 1: four decimals), ``metric`` (of a
            task, any scale: five digits) or ``amount`` (counts and physical units).
    """

    name: str
    direction: Direction
    label: str
    kind: Literal["fraction", "metric", "amount"] = "amount"


class Resources(NamedTuple):
    """FPGA resources: DSP blocks, 18 Kb block RAMs, look-up tables, flip-flops.

    A quantity that is not known is ``None``, never 0.
    """

    dsp: float | None = None
    bram18: float | None = None
    lut: float | None = None
    ff: float | None = None


RESOURCES: tuple[str, ...] = Resources._fields

#: What every trial measures, whatever its task and its target.
COMMON: tuple[Quantity, ...] = (
    Quantity("sparsity", "max", "sparsity (fraction of zero weights)", "fraction"),
    Quantity("power_mw", "min", "power (mW)"),
    Quantity("seconds", "min", "wall time (s)"),
)

#: Names beside those of quantities in records, tables and conditions, which no metric may have.
RESERVED: tuple[str, ...] = (
    *("step", "accepted", "fraction", "values", "errors", "constant", "own", "spread", "repeats"),
    *("live", "groups", "reuse_factor", "strategy", "prices", "gaps"),
    *("trial", "run_id", "params", "feasible", "dense", "hypervolume", "clock_ns"),
)
