"""Method widths with strategy latency beside one width for all: LUTs at equal accuracy and DSPs.

Which rows, and how the crossing is found: ``pages/widths_latency.md``.
"""

import json
import resource
from argparse import Namespace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.report import read_cases, render, sentence, settings, table
from benchmarks.widths.judging import crossings
from rfprune.core.files import write_json
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.trial.run import run_trial

LAYERS = ("fc1", "fc2", "fc3", "output")


def cases() -> dict[str, dict[str, Any]]:
    """Return the trials: one of the method, and one for each width."""
    found = read_cases("widths", "latency")
    every = {
        f"widths{name}": settings(found["usual"], found["widths"], change)
        for name, change in found["variants"].items()
    }
    for (bits, integer), (name, modes) in product(found["bits"].items(), found["modes"].items()):
        # The same type for everything, said for each layer, so that sums count as hls4ml makes
        # them in both.
        own = {
            "precision": f"fixed<{bits},{integer},{modes}>",
            "weight_precision": f"fixed<{bits},{found['weight_integer']},RND,SAT>",
        }
        hardware = {"precision": own["precision"], "layers": dict.fromkeys(LAYERS, own)}
        change = {"hardware": hardware}
        every[f"{bits} bit{name}"] = settings(found["usual"], found["uniform"], change)
    return every


def points(tool: str, case: dict[str, Any], seed: int, home: Path) -> list[dict[str, Any]]:
    """Run one trial, and return its dense network and its points, judged on test rows."""
    known = home / f"{tool.replace(' ', '')}-{seed:04d}.json"
    if not known.exists():
        spec = TrialSpec.model_validate(settings(case, {"seed": seed}))
        folder = TrialFolder(home / f"{tool.replace(' ', '')}-{seed:04d}")
        begun = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        result = run_trial(spec, folder, dense_dir=home / "dense", base_dir=Path.cwd())
        cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - begun
        common = {"task": "jets, 24,000 rows", "metric": "accuracy", "tool": tool, "seed": seed}
        common["cpu_seconds"] = cpu
        rows = [{**common, "step": 0, "lut": None, "score": result.dense["accuracy"]}]
        for record in folder.steps()[1:]:
            if not record.accepted:
                continue
            own = {name: record.values[name] for name in ("lut", "dsp", "ff")}
            scores = {"val_score": record.values["val_accuracy"]}
            scores["score"] = record.values["accuracy"]
            rows.append({**common, "step": record.step, **own, **scores})
        write_json(known, rows)
    found: list[dict[str, Any]] = json.loads(known.read_text())
    return found


def measure_latency(options: Namespace, home: Path) -> dict[str, Any]:
    """Return every point, the crossings, and LUTs of the method per LUT of the best width."""
    rows = [
        row
        for tool, case in cases().items()
        for seed in range(options.seeds[0])
        for row in points(tool, case, seed, home / "latency")
    ]
    found = crossings(rows, "lut")
    return {"latency": True, "crossings": found, "ratios": _ratios(found), "rows": rows}


def _ratios(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return by share the mean LUTs of the method and of the best width that reaches it."""
    ratios = []
    for share in dict.fromkeys(row["share"] for row in found):
        reached = {row["tool"]: row["mean LUT"] for row in found if row["share"] == share}
        own = {tool: lut for tool, lut in reached.items() if tool.startswith("widths")}
        others = {tool: lut for tool, lut in reached.items() if tool not in own and lut}
        best = min(others, key=lambda tool: others[tool], default=None)
        least = others[best] if best else None
        row: dict[str, Any] = {"share": share, **own, "best width": best, "its LUT": least}
        for tool, lut in own.items():
            row[f"ratio of {tool}"] = round(lut / least, 2) if lut and least else None
        ratios.append(row)
    return ratios


def page_latency(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    shown = ("tool", "seed", "step", "lut", "dsp", "ff", "val_score", "score", "cpu_seconds")
    digits = [
        {k: f"{row[k]:.4f}" if "score" in k else row[k] for k in shown if row.get(k) is not None}
        for row in result["rows"]
    ]
    return render(
        "widths_latency",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        ratios=table(result["ratios"]),
        crossings=table(result["crossings"]),
        rows=table(digits, shown),
    )
