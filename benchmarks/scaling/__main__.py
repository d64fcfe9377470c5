"""How sweeps grow with workers: measured here on 1, 2 and 4 nodes, simulated up to 10,000."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.drawing import picture
from benchmarks.report import Study, render, sentence, table
from benchmarks.scaling.measure import measure
from benchmarks.scaling.model import Costs, Load, depot_seconds, driver_seconds, saturation


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    costs, load, tpe = Costs(**result["costs"]), Load(**result["load"]), result["tpe"]
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
    times = ("ask", "report", "tell", "projection", "commit")
    return render(
        "scaling",
        facts=sentence(result["facts"]),
        nodes=table(result["nodes"]),
        data=table(result["data"]),
        **{name: f"{1000 * getattr(costs, name):.1f} ms" for name in times},
        tpe=f"{1000 * tpe['ask']:.0f} ms",
        rate=f"{costs.bytes_per_second / 1e6:.0f}",
        seconds=f"{load.seconds:.0f}",
        steps=str(load.steps),
        size=f"{load.bytes_per_step / 1e6:g}",
        driver=f"{1000 * driver_seconds(costs, load):.0f}",
        depot=f"{1000 * depot_seconds(costs, load):.0f}",
        simulated=table(
            result["simulated"],
            ["case", "workers", "efficiency", "driver_busy", "depot_busy", "trials_per_hour"],
        ),
        limits=table(listed),
    )


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw efficiency against workers, one line per case."""
    rows = result["simulated"]
    with picture(folder / "simulated.png", size=(7, 3.6)) as (axis,):
        for case in dict.fromkeys(row["case"] for row in rows):
            mine = [row for row in rows if row["case"] == case]
            (line,) = axis.plot(
                [row["workers"] for row in mine],
                [100 * row["efficiency"] for row in mine],
                marker="o",
                label=case,
            )
            axis.axvline(
                mine[0]["saturates_at"], color=line.get_color(), linestyle=":", linewidth=1
            )
        axis.set(
            xscale="log",
            ylim=(0, 104),
            xlabel="workers (dotted: where the driver or the depot is always busy)",
            ylabel="time at work, %",
        )
        axis.legend(fontsize=8)


if __name__ == "__main__":
    Study(
        "scaling",
        "how sweeps grow with workers",
        lambda given: measure(),
        page,
        draw,
        packages=("ray", "optuna", "mlflow", "torch"),
    ).run()
