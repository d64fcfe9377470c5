"""Names of quantities: the same in files, JSON, MLflow metrics, tables and Python.

`Resources` fixes the order of every resource axis in the project (the R of ``cost (G, R)``).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DIRECTIONS", "EDGE", "EDGE_RESOURCES", "FPGA", "RESOURCES", "Resources"]


class Resources(NamedTuple):
    """FPGA resources: DSP blocks, 18 Kb block RAMs, look-up tables, flip-flops.

    A quantity that is not known is ``None``, never 0.
    """

    dsp: float | None = None
    bram18: float | None = None
    lut: float | None = None
    ff: float | None = None


RESOURCES: tuple[str, ...] = Resources._fields
#: What a budget may limit on an edge device: kernels (filters) that are left, multiply-accumulates
#: of one image, and its energy.
EDGE_RESOURCES: tuple[str, ...] = ("kernels", "macs", "energy_mj")

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
    "kernels": "min",
    "kernel_sparsity": "max",
    "macs": "min",
    "parameters": "min",
    "inference_ms": "min",
    "energy_mj": "min",
    "seconds": "min",
}
#: Those that only a trial for an FPGA measures.
FPGA: tuple[str, ...] = (*RESOURCES, "latency_cycles", "ii_cycles", "latency_ns")
#: Those that only a trial for an edge device measures; inference time and energy are per image.
EDGE: tuple[str, ...] = (
    "kernels",
    "kernel_sparsity",
    "macs",
    "parameters",
    "inference_ms",
    "energy_mj",
)
