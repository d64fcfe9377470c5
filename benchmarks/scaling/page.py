"""Writes docs/results/scaling.md and its plot from one result of `benchmarks.scaling`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import sentence, table
from benchmarks.scaling.model import Costs, Load, depot_seconds, driver_seconds, saturation

__all__ = ["write"]

_PICTURE = "scaling/simulated.png"
_TIMES = ("ask", "report", "tell", "projection", "commit")
_NODES = """\
Trials that sleep 2 s in two steps, on Ray nodes of one CPU each and a head without, all on this
machine. Time is from 2 s before the first trial's end to the last trial's end, so the start of
the nodes and of the first worker is not in it; efficiency is the trials' time over the nodes'
time."""
_DATA = """\
200 MB (`.npz`) on two nodes, one after the other, over loopback. A name or an absolute path is
read where it is. A relative path that a node does not have comes through the object store: put
there once, fetched once per node and kept as one file, from which all workers of the node load.
The copy in the driver's object store stays until the sweep ends."""
_REMEDIES = """\
The costs are as measured at the load above; on an idle machine they are lower, and the limits
higher. The depot, which takes the files of nodes without a shared folder, is the first limit
where it is slower than the driver: then MLflow and the sampler hardly matter, and what helps is
a shared folder, longer trials, or several studies whose drivers have machines of their own.
Where the driver is the limit (a shared folder), MLflow after the sweep and a sampler other than
TPE, whose ask grows with the trials, help too. Not measured: PostgreSQL and Optuna's gRPC
proxy, which let several drivers share one study but make no driver faster, for each write
crosses the network; and asking in batches, which could save part of the journal's syncs within
ask and tell."""


def write(result: dict[str, Any], folder: Path) -> None:
    """Write the page and the picture into `folder`."""
    (folder / _PICTURE).parent.mkdir(parents=True, exist_ok=True)
    _draw(result["simulated"], folder / _PICTURE)
    (folder / "scaling.md").write_text(_page(result), encoding="utf-8")


def _page(result: dict[str, Any]) -> str:
    costs, load = Costs(**result["costs"]), Load(**result["load"])
    parts = [
        "# How sweeps grow with workers",
        "Written by `python -m benchmarks.scaling --write`.",
        sentence(result["facts"]),
        "## Measured on one machine",
        _NODES,
        table(result["nodes"], ["nodes", "trials", "seconds", "efficiency_percent"]),
        "## Data to workers",
        _DATA,
        table(result["data"], list(result["data"][0])),
        "## Simulated: the driver's loop",
        _costs_text(costs, load, result["tpe"]),
        f"![Efficiency by workers]({_PICTURE})",
        table(
            result["simulated"],
            ["case", "workers", "efficiency", "driver_busy", "depot_busy", "trials_per_hour"],
        ),
        "## Where it saturates, and what lifts the limit",
        _limits(costs, load, result["tpe"]),
    ]
    return "\n\n".join(parts) + "\n"


def _costs_text(costs: Costs, load: Load, tpe: dict[str, float]) -> str:
    ms = {name: f"{1000 * getattr(costs, name):.1f} ms" for name in _TIMES}
    rate, size = costs.bytes_per_second / 1e6, load.bytes_per_step / 1e6
    driver, depot = 1000 * driver_seconds(costs, load), 1000 * depot_seconds(costs, load)
    return f"""\
Measured costs: ask {ms["ask"]} and tell {ms["tell"]} (NSGA-II, journal file with its syncs; TPE
asks in {1000 * tpe["ask"]:.0f} ms at 200 trials), a step's report {ms["report"]}, MLflow
{ms["projection"]} of the driver's processor per trial, a step's files {ms["commit"]} plus their
bytes at {rate:.0f} MB/s through the depot. Trials: {load.seconds:.0f} s ± 50 % in {load.steps}
steps of {size:g} MB of files, so one trial takes {driver:.0f} ms of the driver and {depot:.0f}
ms of the depot. `benchmarks/scaling/model.py` plays driver and depot as two queues; the network
and Ray's own scheduler are not in it."""


def _limits(costs: Costs, load: Load, tpe: dict[str, float]) -> str:
    apart = replace(costs, projection=0.0)
    slow = replace(apart, ask=tpe["ask"], tell=tpe["tell"])
    large, long = replace(load, bytes_per_step=20e6), replace(load, seconds=10 * load.seconds)
    no_depot = replace(apart, commit=0.0, bytes_per_second=float("inf"))
    rows = [
        ("one driver, NSGA-II, MLflow beside it", saturation(costs, load)),
        ("MLflow after the sweep (`rfprune track`)", saturation(apart, load)),
        ("the same with TPE at 200 trials", saturation(slow, load)),
        ("the same with files of 20 MB per step", saturation(apart, large)),
        ("a shared folder, so no depot", saturation(no_depot, load)),
        ("eight studies, each with its driver", saturation(apart, load, 8)),
        ("trials ten times as long", saturation(apart, long)),
    ]
    listed = [{"case": case, "workers": f"{workers:,.0f}"} for case, workers in rows]
    lead = "Workers that keep the slower of driver and depot always busy; more of them add nothing."
    return "\n\n".join([lead, table(listed, ["case", "workers"]), _REMEDIES])


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw efficiency against workers, one line per case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        (line,) = axis.plot(
            [row["workers"] for row in mine],
            [100 * row["efficiency"] for row in mine],
            marker="o",
            label=case,
        )
        axis.axvline(mine[0]["saturates_at"], color=line.get_color(), linestyle=":", linewidth=1)
    axis.set_xscale("log")
    axis.set_ylim(0, 104)
    axis.set_xlabel("workers (dotted: where the driver or the depot is always busy)")
    axis.set_ylabel("time at work, %")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
