"""How quantities and searched paths are shown to people: words, units, number of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfprune.front.front import Front

__all__ = ["FRACTIONS", "LABELS", "counted", "number", "plain", "summary"]

#: Axis titles, with units. Counts have none.
LABELS: dict[str, str] = {
    "accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "sparsity": "sparsity (fraction of zero weights)",
    "dsp": "DSP blocks",
    "bram18": "block RAM (18 Kb blocks)",
    "lut": "look-up tables",
    "ff": "flip-flops",
    "latency_cycles": "latency (clock cycles)",
    "ii_cycles": "initiation interval (clock cycles)",
    "latency_ns": "latency (ns)",
    "power_mw": "power (mW)",
    "kernels": "kernels that are left",
    "kernel_sparsity": "fraction of pruned kernels",
    "macs": "multiply-accumulates per image",
    "parameters": "parameters",
    "inference_ms": "inference time per image (ms)",
    "energy_mj": "energy per image (mJ)",
    "seconds": "wall time (s)",
}

#: Quantities between 0 and 1.
FRACTIONS = ("accuracy", "val_accuracy", "sparsity", "kernel_sparsity")


def plain(value: float | None) -> float | int | None:
    """Return a whole number as int, so that files say 532 and not 532.0."""
    if value is None or not float(value).is_integer():
        return value
    return int(value)


def number(name: str, value: float | None) -> str:
    """Return a quantity as text: four decimals for fractions, thousands apart for counts.

    Small amounts keep three digits: energy per image may be far below 1 mJ.
    """
    if value is None:
        return "-"
    if name in FRACTIONS:
        return f"{value:.4f}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:,.1f}"


def counted(n: int, what: str) -> str:
    """Return a number with its noun, as in ``1 trial`` and ``2 trials``."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def summary(front: Front) -> str:
    """Return one line: how many points, of how many steps and trials, and the hypervolume."""
    counts = front.counts
    parts = [
        f"{counted(len(front.points), 'point')} on the front of "
        f"{counted(len(front.view.candidates), 'accepted step')}",
        f"{counted(counts.complete, 'trial')} complete",
    ]
    parts += [f"{counts.infeasible} of them infeasible"] if counts.infeasible else []
    parts += [f"{counts.stopped} stopped early"] if counts.stopped else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"{counts.running} not finished"] if counts.running else []
    if front.hypervolume is not None:
        parts.append(f"hypervolume {front.hypervolume:,.6g}")
    if front.unknown:
        parts.append(f"{counted(front.unknown, 'step')} left out, an objective is not known")
    if front.view.damaged:
        parts.append(f"{counted(len(front.view.damaged), 'unreadable run folder')}")
    return "  ·  ".join(parts)
